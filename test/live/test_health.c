/* test_health.c - servers that die, hang, flap and come back; what counts against
 * them and what does not; and what the application is told of it. */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define S(text) mend_str(text)
enum { TIMEOUT_MS = 500, LONG_MS = 10000 }; /* the long one where nothing hangs */
#define BOUND_MS (TIMEOUT_MS + slack_ms())

static bool down(mend_client *c, size_t i)
{
    return state_of(c, i) >= MEND_STATE_DOWN;
}

/* Calls until it is down. One call is not always enough: a timeout that is noticed late, on a
 * busy machine, may be our own fault, and counts for nothing. */
static void call_until_down(mend_client *c, size_t i)
{
    await(mend_ping(c, NULL) < 0 && down(c, i), SOON_MS);
}

/* A call that a known outage must not hold up. */
static void is_down_at_once(mend_client *c, const char *key)
{
    mend_reply r = MEND_REPLY;
    takes_less_than(TIMEOUT_MS / 2, must_be(MEND_E_DOWN, mend_get(c, S(key), &r), &r));
    assert_string_not_equal(r.error, "");
    assert_false(r.maybe_applied);
    must_be(MEND_E_DOWN, mend_set(c, S("written while it was down"), S("v"), NULL, &r), &r);
    assert_false(r.maybe_applied); /* nothing was sent */
    mend_reply_free(&r);
}

/* ---- One server ------------------------------------------------------------------------------- */
static void the_first_call_waits_for_the_first_verdict(void **state)
{
    (void)state;
    struct memcached m;
    memcached_start(&m, "127.0.0.1", NULL);
    for (int i = 0; i < 30; i++) {
        mend_client *c = NULL;
        mend_reply   r = MEND_REPLY;
        must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS), &c, &r), &r);
        assert_true(mend_connection_available(c));
        must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
        must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
        mend_close(c);
        mend_reply_free(&r);
    }
    memcached_stop(&m);
}

static void killed_and_restarted(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS));

    for (unsigned fall = 1; fall <= 2; fall++) {
        must_be(MEND_OK, mend_set(c, S("k"), S("before"), NULL, &r), &r);
        int64_t killed = now_ms();
        memcached_kill(&m);
        must(mend_get(c, S("k"), &r) < 0, "%s", mend_status_name(r.status));
        assert_true(now_ms() - killed < BOUND_MS);
        await(down(c, 0), SOON_MS);
        is_down_at_once(c, "k");
        assert_false(mend_connection_available(c));

        struct seen s = seen_at(c, 0);
        assert_int_equal(s.falls, fall);
        assert_string_not_equal(s.why, "");
        assert_true(s.since_ms <= now_ms() - killed);
        assert_true(s.next_trial_ms >= 0 && s.next_trial_ms <= 1000);

        memcached_restart(&m); /* and nobody says so to the client */
        await(all_up(c), SOON_MS);
        assert_true(mend_connection_available(c));
        must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    }
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void nobody_need_call_for_it_to_be_noticed(void **state)
{
    (void)state;
    struct memcached m;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS));
    memcached_kill(&m); /* the pooled connection breaks */
    mend_reply r = MEND_REPLY;
    await(mend_get(c, S("k"), &r) == MEND_E_DOWN, SOON_MS);
    memcached_restart(&m); /* and from here on nobody calls */
    await(all_up(c), SOON_MS);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void hung_and_awake_again(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = TIMEOUT_MS));
    must_be(MEND_OK, mend_set(c, S("k"), S("kept"), NULL, &r), &r);

    for (int i = 0; i < 2; i++) {
        memcached_pause(&m); /* it still accepts connections: that proves nothing */
        int64_t began = now_ms();
        must_be(MEND_E_TIMEOUT, mend_get(c, S("k"), &r), &r);
        must(now_ms() - began < BOUND_MS, "%d ms", (int)(now_ms() - began));
        call_until_down(c, 0);
        is_down_at_once(c, "k");
        pause_ms(i ? 1500 : 100); /* a short outage; and one longer than heal_max_ms */
        assert_true(down(c, 0));
        is_down_at_once(c, "k");

        memcached_resume(&m);
        await(all_up(c), SOON_MS);
        must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
        assert_string_equal(r.data, "kept");
    }
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static enum hostile_next answers_once_released(struct toy_ask *ask, void *context)
{
    (void)context;
    return hostile_stall(ask) ? hostile_answer(ask) : HOSTILE_CLOSE;
}

