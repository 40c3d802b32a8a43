/* summary.c - see summary.h. */
#include "summary.h"

#include "clock.h"
#include "figure.h"

#include <stdio.h>
#include <stdlib.h>

static const struct fault faults[] = {
    {.id = "kill", .words = "kill -9, away for 0.3 to 0.9 s", .least_ms = 300, .most_ms = 900},
    {.id = "kill_long", .words = "kill -9, away for 3 to 4 s", .least_ms = 3000, .most_ms = 4000},
    {.id = "stop", .words = "SIGSTOP for 0.3 to 0.9 s", .hangs = true, .least_ms = 300, .most_ms = 900},
    {.id = "stop_long", .words = "SIGSTOP for 3 s", .hangs = true, .least_ms = 3000, .most_ms = 3000},
};

const struct fault *fault_of(unsigned fault)
{
    size_t i = 0;
    while (fault >> i != 1)
        i++;
    return &faults[i];
}

enum { PUNCTUAL_MS = 5 }; /* what the promise itself allows for */
enum { KILLS = FAULT_KILL | FAULT_KILL_LONG, STOPS = FAULT_STOP | FAULT_STOP_LONG };

/* ---- Rounds of some kinds, and one number of each ------------------------------------------------ */

struct kind {
    unsigned faults;  /* any of these; 0: of all */
    unsigned threads; /* 0: any number */
    enum { ANY, CALM, LOADED } load;
    enum { AWAY, AWAY_BRIEFLY, AWAY_LONG } away; /* for less than a second, or not */
    bool punctual; /* only those in which the machine was hardly late itself */
};

typedef int64_t number(const struct outcome *o);

/* below zero: never */
struct numbers {
    size_t         n;
    int64_t        p50, p99, worst, sum;
    struct outcome worst_round;
};

static bool is_of(const struct step *step, const struct outcome *o, struct kind kind)
{
    return (!kind.faults || kind.faults & step->fault) && (!kind.threads || kind.threads == step->threads) &&
           (kind.load == ANY || (kind.load == LOADED) == step->loaded) &&
           (!kind.punctual || o->machine_ns <= MS(PUNCTUAL_MS)) &&
           (kind.away == AWAY || (kind.away == AWAY_BRIEFLY) == (o->outage_ns < MS(1000)));
}

/* "Never" is the largest of all. */
static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    uint64_t       u = (uint64_t)*x, v = (uint64_t)*y;
    return (u > v) - (u < v);
}

static struct numbers numbers_of(const struct result *results, size_t n, struct kind kind, number *of)
{
    struct numbers numbers = {0};
    size_t         room = 1;

    for (size_t i = 0; i < n; i++)
        room += results[i].count;
    int64_t *all = malloc(room * sizeof *all);
    if (!all)
        exit(1);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < results[i].count; j++) {
            const struct outcome *o = &results[i].at[j];
            if (!is_of(&results[i].step, o, kind))
                continue;
            if (numbers.n == 0 || (uint64_t)of(o) >= (uint64_t)of(&numbers.worst_round))
                numbers.worst_round = *o;
            all[numbers.n++] = of(o);
            numbers.sum += of(o);
        }
    if (numbers.n) {
        qsort(all, numbers.n, sizeof *all, by_size);
        numbers.p50 = all[(numbers.n - 1) / 2];
        numbers.p99 = all[(numbers.n * 99 + 99) / 100 - 1]; /* of fewer than 100 rounds it is the worst */
        numbers.worst = all[numbers.n - 1];
    }
    free(all);
    return numbers;
}

