/* flights.c - see flights.h. */
#include "client/flights.h"

#include <assert.h>
#include <string.h>

#include "core/key.h"

enum {
    KEPT_MAX = 1024,
    KEPT_BYTES_MAX = 4 * 1024 * 1024, /* "small", as mend.h promises */
    KEPT_VALUE_MAX = 64 * 1024,
    GLANCE_MS = 20, /* between looks for a turn: the wake is for one, who may not be allowed to take it */
};

/* ---- The table ---- */

static struct flight **bucket_of(struct flights *f, uint64_t hash)
{
    return &f->bucket[(hash >> 32 ^ hash) % FLIGHT_BUCKETS];
}

static bool is_for(const struct flight *flight, uint64_t hash, mend_bytes key)
{
    return flight->hash == hash && flight->key_bytes == key.len && memcmp(flight->key, key.data, key.len) == 0;
}

static void flight_free(struct flights *f, struct flight *flight)
{
    buf_release(&flight->answer.value);
    memory_release(f->memory, flight);
}

/* Out of its bucket. */
static void unhook_locked(struct flights *f, struct flight *flight)
{
    struct flight **at = bucket_of(f, flight->hash);

    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    atomic_fetch_sub(&f->count, 1);
}

static size_t weight(const struct flight *flight)
{
    return sizeof *flight + flight->key_bytes + flight->answer.value.cap;
}

/* Out of what is kept; it is to be freed if that is all that held it. */
static struct flight *drop_locked(struct flights *f, struct flight *flight)
{
    struct flight **at = &f->oldest, *before = NULL;

    while (*at != flight) {
        before = *at;
        at = &before->younger;
    }
    *at = flight->younger;
    if (f->youngest == flight)
        f->youngest = before;
    f->kept--;
    f->kept_bytes -= weight(flight);
    flight->kept = false;
    unhook_locked(f, flight);
    flight->younger = NULL;
    return --flight->holders ? NULL : flight;
}

/* Those that are to be freed once the lock is given back, linked by `younger`. */
static void shed(struct flight **list, struct flight *flight)
{
    if (!flight)
        return;
    flight->younger = *list;
    *list = flight;
}

static void free_list(struct flights *f, struct flight *list)
{
    for (struct flight *flight; (flight = list) != NULL;) {
        list = flight->younger;
        flight_free(f, flight);
    }
}

void flights_init(struct flights *f, const struct memory *memory)
{
    f->memory = memory;
    pthread_mutex_init(&f->lock, NULL);
}

void flights_free(struct flights *f)
{
    struct flight *list = NULL;

    while (f->oldest)
        shed(&list, drop_locked(f, f->oldest));
    free_list(f, list);
    pthread_mutex_destroy(&f->lock);
}

/* ---- Entering and leaving ---- */

bool flights_mine(struct flights *f, struct io *io, mend_bytes key)
{
    if (!atomic_load(&f->count))
        return false;

    const void *me = io->me(io);
    uint64_t    hash = key_hash(key);
    bool        mine = false;
    pthread_mutex_lock(&f->lock);
    for (struct flight *flight = *bucket_of(f, hash); flight; flight = flight->next)
        mine |= !flight->kept && flight->owner == me && is_for(flight, hash, key);
    pthread_mutex_unlock(&f->lock);
    return mine;
}

/* One to join. */
static struct flight *join_locked(struct flights *f, uint64_t hash, mend_bytes key, uint64_t lease, bool *gave)
{
    struct flight *flight = *bucket_of(f, hash);

    while (flight && (flight->dirty || flight->kept || !is_for(flight, hash, key)))
        flight = flight->next;
    if (!flight)
        return NULL;
    flight->holders++;
    *gave = lease && !flight->lease;
    if (*gave)
        flight->lease = lease;
    return flight;
}

static struct flight *flight_new(struct flights *f, const void *owner, uint64_t hash, mend_bytes key, uint64_t lease)
{
    struct flight *flight = memory_zeroed(f->memory, 1, sizeof *flight + key.len);

