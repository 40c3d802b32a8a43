/* client.c - the face: the calls about one key, and the servers' state.
 *
 * A call is checked, routed to its server, given a link, asked and answered. Nothing here
 * waits but through the pool and the pump, and nothing lasts beyond the call's deadline.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/calls.h"
#include "client/discovery.h"
#include "client/probe.h"
#include "client/reply.h"
#include "core/key.h"

/* ---- What every call begins with ---- */

const char call_down[] = "the server is down";

const char call_nobody[] = "no server has been found yet";

const char call_lost[] = "a write of this key was lost, and its delete is not confirmed yet";

const char *call_unasked(mend_status status)
{
    return status == MEND_E_ARGUMENT ? "the server speaks no protocol that has keys with such bytes" : "out of memory";
}

mend_status call_begin(struct call *call, struct mend_client *c, const char **why)
{
    *why = "the client is NULL";
    if (!c)
        return MEND_E_ARGUMENT;
    *why = "this process has no memory, descriptor or thread for a client of its own";
    struct life *life = life_of(c);
    if (!life)
        return MEND_E_MEMORY;
    *why = "this call cannot be made from on_event";
    if (atomic_load_explicit(&life->telling, memory_order_relaxed) && life->io->is_me(life->io, life->healer))
        return MEND_E_ARGUMENT;
    call->life = life;
    call->io = life->io;
    call->deadline = 0;
    return MEND_OK;
}

/* No server is known yet: some may be found, within the time that the first lookup has, and the call's own. */
static void await_servers(struct call *call, const mend_call *options)
{
    struct life *life = call->life;
    int          before = cancel_off();

    call_clock(call, options);
    atomic_fetch_add(&life->waiting, 1); /* who changes the routing after the look below sees that we wait */
    for (;;) {
        uint32_t seen = atomic_load(&life->news);
        nstime   until = time_earlier(call->deadline, call->pin.routing->found_by);
        routing_unpin(call->pin);
        call->pin = routing_pin(life);
        if (call->pin.routing->homes || call->now >= until)
            break;
        routing_unpin(call->pin); /* it may be replaced, and freed, while we wait */
        call->io->wait(call->io, &life->news, seen, IO_ANYBODY, until);
        call->now = call->io->now(call->io);
        call->pin = routing_pin(life);
    }
    atomic_fetch_sub(&life->waiting, 1);
    cancel_restore(before);
}

void call_pin(struct call *call, const mend_call *options)
{
    call->deadline = 0;
    call->pin = routing_pin(call->life);
    if (!call->pin.routing->homes)
        await_servers(call, options);
}

void call_unpin(struct call *call)
{
    routing_unpin(call->pin);
}

void call_clock(struct call *call, const mend_call *options)
{
    int own = options ? options->timeout_ms : 0;

    if (call->deadline)
        return;
    call->now = call->io->now(call->io);
    call->deadline = call->now + MS(own ? own : call->life->client->config.timeout_ms);
}

bool check_zero(const uintptr_t *reserved, size_t n)
{
    uintptr_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= reserved[i];
    return any == 0;
}

#define ZERO(words) check_zero(words, sizeof(words) / sizeof *(words))

mend_status check_call(const mend_call *options, const char **why)
{
    if (!options)
        return MEND_OK;
    *why = "a reserved word of mend_call is not zero";
    if (!ZERO(options->reserved))
        return MEND_E_ARGUMENT;
    *why = "timeout_ms is negative";
    if (options->timeout_ms < 0)
        return MEND_E_ARGUMENT;
    *why = "routing_key has a length and no data";
    return options->routing_key.len && !options->routing_key.data ? MEND_E_ARGUMENT : MEND_OK;
}

static mend_status check_ttl(int64_t ttl_s, const char **why)
{
    *why = "ttl_s is negative";
    return ttl_s < 0 ? MEND_E_ARGUMENT : MEND_OK;
}

mend_status check_store(const struct mend_client *c, const mend_store *options, const char **why)
{
    if (!options)
        return MEND_OK;
    *why = "a reserved word of mend_store is not zero";
    if (!ZERO(options->reserved))
        return MEND_E_ARGUMENT;
    *why = "flags has a bit that tells of compression";
    if (c && values_owns(c->values, options->flags))
        return MEND_E_ARGUMENT;
    mend_status status = check_ttl(options->ttl_s, why);
    return status ? status : check_call(&options->call, why);
}

