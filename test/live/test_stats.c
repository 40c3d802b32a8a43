/* test_stats.c - what mend_stats says adds up to what was done, of every server, from as many threads as like; and the
 * same as Prometheus' text, as far as numbers go: its form is test_exporter.py's. Also run under the thread sanitizer.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <string.h>

#define S(text) mend_str(text)
enum { LONG_MS = 10000 };

/* One server's, kept. */
struct kept {
    size_t            wanted, next;
    bool              found;
    mend_server_stats stats;
    mend_server       server;
    char              name[256];
    mend_calls        calls[MEND_OPERATIONS];
    mend_bucket       latency[256];
};

static void keep(const mend_server_stats *s, void *context)
{
    struct kept *kept = context;

    if (kept->next++ != kept->wanted)
        return;
    assert_true(s->operations == MEND_OPERATIONS && s->buckets <= 256);
    kept->found = true;
    kept->stats = *s;
    kept->server = *s->server;
    snprintf(kept->name, sizeof kept->name, "%s", s->server->name);
    memcpy(kept->calls, s->calls, sizeof kept->calls);
    memcpy(kept->latency, s->latency, s->buckets * sizeof *s->latency);
}

/* `kept` is the caller's memory. */
static const mend_server_stats *stats_of(mend_client *c, size_t server, struct kept *kept)
{
    *kept = (struct kept){.wanted = server};
    assert_int_equal(mend_stats(c, keep, kept), MEND_OK);
    assert_true(kept->found);
    kept->stats.server = &kept->server;
    kept->stats.calls = kept->calls;
    kept->stats.latency = kept->latency;
    return &kept->stats;
}

static uint64_t counted(mend_client *c, size_t server, mend_operation operation, mend_status status)
{
    struct kept       kept;
    const mend_calls *calls = &stats_of(c, server, &kept)->calls[operation];

    return status < 0 ? calls->failed[-status] : calls->answered[status];
}

static uint64_t all_calls(const mend_server_stats *s)
{
    uint64_t n = 0;

    for (size_t o = 0; o < s->operations; o++)
        for (size_t k = 0; k < 16; k++)
            n += s->calls[o].answered[k] + s->calls[o].failed[k];
    return n;
}

static uint64_t timed(const mend_server_stats *s)
{
    uint64_t n = 0;

    for (size_t i = 0; i < s->buckets; i++)
        n += s->latency[i].count;
    return n;
}

#define COUNTED(n, operation, status) assert_int_equal(counted(c, 0, MEND_OPERATION_##operation, status), n)

