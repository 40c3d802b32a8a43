/* fetch.c - the fallback: get a value, or load it, once for all who want it.
 *
 *     asked          the cache: a hit is served. A miss comes with a lease, or with the news that another process has it,
 *                    or with neither (classic servers, or a server that is down)
 *     missed         ...enters the key's flight: who is first leads, the others wait for it to land
 *     lead           waits for the other process, or for a turn; loads, lands, and stores by the lease
 *
 * What this process does once is flights.c's affair, what the fleet does once is memcached's: an item without a value stands
 * for a load under way, and its cas is the lease. A delete takes it away, and with it the right to store.
 *
 * No lock is held here, and the loader runs with nothing but its flight and its turn, both given back if its thread is cancelled.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/calls.h"
#include "client/gutter.h"
#include "client/number.h"
#include "client/reply.h"
#include "core/key.h"

enum {
    NAP_FIRST_MS = 2, /* between looks whether the other process has stored, doubling... */
    NAP_MOST_MS = 50, /* ...up to this */
    FLEET_PART = 4,   /* another process is waited for until this part of wait_ms is left, for those who wait for ours */
};

/* One key that is fetched. */
struct fetch {
    struct mend_client *client;
    struct call         call;
    const mend_recipe  *recipe; /* checked, and with every default filled in */
    mend_bytes          key;
    bool                binary;
    struct answer      *a;
    mend_reply         *reply; /* where the server's name goes; NULL: of a call for many, ... */
    mend_replies       *many;  /* ...it is the one at... */
    size_t              at;    /* ...this place */
    mend_source         source;
    uint32_t            ended;  /* flights, before the cache was asked */
    nstime              asked;  /* when the cache was */
    nstime              until;  /* the end of all waiting */
    bool                offline; /* the cache could not be asked */
    bool                large;   /* the last value in this reply was: so may this be */
};

/* ---- Recipes ---- */

enum { MOST = 1000000000 };

#define FIELD(f) #f " of the recipe is negative or over 1,000,000,000", offsetof(mend_recipe, f)

static const struct number numbers[] = {
    {FIELD(refresh_s), 0, MOST, true},  {FIELD(stale_s), 0, MOST, true},    {FIELD(absent_ttl_s), 10, MOST, true}, {FIELD(lease_s), 10, MOST, false},
    {FIELD(wait_ms), 1000, MOST, true}, {FIELD(loads_max), 32, MOST, false}, {FIELD(local_ttl_ms), 0, MOST, true},
};

static mend_status fill_recipe(mend_recipe *recipe, const mend_recipe *given, bool many, const char **why)
{
    *why = "recipe is NULL";
    if (!given)
        return MEND_E_ARGUMENT;
    *why = "a reserved word of mend_recipe is not zero";
    if (!check_zero(given->reserved, sizeof given->reserved / sizeof *given->reserved))
        return MEND_E_ARGUMENT;
    *why = many ? "load and load_many of the recipe are NULL" : "load of the recipe is NULL";
    if (!given->load && !(many && given->load_many))
        return MEND_E_ARGUMENT;
    *recipe = *given;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int said;
        *why = numbers[i].name;
        if (number_fill(recipe, &numbers[i], &said) != NUMBER_GOOD)
            return MEND_E_ARGUMENT;
    }
    *why = "ttl_s of the recipe is negative, or beyond any time";
    if (recipe->ttl_s < 0 || recipe->ttl_s > INT64_MAX / 4)
        return MEND_E_ARGUMENT;
    *why = "refresh_s of the recipe is not less than its ttl_s";
    if (recipe->ttl_s && recipe->refresh_s >= recipe->ttl_s)
        return MEND_E_ARGUMENT;
    return check_call(&recipe->call, why);
}

/* ---- The cache ---- */

/* What is asked of the cache. Stale values live on behind their ttl_s, so a refresh is due that much earlier. */
static struct wire_question cache_question(const mend_recipe *recipe, mend_bytes key, bool binary)
{
    enum { LEASE_MAX_S = 60 * 60 * 24 * 30 }; /* above it memcached takes it for Unix time */