/* The last trial of a server that hangs is left listening: its answer ends the wait for the next, however long that is. */
static void a_late_answer_to_a_trial_ends_the_outage(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    mend_client    *c = NULL;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_behave_all(h, answers_once_released, NULL);
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 50, .heal_max_ms = 60000), &c, &r), &r);
    await(seen_at(c, 0).next_trial_ms > 500, SOON_MS);
    unsigned accepted = hostile_accepted(h);
    hostile_behave_all(h, NULL, NULL);
    hostile_release(h);
    await(all_up(c), SOON_MS);
    assert_int_equal(hostile_accepted(h), accepted); /* by no new connection */
    must_be(MEND_MISS, mend_get_with(c, S("k"), &(mend_call){.timeout_ms = LONG_MS}, &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

static void we_were_stopped_ourselves(void **state)
{
    enum { STOPS = 5 };
    (void)state;
    struct memcached m;
    memcached_start(&m, "127.0.0.1", NULL);
    int told[2];
    assert_int_equal(pipe(told), 0);
    pid_t child = fork();
    if (child == 0) { /* reads for all it is worth, and sees no outage, since there is none */
        mend_store   patient = {.call.timeout_ms = LONG_MS};
        mend_reply   r = MEND_REPLY;
        mend_client *c = NULL;
        bool         fine = mend_open(&MEND_CONFIG(.servers = m.name, .timeout_ms = TIMEOUT_MS, .failures_allowed = MEND_ZERO), &c, &r) == MEND_OK;
        fine = fine && mend_set(c, S("k"), S("v"), &patient, &r) == MEND_OK && write(told[1], "r", 1) == 1;
        for (int64_t until = now_ms() + STOPS * (TIMEOUT_MS + 150); fine && now_ms() < until;) {
            mend_get(c, S("k"), &r);
            fine = r.status != MEND_E_DOWN && (r.status != MEND_OK || strcmp(r.data, "v") == 0);
        }
        fine = fine && mend_get_with(c, S("k"), &patient.call, &r) == MEND_OK && seen_at(c, 0).falls == 0;
        if (!fine)
            fprintf(stderr, "stopped: %s; %s\n", r.error, c ? seen_at(c, 0).why : "");
        _exit(fine ? 0 : 1);
    }
    char ready;
    int  status;
    close(told[1]);
    assert_int_equal(read(told[0], &ready, 1), 1);
    for (int i = 0; i < STOPS; i++) {
        kill(child, SIGSTOP);
        waitpid(child, &status, WUNTRACED);
        pause_ms(TIMEOUT_MS + 50);
        kill(child, SIGCONT);
        pause_ms(10 + i * 7);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(told[0]);
    memcached_stop(&m);
}

/* ---- One of three --------------------------------------------------------------------------------- */
enum { KEYS = 300 };

static void one_of_three(void **state, bool hung, int timeout_ms)
{
    (void)state;
    struct memcached m[3];
    char             servers[256] = "", names[KEYS][16];
    int              on[KEYS];
    mend_bytes       keys[KEYS];
    mend_item        items[KEYS];
    mend_reply       r = MEND_REPLY;
    mend_replies     rs = MEND_REPLIES;
    for (int i = 0; i < 3; i++) {
        memcached_start(&m[i], "127.0.0.1", NULL);
        snprintf(servers + strlen(servers), sizeof servers - strlen(servers), "%s%s", i ? "," : "", m[i].name);
    }
    mend_client *c = open_up(&MEND_CONFIG(.servers = servers, .timeout_ms = timeout_ms));
    for (int i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof names[i], "key:%d", i);
        keys[i] = S(names[i]);
        items[i] = (mend_item){.key = keys[i], .value = keys[i]};
    }
    must_be(MEND_OK, mend_set_multi(c, items, KEYS, &rs), &r);
    unsigned theirs = 0;
    for (int i = 0; i < KEYS; i++) {
        on[i] = strcmp(rs.at[i].server, m[0].name) == 0 ? 0 : strcmp(rs.at[i].server, m[1].name) == 0 ? 1 : 2;
        theirs += on[i] == 1;
    }
    assert_true(theirs > KEYS / 10 && theirs < KEYS);

    if (hung)
        memcached_pause(&m[1]);
    else
        memcached_kill(&m[1]);
    for (int round = 0; round < 2; round++) { /* as it happens; and while it is known */
        takes_less_than(round ? TIMEOUT_MS / 2 : timeout_ms + slack_ms(), must(mend_get_multi(c, keys, KEYS, &rs) < 0, "round %d", round));
        for (int i = 0; i < KEYS; i++) {
            if (on[i] == 1)
                must(rs.at[i].status < 0 && rs.at[i].len == 0, "round %d, %s on the dead: %s", round, names[i], mend_status_name(rs.at[i].status));
            else
                must(rs.at[i].status == MEND_OK && strcmp(rs.at[i].data, names[i]) == 0, "round %d, %s: %s %s", round, names[i], mend_status_name(rs.at[i].status), rs.at[i].error);
        }
        call_until_down(c, 1);
    }
    for (int i = 0; i < KEYS; i++)
        must_be(on[i] == 1 ? MEND_E_DOWN : MEND_OK, mend_get(c, keys[i], &r), &r);
    assert_int_equal(mend_set_multi(c, items, KEYS, &rs), MEND_E_DOWN);
    for (int i = 0; i < KEYS; i++) {
        must_be(on[i] == 1 ? MEND_E_DOWN : MEND_OK, rs.at[i].status, &rs.at[i]);
        assert_false(rs.at[i].maybe_applied && rs.at[i].status == MEND_E_DOWN);
    }
    must_be(MEND_E_DOWN, mend_ping(c, &r), &r);
    assert_string_equal(r.server, m[1].name);
    assert_true(mend_connection_available(c));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(seen_at(c, i).falls, i == 1);

    if (hung)
        memcached_resume(&m[1]);
    else
        memcached_restart(&m[1]);
    await(all_up(c), SOON_MS);
    must_be(MEND_OK, mend_set_multi(c, items, KEYS, &rs), &r);
    must_be(MEND_OK, mend_get_multi(c, keys, KEYS, &rs), &r);
    must_be(MEND_OK, mend_ping(c, &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
    for (int i = 0; i < 3; i++)
        memcached_stop(&m[i]);
}

static void one_of_three_dead_takes_its_own_keys(void **state)
{
    one_of_three(state, false, LONG_MS);
}

static void one_of_three_hung_takes_its_own_keys(void **state)
{
    one_of_three(state, true, TIMEOUT_MS);
}

static void available_until_all_are_down(void **state)
{
    (void)state;
    struct memcached m[2];
    char             servers[256];
    mend_reply       r = MEND_REPLY;
    memcached_start(&m[0], "127.0.0.1", NULL);
    memcached_start(&m[1], "unix", NULL);
    snprintf(servers, sizeof servers, "%s,%s", m[0].name, m[1].name);
    mend_client *c = open_up(&MEND_CONFIG(.servers = servers, .timeout_ms = TIMEOUT_MS));
    must_be(MEND_OK, mend_ping(c, &r), &r);

    memcached_kill(&m[1]);
    must(mend_ping(c, &r) < 0, "%s", mend_status_name(r.status));
    assert_string_equal(r.server, m[1].name);
    call_until_down(c, 1);
    assert_true(mend_connection_available(c));

    memcached_pause(&m[0]);
    int64_t began = now_ms();
    must_be(MEND_E_TIMEOUT, mend_ping(c, &r), &r);
    assert_true(now_ms() - began < BOUND_MS);
    assert_string_equal(r.server, m[0].name);
    call_until_down(c, 0);
    assert_false(mend_connection_available(c));
    must_be(MEND_E_DOWN, mend_ping(c, &r), &r);
    assert_string_equal(r.server, m[0].name); /* the first failure of the list */

    memcached_resume(&m[0]);
    await(mend_connection_available(c), SOON_MS);
    memcached_restart(&m[1]);
    await(all_up(c), SOON_MS);
    must_be(MEND_OK, mend_ping(c, &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m[0]);
    memcached_stop(&m[1]);
}

/* ---- What counts, and how much ------------------------------------------------------------------------ */
static enum hostile_next talks_nonsense_of_bad(struct toy_ask *ask, void *context)
{
    (void)context;
    if (strcmp(ask->key, "bad") != 0)
        return hostile_answer(ask);
    hostile_say(ask, "HOW DO YOU DO\r\n");
    return HOSTILE_CLOSE;
}

/* Fails n calls, each on a server whose trial has passed since the last. */
static void fail_calls(mend_client *c, int n)
{
    mend_reply r = MEND_REPLY;
    for (int i = 0; i < n; i++) {
        await(all_up(c), SOON_MS);
        must(mend_get(c, S("bad"), &r) < 0, "%s", mend_status_name(r.status));
    }
    mend_reply_free(&r);
}

static void failures_allowed(void **state)
{
    static const struct { int configured, allowed; } rows[] = {{MEND_ZERO, 0}, {1, 1}, {3, 3}, {0, 10}};
    (void)state;
    mend_reply r = MEND_REPLY;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int             allowed = rows[i].allowed;
        struct hostile *h = hostile_start(HOSTILE_META);
        hostile_put(h, "good", "g");
        hostile_behave(h, talks_nonsense_of_bad, NULL); /* trials pass all the while */
        mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = LONG_MS, .failures_allowed = rows[i].configured));

        fail_calls(c, allowed);
        await(all_up(c), SOON_MS);
        must(seen_at(c, 0).falls == 0, "%d are allowed", allowed);
        assert_int_equal(seen_at(c, 0).failures, allowed); /* which a passed trial does not reset */
        must_be(MEND_OK, mend_get(c, S("good"), &r), &r);
        assert_int_equal(seen_at(c, 0).failures, 0); /* a successful call does */

        if (2 * allowed >= 20)
            pause_ms(1100); /* the other rule, half of twenty within a second, is not meant here */
        fail_calls(c, allowed);
        await(all_up(c), SOON_MS);
        must(seen_at(c, 0).falls == 0, "%d are allowed in a row", allowed);
        fail_calls(c, 1);
        await(seen_at(c, 0).falls == 1, SOON_MS);
        await(all_up(c), SOON_MS);
        must_be(MEND_OK, mend_get(c, S("good"), &r), &r);
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
}

/* More than half of at least twenty calls failing within a second are too many, however many are allowed in a row. */
static void half_of_twenty(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "good", "g");
    hostile_behave(h, talks_nonsense_of_bad, NULL);

    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = LONG_MS, .failures_allowed = 1000));
    for (int i = 0; i < 20; i++) {
        fail_calls(c, 1);
        must_be(MEND_OK, mend_get(c, S("good"), &r), &r);
        must_be(MEND_OK, mend_get(c, S("good"), &r), &r);
    }
    assert_int_equal(seen_at(c, 0).falls, 0); /* a third is not */
    mend_close(c);

    c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = LONG_MS, .failures_allowed = 1000));
    for (int i = 0; i < 300 && seen_at(c, 0).falls == 0; i++) {
        fail_calls(c, 2);
        mend_get(c, S("good"), &r);
    }
    assert_int_equal(seen_at(c, 0).falls, 1); /* two thirds are */
    await(all_up(c), SOON_MS);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

