/* test_discovery.c - cluster://: a fake endpoint says which servers there are. (dns:// is in test_lookup.c, which has a resolver.)
 * Also run under the thread sanitizer.
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
enum { TIMEOUT_MS = 5000 };

/* ---- An endpoint ---- */
struct endpoint {
    struct hostile *hostile;
    char            list[64]; /* for mend_open */
    pthread_mutex_t lock;
    char            answer[512];
    atomic_int      asked, hung; /* hung: it says nothing */
};

static enum hostile_next says(struct toy_ask *ask, void *context)
{
    struct endpoint *e = context;
    char             answer[sizeof e->answer];
    if (!toy_is(ask, "config"))
        return hostile_answer(ask);
    e->asked++;
    if (e->hung)
        return hostile_stall(ask) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
    pthread_mutex_lock(&e->lock);
    snprintf(answer, sizeof answer, "%s", e->answer);
    pthread_mutex_unlock(&e->lock);
    hostile_trickle(ask, answer, strlen(answer), 0);
    return HOSTILE_GO_ON;
}

static void say(struct endpoint *e, const char *answer)
{
    pthread_mutex_lock(&e->lock);
    snprintf(e->answer, sizeof e->answer, "%s", answer);
    pthread_mutex_unlock(&e->lock);
}

/* ...that these are the servers, by this version. "host|address|port" */
static void say_nodes(struct endpoint *e, int version, const char *nodes)
{
    char config[300], answer[400];
    snprintf(config, sizeof config, "%d\n%s\n", version, nodes);
    snprintf(answer, sizeof answer, "CONFIG cluster 0 %zu\r\n%s\r\nEND\r\n", strlen(config), config);
    say(e, answer);
}

static void begin(struct endpoint *e)
{
    *e = (struct endpoint){.hostile = hostile_start(HOSTILE_META), .lock = PTHREAD_MUTEX_INITIALIZER};
    snprintf(e->list, sizeof e->list, "cluster://%s", hostile_name(e->hostile));
    hostile_behave_all(e->hostile, says, e);
}

static void node(const struct memcached *m, char *node, size_t room)
{
    snprintf(node, room, "%s||%d", m->host, m->port);
}

static mend_client *opened(const struct endpoint *e)
{
    mend_client *c = NULL;
    mend_reply   r = MEND_REPLY;
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = e->list, .timeout_ms = TIMEOUT_MS, .resolve_s = 1), &c, &r), &r);
    mend_reply_free(&r);
    return c;
}

static bool has(mend_client *c, size_t n)
{
    return servers_of(c) == n && all_up(c);
}

#define ASKED_AGAIN(e) \
    do { \
        int seen_ = (e)->asked; \
        await((e)->asked >= seen_ + 2, SOON_MS); \
    } while (0)

/* ---- The stories ---- */
static void its_nodes_are_the_servers(void **state)
{
    (void)state;
    struct endpoint  e;
    struct memcached a, b;
    mend_reply       r = MEND_REPLY;
    char             na[80], nb[80], both[200];
    begin(&e);
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    node(&a, na, sizeof na);
    node(&b, nb, sizeof nb);
    snprintf(both, sizeof both, "%s %s", na, nb);
    say_nodes(&e, 3, na);
    int          before = descriptors();
    mend_client *c = opened(&e);
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r); /* waits until it is known where */
    assert_string_equal(r.server, a.name);
    assert_true(has(c, 1));

    say_nodes(&e, 4, both);
    await(has(c, 2), SOON_MS);
    say_nodes(&e, 4, nb); /* the version is the same: it is not read */
    ASKED_AGAIN(&e);
    assert_true(has(c, 2));
    say_nodes(&e, 2, nb); /* older */
    ASKED_AGAIN(&e);
    assert_true(has(c, 2));
    say_nodes(&e, 5, nb);
    await(has(c, 1), SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    assert_string_equal(r.server, b.name);

    memcached_stop(&b); /* the cluster is gone; another of that name counts from the beginning */
    say_nodes(&e, 1, na);
    await(strcmp(seen_at(c, 0).name, a.name) == 0 && all_up(c), SOON_MS);
    must_be(MEND_OK, mend_get(c, S("k"), &r), &r);
    assert_string_equal(r.server, a.name);
    await(hostile_open(e.hostile) == 0, SOON_MS); /* it asks on a connection of its own, and closes it */
    mend_close(c);
    await(descriptors() <= before, SOON_MS);
    mend_reply_free(&r);
    hostile_stop(e.hostile);
    memcached_stop(&a);
}

/* Its nodes are gone, and the endpoint's versions begin anew. */
static void a_cluster_is_made_anew(void **state)
{
    (void)state;
    struct endpoint  e;
    struct memcached a, b;
    mend_reply       r = MEND_REPLY;
    char             na[80], nb[80];
    begin(&e);
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    node(&a, na, sizeof na);
    node(&b, nb, sizeof nb);
    say_nodes(&e, 7, na);
    mend_client *c = opened(&e);
    await(has(c, 1), SOON_MS);
    say_nodes(&e, 1, nb);
    ASKED_AGAIN(&e);
    assert_string_equal(seen_at(c, 0).name, a.name); /* as long as it is there */
    memcached_kill(&a);
    await(mend_set(c, S("k"), S("v"), NULL, &r) == MEND_OK, SOON_MS);
    assert_string_equal(r.server, b.name);
    say_nodes(&e, 2, na); /* from here on they are counted again */
    await(strcmp(seen_at(c, 0).name, a.name) == 0, SOON_MS);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(e.hostile);
    memcached_stop(&a);
    memcached_stop(&b);
}

