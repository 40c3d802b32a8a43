/* test_threads.c - many threads on one client, while servers die, hang and return:
 * no wrong answer, no call beyond its deadline; and what is bounded stays bounded
 * and is given back. Also run under the thread sanitizer.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define S(text) mend_str(text)
enum { TIMEOUT_MS = 100, SERVERS = 3, SHARED_KEYS = 60, OWN_KEYS = 12, VALUE_BYTES_MAX = 20000 };

/* ---- Sixteen threads, three servers, and a programme of faults -------------------------------------- */
struct story {
    mend_client *client;
    atomic_int   stop, wrong;
    atomic_long  calls, answered, failed;
    atomic_llong slowest_ms;
    char         first_wrong[256]; /* by whoever was first, read at the end */
    atomic_flag  told;
};

struct teller {
    struct story *story;
    int           number;
    pthread_t     thread;
    unsigned      seed;
    uint64_t      counted; /* how often it asked for an increment, done or not */
    bool          doubtful[OWN_KEYS];
    char          value[VALUE_BYTES_MAX + 64];
};

static unsigned chance(struct teller *t, unsigned n)
{
    t->seed = t->seed * 1664525u + 1013904223u;
    return (t->seed >> 8) % n;
}

static void wrong(struct teller *t, const char *what, const char *key, const mend_reply *r)
{
    t->story->wrong++;
    if (!atomic_flag_test_and_set(&t->story->told))
        snprintf(t->story->first_wrong, sizeof t->story->first_wrong, "%s %s: %s, %zu bytes, \"%.60s\"", what, key, mend_status_name(r->status), r->len, r->data);
}

/* A value that says whose it is, and of what length, from one end to the other:
 * "key|length|....|" */
static mend_bytes value_of(struct teller *t, const char *key, size_t more)
{
    size_t length = 40 + more; /* longer than the words at its begin */
    int    n = snprintf(t->value, sizeof t->value, "%s|%zu|", key, length);
    memset(t->value + n, '.', length - (size_t)n);
    t->value[length - 1] = '|';
    return mend_mem(t->value, length);
}

static bool whole(const char *key, const mend_reply *r)
{
    size_t n = strlen(key);
    char  *end = NULL;
    if (r->len < n + 3 || memcmp(r->data, key, n) != 0 || r->data[n] != '|' || r->data[r->len - 1] != '|' || r->data[r->len])
        return false;
    if (strtoul(r->data + n + 1, &end, 10) != r->len || *end != '|')
        return false;
    for (const char *c = end + 1; c < r->data + r->len - 1; c++)
        if (*c != '.')
            return false;
    return true;
}

static void took(struct teller *t, int64_t began, mend_status status)
{
    struct story *s = t->story;
    long long     ms = now_ms() - began, slowest = s->slowest_ms;
    while (ms > slowest && !atomic_compare_exchange_weak(&s->slowest_ms, &slowest, ms))
        continue;
    s->calls++;
    if (status >= 0)
        s->answered++;
    else
        s->failed++;
}

static void name_of(struct teller *t, char *key, size_t room, bool own)
{
    if (own)
        snprintf(key, room, "own:%d:%u", t->number, chance(t, OWN_KEYS));
    else
        snprintf(key, room, "shared:%u", chance(t, SHARED_KEYS));
}

static void gets(struct teller *t, mend_reply *r, bool own)
{
    char key[32];
    name_of(t, key, sizeof key, own);
    int64_t     began = now_ms();
    mend_status status = mend_get(t->story->client, S(key), r);
    took(t, began, status);
    if (status > MEND_MISS || (status == MEND_OK && !whole(key, r)))
        wrong(t, "get", key, r);
}

