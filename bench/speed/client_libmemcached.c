/* client_libmemcached.c - libmemcached 1.x, three ways: a handle per thread as it comes, one that is tuned, its pool.
 *
 * With several servers each uses the weighted ketama, so that the same keys live on the same servers as with mend.
 * memcached_get's value is malloc'd, and freed here: that is its interface. There is no multi-set with answers: its
 * buffered requests give none, so those cases are not asked of it.
 */
#include "client.h"

#include <libmemcached/memcached.h>
#include <libmemcached/util.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct handle {
    memcached_st        *own;  /* a handle of the thread's, or... */
    memcached_pool_st   *pool; /* ...where to fetch one for each call */
    memcached_result_st  result;
    memcached_st        *result_of;
    const char         **keys;
    size_t              *lengths;
    char                *value; /* of the last get */
};

static memcached_st *handle_for(const struct target *t, bool tuned)
{
    memcached_st *m = must_have(memcached_create(NULL));
    char          host[64];
    int           port;

    if (t->server_count > 1)
        memcached_behavior_set(m, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1);
    if (tuned) {
        memcached_behavior_set(m, MEMCACHED_BEHAVIOR_NO_BLOCK, 1);
        memcached_behavior_set(m, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
        memcached_behavior_set(m, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 0);
    }
    for (unsigned s = 0; s < t->server_count; s++)
        if (strncmp(t->servers[s], "unix:", 5) == 0)
            memcached_server_add_unix_socket(m, t->servers[s] + 5);
        else if (sscanf(t->servers[s], "%63[^:]:%d", host, &port) == 2)
            memcached_server_add(m, host, (in_port_t)port);
    return m;
}

static struct handle *handle_new(const struct target *t)
{
    struct handle *h = must_have(calloc(1, sizeof *h));

    h->keys = must_have(calloc(t->batch + 1, sizeof *h->keys));
    h->lengths = must_have(calloc(t->batch + 1, sizeof *h->lengths));
    for (size_t i = 0; i < t->batch; i++) {
        h->keys[i] = t->items[i].key;
        h->lengths[i] = t->items[i].key_bytes;
    }
    return h;
}

static void *join_plain(void *shared, const struct target *t)
{
    struct handle *h = handle_new(t);
    (void)shared;
    h->own = handle_for(t, false);
    return h;
}

static void *join_tuned(void *shared, const struct target *t)
{
    struct handle *h = handle_new(t);
    (void)shared;
    h->own = handle_for(t, true);
    return h;
}

static void *join_pool(void *shared, const struct target *t)
{
    struct handle *h = handle_new(t);
    h->pool = shared;
    return h;
}

static void *open_pool(const struct target *t)
{
    memcached_st *master = handle_for(t, true);
    return must_have(memcached_pool_create(master, t->threads, t->threads));
}

static void close_pool(void *shared)
{
    memcached_free(memcached_pool_destroy(shared));
}

static void leave(void *mine)
{
    struct handle *h = mine;

    free(h->value);
    if (h->result_of)
        memcached_result_free(&h->result);
    if (h->own)
        memcached_free(h->own);
    free(h->keys);
    free(h->lengths);
    free(h);
}

static memcached_st *take(struct handle *h)
{
    memcached_return_t rc;
    return h->own ? h->own : memcached_pool_fetch(h->pool, NULL, &rc); /* waits for one */
}

static void give(struct handle *h, memcached_st *m)
{
    if (!h->own)
        memcached_pool_release(h->pool, m);
}

static enum outcome get(void *mine, const struct item *item, struct answer *a)
{
    struct handle     *h = mine;
    memcached_st      *m = take(h);
    memcached_return_t rc = MEMCACHED_FAILURE;
    uint32_t           flags;

    free(h->value);
    h->value = NULL;
    if (!m)
        return FAILED;
    h->value = memcached_get(m, item->key, item->key_bytes, &a->bytes, &flags, &rc);
    a->data = h->value;
    give(h, m);
    return rc == MEMCACHED_SUCCESS ? HIT : rc == MEMCACHED_NOTFOUND ? MISS : FAILED;
}

static enum outcome set(void *mine, const struct item *item)
{
    struct handle     *h = mine;
    memcached_st      *m = take(h);
    memcached_return_t rc = MEMCACHED_FAILURE;

    if (!m)
        return FAILED;
    rc = memcached_set(m, item->key, item->key_bytes, item->value, item->value_bytes, 0, 0);
    give(h, m);
    return rc == MEMCACHED_SUCCESS ? DONE : FAILED;
}

static enum outcome drop(void *mine, const struct item *item)
{
    struct handle     *h = mine;
    memcached_st      *m = take(h);
    memcached_return_t rc = MEMCACHED_FAILURE;

    if (!m)
        return FAILED;
    rc = memcached_delete(m, item->key, item->key_bytes, 0);
    give(h, m);
    return rc == MEMCACHED_SUCCESS || rc == MEMCACHED_NOTFOUND ? DONE : FAILED;
}

/* The result is used again and again, which spares it an allocation a key. */
static memcached_result_st *result_for(struct handle *h, memcached_st *m)
{
    if (h->result_of != m) {
        if (h->result_of)
            memcached_result_free(&h->result);
        memcached_result_create(m, &h->result);
        h->result_of = m;
    }
    return &h->result;
}

/* They come in the servers' order, each with its key; a value begins with the name of its key. */
static bool names_its_key(memcached_result_st *result, size_t bytes)
{
    size_t key_bytes = memcached_result_key_length(result);
    return memcached_result_length(result) == bytes &&
           memcmp(memcached_result_value(result), memcached_result_key_value(result), key_bytes) == 0;
}

static size_t get_multi(void *mine, const struct target *t)
{
    struct handle       *h = mine;
    memcached_st        *m = take(h);
    memcached_return_t   rc;
    memcached_result_st *result;
    size_t               right = 0;

    if (!m)
        return 0;
    if (memcached_mget(m, h->keys, h->lengths, t->batch) == MEMCACHED_SUCCESS)
        while ((result = memcached_fetch_result(m, result_for(h, m), &rc)) != NULL)
            right += names_its_key(result, t->items[0].value_bytes);
    give(h, m);
    return right;
}

const struct client client_libmemcached = {
    .name = "libmemcached", .join = join_plain, .leave = leave,
    .get = get, .set = set, .delete = drop, .get_multi = get_multi,
};

const struct client client_libmemcached_tuned = {
    .name = "libmemcached-tuned", .join = join_tuned, .leave = leave,
    .get = get, .set = set, .delete = drop, .get_multi = get_multi,
};

const struct client client_libmemcached_pool = {
    .name = "libmemcached-pool", .open = open_pool, .join = join_pool, .leave = leave, .close = close_pool,
    .get = get, .set = set, .delete = drop, .get_multi = get_multi,
};
