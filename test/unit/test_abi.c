/* test_abi.c - what programs were compiled against: the layout of every public struct, every number, and the initialisers. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/life.h"
#include "mend.h"

#define SIZE(type, bytes) {"sizeof(" #type ")", sizeof(type), bytes}
#define AT(type, field, bytes) {#type "." #field, offsetof(type, field), bytes}

static void layout(void **state)
{
    static const struct {
        const char *what;
        size_t is, was;
    } rows[] = {
        SIZE(mend_bytes, 16), AT(mend_bytes, data, 0), AT(mend_bytes, len, 8),
        SIZE(mend_config, 240), AT(mend_config, size, 0), AT(mend_config, servers, 8), AT(mend_config, timeout_ms, 16),
            AT(mend_config, connections_idle_max, 20), AT(mend_config, connections_max, 24), AT(mend_config, failures_allowed, 28),
            AT(mend_config, heal_max_ms, 32), AT(mend_config, distribution, 36), AT(mend_config, value_max_bytes, 40),
            AT(mend_config, on_event, 48), AT(mend_config, on_event_context, 56), AT(mend_config, allocator, 64),
            AT(mend_config, tcp_keepalive_s, 96), AT(mend_config, tcp_user_timeout_ms, 100), AT(mend_config, trial_key, 104),
            AT(mend_config, journal_bytes_max, 112), AT(mend_config, journal_keys_max, 120), AT(mend_config, on_journal_overflow, 124),
            AT(mend_config, zombie_ms, 128), AT(mend_config, gutter, 136), AT(mend_config, gutter_ttl_s, 144),
            AT(mend_config, resolve_s, 148), AT(mend_config, compress_above_bytes, 152), AT(mend_config, compression, 156), AT(mend_config, zstd_flag, 160),
            AT(mend_config, zlib_flag, 164), AT(mend_config, prefix, 168), AT(mend_config, prefix_unhashed, 176),
            AT(mend_config, tls, 184), AT(mend_config, username, 192), AT(mend_config, password, 200),
            AT(mend_config, auth_file, 208), AT(mend_config, reserved, 216),
        SIZE(mend_tls, 88), AT(mend_tls, ca_file, 0), AT(mend_tls, certificate_file, 8), AT(mend_tls, key_file, 16),
            AT(mend_tls, server_name, 24), AT(mend_tls, insecure_no_verification, 32), AT(mend_tls, reserved, 40),
        SIZE(mend_allocator, 32), AT(mend_allocator, allocate, 0), AT(mend_allocator, reallocate, 8), AT(mend_allocator, release, 16),
            AT(mend_allocator, context, 24),
        SIZE(mend_server, 104), AT(mend_server, name, 0), AT(mend_server, state, 8), AT(mend_server, since_ms, 16),
            AT(mend_server, why, 24), AT(mend_server, next_trial_ms, 32), AT(mend_server, falls, 40), AT(mend_server, failures, 44),
            AT(mend_server, connections, 48), AT(mend_server, weight, 52), AT(mend_server, protocol, 56),
            AT(mend_server, journal_keys, 64), AT(mend_server, journal_deleted, 72), AT(mend_server, journal_overflows, 80),
            AT(mend_server, gutter, 88), AT(mend_server, values_broken, 96),
        SIZE(mend_event, 24), AT(mend_event, type, 0), AT(mend_event, server, 8), AT(mend_event, outage_ms, 16),
        SIZE(mend_calls, 264), AT(mend_calls, operation, 0), AT(mend_calls, answered, 8), AT(mend_calls, failed, 136),
        SIZE(mend_bucket, 16), AT(mend_bucket, less_than_ns, 0), AT(mend_bucket, count, 8),
        SIZE(mend_server_stats, 168), AT(mend_server_stats, server, 0), AT(mend_server_stats, calls, 8), AT(mend_server_stats, operations, 16),
            AT(mend_server_stats, latency, 24), AT(mend_server_stats, buckets, 32), AT(mend_server_stats, latency_ns, 40),
            AT(mend_server_stats, bytes_sent, 48), AT(mend_server_stats, bytes_received, 56), AT(mend_server_stats, connections_opened, 64),
            AT(mend_server_stats, connections_broken, 72), AT(mend_server_stats, retries, 80), AT(mend_server_stats, gutter_calls, 88),
            AT(mend_server_stats, states, 96), AT(mend_server_stats, down_ms, 160),
        SIZE(mend_call, 56), AT(mend_call, timeout_ms, 0), AT(mend_call, routing_key, 8), AT(mend_call, reserved, 24),
        SIZE(mend_store, 104), AT(mend_store, ttl_s, 0), AT(mend_store, flags, 8), AT(mend_store, call, 16),
            AT(mend_store, reserved, 72),
        SIZE(mend_count, 112), AT(mend_count, create, 0), AT(mend_count, initial, 8), AT(mend_count, ttl_s, 16),
            AT(mend_count, call, 24), AT(mend_count, reserved, 80),
        SIZE(mend_item, 136), AT(mend_item, key, 0), AT(mend_item, value, 16), AT(mend_item, store, 32),
        SIZE(mend_reply, 112), AT(mend_reply, status, 0), AT(mend_reply, maybe_applied, 4), AT(mend_reply, flags, 8),
            AT(mend_reply, cas, 16), AT(mend_reply, ttl_s, 24), AT(mend_reply, number, 32), AT(mend_reply, data, 40),
            AT(mend_reply, len, 48), AT(mend_reply, error, 56), AT(mend_reply, server, 64), AT(mend_reply, own, 72),
            AT(mend_reply, source, 80), AT(mend_reply, reserved, 88),
        SIZE(mend_loaded, 56), AT(mend_loaded, flags, 0), AT(mend_loaded, ttl_s, 8), AT(mend_loaded, own, 16), AT(mend_loaded, reserved, 24),
        SIZE(mend_recipe, 168), AT(mend_recipe, load, 0), AT(mend_recipe, load_many, 8), AT(mend_recipe, context, 16),
            AT(mend_recipe, ttl_s, 24), AT(mend_recipe, refresh_s, 32), AT(mend_recipe, stale_s, 36), AT(mend_recipe, absent_ttl_s, 40),
            AT(mend_recipe, lease_s, 44), AT(mend_recipe, wait_ms, 48), AT(mend_recipe, loads_max, 52), AT(mend_recipe, local_ttl_ms, 56),
            AT(mend_recipe, call, 64), AT(mend_recipe, reserved, 120),
        SIZE(mend_replies, 56), AT(mend_replies, count, 0), AT(mend_replies, at, 8), AT(mend_replies, own, 16),
            AT(mend_replies, reserved, 24),
    };
    (void)state;
    if (sizeof(void *) != 8 || sizeof(long) != 8) {
        print_message("skipped: these sizes are those of machines with 64-bit pointers and longs (LP64)\n");
        skip();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].is != rows[i].was)
            fail_msg("%s was %zu and is %zu", rows[i].what, rows[i].was, rows[i].is);
}

/* How many reserved words there are, and that they are the last: a new field takes the first of them. */
static void reserved_words(void **state)
{
    (void)state;
#define RESERVED(type, words)                                                      \
    assert_int_equal(sizeof(((type *)NULL)->reserved), (words) * sizeof(uintptr_t)); \
    assert_int_equal(offsetof(type, reserved) + sizeof(((type *)NULL)->reserved), sizeof(type))
    RESERVED(mend_config, 3);
    RESERVED(mend_tls, 6);
    RESERVED(mend_call, 4);
    RESERVED(mend_store, 4);
    RESERVED(mend_count, 4);
    RESERVED(mend_reply, 3);
    RESERVED(mend_loaded, 4);
    RESERVED(mend_recipe, 6);
    RESERVED(mend_replies, 4);
#undef RESERVED
}

