/* faults.c - what servers that die, hang and return cost those who call.
 *
 *     bench-faults [--quick]
 *
 * A step is a kind of fault, a number of threads, and whether the machine is loaded; it is done in many rounds
 * (round.h), by several processes at a time. Nothing here hangs: a round that does takes its process with it.
 */
#include "clock.h"
#include "figure.h"
#include "summary.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUND_MAX_S = 15, LOADS_MAX = 256 };

static const struct step full[] = {
    {FAULT_KILL, 4, .workers = 3, .rounds = 12},           {FAULT_KILL, 16, .workers = 3, .rounds = 12},
    {FAULT_STOP, 4, .workers = 3, .rounds = 12},           {FAULT_STOP, 16, .workers = 3, .rounds = 12},
    {FAULT_KILL_LONG, 4, .workers = 4, .rounds = 3},       {FAULT_KILL_LONG, 16, .workers = 4, .rounds = 3},
    {FAULT_STOP_LONG, 4, .workers = 4, .rounds = 3},       {FAULT_STOP_LONG, 16, .workers = 4, .rounds = 3},
    {FAULT_KILL, 4, true, .workers = 2, .rounds = 7},      {FAULT_KILL, 16, true, .workers = 2, .rounds = 7},
    {FAULT_STOP, 4, true, .workers = 2, .rounds = 7},      {FAULT_STOP, 16, true, .workers = 2, .rounds = 7},
    {FAULT_KILL_LONG, 4, true, .workers = 2, .rounds = 2}, {FAULT_STOP_LONG, 16, true, .workers = 2, .rounds = 2},
    {0},
};

static const struct step quick[] = {
    {FAULT_KILL, 4, .workers = 3, .rounds = 2},       {FAULT_STOP, 16, .workers = 3, .rounds = 2},
    {FAULT_KILL_LONG, 4, .workers = 3, .rounds = 1},  {FAULT_STOP_LONG, 16, .workers = 2, .rounds = 1},
    {FAULT_STOP, 4, true, .workers = 2, .rounds = 1}, {FAULT_KILL, 16, true, .workers = 2, .rounds = 1},
    {0},
};

/* ---- Processes of our own, which end with us ------------------------------------------------------- */

static pid_t born(void)
{
    pid_t parent = getpid(), pid = fork();

    if (pid < 0) {
        perror("bench-faults");
        exit(1);
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

static size_t load_begins(pid_t busy[LOADS_MAX])
{
    long   processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = processors < 1 ? 1 : processors > LOADS_MAX ? LOADS_MAX : (size_t)processors;

    for (size_t i = 0; i < n; i++)
        if ((busy[i] = born()) == 0)
            for (volatile unsigned spin = 0;; spin++)
                continue;
    return n;
}

static void load_ends(const pid_t *busy, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        kill(busy[i], SIGKILL);
        waitpid(busy[i], NULL, 0);
    }
}

/* ---- Rounds -------------------------------------------------------------------------------------------- */

/* One process's rounds; each outcome goes into the pipe whole. */
static _Noreturn void work(const struct step *step, unsigned worker, int out)
{
    struct memcached at[SERVERS];

    alarm(ROUND_MAX_S);
    for (int i = 0; i < SERVERS; i++)
        memcached_start(&at[i], "127.0.0.1", "-m 64");
    for (unsigned i = 0; i < step->rounds; i++) {
        alarm(ROUND_MAX_S);
        struct outcome o = round_run(fault_of(step->fault), step->threads, at, 1 + worker + i * step->workers);
        if (write(out, &o, sizeof o) != sizeof o)
            break;
    }
    for (int i = 0; i < SERVERS; i++)
        memcached_stop(&at[i]);
    exit(0);
}

static void gather(struct result *r, int in, pid_t pid)
{
    int status;

    while (read(in, &r->at[r->count], sizeof *r->at) == sizeof *r->at)
        r->count++;
    close(in);
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        figure_progress("    a round was not over after %d s: given up", ROUND_MAX_S);
}

static struct result step_run(const struct step *step)
{
    enum { WORKERS_MAX = 8 };
    struct result r = {.step = *step, .at = calloc(step->workers * step->rounds + 1, sizeof *r.at)};
    int           in[WORKERS_MAX][2];
    pid_t         pids[WORKERS_MAX], busy[LOADS_MAX];

    figure_progress("%s; %u threads%s", fault_of(step->fault)->words, step->threads, step->loaded ? ", the machine loaded" : "");
    if (!r.at)
        exit(1);
    size_t loads = step->loaded ? load_begins(busy) : 0;
    for (unsigned i = 0; i < step->workers; i++) {
        if (pipe(in[i]) != 0)
            exit(1);
        if ((pids[i] = born()) == 0)
            work(step, i, in[i][1]);
        close(in[i][1]);
    }
    for (unsigned i = 0; i < step->workers; i++)
        gather(&r, in[i][0], pids[i]);
    load_ends(busy, loads);
    return r;
}

int main(int argc, char **argv)
{
    const struct step *plan = argc > 1 && strcmp(argv[1], "--quick") == 0 ? quick : full;
    struct result      results[sizeof full / sizeof *full];
    size_t             n = 0;

    for (; plan[n].fault; n++) {
        results[n] = step_run(&plan[n]);
        summary_step(&results[n]);
    }
    summary_tell(results, n);
    for (size_t i = 0; i < n; i++)
        free(results[i].at);
    return 0;
}
