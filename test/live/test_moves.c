/* test_moves.c - the list of servers changes while calls run: what is kept is not touched, what leaves is drained, and
 * no call is lost. Also run under the thread sanitizer.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define S(text) mend_str(text)
enum { TIMEOUT_MS = 5000, THREADS = 64, CHANGES = 1000, OTHERS = 3 };

/* A number that the server itself gives. */
static int stat_of(const struct memcached *m, const char *name)
{
    char answer[8192], wanted[64];
    int  value = -1, fd = raw_connect(m->host, m->port, m->path);
    if (fd >= 0 && raw_ask(fd, "stats\r\n", "END\r\n", answer, sizeof answer)) {
        snprintf(wanted, sizeof wanted, "STAT %s ", name);
        char *at = strstr(answer, wanted);
        value = at ? atoi(at + strlen(wanted)) : -1;
    }
    close(fd);
    return value;
}

static void must_set(mend_client *c, const char *servers)
{
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_set_servers(c, servers, &r), &r);
    mend_reply_free(&r);
}

static void find_name(const mend_server *server, void *context)
{
    struct seen *seen = context;
    if (strcmp(server->name, seen->name) == 0)
        *seen = seen_of(server);
}

static struct seen named(mend_client *c, const char *name)
{
    struct seen seen = {.state = (mend_state)-1};
    snprintf(seen.name, sizeof seen.name, "%s", name);
    mend_servers(c, find_name, &seen);
    return seen;
}

/* ---- Sixty-four threads, and a list that changes a thousand times ------------------------------------ */
struct traffic {
    mend_client *client;
    atomic_bool  stop;
    atomic_int   wrong;
    atomic_long  calls;
    char         told[256]; /* what was wrong first */
    atomic_flag  taken;
};

struct teller {
    struct traffic *traffic;
    int             number;
    pthread_t       thread;
};

static void check(struct traffic *t, const char *what, const char *key, const mend_reply *r, bool good)
{
    t->calls++;
    if (good)
        return;
    t->wrong++;
    if (!atomic_flag_test_and_set(&t->taken))
        snprintf(t->told, sizeof t->told, "%s %s at %s: %s, %s", what, key, r->server, mend_status_name(r->status), r->error);
}

/* Every server of every list is well, so every call must be answered; a value may be on another server than before. */
static void *talks(void *arg)
{
    struct teller  *me = arg;
    struct traffic *t = me->traffic;
    mend_reply      r = MEND_REPLY;
    mend_replies    rs = MEND_REPLIES;
    for (unsigned i = 0; !t->stop; i++) {
        char       keys[8][32];
        mend_bytes many[8];
        for (unsigned k = 0; k < 8; k++) {
            snprintf(keys[k], sizeof keys[k], "%d:%u", me->number, (i + k) % 50);
            many[k] = S(keys[k]);
        }
        mend_set(t->client, many[0], many[0], NULL, &r);
        check(t, "set", keys[0], &r, r.status == MEND_OK);
        mend_get(t->client, many[0], &r);
        check(t, "get", keys[0], &r, r.status == MEND_MISS || (r.status == MEND_OK && strcmp(r.data, keys[0]) == 0));
        if (i % 4)
            continue;
        mend_get_multi(t->client, many, 8, &rs);
        for (unsigned k = 0; k < 8; k++)
            check(t, "get_multi", keys[k], &rs.at[k], rs.at[k].status == MEND_MISS || (rs.at[k].status == MEND_OK && strcmp(rs.at[k].data, keys[k]) == 0));
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
    return NULL;
}

static void no_call_is_lost(void **state)
{
    (void)state;
    struct memcached kept, other[OTHERS];
    struct traffic   t = {.taken = ATOMIC_FLAG_INIT};
    struct teller    tellers[THREADS];
    char             list[512];
    memcached_start(&kept, "127.0.0.1", "-c 4096");
    for (int i = 0; i < OTHERS; i++)
        memcached_start(&other[i], "127.0.0.1", "-c 4096");
    int descriptors_before = descriptors();
    /* So few connections that none of them is ever surplus. */
    t.client = open_up(&MEND_CONFIG(.servers = kept.name, .timeout_ms = TIMEOUT_MS, .connections_max = 8, .connections_idle_max = 8));
    for (int i = 0; i < THREADS; i++) {
        tellers[i] = (struct teller){.traffic = &t, .number = i};
        assert_int_equal(pthread_create(&tellers[i].thread, NULL, talks, &tellers[i]), 0);
    }
    await(t.calls > 1000, SOON_MS);
    for (unsigned i = 0; i < CHANGES; i++) {
        int n = snprintf(list, sizeof list, "%s", kept.name);
        for (unsigned k = 0; k < OTHERS; k++)
            if (i >> k & 1)
                n += snprintf(list + n, sizeof list - (size_t)n, ",%s*%u", other[k].name, 1 + i % 3);
        must_set(t.client, list);
        long seen = t.calls;
        await(t.calls > seen, SOON_MS);
    }
    t.stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(tellers[i].thread, NULL);
    must(t.wrong == 0, "%d of %ld calls: %s", t.wrong, (long)t.calls, t.told);
    assert_int_equal(named(t.client, kept.name).falls, 0);
    int accepted = stat_of(&kept, "total_connections");
    /* Its own first one, at most eight of ours, and a few that stood in while one was doubted. */
    must(accepted <= 16, "the kept server has accepted %d connections", accepted);

    must_set(t.client, kept.name);
    for (int i = 0; i < OTHERS; i++)
        await(stat_of(&other[i], "curr_connections") <= 2, SOON_MS); /* the one that asks, and its own */
    print_message("%ld calls by %d threads during %d changes; the kept server accepted %d connections\n", (long)t.calls, THREADS, CHANGES, accepted);
    mend_close(t.client);
    await(descriptors() == descriptors_before, SOON_MS);
    memcached_stop(&kept);
    for (int i = 0; i < OTHERS; i++)
        memcached_stop(&other[i]);
}

/* ---- One by one ----------------------------------------------------------------------------------------- */
static void what_is_kept_is_not_touched(void **state)
{
    (void)state;
    struct memcached a, b;
    char             list[256];
    mend_reply       r = MEND_REPLY;
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = a.name, .timeout_ms = TIMEOUT_MS));
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    memcached_kill(&a);
    await(mend_get(c, S("k"), &r) == MEND_E_DOWN, SOON_MS);
    mend_set(c, S("lost"), S("v"), NULL, &r); /* into its journal */
    assert_int_equal(seen_at(c, 0).journal_keys, 1);

    snprintf(list, sizeof list, "%s,%s*2", b.name, a.name);
    must_set(c, list);
    struct seen seen = seen_at(c, 1);
    assert_string_equal(seen.name, a.name);
    assert_true(seen.state >= MEND_STATE_DOWN); /* and not NEW */
    assert_int_equal(seen.falls, 1);
    assert_int_equal(seen.journal_keys, 1);
    assert_int_equal(seen.weight, 2);
    memcached_restart(&a);
    await(all_up(c), SOON_MS);
    await(seen_at(c, 1).journal_deleted == 1, SOON_MS);

    int accepted = stat_of(&a, "total_connections");
    must_set(c, a.name);
    for (int i = 0; i < 100; i++)
        must(mend_get(c, S("k"), &r) >= 0, "%s", r.error);
    must_set(c, list);
    assert_int_equal(stat_of(&a, "total_connections"), accepted + 1); /* the one that asks */
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&a);
    memcached_stop(&b);
}