/* ---- What came of calls ----------------------------------------------------------------------- */
static void each_call_is_counted_by_what_came_of_it(void **state)
{
    (void)state;
    struct memcached m;
    struct kept      kept;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS));
    assert_int_equal(all_calls(stats_of(c, 0, &kept)), 0); /* trials are not calls */
    assert_string_equal(kept.name, m.name);
    assert_true(kept.stats.bytes_sent > 0 && kept.stats.bytes_received > 0);

    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    must_be(MEND_NOT_STORED, mend_add(c, S("k"), S("v"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    must_be(MEND_EXISTS, mend_cas(c, S("k"), S("w"), r.cas + 1000, NULL, &r), &r);
    must_be(MEND_OK, mend_get_and_touch(c, S("k"), 60, &r), &r);
    must_be(MEND_OK, mend_exists(c, S("k"), &r), &r);
    must_be(MEND_MISS, mend_get(c, S("none"), &r), &r);
    must_be(MEND_OK, mend_touch(c, S("k"), 60, &r), &r);
    must_be(MEND_MISS, mend_touch(c, S("none"), 60, &r), &r);
    must_be(MEND_NOT_NUMBER, mend_increment(c, S("k"), 1, NULL, &r), &r);
    must_be(MEND_OK, mend_increment(c, S("n"), 1, &(mend_count){.create = true}, &r), &r);
    must_be(MEND_OK, mend_delete(c, S("k"), &r), &r);
    must_be(MEND_MISS, mend_delete(c, S("k"), &r), &r);
    must_be(MEND_OK, mend_ping(c, &r), &r);
    must_be(MEND_OK, mend_flush_all(c, &r), &r);
    must_be(MEND_E_ARGUMENT, mend_get(c, S(""), &r), &r); /* is nobody's */

    COUNTED(1, STORE, MEND_OK);
    COUNTED(1, STORE, MEND_NOT_STORED);
    COUNTED(1, STORE, MEND_EXISTS);
    COUNTED(3, GET, MEND_OK);
    COUNTED(1, GET, MEND_MISS);
    COUNTED(1, TOUCH, MEND_OK);
    COUNTED(1, TOUCH, MEND_MISS);
    COUNTED(1, COUNT, MEND_OK);
    COUNTED(1, COUNT, MEND_NOT_NUMBER);
    COUNTED(1, DELETE, MEND_OK);
    COUNTED(1, DELETE, MEND_MISS);
    COUNTED(1, FLUSH, MEND_OK);
    const mend_server_stats *s = stats_of(c, 0, &kept);
    assert_int_equal(s->calls[MEND_OPERATION_PING].answered[MEND_OK] + s->calls[MEND_OPERATION_PING].answered[MEND_MISS], 1);
    assert_int_equal(all_calls(s), 15);
    assert_int_equal(timed(s), 15);
    assert_true(s->latency_ns > 0 && mend_latency_ns(s, 0.5) > 0 && mend_latency_ns(s, 0.5) <= mend_latency_ns(s, 1));
    assert_true(mend_latency_ns(s, 1) <= (int64_t)LONG_MS * 1000000);
    assert_true(s->connections_opened >= 1 && s->connections_broken == 0 && s->retries == 0 && s->gutter_calls == 0 && s->down_ms == 0);
    assert_int_equal(s->states[MEND_STATE_UP], 1);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void a_call_for_many_counts_each_key(void **state)
{
    (void)state;
    enum { N = 100 };
    struct memcached m;
    struct kept      kept;
    char             names[N][16];
    mend_bytes       keys[N];
    mend_item        items[N];
    mend_replies     rs = MEND_REPLIES;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS));
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "k%d", i);
        keys[i] = S(names[i]);
        items[i] = (mend_item){.key = keys[i], .value = S("0123456789")};
    }
    assert_int_equal(mend_set_multi(c, items, N / 2, NULL), MEND_OK);
    assert_int_equal(mend_get_multi(c, keys, N, &rs), MEND_OK);
    assert_int_equal(mend_delete_multi(c, keys, N, NULL), MEND_OK);
    keys[0] = S("a bad key, since it is so long that with its spaces it can travel neither as it is nor in base64, whatever the server that it is sent to speaks; "
                "a hundred and eighty-six bytes are what they may have, not more");
    assert_int_equal(mend_get_multi(c, keys, 1, &rs), MEND_E_ARGUMENT);
    COUNTED(N / 2, STORE, MEND_OK);
    COUNTED(N / 2, GET, MEND_OK);
    COUNTED(N / 2, GET, MEND_MISS);
    COUNTED(N / 2, DELETE, MEND_OK);
    COUNTED(N / 2, DELETE, MEND_MISS);
    const mend_server_stats *s = stats_of(c, 0, &kept);
    assert_int_equal(all_calls(s), 5 * N / 2);
    assert_int_equal(timed(s), 3); /* one time a call and server */
    assert_true(s->bytes_received > 10 * N / 2);
    mend_replies_free(&rs);
    mend_close(c);
    memcached_stop(&m);
}

/* ---- Outages -------------------------------------------------------------------------------- */
static void an_outage_is_told(void **state)
{
    (void)state;
    struct memcached m;
    struct kept      kept;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS));
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    memcached_kill(&m);
    await(mend_ping(c, NULL) < 0 && state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);

    uint64_t before = timed(stats_of(c, 0, &kept));
    for (int i = 0; i < 10; i++)
        must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    must_be(MEND_E_DOWN, mend_delete(c, S("k"), &r), &r);
    COUNTED(10, GET, MEND_E_DOWN);
    COUNTED(1, DELETE, MEND_E_DOWN);
    await(stats_of(c, 0, &kept)->down_ms > 0 && kept.stats.states[MEND_STATE_TRIAL] > 0, SOON_MS);
    assert_int_equal(timed(&kept.stats), before); /* those took no time */
    assert_int_equal(kept.stats.states[MEND_STATE_DOWN], 1);
    assert_true(kept.stats.connections_broken > 0);
    assert_int_equal(kept.stats.server->journal_keys, 1);

    memcached_restart(&m);
    await(all_up(c), SOON_MS);
    const mend_server_stats *s = stats_of(c, 0, &kept);
    int64_t                  down_ms = s->down_ms;
    assert_int_equal(s->states[MEND_STATE_DOWN], 1);
    assert_true(s->states[MEND_STATE_UP] >= 2);
    assert_true(down_ms > 0);
    await(stats_of(c, 0, &kept)->server->journal_deleted == 1, SOON_MS);
    pause_ms(20);
    assert_int_equal(stats_of(c, 0, &kept)->down_ms, down_ms); /* it is over */
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static enum hostile_next hangs_up_once(struct toy_ask *ask, void *context)
{
    int *left = context;

    hostile_prepare(ask);
    if (*left > 0) {
        --*left;
        return HOSTILE_CLOSE;
    }
    hostile_write(ask, ask->answer, ask->length);
    return HOSTILE_GO_ON;
}

