/* metronome.h - how late the machine itself is.
 *
 * A thread that sleeps a millisecond at a time, and then has another one echo a byte: it
 * is woken, wakes, and is woken again, as the thread of a call is; and it notes how much
 * longer than the millisecond that took. On a loaded machine calls are kept waiting just
 * so, which is no fault of a library's: neither to be blamed on it, nor to be kept quiet
 * about.
 */
#ifndef DEMO_METRONOME_H
#define DEMO_METRONOME_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { METRONOME_BARS = 20000 }; /* of 10 ms: 200 s, and the last one is for what comes later */

struct metronome {
    pthread_t        beating, echoing;
    int              ends[2]; /* of a pair of sockets */
    atomic_bool      stop;
    int64_t          started_ns;
    _Atomic(int64_t) late_ns[METRONOME_BARS]; /* the worst in each 10 ms */
};

bool    metronome_start(struct metronome *m);
void    metronome_stop(struct metronome *m);
int64_t metronome_worst_ns(const struct metronome *m, int64_t from_ns, int64_t to_ns);

#endif
