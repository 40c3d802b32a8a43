/* figures.h - what a scene's calls amount to. Pure counting: all that is judged is in the scene's log.
 *
 * "The outage" is from the fault's beginning to its end, pauses included. A call belongs to it that was under way at
 * any time of it; where the fault befalls one server of several, "sick" are the keys that live there.
 */
#ifndef OUTAGE_FIGURES_H
#define OUTAGE_FIGURES_H

#include <stddef.h>

#include "scene.h"

struct group { /* calls for the keys of the sick server, or of the others, during the outage */
    size_t  calls, failed, gets, hits;
    int64_t p99_ns;
};

struct figures {
    size_t  calls;                       /* in the whole scene */
    size_t  returned;                    /* during the outage... */
    double  per_s;                       /* ...each second, of all threads */
    int64_t p50_ns, p99_ns, slowest_ns;  /* of the outage's calls, each to its very end */
    double  waited_s;                    /* a thread's part of the outage that was spent in calls */
    size_t  slow;                        /* the outage's calls over SLOW_MS, of the thread that had most */
    size_t  failed;                      /* of the outage's calls */
    int64_t detect_ns; /* fault to when every thread's calls for sick keys are back under 1 ms, ten in a row; -1: not before its end */
    int64_t first_ns;  /* the fault's end to the end of the first call for a sick key that was then answered; -1: none */
    int64_t all_ns;    /* the same, until every thread had one */
    size_t  relapses;  /* calls that failed, of threads that had had one */
    size_t  hanging;   /* calls that never returned */
    size_t  wrong, stale, outdated;
    size_t  refused;   /* by a server: there should be none */
    struct group sick, others;
};

struct figures figures_of(const struct scene *scene);

int64_t figures_from(const struct scene *scene); /* of the outage; 0: it never began */
int64_t figures_to(const struct scene *scene);

#endif
