/* loads.c - see loads.h. */
#include "sim/loads.h"

#include <stdlib.h>
#include <string.h>

enum { FAILS = 7, NO_MEMORY = 8 }; /* what loaders return */

struct load {
    const struct fetcher *by;
    nstime                fetch_began; /* by whom */
    unsigned              key;
    uint64_t              version; /* that it reads */
    bool                  runs;
    nstime                ended;
    int                   result;
};

struct loads {
    struct dream  *dream;
    struct oracle *oracle;
    mend_recipe    recipe;
    int            timeout_ms;
    unsigned       turns; /* loaders that run */
    struct load   *list; /* versions rise in it */
    size_t         oldest; /* those before it run no more */
    size_t         count, room;
    unsigned       writing[ORACLE_KEYS]; /* calls that run */
    nstime         written[ORACLE_KEYS]; /* when the last ended */
};

/* ---- Writes ---- */

void loads_writing(struct loads *l, uint32_t keys)
{
    for (unsigned key = 0; key < ORACLE_KEYS; key++)
        l->writing[key] += keys >> key & 1;
}

void loads_written(struct loads *l, uint32_t keys)
{
    for (unsigned key = 0; key < ORACLE_KEYS; key++)
        if (keys >> key & 1) {
            l->writing[key]--;
            l->written[key] = dream_now(l->dream);
        }
}

/* ---- The database ---- */

/* A write that ran since a flight may have begun has made it nobody's but its owner's. */
static bool overtaken(const struct loads *l, unsigned key, nstime fetch_began)
{
    return l->writing[key] || l->written[key] >= fetch_began;
}

static size_t begins(struct fetcher *f, unsigned key)
{
    struct loads *l = f->loads;

    while (l->oldest < l->count && !l->list[l->oldest].runs)
        l->oldest++;
    for (size_t i = l->oldest; i < l->count; i++)
        if (l->list[i].runs && l->list[i].key == key && !overtaken(l, key, time_earlier(f->began, l->list[i].fetch_began)))
            dream_fail(l->dream, "key %u is loaded, while another load of it runs", key);
    if (l->count == l->room) {
        l->room = l->room * 2 + 64;
        l->list = realloc(l->list, l->room * sizeof *l->list);
    }
    l->list[l->count] = (struct load){.by = f, .fetch_began = f->began, .key = key, .runs = true, .version = oracle_loaded(l->oracle, key)};
    dream_note(l->dream, "load of key %u: version %llu", key, (unsigned long long)l->list[l->count].version);
    return l->count++;
}

static int ends(struct fetcher *f, size_t number, mend_loaded *out)
{
    struct loads *l = f->loads;
    struct load  *load = &l->list[number];

    load->runs = false;
    load->ended = dream_now(l->dream);
    load->result = dream_below(l->dream, 8) == 0 ? MEND_ABSENT : dream_below(l->dream, 12) == 0 ? FAILS : 0;
    if (dream_below(l->dream, 12) == 0)
        out->ttl_s = -1;
    if (!load->result && mend_loaded_set(out, oracle_value(l->oracle, load->version, f->value)) != MEND_OK)
        load->result = NO_MEMORY;
    return load->result;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void take_time(struct loads *l)
{
    nstime most = dream_below(l->dream, 4) ? MS(5) : MS(LOADS_MS);

    if (++l->turns > (unsigned)l->recipe.loads_max)
        dream_fail(l->dream, "%u loads run, and loads_max is %d", l->turns, l->recipe.loads_max);
    dream_wait(l->dream, never, NULL, dream_now(l->dream) + dream_between(l->dream, 0, most));
    l->turns--;
}

static int load_one(void *context, mend_bytes key, mend_loaded *out, int left_ms)
{
    struct fetcher *f = context;
    size_t          number = begins(f, oracle_key_number(f->loads->oracle, key));

    (void)left_ms;
    take_time(f->loads);
    return ends(f, number, out);
}

static int load_many(void *context, const mend_bytes *keys, mend_loaded *out, size_t n, int left_ms)
{
    struct fetcher *f = context;
    size_t          first = f->loads->count;
    int             result = 0;

    (void)left_ms;
    for (size_t i = 0; i < n; i++)
        begins(f, oracle_key_number(f->loads->oracle, keys[i]));
    size_t last = f->loads->count;
    take_time(f->loads);
    for (size_t i = 0; i < n && first + i < last; i++) {
        int its = ends(f, first + i, &out[i]);
        if (its != 0 && its != MEND_ABSENT)
            result = its; /* of all that are not set: absent is none of them then */
    }
    for (size_t i = first; i < last && result; i++)
        if (f->loads->list[i].result)
            f->loads->list[i].result = result;
    return result;
}

/* ---- Fetches ---- */

void fetch_begins(struct fetcher *f)
{
    f->began = dream_now(f->loads->dream);
}

const mend_recipe *loads_recipe(struct fetcher *f, mend_recipe *recipe)
{
    *recipe = f->loads->recipe;
    recipe->context = f;
    return recipe;
}

/* A question before, one that overruns the waiting, one for news, and the store; each key may be loaded by itself. */
nstime loads_most(const struct loads *l, unsigned keys)
{
    nstime wait = l->recipe.wait_ms == MEND_ZERO ? 0 : MS(l->recipe.wait_ms);
    return wait + keys * (4 * MS(l->timeout_ms) + MS(LOADS_MS)) + (keys > 1 ? 2 * MS(l->timeout_ms) : 0);
}

static const struct load *load_of(const struct loads *l, uint64_t version)
{
    size_t low = 0, high = l->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (l->list[middle].version < version)
            low = middle + 1;
        else
            high = middle;
    }
    return low < l->count && l->list[low].version == version ? &l->list[low] : NULL;
}

