/* app.c - see app.h. */
#include "app.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "database.h"
#include "metronome.h"

enum {
    MANY = 12,    /* keys of a multi-get */
    COUNTERS = 6, /* of each thread's own */
    TTL_S = 60,
    LIES_TOLD = 10,             /* in words; all are counted */
    RETURN_PATIENCE_MS = 20000, /* a call that never returns is told from a thread that the machine keeps waiting */
};

struct counter {
    char     name[32];
    uint8_t  home;
    uint64_t base;  /* where it starts, apart from every other... */
    uint64_t asked; /* ...and how often it was to be incremented */
};

struct worker {
    struct app    *app;
    pthread_t      thread;
    uint8_t        index;
    uint64_t       chance;
    int            own_queue;  /* see metronome_own_queue... */
    int64_t        queued_ns;  /* ...and what it said before the call */
    struct calls   calls;
    mend_reply     reply;
    mend_replies   replies;
    struct counter counters[COUNTERS];
    char           scratch[DATABASE_VALUE_MAX];
    char           values[MANY][DATABASE_VALUE_MAX];
};

struct app {
    struct app_plan plan;
    struct database database;
    uint8_t         home[DATABASE_RECORDS]; /* the bit of the server that a record lives on */
    struct worker  *workers;
    unsigned        started;
    atomic_uint     running;
    atomic_uint     lies;
    atomic_bool     stop;
};

/* ---- Writing down what came of a call --------------------------------------------- */

static __attribute__((format(printf, 3, 4))) void lie(struct worker *w, struct call *c, const char *format, ...)
{
    char    text[100];
    va_list words;
    va_start(words, format);
    vsnprintf(text, sizeof text, format, words);
    va_end(words);
    for (char *p = text; *p; p++)
        if (!isprint((unsigned char)*p))
            *p = '?';

    if (c->wrong < UINT8_MAX)
        c->wrong++;
    if (atomic_fetch_add(&w->app->lies, 1) < LIES_TOLD)
        history_note(w->app->plan.history, HISTORY_WRONG, -1, "WRONG ANSWER to a %s: %s", c->what, text);
}

static uint8_t home_of(const struct app *app, const char *server)
{
    for (int s = 0; s < SERVERS; s++)
        if (strcmp(server, app->plan.address[s]) == 0)
            return (uint8_t)(1 << s);
    return 0;
}

/* One answer, to a question about a key that lives there. */
static void heard(struct worker *w, struct call *c, const char *name, uint8_t home, const mend_reply *r)
{
    c->asked |= home;
    if (r->status < 0)
        c->failed |= home;
    if (r->status < 0 && r->status != MEND_E_DOWN)
        c->paid |= home;
    if (r->server[0] && home_of(w->app, r->server) != home)
        lie(w, c, "%s was asked of %s", name, r->server);
}

static void heard_read(struct worker *w, struct call *c, size_t i, const mend_reply *r)
{
    const struct database_record *record = &w->app->database.at[i];

    heard(w, c, record->name, w->app->home[i], r);
    c->items++;
    if (r->status < 0)
        c->fallbacks++;
    else if (r->status == MEND_OK)
        c->hits++;
    else if (r->status != MEND_MISS)
        lie(w, c, "%s: %s", record->name, mend_status_name(r->status));

    if (r->status == MEND_OK && !database_knows(record, r->data, r->len, w->scratch))
        lie(w, c, "%s: \"%.40s\", %zu bytes", record->name, r->data, r->len);
    else if (r->status == MEND_OK && r->flags != record->number)
        lie(w, c, "%s: flags %" PRIu32, record->name, r->flags);
}

static void heard_write(struct worker *w, struct call *c, size_t i, const mend_reply *r, mend_status and_fine)
{
    const char *name = w->app->database.at[i].name;

    heard(w, c, name, w->app->home[i], r);
    if (r->status > 0 && r->status != and_fine)
        lie(w, c, "%s: %s", name, mend_status_name(r->status));
}

static struct call asks(struct worker *w, const char *what)
{
    w->queued_ns = metronome_queued_ns(w->own_queue);
    return (struct call){.what = what, .thread = w->index, .start_ns = clock_now()};
}

/* The clock first: checking the answer is no part of the call. */
static void returned(struct worker *w, struct call *c, mend_status status)
{
    c->end_ns = clock_now();
    c->status = status;
    if (c->end_ns - c->start_ns > MS(1))
        c->queued_ns = metronome_queued_ns(w->own_queue) - w->queued_ns;
}

