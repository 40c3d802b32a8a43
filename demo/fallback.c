/* fallback.c - see fallback.h. */
#include "fallback.h"

#include <mend.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "clock.h"
#include "database.h"

enum {
    READS_PER_S = 4000,
    WRITES_PERCENT = 3,
    TTL_S = 60,
};

struct reader {
    struct fallback        *f;
    pthread_t               thread;
    uint64_t                chance;
    mend_reply              reply;
    struct fallback_figures seen; /* but for the loads */
    char                    value[DATABASE_VALUE_MAX], scratch[DATABASE_VALUE_MAX];
};

struct fallback {
    struct fallback_plan plan;
    mend_client         *client;
    struct database      database;
    _Atomic uint64_t     told[FALLBACK_RECORDS]; /* the newest version of each whose delete has returned */
    atomic_size_t        loads;
    atomic_uint          loading;
    _Atomic uint64_t     loading_most;
    atomic_bool          counts, stop;
    struct reader       *readers;
    unsigned             started;
};

static void raise_to(_Atomic uint64_t *most, uint64_t value)
{
    for (uint64_t was = atomic_load(most); was < value && !atomic_compare_exchange_weak(most, &was, value);)
        ;
}

/* ---- The database, behind both ------------------------------------------------------------ */

/* A query tells of the moment when it began. */
static size_t load(struct reader *r, const struct database_record *record)
{
    struct fallback *f = r->f;
    unsigned         now = atomic_fetch_add(&f->loading, 1) + 1;
    uint64_t         version = atomic_load(&record->version);

    if (atomic_load(&f->counts)) {
        atomic_fetch_add(&f->loads, 1);
        raise_to(&f->loading_most, now);
    }
    database_ask();
    size_t len = database_value(record, version, r->value);
    atomic_fetch_sub(&f->loading, 1);
    return len;
}

static const struct database_record *record_of(const struct fallback *f, mend_bytes key)
{
    const struct database_record *record = f->database.at;
    while (strlen(record->name) != key.len || memcmp(record->name, key.data, key.len) != 0)
        record++;
    return record;
}

static int load_for_fetch(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    struct reader                *r = context;
    const struct database_record *record = record_of(r->f, key);
    (void)left_ms;

    out->flags = record->number;
    return mend_loaded_set(out, mend_mem(r->value, load(r, record)));
}

/* ---- The two ways --------------------------------------------------------------------------- */

/* Whether there is an answer. */
static bool read_by_fetch(struct reader *r, const struct database_record *record, mend_bytes *value)
{
    mend_recipe recipe = {.load = load_for_fetch, .context = r, .ttl_s = TTL_S, .loads_max = FALLBACK_LOADS_MAX,
                          .local_ttl_ms = FALLBACK_LOCAL_TTL_MS};

    mend_status status = mend_fetch(r->f->client, mend_str(record->name), &recipe, &r->reply);
    *value = mend_mem(r->reply.data, r->reply.len);
    return status == MEND_OK;
}

static bool read_by_hand(struct reader *r, const struct database_record *record, mend_bytes *value)
{
    mend_store how = {.ttl_s = TTL_S, .flags = record->number};

    if (mend_get(r->f->client, mend_str(record->name), &r->reply) == MEND_OK) {
        *value = mend_mem(r->reply.data, r->reply.len);
        return true;
    }
    *value = mend_mem(r->value, load(r, record));
    mend_set(r->f->client, mend_str(record->name), *value, &how, NULL);
    return true;
}

static void read_one(struct reader *r, size_t i)
{
    const struct database_record *record = &r->f->database.at[i];
    struct fallback_figures      *seen = &r->seen;
    bool                          counts = atomic_load(&r->f->counts);
    uint64_t                      told = atomic_load(&r->f->told[i]);
    mend_bytes                    value;

    int64_t begun = clock_now();
    bool    answered = r->f->plan.fetches ? read_by_fetch(r, record, &value) : read_by_hand(r, record, &value);
    int64_t took = clock_now() - begun;
    if (!counts)
        return;
    seen->reads++;
    if (took > seen->slowest_ns)
        seen->slowest_ns = took;
    if (!answered) {
        seen->unanswered++;
        return;
    }
    uint64_t version = database_knows(record, value.data, value.len, r->scratch);
    seen->wrong += version == 0;
    seen->stale += version > 0 && version < told;
}

