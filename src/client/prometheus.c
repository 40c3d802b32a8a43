/* prometheus.c - statistics as Prometheus' text: one metric after the other, each with a line for every server.
 *
 * Knows no counter of its own: it writes what stats_tell says. Fractions are written by hand, since the application's
 * locale may have a comma in them.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/calls.h"
#include "client/reply.h"

/* The text as it grows. */
struct page {
    struct buf               *text;
    const struct memory      *memory;
    const struct stats_told **told; /* one a server */
    size_t                    count, room;
    bool                      full; /* there was no memory: nothing of it is any good */
};

static void put(struct page *p, const char *s, size_t n)
{
    p->full = p->full || !buf_add(p->text, s, n);
}

static void put_text(struct page *p, const char *s)
{
    put(p, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void put_format(struct page *p, const char *format, ...)
{
    char    line[256];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put(p, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

/* As a label's value must be written. It is to be UTF-8, or the whole page is refused, and a path may be anything: what is not ASCII
 * is told as \xNN. */
static void put_label(struct page *p, const char *value)
{
    for (; *value; value++)
        if (*value == '\n')
            put_text(p, "\\n");
        else if (*value & 0x80)
            put_format(p, "\\\\x%02x", (unsigned char)*value);
        else if (*value == '\\' || *value == '"')
            put(p, (char[]){'\\', *value}, 2);
        else
            put(p, value, 1);
}

static void put_seconds(struct page *p, uint64_t ns)
{
    char text[40];
    int  n = snprintf(text, sizeof text, "%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000);

    while (text[n - 1] == '0' && text[n - 2] != '.')
        n--;
    put(p, text, (size_t)n);
}

/* ---- Metrics ---- */

static void put_head(struct page *p, const char *name, const char *type, const char *help)
{
    put_format(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_name(struct page *p, const char *name, const mend_server_stats *s)
{
    put_text(p, name);
    put_text(p, "{server=\"");
    put_label(p, s->server->name);
    put_text(p, "\"");
}

/* What has one number a server. */
enum {
    UP, GUTTER, DOWN_MS, SENT, RECEIVED, CONNECTIONS, OPENED, BROKEN, RETRIES, GUTTER_CALLS, VALUES_BROKEN, JOURNAL_KEYS, JOURNAL_DELETED,
    JOURNAL_OVERFLOWS, METRICS
};

static const struct metric {
    const char *name, *type, *help;
} metrics[METRICS] = {
    [UP] = {"mend_server_up", "gauge", "Whether calls are asked of this server: 1; it is down: 0."},
    [GUTTER] = {"mend_server_gutter", "gauge", "Whether this server stands in for others: 1."},
    [DOWN_MS] = {"mend_server_down_seconds_total", "counter", "How long it was down."},
    [SENT] = {"mend_sent_bytes_total", "counter", "Bytes sent, TLS not counted."},
    [RECEIVED] = {"mend_received_bytes_total", "counter", "Bytes received, TLS not counted."},
    [CONNECTIONS] = {"mend_connections", "gauge", "Connections that are open."},
    [OPENED] = {"mend_connections_opened_total", "counter", "Connections that were opened, or tried to."},
    [BROKEN] = {"mend_connections_broken_total", "counter", "Connections that ended by a failure, a time out or the server's hand."},
    [RETRIES] = {"mend_retries_total", "counter", "Questions asked once more, since a connection had died idle."},
    [GUTTER_CALLS] = {"mend_gutter_calls_total", "counter", "Calls for keys of this server that a gutter was asked in its place."},
    [VALUES_BROKEN] = {"mend_values_broken_total", "counter", "Compressed values that could not be unpacked, and were misses."},
    [JOURNAL_KEYS] = {"mend_journal_keys", "gauge", "Keys whose last write was lost, and that are not read until they are deleted."},
    [JOURNAL_DELETED] = {"mend_journal_deleted_total", "counter", "Keys of lost writes that were deleted since."},
    [JOURNAL_OVERFLOWS] = {"mend_journal_overflows_total", "counter", "How often there was no room for a lost write's key, or a flush_all failed."},
};

static uint64_t value_of(const mend_server_stats *s, unsigned metric)
{
    const uint64_t values[METRICS] = {
        [UP] = health_askable(s->server->state),
        [GUTTER] = s->server->gutter,
        [DOWN_MS] = (uint64_t)s->down_ms,
        [SENT] = s->bytes_sent,
        [RECEIVED] = s->bytes_received,
        [CONNECTIONS] = s->server->connections,
        [OPENED] = s->connections_opened,
        [BROKEN] = s->connections_broken,
        [RETRIES] = s->retries,
        [GUTTER_CALLS] = s->gutter_calls,
        [VALUES_BROKEN] = s->server->values_broken,
        [JOURNAL_KEYS] = s->server->journal_keys,
        [JOURNAL_DELETED] = s->server->journal_deleted,
        [JOURNAL_OVERFLOWS] = s->server->journal_overflows,
    };
    return values[metric];
}

static void put_metric(struct page *p, unsigned metric)
{
    const struct metric *m = &metrics[metric];

    put_head(p, m->name, m->type, m->help);
    for (size_t i = 0; i < p->count; i++) {
        uint64_t value = value_of(&p->told[i]->stats, metric);
        put_name(p, m->name, &p->told[i]->stats);
        put_text(p, "} ");
        if (metric == DOWN_MS)
            put_seconds(p, value * 1000000);
        else
            put_format(p, "%" PRIu64, value);
        put_text(p, "\n");
    }
}

/* ---- What has labels of its own ---- */

static void put_states(struct page *p)
{
    static const char *const names[] = {
        [MEND_STATE_NEW] = "new", [MEND_STATE_UP] = "up", [MEND_STATE_DOUBTFUL] = "doubtful", [MEND_STATE_DOWN] = "down", [MEND_STATE_TRIAL] = "trial"};

    put_head(p, "mend_server_state_changes_total", "counter", "How often a server came into a state; of an outage, once into down, and into trial for each trial.");
    for (size_t i = 0; i < p->count; i++)
        for (unsigned k = MEND_STATE_UP; k <= MEND_STATE_TRIAL; k++) {
            put_name(p, "mend_server_state_changes_total", &p->told[i]->stats);
            put_format(p, ",state=\"%s\"} %" PRIu64 "\n", names[k], p->told[i]->stats.states[k]);
        }
}

static void put_call(struct page *p, const struct stats_told *told, const mend_calls *calls, const char *outcome, uint64_t n)
{
    put_name(p, "mend_calls_total", &told->stats);
    put_format(p, ",operation=\"%s\",outcome=\"%s\"} %" PRIu64 "\n", calls->operation, outcome, n);
}

/* Outcomes that an operation can have are told while they are 0, too: a rate needs a beginning. */
static void put_calls(struct page *p)
{
    static const char *const answered[MEND_OPERATIONS][MEND_ABSENT + 1] = {
        [MEND_OPERATION_GET] = {"hit", "miss", [MEND_EXISTS] = "exists", [MEND_ABSENT] = "absent"},
        [MEND_OPERATION_STORE] = {"done", "miss", "exists", "not_stored", "too_large"},
        [MEND_OPERATION_DELETE] = {"done", "miss", "exists"},
        [MEND_OPERATION_TOUCH] = {"done", "miss"},
        [MEND_OPERATION_COUNT] = {"done", "miss", [MEND_NOT_STORED] = "not_stored", [MEND_TOO_LARGE] = "too_large", [MEND_NOT_NUMBER] = "not_number"},
        [MEND_OPERATION_PING] = {"done", "miss"},
        [MEND_OPERATION_FLUSH] = {"done"},
    };
    static const char *const failed[STATS_WORST + 1] = {
        [-MEND_E_ARGUMENT] = "argument_error", [-MEND_E_MEMORY] = "memory_error", [-MEND_E_TIMEOUT] = "timeout",       [-MEND_E_DOWN] = "down",
        [-MEND_E_BUSY] = "busy",               [-MEND_E_IO] = "io_error",         [-MEND_E_SERVER] = "server_error", [-MEND_E_PROTOCOL] = "protocol_error",
        [-MEND_E_AUTH] = "auth_error",
    };
    put_head(p, "mend_calls_total", "counter", "Calls by what came of them, one for each key of a call for many; down: turned away at once.");
    for (size_t i = 0; i < p->count; i++)
        for (unsigned o = 0; o < MEND_OPERATIONS; o++) {
            const mend_calls *calls = &p->told[i]->calls[o];
            for (unsigned k = 0; k <= MEND_ABSENT; k++)
                if (answered[o][k] || calls->answered[k])
                    put_call(p, p->told[i], calls, answered[o][k] ? answered[o][k] : "other", calls->answered[k]);
            for (unsigned k = 1; k <= STATS_WORST; k++)
                if (failed[k])
                    put_call(p, p->told[i], calls, failed[k], calls->failed[k]);
        }
}

/* One bucket a doubling, from 16 us on: what is shorter is no network's, and each costs every scrape a line. */
static void put_latency(struct page *p)
{
    enum { FIRST = 2 * HISTOGRAM_SUBS - 1 };
    static const char name[] = "mend_call_duration_seconds";

    put_head(p, name, "histogram", "How long calls took that were not turned away, waiting for a turn included. Of frequent ones one in eight is timed, and counts as eight.");
    for (size_t i = 0; i < p->count; i++) {
        const mend_server_stats *s = &p->told[i]->stats;
        uint64_t                 so_far = 0;
        for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
            so_far += s->latency[b].count;
            if (b < FIRST || b % HISTOGRAM_SUBS != HISTOGRAM_SUBS - 1 || b == HISTOGRAM_BUCKETS - 1)
                continue;
            put_name(p, "mend_call_duration_seconds_bucket", s);
            put_text(p, ",le=\"");
            put_seconds(p, (uint64_t)s->latency[b].less_than_ns);
            put_format(p, "\"} %" PRIu64 "\n", so_far);
        }
        put_name(p, "mend_call_duration_seconds_bucket", s);
        put_format(p, ",le=\"+Inf\"} %" PRIu64 "\n", so_far);
        put_name(p, "mend_call_duration_seconds_sum", s);
        put_text(p, "} ");
        put_seconds(p, s->latency_ns);
        put_text(p, "\n");
        put_name(p, "mend_call_duration_seconds_count", s);
        put_format(p, "} %" PRIu64 "\n", so_far);
    }
}

/* ---- The page ---- */

/* Servers are visited once, and told of many times: a metric's lines stand together. */
static void keep(struct server *s, nstime now, void *arg)
{
    struct page       *p = arg;
    struct stats_told *told = NULL;
    size_t             room = p->room ? p->room * 2 : 8;

    if (p->count == p->room) {
        const struct stats_told **more = memory_resize(p->memory, p->told, room * sizeof *more);
        if (more) {
            p->told = more;
            p->room = room;
        }
    }
    if (p->count < p->room)
        told = memory_allocate(p->memory, sizeof *told + strlen(s->spec->name) + 1);
    if (!told) {
        p->full = true;
        return;
    }
    stats_tell(s, now, told);
    told->server.name = strcpy((char *)(told + 1), s->spec->name); /* it may leave while we write */
    p->told[p->count++] = told;
}

static void write_page(struct page *p)
{
    enum { A_SERVER = 12 * 1024 }; /* some 120 lines of 60 to 100 bytes: a buffer that is large does not grow by more than it is asked for */

    p->full = !buf_reserve(p->text, (p->count + 1) * A_SERVER);
    put_head(p, "mend_build_info", "gauge", "The version of the library.");
    put_text(p, "mend_build_info{version=\"" MEND_VERSION "\"} 1\n");
    for (unsigned i = 0; i < METRICS; i++)
        put_metric(p, i);
    put_states(p);
    put_calls(p);
    put_latency(p);
}

mend_status mend_stats_prometheus(mend_client *c, mend_reply *reply)
{
    if (!reply || !c)
        return reply_refuse(reply, MEND_E_ARGUMENT, "the client is NULL");
    struct reply_own *own = reply_begin(reply, &c->memory);
    if (!own)
        return MEND_E_MEMORY;

    struct page page = {.text = &own->answer.value, .memory = &c->memory};
    mend_status status = servers_visit(c, keep, &page);
    if (!status && !page.full)
        write_page(&page);
    while (page.count)
        memory_release(page.memory, (void *)(uintptr_t)page.told[--page.count]);
    memory_release(page.memory, page.told);
    if (!status && (page.full || !buf_reserve(page.text, 1)))
        status = MEND_E_MEMORY;
    if (status)
        answer_fail(&own->answer, status, "out of memory for the text");
    else
        page.text->data[page.text->len] = '\0';
    return reply_end(reply, own);
}
