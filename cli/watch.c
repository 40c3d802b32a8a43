/* watch.c - the command watch: health and events as they happen, a line each.
 *
 * Every server is asked once an interval, by a thread of its own that may wait for a hung one;
 * the states are looked at more often. Outages are told by the client's events, the rest by
 * mend_servers.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "demo/clock.h"
#include "interrupt.h"
#include "say.h"

enum { LOOK_MS = 20 };

struct watch {
    struct cli     *cli;
    pthread_mutex_t printing; /* a line at a time; guards left */
    uint64_t        left;     /* lines to print yet; 0: no more */
    struct seen    *seen;     /* servers, in the order in which mend_servers first told of them */
    size_t          count;
    size_t          next;     /* where the next that it tells of most likely is */
    int64_t         interval_ns;
};

struct seen {
    char      *name;
    mend_state state;
};

/* For programs with the zone, for files with the day, on a terminal without, for there is little room. */
static const char *time_of_day(const struct watch *w, char *text, size_t size)
{
    const char     *format = w->cli->opt.json ? "%Y-%m-%dT%H:%M:%S" : isatty(STDOUT_FILENO) ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S";
    struct timespec now;
    struct tm       day;

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &day);
    size_t n = strftime(text, size, format, &day);
    n += (size_t)snprintf(text + n, size - n, ".%03d", (int)(now.tv_nsec / 1000000));
    if (w->cli->opt.json)
        strftime(text + n, size - n, "%z", &day);
    return text;
}

static void print_json(const char *time, const mend_server *s, const char *what, const char *why, int64_t outage_ms)
{
    json_object *line = json_object_new_object();

    json_text(line, "time", time);
    json_text(line, "server", s->name);
    json_text(line, "event", what);
    json_text(line, "why", why);
    if (outage_ms >= 0)
        json_number(line, "outage_ms", outage_ms);
    json_line(line);
}

static void print_line(const char *time, const mend_server *s, const char *what, const char *ink, const char *words)
{
    int name = (int)strlen(s->name) > 21 ? (int)strlen(s->name) : 21;
    int columns = (int)strlen(time) + 2 + name + 1 + (int)strlen(what);

    printf("%s  %-*s %s%s%s", time, name, s->name, say_ink(stdout, ink), what, say_ink(stdout, "\033[0m"));
    if (*words)
        printf("  %.*s", say_room_behind(columns + 2), words);
    printf("\n");
}

/* what: a word, for programs; words: for people. outage_ms: -1: none. */
static void print(struct watch *w, const mend_server *s, const char *what, const char *ink, const char *words, int64_t outage_ms)
{
    char time[64];

    pthread_mutex_lock(&w->printing);
    if (w->left) {
        time_of_day(w, time, sizeof time);
        if (w->cli->opt.json)
            print_json(time, s, what, s->why, outage_ms);
        else
            print_line(time, s, what, ink, words);
        fflush(stdout);
        w->left--;
    }
    pthread_mutex_unlock(&w->printing);
}

/* ---- Outages: on the healer's thread -------------------------------------------------- */

static void on_event(const mend_event *event, void *context)
{
    struct watch      *w = context;
    const mend_server *s = event->server;
    char               words[100], outage[WORDS_MAX];

    switch (event->type) {
    case MEND_EVENT_DOWN: print(w, s, "down", say_state_ink(MEND_STATE_DOWN), s->why, -1); break;
    case MEND_EVENT_BACK:
        snprintf(words, sizeof words, "after %s", say_seconds(outage, event->outage_ms));
        print(w, s, "back", say_state_ink(MEND_STATE_UP), words, event->outage_ms);
        break;
    case MEND_EVENT_JOURNAL_OVERFLOW: print(w, s, "overflow", say_state_ink(MEND_STATE_DOUBTFUL), s->why, -1); break;
    case MEND_EVENT_ALL_DOWN: print(w, s, "all-down", say_state_ink(MEND_STATE_DOWN), "perhaps it is our own network", -1); break;
    case MEND_EVENT_AUTH_REFUSED: print(w, s, "auth-refused", say_state_ink(MEND_STATE_DOWN), s->why, -1); break;
    }
}

/* ---- States --------------------------------------------------------------------------------- */

/* Where lists are found out (dns://, cluster://) servers come and go. One that is new here begins as NEW. */
static struct seen *seen_of(struct watch *w, const char *name)
{
    for (size_t n = 0; n < w->count; n++) {
        size_t i = (w->next + n) % w->count;
        if (strcmp(w->seen[i].name, name) == 0) {
            w->next = i + 1;
            return &w->seen[i];
        }
    }
    w->seen = reallocarray(w->seen, w->count + 1, sizeof *w->seen);
    struct seen *seen = w->seen ? &w->seen[w->count++] : NULL;
    if (!seen || !(seen->name = strdup(name)))
        fail(UNAVAILABLE, "out of memory");
    seen->state = MEND_STATE_NEW;
    return seen;
}

static void look_at(const mend_server *s, void *context)
{
    struct watch *w = context;
    struct seen  *seen = seen_of(w, s->name);
    mend_state    was = seen->state, is = s->state == MEND_STATE_TRIAL ? MEND_STATE_DOWN : s->state;

    if (was == is)
        return;
    if (is == MEND_STATE_UP && was != MEND_STATE_DOWN)
        print(w, s, "up", say_state_ink(is), "", -1);
    if (is == MEND_STATE_DOUBTFUL)
        print(w, s, "doubtful", say_state_ink(is), s->why, -1);
    seen->state = is;
}

static void *ask_all(void *watch)
{
    struct watch *w = watch;

    for (int64_t next_ns = clock_now(); !interrupted(); clock_sleep_until(next_ns)) {
        mend_ping(w->cli->client, NULL);
        next_ns = next_ns + w->interval_ns < clock_now() ? clock_now() + w->interval_ns : next_ns + w->interval_ns;
    }
    return NULL;
}

/* Of a pipe: a line would tell, too, but may be long in coming. */
static bool nobody_reads(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO};
    return poll(&p, 1, 0) > 0 && p.revents & POLLERR;
}

static bool more(struct watch *w)
{
    pthread_mutex_lock(&w->printing);
    bool left = w->left;
    pthread_mutex_unlock(&w->printing);
    return left && !interrupted() && !ferror(stdout) && !nobody_reads();
}

int run_watch(struct cli *cli, int argc, char **argv)
{
    struct watch w = {.cli = cli, .left = cli->opt.count ? cli->opt.count : UINT64_MAX, .printing = PTHREAD_MUTEX_INITIALIZER};
    size_t       n;
    pthread_t    asking;

    (void)argc, (void)argv;
    w.interval_ns = MS(cli->opt.interval_ms);
    cli->config.on_event = on_event;
    cli->config.on_event_context = &w;
    interrupt_catch();
    cli_servers(cli, &n); /* there is at least one */
    if (pthread_create(&asking, NULL, ask_all, &w) != 0)
        fail(UNAVAILABLE, "no thread");
    while (more(&w)) {
        w.next = 0;
        mend_servers(cli->client, look_at, &w);
        clock_sleep_until(clock_now() + MS(LOOK_MS));
    }
    say_flushed();
    interrupt_die();
    exit(DONE); /* the thread that asks may be waiting: it ends with the process */
}