static void write_one(struct reader *r, size_t i)
{
    struct database_record *record = &r->f->database.at[i];
    uint64_t                version = database_write(record);

    mend_delete(r->f->client, mend_str(record->name), NULL);
    raise_to(&r->f->told[i], version);
}

/* ---- Its life --------------------------------------------------------------------------------- */

/* Paced as app.c's, and for its reasons. */
static void *work(void *arg)
{
    struct reader *r = arg;
    int64_t        pace_ns = MS(1000) * FALLBACK_THREADS / READS_PER_S, next = clock_now();

    while (!atomic_load(&r->f->stop)) {
        size_t i = database_chance(&r->chance) % FALLBACK_RECORDS;
        if (database_chance(&r->chance) % 100 < WRITES_PERCENT)
            write_one(r, i);
        else
            read_one(r, i);
        next += pace_ns / 2 + (int64_t)(database_chance(&r->chance) % (uint64_t)pace_ns);
        if (next < clock_now())
            next = clock_now();
        clock_sleep_until(next);
    }
    return NULL;
}

static bool reader_start(struct reader *r, struct fallback *f, unsigned index)
{
    r->f = f;
    r->chance = index;
    r->reply = (mend_reply)MEND_REPLY;
    return pthread_create(&r->thread, NULL, work, r) == 0;
}

static bool open_client(struct fallback *f, char *why, size_t why_bytes)
{
    mend_reply r = MEND_REPLY;
    bool       well = mend_open(&MEND_CONFIG(.servers = f->plan.servers, .timeout_ms = f->plan.timeout_ms), &f->client, &r) == MEND_OK;

    if (!well)
        snprintf(why, why_bytes, "%s", r.error);
    mend_reply_free(&r);
    return well;
}

struct fallback *fallback_start(const struct fallback_plan *plan, char *why, size_t why_bytes)
{
    struct fallback *f = calls_memory(NULL, sizeof *f);
    memset(f, 0, sizeof *f);
    f->plan = *plan;
    f->readers = calls_memory(NULL, FALLBACK_THREADS * sizeof *f->readers);
    memset(f->readers, 0, FALLBACK_THREADS * sizeof *f->readers);
    database_open(&f->database);

    bool well = open_client(f, why, why_bytes);
    if (well)
        snprintf(why, why_bytes, "no threads for the fallback");
    while (well && f->started < FALLBACK_THREADS && reader_start(&f->readers[f->started], f, f->started))
        f->started++;
    if (f->started == FALLBACK_THREADS)
        return f;
    fallback_stop(f, &(struct fallback_figures){0});
    return NULL;
}

void fallback_count(struct fallback *f)
{
    atomic_store(&f->counts, true);
}

void fallback_stop(struct fallback *f, struct fallback_figures *figures)
{
    *figures = (struct fallback_figures){0};
    atomic_store(&f->stop, true);
    for (unsigned i = 0; i < f->started; i++) {
        struct reader                 *r = &f->readers[i];
        const struct fallback_figures *seen = &r->seen;
        pthread_join(r->thread, NULL);
        figures->reads += seen->reads;
        figures->stale += seen->stale;
        figures->wrong += seen->wrong;
        figures->unanswered += seen->unanswered;
        if (seen->slowest_ns > figures->slowest_ns)
            figures->slowest_ns = seen->slowest_ns;
        mend_reply_free(&r->reply);
    }
    figures->loads = atomic_load(&f->loads);
    figures->loads_most = (unsigned)atomic_load(&f->loading_most);
    mend_close(f->client);
    free(f->readers);
    free(f);
}
