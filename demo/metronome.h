/* metronome.h - how late the machine itself is.
 *
 * Where more wants to run than there are processors, calls are kept waiting, which is no
 * fault of a library's: neither to be blamed on it, nor to be kept quiet about. So:
 *
 *   - A thread sleeps a millisecond at a time, and then has another one echo a byte: it is
 *     woken, wakes, and is woken again, as the thread of a call is. By how much that took
 *     longer than the millisecond, so late is the machine.
 *   - The kernel says of every thread how long it could have run, but had to queue for a
 *     processor. It is asked about the threads of the servers, and by the application's
 *     threads about themselves. One thread may queue for long while no other does.
 */
#ifndef DEMO_METRONOME_H
#define DEMO_METRONOME_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "calls.h"

enum {
    METRONOME_BARS = 20000,     /* of 10 ms: 200 s, and the last one is for what comes later */
    METRONOME_THREADS_MAX = 24, /* of a server; memcached -t 1 has about ten */
};

struct metronome_server {
    int     count;
    int     queue[METRONOME_THREADS_MAX]; /* descriptors, one a thread */
    int64_t queued_ns[METRONOME_THREADS_MAX];
};

struct metronome {
    pthread_t               beating, echoing;
    int                     ends[2]; /* of a pair of sockets */
    atomic_bool             stop;
    int64_t                 started_ns;
    pthread_mutex_t         following;
    struct metronome_server servers[SERVERS];
    _Atomic(int64_t)        late_ns[METRONOME_BARS]; /* the worst in each 10 ms */
};

bool    metronome_start(struct metronome *m);
void    metronome_stop(struct metronome *m);
void    metronome_follow(struct metronome *m, int server, pid_t pid); /* in place of the one before it; 0: of none */
int64_t metronome_worst_ns(const struct metronome *m, int64_t from_ns, int64_t to_ns);

int     metronome_own_queue(void);          /* a descriptor for the calling thread; -1 where the kernel does not say */
int64_t metronome_queued_ns(int own_queue); /* in all its life */

#endif
