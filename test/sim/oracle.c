/* oracle.c - see oracle.h. */
#include "sim/oracle.h"

#include <stdlib.h>
#include <string.h>

#include "client/gutter.h"

/* What the server held from then on. */
struct moment {
    nstime   when;
    uint64_t version; /* 0: nothing */
    bool     stale;   /* it was made so */
};

/* Some write had ended then, done or failed; and the latest to begin of all that had, began then. What was over by then is stale. */
struct mark {
    nstime ended, began;
};

/* What one server held of a key, and when. */
struct place {
    struct moment *moments;
    size_t         count, room;
};

enum { HOME, GUTTER, PLACES };

struct history {
    char           key[32];
    size_t         key_length;
    int            lives[PLACES]; /* for good; -1: not known yet */
    struct place   on[NET_SERVERS_MAX];
    struct mark   *marks;
    size_t         mark_count, mark_room;
};

/* One write of the application's. */
struct write {
    unsigned key;
    size_t   length; /* of its value */
    unsigned executed;
    nstime   first;  /* executed */
    uint64_t number; /* a counter's value then */
    bool     denied; /* the application was told that it was not done, and will not be */
    bool     loaded; /* by a fetch */
    nstime   ended;  /* its call; NEVER: it has not */
};

struct oracle {
    struct dream  *dream;
    struct net    *net;
    struct history keys[ORACLE_KEYS];
    bool           moving; /* keys do not live anywhere for good */
    struct write  *writes; /* by version; the first is nobody's */
    size_t         write_count, write_room;
    unsigned       gutter; /* the first server that is one */
    int            gutter_ttl_s;
};

/* ---- Keys and values ---- */

bool oracle_is_counter(unsigned key)
{
    return key >= ORACLE_KEYS / 2;
}

void oracle_make_keys(struct oracle *o, bool binary)
{
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        struct history *h = &o->keys[i];
        bool            odd = binary && i % 4 == 3;
        h->key_length = (size_t)snprintf(h->key, sizeof h->key, odd ? "\x01 key %u\xff" : "key:%u", i);
    }
}

void oracle_gutter(struct oracle *o, unsigned first, int ttl_s)
{
    o->gutter = first;
    o->gutter_ttl_s = ttl_s;
}

static unsigned place_of(const struct oracle *o, unsigned server)
{
    return server >= o->gutter ? GUTTER : HOME;
}

mend_bytes oracle_key(struct oracle *o, unsigned key)
{
    return mend_mem(o->keys[key].key, o->keys[key].key_length);
}

uint64_t oracle_version(struct oracle *o, unsigned key)
{
    if (o->write_count == o->write_room) {
        o->write_room = o->write_room * 2 + 64;
        o->writes = realloc(o->writes, o->write_room * sizeof *o->writes);
    }
    size_t least = 40, length = least;
    if (dream_permille(o->dream, 300))
        length = least + dream_below(o->dream, 2000);
    if (dream_permille(o->dream, 60))
        length = least + dream_below(o->dream, ORACLE_VALUE_MAX - least);
    o->writes[o->write_count] = (struct write){.key = key, .length = length, .ended = NEVER};
    return o->write_count++;
}

static unsigned key_named(struct oracle *o, const char *key, size_t length)
{
    unsigned i = 0;
    while (i < ORACLE_KEYS && !(o->keys[i].key_length == length && memcmp(o->keys[i].key, key, length) == 0))
        i++;
    return i;
}

bool oracle_lives_on(const struct oracle *o, unsigned key, unsigned server)
{
    return o->keys[key].lives[place_of(o, server)] == (int)server;
}

unsigned oracle_key_number(struct oracle *o, mend_bytes key)
{
    return key_named(o, key.data, key.len);
}

uint64_t oracle_loaded(struct oracle *o, unsigned key)
{
    uint64_t version = oracle_version(o, key);
    o->writes[version].ended = dream_now(o->dream);
    o->writes[version].loaded = true;
    return version;
}