    return (struct wire_question){
        .verb = WIRE_FETCH,
        .key = key,
        .key_binary = binary,
        .lease_s = recipe->lease_s < LEASE_MAX_S ? recipe->lease_s : LEASE_MAX_S,
        .refresh_s = recipe->ttl_s ? recipe->refresh_s + (int64_t)recipe->stale_s : 0,
    };
}

static void ask_cache(struct fetch *f)
{
    struct wire_question q = cache_question(f->recipe, f->key, f->binary);

    f->ended = atomic_load(&f->call.life->flights.ended);
    answer_reset(f->a);
    call_pin(&f->call, &f->recipe->call);
    struct server *s = call_ask(&f->call, &f->recipe->call, &q, f->large, f->a);
    if (f->reply)
        reply_server(f->reply, s);
    else
        multi_asked(f->many, f->at, s);
    call_unpin(&f->call);
    f->asked = f->call.now;
    f->offline = f->a->status < 0;
}

/* Says what is to be said after a load. */
static void tell_cache(struct fetch *f, const struct wire_question *q, struct answer *a)
{
    call_pin(&f->call, &f->recipe->call);
    call_ask(&f->call, &f->recipe->call, q, false, a);
    call_unpin(&f->call);
}

static bool has_value(const struct answer *a) /* ...or a negative answer */
{
    return a->status == MEND_OK || a->status == MEND_ABSENT;
}

static bool won(const struct answer *a)
{
    return (a->status >= 0) && (a->lease & WIRE_WON);
}

static bool taken(const struct answer *a)
{
    return a->status == MEND_MISS && (a->lease & WIRE_TAKEN);
}

/* The cache's answer becomes the call's. */
static void serve(struct fetch *f)
{
    struct answer *a = f->a;
    bool           old = a->lease & WIRE_OLD;
    bool           in_gutter = a->cas >= GUTTER_CAS; /* where it lives for less than its ttl_s */

    if (f->recipe->ttl_s && a->ttl_s >= 0 && a->status == MEND_OK && !in_gutter) {
        old |= a->ttl_s < f->recipe->stale_s;
        a->ttl_s = a->ttl_s > f->recipe->stale_s ? a->ttl_s - f->recipe->stale_s : 0;
    }
    f->source = old ? MEND_SOURCE_STALE : MEND_SOURCE_CACHE;
}

/* A flight's answer becomes the call's. */
static void take(struct fetch *f, const struct flight *flight, mend_source source)
{
    flight_copy(flight, f->a);
    f->source = f->a->status >= 0 ? source : MEND_SOURCE_NONE;
}

/* Whether the call has its answer. */
static bool asked(struct fetch *f)
{
    if (has_value(f->a) && !won(f->a)) {
        serve(f);
        return true;
    }
    if (!f->offline)
        return false;
    if (f->a->status == MEND_E_ARGUMENT) /* no key for this server */
        return true;
    struct flights *flights = &f->call.life->flights;
    struct flight  *kept = f->recipe->local_ttl_ms ? flights_recall(flights, f->key, f->call.io->now(f->call.io)) : NULL;
    if (!kept)
        return false;
    take(f, kept, MEND_SOURCE_LOCAL);
    f->a->ttl_s = MEND_TTL_UNKNOWN;
    flights_leave(flights, kept);
    return true;
}

/* ---- Loading ---- */

/* Loads that run as one: of one key, or of many. */
struct loads {
    struct fetch  *first; /* whose call, recipe and time they share */
    struct flight **flights;
    mend_bytes    *keys;
    mend_loaded   *outs;
    size_t         n;
    bool           turn; /* taken */
};