static enum hostile_next has_no_memory(struct toy_ask *ask, void *context)
{
    (void)context;
    return hostile_say(ask, "SERVER_ERROR out of memory storing object\r\n") ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static void excuses_never_count(enum hostile_dialect dialect)
{
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(dialect);
    hostile_behave(h, has_no_memory, NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = LONG_MS, .failures_allowed = MEND_ZERO));
    for (int i = 0; i < 30; i++) {
        must_be(MEND_E_SERVER, mend_set(c, S("k"), S("v"), NULL, &r), &r);
        must(strstr(r.error, "out of memory"), "%s", r.error); /* its own words */
        must_be(MEND_E_SERVER, mend_get(c, S("other"), &r), &r);
    }
    struct seen s;
    await((s = seen_at(c, 0)).state == MEND_STATE_UP, SOON_MS); /* it is tried now and then, for the deletes that it owes */
    must(s.falls == 0 && s.failures == 0, "%s", s.why);
    hostile_behave(h, NULL, NULL);
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

static void what_never_counts(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    char            *large = calloc(1, 2 << 20), longest[300];
    memset(longest, 'k', sizeof longest);
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS, .failures_allowed = MEND_ZERO));
    for (int i = 0; i < 30; i++) {
        must_be(MEND_MISS, mend_get(c, S("none"), &r), &r);
        must_be(MEND_MISS, mend_delete(c, S("none"), &r), &r);
        must_be(MEND_NOT_STORED, mend_replace(c, S("none"), S("v"), NULL, &r), &r);
        must_be(MEND_E_ARGUMENT, mend_get(c, mend_mem(longest, 251), &r), &r);
        must_be(MEND_E_ARGUMENT, mend_set(c, S(""), S("v"), NULL, &r), &r);
        if (i < 12)
            must_be(MEND_TOO_LARGE, mend_set(c, S("k"), mend_mem(large, 2 << 20), NULL, &r), &r);
    }
    struct seen s = seen_at(c, 0);
    must(s.state == MEND_STATE_UP && s.falls == 0 && s.failures == 0, "%s", s.why);
    mend_close(c);
    memcached_stop(&m);

    for (enum hostile_dialect dialect = HOSTILE_META; dialect <= HOSTILE_CLASSIC; dialect += HOSTILE_CLASSIC)
        excuses_never_count(dialect);
    free(large);
    mend_reply_free(&r);
}