mend_bytes oracle_value(struct oracle *o, uint64_t version, char *buffer)
{
    const struct write *w = &o->writes[version];
    size_t              n = (size_t)sprintf(buffer, "key=%u version=%llu ", w->key, (unsigned long long)version);

    for (; n < w->length; n++)
        buffer[n] = (char)('a' + (n + version) % 26);
    return mend_mem(buffer, n);
}

/* The version that a value claims to be of; 0: it is no value of ours, or not of this key, or not whole. */
static uint64_t version_of(struct oracle *o, unsigned key, const char *data, size_t length)
{
    static char        whole[ORACLE_VALUE_MAX + 64];
    unsigned           of;
    unsigned long long version;

    if (sscanf(data, "key=%u version=%llu ", &of, &version) != 2 || of != key || version == 0 || version >= o->write_count)
        return 0;
    mend_bytes should = oracle_value(o, version, whole);
    return should.len == length && memcmp(should.data, data, length) == 0 ? version : 0;
}

void oracle_keys_move(struct oracle *o)
{
    o->moving = true;
}

/* ---- History ---- */

static void remember(struct oracle *o, struct place *at, uint64_t version, bool stale)
{
    if (at->count && at->moments[at->count - 1].version == version && at->moments[at->count - 1].stale == stale)
        return;
    if (at->count == at->room) {
        at->room = at->room * 2 + 16;
        at->moments = realloc(at->moments, at->room * sizeof *at->moments);
    }
    at->moments[at->count++] = (struct moment){dream_now(o->dream), version, stale};
}

/* Whether the server held this version at some moment since `began`; so: as one that was made stale, or as one that was not. */
static bool held_so(const struct place *at, uint64_t version, nstime began, bool fresh, bool stale)
{
    for (size_t i = at->count; i-- > 0;) {
        if (at->moments[i].version == version && (at->moments[i].stale ? stale : fresh))
            return true;
        if (at->moments[i].when < began)
            return false;
    }
    return false;
}

static bool held(const struct place *at, uint64_t version, nstime began)
{
    return held_so(at, version, began, true, true);
}

/* Counters are told by the version of the count that made them so: what they hold is its number. */
static uint64_t delta_of(const struct toy_ask *ask)
{
    const char *meta = toy_flag(ask, 'D');
    if (toy_is(ask, "ma"))
        return meta ? strtoull(meta, NULL, 10) : 1;
    return toy_is(ask, "incr") ? strtoull(ask->word[2], NULL, 10) : 0;
}

static void note_execution(struct oracle *o, uint64_t version, uint64_t number)
{
    struct write *w = &o->writes[version];

    if (w->denied)
        dream_fail(o->dream, "write %llu was executed, after its caller was told that it was not done", (unsigned long long)version);
    if (w->executed++)
        dream_fail(o->dream, "write %llu was executed twice", (unsigned long long)version);
    w->first = dream_now(o->dream);
    w->number = number;
}

/* What the server holds now. */
static void look_at(struct oracle *o, unsigned key, unsigned server, const struct toy *toy)
{
    struct history *h = &o->keys[key];
    size_t          length = 0;
    const char     *value = toy_get(toy, h->key, h->key_length, &length);
    int64_t         left_s = toy_left_s(toy, h->key, h->key_length);

    if (place_of(o, server) == GUTTER && value && (left_s < 0 || left_s > o->gutter_ttl_s))
        dream_fail(o->dream, "key %u is to live for %lld s in a gutter, and may for %d", key, (long long)left_s, o->gutter_ttl_s);
    if (!oracle_is_counter(key))
        remember(o, &h->on[server], value ? version_of(o, key, value, length) : 0, toy_stale(toy, h->key, h->key_length));
}

/* What a fetch has loaded comes with a lease. A cas of anything else is the application's, which has not read it in a gutter. */
static void check_cas_in_gutter(struct oracle *o, unsigned key, bool loaded, bool cas)
{
    if (loaded && !cas)
        dream_fail(o->dream, "a load of key %u was kept in a gutter without a lease of that", key);
    if (!loaded && cas)
        dream_fail(o->dream, "a cas of key %u that was not read in a gutter was put to one", key);
}

