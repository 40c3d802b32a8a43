/* bench.c - the command bench: gets and sets from several threads over one client, and how long they took.
 *
 * A call's time is from before it to after it, on its thread: the next one begins when the last
 * has ended, so that a server that is slow is also asked less often.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "demo/clock.h"
#include "interrupt.h"
#include "progress.h"
#include "say.h"

enum {
    MARK_MS = 100,
    BATCH = 100,    /* keys stored or deleted by one call */
    TTL_S = 3600,   /* of its keys, should it not live to delete them */
    KEY_ROOM = 32,
};

struct bench {
    struct cli    *cli;
    struct options o;
    char          *value;
    atomic_bool    stop;
};

struct worker {
    struct bench       *bench;
    pthread_t           thread;
    uint64_t            chance; /* xorshift's state */
    uint64_t            count;  /* calls to make; 0: until it is stopped */
    _Atomic(uint64_t)   done;
    struct bench_result result;
    mend_reply          reply;
    mend_replies        replies;
    mend_bytes         *keys; /* of one get */
    char              (*texts)[KEY_ROOM];
};

static mend_bytes key_of(char text[KEY_ROOM], uint64_t n)
{
    return mend_mem(text, (size_t)snprintf(text, KEY_ROOM, "mend:bench:%" PRIu64, n));
}

/* ---- A thread ------------------------------------------------------------------------------ */

static uint64_t chance(struct worker *w, uint64_t below)
{
    w->chance ^= w->chance << 13;
    w->chance ^= w->chance >> 7;
    w->chance ^= w->chance << 17;
    return w->chance % below;
}

static void note(struct worker *w, mend_status status, bool is_get)
{
    if (status < 0) {
        w->result.failed++;
        w->result.failures[-status < 15 ? -status : 15]++;
    } else if (is_get) {
        w->result.hits += status == MEND_OK;
        w->result.misses += status != MEND_OK;
    }
}

static void set_one(struct worker *w)
{
    struct bench *b = w->bench;
    mend_bytes    key = key_of(w->texts[0], chance(w, b->o.keys));

    note(w, mend_set(b->cli->client, key, mend_mem(b->value, b->o.size_bytes), &(mend_store){.ttl_s = TTL_S}, &w->reply), false);
}

static void get_some(struct worker *w)
{
    struct bench *b = w->bench;

    for (unsigned i = 0; i < b->o.multi; i++)
        w->keys[i] = key_of(w->texts[i], chance(w, b->o.keys));
    if (b->o.multi == 1) {
        note(w, mend_get(b->cli->client, w->keys[0], &w->reply), true);
        return;
    }
    mend_get_multi(b->cli->client, w->keys, b->o.multi, &w->replies);
    for (size_t i = 0; i < w->replies.count; i++)
        note(w, w->replies.at[i].status, true);
}

static void *work(void *worker)
{
    struct worker *w = worker;

    for (uint64_t n = 0; !atomic_load(&w->bench->stop) && !(w->count && n == w->count);) {
        bool               is_set = chance(w, 100) < w->bench->o.sets_percent;
        struct bench_kind *kind = is_set ? &w->result.sets : &w->result.gets;
        int64_t            began_ns = clock_now();

        (is_set ? set_one : get_some)(w);
        int64_t took_ns = clock_now() - began_ns;
        histogram_add(&kind->times, (uint64_t)took_ns);
        if (took_ns > kind->slowest_ns)
            kind->slowest_ns = took_ns;
        atomic_store_explicit(&w->done, ++n, memory_order_relaxed);
    }
    mend_reply_free(&w->reply);
    mend_replies_free(&w->replies);
    return NULL;
}

static struct worker *workers(struct bench *b)
{
    unsigned       n = b->o.threads;
    struct worker *all = calloc(n, sizeof *all);

    if (!all)
        fail(UNAVAILABLE, "out of memory");
    for (unsigned i = 0; i < n; i++) {
        struct worker *w = &all[i];
        w->bench = b;
        w->chance = 0x9e3779b97f4a7c15u * (i + 1);
        w->count = b->o.count ? b->o.count / n + (i < b->o.count % n) : 0;
        w->reply = (mend_reply)MEND_REPLY;
        w->keys = calloc(b->o.multi, sizeof *w->keys);
        w->texts = calloc(b->o.multi, sizeof *w->texts);
        if (!w->keys || !w->texts)
            fail(UNAVAILABLE, "out of memory");
    }
    return all;
}

/* ---- The keys: stored before, deleted after -------------------------------------------------- */