    if (!flight)
        return NULL;
    flight->hash = hash;
    flight->holders = 1;
    flight->owner = owner;
    flight->lease = lease;
    flight->source = MEND_SOURCE_SHARED;
    flight->answer.value.memory = f->memory;
    answer_reset(&flight->answer);
    flight->key_bytes = key.len;
    memcpy(flight->key, key.data, key.len);
    return flight;
}

struct flight *flights_enter(struct flights *f, struct io *io, mend_bytes key, uint64_t lease, bool *leads)
{
    uint64_t       hash = key_hash(key);
    bool           gave = false;
    struct flight *flight, *fresh = NULL;

    for (;;) { /* twice, where there is none: no memory is asked for under the lock */
        pthread_mutex_lock(&f->lock);
        flight = join_locked(f, hash, key, lease, &gave);
        *leads = !flight && fresh;
        if (*leads) {
            struct flight **at = bucket_of(f, hash);
            flight = fresh;
            fresh->next = *at;
            *at = fresh;
            atomic_fetch_add(&f->count, 1);
        }
        pthread_mutex_unlock(&f->lock);
        if (flight || !(fresh = flight_new(f, io->me(io), hash, key, lease)))
            break;
    }
    if (fresh && !*leads)
        flight_free(f, fresh);
    if (gave) {
        atomic_fetch_add(&flight->word, 1);
        io->wake(io, &flight->word, IO_ANYBODY, true);
    }
    return flight;
}

struct flight *flights_recall(struct flights *f, mend_bytes key, nstime now)
{
    if (!atomic_load(&f->count))
        return NULL;

    uint64_t       hash = key_hash(key);
    struct flight *old = NULL;
    pthread_mutex_lock(&f->lock);
    struct flight *flight = *bucket_of(f, hash);
    while (flight && (!flight->kept || !is_for(flight, hash, key)))
        flight = flight->next;
    if (flight && flight->expires <= now) {
        old = drop_locked(f, flight);
        flight = NULL;
    }
    if (flight)
        flight->holders++;
    pthread_mutex_unlock(&f->lock);
    if (old)
        flight_free(f, old);
    return flight;
}

void flights_leave(struct flights *f, struct flight *flight)
{
    pthread_mutex_lock(&f->lock);
    bool last = --flight->holders == 0;
    pthread_mutex_unlock(&f->lock);
    if (last)
        flight_free(f, flight);
}

/* ---- Waiting and landing ---- */

bool flight_wait(struct flight *flight, struct io *io, nstime deadline)
{
    for (;;) {
        uint32_t seen = atomic_load(&flight->word);
        if (atomic_load_explicit(&flight->landed, memory_order_acquire))
            return true;
        if (io->now(io) >= deadline)
            return false;
        io->wait(io, &flight->word, seen, IO_ANYBODY, deadline);
    }
}

uint64_t flight_nap(struct flights *f, struct flight *flight, struct io *io, nstime until)
{
    uint64_t lease;
    bool     slept = false;

    for (;;) {
        uint32_t seen = atomic_load(&flight->word);
        pthread_mutex_lock(&f->lock);
        lease = flight->lease;
        pthread_mutex_unlock(&f->lock);
        if (lease || slept)
            return lease;
        io->wait(io, &flight->word, seen, IO_ANYBODY, until);
        slept = true; /* woken for no reason, it looks sooner */
    }
}

void flight_land(struct flight *flight, struct io *io)
{
    assert(!flight->landed);
    atomic_store_explicit(&flight->landed, true, memory_order_release);
    atomic_fetch_add(&flight->word, 1);
    io->wake(io, &flight->word, IO_ANYBODY, true);
}

bool flight_copy(const struct flight *flight, struct answer *to)
{
    const struct answer *from = &flight->answer;

    answer_reset(to);
    to->status = from->status;
    to->done = true;
    to->flags = from->flags;
    to->number = from->number;
    to->ttl_s = from->ttl_s;
    if (from->status < 0)
        answer_fail_text(to, from->status, from->error);
    if (from->status != MEND_OK || from->value.len == 0)
        return true;
    if (!buf_reserve(&to->value, from->value.len + 1)) {
        answer_fail(to, MEND_E_MEMORY, "out of memory for the value");
        return false;
    }
    buf_add(&to->value, from->value.data, from->value.len);
    to->value.data[to->value.len] = '\0';
    return true;
}

