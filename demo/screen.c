/* screen.c - see screen.h. */
#include "screen.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "clock.h"

enum {
    LOOK_MS = 5,
    DRAW_MS = 100,
    LINE_MS = 1000,
    WIDTH = 80,
    HEIGHT = 24,
    STRIP = 74, /* cells of a server's timeline */
    EVENTS = 4,
};

/* How each state looks; a cell of the timeline shows the gravest of what it saw. */
static const struct {
    const char *name, *ink, *paper;
    char        mark;
    int         gravity;
} looks[] = {
    [MEND_STATE_NEW] = {"new", "\033[34m", "\033[30;44m", '.', 2},
    [MEND_STATE_UP] = {"up", "\033[32m", "\033[30;42m", '=', 1},
    [MEND_STATE_DOUBTFUL] = {"DOUBTFUL", "\033[33m", "\033[30;43m", '?', 3},
    [MEND_STATE_DOWN] = {"DOWN", "\033[31m", "\033[30;41m", 'x', 5},
    [MEND_STATE_TRIAL] = {"ON TRIAL", "\033[35m", "\033[30;45m", 't', 4},
};
enum { LOOKS = sizeof looks / sizeof *looks };

struct seen { /* a server, as mend_servers told of it */
    mend_state state;
    int64_t    since_ms;
    char       why[40];
};

struct screen {
    struct run          *run;
    pthread_t            thread;
    atomic_bool          stop;
    bool                 live, colours;
    pthread_mutex_t      drawing;
    bool                 hushed;
    int                  drawn; /* lines of the frame that stands in the terminal */
    size_t               events_told;
    struct history_event events[EVENTS];
    struct seen          seen[SERVERS];
    int                  told; /* servers that mend_servers has told of in this look */
    const char          *process[SERVERS];
    unsigned char        strip[SERVERS][STRIP];   /* a state + 1; 0: not yet */
    struct calls_mark    second[APP_THREADS_MAX]; /* where the last second begins */
    struct call         *recent;
    size_t               recent_room;
};

/* A frame, or a line, before it is written: all at once, so that nothing flickers. */
struct paper {
    char   text[16384];
    size_t n;
};

static __attribute__((format(printf, 2, 3))) void put(struct paper *p, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    int n = vsnprintf(p->text + p->n, sizeof p->text - p->n, format, words);
    va_end(words);
    if (n > 0)
        p->n = p->n + (size_t)n < sizeof p->text ? p->n + (size_t)n : sizeof p->text - 1;
}

