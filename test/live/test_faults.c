/* test_faults.c - real faults under traffic: a real memcached, sometimes with a proxy before it that does what networks do.
 *
 * A row of the table is a fault. Eight threads get and set through one client while it is made and undone; every call
 * is timed, every value names its key and its version, and what came of it is printed: calls, the slowest, how long
 * until calls returned at once, how long until the cache answered again, wrong answers. A wrong answer is another
 * key's value, half of one, one never written, one older than the last write of its key that had ended before the
 * question, whether that was done or failed (but for writes that were said to be maybe applied, where a proxy may hold
 * them for as long as it likes), and, where the server kept its memory and no write was lost, none at all.
 *
 * The rows of TLS are the same faults, of a memcached that speaks it.
 *
 * Packets are dropped in a network namespace of our own; where we may not have one that test is skipped, and says so.
 * Under ThreadSanitizer only the rows of many threads run: it is slow, and cannot follow a fork. Over TLS they are fewer, since a handshake
 * is work, and all begin one at the same time.
 */
#include "support/certificates.h"
#include "support/memcached.h"
#include "support/network.h"
#include "support/proxy.h"
#include "support/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define S(text) mend_str(text)
#define MS(n) ((int64_t)(n) * 1000000)
enum {
    TIMEOUT_MS = 100,
    KEYS = 64,
    VERSIONS = 1 << 16,
    VALUE_BYTES_MAX = 24000,
    TELLERS_MAX = 64,
    BACK_WITHIN_MS = 2500, /* heal_max_ms, twice, and time for a slow start: generous; the real figure is the benchmark's */
    CALM_MS = 60,          /* traffic before, and after */
    ZOMBIE_MS = 300,
    RAWS = 256,
};

/* ---- A fault, and its story --------------------------------------------------------------------------- */
struct story;

struct fault {
    const char *name;
    const char *args; /* memcached's */
    void (*make)(struct story *s);
    void (*undo)(struct story *s);
    int  lasts_ms;       /* from when it is noticed, or made */
    int  down_within_ms; /* calls must return at once by then; 0: they may, or not */
    bool proxied;
    bool tls;
    bool forgets;  /* the server starts again, empty */
    bool harmless; /* no call may fail */
    bool needs_drops;
    int  idle_max;   /* 0: one for each thread */
    int  timeout_ms; /* 0: TIMEOUT_MS */
    int  threads;    /* 0: 8 */
    int  think_ms;   /* each thread, before each call */
};

/* A key is written by one thread and read by all. */
struct entry {
    char             name[16];
    atomic_uint      begun, acknowledged, ended; /* versions, from 1; ended: acknowledged, or failed */
    atomic_bool      lost; /* a write of it has failed, and has been made up for by a delete, or will be */
    _Atomic uint64_t maybe[VERSIONS / 64]; /* those that may yet be applied, whatever came after them */
};

struct teller {
    struct story *story;
    int           number;
    pthread_t     thread;
    unsigned      seed;
    int           schedstat; /* -1: this kernel does not tell */
    int64_t       began, queued_ns; /* the call under way */
    char          value[VALUE_BYTES_MAX];
};

enum { STATUS_LOW = -9, STATUS_HIGH = 5 };

struct story {
    const struct fault *fault;
    struct secured      secured;
    struct memcached    m;
    struct proxy       *proxy;
    mend_client        *client;
    struct entry        entries[KEYS];
    struct teller       tellers[TELLERS_MAX];
    int                 telling; /* how many of them run */
    int                 timeout_ms;
    int                 raws[RAWS], raw_count;

    atomic_bool     stop, rests;
    atomic_int      resting;
    atomic_long     calls, failed, wrong, came[STATUS_HIGH - STATUS_LOW + 1];
    _Atomic int64_t slowest_ns, slowest_queued_ns; /* without, and with, the time in which its thread waited for a processor */
    _Atomic int64_t down_at, served_at; /* 0 while one is looked for */
    atomic_flag     told;
    char            first_wrong[256];

    atomic_bool     beats;
    _Atomic int64_t late_ns;
    pthread_t       metronome;
};

static struct story the_story;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return MS(t.tv_sec * 1000) + t.tv_nsec;
}

static double in_ms(int64_t ns)
{
    return (double)ns / 1e6;
}

static void keep_longest(_Atomic int64_t *longest, int64_t ns)
{
    int64_t was = *longest;
    while (ns > was && !atomic_compare_exchange_weak(longest, &was, ns))
        continue;
}

