/* picture.c - see picture.h.
 *
 * Dots are on a grid of CELL: what falls into the same cell is drawn once, which loses nothing that the eye could
 * see, and bounds the file. A call that took long has a line behind its dot, from its beginning to its end: for that
 * time, its thread stood still.
 */
#include "picture.h"

#include <math.h>
#include <string.h>

#include "demo/clock.h"
#include "demo/svg.h"
#include "figures.h"
#include "report.h"

/* From top to bottom; the paper is WIDTH x HEIGHT. */
enum {
    WIDTH = 880,
    LEFT = 62,
    RIGHT = 866,
    PANELS_TOP = 92,
    PANEL = 138, /* a client each: calls' times, on a scale of powers of ten... */
    PANEL_STEP = 178,
    DECADES = 6, /* ...from 10 us to 10 s */
    AXIS = PANELS_TOP + (CLIENTS - 1) * PANEL_STEP + PANEL,
    HEIGHT = AXIS + 34,

    CELL = 2,
    COLUMNS = (RIGHT - LEFT) / CELL + 1,
    ROWS = PANEL / CELL + 1,
    LINES_FROM_MS = 20, /* shorter ones would be hidden under their dots */
};

#define QUIET "#5f6872"
#define AWAY  "#fbe3e1"

/* What a dot is for; the later is drawn over the earlier. */
enum kind { KIND_ANSWERED, KIND_MISSED, KIND_FAILED, KIND_LIED, KINDS };

static const struct {
    const char *colour, *words;
    double      width; /* of a dot */
    int         words_width;
} kinds[KINDS] = {
    [KIND_ANSWERED] = {"#2f6fb0", "hit, or stored", 2.6, 112},
    [KIND_MISSED] = {"#7d8b99", "miss", 2.6, 60},
    [KIND_FAILED] = {"#e08214", "failed: the application falls back", 2.6, 226},
    [KIND_LIED] = {"#b5179e", "wrong or stale", 5, 110},
};

struct panel {
    FILE               *file;
    const struct scene *scene;
    int64_t             begin_ns, span_ns; /* of time, the same in all panels */
    double              top;
};

static enum kind kind_of(const struct call *c)
{
    if (c->verdict != VERDICT_TRUE)
        return KIND_LIED;
    if (c->answer == ANSWER_FAILED || c->answer == ANSWER_REFUSED)
        return KIND_FAILED;
    return c->answer == ANSWER_MISS ? KIND_MISSED : KIND_ANSWERED;
}

static double x_of(const struct panel *p, int64_t at_ns)
{
    double part = (double)(at_ns - p->begin_ns) / (double)p->span_ns;
    return (RIGHT - LEFT) * (part < 0 ? 0 : part > 1 ? 1 : part);
}

static double y_of(int64_t took_ns)
{
    double decades = log10((double)(took_ns < 10000 ? 10000 : took_ns) / 10000);
    return PANEL * (1 - (decades > DECADES ? DECADES : decades) / DECADES);
}

static int64_t took_ns(const struct panel *p, const struct call *c)
{
    return (c->end_ns ? c->end_ns : p->scene->ended_ns) - c->start_ns;
}

/* ---- Dots ---------------------------------------------------------------------------------------------- */

typedef bool grid[ROWS][COLUMNS];

static void mark(const struct panel *p, enum kind kind, grid cells)
{
    memset(cells, 0, sizeof(grid));
    for (int i = 0; i < THREADS; i++)
        for (unsigned n = atomic_load(&p->scene->count[i]), k = 0; k < n; k++) {
            const struct call *c = &p->scene->calls[i][k];
            if (kind_of(c) == kind)
                cells[(int)(y_of(took_ns(p, c)) / CELL)][(int)(x_of(p, c->start_ns) / CELL)] = true;
        }
}

/* A dot is a line of no length with round ends; each is found from the one before it, which is shortest. */
static void draw_dots(const struct panel *p, enum kind kind)
{
    static grid cells;
    int         column = 0, row = 0;

    mark(p, kind, cells);
    fprintf(p->file,
            "<path transform=\"translate(%d %.0f) scale(%d)\" fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" "
            "stroke-linecap=\"round\" d=\"M0 0",
            LEFT, p->top, CELL, kinds[kind].colour, kinds[kind].width / CELL);
    for (int x = 0; x < COLUMNS; x++)
        for (int y = 0; y < ROWS; y++)
            if (cells[y][x]) {
                fprintf(p->file, y < row ? "m%d%dh0" : "m%d %dh0", x - column, y - row);
                column = x;
                row = y;
            }
    fprintf(p->file, "\"/>\n");
}

