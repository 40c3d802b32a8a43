/* test_fork.c - forks with traffic running: the child starts afresh, the parent
 * goes on, and no answer crosses. And what else a process must not notice: no
 * descriptor passes an exec, no SIGPIPE is raised, no signal lands on the healer.
 */
#include "support/counted.h"
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define S(text) mend_str(text)
enum { READERS = 4, KEYS = 50 };

static struct memcached servers[2];
static char             list[256];
static char             names[KEYS][32];

static int begins(void **state)
{
    memcached_start(&servers[0], "127.0.0.1", NULL);
    memcached_start(&servers[1], "unix", NULL);
    snprintf(list, sizeof list, "%s,%s", servers[0].name, servers[1].name);
    for (int i = 0; i < KEYS; i++)
        snprintf(names[i], sizeof names[i], "fork:%d", i);
    return watch_begins(state);
}

static int ends(void **state)
{
    (void)state;
    memcached_stop(&servers[0]);
    memcached_stop(&servers[1]);
    return 0;
}

static mend_client *open_filled(void)
{
    mend_client *c = open_up(&MEND_CONFIG(.servers = list, .timeout_ms = 10000, .connections_idle_max = READERS));
    mend_reply   r = MEND_REPLY;
    for (int i = 0; i < KEYS; i++)
        must_be(MEND_OK, mend_set(c, S(names[i]), S(names[i]), NULL, &r), &r);
    mend_reply_free(&r);
    return c;
}

/* Reads n keys, one by one and together: how many answers are wrong, and how many are none. */
struct count {
    int wrong, failed;
};

static struct count read_all(mend_client *c, unsigned seed, int n)
{
    struct count count = {0};
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    for (int i = 0; i < n; i++) {
        unsigned k = (seed += 7) % KEYS;
        mend_get(c, S(names[k]), &r);
        count.failed += r.status < 0;
        count.wrong += r.status > 0 || (r.status == MEND_OK && strcmp(r.data, names[k]) != 0);
        if (i % 8)
            continue;
        mend_bytes keys[] = {S(names[k]), S(names[(k + 1) % KEYS]), S(names[(k + 2) % KEYS])};
        mend_get_multi(c, keys, 3, &rs);
        for (size_t m = 0; m < 3; m++) {
            count.failed += rs.at[m].status < 0;
            count.wrong += rs.at[m].status > 0 || (rs.at[m].status == MEND_OK && strcmp(rs.at[m].data, names[(k + m) % KEYS]) != 0);
        }
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
    return count;
}

struct traffic {
    mend_client *client;
    atomic_int   stop, wrong, failed, rounds;
    pthread_t    thread[READERS];
};

static void *reads(void *argument)
{
    struct traffic *t = argument;
    for (unsigned seed = 1; !t->stop; seed++) {
        struct count count = read_all(t->client, seed, 10);
        t->wrong += count.wrong;
        t->failed += count.failed;
        t->rounds++;
    }
    return NULL;
}

static void traffic_starts(struct traffic *t, mend_client *c)
{
    *t = (struct traffic){.client = c};
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&t->thread[i], NULL, reads, t), 0);
    await(t->rounds > READERS, SOON_MS);
}

/* Ends it, after it went on for a while longer. */
static void traffic_ends(struct traffic *t)
{
    int rounds = t->rounds;
    await(t->rounds > rounds + 10 * READERS, SOON_MS);
    t->stop = 1;
    for (int i = 0; i < READERS; i++)
        pthread_join(t->thread[i], NULL);
    assert_int_equal(t->wrong, 0);
    assert_int_equal(t->failed, 0);
}

/* ---- What a child may do. It ends by _exit, so that no fixture of the parent's runs in it ------- */
static int reads_well(mend_client *c)
{
    struct count count = read_all(c, (unsigned)getpid(), 200);
    if (count.wrong || count.failed)
        fprintf(stderr, "child: %d wrong, %d failed\n", count.wrong, count.failed);
    return count.wrong || count.failed;
}