static int64_t slowest(const struct outcome *o)       { return o->slowest_ns; }
static int64_t slow(const struct outcome *o)          { return o->slow; }
static int64_t fast_fail(const struct outcome *o)     { return o->fast_fail_ns; }
static int64_t heal(const struct outcome *o)          { return o->heal_ns; }
static int64_t outage(const struct outcome *o)        { return o->outage_ns; }
static int64_t relapses(const struct outcome *o)      { return (int64_t)o->relapses; }
static int64_t others_failed(const struct outcome *o) { return (int64_t)(o->others_failed + o->others_missed); }
static int64_t others_p99(const struct outcome *o)    { return o->others.p99_ns; }
static int64_t before_p99(const struct outcome *o)    { return o->others_before.p99_ns; }
static int64_t others_worst(const struct outcome *o)  { return o->others.slowest_ns; }
static int64_t wrong(const struct outcome *o)         { return (int64_t)o->wrong; }
static int64_t calls(const struct outcome *o)         { return (int64_t)o->calls; }
static int64_t machine(const struct outcome *o)       { return o->machine_ns; }

/* ---- The table ----------------------------------------------------------------------------------- */

static const char *ms_words(int64_t ns, char words[24])
{
    if (ns < 0)
        snprintf(words, 24, "never");
    else
        snprintf(words, 24, clock_ms(ns) < 10 ? "%.2f ms" : "%.1f ms", clock_ms(ns));
    return words;
}

static void tell_slowest(const struct result *results, size_t n, unsigned threads, bool loaded)
{
    struct numbers s = numbers_of(results, n, (struct kind){.threads = threads, .load = loaded ? LOADED : CALM}, slowest);
    struct numbers m = numbers_of(results, n, (struct kind){.threads = threads, .load = loaded ? LOADED : CALM}, machine);
    char           id[48], what[96], a[24], b[24], c[24];

    if (s.n == 0)
        return;
    snprintf(id, sizeof id, "slowest_%u%s", threads, loaded ? "_loaded" : "");
    snprintf(what, sizeof what, "slowest call, any fault, timeout %d ms, %u threads%s", TIMEOUT_MS, threads,
             loaded ? ", loaded machine" : "");
    figure_tell(&(struct figure){.id = id, .what = what, .target = "<= 105 ms", .unit = "ms", .value = clock_ms(s.worst),
                                 .verdict = figure_within(clock_ms(s.worst), TIMEOUT_MS + 5)},
                "%s (the machine itself was late by %s then, by %s at worst)", ms_words(s.worst, a),
                ms_words(s.worst_round.machine_ns, b), ms_words(m.worst, c));
}

/* Where a thread that slept was woken in time a client has no excuse. */
static void tell_punctual(const struct result *results, size_t n)
{
    struct numbers s = numbers_of(results, n, (struct kind){.punctual = true}, slowest);
    struct numbers f = numbers_of(results, n, (struct kind){.faults = KILLS, .punctual = true}, fast_fail);
    char           words[24];

    if (s.n)
        figure_tell(&(struct figure){.id = "slowest_punctual", .what = "slowest call, while the machine itself was late by 5 ms at most",
                                     .target = "<= 105 ms", .unit = "ms", .value = clock_ms(s.worst),
                                     .verdict = figure_within(clock_ms(s.worst), TIMEOUT_MS + 5)},
                    "%s, in %zu rounds", ms_words(s.worst, words), s.n);
    if (f.n)
        figure_tell(&(struct figure){.id = "fast_fail_kill_punctual",
                                     .what = "kill -9 to fast-fail, while the machine was late by 5 ms at most",
                                     .target = "< 10 ms", .unit = "ms", .value = clock_ms(f.worst),
                                     .verdict = figure_within(clock_ms(f.worst), 10)},
                    "worst %s of %zu", ms_words(f.worst, words), f.n);
}

