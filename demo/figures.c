/* figures.c - see figures.h. */
#include "figures.h"

#include <string.h>

#include "clock.h"

static size_t first_ending_at(const struct run *run, int64_t at_ns)
{
    size_t low = 0, high = run->calls_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (run->calls[middle].end_ns < at_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t figures_calls(const struct run *run, int64_t from_ns, int64_t to_ns, const struct call **first)
{
    size_t from = first_ending_at(run, from_ns), to = first_ending_at(run, to_ns);
    *first = run->calls + from;
    return to - from;
}

static int64_t took_ns(const struct call *c)
{
    return c->end_ns - c->start_ns;
}

static void all_calls(struct figures *f, const struct run *run, const struct fault *fault)
{
    const struct call *c;
    f->calls = figures_calls(run, fault->at_ns, fault->over_ns, &c);
    for (const struct call *end = c + f->calls; c < end; c++) {
        f->wrong += c->wrong;
        if (c->queued_ns > f->machine_ns)
            f->machine_ns = c->queued_ns;
        if (took_ns(c) >= f->slowest_ns) {
            f->slowest = *c;
            f->slowest_ns = took_ns(c);
        }
    }
}

/* The moment when the last server that it befell was well again. */
static int64_t cured_ns(const struct fault *fault)
{
    int64_t cured = fault->at_ns;
    for (int s = 0; s < SERVERS; s++)
        if (fault->cured_ns[s] > cured)
            cured = fault->cured_ns[s];
    return cured;
}

/* Did it wait for a server at fault? A call for several may as well have waited for one that is well. */
static bool waited(const struct call *c, const struct fault *fault, int64_t longer_than_ns)
{
    return took_ns(c) > longer_than_ns && (c->paid & fault->servers || !(c->asked & ~fault->servers));
}

static void calls_to_the_sick(struct figures *f, const struct run *run, const struct fault *fault)
{
    unsigned           slow[APP_THREADS_MAX] = {0};
    int64_t            first_ns = -1, last_ns = -1; /* failed; did not fail at once */
    const struct call *c;
    size_t             n = figures_calls(run, fault->at_ns, fault->over_ns, &c);

    for (const struct call *end = c + n; c < end; c++) {
        if (!(c->asked & fault->servers) || c->start_ns >= fault->until_ns)
            continue;
        if (waited(c, fault, MS(run->timeout_ms) / 2) && ++slow[c->thread] > f->slow)
            f->slow = slow[c->thread];
        if (first_ns < 0 && c->failed & fault->servers)
            first_ns = c->end_ns;
        if (c->paid & fault->servers || waited(c, fault, MS(FIGURES_AT_ONCE_MS) + f->machine_ns))
            last_ns = c->end_ns;
    }

    int64_t from_ns = fault->hung ? fault->at_ns : first_ns;
    f->fast_fail_ns = first_ns < 0 ? -1 : last_ns > from_ns ? last_ns - from_ns : 0;
}

/* When the application, too, had it back: the first answer to a call made after mend took it for down. */
static int64_t answered_ns(const struct run *run, const struct fault *fault, int server, int64_t after_ns)
{
    const struct call *c;
    size_t             n = figures_calls(run, after_ns, fault->over_ns, &c);
    for (const struct call *end = c + n; c < end; c++)
        if (c->asked == 1u << server && !c->failed && c->start_ns >= after_ns)
            return c->end_ns;
    return -1;
}

static int64_t healed_ns(struct run *run, const struct fault *fault, int server)
{
    int64_t down = history_first(&run->history, HISTORY_DOWN, server, fault->at_ns);
    int64_t back = down < 0 ? -1 : history_first(&run->history, HISTORY_BACK, server, down);
    int64_t answered = back < 0 ? -1 : answered_ns(run, fault, server, down);
    if (answered < 0 || back > fault->over_ns)
        return -1;

    int64_t healed = (back > answered ? back : answered) - fault->cured_ns[server];
    return healed > 0 ? healed : 0; /* mend may have found out before us */
}

static void healing(struct figures *f, struct run *run, const struct fault *fault)
{
    for (int s = 0; s < SERVERS; s++) {
        if (!(fault->servers & 1u << s))
            continue;
        int64_t heal = healed_ns(run, fault, s), outage = fault->cured_ns[s] - fault->at_ns;
        if (heal < 0 || f->heal_ns < 0)
            f->heal_ns = -1;
        else if (heal > f->heal_ns)
            f->heal_ns = heal;
        if (outage > f->outage_ns)
            f->outage_ns = outage;
    }
}

/* Of the reads among these that asked only servers that are well. */
static double share_of_hits(const struct call *c, size_t n, unsigned sick)
{
    size_t hits = 0, items = 0;
    for (const struct call *end = c + n; c < end; c++) {
        if (c->asked & sick)
            continue;
        hits += c->hits;
        items += c->items;
    }
    return items ? (double)hits / (double)items : 0;
}

static void calls_to_the_well(struct figures *f, const struct run *run, const struct fault *fault)
{
    const struct call *c;
    size_t             n = figures_calls(run, fault->at_ns - MS(1000), fault->at_ns, &c);
    f->others = fault->servers && fault->servers != (1u << SERVERS) - 1;
    f->others_hits_before = share_of_hits(c, n, fault->servers);

    n = figures_calls(run, fault->at_ns, cured_ns(fault), &c);
    f->others_hits = share_of_hits(c, n, fault->servers);

    n = figures_calls(run, fault->at_ns, fault->over_ns, &c);
    for (const struct call *end = c + n; c < end; c++) {
        if (c->failed & ~fault->servers)
            f->others_failed++;
        if (!(c->asked & fault->servers) && took_ns(c) > f->others_slowest_ns)
            f->others_slowest_ns = took_ns(c);
    }
}

struct figures figures_of(struct run *run, const struct fault *fault)
{
    struct figures f = {.machine_ns = metronome_worst_ns(&run->metronome, fault->at_ns, fault->over_ns)};
    all_calls(&f, run, fault);
    calls_to_the_sick(&f, run, fault);
    healing(&f, run, fault);
    calls_to_the_well(&f, run, fault);
    return f;
}
