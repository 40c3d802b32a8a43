/* picture.c - see picture.h. */
#include "picture.h"

#include <errno.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "figures.h"
#include "svg.h"

/* From top to bottom; the paper is WIDTH x HEIGHT. */
enum {
    WIDTH = 1000,
    LEFT = 66,
    RIGHT = 985,
    WORDS_TOP = 62, /* what was done */
    BANDS_TOP = 138,
    BAND = 20, /* a server each */
    BAND_STEP = 27,
    TIMES_TOP = 262, /* calls' times, on a scale of powers of ten... */
    TIMES_HEIGHT = 168,
    DECADES = 6, /* ...from 1 us to 1 s */
    SHARES_TOP = 474,
    SHARES_HEIGHT = 80,
    AXIS = SHARES_TOP + SHARES_HEIGHT,
    LEGEND = AXIS + 44,
    HEIGHT = LEGEND + 18,
};

#define UP       "#4caf7a"
#define NEW      "#8fb8de"
#define DOUBTFUL "#f2b134"
#define DOWN     "#d9534f"
#define TRIAL    "#9c6bb5"
#define GONE     "#222222"
#define HITS     "#a9d8bd"
#define MISSES   "#d5d8dc"
#define FALLBACK "#f2b134"
#define MIDDLE   "#2f6fb0"
#define TAIL     "#8a4fa3"
#define WORST    "#c0392b"
#define QUIET    "#5f6872"

static const char *const state_colour[] = {
    [MEND_STATE_NEW] = NEW,   [MEND_STATE_UP] = UP,       [MEND_STATE_DOUBTFUL] = DOUBTFUL,
    [MEND_STATE_DOWN] = DOWN, [MEND_STATE_TRIAL] = TRIAL,
};

struct canvas {
    FILE         *file;
    struct run   *run;
    int64_t       step_ns; /* of calls taken together */
};

static double x_of(const struct canvas *c, int64_t at_ns)
{
    double part = (double)(at_ns - c->run->started_ns) / (double)(c->run->ended_ns - c->run->started_ns);
    return LEFT + (RIGHT - LEFT) * (part < 0 ? 0 : part > 1 ? 1 : part);
}

static double y_of_time(int64_t ns)
{
    double decades = log10((double)(ns < 1000 ? 1000 : ns) / 1000);
    return TIMES_TOP + TIMES_HEIGHT * (1 - (decades > DECADES ? DECADES : decades) / DECADES);
}

/* ---- The frame, the faults, the servers --------------------------------------------------- */

static void draw_paper(const struct canvas *c)
{
    const struct run    *run = c->run;
    struct calls_summary all = calls_summary(run->calls, run->calls_count);
    char                 text[200], slowest[CLOCK_WORDS];

    svg_begin(c->file, WIDTH, HEIGHT);
    svg_words(c->file, 16, 26, "start", "font-size=\"17\" font-weight=\"bold\"", "mend: a cache whose servers are killed, stopped and brought back");
    snprintf(text, sizeof text, "three memcacheds, %u threads, timeout %d ms: %zu calls, the slowest %s, wrong answers %zu", run->threads,
             run->timeout_ms, all.calls, clock_words(slowest, all.slowest_ns), all.wrong);
    svg_words(c->file, 16, 45, "start", "fill=\"" QUIET "\"", text);
}

/* Each fault in a few short lines, with what came of it, at its time. */
static void draw_fault(const struct canvas *c, const struct fault *fault)
{
    struct figures f = figures_of(c->run, fault);
    double         x = x_of(c, fault->at_ns) + 4, y = WORDS_TOP + 8;
    char           text[64], time[CLOCK_WORDS], who[16] = "all three";

    if (fault->servers != (1u << SERVERS) - 1)
        for (int s = 0; s < SERVERS; s++)
            if (fault->servers & 1u << s)
                snprintf(who, sizeof who, "%c", run_letter(s));

    svg_line(c->file, x - 4, WORDS_TOP, x - 4, BANDS_TOP + SERVERS * BAND_STEP, "#9aa3ad", "2 3");
    svg_line(c->file, x - 4, TIMES_TOP, x - 4, TIMES_TOP + TIMES_HEIGHT, "#9aa3ad", "2 3");
    snprintf(text, sizeof text, "%s %s", fault->hung ? "SIGSTOP" : "kill -9", who);
    svg_words(c->file, x, y, "start", "font-weight=\"bold\"", text);
    snprintf(text, sizeof text, "away for %.1f s", (double)f.outage_ns / 1e9);
    svg_words(c->file, x, y + 16, "start", "", text);
    snprintf(text, sizeof text, "fast-fail %s", clock_words(time, f.fast_fail_ns));
    svg_words(c->file, x, y + 32, "start", "", text);
    snprintf(text, sizeof text, "healed in %s", clock_words(time, f.heal_ns));
    svg_words(c->file, x, y + 48, "start", "", text);
}

