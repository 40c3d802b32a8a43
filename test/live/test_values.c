/* test_values.c - how keys and values travel: behind a prefix, together by a routing key, and compressed, against real
 * memcacheds and the clients of other makes. */
#include "support/counted.h"
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>

#define S(text) mend_str(text)
enum { SERVERS = 3 };

static struct memcached m[SERVERS];
static char             list[512]; /* of them all */

static int servers_begin(void **state)
{
    size_t at = 0;

    for (int i = 0; i < SERVERS; i++) {
        memcached_start(&m[i], "127.0.0.1", NULL);
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? "," : "", m[i].name);
    }
    return watch_begins(state);
}

static int servers_end(void **state)
{
    (void)state;
    for (int i = 0; i < SERVERS; i++)
        memcached_stop(&m[i]);
    return 0;
}

#define CLIENT(...) open_up(&MEND_CONFIG(.servers = list, .timeout_ms = 10000, __VA_ARGS__))

static void holds(mend_client *c, mend_bytes key, mend_bytes value)
{
    mend_reply r = MEND_REPLY;

    must_be(MEND_OK, mend_get(c, key, &r), &r);
    assert_int_equal(r.len, value.len);
    assert_memory_equal(r.data, value.data, value.len);
    mend_reply_free(&r);
}

static int load_key(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)context;
    (void)left_ms;
    return mend_loaded_set(out, key); /* the value is the key, as the loader was given it */
}

static const mend_recipe its_key = {.load = load_key, .ttl_s = 100};

/* The server that this client asks for the key. */
static const char *home(mend_client *c, const char *key, const char *routing_key, mend_reply *r)
{
    assert_true(mend_exists_with(c, S(key), &(mend_call){.routing_key = S(routing_key)}, r) >= 0);
    return r->server;
}

static size_t index_of(const char *name)
{
    for (size_t i = 0; i < SERVERS; i++)
        if (strcmp(m[i].name, name) == 0)
            return i;
    fail_msg("no server of ours: %s", name);
    return 0;
}