/* What this request stores. */
static void stored(struct oracle *o, unsigned key, unsigned server, const struct toy_ask *ask)
{
    char *copy = malloc(ask->body_length + 1);

    memcpy(copy, ask->body, ask->body_length);
    copy[ask->body_length] = '\0';
    uint64_t version = version_of(o, key, copy, ask->body_length);
    free(copy);
    if (!version) {
        dream_fail(o->dream, "a server was sent a value that nobody wrote, for key %u", key);
        return;
    }
    note_execution(o, version, 0);
    if (place_of(o, server) == GUTTER)
        check_cas_in_gutter(o, key, o->writes[version].loaded, toy_flag(ask, 'C') || toy_is(ask, "cas"));
}

static void executed_on(struct oracle *o, unsigned key, unsigned server, const struct toy_ask *ask)
{
    size_t      length = 0;
    const char *value = toy_get(ask->toy, ask->key, ask->key_length, &length);

    if (oracle_is_counter(key)) {
        uint64_t delta = delta_of(ask);
        if (delta && delta < o->write_count && value) /* what is not there is not counted */
            note_execution(o, delta, strtoull(value, NULL, 10));
        return;
    }
    if (ask->body_length) /* an empty one is a loader's, who says that there is no such thing */
        stored(o, key, server, ask);
}

static void check_place(struct oracle *o, unsigned key, unsigned server)
{
    int *lives = &o->keys[key].lives[place_of(o, server)];

    if (!o->moving && *lives >= 0 && *lives != (int)server)
        dream_fail(o->dream, "key %u was asked of server %u, and lives on %d", key, server, *lives);
    *lives = (int)server;
}

void oracle_executed(unsigned server, const struct toy_ask *ask, void *arg)
{
    struct oracle *o = arg;

    dream_note(o->dream, "server %u executes %s %.*s", server, ask->words ? ask->word[0] : "", (int)(ask->key_length < 32 ? ask->key_length : 32), ask->key);
    for (int i = 1; i < ask->words && toy_is(ask, "gets"); i++) {
        unsigned key = key_named(o, ask->word[i], strlen(ask->word[i]));
        if (key == ORACLE_KEYS)
            continue;
        check_place(o, key, server);
        look_at(o, key, server, ask->toy); /* it may have expired */
    }
    if (toy_is(ask, "flush_all"))
        oracle_lost(o, server);
    unsigned key = key_named(o, ask->key, ask->key_length);
    if (key == ORACLE_KEYS)
        return;
    check_place(o, key, server);
    executed_on(o, key, server, ask);
    look_at(o, key, server, ask->toy);
}

void oracle_lost(struct oracle *o, unsigned server)
{
    for (unsigned i = 0; i < ORACLE_KEYS; i++)
        if (!oracle_is_counter(i))
            remember(o, &o->keys[i].on[server], 0, false);
}

/* ---- What callers were told ---- */

/* A write of this key has just ended. */
static void supersede(struct oracle *o, unsigned key, mend_status status, nstime began)
{
    struct history *h = &o->keys[key];

    if (status > 0 || status == MEND_E_ARGUMENT)
        return;
    if (h->mark_count == h->mark_room) {
        h->mark_room = h->mark_room * 2 + 16;
        h->marks = realloc(h->marks, h->mark_room * sizeof *h->marks);
    }
    if (h->mark_count && h->marks[h->mark_count - 1].began > began)
        began = h->marks[h->mark_count - 1].began;
    h->marks[h->mark_count++] = (struct mark){dream_now(o->dream), began};
}

/* Whether it was overwritten or deleted, or should have been, before a call that began then. */
static bool superseded(const struct oracle *o, const struct history *h, uint64_t version, nstime began)
{
    for (size_t i = h->mark_count; i-- > 0;)
        if (h->marks[i].ended < began)
            return h->marks[i].began > o->writes[version].ended;
    return false;
}

/* ...and where it lives, as the cas of a hit says, which is that of whoever read it. */
static unsigned read_from(const mend_reply *r)
{
    return r->cas >= GUTTER_CAS ? GUTTER : HOME;
}