static void keep_first(_Atomic int64_t *first, int64_t at)
{
    int64_t none = 0;
    if (*first == 0)
        atomic_compare_exchange_strong(first, &none, at);
}

/* How late this machine wakes a thread that only naps: no client can be better. */
static void *beat(void *argument)
{
    struct story *s = argument;
    while (!s->stop) {
        int64_t due = now_ns() + MS(1);
        pause_ms(1);
        keep_longest(&s->late_ns, now_ns() - due);
    }
    return NULL;
}

/* What a call may take beyond its timeout here, without its waits for a processor: a sanitizer's time, which grows with
 * those who want its locks at once, and what the machine itself was seen to be late by. */
static int64_t slack_ns(struct story *s)
{
    return (s->fault->threads > 8 ? MS(200) : MS(50)) + 3 * s->late_ns;
}

/* ---- Values that name their key and version: "key|version|length|xxxx", x by the version ------------------ */
static mend_bytes value_of(struct teller *t, const struct entry *e, unsigned version)
{
    size_t length = version % 16 ? 40 + version * 37u % 500 : 40 + version * 7919u % (VALUE_BYTES_MAX - 100);
    int    n = snprintf(t->value, sizeof t->value, "%s|%u|%zu|", e->name, version, length);
    memset(t->value + n, 'a' + (int)(version % 26), length - (size_t)n);
    return mend_mem(t->value, length);
}

/* The version; 0: it is not one of this key, or not whole. */
static unsigned version_of(const struct entry *e, const mend_reply *r)
{
    size_t   n = strlen(e->name), length = 0;
    unsigned version = 0;
    int      head = 0;
    if (r->len <= n || memcmp(r->data, e->name, n) != 0 || sscanf(r->data + n, "|%u|%zu|%n", &version, &length, &head) != 2)
        return 0;
    const char *body = r->data + n + head;
    if (head == 0 || length != r->len || body >= r->data + length || *body != 'a' + (int)(version % 26) || r->data[length])
        return 0;
    size_t rest = (size_t)(r->data + length - body);
    return memcmp(body, body + 1, rest - 1) == 0 ? version : 0;
}

static bool maybe_applied(struct entry *e, unsigned version)
{
    return version < VERSIONS && e->maybe[version / 64] >> version % 64 & 1;
}

static void is_wrong(struct story *s, const char *what, const struct entry *e, const mend_reply *r)
{
    s->wrong++;
    if (!atomic_flag_test_and_set(&s->told))
        snprintf(s->first_wrong, sizeof s->first_wrong, "%s %s (%u begun, %u acknowledged): %s, %zu bytes, \"%.40s\"", what, e->name, e->begun,
                 e->acknowledged, mend_status_name(r->status), r->len, r->data);
}

/* Not by a key, of which a write was lost: the server may be well. */
static bool says_down(const mend_reply *r)
{
    return r->status == MEND_E_DOWN && strcmp(r->error, mend_status_text(MEND_E_DOWN)) == 0;
}

/* What was known of a key when a question was asked. */
struct known {
    unsigned acknowledged, ended;
};

static struct known known_of(struct entry *e)
{
    return (struct known){e->acknowledged, e->ended};
}

static void judge(struct story *s, struct entry *e, struct known before, const mend_reply *r)
{
    if (r->status < 0)
        return;
    if (r->status == MEND_MISS) {
        bool writing = e->begun != e->acknowledged; /* it may be failing */
        if (before.acknowledged && !s->fault->forgets && !writing && !e->lost)
            is_wrong(s, "lost:", e, r);
        return;
    }
    unsigned version = r->status == MEND_OK ? version_of(e, r) : 0;
    if (version == 0)
        is_wrong(s, "not a value of", e, r);
    else if (version > e->begun)
        is_wrong(s, "never written:", e, r);
    else if (version < before.ended && !(s->fault->proxied && maybe_applied(e, version)))
        is_wrong(s, "old:", e, r);
}

/* ---- Tellers ------------------------------------------------------------------------------------------------ */
static unsigned chance(struct teller *t, unsigned n)
{
    t->seed = t->seed * 1664525u + 1013904223u;
    return (t->seed >> 8) % n;
}

/* How long this thread was ready to run and had no processor: not the client's fault, and with more threads than
 * processors not small. "running queued slices", see the kernel's sched-stats. */
static int64_t queued_ns(const struct teller *t)
{
    char      text[64];
    long long queued = 0;
    ssize_t   n = t->schedstat < 0 ? -1 : pread(t->schedstat, text, sizeof text - 1, 0);
    if (n > 0) {
        text[n] = 0;
        sscanf(text, "%*s %lld", &queued);
    }
    return queued;
}

