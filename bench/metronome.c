/* metronome.c - see metronome.h. */
#include "metronome.h"

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>

static void *beat(void *arg)
{
    struct metronome *m = arg;

    while (!atomic_load(&m->stop)) {
        int64_t due = clock_now() + MS(1);
        clock_sleep_until(due);
        int64_t late = clock_now() - due;
        if (late > atomic_load(&m->late_ns))
            atomic_store(&m->late_ns, late);
    }
    return NULL;
}

void metronome_start(struct metronome *m)
{
    atomic_init(&m->late_ns, 0);
    atomic_init(&m->stop, false);
    if ((errno = pthread_create(&m->thread, NULL, beat, m)) != 0) {
        perror("bench: a metronome");
        exit(1);
    }
}

int64_t metronome_late_ns(struct metronome *m)
{
    return atomic_exchange(&m->late_ns, 0);
}

void metronome_stop(struct metronome *m)
{
    atomic_store(&m->stop, true);
    pthread_join(m->thread, NULL);
}
