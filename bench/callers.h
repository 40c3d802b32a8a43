/* callers.h - threads that read through one client, and a log of every call.
 *
 *     keys_fill(keys, client, version)       values that name their key and version; learns where each key lives
 *     callers_start(&c, client, keys, n)     n threads, each with its own pace
 *     callers_stop(&c)                       c.calls[0..count), in no order
 *     callers_free(&c)
 *
 * Each thread begins a call in fixed steps, so that all of them together begin CALLS_A_SECOND and two cores
 * have room left: what is measured is the client, not the queue for a processor.
 */
#ifndef BENCH_CALLERS_H
#define BENCH_CALLERS_H

#include <mend.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    SERVERS = 3,
    CALLERS_MAX = 16,
    CALLS_A_SECOND = 4000,
    KEYS = 96,
    VALUE_MAX_BYTES = 1024,
};

struct key {
    char    name[24];
    uint8_t server; /* index in the list of servers */
};

struct keys {
    struct key at[KEYS];
    unsigned   version;
};

struct call {
    int64_t     start_ns, end_ns;
    mend_status status;
    uint8_t     server, thread;
    bool        wrong; /* the answer is that to no question, or to another */
};

struct caller {
    struct callers *all;
    pthread_t       thread;
    uint8_t         index;
    uint32_t        chance;
    int64_t         begin_ns;
    struct call    *calls;
    size_t          count;
};

struct callers {
    mend_client       *client;
    const struct keys *keys;
    unsigned           threads;
    struct caller      at[CALLERS_MAX];
    atomic_bool        stop;
    struct call       *calls;
    size_t             count;
};

/* names: the servers', in the order of the list. False: a value could not be stored. */
bool keys_fill(struct keys *keys, mend_client *client, const char *const names[SERVERS], unsigned version);

void callers_start(struct callers *c, mend_client *client, const struct keys *keys, unsigned threads);
void callers_stop(struct callers *c);
void callers_free(struct callers *c);

#endif
