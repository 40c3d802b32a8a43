/* demo.c - what mend is for, made visible: the programme of faults, and main.
 *
 *     mend-demo [--quick] [--threads N] [--picture FILE.svg]
 *
 * Starts three memcacheds (world), an application that reads through them (app), and
 * then kills, stops and revives them, while the screen shows what becomes of it. At
 * the end a table sets what was measured (figures) beside what mend promises, and a
 * picture shows the whole run. Before that comes one outage more, twice: what the
 * database bears when the application falls back by hand, and by mend_fetch (fallback).
 *
 * Knows mend by its public header alone, as every other file here.
 */
#include <errno.h>
#include <mend.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app.h"
#include "clock.h"
#include "fallback.h"
#include "picture.h"
#include "run.h"
#include "screen.h"
#include "table.h"
#include "world.h"

enum { EXIT_KEPT = 0, EXIT_BROKEN = 1, EXIT_USAGE = 2, EXIT_NO_RUN = 3 };

enum {
    TIMEOUT_MS = 100,
    CALLS_PER_S = 6000, /* of all threads: far from what two cores bear, so that their times mean something */
    HEAL_PATIENCE_MS = 5000,
};

enum { A = 1, B = 2, C = 4 };

/* How long a server is away: what it is promised after it differs from one second on. */
static const struct step {
    unsigned servers;
    bool     hung;
    int      away_ms, quick_away_ms;
} programme[] = {
    {.servers = B, .away_ms = 500, .quick_away_ms = 400},
    {.servers = C, .away_ms = 3000, .quick_away_ms = 1500},
    {.servers = A, .hung = true, .away_ms = 3000, .quick_away_ms = 1000},
    {.servers = A | B | C, .away_ms = 2000, .quick_away_ms = 1200},
};
enum { STEPS = sizeof programme / sizeof *programme };

struct options {
    bool        quick;
    unsigned    threads;
    const char *picture;
};

struct demo {
    struct options options;
    struct run     run;
    struct world   world;
    struct screen *screen;
    sigset_t       ends; /* the signals that ask us to end; blocked, and looked for wherever we wait */
};

static int warm_up_ms(const struct demo *d)
{
    return d->options.quick ? 1200 : 4000;
}

static int quiet_ms(const struct demo *d)
{
    return d->options.quick ? 900 : 3500;
}

/* Of the fallback's part: before its outage and after it... */
static int calm_ms(const struct demo *d)
{
    return d->options.quick ? 300 : 1000;
}

/* ...and between. */
static int all_away_ms(const struct demo *d)
{
    return d->options.quick ? 600 : 2000;
}

static int away_ms(const struct demo *d, const struct step *step)
{
    return d->options.quick ? step->quick_away_ms : step->away_ms;
}

enum { LIST_BYTES = SERVERS * 33 };

/* As mend_open wants it. */
static const char *list_servers(const struct run *run, char list[LIST_BYTES])
{
    snprintf(list, LIST_BYTES, "%s,%s,%s", run->address[0], run->address[1], run->address[2]);
    return list;
}

/* ---- Ending early ------------------------------------------------------------------------- */

/* Whoever is still in a call ends with the process: nobody is waited for. */
static _Noreturn void interrupted(struct demo *d, int signal_number)
{
    if (d->screen)
        screen_hush(d->screen);
    world_close(&d->world);
    fprintf(stderr, "\nmend-demo: interrupted; its memcacheds are gone\n");
    signal(signal_number, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &d->ends, NULL);
    raise(signal_number);
    _exit(EXIT_NO_RUN);
}

static _Noreturn void no_run(struct demo *d, const char *why)
{
    if (d->screen)
        screen_hush(d->screen);
    world_close(&d->world);
    fprintf(stderr, "mend-demo: %s\n", why);
    _exit(EXIT_NO_RUN);
}

static void rest_until(struct demo *d, int64_t at_ns)
{
    for (int64_t left; (left = at_ns - clock_now()) > 0;) {
        struct timespec t = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
        int             got = sigtimedwait(&d->ends, NULL, &t);
        if (got > 0)
            interrupted(d, got);
    }
}

/* ---- The programme -------------------------------------------------------------------------- */

