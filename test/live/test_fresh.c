/* test_fresh.c - what was deleted or overwritten while a server was away stays so: no read returns what is older than
 * this process's last write of a key, whether that was done, refused, or nobody knows.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/proxy.h"
#include "support/wait.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define S(text) mend_str(text)

enum { TIMEOUT_MS = 500 /* where one is meant */, ZOMBIE_MS = 200 };

static mend_client *open_at(const char *servers, int keys_max, mend_on_overflow on_overflow)
{
    return open_up(&MEND_CONFIG(.servers = servers, .timeout_ms = SOON_MS, .zombie_ms = ZOMBIE_MS, .journal_keys_max = keys_max,
                                .on_journal_overflow = on_overflow));
}

/* A server that may go away, with what it holds, and come back: behind a door. */
struct guarded {
    struct memcached m;
    struct proxy    *door;
    const char      *name;
};

static void guarded_start(struct guarded *g, const char *args)
{
    memcached_start(&g->m, "127.0.0.1", args);
    g->door = proxy_start("127.0.0.1", g->m.host, g->m.port);
    assert_non_null(g->door);
    g->name = proxy_name(g->door);
}

static void guarded_stop(struct guarded *g)
{
    proxy_stop(g->door);
    memcached_stop(&g->m);
}

/* Goes, and calls until that is known. */
static void goes(struct guarded *g, mend_client *c)
{
    mend_reply r = MEND_REPLY;

    proxy_set(g->door, &(struct proxy_fault){.refuse = true});
    proxy_cut(g->door);
    await(mend_get(c, S("nobody's"), &r) == MEND_E_DOWN && !mend_connection_available(c), SOON_MS);
    mend_reply_free(&r);
}

static void comes_back(struct guarded *g)
{
    proxy_set(g->door, NULL);
}

static void is_not_read(mend_client *c, const char *key, mend_reply *r)
{
    mend_replies rs = MEND_REPLIES;

    must_be(MEND_E_DOWN, mend_get(c, S(key), r), r);
    must_be(MEND_E_DOWN, mend_exists(c, S(key), r), r);
    must_be(MEND_E_DOWN, mend_get_and_touch(c, S(key), 5, r), r);
    mend_get_multi(c, (mend_bytes[]){S(key)}, 1, &rs);
    must_be(MEND_E_DOWN, rs.at[0].status, &rs.at[0]);
    mend_replies_free(&rs);
}

