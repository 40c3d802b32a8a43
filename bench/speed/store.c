/* store.c - see store.h. */
#include "store.h"

#include <mend.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 5000 };

void *must_have(void *p)
{
    if (!p) {
        perror("bench-speed");
        exit(1);
    }
    return p;
}

bool item_is(const struct item *item, const char *data, size_t bytes)
{
    return bytes == item->value_bytes && memcmp(data, item->key, item->key_bytes) == 0 &&
           data[bytes - 1] == item->value[bytes - 1];
}

struct item *items_new(size_t n, size_t value_bytes)
{
    struct item *items = must_have(calloc(n, sizeof *items));

    for (size_t i = 0; i < n; i++) {
        struct item *item = &items[i];
        char        *value = must_have(malloc(value_bytes));
        item->key_bytes = (size_t)snprintf(item->key, sizeof item->key, "user:%08zu:name", i * 7919);
        memset(value, 'a' + (int)(i % 26), value_bytes);
        memcpy(value, item->key, item->key_bytes);
        item->value = value;
        item->value_bytes = value_bytes;
    }
    return items;
}

static unsigned server_of(const struct target *t, const char *name)
{
    unsigned s = 0;
    while (s < t->server_count && strcmp(t->servers[s], name) != 0)
        s++;
    return s;
}

bool items_store(struct item *items, const struct target *t, bool missing)
{
    char         names[SERVERS_MAX * 112] = "";
    mend_client *client = NULL;
    mend_reply   r = MEND_REPLY;
    bool         stored = true;

    for (unsigned s = 0; s < t->server_count; s++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", s ? "," : "", t->servers[s]);
    stored = mend_open(&MEND_CONFIG(.servers = names, .timeout_ms = TIMEOUT_MS), &client, &r) == MEND_OK;
    for (size_t i = 0; stored && i < t->item_count; i++) {
        struct item *item = &items[i];
        mend_bytes   key = mend_mem(item->key, item->key_bytes);
        if (missing)
            stored = mend_delete(client, key, &r) >= 0;
        else
            stored = mend_set(client, key, mend_mem(item->value, item->value_bytes), NULL, &r) == MEND_OK;
        item->server = server_of(t, r.server);
        stored = stored && item->server < t->server_count;
    }
    if (!stored)
        fprintf(stderr, "bench-speed: before anything is measured: %s (%s)\n", mend_status_name(r.status), r.error);
    mend_reply_free(&r);
    mend_close(client);
    return stored;
}

void items_free(struct item *items)
{
    free(items); /* the values end with the process */
}
