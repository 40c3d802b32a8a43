/* client_mend.c - mend, by its public header alone: one client, shared by all threads, as it comes.
 *
 * The timeout is longer than mend's own, since a machine that others use may stop a thread for that long, and a
 * call that fails is not what is measured here. mend-idle keeps as many connections as there are threads.
 */
#include "client.h"

#include <mend.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 2000 };

struct handle {
    mend_client *client;
    mend_reply   reply;
    mend_replies replies;
    mend_bytes  *keys;
    mend_item   *items;
};

static void *open_with(const struct target *t, int idle_max)
{
    char         names[SERVERS_MAX * 112] = "";
    mend_client *client = NULL;
    mend_reply   r = MEND_REPLY;

    for (unsigned s = 0; s < t->server_count; s++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", s ? "," : "", t->servers[s]);
    mend_config config = MEND_CONFIG(.servers = names, .timeout_ms = TIMEOUT_MS, .connections_idle_max = idle_max);
    if (mend_open(&config, &client, &r) < 0) {
        fprintf(stderr, "mend_open: %s\n", r.error);
        exit(1);
    }
    mend_reply_free(&r);
    return client;
}

static void *open_as_it_comes(const struct target *t)
{
    return open_with(t, 0);
}

static void *open_idle(const struct target *t)
{
    return open_with(t, (int)t->threads);
}

static void count_known(const mend_server *server, void *context)
{
    unsigned *unknown = context;
    *unknown += server->state == MEND_STATE_NEW;
}

static bool ready(void *shared, bool down)
{
    unsigned unknown = 0;

    mend_servers(shared, count_known, &unknown);
    return unknown == 0 && mend_connection_available(shared) == !down;
}

static void *join(void *shared, const struct target *t)
{
    struct handle *h = must_have(calloc(1, sizeof *h));

    *h = (struct handle){.client = shared, .reply = MEND_REPLY, .replies = MEND_REPLIES};
    h->keys = must_have(calloc(t->batch + 1, sizeof *h->keys));
    h->items = must_have(calloc(t->batch + 1, sizeof *h->items));
    for (size_t i = 0; i < t->batch; i++) {
        h->keys[i] = mend_mem(t->items[i].key, t->items[i].key_bytes);
        h->items[i] = (mend_item){.key = h->keys[i], .value = mend_mem(t->items[i].value, t->items[i].value_bytes)};
    }
    return h;
}

static void leave(void *mine)
{
    struct handle *h = mine;

    mend_reply_free(&h->reply);
    mend_replies_free(&h->replies);
    free(h->keys);
    free(h->items);
    free(h);
}

static void shut(void *shared)
{
    mend_close(shared);
}

static enum outcome get(void *mine, const struct item *item, struct answer *a)
{
    struct handle *h = mine;

    switch (mend_get(h->client, mend_mem(item->key, item->key_bytes), &h->reply)) {
    case MEND_OK: *a = (struct answer){h->reply.data, h->reply.len}; return HIT;
    case MEND_MISS: return MISS;
    default: return FAILED;
    }
}

static enum outcome set(void *mine, const struct item *item)
{
    struct handle *h = mine;
    mend_bytes     key = mend_mem(item->key, item->key_bytes), value = mend_mem(item->value, item->value_bytes);

    return mend_set(h->client, key, value, NULL, &h->reply) == MEND_OK ? DONE : FAILED;
}

static enum outcome drop(void *mine, const struct item *item)
{
    struct handle *h = mine;
    return mend_delete(h->client, mend_mem(item->key, item->key_bytes), &h->reply) >= 0 ? DONE : FAILED;
}

static size_t get_multi(void *mine, const struct target *t)
{
    struct handle *h = mine;
    size_t         right = 0;

    mend_get_multi(h->client, h->keys, t->batch, &h->replies);
    for (size_t i = 0; i < h->replies.count; i++) {
        const mend_reply *r = &h->replies.at[i];
        right += r->status == MEND_OK && item_is(&t->items[i], r->data, r->len);
    }
    return right;
}

static size_t count(const struct handle *h)
{
    size_t right = 0;
    for (size_t i = 0; i < h->replies.count; i++)
        right += h->replies.at[i].status == MEND_OK || h->replies.at[i].status == MEND_MISS;
    return right;
}

static size_t set_multi(void *mine, const struct target *t)
{
    struct handle *h = mine;
    mend_set_multi(h->client, h->items, t->batch, &h->replies);
    return count(h);
}

static size_t delete_multi(void *mine, const struct target *t)
{
    struct handle *h = mine;
    mend_delete_multi(h->client, h->keys, t->batch, &h->replies);
    return count(h);
}

#define MEND_CLIENT(name_, open_) \
    {.name = name_, .open = open_, .join = join, .leave = leave, .close = shut, .ready = ready, \
     .get = get, .set = set, .delete = drop, \
     .get_multi = get_multi, .set_multi = set_multi, .delete_multi = delete_multi}

const struct client client_mend = MEND_CLIENT("mend", open_as_it_comes);
const struct client client_mend_idle = MEND_CLIENT("mend-idle", open_idle);