static enum hostile_next stalls(struct toy_ask *ask, void *context)
{
    (void)context;
    return hostile_stall(ask) ? hostile_answer(ask) : HOSTILE_CLOSE;
}

struct asker {
    mend_client *client;
    mend_reply   r;
};

static void *asks(void *arg)
{
    struct asker *a = arg;
    mend_get(a->client, S("k"), &a->r);
    return NULL;
}

/* A call is under way with a server that leaves: it has its answer, and then the connection is closed. */
static void what_leaves_is_drained(void **state)
{
    (void)state;
    struct hostile  *h = hostile_start(HOSTILE_META);
    struct memcached m;
    pthread_t        thread;
    memcached_start(&m, "127.0.0.1", NULL);
    hostile_put(h, "k", "theirs");
    struct asker a = {open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = TIMEOUT_MS)), MEND_REPLY};
    hostile_behave(h, stalls, NULL);
    assert_int_equal(pthread_create(&thread, NULL, asks, &a), 0);
    await(hostile_stalled(h) == 1, SOON_MS);

    must_set(a.client, m.name);
    assert_int_equal(servers_of(a.client), 1);
    await(all_up(a.client), SOON_MS);
    assert_int_equal(mend_exists(a.client, S("k"), NULL), MEND_MISS);
    assert_int_equal(hostile_open(h), 1);
    assert_int_equal(hostile_stalled(h), 1);
    hostile_release(h);
    pthread_join(thread, NULL);
    must_be(MEND_OK, a.r.status, &a.r);
    assert_string_equal(a.r.data, "theirs");
    assert_string_equal(a.r.server, hostile_name(h)); /* beyond its server */
    await(hostile_open(h) == 0, SOON_MS);
    mend_close(a.client);
    assert_string_equal(a.r.server, hostile_name(h));
    mend_reply_free(&a.r);
    hostile_stop(h);
    memcached_stop(&m);
}

