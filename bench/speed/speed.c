/* speed.c - one client, one case, so many threads, for a while: a line of JSON on stdout.
 *
 *     bench-speed CLIENT CASE SERVERS [--threads N] [--seconds S] [--calls N] [--pids PID,PID...]
 *     bench-speed --list
 *
 * SERVERS are memcacheds that run: "host:port,host:port" or "unix:/path". --pids are their processes, whose CPU time
 * is told too. --calls makes exactly so many calls in all and takes no call's time: for tools that count.
 *
 * Knows nothing of placement: whoever starts it pins it. A wrong answer ends it with a message and 1.
 */
#include "client.h"
#include "histogram.h"
#include "store.h"

#include "../clock.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct client *const clients[] = {
    &client_floor, &client_floor_meta, &client_crowd, &client_loop, &client_mend, &client_mend_idle,
    &client_libmemcached, &client_libmemcached_tuned, &client_libmemcached_pool,
};

enum operation { GET, SET, DELETE, GET_MULTI, SET_MULTI, DELETE_MULTI, OPEN_CLOSE };

static const struct scene {
    const char    *name;
    enum operation operation;
    size_t         items, value_bytes;
    bool           missing; /* the keys are not there */
    bool           down;    /* nor is the server */
} scenes[] = {
    {"get_hit", GET, 256, 100, false, false},
    {"get_miss", GET, 256, 100, true, false},
    {"set_100", SET, 256, 100, false, false},
    {"set_4k", SET, 256, 4096, false, false},
    {"delete", DELETE, 256, 100, true, false},
    {"get_1m", GET, 4, 1 << 20, false, false},
    {"set_1m", SET, 4, 1 << 20, false, false},
    {"get_multi_10", GET_MULTI, 10, 100, false, false},
    {"get_multi_100", GET_MULTI, 100, 100, false, false},
    {"get_multi_1000", GET_MULTI, 1000, 100, false, false},
    {"set_multi_100", SET_MULTI, 100, 100, false, false},
    {"delete_multi_100", DELETE_MULTI, 100, 100, true, false},
    {"get_down", GET, 1000, 100, true, true},
    {"set_down", SET, 60000, 100, true, true}, /* a key that the journal has not: fewer than it may have */
    {"set_down_again", SET, 1000, 100, true, true},
    {"open_close", OPEN_CLOSE, 1, 100, false, false},
};

struct run {
    const struct client *client;
    const struct scene  *scene;
    struct target        target;
    void                *shared;
    double               seconds;
    long                 calls; /* 0: by the clock */
    pthread_barrier_t    joined, begun, ended;
    int64_t              begin_ns, end_ns; /* what ends in between is counted */
    char                 servers[SERVERS_MAX * 112];
    pid_t                pids[SERVERS_MAX];
    unsigned             pid_count;
};

struct caller {
    pthread_t        thread;
    struct run      *run;
    unsigned         number;
    void            *mine;
    atomic_long      calls; /* the main thread looks, too */
    long             failed;
    double           cpu_s; /* of this thread, where calls are counted and not timed */
    struct histogram took;
};

static void wrong(const struct run *run, const char *what)
{
    fprintf(stderr, "bench-speed: %s, %s: %s\n", run->client->name, run->scene->name, what);
    exit(1);
}

/* ---- One call ----------------------------------------------------------------------------------- */

static bool get_is_right(struct caller *c, const struct item *item)
{
    struct answer a = {0};

    switch (c->run->client->get(c->mine, item, &a)) {
    case HIT:
        if (c->run->scene->missing && c->run->client != &client_loop)
            wrong(c->run, "a hit where nothing is stored");
        if (!item_is(item, a.data, a.bytes))
            wrong(c->run, "the value is not this key's");
        return true;
    case MISS:
        if (!c->run->scene->missing)
            wrong(c->run, "a miss of what is stored");
        return true;
    case FAILED:
    case DONE:
        break;
    }
    return c->run->scene->down;
}

