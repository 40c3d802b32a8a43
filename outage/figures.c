/* figures.c - see figures.h. */
#include "figures.h"

#include <stdio.h>
#include <stdlib.h>

#include "demo/clock.h"

enum { IN_A_ROW = 10, FAST_MS = 1 };

struct thread {
    const struct scene *scene;
    const struct call  *calls;
    unsigned            count;
};

static struct thread thread_of(const struct scene *scene, int i)
{
    return (struct thread){scene, scene->calls[i], atomic_load(&scene->count[i])};
}

int64_t figures_from(const struct scene *scene)
{
    return scene->away[0].from_ns;
}

int64_t figures_to(const struct scene *scene)
{
    int64_t to = scene->aways ? scene->away[scene->aways - 1].to_ns : 0;
    return to ? to : scene->ended_ns;
}

static int64_t end_of(const struct scene *scene, const struct call *c)
{
    return c->end_ns ? c->end_ns : scene->ended_ns;
}

static int64_t took_ns(const struct scene *scene, const struct call *c)
{
    return end_of(scene, c) - c->start_ns;
}

static bool in_outage(const struct scene *scene, const struct call *c)
{
    return scene->aways && end_of(scene, c) > figures_from(scene) && c->start_ns < figures_to(scene);
}

static bool has_failed(const struct call *c)
{
    return c->answer == ANSWER_FAILED;
}

/* ---- All calls --------------------------------------------------------------------------------------- */

static void count_all(struct figures *f, struct thread t)
{
    for (const struct call *c = t.calls; c < t.calls + t.count; c++) {
        f->calls++;
        f->hanging += !c->end_ns;
        f->wrong += c->verdict == VERDICT_WRONG;
        f->stale += c->verdict == VERDICT_STALE;
        f->outdated += c->outdated;
        f->refused += c->answer == ANSWER_REFUSED;
    }
}

/* ---- During the outage --------------------------------------------------------------------------------- */

static void count_outage(struct figures *f, struct thread t)
{
    const struct scene *scene = t.scene;
    int64_t             from = figures_from(scene), to = figures_to(scene), waited = 0;
    size_t              slow = 0;

    for (const struct call *c = t.calls; c < t.calls + t.count; c++) {
        int64_t end = end_of(scene, c);
        if (!in_outage(scene, c))
            continue;
        f->returned += c->end_ns && c->end_ns <= to;
        f->failed += has_failed(c);
        slow += took_ns(scene, c) >= MS(SLOW_MS);
        waited += (end < to ? end : to) - (c->start_ns > from ? c->start_ns : from);
    }
    f->waited_s += (double)waited / 1e9 / THREADS;
    f->slow = slow > f->slow ? slow : f->slow;
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The times of the outage's calls, in order: of sick keys, of others, or of both. */
static size_t times_of(const struct scene *scene, bool sick, bool others, int64_t *times)
{
    size_t n = 0;

    for (int i = 0; i < THREADS; i++) {
        struct thread t = thread_of(scene, i);
        for (const struct call *c = t.calls; c < t.calls + t.count; c++)
            if (in_outage(scene, c) && (c->sick ? sick : others))
                times[n++] = took_ns(scene, c);
    }
    qsort(times, n, sizeof *times, by_size);
    return n;
}

static struct group group_of(const struct scene *scene, bool sick, int64_t *times)
{
    struct group g = {0};

    for (int i = 0; i < THREADS; i++) {
        struct thread t = thread_of(scene, i);
        for (const struct call *c = t.calls; c < t.calls + t.count; c++) {
            if (!in_outage(scene, c) || c->sick != sick)
                continue;
            g.failed += has_failed(c);
            g.gets += !c->set;
            g.hits += c->answer == ANSWER_HIT;
        }
    }
    g.calls = times_of(scene, sick, !sick, times);
    g.p99_ns = g.calls ? times[g.calls * 99 / 100] : 0;
    return g;
}

static void measure_times(struct figures *f, const struct scene *scene)
{
    int64_t *times = malloc((size_t)THREADS * CALLS_MAX * sizeof *times);

    if (!times) {
        perror("outage");
        exit(1);
    }
    size_t n = times_of(scene, true, true, times);
    if (n) {
        f->p50_ns = times[n / 2];
        f->p99_ns = times[n * 99 / 100];
        f->slowest_ns = times[n - 1];
    }
    f->sick = group_of(scene, true, times);
    f->others = group_of(scene, false, times);
    free(times);
}

/* ---- The fault is noticed, and its end --------------------------------------------------------------------- */

/* When the first of ten calls in a row began that all were fast; -1: no such row began within the outage. */
static int64_t fast_from(struct thread t)
{
    const struct call *first = NULL;
    int                row = 0;

    for (const struct call *c = t.calls; c < t.calls + t.count; c++) {
        if (c->start_ns < figures_from(t.scene) || !c->sick)
            continue;
        if (took_ns(t.scene, c) >= MS(FAST_MS)) {
            row = 0;
            continue;
        }
        first = row++ ? first : c;
        if (first->start_ns >= figures_to(t.scene))
            return -1;
        if (row == IN_A_ROW)
            return first->start_ns;
    }
    return -1;
}

static int64_t detect(const struct scene *scene)
{
    int64_t last = 0;

    for (int i = 0; i < THREADS; i++) {
        int64_t fast = fast_from(thread_of(scene, i));
        if (fast < 0)
            return -1;
        last = fast > last ? fast : last;
    }
    return last - figures_from(scene);
}

/* The first call after the fault that was answered; NULL: none. One that waited all the while does count. */
static const struct call *first_good(struct thread t)
{
    for (const struct call *c = t.calls; c < t.calls + t.count; c++)
        if (c->sick && c->end_ns > figures_to(t.scene) && !has_failed(c))
            return c;
    return NULL;
}

static void measure_healing(struct figures *f, const struct scene *scene)
{
    int good = 0;

    f->first_ns = f->all_ns = -1;
    for (int i = 0; i < THREADS; i++) {
        struct thread      t = thread_of(scene, i);
        const struct call *first = first_good(t);
        if (!first)
            continue;
        good++;
        int64_t after = first->end_ns - figures_to(scene);
        f->first_ns = f->first_ns < 0 || after < f->first_ns ? after : f->first_ns;
        f->all_ns = after > f->all_ns ? after : f->all_ns;
        for (const struct call *c = first; c < t.calls + t.count; c++)
            f->relapses += has_failed(c) && c->end_ns;
    }
    if (good < THREADS)
        f->all_ns = -1;
}

struct figures figures_of(const struct scene *scene)
{
    struct figures f = {0};

    for (int i = 0; i < THREADS; i++)
        count_all(&f, thread_of(scene, i));
    if (!scene->aways)
        return f;
    for (int i = 0; i < THREADS; i++)
        count_outage(&f, thread_of(scene, i));
    f.per_s = (double)f.returned / ((double)(figures_to(scene) - figures_from(scene)) / 1e9);
    measure_times(&f, scene);
    f.detect_ns = detect(scene);
    measure_healing(&f, scene);
    return f;
}
