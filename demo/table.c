/* table.c - see table.h. */
#include "table.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "database.h"
#include "figures.h"

enum { CALLS, SLOWEST, SLOW, FAST_FAIL, HEAL, WRONG, OTHERS_FAILED, OTHERS_SLOWEST, OTHERS_HITS, COLUMNS };

/* One figure and its promise; a promise that is "" is none. */
struct cell {
    char measured[CLOCK_WORDS], promised[2 * CLOCK_WORDS];
    enum { KEPT, BROKEN, UNJUDGED } verdict;
};

struct column {
    int         width;
    const char *above, *below;
};

struct layout {
    int           label_width;
    size_t        count;
    struct column columns[COLUMNS];
};

static const struct layout by_fault = {5, COLUMNS, {
    {7, "", "calls"}, {10, "slowest", "call"},  {6, "slow", "calls"},       {11, "", "fast-fail"}, {11, "", "heal"},
    {6, "", "wrong"}, {8, "others'", "failed"}, {10, "others'", "slowest"}, {6, "", "hits"},
}};

/* ---- A cell of each kind of promise ----------------------------------------------------- */

static struct cell plain(size_t n)
{
    struct cell c = {.verdict = KEPT};
    snprintf(c.measured, sizeof c.measured, "%zu", n);
    return c;
}

static struct cell at_most(size_t n, size_t most)
{
    struct cell c = plain(n);
    snprintf(c.promised, sizeof c.promised, most ? "<=%zu" : "%zu", most);
    c.verdict = n > most ? BROKEN : KEPT;
    return c;
}

/* The machine's own delay, in whole milliseconds, rounded up. */
static int late_ms(int64_t machine_ns)
{
    return (int)((machine_ns + MS(1) - 1) / MS(1));
}

/* Within so many milliseconds, and those by which the machine itself was late: "<=105+2ms". */
static struct cell within(int64_t ns, int most_ms, int64_t machine_ns)
{
    struct cell c = {.verdict = ns < 0 || ns > MS(most_ms + late_ms(machine_ns)) ? BROKEN : KEPT};
    clock_words(c.measured, ns);
    snprintf(c.promised, sizeof c.promised, "<=%d+%dms", most_ms, late_ms(machine_ns));

    char *space = strchr(c.measured, ' '); /* columns are narrow */
    if (space)
        memmove(space, space + 1, strlen(space));
    return c;
}

/* Within five points of a hundred of what it was before. */
static struct cell about_as(double share, double before)
{
    double      least = before > 0.05 ? before - 0.05 : 0;
    struct cell c = {.verdict = share < least ? BROKEN : KEPT};
    snprintf(c.measured, sizeof c.measured, "%.1f%%", share * 100);
    snprintf(c.promised, sizeof c.promised, ">=%.0f%%", least * 100);
    return c;
}

/* ---- The promises --------------------------------------------------------------------------- */

static int fast_fail_ms(const struct run *run, const struct fault *fault)
{
    return fault->hung ? 2 * run->timeout_ms + 10 : 10;
}

static int heal_ms(const struct fault *fault, const struct figures *f)
{
    return fault->hung || f->outage_ns < MS(1000) ? 100 : 1100;
}

/* What is late once is added to a promise. But where one thread was kept waiting for a tenth of a timeout, so were others, and a
 * fall or a return is several waits in a row, of calls, the healer and servers that are well: then nobody can say whose they were. */
static bool was_away(const struct run *run, int64_t machine_ns)
{
    return machine_ns >= MS(run->timeout_ms) / 10;
}

static void excuse(struct cell row[COLUMNS], const struct run *run, const struct figures *f)
{
    if (!was_away(run, f->machine_ns))
        return;
    for (int i = 0; i < COLUMNS; i++)
        if (row[i].verdict == BROKEN && i != WRONG)
            row[i].verdict = UNJUDGED;
}

static void promises(struct cell row[COLUMNS], const struct run *run, const struct fault *fault, const struct figures *f)
{
    memset(row, 0, COLUMNS * sizeof *row);
    row[CALLS] = plain(f->calls);
    row[SLOWEST] = within(f->slowest_ns, run->timeout_ms + 5, f->machine_ns);
    row[WRONG] = at_most(f->wrong, 0);
    if (!fault->servers) {
        row[OTHERS_FAILED] = at_most(f->others_failed, 0); /* nobody was at fault */
        return;
    }

    row[SLOW] = at_most(f->slow, fault->hung ? 2 : 0);
    row[FAST_FAIL] = within(f->fast_fail_ns, fast_fail_ms(run, fault), f->machine_ns);
    row[HEAL] = within(f->heal_ns, heal_ms(fault, f), f->machine_ns);
    if (f->others) {
        row[OTHERS_FAILED] = at_most(f->others_failed, 0);
        row[OTHERS_SLOWEST] = within(f->others_slowest_ns, run->timeout_ms * 3 / 4, f->machine_ns); /* who waits for the sick takes all of it */
        row[OTHERS_HITS] = about_as(f->others_hits, f->others_hits_before);
    }
}

