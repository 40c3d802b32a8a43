/* stats.c - see stats.h. */
#include "client/stats.h"

#include <assert.h>
#include <string.h>

#include "client/calls.h"

const unsigned char stats_operation[WIRE_VERBS] = {
    [WIRE_GET] = MEND_OPERATION_GET,
    [WIRE_GET_AND_TOUCH] = MEND_OPERATION_GET,
    [WIRE_EXISTS] = MEND_OPERATION_GET,
    [WIRE_FETCH] = MEND_OPERATION_GET,
    [WIRE_SET] = MEND_OPERATION_STORE,
    [WIRE_ADD] = MEND_OPERATION_STORE,
    [WIRE_REPLACE] = MEND_OPERATION_STORE,
    [WIRE_APPEND] = MEND_OPERATION_STORE,
    [WIRE_PREPEND] = MEND_OPERATION_STORE,
    [WIRE_CAS] = MEND_OPERATION_STORE,
    [WIRE_DELETE] = MEND_OPERATION_DELETE,
    [WIRE_STALE] = MEND_OPERATION_DELETE,
    [WIRE_RELEASE] = MEND_OPERATION_DELETE,
    [WIRE_TOUCH] = MEND_OPERATION_TOUCH,
    [WIRE_INCREMENT] = MEND_OPERATION_COUNT,
    [WIRE_DECREMENT] = MEND_OPERATION_COUNT,
    [WIRE_FLUSH_ALL] = MEND_OPERATION_FLUSH,
};

/* ---- Reading ---- */

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void sum_calls(const struct stats *stats, mend_calls calls[MEND_OPERATIONS])
{
    static const char *const names[MEND_OPERATIONS] = {
        [MEND_OPERATION_GET] = "get",     [MEND_OPERATION_STORE] = "store", [MEND_OPERATION_DELETE] = "delete", [MEND_OPERATION_TOUCH] = "touch",
        [MEND_OPERATION_COUNT] = "count", [MEND_OPERATION_PING] = "ping",   [MEND_OPERATION_FLUSH] = "flush",
    };
    for (unsigned o = 0; o < MEND_OPERATIONS; o++) {
        calls[o].operation = names[o];
        for (unsigned i = 0; i < STATS_STRIPES; i++)
            for (int k = 0; k < STATS_OUTCOMES; k++) {
                int       status = k - STATS_WORST;
                uint64_t *sum = status < 0 ? &calls[o].failed[-status] : &calls[o].answered[status];
                *sum += read_counter(&stats->stripe[i].calls[o][k]);
            }
    }
}

static void sum_latency(const struct stats *stats, mend_bucket buckets[HISTOGRAM_BUCKETS], uint64_t *total_ns)
{
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
        buckets[b].less_than_ns = histogram_end(b);
    for (unsigned i = 0; i < STATS_STRIPES; i++) {
        for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
            buckets[b].count += read_counter(&stats->stripe[i].took[b]);
        *total_ns += read_counter(&stats->stripe[i].took_ns);
    }
}

/* What is under the server's lock. */
static void read_locked_up(struct server *s, nstime now, mend_server_stats *out)
{
    pthread_mutex_lock(&s->lock);
    const struct health *h = &s->health;
    nstime               down = h->down + (health_askable(h->state) ? 0 : now - h->since);
    for (unsigned i = 0; i < sizeof h->became / sizeof *h->became; i++)
        out->states[i] = h->became[i];
    out->connections_opened = s->opened;
    out->connections_broken = s->broken;
    pthread_mutex_unlock(&s->lock);
    out->down_ms = down / 1000000;
}

void stats_tell(struct server *s, nstime now, struct stats_told *told)
{
    struct server_texts texts;

    memset(told, 0, sizeof *told);
    server_describe(s, now, &told->server, &texts);
    static_assert(sizeof told->why == sizeof texts.why, "a text and its copy");
    memcpy(told->why, texts.why, sizeof told->why);
    told->server.why = told->why;
    told->stats = (mend_server_stats){
        .server = &told->server,
        .calls = told->calls,
        .operations = MEND_OPERATIONS,
        .latency = told->latency,
        .buckets = HISTOGRAM_BUCKETS,
        .bytes_sent = read_counter(&s->stats.traffic.sent),
        .bytes_received = read_counter(&s->stats.traffic.received),
        .retries = read_counter(&s->stats.retries),
        .gutter_calls = read_counter(&s->stats.gutter_calls),
    };
    sum_calls(&s->stats, told->calls);
    sum_latency(&s->stats, told->latency, &told->stats.latency_ns);
    read_locked_up(s, now, &told->stats);
}

int64_t mend_latency_ns(const mend_server_stats *stats, double part)
{
    uint64_t total = 0, seen = 0;

    for (size_t i = 0; i < stats->buckets; i++)
        total += stats->latency[i].count;
    for (size_t i = 0; i < stats->buckets; i++)
        if ((seen += stats->latency[i].count) && (double)seen >= (double)total * part)
            return stats->latency[i].less_than_ns;
    return 0;
}

struct visit {
    void (*each)(const mend_server_stats *, void *);
    void *context;
};

static void tell_one(struct server *s, nstime now, void *arg)
{
    struct visit     *visit = arg;
    struct stats_told told;

    stats_tell(s, now, &told);
    visit->each(&told.stats, visit->context);
}

mend_status mend_stats(mend_client *c, void (*each)(const mend_server_stats *, void *), void *context)
{
    return each ? servers_visit(c, tell_one, &(struct visit){each, context}) : MEND_E_ARGUMENT;
}