static void tell_fast_fail(const struct result *results, size_t n, bool hangs, bool loaded)
{
    struct kind    kind = {.faults = hangs ? STOPS : KILLS, .load = loaded ? LOADED : CALM};
    struct numbers f = numbers_of(results, n, kind, fast_fail);
    double         target = hangs ? 2 * TIMEOUT_MS + 10 : 10;
    char           id[48], what[96], worst[24], p50[24];

    if (f.n == 0)
        return;
    snprintf(id, sizeof id, "fast_fail_%s%s", hangs ? "stop" : "kill", loaded ? "_loaded" : "");
    snprintf(what, sizeof what, "%s to fast-fail for all threads%s", hangs ? "SIGSTOP" : "kill -9: first failed call",
             loaded ? ", loaded machine" : "");
    figure_tell(&(struct figure){.id = id, .what = what, .target = hangs ? "<= 210 ms" : "< 10 ms", .unit = "ms",
                                 .value = clock_ms(f.worst), .verdict = figure_within(clock_ms(f.worst), target)},
                "p50 %s, worst %s of %zu", ms_words(f.p50, p50), ms_words(f.worst, worst), f.n);
}

static void tell_slow(const struct result *results, size_t n)
{
    struct numbers s = numbers_of(results, n, (struct kind){.faults = STOPS}, slow);

    if (s.n)
        figure_tell(&(struct figure){.id = "slow_calls", .what = "SIGSTOP: slow calls a thread", .target = "<= 2", .unit = "calls",
                                     .value = (double)s.worst, .verdict = figure_within((double)s.worst, 2)},
                    "%lld at most, in %zu outages", (long long)s.worst, s.n);
}

static void tell_heal(const struct result *results, size_t n, const char *id, const char *what, struct kind kind, int target_ms)
{
    struct numbers h = numbers_of(results, n, kind, heal);
    char           target[24], p50[24], p99[24], worst[24];

    if (h.n == 0)
        return;
    snprintf(target, sizeof target, "p99 <= %d ms", target_ms);
    figure_tell(&(struct figure){.id = id, .what = what, .target = target, .unit = "ms", .value = h.p99 < 0 ? -1 : clock_ms(h.p99),
                                 .verdict = figure_within(clock_ms(h.p99), target_ms)},
                "p50 %s, p99 %s, worst %s of %zu", ms_words(h.p50, p50), ms_words(h.p99, p99), ms_words(h.worst, worst), h.n);
}

static void tell_others(const struct result *results, size_t n)
{
    struct numbers failed = numbers_of(results, n, (struct kind){0}, others_failed);
    struct numbers during = numbers_of(results, n, (struct kind){.load = CALM}, others_p99);
    struct numbers before = numbers_of(results, n, (struct kind){.load = CALM}, before_p99);
    struct numbers worst = numbers_of(results, n, (struct kind){.load = CALM}, others_worst);
    char           a[24], b[24], c[24], d[24];

    figure_tell(&(struct figure){.id = "others_failed", .what = "one of three dead: the others' calls failed or missed",
                                 .target = "0", .unit = "calls", .value = (double)failed.sum,
                                 .verdict = figure_within((double)failed.sum, 0)},
                "%lld", (long long)failed.sum);
    double limit = 1.5 * clock_ms(before.p50) + 0.1; /* two runs without any fault differ by as much */
    figure_tell(&(struct figure){.id = "others_p99", .what = "one of three dead: the others' times", .target = "as before the fault",
                                 .unit = "ms", .value = clock_ms(during.p50), .verdict = figure_within(clock_ms(during.p50), limit)},
                "p99 %s, before %s; slowest %s (the machine was late by %s)", ms_words(during.p50, a), ms_words(before.p50, b),
                ms_words(worst.worst, c), ms_words(worst.worst_round.machine_ns, d));
}

static void tell_wrong(const struct result *results, size_t n)
{
    struct numbers w = numbers_of(results, n, (struct kind){0}, wrong);
    struct numbers all = numbers_of(results, n, (struct kind){0}, calls);
    struct numbers again = numbers_of(results, n, (struct kind){0}, relapses);

    figure_tell(&(struct figure){.id = "wrong", .what = "wrong answers, over all faults", .target = "0", .unit = "answers",
                                 .value = (double)w.sum, .verdict = figure_within((double)w.sum, 0)},
                "%lld of %lld calls", (long long)w.sum, (long long)all.sum);
    figure_tell(&(struct figure){.id = "relapses", .what = "failed calls to a server that was back", .target = "-", .unit = "calls",
                                 .value = (double)again.sum, .verdict = FIGURE_TOLD},
                "%lld in %zu rounds", (long long)again.sum, again.n);
}

