/* histogram.h - how long things took: buckets that grow with the time.
 *
 * Knows no clock, no threads and no counts: only which bucket a time belongs to, and what a bucket stands for.
 * Buckets are 1 us wide up to 8 us; then each doubling of the time has 8 of them, so that a time is known to an
 * eighth of itself. This is HdrHistogram's form, with 3 bits.
 */
#ifndef MEND_CORE_HISTOGRAM_H
#define MEND_CORE_HISTOGRAM_H

#include "core/time.h"

enum {
    HISTOGRAM_SUB_BITS = 3,
    HISTOGRAM_SUBS = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_DOUBLINGS = 23, /* to 2^26 us, some 67 s: longer than a call is let to take */
    HISTOGRAM_BUCKETS = (1 + HISTOGRAM_DOUBLINGS) * HISTOGRAM_SUBS
};

/* Which bucket; what is longer than all is in the last. */
static inline unsigned histogram_bucket(nstime took)
{
    uint64_t us = took > 0 ? (uint64_t)took / 1000 : 0;

    if (us < HISTOGRAM_SUBS)
        return (unsigned)us;
    unsigned halvings = 63 - HISTOGRAM_SUB_BITS - (unsigned)__builtin_clzll(us);
    unsigned bucket = halvings * HISTOGRAM_SUBS + (unsigned)(us >> halvings);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The times of a bucket are shorter than this; NEVER: of the last. */
static inline nstime histogram_end(unsigned bucket)
{
    if (bucket == HISTOGRAM_BUCKETS - 1)
        return NEVER;
    if (bucket < HISTOGRAM_SUBS)
        return ((nstime)bucket + 1) * 1000;
    unsigned halvings = bucket / HISTOGRAM_SUBS - 1;
    return (nstime)((uint64_t)(bucket % HISTOGRAM_SUBS + HISTOGRAM_SUBS + 1) << halvings) * 1000;
}

#endif
