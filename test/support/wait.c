/* wait.c - see wait.h. */
#include "support/wait.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void pause_ms(int ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
}

/* ---- How late this machine makes us ---- */
static atomic_int       latest_ms;
static _Atomic int64_t napping_since; /* 0: nobody watches */

static void *watch(void *nothing)
{
    for (;;) {
        int64_t began = now_ms();
        napping_since = began;
        pause_ms(1);
        int late = (int)(now_ms() - began) - 1;
        if (late > latest_ms)
            latest_ms = late;
    }
    return nothing;
}

int watch_begins(void **state)
{
    pthread_t thread;
    sigset_t  all, before;
    (void)state;
    sigfillset(&all); /* it takes no signal that is meant for a test */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed || pthread_detach(thread);
}

int late_ms(void)
{
    int     latest = latest_ms;
    int64_t since = napping_since, now = now_ms();
    if (since && now - since - 1 > latest) /* it is in this very moment */
        latest = (int)(now - since - 1);
    return latest;
}

int slack_ms(void)
{
    return 300 + 3 * late_ms();
}

/* ---- A client from outside ---- */
struct seen seen_of(const mend_server *s)
{
    struct seen seen = {
        .state = s->state, .since_ms = s->since_ms, .next_trial_ms = s->next_trial_ms, .falls = s->falls,
        .failures = s->failures, .connections = s->connections, .weight = s->weight,
    };
    snprintf(seen.name, sizeof seen.name, "%s", s->name);
    snprintf(seen.why, sizeof seen.why, "%s", s->why);
    snprintf(seen.protocol, sizeof seen.protocol, "%s", s->protocol);
    seen.journal_keys = s->journal_keys;
    seen.journal_deleted = s->journal_deleted;
    seen.journal_overflows = s->journal_overflows;
    seen.values_broken = s->values_broken;
    return seen;
}

struct look {
    size_t      wanted, count, up;
    struct seen seen;
};

static void each(const mend_server *server, void *context)
{
    struct look *look = context;
    if (look->count++ == look->wanted)
        look->seen = seen_of(server);
    look->up += server->state == MEND_STATE_UP;
}

static struct look look_at(mend_client *client, size_t i)
{
    struct look look = {.wanted = i, .seen = {.state = (mend_state)-1}};
    mend_servers(client, each, &look);
    return look;
}

struct seen seen_at(mend_client *client, size_t i)
{
    return look_at(client, i).seen;
}

mend_state state_of(mend_client *client, size_t i)
{
    return look_at(client, i).seen.state;
}

bool all_up(mend_client *client)
{
    struct look look = look_at(client, 0);
    return look.count > 0 && look.up == look.count;
}

size_t servers_of(mend_client *client)
{
    return look_at(client, 0).count;
}

static void describe(const mend_server *s, void *context)
{
    (void)context;
    print_error("%s: state %d for %d ms, \"%s\", falls %u, connections %u\n", s->name, s->state, (int)s->since_ms, s->why, s->falls, s->connections);
}

mend_client *open_up(const mend_config *config)
{
    mend_client *client = NULL;
    mend_reply   r = MEND_REPLY;
    must_be(MEND_OK, mend_open(config, &client, &r), &r);
    mend_reply_free(&r);
    for (int64_t until = now_ms() + SOON_MS; !all_up(client) && now_ms() < until;)
        pause_ms(1);
    if (!all_up(client)) {
        mend_servers(client, describe, NULL);
        fail_msg("not up within %d ms: %s", SOON_MS, config->servers);
    }
    return client;
}

static int entries(const char *directory)
{
    DIR *d = opendir(directory);
    int  n = 0;
    if (!d)
        return -1;
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

int descriptors(void)
{
    return entries("/proc/self/fd") - 1; /* without the one that looks */
}

int threads(void)
{
    return entries("/proc/self/task");
}