/* ---- The prefix -------------------------------------------------------------------------- */
static void a_prefix_stands_before_every_key(void **state)
{
    mend_client *c = CLIENT(.prefix = "app:"), *bare = CLIENT();
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    (void)state;

    must_be(MEND_OK, mend_set(c, S("set"), S("1"), NULL, &r), &r);
    must_be(MEND_OK, mend_add(c, S("add"), S("1"), NULL, &r), &r);
    must_be(MEND_OK, mend_append(c, S("add"), S("2"), NULL, &r), &r);
    must_be(MEND_OK, mend_increment(c, S("n"), 1, &(mend_count){.create = true, .initial = 7}, &r), &r);
    must_be(MEND_OK, mend_set(c, S("with space"), S("b"), NULL, &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("fetched"), &its_key, &r), &r);
    assert_string_equal(r.data, "fetched"); /* the loader sees no prefix */
    must_be(MEND_OK, mend_fetch_multi(c, (mend_bytes[]){S("f1"), S("f2")}, 2, &its_key, &rs), &r);
    assert_string_equal(rs.at[1].data, "f2");
    mend_item items[] = {{.key = S("i1"), .value = S("v1")}, {.key = S("i 2"), .value = S("v2")}};
    must_be(MEND_OK, mend_set_multi(c, items, 2, &rs), &rs.at[0]);

    holds(bare, S("app:set"), S("1"));
    holds(bare, S("app:add"), S("12"));
    holds(bare, S("app:n"), S("7"));
    holds(bare, S("app:with space"), S("b"));
    holds(bare, S("app:fetched"), S("fetched"));
    holds(bare, S("app:f1"), S("f1"));
    holds(bare, S("app:i1"), S("v1"));
    holds(bare, S("app:i 2"), S("v2"));
    must_be(MEND_MISS, mend_get(bare, S("set"), &r), &r);

    mend_bytes keys[] = {S("set"), S("i 2"), S("nothing"), S("f2"), S("set")};
    must_be(MEND_OK, mend_get_multi(c, keys, 5, &rs), &rs.at[0]);
    static const char *const values[] = {"1", "v2", "", "f2", "1"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(rs.at[i].data, values[i]);
    assert_int_equal(rs.at[2].status, MEND_MISS);

    must_be(MEND_OK, mend_get_and_touch(c, S("set"), 100, &r), &r);
    must_be(MEND_OK, mend_cas(c, S("set"), S("2"), r.cas, NULL, &r), &r);
    must_be(MEND_OK, mend_touch(c, S("set"), 100, &r), &r);
    must_be(MEND_OK, mend_exists(c, S("set"), &r), &r);
    must_be(MEND_OK, mend_make_stale(c, S("f1"), 5, &r), &r);
    must_be(MEND_OK, mend_delete(c, S("set"), &r), &r);
    must_be(MEND_MISS, mend_get(bare, S("app:set"), &r), &r);
    must_be(MEND_OK, mend_delete_multi(c, keys, 2, &rs), &rs.at[0]);
    must_be(MEND_MISS, mend_get(bare, S("app:i 2"), &r), &r);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(bare);
    mend_close(c);
}

/* As libmemcached has it, which test_ring.c shows: the server of "app:key" if the prefix is hashed, else that of "key". */
static void a_prefix_is_hashed_or_not(void **state)
{
    mend_client *bare = CLIENT(), *hashed = CLIENT(.prefix = "app:"), *unhashed = CLIENT(.prefix = "app:", .prefix_unhashed = true);
    mend_reply   a = MEND_REPLY, b = MEND_REPLY;
    int          differ = 0;
    (void)state;

    for (int i = 0; i < 50; i++) {
        char key[32], prefixed[40];
        snprintf(key, sizeof key, "key:%d", i);
        snprintf(prefixed, sizeof prefixed, "app:%s", key);
        assert_string_equal(home(hashed, key, NULL, &a), home(bare, prefixed, NULL, &b));
        assert_string_equal(home(hashed, "any", key, &a), home(bare, prefixed, NULL, &b));
        assert_string_equal(home(unhashed, key, NULL, &a), home(bare, key, NULL, &b));
        assert_string_equal(home(unhashed, "any", key, &a), home(bare, key, NULL, &b));
        differ += strcmp(home(hashed, key, NULL, &a), home(unhashed, key, NULL, &b)) != 0;
    }
    assert_true(differ > 10);
    mend_reply_free(&a);
    mend_reply_free(&b);
    mend_close(bare);
    mend_close(hashed);
    mend_close(unhashed);
}

static void a_prefix_counts_in_the_length(void **state)
{
    mend_client *c = CLIENT(.prefix = "0123456789");
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    char         plain[241], binary[177];
    (void)state;

    memset(plain, 'k', sizeof plain);
    memset(binary, ' ', sizeof binary);
    must_be(MEND_OK, mend_set(c, mend_mem(plain, 240), S("p"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(c, mend_mem(binary, 176), S("b"), NULL, &r), &r);
    holds(c, mend_mem(plain, 240), S("p"));
    holds(c, mend_mem(binary, 176), S("b"));
    must_be(MEND_E_ARGUMENT, mend_get(c, mend_mem(plain, 241), &r), &r);
    must(strstr(r.error, "prefix"), "%s", r.error);
    must_be(MEND_E_ARGUMENT, mend_get(c, mend_mem(binary, 177), &r), &r);
    must_be(MEND_E_ARGUMENT, mend_fetch(c, mend_mem(plain, 241), &its_key, &r), &r);
    mend_bytes keys[] = {mend_mem(plain, 241), mend_mem(plain, 240), mend_mem(binary, 177)};
    must_be(MEND_E_ARGUMENT, mend_get_multi(c, keys, 3, &rs), &r);
    assert_int_equal(rs.at[0].status, MEND_E_ARGUMENT);
    must_be(MEND_OK, rs.at[1].status, &rs.at[1]);
    assert_int_equal(rs.at[2].status, MEND_E_ARGUMENT);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
}

static void the_trial_key_has_no_prefix(void **state)
{
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 10000, .prefix = "app:"));
    (void)state;

    assert_int_equal(mend_ping(c, NULL), MEND_OK);
    assert_true(hostile_asked(h, HOSTILE_TRIAL_KEY) >= 2);
    assert_int_equal(hostile_asked(h, "app:" HOSTILE_TRIAL_KEY), 0);
    mend_close(c);
    hostile_stop(h);
}

/* ---- Lost writes: behind a prefix, and by a routing key ----------------------------------- */
static void a_lost_write_is_made_up_for_where_its_key_lives(void **state)
{
    mend_client *c = open_up(&MEND_CONFIG(.servers = list, .timeout_ms = 200, .zombie_ms = MEND_ZERO, .prefix = "app:"));
    mend_call    together = {.routing_key = S("user:1")}, patient = {.routing_key = S("user:1"), .timeout_ms = SOON_MS};
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   keys[] = {S("lost:1"), S("lost:2"), S("lost 3")};
    size_t       at = index_of(home(c, "any", "user:1", &r));
    (void)state;

    for (int i = 0; i < 3; i++)
        must_be(MEND_OK, mend_set(c, keys[i], S("old"), &(mend_store){.call = patient}, &r), &r);
    memcached_pause(&m[at]);
    await(mend_get_with(c, keys[0], &together, &r) == MEND_E_DOWN, SOON_MS);
    must_be(MEND_E_DOWN, mend_delete_with(c, keys[0], &together, &r), &r);
    assert_int_equal(mend_delete_multi_with(c, keys + 1, 1, &together, NULL), MEND_E_DOWN);
    assert_int_equal(mend_set_multi(c, &(mend_item){.key = keys[2], .value = S("new"), .store.call = together}, 1, NULL), MEND_E_DOWN);
    for (size_t i = 0; i < SERVERS; i++)
        assert_int_equal(seen_at(c, i).journal_keys, i == at ? 3 : 0);

    memcached_resume(&m[at]);
    await(all_up(c), SOON_MS);
    await(seen_at(c, at).journal_keys == 0, SOON_MS);
    must_be(MEND_OK, mend_get_multi_with(c, keys, 3, &patient, &rs), &r);
    for (size_t i = 0; i < 3; i++)
        must_be(MEND_MISS, rs.at[i].status, &rs.at[i]);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
}

static enum hostile_next neither_stores_nor_deletes(struct toy_ask *ask, void *context)
{
    (void)context;
    if (strcmp(ask->key, "app:lost") == 0 && toy_is(ask, "ms md"))
        return hostile_say(ask, "SERVER_ERROR backend failure\r\n") ? HOSTILE_GO_ON : HOSTILE_CLOSE;
    return hostile_answer(ask);
}

/* A write that failed: its key is not read, though its server is up, by any call, and others are. */
static void a_key_that_may_be_stale_is_not_read(void **state)
{
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS, .prefix = "app:"));
    mend_reply      r = MEND_REPLY;
    mend_replies    rs = MEND_REPLIES;
    mend_bytes      keys[] = {S("lost"), S("sound")};
    (void)state;

    hostile_put(h, "app:lost", "old");
    must_be(MEND_OK, mend_set(c, keys[1], S("1"), NULL, &r), &r);
    hostile_behave(h, neither_stores_nor_deletes, NULL);
    must_be(MEND_E_SERVER, mend_set(c, keys[0], S("1"), NULL, &r), &r);
    must_be(MEND_E_DOWN, mend_get(c, keys[0], &r), &r);
    await(all_up(c) && mend_get(c, keys[1], &r) == MEND_OK, SOON_MS);
    must_be(MEND_E_DOWN, mend_get(c, keys[0], &r), &r);
    must_be(MEND_E_DOWN, mend_get_multi(c, keys, 2, &rs), &r);
    must_be(MEND_E_DOWN, rs.at[0].status, &rs.at[0]);
    must_be(MEND_OK, rs.at[1].status, &rs.at[1]);
    hostile_behave(h, NULL, NULL);
    mend_status status;
    await((status = mend_get(c, keys[0], &r)) != MEND_E_DOWN, SOON_MS);
    must_be(MEND_MISS, status, &r);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
    hostile_stop(h);
}