static int reads_and_closes(mend_client *c)
{
    int bad = reads_well(c);
    mend_close(c);
    return bad;
}

static int does_nothing(mend_client *c)
{
    (void)c;
    return 0;
}

static int closes_at_once(mend_client *c)
{
    int64_t began = now_ms();
    mend_close(c);
    return now_ms() - began > 100 + slack_ms();
}

static int looks_first(mend_client *c)
{
    bool available = mend_connection_available(c);
    return !available || servers_of(c) != 2 || reads_well(c);
}

static int writes(mend_client *c)
{
    mend_reply r = MEND_REPLY;
    int        bad = 0;
    for (int i = 0; i < 20; i++)
        bad |= mend_increment(c, S("fork:counter"), 1, NULL, &r) != MEND_OK;
    mend_reply_free(&r);
    return bad;
}

static int wait_for(pid_t child)
{
    int status = -1;
    for (int64_t until = now_ms() + SOON_MS; now_ms() < until; pause_ms(1))
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return -1; /* it hung */
}

static int has_a_child_of_its_own(mend_client *c)
{
    int   bad = reads_well(c);
    pid_t grandchild = fork();
    if (grandchild == 0)
        _exit(reads_and_closes(c));
    return bad || reads_well(c) || wait_for(grandchild) != 0;
}

static int has_a_child_before_it_calls(mend_client *c)
{
    pid_t grandchild = fork();
    if (grandchild == 0)
        _exit(reads_well(c));
    return wait_for(grandchild) != 0 || reads_well(c);
}

static const struct {
    const char *name;
    int (*does)(mend_client *c);
} children[] = {
    {"reads", reads_well},
    {"reads and closes", reads_and_closes},
    {"does nothing", does_nothing},
    {"closes at once", closes_at_once},
    {"looks first", looks_first},
    {"writes", writes},
    {"has a child of its own", has_a_child_of_its_own},
    {"has a child before it calls", has_a_child_before_it_calls},
};
enum { CHILDREN = sizeof children / sizeof *children };

static void forked_while_idle(void **state)
{
    (void)state;
    mend_client *c = open_filled();
    assert_int_equal(mend_set(c, S("fork:counter"), S("0"), NULL, NULL), MEND_OK);
    for (size_t i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(children[i].does(c));
        int status = wait_for(child);
        must(status == 0, "the child that %s: %d", children[i].name, status);
        struct count count = read_all(c, 1, 50); /* and the parent goes on */
        assert_int_equal(count.wrong + count.failed, 0);
        assert_true(all_up(c));
        assert_int_equal(seen_at(c, 0).falls + seen_at(c, 1).falls, 0);
    }
    mend_close(c);
}

static void forked_with_traffic_running(void **state)
{
    (void)state;
    struct traffic t;
    mend_client   *c = open_filled();
    assert_int_equal(mend_set(c, S("fork:counter"), S("0"), NULL, NULL), MEND_OK);
    traffic_starts(&t, c);
    pid_t child[3 * CHILDREN];
    for (size_t i = 0; i < 3 * CHILDREN; i++) {
        child[i] = fork();
        if (child[i] == 0)
            _exit(children[i % CHILDREN].does(c));
        int rounds = t.rounds;
        await(t.rounds > rounds, SOON_MS);
    }
    for (size_t i = 0; i < 3 * CHILDREN; i++) {
        int status = wait_for(child[i]);
        must(status == 0, "the child that %s: %d", children[i % CHILDREN].name, status);
    }
    traffic_ends(&t);
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_get(c, S("fork:counter"), &r), &r);
    assert_string_equal(r.data, "60"); /* three children that write, twenty times each, once each time */
    mend_close(c);
    mend_reply_free(&r);
}

