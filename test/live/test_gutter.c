/* test_gutter.c - servers that stand in for one that is down: what goes there, for how long, and that nothing is read there
 * or at home that is older than this process's last write.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/proxy.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define S(text) mend_str(text)

enum { ZOMBIE_MS = 200, TTL_S = 10 };

/* Each behind a door: while that is shut it is away, with what it holds. Their names are the doors', so that no call has to run out of time. */
static struct memcached home, gutter;
static struct proxy    *home_door, *gutter_door;

static struct proxy *start(struct memcached *m)
{
    memcached_start(m, "127.0.0.1", NULL);
    struct proxy *door = proxy_start("127.0.0.1", m->host, m->port);
    assert_non_null(door);
    snprintf(m->name, sizeof m->name, "%s", proxy_name(door));
    return door;
}

static int begins(void **state)
{
    home_door = start(&home);
    gutter_door = start(&gutter);
    return watch_begins(state);
}

/* Also after a test that failed in the middle. */
static int both_are_back(void **state)
{
    (void)state;
    proxy_set(home_door, NULL);
    proxy_set(gutter_door, NULL);
    return 0;
}

static int ends(void **state)
{
    (void)state;
    proxy_stop(home_door);
    proxy_stop(gutter_door);
    memcached_stop(&home);
    memcached_stop(&gutter);
    return 0;
}

static mend_client *open_both(void)
{
    mend_client *c = open_up(&MEND_CONFIG(.servers = home.name, .gutter = gutter.name, .timeout_ms = SOON_MS, .zombie_ms = ZOMBIE_MS));
    assert_int_equal(mend_flush_all(c, NULL), MEND_OK);
    return c;
}

static bool is_down(mend_client *c, size_t i)
{
    mend_state state = state_of(c, i);
    return state == MEND_STATE_DOWN || state == MEND_STATE_TRIAL;
}

/* Shuts a door, and calls until that is known. */
static void falls(struct proxy *door, mend_client *c, size_t i)
{
    proxy_set(door, &(struct proxy_fault){.refuse = true});
    proxy_cut(door);
    await((mend_ping(c, NULL), is_down(c, i)), SOON_MS);
}

static void is_back(struct proxy *door, mend_client *c)
{
    proxy_set(door, NULL);
    await(all_up(c), SOON_MS);
}

static void holds(mend_client *c, const char *key, const char *value, const struct memcached *where, mend_reply *r)
{
    must_be(MEND_OK, mend_get(c, S(key), r), r);
    assert_string_equal(r->data, value);
    assert_string_equal(r->server, where->name);
}

/* For how long the server itself says that a key lives, asked past the client: -1 is for ever, -2: it is not there. */
static int ttl_in(const struct memcached *m, const char *key)
{
    char question[64], answer[256];
    int  ttl_s = -2, fd = raw_connect(m->host, m->port, NULL);
    snprintf(question, sizeof question, "mg %s t\r\n", key);
    assert_true(fd >= 0 && raw_ask(fd, question, "\r\n", answer, sizeof answer));
    close(fd);
    assert_true(sscanf(answer, "HD t%d", &ttl_s) == 1 || strncmp(answer, "EN", 2) == 0);
    return ttl_s;
}

static bool is_not_in(const struct memcached *m, const char *key)
{
    return ttl_in(m, key) == -2;
}

