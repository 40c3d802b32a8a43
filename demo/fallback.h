/* fallback.h - what a database bears behind the cache: by mend_fetch, and by a get, a load and a set.
 *
 * Many threads read the same few records through a client of their own, and now and then one is written in the
 * database and deleted from the cache. Every load is counted, every answer checked. Knows nothing of faults:
 * whoever starts it brings them about, and says from when on they count.
 *
 *     fallback_start(&plan, why, sizeof why)     fallback_count(f), as the fault begins     fallback_stop(f, &figures)
 */
#ifndef DEMO_FALLBACK_H
#define DEMO_FALLBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FALLBACK_THREADS = 24,
    FALLBACK_RECORDS = 40, /* that all of them read */
    FALLBACK_LOADS_MAX = 4,      /* mend_fetch's own bound on loads at once */
    FALLBACK_LOCAL_TTL_MS = 100, /* ...and for how long it keeps one while there is no cache */
};

struct fallback_plan {
    const char *servers;
    int         timeout_ms;
    bool        fetches; /* by mend_fetch; else by hand */
};

/* From fallback_count on. */
struct fallback_figures {
    size_t   reads, loads;
    unsigned loads_most;  /* at once */
    int64_t  slowest_ns;  /* read, its load included */
    size_t   stale;       /* answers older than a write whose delete had returned before the read began */
    size_t   wrong;       /* answers that the record never was */
    size_t   unanswered;
};

struct fallback;

struct fallback *fallback_start(const struct fallback_plan *plan, char *why, size_t why_bytes); /* NULL, and why in words */
void             fallback_count(struct fallback *f);
void             fallback_stop(struct fallback *f, struct fallback_figures *figures);

#endif
