/* test_lookup.c - names: lookups that hang, fail, or change their mind.
 *
 * Runs in a mount and a network namespace of its own, where /etc/hosts and
 * /etc/resolv.conf are files of the test's and the only name server is a socket
 * that never answers. The system's own files are not touched. Where a process may
 * not have namespaces, these tests are skipped, and say so.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/network.h"
#include "support/wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define S(text) mend_str(text)
enum { TIMEOUT_MS = 500 };
#define BOUND_MS (TIMEOUT_MS + slack_ms())

#define SILENT "nameserver 127.0.0.53\noptions timeout:30 attempts:5\n"

/* ---- A world of our own ----------------------------------------------------------------------- */
static char        directory[] = "/tmp/mend-test-XXXXXX";
static char        why_not[128];
static int         name_server = -1;
static const char *failed_at;

static bool did(bool it, const char *what)
{
    if (!it && !failed_at) {
        failed_at = what;
        snprintf(why_not, sizeof why_not, "%s: %s", what, strerror(errno));
    }
    return it;
}

static bool write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    return f && fputs(text, f) >= 0 && fclose(f) == 0;
}

static bool put_over(const char *path, const char *name, const char *text)
{
    char ours[64];
    snprintf(ours, sizeof ours, "%s/%s", directory, name);
    return write_file(ours, text) && mount(ours, path, NULL, MS_BIND, NULL) == 0;
}

/* It hears every question, and answers none. */
static bool a_silent_name_server(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53)};
    inet_pton(AF_INET, "127.0.0.53", &a.sin_addr);
    name_server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return name_server >= 0 && bind(name_server, (struct sockaddr *)&a, sizeof a) == 0;
}

static bool world_of_our_own(void)
{
    return did(mkdtemp(directory) != NULL, "mkdtemp") && did(network_of_our_own(CLONE_NEWNS), "a network") &&
           did(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mount") &&
           did(a_silent_name_server(), "name server") &&
           did(put_over("/etc/resolv.conf", "resolv.conf", SILENT), "resolv.conf") &&
           did(access("/etc/nsswitch.conf", F_OK) < 0 || put_over("/etc/nsswitch.conf", "nsswitch.conf", "hosts: files dns\n"), "nsswitch.conf") &&
           did(put_over("/etc/hosts", "hosts", "127.0.0.1 localhost\n"), "hosts");
}

/* In place: what is mounted is this file. */
static void now_says(const char *name, const char *text)
{
    char ours[64];
    snprintf(ours, sizeof ours, "%s/%s", directory, name);
    assert_true(write_file(ours, text));
}

static void hosts(const char *text)
{
    now_says("hosts", text);
}

static bool was_asked(void) /* the name server, for something */
{
    char question[512];
    return recv(name_server, question, sizeof question, MSG_DONTWAIT) > 0;
}

/* While it runs the name server does answer: every name has these addresses, and is known so much later. */
static struct {
    pthread_t   thread;
    atomic_bool stop;
    atomic_int  first, count, delay_ms; /* 127.0.0.first and those behind it */
    atomic_int  asked, of_still;        /* questions, and how many of them were for still.example */
} answering;

static void answer(unsigned char *question, size_t n, const struct sockaddr_in *to)
{
    unsigned char packet[512];
    size_t        length = n;
    bool          about_v4 = question[n - 3] == 1; /* else AAAA, of which there are none */
    int           count = about_v4 ? answering.count : 0;
    memcpy(packet, question, n);
    packet[2] = 0x81; /* an answer, recursion was desired... */
    packet[3] = 0x80; /* ...and is available; no error */
    packet[7] = (unsigned char)count;
    for (int i = 0; i < count; i++, length += 16) /* the name asked for, A, IN, ttl 0, 4 bytes */
        memcpy(packet + length, (unsigned char[]){0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, (unsigned char)(answering.first + i)}, 16);
    if (about_v4)
        pause_ms(answering.delay_ms);
    sendto(name_server, packet, length, 0, (const struct sockaddr *)to, sizeof *to);
}

static void *answers_names(void *nothing)
{
    while (!answering.stop) {
        unsigned char      question[256];
        struct sockaddr_in from;
        socklen_t          size = sizeof from;
        if (poll(&(struct pollfd){.fd = name_server, .events = POLLIN}, 1, 10) <= 0)
            continue;
        ssize_t n = recvfrom(name_server, question, sizeof question, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
        question[10] = question[11] = 0; /* what the resolver adds is not answered: there must be none */
        answering.asked++;
        answering.of_still += n > 18 && memcmp(question + 12, "\5still", 6) == 0;
        if (n > 12 + 4)
            answer(question, (size_t)n, &from);
    }
    return nothing;
}

#define NEEDS_A_WORLD() \
    do { \
        if (failed_at) { \
            print_message("skipped: no namespaces of our own here (%s)\n", why_not); \
            skip(); \
        } \
        while (was_asked()) \
            continue; \
    } while (0)

/* ---- The stories ------------------------------------------------------------------------------- */
static void key_on(mend_client *c, const char *server, char *key, size_t room)
{
    mend_reply r = MEND_REPLY;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, room, "key:%d", i);
        mend_exists(c, S(key), &r);
        if (strcmp(r.server, server) == 0)
            break;
    }
    assert_string_equal(r.server, server);
    mend_reply_free(&r);
}

