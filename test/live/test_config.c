/* test_config.c - what mend_open refuses, and in which words; what it does not
 * refuse though nothing works yet; and whose memory is used. */
#include "support/counted.h"
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <string.h>

#define S(text) mend_str(text)

static void *never_allocate(size_t bytes, void *context)
{
    (void)bytes;
    (void)context;
    return NULL;
}

static void *never_reallocate(void *p, size_t bytes, void *context)
{
    (void)p;
    (void)bytes;
    (void)context;
    return NULL;
}

static void never_release(void *p, void *context)
{
    (void)p;
    (void)context;
}

/* ---- What can't be right is refused, with words that name the field --------------------------- */
static void a_mistake_is_named(void **state)
{
    char long_path[200] = "unix:/", long_key[252];
    memset(long_path + 6, 'p', 150);
    memset(long_key, 'k', 251);
    long_key[251] = 0;

#define WITH(...) MEND_CONFIG(.servers = "127.0.0.1", __VA_ARGS__)
#define SERVERS(text) MEND_CONFIG(.servers = (text))
#define SIZED(bytes) {.size = (bytes), .servers = "127.0.0.1"}
    const struct { mend_config config; const char *names; } rows[] = {
        {MEND_CONFIG_INIT, "servers"},
        {SERVERS(""), "servers"},
        {SERVERS("   "), "servers"},
        {SERVERS(","), "servers"},
        {SERVERS("a:0"), "servers"},
        {SERVERS("a:70000"), "servers"},
        {SERVERS("a:65536"), "servers"},
        {SERVERS("a:-1"), "servers"},
        {SERVERS("a:port"), "servers"},
        {SERVERS("a:11211x"), "servers"},
        {SERVERS("a:99999999999999999999"), "servers"},
        {SERVERS("127.0.0.1,b:0"), "servers"},
        {SERVERS("http://a"), "servers"},
        {SERVERS("tcp://a:11211"), "servers"},
        {SERVERS("unix:"), "servers"},
        {SERVERS(long_path), "servers"},
        {SERVERS("[::1"), "servers"},
        {SERVERS("[::1]x"), "servers"},
        {SERVERS("[::1]:0"), "servers"},
        {SERVERS(":11211"), "servers"},
        {SERVERS("a*0"), "servers"},
        {SERVERS("a*-1"), "servers"},
        {SERVERS("a*x"), "servers"},
        {SERVERS("a="), "servers"},
        {WITH(.timeout_ms = -1), "timeout_ms"},
        {WITH(.timeout_ms = -100), "timeout_ms"},
        {WITH(.connections_idle_max = -1), "connections_idle_max"},
        {WITH(.connections_max = -1), "connections_max"},
        {WITH(.failures_allowed = -1), "failures_allowed"},
        {WITH(.heal_max_ms = -1), "heal_max_ms"},
        {WITH(.resolve_s = -1), "resolve_s"},
        {WITH(.resolve_s = 604801), "resolve_s"},
        {WITH(.value_max_bytes = -1), "value_max_bytes"},
        {WITH(.distribution = (mend_distribution)99), "distribution"},
        {WITH(.tcp_keepalive_s = -1), "tcp_keepalive_s"},
        {WITH(.tcp_user_timeout_ms = -1), "tcp_user_timeout_ms"},
        {WITH(.trial_key = ""), "trial_key"},
        {WITH(.trial_key = long_key), "trial_key"},
        {WITH(.compress_above_bytes = -1), "compress_above_bytes"},
        {WITH(.compress_above_bytes = 1), "compression"},
        {WITH(.compression = (mend_compression)99), "compression"},
        {WITH(.zstd_flag = 3), "zstd_flag"},
        {WITH(.zlib_flag = 3), "zlib_flag"},
        {WITH(.compression = MEND_COMPRESSION_PHP, .zlib_flag = 2), "zlib_flag"},
        {WITH(.prefix = "a b"), "prefix"},
        {WITH(.prefix = "caf\xc3\xa9:"), "prefix"},
        {WITH(.prefix = "line\n"), "prefix"},
        {WITH(.prefix = long_key + 251 - 186), "prefix"},
        {WITH(.allocator.allocate = never_allocate), "allocator"},
        {WITH(.allocator.reallocate = never_reallocate), "allocator"},
        {WITH(.allocator.release = never_release), "allocator"},
        {WITH(.allocator = {.allocate = never_allocate, .reallocate = never_reallocate}), "allocator"},
        {WITH(.allocator = {.reallocate = never_reallocate, .release = never_release}), "allocator"},
        {WITH(.tls = &(mend_tls){0}), "tls"},
#ifndef WITH_TLS
        {SERVERS("tls://a"), "servers: this libmend was built without TLS"},
        {MEND_CONFIG(.servers = "tls://a", .tls = &(mend_tls){0}), "tls: this libmend was built without TLS"},
#endif
        {WITH(.username = "user"), "password"},
        {WITH(.password = "secret"), "username"},
        {WITH(.auth_file = "/no/such/file"), "auth_file"},
        {WITH(.reserved = {1}), "reserved"},
        {WITH(.reserved = {[2] = 1}), "reserved"},
        {WITH(.gutter = ""), "gutter: none is given"},
        {WITH(.gutter = "a:0"), "gutter: the port of \"a:0\""},
        {WITH(.gutter = "127.0.0.1:11211"), "gutter: 127.0.0.1:11211 is one of servers"},
        {WITH(.gutter = "tls://127.0.0.1:11211"), "gutter: 127.0.0.1:11211 is one of servers"},
        {WITH(.gutter = "a", .gutter_ttl_s = -1), "gutter_ttl_s"},
        {WITH(.gutter = "a", .gutter_ttl_s = MEND_ZERO), "gutter_ttl_s"},
        {WITH(.gutter = "a", .gutter_ttl_s = 2592001), "gutter_ttl_s"},
        {SIZED(0), "size"},
        {SIZED(1), "size"},
        {SIZED(sizeof(mend_config) - 1), "size"},
        {SIZED(SIZE_MAX), "size"},
    };
    (void)state;
    mend_reply r = MEND_REPLY;
    int        before = threads(), files = descriptors();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mend_client *c = (mend_client *)&r;
        mend_status  status = mend_open(&rows[i].config, &c, &r);
        must(status == MEND_E_ARGUMENT, "row %zu (%s %s): %s", i, rows[i].names, rows[i].config.servers, mend_status_name(status));
        must(strstr(r.error, rows[i].names), "row %zu: \"%s\" does not name %s", i, r.error, rows[i].names);
        must(!c, "row %zu leaves a client", i);
        c = (mend_client *)&r;
        assert_int_equal(mend_open(&rows[i].config, &c, NULL), MEND_E_ARGUMENT);
        assert_null(c);
    }
    assert_int_equal(threads(), before);
    assert_int_equal(descriptors(), files);
    mend_reply_free(&r);
}

