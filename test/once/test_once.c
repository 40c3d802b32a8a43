/* test_once.c - fail everything once.
 *
 * One life of a client, told by live(): open, write and read in every way, the server is killed, comes back, more of the
 * same, close. It is lived without a fault and the client's calls of each kind (faults.h) are counted; then again and
 * again, and each time one call fails, the Nth, in one of the ways that it may: for every N, once; and for every N, it
 * and all after it, until the scenario's faults end. Beyond the first EVERY of a kind, BEYOND more are sampled evenly.
 *
 * After each life: nothing crashed; each status was honest, by what the server itself says it holds; no call was longer
 * than its time; once the world was well the client worked within HEAL_MS; and closed, it left no memory, no descriptor
 * and no thread.
 *
 * With the name of a call as its argument (once recv) it fails only that one.
 *
 * The lives are shared out among worker processes, each with a memcached of its own, since most of a life is waiting. */
#include "once/faults.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 50,
    CLOSE_MS = 100,  /* what mend_close promises */
    HEAL_MS = 2000,  /* the world is well: so must we be */
    UP_MS = 30,      /* how long a life waits for servers that its fault keeps down */
    COUNTING = 6,    /* lives without a fault: the healer's calls differ from one to the next */
    WORKERS = 6,
    WHOLE = 8,       /* of so many faults that were met early, one sees the restart, too */
    EVERY = 200, BEYOND = 50,
    JOBS = 20000,
    COMPLAINTS = 5,  /* then a worker gives up */
    KEYS = 8,        /* half of them on either server; the first has a value that is BIG */
    BIG = 20000,
    VERSIONS = 12,
};

/* What the processes share. */
static struct shared {
    long         counts[CALLS]; /* the most of the lives without a fault */
    struct fault jobs[JOBS];
    int          job_count;
    atomic_int   next;
    atomic_int   at[WORKERS]; /* the job that each is at, for when it crashes */
    atomic_long  tried[CALLS][2]; /* once; for good: lives in which the fault was met */
    atomic_long  faults, opens_failed, slowest_call_ms, slowest_close_ms, slowest_heal_ms;
} *shared;

static const char *only; /* the call to fail, if not all */

static void longest(atomic_long *most, int64_t ms)
{
    for (long seen = atomic_load(most); ms > seen && !atomic_compare_exchange_weak(most, &seen, (long)ms);)
        continue;
}

/* ---- One life, and what is known of it ---- */

/* What a key may hold: versions, 0 for nothing. One that was written by a call that may have been applied, or may yet be, joins the others. */
struct known {
    int may[VERSIONS], count;
};

static struct life {
    struct fault     fault;
    struct memcached server;
    char             servers[256], keys[KEYS][16];
    int              next_version;
    struct known     known[KEYS];
    bool          lost[KEYS], counter_lost; /* a write of it failed */
    uint64_t         counter_least, counter_most;
    const char      *doing;
    int64_t          began;
    int              complaints;
    mend_client     *client;
    mend_reply       r;
    mend_replies     rs;
} l;

static void describe(const struct fault *f, char *text, size_t room)
{
    if (f->nth)
        snprintf(text, room, "%s %ld%s: %s", faulty[f->call].name, f->nth, f->for_good ? " and all after it" : "", faults_text(f->error));
    else
        snprintf(text, room, "no fault");
}