static void draw_lines(const struct panel *p, enum kind kind)
{
    fprintf(p->file, "<path transform=\"translate(%d %.0f)\" fill=\"none\" stroke=\"%s\" stroke-width=\"1\" stroke-opacity=\"0.55\" d=\"",
            LEFT, p->top, kinds[kind].colour);
    for (int i = 0; i < THREADS; i++)
        for (unsigned n = atomic_load(&p->scene->count[i]), k = 0; k < n; k++) {
            const struct call *c = &p->scene->calls[i][k];
            if (kind_of(c) == kind && took_ns(p, c) >= MS(LINES_FROM_MS))
                fprintf(p->file, "M%.0f %.0fH%.0f", x_of(p, c->start_ns), y_of(took_ns(p, c)), x_of(p, c->start_ns + took_ns(p, c)));
        }
    fprintf(p->file, "\"/>\n");
}

/* ---- Panels --------------------------------------------------------------------------------------------- */

static void draw_heading(const struct panel *p)
{
    struct figures f = figures_of(p->scene);
    char           text[200], slowest[CLOCK_WORDS], back[CLOCK_WORDS];
    int            n = snprintf(text, sizeof text, "meanwhile %.0f calls/s, slowest %s, %.2f s a thread in calls; back after %s", f.per_s,
                                clock_words(slowest, f.slowest_ns), f.waited_s, clock_words(back, f.all_ns));

    if (f.wrong)
        n += snprintf(text + n, sizeof text - (size_t)n, "; wrong %zu", f.wrong);
    if (f.stale)
        snprintf(text + n, sizeof text - (size_t)n, "; stale %zu", f.stale);
    svg_words(p->file, LEFT, p->top - 8, "start", "font-weight=\"bold\"", p->scene->client->name);
    svg_words(p->file, RIGHT, p->top - 8, "end", "fill=\"" QUIET "\"", p->scene->complete ? text : "it did not end well");
}

static void draw_scale(const struct panel *p)
{
    static const char *const words[DECADES + 1] = {"&#8804; 10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s"};

    for (int i = 0; i <= DECADES; i++) {
        double y = p->top + PANEL * (1 - (double)i / DECADES);
        svg_line(p->file, LEFT, y, RIGHT, y, i ? "#e3e7ea" : "#9aa3ad", "none");
        svg_words(p->file, LEFT - 8, y + 4, "end", "fill=\"" QUIET "\"", words[i]);
    }
}

static void draw_panel(const struct panel *p)
{
    for (int i = 0; i < p->scene->aways; i++) {
        double from = x_of(p, p->scene->away[i].from_ns), to = x_of(p, p->scene->away[i].to_ns);
        svg_rectangle(p->file, LEFT + from, p->top, to - from, PANEL, AWAY);
    }
    draw_heading(p);
    draw_scale(p);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        draw_lines(p, kind);
        draw_dots(p, kind);
    }
}

/* ---- The paper ------------------------------------------------------------------------------------------- */

static void draw_title(FILE *file, const struct scene *scene)
{
    char   title[FAULT_TITLE_MAX];
    double x = LEFT + 6;

    svg_words(file, 16, 27, "start", "font-size=\"17\" font-weight=\"bold\"", report_title(title, scene->fault, scene->quick));
    svg_words(file, RIGHT, 27, "end", "fill=\"" QUIET "\"", scene->fault->why);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        fprintf(file, "<circle cx=\"%.0f\" cy=\"48\" r=\"4\" fill=\"%s\"/>\n", x, kinds[kind].colour);
        svg_words(file, x + 9, 52, "start", "", kinds[kind].words);
        x += kinds[kind].words_width;
    }
    svg_rectangle(file, x + 14, 42, 16, 12, AWAY);
    svg_words(file, x + 35, 52, "start", "", "the server is away");
}

static void draw_axis(const struct panel *p)
{
    for (int t = 0; MS(t * 1000) <= p->span_ns; t++) {
        char   text[16];
        double x = LEFT + x_of(p, p->begin_ns + MS(t * 1000));
        snprintf(text, sizeof text, "%d s", t);
        svg_line(p->file, x, AXIS, x, AXIS + 5, QUIET, "none");
        svg_words(p->file, x, AXIS + 20, "middle", "fill=\"" QUIET "\"", text);
    }
}

/* All panels are as wide in time as the longest scene. */
static int64_t span_of(struct scene *const scenes[CLIENTS])
{
    int64_t longest = 1;

    for (int i = 0; i < CLIENTS; i++) {
        int64_t span = scenes[i]->begun_ns ? scenes[i]->ended_ns - scenes[i]->begun_ns : 0;
        longest = span > longest ? span : longest;
    }
    return longest;
}

bool picture_write(struct scene *const scenes[CLIENTS], FILE *file)
{
    struct panel panel = {.file = file, .span_ns = span_of(scenes)};

    svg_begin(file, WIDTH, HEIGHT);
    draw_title(file, scenes[0]);
    for (int i = 0; i < CLIENTS; i++) {
        panel.scene = scenes[i];
        panel.begin_ns = scenes[i]->begun_ns;
        panel.top = PANELS_TOP + i * PANEL_STEP;
        draw_panel(&panel);
    }
    draw_axis(&panel);
    return svg_end(file);
}
