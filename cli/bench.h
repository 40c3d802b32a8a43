/* bench.h - what a bench measured, for the picture of it. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/speed/histogram.h"

struct bench_kind { /* gets, or sets */
    const char      *name;
    struct histogram times;
    int64_t          slowest_ns;
};

struct bench_mark { /* by then so many calls had ended */
    int64_t  at_ns; /* since the beginning */
    uint64_t calls;
};

struct bench_result {
    char               title[120];
    struct bench_kind  gets, sets;
    int64_t            took_ns;
    uint64_t           hits, misses, failed;
    uint64_t           failures[16]; /* by -status */
    struct bench_mark *marks;
    size_t             marks_count;
};

/* False: it could not be written; errno says why. */
bool bench_picture(const struct bench_result *result, const char *path);

#endif