/* To a trial, SERVER_ERROR is a failure: a proxy whose memcached is away says just that. */
static void a_trial_wants_more_than_words(void **state)
{
    static const char *const excuses[] = {"SERVER_ERROR backend failure\r\n", "NOT MEMCACHED\r\n", "VA 4294967296\r\n", "HD O99\r\n", "END\r\n"};
    (void)state;
    mend_reply r = MEND_REPLY;
    for (size_t i = 0; i < sizeof excuses / sizeof *excuses; i++) {
        struct hostile *h = hostile_start(HOSTILE_META);
        hostile_greet(h, excuses[i], false); /* said to whatever will be asked */
        mend_client *c = NULL;
        must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = TIMEOUT_MS), &c, &r), &r);
        int64_t began = now_ms();
        must(mend_set(c, S("k"), S("v"), NULL, &r) < 0, "%s", excuses[i]);
        assert_true(now_ms() - began < BOUND_MS);
        await(down(c, 0), SOON_MS);
        is_down_at_once(c, "k");
        assert_int_equal(hostile_asked(h, "k"), 0); /* no caller was the guinea pig */
        hostile_greet(h, NULL, false);
        await(all_up(c), SOON_MS);
        must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
}

static void a_full_server_refuses_politely(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_greet(h, "ERROR Too many open connections\r\n", true);
    mend_client *c = NULL;
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = TIMEOUT_MS), &c, &r), &r);
    must(mend_get(c, S("k"), &r) < 0, "%s", mend_status_name(r.status));
    await(down(c, 0), SOON_MS);
    hostile_greet(h, NULL, false);
    await(all_up(c), SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* The same from a real one. */
static void a_real_full_server(void **state)
{
    enum { MAX = 30 };
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    int              taken[MAX], n = 0;
    char             answer[64];
    memcached_start(&m, "127.0.0.1", "-c 20 -t 1"); /* each of its own descriptors counts, too */
    for (bool full = false; n < MAX && !full; n++) {
        taken[n] = raw_connect("127.0.0.1", m.port, NULL);
        full = !raw_ask(taken[n], "mn\r\n", "MN\r\n", answer, sizeof answer);
    }
    assert_true(n < MAX);
    mend_client *c = NULL;
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = m.name, .timeout_ms = TIMEOUT_MS), &c, &r), &r);
    must(mend_get(c, S("k"), &r) < 0, "%s", mend_status_name(r.status));
    await(down(c, 0), SOON_MS);
    while (n-- > 0)
        close(taken[n]);
    await(all_up(c), SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void a_flapping_server(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = hostile_start(HOSTILE_META);
    int64_t         longest = 0;
    hostile_put(h, "k", "v");
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = LONG_MS));
    for (int i = 0; i < 6; i++) {
        hostile_down(h);
        for (int64_t until = now_ms() + 60; now_ms() < until;) {
            int64_t     began = now_ms();
            mend_status status = mend_get(c, S("k"), &r);
            assert_true(now_ms() - began < BOUND_MS);
            must(status < 0 || strcmp(r.data, "v") == 0, "%s", r.data);
        }
        assert_true(down(c, 0));
        hostile_up(h);
        int64_t up = now_ms();
        await(all_up(c), SOON_MS);
        longest = now_ms() - up > longest ? now_ms() - up : longest;
        must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    }
    assert_int_equal(seen_at(c, 0).falls, 6);
    print_message("six falls in a row: back in service after %d ms at most\n", (int)longest);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* ---- What the application is told ------------------------------------------------------------------------ */