static const char *names_of(unsigned servers, char names[12])
{
    if (servers == (A | B | C))
        return "all three";
    size_t n = 0;
    for (int s = 0; s < SERVERS; s++)
        if (servers & 1u << s)
            names[n++] = run_letter(s);
    names[n] = '\0';
    return names;
}

static struct fault *fault_new(struct demo *d, const struct step *step)
{
    struct fault *f = &d->run.faults[d->run.faults_count++];
    double        away_s = away_ms(d, step) / 1e3;
    char          names[12];

    f->servers = step->servers;
    f->hung = step->hung;
    if (f->hung)
        snprintf(f->name, sizeof f->name, "SIGSTOP of %s, SIGCONT after %.1f s", names_of(f->servers, names), away_s);
    else
        snprintf(f->name, sizeof f->name, "kill -9 of %s, restarted after %.1f s", names_of(f->servers, names), away_s);
    return f;
}

static void strike(struct demo *d, struct fault *f)
{
    for (int s = 0; s < SERVERS; s++)
        if (f->servers & 1u << s)
            history_note(&d->run.history, f->hung ? HISTORY_STOPPED : HISTORY_KILLED, s, "%s %c",
                         f->hung ? "SIGSTOP to" : "kill -9 of", run_letter(s));
    f->at_ns = clock_now();
    if (f->hung)
        world_stop(&d->world, f->servers);
    else
        world_kill(&d->world, f->servers);
}

static void cure(struct demo *d, struct fault *f, int s)
{
    if (!f->hung && !world_start(&d->world, s))
        no_run(d, d->world.why);

    double away = (double)(clock_now() - f->at_ns) / 1e6;
    if (f->hung)
        history_note(&d->run.history, HISTORY_CURED, s, "SIGCONT to %c, after %.0f ms", run_letter(s), away);
    else
        history_note(&d->run.history, HISTORY_CURED, s, "%c is restarted and answers, after %.0f ms", run_letter(s), away);
    f->cured_ns[s] = clock_now();
    if (f->hung)
        world_continue(&d->world, s);
    else
        metronome_follow(&d->run.metronome, s, d->world.at[s].pid);
}

static bool is_back(struct demo *d, const struct fault *f, int s)
{
    int64_t down = history_first(&d->run.history, HISTORY_DOWN, s, f->at_ns);
    return down >= 0 && history_first(&d->run.history, HISTORY_BACK, s, down) >= 0;
}

static void wait_for_healing(struct demo *d, const struct fault *f)
{
    int64_t due = clock_now() + MS(HEAL_PATIENCE_MS);
    for (int s = 0; s < SERVERS; s++)
        while (f->servers & 1u << s && !is_back(d, f, s) && clock_now() < due)
            rest_until(d, clock_now() + MS(5));
}

static void warm_up(struct demo *d)
{
    struct fault *f = &d->run.faults[d->run.faults_count++];
    snprintf(f->name, sizeof f->name, "No fault, from a cold cache");
    f->at_ns = d->run.started_ns;
    rest_until(d, f->at_ns + MS(warm_up_ms(d)));
    f->over_ns = clock_now();
}

static void perform(struct demo *d, const struct step *step)
{
    struct fault *f = fault_new(d, step);

    strike(d, f);
    rest_until(d, f->at_ns + MS(away_ms(d, step)));
    f->until_ns = clock_now();
    for (int s = 0; s < SERVERS; s++)
        if (f->servers & 1u << s)
            cure(d, f, s);
    wait_for_healing(d, f);
    rest_until(d, clock_now() + MS(quiet_ms(d)));
    f->over_ns = clock_now();
}

/* ---- The fallback's part ---------------------------------------------------------------------- */

/* Those that come up have nothing in them. */
static void restart_all(struct demo *d, int after_ms)
{
    world_kill(&d->world, A | B | C);
    rest_until(d, clock_now() + MS(after_ms));
    for (int s = 0; s < SERVERS; s++) {
        if (!world_start(&d->world, s))
            no_run(d, d->world.why);
        metronome_follow(&d->run.metronome, s, d->world.at[s].pid);
    }
}