/* ---- Keys that live together ---------------------------------------------------------------- */
static void every_call_honours_a_routing_key(void **state)
{
    mend_client *c = CLIENT();
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    (void)state;

    for (int user = 0; user < 5; user++) {
        char      route[32], where[256], names[8][32];
        mend_bytes keys[8];
        mend_item  items[8];
        snprintf(route, sizeof route, "user:%d", user);
        snprintf(where, sizeof where, "%s", home(c, "any", route, &r));
        mend_call   call = {.routing_key = S(route)};
        mend_recipe recipe = its_key;
        recipe.call = call;
        for (int i = 0; i < 8; i++) {
            snprintf(names[i], sizeof names[i], "u%d:%d", user, i);
            keys[i] = S(names[i]);
            items[i] = (mend_item){.key = keys[i], .value = keys[i], .store.call = call};
        }
        must_be(MEND_OK, mend_set_multi(c, items, 4, &rs), &r);
        for (size_t i = 0; i < 4; i++)
            assert_string_equal(rs.at[i].server, where);
        must_be(MEND_OK, mend_fetch_multi(c, keys, 7, &recipe, &rs), &r); /* the first four are there, the others are loaded */
        for (size_t i = 0; i < 7; i++) {
            assert_string_equal(rs.at[i].server, where);
            assert_int_equal(rs.at[i].source, i < 4 ? MEND_SOURCE_CACHE : MEND_SOURCE_LOADED);
        }
        must_be(MEND_OK, mend_fetch(c, keys[7], &recipe, &r), &r);
        assert_string_equal(r.server, where);
        must_be(MEND_OK, mend_get_multi_with(c, keys, 8, &call, &rs), &r);
        for (size_t i = 0; i < 8; i++) {
            must_be(MEND_OK, rs.at[i].status, &rs.at[i]);
            assert_string_equal(rs.at[i].data, names[i]);
            assert_string_equal(rs.at[i].server, where);
        }
        must_be(MEND_OK, mend_exists_with(c, keys[0], &call, &r), &r);
        must_be(MEND_OK, mend_touch_with(c, keys[0], 100, &call, &r), &r);
        must_be(MEND_OK, mend_get_and_touch_with(c, keys[0], 100, &call, &r), &r);
        must_be(MEND_OK, mend_make_stale_with(c, keys[7], 5, &call, &r), &r);
        must_be(MEND_OK, mend_delete_with(c, keys[0], &call, &r), &r);
        assert_string_equal(r.server, where);
        must_be(MEND_OK, mend_delete_multi_with(c, keys, 7, &call, &rs), &r);
        assert_int_equal(rs.at[0].status, MEND_MISS);
        for (size_t i = 1; i < 7; i++)
            must_be(MEND_OK, rs.at[i].status, &rs.at[i]);
    }
    /* per item: one call, several places */
    mend_item mixed[] = {{.key = S("mixed:1"), .value = S("1"), .store.call.routing_key = S("user:1")},
                         {.key = S("mixed:2"), .value = S("2"), .store.call.routing_key = S("user:2")},
                         {.key = S("mixed:3"), .value = S("3")}};
    must_be(MEND_OK, mend_set_multi(c, mixed, 3, &rs), &r);
    for (size_t i = 0; i < 3; i++) {
        must_be(MEND_OK, mend_get_with(c, mixed[i].key, &mixed[i].store.call, &r), &r);
        assert_string_equal(r.server, rs.at[i].server);
    }
    must_be(MEND_E_ARGUMENT, mend_delete_with(c, S("k"), &(mend_call){.routing_key = {.len = 1}}, &r), &r);
    must(strstr(r.error, "routing_key"), "%s", r.error);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
}

/* ---- Compressed values ---------------------------------------------------------------------- */

/* One that this library was built without is no test's fault. */
static bool built_with(mend_compression compression)
{
    mend_client *c;
    mend_reply   r = MEND_REPLY;
    bool         built = mend_open(&MEND_CONFIG(.servers = list, .compression = compression), &c, &r) == MEND_OK;

    if (!built)
        print_message("skipped: %s\n", r.error);
    mend_close(c);
    mend_reply_free(&r);
    return built;
}

enum { MB = 1 << 20, ABOVE = 1000 };

