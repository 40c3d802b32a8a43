/* test_zombies.c - writes that are done when nobody waits for them any more: by a server that was stopped and goes on, or by the
 * network, later. No read returns what they wrote, and their keys are read again as soon as they are done.
 *
 * MEND_ZOMBIES is how often a server is stopped, 50 if it is not set; a stop takes a tenth of a second.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/network.h"
#include "support/wait.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define S(text) mend_str(text)

enum { TIMEOUT_MS = 20, FOR_EVER_MS = 60000, LINGERING = 4, OWN = 2 /* the healer's: a trial, and one that listens */ };

/* ---- A server that was stopped ----------------------------------------------------------- */

/* One thread's writes while the server is stopped, each on a connection of its own. */
struct writer {
    pthread_t    thread;
    mend_client *client;
    const char  *key;
    enum { SMALL, MANY, LARGE, COUNTER } how;
    bool         maybe;
};

enum { LARGE_BYTES = 20000 };

static void *writes(void *arg)
{
    static char    large[LARGE_BYTES]; /* of zeros; an empty text */
    struct writer *w = arg;
    mend_reply     r = MEND_REPLY;
    mend_replies   rs = MEND_REPLIES;

    switch (w->how) {
    case SMALL:
        mend_set(w->client, S(w->key), S("zombie"), NULL, &r);
        break;
    case MANY:
        mend_set_multi(w->client, &(mend_item){.key = S(w->key), .value = S("zombie")}, 1, &rs);
        break;
    case LARGE:
        mend_set(w->client, S(w->key), mend_mem(large, sizeof large), NULL, &r);
        break;
    case COUNTER:
        mend_increment(w->client, S(w->key), 1, NULL, &r);
        break;
    }
    w->maybe = w->how == MANY ? rs.at[0].maybe_applied : r.maybe_applied;
    mend_reply_free(&r);
    mend_replies_free(&rs);
    return NULL;
}

/* No more than are kept: each may have a connection to itself, on a machine that is slow to let them travel together. */
static const struct writer writers[] = {
    {.key = "small", .how = SMALL},
    {.key = "many", .how = MANY},
    {.key = "large", .how = LARGE},
    {.key = "counter", .how = COUNTER},
};
enum { WRITERS = sizeof writers / sizeof *writers };
_Static_assert((int)WRITERS <= (int)LINGERING, "the keys of the others would wait for zombie_ms");

/* Returns how many of them may have been done. */
static int write_all(mend_client *c)
{
    struct writer w[WRITERS];
    int           maybe = 0;

    for (int i = 0; i < WRITERS; i++) {
        w[i] = writers[i];
        w[i].client = c;
        assert_int_equal(pthread_create(&w[i].thread, NULL, writes, &w[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(w[i].thread, NULL);
        maybe += w[i].maybe;
    }
    return maybe;
}

static void are_gone(mend_client *c, mend_reply *r)
{
    mend_status status;

    for (int i = 0; i < WRITERS; i++) {
        await((status = mend_get(c, S(writers[i].key), r)) >= 0, SOON_MS); /* the time of a call is short, and the machine may be busy */
        must_be(MEND_MISS, status, r);
    }
}

static int rounds(void)
{
    const char *wanted = getenv("MEND_ZOMBIES");
    return wanted ? atoi(wanted) : 50;
}

/* With a zombie_ms that no test lives to see: what lets the keys be read is that the writes are known to be done. */
static void a_server_that_was_stopped(const char *host)
{
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    int              maybe = 0;
    int64_t          slowest = 0;

    memcached_start(&m, host, "-t 4");
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = TIMEOUT_MS, .zombie_ms = FOR_EVER_MS, .connections_idle_max = 4));
    for (int n = rounds(); n > 0; n--) {
        for (int i = 0; i < WRITERS; i++)
            await(mend_set(c, S(writers[i].key), S("1"), NULL, &r) == MEND_OK, SOON_MS);
        write_all(c); /* so that there are connections */
        await(seen_at(c, 0).journal_keys == 0, SOON_MS); /* what was late is done */
        memcached_pause(&m);
        maybe += write_all(c);
        await(mend_get(c, S("other"), &r) == MEND_E_DOWN, SOON_MS);
        must_be(MEND_E_DOWN, mend_delete(c, S("small"), &r), &r);
        memcached_resume(&m);
        int64_t resumed = now_ms();
        are_gone(c, &r);
        if (now_ms() - resumed > slowest)
            slowest = now_ms() - resumed;
        await(all_up(c), SOON_MS);
        are_gone(c, &r); /* and stay so */
    }
    print_message("# %s: stopped %d times, %d writes that may have been done, their keys read again after %d ms at most\n", host, rounds(), maybe, (int)slowest);
    must(maybe >= rounds(), "%d", maybe);
    must(slowest < FOR_EVER_MS / 2, "%d ms", (int)slowest);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void stopped_on_tcp(void **state)
{
    (void)state;
    a_server_that_was_stopped("127.0.0.1");
}

static void stopped_on_a_unix_socket(void **state)
{
    (void)state;
    a_server_that_was_stopped("unix");
}

/* More of them than are kept: these wait for zombie_ms, and nobody has more connections than was said. */
static void more_than_are_kept(void **state)
{
    (void)state;
    enum { MORE = 12, ZOMBIE_MS = 300 };
    struct memcached m;
    struct writer    w[MORE];
    char             keys[MORE][8];
    mend_reply       r = MEND_REPLY;
    mend_status      status;

    memcached_start(&m, "127.0.0.1", "-t 4");
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = 10 * TIMEOUT_MS, .zombie_ms = ZOMBIE_MS, .connections_max = MORE,
                                          .failures_allowed = 100, .connections_idle_max = MORE));
    memcached_pause(&m);
    for (int i = 0; i < MORE; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        w[i] = (struct writer){.client = c, .key = keys[i], .how = LARGE};
        assert_int_equal(pthread_create(&w[i].thread, NULL, writes, &w[i]), 0);
    }
    for (int i = 0; i < MORE; i++)
        pthread_join(w[i].thread, NULL);
    await(seen_at(c, 0).connections <= LINGERING + OWN, SOON_MS);
    memcached_resume(&m);
    for (int i = 0; i < MORE; i++) {
        await((status = mend_get(c, S(keys[i]), &r)) >= 0, SOON_MS);
        must_be(MEND_MISS, status, &r);
    }
    await(seen_at(c, 0).journal_keys == 0, SOON_MS);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void it_is_closed_in_time(void **state)
{
    (void)state;
    struct memcached m;

    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = TIMEOUT_MS));
    int          before = descriptors();
    memcached_pause(&m);
    assert_true(write_all(c) > 0);
    int64_t began = now_ms();
    mend_close(c);
    must(now_ms() - began < 100 + slack_ms(), "%d ms", (int)(now_ms() - began));
    await(descriptors() < before, SOON_MS);
    memcached_stop(&m);
}

