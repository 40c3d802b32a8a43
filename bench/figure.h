/* figure.h - what a measuring program says to figures.sh, on its standard output, and to whoever waits, on the other.
 *
 * One line is one figure: its id, what it is, its target, what was measured in words and as a number, the unit,
 * and whether the promise was kept, with tabs between. figures.sh makes the table and the JSON of them.
 */
#ifndef BENCH_FIGURE_H
#define BENCH_FIGURE_H

#include <stdbool.h>

enum figure_verdict {
    FIGURE_KEPT,
    FIGURE_MISSED,
    FIGURE_TOLD,       /* nothing was promised */
    FIGURE_UNMEASURED,
};

struct figure {
    const char         *id, *what, *target, *unit;
    double              value; /* below zero: there is none */
    enum figure_verdict verdict;
};

/* The rest says what was measured, in words. */
__attribute__((format(printf, 2, 3))) void figure_tell(const struct figure *figure, const char *format, ...);

/* For the JSON only: an object of it, whole. */
__attribute__((format(printf, 1, 2))) void figure_detail(const char *format, ...);

/* Not below zero, which is "never", and at most that. */
enum figure_verdict figure_within(double value, double most);

/* A line of progress. */
__attribute__((format(printf, 1, 2))) void figure_progress(const char *format, ...);

#endif
