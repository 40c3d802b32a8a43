/* bench_picture.c - a bench as a drawing: calls a second over time, and how long calls took, by percentile. */
#include <math.h>
#include <stdio.h>

#include "bench.h"
#include "demo/clock.h"
#include "demo/svg.h"

enum { /* the paper is WIDTH x HEIGHT; two panels beside each other */
    WIDTH = 1000,
    HEIGHT = 330,
    TOP = 78,
    BOTTOM = 280,
    RATE_LEFT = 70,
    RATE_RIGHT = 475,
    TIME_LEFT = 570,
    TIME_RIGHT = 980,
    COLUMNS = 135, /* of the first panel: 3 units each */
    NINES = 4,     /* of the second one's axis: to 99.99 % */
};

#define QUIET "fill=\"#5f6872\""
#define GRID  "#e3e7ea"
#define AXIS  "#9aa3ad"
#define GETS  "#2f6fb0"
#define SETS  "#d9822b"

/* ---- Calls a second, over time ------------------------------------------------------------ */

/* Calls that had ended by then, between two marks as if they came evenly. */
static double calls_at(const struct bench_result *r, double at_ns)
{
    for (size_t i = 1; i < r->marks_count; i++) {
        const struct bench_mark *a = &r->marks[i - 1], *b = &r->marks[i];
        if (at_ns <= (double)b->at_ns)
            return (double)a->calls + (double)(b->calls - a->calls) * (at_ns - (double)a->at_ns) / (double)(b->at_ns - a->at_ns);
    }
    return r->marks_count ? (double)r->marks[r->marks_count - 1].calls : 0;
}