static void begins(struct teller *t)
{
    t->queued_ns = queued_ns(t);
    t->began = now_ns();
}

static void ended(struct teller *t, mend_status status, bool down)
{
    struct story *s = t->story;
    int64_t       now = now_ns(), took = now - t->began;
    keep_longest(&s->slowest_queued_ns, took);
    if (took > s->slowest_ns)
        keep_longest(&s->slowest_ns, took - (queued_ns(t) - t->queued_ns));
    s->calls++;
    s->failed += status < 0;
    s->came[status - STATUS_LOW]++;
    if (down)
        keep_first(&s->down_at, now);
    if (status == MEND_OK || status == MEND_MISS)
        keep_first(&s->served_at, now);
}

static void gets(struct teller *t, mend_reply *r)
{
    struct story *s = t->story;
    struct entry *e = &s->entries[chance(t, KEYS)];
    struct known  before = known_of(e);
    begins(t);
    mend_get(s->client, S(e->name), r);
    ended(t, r->status, says_down(r));
    judge(s, e, before, r);
}

static void gets_many(struct teller *t, mend_replies *rs)
{
    enum { MANY = 8 };
    struct story *s = t->story;
    struct entry *e[MANY];
    struct known  before[MANY];
    mend_bytes    keys[MANY];
    bool          down = false;
    for (int i = 0; i < MANY; i++) {
        e[i] = &s->entries[chance(t, KEYS)];
        before[i] = known_of(e[i]);
        keys[i] = S(e[i]->name);
    }
    begins(t);
    mend_status status = mend_get_multi(s->client, keys, MANY, rs);
    for (size_t i = 0; i < rs->count; i++)
        down |= says_down(&rs->at[i]);
    ended(t, status, down);
    for (size_t i = 0; i < rs->count; i++)
        judge(s, e[i], before[i], &rs->at[i]);
}

static void sets(struct teller *t, mend_reply *r)
{
    struct story *s = t->story;
    struct entry *e = &s->entries[chance(t, KEYS / (unsigned)s->telling) * (unsigned)s->telling + (unsigned)t->number];
    unsigned      version = e->begun + 1;
    if (version >= VERSIONS)
        return;
    mend_bytes value = value_of(t, e, version);
    e->begun = version;
    begins(t);
    mend_status status = mend_set(s->client, S(e->name), value, NULL, r);
    ended(t, status, says_down(r));
    if (r->maybe_applied)
        e->maybe[version / 64] |= (uint64_t)1 << version % 64;
    if (status < 0)
        e->lost = true;
    if (status == MEND_OK)
        e->acknowledged = version;
    e->ended = version;
    if (status > 0 || status == MEND_E_ARGUMENT)
        is_wrong(s, "set", e, r);
}

static void rest(struct story *s)
{
    s->resting++;
    while (s->rests && !s->stop)
        pause_ms(1);
    s->resting--;
}

static void *tells(void *argument)
{
    struct teller *t = argument;
    mend_reply     r = MEND_REPLY;
    mend_replies   rs = MEND_REPLIES;
    t->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    while (!t->story->stop) {
        if (t->story->rests)
            rest(t->story);
        if (t->story->fault->think_ms)
            pause_ms(1 + (int)chance(t, 2 * (unsigned)t->story->fault->think_ms));
        switch (chance(t, 10)) {
        case 0:
        case 1: sets(t, &r); break;
        case 2: gets_many(t, &rs); break;
        default: gets(t, &r); break;
        }
        if (r.status == MEND_E_DOWN)
            pause_ms(1); /* as an application would be busy with its fallback */
    }
    if (t->schedstat >= 0)
        close(t->schedstat);
    mend_reply_free(&r);
    mend_replies_free(&rs);
    return NULL;
}

/* ---- Faults of the process ------------------------------------------------------------------------------------- */
static void dies(struct story *s)
{
    memcached_kill(&s->m);
}

static void starts_again(struct story *s)
{
    memcached_restart(&s->m);
}

static void stops(struct story *s)
{
    memcached_pause(&s->m);
}

static void goes_on(struct story *s)
{
    memcached_resume(&s->m);
}

static void everybody_rests(struct story *s)
{
    s->rests = true;
    await(s->resting == s->telling, SOON_MS);
}

static void everybody_works(struct story *s)
{
    s->rests = false;
    await(s->resting == 0, SOON_MS);
}

