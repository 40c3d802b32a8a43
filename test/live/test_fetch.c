/* test_fetch.c - get or load: one load for all who want it, whatever becomes of it, with the cache and without.
 *
 * A second client stands for another process of the fleet (test_fleet.c has real ones). Also run under the thread sanitizer.
 */
#include "support/counted.h"
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define S(text) mend_str(text)

enum { CROWD = 32 };

static struct memcached server;

static int begins(void **state)
{
    memcached_start(&server, "127.0.0.1", "-m 64");
    return watch_begins(state);
}

static int ends(void **state)
{
    (void)state;
    memcached_stop(&server);
    return 0;
}

static mend_client *open_client(void)
{
    return open_up(&MEND_CONFIG(.servers = server.name, .timeout_ms = SOON_MS));
}

/* ---- A database ------------------------------------------------------------------------------------ */
struct db {
    atomic_int loads, now, most; /* that ran, run, ran at the same time */
    int        ms;               /* that one takes */
    atomic_int result;           /* what the loader returns */
    const char *value;           /* NULL: the key */
    void (*meanwhile)(struct db *, mend_bytes key); /* what happens while it loads */
    mend_client *client, *other;
    atomic_int   others_status, others_source;
    char         others_data[64];
};

static int load(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    struct db *db = context;
    int        now = ++db->now;

    (void)left_ms;
    db->loads++;
    for (int most = db->most; now > most && !atomic_compare_exchange_weak(&db->most, &most, now);)
        ;
    if (db->meanwhile)
        db->meanwhile(db, key);
    pause_ms(db->ms);
    db->now--;
    if (db->result)
        return db->result;
    out->flags = 7;
    return mend_loaded_set(out, db->value ? S(db->value) : key);
}

static mend_recipe recipe_of(struct db *db)
{
    return (mend_recipe){.load = load, .context = db, .ttl_s = 100, .wait_ms = 20000};
}

#define must_say(wanted_source, text, r) \
    do { \
        must((r)->source == (wanted_source) && strcmp((r)->data, text) == 0, "source %d, \"%s\"", (int)(r)->source, (r)->data); \
    } while (0)

static void forget(mend_client *c, const char *key)
{
    mend_reply r = MEND_REPLY;
    must(mend_delete(c, S(key), &r) >= 0, "%s", r.error);
    mend_reply_free(&r);
}

/* ---- One caller -------------------------------------------------------------------------------------- */
static void a_miss_is_loaded_and_a_hit_is_not(void **state)
{
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.value = "loaded"};
    mend_recipe  recipe = recipe_of(&db);

    must_be(MEND_OK, mend_fetch(c, S("a"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "loaded", &r);
    assert_true(r.cas != 0 && r.flags == 7 && r.ttl_s == 100);
    assert_string_equal(r.server, server.name);
    must_be(MEND_OK, mend_fetch(c, S("a"), &recipe, &r), &r);
    must_say(MEND_SOURCE_CACHE, "loaded", &r);
    assert_true(r.cas != 0 && r.flags == 7 && r.ttl_s >= 98 && r.ttl_s <= 100);
    must_be(MEND_OK, mend_get(c, S("a"), &r), &r);
    assert_int_equal(r.source, MEND_SOURCE_NONE);
    must_be(MEND_OK, mend_set(c, S("key"), S("binary \1 key"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("key"), &r), &r);
    db.value = NULL;
    must_be(MEND_OK, mend_fetch(c, mend_mem(r.data, r.len), &recipe, &r), &r); /* the key lies in the reply */
    must_say(MEND_SOURCE_LOADED, "binary \1 key", &r);
    assert_int_equal(db.loads, 2);
    mend_reply_free(&r);
    mend_close(c);
}

static int connections_so_far(void)
{
    char        stats[8192];
    int         fd = raw_connect(server.host, server.port, server.path);
    assert_true(raw_ask(fd, "stats\r\n", "END\r\n", stats, sizeof stats));
    close(fd);
    const char *found = strstr(stats, "STAT total_connections ");
    assert_non_null(found);
    return atoi(found + strlen("STAT total_connections "));
}

/* memcached shows the key of an item that a lease has made as it is, and not in base64: a line's end in it would be one. */
static void a_key_of_any_bytes_costs_no_connection(void **state)
{
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.value = "loaded"};
    mend_recipe  recipe = recipe_of(&db);
    char         key[32];

    must_be(MEND_MISS, mend_get(c, S("any"), &r), &r);
    int before = connections_so_far();
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "no such\r\nVA %d", i);
        must_be(MEND_OK, mend_fetch(c, S(key), &recipe, &r), &r);
        must_say(MEND_SOURCE_LOADED, "loaded", &r);
        must_be(MEND_OK, mend_get(c, S(key), &r), &r);
    }
    assert_int_equal(connections_so_far(), before + 1); /* the one that asks */
    mend_reply_free(&r);
    mend_close(c);
}