mend_status mend_loaded_set(mend_loaded *loaded, mend_bytes value)
{
    if (!loaded || !loaded->own || (value.len && !value.data))
        return MEND_E_ARGUMENT;
    struct answer *a = loaded->own;
    a->value.len = 0;
    if (value.len > WIRE_VALUE_MAX || !buf_reserve(&a->value, value.len + 1) || !buf_add(&a->value, value.data, value.len))
        return MEND_E_MEMORY;
    a->value.data[a->value.len] = '\0';
    a->done = true; /* it is set */
    return MEND_OK;
}

/* What the loader said becomes the flight's answer. */
static void judge(struct flight *flight, const struct fetch *f, const mend_loaded *out, int result, bool many)
{
    struct answer     *a = &flight->answer;
    const mend_recipe *recipe = f->recipe;
    char               text[64];

    if (result == MEND_ABSENT || (many && result == 0 && !a->done)) {
        a->status = MEND_ABSENT;
        a->flags = 0;
    } else if (result == 0 && !a->done)
        answer_fail(a, MEND_E_LOADER, "the loader returned 0 without a value");
    else if (result == 0 && values_owns(f->client->values, out->flags))
        answer_fail(a, MEND_E_LOADER, "the loader's flags have a bit that tells of compression");
    else if (result == 0 || (many && a->done)) {
        a->status = MEND_OK;
        a->flags = out->flags;
        a->ttl_s = out->ttl_s ? out->ttl_s : recipe->ttl_s ? recipe->ttl_s : MEND_TTL_NEVER;
        if (out->ttl_s < 0) /* not to be stored */
            a->ttl_s = MEND_TTL_UNKNOWN;
    } else {
        snprintf(text, sizeof text, "the loader failed with %d", result);
        answer_fail_text(a, MEND_E_LOADER, text);
        a->number = (uint64_t)(int64_t)result;
    }
    a->done = true;
}

static void fail_all(struct loads *l, mend_status status, const char *why)
{
    for (size_t i = 0; i < l->n; i++)
        answer_fail(&l->flights[i]->answer, status, why);
}

static void land_all(struct loads *l)
{
    for (size_t i = 0; i < l->n; i++)
        flight_land(l->flights[i], l->first->call.io);
}

static void turn_over(struct loads *l)
{
    if (l->turn)
        flights_turn_over(&l->first->call.life->flights, l->first->call.io);
    l->turn = false;
}

/* Whether this is still the process that began: the loader may have forked, and a child has no part in its parent's flights. */
static bool at_home(const struct fetch *f)
{
    return life_of(f->client) == f->call.life;
}

/* The loader's thread was cancelled, or left by pthread_exit. */
static void abandoned(void *arg)
{
    struct loads *l = arg;

    if (!at_home(l->first))
        return;
    fail_all(l, MEND_E_LOADER, "the thread that loaded was cancelled");
    turn_over(l);
    land_all(l);
    for (size_t i = 0; i < l->n; i++)
        flights_end(&l->first->call.life->flights, l->flights[i], 0);
}

static int left_ms(const struct fetch *f)
{
    nstime left = f->until - f->call.io->now(f->call.io);

    return left <= 0 ? 0 : left / MS(1) > INT32_MAX ? INT32_MAX : (int)(left / MS(1));
}

/* Calls the loader, with cancellation as the application has it. */
static int run_loader(struct loads *l, bool many, int cancel)
{
    const mend_recipe *recipe = l->first->recipe;
    int                result = 0;

    pthread_cleanup_push(abandoned, l);
    cancel_restore(cancel);
    if (many)
        result = recipe->load_many(recipe->context, l->keys, l->outs, l->n, left_ms(l->first));
    else
        result = recipe->load(recipe->context, l->keys[0], &l->outs[0], left_ms(l->first));
    cancel_off();
    pthread_cleanup_pop(0);
    return result;
}