/* idle_timeout is in whole seconds, and memcached looks once a second. */
static void is_left_alone(struct story *s)
{
    everybody_rests(s);
    int64_t rested = now_ms();
    await(state_of(s->client, 0) == MEND_STATE_UP && seen_at(s->client, 0).since_ms < now_ms() - rested, SOON_MS); /* the last one has been followed by a trial's */
}

/* Strangers take every connection that the server allows: whoever comes then hears an ERROR that nobody asked for. */
static void is_full(struct story *s)
{
    char answer[128] = "";
    everybody_rests(s);
    while (!strstr(answer, "Too many open connections")) {
        must(s->raw_count < RAWS, "%d connections, and it is not full: %s", RAWS, answer);
        int fd = raw_connect(s->m.host, s->m.port, NULL);
        assert_true(fd >= 0);
        s->raws[s->raw_count++] = fd;
        raw_ask(fd, "version\r\n", "\r\n", answer, sizeof answer);
    }
    everybody_works(s);
}

static void strangers_leave(struct story *s)
{
    while (s->raw_count > 0)
        close(s->raws[--s->raw_count]);
}

/* ---- A fork: children use the client, too ------------------------------------------------------------------------ */
/* GCC 12's sanitizers do not hold the locks of their allocator over a fork, so that a child may wait for ever for one that
 * another thread held. What the client allocates goes through a lock of ours, which is held over it. */
static pthread_mutex_t memory = PTHREAD_MUTEX_INITIALIZER;

static void *allocate(size_t bytes, void *context)
{
    (void)context;
    pthread_mutex_lock(&memory);
    void *p = malloc(bytes);
    pthread_mutex_unlock(&memory);
    return p;
}

static void *reallocate(void *p, size_t bytes, void *context)
{
    (void)context;
    pthread_mutex_lock(&memory);
    p = realloc(p, bytes);
    pthread_mutex_unlock(&memory);
    return p;
}

static void release(void *p, void *context)
{
    (void)context;
    pthread_mutex_lock(&memory);
    free(p);
    pthread_mutex_unlock(&memory);
}

static int child_reads(struct story *s)
{
    mend_reply r = MEND_REPLY;
    int        bad = 0;
    alarm(4 * SOON_MS / 1000); /* it does not outlive a test that gave up on it */
    for (int i = 0; i < 3 * KEYS && !bad; i++) {
        struct entry *e = &s->entries[i % KEYS];
        mend_status   status = mend_get_with(s->client, S(e->name), &(mend_call){.timeout_ms = SOON_MS}, &r);
        bool          missed = status == MEND_MISS && !e->acknowledged; /* at the time of the fork */
        bad = !missed && (status != MEND_OK || version_of(e, &r) == 0);
        if (bad)
            fprintf(stderr, "a child got %s, acknowledged %u: %s \"%.40s\" %s\n", e->name, e->acknowledged, mend_status_name(status), r.data, r.error);
    }
    mend_reply_free(&r);
    return bad;
}

static void forks(struct story *s)
{
    enum { CHILDREN = 12 };
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        long calls = s->calls;
        pthread_mutex_lock(&memory);
        children[i] = fork();
        pthread_mutex_unlock(&memory);
        if (children[i] == 0)
            _exit(child_reads(s));
        await(s->calls > calls + s->telling, SOON_MS); /* in the middle of traffic, each time */
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status = -1;
        await(waitpid(children[i], &status, WNOHANG) == children[i], 4 * SOON_MS);
        must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d: %x", i, (unsigned)status);
    }
}

static void nothing(struct story *s)
{
    (void)s;
}

/* ---- Faults of the network: the proxy's ---------------------------------------------------------------------------- */
static void is_silent(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.silent = true});
    proxy_cut(s->proxy); /* so that everybody meets the listener, which accepts, and that is all */
}

static void refuses(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.refuse = true});
    proxy_cut(s->proxy);
}

static void resets(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.end = PROXY_RESET, .end_after = 700});
}

static void half_closes(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.end = PROXY_HALF_CLOSE, .end_after = 500});
}

static void trickles(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.trickle_ms = {[PROXY_DOWN] = 4}});
}

static void trickles_up(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.trickle_ms = {[PROXY_UP] = 1}});
}

static void delays(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.delay_ms = {TIMEOUT_MS, TIMEOUT_MS / 2}});
}

static void parts(struct story *s)
{
    proxy_set(s->proxy, &(struct proxy_fault){.hold = true});
}

static void is_well(struct story *s)
{
    proxy_set(s->proxy, NULL);
}

