/* metronome.h - how late this machine is by itself: a thread that sleeps a millisecond at a time, and notes by how
 * much it was woken too late. No call can be expected to be more punctual than that. */
#ifndef BENCH_METRONOME_H
#define BENCH_METRONOME_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct metronome {
    pthread_t       thread;
    _Atomic int64_t late_ns;
    atomic_bool     stop;
};

void    metronome_start(struct metronome *m);
int64_t metronome_late_ns(struct metronome *m); /* at worst, since this was last asked */
void    metronome_stop(struct metronome *m);

#endif