/* ---- What the application does ------------------------------------------------------ */

static void store(struct worker *w, size_t i, uint64_t version)
{
    const struct database_record *r = &w->app->database.at[i];
    mend_bytes  value = mend_mem(w->values[0], database_value(r, version, w->values[0]));
    mend_store  how = {.ttl_s = TTL_S, .flags = r->number};

    struct call c = asks(w, "set");
    returned(w, &c, mend_set(w->app->plan.client, mend_str(r->name), value, &how, &w->reply));
    heard_write(w, &c, i, &w->reply, MEND_OK);
    calls_add(&w->calls, &c);
}

static void read_one(struct worker *w, size_t i)
{
    struct database_record *r = &w->app->database.at[i];

    struct call c = asks(w, "get");
    mend_status status = mend_get(w->app->plan.client, mend_str(r->name), &w->reply);
    returned(w, &c, status);
    heard_read(w, &c, i, &w->reply);
    calls_add(&w->calls, &c);

    if (status != MEND_OK) { /* not there, or no cache today: it makes no difference here */
        database_ask();
        store(w, i, atomic_load(&r->version));
    }
}

static void store_many(struct worker *w, const size_t *which, size_t n)
{
    mend_item items[MANY];

    for (size_t k = 0; k < n; k++) {
        const struct database_record *r = &w->app->database.at[which[k]];
        items[k] = (mend_item){
            .key = mend_str(r->name),
            .value = mend_mem(w->values[k], database_value(r, atomic_load(&r->version), w->values[k])),
            .store = {.ttl_s = TTL_S, .flags = r->number},
        };
    }

    struct call c = asks(w, "set_multi");
    returned(w, &c, mend_set_multi(w->app->plan.client, items, n, &w->replies));
    if (w->replies.count != n)
        lie(w, &c, "%zu replies for %zu items", w->replies.count, n);
    for (size_t k = 0; k < n && k < w->replies.count; k++)
        heard_write(w, &c, which[k], &w->replies.at[k], MEND_OK);
    calls_add(&w->calls, &c);
}

/* Keys of all servers, one of them twice. */
static void read_many(struct worker *w, size_t first)
{
    mend_bytes keys[MANY];
    size_t     which[MANY], lacking = 0;

    for (size_t k = 0; k < MANY; k++) {
        which[k] = k == 0 || k == MANY - 1 ? first : database_chance(&w->chance) % DATABASE_RECORDS;
        keys[k] = mend_str(w->app->database.at[which[k]].name);
    }

    struct call c = asks(w, "get_multi");
    returned(w, &c, mend_get_multi(w->app->plan.client, keys, MANY, &w->replies));
    if (w->replies.count != MANY)
        lie(w, &c, "%zu replies for %d keys", w->replies.count, MANY);
    for (size_t k = 0; k < MANY && k < w->replies.count; k++) {
        heard_read(w, &c, which[k], &w->replies.at[k]);
        if (w->replies.at[k].status != MEND_OK)
            which[lacking++] = which[k];
    }
    calls_add(&w->calls, &c);

    if (lacking > 0) {
        database_ask();
        store_many(w, which, lacking);
    }
}

static void write_through(struct worker *w, size_t i)
{
    store(w, i, database_write(&w->app->database.at[i]));
}

static void invalidate(struct worker *w, size_t i)
{
    struct database_record *r = &w->app->database.at[i];

    database_write(r);
    struct call c = asks(w, "delete");
    returned(w, &c, mend_delete(w->app->plan.client, mend_str(r->name), &w->reply));
    heard_write(w, &c, i, &w->reply, MEND_MISS);
    calls_add(&w->calls, &c);
}

/* No other thread counts here, so that the sum must lie between its base and what was asked of it. */
static void count(struct worker *w, size_t i)
{
    struct counter *n = &w->counters[i % COUNTERS];
    mend_count      how = {.create = true, .initial = n->base, .ttl_s = TTL_S};

    n->asked++;
    struct call c = asks(w, "increment");
    returned(w, &c, mend_increment(w->app->plan.client, mend_str(n->name), 1, &how, &w->reply));
    heard(w, &c, n->name, n->home, &w->reply);
    if (w->reply.status > 0)
        lie(w, &c, "%s: %s", n->name, mend_status_name(w->reply.status));
    if (w->reply.status == MEND_OK && (w->reply.number < n->base || w->reply.number >= n->base + n->asked))
        lie(w, &c, "%s: %" PRIu64, n->name, w->reply.number);
    calls_add(&w->calls, &c);
}