/* Opens, asks once, closes: what a program that lives briefly pays. */
static bool open_close(struct caller *c, const struct item *item)
{
    const struct client *client = c->run->client;
    void                *shared = client->open ? client->open(&c->run->target) : NULL;
    void                *before = c->mine;

    c->mine = client->join(shared, &c->run->target);
    bool right = get_is_right(c, item);
    client->leave(c->mine);
    if (client->close)
        client->close(shared);
    c->mine = before;
    return right;
}

static bool call(struct caller *c, long i)
{
    const struct client *client = c->run->client;
    const struct target *t = &c->run->target;
    const struct item   *item = &t->items[((size_t)i + c->number * 61) % t->item_count];

    switch (c->run->scene->operation) {
    case GET: return get_is_right(c, item);
    case SET: return client->set(c->mine, item) == DONE || c->run->scene->down;
    case DELETE: return client->delete(c->mine, item) == DONE;
    case GET_MULTI: return client->get_multi(c->mine, t) == t->batch;
    case SET_MULTI: return client->set_multi(c->mine, t) == t->batch;
    case DELETE_MULTI: return client->delete_multi(c->mine, t) == t->batch;
    case OPEN_CLOSE: return open_close(c, item);
    }
    return false;
}

static bool is_multi(enum operation operation)
{
    return operation == GET_MULTI || operation == SET_MULTI || operation == DELETE_MULTI;
}

static bool can(const struct client *client, enum operation operation)
{
    switch (operation) {
    case GET: return client->get;
    case SET: return client->set;
    case DELETE: return client->delete;
    case GET_MULTI: return client->get_multi;
    case SET_MULTI: return client->set_multi;
    case DELETE_MULTI: return client->delete_multi;
    case OPEN_CLOSE: return client->get && client != &client_loop;
    }
    return false;
}

/* ---- A thread ------------------------------------------------------------------------------------- */

static double cpu_s(clockid_t id)
{
    struct timespec t = {0};
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void call_by_number(struct caller *c)
{
    long   share = c->run->calls / c->run->target.threads;
    double before = cpu_s(CLOCK_THREAD_CPUTIME_ID);

    for (long i = 0; i < share; i++)
        c->failed += !call(c, i);
    c->cpu_s = cpu_s(CLOCK_THREAD_CPUTIME_ID) - before;
    atomic_store(&c->calls, share);
}

static void call_by_clock(struct caller *c)
{
    const struct run *run = c->run;
    int64_t           before = clock_now(), now;
    long              calls = 0;

    for (long i = 0; before < run->end_ns; i++, before = now) {
        bool right = call(c, i);
        now = clock_now();
        if (before < run->begin_ns || now > run->end_ns)
            continue;
        atomic_store_explicit(&c->calls, ++calls, memory_order_relaxed);
        c->failed += !right;
        histogram_add(&c->took, (uint64_t)(now - before));
    }
}

static void *thread(void *context)
{
    struct caller *c = context;
    struct run    *run = c->run;
    bool           stores = run->scene->operation == SET || run->scene->operation == SET_MULTI;

    c->mine = run->client->join(run->shared, &run->target);
    if (run->scene->operation != OPEN_CLOSE && !call(c, 0)) /* opens the connection */
        wrong(run, "the first call failed");
    pthread_barrier_wait(&run->joined);
    pthread_barrier_wait(&run->begun);
    if (run->calls)
        call_by_number(c);
    else
        call_by_clock(c);
    pthread_barrier_wait(&run->ended);
    pthread_barrier_wait(&run->ended); /* the main thread has looked at the connections */
    if (stores && !get_is_right(c, &run->target.items[c->number % run->target.item_count]))
        wrong(run, "what was stored can't be read");
    run->client->leave(c->mine);
    return NULL;
}

/* ---- A run ------------------------------------------------------------------------------------------ */

static double servers_cpu_s(const struct run *run)
{
    double    sum = 0;
    clockid_t id;

    for (unsigned i = 0; i < run->pid_count; i++)
        if (clock_getcpuclockid(run->pids[i], &id) == 0)
            sum += cpu_s(id);
    return sum;
}

struct usage {
    double client_s, servers_s;
    long   calls;
};

static struct usage usage_now(const struct run *run, struct caller *callers)
{
    struct usage now = {.client_s = cpu_s(CLOCK_PROCESS_CPUTIME_ID), .servers_s = servers_cpu_s(run)};

    for (unsigned i = 0; i < run->target.threads; i++)
        now.calls += atomic_load(&callers[i].calls);
    return now;
}

/* Sockets of this process: those that a client opened are those that were not there before. */
static int descriptors(void)
{
    char link[64], to[64];
    int  count = 0;

    for (int fd = 0; fd < 1024; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, to, sizeof to - 1);
        count += n > 7 && strncmp(to, "socket:", 7) == 0;
    }
    return count;
}