/* ---- A server that was away ------------------------------------------------------------- */
static void lost_writes_are_made_up_for(void **state)
{
    (void)state;
    struct guarded g;
    mend_reply     r = MEND_REPLY;
    static const char *const keys[] = {"deleted", "overwritten", "touched", "counted", "many", "untouched"};
    guarded_start(&g, NULL);
    mend_client *c = open_at(g.name, 0, MEND_ON_OVERFLOW_FLUSH);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        must_be(MEND_OK, mend_set(c, S(keys[i]), S("1"), NULL, &r), &r);

    goes(&g, c);
    must_be(MEND_E_DOWN, mend_delete(c, S("deleted"), &r), &r);
    must_be(MEND_E_DOWN, mend_set(c, S("overwritten"), S("2"), NULL, &r), &r);
    must_be(MEND_E_DOWN, mend_touch(c, S("touched"), 10, &r), &r);
    must_be(MEND_E_DOWN, mend_increment(c, S("counted"), 1, NULL, &r), &r);
    assert_int_equal(mend_set_multi(c, &(mend_item){.key = S("many"), .value = S("2")}, 1, NULL), MEND_E_DOWN);
    must_be(MEND_E_DOWN, mend_delete(c, S("deleted"), &r), &r); /* is noted once */
    assert_int_equal(seen_at(c, 0).journal_keys, 5);

    comes_back(&g);
    await(all_up(c), SOON_MS);
    for (size_t i = 0; i < 5; i++)
        must_be(MEND_MISS, mend_get(c, S(keys[i]), &r), &r);
    must_be(MEND_OK, mend_get(c, S("untouched"), &r), &r);
    assert_int_equal(seen_at(c, 0).journal_keys, 0);
    assert_int_equal(seen_at(c, 0).journal_deleted, 5);
    must_be(MEND_OK, mend_set(c, S("deleted"), S("3"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("deleted"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    guarded_stop(&g);
}

/* What was on its way when the server stopped is done when it goes on, in whatever order its threads run. */
static void zombies_are_deleted_again(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", "-t 4");
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = TIMEOUT_MS, .zombie_ms = ZOMBIE_MS));

    for (int round = 0; round < 5; round++) {
        await(mend_set(c, S("k"), S("old"), NULL, &r) == MEND_OK, SOON_MS); /* the time of a call is short, and the machine may be busy */
        memcached_pause(&m);
        must_be(MEND_E_TIMEOUT, mend_set(c, S("k"), S("zombie"), NULL, &r), &r);
        assert_true(r.maybe_applied);
        is_not_read(c, "k", &r);
        await(mend_get(c, S("other"), &r) == MEND_E_DOWN, SOON_MS);
        must_be(MEND_E_DOWN, mend_delete(c, S("k"), &r), &r);
        memcached_resume(&m);
        await(all_up(c), SOON_MS);
        mend_status status;
        await((status = mend_get(c, S("k"), &r)) >= 0, SOON_MS);
        must_be(MEND_MISS, status, &r);
    }
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

/* ---- A server that stayed up ----------------------------------------------------------------- */
static enum hostile_next stores_nothing(struct toy_ask *ask, void *context)
{
    (void)context;
    if (ask->body)
        return hostile_say(ask, "SERVER_ERROR out of memory storing object\r\n") ? HOSTILE_GO_ON : HOSTILE_CLOSE;
    return hostile_answer(ask);
}

static void a_store_that_failed_leaves_nothing_old(void **state)
{
    (void)state;
    for (int dialect = 0; dialect < 2; dialect++) {
        mend_reply      r = MEND_REPLY;
        struct hostile *h = hostile_start(dialect ? HOSTILE_CLASSIC : HOSTILE_META);
        hostile_put(h, "k", "old");
        mend_client *c = open_at(hostile_name(h), 0, MEND_ON_OVERFLOW_FLUSH);
        hostile_behave(h, stores_nothing, NULL);
        must_be(MEND_E_SERVER, mend_set(c, S("k"), S("new"), NULL, &r), &r);
        mend_status status;
        await((status = mend_get(c, S("k"), &r)) != MEND_E_DOWN, SOON_MS);
        must_be(MEND_MISS, status, &r);
        assert_false(hostile_holds(h, "k", "old"));
        await(all_up(c), SOON_MS);
        assert_int_equal(seen_at(c, 0).falls, 0);
        mend_close(c);
        mend_reply_free(&r);
        hostile_stop(h);
    }
}

static enum hostile_next does_not_delete_k(struct toy_ask *ask, void *says)
{
    if (toy_is(ask, "md delete") && strcmp(ask->key, "k") == 0)
        return hostile_say(ask, "%s\r\n", (const char *)says) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
    return stores_nothing(ask, NULL);
}

static enum hostile_next deletes_nothing(struct toy_ask *ask, void *context)
{
    (void)context;
    if (toy_is(ask, "md delete"))
        return hostile_say(ask, "SERVER_ERROR backend failure\r\n") ? HOSTILE_GO_ON : HOSTILE_CLOSE;
    return stores_nothing(ask, NULL);
}

/* A delete that is refused keeps its key from being read, and no other, noted or not. */
static void a_delete_that_is_refused(void **state)
{
    (void)state;
    static char *const says[] = {"SERVER_ERROR backend failure", "CLIENT_ERROR not allowed"};
    for (int i = 0; i < 2; i++) {
        mend_reply      r = MEND_REPLY;
        mend_status     status;
        struct hostile *h = hostile_start(HOSTILE_META);
        hostile_put(h, "k", "old");
        hostile_put(h, "noted", "old");
        hostile_put(h, "other", "fine");
        mend_client *c = open_at(hostile_name(h), 0, MEND_ON_OVERFLOW_FLUSH);
        hostile_behave(h, does_not_delete_k, says[i]);
        must_be(MEND_E_SERVER, mend_set(c, S("k"), S("new"), NULL, &r), &r);
        must_be(MEND_E_SERVER, mend_set(c, S("noted"), S("new"), NULL, &r), &r);
        if (i == 0) { /* after a CLIENT_ERROR it is not known which was meant */
            await((status = mend_get(c, S("noted"), &r)) != MEND_E_DOWN, SOON_MS);
            must_be(MEND_MISS, status, &r);
        }
        await(all_up(c), SOON_MS);
        is_not_read(c, "k", &r);
        await(mend_get(c, S("other"), &r) == MEND_OK, SOON_MS);
        assert_int_equal(seen_at(c, 0).falls, 0);
        hostile_behave(h, NULL, NULL);
        await((status = mend_get(c, S("k"), &r)) != MEND_E_DOWN, SOON_MS);
        must_be(MEND_MISS, status, &r);
        mend_close(c);
        mend_reply_free(&r);
        hostile_stop(h);
    }
}

static enum hostile_next stalls_sets(struct toy_ask *ask, void *deletes)
{
    if (toy_is(ask, "ms") && !toy_flag(ask, 'M')) {
        hostile_stall(ask);
        return HOSTILE_CLOSE;
    }
    enum hostile_next next = hostile_answer(ask);
    *(atomic_int *)deletes += toy_is(ask, "md delete");
    return next;
}

/* While a zombie is waited for, a write behind a delete is enough: the next finds what it wrote. */
static void a_lock_is_taken_once(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(HOSTILE_META);
    atomic_int      deletes = 0;
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS, .zombie_ms = 20000));
    hostile_behave(h, stalls_sets, &deletes);
    must_be(MEND_E_TIMEOUT, mend_set(c, S("lock"), S("mine"), &(mend_store){.call.timeout_ms = TIMEOUT_MS}, &r), &r);
    await(deletes > 0, SOON_MS); /* the healer's; and the zombie stalls on: its end will be followed by another, which must not come between these */
    hostile_behave(h, NULL, NULL);
    must_be(MEND_OK, mend_add(c, S("lock"), S("yours"), NULL, &r), &r);
    must_be(MEND_NOT_STORED, mend_add(c, S("lock"), S("theirs"), NULL, &r), &r);
    assert_int_equal(hostile_stalled(h), 1);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

static enum hostile_next hangs_up_on_sets(struct toy_ask *ask, void *context)
{
    (void)context;
    return toy_is(ask, "ms") ? HOSTILE_CLOSE : hostile_answer(ask);
}

/* What a server that closed had not done it does no more: one delete is enough, and its keys are soon read. */
static void a_connection_that_ended_has_no_zombie(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    mend_status     status;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "k", "old");
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS, .zombie_ms = 60000));
    hostile_behave(h, hangs_up_on_sets, NULL);
    must_be(MEND_E_IO, mend_set(c, S("k"), S("new"), NULL, &r), &r);
    assert_true(r.maybe_applied);
    hostile_behave(h, NULL, NULL);
    await((status = mend_get(c, S("k"), &r)) != MEND_E_DOWN, SOON_MS);
    must_be(MEND_MISS, status, &r);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* A write of a key that is noted goes behind a delete of it, on the same connection. */