static void a_retry_is_told(void **state)
{
    (void)state;
    int             times = 1;
    struct kept     kept;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = LONG_MS));

    hostile_put(h, "k", "v");
    hostile_behave(h, hangs_up_once, &times);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    const mend_server_stats *s = stats_of(c, 0, &kept);
    assert_int_equal(s->retries, 1);
    assert_int_equal(s->connections_broken, 1);
    assert_true(s->connections_opened >= 2);
    COUNTED(1, GET, MEND_OK);
    times = 1;
    mend_replies rs = MEND_REPLIES;
    assert_int_equal(mend_get_multi(c, (mend_bytes[]){S("k"), S("none")}, 2, &rs), MEND_OK);
    assert_int_equal(stats_of(c, 0, &kept)->retries, 3);
    mend_replies_free(&rs);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

static void what_a_gutter_did_is_told(void **state)
{
    (void)state;
    struct memcached home, gutter;
    struct kept      kept;
    mend_reply       r = MEND_REPLY;
    memcached_start(&home, "127.0.0.1", NULL);
    memcached_start(&gutter, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = home.name, .gutter = gutter.name, .timeout_ms = LONG_MS));
    memcached_kill(&home);
    await(mend_ping(c, NULL) < 0 && state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    assert_int_equal(stats_of(c, 0, &kept)->gutter_calls, 2);
    assert_int_equal(counted(c, 0, MEND_OPERATION_GET, MEND_OK), 0);
    assert_int_equal(counted(c, 1, MEND_OPERATION_GET, MEND_OK), 1);
    assert_int_equal(counted(c, 1, MEND_OPERATION_STORE, MEND_OK), 1);
    assert_true(stats_of(c, 1, &kept)->server->gutter);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&home);
    memcached_stop(&gutter);
}

/* ---- Threads ------------------------------------------------------------------------------------ */
enum { CROWD = 16, ROUNDS = 200 };

static void *gets(void *client)
{
    mend_reply r = MEND_REPLY;

    for (int i = 0; i < ROUNDS; i++)
        mend_get(client, S("k"), &r);
    mend_reply_free(&r);
    return NULL;
}

static void nothing_is_lost_in_a_crowd(void **state)
{
    (void)state;
    struct memcached m;
    struct kept      kept;
    pthread_t        threads[CROWD];
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS));
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, gets, c), 0);
    for (uint64_t last = 0, now; (now = all_calls(stats_of(c, 0, &kept))) < CROWD * ROUNDS; last = now)
        assert_true(now >= last);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    COUNTED(CROWD * ROUNDS, GET, MEND_MISS);
    /* One of eight stands for eight: of each thread's share, what is left of the last eight is not timed. */
    uint64_t n = timed(stats_of(c, 0, &kept));
    must(n <= CROWD * ROUNDS && n > CROWD * ROUNDS - 8 * CROWD, "%d", (int)n);
    mend_close(c);
    memcached_stop(&m);
}

/* ---- The list of servers changes ------------------------------------------------------------------ */