/* 1, 2 or 5 times a power of ten, so that `most` has about four of it. */
static double step_for(double most)
{
    double power = pow(10, floor(log10(most / 4))), part = most / 4 / power;

    return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

static void draw_rate_axes(FILE *file, double most, double seconds)
{
    char words[48];

    for (double at = 0, step = step_for(most); at <= most; at += step) {
        double y = BOTTOM - (BOTTOM - TOP) * at / most;
        snprintf(words, sizeof words, at >= 1e6 ? "%.1f M" : at >= 1000 ? "%.0f k" : "%.0f", at >= 1e6 ? at / 1e6 : at >= 1000 ? at / 1e3 : at);
        svg_line(file, RATE_LEFT, y, RATE_RIGHT, y, at > 0 ? GRID : AXIS, "none");
        svg_words(file, RATE_LEFT - 8, y + 4, "end", QUIET, words);
    }
    for (double at = 0, step = step_for(seconds); at <= seconds * 1.001; at += step) {
        double x = RATE_LEFT + (RATE_RIGHT - RATE_LEFT) * at / seconds;
        snprintf(words, sizeof words, "%g s", at);
        svg_line(file, x, BOTTOM, x, BOTTOM + 5, AXIS, "none");
        svg_words(file, x, BOTTOM + 20, "middle", QUIET, words);
    }
}

static void draw_rate(FILE *file, const struct bench_result *r)
{
    double rates[COLUMNS], most = 1, end_ns = (double)r->marks[r->marks_count - 1].at_ns;
    int    columns = r->marks_count - 1 < COLUMNS ? (int)r->marks_count - 1 : COLUMNS;
    double width = (double)(RATE_RIGHT - RATE_LEFT) / columns;

    for (int i = 0; i < columns; i++) {
        rates[i] = (calls_at(r, end_ns * (i + 1) / columns) - calls_at(r, end_ns * i / columns)) * 1e9 * columns / end_ns;
        most = rates[i] > most ? rates[i] : most;
    }
    most *= 1.05;
    svg_words(file, RATE_LEFT, TOP - 14, "start", "font-weight=\"bold\"", "calls a second");
    draw_rate_axes(file, most, end_ns / 1e9);
    for (int i = 0; i < columns; i++) {
        double height = (BOTTOM - TOP) * rates[i] / most;
        svg_rectangle(file, RATE_LEFT + width * i, BOTTOM - height, width, height, "#8fb8de");
    }
}

/* ---- How long calls took, by percentile: the further right, the rarer ------------------------- */

static double x_of(double nines)
{
    return TIME_LEFT + (TIME_RIGHT - TIME_LEFT) * nines / NINES;
}

static double y_of(double ns, double decades_from, double decades_to)
{
    return BOTTOM - (BOTTOM - TOP) * (log10(ns) - decades_from) / (decades_to - decades_from);
}

static void draw_time_axes(FILE *file, double from, double to)
{
    static const char *const parts[] = {"90 %", "99 %", "99.9 %", "99.99 %"};
    char                     words[CLOCK_WORDS];

    for (double decade = from; decade <= to; decade++) {
        double y = y_of(pow(10, decade), from, to);
        snprintf(words, sizeof words, "%g %s", decade < 6 ? pow(10, decade - 3) : decade < 9 ? pow(10, decade - 6) : pow(10, decade - 9),
                 decade < 6 ? "us" : decade < 9 ? "ms" : "s");
        svg_line(file, TIME_LEFT, y, TIME_RIGHT, y, decade > from ? GRID : AXIS, "none");
        svg_words(file, TIME_LEFT - 8, y + 4, "end", QUIET, words);
    }
    for (int nines = 1; nines <= NINES; nines++) {
        svg_line(file, x_of(nines), BOTTOM, x_of(nines), BOTTOM + 5, AXIS, "none");
        svg_words(file, x_of(nines), BOTTOM + 20, nines == NINES ? "end" : "middle", QUIET, parts[nines - 1]);
    }
    svg_line(file, x_of(log10(2)), BOTTOM, x_of(log10(2)), BOTTOM + 5, AXIS, "none");
    svg_words(file, x_of(log10(2)), BOTTOM + 20, "middle", QUIET, "50 %");
}

static void draw_curve(FILE *file, const struct bench_kind *k, const char *colour, double from, double to)
{
    double x = 0, y = 0;

    for (int i = 0; k->times.total && i <= 40 * NINES; i++) {
        double nines = (double)i / 40, ns = histogram_quantile_ns(&k->times, 1 - pow(10, -nines));
        double next_x = x_of(nines), next_y = y_of(ns < pow(10, from) ? pow(10, from) : ns, from, to);
        if (i > 0)
            svg_line(file, x, y, next_x, next_y, colour, "none");
        x = next_x;
        y = next_y;
    }
}

static void draw_times(FILE *file, const struct bench_result *r)
{
    double least = 1e12, most = 1e4;

    for (int i = 0; i < 2; i++) {
        const struct bench_kind *k = i ? &r->sets : &r->gets;
        double                   first = histogram_quantile_ns(&k->times, 0), last = histogram_quantile_ns(&k->times, 0.9999);
        if (k->times.total == 0)
            continue;
        least = first < least ? first : least;
        most = last > most ? last : most;
    }
    double from = floor(log10(least < most ? (least > 1 ? least : 1) : most)), to = ceil(log10(most));
    if (to <= from)
        to = from + 1;
    svg_words(file, TIME_LEFT, TOP - 14, "start", "font-weight=\"bold\"", "this part of the calls took no longer than");
    draw_time_axes(file, from, to);
    draw_curve(file, &r->gets, GETS, from, to);
    draw_curve(file, &r->sets, SETS, from, to);
}

static void draw_legend(FILE *file, const struct bench_result *r)
{
    int x = TIME_RIGHT;

    for (int i = 0; i < 2; i++) {
        const struct bench_kind *k = i ? &r->gets : &r->sets;
        if (k->times.total == 0)
            continue;
        svg_words(file, x, TOP - 14, "end", QUIET, k->name);
        svg_rectangle(file, x - 38, TOP - 22, 12, 8, i ? GETS : SETS);
        x -= 56;
    }
}

bool bench_picture(const struct bench_result *r, const char *path)
{
    FILE *file = fopen(path, "w");

    if (!file)
        return false;
    svg_begin(file, WIDTH, HEIGHT);
    svg_words(file, 16, 27, "start", "font-size=\"17\" font-weight=\"bold\"", "mend bench");
    svg_words(file, TIME_RIGHT, 27, "end", QUIET, r->title);
    if (r->marks_count > 1 && r->gets.times.total + r->sets.times.total > 0) {
        draw_rate(file, r);
        draw_times(file, r);
        draw_legend(file, r);
    }
    return svg_end(file);
}