static void a_later_write_goes_behind_the_delete(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "n", "100");
    mend_client *c = open_at(hostile_name(h), 0, MEND_ON_OVERFLOW_FLUSH);
    hostile_behave(h, deletes_nothing, NULL);
    must_be(MEND_E_SERVER, mend_set(c, S("n"), S("5"), NULL, &r), &r);
    await(all_up(c), SOON_MS);
    hostile_behave(h, NULL, NULL);
    must_be(MEND_MISS, mend_increment(c, S("n"), 1, NULL, &r), &r); /* of nothing, not of 100 */
    must_be(MEND_MISS, mend_get(c, S("n"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* ---- Too many -------------------------------------------------------------------------------- */
enum { FEW = 10, TOO_MANY = 25 };

static void lose_too_many(mend_client *c, mend_reply *r)
{
    char key[16];

    for (int i = 0; i < TOO_MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        must_be(MEND_E_DOWN, mend_delete(c, S(key), r), r);
    }
    assert_true(seen_at(c, 0).journal_overflows > 0);
    assert_true(seen_at(c, 0).journal_keys <= FEW);
}

static void fill(mend_client *c, mend_reply *r)
{
    char key[16];

    for (int i = 0; i < TOO_MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        must_be(MEND_OK, mend_set(c, S(key), S("old"), NULL, r), r);
    }
    must_be(MEND_OK, mend_set(c, S("untouched"), S("kept"), NULL, r), r);
}

static void an_overflow_is_flushed_once_for_all(void **state)
{
    (void)state;
    enum { CLIENTS = 4 };
    struct guarded g;
    mend_reply     r = MEND_REPLY;
    mend_client   *c[CLIENTS];
    guarded_start(&g, NULL);
    for (int i = 0; i < CLIENTS; i++)
        c[i] = open_at(g.name, FEW, MEND_ON_OVERFLOW_FLUSH);
    fill(c[0], &r);
    for (int i = 0; i < CLIENTS; i++)
        if (i == 0)
            goes(&g, c[0]);
        else
            await(mend_get(c[i], S("k0"), &r) == MEND_E_DOWN, SOON_MS);
    for (int i = 0; i < CLIENTS; i++)
        lose_too_many(c[i], &r);
    pause_ms(2500); /* the mark of a flush counts in whole seconds */
    comes_back(&g);
    for (int i = 0; i < CLIENTS; i++)
        await(all_up(c[i]), SOON_MS);
    for (int i = 0; i < CLIENTS; i++) {
        must_be(MEND_MISS, mend_get(c[i], S("k0"), &r), &r);
        must_be(MEND_MISS, mend_get(c[i], S("untouched"), &r), &r);
        mend_close(c[i]);
    }
    char stats[8192];
    int  fd = raw_connect(g.m.host, g.m.port, g.m.path);
    assert_true(raw_ask(fd, "stats\r\n", "END\r\n", stats, sizeof stats));
    close(fd);
    const char *flushes = strstr(stats, "STAT cmd_flush ");
    must(flushes && (atoi(flushes + 15) == 1 || atoi(flushes + 15) == 2), "%.20s", flushes ? flushes : "");
    mend_reply_free(&r);
    guarded_stop(&g);
}

static atomic_int overflows;
static char       told[300]; /* of the last, written before it is counted */

static void on_event(const mend_event *event, void *context)
{
    (void)context;
    if (event->type != MEND_EVENT_JOURNAL_OVERFLOW)
        return;
    mend_event_text(event, told, sizeof told);
    overflows++;
}

/* As long as it is not known which keys are stale, none is read: not on a server that stayed up, either. */
static void a_torn_journal_reads_nothing(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "a", "old");
    mend_client *c = open_at(hostile_name(h), 1, MEND_ON_OVERFLOW_FLUSH);
    hostile_behave(h, stores_nothing, NULL);
    must_be(MEND_E_SERVER, mend_set(c, S("a"), S("new"), NULL, &r), &r);
    must_be(MEND_E_SERVER, mend_set(c, S("b"), S("new"), NULL, &r), &r);
    for (int i = 0; i < 200; i++)
        must(mend_get(c, S("a"), &r) != MEND_OK, "a stale value: %s", r.data);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

static void an_overflow_is_served_from(void **state)
{
    (void)state;
    struct guarded g;
    mend_reply     r = MEND_REPLY;
    guarded_start(&g, NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = g.name, .timeout_ms = SOON_MS, .journal_keys_max = FEW, .zombie_ms = MEND_ZERO,
                                          .on_journal_overflow = MEND_ON_OVERFLOW_SERVE, .on_event = on_event));
    overflows = 0;
    fill(c, &r);
    goes(&g, c);
    lose_too_many(c, &r);
    comes_back(&g);
    await(all_up(c), SOON_MS);
    must_be(MEND_OK, mend_get(c, S("k0"), &r), &r); /* stale, as was wanted */
    must_be(MEND_MISS, mend_get(c, S("k24"), &r), &r);
    await(overflows == 1, SOON_MS);
    must(strstr(told, "some values may be stale"), "%s", told);
    mend_close(c);
    mend_reply_free(&r);
    guarded_stop(&g);
}

static void an_overflow_is_refused_until_accepted(void **state)
{
    (void)state;
    struct guarded g;
    mend_reply     r = MEND_REPLY;
    guarded_start(&g, NULL);
    mend_client *c = open_at(g.name, FEW, MEND_ON_OVERFLOW_REFUSE);
    fill(c, &r);
    assert_int_equal(mend_accept(c, g.name), MEND_MISS);
    assert_int_equal(mend_accept(c, "nobody"), MEND_E_ARGUMENT);
    goes(&g, c);
    lose_too_many(c, &r);
    comes_back(&g);
    await(strstr(seen_at(c, 0).why, "mend_accept") != NULL, SOON_MS);
    must_be(MEND_E_DOWN, mend_get(c, S("k0"), &r), &r);
    assert_int_equal(mend_accept(c, g.name), MEND_OK);
    await(all_up(c), SOON_MS);
    must_be(MEND_OK, mend_get(c, S("k0"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    guarded_stop(&g);
}

/* A server that forbids flush_all is let in only by hand, too. */
static void a_flush_that_is_forbidden(void **state)
{
    (void)state;
    struct guarded g;
    mend_reply     r = MEND_REPLY;
    guarded_start(&g, "-F");
    mend_client *c = open_at(g.name, FEW, MEND_ON_OVERFLOW_FLUSH);
    fill(c, &r);
    goes(&g, c);
    lose_too_many(c, &r);
    comes_back(&g);
    await(strstr(seen_at(c, 0).why, "mend_accept") != NULL, SOON_MS);
    assert_int_equal(mend_accept(c, g.name), MEND_OK);
    await(all_up(c), SOON_MS);
    must_be(MEND_OK, mend_get(c, S("untouched"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    guarded_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_writes_are_made_up_for),
        cmocka_unit_test(zombies_are_deleted_again),
        cmocka_unit_test(a_store_that_failed_leaves_nothing_old),
        cmocka_unit_test(a_delete_that_is_refused),
        cmocka_unit_test(a_lock_is_taken_once),
        cmocka_unit_test(a_connection_that_ended_has_no_zombie),
        cmocka_unit_test(a_later_write_goes_behind_the_delete),
        cmocka_unit_test(an_overflow_is_flushed_once_for_all),
        cmocka_unit_test(a_torn_journal_reads_nothing),
        cmocka_unit_test(an_overflow_is_served_from),
        cmocka_unit_test(an_overflow_is_refused_until_accepted),
        cmocka_unit_test(a_flush_that_is_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