static void nonsense_keeps_the_last_list(void **state)
{
    static const char *const nonsense[] = {
        "ERROR\r\n",
        "CONFIG cluster 0 4\r\n9\n\n\r\nEND\r\n",
        "CONFIG cluster 0 15\r\n9\nbad~host||2222\n\r\nEND\r\n",
        "VALUE k 0 1\r\nx\r\nEND\r\n",
    };
    (void)state;
    struct endpoint  e;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    char             n[80];
    begin(&e);
    memcached_start(&m, "127.0.0.1", NULL);
    node(&m, n, sizeof n);
    say_nodes(&e, 3, n);
    mend_client *c = opened(&e);
    await(has(c, 1), SOON_MS);
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        say(&e, nonsense[i]);
        ASKED_AGAIN(&e);
        must(has(c, 1), "%s", nonsense[i]);
        must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    }
    e.hung = 1;
    await(hostile_stalled(e.hostile) == 1, SOON_MS);
    takes_less_than(TIMEOUT_MS / 2, must_be(MEND_MISS, mend_get(c, S("k"), &r), &r));
    int64_t began = now_ms();
    mend_close(c);
    must(now_ms() - began < 100 + slack_ms(), "mend_close took %d ms", (int)(now_ms() - began));
    mend_reply_free(&r);
    hostile_stop(e.hostile);
    memcached_stop(&m);
}

/* The endpoint is down when the client opens; it comes up later. Meanwhile other servers of the list serve. */
static void an_endpoint_that_comes_later(void **state)
{
    (void)state;
    struct endpoint  e;
    struct memcached a, b;
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    char             list[200], nb[80];
    begin(&e);
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    node(&b, nb, sizeof nb);
    say_nodes(&e, 1, nb);
    hostile_down(e.hostile);
    snprintf(list, sizeof list, "%s,%s", a.name, e.list);
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = list, .timeout_ms = TIMEOUT_MS), &c, &r), &r);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    assert_int_equal(servers_of(c), 1);
    hostile_up(e.hostile);
    await(has(c, 2), SOON_MS);

    must_be(MEND_OK, mend_set_servers(c, e.list, &r), &r); /* what was found stays known */
    assert_int_equal(servers_of(c), 1);
    assert_string_equal(seen_at(c, 0).name, b.name);
    assert_int_equal(seen_at(c, 0).state, MEND_STATE_UP);
    must_be(MEND_OK, mend_set_servers(c, a.name, &r), &r); /* and nobody is asked any more */
    assert_int_equal(servers_of(c), 1);
    assert_string_equal(seen_at(c, 0).name, a.name);
    must_be(MEND_E_ARGUMENT, mend_set_servers(c, "cluster://", &r), &r);
    assert_string_equal(r.error, "servers: cluster://: none is given");
    must_be(MEND_E_ARGUMENT, mend_set_servers(c, "dns://x:y", &r), &r);
    assert_string_equal(r.error, "servers: dns://x:y: the port of \"x:y\" is not between 1 and 65535");
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(e.hostile);
    memcached_stop(&a);
    memcached_stop(&b);
}

#ifndef __SANITIZE_THREAD__ /* it knows no threads in forked children */
/* A child has what its parent has found, and goes on looking for itself. */
static void a_child_finds_for_itself(void **state)
{
    (void)state;
    struct endpoint  e;
    struct memcached a, b;
    char             na[80], nb[80];
    begin(&e);
    memcached_start(&a, "127.0.0.1", NULL);
    memcached_start(&b, "127.0.0.1", NULL);
    node(&a, na, sizeof na);
    node(&b, nb, sizeof nb);
    say_nodes(&e, 1, na);
    mend_client *c = opened(&e);
    await(has(c, 1), SOON_MS);
    say_nodes(&e, 2, nb);
    pid_t child = fork();
    if (child == 0) {
        mend_reply r = MEND_REPLY;
        bool       well = mend_set(c, S("k"), S("v"), NULL, &r) == MEND_OK;
        for (int64_t until = now_ms() + SOON_MS; well && strcmp(r.server, b.name) != 0 && now_ms() < until; pause_ms(10))
            mend_set(c, S("k"), S("v"), NULL, &r);
        well = well && strcmp(r.server, b.name) == 0;
        mend_reply_free(&r);
        mend_close(c);
        _exit(!well);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    mend_close(c);
    hostile_stop(e.hostile);
    memcached_stop(&a);
    memcached_stop(&b);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_nodes_are_the_servers),
        cmocka_unit_test(a_cluster_is_made_anew),
        cmocka_unit_test(nonsense_keeps_the_last_list),
        cmocka_unit_test(an_endpoint_that_comes_later),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(a_child_finds_for_itself),
#endif
    };
    return cmocka_run_group_tests(tests, watch_begins, NULL);
}
