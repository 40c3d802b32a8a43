/* sim.c - many lives, on all processors: which of them fail, and the story of one.
 *
 *     sim [--lives N] [--from SEED] [--seconds S]     lives from SEED on, until there were N, or S seconds are over
 *     sim --seed SEED                                 the story of one life
 *     sim --json FILE                                 ...and what happened in all, for documents
 *
 * Exit status: 0 all went well, 1 a life failed, 2 usage.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/life.h"

enum { WORKERS_MAX = 16, AGAIN_EVERY = 64 }; /* every 64th life is lived twice: the same seed must be the same run */

struct total {
    uint64_t lives, calls, virtual_ms, again;
    uint64_t seed; /* of the first that failed */
    bool     failed;
    char     failure[512];
    struct { char kind[32]; uint64_t count; } faults[LIFE_KINDS];
};

struct options {
    uint64_t    lives, from, seed;
    double      seconds;
    bool        story;
    const char *json;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add_fault(struct total *t, const char *kind, uint64_t count)
{
    int i = 0;
    while (i < LIFE_KINDS - 1 && t->faults[i].kind[0] && strcmp(t->faults[i].kind, kind) != 0)
        i++;
    snprintf(t->faults[i].kind, sizeof t->faults[i].kind, "%s", kind);
    t->faults[i].count += count;
}

static void live(struct total *t, uint64_t seed)
{
    struct life_report r, again;

    life_run(seed, NULL, &r);
    if (seed % AGAIN_EVERY == 0 && !r.failure[0]) {
        life_run(seed, NULL, &again);
        t->again++;
        if (again.digest != r.digest)
            snprintf(r.failure, sizeof r.failure, "the same seed was not the same run");
    }
    t->lives++;
    t->calls += r.calls;
    t->virtual_ms += r.virtual_ms;
    for (int i = 0; i < LIFE_KINDS && r.faults[i].kind; i++)
        add_fault(t, r.faults[i].kind, r.faults[i].count);
    if (r.failure[0]) {
        t->failed = true;
        t->seed = seed;
        snprintf(t->failure, sizeof t->failure, "%s", r.failure);
    }
}

static void work(int out, const struct options *o, unsigned worker, unsigned workers, double until)
{
    struct total t = {0};

    for (uint64_t i = worker; i < o->lives && !t.failed && seconds() < until; i += workers)
        live(&t, o->from + i);
    if (write(out, &t, sizeof t) != sizeof t)
        _exit(1);
    _exit(0);
}

static void add(struct total *to, const struct total *t)
{
    to->lives += t->lives;
    to->calls += t->calls;
    to->virtual_ms += t->virtual_ms;
    to->again += t->again;
    for (int i = 0; i < LIFE_KINDS && t->faults[i].kind[0]; i++)
        add_fault(to, t->faults[i].kind, t->faults[i].count);
    if (t->failed && (!to->failed || t->seed < to->seed)) {
        to->failed = true;
        to->seed = t->seed;
        memcpy(to->failure, t->failure, sizeof to->failure);
    }
}

/* A worker that dies of its life tells no total: which life it was has to be found by living them one by one. */
static bool collect(struct total *all, int in, pid_t pid)
{
    struct total t;
    int          status;
    ssize_t      got = read(in, &t, sizeof t);

    close(in);
    if (got == sizeof t)
        add(all, &t);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 && got == sizeof t;
}

static bool run_all(const struct options *o, struct total *all)
{
    long   processors = sysconf(_SC_NPROCESSORS_ONLN);
    int    workers = processors < 1 ? 1 : processors > WORKERS_MAX ? WORKERS_MAX : (int)processors;
    int    in[WORKERS_MAX];
    pid_t  pids[WORKERS_MAX];
    bool   well = true;
    double until = o->seconds > 0 ? seconds() + o->seconds : 1e18;

    for (int i = 0; i < workers; i++) {
        int ends[2];
        if (pipe(ends) < 0)
            return false;
        pids[i] = fork();
        if (pids[i] == 0) {
            close(ends[0]);
            work(ends[1], o, (unsigned)i, (unsigned)workers, until);
        }
        close(ends[1]);
        in[i] = ends[0];
    }
    for (int i = 0; i < workers; i++)
        well = collect(all, in[i], pids[i]) && well;
    return well;
}

static void write_json(const char *path, const struct total *t, double took)
{
    FILE *f = fopen(path, "w");

    if (!f) {
        perror(path);
        return;
    }
    fprintf(f, "{\"lives\": %" PRIu64 ", \"calls\": %" PRIu64 ", \"virtual_s\": %.0f, \"seconds\": %.1f, \"lives_a_second\": %.0f, \"lived_twice\": %" PRIu64
               ", \"failed\": %s, \"faults\": {",
            t->lives, t->calls, (double)t->virtual_ms / 1e3, took, (double)t->lives / took, t->again, t->failed ? "true" : "false");
    for (int i = 0; i < LIFE_KINDS && t->faults[i].kind[0]; i++)
        fprintf(f, "%s\"%s\": %" PRIu64, i ? ", " : "", t->faults[i].kind, t->faults[i].count);
    fprintf(f, "}}\n");
    fclose(f);
}

static void print_total(const struct total *t, double took)
{
    printf("%" PRIu64 " lives, %" PRIu64 " calls, %.1f hours dreamt in %.1f s: %.0f lives a second; %" PRIu64 " were lived twice, and were the same\n", t->lives,
           t->calls, (double)t->virtual_ms / 3.6e6, took, (double)t->lives / took, t->again);
    for (int i = 0; i < LIFE_KINDS && t->faults[i].kind[0]; i++)
        printf("%10" PRIu64 "  %s\n", t->faults[i].count, t->faults[i].kind);
}

static int tell(uint64_t seed)
{
    struct life_report r;

    life_run(seed, stdout, &r);
    printf("%s%s; digest %016" PRIx64 "\n", r.failure[0] ? "FAILED: " : "it went well", r.failure, r.digest);
    return r.failure[0] != '\0';
}

static bool number(const char *text, uint64_t *to)
{
    char *end;
    *to = strtoull(text, &end, 10);
    return *text && !*end;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = 0;
        if (strcmp(argv[i], "--json") == 0)
            o->json = argv[i + 1];
        else if (!number(argv[i + 1], &n))
            return false;
        else if (strcmp(argv[i], "--lives") == 0)
            o->lives = n;
        else if (strcmp(argv[i], "--from") == 0)
            o->from = n;
        else if (strcmp(argv[i], "--seconds") == 0)
            o->seconds = (double)n;
        else if (strcmp(argv[i], "--seed") == 0) {
            o->seed = n;
            o->story = true;
        } else
            return false;
    }
    return argc % 2 == 1;
}

int main(int argc, char **argv)
{
    struct options o = {.lives = 20000};
    struct total   all = {0};

    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: sim [--lives N] [--from SEED] [--seconds S] [--json FILE] | --seed SEED\n");
        return 2;
    }
    if (o.story)
        return tell(o.seed);

    double began = seconds();
    bool   well = run_all(&o, &all);
    double took = seconds() - began;
    print_total(&all, took);
    if (o.json)
        write_json(o.json, &all, took);
    if (all.failed)
        printf("FAILED: %s\nThe story of it: %s --seed %" PRIu64 "\n", all.failure, argv[0], all.seed);
    else if (!well)
        printf("FAILED: a worker died. Find its life with --from and --lives 1.\n");
    return all.failed || !well;
}