static void a_hung_lookup_holds_up_nobody(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    char             servers[200], theirs[32], ours[32];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(servers, sizeof servers, "hangs.example:11211,%s,hangs-too.example,%s", m.name, "and-this.example:1");

    int64_t began = now_ms();
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = servers, .timeout_ms = TIMEOUT_MS), &c, &r), &r);
    must(now_ms() - began < slack_ms(), "mend_open took %d ms", (int)(now_ms() - began));
    await(state_of(c, 1) == MEND_STATE_UP, SOON_MS);
    await(was_asked(), SOON_MS); /* or nothing hangs */
    key_on(c, m.name, ours, sizeof ours);
    must_be(MEND_OK, mend_set(c, S(ours), S("v"), NULL, &r), &r);

    await(state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS); /* a name never resolved is down */
    key_on(c, "hangs.example:11211", theirs, sizeof theirs);
    takes_less_than(TIMEOUT_MS / 2, must_be(MEND_E_DOWN, mend_get(c, S(theirs), &r), &r));

    for (int i = 0; i < 3; i++) { /* meanwhile another dies, and heals as if nothing hung */
        memcached_kill(&m);
        await(mend_get(c, S(ours), &r) == MEND_E_DOWN, SOON_MS);
        memcached_restart(&m);
        await(state_of(c, 1) == MEND_STATE_UP, SOON_MS); /* the lookups hang for longer */
        must_be(MEND_MISS, mend_get(c, S(ours), &r), &r);
    }
    assert_true(state_of(c, 0) >= MEND_STATE_DOWN && state_of(c, 2) >= MEND_STATE_DOWN);
    must(threads() < 12, "%d threads", threads()); /* those of lookups are bounded in number */

    began = now_ms();
    mend_close(c);
    must(now_ms() - began < 100 + slack_ms(), "mend_close took %d ms", (int)(now_ms() - began));
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void a_name_becomes_known(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    char             name[64];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(name, sizeof name, "later.example:%d", m.port);
    hosts("127.0.0.1 localhost\n");
    now_says("resolv.conf", "nameserver 127.0.0.54\n"); /* nobody is there: it fails at once */
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = name, .timeout_ms = TIMEOUT_MS), &c, &r), &r);
    await(state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);
    must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    assert_string_not_equal(seen_at(c, 0).why, "");
    hosts("127.0.0.1 localhost\n127.0.0.1 later.example\n");
    await(all_up(c), SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
    now_says("resolv.conf", SILENT);
}