static mend_status check_count(const mend_count *options, const char **why)
{
    if (!options)
        return MEND_OK;
    *why = "a reserved word of mend_count is not zero";
    if (!ZERO(options->reserved))
        return MEND_E_ARGUMENT;
    mend_status status = check_ttl(options->ttl_s, why);
    return status ? status : check_call(&options->call, why);
}

mend_status check_key(const struct mend_client *c, mend_bytes key, bool *binary, const char **why)
{
    enum key_kind kind = key_kind(key);
    size_t        most = kind == KEY_BINARY ? KEY_BINARY_MAX : KEY_MAX;

    *binary = kind == KEY_BINARY;
    if (kind != KEY_BAD && key.len + (c ? c->prefix.len : 0) <= most)
        return MEND_OK;
    *why = kind == KEY_BAD
               ? "a key is of 1 to 250 bytes, or of 1 to 186 if it has spaces, control characters or bytes above 126"
               : "the key is too long behind the prefix: they have 250 bytes together, or 186 if there are spaces, control characters or bytes above 126";
    return MEND_E_ARGUMENT;
}

mend_status check_value(mend_bytes value, const char **why)
{
    *why = "the value has a length and no data";
    if (value.len && !value.data)
        return MEND_E_ARGUMENT;
    return value.len > WIRE_VALUE_MAX ? MEND_TOO_LARGE : MEND_OK;
}

int64_t exptime_of(struct io *io, int64_t ttl_s)
{
    enum { RELATIVE_MAX_S = 60 * 60 * 24 * 30 }; /* above it memcached takes it for Unix time */

    if (ttl_s <= RELATIVE_MAX_S)
        return ttl_s;
    int64_t now = io->wall_s(io);
    return ttl_s < INT32_MAX - now ? now + ttl_s : INT32_MAX; /* memcached's times have 31 bits */
}

void lost_note(struct server *s, struct call *call, mend_bytes key, enum zombie zombie)
{
    bool first = !journal_waits(&s->journal); /* else the healer knows already */

    PROBE3(journal__noted, s->spec->name, key.data, key.len);
    journal_note(&s->journal, key, call->io->now(call->io), zombie);
    if (first && server_gate(s).state == MEND_STATE_UP) {
        int before = cancel_off(); /* the world may write to ring */
        call->io->ring(call->io);
        cancel_restore(before);
    }
}

void lost_after(const struct route *route, struct call *call, mend_bytes key, uint32_t serial, const struct answer *a)
{
    if (a->status >= 0) {
        if (serial)
            journal_written(&route->asked->journal, key, serial);
    } else if (a->status != MEND_E_ARGUMENT)
        lost_note(route->asked, call, key, a->zombie);
    if (route->gutter)
        gutter_wrote(call, route, key, true);
}