/* A fork in the middle of an outage: the child finds out by itself that it is over. */
static void forked_while_down(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    memcached_start(&m, "127.0.0.1", NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = 250));
    memcached_kill(&m);
    await(mend_get(c, S("k"), &r) == MEND_E_DOWN, SOON_MS);
    int saw[2];
    assert_int_equal(pipe(saw), 0);
    pid_t child = fork();
    if (child == 0) {
        bool fine = mend_get(c, S("k"), &r) < 0 && write(saw[1], "d", 1) == 1; /* it is down for the child, too */
        for (int64_t until = now_ms() + SOON_MS; fine && r.status != MEND_MISS && now_ms() < until; pause_ms(1))
            mend_get(c, S("k"), &r);
        _exit(fine && r.status == MEND_MISS ? 0 : 1);
    }
    char down = 0;
    close(saw[1]);
    assert_int_equal(read(saw[0], &down, 1), 1);
    memcached_restart(&m);
    assert_int_equal(wait_for(child), 0);
    await(all_up(c), SOON_MS);
    close(saw[0]);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static enum hostile_next stalls_k(struct toy_ask *ask, void *context)
{
    (void)context;
    if (toy_is(ask, "ms") && strcmp(ask->key, "k") == 0 && !hostile_stall(ask))
        return HOSTILE_CLOSE;
    return hostile_answer(ask);
}

/* The connection that a write was given up on is the parent's to wait for: the child closes its copy, and no more. */
static void forked_while_one_lingers(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    mend_status     status;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "other", "fine");
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = SOON_MS, .zombie_ms = 10 * SOON_MS));
    hostile_behave(h, stalls_k, NULL);
    must_be(MEND_E_TIMEOUT, mend_set(c, S("k"), S("zombie"), &(mend_store){.call.timeout_ms = 500}, &r), &r);
    pid_t child = fork();
    if (child == 0) {
        int64_t until = now_ms() + SOON_MS;
        while (mend_get(c, S("other"), &r) != MEND_OK && now_ms() < until)
            pause_ms(1);
        mend_close(c);
        _exit(r.status == MEND_OK ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    hostile_release(h);
    await((status = mend_get(c, S("k"), &r)) != MEND_E_DOWN, SOON_MS);
    must_be(MEND_MISS, status, &r);
    assert_int_equal(hostile_resets(h), 0);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* A fork from within a thread that is itself in no call, while an answer is under way to another. */
static enum hostile_next answers_after_a_while(struct toy_ask *ask, void *context)
{
    (void)context;
    if (strcmp(ask->key, "slow") == 0)
        pause_ms(100);
    return hostile_answer(ask);
}

struct slow {
    mend_client *client;
    mend_status  status;
    char         data[32];
};

static void *reads_slowly(void *argument)
{
    struct slow *slow = argument;
    mend_reply   r = MEND_REPLY;
    slow->status = mend_get(slow->client, S("slow"), &r);
    snprintf(slow->data, sizeof slow->data, "%s", r.data);
    mend_reply_free(&r);
    return NULL;
}

static void an_answer_under_way_stays_the_parents(void **state)
{
    (void)state;
    struct hostile *h = hostile_start(HOSTILE_META);
    hostile_put(h, "slow", "slow value");
    hostile_put(h, "quick", "quick value");
    hostile_behave(h, answers_after_a_while, NULL);
    mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 10000));
    for (int i = 0; i < 3; i++) {
        struct slow slow = {.client = c};
        pthread_t   thread;
        unsigned    asked = hostile_asked(h, "slow");
        assert_int_equal(pthread_create(&thread, NULL, reads_slowly, &slow), 0);
        await(hostile_asked(h, "slow") > asked, SOON_MS);
        pid_t child = fork();
        if (child == 0) {
            mend_reply r = MEND_REPLY;
            bool       fine = i == 2 || (mend_get(c, S("quick"), &r) == MEND_OK && strcmp(r.data, "quick value") == 0);
            if (i)
                mend_close(c);
            _exit(fine ? 0 : 1);
        }
        assert_int_equal(wait_for(child), 0);
        pthread_join(thread, NULL);
        assert_int_equal(slow.status, MEND_OK);
        assert_string_equal(slow.data, "slow value");
        assert_int_equal(hostile_asked(h, "slow"), asked + 1); /* the child cost it nothing */
    }
    mend_close(c);
    hostile_stop(h);
}

