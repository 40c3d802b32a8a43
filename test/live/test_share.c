/* test_share.c - calls that travel together: few connections, no waiting in a row behind what is slow, and nobody
 * harmed by who leaves at its deadline. Also run under the thread sanitizer.
 */
#include "support/hostile.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define S(text) mend_str(text)

enum { CROWD = 16 };

/* ---- A crowd on one client ---------------------------------------------------------------- */
struct crowd {
    mend_client *client;
    void (*act)(struct crowd *, int number, mend_reply *);
    int          rounds;
    atomic_int   ready, wrong;
    atomic_int   ok, maybe;
};

struct member {
    struct crowd *crowd;
    int           number;
    pthread_t     thread;
};

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct crowd  *c = m->crowd;
    mend_reply     r = MEND_REPLY;

    c->ready++;
    while (c->ready < CROWD)
        pause_ms(1);
    for (int i = 0; i < c->rounds; i++)
        c->act(c, m->number, &r);
    mend_reply_free(&r);
    return NULL;
}

static void go(struct crowd *c)
{
    struct member members[CROWD];

    c->ready = 0;
    for (int i = 0; i < CROWD; i++) {
        members[i] = (struct member){.crowd = c, .number = i};
        assert_int_equal(pthread_create(&members[i].thread, NULL, member_main, &members[i]), 0);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(members[i].thread, NULL);
}

static void name_key(char key[16], int number)
{
    snprintf(key, 16, "k%d", number);
}

static void put_keys(struct hostile *h)
{
    char key[16];

    for (int i = 0; i < CROWD; i++) {
        name_key(key, i);
        hostile_put(h, key, key); /* a value that says whose it is */
    }
}

static void get_own(struct crowd *c, int number, mend_reply *r)
{
    char key[16];

    name_key(key, number);
    mend_status status = mend_get(c->client, S(key), r);
    c->ok += status == MEND_OK;
    c->wrong += status == MEND_OK ? strcmp(r->data, key) != 0 : r->len != 0;
}

/* It never fell; and what somebody was in too great a hurry for is at most a doubt, which ends. */
static void serves_still(mend_client *client)
{
    await(state_of(client, 0) == MEND_STATE_UP, SOON_MS);
    assert_int_equal(seen_at(client, 0).falls, 0);
}

/* ---- Few connections ------------------------------------------------------------------------- */
/* Two are enough. A machine that keeps a leader from its processor for 10 ms makes others open one; but each that went
 * its own way without need would have one to itself, and they were thousands. */
static void a_crowd_has_two_connections(void **state)
{
    (void)state;
    unsigned connections = 0, allowed = 2;

    for (int attempt = 0; attempt < 5; attempt++) {
        struct hostile *h = hostile_start(HOSTILE_META);
        put_keys(h);
        struct crowd c = {.client = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS)), .act = get_own, .rounds = 300};
        go(&c);
        connections = hostile_accepted(h);
        assert_int_equal(c.ok, CROWD * c.rounds);
        assert_int_equal(c.wrong, 0);
        mend_close(c.client);
        hostile_stop(h);
        if (late_ms() >= 10)
            allowed = (unsigned)(CROWD * c.rounds / 50);
        if (connections <= allowed)
            return;
    }
    fail_msg("%u connections for %d threads", connections, CROWD);
}

/* ---- No row behind what is slow ---------------------------------------------------------------- */
static enum hostile_next slowly(struct toy_ask *ask, void *context)
{
    pause_ms(*(int *)context);
    return hostile_answer(ask);
}

/* An answer takes most of the time that a call has: whoever stood behind another's would be late. */
static void slow_answers_are_not_waited_for_in_a_row(void **state)
{
    (void)state;
    int slow_ms = 2000, ok = 0;

    for (int attempt = 0; attempt < 5 && ok < CROWD; attempt++) { /* a machine that lets several come while one takes its link puts them into one row */
        struct hostile *h = hostile_start(HOSTILE_META);
        put_keys(h);
        struct crowd c = {.client = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 3600)), .act = get_own, .rounds = 1};
        hostile_behave(h, slowly, &slow_ms);
        go(&c);
        ok = c.ok;
        assert_int_equal(c.wrong, 0);
        if (ok == CROWD)
            serves_still(c.client);
        mend_close(c.client);
        hostile_stop(h);
    }
    assert_int_equal(ok, CROWD);
}

/* ---- Who leaves ----------------------------------------------------------------------------------- */
static enum hostile_next stuck(struct toy_ask *ask, void *context)
{
    (void)context;
    if (strcmp(ask->key, "stuck") == 0)
        pause_ms(60);
    return hostile_answer(ask);
}

static void get_or_leave(struct crowd *c, int number, mend_reply *r)
{
    if (number % 4)
        get_own(c, number, r);
    else
        mend_get_with(c->client, S("stuck"), &(mend_call){.timeout_ms = 20}, r);
}

static void who_leaves_at_its_deadline_harms_nobody(void **state)
{
    (void)state;
    struct hostile *h = hostile_start(HOSTILE_META);
    put_keys(h);
    struct crowd c = {.client = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS)), .act = get_or_leave, .rounds = 30};

    hostile_behave(h, stuck, NULL);
    go(&c);
    assert_int_equal(c.ok, CROWD / 4 * 3 * c.rounds);
    assert_int_equal(c.wrong, 0);
    serves_still(c.client);
    mend_close(c.client);
    hostile_stop(h);
}

static enum hostile_next now_and_then_late(struct toy_ask *ask, void *context)
{
    atomic_uint *n = context;

    if (++*n % 97 == 0)
        pause_ms(50);
    return hostile_answer(ask);
}

/* A key of its own each time, which can be added once: a second attempt would say so. */
static void add_one(struct crowd *c, int number, mend_reply *r)
{
    static atomic_uint n;
    char               key[32];

    snprintf(key, sizeof key, "add-%d-%u", number, n++);
    switch (mend_add(c->client, S(key), S("1"), &(mend_store){.call.timeout_ms = 30}, r)) {
    case MEND_OK:
        c->ok++;
        break;
    case MEND_NOT_STORED:
        c->wrong++;
        break;
    default:
        c->maybe += r->maybe_applied;
        break;
    }
}

static void nothing_is_done_twice(void **state)
{
    (void)state;
    atomic_uint     n = 0;
    struct hostile *h = hostile_start(HOSTILE_META);
    struct crowd    c = {.client = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS)), .act = add_one, .rounds = 200};

    hostile_behave(h, now_and_then_late, &n);
    for (int64_t until = now_ms() + SOON_MS; !(c.ok && c.maybe) && now_ms() < until;) { /* where a trial is late, too, nobody may be answered in a whole round */
        await(all_up(c.client), SOON_MS);
        go(&c);
        must(c.wrong == 0, "%d adds were done twice", c.wrong);
    }
    must(c.ok > 0 && c.maybe > 0, "%d done, %d perhaps: nobody was late", c.ok, c.maybe);
    hostile_behave(h, NULL, NULL);
    mend_close(c.client);
    hostile_stop(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_has_two_connections),
        cmocka_unit_test(slow_answers_are_not_waited_for_in_a_row),
        cmocka_unit_test(who_leaves_at_its_deadline_harms_nobody),
        cmocka_unit_test(nothing_is_done_twice),
    };
    return cmocka_run_group_tests(tests, watch_begins, NULL);
}