static void fall_back(struct demo *d, bool fetches)
{
    struct fallback_run *side = &d->run.fallback[d->run.fallback_count++];
    char                 servers[LIST_BYTES], why[300];
    struct fallback_plan plan = {.servers = list_servers(&d->run, servers), .timeout_ms = d->run.timeout_ms, .fetches = fetches};

    restart_all(d, 0);
    struct fallback *f = fallback_start(&plan, why, sizeof why);
    if (!f)
        no_run(d, why);
    rest_until(d, clock_now() + MS(calm_ms(d)));
    fallback_count(f);
    side->fetches = fetches;
    side->at_ns = clock_now();
    restart_all(d, all_away_ms(d));
    rest_until(d, clock_now() + MS(calm_ms(d)));
    fallback_stop(f, &side->figures);
    side->over_ns = clock_now();
}

static void fall_back_twice(struct demo *d)
{
    struct run *run = &d->run;

    snprintf(run->fallback_name, sizeof run->fallback_name, "kill -9 of all three, restarted after %.1f s", all_away_ms(d) / 1e3);
    printf("\nOnce more %s,\nby hand and by mend_fetch: about %.0f s...\n", run->fallback_name,
           FALLBACK_SIDES * (all_away_ms(d) + 2 * calm_ms(d)) / 1e3);
    fflush(stdout);
    fall_back(d, false);
    fall_back(d, true);
}

/* ---- Opening and closing ---------------------------------------------------------------------- */

/* mend's own word for what it thinks of a server, from its healer's thread. */
static void on_event(const mend_event *event, void *context)
{
    struct run *run = context;
    int         s = 0;
    while (s < SERVERS && strcmp(event->server->name, run->address[s]) != 0)
        s++;
    if (s == SERVERS)
        return;

    switch (event->type) {
    case MEND_EVENT_DOWN:
        history_note(&run->history, HISTORY_DOWN, s, "mend: %c is down: %s", run_letter(s), event->server->why);
        break;
    case MEND_EVENT_JOURNAL_OVERFLOW:
    case MEND_EVENT_ALL_DOWN:
        break;
    case MEND_EVENT_BACK:
        history_note(&run->history, HISTORY_BACK, s, "mend: %c is back, after %d ms", run_letter(s), (int)event->outage_ms);
        break;
    }
}

static int64_t planned_ns(const struct demo *d)
{
    int ms = warm_up_ms(d);
    for (int i = 0; i < STEPS; i++)
        ms += away_ms(d, &programme[i]) + quiet_ms(d) + (away_ms(d, &programme[i]) < 1000 || programme[i].hung ? 50 : 500);
    return MS(ms);
}

static void open_client(struct demo *d)
{
    struct run *run = &d->run;
    char        servers[LIST_BYTES];
    mend_reply  r = MEND_REPLY;

    if (mend_open(&MEND_CONFIG(.servers = list_servers(run, servers), .timeout_ms = run->timeout_ms, .connections_idle_max = (int)run->threads,
                               .on_event = on_event, .on_event_context = run),
                  &run->client, &r) < 0)
        no_run(d, r.error);
    mend_reply_free(&r);
}

static void open_app(struct demo *d)
{
    struct run     *run = &d->run;
    struct app_plan plan = {.client = run->client, .history = &run->history, .threads = run->threads, .calls_per_s = CALLS_PER_S};
    char            why[300];

    for (int s = 0; s < SERVERS; s++)
        plan.address[s] = run->address[s];
    run->app = app_start(&plan, why, sizeof why);
    if (!run->app)
        no_run(d, why);
}

static void open_all(struct demo *d)
{
    struct run *run = &d->run;

    sigemptyset(&d->ends);
    sigaddset(&d->ends, SIGINT);
    sigaddset(&d->ends, SIGTERM);
    sigaddset(&d->ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &d->ends, NULL); /* before the first thread, so that it is so in all of them */

    if (!world_open(&d->world))
        no_run(d, d->world.why);
    for (int s = 0; s < SERVERS; s++)
        memcpy(run->address[s], d->world.at[s].address, sizeof run->address[s]);
    run->timeout_ms = TIMEOUT_MS;
    run->threads = d->options.threads;
    run->planned_ns = planned_ns(d);
    history_open(&run->history);
    if (!metronome_start(&run->metronome))
        no_run(d, "no threads for the metronome");
    for (int s = 0; s < SERVERS; s++)
        metronome_follow(&run->metronome, s, d->world.at[s].pid);

    run->started_ns = clock_now();
    open_client(d);
    open_app(d);
    d->screen = screen_start(run);
    if (!d->screen)
        no_run(d, "no thread for the screen");
}