static void numbers(void **state)
{
    static const struct {
        long is, was;
    } rows[] = {
        {MEND_DISTRIBUTION_KETAMA_WEIGHTED, 0}, {MEND_DISTRIBUTION_KETAMA, 1}, {MEND_DISTRIBUTION_CONSISTENT_MD5, 2},
        {MEND_DISTRIBUTION_MODULA, 3},          {MEND_DISTRIBUTION_CRC32, 4},  {MEND_STATE_NEW, 0},
        {MEND_STATE_UP, 1},                     {MEND_STATE_DOUBTFUL, 2},      {MEND_STATE_DOWN, 3},
        {MEND_STATE_TRIAL, 4},                  {MEND_EVENT_DOWN, 1},          {MEND_EVENT_BACK, 2},              {MEND_EVENT_AUTH_REFUSED, 5},
        {MEND_SOURCE_NONE, 0},                  {MEND_SOURCE_CACHE, 1},        {MEND_SOURCE_STALE, 2},
        {MEND_SOURCE_LOADED, 3},                {MEND_SOURCE_SHARED, 4},       {MEND_SOURCE_LOCAL, 5},
        {MEND_FLAGS_ABSENT, 1835363940},        {sizeof(mend_source), 4},
        {MEND_COMPRESSION_NONE, 0},              {MEND_COMPRESSION_ZSTD, 1},   {MEND_COMPRESSION_PHP, 2},
        {MEND_COMPRESSION_PYLIBMC, 3},           {MEND_COMPRESSION_PYMEMCACHE, 4}, {sizeof(mend_compression), 4},
        {MEND_TTL_NEVER, -1},                   {MEND_TTL_UNKNOWN, -2},        {MEND_ZERO, INT_MIN},
        {sizeof(mend_status), sizeof(int)},     {sizeof(mend_state), 4},       {sizeof(mend_distribution), 4},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(rows[i].is, rows[i].was);
}

/* ---- The initialisers ---- */

static void assert_zero_behind_size(const mend_config *config)
{
    static const mend_config zero;
    mend_config rest = *config;
    assert_int_equal(config->size, sizeof(mend_config));
    rest.size = 0;
    rest.servers = NULL;
    assert_memory_equal(&rest.timeout_ms, &zero.timeout_ms, sizeof rest - offsetof(mend_config, timeout_ms));
}

static void configurations(void **state)
{
    mend_config init = MEND_CONFIG_INIT;
    static const mend_config constant = MEND_CONFIG_INIT;
    const mend_config *named = &MEND_CONFIG(.servers = "a", .timeout_ms = 50, .failures_allowed = MEND_ZERO);
    (void)state;
    assert_zero_behind_size(&init);
    assert_zero_behind_size(&constant);
    assert_zero_behind_size(&MEND_CONFIG(.servers = "a"));
    assert_int_equal(named->size, sizeof(mend_config));
    assert_string_equal(named->servers, "a");
    assert_int_equal(named->timeout_ms, 50);
    assert_int_equal(named->failures_allowed, MEND_ZERO);
    assert_int_equal(named->heal_max_ms, 0);
}

static void replies(void **state)
{
    mend_reply r = MEND_REPLY;
    static mend_reply constant = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    (void)state;
    assert_string_equal(r.data, "");
    assert_string_equal(r.error, "");
    assert_string_equal(r.server, "");
    assert_true(r.status == MEND_OK && r.len == 0 && r.own == NULL && !r.maybe_applied && !r.flags && !r.cas && !r.ttl_s && !r.number);
    assert_true(rs.count == 0 && rs.at == NULL && rs.own == NULL);
    mend_reply_free(&r); /* one that was never used, and again, and none */
    mend_reply_free(&r);
    mend_reply_free(&constant);
    mend_reply_free(NULL);
    mend_replies_free(&rs);
    mend_replies_free(&rs);
    mend_replies_free(NULL);
    assert_string_equal(r.data, "");
    assert_string_equal(r.error, "");
    assert_string_equal(r.server, "");
}

static void spans(void **state)
{
    static const char text[] = "a\0b";
    (void)state;
    assert_ptr_equal(mend_mem(text, 3).data, text);
    assert_int_equal(mend_mem(text, 3).len, 3);
    assert_ptr_equal(mend_str(text).data, text);
    assert_int_equal(mend_str(text).len, 1);
    assert_int_equal(mend_str(NULL).len, 0);
}

/* ---- 0 is the default, and MEND_ZERO is zero: in the configuration that the client then has ---- */

static mend_config opened(const mend_config *config)
{
    mend_client *client;
    mend_reply r = MEND_REPLY;
    if (mend_open(config, &client, &r) != MEND_OK)
        fail_msg("%s", r.error);
    mend_config filled = client->config;
    assert_true(!config->trial_key || strcmp(client->config.trial_key, config->trial_key) == 0);
    assert_true(config->trial_key || strcmp(client->config.trial_key, "mend:trial") == 0);
    mend_close(client);
    mend_reply_free(&r);
    return filled;
}

#define NOWHERE "unix:/nowhere/at/all" /* there is no network in a unit test */

static void zero_is_the_default(void **state)
{
    (void)state;
    mend_config c = opened(&MEND_CONFIG(.servers = NOWHERE));
    assert_int_equal(c.timeout_ms, 100);
    assert_int_equal(c.connections_idle_max, 2);
    assert_int_equal(c.connections_max, 64);
    assert_int_equal(c.failures_allowed, 10);
    assert_int_equal(c.heal_max_ms, 1000);
    assert_int_equal(c.distribution, MEND_DISTRIBUTION_KETAMA_WEIGHTED);
    assert_int_equal(c.value_max_bytes, 64 * 1024 * 1024);
    assert_int_equal(c.tcp_keepalive_s, 60);
    assert_int_equal(c.tcp_user_timeout_ms, 1000);
    assert_int_equal(opened(&MEND_CONFIG(.servers = NOWHERE, .timeout_ms = 250)).tcp_user_timeout_ms, 2500);
    assert_int_equal(opened(&MEND_CONFIG(.servers = NOWHERE, .timeout_ms = 20)).tcp_user_timeout_ms, 1000);
}

static void a_true_zero(void **state)
{
    (void)state;
    mend_config c = opened(&MEND_CONFIG(.servers = NOWHERE, .connections_idle_max = MEND_ZERO, .failures_allowed = MEND_ZERO,
                                        .tcp_keepalive_s = MEND_ZERO, .tcp_user_timeout_ms = MEND_ZERO));
    assert_int_equal(c.connections_idle_max, 0);
    assert_int_equal(c.failures_allowed, 0);
    assert_int_equal(c.tcp_keepalive_s, 0);
    assert_int_equal(c.tcp_user_timeout_ms, 0);
}

static void what_is_given_is_kept(void **state)
{
    (void)state;
    mend_config c = opened(&MEND_CONFIG(.servers = NOWHERE, .timeout_ms = 1, .connections_idle_max = 3, .connections_max = 4, .failures_allowed = 5,
                                        .heal_max_ms = 6, .distribution = MEND_DISTRIBUTION_CRC32, .value_max_bytes = 7, .tcp_keepalive_s = 8,
                                        .tcp_user_timeout_ms = 9, .trial_key = "mine"));
    assert_int_equal(c.timeout_ms, 1);
    assert_int_equal(c.connections_idle_max, 3);
    assert_int_equal(c.connections_max, 4);
    assert_int_equal(c.failures_allowed, 5);
    assert_int_equal(c.heal_max_ms, 6);
    assert_int_equal(c.distribution, MEND_DISTRIBUTION_CRC32);
    assert_int_equal(c.value_max_bytes, 7);
    assert_int_equal(c.tcp_keepalive_s, 8);
    assert_int_equal(c.tcp_user_timeout_ms, 9);
}

/* A program from another day: the words that it set, or the size that it knew, mean something that this library does not. */
static void what_this_library_does_not_know(void **state)
{
    mend_client *client;
    (void)state;
    for (size_t i = 0; i < sizeof((mend_config *)0)->reserved / sizeof(uintptr_t); i++) {
        mend_config config = MEND_CONFIG(.servers = NOWHERE);
        config.reserved[i] = 1;
        assert_int_equal(mend_open(&config, &client, NULL), MEND_E_ARGUMENT);
        assert_null(client);
    }
    for (size_t size = 0; size <= 2 * sizeof(mend_config); size += sizeof(void *))
        if (size != sizeof(mend_config))
            assert_int_equal(mend_open(&(mend_config){.size = size, .servers = NOWHERE}, &client, NULL), MEND_E_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout),
        cmocka_unit_test(reserved_words),
        cmocka_unit_test(numbers),
        cmocka_unit_test(configurations),
        cmocka_unit_test(replies),
        cmocka_unit_test(spans),
        cmocka_unit_test(zero_is_the_default),
        cmocka_unit_test(a_true_zero),
        cmocka_unit_test(what_is_given_is_kept),
        cmocka_unit_test(what_this_library_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