/* Loads all of them, in one turn; each flight has its answer then. */
static void load(struct loads *l, int cancel)
{
    struct fetch   *f = l->first;
    struct flights *flights = &f->call.life->flights;
    bool            many = f->recipe->load_many && (l->n > 1 || !f->recipe->load);

    if (!flights_turn(flights, l->flights[0], f->call.io, (unsigned)f->recipe->loads_max, f->until, &l->turn)) {
        fail_all(l, MEND_E_BUSY, "as many loads as loads_max allows ran until wait_ms were over");
        return;
    }
    for (size_t i = 0; i < l->n; i++) {
        struct flight *flight = l->flights[i];
        l->keys[i] = mend_mem(flight->key, flight->key_bytes);
        l->outs[i] = (mend_loaded){.own = &flight->answer};
    }
    int result = run_loader(l, many, cancel);
    for (size_t i = 0; i < l->n; i++)
        judge(l->flights[i], f, &l->outs[i], result, many);
    if (at_home(f))
        turn_over(l);
}

/* ---- Storing ---- */

/* What is to be said to the cache of a load; the answer that was there before is `had`. False: nothing. */
static bool closing_question(const struct fetch *f, const struct flight *flight, uint64_t lease, const struct answer *had,
                             nstime now, struct wire_question *q)
{
    const struct answer *a = &flight->answer;
    const mend_recipe   *recipe = f->recipe;
    bool                 absent = a->status == MEND_ABSENT;

    *q = (struct wire_question){.by_lease = true, .key = f->key, .key_binary = f->binary, .cas = lease};
    if (f->offline)
        return false;
    if ((a->status == MEND_OK && a->ttl_s != MEND_TTL_UNKNOWN) || (absent && recipe->absent_ttl_s)) {
        int64_t ttl = absent ? recipe->absent_ttl_s : a->ttl_s == MEND_TTL_NEVER ? 0 : a->ttl_s + recipe->stale_s;
        if (!lease && flight->dirty) /* this process has written it meanwhile, and perhaps to the other of its two servers, where an add would not meet that */
            return false;
        q->verb = lease ? WIRE_CAS : WIRE_ADD; /* without a lease, at least nothing newer is overwritten */
        q->value = absent ? mend_mem(NULL, 0) : mend_mem(a->value.data, a->value.len);
        q->flags = absent ? WIRE_FLAGS_ABSENT : a->flags;
        q->exptime = exptime_of(f->call.io, ttl);
        return true;
    }
    if (!lease)
        return false;
    /* The lease goes back, so that the next takes its turn at once. */
    int64_t left = had->ttl_s == MEND_TTL_NEVER ? 0 : had->ttl_s - (now - f->asked) / MS(1000) - 1;
    bool    stays = has_value(had) && a->status < 0;
    q->verb = stays ? WIRE_STALE : WIRE_RELEASE;
    q->exptime = exptime_of(f->call.io, left);
    return !stays || left > 0 || had->ttl_s == MEND_TTL_NEVER;
}

/* ---- One key ---- */

/* The loader's answer becomes the call's, but for a failure where there is a value yet. */
static void settle(struct fetch *f, const struct flight *flight, bool kept_value)
{
    if (kept_value && flight->answer.status < 0) {
        serve(f);
        return;
    }
    take(f, flight, MEND_SOURCE_LOADED);
}

static nstime kept_until(const struct fetch *f, const struct flight *flight)
{
    bool keeps = f->offline && f->recipe->local_ttl_ms && flight->answer.status >= 0;
    return keeps ? f->call.io->now(f->call.io) + MS(f->recipe->local_ttl_ms) : 0;
}