/* Those that are too many, the oldest first, and an older one of the same key. */
static void make_room_locked(struct flights *f, const struct flight *young, struct flight **list)
{
    struct flight *flight = *bucket_of(f, young->hash);

    while (flight && (!flight->kept || !is_for(flight, young->hash, mend_mem(young->key, young->key_bytes))))
        flight = flight->next;
    if (flight)
        shed(list, drop_locked(f, flight));
    while (f->oldest && (f->kept >= KEPT_MAX || f->kept_bytes + weight(young) > KEPT_BYTES_MAX))
        shed(list, drop_locked(f, f->oldest));
}

void flights_end(struct flights *f, struct flight *flight, nstime kept_until)
{
    struct flight *list = NULL;

    pthread_mutex_lock(&f->lock);
    if (kept_until && !flight->dirty && flight->answer.value.cap <= KEPT_VALUE_MAX) {
        make_room_locked(f, flight, &list);
        flight->kept = true;
        flight->expires = kept_until;
        flight->holders++;
        f->kept++;
        f->kept_bytes += weight(flight);
        if (f->youngest)
            f->youngest->younger = flight;
        else
            f->oldest = flight;
        f->youngest = flight;
    } else
        unhook_locked(f, flight);
    atomic_fetch_add(&f->ended, 1);
    bool last = --flight->holders == 0;
    pthread_mutex_unlock(&f->lock);
    if (last)
        flight_free(f, flight);
    free_list(f, list);
}

/* ---- Writes ---- */

/* Of a key, or, data NULL, of all. */
static void wrote(struct flights *f, mend_bytes key)
{
    uint64_t       hash = key.data ? key_hash(key) : 0;
    struct flight *list = NULL, *next;

    pthread_mutex_lock(&f->lock);
    for (size_t b = 0; b < FLIGHT_BUCKETS; b++) {
        if (key.data && &f->bucket[b] != bucket_of(f, hash))
            continue;
        for (struct flight *flight = f->bucket[b]; flight; flight = next) {
            next = flight->next;
            if (key.data && !is_for(flight, hash, key))
                continue;
            if (flight->kept)
                shed(&list, drop_locked(f, flight));
            else
                flight->dirty = true;
        }
    }
    pthread_mutex_unlock(&f->lock);
    free_list(f, list);
}

void flights_wrote(struct flights *f, mend_bytes key)
{
    if (atomic_load(&f->count))
        wrote(f, key);
}

void flights_wrote_all(struct flights *f)
{
    if (atomic_load(&f->count))
        wrote(f, mend_mem(NULL, 0));
}

/* ---- Turns ---- */

static bool take_turn(struct flights *f, unsigned most)
{
    unsigned n = atomic_load(&f->loading);

    while (n < most)
        if (atomic_compare_exchange_weak(&f->loading, &n, n + 1))
            return true;
    return false;
}

/* Notes that this flight loads, and tells whether its owner does so for another already: a loader that fetches. */
static bool begins_nested(struct flights *f, struct flight *flight)
{
    bool nested = false;

    pthread_mutex_lock(&f->lock);
    for (size_t b = 0; b < FLIGHT_BUCKETS; b++)
        for (struct flight *other = f->bucket[b]; other; other = other->next)
            nested |= other->loading && !other->kept && other->owner == flight->owner;
    flight->loading = true;
    pthread_mutex_unlock(&f->lock);
    return nested;
}

bool flights_turn(struct flights *f, struct flight *flight, struct io *io, unsigned most, nstime deadline, bool *taken)
{
    *taken = false;
    if (begins_nested(f, flight))
        return true;
    for (;;) {
        uint32_t seen = atomic_load(&f->turn);
        if ((*taken = take_turn(f, most)))
            return true;
        nstime now = io->now(io);
        if (now >= deadline)
            return false;
        io->wait(io, &f->turn, seen, IO_ANYBODY, time_earlier(deadline, now + MS(GLANCE_MS)));
    }
}

void flights_turn_over(struct flights *f, struct io *io)
{
    atomic_fetch_sub(&f->loading, 1);
    atomic_fetch_add(&f->turn, 1);
    io->wake(io, &f->turn, IO_ANYBODY, false);
}
