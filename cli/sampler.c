/* sampler.c - see sampler.h. */
#include "sampler.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo/clock.h"
#include "raw.h"
#include "say.h"

enum { OUR_GETS = 1 }; /* between two looks; trials of a server that was down go unnoticed */

struct counters { /* a server's, as its stats have them */
    int64_t at_ns;
    double  gets, hits, sets, evictions;
};

struct sampled {
    struct sampler *sampler;
    mend_client    *client;
    struct raw      raw; /* the thread's */
    struct counters last; /* the thread's; at_ns 0: none */
    pthread_mutex_t lock; /* guards sample */
    struct sample   sample;
};

struct sampler {
    const struct cli *cli;
    int64_t           interval_ns;
    size_t            n;
    struct sampled    at[];
};

static double number(json_object *stats, const char *name)
{
    json_object *value;
    return json_object_object_get_ex(stats, name, &value) ? json_object_get_double(value) : 0;
}

static double per_s(double now, double last, int64_t ns)
{
    return now > last && ns > 0 ? (now - last) * 1e9 / (double)ns : 0; /* less: it was restarted */
}

static void count(struct sampled *s, json_object *stats)
{
    struct counters now = {clock_now(), number(stats, "cmd_get"), number(stats, "get_hits"), number(stats, "cmd_set"), number(stats, "evictions")};
    struct counters last = s->last;
    int64_t         ns = now.at_ns - last.at_ns;
    double          limit = number(stats, "limit_maxbytes"), gets_s = per_s(now.gets - OUR_GETS, last.gets, ns);

    s->last = now;
    pthread_mutex_lock(&s->lock);
    s->sample.counted = last.at_ns != 0;
    s->sample.gets_s = gets_s;
    s->sample.sets_s = per_s(now.sets, last.sets, ns);
    s->sample.evictions_s = per_s(now.evictions, last.evictions, ns);
    s->sample.hits = gets_s > 0 ? per_s(now.hits, last.hits, ns) / gets_s : -1;
    s->sample.memory = limit > 0 ? number(stats, "bytes") / limit : 0;
    s->sample.connections = number(stats, "curr_connections");
    s->sample.items = number(stats, "curr_items");
    pthread_mutex_unlock(&s->lock);
}

/* Over one connection, as long as it lasts. */
static void ask_stats(struct sampled *s)
{
    json_object *stats = json_object_new_object();
    int64_t      deadline_ns = raw_deadline(s->sampler->cli->config.timeout_ms);

    s->raw.deadline_ns = deadline_ns;
    if ((s->raw.fd >= 0 && raw_stats(&s->raw, NULL, stats)) ||
        (raw_close(&s->raw), raw_open(&s->raw, s->sample.server, &s->sampler->cli->config, deadline_ns) && raw_stats(&s->raw, NULL, stats))) {
        count(s, stats);
    } else {
        raw_close(&s->raw);
        s->last.at_ns = 0;
    }
    json_object_put(stats);
}

static void note_state(const mend_server *server, void *sample)
{
    struct sample *to = sample;

    to->state = server->state;
    to->since_ms = server->since_ms;
    snprintf(to->why, sizeof to->why, "%s", server->why);
}

static void look(struct sampled *s)
{
    struct sample now;
    int64_t       began_ns = clock_now();
    bool          answered = mend_ping(s->client, NULL) == MEND_OK;
    int64_t       took_ns = clock_now() - began_ns;

    mend_servers(s->client, note_state, &now);
    pthread_mutex_lock(&s->lock);
    s->sample.history[s->sample.looks++ % SAMPLER_HISTORY] = (struct sampler_look){now.state, answered, took_ns};
    if (!answered)
        s->sample.counted = false;
    pthread_mutex_unlock(&s->lock);
    if (answered)
        ask_stats(s);
}

static void note_again(struct sampled *s)
{
    pthread_mutex_lock(&s->lock);
    s->sample.history[s->sample.looks % SAMPLER_HISTORY] = s->sample.history[(s->sample.looks - 1) % SAMPLER_HISTORY];
    s->sample.looks++;
    pthread_mutex_unlock(&s->lock);
}

static void *look_on(void *sampled)
{
    struct sampled *s = sampled;

    mend_ping(s->client, NULL); /* connects: that is not what a get takes */
    for (int64_t next_ns = clock_now();; clock_sleep_until(next_ns)) {
        look(s);
        while ((next_ns += s->sampler->interval_ns) < clock_now())
            note_again(s); /* so that the histories of all servers keep step */
    }
    return NULL;
}

struct sampler *sampler_start(struct cli *cli, int64_t interval_ns)
{
    size_t             n;
    const char *const *names = cli_servers(cli, &n);
    struct sampler    *s = calloc(1, sizeof *s + n * sizeof *s->at);
    pthread_t          thread;

    if (!s)
        fail(UNAVAILABLE, "out of memory");
    s->cli = cli;
    s->interval_ns = interval_ns;
    s->n = n;
    for (size_t i = 0; i < n; i++) {
        struct sampled *at = &s->at[i];
        at->sampler = s;
        at->client = cli_client_of(cli, names[i]);
        at->raw.fd = -1;
        at->sample.server = names[i];
        pthread_mutex_init(&at->lock, NULL);
        if (pthread_create(&thread, NULL, look_on, at) != 0)
            fail(UNAVAILABLE, "no thread");
        pthread_detach(thread);
    }
    return s;
}

size_t sampler_count(const struct sampler *s)
{
    return s->n;
}

void sampler_read(struct sampler *s, size_t i, struct sample *to)
{
    struct sampled *at = &s->at[i];

    pthread_mutex_lock(&at->lock);
    *to = at->sample;
    pthread_mutex_unlock(&at->lock);
    mend_servers(at->client, note_state, to);
}