/* Loads and stores. `a` has what the cache said. */
static void load_one(struct fetch *f, struct flight *flight, uint64_t lease, int cancel)
{
    mend_bytes      key;
    mend_loaded     out;
    struct loads    l = {.first = f, .flights = &flight, .keys = &key, .outs = &out, .n = 1};
    struct flights *flights = &f->call.life->flights;
    bool            had_value = has_value(f->a);
    struct answer   had = {.status = f->a->status, .ttl_s = f->a->ttl_s}, stored = {.value.memory = &f->client->memory};

    load(&l, cancel);
    settle(f, flight, had_value);
    if (!at_home(f))
        return;
    land_all(&l);
    struct wire_question q;
    if (closing_question(f, flight, lease, &had, f->call.io->now(f->call.io), &q)) {
        answer_reset(&stored);
        tell_cache(f, &q, &stored);
        if (q.verb == WIRE_CAS || q.verb == WIRE_ADD)
            f->a->cas = stored.status == MEND_OK ? stored.cas : 0;
        buf_release(&stored.value);
    }
    flights_end(flights, flight, kept_until(f, flight));
}

/* What the cache said when it was asked once more is the answer of all who wait. */
static void land_served(struct fetch *f, struct flight *flight)
{
    struct answer *to = &flight->answer, *from = f->a;

    to->status = from->status;
    to->done = true;
    to->flags = from->flags;
    to->ttl_s = from->ttl_s;
    flight->source = f->source;
    if (from->status < 0)
        answer_fail_text(to, from->status, from->error);
    else if (from->status == MEND_OK && from->value.len &&
             (!buf_reserve(&to->value, from->value.len) || !buf_add(&to->value, from->value.data, from->value.len)))
        answer_fail(to, MEND_E_MEMORY, "out of memory for the value");
    flight_land(flight, f->call.io);
    flights_end(&f->call.life->flights, flight, 0);
}

/* Waits for the process that has the lease. True: the call has its answer. */
static bool wait_for_fleet(struct fetch *f, struct flight *flight, uint64_t *lease)
{
    struct io *io = f->call.io;
    nstime     most = f->until - MS(f->recipe->wait_ms) / FLEET_PART, nap = MS(NAP_FIRST_MS);
    bool       stale_news = atomic_load(&f->call.life->flights.ended) != f->ended; /* who loaded here may have stored meanwhile */

    while (taken(f->a) || (stale_news && !won(f->a))) {
        if (!stale_news) {
            nstime now = io->now(io);
            if (now >= most)
                break;
            nstime jitter = (nstime)(io->random(io) % (uint64_t)nap);
            if ((*lease = flight_nap(&f->call.life->flights, flight, io, time_earlier(most, now + nap / 2 + jitter))))
                return false;
            nap = nap < MS(NAP_MOST_MS) ? nap * 2 : nap;
        }
        stale_news = false;
        ask_cache(f);
        if (asked(f))
            return true;
    }
    *lease = won(f->a) || taken(f->a) ? f->a->cas : 0;
    return false;
}

/* There is no memory to load with. A lease is another's then. */
static void no_flight(struct fetch *f)
{
    struct wire_question q = {.verb = WIRE_RELEASE, .by_lease = true, .key = f->key, .key_binary = f->binary, .cas = f->a->cas};
    struct answer        released = {.value.memory = &f->client->memory};

    if (has_value(f->a)) {
        serve(f);
        return;
    }
    answer_reset(&released);
    if (won(f->a))
        tell_cache(f, &q, &released);
    buf_release(&released.value); /* its answer may have come with another's memory */
    answer_fail(f->a, MEND_E_MEMORY, "out of memory for the load");
}

/* Somebody in this process leads. */
static void follow(struct fetch *f, struct flight *flight)
{
    if (has_value(f->a)) /* it was to refresh it, and somebody does */
        serve(f);
    else if (flight_wait(flight, f->call.io, f->until))
        take(f, flight, flight->source);
    else {
        answer_reset(f->a);
        answer_fail(f->a, MEND_E_BUSY, "another thread loads it, and wait_ms are over");
    }
}

/* The cache had no answer, or one that this call is to refresh. */
static void missed(struct fetch *f, int cancel)
{
    struct flights *flights = &f->call.life->flights;
    struct io      *io = f->call.io;
    uint64_t        lease = won(f->a) ? f->a->cas : 0;
    bool            leads;
    struct flight  *flight = flights_enter(flights, io, f->key, lease, &leads);

    if (!flight) {
        no_flight(f);
        return;
    }
    if (leads) {
        if (!lease && wait_for_fleet(f, flight, &lease))
            land_served(f, flight);
        else
            load_one(f, flight, lease, cancel);
        return;
    }
    follow(f, flight);
    flights_leave(flights, flight);
}

