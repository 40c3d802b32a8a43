/* summary.h - the promised figures, out of many rounds. */
#ifndef BENCH_SUMMARY_H
#define BENCH_SUMMARY_H

#include "round.h"

enum { FAULT_KILL = 1, FAULT_KILL_LONG = 2, FAULT_STOP = 4, FAULT_STOP_LONG = 8 };

/* Rounds of one kind. */
struct step {
    unsigned fault;   /* one of the above */
    unsigned threads;
    bool     loaded;  /* beside a busy loop for every processor */
    unsigned workers; /* processes that do rounds at the same time, each with servers of its own... */
    unsigned rounds;  /* ...and so many each */
};

struct result {
    struct step     step;
    struct outcome *at;
    size_t          count; /* fewer than were to be: a call hung for ever, or the benchmark failed */
};

const struct fault *fault_of(unsigned fault);

/* What a step came to: a line of progress, and its rounds for the JSON. */
void summary_step(const struct result *result);

/* The table, over all steps. */
void summary_tell(const struct result *results, size_t n);

#endif