static void paper_write(const struct paper *p)
{
    for (size_t done = 0; done < p->n;) {
        ssize_t n = write(STDOUT_FILENO, p->text + done, p->n - done);
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

bool screen_colours(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

/* Is this a terminal that a frame can be drawn in? */
static bool can_draw(void)
{
    struct winsize size;
    const char    *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
           size.ws_col >= WIDTH && size.ws_row >= HEIGHT;
}

/* ---- Looking ---------------------------------------------------------------------------- */

static void look_at(const mend_server *server, void *context)
{
    struct screen *s = context;
    int            i = s->told++;
    if (i >= SERVERS || (unsigned)server->state >= LOOKS)
        return;

    struct seen *seen = &s->seen[i];
    seen->state = server->state;
    seen->since_ms = server->since_ms;
    snprintf(seen->why, sizeof seen->why, "%s", server->why);
    history_saw(&s->run->history, i, server->state);

    int64_t cell = (clock_now() - s->run->started_ns) * STRIP / s->run->planned_ns;
    if (cell < 0 || cell >= STRIP)
        return;
    unsigned char *at = &s->strip[i][cell];
    if (*at == 0 || looks[server->state].gravity > looks[*at - 1].gravity)
        *at = (unsigned char)(server->state + 1);
}

static void look(struct screen *s)
{
    s->told = 0;
    mend_servers(s->run->client, look_at, s);
}

/* The calls of all threads that ended within the last second. */
static struct calls_summary last_second(struct screen *s)
{
    int64_t from_ns = clock_now() - MS(1000);
    size_t  n = 0;

    for (unsigned t = 0; t < s->run->threads; t++) {
        struct calls_mark *old = &s->second[t], mark = *old;
        for (const struct call *c; (c = calls_next(&mark));) {
            if (c->end_ns < from_ns) {
                *old = mark;
                continue;
            }
            if (n == s->recent_room) {
                s->recent_room = n ? 2 * n : 1024;
                s->recent = calls_memory(s->recent, s->recent_room * sizeof *s->recent);
            }
            s->recent[n++] = *c;
        }
    }
    return calls_summary(s->recent, n);
}

static double percent(size_t n, size_t of)
{
    return of ? 100 * (double)n / (double)of : 0;
}

static double seconds(const struct screen *s, int64_t at_ns)
{
    return (double)(at_ns - s->run->started_ns) / 1e9;
}

/* The next event that was not told of yet. What it says of a process is remembered. */
static bool next_event(struct screen *s, struct history_event *e)
{
    static const char *const process[] = {
        [HISTORY_KILLED] = "dead", [HISTORY_STOPPED] = "stopped", [HISTORY_CURED] = "runs", [HISTORY_WRONG] = NULL};

    if (history_since(&s->run->history, s->events_told, e, 1) == 0)
        return false;
    s->events_told++;
    if (e->server >= 0 && process[e->kind])
        s->process[e->server] = process[e->kind];
    return true;
}

/* ---- Lines, for a pipe --------------------------------------------------------------------- */

static void tell_events(struct screen *s, struct paper *p)
{
    for (struct history_event e; next_event(s, &e);)
        put(p, "%7.3f s  * %s\n", seconds(s, e.at_ns), e.text);
}

static void tell_second(struct screen *s, struct paper *p)
{
    struct calls_summary c = last_second(s);
    char                 p50[CLOCK_WORDS], p99[CLOCK_WORDS], slowest[CLOCK_WORDS];

    put(p, "%7.3f s ", seconds(s, clock_now()));
    for (int i = 0; i < SERVERS; i++)
        put(p, " %c %-8s", run_letter(i), looks[s->seen[i].state].name);
    put(p, " %5zu calls  hits %5.1f%%  fallbacks %5.1f%%  p50 %s  p99 %s  slowest %s\n", c.calls, percent(c.hits, c.items),
        percent(c.fallbacks, c.items), clock_words(p50, c.p50_ns), clock_words(p99, c.p99_ns), clock_words(slowest, c.slowest_ns));
}

/* ---- A frame, for a terminal ------------------------------------------------------------------ */

static const char *ink(const struct screen *s, const char *code)
{
    return s->colours ? code : "";
}

static void end_line(struct screen *s, struct paper *p)
{
    put(p, "\033[K\n");
    s->drawn++;
}

static void draw_servers(struct screen *s, struct paper *p)
{
    put(p, "%s   %-16s %-8s %-9s %8s  %s%s", ink(s, "\033[2m"), "server", "process", "to mend", "for", "why", ink(s, "\033[0m"));
    end_line(s, p);
    for (int i = 0; i < SERVERS; i++) {
        const struct seen *seen = &s->seen[i];
        bool               sick = seen->state != MEND_STATE_UP;
        put(p, "%s%c%s  %-16s %-8s %s%-9s%s %6.1f s  %.31s", ink(s, "\033[1m"), run_letter(i), ink(s, "\033[0m"), s->run->address[i],
            s->process[i], ink(s, looks[seen->state].ink), looks[seen->state].name, ink(s, "\033[0m"),
            (double)seen->since_ms / 1e3, sick ? seen->why : "");
        end_line(s, p);
    }
}

static void draw_bar(struct screen *s, struct paper *p, const char *name, size_t n, size_t of, const char *paper)
{
    int width = (int)(percent(n, of) * 50 / 100 + 0.5);
    put(p, "%-10s %5.1f %%  %s", name, percent(n, of), ink(s, paper));
    for (int i = 0; i < width; i++)
        put(p, "%c", s->colours ? ' ' : '#');
    put(p, "%s", ink(s, "\033[0m"));
    end_line(s, p);
}

static void draw_calls(struct screen *s, struct paper *p)
{
    struct calls_summary c = last_second(s);
    char                 p50[CLOCK_WORDS], p99[CLOCK_WORDS], slowest[CLOCK_WORDS];
    size_t               misses = c.items - c.hits - c.fallbacks;

    put(p, "the last second: %zu calls, p50 %s, p99 %s, %sslowest %s%s", c.calls, clock_words(p50, c.p50_ns), clock_words(p99, c.p99_ns),
        ink(s, "\033[1m"), clock_words(slowest, c.slowest_ns), ink(s, "\033[0m"));
    end_line(s, p);
    draw_bar(s, p, "hits", c.hits, c.items, "\033[42m");
    draw_bar(s, p, "misses", misses, c.items, "\033[47m");
    draw_bar(s, p, "fallbacks", c.fallbacks, c.items, "\033[43m");
}

static void draw_strips(struct screen *s, struct paper *p)
{
    for (int i = 0; i < SERVERS; i++) {
        put(p, "%s%c%s  ", ink(s, "\033[1m"), run_letter(i), ink(s, "\033[0m"));
        for (int cell = 0; cell < STRIP; cell++) {
            int state = s->strip[i][cell] - 1;
            if (state < 0)
                put(p, " "); /* not yet, or not looked at */
            else
                put(p, "%s%c%s", ink(s, looks[state].paper), looks[state].mark, ink(s, "\033[0m"));
        }
        end_line(s, p);
    }

    int64_t planned_s = s->run->planned_ns / MS(1000), step = planned_s > 15 ? 5 : 1;
    int     column = 0;
    put(p, "   ");
    for (int64_t t = 0; t * STRIP / planned_s < STRIP - 4; t += step) {
        for (; column < (int)(t * STRIP / planned_s); column++)
            put(p, " ");
        char label[16];
        column += snprintf(label, sizeof label, "|%d s", (int)t);
        put(p, "%s", label);
    }
    end_line(s, p);
    put(p, "   ");
    for (int i = 0; i < LOOKS; i++)
        put(p, "%s%c%s %s  ", ink(s, looks[i].paper), looks[i].mark, ink(s, "\033[0m"), looks[i].name);
    end_line(s, p);
}

static void draw_events(struct screen *s, struct paper *p)
{
    for (struct history_event e; next_event(s, &e);) {
        memmove(s->events, s->events + 1, sizeof s->events - sizeof *s->events);
        s->events[EVENTS - 1] = e;
    }
    for (int i = 0; i < EVENTS; i++) {
        if (s->events[i].at_ns)
            put(p, "%7.3f s  %s%.66s%s", seconds(s, s->events[i].at_ns), ink(s, s->events[i].kind == HISTORY_WRONG ? "\033[1;31m" : ""),
                s->events[i].text, ink(s, "\033[0m"));
        end_line(s, p);
    }
}

static void draw(struct screen *s, struct paper *p)
{
    if (s->drawn)
        put(p, "\033[%dA\r", s->drawn);
    else
        put(p, "\033[?25l");
    s->drawn = 0;

    put(p, "%smend-demo%s   %.1f of about %.0f s   %u threads   timeout %d ms   available: %s", ink(s, "\033[1m"), ink(s, "\033[0m"),
        seconds(s, clock_now()), (double)s->run->planned_ns / 1e9, s->run->threads, s->run->timeout_ms,
        mend_connection_available(s->run->client) ? "yes" : "NO");
    end_line(s, p);
    end_line(s, p);
    draw_servers(s, p);
    end_line(s, p);
    draw_calls(s, p);
    end_line(s, p);
    draw_strips(s, p);
    end_line(s, p);
    draw_events(s, p);
}

/* ---- The thread ---------------------------------------------------------------------------------- */

/* If we crash, the terminal gets its cursor back. */
static void on_crash(int sig)
{
    static const char back[] = "\033[0m\033[?25h\n";
    ssize_t           ignored = write(STDOUT_FILENO, back, sizeof back - 1);
    (void)ignored;
    signal(sig, SIG_DFL);
    raise(sig);
}

static void show(struct screen *s, bool whole_second)
{
    struct paper p = {.n = 0};

    pthread_mutex_lock(&s->drawing);
    if (!s->hushed) {
        if (s->live)
            draw(s, &p);
        else
            tell_events(s, &p);
        if (!s->live && whole_second)
            tell_second(s, &p);
        paper_write(&p);
    }
    pthread_mutex_unlock(&s->drawing);
}

static void *watch(void *arg)
{
    struct screen *s = arg;
    int64_t        draw_ns = s->run->started_ns, second_ns = s->run->started_ns + MS(LINE_MS);

    while (!atomic_load(&s->stop)) {
        look(s);
        int64_t now = clock_now();
        if (now >= draw_ns) {
            show(s, now >= second_ns);
            draw_ns = now + MS(DRAW_MS);
            if (now >= second_ns)
                second_ns += MS(LINE_MS);
        }
        clock_sleep_until(now + MS(LOOK_MS));
    }
    show(s, true);
    return NULL;
}

struct screen *screen_start(struct run *run)
{
    struct screen *s = calls_memory(NULL, sizeof *s);
    memset(s, 0, sizeof *s);
    s->run = run;
    s->live = can_draw();
    s->colours = screen_colours();
    pthread_mutex_init(&s->drawing, NULL);
    for (int i = 0; i < SERVERS; i++)
        s->process[i] = "runs";
    for (unsigned t = 0; t < run->threads; t++)
        s->second[t] = calls_mark(app_calls(run->app, t));
    if (s->live) {
        static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
        for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
            signal(crashes[i], on_crash);
    }
    if (pthread_create(&s->thread, NULL, watch, s) == 0)
        return s;
    free(s);
    return NULL;
}

void screen_hush(struct screen *s)
{
    pthread_mutex_lock(&s->drawing);
    if (s->live && !s->hushed)
        paper_write(&(struct paper){.text = "\033[0m\033[?25h", .n = 10});
    s->hushed = true;
    pthread_mutex_unlock(&s->drawing);
}

void screen_stop(struct screen *s)
{
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    screen_hush(s);
    pthread_mutex_destroy(&s->drawing);
    free(s->recent);
    free(s);
}
