/* round.c - see round.h. */
#include "round.h"

#include "clock.h"
#include "metronome.h"

#include "support/wait.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum {
    WARM_MS = 200,    /* of calls before the fault */
    HEAL_MAX_MS = 4000,
    SETTLE_MS = 100,  /* of calls after the healing */
    AT_ONCE_MS = 5,
};

/* What was done, and when. */
struct story {
    uint8_t sick;
    bool    hangs;
    int64_t at_ns;    /* the fault */
    int64_t until_ns; /* its cure began... */
    int64_t cured_ns; /* ...and the server served again */
    int64_t machine_ns;
    pid_t   corpse; /* 0: none */
};

/* ---- Doing it ---------------------------------------------------------------------------------- */

/* The dead process is waited for when the round is over: that alone has been seen to take ten seconds, spent by the
 * kernel on what others had read of it in /proc. Its port is free without. */
static void harm(struct story *s, struct memcached *m)
{
    s->at_ns = clock_now();
    if (s->hangs) {
        memcached_pause(m);
        return;
    }
    kill(m->pid, SIGKILL);
    s->corpse = m->pid;
    m->pid = 0;
}

static void cure(struct story *s, struct memcached *m)
{
    s->until_ns = s->cured_ns = clock_now();
    if (s->hangs) {
        memcached_resume(m);
        return;
    }
    memcached_restart(m);
    s->cured_ns = clock_now();
}

static struct story befall(const struct fault *fault, struct memcached at[SERVERS], unsigned number, mend_client *client)
{
    struct story      s = {.sick = (uint8_t)(number % SERVERS), .hangs = fault->hangs};
    struct memcached *m = &at[s.sick];
    int               spread_ms = fault->most_ms - fault->least_ms;
    struct metronome  metronome;

    pause_ms(WARM_MS);
    metronome_start(&metronome);
    harm(&s, m);
    clock_sleep_until(s.at_ns + MS(fault->least_ms + (int)(number * 7919 % 1009) * spread_ms / 1009));
    cure(&s, m);
    for (int64_t due = clock_now() + MS(HEAL_MAX_MS); state_of(client, s.sick) != MEND_STATE_UP && clock_now() < due;)
        pause_ms(1);
    pause_ms(SETTLE_MS);
    s.machine_ns = metronome_late_ns(&metronome);
    metronome_stop(&metronome);
    return s;
}

/* ---- Looking through it -------------------------------------------------------------------------- */

static int64_t took_ns(const struct call *c)
{
    return c->end_ns - c->start_ns;
}

static void all_calls(struct outcome *o, const struct callers *all, const struct story *s)
{
    unsigned slow[CALLERS_MAX] = {0};

    o->calls = all->count;
    for (const struct call *c = all->calls; c < all->calls + all->count; c++) {
        o->wrong += c->wrong;
        if (c->end_ns < s->at_ns)
            continue;
        if (took_ns(c) > o->slowest_ns)
            o->slowest_ns = took_ns(c);
        if (took_ns(c) > MS(TIMEOUT_MS) / 2 && ++slow[c->thread] > o->slow)
            o->slow = slow[c->thread];
    }
}

/* The end of the first call to the sick server that failed; -1: there is none. */
static int64_t first_failure(const struct callers *all, const struct story *s)
{
    int64_t first = -1;

    for (const struct call *c = all->calls; c < all->calls + all->count; c++)
        if (c->server == s->sick && c->status < 0 && c->end_ns >= s->at_ns && (first < 0 || c->end_ns < first))
            first = c->end_ns;
    return first;
}

static int64_t fast_fail(const struct callers *all, const struct story *s, int64_t failed_ns)
{
    int64_t from = s->hangs ? s->at_ns : failed_ns, last = from;

    if (failed_ns < 0)
        return -1;
    for (const struct call *c = all->calls; c < all->calls + all->count; c++) {
        bool found_out = c->status < 0 && c->status != MEND_E_DOWN;
        bool late = took_ns(c) > MS(AT_ONCE_MS) + s->machine_ns;
        if (c->server == s->sick && c->start_ns < s->until_ns && c->end_ns > last && (found_out || late))
            last = c->end_ns;
    }
    return last - from;
}

static void healing(struct outcome *o, const struct callers *all, const struct story *s, int64_t failed_ns)
{
    int64_t from = s->hangs ? s->until_ns : failed_ns, back = -1;

    o->heal_ns = -1;
    for (const struct call *c = all->calls; c < all->calls + all->count; c++)
        if (c->server == s->sick && c->status >= 0 && c->start_ns >= from && (back < 0 || c->end_ns < back))
            back = c->end_ns;
    if (back < 0 || failed_ns < 0)
        return;
    o->heal_ns = back > s->cured_ns ? back - s->cured_ns : 0;
    for (const struct call *c = all->calls; c < all->calls + all->count; c++)
        o->relapses += c->server == s->sick && c->status < 0 && c->start_ns >= back;
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* How long calls to the servers that are well took that began within [from, to). */
static struct times times_of_others(const struct callers *all, const struct story *s, int64_t from_ns, int64_t to_ns)
{
    int64_t     *took = malloc((all->count + 1) * sizeof *took);
    size_t       n = 0;
    struct times times = {0};

    for (const struct call *c = all->calls; took && c < all->calls + all->count; c++)
        if (c->server != s->sick && c->start_ns >= from_ns && c->start_ns < to_ns)
            took[n++] = took_ns(c);
    if (n) {
        qsort(took, n, sizeof *took, by_size);
        times = (struct times){.p99_ns = took[n * 99 / 100], .slowest_ns = took[n - 1]};
    }
    free(took);
    return times;
}

static void others(struct outcome *o, const struct callers *all, const struct story *s)
{
    for (const struct call *c = all->calls; c < all->calls + all->count; c++) {
        o->others_failed += c->server != s->sick && c->status < 0;
        o->others_missed += c->server != s->sick && c->status == MEND_MISS;
    }
    o->others = times_of_others(all, s, s->at_ns, INT64_MAX);
    o->others_before = times_of_others(all, s, s->at_ns - MS(WARM_MS - 50), s->at_ns); /* the first calls dial */
}

static struct outcome outcome_of(const struct callers *all, const struct story *s)
{
    int64_t        failed_ns = first_failure(all, s);
    struct outcome o = {.machine_ns = s->machine_ns, .outage_ns = s->cured_ns - s->at_ns, .fast_fail_ns = fast_fail(all, s, failed_ns)};

    all_calls(&o, all, s);
    healing(&o, all, s, failed_ns);
    others(&o, all, s);
    return o;
}

/* ---- A round ---------------------------------------------------------------------------------------- */

struct outcome round_run(const struct fault *fault, unsigned threads, struct memcached at[SERVERS], unsigned number)
{
    const char    *names[SERVERS] = {at[0].name, at[1].name, at[2].name};
    char           servers[SERVERS * sizeof at->name];
    struct keys    keys;
    struct callers callers;

    snprintf(servers, sizeof servers, "%s,%s,%s", names[0], names[1], names[2]);
    mend_client *client = open_up(&MEND_CONFIG(.servers = servers, .timeout_ms = TIMEOUT_MS, .connections_idle_max = (int)threads));
    if (!keys_fill(&keys, client, names, number))
        exit(1);

    callers_start(&callers, client, &keys, threads);
    struct story story = befall(fault, at, number, client);
    callers_stop(&callers);
    mend_close(client);

    if (story.corpse)
        waitpid(story.corpse, NULL, 0);

    struct outcome o = outcome_of(&callers, &story);
    callers_free(&callers);
    return o;
}