#define complain_unless(condition, ...) \
    do { \
        if (!(condition)) { \
            char text_[128]; \
            describe(&l.fault, text_, sizeof text_); \
            fprintf(stderr, "once: %s: %s: not so: %s: ", text_, l.doing, #condition); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
            l.complaints++; \
        } \
    } while (0)

/* Between these the calls are the client's, and timed. */
static void enter(const char *doing)
{
    l.doing = doing;
    l.began = now_ms();
    faults_enter();
}

static int64_t leave(int bound_ms)
{
    faults_leave();
    int64_t took = now_ms() - l.began;
    if (took > bound_ms + slack_ms())
        pause_ms(20); /* if it was the machine that stood still, the watch says so when it has had its turn */
    complain_unless(took <= bound_ms + slack_ms(), "%d ms, not %d", (int)took, bound_ms);
    return took;
}

static void left(mend_status status, const mend_reply *r)
{
    longest(&shared->slowest_call_ms, leave(TIMEOUT_MS));
    complain_unless(status == r->status, "%d, and the reply says %d", status, r->status);
    complain_unless(status < 0 ? r->error[0] != 0 : r->error[0] == 0, "%s: \"%s\"", mend_status_name(status), r->error);
    complain_unless(status != MEND_E_ARGUMENT && status >= MEND_E_AUTH, "%s", mend_status_name(status));
}

#define DO(call, reply) (enter(#call), status = (call), left(status, (reply)))

static mend_bytes key(int k)
{
    return mend_str(l.keys[k]);
}

/* The value that a version is. It lasts until the next of the same key. */
static mend_bytes value(int k, int version)
{
    static char texts[KEYS][BIG];
    size_t      len = k ? 40 : BIG;
    memset(texts[k], 'a' + version % 26, len);
    texts[k][snprintf(texts[k], len, "%d of %s", version, l.keys[k])] = ';'; /* no NUL: the truth is read as text */
    return mend_mem(texts[k], len);
}

static bool may_be(int k, int version)
{
    if (version == 0 && l.lost[k]) /* the delete that makes up for a lost write may come at any time, and again */
        return true;
    for (int i = 0; i < l.known[k].count; i++)
        if (l.known[k].may[i] == version)
            return true;
    return false;
}

static void wrote(int k, int version, mend_status status, bool maybe)
{
    struct known *n = &l.known[k];
    l.lost[k] |= status < 0;
    if (status >= 0)
        n->count = 0;
    if ((status >= 0 || maybe) && n->count < VERSIONS)
        n->may[n->count++] = version;
}

static void read_back(int k, mend_status status, const char *data, size_t len)
{
    int version = 0;
    if (status < 0)
        return;
    if (status == MEND_OK) {
        version = atoi(data);
        mend_bytes is = value(k, version);
        complain_unless(is.len == len && memcmp(is.data, data, len) == 0, "%s: another's value, or garbled: %.40s", l.keys[k], data);
    }
    complain_unless(may_be(k, version), "%s holds version %d; may hold %d and %d more", l.keys[k], version, l.known[k].may[0], l.known[k].count - 1);
}

/* What the server itself says of a key, on a connection of the test's own: its value, in the answer; NULL if there is none. */
static const char *truth(const char *name)
{
    static char answer[BIG + 1000];
    char        question[64];
    bool        said = false;

    snprintf(question, sizeof question, "get %s\r\n", name);
    for (int64_t until = now_ms() + SOON_MS; !said && now_ms() < until;) {
        int fd = raw_connect(l.server.host, l.server.port, NULL);
        said = fd >= 0 && raw_ask(fd, question, "END\r\n", answer, sizeof answer);
        if (fd >= 0)
            close(fd);
    }
    if (!said)
        fail_msg("the server is silent");
    if (strncmp(answer, "VALUE", 5) != 0)
        return NULL;
    answer[strlen(answer) - strlen("\r\nEND\r\n")] = 0;
    return strstr(answer, "\r\n") + 2;
}

static void compare_with_truth(const char *when)
{
    l.doing = when;
    for (int k = 0; k < KEYS; k++) {
        const char *is = truth(l.keys[k]);
        read_back(k, is ? MEND_OK : MEND_MISS, is, is ? strlen(is) : 0);
    }
    const char *is = truth("n");
    uint64_t    number = is ? strtoull(is, NULL, 10) : 0;
    complain_unless((number >= l.counter_least || l.counter_lost) && number <= l.counter_most, "n is %d, not %d to %d", (int)number, (int)l.counter_least, (int)l.counter_most);
}

static void forget(void)
{
    for (int k = 0; k < KEYS; k++)
        l.known[k] = (struct known){.count = 1};
    l.counter_least = l.counter_most = 0;
}

/* ---- The scenario ---- */

/* Where memory fails, no connection is kept: each call must get one for itself. */
static bool dials(enum call call)
{
    return call == CALL_MALLOC || call == CALL_REALLOC;
}

static void open_it(void)
{
    mend_config config = MEND_CONFIG(.servers = l.servers, .timeout_ms = TIMEOUT_MS, .heal_max_ms = 100, .zombie_ms = 50, .on_journal_overflow = MEND_ON_OVERFLOW_SERVE, .connections_idle_max = dials(l.fault.call) ? MEND_ZERO : 1, .connections_max = 2);
    enter("mend_open");
    mend_status status = mend_open(&config, &l.client, &l.r);
    leave(0);
    complain_unless(status == MEND_OK ? l.client != NULL : status == MEND_E_MEMORY && !l.client && l.r.error[0], "%s", mend_status_name(status));
}

static void set_one(int k)
{
    mend_status status;
    int         version = l.next_version++;
    DO(mend_set(l.client, key(k), value(k, version), NULL, &l.r), &l.r);
    complain_unless(status <= 0, "%s", mend_status_name(status));
    wrote(k, version, status, l.r.maybe_applied);
}

static void get_one(int k)
{
    mend_status status;
    DO(mend_get(l.client, key(k), &l.r), &l.r);
    read_back(k, status, l.r.data, l.r.len);
}

static void delete_one(int k)
{
    mend_status status;
    DO(mend_delete(l.client, key(k), &l.r), &l.r);
    if (status == MEND_MISS)
        complain_unless(may_be(k, 0), "%s was there", l.keys[k]);
    wrote(k, 0, status, l.r.maybe_applied);
}

static void count_one(void)
{
    mend_status status;
    DO(mend_increment(l.client, mend_str("n"), 1, &(mend_count){.create = true, .initial = 1}, &l.r), &l.r);
    if (status < 0) {
        l.counter_least = 0; /* it is deleted, and counts anew */
        l.counter_lost = true;
        l.counter_most += l.r.maybe_applied;
        return;
    }
    complain_unless(status == MEND_OK && (l.r.number > l.counter_least || l.counter_lost) && l.r.number <= l.counter_most + 1, "%s, %d, not %d to %d", mend_status_name(status),
                    (int)l.r.number, (int)l.counter_least + 1, (int)l.counter_most + 1);
    l.counter_least = l.r.number;
    l.counter_most++;
}

/* Fewer elements than keys: only there was no memory for them. */
static bool elements(mend_status status)
{
    leave(TIMEOUT_MS);
    complain_unless(status <= 0 && status != MEND_E_ARGUMENT, "%s", mend_status_name(status));
    complain_unless(l.rs.count == KEYS || (status == MEND_E_MEMORY && l.rs.count == 0), "%d elements, %s", (int)l.rs.count, mend_status_name(status));
    bool failed = false;
    for (size_t i = 0; i < l.rs.count; i++) {
        failed |= l.rs.at[i].status < 0;
        complain_unless((l.rs.at[i].status < 0) == (l.rs.at[i].error[0] != 0), "%s: \"%s\"", mend_status_name(l.rs.at[i].status), l.rs.at[i].error);
    }
    complain_unless(l.rs.count == 0 || failed == (status < 0), "%s, and %s element failed", mend_status_name(status), failed ? "an" : "no");
    return l.rs.count == KEYS;
}

static void get_many(void)
{
    mend_bytes keys[KEYS];
    for (int k = 0; k < KEYS; k++)
        keys[k] = key(k);
    enter("mend_get_multi");
    if (elements(mend_get_multi(l.client, keys, KEYS, &l.rs)))
        for (int k = 0; k < KEYS; k++)
            read_back(k, l.rs.at[k].status, l.rs.at[k].data, l.rs.at[k].len);
}

static void set_many(void)
{
    mend_item items[KEYS];
    int       versions[KEYS];
    for (int k = 0; k < KEYS; k++) {
        versions[k] = l.next_version++;
        items[k] = (mend_item){.key = key(k), .value = value(k, versions[k])};
    }
    enter("mend_set_multi");
    if (elements(mend_set_multi(l.client, items, KEYS, &l.rs)))
        for (int k = 0; k < KEYS; k++)
            wrote(k, versions[k], l.rs.at[k].status, l.rs.at[k].maybe_applied);
    else
        for (int k = 0; k < KEYS; k++)
            wrote(k, versions[k], MEND_E_MEMORY, false);
}

static void use_it(void)
{
    mend_status status;
    for (int k = 0; k < KEYS; k += KEYS / 2) { /* one key on either server */
        set_one(k);
        get_one(k);
    }
    set_many();
    get_many();
    count_one();
    count_one();
    delete_one(1);
    get_one(1);
    DO(mend_ping(l.client, &l.r), &l.r);
    complain_unless(status <= 0, "%s", mend_status_name(status));
}

static void wait_until_up(void)
{
    for (int64_t until = now_ms() + UP_MS; !all_up(l.client) && now_ms() < until;)
        pause_ms(1);
}

static bool serves(int k)
{
    set_one(k);
    if (l.r.status != MEND_OK)
        return false;
    get_one(k);
    return l.r.status == MEND_OK;
}

/* The world is well: the client that opened works, and has the connections that it may keep and no more; the other opens now. */
static void heals(void)
{
    int64_t began = now_ms(), took;
    bool    well = false;

    if (!l.client)
        open_it();
    complain_unless(l.client, "no client, though the world is well: %s", l.r.error);
    if (!l.client)
        return;
    do {
        well = all_up(l.client) && serves(1) && serves(KEYS / 2 + 1) && seen_at(l.client, 0).connections <= 1 && seen_at(l.client, 1).connections <= 1;
        took = now_ms() - began;
        if (!well)
            pause_ms(2);
    } while (!well && took < HEAL_MS + slack_ms());
    l.doing = "healing";
    struct seen a = seen_at(l.client, 0), b = seen_at(l.client, 1);
    complain_unless(well, "states %d and %d (\"%s\", \"%s\"), %u and %u connections, last status %s (%s)", a.state, b.state, a.why, b.why, a.connections,
                    b.connections, mend_status_name(l.r.status), l.r.error);
    longest(&shared->slowest_heal_ms, took);
}

static void use_and_check(const char *when)
{
    if (!l.client)
        return;
    wait_until_up();
    use_it();
    compare_with_truth(when);
}

static void kill_and_restart(void)
{
    memcached_kill(&l.server);
    if (l.client)
        get_one(0); /* it notices */
    memcached_restart(&l.server);
    forget();
}

/* A healer that got no turn in mend_close's time, and a lookup, end by themselves. */
static void nothing_is_left(int threads_before, int descriptors_before)
{
    for (int64_t until = now_ms() + SOON_MS / 10; now_ms() < until; pause_ms(1))
        if (faults_live() == 0 && threads() <= threads_before && descriptors() == descriptors_before)
            return;
    l.doing = "after close";
    complain_unless(faults_live() == 0, "%ld blocks", faults_live());
    complain_unless(threads() <= threads_before, "%d threads, not %d", threads(), threads_before);
    complain_unless(descriptors() == descriptors_before, "%d descriptors, not %d", descriptors(), descriptors_before);
}

/* A server's restart is most of what a life costs. A single fault that was met before it is seldom worth one: whole says so. */
static void live(const struct fault *fault, bool whole)
{
    int threads_before = threads(), descriptors_before = descriptors();

    l.fault = *fault;
    l.r = (mend_reply)MEND_REPLY;
    l.rs = (mend_replies)MEND_REPLIES;
    faults_plan(fault);
    faults_arm(true);
    open_it();
    if (l.client) {
        use_and_check("the server's truth before the kill");
        if (whole || fault->for_good || !faults_met()) {
            kill_and_restart();
            use_and_check("the server's truth after the restart");
        }
    } else
        atomic_fetch_add(&shared->opens_failed, 1);

    faults_arm(false);
    heals();
    compare_with_truth("the server's truth after healing");

    faults_arm(true);
    enter("mend_close");
    mend_close(l.client);
    longest(&shared->slowest_close_ms, leave(CLOSE_MS));
    faults_enter();
    mend_reply_free(&l.r);
    mend_replies_free(&l.rs);
    faults_leave();
    nothing_is_left(threads_before, descriptors_before);
    faults_arm(false);
    l.client = NULL;
}

/* ---- The workers ---- */

/* Each memcached is a fork away, and a fork copies what AddressSanitizer holds back in its quarantine: 256 MB of it cost
 * a third of all the time here. A life frees less than 4 MB, and is over when it ends. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=4";
}

static void status_of_key(const char *name, char *server, size_t room)
{
    mend_reply r = MEND_REPLY;
    mend_exists(l.client, mend_str(name), &r);
    snprintf(server, room, "%s", r.server);
    mend_reply_free(&r);
}

/* The first half of the keys lives on the first server, the second on the second: two names of one memcached. */
static void choose_keys(void)
{
    char server[96];
    int  have[2] = {0, 0};
    l.client = open_up(&MEND_CONFIG(.servers = l.servers, .timeout_ms = 10000));
    for (int i = 0; have[0] < KEYS / 2 || have[1] < KEYS / 2; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i);
        status_of_key(name, server, sizeof server);
        int which = strcmp(server, l.server.name) != 0;
        if (have[which] < KEYS / 2)
            memcpy(l.keys[which * KEYS / 2 + have[which]++], name, sizeof name);
    }
    mend_close(l.client);
    l.client = NULL;
}