static void draw_states(const struct canvas *c, int server)
{
    const struct history *h = &c->run->history;
    double                y = BANDS_TOP + server * BAND_STEP;
    const char           *colour = NULL;
    double                x = LEFT;

    for (size_t i = 0; i < h->states_count; i++) {
        if (h->states[i].server != server)
            continue;
        double next = colour ? x_of(c, h->states[i].at_ns) : LEFT;
        if (colour)
            svg_rectangle(c->file, x, y, next - x, BAND, colour);
        colour = state_colour[h->states[i].state];
        x = next;
    }
    if (colour)
        svg_rectangle(c->file, x, y, RIGHT - x, BAND, colour);
}

static void draw_servers(const struct canvas *c)
{
    for (int s = 0; s < SERVERS; s++) {
        char   text[16];
        double y = BANDS_TOP + s * BAND_STEP;
        snprintf(text, sizeof text, "server %c", run_letter(s));
        svg_words(c->file, LEFT - 8, y + 15, "end", "", text);
        draw_states(c, s);
        for (size_t i = 0; i < c->run->faults_count; i++) {
            const struct fault *fault = &c->run->faults[i];
            double              from = x_of(c, fault->at_ns), to = x_of(c, fault->cured_ns[s]);
            if (fault->servers & 1u << s)
                svg_rectangle(c->file, from, y + BAND - 2, to - from, 5, GONE);
        }
    }
}

/* ---- The calls ------------------------------------------------------------------------------- */

typedef double (*reading)(const struct calls_summary *);

static double y_middle(const struct calls_summary *s)
{
    return y_of_time(s->p50_ns);
}

static double y_tail(const struct calls_summary *s)
{
    return y_of_time(s->p99_ns);
}

static double y_share(const struct calls_summary *s, size_t n)
{
    return SHARES_TOP + SHARES_HEIGHT * (1 - (s->items ? (double)n / (double)s->items : 0));
}

static double y_hits(const struct calls_summary *s)
{
    return y_share(s, s->hits);
}

static double y_misses(const struct calls_summary *s)
{
    return y_share(s, s->items - s->fallbacks);
}

static struct calls_summary step_at(const struct canvas *c, int64_t at_ns)
{
    const struct call *first;
    size_t             n = figures_calls(c->run, at_ns, at_ns + c->step_ns, &first);
    return calls_summary(first, n);
}

/* "x,y x,y ...", from edge to edge. A step without reads has no point. */
static void put_points(const struct canvas *c, reading y)
{
    bool   first = true;
    double height = AXIS;
    for (int64_t at = c->run->started_ns; at < c->run->ended_ns; at += c->step_ns) {
        struct calls_summary s = step_at(c, at);
        if (!s.items)
            continue;
        height = y(&s);
        fprintf(c->file, "%.1f,%.1f ", first ? LEFT : x_of(c, at + c->step_ns / 2), height);
        first = false;
    }
    fprintf(c->file, "%d,%.1f", RIGHT, height);
}

static void draw_line(const struct canvas *c, reading y, const char *colour)
{
    fprintf(c->file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" stroke-linejoin=\"round\" points=\"", colour);
    put_points(c, y);
    fprintf(c->file, "\"/>\n");
}

/* From there down to the axis; the next is drawn over it. */
static void draw_area(const struct canvas *c, reading y, const char *colour)
{
    fprintf(c->file, "<polygon fill=\"%s\" points=\"%d,%d ", colour, LEFT, AXIS);
    put_points(c, y);
    fprintf(c->file, " %d,%d\"/>\n", RIGHT, AXIS);
}

static void draw_slowest(const struct canvas *c)
{
    fprintf(c->file, "<g fill=\"" WORST "\">\n");
    for (int64_t at = c->run->started_ns; at < c->run->ended_ns; at += c->step_ns) {
        struct calls_summary s = step_at(c, at);
        if (s.calls)
            fprintf(c->file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"1.7\"/>\n", x_of(c, at + c->step_ns / 2), y_of_time(s.slowest_ns));
    }
    fprintf(c->file, "</g>\n");
}