/* The server that a reply names. Where there was no memory for names, that of the key's two which it can be from; NET_SERVERS_MAX: it is not known. */
static unsigned answered_by(const struct oracle *o, unsigned key, const mend_reply *r)
{
    const struct history *h = &o->keys[key];

    for (unsigned i = 0; i < net_servers(o->net); i++)
        if (strcmp(net_name(o->net, i), r->server) == 0)
            return i;
    bool known = !o->moving && (r->status == MEND_OK || o->gutter == NET_SERVERS_MAX);
    return known && h->lives[read_from(r)] >= 0 ? (unsigned)h->lives[read_from(r)] : NET_SERVERS_MAX;
}

/* The name and the cas agree. */
static void check_named(const struct oracle *o, unsigned key, const mend_reply *r)
{
    if (r->server[0] && read_from(r) != place_of(o, answered_by(o, key, r)))
        dream_fail(o->dream, "a hit of key %u on %s, the cas of which says otherwise", key, r->server);
}

void oracle_read(struct oracle *o, unsigned key, const mend_reply *r, nstime began, nstime fresh_since)
{
    const struct history *h = &o->keys[key];
    unsigned              server = answered_by(o, key, r);
    bool                  known = server < NET_SERVERS_MAX;

    if (r->status == MEND_MISS) {
        if (!oracle_is_counter(key) && known && !held(&h->on[server], 0, began))
            dream_fail(o->dream, "a miss of key %u, which was there all the time", key);
        return;
    }
    if (r->status != MEND_OK)
        return;
    if (r->cas == 0)
        dream_fail(o->dream, "a hit without a cas, of key %u", key);
    check_named(o, key, r);
    if (oracle_is_counter(key)) {
        if (r->len == 0 || strspn(r->data, "0123456789 ") != r->len)
            dream_fail(o->dream, "counter %u is not a number: %.40s", key, r->data);
        return;
    }
    uint64_t version = version_of(o, key, r->data, r->len);
    if (!version)
        dream_fail(o->dream, "a wrong answer for key %u: %zu bytes, %.60s", key, r->len, r->data);
    else if (known && !held(&h->on[server], version, began))
        dream_fail(o->dream, "version %llu of key %u, which the server did not hold during the call", (unsigned long long)version, key);
    else if (o->writes[version].ended >= fresh_since && superseded(o, h, version, began))
        dream_fail(o->dream, "a stale answer for key %u: version %llu, and a later write of it had ended before", key, (unsigned long long)version);
}

/* Whether a write had ended between what a loader has read and a call that began then. */
static bool overtaken(const struct oracle *o, const struct history *h, uint64_t version, nstime began)
{
    for (size_t i = h->mark_count; i-- > 0;)
        if (h->marks[i].ended < began)
            return h->marks[i].ended > o->writes[version].ended;
    return false;
}

/* Whether what a fetch calls cached was so on this server since then. ages: it may be called stale without having been made so; in a
 * gutter nothing does. */
static bool was_cached_on(const struct oracle *o, const struct history *h, unsigned server, const mend_reply *r, uint64_t version, nstime since, bool ages)
{
    bool cached = r->source == MEND_SOURCE_CACHE, stale = r->source == MEND_SOURCE_STALE;
    return held_so(&h->on[server], version, since, cached || (ages && place_of(o, server) == HOME), stale);
}

/* ...on its own; if another thread was answered there is no cas, and it may have been either of the key's. */
static bool was_cached(const struct oracle *o, unsigned key, const mend_reply *r, uint64_t version, nstime since, bool ages)
{
    const struct history *h = &o->keys[key];
    unsigned              server = answered_by(o, key, r);

    if (r->cas)
        return server == NET_SERVERS_MAX || was_cached_on(o, h, server, r, version, since, ages);
    for (unsigned place = 0; place < PLACES; place++)
        if (h->lives[place] >= 0 && was_cached_on(o, h, (unsigned)h->lives[place], r, version, since, ages))
            return true;
    return false;
}