static void begin(void)
{
    memcached_start(&l.server, "127.0.0.1", "-t 1 -m 16");
    snprintf(l.servers, sizeof l.servers, "%s,localhost:%d", l.server.name, l.server.port);
    l.next_version = 1;
    forget();
    choose_keys();
}

static void count(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < COUNTING; i++) {
        enum call call = i % 2 ? CALL_MALLOC : CALL_SOCKET;
        live(&(struct fault){.call = call}, true);
        for (int c = 0; c < CALLS; c++)
            if (dials((enum call)c) == dials(call) && faults_count((enum call)c) > shared->counts[c])
                shared->counts[c] = faults_count((enum call)c);
    }
    memcached_stop(&l.server);
    assert_int_equal(l.complaints, 0);
    for (int c = 0; c < CALLS; c++)
        must(shared->counts[c] > 0 || c == CALL_REALLOC || c == CALL_FUTEX_WAIT, "%s is never called: not wrapped?", faulty[c].name);
}

static void work(void **state)
{
    atomic_int *at = *state;
    begin();
    for (int job; l.complaints < COMPLAINTS && (job = atomic_fetch_add(&shared->next, 1)) < shared->job_count;) {
        const struct fault *f = &shared->jobs[job];
        atomic_store(at, job);
        live(f, job % WHOLE == 0);
        if (faults_met() > 0)
            atomic_fetch_add(&shared->tried[f->call][f->for_good], 1);
        atomic_fetch_add(&shared->faults, faults_met());
    }
    memcached_stop(&l.server);
    assert_int_equal(l.complaints, 0);
}