/* It is found by the first trial after the last lookup is a second old: so much later than one that is back in its place. */
static void a_server_moves(void **state)
{
    enum { LOOKED_UP_EACH_MS = 1000, HEAL_MAX_MS = 500 };
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    char             name[64];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(name, sizeof name, "moves.example:%d", m.port);
    hosts("127.0.0.1 localhost\n127.0.0.1 moves.example\n");
    mend_client *c = open_up(&MEND_CONFIG(.servers = name, .timeout_ms = TIMEOUT_MS, .heal_max_ms = HEAL_MAX_MS));

    memcached_kill(&m);
    await(mend_get(c, S("k"), &r) == MEND_E_DOWN, SOON_MS);
    snprintf(m.host, sizeof m.host, "127.0.0.2");
    memcached_restart(&m);
    hosts("127.0.0.1 localhost\n127.0.0.2 moves.example\n");
    int64_t began = now_ms();
    await(all_up(c), SOON_MS);
    must(now_ms() - began < LOOKED_UP_EACH_MS + HEAL_MAX_MS + BOUND_MS, "it took %d ms", (int)(now_ms() - began));
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

/* One address of a name refuses, the other serves. */
static void a_name_of_several_addresses(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    char             name[64];
    memcached_start(&m, "127.0.0.3", NULL);
    snprintf(name, sizeof name, "several.example:%d", m.port);
    hosts("127.0.0.1 localhost\n::1 several.example\n127.0.0.2 several.example\n127.0.0.3 several.example\n");
    mend_client *c = open_up(&MEND_CONFIG(.servers = name, .timeout_ms = TIMEOUT_MS));
    assert_int_equal(mend_set(c, S("k"), S("v"), NULL, NULL), MEND_OK);
    mend_close(c);
    memcached_stop(&m);
}

/* Lookups stop working: whoever serves goes on serving, and even heals, at the last good address. */
static void the_last_good_address_is_kept(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    char             name[64];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(name, sizeof name, "forgotten.example:%d", m.port);
    hosts("127.0.0.1 localhost\n127.0.0.1 forgotten.example\n");
    mend_client *c = open_up(&MEND_CONFIG(.servers = name, .timeout_ms = TIMEOUT_MS));

    hosts("127.0.0.1 localhost\n"); /* from now on a lookup hangs */
    must_be(MEND_OK, mend_set(c, S("k"), S("v"), NULL, &r), &r);
    memcached_kill(&m);
    await(mend_get(c, S("k"), &r) == MEND_E_DOWN, SOON_MS);
    await(was_asked(), SOON_MS); /* one hangs */
    memcached_restart(&m);
    await(all_up(c), SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    int64_t began = now_ms();
    mend_close(c);
    must(now_ms() - began < 100 + slack_ms(), "mend_close took %d ms", (int)(now_ms() - began));
    mend_reply_free(&r);
    memcached_stop(&m);
}

/* ---- Names that are looked up again while their servers are up ---- */

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

static void count_event(const mend_event *event, void *context)
{
    (void)event;
    ++*(atomic_int *)context;
}

/* Both addresses serve; the name leads from the one to the other. A call that is under way at the old one ends there. */
static void a_name_that_leads_elsewhere_is_followed(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct hostile  *old = hostile_start(HOSTILE_META);
    struct memcached new = {.host = "127.0.0.2", .name = "the new place"};
    atomic_int       events = 0;
    mend_reply       r = MEND_REPLY;
    pthread_t        thread;
    char             name[64];
    new.port = atoi(strrchr(hostile_name(old), ':') + 1);
    memcached_restart(&new);
    snprintf(name, sizeof name, "followed.example:%d", new.port);
    hosts("127.0.0.1 localhost\n127.0.0.1 followed.example\n");
    struct asker a = {open_up(&MEND_CONFIG(.servers = name, .timeout_ms = 10 * TIMEOUT_MS, .resolve_s = 1, .on_event = count_event, .on_event_context = &events)), MEND_REPLY};
    hostile_put(old, "k", "at the old place");
    must_be(MEND_OK, mend_get(a.client, S("k"), &r), &r);
    hostile_behave(old, stalls, NULL);
    assert_int_equal(pthread_create(&thread, NULL, asks, &a), 0);
    await(hostile_stalled(old) == 1, SOON_MS);

    hosts("127.0.0.1 localhost\n127.0.0.2 followed.example\n");
    await(mend_get_with(a.client, S("other"), &(mend_call){.timeout_ms = 100}, &r) == MEND_MISS, SOON_MS);
    must_be(MEND_OK, mend_set(a.client, S("other"), S("at the new place"), NULL, &r), &r);
    assert_false(hostile_holds(old, "other", "at the new place"));
    assert_int_equal(hostile_stalled(old), 1);
    hostile_release(old);
    pthread_join(thread, NULL);
    must_be(MEND_OK, a.r.status, &a.r);
    assert_string_equal(a.r.data, "at the old place");
    await(hostile_open(old) == 0, SOON_MS);
    must_be(MEND_OK, mend_get(a.client, S("other"), &r), &r);
    assert_int_equal(seen_at(a.client, 0).falls, 0);
    assert_int_equal(events, 0);
    mend_close(a.client);
    mend_reply_free(&a.r);
    mend_reply_free(&r);
    hostile_stop(old);
    memcached_stop(&new);
}

/* Other addresses come to the name, and before it; nobody moves who need not. From IPv4 to IPv6, where it must. */
static void an_address_that_is_still_there_is_kept(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct hostile  *h = hostile_start(HOSTILE_META);
    struct memcached six = {.host = "::1", .name = "::1"};
    mend_reply       r = MEND_REPLY;
    char             name[64];
    six.port = atoi(strrchr(hostile_name(h), ':') + 1);
    memcached_restart(&six);
    snprintf(name, sizeof name, "kept.example:%d", six.port);
    answering.first = 1;
    answering.count = 1;
    answering.delay_ms = 0;
    answering.asked = 0;
    answering.stop = false;
    hosts("127.0.0.1 localhost\n");
    assert_int_equal(pthread_create(&answering.thread, NULL, answers_names, NULL), 0);
    mend_client *c = open_up(&MEND_CONFIG(.servers = name, .timeout_ms = TIMEOUT_MS, .resolve_s = 1));
    unsigned accepted = hostile_accepted(h);

    answering.count = 3; /* 127.0.0.2 and 127.0.0.3, where nobody is */
    for (int i = 0, seen = answering.asked; i < 3; i++, seen = answering.asked)
        await(answering.asked >= seen + 2, SOON_MS); /* A and AAAA */
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    assert_int_equal(hostile_accepted(h), accepted);

    hosts("127.0.0.1 localhost\n::1 kept.example\n");
    await(hostile_open(h) == 0, SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    assert_int_equal(seen_at(c, 0).falls, 0);
    mend_close(c);
    mend_reply_free(&r);
    answering.stop = true;
    pthread_join(answering.thread, NULL);
    hostile_stop(h);
    memcached_stop(&six);
}

/* The name leads to where nobody serves: whoever serves at the old address goes on. Then lookups hang, too. */
static void a_new_address_has_to_prove_itself(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    char             name[64];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(name, sizeof name, "unproved.example:%d", m.port);
    answering.first = 1;
    answering.count = 1;
    answering.delay_ms = 0;
    answering.stop = false;
    hosts("127.0.0.1 localhost\n");
    assert_int_equal(pthread_create(&answering.thread, NULL, answers_names, NULL), 0);
    mend_client *c = open_up(&MEND_CONFIG(.servers = name, .timeout_ms = TIMEOUT_MS, .resolve_s = 1));
    answering.first = 7; /* nobody is there */
    for (int i = 0, seen = answering.asked; i < 3; i++, seen = answering.asked)
        await(answering.asked >= seen + 2, SOON_MS);
    answering.stop = true;
    pthread_join(answering.thread, NULL);
    while (was_asked())
        continue;
    await(was_asked(), SOON_MS); /* a lookup that hangs from now on */
    for (int i = 0; i < 20; i++)
        takes_less_than(TIMEOUT_MS / 2, must_be(MEND_MISS, mend_get(c, S("k"), &r), &r));
    assert_int_equal(seen_at(c, 0).falls, 0);
    assert_int_equal(seen_at(c, 0).state, MEND_STATE_UP);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static void who_wants_no_lookups_has_none(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    char             names[2][64];
    memcached_start(&m, "127.0.0.1", NULL);
    snprintf(names[0], sizeof names[0], "still.example:%d", m.port);
    snprintf(names[1], sizeof names[1], "asks.example:%d", m.port);
    answering.first = 1;
    answering.count = 1;
    answering.delay_ms = 0;
    answering.stop = false;
    hosts("127.0.0.1 localhost\n");
    assert_int_equal(pthread_create(&answering.thread, NULL, answers_names, NULL), 0);
    mend_client *still = open_up(&MEND_CONFIG(.servers = names[0], .timeout_ms = TIMEOUT_MS, .resolve_s = MEND_ZERO));
    int          before = answering.asked;
    mend_client *asks_on = open_up(&MEND_CONFIG(.servers = names[1], .timeout_ms = TIMEOUT_MS, .resolve_s = 1));
    await(answering.asked >= before + 6, SOON_MS); /* three times, by the one that asks */
    assert_int_equal(answering.of_still, 2);
    mend_close(still);
    mend_close(asks_on);
    answering.stop = true;
    pthread_join(answering.thread, NULL);
    memcached_stop(&m);
}

/* ---- dns://: every address of a name is a server ---- */

static bool has_servers(mend_client *c, size_t n)
{
    return servers_of(c) == n && all_up(c);
}

static void every_address_is_a_server(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m[3];
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    char             list[128];
    memcached_start(&m[0], "127.0.0.1", NULL);
    for (int i = 1; i < 3; i++) {
        m[i] = (struct memcached){.port = m[0].port};
        snprintf(m[i].host, sizeof m[i].host, "127.0.0.%d", i + 1);
        snprintf(m[i].name, sizeof m[i].name, "127.0.0.%d:%d", i + 1, m[i].port);
        memcached_restart(&m[i]);
    }
    answering.first = 1;
    answering.count = 2;
    answering.delay_ms = 0;
    answering.asked = 0;
    answering.stop = false;
    hosts("127.0.0.1 localhost\n");
    assert_int_equal(pthread_create(&answering.thread, NULL, answers_names, NULL), 0);
    snprintf(list, sizeof list, "dns://headless.example:%d*2", m[0].port);
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = list, .timeout_ms = 20 * TIMEOUT_MS, .resolve_s = 1), &c, &r), &r);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r); /* the first call waits until some are found, and proved */
    await(has_servers(c, 2), SOON_MS);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(seen_at(c, (size_t)i).name, m[i].name); /* sorted, whatever order they come in */
        assert_int_equal(seen_at(c, (size_t)i).weight, 2);
    }
    answering.count = 3;
    await(has_servers(c, 3), SOON_MS);
    answering.first = 2;
    answering.count = 2;
    await(has_servers(c, 2), SOON_MS);
    assert_string_equal(seen_at(c, 0).name, m[1].name);

    answering.count = 0; /* no addresses: that is no list */
    for (int i = 0, seen = answering.asked; i < 3; i++, seen = answering.asked)
        await(answering.asked >= seen + 2, SOON_MS);
    assert_true(has_servers(c, 2));
    answering.stop = true; /* from now on lookups hang */
    pthread_join(answering.thread, NULL);
    while (was_asked())
        continue;
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    int64_t began = now_ms();
    mend_close(c);
    must(now_ms() - began < 100 + slack_ms(), "mend_close took %d ms", (int)(now_ms() - began));
    mend_reply_free(&r);
    for (int i = 0; i < 3; i++)
        memcached_stop(&m[i]);
}