static void gets_many(struct teller *t, mend_replies *rs)
{
    char       key[10][32];
    mend_bytes keys[10];
    for (size_t i = 0; i < 10; i++) {
        name_of(t, key[i], sizeof key[i], i & 1);
        keys[i] = S(key[i]);
    }
    int64_t     began = now_ms();
    mend_status status = mend_get_multi(t->story->client, keys, 10, rs);
    took(t, began, status);
    for (size_t i = 0; i < 10; i++)
        if (rs->at[i].status > MEND_MISS || (rs->at[i].status == MEND_OK && !whole(key[i], &rs->at[i])))
            wrong(t, "get_multi", key[i], &rs->at[i]);
}

static void sets(struct teller *t, mend_reply *r)
{
    char     key[32];
    unsigned k = chance(t, OWN_KEYS);
    snprintf(key, sizeof key, "own:%d:%u", t->number, k);
    mend_bytes  value = value_of(t, key, chance(t, 8) ? chance(t, 400) : chance(t, VALUE_BYTES_MAX));
    int64_t     began = now_ms();
    mend_status status = mend_set(t->story->client, S(key), value, NULL, r);
    took(t, began, status);
    if (status > 0)
        wrong(t, "set", key, r);
    t->doubtful[k] |= r->maybe_applied; /* a server that hung may do it yet, when it wakes */
    if (status != MEND_OK)
        return;
    began = now_ms();
    status = mend_get(t->story->client, S(key), r); /* nobody else writes it: it is the new one, or the server lost it */
    took(t, began, status);
    bool same = t->doubtful[k] || (r->len == value.len && memcmp(r->data, value.data, r->len) == 0);
    if (status > MEND_MISS || (status == MEND_OK && !(whole(key, r) && same)))
        wrong(t, "get after set", key, r);
}

static void deletes(struct teller *t, mend_reply *r)
{
    char key[32];
    name_of(t, key, sizeof key, true);
    int64_t     began = now_ms();
    mend_status status = mend_delete(t->story->client, S(key), r);
    took(t, began, status);
    if (status > MEND_MISS)
        wrong(t, "delete", key, r);
}

static void counts(struct teller *t, mend_reply *r)
{
    char key[32];
    snprintf(key, sizeof key, "count:%d", t->number);
    t->counted++;
    int64_t     began = now_ms();
    mend_status status = mend_increment(t->story->client, S(key), 1, &(mend_count){.create = true, .initial = 1}, r);
    took(t, began, status);
    if (status > 0 || (status == MEND_OK && (r->number == 0 || r->number > t->counted))) /* more would be twice */
        wrong(t, "increment", key, r);
}