static pid_t begin_process(CMUnitTestFunction story, void *what)
{
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    const struct CMUnitTest tests[] = {{.name = "worker", .test_func = story, .initial_state = what}};
    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    dup2(2, 1); /* stdout is for the tests that count */
    exit(cmocka_run_group_tests_name("worker", tests, watch_begins, NULL));
}

static bool ended_well(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- The tests ---- */

static void a_life_without_faults_is_counted(void **state)
{
    (void)state;
    assert_true(ended_well(begin_process(count, NULL)));
}

static void add_jobs(enum call call, bool for_good)
{
    long most = shared->counts[call] + (shared->counts[call] < 10 ? 0 : 2); /* those that time decides on differ from life to life */
    long step = most > EVERY + BEYOND ? (most - EVERY) / BEYOND : 1;
    int  errors = 0;
    while (faulty[call].errors[errors])
        errors++;
    for (long n = 1; n <= most; n += n < EVERY ? 1 : step)
        for (int e = 0; e < (for_good ? 1 : errors) && shared->job_count < JOBS; e++)
            shared->jobs[shared->job_count++] = (struct fault){call, n, faulty[call].errors[for_good ? n % errors : e], for_good};
}

static void each_call_fails_once_and_for_good(void **state)
{
    (void)state;
    pid_t   pids[WORKERS];
    bool    well = true;
    int64_t began = now_ms();

    for (int c = 0; c < CALLS; c++) {
        if (only && strcmp(only, faulty[c].name) != 0)
            continue;
        add_jobs((enum call)c, false);
        if (!faulty[c].never_for_good)
            add_jobs((enum call)c, true);
    }
    for (int i = 0; i < WORKERS; i++)
        pids[i] = begin_process(work, &shared->at[i]);
    for (int i = 0; i < WORKERS; i++)
        if (!ended_well(pids[i])) {
            char text[128];
            describe(&shared->jobs[atomic_load(&shared->at[i])], text, sizeof text);
            print_error("a worker failed; the last that it was at is: %s\n", text);
            well = false;
        }

    long once = 0, good = 0;
    print_message("%-20s %6s %6s %9s\n", "call", "a life", "once", "for good");
    for (int c = 0; c < CALLS; c++) {
        long *n = shared->counts, tried[2] = {atomic_load(&shared->tried[c][0]), atomic_load(&shared->tried[c][1])};
        print_message("%-20s %6ld %6ld %9ld%s\n", faulty[c].name, n[c], tried[0], tried[1], n[c] > EVERY + BEYOND ? " (sampled beyond the first 200)" : "");
        once += tried[0];
        good += tried[1];
    }
    print_message("%ld single faults and %ld for good tried (%ld calls failed, %ld opens) in %d s; slowest call %ld ms of %d, close %ld of %d, healing %ld of %d\n", once,
                  good, atomic_load(&shared->faults), atomic_load(&shared->opens_failed), (int)((now_ms() - began) / 1000), atomic_load(&shared->slowest_call_ms),
                  TIMEOUT_MS, atomic_load(&shared->slowest_close_ms), CLOSE_MS, atomic_load(&shared->slowest_heal_ms), HEAL_MS);
    assert_true(well);
    assert_true(once > 0 && (good > 0 || only));
}

int main(int argc, char **argv)
{
    only = argc > 1 ? argv[1] : NULL;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_without_faults_is_counted),
        cmocka_unit_test(each_call_fails_once_and_for_good),
    };
    return cmocka_run_group_tests_name("once", tests, NULL, NULL);
}