static mend_status for_all_keys(struct bench *b, bool store)
{
    char         texts[BATCH][KEY_ROOM];
    mend_bytes   keys[BATCH];
    mend_item    items[BATCH];
    mend_replies rs = MEND_REPLIES;
    mend_status  worst = MEND_OK;
    char         error[CLI_ERROR];
    size_t       each = BATCH * (size_t)b->o.size_bytes > (1 << 20) ? 1 : BATCH; /* of large values one, so that it is within the timeout */

    for (uint64_t from = 0, n; from < b->o.keys && !(store && interrupted()) && worst >= 0; from += n) {
        for (n = 0; n < each && from + n < b->o.keys; n++) {
            keys[n] = key_of(texts[n], from + n);
            items[n] = (mend_item){.key = keys[n], .value = mend_mem(b->value, b->o.size_bytes), .store = {.ttl_s = TTL_S}};
        }
        worst = store ? mend_set_multi(b->cli->client, items, n, &rs) : mend_delete_multi(b->cli->client, keys, n, NULL);
        for (size_t i = 0; store && i < rs.count; i++) {
            if (rs.at[i].status < 0)
                fail(UNAVAILABLE, "bench: its keys can't be stored: %s: %s", rs.at[i].server, cli_error_of(b->cli->client, &rs.at[i], error));
            if (rs.at[i].status > 0)
                fail(REFUSED, "bench: its keys can't be stored: %s: %s", rs.at[i].server, mend_status_text(rs.at[i].status));
        }
    }
    mend_replies_free(&rs);
    return worst;
}

/* ---- While they run --------------------------------------------------------------------------- */

static uint64_t done_so_far(const struct bench *b, struct worker *all)
{
    uint64_t done = 0;

    for (unsigned i = 0; i < b->o.threads; i++)
        done += atomic_load_explicit(&all[i].done, memory_order_relaxed);
    return done;
}

static void mark(struct bench_result *r, int64_t at_ns, uint64_t calls)
{
    if (r->marks_count % 1024 == 0 && !(r->marks = reallocarray(r->marks, r->marks_count + 1024, sizeof *r->marks)))
        fail(UNAVAILABLE, "out of memory");
    r->marks[r->marks_count++] = (struct bench_mark){at_ns, calls};
}

static void show_progress(struct bench *b, struct progress *p, const struct bench_result *r, int64_t at_ns, uint64_t calls)
{
    char   words[WORDS_MAX];
    size_t before = r->marks_count > 10 ? r->marks_count - 11 : 0;
    double now_s = (double)(calls - r->marks[before].calls) * 1e9 / (double)(at_ns - r->marks[before].at_ns + 1);

    if (!progress_due(p))
        return;
    if (b->o.count)
        progress_show(p, "%.0f %%  %s calls/s", 100 * (double)calls / (double)b->o.count, say_brief(words, now_s));
    else
        progress_show(p, "%.0f of %.0f s  %s calls/s", (double)at_ns / 1e9, (double)b->o.time_ms / 1e3, say_brief(words, now_s));
}

static void watch_them(struct bench *b, struct worker *all, struct bench_result *r)
{
    struct progress p = {.quiet = b->o.quiet};
    int64_t         began_ns = clock_now(), at_ns = 0;

    mark(r, 0, 0);
    for (uint64_t calls = 0; !interrupted() && (b->o.count ? calls < b->o.count : at_ns < MS(b->o.time_ms));) {
        clock_sleep_until(began_ns + (int64_t)r->marks_count * MS(MARK_MS));
        at_ns = clock_now() - began_ns;
        calls = done_so_far(b, all);
        mark(r, at_ns, calls);
        show_progress(b, &p, r, at_ns, calls);
    }
    atomic_store(&b->stop, true);
    for (unsigned i = 0; i < b->o.threads; i++)
        pthread_join(all[i].thread, NULL);
    progress_end(&p);
}

/* ---- What came of it ------------------------------------------------------------------------------ */

static void sum_kind(struct bench_kind *to, const struct bench_kind *from)
{
    histogram_sum(&to->times, &from->times);
    if (from->slowest_ns > to->slowest_ns)
        to->slowest_ns = from->slowest_ns;
}

static void sum(struct bench *b, struct worker *all, struct bench_result *r)
{
    for (unsigned i = 0; i < b->o.threads; i++) {
        const struct bench_result *one = &all[i].result;
        sum_kind(&r->gets, &one->gets);
        sum_kind(&r->sets, &one->sets);
        r->hits += one->hits;
        r->misses += one->misses;
        r->failed += one->failed;
        for (size_t status = 0; status < 16; status++)
            r->failures[status] += one->failures[status];
        free(all[i].keys);
        free(all[i].texts);
    }
}

static const struct {
    double      part;
    const char *name, *field;
} quantiles[] = {{0.5, "p50", "p50_ms"}, {0.9, "p90", "p90_ms"}, {0.99, "p99", "p99_ms"}, {0.999, "p99.9", "p999_ms"}};
enum { QUANTILES = sizeof quantiles / sizeof *quantiles };

static double rate(uint64_t n, int64_t ns)
{
    return ns > 0 ? (double)n * 1e9 / (double)ns : 0;
}

static void print_kind(const struct bench_kind *k, int64_t took_ns)
{
    char calls[WORDS_MAX], each_s[WORDS_MAX], words[CLOCK_WORDS];

    if (k->times.total == 0)
        return;
    printf("%-5s %11s %10s", k->name, say_count(calls, k->times.total), say_count(each_s, (uint64_t)rate(k->times.total, took_ns)));
    for (size_t i = 0; i < QUANTILES; i++)
        printf(" %9s", clock_words(words, (int64_t)histogram_quantile_ns(&k->times, quantiles[i].part)));
    printf(" %9s\n", clock_words(words, k->slowest_ns));
}