/* Some text, which packs to much less. */
static char *text_of(size_t n)
{
    char    *p = malloc(n + 64);
    unsigned x = 1;

    for (size_t at = 0; at < n; x = x * 1103515245 + 12345)
        at += (size_t)snprintf(p + at, 64, "{\"id\":%u,\"name\":\"user %u\"},", x >> 12, (x >> 20) % 100);
    p[n] = 0;
    return p;
}

static const struct preset {
    mend_compression compression;
    uint32_t         bits;  /* that a packed value then has */
    uint32_t         flags; /* an application's beside them */
} presets[] = {
    {MEND_COMPRESSION_ZSTD, 1u << 31, 0x7fffffff},
    {MEND_COMPRESSION_PHP, 0x30, 0xffff000f},
    {MEND_COMPRESSION_PYLIBMC, 8, 16 | 1},
    {MEND_COMPRESSION_PYMEMCACHE, 8, 16},
};
enum { PRESETS = sizeof presets / sizeof *presets };

/* What is really there has these flags, and is smaller than n. */
static void is_packed(mend_client *bare, const char *key, uint32_t flags, size_t n)
{
    mend_reply r = MEND_REPLY;

    must_be(MEND_OK, mend_get(bare, S(key), &r), &r);
    must(r.flags == flags, "%s: flags 0x%x, not 0x%x", key, r.flags, flags);
    must(r.len < n, "%s: %zu bytes", key, r.len);
    mend_reply_free(&r);
}

static void says(const mend_reply *r, const char *text, uint32_t flags)
{
    must_be(MEND_OK, r->status, r);
    must(r->len == strlen(text) && strcmp(r->data, text) == 0, "%zu bytes", r->len);
    must(r->flags == flags, "flags 0x%x, not 0x%x", r->flags, flags);
}

static const char *loads; /* what load_text loads */

static int load_text(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)key;
    (void)left_ms;
    out->flags = context ? *(uint32_t *)context : 0;
    return mend_loaded_set(out, S(loads));
}

static void every_call_packs(const struct preset *preset, size_t size)
{
    mend_client *c = CLIENT(.compression = preset->compression, .compress_above_bytes = ABOVE), *bare = CLIENT();
    char        *text = text_of(size);
    uint32_t     flags = preset->flags, packed = flags | preset->bits, loaded_flags = flags;
    mend_store   store = {.flags = flags, .ttl_s = 1000};
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;

    mend_delete_multi(c, (mend_bytes[]){S("a"), S("f"), S("f1"), S("f2")}, 4, NULL);
    must_be(MEND_OK, mend_set(c, S("s"), S(text), &store, &r), &r);
    is_packed(bare, "s", packed, size / 2);
    must_be(MEND_OK, mend_add(c, S("a"), S(text), &store, &r), &r);
    is_packed(bare, "a", packed, size / 2);
    must_be(MEND_OK, mend_get(c, S("s"), &r), &r);
    says(&r, text, flags);
    must_be(MEND_OK, mend_replace(c, S("s"), mend_mem(r.data, r.len - 1), &store, &r), &r); /* out of the reply itself */
    must_be(MEND_OK, mend_get_and_touch(c, S("s"), 100, &r), &r);
    assert_int_equal(r.len, size - 1);
    must_be(MEND_OK, mend_cas(c, S("s"), S(text), r.cas, &store, &r), &r);
    is_packed(bare, "s", packed, size / 2);
    must_be(MEND_OK, mend_exists(c, S("s"), &r), &r);
    assert_int_equal(r.flags, flags);

    loads = text;
    mend_recipe recipe = {.load = load_text, .context = &loaded_flags, .ttl_s = 100};
    for (int i = 0; i < 2; i++) { /* loaded, and then from the cache */
        must_be(MEND_OK, mend_fetch(c, S("f"), &recipe, &r), &r);
        says(&r, text, flags);
        assert_int_equal(r.source, i ? MEND_SOURCE_CACHE : MEND_SOURCE_LOADED);
        must_be(MEND_OK, mend_fetch_multi(c, (mend_bytes[]){S("f1"), S("f2")}, 2, &recipe, &rs), &r);
        says(&rs.at[0], text, flags);
        says(&rs.at[1], text, flags);
    }
    is_packed(bare, "f", packed, size / 2);
    is_packed(bare, "f2", packed, size / 2);

    mend_item items[] = {{S("m1"), S(text), store}, {S("m2"), S("small"), store}, {S("m3"), S(text), store}};
    must_be(MEND_OK, mend_set_multi(c, items, 3, &rs), &rs.at[0]);
    must_be(MEND_OK, mend_set_multi(c, items, 3, NULL), &r);
    is_packed(bare, "m3", packed, size / 2);
    mend_bytes keys[] = {S("m1"), S("m2"), S("none"), S("m3"), S("s"), S("m1")};
    must_be(MEND_OK, mend_get_multi(c, keys, 6, &rs), &r);
    says(&rs.at[0], text, flags);
    says(&rs.at[1], "small", flags);
    assert_int_equal(rs.at[2].status, MEND_MISS);
    says(&rs.at[3], text, flags);
    says(&rs.at[4], text, flags);
    says(&rs.at[5], text, flags);

    must_be(MEND_OK, mend_get(bare, S("m2"), &r), &r); /* what is small is left alone */
    says(&r, "small", flags);
    must_be(MEND_OK, mend_increment(c, S("n"), 1, &(mend_count){.create = true, .initial = 1}, &r), &r);
    for (size_t i = 0; i < SERVERS; i++)
        assert_int_equal(seen_at(c, i).values_broken, 0);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(bare);
    mend_close(c);
    free(text);
}

