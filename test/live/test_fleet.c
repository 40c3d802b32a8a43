/* test_fleet.c - mend_fetch in several processes, which have nothing in common but a memcached.
 *
 * Not for the thread sanitizer, which knows no threads in forked children.
 */
#include "support/memcached.h"
#include "support/wait.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define S(text) mend_str(text)

enum { PROCESSES = 4 };

/* What the processes share: the database's side of it. */
struct board {
    atomic_int ready, loads, wrong, sources[8];
    atomic_int go;
};

static struct memcached server;
static struct board    *board;

static int begins(void **state)
{
    memcached_start(&server, "127.0.0.1", "-m 64");
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    return watch_begins(state);
}

static int ends(void **state)
{
    (void)state;
    memcached_stop(&server);
    munmap(board, sizeof *board);
    return 0;
}

static mend_client *open_client(void)
{
    return open_up(&MEND_CONFIG(.servers = server.name, .timeout_ms = SOON_MS));
}

static int load(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)left_ms;
    board->loads++;
    pause_ms(*(int *)context);
    return mend_loaded_set(out, key);
}

static int fetch(mend_client *c, const char *key, int ms, int wait_ms)
{
    mend_reply  r = MEND_REPLY;
    mend_recipe recipe = {.load = load, .context = &ms, .ttl_s = 100, .lease_s = 60, .wait_ms = wait_ms};

    mend_status status = mend_fetch(c, S(key), &recipe, &r);
    bool        wrong = status != MEND_OK || strcmp(r.data, key) != 0;
    if (wrong)
        fprintf(stderr, "%s: %s\n", mend_status_name(status), r.error);
    board->sources[r.source]++;
    mend_reply_free(&r);
    return wrong;
}

/* A process of its own. It ends by _exit. */
static pid_t begin(int (*run)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run());
    return pid;
}

static int end(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int fetches(void)
{
    mend_client *c = open_client();
    board->ready++;
    while (!board->go)
        pause_ms(1);
    int wrong = fetch(c, "fleet", 400, 20000);
    mend_close(c);
    return wrong;
}

static void one_load_for_all_processes(void **state)
{
    (void)state;
    pid_t pids[PROCESSES];

    memset(board, 0, sizeof *board);
    for (int i = 0; i < PROCESSES; i++)
        pids[i] = begin(fetches);
    await(board->ready == PROCESSES, SOON_MS);
    board->go = 1;
    for (int i = 0; i < PROCESSES; i++)
        assert_int_equal(end(pids[i]), 0);
    assert_int_equal(board->loads, 1);
    assert_int_equal(board->sources[MEND_SOURCE_LOADED], 1);
    assert_int_equal(board->sources[MEND_SOURCE_CACHE], PROCESSES - 1);
}

static int fetches_for_ever(void)
{
    return fetch(open_client(), "dead", 1000000, 1000);
}

static void a_dead_process_holds_up_the_fleet_no_longer_than_wait_ms(void **state)
{
    (void)state;
    mend_client *c = open_client();

    memset(board, 0, sizeof *board);
    pid_t pid = begin(fetches_for_ever);
    await(board->loads == 1, SOON_MS);
    kill(pid, SIGKILL);
    assert_int_equal(WTERMSIG(end(pid)), SIGKILL);
    int64_t began = now_ms();
    assert_int_equal(fetch(c, "dead", 0, 500), 0);
    assert_true(now_ms() - began < 20000); /* of the 60 s that the lease lasts */
    assert_int_equal(board->loads, 2);
    assert_int_equal(fetch(c, "dead", 0, 500), 0); /* it is stored, by the dead one's lease */
    assert_int_equal(board->loads, 2);
    mend_close(c);
}

/* A loader that forks: both go on, and the child has no part in what its parent shares. */
static pid_t forked;

static int load_forking(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)context;
    (void)left_ms;
    forked = fork();
    if (forked > 0)
        pause_ms(100); /* so that the child would be the first to store, if it did */
    return mend_loaded_set(out, key);
}

static void a_loader_that_forks(void **state)
{
    (void)state;
    mend_client *c = open_client();
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   keys[] = {S("fork:b"), S("fork:c")};
    mend_recipe  recipe = {.load = load_forking, .ttl_s = 100};

    for (int round = 0; round < 2; round++) {
        int wrong = round ? mend_fetch_multi(c, keys, 1, &recipe, &rs) != MEND_OK || strcmp(rs.at[0].data, "fork:b") != 0 :
                            mend_fetch(c, S("fork:a"), &recipe, &r) != MEND_OK || strcmp(r.data, "fork:a") != 0;
        uint64_t cas = round ? rs.at[0].cas : r.cas;
        if (forked == 0) {
            wrong += cas != 0;
            memset(board, 0, sizeof *board);
            wrong += fetch(c, round ? "fork:d" : "fork:e", 0, 1000);
            wrong += board->loads != 1;
            mend_close(c);
            _exit(wrong);
        }
        assert_int_equal(wrong, 0);
        assert_true(cas != 0);
        assert_int_equal(end(forked), 0);
    }
    mend_replies_free(&rs);
    mend_reply_free(&r);
    mend_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_load_for_all_processes),
        cmocka_unit_test(a_dead_process_holds_up_the_fleet_no_longer_than_wait_ms),
        cmocka_unit_test(a_loader_that_forks),
    };
    return cmocka_run_group_tests_name("fleet", tests, begins, ends);
}