/* ---- Faults of the network: packets that are dropped, in a namespace of our own ------------------------------------- */
static const char *why_no_drops = "not tried"; /* NULL: they can be dropped */

static void drops_packets(struct story *s)
{
    (void)s;
    must(network_drops(true), "%s", strerror(errno));
}

static void drops_none(struct story *s)
{
    (void)s;
    must(network_drops(false), "%s", strerror(errno));
}

/* ---- The play --------------------------------------------------------------------------------------------------------- */
static void begin(struct story *s, const struct fault *fault)
{
    *s = (struct story){.fault = fault, .told = ATOMIC_FLAG_INIT};
    char args[256] = "", name[128];
#ifdef WITH_TLS
    if (fault->tls)
        secured_begin(&s->secured);
#endif
    snprintf(args, sizeof args, "%s %s", s->secured.args, fault->args ? fault->args : "");
    memcached_start(&s->m, "127.0.0.1", args);
    snprintf(name, sizeof name, "%s", s->m.name);
    if (fault->proxied) {
        s->proxy = proxy_start("127.0.0.1", s->m.host, s->m.port);
        must(s->proxy, "no proxy: %s", strerror(errno));
        snprintf(name, sizeof name, "%s%s", fault->tls ? "tls://" : "", proxy_name(s->proxy));
    }
    int count = fault->threads ? fault->threads : 8;
    s->timeout_ms = fault->timeout_ms ? fault->timeout_ms : TIMEOUT_MS;
    s->client = open_up(&MEND_CONFIG(.servers = name, .timeout_ms = s->timeout_ms, .connections_idle_max = fault->idle_max ? fault->idle_max : count,
                                     .zombie_ms = ZOMBIE_MS, .tls = fault->tls ? &s->secured.tls : NULL, .allocator = {allocate, reallocate, release, NULL}));
    for (int i = 0; i < KEYS; i++)
        snprintf(s->entries[i].name, sizeof s->entries[i].name, "key:%d", i);
    assert_int_equal(pthread_create(&s->metronome, NULL, beat, s), 0);
    s->beats = true;
    s->telling = count;
    for (int i = 0; i < count; i++) {
        s->tellers[i] = (struct teller){.story = s, .number = i, .seed = (unsigned)i * 77777u};
        assert_int_equal(pthread_create(&s->tellers[i].thread, NULL, tells, &s->tellers[i]), 0);
    }
}

static void threads_end(struct story *s)
{
    s->stop = true;
    for (int i = 0; i < s->telling; i++)
        pthread_join(s->tellers[i].thread, NULL);
    if (s->beats)
        pthread_join(s->metronome, NULL);
    s->telling = 0;
    s->beats = false;
}

/* Also after a test that failed in the middle. */
static int leave(void **state)
{
    struct story *s = &the_story;
    (void)state;
    threads_end(s);
    strangers_leave(s);
    if (!why_no_drops)
        network_drops(false);
    mend_close(s->client);
    proxy_stop(s->proxy);
    memcached_stop(&s->m);
#ifdef WITH_TLS
    secured_end(&s->secured);
#endif
    s->client = NULL;
    s->proxy = NULL;
    return 0;
}

static void tell(struct story *s, int64_t down_ns, int64_t back_ns)
{
    char what[256] = "", down[64] = "never down";
    for (int i = STATUS_HIGH; i >= STATUS_LOW; i--) {
        size_t n = strlen(what);
        if (s->came[i - STATUS_LOW])
            snprintf(what + n, sizeof what - n, "%s%ld %s", n ? ", " : "", s->came[i - STATUS_LOW], mend_status_name(i) + strlen("MEND_"));
    }
    if (s->down_at)
        snprintf(down, sizeof down, "down after %.1f ms", in_ms(down_ns));
    print_message("# %s: %ld calls, slowest %.1f ms (%.1f with waits for a processor; the machine: late by %.1f ms), %s, back after %.1f ms, %ld wrong (%s)\n", s->fault->name, s->calls,
                  in_ms(s->slowest_ns), in_ms(s->slowest_queued_ns), in_ms(s->late_ns), down, in_ms(back_ns), s->wrong, what);
}

/* Everybody falls back without waiting, and nothing is kept for a server that is not there. */
static void is_down(struct story *s)
{
    mend_reply r = MEND_REPLY;
    await(s->down_at, SOON_MS);
    await(!mend_connection_available(s->client), SOON_MS); /* a verdict that is overdue counts before it has come */
    await(seen_at(s->client, 0).connections <= 6, SOON_MS); /* a trial's, the one that listens, and four that wait for what became of a write */
    must_be(MEND_E_DOWN, mend_get(s->client, S("key:0"), &r), &r);
    mend_reply_free(&r);
}