static void values_travel_packed(void **state)
{
    (void)state;
    for (size_t i = 0; i < PRESETS; i++) {
        if (!built_with(presets[i].compression))
            continue;
        every_call_packs(&presets[i], 5000);
        every_call_packs(&presets[i], 300000); /* and so large that they have a connection to themselves */
    }
}

/* The same over the classic protocol. */
static void values_travel_packed_by_the_classic_protocol(void **state)
{
    (void)state;
    if (!built_with(MEND_COMPRESSION_ZSTD))
        skip();
    struct hostile *h = hostile_start(HOSTILE_CLASSIC);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 10000, .compression = MEND_COMPRESSION_ZSTD,
                                             .compress_above_bytes = ABOVE));
    char       *text = text_of(3000);
    mend_reply  r = MEND_REPLY;
    mend_recipe recipe = {.load = load_text, .ttl_s = 100};
    loads = text;
    must_be(MEND_OK, mend_set(c, S("k"), S(text), &(mend_store){.flags = 5}, &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    says(&r, text, 5);
    must_be(MEND_OK, mend_cas(c, S("k"), S(text), r.cas, &(mend_store){.flags = 6}, &r), &r);
    must_be(MEND_OK, mend_exists(c, S("k"), &r), &r);
    assert_int_equal(r.flags, 6);
    for (int i = 0; i < 2; i++) {
        must_be(MEND_OK, mend_fetch(c, S("f"), &recipe, &r), &r);
        says(&r, text, 0);
    }
    mend_reply_free(&r);
    mend_close(c);
    hostile_stop(h);
    free(text);
}

/* Reading needs the bits only; and who does not write leaves values as they are. */
static void reading_alone(void **state)
{
    (void)state;
    if (!built_with(MEND_COMPRESSION_ZSTD) || !built_with(MEND_COMPRESSION_PYLIBMC))
        skip();
    mend_client *zstd = CLIENT(.compression = MEND_COMPRESSION_ZSTD, .compress_above_bytes = ABOVE, .zstd_flag = 64);
    mend_client *zlib = CLIENT(.compression = MEND_COMPRESSION_PYLIBMC, .compress_above_bytes = ABOVE);
    mend_client *reader = CLIENT(.zstd_flag = 64, .zlib_flag = 8), *bare = CLIENT();
    char        *text = text_of(4000);
    mend_reply   r = MEND_REPLY;
    must_be(MEND_OK, mend_set(zstd, S("zstd"), S(text), NULL, &r), &r);
    must_be(MEND_OK, mend_set(zlib, S("zlib"), S(text), NULL, &r), &r);
    must_be(MEND_OK, mend_set(reader, S("plain"), S(text), NULL, &r), &r);
    must_be(MEND_OK, mend_append(reader, S("plain"), S("!"), NULL, &r), &r); /* nothing that it stores is packed */
    must_be(MEND_OK, mend_get(bare, S("plain"), &r), &r);
    assert_int_equal(r.len, 4001);
    must_be(MEND_OK, mend_get(reader, S("zstd"), &r), &r);
    says(&r, text, 0);
    must_be(MEND_OK, mend_get(reader, S("zlib"), &r), &r);
    says(&r, text, 0);
    mend_reply_free(&r);
    mend_close(zstd);
    mend_close(zlib);
    mend_close(reader);
    mend_close(bare);
    free(text);
}

static void what_is_refused(void **state)
{
    (void)state;
    if (!built_with(MEND_COMPRESSION_PHP))
        skip();
    mend_client *c = CLIENT(.compression = MEND_COMPRESSION_PHP, .compress_above_bytes = ABOVE), *reader = CLIENT(.compression = MEND_COMPRESSION_PHP);
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    uint32_t     taken = 0x40;
    mend_store   store = {.flags = taken};
    mend_recipe  recipe = {.load = load_text, .context = &taken};
    loads = "text";
    must_be(MEND_E_ARGUMENT, mend_set(c, S("k"), S("v"), &store, &r), &r);
    must(strstr(r.error, "flags"), "%s", r.error);
    must_be(MEND_E_ARGUMENT, mend_set(reader, S("k"), S("v"), &store, &r), &r);
    mend_item items[] = {{S("i1"), S("v"), {0}}, {S("i2"), S("v"), store}};
    must_be(MEND_E_ARGUMENT, mend_set_multi(c, items, 2, &rs), &r);
    must_be(MEND_OK, rs.at[0].status, &rs.at[0]);
    must_be(MEND_E_ARGUMENT, rs.at[1].status, &rs.at[1]);
    must_be(MEND_E_LOADER, mend_fetch(c, S("not:there"), &recipe, &r), &r);
    must(strstr(r.error, "flags"), "%s", r.error);
    must_be(MEND_E_ARGUMENT, mend_append(c, S("i1"), S("w"), NULL, &r), &r);
    must(strstr(r.error, "compress_above_bytes"), "%s", r.error);
    must_be(MEND_E_ARGUMENT, mend_prepend(c, S("i1"), S("w"), NULL, &r), &r);
    holds(c, S("i1"), S("v"));
    for (size_t i = 0; i < SERVERS; i++)
        must(seen_at(c, i).failures == 0, "%s", seen_at(c, i).why);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
    mend_close(reader);
}

/* Bytes that no packer made: misses, which a fetch replaces, and a set. They are nobody's fault. */
static void broken_values_are_misses(void **state)
{
    static const char *const broken[] = {"", "x", "\x78\x9c", "\x28\xb5\x2f\xfd", "\x28\xb5\x2f\xfd\x24\x5a\x2d\x01", "not packed at all, but it says so",
                                         "\x10\x10\x10\x7f a length that is a lie", "\x08\x01\x01\x01\x78\x9c\xcb\x48"};
    (void)state;
    for (size_t i = 0; i < PRESETS; i++) {
        if (!built_with(presets[i].compression))
            continue;
        mend_client *c = CLIENT(.compression = presets[i].compression, .compress_above_bytes = ABOVE), *bare = CLIENT();
        mend_reply   r = MEND_REPLY;
        mend_replies rs = MEND_REPLIES;
        mend_recipe  recipe = {.load = load_text, .ttl_s = 100};
        uint64_t     count = 0;
        loads = "loaded";
        for (size_t k = 0; k < sizeof broken / sizeof *broken; k++) {
            must_be(MEND_OK, mend_set(bare, S("broken"), S(broken[k]), &(mend_store){.flags = presets[i].bits}, &r), &r);
            must_be(MEND_MISS, mend_get(c, S("broken"), &r), &r);
            assert_int_equal(r.len, 0);
            assert_string_equal(r.data, "");
            assert_string_equal(r.error, "");
            must_be(MEND_MISS, mend_get_and_touch(c, S("broken"), 100, &r), &r);
            must_be(MEND_OK, mend_get_multi(c, (mend_bytes[]){S("broken"), S("none")}, 2, &rs), &r);
            must_be(MEND_MISS, rs.at[0].status, &rs.at[0]);
            must_be(MEND_OK, mend_fetch(c, S("broken"), &recipe, &r), &r);
            must(r.source == MEND_SOURCE_LOADED && r.cas, "it was loaded, and stored in place of what was broken");
            holds(bare, S("broken"), S("loaded"));
            must_be(MEND_OK, mend_set(bare, S("broken"), S(broken[k]), &(mend_store){.flags = presets[i].bits}, &r), &r);
            must_be(MEND_OK, mend_fetch_multi(c, (mend_bytes[]){S("broken")}, 1, &recipe, &rs), &r);
            holds(bare, S("broken"), S("loaded"));
        }
        for (size_t s = 0; s < SERVERS; s++) {
            struct seen seen = seen_at(c, s);
            must(seen.failures == 0 && seen.falls == 0 && seen.state == MEND_STATE_UP, "%s", seen.why);
            count += seen.values_broken;
        }
        assert_int_equal(count, 5 * sizeof broken / sizeof *broken);
        mend_replies_free(&rs);
        mend_reply_free(&r);
        mend_close(c);
        mend_close(bare);
    }
}

static void a_bomb_goes_off_nowhere(void **state)
{
    (void)state;
    char *zeros = calloc(1, 32 * MB);
    for (size_t i = 0; i < PRESETS; i++) {
        if (!built_with(presets[i].compression))
            continue;
        struct counted memory = {0};
        mend_client   *writer = CLIENT(.compression = presets[i].compression, .compress_above_bytes = ABOVE);
        mend_client   *c = CLIENT(.compression = presets[i].compression, .value_max_bytes = 100000, .allocator = counted_hooks(&memory));
        mend_reply     r = MEND_REPLY;
        mend_replies   rs = MEND_REPLIES;
        must_be(MEND_OK, mend_set(writer, S("bomb"), mend_mem(zeros, 32 * MB), NULL, &r), &r);
        must_be(MEND_OK, mend_set(writer, S("most"), mend_mem(zeros, 100000), NULL, &r), &r);
        must_be(MEND_OK, mend_get(c, S("most"), &r), &r);
        mend_reply_free(&r);
        unsigned connections = seen_at(c, index_of(home(c, "bomb", NULL, &r))).connections;
        must_be(MEND_E_MEMORY, mend_get(c, S("bomb"), &r), &r);
        must(strstr(r.error, "value_max_bytes"), "%s", r.error);
        assert_int_equal(r.len, 0);
        must_be(MEND_E_MEMORY, mend_get_multi(c, (mend_bytes[]){S("bomb"), S("most")}, 2, &rs), &r);
        must_be(MEND_E_MEMORY, rs.at[0].status, &rs.at[0]);
        must_be(MEND_OK, rs.at[1].status, &rs.at[1]);
        must(memory.largest < 400000, "%zu bytes were asked for at once", (size_t)memory.largest);
        mend_replies_free(&rs);
        home(c, "bomb", NULL, &r);
        struct seen seen = seen_at(c, index_of(r.server));
        assert_true(seen.failures == 0 && seen.connections == connections);
        mend_reply_free(&r);
        mend_close(writer);
        mend_close(c);
        await(memory.live == 0, SOON_MS);
    }
    free(zeros);
}

/* Whatever is not to be had: the value is right, or there is none. */
static void memory_runs_out(void **state)
{
    (void)state;
    char *text = text_of(200000);
    for (size_t i = 0; i < PRESETS; i++) {
        if (!built_with(presets[i].compression))
            continue;
        struct counted memory = {0};
        mend_client   *c = CLIENT(.compression = presets[i].compression, .compress_above_bytes = ABOVE, .allocator = counted_hooks(&memory));
        mend_reply     r = MEND_REPLY;
        mend_replies   rs = MEND_REPLIES;
        mend_item      items[] = {{S("x"), S(text), {0}}, {S("y"), S(text), {0}}};
        bool           whole = false;
        for (long n = 1; !whole; n++) {
            memory.fail_at = memory.requests + n;
            mend_status set = mend_set(c, S("x"), S(text), NULL, NULL), get = mend_get(c, S("x"), &r);
            must(set == MEND_OK || set == MEND_E_MEMORY, "%s", mend_status_name(set));
            must(get == MEND_E_MEMORY || get == MEND_E_DOWN || (get == MEND_OK && strcmp(r.data, text) == 0), "%s: %s", mend_status_name(get), r.error);
            mend_set_multi(c, items, 2, &rs);
            mend_get_multi(c, (mend_bytes[]){S("x"), S("y")}, 2, &rs);
            for (size_t k = 0; k < rs.count; k++)
                must(rs.at[k].status != MEND_OK || strcmp(rs.at[k].data, text) == 0, "half a value");
            whole = memory.requests < memory.fail_at;
            memory.fail_at = 0;
            mend_reply_free(&r);
            mend_replies_free(&rs);
            await(mend_get(c, S("x"), &r) >= 0, SOON_MS); /* what was lost is deleted */
        }
        mend_reply_free(&r);
        mend_close(c);
        await(memory.live == 0, SOON_MS);
        assert_int_equal(memory.strange, 0);
    }
    free(text);
}

static mend_client *shared;

static void *packs_and_unpacks(void *arg)
{
    mend_reply r = MEND_REPLY;
    char       key[16], *text = text_of(4000 + 500 * (size_t)(uintptr_t)arg);
    int        wrong = 0;

    snprintf(key, sizeof key, "t%zu", (size_t)(uintptr_t)arg);
    for (int i = 0; i < 100; i++) {
        wrong += mend_set(shared, S(key), S(text), NULL, &r) != MEND_OK;
        wrong += mend_get(shared, S(key), &r) != MEND_OK || strcmp(r.data, text) != 0;
    }
    mend_reply_free(&r);
    free(text);
    return wrong ? text : NULL;
}

/* Packing counts for a call's time. What there is none for travels as it is. */
static void packing_keeps_to_the_deadline(void **state)
{
    enum { LARGE = 64 * 1024 * 1024, TIMEOUT_MS = 50 };
    mend_reply r = MEND_REPLY;
    char      *value = malloc(LARGE);
    uint32_t   chance = 1;
    (void)state;
    for (size_t i = 0; i < LARGE; i++)
        value[i] = "abcdefgh"[(chance = chance * 1103515245 + 12345) >> 29]; /* three bits a byte, and no easy ones */
    for (size_t i = 0; i < PRESETS; i++) {
        if (!built_with(presets[i].compression))
            continue;
        mend_client *c = CLIENT(.compression = presets[i].compression, .compress_above_bytes = ABOVE);
        mend_store   soon = {.call.timeout_ms = TIMEOUT_MS};
        takes_less_than(TIMEOUT_MS + slack_ms(), assert_int_not_equal(mend_set(c, S("k"), mend_mem(value, LARGE), &soon, &r), MEND_OK));
        mend_close(c);
    }
    free(value);
    mend_reply_free(&r);
}

static void threads_share_the_tools(void **state)
{
    (void)state;
    for (size_t i = 0; i < PRESETS; i++) {
        pthread_t threads[12];
        if (!built_with(presets[i].compression))
            continue;
        shared = CLIENT(.compression = presets[i].compression, .compress_above_bytes = ABOVE);
        for (uintptr_t t = 0; t < 12; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, packs_and_unpacks, (void *)t), 0);
        for (size_t t = 0; t < 12; t++) {
            void *wrong;
            pthread_join(threads[t], &wrong);
            assert_null(wrong);
        }
        mend_close(shared);
    }
}