struct told {
    pthread_mutex_t lock;
    mend_client    *client;
    int             events, strange; /* strange: an answer from within on_event that should not be */
    mend_event_type type[32];
    int64_t         outage_ms[32];
    struct seen     seen[32];
    pthread_t       caller;
};

static void tell(const mend_event *event, void *context)
{
    struct told *told = context;
    mend_reply   r = MEND_REPLY;
    pthread_mutex_lock(&told->lock);
    mend_client *c = told->client;
    pthread_mutex_unlock(&told->lock);

    int strange = 0;
    strange += mend_connection_available(c) != (event->type == MEND_EVENT_BACK);
    strange += servers_of(c) != 1;
    strange += mend_get(c, S("k"), &r) != MEND_E_ARGUMENT;
    strange += mend_set(c, S("k"), S("v"), NULL, NULL) != MEND_E_ARGUMENT;
    strange += mend_ping(c, &r) != MEND_E_ARGUMENT;
    strange += mend_flush_all(c, NULL) != MEND_E_ARGUMENT;
    strange += mend_set_servers(c, "127.0.0.1:1", NULL) != MEND_E_ARGUMENT;
    mend_close(c); /* nothing to do */
    mend_reply_free(&r);

    pthread_mutex_lock(&told->lock);
    int i = told->events < 32 ? told->events++ : 31;
    told->strange += strange;
    told->type[i] = event->type;
    told->outage_ms[i] = event->outage_ms;
    told->seen[i] = seen_of(event->server);
    told->caller = pthread_self();
    pthread_mutex_unlock(&told->lock);
}

