#include "metronome.h"

#include <stdbool.h>
#include <stddef.h>

#include "clock.h"

static size_t bar(const struct metronome *m, int64_t at_ns)
{
    int64_t n = (at_ns - m->started_ns) / MS(10);
    return n < 0 ? 0 : n < METRONOME_BARS ? (size_t)n : METRONOME_BARS - 1;
}

/* Lateness belongs to all of the time during which it grew. */
static void note(struct metronome *m, int64_t from_ns, int64_t to_ns, int64_t late_ns)
{
    for (size_t i = bar(m, from_ns); i <= bar(m, to_ns); i++)
        if (late_ns > atomic_load(&m->late_ns[i]))
            atomic_store(&m->late_ns[i], late_ns);
}

static void *beat(void *arg)
{
    struct metronome *m = arg;
    while (!atomic_load(&m->stop)) {
        int64_t slept = clock_now();
        clock_sleep_until(slept + MS(1));
        int64_t woke = clock_now();
        note(m, slept, woke, woke - slept - MS(1));
    }
    return NULL;
}

int metronome_start(struct metronome *m)
{
    m->started_ns = clock_now();
    return pthread_create(&m->thread, NULL, beat, m);
}

void metronome_stop(struct metronome *m)
{
    atomic_store(&m->stop, true);
    pthread_join(m->thread, NULL);
}

int64_t metronome_worst_ns(const struct metronome *m, int64_t from_ns, int64_t to_ns)
{
    int64_t worst = 0;
    for (size_t i = bar(m, from_ns); i <= bar(m, to_ns); i++)
        if (atomic_load(&m->late_ns[i]) > worst)
            worst = atomic_load(&m->late_ns[i]);
    return worst;
}