/* ---- The clients of other makes, as Debian has them -------------------------------------------- */

#define TEXT "'mend and others read this. ' * 500"
static const struct other {
    const char      *name, *package;
    mend_compression compression;
    const char      *run; /* reads its program from what follows, and ends with 77 if that other is not there */
    const char      *program; /* writes and reads: "write" PORT, "read" PORT */
    const char      *keys; /* that it writes, each of one letter */
    uint32_t         flags[4]; /* what these then have beside those of compression */
} others[] = {
    {"pylibmc", "python3-pylibmc", MEND_COMPRESSION_PYLIBMC, "/usr/bin/python3 -",
     "import sys\n"
     "try: import pylibmc\n"
     "except ImportError: sys.exit(77)\n"
     "c, text = pylibmc.Client(['127.0.0.1:' + sys.argv[2]]), " TEXT "\n"
     "if sys.argv[1] == 'write':\n"
     "    assert c.set('b', text.encode(), min_compress_len=100) and c.set('t', text, min_compress_len=100)\n"
     "else:\n"
     "    assert c.get('B') == text.encode() and c.get('T') == text\n",
     "bt", {0, 16}},
    {"pymemcache", "python3-pymemcache", MEND_COMPRESSION_PYMEMCACHE, "/usr/bin/python3 -",
     "import sys, zlib\n"
     "try: from pymemcache import serde; from pymemcache.client.base import Client\n"
     "except ImportError: sys.exit(77)\n"
     "class Compressed: # as serde.CompressedSerde of pymemcache 4, which 3.5 has the flag for only\n"
     "    def serialize(self, key, value):\n"
     "        value, flags = serde.python_memcache_serializer(key, value)\n"
     "        return (zlib.compress(value), flags | serde.FLAG_COMPRESSED) if len(value) > 400 else (value, flags)\n"
     "    def deserialize(self, key, value, flags):\n"
     "        if flags & serde.FLAG_COMPRESSED: value, flags = zlib.decompress(value), flags & ~serde.FLAG_COMPRESSED\n"
     "        return serde.python_memcache_deserializer(key, value, flags)\n"
     "c, text = Client(('127.0.0.1', int(sys.argv[2])), serde=getattr(serde, 'CompressedSerde', Compressed)()), " TEXT "\n"
     "if sys.argv[1] == 'write':\n"
     "    assert c.set('b', text.encode()) and c.set('t', text)\n"
     "else:\n"
     "    assert c.get('B') == text.encode() and c.get('T') == text\n",
     "bt", {0, 16}},
    {"php-memcached", "php-cli php-memcached", MEND_COMPRESSION_PHP, "php --",
     "<?php if (!class_exists('Memcached')) exit(77);\n"
     "$c = new Memcached(); $c->addServer('127.0.0.1', (int)$argv[2]); $text = str_repeat('mend and others read this. ', 500);\n"
     "$long = ''; for ($i = 0; $i < 20000; $i++) $long .= $i * 7919 % 1000;\n"
     "$zlib = Memcached::OPT_COMPRESSION_TYPE; $good = true;\n"
     "if ($argv[1] == 'write') {\n"
     "    $good = $c->set('b', $text) && $c->setOption(Memcached::OPT_USER_FLAGS, 5) && $c->set('t', $text)\n"
     "        && $c->setOption($zlib, Memcached::COMPRESSION_ZLIB) && $c->set('z', $text)\n"
     "        && $c->setOption($zlib, Memcached::COMPRESSION_FASTLZ) && $c->setOption(Memcached::OPT_USER_FLAGS, 0) && $c->set('l', $long);\n"
     "} else $good = $c->get('B') === $text && $c->get('T') === $text;\n"
     "exit($good ? 0 : 1);\n",
     "btzl", {0, 5 << 16, 5 << 16, 0}},
};