static void *tells(void *argument)
{
    struct teller *t = argument;
    mend_reply     r = MEND_REPLY;
    mend_replies   rs = MEND_REPLIES;
    while (!t->story->stop) {
        switch (chance(t, 10)) {
        case 0: sets(t, &r); break;
        case 1: gets_many(t, &rs); break;
        case 2: counts(t, &r); break;
        case 3: deletes(t, &r); break;
        case 4: gets(t, &r, true); break;
        default: gets(t, &r, false); break;
        }
        if (r.status == MEND_E_DOWN)
            pause_ms(1); /* as an application would be busy with its fallback */
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
    return NULL;
}

static void fill(mend_client *c)
{
    static struct teller nobody;
    char                 key[32];
    for (unsigned i = 0; i < SHARED_KEYS; i++) {
        snprintf(key, sizeof key, "shared:%u", i);
        await(mend_set(c, S(key), value_of(&nobody, key, 30 + i * i), NULL, NULL) == MEND_OK, SOON_MS);
    }
}

static void faults_under_traffic(void **state)
{
    enum { TELLERS = 16 };
    (void)state;
    static struct teller tellers[TELLERS];
    struct memcached     m[SERVERS];
    struct story         story = {.told = ATOMIC_FLAG_INIT};
    char                 servers[256] = "";
    for (int i = 0; i < SERVERS; i++) {
        memcached_start(&m[i], "127.0.0.1", NULL);
        snprintf(servers + strlen(servers), sizeof servers - strlen(servers), "%s%s", i ? "," : "", m[i].name);
    }
    story.client = open_up(&MEND_CONFIG(.servers = servers, .timeout_ms = TIMEOUT_MS, .connections_max = 8, .connections_idle_max = 4));
    fill(story.client);
    for (int i = 0; i < TELLERS; i++) {
        tellers[i] = (struct teller){.story = &story, .number = i, .seed = (unsigned)i * 77777u};
        assert_int_equal(pthread_create(&tellers[i].thread, NULL, tells, &tellers[i]), 0);
    }

    unsigned most[SERVERS] = {0};
    for (int fault = 0; fault < 9; fault++) {
        struct memcached *victim = &m[fault % SERVERS];
        bool              hung = fault & 1;
        if (hung)
            memcached_pause(victim);
        else
            memcached_kill(victim);
        await(state_of(story.client, (size_t)(fault % SERVERS)) >= MEND_STATE_DOWN, SOON_MS);
        assert_true(mend_connection_available(story.client));
        for (int64_t until = now_ms() + 150; now_ms() < until; pause_ms(1)) {
            for (size_t i = 0; i < SERVERS; i++) {
                unsigned now = seen_at(story.client, i).connections;
                most[i] = now > most[i] ? now : most[i];
            }
        }
        if (hung)
            memcached_resume(victim);
        else
            memcached_restart(victim);
        await(all_up(story.client), SOON_MS);
    }
    story.stop = 1;
    for (int i = 0; i < TELLERS; i++)
        pthread_join(tellers[i].thread, NULL);

    print_message("%ld calls, %ld answered, %ld not; %d wrong; slowest %lld ms\n", story.calls, story.answered, story.failed, story.wrong, story.slowest_ms);
    must(story.wrong == 0, "%d wrong answers, the first: %s", story.wrong, story.first_wrong);
    must(story.slowest_ms < TIMEOUT_MS + 4 * slack_ms(), "the slowest took %lld ms", story.slowest_ms); /* sixteen that spin: a long way to a turn */
    assert_true(story.answered > 100);
    for (int i = 0; i < SERVERS; i++)
        must(most[i] <= 8 + 2, "%u connections to one server", most[i]);
    fill(story.client); /* the world is well again, and so are we */
    await(mend_ping(story.client, NULL) == MEND_OK, SOON_MS);
    mend_close(story.client);
    for (int i = 0; i < SERVERS; i++)
        memcached_stop(&m[i]);
}

/* ---- Turns -------------------------------------------------------------------------------------------- */
static enum hostile_next answers_after(struct toy_ask *ask, void *context)
{
    pause_ms(*(int *)context);
    return hostile_answer(ask);
}

struct caller {
    mend_client *client;
    int          timeout_ms, calls;
    size_t       value_bytes; /* 0: gets */
    int          ok, busy, others;
    int64_t      slowest_ms;
    pthread_t    thread;
};

static void *calls(void *argument)
{
    struct caller *me = argument;
    mend_reply     r = MEND_REPLY;
    char          *value = calloc(1, me->value_bytes + 1);
    for (int i = 0; i < me->calls; i++) {
        int64_t     began = now_ms();
        mend_call   call = {.timeout_ms = me->timeout_ms};
        mend_status status = me->value_bytes ? mend_set(me->client, S("turn"), mend_mem(value, me->value_bytes), &(mend_store){.call = call}, &r)
                                             : mend_get_with(me->client, S("turn"), &call, &r);
        int64_t     ms = now_ms() - began;
        me->slowest_ms = ms > me->slowest_ms ? ms : me->slowest_ms;
        me->ok += status >= 0;
        me->busy += status == MEND_E_BUSY;
        me->others += status < 0 && status != MEND_E_BUSY;
    }
    free(value);
    mend_reply_free(&r);
    return NULL;
}

static void no_more_connections_than_allowed(void **state)
{
    enum { CALLERS = 12, MAX = 3 };
    (void)state;
    int             each_ms = 10;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "turn", "v");
    mend_client  *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS, .connections_max = MAX, .connections_idle_max = 2));
    struct caller callers[CALLERS];
    hostile_behave(h, answers_after, &each_ms);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.client = c, .timeout_ms = SOON_MS, .calls = 8, .value_bytes = i % 3 ? 0 : 20000};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, calls, &callers[i]), 0);
    }
    unsigned most = 0;
    for (int64_t until = now_ms() + 200; now_ms() < until; pause_ms(1)) {
        unsigned now = seen_at(c, 0).connections;
        most = now > most ? now : most;
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].ok, 8); /* each had its turn in time */
    }
    must(most <= MAX + 2, "%u by mend_servers", most);
    must(hostile_open_most(h) <= MAX + 2, "%u by the server's own count", hostile_open_most(h));
    assert_int_equal(seen_at(c, 0).falls, 0);

    await(hostile_open(h) <= 2, SOON_MS); /* after the burst no more are kept than connections_idle_max */
    await(seen_at(c, 0).connections <= 2, SOON_MS);
    mend_close(c);
    await(hostile_open(h) == 0, SOON_MS);
    hostile_stop(h);
}