uint64_t oracle_fetched(struct oracle *o, unsigned key, const mend_reply *r, nstime began, nstime before, nstime fresh_since, bool ages)
{
    static const char *const sources[] = {"none", "cache", "stale", "loaded", "shared", "local"};
    const struct history    *h = &o->keys[key];
    bool                     cached = r->source == MEND_SOURCE_CACHE || r->source == MEND_SOURCE_STALE;
    uint64_t                 version = version_of(o, key, r->data, r->len);
    bool                     fresh = o->writes[version].ended >= fresh_since;

    if (cached && r->cas)
        check_named(o, key, r);
    if (!version)
        dream_fail(o->dream, "a wrong answer to a fetch of key %u: %zu bytes, %.60s", key, r->len, r->data);
    else if (cached && !was_cached(o, key, r, version, began - before, ages))
        dream_fail(o->dream, "version %llu of key %u, which the server did not hold so during the fetch (%s)", (unsigned long long)version, key,
                   sources[r->source]);
    else if (fresh && superseded(o, h, version, began))
        dream_fail(o->dream, "a stale answer to a fetch of key %u (%s): version %llu, and a later write of it had ended before", key, sources[r->source],
                   (unsigned long long)version);
    else if (fresh && (r->source == MEND_SOURCE_SHARED || r->source == MEND_SOURCE_LOCAL) && overtaken(o, h, version, began))
        dream_fail(o->dream, "an old answer to a fetch of key %u (%s): version %llu, while the load of which a write ended", key, sources[r->source],
                   (unsigned long long)version);
    return version;
}

/* A failed write says truthfully whether it may have been done. */
static void judge_failure(struct oracle *o, uint64_t version, const mend_reply *r)
{
    struct write *w = &o->writes[version];

    if (r->status >= 0 || r->maybe_applied)
        return;
    if (w->executed)
        dream_fail(o->dream, "write %llu was done, and its caller was told that it was not (%s)", (unsigned long long)version, r->error);
    w->denied = true;
}

static bool done_within(struct oracle *o, uint64_t version, nstime began)
{
    const struct write *w = &o->writes[version];
    if (w->executed && w->first >= began)
        return true;
    dream_fail(o->dream, "write %llu was said to be done, and no server did it", (unsigned long long)version);
    return false;
}

void oracle_wrote(struct oracle *o, unsigned key, uint64_t version, const mend_reply *r, nstime began)
{
    o->writes[version].ended = dream_now(o->dream);
    supersede(o, key, r->status, began);
    if (r->status == MEND_OK)
        done_within(o, version, began);
    judge_failure(o, version, r);
}

void oracle_deleted(struct oracle *o, unsigned key, mend_status status, nstime began)
{
    supersede(o, key, status, began);
}

void oracle_counted(struct oracle *o, unsigned key, uint64_t version, uint64_t initial, const mend_reply *r, nstime began)
{
    judge_failure(o, version, r);
    if (r->status != MEND_OK || r->number == initial)
        return; /* it may have been created, which no delta tells */
    if (done_within(o, version, began) && o->writes[version].number != r->number)
        dream_fail(o->dream, "counter %u was %llu, and its caller was told %llu", key, (unsigned long long)o->writes[version].number,
                   (unsigned long long)r->number);
}

void oracle_end(struct oracle *o)
{
    for (size_t i = 1; i < o->write_count; i++)
        if (o->writes[i].executed > 1)
            dream_fail(o->dream, "write %zu was executed %u times", i, o->writes[i].executed);
}

struct oracle *oracle_new(struct dream *d, struct net *n)
{
    struct oracle *o = calloc(1, sizeof *o);

    o->dream = d;
    o->net = n;
    o->gutter = NET_SERVERS_MAX;
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        for (unsigned k = 0; k < PLACES; k++)
            o->keys[i].lives[k] = -1;
        for (unsigned k = 0; k < NET_SERVERS_MAX; k++)
            remember(o, &o->keys[i].on[k], 0, false);
    }
    oracle_make_keys(o, false);
    oracle_version(o, 0);
    net_on_execute(n, oracle_executed, o);
    return o;
}

void oracle_free(struct oracle *o)
{
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        for (unsigned k = 0; k < NET_SERVERS_MAX; k++)
            free(o->keys[i].on[k].moments);
        free(o->keys[i].marks);
    }
    free(o->writes);
    free(o);
}