/* Who stays keeps its numbers; who comes back begins anew; and whoever reads them meanwhile sees no other's. */
static void numbers_stay_with_their_server(void **state)
{
    (void)state;
    enum { CHANGES = 50 };
    struct memcached a, b;
    struct kept      kept;
    char             both[200];
    mend_reply       r = MEND_REPLY;
    pthread_t        threads[CROWD];
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    snprintf(both, sizeof both, "%s,%s", a.name, b.name);
    mend_client *c = open_up(&MEND_CONFIG(.servers = a.name, .timeout_ms = LONG_MS));

    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    must_be(MEND_OK, mend_set_servers(c, both, &r), &r);
    assert_string_equal((stats_of(c, 1, &kept), kept.name), b.name);
    assert_int_equal(all_calls(&kept.stats), 0);
    COUNTED(1, STORE, MEND_OK);

    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, gets, c), 0);
    for (int i = 0; i < CHANGES; i++) {
        must_be(MEND_OK, mend_set_servers(c, i % 2 ? both : a.name, &r), &r);
        must_be(MEND_OK, mend_stats_prometheus(c, &r), &r);
        assert_true(counted(c, 0, MEND_OPERATION_STORE, MEND_OK) == 1);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    COUNTED(1, STORE, MEND_OK);

    must_be(MEND_OK, mend_set_servers(c, b.name, &r), &r);
    must_be(MEND_OK, mend_set_servers(c, a.name, &r), &r);
    assert_int_equal(all_calls(stats_of(c, 0, &kept)), 0);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&a);
    memcached_stop(&b);
}

/* ---- As text ------------------------------------------------------------------------------------- */

/* The number at the end of the line that begins so. */
static int64_t number_behind(const char *text, const char *line)
{
    const char *at = text;
    size_t      n = strlen(line);

    while (at && strncmp(at, line, n) != 0)
        at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    must(at != NULL, "%s", line);
    return strtoll(at + n, NULL, 10);
}

static void the_text_has_the_same_numbers(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY, page = MEND_REPLY;
    char             line[300];
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS));
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    for (int i = 0; i < 3; i++)
        must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    must_be(MEND_OK, mend_stats_prometheus(c, &page), &page);
    assert_int_equal(strlen(page.data), page.len);
    snprintf(line, sizeof line, "mend_calls_total{server=\"%s\",operation=\"get\",outcome=\"hit\"} ", m.name);
    assert_int_equal(number_behind(page.data, line), 3);
    snprintf(line, sizeof line, "mend_calls_total{server=\"%s\",operation=\"store\",outcome=\"done\"} ", m.name);
    assert_int_equal(number_behind(page.data, line), 1);
    snprintf(line, sizeof line, "mend_call_duration_seconds_count{server=\"%s\"} ", m.name);
    assert_int_equal(number_behind(page.data, line), 4);
    snprintf(line, sizeof line, "mend_server_up{server=\"%s\"} ", m.name);
    assert_int_equal(number_behind(page.data, line), 1);

    assert_int_equal(mend_stats(NULL, keep, NULL), MEND_E_ARGUMENT);
    assert_int_equal(mend_stats(c, NULL, NULL), MEND_E_ARGUMENT);
    assert_int_equal(mend_stats_prometheus(NULL, &page), MEND_E_ARGUMENT);
    assert_int_equal(mend_stats_prometheus(c, NULL), MEND_E_ARGUMENT);
    mend_close(c);
    mend_reply_free(&r);
    mend_reply_free(&page);
    memcached_stop(&m);
}

/* A path has quotes, backslashes, and bytes that are no UTF-8: Prometheus would refuse the whole page for one of them. */
static void a_hostile_name_spoils_no_page(void **state)
{
    (void)state;
    mend_client *c;
    mend_reply   r = MEND_REPLY;
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = "unix:/nowhere/\"q\"\\n{x}\xff"), &c, &r), &r);
    must_be(MEND_OK, mend_stats_prometheus(c, &r), &r);
    assert_int_equal(number_behind(r.data, "mend_server_gutter{server=\"unix:/nowhere/\\\"q\\\"\\\\n{x}\\\\xff\"} "), 0);
    for (size_t i = 0; i < r.len; i++)
        assert_true(r.data[i] == '\n' || (r.data[i] >= ' ' && r.data[i] <= '~'));
    mend_close(c);
    mend_reply_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_is_counted_by_what_came_of_it),
        cmocka_unit_test(a_call_for_many_counts_each_key),
        cmocka_unit_test(an_outage_is_told),
        cmocka_unit_test(a_retry_is_told),
        cmocka_unit_test(what_a_gutter_did_is_told),
        cmocka_unit_test(nothing_is_lost_in_a_crowd),
        cmocka_unit_test(numbers_stay_with_their_server),
        cmocka_unit_test(the_text_has_the_same_numbers),
        cmocka_unit_test(a_hostile_name_spoils_no_page),
    };
    return cmocka_run_group_tests(tests, watch_begins, NULL);
}