static long heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return (long)(m.uordblks + m.hblkhd);
}

static void open_client(struct run *run)
{
    if (run->client->open)
        run->shared = run->client->open(&run->target);
    for (int i = 0; i < 5000 && run->client->ready && !run->client->ready(run->shared, run->scene->down); i++)
        usleep(1000);
}

struct looks {
    struct usage before, after;
    int          sockets, sockets_idle;
    long         heap_opened, heap_used;
};

static void measure(struct run *run, struct caller *callers, struct looks *looks)
{
    int  sockets = descriptors();
    long heap = heap_bytes();

    open_client(run);
    looks->heap_opened = heap_bytes() - heap;
    looks->sockets_idle = descriptors() - sockets;
    for (unsigned i = 0; i < run->target.threads; i++) {
        callers[i].run = run;
        callers[i].number = i;
        if (pthread_create(&callers[i].thread, NULL, thread, &callers[i]) != 0)
            wrong(run, "no thread");
    }
    pthread_barrier_wait(&run->joined);
    int64_t now = clock_now();
    run->begin_ns = now + (int64_t)(run->seconds * 0.2e9);
    run->end_ns = run->begin_ns + (int64_t)(run->seconds * 1e9);
    pthread_barrier_wait(&run->begun);
    if (!run->calls) {
        clock_sleep_until(run->begin_ns);
        looks->before = usage_now(run, callers);
        clock_sleep_until(run->end_ns - (int64_t)(run->seconds * 0.05e9));
        looks->after = usage_now(run, callers);
        looks->sockets = descriptors() - sockets;
    }
    pthread_barrier_wait(&run->ended);
    looks->heap_used = heap_bytes() - heap;
    pthread_barrier_wait(&run->ended);
    for (unsigned i = 0; i < run->target.threads; i++)
        pthread_join(callers[i].thread, NULL);
    if (run->client->close)
        run->client->close(run->shared);
}

static void tell(const struct run *run, struct caller *callers, const struct looks *looks)
{
    struct histogram *all = must_have(calloc(1, sizeof *all));
    long              calls = 0, failed = 0;
    double            counted_s = 0;

    for (unsigned i = 0; i < run->target.threads; i++) {
        calls += atomic_load(&callers[i].calls);
        failed += callers[i].failed;
        counted_s += callers[i].cpu_s;
        histogram_sum(all, &callers[i].took);
    }
    double per_s = run->calls ? 0 : (double)calls / run->seconds;
    double looked_calls = (double)(looks->after.calls - looks->before.calls);
    if (looked_calls <= 0)
        looked_calls = 1;
    double client_s = (looks->after.client_s - looks->before.client_s) / looked_calls;
    double servers_s = (looks->after.servers_s - looks->before.servers_s) / looked_calls;
    if (run->calls)
        client_s = counted_s / (double)run->calls;
    printf("{\"client\": \"%s\", \"case\": \"%s\", \"threads\": %u, \"servers\": %u, \"calls\": %ld, "
           "\"failed\": %ld, \"per_s\": %.1f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"client_cpu_us\": %.4f, "
           "\"server_cpu_us\": %.3f, \"connections\": %d, \"heap_opened\": %ld, \"heap_used\": %ld}\n",
           run->client->name, run->scene->name, run->target.threads, run->target.server_count, calls, failed, per_s,
           histogram_quantile_ns(all, 0.5) / 1e3, histogram_quantile_ns(all, 0.99) / 1e3, client_s * 1e6, servers_s * 1e6,
           looks->sockets, looks->heap_opened, looks->heap_used);
    free(all);
}