/* What reply_show does not. */
static void show_source(mend_reply *r, const struct fetch *f)
{
    r->source = f->source;
    if (f->a->status == MEND_E_LOADER)
        r->number = f->a->number; /* what the loader returned */
}

mend_status mend_fetch(mend_client *c, mend_bytes key, const mend_recipe *given, mend_reply *reply)
{
    const char  *why;
    char         copy[KEY_MAX]; /* the key may lie in the reply's data */
    mend_recipe  recipe;
    struct fetch f = {.client = c, .recipe = &recipe};

    if (!reply)
        return MEND_E_ARGUMENT;
    mend_status status = check_key(c, key, &f.binary, &why);
    if (!status)
        status = fill_recipe(&recipe, given, false, &why);
    if (!status)
        status = call_begin(&f.call, c, &why);
    if (status)
        return reply_refuse(reply, status, why);
    f.key = mend_mem(memcpy(copy, key.data, key.len), key.len);
    if (flights_mine(&f.call.life->flights, f.call.io, f.key))
        return reply_refuse(reply, MEND_E_ARGUMENT, "a loader fetches the key that it is to load");
    struct reply_own *own = reply_begin(reply, &c->memory);
    if (!own)
        return MEND_E_MEMORY;

    int cancel = cancel_off();
    f.a = &own->answer;
    f.reply = reply;
    f.large = own->was_large;
    ask_cache(&f);
    if (!asked(&f)) {
        f.until = f.call.io->now(f.call.io) + MS(recipe.wait_ms);
        missed(&f, cancel);
    }
    cancel_restore(cancel);
    status = reply_end(reply, own);
    show_source(reply, &f);
    return status;
}

/* ---- Many keys ---- */

/* One of them. */
struct one {
    struct fetch   f;
    struct flight *flight; /* held by this call; NULL: none, or it is over */
    bool           leads;
    bool           later;  /* another process has the lease */
    bool           own;    /* a load of this key runs on this very thread */
    uint64_t       lease;  /* leads */
    struct answer  had;    /* without its value */
    nstime         until;  /* of the i-th that was loaded: as long it is kept */
};

struct many {
    const struct fetch   *like; /* what they have in common */
    struct one           *ones;
    size_t                n;
    struct loads          loads;
    struct one          **led; /* whose loads they are */
    struct wire_question *questions;
    char                 *key_bytes;
};

static bool make_room(struct many *m, const mend_bytes *keys, size_t n)
{
    size_t a_load = sizeof *m->loads.outs + sizeof *m->loads.keys + sizeof *m->loads.flights + sizeof *m->led;
    size_t a_key = sizeof *m->ones + sizeof *m->questions + a_load;
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += keys[i].len <= KEY_MAX ? keys[i].len : 0;
    if (n > (SIZE_MAX / 2 - bytes) / a_key || !(m->ones = memory_zeroed(&m->like->client->memory, 1, n * a_key + bytes)))
        return false;
    m->n = n;
    m->questions = (void *)(m->ones + n);
    m->loads.outs = (void *)(m->questions + n);
    m->loads.keys = (void *)(m->loads.outs + n);
    m->loads.flights = (void *)(m->loads.keys + n);
    m->led = (void *)(m->loads.flights + n);
    m->key_bytes = (void *)(m->led + n);
    return true;
}

