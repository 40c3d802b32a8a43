/* pool.c - a pool of threads that share one client.
 *
 *     cc pool.c -o pool -pthread $(pkg-config --cflags --libs mend)
 *     seq 1000000 1000 2000000 | ./pool 10.0.0.1,10.0.0.2
 *
 * Each line of input is a number; the pool counts the primes below it, which takes
 * a while, so that the counts are cached.
 *
 * What it shows: one client for all threads, without a lock around it, and a reply
 * for each thread, used again and again, so that a steady get allocates nothing.
 * While memcached is down the work is done as after a miss; nobody waits for it.
 */
#include <mend.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 8, TTL_S = 3600, NUMBER_MAX = 100 * 1000 * 1000 };

/* What all threads share. mend's calls need no lock of ours; reading lines does. */
static mend_client    *cache;
static pthread_mutex_t input = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint     hits, misses, without; /* without: the cache could not be asked */
static atomic_bool     failed;

/* The next number; -1 at the end. */
static int next_number(void)
{
    char line[64];
    int  number = -1;
    pthread_mutex_lock(&input);
    while (number < 0 && fgets(line, sizeof line, stdin)) {
        char *end;
        long  n = strtol(line, &end, 10);
        if (end != line && *end == '\n' && n >= 0 && n <= NUMBER_MAX) {
            number = (int)n;
        } else {
            fprintf(stderr, "not a number up to %d: %s", NUMBER_MAX, line);
            failed = true;
        }
    }
    pthread_mutex_unlock(&input);
    return number;
}

/* The slow part. -1: no memory. */
static int count_primes_below(int n)
{
    int            count = 0;
    unsigned char *composite = calloc((size_t)n + 1, 1);
    if (!composite)
        return -1;
    for (int64_t p = 2; p < n; p++) {
        if (composite[p])
            continue;
        count++;
        for (int64_t multiple = p * p; multiple < n; multiple += p)
            composite[multiple] = 1;
    }
    free(composite);
    return count;
}

/* What the cache has of it: -1 if that is nothing, whatever the reason. */
static int cached(mend_bytes key, mend_reply *r)
{
    mend_status status = mend_get(cache, key, r);
    if (status == MEND_OK) {
        hits++;
        return atoi(r->data); /* data ends in a NUL, behind its len bytes */
    }
    if (status < 0) /* r->error says why, should anybody want to know; the events say it once an outage */
        without++;
    else
        misses++;
    return -1;
}

static int primes_below(int n, mend_reply *r)
{
    char       name[32], value[16];
    mend_bytes key = mend_mem(name, (size_t)snprintf(name, sizeof name, "primes:%d", n));
    int        count = cached(key, r);
    if (count >= 0)
        return count;
    count = count_primes_below(n);
    if (count >= 0) /* whether it is stored makes no difference to the answer: while memcached is down, this returns at once */
        mend_set(cache, key, mend_mem(value, (size_t)snprintf(value, sizeof value, "%d", count)), &(mend_store){.ttl_s = TTL_S}, NULL);
    return count;
}

static void *work(void *unused)
{
    mend_reply r = MEND_REPLY; /* one for all calls of this thread */
    for (int n; (n = next_number()) >= 0;) {
        int count = primes_below(n, &r);
        if (count < 0)
            failed = true;
        else
            printf("%d %d\n", n, count);
    }
    mend_reply_free(&r);
    return unused;
}

static void tell(const mend_event *e, void *unused)
{
    char line[400];
    (void)unused;
    mend_event_text(e, line, sizeof line);
    fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
    pthread_t  threads[THREADS];
    int        started = 0;
    mend_reply r = MEND_REPLY;
    if (mend_open(&MEND_CONFIG(.servers = argc > 1 ? argv[1] : "127.0.0.1", .on_event = tell), &cache, &r) < 0) {
        fprintf(stderr, "%s\n", r.error); /* a mistake in the configuration; a server that is down is none */
        mend_reply_free(&r);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* each line as soon as it is there */
    while (started < THREADS && pthread_create(&threads[started], NULL, work, NULL) == 0)
        started++;
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    mend_close(cache); /* the last call: no thread has one running */
    mend_reply_free(&r);
    fprintf(stderr, "%u hits, %u misses, %u without the cache\n", hits, misses, without);
    return failed || started == 0 || fflush(stdout) != 0;
}