static void what_can_be_right_is_not(void **state)
{
    static const char *const lists[] = {
        "127.0.0.1", " 127.0.0.1 , 127.0.0.2 ", "127.0.0.1:11211", "[::1]", "[::1]:11311", "unix:/nowhere/at/all", "127.0.0.1*3", "127.0.0.1=one", "127.0.0.1:11211*2=two",
        "unix:/nowhere*2=three", "127.0.0.1,127.0.0.1", "no-such-name.invalid", "127.0.0.1:65535", "127.0.0.1:1",
    };
    (void)state;
    mend_reply r = MEND_REPLY;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        mend_client *c = NULL;
        mend_status  status = mend_open(&MEND_CONFIG(.servers = lists[i]), &c, &r);
        must(status == MEND_OK && c, "%s: %s", lists[i], r.error);
        assert_string_equal(r.error, "");
        mend_close(c);
    }
    mend_config zeros = MEND_CONFIG(.servers = "127.0.0.1", .failures_allowed = MEND_ZERO, .connections_idle_max = MEND_ZERO, .tcp_keepalive_s = MEND_ZERO, .tcp_user_timeout_ms = MEND_ZERO);
    mend_client *c = NULL;
    must_be(MEND_OK, mend_open(&zeros, &c, &r), &r);
    mend_close(c);
    mend_reply_free(&r);
}