/* The keys may lie in the replies, so they are copied. */
static void begin_many(struct many *m, const mend_bytes *keys)
{
    char *to = m->key_bytes;

    for (size_t i = 0; i < m->n; i++) {
        struct fetch *f = &m->ones[i].f;
        const char   *why;
        *f = *m->like;
        f->at = i;
        f->key = keys[i];
        if (check_key(f->client, keys[i], &f->binary, &why) == MEND_OK) {
            f->key = mend_mem(memcpy(to, keys[i].data, keys[i].len), keys[i].len);
            to += keys[i].len;
            m->ones[i].own = flights_mine(&f->call.life->flights, f->call.io, f->key);
        }
        m->questions[i] = cache_question(f->recipe, f->key, f->binary);
    }
}

/* What is to be done for a key that the cache was asked for: nothing more; to lead; to wait. */
static void sort_one(struct one *one)
{
    struct fetch *f = &one->f;

    f->offline = f->a->status < 0;
    if (one->own)
        answer_fail(f->a, MEND_E_ARGUMENT, "a loader fetches the key that it is to load");
    if (f->a->status == MEND_E_ARGUMENT || asked(f))
        return;
    one->later = taken(f->a);
    if (one->later)
        return;
    one->lease = won(f->a) ? f->a->cas : 0;
    one->flight = flights_enter(&f->call.life->flights, f->call.io, f->key, one->lease, &one->leads);
    if (!one->flight)
        no_flight(f);
    else if (one->leads && !one->lease && wait_for_fleet(f, one->flight, &one->lease)) {
        land_served(f, one->flight);
        one->flight = NULL;
    }
}

/* One round to the cache with what is to be said of all loads. What came of it matters to nobody but for the cas. */
static void store_together(struct many *m)
{
    struct loads *l = &m->loads;
    mend_replies  rs = MEND_REPLIES;
    nstime        now = l->first->call.io->now(l->first->call.io);
    size_t        n = 0;

    for (size_t i = 0; i < l->n; i++) {
        struct one *one = m->led[i];
        if (closing_question(&one->f, l->flights[i], one->lease, &one->had, now, &m->questions[n]))
            m->led[n++] = one; /* ...to whom the answer is told */
    }
    if (n)
        multi_ask(m->like->client, m->questions, n, &m->like->recipe->call, &rs);
    for (size_t i = 0; i < n && rs.count == n; i++)
        if (wire_carries_value(m->questions[i].verb) && rs.at[i].status == MEND_OK)
            m->led[i]->f.a->cas = rs.at[i].cas;
    mend_replies_free(&rs);
}

/* All that is led, at one go. */
static void load_together(struct many *m, int cancel)
{
    struct loads *l = &m->loads;

    for (size_t i = 0; i < m->n; i++) {
        struct one *one = &m->ones[i];
        if (!one->flight || !one->leads)
            continue;
        one->had = (struct answer){.status = one->f.a->status, .ttl_s = one->f.a->ttl_s};
        m->led[l->n] = one;
        l->flights[l->n++] = one->flight;
        one->flight = NULL; /* it is the load's now */
    }
    if (l->n == 0)
        return;
    l->first = &m->led[0]->f;
    load(l, cancel);
    for (size_t i = 0; i < l->n; i++)
        settle(&m->led[i]->f, l->flights[i], has_value(&m->led[i]->had));
    if (!at_home(l->first))
        return;
    land_all(l);
    for (size_t i = 0; i < l->n; i++)
        m->ones[i].until = kept_until(&m->led[i]->f, l->flights[i]);
    store_together(m);
    for (size_t i = 0; i < l->n; i++)
        flights_end(&l->first->call.life->flights, l->flights[i], m->ones[i].until);
}

static void load_each(struct many *m, int cancel)
{
    for (size_t i = 0; i < m->n && at_home(m->like); i++) {
        struct one    *one = &m->ones[i];
        struct flight *flight = one->flight;
        if (!flight || !one->leads)
            continue;
        one->flight = NULL;
        load_one(&one->f, flight, one->lease, cancel);
    }
}

