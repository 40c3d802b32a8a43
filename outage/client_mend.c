/* client_mend.c - mend with its defaults: one client for all threads, and a reply for each. */
#include "clients.h"

#include <mend.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session {
    mend_client *cache;
    mend_reply   reply;
};

static void *open_cache(const char *servers)
{
    mend_client *cache;
    mend_reply   r = MEND_REPLY;

    if (mend_open(&MEND_CONFIG(.servers = servers), &cache, &r) < 0)
        fprintf(stderr, "outage: mend: %s\n", r.error);
    mend_reply_free(&r);
    return cache;
}

static void *join(void *cache)
{
    struct session *s = malloc(sizeof *s);

    if (s)
        *s = (struct session){.cache = cache, .reply = MEND_REPLY};
    return s;
}

static struct said get(void *session, const char *key)
{
    struct session *s = session;
    struct said     said = {.answer = ANSWER_REFUSED, .code = mend_get(s->cache, mend_str(key), &s->reply)};

    if (said.code == MEND_OK)
        said = (struct said){ANSWER_HIT, said.code, s->reply.data, s->reply.len};
    else if (said.code == MEND_MISS)
        said.answer = ANSWER_MISS;
    else if (said.code < 0)
        said.answer = ANSWER_FAILED;
    return said;
}

static struct said set(void *session, const char *key, const char *value, size_t length)
{
    struct session *s = session;
    int             code = mend_set(s->cache, mend_str(key), mend_mem(value, length), NULL, &s->reply);

    return (struct said){.code = code, .answer = code == MEND_OK ? ANSWER_STORED : code > 0 ? ANSWER_REFUSED : ANSWER_FAILED};
}

static int port(void *session, const char *key)
{
    struct session *s = session;

    if (mend_get(s->cache, mend_str(key), &s->reply) < 0)
        return 0;
    const char *colon = strrchr(s->reply.server, ':');
    return colon ? atoi(colon + 1) : 0;
}

static void leave(void *session)
{
    struct session *s = session;

    mend_reply_free(&s->reply);
    free(s);
}

static void close_cache(void *cache)
{
    mend_close(cache);
}

static const char *words(int code)
{
    return mend_status_name(code);
}

const struct client client_mend = {
    "mend", "mend", open_cache, join, get, set, port, leave, close_cache, words,
};