static int events(struct told *told)
{
    pthread_mutex_lock(&told->lock);
    int n = told->events;
    pthread_mutex_unlock(&told->lock);
    return n;
}

static void down_and_back_are_told(void **state)
{
    (void)state;
    struct memcached m;
    struct told      told = {.lock = PTHREAD_MUTEX_INITIALIZER};
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    pthread_mutex_lock(&told.lock); /* an event waits until the client has its name */
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = m.name, .timeout_ms = LONG_MS, .on_event = tell, .on_event_context = &told), &told.client, &r), &r);
    pthread_mutex_unlock(&told.lock);
    mend_client *c = told.client;
    await(all_up(c), SOON_MS);
    assert_int_equal(events(&told), 0); /* nothing was down */

    for (int fall = 0; fall < 2; fall++) {
        int64_t began = now_ms();
        memcached_kill(&m);
        must(mend_get(c, S("k"), &r) < 0, "%s", mend_status_name(r.status));
        await(events(&told) == 2 * fall + 1, SOON_MS);
        pause_ms(50);
        memcached_restart(&m);
        await(events(&told) == 2 * fall + 2, SOON_MS);
        int64_t took = now_ms() - began;
        await(all_up(c), SOON_MS);

        pthread_mutex_lock(&told.lock);
        int         at = 2 * fall;
        struct seen fell = told.seen[at], back = told.seen[at + 1];
        assert_int_equal(told.type[at], MEND_EVENT_DOWN);
        assert_int_equal(told.type[at + 1], MEND_EVENT_BACK);
        must(told.outage_ms[at + 1] >= 50 && told.outage_ms[at + 1] <= took, "away for %d of %d ms", (int)told.outage_ms[at + 1], (int)took);
        pthread_mutex_unlock(&told.lock);
        assert_string_equal(fell.name, m.name);
        assert_string_not_equal(fell.why, "");
        assert_int_equal(fell.state, MEND_STATE_DOWN);
        assert_int_equal(fell.falls, fall + 1);
        assert_string_equal(back.name, m.name);
        assert_int_equal(back.state, MEND_STATE_UP);
    }
    mend_close(c);
    assert_int_equal(told.events, 4);
    assert_int_equal(told.strange, 0);
    assert_false(pthread_equal(told.caller, pthread_self()));
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void down_from_the_start_is_told_too(void **state)
{
    (void)state;
    struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER};
    mend_reply  r = MEND_REPLY;
    char        nobody[32];
    snprintf(nobody, sizeof nobody, "127.0.0.1:%d", port_free("127.0.0.1"));
    pthread_mutex_lock(&told.lock);
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = nobody, .on_event = tell, .on_event_context = &told), &told.client, &r), &r);
    pthread_mutex_unlock(&told.lock);
    await(events(&told) == 1, SOON_MS);
    mend_close(told.client);
    assert_int_equal(told.type[0], MEND_EVENT_DOWN);
    assert_int_equal(told.events, 1);
    assert_int_equal(told.strange, 0);
    mend_reply_free(&r);
}

