/* histogram.h - how long calls took: 128 buckets to each doubling of the time, so that a bucket is 0.8 % wide.
 *
 * One thread adds; histograms are summed when the threads have ended.
 */
#ifndef SPEED_HISTOGRAM_H
#define SPEED_HISTOGRAM_H

#include <stdint.h>

enum { SUB_BITS = 7, SUBS = 1 << SUB_BITS, DOUBLINGS = 34 }; /* to 2^40 ns, which no run lasts */

struct histogram {
    uint64_t total;
    uint32_t counts[DOUBLINGS * SUBS];
};

static inline unsigned histogram_bucket(uint64_t ns)
{
    unsigned shift = 0;

    if (ns >= SUBS)
        shift = 63 - (unsigned)__builtin_clzll(ns) - SUB_BITS + 1;
    unsigned bucket = shift ? shift * SUBS + (unsigned)(ns >> (shift - 1)) - SUBS : (unsigned)ns;
    return bucket < DOUBLINGS * SUBS ? bucket : DOUBLINGS * SUBS - 1;
}

/* The middle of a bucket. */
static inline double histogram_ns(unsigned bucket)
{
    unsigned shift = bucket / SUBS;

    if (shift == 0)
        return bucket;
    return ((double)(bucket % SUBS + SUBS) + 0.5) * (double)(1ull << (shift - 1));
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    h->counts[histogram_bucket(ns)]++;
    h->total++;
}

static inline void histogram_sum(struct histogram *to, const struct histogram *h)
{
    for (unsigned i = 0; i < DOUBLINGS * SUBS; i++)
        to->counts[i] += h->counts[i];
    to->total += h->total;
}

/* The time within which that part of all calls ended; 0 if there were none. */
static inline double histogram_quantile_ns(const struct histogram *h, double part)
{
    uint64_t wanted = (uint64_t)((double)h->total * part), seen = 0;

    for (unsigned i = 0; i < DOUBLINGS * SUBS; i++)
        if ((seen += h->counts[i]) > wanted)
            return histogram_ns(i);
    return 0;
}

#endif
