/* metronome.h - how late the machine itself is.
 *
 * A thread that does nothing but sleep a millisecond at a time, and notes how much
 * longer that took. On a loaded machine a call's thread is kept waiting just so, which
 * is no fault of a library's: neither to be blamed on it, nor to be kept quiet about.
 */
#ifndef DEMO_METRONOME_H
#define DEMO_METRONOME_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum { METRONOME_BARS = 20000 }; /* of 10 ms: 200 s, and the last one is for what comes later */

struct metronome {
    pthread_t        thread;
    atomic_bool      stop;
    int64_t          started_ns;
    _Atomic(int64_t) late_ns[METRONOME_BARS]; /* the worst in each 10 ms */
};

int     metronome_start(struct metronome *m); /* 0, or an errno */
void    metronome_stop(struct metronome *m);
int64_t metronome_worst_ns(const struct metronome *m, int64_t from_ns, int64_t to_ns);

#endif