/* ---- What goes there ------------------------------------------------------------------------ */
static void it_stands_in(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_client *c = open_both();
    must_be(MEND_OK, mend_set(c, S("before"), S("1"), NULL, &r), &r);
    await(seen_at(c, 1).journal_keys == 0, SOON_MS);
    falls(home_door, c, 0);
    assert_true(mend_connection_available(c));

    must_be(MEND_MISS, mend_get(c, S("before"), &r), &r);
    assert_string_equal(r.server, gutter.name);
    static const int64_t ttls[] = {0, 5, 300, 60 * 60 * 24 * 60};
    for (size_t i = 0; i < sizeof ttls / sizeof *ttls; i++) {
        must_be(MEND_OK, mend_set(c, S("k"), S("v"), &(mend_store){.ttl_s = ttls[i], .flags = 7}, &r), &r);
        assert_string_equal(r.server, gutter.name);
        holds(c, "k", "v", &gutter, &r);
        assert_int_equal(r.flags, 7);
        assert_in_range(r.ttl_s, 0, ttls[i] == 5 ? 5 : TTL_S);
    }
    must_be(MEND_OK, mend_touch(c, S("k"), 0, &r), &r);
    must_be(MEND_OK, mend_get_and_touch(c, S("k"), 1000, &r), &r);
    holds(c, "k", "v", &gutter, &r);
    assert_in_range(r.ttl_s, 0, TTL_S);
    must_be(MEND_OK, mend_append(c, S("k"), S("w"), NULL, &r), &r);
    must_be(MEND_NOT_STORED, mend_add(c, S("k"), S("x"), NULL, &r), &r);
    must_be(MEND_OK, mend_exists(c, S("k"), &r), &r);
    must_be(MEND_OK, mend_delete(c, S("k"), &r), &r);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);

    must_be(MEND_MISS, mend_increment(c, S("n"), 1, NULL, &r), &r);
    must_be(MEND_OK, mend_increment(c, S("n"), 1, &(mend_count){.create = true, .initial = 5}, &r), &r);
    must_be(MEND_OK, mend_increment(c, S("n"), 1, NULL, &r), &r);
    assert_int_equal(r.number, 6);
    must_be(MEND_OK, mend_get(c, S("n"), &r), &r);
    assert_in_range(r.ttl_s, 0, TTL_S);

    is_back(home_door, c);
    mend_close(c);
    mend_reply_free(&r);
}

static void many_at_once(void **state)
{
    (void)state;
    mend_replies rs = MEND_REPLIES;
    mend_client *c = open_both();
    mend_item    items[] = {{.key = S("a"), .value = S("1")}, {.key = S("b"), .value = S("2"), .store = {.ttl_s = 1000}}};
    mend_bytes   keys[] = {S("a"), S("nobody's"), S("b"), S("a")};
    assert_int_equal(mend_set_multi(c, items, 2, NULL), MEND_OK);
    await(seen_at(c, 1).journal_keys == 0, SOON_MS);
    falls(home_door, c, 0);

    assert_int_equal(mend_get_multi(c, keys, 4, &rs), MEND_OK);
    for (size_t i = 0; i < 4; i++)
        must_be(MEND_MISS, rs.at[i].status, &rs.at[i]);
    assert_int_equal(mend_set_multi(c, items, 2, &rs), MEND_OK);
    assert_string_equal(rs.at[1].server, gutter.name);
    assert_int_equal(mend_get_multi(c, keys, 4, &rs), MEND_OK);
    assert_string_equal(rs.at[2].data, "2");
    assert_string_equal(rs.at[3].server, gutter.name);
    uint64_t cas = rs.at[0].cas;
    assert_in_range(ttl_in(&gutter, "a"), 0, TTL_S);
    assert_in_range(ttl_in(&gutter, "b"), 0, TTL_S);
    assert_int_equal(mend_cas(c, S("a"), S("3"), cas, NULL, NULL), MEND_OK);
    assert_int_equal(mend_delete_multi(c, keys, 1, NULL), MEND_OK);
    assert_true(is_not_in(&gutter, "a"));

    is_back(home_door, c);
    assert_true(is_not_in(&home, "a") && is_not_in(&home, "b"));
    mend_close(c);
    mend_replies_free(&rs);
}

static void a_healthy_servers_keys_stay(void **state)
{
    (void)state;
    struct memcached other;
    char             list[256], key[16];
    mend_reply       r = MEND_REPLY;
    int              moved = 0;
    memcached_start(&other, "127.0.0.1", NULL);
    snprintf(list, sizeof list, "%s,%s", home.name, other.name);
    mend_client *c = open_up(&MEND_CONFIG(.servers = list, .gutter = gutter.name, .timeout_ms = SOON_MS, .zombie_ms = ZOMBIE_MS));
    assert_int_equal(servers_of(c), 3);
    falls(home_door, c, 0);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key %d", i);
        must_be(MEND_OK, mend_set(c, S(key), S("v"), NULL, &r), &r);
        assert_string_not_equal(r.server, home.name);
        moved += strcmp(r.server, gutter.name) == 0;
    }
    assert_in_range(moved, 20, 80);
    is_back(home_door, c);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&other);
}