int cancel_off(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

void cancel_restore(int before)
{
    pthread_setcancelstate(before, NULL);
}

/* ---- One question to one server ---- */

/* Asks over a link of its own. again: as share_ask's; the results mean the same, but for SHARE_ELSEWHERE: none just now. */
static enum share_result ask_alone(struct server *s, struct call *call, const struct wire_question *q, bool again, struct answer *a)
{
    struct link *l;

    switch (pool_try(s, call, again, &l, a)) {
    case POOL_LINK:
        break;
    case POOL_WAIT:
        return SHARE_ELSEWHERE;
    case POOL_NONE:
        return SHARE_DONE;
    }
    if (!pool_dialed(s, call, l, a))
        return SHARE_DONE;
    mend_status status = conn_ask(&l->conn, q, a);
    if (status == MEND_OK)
        link_run(l, call->io, call->now, call->deadline);
    else
        answer_fail(a, status, call_unasked(status));

    bool forgiven = !again && a->again && l->pooled;
    pool_give(s, call, l, forgiven);
    return forgiven ? SHARE_AGAIN : SHARE_DONE;
}

/* Asks until it is answered, once more if the first link had died while idle or took no byte. alone: what is large, either
 * way, has a link to itself, so that it does not stand before what is small. */
static void converse(struct server *s, struct call *call, const struct wire_question *q, bool alone, struct answer *a)
{
    struct pool_wait  wait = {0};
    enum share_result result;
    bool              again = false, in_time = true;
    int               before = cancel_off();

    do {
        result = alone ? SHARE_ELSEWHERE : share_ask(s, call, q, again, a);
        if (result == SHARE_ELSEWHERE && call->now < call->deadline)
            result = ask_alone(s, call, q, again, a);
        if (result == SHARE_AGAIN) {
            again = true;
            stats_add(&s->stats.retries, 1);
            answer_reset(a);
            call->now = call->io->now(call->io);
        } else if (result == SHARE_ELSEWHERE && !(in_time = pool_wait(s, call, &wait)))
            pool_give_up(s, a);
    } while (result != SHARE_DONE && in_time);
    pool_waited(s, &wait, a->status >= 0);
    if (again && a->status == MEND_E_TIMEOUT) /* too little time was left for blame, but not for doubt */
        server_suspected(s, "a connection died, and the next had no answer in what was left of the time");
    cancel_restore(before);
}

static void converse_again(struct server *s, struct call *call, const struct wire_question *q, struct answer *a)
{
    answer_reset(a);
    call->now = call->io->now(call->io);
    converse(s, call, q, false, a);
}

/* The classic protocol counts only what is there: creating it is an add, and losing that race means counting after all. */
static void create_classic(struct server *s, struct call *call, const struct wire_question *q, struct answer *a)
{
    char                 digits[24];
    int                  n = snprintf(digits, sizeof digits, "%" PRIu64, q->initial);
    struct wire_question add = {.verb = WIRE_ADD, .key = q->key, .value = mend_mem(digits, (size_t)n), .exptime = q->exptime};

    for (int round = 0; round < 2 && a->status == MEND_MISS; round++) {
        converse_again(s, call, &add, a);
        if (a->status == MEND_OK)
            a->number = q->initial;
        if (a->status == MEND_NOT_STORED)
            converse_again(s, call, q, a); /* a miss once more: somebody deletes as fast as we create */
    }
}

__attribute__((noinline)) static void time_call(struct tally *t, struct io *io, nstime began, unsigned weight)
{
    stats_took(t, io->now(io) - began, weight);
}

/* began: NEVER, if it was turned away. The clock is read for some of them only. */
static inline void count_ended(struct server *s, const struct call *call, unsigned operation, mend_status status, nstime began)
{
    struct tally *t = stats_tally(&s->stats, call->pin);
    unsigned      weight = stats_weight(stats_count(t, operation, status, 1));

    if (weight && began != NEVER)
        time_call(t, call->io, began, weight);
    PROBE3(call__end, s->spec->name, operation, status);
}

struct server *call_ask(struct call *call, const mend_call *options, const struct wire_question *q, bool large, struct answer *a)
{
    if (!call->pin.routing->homes) {
        answer_fail(a, MEND_E_DOWN, call_nobody);
        return NULL;
    }
    char                 room[KEY_MAX];
    struct route         route = gutter_route(call, q->verb, q->key, options);
    struct server       *s = route.asked;
    struct values       *values = call->life->client->values;
    struct buf           packed = {.memory = &call->life->client->memory};
    mend_bytes           key = call_key(call, q->key, room);
    struct wire_question put; /* as it is put there, where that is not as it came */
    bool                 stale = wire_leaves_stale(q->verb) && !q->by_lease;
    bool                 deleted;
    uint32_t             lost = lost_before(s, key, &deleted);
    unsigned             operation = stats_operation[q->verb];
    nstime               began = NEVER;

    PROBE4(call__begin, s->spec->name, operation, key.data, key.len);
    if (lost && !stale)
        answer_fail(a, MEND_E_DOWN, call_lost);
    else if (!health_askable(server_gate(s).state))
        answer_fail(a, MEND_E_DOWN, call_down);
    else if (gutter_parted(s, q)) {
        answer_fail(a, MEND_EXISTS, "");
        count_ended(s, call, operation, MEND_EXISTS, NEVER);
        return s;
    } else {
        call_clock(call, options);
        began = call->now;
        if (lost || s->gutter || key.data == room || values_packs(values)) {
            put = s->gutter ? gutter_question(s, q) : *q;
            put.key = key;
            put.behind_delete = lost && !deleted && q->verb != WIRE_DELETE;
            if (values_pack(values, &put, &packed, call->deadline - call->now))
                call->now = call->io->now(call->io);
            q = &put;
        }
        converse(s, call, q, large || q->value.len > WIRE_COPY_MAX, a);
        put.behind_delete = false; /* it has been */
        if (q->create && a->status == MEND_MISS)
            create_classic(s, call, q, a);
        if (s->gutter) {
            gutter_answer(a);
            stats_add(&route.home->stats.gutter_calls, 1);
        }
    }
    if (packed.data)
        buf_release(&packed);
    if (!values_unpack(values, q->verb, a))
        atomic_fetch_add(&s->values_broken, 1);
    count_ended(s, call, operation, a->status, began);
    bool zombie = q->by_lease && !q->cas && a->status < 0 && a->maybe_applied; /* an add, which may come after another's delete */
    if (stale || zombie)
        lost_after(&route, call, key, lost, a);
    else if (s->gutter && wire_writes(q->verb))
        gutter_wrote(call, &route, key, false);
    return s;
}

/* A write that was wanted, and for which there is no memory. */
static void lose(struct call *call, const mend_call *options, const struct wire_question *q)
{
    struct route route = gutter_route(call, q->verb, q->key, options);
    char         room[KEY_MAX];

    route.asked = route.home;
    if (wire_leaves_stale(q->verb)) {
        flights_wrote(&call->life->flights, q->key);
        lost_after(&route, call, call_key(call, q->key, room), 0, &(struct answer){.status = MEND_E_MEMORY});
    }
}

/* The calls about one key end here. reply may be NULL. */
static mend_status run(struct mend_client *c, mend_reply *reply, const mend_call *options, struct wire_question *q, int64_t ttl_s)
{
    char        key[KEY_MAX];
    const char *why;
    struct call call;
    mend_status status = check_key(c, q->key, &q->key_binary, &why);

    if (!status && wire_writes(q->verb)) /* it is needed yet when the answer is here, and may lie in the reply's data */
        q->key = mend_mem(memcpy(key, q->key.data, q->key.len), q->key.len);
    if (!status)
        status = check_call(options, &why);
    if (!status && wire_carries_value(q->verb))
        status = check_value(q->value, &why);
    if (!status)
        status = check_ttl(ttl_s, &why);
    if (!status)
        status = call_begin(&call, c, &why);
    if (status)
        return reply_refuse(reply, status, status < 0 ? why : "");

    struct reply_own  spare;
    mend_reply        local;
    mend_reply       *r = reply ? reply : reply_lend(&local, &spare, &c->memory);
    struct reply_own *own = reply_begin(r, &c->memory);
    call_pin(&call, options);
    if (!own) {
        if (call.pin.routing->homes)
            lose(&call, options, q);
        call_unpin(&call);
        return MEND_E_MEMORY;
    }
    q->exptime = exptime_of(call.io, ttl_s);
    if (wire_writes(q->verb))
        flights_wrote(&call.life->flights, q->key);
    reply_server(r, call_ask(&call, options, q, own->was_large, &own->answer));
    call_unpin(&call);
    if (wire_writes(q->verb))
        flights_wrote(&call.life->flights, q->key); /* a load that began meanwhile may have read what was before */
    status = reply_end(r, own);
    if (!reply)
        buf_release(&spare.answer.value);
    return status;
}

/* ---- Reading ---- */

mend_status mend_get_with(mend_client *c, mend_bytes key, const mend_call *options, mend_reply *reply)
{
    struct wire_question q = {.verb = WIRE_GET, .key = key};
    return reply ? run(c, reply, options, &q, 0) : MEND_E_ARGUMENT;
}

mend_status mend_get(mend_client *c, mend_bytes key, mend_reply *reply)
{
    return mend_get_with(c, key, NULL, reply);
}

mend_status mend_get_and_touch_with(mend_client *c, mend_bytes key, int64_t ttl_s, const mend_call *options, mend_reply *reply)
{
    struct wire_question q = {.verb = WIRE_GET_AND_TOUCH, .key = key};
    return reply ? run(c, reply, options, &q, ttl_s) : MEND_E_ARGUMENT;
}

mend_status mend_get_and_touch(mend_client *c, mend_bytes key, int64_t ttl_s, mend_reply *reply)
{
    return mend_get_and_touch_with(c, key, ttl_s, NULL, reply);
}

mend_status mend_exists_with(mend_client *c, mend_bytes key, const mend_call *options, mend_reply *reply)
{
    struct wire_question q = {.verb = WIRE_EXISTS, .key = key};
    return run(c, reply, options, &q, 0);
}

mend_status mend_exists(mend_client *c, mend_bytes key, mend_reply *reply)
{
    return mend_exists_with(c, key, NULL, reply);
}

/* ---- Writing ---- */

static mend_status store(mend_client *c, struct wire_question *q, const mend_store *options, mend_reply *reply)
{
    const char *why;
    mend_status status = check_store(c, options, &why);

    if (!status && (q->verb == WIRE_APPEND || q->verb == WIRE_PREPEND) && c && values_packs(c->values)) {
        why = "compress_above_bytes is set, and what is there may be compressed: nothing can be added to it";
        status = MEND_E_ARGUMENT;
    }
    if (status)
        return reply_refuse(reply, status, why);
    q->flags = options ? options->flags : 0;
    return run(c, reply, options ? &options->call : NULL, q, options ? options->ttl_s : 0);
}

mend_status mend_set(mend_client *c, mend_bytes key, mend_bytes value, const mend_store *options, mend_reply *reply)
{
    return store(c, &(struct wire_question){.verb = WIRE_SET, .key = key, .value = value}, options, reply);
}

mend_status mend_add(mend_client *c, mend_bytes key, mend_bytes value, const mend_store *options, mend_reply *reply)
{
    return store(c, &(struct wire_question){.verb = WIRE_ADD, .key = key, .value = value}, options, reply);
}

mend_status mend_replace(mend_client *c, mend_bytes key, mend_bytes value, const mend_store *options, mend_reply *reply)
{
    return store(c, &(struct wire_question){.verb = WIRE_REPLACE, .key = key, .value = value}, options, reply);
}

mend_status mend_append(mend_client *c, mend_bytes key, mend_bytes value, const mend_store *options, mend_reply *reply)
{
    return store(c, &(struct wire_question){.verb = WIRE_APPEND, .key = key, .value = value}, options, reply);
}

mend_status mend_prepend(mend_client *c, mend_bytes key, mend_bytes value, const mend_store *options, mend_reply *reply)
{
    return store(c, &(struct wire_question){.verb = WIRE_PREPEND, .key = key, .value = value}, options, reply);
}

mend_status mend_cas(mend_client *c, mend_bytes key, mend_bytes value, uint64_t cas, const mend_store *options, mend_reply *reply)
{
    if (cas == 0)
        return reply_refuse(reply, MEND_E_ARGUMENT, "cas is 0: it comes from a hit");
    return store(c, &(struct wire_question){.verb = WIRE_CAS, .key = key, .value = value, .cas = cas}, options, reply);
}

mend_status mend_delete_with(mend_client *c, mend_bytes key, const mend_call *options, mend_reply *reply)
{
    return run(c, reply, options, &(struct wire_question){.verb = WIRE_DELETE, .key = key}, 0);
}

mend_status mend_delete(mend_client *c, mend_bytes key, mend_reply *reply)
{
    return mend_delete_with(c, key, NULL, reply);
}

mend_status mend_touch_with(mend_client *c, mend_bytes key, int64_t ttl_s, const mend_call *options, mend_reply *reply)
{
    return run(c, reply, options, &(struct wire_question){.verb = WIRE_TOUCH, .key = key}, ttl_s);
}

mend_status mend_touch(mend_client *c, mend_bytes key, int64_t ttl_s, mend_reply *reply)
{
    return mend_touch_with(c, key, ttl_s, NULL, reply);
}

mend_status mend_make_stale_with(mend_client *c, mend_bytes key, int stale_s, const mend_call *options, mend_reply *reply)
{
    if (stale_s < 1)
        return reply_refuse(reply, MEND_E_ARGUMENT, "stale_s is less than 1");
    return run(c, reply, options, &(struct wire_question){.verb = WIRE_STALE, .key = key}, stale_s);
}

mend_status mend_make_stale(mend_client *c, mend_bytes key, int stale_s, mend_reply *reply)
{
    return mend_make_stale_with(c, key, stale_s, NULL, reply);
}

/* ---- Counters ---- */

static mend_status count(mend_client *c, struct wire_question *q, const mend_count *options, mend_reply *reply)
{
    const char *why;
    mend_status status = check_count(options, &why);

    if (status)
        return reply_refuse(reply, status, why);
    q->create = options && options->create;
    q->initial = options ? options->initial : 0;
    return run(c, reply, options ? &options->call : NULL, q, q->create ? options->ttl_s : 0);
}

mend_status mend_increment(mend_client *c, mend_bytes key, uint64_t delta, const mend_count *options, mend_reply *reply)
{
    return count(c, &(struct wire_question){.verb = WIRE_INCREMENT, .key = key, .delta = delta}, options, reply);
}

mend_status mend_decrement(mend_client *c, mend_bytes key, uint64_t delta, const mend_count *options, mend_reply *reply)
{
    return count(c, &(struct wire_question){.verb = WIRE_DECREMENT, .key = key, .delta = delta}, options, reply);
}

/* ---- The servers' state ---- */

bool mend_connection_available(const mend_client *client)
{
    struct life *life = client ? life_of((mend_client *)(uintptr_t)client) : NULL;
    if (!life)
        return false;

    struct pin pin = routing_pin(life);
    size_t     i = 0;
    while (i < pin.routing->count && !health_askable(server_gate(pin.routing->at[i]).state))
        i++;
    bool available = i < pin.routing->count || (!pin.routing->homes && life->io->now(life->io) < pin.routing->found_by);
    routing_unpin(pin);
    return available;
}

static void unpin(void *pin)
{
    routing_unpin(*(struct pin *)pin);
}

mend_status servers_visit(struct mend_client *c, void (*each)(struct server *, nstime, void *), void *context)
{
    if (!c)
        return MEND_E_ARGUMENT;
    struct life *life = life_of(c);
    if (!life)
        return MEND_E_MEMORY;

    nstime     now = life->io->now(life->io);
    struct pin pin = routing_pin(life);
    pthread_cleanup_push(unpin, &pin); /* what `each` does may be cancelled */
    for (size_t i = 0; i < pin.routing->count; i++)
        each(pin.routing->at[i], now, context);
    pthread_cleanup_pop(1);
    return MEND_OK;
}

struct visit {
    void (*each)(const mend_server *, void *);
    void *context;
};

static void describe(struct server *s, nstime now, void *arg)
{
    struct visit       *visit = arg;
    struct server_texts texts;
    mend_server         server;

    server_describe(s, now, &server, &texts);
    visit->each(&server, visit->context);
}

mend_status mend_servers(mend_client *c, void (*each)(const mend_server *, void *), void *context)
{
    return each ? servers_visit(c, describe, &(struct visit){each, context}) : MEND_E_ARGUMENT;
}

static mend_status accept_server(struct call *call, const char *name)
{
    struct server *s = routing_find(call->pin.routing, name);
    nstime         torn_at;

    if (!s)
        return MEND_E_ARGUMENT;
    if (!journal_torn(&s->journal, &torn_at))
        return MEND_MISS;
    journal_mend(&s->journal, torn_at);
    return MEND_OK;
}

mend_status mend_accept(mend_client *c, const char *name)
{
    const char *why;
    struct call call;

    if (!c || !name)
        return MEND_E_ARGUMENT;
    mend_status status = call_begin(&call, c, &why);
    if (status)
        return status;
    call_pin(&call, NULL);
    status = accept_server(&call, name);
    call_unpin(&call);
    if (status == MEND_OK)
        call.io->ring(call.io);
    return status;
}

/* ---- A change of the list ---- */

mend_status mend_set_servers(mend_client *c, const char *servers, mend_reply *reply)
{
    const char *why;
    struct call call;
    mend_status status = call_begin(&call, c, &why);

    if (status)
        return reply_refuse(reply, status, why);

    struct reply_own  spare;
    mend_reply        local;
    mend_reply       *r = reply ? reply : reply_lend(&local, &spare, &c->memory);
    struct reply_own *own = reply_begin(r, &c->memory);
    if (!own)
        return MEND_E_MEMORY;
    int before = cancel_off();
    status = discovery_set(call.life, servers, own->error, sizeof own->error);
    cancel_restore(before);
    answer_fail(&own->answer, status, status ? own->error : "");
    return reply_end(r, own);
}