static void mistakes_are_named(void **state)
{
    static struct db db;
    const struct {
        mend_recipe recipe;
        const char *field;
    } rows[] = {
        {{.ttl_s = 1}, "load"},
        {{.load = load, .ttl_s = -1}, "ttl_s"},
        {{.load = load, .ttl_s = 10, .refresh_s = 10}, "refresh_s"},
        {{.load = load, .refresh_s = -1}, "refresh_s"},
        {{.load = load, .stale_s = -1}, "stale_s"},
        {{.load = load, .absent_ttl_s = -1}, "absent_ttl_s"},
        {{.load = load, .lease_s = MEND_ZERO}, "lease_s"},
        {{.load = load, .wait_ms = -1}, "wait_ms"},
        {{.load = load, .loads_max = MEND_ZERO}, "loads_max"},
        {{.load = load, .local_ttl_ms = -1}, "local_ttl_ms"},
        {{.load = load, .call.timeout_ms = -1}, "timeout_ms"},
        {{.load = load, .reserved = {0, 1}}, "reserved"},
    };
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   key = S("m");

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mend_recipe recipe = rows[i].recipe;
        recipe.context = &db;
        must_be(MEND_E_ARGUMENT, mend_fetch(c, S("m"), &recipe, &r), &r);
        must(strstr(r.error, rows[i].field), "%s, not %s", r.error, rows[i].field);
        must_be(MEND_E_ARGUMENT, mend_fetch_multi(c, &key, 1, &recipe, &rs), &rs.at[0]);
    }
    mend_recipe good = recipe_of(&db);
    must_be(MEND_E_ARGUMENT, mend_fetch(c, S(""), &good, &r), &r);
    must_be(MEND_E_ARGUMENT, mend_fetch(c, S("m"), NULL, &r), &r);
    assert_int_equal(mend_fetch(c, S("m"), &good, NULL), MEND_E_ARGUMENT);
    assert_int_equal(mend_fetch(NULL, S("m"), &good, &r), MEND_E_ARGUMENT);
    must_be(MEND_E_ARGUMENT, mend_make_stale(c, S("m"), 0, &r), &r);
    assert_int_equal(mend_loaded_set(NULL, S("x")), MEND_E_ARGUMENT);
    assert_int_equal(db.loads, 0);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
}

static void a_loader_that_fails_is_told_apart(void **state)
{
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.result = -77};
    mend_recipe  recipe = recipe_of(&db);

    must_be(MEND_E_LOADER, mend_fetch(c, S("fails"), &recipe, &r), &r);
    assert_true((int64_t)r.number == -77 && strstr(r.error, "-77") && r.source == MEND_SOURCE_NONE && r.len == 0);
    db.result = 0;
    recipe.wait_ms = 10000;
    recipe.lease_s = 1000;
    int64_t began = now_ms();
    must_be(MEND_OK, mend_fetch(c, S("fails"), &recipe, &r), &r); /* the lease was given back: nobody waits for it */
    assert_true(now_ms() - began < 5000);
    must_say(MEND_SOURCE_LOADED, "fails", &r);
    mend_reply_free(&r);
    mend_close(c);
}

static int forgets_the_value(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)context;
    (void)key;
    (void)out;
    (void)left_ms;
    return 0;
}

static void what_is_absent_is_remembered(void **state)
{
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   keys[] = {S("nobody"), S("a")};
    struct db    db = {.result = MEND_ABSENT};
    mend_recipe  recipe = recipe_of(&db);

    must_be(MEND_ABSENT, mend_fetch(c, S("nobody"), &recipe, &r), &r);
    assert_true(r.source == MEND_SOURCE_LOADED && r.len == 0);
    must_be(MEND_ABSENT, mend_fetch(c, S("nobody"), &recipe, &r), &r);
    assert_int_equal(r.source, MEND_SOURCE_CACHE);
    assert_int_equal(db.loads, 1);
    must_be(MEND_MISS, mend_get(c, S("nobody"), &r), &r); /* to all others it is a miss */
    must_be(MEND_MISS, mend_exists(c, S("nobody"), &r), &r);
    must_be(MEND_OK, mend_get_multi(c, keys, 2, &rs), &rs.at[0]);
    assert_int_equal(rs.at[0].status, MEND_MISS);
    must_be(MEND_OK, mend_set(c, S("nobody"), S("somebody"), NULL, &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("nobody"), &recipe, &r), &r);
    must_say(MEND_SOURCE_CACHE, "somebody", &r);

    recipe.absent_ttl_s = MEND_ZERO;
    for (int i = 0; i < 3; i++)
        must_be(MEND_ABSENT, mend_fetch(c, S("never kept"), &recipe, &r), &r);
    assert_int_equal(db.loads, 4);
    recipe.load = forgets_the_value;
    must_be(MEND_E_LOADER, mend_fetch(c, S("never kept"), &recipe, &r), &r);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
}

static void nested(struct db *db, mend_bytes key)
{
    mend_reply  r = MEND_REPLY;
    struct db   inner = {.value = "inner"};
    mend_recipe recipe = recipe_of(&inner);

    recipe.loads_max = 1; /* which the outer load has: what a loader fetches needs no turn of its own */
    db->others_status = mend_fetch(db->client, key, &recipe, &r);
    must_be(MEND_OK, mend_fetch(db->client, S("inner"), &recipe, &r), &r);
    assert_int_equal(inner.loads, 1);
    mend_reply_free(&r);
}

static void a_loader_may_fetch_but_not_its_own_key(void **state)
{
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.client = c, .meanwhile = nested};
    mend_recipe  recipe = recipe_of(&db);

    recipe.loads_max = 1;
    must_be(MEND_OK, mend_fetch(c, S("outer"), &recipe, &r), &r);
    assert_int_equal(db.others_status, MEND_E_ARGUMENT);
    mend_reply_free(&r);
    mend_close(c);
}

/* ---- What happens meanwhile --------------------------------------------------------------------------- */
static void is_deleted(struct db *db, mend_bytes key)
{
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_delete(db->other, key, &r), &r);
    mend_reply_free(&r);
}