static void hangs_for_a_while(const mend_event *event, void *context)
{
    (void)event;
    pause_ms(3000);
    *(_Atomic bool *)context = true;
}

static void close_does_not_wait_for_a_slow_event(void **state)
{
    (void)state;
    static _Atomic bool ended;
    mend_reply          r = MEND_REPLY;
    mend_client        *c = NULL;
    char                nobody[32];
    snprintf(nobody, sizeof nobody, "127.0.0.1:%d", port_free("127.0.0.1"));
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = nobody, .on_event = hangs_for_a_while, .on_event_context = &ended), &c, &r), &r);
    await(state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);
    int64_t began = now_ms();
    is_down_at_once(c, "k");
    mend_close(c);
    must(now_ms() - began < 100 + slack_ms(), "mend_close took %d ms", (int)(now_ms() - began));
    await(ended, SOON_MS); /* what it left behind ends by itself */
    mend_reply_free(&r);
}

static void mend_servers_tells_all(void **state)
{
    (void)state;
    struct memcached m[2];
    char             servers[256];
    mend_reply       r = MEND_REPLY;
    memcached_start(&m[0], "::1", NULL);
    memcached_start(&m[1], "unix", NULL);
    snprintf(servers, sizeof servers, "%s*2,%s=its-own", m[0].name, m[1].name);
    mend_client *c = open_up(&MEND_CONFIG(.servers = servers, .timeout_ms = TIMEOUT_MS));
    int64_t      up = now_ms();

    struct seen first = seen_at(c, 0), second = seen_at(c, 1);
    assert_string_equal(first.name, m[0].name);
    assert_string_equal(second.name, m[1].name);
    assert_int_equal(first.weight, 2);
    assert_string_equal(first.protocol, "meta");
    assert_string_equal(first.why, "");
    assert_int_equal(first.next_trial_ms, -1);
    assert_true(first.connections >= 1 && first.connections <= 2);
    assert_true(first.since_ms >= 0 && first.since_ms < 1000);
    pause_ms(30);
    assert_true(seen_at(c, 0).since_ms >= now_ms() - up - 1);

    memcached_kill(&m[1]);
    await(mend_ping(c, &r) == MEND_E_DOWN, SOON_MS);
    second = seen_at(c, 1);
    assert_true(second.state >= MEND_STATE_DOWN);
    assert_int_equal(second.falls, 1);
    assert_string_not_equal(second.why, "");
    await(seen_at(c, 1).since_ms > 20, SOON_MS);
    assert_int_equal(seen_at(c, 0).falls, 0);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m[0]);
    memcached_stop(&m[1]);
}

