/* run.h - one run of the demonstration: what there is, and what was seen of it.
 *
 * demo.c fills it in; screen.c, figures.c, table.c and picture.c read it.
 */
#ifndef DEMO_RUN_H
#define DEMO_RUN_H

#include <mend.h>
#include <stdbool.h>

#include "app.h"
#include "calls.h"
#include "fallback.h"
#include "history.h"
#include "metronome.h"

enum { RUN_FAULTS_MAX = 16 };

/* A part of the run: a fault, its cure, and the quiet after it. */
struct fault {
    char     name[60]; /* "kill -9 of B, restarted after 0.5 s" */
    unsigned servers;  /* whom it befell; none: nothing was done */
    bool     hung;     /* by SIGSTOP; else by kill -9 */
    int64_t  at_ns;
    int64_t  until_ns; /* when its cure began */
    int64_t  cured_ns[SERVERS]; /* it was told to go on, or, restarted, answered a question of ours */
    int64_t  over_ns;
};

/* A side of the part behind the faults: the same outage of all servers, once by hand and once by mend_fetch. */
struct fallback_run {
    bool                    fetches;
    int64_t                 at_ns, over_ns;
    struct fallback_figures figures;
};

enum { FALLBACK_SIDES = 2 };

struct run {
    int              timeout_ms;
    unsigned         threads;
    int64_t          started_ns, planned_ns; /* its beginning, and about how long it is to last */
    char             address[SERVERS][32];
    mend_client     *client;
    struct app      *app;
    struct history   history;
    struct metronome metronome;
    struct fault     faults[RUN_FAULTS_MAX];
    size_t           faults_count;

    /* Known at its end: */
    struct call *calls; /* all of them, in the order of their ends */
    size_t       calls_count;
    unsigned     threads_hanging; /* in a call that did not return */
    int64_t      close_ns;        /* what mend_close took, with a server hung */
    int64_t      ended_ns;

    char                fallback_name[60]; /* of its outage */
    struct fallback_run fallback[FALLBACK_SIDES];
    size_t              fallback_count; /* 0: it was not run */
};

static inline char run_letter(int server)
{
    return (char)('A' + server);
}

#endif
