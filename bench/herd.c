/* herd.c - many threads and processes ask for one key that is not there: how often it is loaded, and how long they wait.
 *
 *     bench-herd [PROCESSES [THREADS]]     8 processes of 100 threads each
 *
 * A load takes LOAD_MS, as a query that is worth caching does. By mend_fetch, and by a plain get, load and set; with the
 * cache, and without. A table, and the status 1 if mend_fetch loaded more often than it promises.
 */
#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOAD_MS = 100, PROCESSES_MAX = 64, THREADS_MAX = 1000, WAITS_MAX = PROCESSES_MAX * THREADS_MAX };

/* What all processes write down. */
struct board {
    atomic_int    ready, failed, broken; /* broken: a process that has no client or no threads */
    atomic_int    loads, now, most;
    atomic_size_t waits;
    double        wait_ms[WAITS_MAX];
};

static struct board *board;
static mend_client  *client;
static bool          fetches;
static int           gate[2]; /* a pipe: all go when its end is closed. 800 threads that nap would keep the last from beginning */

static double clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void query(void)
{
    int now = ++board->now;

    board->loads++;
    for (int most = board->most; now > most && !atomic_compare_exchange_weak(&board->most, &most, now);)
        ;
    pause_ms(LOAD_MS);
    board->now--;
}

static int load(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)context;
    (void)left_ms;
    query();
    return mend_loaded_set(out, key);
}

static bool ask(mend_reply *r)
{
    static const mend_recipe recipe = {.load = load, .ttl_s = 60, .wait_ms = 10000};
    mend_bytes               key = mend_str("herd");

    if (fetches)
        return mend_fetch(client, key, &recipe, r) == MEND_OK;
    if (mend_get(client, key, r) == MEND_OK)
        return true;
    query();
    mend_set(client, key, key, &(mend_store){.ttl_s = 60}, r);
    return true;
}

static void *thread_main(void *arg)
{
    mend_reply r = MEND_REPLY;

    (void)arg;
    board->ready++;
    if (read(gate[0], &(char){0}, 1) != 0)
        board->failed++;
    double began = clock_ms();
    if (!ask(&r)) {
        fprintf(stderr, "%s (%s)\n", mend_status_name(r.status), r.error);
        board->failed++;
    }
    board->wait_ms[board->waits++] = clock_ms() - began;
    mend_reply_free(&r);
    return NULL;
}

/* One process of the herd. */
static int process_broken(const char *why)
{
    fprintf(stderr, "bench-herd: %s; fewer processes or threads may do\n", why);
    board->broken++;
    return 1;
}

static int process_main(const char *server, int threads)
{
    static pthread_t ids[THREADS_MAX];
    int64_t          until = now_ms() + SOON_MS;

    close(gate[1]);
    if (mend_open(&MEND_CONFIG(.servers = server, .timeout_ms = 2000), &client, NULL) != MEND_OK)
        return process_broken("no client");
    while (state_of(client, 0) == MEND_STATE_NEW && now_ms() < until)
        pause_ms(1);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, thread_main, NULL) != 0)
            return process_broken("no thread is to be had");
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    mend_close(client);
    return 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Returns how often it was loaded; -1: the round came to nothing. */
static int round_of(const char *how, const char *server, int processes, int threads)
{
    pid_t pids[PROCESSES_MAX];
    int   bad = 0, status;

    memset(board, 0, sizeof *board);
    if (pipe(gate) != 0)
        return -1;
    fflush(stdout);
    for (int i = 0; i < processes; i++)
        if ((pids[i] = fork()) == 0)
            _exit(process_main(server, threads));
    for (int64_t until = now_ms() + SOON_MS; board->ready < processes * threads && !board->broken && now_ms() < until;)
        pause_ms(1);
    close(gate[1]);
    for (int i = 0; i < processes; i++)
        bad += pids[i] < 0 || waitpid(pids[i], &status, 0) != pids[i] || status != 0;
    close(gate[0]);
    size_t n = board->waits;
    if (bad || n == 0)
        return -1;
    qsort(board->wait_ms, n, sizeof *board->wait_ms, by_size);
    printf("| %-34s | %5d | %12d | %8.1f | %8.1f | %6d |\n", how, board->loads, board->most, board->wait_ms[n / 2], board->wait_ms[n - 1], board->failed);
    return board->loads;
}

int main(int argc, char **argv)
{
    int              processes = argc > 1 ? atoi(argv[1]) : 8, threads = argc > 2 ? atoi(argv[2]) : 100;
    struct memcached m;
    char             nobody[64];

    if (processes < 1 || processes > PROCESSES_MAX || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: bench-herd [PROCESSES [THREADS]]\n");
        return 2;
    }
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        perror("bench-herd");
        return 1;
    }
    memcached_start(&m, "127.0.0.1", "-c 4096");
    snprintf(nobody, sizeof nobody, "127.0.0.1:%d", port_free("127.0.0.1"));
    printf("%d processes of %d threads each ask for one key that is not there; a load takes %d ms\n\n", processes, threads, LOAD_MS);
    printf("| %-34s | loads | at one time  | wait p50 | slowest  | failed |\n", "");
    printf("| ---------------------------------- | ----: | -----------: | -------: | -------: | -----: |\n");
    int naive = round_of("get, load, set", m.name, processes, threads);
    int raw = raw_connect("127.0.0.1", m.port, NULL);
    char answer[64];
    raw_ask(raw, "delete herd\r\n", "\r\n", answer, sizeof answer);
    close(raw);
    fetches = true;
    int once = round_of("mend_fetch", m.name, processes, threads);
    int hit = round_of("mend_fetch, once it is there", m.name, processes, threads);
    int down = round_of("mend_fetch, the cache is down", nobody, processes, threads);
    fetches = false;
    int down_naive = round_of("get, load; the cache is down", nobody, processes, threads);
    memcached_stop(&m);
    return naive < 1 || once != 1 || hit != 0 || down < 1 || down_naive < 1;
}