/* ---- Blame, and its absence ------------------------------------------------------------------------------- */
static enum hostile_next trickles(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_prepare(ask);
    hostile_trickle(ask, ask->answer, ask->length, 0);
    return HOSTILE_CLOSE; /* the client has gone long before the end */
}

/* Something always comes, until the deadline, and never the whole. */
static void one_that_streams_past_the_deadline_is_blamed(void **state)
{
    (void)state;
    static char     large[1000000]; /* byte by byte: seconds */
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_reply      r = MEND_REPLY;
    memset(large, 'x', sizeof large - 1);
    hostile_put(h, "large", large);
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = TIMEOUT_MS));
    hostile_behave(h, trickles, NULL);
    int64_t took = INT64_MAX;
    for (int tries = 0; tries < 20 && took > TIMEOUT_MS + 10; tries++) { /* a thread that is woken 20 ms late was not running, and blames nobody */
        took = now_ms();
        must_be(MEND_E_TIMEOUT, mend_get(c, S("large"), &r), &r);
        took = now_ms() - took;
    }
    assert_true(seen_at(c, 0).failures > 0);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* One server was flushed, the other is down: the whole was not done, and may have been applied. */
static void half_a_flush_may_have_been_applied(void **state)
{
    (void)state;
    struct memcached m;
    char             list[128];
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(list, sizeof list, "%s,127.0.0.1:1", m.name);
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = list), &c, &r), &r);
    await(down(c, 1), SOON_MS);
    assert_true(mend_flush_all(c, &r) < 0);
    assert_true(r.maybe_applied);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_call_waits_for_the_first_verdict),
        cmocka_unit_test(killed_and_restarted),
        cmocka_unit_test(nobody_need_call_for_it_to_be_noticed),
        cmocka_unit_test(hung_and_awake_again),
        cmocka_unit_test(a_late_answer_to_a_trial_ends_the_outage),
        cmocka_unit_test(we_were_stopped_ourselves),
        cmocka_unit_test(one_of_three_dead_takes_its_own_keys),
        cmocka_unit_test(one_of_three_hung_takes_its_own_keys),
        cmocka_unit_test(available_until_all_are_down),
        cmocka_unit_test(failures_allowed),
        cmocka_unit_test(half_of_twenty),
        cmocka_unit_test(what_never_counts),
        cmocka_unit_test(a_trial_wants_more_than_words),
        cmocka_unit_test(a_full_server_refuses_politely),
        cmocka_unit_test(a_real_full_server),
        cmocka_unit_test(a_flapping_server),
        cmocka_unit_test(down_and_back_are_told),
        cmocka_unit_test(down_from_the_start_is_told_too),
        cmocka_unit_test(close_does_not_wait_for_a_slow_event),
        cmocka_unit_test(mend_servers_tells_all),
        cmocka_unit_test(one_that_streams_past_the_deadline_is_blamed),
        cmocka_unit_test(half_a_flush_may_have_been_applied),
    };
    return cmocka_run_group_tests_name("health", tests, watch_begins, NULL);
}