static bool is_own(const struct fetcher *f, const struct load *load)
{
    return load && load->by == f && load->fetch_began == f->began;
}

static bool loaded_absent(const struct fetcher *f, unsigned key)
{
    for (size_t i = f->loads->count; i-- > 0 && (f->loads->list[i].runs || f->loads->list[i].ended >= f->began);)
        if (is_own(f, &f->loads->list[i]) && f->loads->list[i].key == key && f->loads->list[i].result == MEND_ABSENT)
            return true;
    return false;
}

static void judge_value(struct fetcher *f, unsigned key, const mend_reply *r, nstime fresh_since)
{
    struct loads      *l = f->loads;
    bool               ages = l->recipe.stale_s && l->recipe.ttl_s;
    uint64_t           version = oracle_fetched(l->oracle, key, r, f->began, MS(2 * l->timeout_ms), fresh_since, ages);
    const struct load *load = load_of(l, version);

    switch (r->source) {
    case MEND_SOURCE_NONE:
        dream_fail(l->dream, "a value of key %u from nowhere", key);
        break;
    case MEND_SOURCE_CACHE:
    case MEND_SOURCE_STALE:
        break; /* the oracle's affair */
    case MEND_SOURCE_LOADED:
        if (!is_own(f, load))
            dream_fail(l->dream, "version %llu of key %u is said to have been loaded by this fetch, which did not", (unsigned long long)version, key);
        break;
    case MEND_SOURCE_SHARED:
        if (!load || (is_own(f, load) && !f->many))
            dream_fail(l->dream, "version %llu of key %u is said to be another's load, and nobody else loaded it", (unsigned long long)version, key);
        break;
    case MEND_SOURCE_LOCAL:
        if (!load || !l->recipe.local_ttl_ms || load->ended + MS(l->recipe.local_ttl_ms) < f->began)
            dream_fail(l->dream, "version %llu of key %u is said to be kept, and it is none that could be", (unsigned long long)version, key);
        break;
    }
}

void fetch_ended(struct fetcher *f, unsigned key, const mend_reply *r, nstime fresh_since)
{
    struct loads *l = f->loads;
    nstime        took = dream_now(l->dream) - f->began;

    switch (r->status) {
    case MEND_OK:
        judge_value(f, key, r, fresh_since);
        break;
    case MEND_ABSENT:
        if (r->source == MEND_SOURCE_LOADED && !loaded_absent(f, key))
            dream_fail(l->dream, "key %u is said to have been loaded by this fetch as absent, and was not", key);
        break;
    case MEND_E_LOADER:
        if (r->number != FAILS && r->number != NO_MEMORY)
            dream_fail(l->dream, "no loader returned %lld", (long long)r->number);
        break;
    case MEND_E_BUSY: /* or the one that it waited for has waited long enough for a turn */
        if (strstr(r->error, "another thread") && l->recipe.wait_ms != MEND_ZERO && took < MS(l->recipe.wait_ms))
            dream_fail(l->dream, "a fetch of key %u has waited for %.3f ms, and may do so for %d: %s", key, (double)took / 1e6, l->recipe.wait_ms, r->error);
        break;
    case MEND_E_ARGUMENT: /* binary keys, want of memory: who knows the configuration judges */
    case MEND_E_MEMORY:
        break;
    default:
        dream_fail(l->dream, "a fetch of key %u says %s, which is not its caller's affair: %s", key, mend_status_name(r->status), r->error);
    }
}

/* ---- Its life ---- */

struct loads *loads_new(struct dream *d, struct oracle *o, int timeout_ms)
{
    struct loads *l = calloc(1, sizeof *l);

    *l = (struct loads){.dream = d, .oracle = o, .timeout_ms = timeout_ms};
    l->recipe = (mend_recipe){
        .load = load_one,
        .load_many = dream_below(d, 2) ? load_many : NULL,
        .ttl_s = (int64_t)dream_below(d, 5),
        .stale_s = dream_below(d, 2) ? 1 + (int)dream_below(d, 3) : 0,
        .absent_ttl_s = dream_below(d, 3) ? 1 + (int)dream_below(d, 3) : MEND_ZERO,
        .lease_s = 1 + (int)dream_below(d, 3),
        .wait_ms = dream_below(d, 8) ? 10 + (int)dream_below(d, 300) : MEND_ZERO,
        .loads_max = 1 + (int)dream_below(d, 4),
        .local_ttl_ms = dream_below(d, 2) ? 1 + (int)dream_below(d, 500) : 0,
    };
    if (l->recipe.ttl_s > 1)
        l->recipe.refresh_s = (int)dream_below(d, (uint64_t)l->recipe.ttl_s);
    for (unsigned key = 0; key < ORACLE_KEYS; key++)
        l->written[key] = -1;
    return l;
}

void loads_free(struct loads *l)
{
    if (l)
        free(l->list);
    free(l);
}