/* Those that other threads load, and other processes. */
static void wait_for_rest(struct many *m, int cancel)
{
    struct flights *flights = &m->like->call.life->flights;

    for (size_t i = 0; i < m->n && at_home(m->like); i++) {
        struct one *one = &m->ones[i];
        if (one->later)
            missed(&one->f, cancel);
        else if (one->flight) {
            follow(&one->f, one->flight);
            flights_leave(flights, one->flight);
        }
        one->later = false;
        one->flight = NULL;
    }
}

/* A loader's thread was cancelled: what is led yet, and what is waited for, and the call's memory. Also the usual end. */
static void end_many(void *arg)
{
    struct many    *m = arg;
    struct flights *flights = &m->like->call.life->flights;

    for (size_t i = 0; i < m->n && at_home(m->like); i++) {
        struct flight *flight = m->ones[i].flight;
        if (!flight)
            continue;
        if (!m->ones[i].leads) {
            flights_leave(flights, flight);
            continue;
        }
        answer_fail(&flight->answer, MEND_E_LOADER, "the thread that was to load was cancelled");
        flight_land(flight, m->like->call.io);
        flights_end(flights, flight, 0);
    }
    memory_release(&m->like->client->memory, m->ones);
}

static void fetch_many(struct many *m, mend_replies *rs, int cancel)
{
    struct answer *answers = ((struct replies_own *)rs->own)->answers;

    for (size_t i = 0; i < m->n; i++) {
        struct fetch *f = &m->ones[i].f;
        f->a = &answers[i];
        f->until = m->like->until;
        sort_one(&m->ones[i]);
    }
    if (m->like->recipe->load_many)
        load_together(m, cancel);
    else
        load_each(m, cancel);
    wait_for_rest(m, cancel);
    for (size_t i = 0; i < m->n; i++)
        if (m->ones[i].later || m->ones[i].flight) /* a child that a loader forked has no part in what others load */
            answer_fail(&answers[i], MEND_E_BUSY, "a load of the parent's process");
}

static mend_status tell_many(struct many *m, mend_replies *rs)
{
    for (size_t i = 0; i < m->n; i++) {
        mend_reply *r = &rs->at[i];
        const char *server = r->server;
        reply_refuse(r, MEND_OK, "");
        r->server = server;
        reply_show(r, m->ones[i].f.a);
        show_source(r, &m->ones[i].f);
    }
    return multi_verdict(((struct replies_own *)rs->own)->answers, rs->count);
}

mend_status mend_fetch_multi(mend_client *c, const mend_bytes *keys, size_t n, const mend_recipe *given, mend_replies *rs)
{
    const char  *why;
    mend_recipe  recipe;
    struct fetch like = {.client = c, .recipe = &recipe, .many = rs};
    struct many  m = {.like = &like};

    if (!rs)
        return MEND_E_ARGUMENT;
    rs->count = 0;
    if (!c || (n && !keys))
        return MEND_E_ARGUMENT;
    mend_status status = fill_recipe(&recipe, given, true, &why);
    if (!status)
        status = call_begin(&like.call, c, &why);
    if (status)
        return multi_refuse(c, n, status, why, rs);
    if (n == 0 || !make_room(&m, keys, n))
        return n ? multi_refuse(c, n, MEND_E_MEMORY, "out of memory for the call", rs) : MEND_OK;

    int cancel = cancel_off();
    begin_many(&m, keys);
    like.ended = atomic_load(&like.call.life->flights.ended);
    like.asked = like.call.io->now(like.call.io);
    status = multi_ask(c, m.questions, n, &recipe.call, rs);
    if (rs->count == n) {
        like.until = like.call.io->now(like.call.io) + MS(recipe.wait_ms);
        for (size_t i = 0; i < n; i++) {
            m.ones[i].f.ended = like.ended;
            m.ones[i].f.asked = like.asked;
        }
        pthread_cleanup_push(end_many, &m);
        fetch_many(&m, rs, cancel);
        status = tell_many(&m, rs);
        pthread_cleanup_pop(0);
    }
    end_many(&m);
    cancel_restore(cancel);
    return status;
}
