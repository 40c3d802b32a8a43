/* life.c - see life.h. */
#include "client/life.h"

#include <string.h>

#include "client/calls.h"
#include "client/discovery.h"
#include "client/healer.h"
#include "client/pool.h"
#include "client/probe.h"

/* ---- Health, as calls see it ---- */

static uint64_t gate_of(const struct health *h)
{
    return (uint64_t)h->generation << 32 | (health_troubled(h) ? GATE_TROUBLED : 0) | (uint64_t)h->state;
}

void life_changed(struct life *life)
{
    if (!atomic_load(&life->waiting))
        return;
    atomic_fetch_add(&life->news, 1);
    life->io->wake(life->io, &life->news, IO_ANYBODY, true);
}

void server_changed(struct server *s, bool all)
{
    struct life *life = s->life;

    atomic_thread_fence(memory_order_seq_cst); /* what changed is seen by whoever is not seen waiting here */
    if (atomic_load(&s->waiting)) {
        atomic_fetch_add(&s->turn, 1);
        life->io->wake(life->io, &s->turn, IO_ANYBODY, all);
    }
    life_changed(life);
}

void server_publish_and_unlock(struct server *s)
{
    uint64_t before = atomic_load_explicit(&s->gate, memory_order_relaxed), now = gate_of(&s->health);

    atomic_store_explicit(&s->verdict_due, s->health.verdict_due, memory_order_relaxed);
    atomic_store_explicit(&s->back, s->health.back, memory_order_relaxed);
    atomic_store_explicit(&s->gate, now, memory_order_release);
    if ((before ^ now) & (GATE_TROUBLED - 1))
        PROBE4(state, s->spec->name, (int)(before & (GATE_TROUBLED - 1)), (int)s->health.state, s->health.why);
    pthread_mutex_unlock(&s->lock);
    if ((before | GATE_TROUBLED) == (now | GATE_TROUBLED))
        return;
    s->life->io->ring(s->life->io);
    server_changed(s, true);
}

void server_served(struct server *s, uint32_t generation, nstime now)
{
    pthread_mutex_lock(&s->lock);
    health_served(&s->health, generation, now);
    server_publish_and_unlock(s);
}

void server_failed(struct server *s, uint32_t generation, const char *why)
{
    struct io *io = s->life->io;
    nstime     now = io->now(io);
    uint64_t   chance = io->random(io);

    pthread_mutex_lock(&s->lock);
    health_failed(&s->health, generation, now, chance, why);
    server_publish_and_unlock(s);
}

void server_suspected(struct server *s, const char *why)
{
    nstime now = s->life->io->now(s->life->io);

    pthread_mutex_lock(&s->lock);
    health_suspect(&s->health, now, why);
    server_publish_and_unlock(s);
}

void server_wants_trial(struct server *s, const char *why)
{
    nstime now = s->life->io->now(s->life->io);

    pthread_mutex_lock(&s->lock);
    health_wants_trial(&s->health, now, why);
    server_publish_and_unlock(s);
}

static int64_t ms_until(nstime then, nstime now)
{
    return then == NEVER ? -1 : then <= now ? 0 : (then - now) / 1000000;
}

void server_describe(struct server *s, nstime now, mend_server *out, struct server_texts *texts)
{
    static const char *const protocols[] = {[WIRE_UNKNOWN] = "", [WIRE_META] = "meta", [WIRE_CLASSIC] = "classic"};

    pthread_mutex_lock(&s->lock);
    const struct health *h = &s->health;
    memcpy(texts->why, h->why, sizeof texts->why);
    *out = (mend_server){
        .name = s->spec->name,
        .state = h->state,
        .since_ms = ms_until(now, h->since),
        .why = texts->why,
        .next_trial_ms = h->state == MEND_STATE_UP ? -1 : h->trial_due == NEVER ? 0 : ms_until(h->trial_due, now),
        .falls = h->falls,
        .failures = h->failures,
        .connections = s->open_count,
        .weight = atomic_load_explicit(&s->weight, memory_order_relaxed),
        .protocol = protocols[s->dialect],
        .gutter = s->gutter,
    };
    pthread_mutex_unlock(&s->lock);
    journal_describe(&s->journal, &out->journal_keys, &out->journal_deleted, &out->journal_overflows);
    out->values_broken = atomic_load_explicit(&s->values_broken, memory_order_relaxed);
}

/* ---- Beginning and ending ---- */

static uint64_t next_id(void)
{
    static _Atomic uint64_t last;
    return atomic_fetch_add(&last, 1) + 1;
}

static size_t sockets_of(const struct mend_client *c, size_t servers)
{
    return servers * ((size_t)c->config.connections_max + HEALER_SOCKETS) + DISCOVERY_SOCKETS;
}

bool life_room(struct life *life, size_t servers)
{
    return life->io->room(life->io, sockets_of(life->client, atomic_load(&life->server_count) + servers));
}