static void equal_names_are_one_server(void **state)
{
    (void)state;
    mend_client *c = NULL;
    mend_reply   r = MEND_REPLY;
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = "127.0.0.1:1, 127.0.0.1:2*3, 127.0.0.1:1"), &c, &r), &r);
    assert_int_equal(servers_of(c), 2);
    assert_int_equal(seen_at(c, 0).weight, 2);
    assert_int_equal(seen_at(c, 1).weight, 3);
    assert_string_equal(seen_at(c, 0).name, "127.0.0.1:1");
    mend_close(c);
    mend_reply_free(&r);
}

static void it_is_copied(void **state)
{
    (void)state;
    struct memcached m;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_reply   r = MEND_REPLY;
    mend_client *c = NULL;
    {
        char       *name = strdup(m.name), *key = strdup("trial");
        mend_config config = MEND_CONFIG(.servers = name, .trial_key = key, .timeout_ms = 10000);
        must_be(MEND_OK, mend_open(&config, &c, &r), &r);
        memset(name, 'x', strlen(name));
        memset(key, 'x', strlen(key));
        memset(&config, 0xff, sizeof config);
        free(name);
        free(key);
    }
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    must_be(MEND_OK, mend_ping(c, &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

/* ---- Down is no mistake ---------------------------------------------------------------------------- */
static void a_server_may_be_down_at_open(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    memcached_start(&m, "127.0.0.1", NULL);
    memcached_kill(&m);

    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = m.name), &c, &r), &r);
    int64_t began = now_ms();
    mend_status status = mend_get(c, S("k"), &r);
    must(status < 0 && status != MEND_E_ARGUMENT, "%s", mend_status_name(status));
    assert_true(now_ms() - began < 100 + slack_ms());
    assert_string_equal(r.server, m.name);
    await(state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);
    assert_false(mend_connection_available(c));
    must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    assert_string_not_equal(seen_at(c, 0).why, "");

    memcached_restart(&m);
    await(all_up(c), SOON_MS);
    await(mend_set(c, S("k"), S("v"), NULL, &r) == MEND_OK, SOON_MS);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void a_name_may_be_unknown(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_client *c = NULL;
    int64_t      began = now_ms();
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = "no-such-name.invalid:11211"), &c, &r), &r);
    assert_true(now_ms() - began < slack_ms());
    assert_true(mend_connection_available(c));

    began = now_ms();
    must(mend_get(c, S("k"), &r) < 0, "%s", mend_status_name(r.status));
    must(now_ms() - began < 100 + slack_ms(), "the first call took %d ms", (int)(now_ms() - began));
    await(state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);
    began = now_ms();
    for (int i = 0; i < 100; i++)
        must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    must(now_ms() - began < slack_ms(), "100 calls took %d ms", (int)(now_ms() - began));
    assert_false(mend_connection_available(c));
    must_be(MEND_E_DOWN, mend_ping(c, &r), &r);
    assert_string_not_equal(seen_at(c, 0).why, "");

    began = now_ms();
    mend_close(c);
    must(now_ms() - began < 100 + slack_ms(), "mend_close took %d ms", (int)(now_ms() - began));
    mend_reply_free(&r);
}

static void the_trial_key_is_what_trials_get(void **state)
{
    (void)state;
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_reply      r = MEND_REPLY;
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .trial_key = "are-you-well"));
    assert_true(hostile_asked(h, "are-you-well") >= 1);
    unsigned before = hostile_asked(h, "are-you-well");
    must_be(MEND_OK, mend_ping(c, &r), &r);
    assert_true(hostile_asked(h, "are-you-well") > before);
    assert_int_equal(hostile_asked(h, HOSTILE_TRIAL_KEY), 0);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* ---- Memory --------------------------------------------------------------------------------------------- */
static void use_it(mend_client *c, mend_reply *r, mend_replies *rs)
{
    char big[40000];
    memset(big, 'b', sizeof big);
    mend_set(c, S("k"), S("v"), NULL, r);
    mend_get(c, S("k"), r);
    mend_set(c, S("big"), mend_mem(big, sizeof big), NULL, r);
    mend_get(c, S("big"), r);
    mend_get(c, S("a key with spaces"), r);
    mend_get_multi(c, (mend_bytes[]){S("k"), S("big"), S("none"), S("")}, 4, rs);
    mend_increment(c, S("n"), 1, &(mend_count){.create = true}, r);
    mend_set_multi(c, (mend_item[]){{.key = S("a"), .value = S("A")}, {.key = S("b"), .value = S("B")}}, 2, rs);
    mend_delete_multi(c, (mend_bytes[]){S("a"), S("b")}, 2, NULL);
    mend_ping(c, r);
    mend_get(c, S("k"), r);
}