/* In the end every lost write has been made up for. */
static void all_is_fresh(struct story *s)
{
    mend_reply r = MEND_REPLY;
    await(seen_at(s->client, 0).journal_keys == 0, SOON_MS);
    for (int i = 0; i < KEYS; i++) {
        struct entry *e = &s->entries[i];
        await(mend_get(s->client, S(e->name), &r) >= 0, SOON_MS);
        judge(s, e, known_of(e), &r);
    }
    mend_reply_free(&r);
}

/* Says what took too long, if anything did, or that no call met the fault. */
static bool as_it_should(struct story *s, int64_t down_ns, int64_t back_ns, long failed)
{
    const struct fault *fault = s->fault;
    int64_t             slack = slack_ns(s);
    if (s->slowest_ns >= MS(s->timeout_ms) + slack)
        print_message("# the slowest took %.1f ms\n", in_ms(s->slowest_ns));
    else if (fault->down_within_ms && down_ns >= MS(fault->down_within_ms + s->timeout_ms) + slack) /* a timeout noticed late blames nobody: the next one does */
        print_message("# down after %.1f ms\n", in_ms(down_ns));
    else if (back_ns >= MS(BACK_WITHIN_MS) + slack)
        print_message("# back after %.1f ms\n", in_ms(back_ns));
    else if (!fault->harmless && failed == 0)
        print_message("# no call failed\n");
    else
        return true;
    return false;
}

/* Once. False if it should be tried again; whatever else is wrong fails the test. */
static bool play_once(const struct fault *fault)
{
    struct story *s = &the_story;
    int           had = descriptors();
    begin(s, fault);
    pause_ms(CALM_MS);
    s->served_at = 0;
    await(s->served_at && all_up(s->client), SOON_MS);

    s->slowest_ns = s->slowest_queued_ns = 0; /* how long so many threads take to begin is no fault's doing */
    s->down_at = 0;
    int64_t made = now_ns();
    fault->make(s);
    if (fault->down_within_ms)
        is_down(s);
    pause_ms(fault->lasts_ms);

    s->served_at = 0;
    fault->undo(s);
    int64_t undone = now_ns();
    await(s->served_at && all_up(s->client), SOON_MS);
    int64_t back_ns = s->served_at > undone ? s->served_at - undone : 0; /* it may be seen to serve before the test has seen it */
    pause_ms(CALM_MS);
    long failed = s->failed;
    await(mend_ping(s->client, NULL) == MEND_OK, SOON_MS);
    threads_end(s);
    all_is_fresh(s);
    int64_t down_ns = s->down_at - made;
    tell(s, down_ns, back_ns);

    must(s->wrong == 0, "%ld wrong answers, the first: %s", s->wrong, s->first_wrong);
    must(!fault->harmless || failed == 0, "%ld calls failed", failed);
    bool good = as_it_should(s, down_ns, back_ns, failed);
    leave(NULL);
    await(descriptors() == had, SOON_MS);
    return good;
}

/* A machine that is busy with others makes one try late, or lets nobody meet a short fault; a wrong deadline makes every one so. */
static void play(void **state)
{
    const struct fault *fault = *state;
    if (fault->needs_drops && why_no_drops) {
        print_message("# skipped: packets can't be dropped here (%s)\n", why_no_drops);
        skip();
    }
    for (int tries = 0; tries < 3; tries++)
        if (play_once(fault))
            return;
    fail_msg("not once as it should be: %s", fault->name);
}

enum { AT_ONCE = TIMEOUT_MS, HUNG = 2 * TIMEOUT_MS + 10, PATIENT_MS = SOON_MS /* where a busy machine must cost no call */ };

