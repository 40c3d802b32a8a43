/* round.h - one fault, from a fresh client to its healing, and what it did to the calls.
 *
 * Three memcacheds, one client, some threads that read. One server is killed or stopped, brought back after a
 * while, and once the client has it back the calls are looked through:
 *
 *   slowest     the longest call of any thread to any server, from the fault on
 *   slow        calls that took more than half the timeout, of the thread that had most
 *   fast-fail   from the first call that failed (a kill) or from the stop, until the last call to the server was
 *               over that did not fail at once: that failed by finding out for itself, or took 5 ms longer than
 *               the machine was late
 *   heal        from when the server served again (it answered a question of ours; for SIGCONT: it was sent) until
 *               the first call to it was answered. 0: before we had our own answer
 *   relapses    calls to it that failed after that
 *   others      calls to the two that were well: failed, missed, and their times beside those before the fault
 *   machine     by how much a thread that slept was woken too late, at worst, in the same time
 */
#ifndef BENCH_ROUND_H
#define BENCH_ROUND_H

#include "callers.h"

#include "support/memcached.h"

enum { TIMEOUT_MS = 100 };

struct fault {
    const char *id, *words;
    bool        hangs; /* SIGSTOP and SIGCONT; else kill -9 and a new process */
    int         least_ms, most_ms; /* how long it is away */
};

struct times {
    int64_t p99_ns, slowest_ns;
};

struct outcome {
    size_t       calls, wrong;
    int64_t      slowest_ns;
    unsigned     slow;
    int64_t      fast_fail_ns; /* -1: no call failed */
    int64_t      heal_ns;      /* -1: it was not back within 4 s */
    int64_t      outage_ns;    /* how long it was away in the end: a restart takes its time */
    size_t       relapses;
    size_t       others_failed, others_missed;
    struct times others, others_before;
    int64_t      machine_ns;
};

/* number: of the round; it chooses the server, the length of the outage and the values. */
struct outcome round_run(const struct fault *fault, unsigned threads, struct memcached at[SERVERS], unsigned number);

#endif