/* ---- Nothing older than this process's last write ---------------------------------------------- */
static void home_forgets_what_was_written_in_the_gutter(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_client *c = open_both();
    must_be(MEND_OK, mend_set(c, S("overwritten"), S("old"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(c, S("deleted"), S("old"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(c, S("untouched"), S("old"), NULL, &r), &r);
    falls(home_door, c, 0);
    must_be(MEND_OK, mend_set(c, S("overwritten"), S("new"), NULL, &r), &r);
    must_be(MEND_MISS, mend_delete(c, S("deleted"), &r), &r);
    holds(c, "overwritten", "new", &gutter, &r); /* though it is noted at home */
    assert_int_equal(seen_at(c, 0).journal_keys, 2);
    is_back(home_door, c);
    must_be(MEND_MISS, mend_get(c, S("overwritten"), &r), &r);
    must_be(MEND_MISS, mend_get(c, S("deleted"), &r), &r);
    holds(c, "untouched", "old", &home, &r);
    mend_close(c);
    mend_reply_free(&r);
}

static void a_second_fall(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_status  status;
    mend_client *c = open_both();
    falls(home_door, c, 0);
    must_be(MEND_OK, mend_set(c, S("set"), S("old"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(c, S("deleted"), S("old"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(c, S("many"), S("old"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(c, S("untouched"), S("old"), NULL, &r), &r);
    is_back(home_door, c);
    must_be(MEND_OK, mend_set(c, S("set"), S("new"), NULL, &r), &r);
    holds(c, "set", "new", &home, &r);
    must_be(MEND_MISS, mend_delete(c, S("deleted"), &r), &r);
    assert_int_equal(mend_set_multi(c, &(mend_item){.key = S("many"), .value = S("new")}, 1, NULL), MEND_OK);

    falls(home_door, c, 0);
    static const char *const keys[] = {"set", "deleted", "many"};
    for (int i = 0; i < 3; i++) {
        await((status = mend_get(c, S(keys[i]), &r)) != MEND_E_DOWN, SOON_MS);
        must_be(MEND_MISS, status, &r);
        assert_string_equal(r.server, gutter.name);
    }
    holds(c, "untouched", "old", &gutter, &r);
    is_back(home_door, c);
    mend_close(c);
    mend_reply_free(&r);
}

/* What cannot be deleted there is not read there. */
static void a_gutter_that_cannot_delete(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_client *c = open_both();
    falls(home_door, c, 0);
    must_be(MEND_OK, mend_set(c, S("k"), S("old"), NULL, &r), &r);
    is_back(home_door, c);
    falls(gutter_door, c, 1);
    must_be(MEND_OK, mend_set(c, S("k"), S("new"), NULL, &r), &r); /* no slower for it, nor any less done */
    holds(c, "k", "new", &home, &r);
    falls(home_door, c, 0);
    assert_false(mend_connection_available(c));
    must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    assert_string_equal(r.server, home.name);
    proxy_set(gutter_door, NULL);
    await(state_of(c, 1) == MEND_STATE_UP, SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    assert_string_equal(r.server, gutter.name);
    is_back(home_door, c);
    mend_close(c);
    mend_reply_free(&r);
}

static void a_gutter_that_falls_too(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_client *c = open_both();
    falls(home_door, c, 0);
    must_be(MEND_OK, mend_set(c, S("k"), S("old"), NULL, &r), &r);
    falls(gutter_door, c, 1);
    must_be(MEND_E_DOWN, mend_set(c, S("k"), S("new"), NULL, &r), &r);
    assert_int_equal(mend_delete_multi(c, (mend_bytes[]){S("m")}, 1, NULL), MEND_E_DOWN);
    assert_int_equal(seen_at(c, 0).journal_keys, 2);
    assert_int_equal(seen_at(c, 1).journal_keys, 2);
    proxy_set(gutter_door, NULL);
    await(state_of(c, 1) == MEND_STATE_UP, SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    is_back(home_door, c);
    mend_close(c);
    mend_reply_free(&r);
}

/* A write that a gutter took before its home was back, and does after a later one at home. */
struct late {
    mend_client *client;
    mend_status  status;
};

static void *set_late(void *arg)
{
    struct late *late = arg;
    late->status = mend_set(late->client, S("late"), S("old"), &(mend_store){.call.timeout_ms = SOON_MS}, NULL);
    return NULL;
}

static enum hostile_next is_late(struct toy_ask *ask, void *context)
{
    (void)context;
    if (toy_is(ask, "ms") && strcmp(ask->key, "late") == 0 && !hostile_stall(ask))
        return HOSTILE_CLOSE;
    return hostile_answer(ask);
}

static void a_write_that_is_late(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    mend_status     status;
    pthread_t       thread;
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = home.name, .gutter = hostile_name(h), .timeout_ms = SOON_MS, .zombie_ms = ZOMBIE_MS));
    struct late     late = {.client = c};
    falls(home_door, c, 0);
    hostile_behave(h, is_late, NULL);
    assert_int_equal(pthread_create(&thread, NULL, set_late, &late), 0);
    await(hostile_stalled(h) == 1, SOON_MS);
    is_back(home_door, c);
    must_be(MEND_OK, mend_set(c, S("late"), S("new"), NULL, &r), &r);
    await(seen_at(c, 1).journal_keys == 0, SOON_MS); /* it has been deleted there, for that */
    hostile_behave(h, NULL, NULL);
    hostile_release(h);
    pthread_join(thread, NULL);
    must_be(MEND_OK, late.status, &r);
    await(!hostile_holds(h, "late", "old"), SOON_MS); /* it would be there for longer than writes at home are deleted there */
    await((status = mend_get(c, S("late"), &r)) != MEND_E_DOWN, SOON_MS); /* deleted at home: which was the later is not known */
    must_be(MEND_MISS, status, &r);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* A cas is good where it was read: the number of the one server is that of another value in the other, here. */
static void a_cas_stays_where_it_was_read(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *at_home = hostile_start(HOSTILE_META), *there = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(at_home), .gutter = hostile_name(there), .timeout_ms = SOON_MS));
    must_be(MEND_OK, mend_set(c, S("k"), S("1"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    uint64_t first = r.cas;
    await(seen_at(c, 1).journal_keys == 0, SOON_MS); /* its delete there must not come behind the next write of it there */
    hostile_down(at_home);
    await((mend_ping(c, NULL), is_down(c, 0)), SOON_MS);
    must_be(MEND_OK, mend_set(c, S("k"), S("2"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    uint64_t in_gutter = r.cas;
    assert_true((uint32_t)in_gutter == (uint32_t)first && in_gutter != first);
    must_be(MEND_EXISTS, mend_cas(c, S("k"), S("3"), first, NULL, &r), &r);
    must_be(MEND_OK, mend_cas(c, S("k"), S("3"), in_gutter, NULL, &r), &r);
    uint64_t stored = r.cas;
    hostile_up(at_home);
    await(all_up(c), SOON_MS);
    must_be(MEND_OK, mend_set(c, S("k"), S("4"), NULL, &r), &r);
    assert_int_equal((uint32_t)r.cas, (uint32_t)stored);
    must_be(MEND_EXISTS, mend_cas(c, S("k"), S("5"), stored, NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    assert_string_equal(r.data, "4");
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(at_home);
    hostile_stop(there);
}

/* ---- Get or load ----------------------------------------------------------------------------- */
static int count_load(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)left_ms;
    ++*(atomic_int *)context;
    return mend_loaded_set(out, key);
}

static int count_loads(void *context, const mend_bytes *keys, mend_loaded *out, size_t n, int left_ms)
{
    for (size_t i = 0; i < n; i++)
        count_load(context, keys[i], &out[i], left_ms);
    return 0;
}

static void loads_are_kept_in_the_gutter(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    atomic_int   loads = 0;
    mend_recipe  recipe = {.load = count_load, .context = &loads, .ttl_s = 300, .refresh_s = 30, .stale_s = 60};
    mend_bytes   keys[] = {S("a"), S("b")};
    mend_client *c = open_both();
    falls(home_door, c, 0);
    for (int i = 0; i < 3; i++) {
        must_be(MEND_OK, mend_fetch(c, S("k"), &recipe, &r), &r);
        assert_string_equal(r.data, "k");
        assert_int_equal(r.source, i ? MEND_SOURCE_CACHE : MEND_SOURCE_LOADED);
        assert_string_equal(r.server, gutter.name);
    }
    assert_int_equal(loads, 1);
    assert_in_range(ttl_in(&gutter, "k"), 0, TTL_S);
    for (int i = 0; i < 2; i++)
        assert_int_equal(mend_fetch_multi(c, keys, 2, &recipe, &rs), MEND_OK);
    assert_int_equal(rs.at[1].source, MEND_SOURCE_CACHE);
    assert_int_equal(loads, 3);
    must_be(MEND_OK, mend_delete(c, S("k"), &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("k"), &recipe, &r), &r);
    assert_int_equal(loads, 4);
    is_back(home_door, c);
    must_be(MEND_OK, mend_fetch(c, S("k"), &recipe, &r), &r);
    assert_int_equal(r.source, MEND_SOURCE_LOADED);
    assert_string_equal(r.server, home.name);
    mend_close(c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

/* Without leases nothing would keep what was loaded before a write at home from being stored in the gutter behind it. */
static void a_classic_gutter_keeps_no_loads(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    mend_replies    rs = MEND_REPLIES;
    atomic_int      loads = 0;
    mend_recipe     recipe = {.load = count_load, .load_many = count_loads, .context = &loads, .ttl_s = 300};
    mend_bytes      keys[] = {S("a"), S("b")};
    struct hostile *h = hostile_start(HOSTILE_CLASSIC);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = home.name, .gutter = hostile_name(h), .timeout_ms = SOON_MS, .zombie_ms = ZOMBIE_MS));
    falls(home_door, c, 0);
    must_be(MEND_OK, mend_fetch(c, S("classic"), &recipe, &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("classic"), &recipe, &r), &r);
    assert_int_equal(loads, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(mend_fetch_multi(c, keys, 2, &recipe, &rs), MEND_OK);
    assert_int_equal(loads, 6);
    must_be(MEND_OK, mend_set(c, S("classic"), S("set"), NULL, &r), &r);
    must_be(MEND_OK, mend_fetch(c, S("classic"), &recipe, &r), &r);
    assert_string_equal(r.data, "set");
    is_back(home_door, c);
    mend_close(c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
    hostile_stop(h);
}

/* ---- All servers ------------------------------------------------------------------------------ */
static void note_gutter(const mend_server *s, void *context)
{
    bool **at = context;
    *(*at)++ = s->gutter;
}

static void it_is_one_of_the_servers(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    bool         gutters[4], *at = gutters;
    mend_client *c = open_both();
    assert_int_equal(mend_servers(c, note_gutter, &at), MEND_OK);
    assert_true(at - gutters == 2 && !gutters[0] && gutters[1]);
    must_be(MEND_OK, mend_ping(c, &r), &r);
    falls(gutter_door, c, 1);
    assert_true(mend_connection_available(c));
    must_be(MEND_E_DOWN, mend_ping(c, &r), &r);
    assert_string_equal(r.server, gutter.name);
    is_back(gutter_door, c);

    falls(home_door, c, 0);
    must_be(MEND_OK, mend_set(c, S("flushed"), S("v"), NULL, &r), &r);
    must_be(MEND_E_DOWN, mend_flush_all(c, &r), &r);
    assert_true(is_not_in(&gutter, "flushed"));
    is_back(home_door, c);
    mend_close(c);
    mend_reply_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(it_stands_in, both_are_back),
        cmocka_unit_test_setup(many_at_once, both_are_back),
        cmocka_unit_test_setup(a_healthy_servers_keys_stay, both_are_back),
        cmocka_unit_test_setup(home_forgets_what_was_written_in_the_gutter, both_are_back),
        cmocka_unit_test_setup(a_second_fall, both_are_back),
        cmocka_unit_test_setup(a_gutter_that_cannot_delete, both_are_back),
        cmocka_unit_test_setup(a_gutter_that_falls_too, both_are_back),
        cmocka_unit_test_setup(a_write_that_is_late, both_are_back),
        cmocka_unit_test_setup(a_cas_stays_where_it_was_read, both_are_back),
        cmocka_unit_test_setup(loads_are_kept_in_the_gutter, both_are_back),
        cmocka_unit_test_setup(a_classic_gutter_keeps_no_loads, both_are_back),
        cmocka_unit_test_setup(it_is_one_of_the_servers, both_are_back),
    };
    return cmocka_run_group_tests(tests, begins, ends);
}