static void stop_app(struct demo *d)
{
    struct run         *run = &d->run;
    const struct calls *lists[APP_THREADS_MAX];

    run->threads_hanging = app_stop(run->app);
    run->ended_ns = run->faults[run->faults_count - 1].over_ns;
    for (unsigned t = 0; t < run->threads; t++)
        lists[t] = app_calls(run->app, t);
    run->calls_count = calls_gather(lists, run->threads, &run->calls);
    screen_stop(d->screen);
    d->screen = NULL;

    if (run->threads_hanging == 0) { /* else somebody still uses it */
        world_stop(&d->world, A);
        int64_t begun = clock_now();
        mend_close(run->client);
        run->close_ns = clock_now() - begun;
        app_close(run->app);
    }
}

static void stop_world(struct demo *d)
{
    metronome_stop(&d->run.metronome);
    world_close(&d->world);
}

/* ---- The command ------------------------------------------------------------------------------------ */

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: mend-demo [--quick] [--threads N] [--picture FILE.svg] [--help]\n"
                "\n"
                "Shows what mend does while its servers are killed, stopped and brought back:\n"
                "three memcacheds of its own on 127.0.0.1, an application, and about 40 seconds.\n"
                "\n"
                "  --quick            about 14 seconds\n"
                "  --threads N        of the application, 1 to %d; 8 if not given\n"
                "  --picture FILE     where the picture of the run goes; mend-demo.svg if not given\n"
                "\n"
                "The memcached is $MEMCACHED, or the one in $PATH. NO_COLOR is heeded.\n"
                "Ends with 0 if every promise was kept, 1 if one was broken, 3 if it could not run.\n",
            APP_THREADS_MAX);
    return status;
}

static bool parse_threads(const char *s, unsigned *threads)
{
    char         *end;
    unsigned long n = strtoul(s, &end, 10);
    *threads = (unsigned)n;
    return *s >= '1' && *s <= '9' && !*end && n <= APP_THREADS_MAX;
}

/* -1: run; else the status to end with. */
static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.threads = 8, .picture = "mend-demo.svg"};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            return usage(stdout, EXIT_KEPT);
        if (strcmp(word, "--quick") == 0) {
            o->quick = true;
        } else if (strcmp(word, "--threads") == 0 && next && parse_threads(next, &o->threads)) {
            i++;
        } else if (strcmp(word, "--picture") == 0 && next && *next) {
            o->picture = next;
            i++;
        } else {
            fprintf(stderr, "mend-demo: what is \"%s\"?\n", word);
            return usage(stderr, EXIT_USAGE);
        }
    }
    return -1;
}

static int report(struct demo *d)
{
    struct run       *run = &d->run;
    struct table_sums sums = table_print(run, screen_colours());
    bool              drawn = picture_write(run, d->options.picture);

    if (drawn)
        printf("\nThe picture of it: %s\n", d->options.picture);
    else
        printf("\nThe picture could not be written to %s: %s\n", d->options.picture, strerror(errno));

    if (sums.broken)
        printf("BROKEN: %u of these promises.\n", sums.broken);
    else if (sums.unjudged)
        printf("No promise broken; %u not judged, on a machine that was too busy.\n", sums.unjudged);
    else
        printf("All promises kept.\n");
    return sums.broken ? EXIT_BROKEN : drawn ? EXIT_KEPT : EXIT_NO_RUN;
}

int main(int argc, char **argv)
{
    static struct demo d;

    int status = parse(argc, argv, &d.options);
    if (status >= 0)
        return status;
    if (!picture_can(d.options.picture)) {
        fprintf(stderr, "mend-demo: cannot write %s: %s\n", d.options.picture, strerror(errno));
        return EXIT_NO_RUN;
    }

    open_all(&d);
    warm_up(&d);
    for (int i = 0; i < STEPS; i++)
        perform(&d, &programme[i]);
    stop_app(&d);
    if (d.run.threads_hanging == 0)
        fall_back_twice(&d);
    stop_world(&d);

    status = report(&d);
    fflush(stdout);
    if (d.run.threads_hanging > 0)
        _exit(status); /* what they use cannot be given back */
    free(d.run.calls);
    history_close(&d.run.history);
    return status;
}