/* ---- Print ------------------------------------------------------------------------------------ */

static const char *ink(bool colours, const char *code)
{
    return colours ? code : "";
}

static void print_head(const struct layout *l)
{
    printf("%*s", l->label_width, "");
    for (size_t i = 0; i < l->count; i++)
        printf("%*s", l->columns[i].width, l->columns[i].above);
    printf("\n%*s", l->label_width, "");
    for (size_t i = 0; i < l->count; i++)
        printf("%*s", l->columns[i].width, l->columns[i].below);
    printf("\n");
}

static void print_found(const struct layout *l, const char *label, const struct cell *row)
{
    printf("%-*s", l->label_width, label);
    for (size_t i = 0; i < l->count; i++)
        printf(" %*s", l->columns[i].width - 1, row[i].measured);
    printf("\n");
}

static void print_limits(const struct layout *l, const struct cell *row, bool colours, struct table_sums *sums)
{
    static const struct {
        const char *word, *code;
    } verdicts[] = {[KEPT] = {"kept", "\033[32m"}, [BROKEN] = {"BROKEN", "\033[1;31m"}, [UNJUDGED] = {"LATE", "\033[33m"}};

    printf("%-*s", l->label_width, "limit");
    for (size_t i = 0; i < l->count; i++)
        printf(" %*s", l->columns[i].width - 1, row[i].promised);
    printf("\n%*s", l->label_width, "");
    for (size_t i = 0; i < l->count; i++) {
        bool promised = row[i].promised[0];
        printf("%s%*s%s", ink(colours, verdicts[row[i].verdict].code), l->columns[i].width, promised ? verdicts[row[i].verdict].word : "",
               ink(colours, "\033[0m"));
        sums->broken += promised && row[i].verdict == BROKEN;
        sums->unjudged += promised && row[i].verdict == UNJUDGED;
    }
    printf("\n");
}

static void print_servers(unsigned servers)
{
    for (int s = 0; s < SERVERS; s++)
        if (servers & 1u << s)
            printf(" %c", run_letter(s));
}

/* For whoever has to find out why. */
static void print_culprit(const struct run *run, const struct call *c)
{
    char took[CLOCK_WORDS];
    printf("      the slowest: a %s by thread %u of", c->what, c->thread);
    print_servers(c->asked);
    printf(",\n      %s, begun at %.3f s: %s", clock_words(took, c->end_ns - c->start_ns),
           (double)(c->start_ns - run->started_ns) / 1e9, mend_status_name(c->status));
    if (c->failed)
        printf(", not from");
    print_servers(c->failed);
    printf("\n      (its thread queued for a processor for %s)\n", clock_words(took, c->queued_ns));
}

static void print_fault(struct run *run, const struct fault *fault, bool colours, struct table_sums *sums)
{
    struct figures f = figures_of(run, fault);
    struct cell    row[COLUMNS];
    char           away[CLOCK_WORDS], late[CLOCK_WORDS];

    promises(row, run, fault, &f);
    excuse(row, run, &f);
    printf("\n%s%s%s", ink(colours, "\033[1m"), fault->name, ink(colours, "\033[0m"));
    if (fault->servers)
        printf(" (away %s;", clock_words(away, f.outage_ns));
    printf("%smachine late %s)\n", fault->servers ? " " : " (", clock_words(late, f.machine_ns));
    print_found(&by_fault, "found", row);
    print_limits(&by_fault, row, colours, sums);
    if (row[SLOWEST].verdict != KEPT)
        print_culprit(run, &f.slowest);
}

/* ---- The fallback ------------------------------------------------------------------------------- */

enum { READS, LOADS, AT_ONCE, SLOWEST_READ, STALE, WRONG_READ, UNANSWERED, FALLBACK_COLUMNS };

static const struct layout by_side = {14, FALLBACK_COLUMNS, {
    {8, "", "reads"}, {8, "", "loads"}, {10, "loads", "at once"}, {11, "slowest", "read"}, {8, "stale", "reads"}, {8, "", "wrong"},
    {12, "", "unanswered"},
}};