/* ---- A copy in a child -------------------------------------------------------------------------------- */
static enum hostile_next never_answers(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_stall(ask);
    return HOSTILE_CLOSE;
}

static void *writes_in_vain(void *argument)
{
    struct slow *slow = argument;
    mend_reply   r = MEND_REPLY;
    slow->status = mend_set(slow->client, S("slow"), S("v"), &(mend_store){.call.timeout_ms = 500}, &r);
    mend_reply_free(&r);
    return NULL;
}

/* A write that nobody knows the end of is taken back from our kernel, also when a child has a copy of the socket, so
 * that closing ours is not the end of it. */
static void an_ambiguous_write_is_reset_under_a_child(void **state)
{
    (void)state;
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 10000));
    struct slow     slow = {.client = c};
    pthread_t       thread;
    int             end[2];
    char            nothing;
    assert_int_equal(pipe2(end, O_CLOEXEC), 0);
    hostile_behave(h, never_answers, NULL);
    assert_int_equal(pthread_create(&thread, NULL, writes_in_vain, &slow), 0);
    await(hostile_stalled(h) == 1, SOON_MS);
    pid_t child = fork();
    if (child == 0) { /* holds the copy until we are done, and makes no call */
        close(end[1]);
        _exit(read(end[0], &nothing, 1) == 0 ? 0 : 1);
    }
    pthread_join(thread, NULL);
    assert_int_equal(slow.status, MEND_E_TIMEOUT);
    await(hostile_resets(h) == 1, SOON_MS);
    assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
    close(end[1]);
    assert_int_equal(wait_for(child), 0);
    close(end[0]);
    hostile_behave(h, NULL, NULL);
    await(mend_ping(c, NULL) == MEND_OK, SOON_MS);
    mend_close(c);
    hostile_stop(h);
}

/* ---- Descriptors and signals ------------------------------------------------------------------------ */
static void no_descriptor_passes_an_exec(void **state)
{
    (void)state;
    struct traffic t;
    bool           ours[1024] = {false};
    for (int fd = 0; fd < 1024; fd++)
        ours[fd] = fcntl(fd, F_GETFD) >= 0;
    mend_client *c = open_filled();
    traffic_starts(&t, c);
    int checked = 0;
    for (int round = 0; round < 20; round++) {
        DIR *d = opendir("/proc/self/fd");
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
            int fd = atoi(e->d_name);
            int flags = e->d_name[0] == '.' || fd > 1023 || ours[fd] ? -1 : fcntl(fd, F_GETFD);
            if (flags < 0)
                continue;
            must(flags & FD_CLOEXEC, "descriptor %d would pass an exec", fd);
            checked++;
        }
        closedir(d);
        int rounds = t.rounds;
        await(t.rounds > rounds, SOON_MS);
    }
    assert_true(checked > 20);
    traffic_ends(&t);
    mend_close(c);
}

static atomic_int pipes, users;

static void on_pipe(int signal_number)
{
    (void)signal_number;
    pipes++;
}

static void on_user(int signal_number)
{
    (void)signal_number;
    users++;
}

static enum hostile_next hangs_up_on_writers(struct toy_ask *ask, void *context)
{
    (void)context;
    if (!ask->body)
        return hostile_answer(ask);
    return hostile_connection(ask) % 2 ? HOSTILE_RESET : HOSTILE_CLOSE;
}

/* Every send of this process passes here, the library's too: each says MSG_NOSIGNAL, also
 * where no test is quick enough to write to a socket that breaks just then. */
static atomic_int unguarded;

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    unguarded += !(flags & MSG_NOSIGNAL);
    return syscall(SYS_sendto, fd, bytes, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    unguarded += !(flags & MSG_NOSIGNAL);
    return syscall(SYS_sendmsg, fd, message, flags);
}

struct large_set {
    mend_client *client;
    mend_bytes   value;
    mend_status  status;
};