static void draw_times(const struct canvas *c)
{
    static const char *const scale[DECADES + 1] = {"1 us", "10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s"};
    char                     text[100];

    snprintf(text, sizeof text, "calls' times, in each %d ms:", (int)(c->step_ns / MS(1)));
    svg_words(c->file, LEFT, TIMES_TOP - 12, "start", "font-weight=\"bold\"", text);
    svg_words(c->file, LEFT + 230, TIMES_TOP - 12, "start", "fill=\"" WORST "\"", "&#9679; the slowest");
    svg_words(c->file, LEFT + 335, TIMES_TOP - 12, "start", "fill=\"" TAIL "\"", "&#8212; 99 of 100 are faster");
    svg_words(c->file, LEFT + 505, TIMES_TOP - 12, "start", "fill=\"" MIDDLE "\"", "&#8212; half are faster");
    for (int i = 0; i <= DECADES; i++) {
        double y = TIMES_TOP + TIMES_HEIGHT * (1 - (double)i / DECADES);
        svg_line(c->file, LEFT, y, RIGHT, y, "#e3e7ea", "none");
        svg_words(c->file, LEFT - 8, y + 4, "end", "fill=\"" QUIET "\"", scale[i]);
    }
    double timeout = y_of_time(MS(c->run->timeout_ms));
    svg_line(c->file, LEFT, timeout, RIGHT, timeout, WORST, "6 4");
    svg_words(c->file, RIGHT - 2, timeout - 5, "end", "fill=\"" WORST "\"", "timeout");
    draw_slowest(c);
    draw_line(c, y_tail, TAIL);
    draw_line(c, y_middle, MIDDLE);
}

static void draw_shares(const struct canvas *c)
{
    svg_words(c->file, LEFT, SHARES_TOP - 12, "start", "font-weight=\"bold\"", "what became of reads:");
    static const struct {
        double      x;
        const char *colour, *text;
    } legend[] = {{230, HITS, "hit"}, {300, MISSES, "miss"}, {370, FALLBACK, "no cache: the application falls back on its database"}};
    for (size_t i = 0; i < sizeof legend / sizeof *legend; i++) {
        svg_rectangle(c->file, LEFT + legend[i].x, SHARES_TOP - 22, 12, 12, legend[i].colour);
        svg_words(c->file, LEFT + legend[i].x + 17, SHARES_TOP - 12, "start", "", legend[i].text);
    }

    svg_rectangle(c->file, LEFT, SHARES_TOP, RIGHT - LEFT, SHARES_HEIGHT, FALLBACK);
    draw_area(c, y_misses, MISSES);
    draw_area(c, y_hits, HITS);
    svg_words(c->file, LEFT - 8, SHARES_TOP + 9, "end", "fill=\"" QUIET "\"", "100 %");
    svg_words(c->file, LEFT - 8, AXIS, "end", "fill=\"" QUIET "\"", "0 %");
}

static void draw_axis(const struct canvas *c)
{
    int64_t total_s = (c->run->ended_ns - c->run->started_ns) / MS(1000), step = total_s > 15 ? 5 : 1;

    for (int64_t t = 0; t <= total_s; t += step) {
        char   text[16];
        double x = x_of(c, c->run->started_ns + t * MS(1000));
        snprintf(text, sizeof text, "%d s", (int)t);
        svg_line(c->file, x, AXIS, x, AXIS + 5, QUIET, "none");
        svg_words(c->file, x, AXIS + 19, "middle", "fill=\"" QUIET "\"", text);
    }
}

static void draw_legend(const struct canvas *c)
{
    static const struct {
        const char *colour, *text;
        int         width;
    } legend[] = {
        {UP, "up", 60},
        {DOUBTFUL, "doubtful", 95},
        {DOWN, "down: calls return at once", 205},
        {TRIAL, "on trial", 90},
        {GONE, "the process is dead or stopped", 0},
    };
    double x = LEFT + 190;

    svg_words(c->file, LEFT, LEGEND, "start", "font-weight=\"bold\"", "a server, as mend sees it:");
    for (size_t i = 0; i < sizeof legend / sizeof *legend; i++) {
        bool   gone = strcmp(legend[i].colour, GONE) == 0;
        double height = gone ? 5 : 12;
        svg_rectangle(c->file, x, LEGEND - 4 - height / 2, 12, height, legend[i].colour);
        svg_words(c->file, x + 17, LEGEND, "start", "", legend[i].text);
        x += legend[i].width;
    }
}

bool picture_can(const char *path)
{
    char        copy[4096];
    struct stat there;
    if (stat(path, &there) == 0 && S_ISDIR(there.st_mode)) {
        errno = EISDIR;
        return false;
    }
    if (access(path, F_OK) == 0)
        return access(path, W_OK) == 0;
    if (strlen(path) >= sizeof copy) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(copy, path);
    return access(dirname(copy), W_OK) == 0;
}

bool picture_write(struct run *run, const char *path)
{
    struct canvas c = {.file = fopen(path, "w"), .run = run};
    if (!c.file)
        return false;
    c.step_ns = run->ended_ns - run->started_ns > MS(15000) ? MS(100) : MS(50);

    draw_paper(&c);
    draw_servers(&c);
    draw_times(&c);
    draw_shares(&c);
    draw_axis(&c);
    draw_legend(&c);
    for (size_t i = 0; i < run->faults_count; i++)
        if (run->faults[i].servers)
            draw_fault(&c, &run->faults[i]);
    return svg_end(c.file);
}