/* It begins as new, and its journal with it. */
static void what_comes_back_is_new(void **state)
{
    (void)state;
    struct memcached a, b;
    char             both[256];
    mend_reply       r = MEND_REPLY;
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    snprintf(both, sizeof both, "%s,%s", a.name, b.name);
    mend_client *c = open_up(&MEND_CONFIG(.servers = both, .timeout_ms = TIMEOUT_MS));
    memcached_kill(&a);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        mend_set(c, S(key), S("v"), NULL, &r);
    }
    assert_true(seen_at(c, 0).journal_keys > 0);
    must_set(c, b.name);
    for (int i = 0; i < 100; i++) { /* all keys are at home there */
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        must_be(MEND_OK, mend_set(c, S(key), S("v"), NULL, &r), &r);
        assert_string_equal(r.server, b.name);
    }
    memcached_restart(&a);
    must_set(c, both);
    await(all_up(c), SOON_MS);
    assert_int_equal(seen_at(c, 0).falls, 0);
    assert_int_equal(seen_at(c, 0).journal_keys, 0);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&a);
    memcached_stop(&b);
}

static void a_bad_list_is_refused(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = TIMEOUT_MS));
    int          accepted = stat_of(&m, "total_connections");
    must_be(MEND_E_ARGUMENT, mend_set_servers(c, "10.0.0.1,10.0.0.2:notaport", &r), &r);
    assert_string_equal(r.error, "servers: the port of \"10.0.0.2:notaport\" is not between 1 and 65535");
    must_be(MEND_E_ARGUMENT, mend_set_servers(c, NULL, &r), &r);
    assert_string_equal(r.error, "servers: none is given");
    must_be(MEND_E_ARGUMENT, mend_set_servers(NULL, m.name, &r), &r);
    assert_int_equal(mend_set_servers(c, "a,,b", NULL), MEND_E_ARGUMENT);
    assert_int_equal(servers_of(c), 1);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    assert_int_equal(stat_of(&m, "total_connections"), accepted + 1);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

#ifndef __SANITIZE_THREAD__ /* it knows no threads in forked children */
/* The child's servers are those of the list in force, not those of mend_open. */
static void a_child_has_the_list_in_force(void **state)
{
    (void)state;
    struct memcached a, b;
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = a.name, .timeout_ms = TIMEOUT_MS));
    must_set(c, b.name);
    await(all_up(c), SOON_MS);
    pid_t child = fork();
    if (child == 0) {
        mend_reply r = MEND_REPLY;
        bool       well = mend_set(c, S("k"), S("v"), NULL, &r) == MEND_OK && strcmp(r.server, b.name) == 0;
        well = well && mend_set_servers(c, a.name, &r) == MEND_OK && mend_set(c, S("k"), S("v"), NULL, &r) == MEND_OK && strcmp(r.server, a.name) == 0;
        mend_reply_free(&r);
        mend_close(c);
        _exit(!well);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    assert_string_equal(seen_at(c, 0).name, b.name); /* the child's change is the child's */
    mend_close(c);
    memcached_stop(&a);
    memcached_stop(&b);
}
#endif

/* Threads that all change it take turns: the last is whole. */
struct changer {
    mend_client *client;
    const char  *list;
    pthread_t    thread;
};

static void *changes(void *arg)
{
    struct changer *me = arg;
    for (int i = 0; i < 200; i++)
        if (mend_set_servers(me->client, me->list, NULL) != MEND_OK)
            return me;
    return NULL;
}

static void changes_take_turns(void **state)
{
    (void)state;
    enum { CHANGERS = 4 };
    static const char *const lists[CHANGERS] = {"%1$s", "%2$s", "%1$s,%2$s", "%2$s,127.0.0.1:1"};
    struct memcached a, b;
    struct changer   changers[CHANGERS];
    char             list[CHANGERS][256];
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    int          before = descriptors();
    mend_client *c = open_up(&MEND_CONFIG(.servers = a.name, .timeout_ms = TIMEOUT_MS));
    for (int i = 0; i < CHANGERS; i++) {
        snprintf(list[i], sizeof list[i], lists[i], a.name, b.name);
        changers[i] = (struct changer){.client = c, .list = list[i]};
        assert_int_equal(pthread_create(&changers[i].thread, NULL, changes, &changers[i]), 0);
    }
    for (int i = 0; i < CHANGERS; i++) {
        void *failed;
        pthread_join(changers[i].thread, &failed);
        assert_null(failed);
    }
    must_set(c, list[2]);
    await(all_up(c), SOON_MS);
    await(servers_of(c) == 2, SOON_MS);
    await(stat_of(&a, "curr_connections") <= 4 && stat_of(&b, "curr_connections") <= 4, SOON_MS);
    mend_close(c);
    await(descriptors() == before, SOON_MS);
    memcached_stop(&a);
    memcached_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_list_is_refused),
        cmocka_unit_test(what_is_kept_is_not_touched),
        cmocka_unit_test(what_leaves_is_drained),
        cmocka_unit_test(what_comes_back_is_new),
        cmocka_unit_test(changes_take_turns),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(a_child_has_the_list_in_force),
#endif
        cmocka_unit_test(no_call_is_lost),
    };
    return cmocka_run_group_tests(tests, watch_begins, NULL);
}
