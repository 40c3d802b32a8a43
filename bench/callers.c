/* callers.c - see callers.h. */
#include "callers.h"

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_MAX = 20000 }; /* calls of a thread: 20 s of four threads', longer than any round may last */

static void *must_have(void *p)
{
    if (!p) {
        perror("bench");
        exit(1);
    }
    return p;
}

/* ---- Keys and values ------------------------------------------------------------------------ */

/* The value of a key: it names both, and its length and every byte of its tail depend on both. */
static size_t value_of(const struct key *key, unsigned version, char value[VALUE_MAX_BYTES])
{
    int      head = snprintf(value, VALUE_MAX_BYTES, "%s:%u:", key->name, version);
    unsigned mix = version * 31;

    for (const char *p = key->name; *p; p++)
        mix = mix * 31 + (unsigned char)*p;
    size_t n = (size_t)head + mix % 600;
    for (size_t i = (size_t)head; i < n; i++)
        value[i] = (char)('a' + (mix + i) % 26);
    return n;
}

bool keys_fill(struct keys *keys, mend_client *client, const char *const names[SERVERS], unsigned version)
{
    char       value[VALUE_MAX_BYTES];
    mend_store patient = {.call = {.timeout_ms = 5000}}; /* a cold server on a loaded machine is no part of what is measured */
    mend_reply r = MEND_REPLY;
    bool       stored = true;

    keys->version = version;
    for (unsigned i = 0; i < KEYS && stored; i++) {
        struct key *key = &keys->at[i];
        snprintf(key->name, sizeof key->name, "figure:%u", i * 7919);
        stored = mend_set(client, mend_str(key->name), mend_mem(value, value_of(key, version, value)), &patient, &r) == MEND_OK;
        key->server = 0;
        while (stored && key->server < SERVERS && strcmp(names[key->server], r.server) != 0)
            key->server++;
        stored = stored && key->server < SERVERS;
    }
    if (!stored)
        fprintf(stderr, "bench: before any fault, a set: %s (%s)\n", mend_status_name(r.status), r.error);
    mend_reply_free(&r);
    return stored;
}

/* A miss is no lie: a restarted server has nothing. Any other word than the value of this very question is. */
static bool is_wrong(const struct callers *c, const struct key *key, const mend_reply *r)
{
    char value[VALUE_MAX_BYTES];

    if (r->status > 0)
        return r->status != MEND_MISS;
    if (r->status < 0)
        return false;
    size_t n = value_of(key, c->keys->version, value);
    return r->len != n || memcmp(r->data, value, n) != 0;
}

/* ---- Threads --------------------------------------------------------------------------------- */

static unsigned dice(struct caller *who) /* xorshift32 (Marsaglia 2003) */
{
    who->chance ^= who->chance << 13;
    who->chance ^= who->chance >> 17;
    who->chance ^= who->chance << 5;
    return who->chance;
}

static void call_once(struct caller *who, mend_reply *r)
{
    const struct key *key = &who->all->keys->at[dice(who) % KEYS];
    struct call      *c = &who->calls[who->count++];

    c->server = key->server;
    c->thread = who->index;
    c->start_ns = clock_now();
    c->status = mend_get(who->all->client, mend_str(key->name), r);
    c->end_ns = clock_now();
    c->wrong = is_wrong(who->all, key, r);
}

static void *caller_main(void *arg)
{
    struct caller *who = arg;
    int64_t        step_ns = (int64_t)1000000000 / CALLS_A_SECOND * who->all->threads;
    mend_reply     r = MEND_REPLY;

    for (int64_t next = who->begin_ns; !atomic_load(&who->all->stop) && who->count < LOG_MAX;) {
        clock_sleep_until(next);
        call_once(who, &r);
        while (next <= clock_now()) /* what a slow call cost is not made up for in a burst */
            next += step_ns;
    }
    mend_reply_free(&r);
    return NULL;
}

void callers_start(struct callers *c, mend_client *client, const struct keys *keys, unsigned threads)
{
    int64_t begin = clock_now() + MS(1);

    *c = (struct callers){.client = client, .keys = keys, .threads = threads};
    for (unsigned i = 0; i < threads; i++) {
        struct caller *who = &c->at[i];
        *who = (struct caller){.all = c, .index = (uint8_t)i, .chance = 2463534242u + i * 7919};
        who->begin_ns = begin + (int64_t)1000000000 / CALLS_A_SECOND * i;
        who->calls = must_have(calloc(LOG_MAX, sizeof *who->calls));
        if ((errno = pthread_create(&who->thread, NULL, caller_main, who)) != 0)
            must_have(NULL);
    }
}

void callers_stop(struct callers *c)
{
    atomic_store(&c->stop, true);
    for (unsigned i = 0; i < c->threads; i++) {
        pthread_join(c->at[i].thread, NULL);
        c->count += c->at[i].count;
    }
    c->calls = must_have(malloc((c->count + 1) * sizeof *c->calls));
    size_t n = 0;
    for (unsigned i = 0; i < c->threads; i++) {
        memcpy(c->calls + n, c->at[i].calls, c->at[i].count * sizeof *c->calls);
        n += c->at[i].count;
        free(c->at[i].calls);
    }
}

void callers_free(struct callers *c)
{
    free(c->calls);
    c->calls = NULL;
    c->count = 0;
}