/* Nothing is found: calls wait for the first lookup, as long as it has, and then for nothing. */
static void a_name_without_addresses(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_client *c = NULL;
    hosts("127.0.0.1 localhost\n");
    int64_t began = now_ms();
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = "dns://nowhere.example", .timeout_ms = TIMEOUT_MS), &c, &r), &r);
    must(now_ms() - began < slack_ms(), "mend_open took %d ms", (int)(now_ms() - began));
    must_be(MEND_E_DOWN, mend_get(c, S("k"), &r), &r);
    must(now_ms() - began < BOUND_MS, "the first call took %d ms", (int)(now_ms() - began));
    assert_string_equal(r.error, "no server has been found yet");
    assert_string_equal(r.server, "");
    await(!mend_connection_available(c), SOON_MS);
    takes_less_than(TIMEOUT_MS / 2, must_be(MEND_E_DOWN, mend_set(c, S("k"), S("v"), NULL, &r), &r));
    takes_less_than(TIMEOUT_MS / 2, must_be(MEND_E_DOWN, mend_ping(c, &r), &r));
    takes_less_than(TIMEOUT_MS / 2, assert_int_equal(mend_get_multi(c, (mend_bytes[]){S("a"), S("b")}, 2, &rs), MEND_E_DOWN));
    assert_int_equal(rs.count, 2);
    assert_int_equal(rs.at[1].status, MEND_E_DOWN);
    assert_int_equal(mend_delete_multi(c, (mend_bytes[]){S("a"), S("b")}, 2, NULL), MEND_E_DOWN);
    assert_int_equal(servers_of(c), 0);
    mend_close(c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

/* Nobody accepts there, and the queue of those who wait for it is full: a connect hangs. Fills in 4 descriptors. */
static void makes_connects_hang(const char *host, int port, int *fds)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    for (int i = 0; i < 4; i++)
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fds[0], (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fds[0], 0), 0);
    for (int i = 1; i < 4; i++)
        connect(fds[i], (struct sockaddr *)&a, sizeof a);
}

