/* figures.h - what one fault did to the application's calls.
 *
 *   slowest    the longest call of any thread to any server that ended from the fault on
 *   slow       calls to a server at fault, begun while it was away, that took more than half the timeout;
 *              of the thread that had most
 *   fast-fail  from SIGSTOP, or from when the first call failed after kill -9 (a process takes its time to die),
 *              until the last call to a server at fault was over that did not fail at once:
 *              that took 10 ms or more, or failed by finding out for itself (not MEND_E_DOWN)
 *   heal       from when the server serves again (it answered a question of ours; after SIGCONT: it was told
 *              to go on) until mend has said that it is back and a call of the application's was answered
 *   machine    by how much the machine itself was late: the worst of what the metronome noted, and of the
 *              time that one call's thread queued for a processor
 */
#ifndef DEMO_FIGURES_H
#define DEMO_FIGURES_H

#include "run.h"

enum { FIGURES_AT_ONCE_MS = 10 };

struct figures {
    size_t      calls, wrong;
    struct call slowest;
    int64_t     slowest_ns;
    unsigned    slow;
    int64_t     fast_fail_ns;      /* -1: mend did not find out */
    int64_t     heal_ns, outage_ns; /* of the server that took longest; heal -1: it never was back */
    int64_t     machine_ns;

    /* Of the calls to the servers that were well: */
    bool    others;                        /* are there any? */
    size_t  others_failed;
    int64_t others_slowest_ns;
    double  others_hits, others_hits_before; /* shares: during the fault, and in the second before it */
};

struct figures figures_of(struct run *run, const struct fault *fault);

/* The calls that ended in [from, to): the first of them, and how many. */
size_t figures_calls(const struct run *run, int64_t from_ns, int64_t to_ns, const struct call **first);

#endif