struct server *server_new(struct life *life, const struct server_spec *spec, bool gutter)
{
    const struct memory *memory = &life->client->memory;
    const mend_config   *config = &life->client->config;
    struct server       *s = memory_zeroed(memory, 1, sizeof *s);
    struct health_limits limits = {
        .failures_allowed = (unsigned)config->failures_allowed,
        .timeout = MS(config->timeout_ms),
        .wait_max = MS(config->heal_max_ms),
    };
    if (!s)
        return NULL;
    if (pthread_mutex_init(&s->lock, NULL) != 0) {
        memory_release(memory, s);
        return NULL;
    }
    s->life = life;
    s->gutter = gutter;
    s->id = next_id();
    journal_init(&s->journal, memory, &life->budget, (size_t)config->journal_keys_max, MS(config->zombie_ms));
    for (unsigned n = 0; n < SHARES; n++)
        share_init(&s->shares[n]);
    health_init(&s->health, &limits, life->io->now(life->io));
    atomic_init(&s->weight, spec->weight);
    atomic_init(&s->gate, gate_of(&s->health));
    atomic_init(&s->verdict_due, s->health.verdict_due);
    atomic_init(&s->back, s->health.back);
    atomic_fetch_add(&life->server_count, 1);
    s->spec = servers_copy_one(spec, memory);
    if (s->spec && s->spec->is_tls)
        s->peer = life->io->peer(life->io, s->spec->certified ? s->spec->certified : s->spec->host);
    if (!s->spec || (s->spec->is_tls && !s->peer) || !healer_takes(s)) {
        server_free(s);
        return NULL;
    }
    return s;
}

void server_free(struct server *s)
{
    const struct memory *memory = &s->life->client->memory;

    healer_drops(s);
    pool_close(s);
    if (s->peer)
        s->life->io->peer_free(s->life->io, s->peer);
    journal_free(&s->journal);
    for (unsigned n = 0; n < SHARES; n++)
        share_free(&s->shares[n], memory);
    pthread_mutex_destroy(&s->lock);
    atomic_fetch_sub(&s->life->server_count, 1);
    memory_release(memory, (void *)(uintptr_t)s->spec);
    memory_release(memory, s);
}

/* Takes whatever life_new left. */
static void life_free(struct life *life)
{
    struct mend_client *c = life->client;

    discovery_free(life);
    routing_end(life);
    if (life->rounds)
        healer_free(life);
    flights_free(&life->flights);
    pthread_mutex_destroy(&life->change);
    if (life->io)
        life->io->free(life->io);
    memory_release(&c->memory, life);
}

static void life_abandoned(void *arg)
{
    struct mend_client *c = ((struct life *)arg)->client;

    life_free(arg);
    client_free(c);
}

static struct io *begin_io(const struct mend_client *c, size_t servers)
{
    struct io_options options = {
        .sockets_max = sockets_of(c, servers),
        .timeout = MS(c->config.timeout_ms),
        .keepalive_s = c->config.tcp_keepalive_s,
        .user_timeout_ms = c->config.tcp_user_timeout_ms,
    };
    struct io *io = c->world->begin(c->world, &options);
    if (!io || !c->tls || tls_over(io, c->tls))
        return io;
    io->free(io);
    return NULL;
}

static struct life *life_new(struct mend_client *c, struct listing *list)
{
    struct life *life = memory_zeroed(&c->memory, 1, sizeof *life);
    if (!life || pthread_mutex_init(&life->change, NULL) != 0) {
        memory_release(&c->memory, life);
        listing_free(list);
        return NULL;
    }

    struct life *inherited = atomic_load(&c->life);
    life->client = c;
    life->budget.bytes_max = c->config.journal_bytes_max;
    flights_init(&life->flights, &c->memory);
    life->serial = inherited ? inherited->serial + 1 : 1;
    life->io = begin_io(c, list->servers.count + c->gutter.count);
    if (!life->io) {
        listing_free(list);
        goto fail;
    }
    if (!routing_begin(life, list) || !discovery_new(life) || !healer_new(life))
        goto fail;
    atomic_store(&c->page[LIFE_SERIAL], life->serial);
    life->healer = life->io->spawn(life->io, healer_run, life_abandoned, life);
    if (!life->healer)
        goto fail;
    return life;

fail:
    life_free(life);
    return NULL;
}

bool life_begin(struct mend_client *c, struct listing *list)
{
    struct life *life = life_new(c, list);

    if (!life)
        return false;
    atomic_store(&c->life, life);
    atomic_store(&c->page[LIFE_STAGE], LIFE_HERE);
    return true;
}

/* A child's first call, or a call that runs beside it. */
static struct life *reborn(struct mend_client *c)
{
    struct life *inherited = atomic_load(&c->life);
    struct io   *io = inherited->io;
    int          before = cancel_off();

    for (;;) {
        uint32_t stage = LIFE_NONE;
        if (atomic_compare_exchange_strong(&c->page[LIFE_STAGE], &stage, LIFE_BEGINS))
            break;
        if (stage == LIFE_HERE) {
            cancel_restore(before);
            return atomic_load(&c->life);
        }
        io->yield(io);
    }
    io->forked(io);
    struct listing list;
    bool           begun = listing_copy(&list, &atomic_load(&inherited->routing)->list, &c->memory) && life_begin(c, &list);
    if (!begun)
        atomic_store(&c->page[LIFE_STAGE], LIFE_NONE);
    cancel_restore(before);
    return begun ? atomic_load(&c->life) : NULL;
}

struct life *life_of(struct mend_client *c)
{
    if (atomic_load_explicit(&c->page[LIFE_STAGE], memory_order_acquire) == LIFE_HERE)
        return atomic_load_explicit(&c->life, memory_order_relaxed);
    return reborn(c);
}

bool life_end(struct mend_client *c)
{
    enum { CLOSE_MS = 90 }; /* of the 100 that mend_close promises */
    struct life *life = atomic_load(&c->life);
    struct io   *io = life->io;

    if (atomic_load(&c->page[LIFE_STAGE]) != LIFE_HERE) { /* a child that never called */
        io->forked(io);
        return true;
    }
    atomic_store(&life->closing, true);
    io->ring(io);
    if (!io->join(io, life->healer, io->now(io) + MS(CLOSE_MS)))
        return false;
    life_free(life);
    return true;
}