/* While a trial is on its way down the list of a name's addresses, the name gets a shorter one. */
static void a_list_that_shrinks_during_a_trial(void **state)
{
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    char             name[64];
    int              hang[12];
    memcached_start(&m, "127.0.0.9", NULL);
    makes_connects_hang("127.0.0.2", m.port, hang);
    makes_connects_hang("127.0.0.3", m.port, hang + 4);
    makes_connects_hang("127.0.0.4", m.port, hang + 8);
    snprintf(name, sizeof name, "shrinks.example:%d", m.port);
    answering.first = 2;
    answering.count = 3;
    answering.delay_ms = 0;
    answering.stop = false;
    assert_int_equal(pthread_create(&answering.thread, NULL, answers_names, NULL), 0);
    assert_int_equal(mend_open(&MEND_CONFIG(.servers = name, .timeout_ms = TIMEOUT_MS), &c, NULL), MEND_OK);
    await(state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);

    answering.first = 9;
    answering.count = 1;
    answering.delay_ms = TIMEOUT_MS * 2 / 5; /* a trial waits for a quarter, then dials the first of the old list; the second is due at a half */
    await(all_up(c), SOON_MS);
    must_be(MEND_MISS, mend_get(c, S("k"), &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    answering.stop = true;
    pthread_join(answering.thread, NULL);
    for (int i = 0; i < 12; i++)
        close(hang[i]);
    memcached_stop(&m);
}

/* The last test: its lookups go on hanging. */
static void lookups_are_bounded_in_number(void **state)
{
    enum { NAMES = 100, BOUND = 64 };
    (void)state;
    NEEDS_A_WORLD();
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    mend_client     *c = NULL;
    char             servers[NAMES * 32], ours[32];
    memcached_start(&m, "127.0.0.1", NULL);
    int length = snprintf(servers, sizeof servers, "%s", m.name);
    for (int i = 0; i < NAMES; i++)
        length += snprintf(servers + length, sizeof servers - (size_t)length, ",n%d.hangs.example", i);
    int before = threads(), most = before;
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = servers, .timeout_ms = TIMEOUT_MS), &c, &r), &r);
    for (size_t i = 1; i <= NAMES; i++) {
        await(state_of(c, i) >= MEND_STATE_DOWN, SOON_MS);
        most = threads() > most ? threads() : most;
    }
    must(most <= before + 1 + BOUND, "%d threads, %d before", most, before); /* the healer's, and theirs */
    must(most > before + BOUND / 2, "%d threads, %d before", most, before);  /* or nothing hung */
    await(state_of(c, 0) == MEND_STATE_UP, SOON_MS);
    key_on(c, m.name, ours, sizeof ours);
    must_be(MEND_OK, mend_set(c, S(ours), S("v"), NULL, &r), &r);

    pid_t child = fork(); /* it has none of these threads, and may have as many of its own */
    if (child == 0) {
        int64_t until = now_ms() + SOON_MS;
        mend_set(c, S(ours), S("v"), NULL, NULL);
        while (threads() <= 1 + BOUND / 2 && now_ms() < until)
            pause_ms(1);
        _exit(threads() <= 1 + BOUND / 2);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "no lookups in a child: %x", (unsigned)status);
    mend_close(c);
    mend_reply_free(&r);
    memcached_stop(&m);
}

static int leave(void **state)
{
    static const char *const ours[] = {"resolv.conf", "nsswitch.conf", "hosts"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", directory, ours[i]);
        unlink(path);
    }
    rmdir(directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hung_lookup_holds_up_nobody),
        cmocka_unit_test(a_name_becomes_known),
        cmocka_unit_test(a_server_moves),
        cmocka_unit_test(a_name_of_several_addresses),
        cmocka_unit_test(the_last_good_address_is_kept),
        cmocka_unit_test(a_list_that_shrinks_during_a_trial),
        cmocka_unit_test(a_name_that_leads_elsewhere_is_followed),
        cmocka_unit_test(an_address_that_is_still_there_is_kept),
        cmocka_unit_test(a_new_address_has_to_prove_itself),
        cmocka_unit_test(who_wants_no_lookups_has_none),
        cmocka_unit_test(every_address_is_a_server),
        cmocka_unit_test(a_name_without_addresses),
        cmocka_unit_test(lookups_are_bounded_in_number),
    };
    world_of_our_own();
    return cmocka_run_group_tests_name("lookup", tests, watch_begins, leave);
}