static const struct fault faults[] = {
    {.name = "kill -9, quick restart", .make = dies, .undo = starts_again, .forgets = true},
    {.name = "kill -9, gone for 2 s", .make = dies, .undo = starts_again, .lasts_ms = 2000, .down_within_ms = AT_ONCE, .forgets = true},
    {.name = "SIGSTOP, SIGCONT", .make = stops, .undo = goes_on, .lasts_ms = 300, .down_within_ms = HUNG},
    {.name = "accepts and is silent", .make = is_silent, .undo = is_well, .lasts_ms = 200, .down_within_ms = HUNG, .proxied = true},
    {.name = "refuses", .make = refuses, .undo = is_well, .lasts_ms = 200, .down_within_ms = AT_ONCE, .proxied = true},
    {.name = "resets after 700 bytes", .make = resets, .undo = is_well, .lasts_ms = 300, .proxied = true},
    {.name = "half-closes after 500 bytes", .make = half_closes, .undo = is_well, .lasts_ms = 300, .proxied = true},
    {.name = "answers trickle, a byte each 4 ms", .make = trickles, .undo = is_well, .lasts_ms = 500, .proxied = true},
    {.name = "questions trickle, a byte each ms", .make = trickles_up, .undo = is_well, .lasts_ms = 500, .proxied = true},
    {.name = "late by 150 ms", .make = delays, .undo = is_well, .lasts_ms = 400, .down_within_ms = HUNG, .proxied = true},
    {.name = "partition, all delivered later", .make = parts, .undo = is_well, .lasts_ms = 300, .down_within_ms = HUNG, .proxied = true},
    {.name = "connection limit", .args = "-c 64", .make = is_full, .undo = strangers_leave, .lasts_ms = 300, .idle_max = 1},
    {.name = "idle_timeout", .args = "-o idle_timeout=1", .make = is_left_alone, .undo = everybody_works, .harmless = true, .timeout_ms = PATIENT_MS},
    {.name = "forks", .make = forks, .undo = nothing, .harmless = true, .timeout_ms = PATIENT_MS},
    {.name = "packets dropped for 1 s", .make = drops_packets, .undo = drops_none, .lasts_ms = 1000, .down_within_ms = HUNG, .needs_drops = true},
};

#ifdef WITH_TLS
static const struct fault faults_of_tls[] = {
    {.name = "TLS: kill -9, quick restart", .make = dies, .undo = starts_again, .forgets = true, .tls = true},
    {.name = "TLS: kill -9, gone for 2 s", .make = dies, .undo = starts_again, .lasts_ms = 2000, .down_within_ms = AT_ONCE, .forgets = true, .tls = true},
    {.name = "TLS: SIGSTOP, SIGCONT", .make = stops, .undo = goes_on, .lasts_ms = 300, .down_within_ms = HUNG, .tls = true},
    {.name = "TLS: accepts and is silent", .make = is_silent, .undo = is_well, .lasts_ms = 200, .down_within_ms = HUNG, .proxied = true, .tls = true},
    {.name = "TLS: refuses", .make = refuses, .undo = is_well, .lasts_ms = 200, .down_within_ms = AT_ONCE, .proxied = true, .tls = true},
    {.name = "TLS: resets after 700 bytes", .make = resets, .undo = is_well, .lasts_ms = 300, .proxied = true, .tls = true},
    {.name = "TLS: half-closes after 500 bytes", .make = half_closes, .undo = is_well, .lasts_ms = 300, .proxied = true, .tls = true},
    {.name = "TLS: answers trickle, a byte each 4 ms", .make = trickles, .undo = is_well, .lasts_ms = 500, .proxied = true, .tls = true},
    {.name = "TLS: questions trickle, a byte each ms", .make = trickles_up, .undo = is_well, .lasts_ms = 500, .proxied = true, .tls = true},
    {.name = "TLS: late by 150 ms", .make = delays, .undo = is_well, .lasts_ms = 400, .down_within_ms = HUNG, .proxied = true, .tls = true},
    {.name = "TLS: partition, all delivered later", .make = parts, .undo = is_well, .lasts_ms = 300, .down_within_ms = HUNG, .proxied = true, .tls = true},
    {.name = "TLS: idle_timeout", .args = "-o idle_timeout=1", .make = is_left_alone, .undo = everybody_works, .harmless = true, .timeout_ms = PATIENT_MS, .tls = true},
    {.name = "TLS: forks", .make = forks, .undo = nothing, .harmless = true, .timeout_ms = PATIENT_MS, .tls = true},
    {.name = "TLS: packets dropped for 1 s", .make = drops_packets, .undo = drops_none, .lasts_ms = 1000, .down_within_ms = HUNG, .needs_drops = true, .tls = true},
};

static const struct fault crowds_of_tls[] = {
    {.name = "TLS: 16 threads, kill -9", .make = dies, .undo = starts_again, .lasts_ms = 100, .down_within_ms = AT_ONCE, .forgets = true, .threads = 16, .think_ms = 20, .tls = true},
    {.name = "TLS: 16 threads, partition", .make = parts, .undo = is_well, .lasts_ms = 100, .down_within_ms = HUNG, .proxied = true, .threads = 16, .think_ms = 20, .tls = true},
};
#endif

