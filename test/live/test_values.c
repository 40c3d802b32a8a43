/* test_values.c - how keys and values travel: behind a prefix, together by a routing key, and compressed, against real
 * memcacheds and the clients of other makes. */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <string.h>

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
    assert_true(mend_get_with(c, S(key), &(mend_call){.routing_key = S(routing_key)}, r) >= 0);
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
    mend_call    together = {.routing_key = S("user:1")};
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   keys[] = {S("lost:1"), S("lost:2"), S("lost 3")};
    size_t       at = index_of(home(c, "any", "user:1", &r));
    (void)state;

    for (int i = 0; i < 3; i++)
        must_be(MEND_OK, mend_set(c, keys[i], S("old"), &(mend_store){.call = together}, &r), &r);
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
    must_be(MEND_OK, mend_get_multi_with(c, keys, 3, &together, &rs), &r);
    for (size_t i = 0; i < 3; i++)
        must_be(MEND_MISS, rs.at[i].status, &rs.at[i]);
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_stands_before_every_key),
        cmocka_unit_test(a_prefix_is_hashed_or_not),
        cmocka_unit_test(a_prefix_counts_in_the_length),
        cmocka_unit_test(the_trial_key_has_no_prefix),
        cmocka_unit_test(a_lost_write_is_made_up_for_where_its_key_lives),
        cmocka_unit_test(every_call_honours_a_routing_key),
    };
    return cmocka_run_group_tests(tests, servers_begin, servers_end);
}