static void idle_connections_are_few(void **state)
{
    enum { CALLERS = 12 };
    (void)state;
    int             each_ms = 20;
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS, .connections_idle_max = 4));
    struct caller   callers[CALLERS];
    hostile_behave(h, answers_after, &each_ms);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.client = c, .timeout_ms = SOON_MS, .calls = 5, .value_bytes = 20000};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, calls, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].ok, 5);
    }
    assert_true(hostile_open_most(h) > 4); /* it was a burst */
    await(hostile_open(h) <= 4, SOON_MS);
    await(seen_at(c, 0).connections <= 4, SOON_MS);
    unsigned accepted = hostile_accepted(h);
    mend_reply r = MEND_REPLY;
    for (int i = 0; i < 10; i++)
        must_be(MEND_OK, mend_get(c, S("turn"), &r), &r);
    assert_int_equal(hostile_accepted(h), accepted); /* and those that are left are used */
    mend_reply_free(&r);
    mend_close(c);
    hostile_stop(h);
}

static enum hostile_next answers_when_released(struct toy_ask *ask, void *context)
{
    (void)context;
    return hostile_stall(ask) ? hostile_answer(ask) : HOSTILE_CLOSE;
}

/* One connection, and a large set that has it to itself: others wait to their own deadlines, no longer. */
static void busy_is_told_and_does_not_count(void **state)
{
    enum { CONFIGURED_MS = 3000, LATE_MS = 2500 };
    (void)state;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "turn", "v");
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = CONFIGURED_MS, .connections_max = 1, .failures_allowed = MEND_ZERO));
    hostile_behave(h, answers_when_released, NULL);
    struct caller slow = {.client = c, .timeout_ms = SOON_MS, .calls = 1, .value_bytes = 100000};
    assert_int_equal(pthread_create(&slow.thread, NULL, calls, &slow), 0);
    await(hostile_stalled(h) == 1, SOON_MS);

    struct caller hasty[4];
    for (int i = 0; i < 4; i++) {
        hasty[i] = (struct caller){.client = c, .timeout_ms = 50, .calls = 2};
        assert_int_equal(pthread_create(&hasty[i].thread, NULL, calls, &hasty[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(hasty[i].thread, NULL);
        must(hasty[i].busy == 2, "busy %d, ok %d, others %d", hasty[i].busy, hasty[i].ok, hasty[i].others);
        must(hasty[i].slowest_ms < 50 + slack_ms(), "%d ms", (int)hasty[i].slowest_ms);
    }
    assert_int_equal(hostile_asked(h, "turn"), 1); /* what had no turn was not sent */

    struct caller late = {.client = c, .timeout_ms = LATE_MS, .calls = 1}; /* has its turn when most of its time is gone, and no answer */
    assert_int_equal(pthread_create(&late.thread, NULL, calls, &late), 0);
    pause_ms(LATE_MS * 4 / 5);
    hostile_release(h);
    pthread_join(slow.thread, NULL);
    assert_int_equal(slow.ok, 1);
    pthread_join(late.thread, NULL);
    assert_int_equal(late.ok, 0);
    struct seen s = seen_at(c, 0);
    must(s.falls == 0 && s.failures == 0, "falls %u, failures %u", s.falls, s.failures);
    hostile_behave(h, NULL, NULL);
    hostile_release(h);
    await(mend_exists(c, S("turn"), NULL) == MEND_OK, SOON_MS);
    mend_close(c);
    hostile_stop(h);
}

/* ---- Given back ------------------------------------------------------------------------------------------ */
static void nothing_is_left_after_close(void **state)
{
    (void)state;
    struct memcached m[2];
    char             servers[256];
    mend_reply       r = MEND_REPLY;
    memcached_start(&m[0], "127.0.0.1", NULL);
    memcached_start(&m[1], "unix", NULL);
    /* One serves, one hangs, one is not there. */
    snprintf(servers, sizeof servers, "%s,%s,127.0.0.1:%d", m[0].name, m[1].name, port_free("127.0.0.1"));
    int had_threads = threads(), had_descriptors = descriptors();
    for (int i = 0; i < 5; i++) {
        mend_client *c = NULL;
        must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = servers, .timeout_ms = TIMEOUT_MS), &c, &r), &r);
        await(state_of(c, 1) == MEND_STATE_UP && state_of(c, 2) >= MEND_STATE_DOWN, SOON_MS);
        memcached_pause(&m[1]);
        for (int k = 0; k < 6; k++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", k);
            mend_get(c, S(key), &r);
        }
        int64_t began = now_ms();
        mend_close(c);
        must(now_ms() - began < 100 + slack_ms(), "mend_close took %d ms", (int)(now_ms() - began));
        memcached_resume(&m[1]);
        await(threads() == had_threads, SOON_MS);
        await(descriptors() == had_descriptors, SOON_MS);
    }
    mend_reply_free(&r);
    memcached_stop(&m[0]);
    memcached_stop(&m[1]);
}