static void tell_unfinished(const struct result *results, size_t n)
{
    size_t missing = 0;

    for (size_t i = 0; i < n; i++)
        missing += results[i].step.rounds * results[i].step.workers - results[i].count;
    if (missing)
        figure_tell(&(struct figure){.id = "unfinished", .what = "rounds that came to no end", .target = "0", .unit = "rounds",
                                     .value = (double)missing, .verdict = FIGURE_MISSED},
                    "%zu: a call hung, or the benchmark failed (see above)", missing);
}

void summary_tell(const struct result *results, size_t n)
{
    for (int loaded = 0; loaded < 2; loaded++) {
        tell_slowest(results, n, 4, loaded);
        tell_slowest(results, n, 16, loaded);
    }
    tell_punctual(results, n);
    for (int hangs = 0; hangs < 2; hangs++) {
        tell_fast_fail(results, n, hangs, false);
        tell_fast_fail(results, n, hangs, true);
    }
    tell_slow(results, n);
    tell_heal(results, n, "heal_kill", "back in service, restarted after less than 1 s",
              (struct kind){.faults = KILLS, .away = AWAY_BRIEFLY}, 100);
    tell_heal(results, n, "heal_cont", "back in service after SIGCONT", (struct kind){.faults = STOPS}, 100);
    tell_heal(results, n, "heal_long", "back in service, restarted after 1 to 4 s",
              (struct kind){.faults = KILLS, .away = AWAY_LONG}, 1100);
    tell_others(results, n);
    tell_wrong(results, n);
    tell_unfinished(results, n);
}

/* ---- One step -------------------------------------------------------------------------------------- */

/* "name": 1.234, or null for never. */
static size_t json_of(char *json, size_t room, const char *name, int64_t value, double unit)
{
    if (value < 0)
        return (size_t)snprintf(json, room, ", \"%s\": null", name);
    return (size_t)snprintf(json, room, ", \"%s\": %.7g", name, (double)value / unit);
}

static void detail(const struct step *step, const struct outcome *o)
{
    static const struct {
        const char *name;
        number     *of;
        double      unit;
    } columns[] = {
        {"outage_ms", outage, 1e6},
        {"slowest_ms", slowest, 1e6},
        {"slow_calls_a_thread", slow, 1},
        {"fast_fail_ms", fast_fail, 1e6},
        {"heal_ms", heal, 1e6},
        {"relapses", relapses, 1},
        {"others_failed_or_missed", others_failed, 1},
        {"others_p99_ms", others_p99, 1e6},
        {"others_p99_before_ms", before_p99, 1e6},
        {"others_slowest_ms", others_worst, 1e6},
        {"calls", calls, 1},
        {"wrong", wrong, 1},
        {"machine_late_ms", machine, 1e6},
    };
    char   json[1024];
    size_t n = 0;

    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        n += json_of(json + n, sizeof json - n, columns[i].name, columns[i].of(o), columns[i].unit);
    figure_detail("{\"fault\": \"%s\", \"threads\": %u, \"loaded\": %s%s}", fault_of(step->fault)->id, step->threads,
                  step->loaded ? "true" : "false", json);
}

void summary_step(const struct result *r)
{
    struct kind all = {0};
    char        a[24], b[24], c[24], d[24];

    for (size_t i = 0; i < r->count; i++)
        detail(&r->step, &r->at[i]);
    figure_progress("    slowest call %s, fast-fail %s, healed in %s (worst of %zu); machine late by %s",
                    ms_words(numbers_of(r, 1, all, slowest).worst, a), ms_words(numbers_of(r, 1, all, fast_fail).worst, b),
                    ms_words(numbers_of(r, 1, all, heal).worst, c), r->count, ms_words(numbers_of(r, 1, all, machine).worst, d));
}