static void *sets_much(void *argument)
{
    struct large_set *set = argument;
    set->status = mend_set(set->client, S("k"), set->value, NULL, NULL);
    return NULL;
}

/* Over a Unix socket, where writing to one who is gone is a broken pipe at once. */
static void killed_while_written_to(mend_bytes value)
{
    struct memcached m;
    pthread_t        thread;
    memcached_start(&m, "unix", "-I 8m -m 64");
    struct large_set set = {.value = value, .client = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = 10000))};
    for (int i = 0; i < 5; i++) {
        memcached_pause(&m);
        assert_int_equal(pthread_create(&thread, NULL, sets_much, &set), 0);
        pause_ms(20);
        memcached_kill(&m);
        pthread_join(thread, NULL);
        assert_true(set.status < 0);
        memcached_restart(&m);
        await(mend_set(set.client, S("k"), S("v"), NULL, NULL) == MEND_OK, SOON_MS);
        memcached_kill(&m); /* and while idle, before anybody has looked */
        mend_set(set.client, S("k"), S("v"), NULL, NULL);
        memcached_restart(&m);
        await(all_up(set.client), SOON_MS);
    }
    mend_close(set.client);
    memcached_stop(&m);
}

/* Over TCP: some take no more in the middle of a large value, some after the first byte. */
static void hung_up_on(mend_bytes value)
{
    struct hostile *h = hostile_start(HOSTILE_META);
    mend_client    *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 1000, .failures_allowed = 1000));
    hostile_behave(h, hangs_up_on_writers, NULL);
    for (int i = 0; i < 30; i++) {
        assert_true(mend_set(c, S("k"), i % 3 ? S("v") : value, NULL, NULL) < 0);
        hostile_hang_up(h);
        mend_exists(c, S("k"), NULL);
    }
    hostile_down(h);
    for (int i = 0; i < 5; i++)
        assert_true(mend_set(c, S("k"), S("v"), NULL, NULL) < 0);
    mend_close(c);
    hostile_stop(h);
}

static void sigpipe_is_never_raised(void **state)
{
    (void)state;
    struct sigaction ours = {.sa_handler = on_pipe}, before, after;
    size_t           n = 4 << 20;
    char            *value = calloc(1, n);
    sigaction(SIGPIPE, &ours, &before);
    hung_up_on(mend_mem(value, n));
    killed_while_written_to(mend_mem(value, n));
    sigaction(SIGPIPE, &before, &after);
    assert_true(after.sa_handler == on_pipe); /* nor was its disposition touched */
    assert_int_equal(pipes, 0);
    assert_int_equal(unguarded, 0);
    free(value);
}

static void the_healer_takes_no_signals(void **state)
{
    (void)state;
    struct sigaction ours = {.sa_handler = on_user}, before;
    sigset_t         user, pending, mask;
    sigaction(SIGUSR1, &ours, &before);
    mend_client *c = open_filled(); /* the healer is started with nothing blocked */

    sigemptyset(&user);
    sigaddset(&user, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &user, &mask);
    kill(getpid(), SIGUSR1); /* to whichever thread will have it: there must be none */
    pause_ms(50);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGUSR1));
    assert_int_equal(users, 0);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    await(users == 1, SOON_MS);
    mend_close(c);
    sigaction(SIGUSR1, &before, NULL);
}

/* A signal in the middle of a call is no reason for it to fail. */
static void a_signal_interrupts_no_call(void **state)
{
    (void)state;
    struct sigaction ours = {.sa_handler = on_user}, before; /* without SA_RESTART */
    struct slow      slow;
    struct hostile  *h = hostile_start(HOSTILE_META);
    pthread_t        thread;
    sigaction(SIGUSR1, &ours, &before);
    hostile_put(h, "slow", "slow value");
    hostile_behave(h, answers_after_a_while, NULL);
    slow.client = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 10000));
    assert_int_equal(pthread_create(&thread, NULL, reads_slowly, &slow), 0);
    await(hostile_asked(h, "slow") == 1, SOON_MS);
    int interrupted = users;
    for (int i = 0; i < 10; i++) {
        pthread_kill(thread, SIGUSR1);
        pause_ms(2);
    }
    pthread_join(thread, NULL);
    assert_true(users > interrupted);
    assert_int_equal(slow.status, MEND_OK);
    assert_string_equal(slow.data, "slow value");
    mend_close(slow.client);
    hostile_stop(h);
    sigaction(SIGUSR1, &before, NULL);
}