/* ---- A server that goes on but for one ----------------------------------------------------- */
static enum hostile_next stalls_k(struct toy_ask *ask, void *context)
{
    (void)context;
    if (toy_is(ask, "ms") && strcmp(ask->key, "k") == 0 && !hostile_stall(ask))
        return HOSTILE_CLOSE;
    return hostile_answer(ask);
}

/* A connection that lingers takes away no other's place, and its key alone. */
static void the_others_are_served(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    mend_status     status;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "other", "fine");
    hostile_put(h, "k", "old");
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS, .zombie_ms = FOR_EVER_MS, .connections_max = 1));
    hostile_behave(h, stalls_k, NULL);
    must_be(MEND_E_TIMEOUT, mend_set(c, S("k"), S("zombie"), &(mend_store){.call.timeout_ms = 500}, &r), &r);
    assert_true(r.maybe_applied);
    must_be(MEND_OK, mend_get(c, S("other"), &r), &r);
    await(seen_at(c, 0).journal_deleted == 0 && all_up(c), SOON_MS);
    must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    must_be(MEND_OK, mend_get(c, S("other"), &r), &r);
    assert_int_equal(hostile_resets(h), 0);
    hostile_release(h);
    await((status = mend_get(c, S("k"), &r)) != MEND_E_DOWN, FOR_EVER_MS / 2);
    must_be(MEND_MISS, status, &r);
    await(hostile_open(h) == 1, SOON_MS);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* ---- A network that loses packets ------------------------------------------------------------ */
static const char *why_no_drops;

/* For longer than it takes to send them again: the write arrives when its caller has gone, unless the kernel gives the connection up
 * before; then nobody knows, and its key waits for zombie_ms. */
static void the_network_delivers_late(void **state)
{
    (void)state;
    enum { LOST_MS = 1200 };
    static const struct { int user_timeout_ms, zombie_ms; bool delivers; } rows[] = {{FOR_EVER_MS, FOR_EVER_MS, true}, {LOST_MS / 2, 300, false}};

    if (why_no_drops) {
        print_message("# skipped: packets can't be dropped here (%s)\n", why_no_drops);
        skip();
    }
    for (int i = 0; i < 2; i++) {
        struct memcached m;
        mend_reply       r = MEND_REPLY;
        mend_status      status;
        char             stats[8192];
        memcached_start(&m, "127.0.0.1", "-t 4");
        mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = 5 * TIMEOUT_MS, .zombie_ms = rows[i].zombie_ms,
                                              .tcp_user_timeout_ms = rows[i].user_timeout_ms));
        must_be(MEND_OK, mend_set(c, S("k"), S("old"), &(mend_store){.call.timeout_ms = SOON_MS}, &r), &r);
        must(network_drops(true), "%s", strerror(errno));
        must_be(MEND_E_TIMEOUT, mend_set(c, S("k"), S("zombie"), NULL, &r), &r);
        pause_ms(LOST_MS);
        must(network_drops(false), "%s", strerror(errno));
        await((status = mend_get(c, S("k"), &r)) >= 0, FOR_EVER_MS / 2);
        must_be(MEND_MISS, status, &r);
        int fd = raw_connect(m.host, m.port, m.path);
        assert_true(raw_ask(fd, "stats\r\n", "END\r\n", stats, sizeof stats));
        close(fd);
        const char *sets = strstr(stats, "STAT cmd_set ");
        must(sets && atoi(sets + 13) == 1 + rows[i].delivers, "%.20s", sets ? sets : "");
        mend_close(c);
        mend_reply_free(&r);
        memcached_stop(&m);
    }
}

static int packets_come_again(void **state)
{
    (void)state;
    if (!why_no_drops)
        network_drops(false);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_on_tcp),
        cmocka_unit_test(stopped_on_a_unix_socket),
        cmocka_unit_test(more_than_are_kept),
        cmocka_unit_test(it_is_closed_in_time),
        cmocka_unit_test(the_others_are_served),
        cmocka_unit_test_teardown(the_network_delivers_late, packets_come_again),
    };
    why_no_drops = network_that_drops();
    return cmocka_run_group_tests(tests, watch_begins, NULL);
}