static const struct fault crowds[] = {
    {.name = "64 threads, kill -9", .make = dies, .undo = starts_again, .lasts_ms = 100, .down_within_ms = AT_ONCE, .forgets = true, .threads = 64, .think_ms = 20},
    {.name = "64 threads, SIGSTOP", .make = stops, .undo = goes_on, .lasts_ms = 100, .down_within_ms = HUNG, .threads = 64, .think_ms = 20},
    {.name = "64 threads, partition", .make = parts, .undo = is_well, .lasts_ms = 100, .down_within_ms = HUNG, .proxied = true, .threads = 64, .think_ms = 20},
};

/* ---- Thousands of clients ------------------------------------------------------------------------------------------------ */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t allocated(void)
{
    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
#ifdef __GLIBC__
    return mallinfo2().uordblks;
#else
    return 0;
#endif
}

struct spent {
    int64_t opening_ns, closing_ns; /* the slowest */
    int     late;
};

static void opens_and_closes(const char *server, int times, bool serves, struct spent *slowest)
{
    mend_reply r = MEND_REPLY;
    for (int i = 0; i < times; i++) {
        mend_client *c = NULL;
        int64_t      began = now_ns();
        must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = server, .timeout_ms = PATIENT_MS), &c, &r), &r);
        int64_t opened = now_ns() - began;
        if (serves && i % 2)
            must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
        began = now_ns();
        mend_close(c);
        int64_t closed = now_ns() - began;
        slowest->late += opened > MS(slack_ms()) || closed > MS(100 + slack_ms());
        slowest->opening_ns = opened > slowest->opening_ns ? opened : slowest->opening_ns;
        slowest->closing_ns = closed > slowest->closing_ns ? closed : slowest->closing_ns;
    }
    mend_reply_free(&r);
}

static void thousands_of_opens_and_closes(void **state)
{
    enum { TIMES = 2400, FEW = 100, GROWTH_BYTES = 16 * TIMES }; /* the smallest leak of one in every open is more */
    (void)state;
    struct memcached m;
    struct spent     slowest = {0};
    char             nobody[64];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(nobody, sizeof nobody, "127.0.0.1:%d", port_free("127.0.0.1"));
    opens_and_closes(m.name, FEW, true, &slowest); /* what is made once is made now */

    int    had_threads = threads(), had_descriptors = descriptors();
    size_t had = allocated();
    opens_and_closes(m.name, TIMES / 3, true, &slowest);
    opens_and_closes(nobody, TIMES / 3, false, &slowest);
    memcached_pause(&m);
    opens_and_closes(m.name, TIMES / 3, false, &slowest);
    memcached_resume(&m);
    await(threads() == had_threads, SOON_MS);
    await(descriptors() == had_descriptors, SOON_MS);
    long more = (long)allocated() - (long)had;

    print_message("# %d opens and closes: slowest open %.1f ms, slowest close %.1f ms, %ld bytes more\n", TIMES, in_ms(slowest.opening_ns),
                  in_ms(slowest.closing_ns), more);
    must(more < GROWTH_BYTES, "%ld bytes more", more);
    must(slowest.late <= TIMES / 100, "%d were late", slowest.late); /* a busy machine makes a few so */
    memcached_stop(&m);
}

/* ---- Which of them -------------------------------------------------------------------------------------------------------- */
#ifdef __SANITIZE_THREAD__
static const bool under_tsan = true;
#else
static const bool under_tsan = false;
#endif

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

static size_t add(struct CMUnitTest *tests, size_t n, const struct fault *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, play, NULL, leave, (void *)(uintptr_t)&rows[i]};
    return n;
}

int main(void)
{
    struct CMUnitTest tests[2 * (COUNT(faults) + COUNT(crowds)) + 1];
    size_t            n = 0;
    if (!under_tsan) {
        why_no_drops = network_that_drops();
        n = add(tests, n, faults, COUNT(faults));
#ifdef WITH_TLS
        n = add(tests, n, faults_of_tls, COUNT(faults_of_tls));
#endif
        tests[n++] = (struct CMUnitTest)cmocka_unit_test(thousands_of_opens_and_closes);
    }
    n = add(tests, n, crowds, COUNT(crowds));
#ifdef WITH_TLS
    n = add(tests, n, crowds_of_tls, COUNT(crowds_of_tls));
#endif
    return _cmocka_run_group_tests("faults", tests, n, watch_begins, NULL);
}