/* ---- A child that cannot begin ------------------------------------------------------------------------ */
static int opened[8];

static void open_own(void)
{
    for (int i = 0; i < 8; i++)
        opened[i] = open("/dev/null", O_RDONLY);
}

static int lost(void)
{
    int n = 0;
    for (int i = 0; i < 8; i++)
        n += fcntl(opened[i], F_GETFD) < 0;
    return n;
}

/* Its first call closes what is the parent's, and gets no memory; by its second the numbers are the application's. */
static void a_child_without_memory_closes_only_ours(void **state)
{
    (void)state;
    static struct counted memory;
    mend_config           config = MEND_CONFIG(.servers = list, .allocator = counted_hooks(&memory));
    mend_client          *c = open_up(&config);
    pid_t                 child = fork();
    if (child == 0) {
        memory.fail_at = memory.requests + 1;
        memory.fail_on = true;
        int wrong = mend_delete(c, S("k"), NULL) != MEND_E_MEMORY;
        open_own();
        wrong += mend_delete(c, S("k"), NULL) != MEND_E_MEMORY;
        wrong += lost();
        mend_close(c);
        wrong += lost();
        _exit(wrong);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    mend_close(c);
}

/* The numbers are this process's own: a child begins anew, and its parent goes on. */
struct sum {
    uint64_t gets, stores;
};

static void add_calls(const mend_server_stats *s, void *sum)
{
    struct sum *to = sum;
    for (size_t k = 0; k < 16; k++) {
        to->gets += s->calls[MEND_OPERATION_GET].answered[k] + s->calls[MEND_OPERATION_GET].failed[k];
        to->stores += s->calls[MEND_OPERATION_STORE].answered[k] + s->calls[MEND_OPERATION_STORE].failed[k];
    }
}

static struct sum calls_of(mend_client *c)
{
    struct sum sum = {0};
    mend_stats(c, add_calls, &sum);
    return sum;
}

static void a_child_counts_its_own_calls(void **state)
{
    (void)state;
    mend_client *c = open_filled();
    assert_int_equal(calls_of(c).stores, KEYS);

    pid_t child = fork();
    if (child == 0) {
        int        wrong = calls_of(c).stores != 0 || calls_of(c).gets != 0;
        mend_reply r = MEND_REPLY;
        for (int i = 0; i < 3; i++)
            wrong += mend_get(c, S(names[i]), &r) != MEND_OK;
        wrong += calls_of(c).stores != 0 || calls_of(c).gets != 3;
        mend_close(c);
        _exit(wrong);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(calls_of(c).stores, KEYS);
    assert_int_equal(calls_of(c).gets, 0);
    mend_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forked_while_idle),
        cmocka_unit_test(forked_with_traffic_running),
        cmocka_unit_test(forked_while_down),
        cmocka_unit_test(forked_while_one_lingers),
        cmocka_unit_test(an_answer_under_way_stays_the_parents),
        cmocka_unit_test(an_ambiguous_write_is_reset_under_a_child),
        cmocka_unit_test(no_descriptor_passes_an_exec),
        cmocka_unit_test(sigpipe_is_never_raised),
        cmocka_unit_test(the_healer_takes_no_signals),
        cmocka_unit_test(a_signal_interrupts_no_call),
        cmocka_unit_test(a_child_without_memory_closes_only_ours),
        cmocka_unit_test(a_child_counts_its_own_calls),
    };
    return cmocka_run_group_tests_name("fork", tests, begins, ends);
}
