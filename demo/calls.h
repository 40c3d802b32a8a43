/* calls.h - what the application remembers of each of its calls.
 *
 * Every thread writes a list of its own, to which it only ever adds; others may
 * read it at the same time, from a mark of their own. Knows neither mend nor
 * what a fault is.
 *
 *     writer   calls_open   calls_add ...                          calls_close
 *     reader   mark = calls_mark(list)   calls_next(&mark) ... NULL: no more for now
 *     after    calls_gather: the lists of all threads as one array, in the order of the calls' ends
 */
#ifndef DEMO_CALLS_H
#define DEMO_CALLS_H

#include <stddef.h>
#include <stdint.h>

enum { SERVERS = 3 }; /* called A, B and C; bit s of a set of servers is the s-th */

struct call {
    int64_t     start_ns, end_ns;
    int64_t     queued_ns; /* its thread could have run, but had no processor: known of calls of a millisecond or more */
    const char *what;      /* "get" */
    int         status;    /* what mend returned */
    uint8_t     thread;
    uint8_t     asked;     /* the servers that its keys live on... */
    uint8_t     failed;    /* ...those that did not answer for one... */
    uint8_t     paid;      /* ...and of these, those that it had to find out about: not MEND_E_DOWN */
    uint8_t     items;     /* keys read... */
    uint8_t     hits;      /* ...found... */
    uint8_t     fallbacks; /* ...and not answered for, so that the database was asked as if there were no cache */
    uint8_t     wrong;     /* answers that were not the truth */
};

struct calls {
    struct calls_page *first, *last;
};

struct calls_mark {
    struct calls_page *page;
    size_t             n;
};

void               calls_open(struct calls *list);
void               calls_add(struct calls *list, const struct call *call);
void               calls_close(struct calls *list);
struct calls_mark  calls_mark(const struct calls *list);
const struct call *calls_next(struct calls_mark *mark);
size_t             calls_gather(const struct calls *const *lists, size_t n, struct call **all); /* to be freed */

/* A stretch of calls in a few figures; all zero for no calls. */
struct calls_summary {
    size_t  calls, items, hits, fallbacks, wrong;
    int64_t p50_ns, p99_ns, slowest_ns;
};

struct calls_summary calls_summary(const struct call *calls, size_t n);

/* Memory, or the end of the program: a demonstration that forgets calls demonstrates nothing. */
void *calls_memory(void *old, size_t bytes);

#endif