static void two_hundred_opens_and_closes(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    int had_threads = threads(), had_descriptors = descriptors();
    for (int i = 0; i < 200; i++) {
        mend_client *c = NULL;
        must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = m.name, .timeout_ms = 2000), &c, &r), &r);
        if (i % 2)
            must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
        mend_close(c);
    }
    await(threads() == had_threads, SOON_MS);
    await(descriptors() == had_descriptors, SOON_MS);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void clients_do_not_know_each_other(void **state)
{
    enum { CLIENTS = 8 };
    (void)state;
    struct memcached m[2];
    mend_client     *c[CLIENTS];
    mend_reply       r = MEND_REPLY;
    memcached_start(&m[0], "127.0.0.1", NULL);
    memcached_start(&m[1], "127.0.0.1", NULL);
    for (int i = 0; i < CLIENTS; i++)
        c[i] = open_up(&MEND_CONFIG(.servers = m[i % 2].name, .timeout_ms = 2000));
    memcached_kill(&m[0]);
    for (int i = 0; i < CLIENTS; i++) {
        if (i % 2)
            must_be(MEND_OK, mend_set(c[i], S("k"), S("v"), &(mend_store){.call.timeout_ms = SOON_MS}, &r), &r);
        else
            assert_true(mend_set(c[i], S("k"), S("v"), NULL, &r) < 0);
    }
    memcached_restart(&m[0]);
    for (int i = 0; i < CLIENTS; i++) {
        await(all_up(c[i]), SOON_MS);
        mend_close(c[i]);
    }
    mend_reply_free(&r);
    memcached_stop(&m[0]);
    memcached_stop(&m[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_under_traffic),
        cmocka_unit_test(no_more_connections_than_allowed),
        cmocka_unit_test(idle_connections_are_few),
        cmocka_unit_test(busy_is_told_and_does_not_count),
        cmocka_unit_test(nothing_is_left_after_close),
        cmocka_unit_test(two_hundred_opens_and_closes),
        cmocka_unit_test(clients_do_not_know_each_other),
    };
    return cmocka_run_group_tests_name("threads", tests, watch_begins, NULL);
}
