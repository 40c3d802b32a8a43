/* refresh.c - refresh ahead: a report that takes long to make, and that nobody waits for.
 *
 *     cc refresh.c -o refresh -pthread $(pkg-config --cflags --libs mend)
 *     ./refresh sales.csv 20 10.0.0.1,10.0.0.2
 *
 * Readers ask for the sum of the file's numbers, 20 times a second each, for 20
 * seconds. Making it takes 200 ms. Every second a line says what they got, and how
 * long the slowest waited. Write to the file, kill memcached, start it again, run
 * it twice: and see.
 *
 * What it shows: by mend_fetch and its recipe, one reader of all processes makes the
 * report anew before it is too old, and the others are served the old one. When
 * the file changes, mend_make_stale does not take the report away, it only has the
 * next reader make another. While memcached is down one reader of each process at
 * a time makes it, and all that come meanwhile get the same.
 */
#include <mend.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum { READERS = 4, MAKING_MS = 200, PAUSE_MS = 50, SOURCES = MEND_SOURCE_LOCAL + 1 };

static mend_client *cache;
static atomic_bool  stopping;
static atomic_uint  served[SOURCES], failed; /* since the last line */
static atomic_llong slowest_ms;              /* of the readers that did not make it themselves */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* ---- What is cached, and how ---- */

/* Makes the report of the file `context`. A file that is not there has none; one that can't be read is a failure, and the
 * old report is served on, for stale_s. */
static int make_report(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    (void)key;
    (void)left_ms; /* a query would take it for its own timeout */
    char  text[32];
    long  number, sum = 0;
    FILE *file = fopen(context, "r");
    if (!file)
        return errno == ENOENT ? MEND_ABSENT : errno;
    while (fscanf(file, "%ld%*[,\n]", &number) == 1)
        sum += number;
    int error = ferror(file) ? EIO : 0;
    fclose(file);
    pause_ms(MAKING_MS); /* so much for the file: a real report would take its time */
    return error ? error : mend_loaded_set(out, mend_mem(text, (size_t)snprintf(text, sizeof text, "%ld", sum)));
}

static mend_recipe report = {
    .load = make_report,
    .ttl_s = 2,          /* fresh for so long... */
    .refresh_s = 1,      /* ...in the last half of which a reader makes it anew, while others are served */
    .stale_s = 10,       /* and if that fails, or takes long, an old report is better than none: for so long */
    .absent_ttl_s = 1,   /* a file may come to be */
    .lease_s = 5,        /* more than making it takes */
    .local_ttl_ms = 500, /* without memcached: made twice a second in each process, not without end */
};

/* ---- Readers ---- */

static mend_status ask(mend_reply *r)
{
    int64_t     began = now_ms();
    mend_status status = mend_fetch(cache, mend_str("report"), &report, r);
    long long   took = now_ms() - began, worst = slowest_ms;
    if (status < 0)
        failed++; /* r->error; of MEND_E_LOADER r->number is make_report's errno */
    else
        served[r->source]++;
    if (r->source != MEND_SOURCE_LOADED)
        while (took > worst && !atomic_compare_exchange_weak(&slowest_ms, &worst, took))
            ;
    return status;
}

static void *reads(void *unused)
{
    mend_reply r = MEND_REPLY;
    for (; !stopping; pause_ms(PAUSE_MS))
        ask(&r);
    mend_reply_free(&r);
    return unused;
}

static void tell(mend_reply *r)
{
    unsigned    n[SOURCES];
    mend_status status = ask(r);
    for (int i = 0; i < SOURCES; i++)
        n[i] = atomic_exchange(&served[i], 0);
    printf("%s: %u from the cache, %u of them stale; %u made it, %u shared that, %u from memory; %u failed; the others waited for %lld ms at most\n",
           status == MEND_OK ? r->data : status == MEND_ABSENT ? "no report" : r->error, n[MEND_SOURCE_CACHE] + n[MEND_SOURCE_STALE], n[MEND_SOURCE_STALE], n[MEND_SOURCE_LOADED], n[MEND_SOURCE_SHARED], n[MEND_SOURCE_LOCAL],
           atomic_exchange(&failed, 0), atomic_exchange(&slowest_ms, 0));
    fflush(stdout);
}

/* Whether the file is another than when it was last asked. */
static bool changed(const char *path, struct stat *last)
{
    struct stat s = {0}; /* all zeros: there is none */
    stat(path, &s);
    bool other = s.st_mtim.tv_sec != last->st_mtim.tv_sec || s.st_mtim.tv_nsec != last->st_mtim.tv_nsec || s.st_size != last->st_size;
    *last = s;
    return other;
}

int main(int argc, char **argv)
{
    pthread_t   readers[READERS];
    int         started = 0;
    struct stat last = {0};
    mend_reply  r = MEND_REPLY;
    if (argc < 3) {
        fprintf(stderr, "usage: %s FILE SECONDS [SERVERS]\n", argv[0]);
        return 2;
    }
    report.context = argv[1]; /* before there are threads */
    if (mend_open(&MEND_CONFIG(.servers = argc > 3 ? argv[3] : "127.0.0.1"), &cache, &r) < 0) {
        fprintf(stderr, "%s\n", r.error); /* a mistake in the configuration; a server that is down is none */
        mend_reply_free(&r);
        return 1;
    }
    changed(argv[1], &last);
    while (started < READERS && pthread_create(&readers[started], NULL, reads, NULL) == 0)
        started++;
    for (int64_t end = now_ms() + atoi(argv[2]) * INT64_C(1000); now_ms() < end; tell(&r)) {
        pause_ms(1000);
        /* MEND_MISS is as good; < 0: mend keeps it in mind, as any write that was lost */
        if (changed(argv[1], &last) && mend_make_stale(cache, mend_str("report"), report.stale_s, &r) < 0)
            fprintf(stderr, "not made stale: %s\n", r.error);
    }
    stopping = true;
    for (int i = 0; i < started; i++)
        pthread_join(readers[i], NULL);
    mend_close(cache);
    mend_reply_free(&r);
    return started == 0;
}
