/* client_libmemcached.c - libmemcached, as it comes and as its users tune it.
 *
 * A memcached_st is for one thread at a time: one is set up, and each thread has a clone of it, as the manual
 * (memcached_clone(3)) and the pool of libmemcachedutil do it. Every setting that the library does not take is an
 * error: what is compared must be what is said.
 */
#include "clients.h"

#include <libmemcached/memcached.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    memcached_behavior_t what;
    uint64_t             value;
};

/* As it comes: it waits 5 s for an answer and 4 s for a connection (MEMCACHED_DEFAULT_TIMEOUT and
 * MEMCACHED_DEFAULT_CONNECT_TIMEOUT in its defaults.h), tries a server that failed again after 2 s
 * (MEMCACHED_SERVER_FAILURE_RETRY_TIMEOUT), and removes none. */
static const struct setting plain[] = {{MEMCACHED_BEHAVIOR_MAX, 0}};

/* As users tune it who want an application to survive its cache: the settings that the guides for PHP's memcached
 * (Memcached::OPT_*) and for pylibmc ("behaviors") have in common, under timeouts and failover. The timeouts there are
 * anything from 50 ms to 2 s: here they are mend's, 100 ms. Where guides wait long before a server is tried again,
 * this takes the least that can be said, which is a second. Tried, and left out because nothing changed:
 * SERVER_TIMEOUT_LIMIT (a stopped server's kernel accepts connections, and each that is accepted clears its record),
 * and a failure limit of 1. */
static const struct setting tuned[] = {
    {MEMCACHED_BEHAVIOR_NO_BLOCK, 1},          /* OPT_NO_BLOCK, no_block */
    {MEMCACHED_BEHAVIOR_TCP_NODELAY, 1},       /* OPT_TCP_NODELAY, tcp_nodelay: in every guide */
    {MEMCACHED_BEHAVIOR_TCP_KEEPALIVE, 1},     /* OPT_TCP_KEEPALIVE, tcp_keepalive */
    {MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, 100}, /* OPT_CONNECT_TIMEOUT, connect_timeout: milliseconds */
    {MEMCACHED_BEHAVIOR_POLL_TIMEOUT, 100},    /* OPT_POLL_TIMEOUT, _poll_timeout: milliseconds, for each wait */
    {MEMCACHED_BEHAVIOR_SND_TIMEOUT, 100000},  /* OPT_SEND_TIMEOUT, send_timeout: microseconds */
    {MEMCACHED_BEHAVIOR_RCV_TIMEOUT, 100000},  /* OPT_RECV_TIMEOUT, receive_timeout: microseconds */

    /* OPT_LIBKETAMA_COMPATIBLE, ketama: a server that is removed takes away its own keys only. */
    {MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1},
    /* OPT_RETRY_TIMEOUT, retry_timeout: seconds that a server which failed is left alone; 1 and 2 are usual. */
    {MEMCACHED_BEHAVIOR_RETRY_TIMEOUT, 1},
    /* OPT_SERVER_FAILURE_LIMIT: so many failures in a row, and it is dead; 1 to 5 are usual. */
    {MEMCACHED_BEHAVIOR_SERVER_FAILURE_LIMIT, 2},
    /* OPT_REMOVE_FAILED_SERVERS, remove_failed: the keys of the dead go to the others. */
    {MEMCACHED_BEHAVIOR_REMOVE_FAILED_SERVERS, 1},
    /* OPT_DEAD_TIMEOUT, dead_timeout: seconds until the dead is let in again. Without it, that is never. */
    {MEMCACHED_BEHAVIOR_DEAD_TIMEOUT, 1},
    {MEMCACHED_BEHAVIOR_MAX, 0},
};

struct session {
    memcached_st *cache;
    char         *value; /* of the last hit */
};

static memcached_return_t set_up(memcached_st *cache, const struct setting *settings, const char *servers)
{
    memcached_return_t       rc = MEMCACHED_SUCCESS;
    memcached_server_list_st list = memcached_servers_parse(servers);

    if (!list)
        return MEMCACHED_MEMORY_ALLOCATION_FAILURE;
    for (const struct setting *s = settings; rc == MEMCACHED_SUCCESS && s->what != MEMCACHED_BEHAVIOR_MAX; s++)
        rc = memcached_behavior_set(cache, s->what, s->value);
    if (rc == MEMCACHED_SUCCESS)
        rc = memcached_server_push(cache, list);
    memcached_server_list_free(list);
    return rc;
}

static void *open_with(const struct setting *settings, const char *servers)
{
    memcached_st *cache = memcached_create(NULL);

    if (!cache)
        return NULL;
    memcached_return_t rc = set_up(cache, settings, servers);
    if (rc == MEMCACHED_SUCCESS)
        return cache;
    fprintf(stderr, "outage: libmemcached: %s\n", memcached_strerror(cache, rc));
    memcached_free(cache);
    return NULL;
}

static void *open_plain(const char *servers)
{
    return open_with(plain, servers);
}

static void *open_tuned(const char *servers)
{
    return open_with(tuned, servers);
}

static void *join(void *cache)
{
    struct session *s = calloc(1, sizeof *s);

    if (s && (s->cache = memcached_clone(NULL, cache)))
        return s;
    free(s);
    return NULL;
}

static struct said get(void *session, const char *key)
{
    struct session    *s = session;
    size_t             length = 0;
    uint32_t           flags;
    memcached_return_t rc;

    free(s->value);
    s->value = memcached_get(s->cache, key, strlen(key), &length, &flags, &rc);
    if (rc == MEMCACHED_SUCCESS)
        return (struct said){ANSWER_HIT, (int)rc, s->value ? s->value : "", length}; /* an empty value is NULL */
    return (struct said){.answer = rc == MEMCACHED_NOTFOUND ? ANSWER_MISS : ANSWER_FAILED, .code = (int)rc};
}

static struct said set(void *session, const char *key, const char *value, size_t length)
{
    struct session    *s = session;
    memcached_return_t rc = memcached_set(s->cache, key, strlen(key), value, length, 0, 0);
    bool               refused = rc == MEMCACHED_NOTSTORED || rc == MEMCACHED_DATA_EXISTS || rc == MEMCACHED_E2BIG;

    return (struct said){.code = (int)rc, .answer = rc == MEMCACHED_SUCCESS ? ANSWER_STORED : refused ? ANSWER_REFUSED : ANSWER_FAILED};
}

static int port(void *session, const char *key)
{
    struct session              *s = session;
    memcached_return_t           rc;
    const memcached_instance_st *server = memcached_server_by_key(s->cache, key, strlen(key), &rc);

    return server ? memcached_server_port(server) : 0; /* rc is only written if there is none */
}

static void leave(void *session)
{
    struct session *s = session;

    memcached_free(s->cache);
    free(s->value);
    free(s);
}

static void close_cache(void *cache)
{
    memcached_free(cache);
}

static const char *words(int code)
{
    return memcached_strerror(NULL, (memcached_return_t)code);
}

const struct client client_libmemcached = {
    "libmemcached", "libmemcached", open_plain, join, get, set, port, leave, close_cache, words,
};
const struct client client_libmemcached_tuned = {
    "libmemcached_tuned", "libmemcached, tuned", open_tuned, join, get, set, port, leave, close_cache, words,
};