static void print(const struct bench_result *r)
{
    printf("%s\n\n%-5s %11s %10s", r->title, "", "calls", "calls/s");
    for (size_t i = 0; i < QUANTILES; i++)
        printf(" %9s", quantiles[i].name);
    printf(" %9s\n", "slowest");
    print_kind(&r->gets, r->took_ns);
    print_kind(&r->sets, r->took_ns);
    printf("\n");
    if (r->hits + r->misses)
        printf("hits %.2f %%", 100 * (double)r->hits / (double)(r->hits + r->misses));
    printf("%sfailed %" PRIu64 "\n", r->hits + r->misses ? ", " : "", r->failed);
    for (int status = 0; status < 16; status++)
        if (r->failures[status])
            printf("  %" PRIu64 " %s: %s\n", r->failures[status], mend_status_name(-status), mend_status_text(-status));
}

static json_object *kind_json(const struct bench_kind *k, int64_t took_ns)
{
    json_object *o = json_object_new_object();

    json_unsigned(o, "calls", k->times.total);
    json_real(o, "calls_s", rate(k->times.total, took_ns), 1);
    for (size_t i = 0; i < QUANTILES; i++)
        json_real(o, quantiles[i].field, histogram_quantile_ns(&k->times, quantiles[i].part) / 1e6, 4);
    json_real(o, "slowest_ms", (double)k->slowest_ns / 1e6, 4);
    return o;
}

static void print_json(const struct bench *b, const struct bench_result *r)
{
    json_object *line = json_object_new_object(), *failures = json_object_new_object();

    json_real(line, "seconds", (double)r->took_ns / 1e9, 3);
    json_number(line, "threads", b->o.threads);
    json_number(line, "size_bytes", b->o.size_bytes);
    json_number(line, "keys", b->o.keys);
    json_number(line, "sets_percent", b->o.sets_percent);
    json_number(line, "multi", b->o.multi);
    json_object_object_add(line, "gets", kind_json(&r->gets, r->took_ns));
    json_object_object_add(line, "sets", kind_json(&r->sets, r->took_ns));
    json_unsigned(line, "hits", r->hits);
    json_unsigned(line, "misses", r->misses);
    json_unsigned(line, "failed", r->failed);
    for (int status = 0; status < 16; status++)
        if (r->failures[status])
            json_unsigned(failures, mend_status_name(-status), r->failures[status]);
    json_object_object_add(line, "failures", failures);
    json_line(line);
}

/* ---- The command ------------------------------------------------------------------------------------ */

static void entitle(const struct bench *b, size_t servers, char *title, size_t size)
{
    const struct options *o = &b->o;
    char                  bytes[WORDS_MAX], keys[WORDS_MAX], gets[48] = "";

    if (o->multi > 1)
        snprintf(gets, sizeof gets, " of %u keys", o->multi);
    snprintf(title, size, "%u thread%s, gets%s, %u %% sets, %s keys of %s, %zu server%s", o->threads, o->threads == 1 ? "" : "s", gets,
             o->sets_percent, say_count(keys, o->keys), say_bytes(bytes, o->size_bytes), servers, servers == 1 ? "" : "s");
}

static void run_them(struct bench *b, struct bench_result *r)
{
    struct worker *all = workers(b);
    int64_t        began_ns = clock_now();

    for (unsigned i = 0; i < b->o.threads; i++)
        if ((errno = pthread_create(&all[i].thread, NULL, work, &all[i])) != 0)
            fail(UNAVAILABLE, "bench: no thread: %s", strerror(errno));
    watch_them(b, all, r);
    r->took_ns = clock_now() - began_ns;
    sum(b, all, r);
    free(all);
}

int run_bench(struct cli *cli, int argc, char **argv)
{
    struct bench         b = {.cli = cli, .o = cli->opt};
    struct bench_result *r = calloc(1, sizeof *r);
    size_t               servers;
    int                  code = DONE;

    (void)argc, (void)argv;
    cli_servers(cli, &servers);
    if (!r)
        fail(UNAVAILABLE, "out of memory");
    entitle(&b, servers, r->title, sizeof r->title);
    r->gets.name = "get";
    r->sets.name = "set";
    if (!(b.value = malloc(b.o.size_bytes)))
        fail(UNAVAILABLE, "out of memory");
    memset(b.value, 'm', b.o.size_bytes);

    interrupt_catch();
    for_all_keys(&b, true);
    if (!interrupted())
        run_them(&b, r);
    if (b.o.json)
        print_json(&b, r);
    else
        print(r);
    if (b.o.picture && !bench_picture(r, b.o.picture)) {
        warn("bench: %s: %s", b.o.picture, strerror(errno));
        code = USAGE;
    }
    for_all_keys(&b, false);
    interrupt_die();
    code = cli_worse(code, r->failed ? UNAVAILABLE : DONE);
    free(b.value);
    free(r->marks);
    free(r);
    return code;
}