static void is_set(struct db *db, mend_bytes key)
{
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_set(db->other, key, S("newer"), NULL, &r), &r);
    mend_reply_free(&r);
}

static void a_write_in_between_wins(void **state)
{
    (void)state;
    mend_client *c = open_client(), *other = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.other = other, .meanwhile = is_deleted};
    mend_recipe  recipe = recipe_of(&db);

    must_be(MEND_OK, mend_fetch(c, S("raced"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "raced", &r);
    assert_int_equal(r.cas, 0);
    must_be(MEND_MISS, mend_get(c, S("raced"), &r), &r);
    db.meanwhile = is_set;
    must_be(MEND_OK, mend_fetch(c, S("raced"), &recipe, &r), &r);
    must_be(MEND_OK, mend_get(c, S("raced"), &r), &r);
    assert_string_equal(r.data, "newer");
    mend_reply_free(&r);
    mend_close(other);
    mend_close(c);
}

/* The other process asks: it must not load, nor wait. */
static void other_fetches(struct db *db, mend_bytes key)
{
    mend_reply  r = MEND_REPLY;
    struct db   unwanted = {0};
    mend_recipe recipe = recipe_of(&unwanted);

    recipe.stale_s = 60;
    db->others_status = mend_fetch(db->other, key, &recipe, &r);
    db->others_source = (int)r.source;
    snprintf(db->others_data, sizeof db->others_data, "%s", r.data);
    assert_int_equal(unwanted.loads, 0);
    mend_reply_free(&r);
}

static void what_is_stale_is_served_while_one_loads(void **state)
{
    (void)state;
    mend_client *c = open_client(), *other = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.value = "new", .other = other, .meanwhile = other_fetches};
    mend_recipe  recipe = recipe_of(&db);

    must_be(MEND_MISS, mend_make_stale(c, S("stale"), 60, &r), &r);
    must_be(MEND_OK, mend_set(c, S("stale"), S("old"), NULL, &r), &r);
    must_be(MEND_OK, mend_make_stale(c, S("stale"), 60, &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("stale"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "new", &r);
    assert_int_equal(db.others_status, MEND_OK);
    assert_int_equal(db.others_source, MEND_SOURCE_STALE);
    assert_string_equal(db.others_data, "old");
    must_be(MEND_OK, mend_fetch(c, S("stale"), &recipe, &r), &r);
    must_say(MEND_SOURCE_CACHE, "new", &r);

    /* one whose load fails is served what there is, and the next tries again */
    must_be(MEND_OK, mend_make_stale(c, S("stale"), 60, &r), &r);
    db.result = -1;
    for (int i = 0; i < 3; i++) {
        must_be(MEND_OK, mend_fetch(c, S("stale"), &recipe, &r), &r);
        must_say(MEND_SOURCE_STALE, "new", &r);
    }
    assert_int_equal(db.loads, 4);
    mend_reply_free(&r);
    mend_close(other);
    mend_close(c);
}

static void near_its_end_one_refreshes(void **state)
{
    (void)state;
    mend_client *c = open_client(), *other = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.value = "new", .other = other, .meanwhile = other_fetches};
    mend_recipe  recipe = recipe_of(&db);

    recipe.refresh_s = 30;
    recipe.stale_s = 60;
    must_be(MEND_OK, mend_set(c, S("fresh"), S("old"), &(mend_store){.ttl_s = 100}, &r), &r); /* 40 s of its 100 are left: no refresh yet */
    must_be(MEND_OK, mend_fetch(c, S("fresh"), &recipe, &r), &r);
    must_say(MEND_SOURCE_CACHE, "old", &r);
    assert_true(r.ttl_s >= 38 && r.ttl_s <= 40);
    must_be(MEND_OK, mend_set(c, S("fresh"), S("old"), &(mend_store){.ttl_s = 80}, &r), &r); /* 20 s are left */
    must_be(MEND_OK, mend_fetch(c, S("fresh"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "new", &r);
    assert_int_equal(db.others_source, MEND_SOURCE_CACHE);
    assert_string_equal(db.others_data, "old");
    must_be(MEND_OK, mend_set(c, S("fresh"), S("old"), &(mend_store){.ttl_s = 20}, &r), &r); /* past its end, it is stale */
    must_be(MEND_OK, mend_fetch(c, S("fresh"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "new", &r);
    assert_int_equal(db.others_source, MEND_SOURCE_STALE);
    assert_int_equal(db.loads, 2);
    must_be(MEND_OK, mend_get(c, S("fresh"), &r), &r);
    assert_true(r.ttl_s >= 158 && r.ttl_s <= 160); /* it lives for stale_s longer than it is fresh */
    mend_reply_free(&r);
    mend_close(other);
    mend_close(c);
}

/* A load under way is a miss to whoever does not fetch; an empty value is a hit. */
static void others_look(struct db *db, mend_bytes key)
{
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   keys[] = {S("there"), key, S("empty"), key, S("not there"), S("there")};

    must_be(MEND_MISS, mend_get(db->other, key, &r), &r);
    must_be(MEND_MISS, mend_exists(db->other, key, &r), &r);
    must_be(MEND_MISS, mend_touch(db->other, key, 30, &r), &r);
    must_be(MEND_MISS, mend_get_and_touch(db->other, key, 30, &r), &r);
    must_be(MEND_OK, mend_get_multi(db->other, keys, 6, &rs), &rs.at[0]);
    static const mend_status wanted[] = {MEND_OK, MEND_MISS, MEND_OK, MEND_MISS, MEND_MISS, MEND_OK};
    for (int i = 0; i < 6; i++)
        must_be(wanted[i], rs.at[i].status, &rs.at[i]);
    assert_string_equal(rs.at[0].data, "value");
    assert_string_equal(rs.at[5].data, "value");
    assert_true(rs.at[2].len == 0 && rs.at[2].cas != 0);
    mend_replies_free(&rs);
    mend_reply_free(&r);
}

static void a_load_under_way_is_a_miss_to_others(void **state)
{
    (void)state;
    mend_client *c = open_client(), *other = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.other = other, .meanwhile = others_look};
    mend_recipe  recipe = recipe_of(&db);

    must_be(MEND_OK, mend_set(c, S("there"), S("value"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(c, S("empty"), S(""), NULL, &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("stub"), &recipe, &r), &r);
    assert_true(r.cas != 0);
    must_be(MEND_OK, mend_get(c, S("stub"), &r), &r);
    mend_reply_free(&r);
    mend_close(other);
    mend_close(c);
}

/* ---- A crowd ---------------------------------------------------------------------------------------------- */
struct crowd {
    mend_client       *client;
    const mend_recipe *recipe;
    const char        *prefix; /* of a key of its own for each; NULL: all want "key" */
    atomic_int         ready, ok, busy, other, wrong;
    atomic_int         sources[8];
};

struct member {
    struct crowd *crowd;
    int           number;
    pthread_t     thread;
    mend_reply    reply; /* here, since one of them is cancelled */
};

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct crowd  *c = m->crowd;
    mend_reply    *r = &m->reply;
    char           key[64] = "key";

    if (c->prefix)
        snprintf(key, sizeof key, "%s%d", c->prefix, m->number);
    c->ready++;
    while (c->ready < CROWD)
        pause_ms(1);
    switch (mend_fetch(c->client, S(key), c->recipe, r)) {
    case MEND_OK:
        c->ok++;
        c->sources[r->source]++;
        c->wrong += strcmp(r->data, key) != 0;
        break;
    case MEND_E_BUSY:
        c->busy++;
        break;
    default:
        print_error("%s: %s\n", mend_status_name(r->status), r->error);
        c->other++;
        break;
    }
    return NULL;
}

static void go(struct crowd *c)
{
    struct member members[CROWD];

    for (int i = 0; i < CROWD; i++) {
        members[i] = (struct member){.crowd = c, .number = i, .reply = MEND_REPLY};
        assert_int_equal(pthread_create(&members[i].thread, NULL, member_main, &members[i]), 0);
    }
    for (int i = 0; i < CROWD; i++) {
        pthread_join(members[i].thread, NULL);
        mend_reply_free(&members[i].reply);
    }
    assert_int_equal(c->wrong, 0);
    assert_int_equal(c->other, 0);
}

static void one_load_for_all_threads(void **state)
{
    (void)state;
    mend_client *c = open_client();
    struct db    db = {.ms = 200};
    mend_recipe  recipe = recipe_of(&db);
    struct crowd crowd = {.client = c, .recipe = &recipe};

    forget(c, "key");
    go(&crowd);
    assert_int_equal(crowd.ok, CROWD);
    assert_int_equal(db.loads, 1);
    assert_int_equal(crowd.sources[MEND_SOURCE_LOADED], 1);
    forget(c, "key");
    mend_close(c);
}

static void one_load_for_all_threads_over_classic(void **state)
{
    (void)state;
    struct hostile *h = hostile_start(HOSTILE_CLASSIC);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS));
    mend_reply      r = MEND_REPLY;
    struct db       db = {.ms = 50};
    mend_recipe     recipe = recipe_of(&db);
    struct crowd    crowd = {.client = c, .recipe = &recipe};

    go(&crowd);
    assert_int_equal(crowd.ok, CROWD);
    assert_int_equal(db.loads, 1);
    assert_true(hostile_holds(h, "key", "key"));
    must_be(MEND_OK, mend_make_stale(c, S("key"), 60, &r), &r); /* a delete, here */
    must_be(MEND_MISS, mend_get(c, S("key"), &r), &r);
    db.result = MEND_ABSENT;
    for (int i = 0; i < 2; i++)
        must_be(MEND_ABSENT, mend_fetch(c, S("key"), &recipe, &r), &r);
    assert_int_equal(db.loads, 2);
    must_be(MEND_MISS, mend_get(c, S("key"), &r), &r);
    must_be(MEND_E_ARGUMENT, mend_fetch(c, S("not for classic"), &recipe, &r), &r);
    mend_reply_free(&r);
    mend_close(c);
    hostile_stop(h);
}

static void waits_end_after_wait_ms(void **state)
{
    (void)state;
    mend_client *c = open_client();
    struct db    db = {.ms = 1500};
    mend_recipe  recipe = recipe_of(&db);
    struct crowd crowd = {.client = c, .recipe = &recipe};
    int64_t      began = now_ms();

    recipe.wait_ms = 100;
    forget(c, "key");
    go(&crowd);
    assert_int_equal(crowd.ok, 1);
    assert_int_equal(crowd.busy, CROWD - 1);
    assert_int_equal(db.loads, 1);
    assert_true(now_ms() - began < 5000);
    forget(c, "key");
    mend_close(c);
}

/* Who asks after this process has written the key is not served what was read before. */
struct late {
    struct db   *db;
    mend_client *client;
    pthread_t    thread;
};

static void *fetches_late(void *arg)
{
    struct late *late = arg;
    mend_reply   r = MEND_REPLY;
    struct db    db = {.value = "after"};
    mend_recipe  recipe = recipe_of(&db);

    late->db->others_status = mend_fetch(late->client, S("key"), &recipe, &r);
    late->db->others_source = (int)r.source;
    snprintf(late->db->others_data, sizeof late->db->others_data, "%s", r.data);
    mend_reply_free(&r);
    return NULL;
}

static void is_deleted_and_fetched(struct db *db, mend_bytes key)
{
    struct late late = {.db = db, .client = db->client};

    mend_delete(db->client, key, NULL);
    assert_int_equal(pthread_create(&late.thread, NULL, fetches_late, &late), 0);
    pthread_join(late.thread, NULL);
}

static void a_load_from_before_a_write_serves_nobody_after_it(void **state)
{
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.client = c, .value = "before", .meanwhile = is_deleted_and_fetched};
    mend_recipe  recipe = recipe_of(&db);

    forget(c, "key");
    must_be(MEND_OK, mend_fetch(c, S("key"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "before", &r);
    assert_int_equal(db.others_status, MEND_OK);
    assert_string_equal(db.others_data, "after");
    must_be(MEND_OK, mend_get(c, S("key"), &r), &r);
    assert_string_equal(r.data, "after"); /* the older one had lost its lease */
    forget(c, "key");
    mend_reply_free(&r);
    mend_close(c);
}

/* Whose miss arrives when the load that it missed is over. */
static struct {
    struct late late;
    atomic_int  gets, missed;
} slow_miss;

static enum hostile_next the_second_get_is_slow(struct toy_ask *ask, void *context)
{
    (void)context;
    if (!toy_is(ask, "gets") || ++slow_miss.gets != 2)
        return hostile_answer(ask);
    hostile_prepare(ask);
    slow_miss.missed++;
    return hostile_stall(ask) && hostile_write(ask, ask->answer, ask->length) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static void another_misses(struct db *db, mend_bytes key)
{
    (void)key;
    slow_miss.late = (struct late){.db = db, .client = db->client};
    assert_int_equal(pthread_create(&slow_miss.late.thread, NULL, fetches_late, &slow_miss.late), 0);
    await(slow_miss.missed == 1, SOON_MS);
}

static void a_late_miss_looks_once_more(void **state)
{
    (void)state;
    struct hostile *h = hostile_start(HOSTILE_CLASSIC);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS));
    mend_reply      r = MEND_REPLY;
    struct db       db = {.client = c, .value = "before", .meanwhile = another_misses};
    mend_recipe     recipe = recipe_of(&db);

    hostile_behave(h, the_second_get_is_slow, NULL);
    must_be(MEND_OK, mend_fetch(c, S("key"), &recipe, &r), &r);
    hostile_release(h);
    pthread_join(slow_miss.late.thread, NULL);
    assert_int_equal(db.others_source, MEND_SOURCE_CACHE);
    assert_string_equal(db.others_data, "before");
    mend_reply_free(&r);
    mend_close(c);
    hostile_stop(h);
}

static void waits_in_the_loader(struct db *db, mend_bytes key)
{
    (void)db;
    (void)key;
    for (;;)
        pause_ms(1); /* a cancellation point */
}

static void a_cancelled_loader_holds_up_nobody(void **state)
{
    (void)state;
    mend_client  *c = open_client();
    mend_reply    r = MEND_REPLY;
    struct db     db = {.meanwhile = waits_in_the_loader};
    mend_recipe   recipe = recipe_of(&db);
    struct crowd  crowd = {.client = c, .recipe = &recipe, .ready = CROWD};
    struct member member = {.crowd = &crowd, .reply = MEND_REPLY};

    recipe.loads_max = 1;
    recipe.wait_ms = 1000;
    forget(c, "key");
    assert_int_equal(pthread_create(&member.thread, NULL, member_main, &member), 0);
    await(db.now == 1, SOON_MS);
    pthread_cancel(member.thread);
    pthread_join(member.thread, NULL);
    mend_reply_free(&member.reply);
    db.meanwhile = NULL;
    must_be(MEND_OK, mend_fetch(c, S("key"), &recipe, &r), &r); /* after three quarters of wait_ms: the lease is lost */
    must_say(MEND_SOURCE_LOADED, "key", &r);
    must_be(MEND_OK, mend_get(c, S("key"), &r), &r);
    forget(c, "key");
    mend_reply_free(&r);
    mend_close(c);
}

/* ---- Two loads that want each other ---- */
struct pair {
    mend_client *client;
    const char  *keys[2];
    atomic_int   loading, busy;
};

struct half {
    struct pair *pair;
    int          number;
    pthread_t    thread;
    mend_status  status;
};

static int load_with_the_other(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    struct half *h = context;
    mend_reply   r = MEND_REPLY;
    mend_recipe  recipe = {.load = load_with_the_other, .context = h, .wait_ms = 200};

    (void)left_ms;
    h->pair->loading++;
    while (h->pair->loading < 2)
        pause_ms(1);
    h->pair->busy += mend_fetch(h->pair->client, S(h->pair->keys[!h->number]), &recipe, &r) == MEND_E_BUSY;
    mend_reply_free(&r);
    return mend_loaded_set(out, key);
}

static void *half_main(void *arg)
{
    struct half *h = arg;
    mend_reply   r = MEND_REPLY;
    mend_recipe  recipe = {.load = load_with_the_other, .context = h, .ttl_s = 100, .wait_ms = 20000};

    h->status = mend_fetch(h->pair->client, S(h->pair->keys[h->number]), &recipe, &r);
    mend_reply_free(&r);
    return NULL;
}

static void two_loads_that_want_each_other_end(void **state)
{
    (void)state;
    struct pair pair = {.client = open_client(), .keys = {"this", "that"}};
    struct half halves[2] = {{.pair = &pair, .number = 0}, {.pair = &pair, .number = 1}};

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&halves[i].thread, NULL, half_main, &halves[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(halves[i].thread, NULL);
    assert_true(halves[0].status == MEND_OK && halves[1].status == MEND_OK);
    assert_true(pair.busy >= 1); /* the other may have been served then */
    mend_close(pair.client);
}

/* ---- Without a cache --------------------------------------------------------------------------------------- */
static mend_client *open_nowhere(void)
{
    char name[64];
    snprintf(name, sizeof name, "127.0.0.1:%d", port_free("127.0.0.1"));
    mend_client *c;
    assert_int_equal(mend_open(&MEND_CONFIG(.servers = name, .heal_max_ms = 60000), &c, NULL), MEND_OK);
    await(state_of(c, 0) == MEND_STATE_DOWN, SOON_MS);
    return c;
}

static void one_load_for_all_threads_while_it_is_down(void **state)
{
    (void)state;
    mend_client *c = open_nowhere();
    struct db    db = {.ms = 300};
    mend_recipe  recipe = recipe_of(&db);
    struct crowd crowd = {.client = c, .recipe = &recipe};

    go(&crowd);
    assert_int_equal(crowd.ok, CROWD);
    assert_int_equal(db.most, 1); /* at a time */
    mend_close(c);
}

static void loads_are_bounded_while_it_is_down(void **state)
{
    (void)state;
    mend_client *c = open_nowhere();
    struct db    db = {.ms = 30};
    mend_recipe  recipe = recipe_of(&db);
    struct crowd crowd = {.client = c, .recipe = &recipe, .prefix = "own"};

    recipe.loads_max = 4;
    go(&crowd);
    assert_int_equal(crowd.ok, CROWD);
    assert_int_equal(db.loads, CROWD);
    assert_int_equal(db.most, 4);

    crowd = (struct crowd){.client = c, .recipe = &recipe, .prefix = "own"};
    db.ms = 3000;
    recipe.wait_ms = 100;
    go(&crowd);
    assert_int_equal(crowd.ok, 4);
    assert_int_equal(crowd.busy, CROWD - 4);
    mend_close(c);
}

static void is_written_here(struct db *db, mend_bytes key)
{
    mend_set(db->client, key, S("written"), NULL, NULL);
}

static void what_was_loaded_is_kept_here(void **state)
{
    (void)state;
    mend_client *c = open_nowhere();
    mend_reply   r = MEND_REPLY;
    struct db    db = {.client = c};
    mend_recipe  recipe = recipe_of(&db);

    must_be(MEND_OK, mend_fetch(c, S("l"), &recipe, &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("l"), &recipe, &r), &r);
    assert_int_equal(db.loads, 2); /* it is not, unless asked for */
    recipe.local_ttl_ms = 600000;
    must_be(MEND_OK, mend_fetch(c, S("l"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "l", &r);
    must_be(MEND_OK, mend_fetch(c, S("l"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOCAL, "l", &r);
    assert_int_equal(r.flags, 7);
    assert_int_equal(db.loads, 3);
    assert_true(mend_delete(c, S("l"), NULL) < 0); /* fails, and counts */
    must_be(MEND_OK, mend_fetch(c, S("l"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "l", &r);
    assert_true(mend_set_multi(c, &(mend_item){.key = S("l")}, 1, NULL) < 0);
    must_be(MEND_OK, mend_fetch(c, S("l"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "l", &r);
    assert_true(mend_flush_all(c, NULL) < 0);
    db.meanwhile = is_written_here; /* while it is loaded: what was read is not kept */
    for (int i = 0; i < 2; i++) {
        must_be(MEND_OK, mend_fetch(c, S("l"), &recipe, &r), &r);
        must_say(MEND_SOURCE_LOADED, "l", &r);
    }
    db.meanwhile = NULL;
    recipe.local_ttl_ms = 1;
    must_be(MEND_OK, mend_fetch(c, S("short"), &recipe, &r), &r);
    pause_ms(5);
    must_be(MEND_OK, mend_fetch(c, S("short"), &recipe, &r), &r);
    must_say(MEND_SOURCE_LOADED, "short", &r);
    mend_reply_free(&r);
    mend_close(c);
}

static void what_is_kept_is_bounded(void **state)
{
    (void)state;
    static struct counted memory;
    static char           large[60 << 10];
    mend_client          *c;
    mend_reply            r = MEND_REPLY;
    struct db             db = {.value = large};
    mend_recipe           recipe = recipe_of(&db);
    char                  name[64], key[32];

    memset(large, 'x', sizeof large - 1);
    snprintf(name, sizeof name, "127.0.0.1:%d", port_free("127.0.0.1"));
    assert_int_equal(mend_open(&MEND_CONFIG(.servers = name, .allocator = counted_hooks(&memory)), &c, NULL), MEND_OK);
    await(state_of(c, 0) == MEND_STATE_DOWN, SOON_MS);
    recipe.local_ttl_ms = 600000;
    long before = memory.live;
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "large%d", i);
        must_be(MEND_OK, mend_fetch(c, S(key), &recipe, &r), &r);
    }
    must(memory.live - before <= 2 * (4 << 20) / (long)sizeof large + 4, "%ld blocks", memory.live - before);
    db.value = "small";
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "small%d", i);
        must_be(MEND_OK, mend_fetch(c, S(key), &recipe, &r), &r);
    }
    must(memory.live - before <= 2 * 1024 + 4, "%ld blocks", memory.live - before);
    mend_reply_free(&r);
    mend_close(c);
    await(memory.live == 0, SOON_MS); /* a healer that had no turn in 100 ms is left to end by itself */
    assert_int_equal(memory.strange, 0);
}

/* ---- Many keys ------------------------------------------------------------------------------------------- */
static int load_many(void *context, const mend_bytes *keys, mend_loaded *out, size_t n, int left_ms)
{
    struct db *db = context;

    (void)left_ms;
    db->loads++;
    pause_ms(db->ms);
    for (size_t i = 0; i < n; i++)
        if (memchr(keys[i].data, '7', keys[i].len)) /* those with a seven in them are not there */
            db->now++;
        else
            mend_loaded_set(&out[i], keys[i]);
    return db->result;
}

enum { MANY = 100 };

static void name_keys(char names[MANY][16], mend_bytes *keys, const char *prefix)
{
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "%s%d", prefix, i % (MANY - 10)); /* ten of them twice */
        keys[i] = S(names[i]);
    }
}

static int count_wrong(const mend_replies *rs, const mend_bytes *keys, mend_source absent_from)
{
    int wrong = 0;

    for (size_t i = 0; i < MANY; i++) {
        const mend_reply *r = &rs->at[i];
        bool              absent = memchr(keys[i].data, '7', keys[i].len) != NULL;
        wrong += r->status != (absent ? MEND_ABSENT : MEND_OK) || !*r->server;
        wrong += !absent && (r->len != keys[i].len || memcmp(r->data, keys[i].data, r->len) != 0);
        wrong += absent && absent_from && r->source != absent_from;
    }
    return wrong;
}

static void many_keys_are_one_load(void **state)
{
    (void)state;
    static struct counted memory;
    mend_client          *c = open_up(&MEND_CONFIG(.servers = server.name, .timeout_ms = SOON_MS, .allocator = counted_hooks(&memory)));
    mend_reply            r = MEND_REPLY;
    mend_replies          rs = MEND_REPLIES;
    struct db             db = {0};
    mend_recipe           recipe = {.load_many = load_many, .context = &db, .ttl_s = 100};
    char                  names[MANY][16];
    mend_bytes            keys[MANY];

    name_keys(names, keys, "many:");
    must_be(MEND_OK, mend_set(c, keys[3], keys[3], NULL, &r), &r);
    must_be(MEND_OK, mend_fetch_multi(c, keys, MANY, &recipe, &rs), &rs.at[0]);
    assert_int_equal(count_wrong(&rs, keys, MEND_SOURCE_NONE), 0);
    assert_int_equal(db.loads, 1);
    assert_int_equal(rs.at[3].source, MEND_SOURCE_CACHE);
    assert_int_equal(rs.at[4].source, MEND_SOURCE_LOADED);
    assert_int_equal(rs.at[MANY - 6].source, MEND_SOURCE_CACHE); /* the same key once more: to the cache, another has the lease */
    assert_true(rs.at[4].cas != 0 && rs.at[4].ttl_s == 100);
    must_be(MEND_OK, mend_fetch_multi(c, keys, MANY, &recipe, &rs), &rs.at[0]);
    assert_int_equal(count_wrong(&rs, keys, MEND_SOURCE_CACHE), 0);
    assert_int_equal(db.loads, 1);
    assert_true(rs.at[4].source == MEND_SOURCE_CACHE && rs.at[4].ttl_s > 90);

    keys[5] = S("");
    name_keys(names, keys, "one:");
    recipe = recipe_of(&db); /* a loader of one key will do */
    must_be(MEND_OK, mend_fetch_multi(c, keys, 5, &recipe, &rs), &rs.at[0]);
    assert_int_equal(db.loads, 6);
    keys[5] = S("");
    must_be(MEND_E_ARGUMENT, mend_fetch_multi(c, keys, 6, &recipe, &rs), &rs.at[0]);
    assert_true(rs.at[4].status == MEND_OK && rs.at[5].status == MEND_E_ARGUMENT);
    name_keys(names, keys, "fails:");
    recipe = (mend_recipe){.load_many = load_many, .context = &db};
    db.result = -5;
    must_be(MEND_E_LOADER, mend_fetch_multi(c, keys, 10, &recipe, &rs), &rs.at[0]);
    assert_true(rs.at[0].status == MEND_OK && rs.at[7].status == MEND_E_LOADER && (int64_t)rs.at[7].number == -5);
    must_be(MEND_OK, mend_fetch_multi(c, keys, 0, &recipe, &rs), &rs.at[0]);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
    await(memory.live == 0, SOON_MS); /* a healer that had no turn in 100 ms is left to end by itself */
}

/* Each request for memory fails once: nothing hangs, nothing is wrong or lost, and the next fetch works. */
static void without_memory(void **state)
{
    (void)state;
    static struct counted memory;
    mend_client          *c = open_up(&MEND_CONFIG(.servers = server.name, .timeout_ms = SOON_MS, .allocator = counted_hooks(&memory)));
    struct db             db = {0};
    mend_recipe           one = recipe_of(&db), many = {.load_many = load_many, .context = &db, .ttl_s = 100};
    bool                  failed = true;

    one.lease_s = many.lease_s = 1000;
    one.wait_ms = many.wait_ms = 200000; /* a lease that were lost would cost most of that */
    int64_t began = now_ms();
    for (int nth = 1; failed; nth++) {
        mend_reply   r = MEND_REPLY;
        mend_replies rs = MEND_REPLIES;
        char         prefix[32], names[MANY][16];
        mend_bytes   keys[MANY];

        snprintf(prefix, sizeof prefix, "m%d:", nth);
        name_keys(names, keys, prefix);
        long asked = memory.requests;
        memory.fail_at = asked + nth;
        mend_status status = mend_fetch(c, keys[0], &one, &r);
        must(status != MEND_OK || (r.len == keys[0].len && memcmp(r.data, keys[0].data, r.len) == 0), "%d: \"%s\"", nth, r.data);
        must(status == MEND_OK || status == MEND_E_MEMORY || status == MEND_E_LOADER, "%d: %s", nth, mend_status_name(status));
        status = mend_fetch_multi(c, keys, 9, &many, &rs);
        for (size_t i = 0; i < rs.count; i++)
            must(rs.at[i].status != MEND_OK || (rs.at[i].len == keys[i].len && memcmp(rs.at[i].data, keys[i].data, rs.at[i].len) == 0), "%d", nth);
        failed = memory.requests >= memory.fail_at;
        memory.fail_at = 0;
        must_be(MEND_OK, mend_fetch(c, keys[0], &one, &r), &r);
        must_be(MEND_OK, mend_fetch_multi(c, keys, 9, &many, &rs), &rs.at[0]);
        mend_replies_free(&rs);
        mend_reply_free(&r);
        assert_true(nth < 1000);
    }
    assert_true(now_ms() - began < 60000);
    mend_close(c);
    await(memory.live == 0, SOON_MS); /* a healer that had no turn in 100 ms is left to end by itself */
    assert_int_equal(memory.strange, 0);
}

static void *fetches_many(void *arg)
{
    struct crowd *crowd = arg;
    mend_replies  rs = MEND_REPLIES;
    char          names[MANY][16];
    mend_bytes    keys[MANY];

    name_keys(names, keys, crowd->prefix);
    crowd->ready++;
    while (crowd->ready < 8)
        pause_ms(1);
    crowd->other += mend_fetch_multi(crowd->client, keys, MANY, crowd->recipe, &rs) != MEND_OK;
    crowd->wrong += count_wrong(&rs, keys, MEND_SOURCE_NONE);
    mend_replies_free(&rs);
    return NULL;
}

/* Each key is loaded once, by whichever thread came first to it; and the other process waits. */
static void many_keys_of_many_threads(void **state)
{
    (void)state;
    mend_client *clients[] = {open_client(), open_client(), open_nowhere()};
    struct db    db = {.ms = 100};
    mend_recipe  recipe = {.load_many = load_many, .context = &db, .ttl_s = 100, .wait_ms = 20000};
    pthread_t    threads[8];

    for (int round = 0; round < 2; round++) { /* two processes; one without its cache */
        struct crowd crowds[2];
        for (int i = 0; i < 2; i++)
            crowds[i] = (struct crowd){.client = clients[i ? 1 : round * 2], .recipe = &recipe, .prefix = "herd:", .ready = round ? 0 : 4};
        db.now = 0;
        for (int i = 0; i < 8; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, fetches_many, &crowds[i % 2 && !round]), 0);
        for (int i = 0; i < 8; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(crowds[0].wrong + crowds[1].wrong, 0);
        assert_int_equal(crowds[0].other + crowds[1].other, 0);
        if (!round)
            assert_int_equal(db.now, 18); /* those of 0 to 89 with a seven in them: 7, 17 ... 87 and 70 to 79 */
    }
    for (int i = 0; i < 3; i++)
        mend_close(clients[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_miss_is_loaded_and_a_hit_is_not),
        cmocka_unit_test(a_key_of_any_bytes_costs_no_connection),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_loader_that_fails_is_told_apart),
        cmocka_unit_test(what_is_absent_is_remembered),
        cmocka_unit_test(a_loader_may_fetch_but_not_its_own_key),
        cmocka_unit_test(a_write_in_between_wins),
        cmocka_unit_test(what_is_stale_is_served_while_one_loads),
        cmocka_unit_test(near_its_end_one_refreshes),
        cmocka_unit_test(a_load_under_way_is_a_miss_to_others),
        cmocka_unit_test(one_load_for_all_threads),
        cmocka_unit_test(one_load_for_all_threads_over_classic),
        cmocka_unit_test(waits_end_after_wait_ms),
        cmocka_unit_test(a_load_from_before_a_write_serves_nobody_after_it),
        cmocka_unit_test(a_late_miss_looks_once_more),
        cmocka_unit_test(a_cancelled_loader_holds_up_nobody),
        cmocka_unit_test(two_loads_that_want_each_other_end),
        cmocka_unit_test(one_load_for_all_threads_while_it_is_down),
        cmocka_unit_test(loads_are_bounded_while_it_is_down),
        cmocka_unit_test(what_was_loaded_is_kept_here),
        cmocka_unit_test(what_is_kept_is_bounded),
        cmocka_unit_test(many_keys_are_one_load),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(many_keys_of_many_threads),
    };
    return cmocka_run_group_tests_name("fetch", tests, begins, ends);
}
