/* client.h - what the benchmark asks of a client, whichever it is: a table of functions.
 *
 * Knows no clock and no client's name. A client is opened once, and each thread joins it:
 *
 *     open     what all threads share (NULL if there is no such thing)
 *     join     what one thread calls with: a handle, a socket, a reply
 *     get ...  one call: it says what the server said
 *     leave, close
 *
 * A client that can't do a case leaves its function NULL.
 */
#ifndef SPEED_CLIENT_H
#define SPEED_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum { SERVERS_MAX = 16, KEY_ROOM = 32 };

struct item {
    char        key[KEY_ROOM];
    size_t      key_bytes;
    const char *value;
    size_t      value_bytes;
    unsigned    server; /* the one that the ring gives it, so that all clients ask the same ones the same keys */
};

/* What is measured against: servers, and what is stored there. */
struct target {
    const char        *servers[SERVERS_MAX]; /* "host:port" or "unix:/path" */
    unsigned           server_count;
    unsigned           threads;
    const struct item *items;
    size_t             item_count;
    size_t             batch; /* a multi-call is for items[0..batch) */
};

enum outcome { FAILED, HIT, MISS, DONE };

struct answer {
    const char *data; /* valid until the thread's next call */
    size_t      bytes;
};

struct client {
    const char *name;
    void *(*open)(const struct target *target);
    void *(*join)(void *shared, const struct target *target);
    enum outcome (*get)(void *mine, const struct item *item, struct answer *answer);
    enum outcome (*set)(void *mine, const struct item *item);
    enum outcome (*delete)(void *mine, const struct item *item); /* DONE whether it was there or not */
    size_t (*get_multi)(void *mine, const struct target *target); /* how many came, and were right */
    size_t (*set_multi)(void *mine, const struct target *target); /* how many were stored */
    size_t (*delete_multi)(void *mine, const struct target *target);
    void (*leave)(void *mine);
    void (*close)(void *shared);
    bool (*ready)(void *shared, bool down); /* opened in the background: is it there? NULL: at once */
};

extern const struct client client_loop, client_floor, client_floor_meta, client_crowd, client_mend, client_mend_idle,
    client_libmemcached, client_libmemcached_tuned, client_libmemcached_pool;

/* Is it the value of that item? Its length, its beginning (which names the key) and its end: a client that is fast
 * and wrong must not win, and one that compares a megabyte would be measured for that. */
bool item_is(const struct item *item, const char *data, size_t bytes);

/* Memory, or the end of the run. */
void *must_have(void *p);

#endif