static void memory_is_ours_and_all_given_back(void **state)
{
    (void)state;
    struct memcached m;
    static struct counted memory;
    mend_reply       r = MEND_REPLY;
    mend_replies     rs = MEND_REPLIES;
    char             servers[256];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(servers, sizeof servers, "%s,127.0.0.1:%d", m.name, port_free("127.0.0.1")); /* the other is down */

    mend_client *c = NULL;
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = servers, .timeout_ms = 10000, .allocator = counted_hooks(&memory)), &c, &r), &r);
    await(state_of(c, 0) == MEND_STATE_UP && state_of(c, 1) >= MEND_STATE_DOWN, SOON_MS);
    for (int i = 0; i < 20; i++)
        use_it(c, &r, &rs);
    memcached_kill(&m);
    use_it(c, &r, &rs);
    assert_true(memory.requests > 0);

    mend_close(c);
    assert_string_not_equal(r.server, ""); /* still ours */
    mend_reply_free(&r);
    mend_replies_free(&rs);
    await(memory.live == 0, SOON_MS);
    assert_int_equal(memory.strange, 0);
    memcached_stop(&m);
}

static void a_loop_of_gets_allocates_nothing(void **state)
{
    (void)state;
    struct memcached m;
    static struct counted memory;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = 10000, .allocator = counted_hooks(&memory)));
    must_be(MEND_OK, mend_set(c, S("k"), S("a value that is longer than nothing"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    long before = memory.requests;
    for (int i = 0; i < 1000; i++)
        must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    assert_int_equal(memory.requests, before);
    mend_close(c);
    mend_reply_free(&r);
    await(memory.live == 0, SOON_MS);
    memcached_stop(&m);
}

/* Every allocation fails once, and then once and for good: nothing crashes, nothing is lost,
 * and what fails says why. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct memcached m;
    memcached_start(&m, "127.0.0.1", NULL);
    for (int for_good = 0; for_good < 2; for_good++) {
        bool reached = true;
        for (long n = 1; reached && n < 500; n++) {
            static struct counted memory;
            memory = (struct counted){.fail_at = n, .fail_on = for_good};
            mend_reply   r = MEND_REPLY;
            mend_replies rs = MEND_REPLIES;
            mend_client *c = NULL;
            mend_status  status = mend_open(&MEND_CONFIG(.servers = m.name, .timeout_ms = 30, .allocator = counted_hooks(&memory)), &c, &r);
            must(status == MEND_OK ? c != NULL : status == MEND_E_MEMORY && !c, "allocation %ld: %s", n, mend_status_name(status));
            if (c) {
                use_it(c, &r, &rs);
                mend_status last = mend_get(c, S("k"), &r);
                if (last == MEND_OK)
                    assert_string_equal(r.data, "v");
                must(last >= 0 || strlen(r.error) > 0, "allocation %ld: %s without words", n, mend_status_name(last));
            }
            mend_close(c);
            mend_reply_free(&r);
            mend_replies_free(&rs);
            for (int64_t until = now_ms() + SOON_MS; memory.live && now_ms() < until;)
                pause_ms(1); /* a healer that had no turn in 100 ms is left to end by itself */
            must(memory.live == 0 && memory.strange == 0, "allocation %ld: %ld blocks are lost", n, (long)memory.live);
            reached = memory.requests >= n;
        }
        assert_false(reached);
    }
    memcached_stop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mistake_is_named),
        cmocka_unit_test(what_can_be_right_is_not),
        cmocka_unit_test(equal_names_are_one_server),
        cmocka_unit_test(it_is_copied),
        cmocka_unit_test(a_server_may_be_down_at_open),
        cmocka_unit_test(a_name_may_be_unknown),
        cmocka_unit_test(the_trial_key_is_what_trials_get),
        cmocka_unit_test(memory_is_ours_and_all_given_back),
        cmocka_unit_test(a_loop_of_gets_allocates_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("config", tests, watch_begins, NULL);
}