/* ---- What was asked for ------------------------------------------------------------------------------ */

static void usage(void)
{
    fprintf(stderr, "usage: bench-speed CLIENT CASE SERVERS [--threads N] [--seconds S] [--calls N] [--pids PID,...]\n"
                    "       bench-speed --list\n");
    exit(2);
}

static void list(void)
{
    for (size_t i = 0; i < sizeof clients / sizeof *clients; i++)
        printf("client %s\n", clients[i]->name);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        printf("case %s\n", scenes[i].name);
}

static void read_names(struct run *run, const char *client, const char *scene)
{
    for (size_t i = 0; i < sizeof clients / sizeof *clients; i++)
        if (strcmp(client, clients[i]->name) == 0)
            run->client = clients[i];
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        if (strcmp(scene, scenes[i].name) == 0)
            run->scene = &scenes[i];
    if (!run->client || !run->scene)
        usage();
}

static void read_options(struct run *run, char **option)
{
    for (; option[0]; option += 2) {
        if (!option[1])
            usage();
        if (strcmp(option[0], "--threads") == 0)
            run->target.threads = (unsigned)atoi(option[1]);
        else if (strcmp(option[0], "--seconds") == 0)
            run->seconds = atof(option[1]);
        else if (strcmp(option[0], "--calls") == 0)
            run->calls = atol(option[1]);
        else if (strcmp(option[0], "--pids") == 0)
            for (char *pid = strtok(option[1], ","); pid && run->pid_count < SERVERS_MAX; pid = strtok(NULL, ","))
                run->pids[run->pid_count++] = (pid_t)atoi(pid);
        else
            usage();
    }
    if (run->target.threads == 0 || run->seconds <= 0)
        usage();
}

int main(int argc, char **argv)
{
    static struct run run = {.seconds = 0.3, .target = {.threads = 1}};
    struct looks      looks = {0};

    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        list();
        return 0;
    }
    if (argc < 4)
        usage();
    read_names(&run, argv[1], argv[2]);
    snprintf(run.servers, sizeof run.servers, "%s", argv[3]);
    for (char *s = strtok(run.servers, ","); s && run.target.server_count < SERVERS_MAX; s = strtok(NULL, ","))
        run.target.servers[run.target.server_count++] = s;
    read_options(&run, argv + 4);
    if (!can(run.client, run.scene->operation))
        wrong(&run, "this client has no such call");

    struct item *items = items_new(run.scene->items, run.scene->value_bytes);
    run.target.items = items;
    run.target.item_count = run.scene->items;
    run.target.batch = is_multi(run.scene->operation) ? run.scene->items : 0;
    if (!run.scene->down && !items_store(items, &run.target, run.scene->missing))
        return 1;
    struct caller *callers = must_have(calloc(run.target.threads, sizeof *callers));
    pthread_barrier_init(&run.joined, NULL, run.target.threads + 1);
    pthread_barrier_init(&run.begun, NULL, run.target.threads + 1);
    pthread_barrier_init(&run.ended, NULL, run.target.threads + 1);
    measure(&run, callers, &looks);
    tell(&run, callers, &looks);
    free(callers);
    items_free(items);
    return 0;
}