/* No time is promised: a read's includes the database's. By hand nothing is, but that what the cache says is true. */
static void fallback_promises(struct cell row[FALLBACK_COLUMNS], const struct run *run, const struct fallback_run *side)
{
    const struct fallback_figures *f = &side->figures;

    memset(row, 0, FALLBACK_COLUMNS * sizeof *row);
    row[READS] = plain(f->reads);
    row[LOADS] = plain(f->loads);
    clock_words(row[SLOWEST_READ].measured, f->slowest_ns);
    row[AT_ONCE] = side->fetches ? at_most(f->loads_most, FALLBACK_LOADS_MAX) : plain(f->loads_most);
    row[STALE] = side->fetches ? at_most(f->stale, 0) : plain(f->stale);
    row[WRONG_READ] = at_most(f->wrong, 0);
    row[UNANSWERED] = side->fetches ? at_most(f->unanswered, 0) : plain(f->unanswered);
    if (row[UNANSWERED].verdict == BROKEN && was_away(run, metronome_worst_ns(&run->metronome, side->at_ns, side->over_ns)))
        row[UNANSWERED].verdict = UNJUDGED; /* there is an end to waiting for a turn to load, too */
}

static void print_fallback(const struct run *run, bool colours, struct table_sums *sums)
{
    const struct fallback_run *hand = &run->fallback[0], *fetch = &run->fallback[1];
    struct cell                by_hand[FALLBACK_COLUMNS], by_fetch[FALLBACK_COLUMNS];
    char                       late[CLOCK_WORDS];

    fallback_promises(by_hand, run, hand);
    fallback_promises(by_fetch, run, fetch);
    if (by_hand[WRONG_READ].verdict == BROKEN)
        by_fetch[WRONG_READ].verdict = BROKEN; /* one line of limits judges both */
    printf("\n%s%s%s,\ntwice: what the database bears (machine late %s)\n", ink(colours, "\033[1m"), run->fallback_name, ink(colours, "\033[0m"),
           clock_words(late, metronome_worst_ns(&run->metronome, hand->at_ns, fetch->over_ns)));
    print_head(&by_side);
    print_found(&by_side, "get, load, set", by_hand);
    print_found(&by_side, "mend_fetch", by_fetch);
    print_limits(&by_side, by_fetch, colours, sums);
}

static void print_promise(const char *what, bool broken, bool colours, struct table_sums *sums)
{
    printf("%-62s %s%s%s\n", what, ink(colours, broken ? "\033[1;31m" : "\033[32m"), broken ? "BROKEN" : "kept", ink(colours, "\033[0m"));
    sums->broken += broken;
}

/* What is asked once, of the whole run. */
static void print_end(const struct run *run, bool colours, struct table_sums *sums)
{
    char what[100], took[CLOCK_WORDS];
    int  most_ms = 100 + late_ms(metronome_worst_ns(&run->metronome, run->ended_ns, clock_now()));

    snprintf(what, sizeof what, "calls that never returned: %u of %u threads", run->threads_hanging, run->threads);
    print_promise(what, run->threads_hanging > 0, colours, sums);
    if (run->threads_hanging > 0)
        return;
    snprintf(what, sizeof what, "mend_close with a server hung: %s, promised <=%d ms", clock_words(took, run->close_ns), most_ms);
    print_promise(what, run->close_ns > MS(most_ms), colours, sums);
}

static void print_legend(const struct run *run, const struct table_sums *sums)
{
    printf("\n%u threads, timeout %d ms. Slow calls: over half of it, of one thread.\n"
           "Fast-fail: from SIGSTOP, or the first call that failed, until all fail at once.\n"
           "Heal: from when the server serves again until the application has it back.\n"
           "<=105+2ms: 105 ms are promised, and the machine itself was late by up to 2 ms:\n"
           "so long a thread, ours or a server's, queued for a processor or for an echo.\n"
           "The others: the servers that nothing was done to.\n",
           run->threads, run->timeout_ms);
    if (run->fallback_count == FALLBACK_SIDES)
        printf("The fallback: %d threads read %d records, the database takes %d ms for a load.\n"
               "Stale: older than a write whose delete had returned before the read began.\n",
               FALLBACK_THREADS, FALLBACK_RECORDS, DATABASE_LATENCY_MS);
    if (sums->unjudged)
        printf("LATE: not kept, and not judged. The machine itself was late by a tenth of a timeout\n"
               "or more, and several such waits in a row add up.\n");
}

struct table_sums table_print(struct run *run, bool colours)
{
    struct table_sums sums = {.broken = 0};

    printf("\n");
    print_head(&by_fault);
    for (size_t i = 0; i < run->faults_count; i++)
        print_fault(run, &run->faults[i], colours, &sums);
    if (run->fallback_count == FALLBACK_SIDES)
        print_fallback(run, colours, &sums);
    printf("\n");
    print_end(run, colours, &sums);
    print_legend(run, &sums);
    return sums;
}