/* Its exit status; what it has to say is told. */
static int run_other(const struct other *other, const char *what)
{
    char command[4096], line[512];

    snprintf(command, sizeof command, "timeout 60 %s %s %d 2>&1 <<'END'\n%s\nEND\n", other->run, what, m[0].port, other->program);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        print_message("%s: %s", other->name, line);
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void others_text(char *to, bool is_long)
{
    for (int i = 0; i < (is_long ? 20000 : 500); i++)
        to += sprintf(to, is_long ? "%d" : "mend and others read this. ", i * 7919 % 1000);
}

static void others_read_it_and_are_read(void **state)
{
    char  *text = calloc(1, 70000), *longer = calloc(1, 70000);
    size_t ran = 0;
    (void)state;

    others_text(text, false);
    others_text(longer, true);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const struct other *other = &others[i];
        if (!built_with(other->compression))
            continue;
        int status = run_other(other, "write");
        if (status == 77 || status == 127) {
            print_message("%s: left out, since it is not here (apt-get install %s)\n", other->name, other->package);
            continue;
        }
        must(status == 0, "%s could not write: %d", other->name, status);
        mend_client *c = open_up(&MEND_CONFIG(.servers = m[0].name, .timeout_ms = 10000, .compression = other->compression, .compress_above_bytes = 100));
        mend_client *bare = open_up(&MEND_CONFIG(.servers = m[0].name, .timeout_ms = 10000));
        mend_reply   r = MEND_REPLY;
        for (size_t k = 0; other->keys[k]; k++) {
            mend_bytes  key = mend_mem(&other->keys[k], 1);
            const char *wanted = other->keys[k] == 'l' ? longer : text;
            must_be(MEND_OK, mend_get(bare, key, &r), &r);
            must(r.len < strlen(wanted) && r.flags != other->flags[k], "%s has packed %s", other->name, (const char *)key.data);
            must_be(MEND_OK, mend_get(c, key, &r), &r);
            says(&r, wanted, other->flags[k]);
        }
        must_be(MEND_OK, mend_set(c, S("B"), S(text), &(mend_store){.flags = other->flags[0]}, &r), &r);
        must_be(MEND_OK, mend_set(c, S("T"), S(text), &(mend_store){.flags = other->flags[1]}, &r), &r);
        must_be(MEND_OK, mend_get(bare, S("T"), &r), &r);
        assert_true(r.len < strlen(text));
        status = run_other(other, "read");
        must(status == 0, "%s could not read: %d", other->name, status);
        mend_reply_free(&r);
        mend_close(c);
        mend_close(bare);
        ran++;
    }
    free(text);
    free(longer);
    if (!ran)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_stands_before_every_key),
        cmocka_unit_test(a_prefix_is_hashed_or_not),
        cmocka_unit_test(a_prefix_counts_in_the_length),
        cmocka_unit_test(the_trial_key_has_no_prefix),
        cmocka_unit_test(a_lost_write_is_made_up_for_where_its_key_lives),
        cmocka_unit_test(a_key_that_may_be_stale_is_not_read),
        cmocka_unit_test(every_call_honours_a_routing_key),
        cmocka_unit_test(values_travel_packed),
        cmocka_unit_test(values_travel_packed_by_the_classic_protocol),
        cmocka_unit_test(reading_alone),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(broken_values_are_misses),
        cmocka_unit_test(a_bomb_goes_off_nowhere),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(packing_keeps_to_the_deadline),
        cmocka_unit_test(threads_share_the_tools),
        cmocka_unit_test(others_read_it_and_are_read),
    };
    return cmocka_run_group_tests(tests, servers_begin, servers_end);
}
