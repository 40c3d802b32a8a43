/* sim.c - many lives, on all processors: which of them fail, and the story of one.
 *
 *     sim [--lives N] [--from SEED] [--seconds S]     lives from SEED on, until there were N, or S seconds are over
 *     sim --seed SEED                                 the story of one life
 *     sim --json FILE                                 ...and what happened in all, for documents
 *
 * Exit status: 0 all went well, 1 a life failed, 2 usage.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/life.h"

enum {
    WORKERS_MAX = 16,
    AGAIN_EVERY = 64, /* every 64th life is lived twice: the same seed must be the same run */
    UP_STEP_MS = 5,   /* of the histogram of times until every server was up... */
    UP_STEPS = 2000,  /* ...whose last step is for all beyond it */
    LINE_COLUMNS = 110,
};

/* The worst of something, and whose it was. */
struct worst {
    double   value;
    uint64_t seed;
};

struct total {
    uint64_t lives, calls, virtual_ms, again;
    uint64_t seed; /* of the first that failed */
    bool     failed;
    char     failure[512];
    uint64_t     faults[FAULTS];
    uint64_t     up[UP_STEPS]; /* how many lives needed so long, after the end of all faults */
    struct worst up_ms, up_share; /* of what is promised */
};

/* What all workers see: which life each lives, since one that dies of it tells no more, and the first known to have failed. */
struct shared {
    _Atomic uint64_t living[WORKERS_MAX];
    _Atomic uint64_t failed;
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

static void worse(struct worst *w, double value, uint64_t seed)
{
    if (value > w->value || (value == w->value && seed < w->seed))
        *w = (struct worst){value, seed};
}

static void add_up(struct total *t, const struct life_report *r, uint64_t seed)
{
    uint64_t step = (uint64_t)r->up_ns / (UP_STEP_MS * 1000000);

    t->up[step < UP_STEPS ? step : UP_STEPS - 1]++;
    worse(&t->up_ms, (double)r->up_ns / 1e6, seed);
    worse(&t->up_share, (double)r->up_ns / (double)r->up_within_ns, seed);
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
    for (int i = 0; i < FAULTS; i++)
        t->faults[i] += r.faults[i];
    if (!r.failure[0])
        add_up(t, &r, seed);
    else {
        t->failed = true;
        t->seed = seed;
        snprintf(t->failure, sizeof t->failure, "%s", r.failure);
    }
}

static void has_failed(struct shared *shared, uint64_t seed)
{
    uint64_t first = shared->failed;
    while (seed < first && !atomic_compare_exchange_weak(&shared->failed, &first, seed))
        ;
}

/* Lives beyond one that has failed need not be lived: the first is what is told of. */
static void work(int out, const struct options *o, struct shared *shared, unsigned worker, unsigned workers, double until)
{
    struct total t = {0};

    for (uint64_t i = worker; i < o->lives && o->from + i < shared->failed && seconds() < until; i += workers) {
        shared->living[worker] = o->from + i;
        live(&t, o->from + i);
        if (t.failed)
            has_failed(shared, t.seed);
    }
    if (write(out, &t, sizeof t) != sizeof t)
        _exit(1);
    _exit(0);
}

static void fail(struct total *t, uint64_t seed, const char *failure)
{
    if (t->failed && t->seed < seed)
        return;
    t->failed = true;
    t->seed = seed;
    snprintf(t->failure, sizeof t->failure, "%s", failure);
}

static void add(struct total *to, const struct total *t)
{
    to->lives += t->lives;
    to->calls += t->calls;
    to->virtual_ms += t->virtual_ms;
    to->again += t->again;
    for (int i = 0; i < FAULTS; i++)
        to->faults[i] += t->faults[i];
    for (int i = 0; i < UP_STEPS; i++)
        to->up[i] += t->up[i];
    worse(&to->up_ms, t->up_ms.value, t->up_ms.seed);
    worse(&to->up_share, t->up_share.value, t->up_share.seed);
    if (t->failed)
        fail(to, t->seed, t->failure);
}

/* Returns whether the worker told what it lived. */
static bool hear(struct total *all, int in)
{
    struct total t;
    size_t       got = 0;

    for (ssize_t n; got < sizeof t && (n = read(in, (char *)&t + got, sizeof t - got)) > 0;)
        got += (size_t)n;
    close(in);
    if (got < sizeof t)
        return false;
    add(all, &t);
    return true;
}

/* One that ends before it has told died of the life that it lived. */
static void collect(struct total *all, struct shared *shared, unsigned worker, int in, pid_t pid)
{
    int  status = 0;
    bool told = hear(all, in);
    char failure[64];

    waitpid(pid, &status, 0);
    if (told && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    snprintf(failure, sizeof failure, "a worker died of it (%s %d)", WIFSIGNALED(status) ? "signal" : "status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    fail(all, shared->living[worker], failure);
    has_failed(shared, all->seed);
}

static pid_t begin_worker(const struct options *o, struct shared *shared, unsigned worker, unsigned workers, double until, int *in)
{
    int ends[2];

    if (pipe(ends) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        work(ends[1], o, shared, worker, workers, until);
    }
    close(ends[1]);
    *in = ends[0];
    return pid;
}

static bool run_all(const struct options *o, struct total *all)
{
    long           processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned       workers = processors < 1 ? 1 : processors > WORKERS_MAX ? WORKERS_MAX : (unsigned)processors;
    struct pollfd  polls[WORKERS_MAX];
    pid_t          pids[WORKERS_MAX];
    double         until = o->seconds > 0 ? seconds() + o->seconds : 1e18;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return false;
    shared->failed = UINT64_MAX;
    for (unsigned i = 0; i < workers; i++) {
        polls[i].events = POLLIN;
        if ((pids[i] = begin_worker(o, shared, i, workers, until, &polls[i].fd)) < 0)
            return false;
    }
    for (unsigned left = workers; left && poll(polls, workers, -1) > 0;) /* whichever ends first: its end may be the others' */
        for (unsigned i = 0; i < workers; i++)
            if (polls[i].fd >= 0 && polls[i].revents) {
                collect(all, shared, i, polls[i].fd, pids[i]);
                polls[i].fd = -1;
                left--;
            }
    return true;
}

/* The time, in steps, that so large a share of the lives did not exceed. */
static double up_quantile(const struct total *t, double share)
{
    uint64_t all = 0, seen = 0;
    int      i = 0;

    for (int k = 0; k < UP_STEPS; k++)
        all += t->up[k];
    while (i < UP_STEPS - 1 && (double)(seen += t->up[i]) < share * (double)all)
        i++;
    double ms = (i + 1) * UP_STEP_MS;
    return ms < t->up_ms.value ? ms : t->up_ms.value;
}

static uint64_t all_faults(const struct total *t)
{
    uint64_t sum = 0;
    for (int i = 0; i < FAULTS; i++)
        sum += t->faults[i];
    return sum;
}

static void write_json(const char *path, const struct total *t, double took)
{
    FILE *f = fopen(path, "w");

    if (!f) {
        perror(path);
        return;
    }
    fprintf(f, "{\"lives\": %" PRIu64 ", \"calls\": %" PRIu64 ", \"virtual_s\": %.0f, \"seconds\": %.1f, \"lives_a_second\": %.0f"
               ", \"lived_twice\": %" PRIu64 ", \"failed\": %s,\n \"up\": {\"p50_ms\": %.0f, \"p99_ms\": %.0f, \"worst_ms\": %.3f"
               ", \"worst_seed\": %" PRIu64 ", \"worst_share_of_bound\": %.3f, \"worst_share_seed\": %" PRIu64 "},\n \"faults_in_all\": %" PRIu64
               ", \"faults\": {",
            t->lives, t->calls, (double)t->virtual_ms / 1e3, took, (double)t->lives / took, t->again, t->failed ? "true" : "false",
            up_quantile(t, 0.5), up_quantile(t, 0.99), t->up_ms.value, t->up_ms.seed, t->up_share.value, t->up_share.seed, all_faults(t));
    for (int i = 0; i < FAULTS; i++) {
        if (i == 0 || strcmp(fault_kinds[i].group, fault_kinds[i - 1].group) != 0)
            fprintf(f, "%s\n  \"%s\": {", i ? "}," : "", fault_kinds[i].group);
        else
            fprintf(f, ", ");
        fprintf(f, "\"%s\": %" PRIu64, fault_kinds[i].name, t->faults[i]);
    }
    fprintf(f, "}}}\n");
    fclose(f);
}

/* A line a group, and more where it gets too long. */
static void print_faults(const struct total *t)
{
    const char *group = "";
    char        item[80];
    int         column = 0;

    printf("faults injected: %" PRIu64 "\n", all_faults(t));
    for (int i = 0; i < FAULTS; i++) {
        int  n = snprintf(item, sizeof item, "%s %" PRIu64, fault_kinds[i].name, t->faults[i]);
        bool fresh = strcmp(group, fault_kinds[i].group) != 0;
        if (fresh || column + n + 2 > LINE_COLUMNS)
            column = printf("%s  %-9s %s", i ? "\n" : "", fresh ? fault_kinds[i].group : "", item);
        else
            column += printf("; %s", item);
        group = fault_kinds[i].group;
    }
    printf("\n");
}

static void print_total(const struct total *t, double took)
{
    printf("%" PRIu64 " lives, %" PRIu64 " calls, %.1f hours dreamt in %.1f s: %.0f lives a second; %" PRIu64 " were lived twice, and were the same\n", t->lives,
           t->calls, (double)t->virtual_ms / 3.6e6, took, (double)t->lives / took, t->again);
    print_faults(t);
    printf("all servers up, after the faults had ended: p50 %.0f ms, p99 %.0f ms, worst %.0f ms (seed %" PRIu64 "); at most %.0f %% of what is promised (seed %" PRIu64
           ")\n",
           up_quantile(t, 0.5), up_quantile(t, 0.99), t->up_ms.value, t->up_ms.seed, 100 * t->up_share.value, t->up_share.seed);
}

static int tell(uint64_t seed)
{
    struct life_report r;

    setlinebuf(stdout); /* a life may end with an assertion */
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
    if (!run_all(&o, &all)) {
        perror("sim");
        return 1;
    }
    double took = seconds() - began;
    print_total(&all, took);
    if (o.json)
        write_json(o.json, &all, took);
    if (all.failed)
        printf("FAILED: %s\nThe story of it: %s --seed %" PRIu64 "\n", all.failure, argv[0], all.seed);
    return all.failed;
}
