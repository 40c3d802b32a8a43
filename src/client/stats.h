/* stats.h - what calls came to: counted as they end, read without stopping anybody.
 *
 * Knows no protocol and no health. Whoever ends a call counts it once, in the tally of its thread:
 *
 *     stats_tally   which one that is, of this server
 *     stats_count   what came of so many calls
 *     stats_weight  ...whether one of them is to be timed
 *     stats_took    ...how long that took
 *
 * Counters only rise, and are added to without a lock or an order. Threads divide among a few sets of them (the
 * stripe of their pin), so that two seldom want the same cache line; whoever reads sums the sets. So each number
 * is exact, but they are not of one moment.
 */
#ifndef MEND_CLIENT_STATS_H
#define MEND_CLIENT_STATS_H

#include <stdatomic.h>

#include "client/routing.h"
#include "core/histogram.h"
#include "core/wire.h"
#include "mend.h"
#include "world/pump.h"

enum {
    STATS_STRIPES = 8,
    STATS_WORST = -MEND_E_LOADER,              /* outcomes are statuses, from this far below 0... */
    STATS_OUTCOMES = STATS_WORST + MEND_ABSENT + 1, /* ...to the highest */
};

struct stats {
    struct tally {
        _Atomic uint64_t calls[MEND_OPERATIONS][STATS_OUTCOMES];
        _Atomic uint64_t took[HISTOGRAM_BUCKETS], took_ns;
    } stripe[STATS_STRIPES];
    struct traffic   traffic;      /* of all its links */
    _Atomic uint64_t retries;      /* questions that were asked once more */
    _Atomic uint64_t gutter_calls; /* calls for its keys that a gutter was asked */
};

extern const unsigned char stats_operation[WIRE_VERBS]; /* enum mend_operation */

static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* By what the call is pinned with: that is a cache line apart for the threads of another stripe. */
static inline struct tally *stats_tally(struct stats *stats, struct pin pin)
{
    return &stats->stripe[(uintptr_t)pin.counted / PIN_STRIPE_BYTES % STATS_STRIPES];
}

/* n calls ended so. Returns how many had before. */
static inline uint64_t stats_count(struct tally *t, unsigned operation, mend_status status, size_t n)
{
    return atomic_fetch_add_explicit(&t->calls[operation][status + STATS_WORST], n, memory_order_relaxed);
}

/* For how many calls one is to be timed that so many others have ended like; 0: it is not. The first of a kind are all
 * timed, so that what is rare is known exactly; of what is not, one of eight, since the clock costs more than all counters. */
static inline unsigned stats_weight(uint64_t before)
{
    enum { ALL_OF_FIRST = 64, ONE_OF = 8 };
    return before < ALL_OF_FIRST ? 1 : before % ONE_OF == ONE_OF - 1 ? ONE_OF : 0;
}

/* A call, or its part at this server, took so long, waiting for a turn included; and it stands for so many. */
static inline void stats_took(struct tally *t, nstime took, unsigned weight)
{
    stats_add(&t->took[histogram_bucket(took)], weight);
    stats_add(&t->took_ns, (uint64_t)took * weight);
}

/* What an application is told of one server, and the memory that it is in. */
struct stats_told {
    mend_server_stats stats;
    mend_server       server;
    char              why[128];
    mend_calls        calls[MEND_OPERATIONS];
    mend_bucket       latency[HISTOGRAM_BUCKETS];
};

/* Fills it in. It points into itself. */
void stats_tell(struct server *s, nstime now, struct stats_told *told);

#endif