static void do_something(struct worker *w)
{
    static const struct {
        unsigned percent;
        void (*it)(struct worker *w, size_t i);
    } deeds[] = {{80, read_one}, {8, read_many}, {5, write_through}, {4, invalidate}, {3, count}};

    uint64_t chance = database_chance(&w->chance) % 100;
    size_t   i = 0;
    while (chance >= deeds[i].percent)
        chance -= deeds[i++].percent;
    deeds[i].it(w, database_chance(&w->chance) % DATABASE_RECORDS);
}

/* Evenly paced; what was missed is not made up for, so that a hung call is no reason for a rush. */
static void *work(void *arg)
{
    struct worker *w = arg;
    int64_t        pace_ns = MS(1000) * w->app->plan.threads / w->app->plan.calls_per_s;
    int64_t        next = clock_now();

    w->own_queue = metronome_own_queue();
    while (!atomic_load(&w->app->stop)) {
        do_something(w);
        next += pace_ns / 2 + (int64_t)(database_chance(&w->chance) % (uint64_t)pace_ns);
        if (next < clock_now())
            next = clock_now();
        clock_sleep_until(next);
    }
    close(w->own_queue);
    atomic_fetch_sub(&w->app->running, 1);
    return NULL;
}

/* ---- Its life ------------------------------------------------------------------------ */

/* Every key has one home, whatever happens; a question learns which. */
static bool learn_home(struct app *app, const char *name, uint8_t *home, char *why, size_t why_bytes)
{
    mend_reply r = MEND_REPLY;
    mend_exists(app->plan.client, mend_str(name), &r);
    *home = home_of(app, r.server);
    if (!*home)
        snprintf(why, why_bytes, "mend sends %s to \"%s\" (%s), which is none of its servers", name, r.server, r.error);
    mend_reply_free(&r);
    return *home != 0;
}

static bool worker_start(struct worker *w, struct app *app, unsigned index, char *why, size_t why_bytes)
{
    w->app = app;
    w->index = (uint8_t)index;
    w->chance = index;
    w->reply = (mend_reply)MEND_REPLY;
    w->replies = (mend_replies)MEND_REPLIES;
    for (unsigned n = 0; n < COUNTERS; n++) {
        struct counter *to = &w->counters[n];
        snprintf(to->name, sizeof to->name, "demo:counter:%u:%u", index, n);
        to->base = (uint64_t)(index * COUNTERS + n + 1) * 1000000000;
        if (!learn_home(app, to->name, &to->home, why, why_bytes))
            return false;
    }

    calls_open(&w->calls);
    atomic_fetch_add(&app->running, 1);
    if (pthread_create(&w->thread, NULL, work, w) != 0) {
        atomic_fetch_sub(&app->running, 1);
        calls_close(&w->calls);
        snprintf(why, why_bytes, "no thread for the application");
        return false;
    }
    return true;
}

struct app *app_start(const struct app_plan *plan, char *why, size_t why_bytes)
{
    struct app *app = calls_memory(NULL, sizeof *app);
    memset(app, 0, sizeof *app);
    app->plan = *plan;
    app->workers = calls_memory(NULL, plan->threads * sizeof *app->workers);
    memset(app->workers, 0, plan->threads * sizeof *app->workers);
    database_open(&app->database);

    bool well = true;
    for (size_t i = 0; well && i < DATABASE_RECORDS; i++)
        well = learn_home(app, app->database.at[i].name, &app->home[i], why, why_bytes);
    while (well && app->started < plan->threads) {
        well = worker_start(&app->workers[app->started], app, app->started, why, why_bytes);
        app->started += well;
    }
    if (well)
        return app;
    app_stop(app);
    app_close(app);
    return NULL;
}

unsigned app_stop(struct app *app)
{
    int64_t due = clock_now() + MS(RETURN_PATIENCE_MS);

    atomic_store(&app->stop, true);
    while (atomic_load(&app->running) > 0 && clock_now() < due)
        clock_sleep_until(clock_now() + MS(1));
    return atomic_load(&app->running);
}

void app_close(struct app *app)
{
    for (unsigned i = 0; i < app->started; i++) {
        struct worker *w = &app->workers[i];
        pthread_join(w->thread, NULL);
        calls_close(&w->calls);
        mend_reply_free(&w->reply);
        mend_replies_free(&w->replies);
    }
    free(app->workers);
    free(app);
}

const struct calls *app_calls(const struct app *app, unsigned thread)
{
    return &app->workers[thread].calls;
}
