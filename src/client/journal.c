/* journal.c - see journal.h. */
#include "client/journal.h"

#include <string.h>

enum note_state { WAITING, UNDER_WAY, LATER };

#define SERIAL_TORN UINT32_MAX /* of no note */

struct note {
    struct note    *next_in_table;
    struct note    *next, **here; /* in its list */
    nstime          due;          /* LATER; NEVER: when its zombie is over */
    uint64_t        number;       /* UNDER_WAY */
    uint64_t        haunted;      /* it has a zombie, of this epoch at the latest; 0: none */
    uint32_t        hash, serial;
    enum note_state state;
    bool            last;    /* UNDER_WAY: its zombie was over when its delete was sent */
    bool            deleted; /* a write behind a delete was done since it was noted */
    unsigned char   len;
    char            key[];
};

/* ---- Lists ---- */

static void list_init(struct notes *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void append(struct notes *list, struct note *n)
{
    n->next = NULL;
    n->here = list->end;
    *list->end = n;
    list->end = &n->next;
}

static void unlist(struct notes *list, struct note *n)
{
    *n->here = n->next;
    if (n->next)
        n->next->here = n->here;
    else
        list->end = n->here;
}

static struct notes *list_of(struct journal *j, enum note_state state)
{
    switch (state) {
    case WAITING:
        return &j->waiting;
    case UNDER_WAY:
        return &j->under_way;
    case LATER:
        break;
    }
    return &j->later;
}

static void add_waiting(struct journal *j, int change)
{
    atomic_fetch_add_explicit(&j->waiting_count, (size_t)change, memory_order_relaxed);
}

static void become(struct journal *j, struct note *n, enum note_state state)
{
    unlist(list_of(j, n->state), n);
    add_waiting(j, (state == WAITING) - (n->state == WAITING));
    n->state = state;
    append(list_of(j, state), n);
}

/* ---- The table ---- */

enum { TABLE_LEAST = 64 };

static uint32_t hash_of(mend_bytes key)
{
    uint64_t hash = key_hash(key);
    return (uint32_t)(hash ^ hash >> 32);
}

static struct note **place(struct journal *j, uint32_t hash)
{
    return &j->table[hash & (j->table_size - 1)];
}

static struct note *find(struct journal *j, mend_bytes key, uint32_t hash)
{
    struct note *n = j->table ? *place(j, hash) : NULL;

    while (n && !(n->hash == hash && n->len == key.len && memcmp(n->key, key.data, key.len) == 0))
        n = n->next_in_table;
    return n;
}

static bool grow(struct journal *j)
{
    size_t        size = j->table_size ? j->table_size * 2 : TABLE_LEAST;
    struct note **old = j->table, **table = memory_zeroed(j->memory, size, sizeof *table);
    size_t        old_size = j->table_size;

    if (!table)
        return old != NULL; /* a table that is too small will do */
    j->table = table;
    j->table_size = size;
    for (size_t i = 0; i < old_size; i++)
        for (struct note *n = old[i], *next; n; n = next) {
            next = n->next_in_table;
            n->next_in_table = *place(j, n->hash);
            *place(j, n->hash) = n;
        }
    memory_release(j->memory, old);
    return true;
}

static int64_t bytes_of(size_t len)
{
    return (int64_t)(sizeof(struct note) + len);
}

static void forget(struct journal *j, struct note *n)
{
    struct note **at = place(j, n->hash);

    while (*at != n)
        at = &(*at)->next_in_table;
    *at = n->next_in_table;
    unlist(list_of(j, n->state), n);
    add_waiting(j, -(n->state == WAITING));
    atomic_fetch_sub_explicit(&j->count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&j->budget->bytes, bytes_of(n->len), memory_order_relaxed);
    memory_release(j->memory, n);
}

static void forget_all(struct journal *j)
{
    struct notes *lists[] = {&j->waiting, &j->under_way, &j->later};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        while (lists[i]->first)
            forget(j, lists[i]->first);
}

/* ---- Life ---- */

void journal_init(struct journal *j, const struct memory *memory, struct journal_budget *budget, size_t keys_max, nstime zombie)
{
    *j = (struct journal){.memory = memory, .budget = budget, .keys_max = keys_max, .zombie = zombie};
    haunt_init(&j->haunt);
    list_init(&j->waiting);
    list_init(&j->under_way);
    list_init(&j->later);
    pthread_mutex_init(&j->lock, NULL);
}

void journal_free(struct journal *j)
{
    forget_all(j);
    memory_release(j->memory, j->table);
    pthread_mutex_destroy(&j->lock);
}

/* ---- Noting ---- */

static void tear_locked(struct journal *j, nstime now)
{
    forget_all(j);
    atomic_store_explicit(&j->torn, true, memory_order_relaxed);
    j->torn_at = now;
    j->torn_epoch = j->haunt.epoch;
    j->tears++;
}

static struct note *new_note(struct journal *j, mend_bytes key, uint32_t hash)
{
    int64_t bytes = bytes_of(key.len);

    if (journal_count(j) >= j->keys_max || atomic_load_explicit(&j->budget->bytes, memory_order_relaxed) + bytes > j->budget->bytes_max)
        return NULL;
    if (journal_count(j) >= j->table_size && !grow(j))
        return NULL;
    struct note *n = memory_allocate(j->memory, (size_t)bytes);
    if (!n)
        return NULL;
    *n = (struct note){.hash = hash, .state = WAITING, .len = (unsigned char)key.len, .next_in_table = *place(j, hash)};
    memcpy(n->key, key.data, key.len);
    *place(j, hash) = n;
    append(&j->waiting, n);
    add_waiting(j, 1);
    atomic_fetch_add_explicit(&j->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&j->budget->bytes, bytes, memory_order_relaxed);
    return n;
}

/* Whoever knew the note does not know it any more. */
static void renew(struct journal *j, struct note *n)
{
    do
        n->serial = ++j->serial;
    while (n->serial == 0 || n->serial == SERIAL_TORN);
}

void journal_note(struct journal *j, mend_bytes key, nstime now, enum zombie zombie)
{
    uint32_t hash = hash_of(key);

    pthread_mutex_lock(&j->lock);
    if (zombie == ZOMBIE_ADRIFT && j->zombie)
        haunt_adrift(&j->haunt, haunt_line(&j->haunt), now);
    struct note *n = find(j, key, hash);
    if (n && n->state != WAITING)
        become(j, n, WAITING);
    if (!n && !(n = new_note(j, key, hash))) {
        tear_locked(j, now);
        n = new_note(j, key, hash);
    }
    if (n) {
        if (zombie && j->zombie)
            n->haunted = j->haunt.epoch;
        n->deleted = false;
        renew(j, n);
    }
    pthread_mutex_unlock(&j->lock);
}

void journal_tear(struct journal *j, nstime now)
{
    pthread_mutex_lock(&j->lock);
    tear_locked(j, now);
    pthread_mutex_unlock(&j->lock);
}

uint32_t journal_holds(struct journal *j, mend_bytes key, bool *deleted)
{
    if (journal_is_quiet(j))
        return 0;
    pthread_mutex_lock(&j->lock);
    struct note *n = find(j, key, hash_of(key));
    uint32_t     serial = n ? n->serial : j->torn ? SERIAL_TORN : 0;
    if (deleted)
        *deleted = n && n->deleted;
    pthread_mutex_unlock(&j->lock);
    return serial;
}

void journal_written(struct journal *j, mend_bytes key, uint32_t serial)
{
    pthread_mutex_lock(&j->lock);
    struct note *n = find(j, key, hash_of(key));
    if (n && n->serial == serial && n->haunted)
        n->deleted = true; /* it is noted still, for the zombie's sake */
    else if (n && n->serial == serial) {
        forget(j, n);
        j->settled++;
    }
    pthread_mutex_unlock(&j->lock);
}

/* ---- Lines ---- */

uint64_t journal_line(struct journal *j)
{
    if (!j->zombie)
        return 0;
    pthread_mutex_lock(&j->lock);
    uint64_t line = haunt_line(&j->haunt);
    pthread_mutex_unlock(&j->lock);
    return line;
}

void journal_line_over(struct journal *j, uint64_t line, bool ended, nstime now)
{
    pthread_mutex_lock(&j->lock);
    if (ended)
        haunt_ended(&j->haunt, line, now);
    else
        haunt_adrift(&j->haunt, line, now);
    pthread_mutex_unlock(&j->lock);
}

void journal_proved(struct journal *j, nstime since, nstime now)
{
    pthread_mutex_lock(&j->lock);
    haunt_proved(&j->haunt, since, now + j->zombie);
    pthread_mutex_unlock(&j->lock);
}

bool journal_unproved(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    bool unproved = haunt_unproved(&j->haunt);
    pthread_mutex_unlock(&j->lock);
    return unproved;
}

/* ---- The healer's ---- */

bool journal_next(struct journal *j, uint64_t number, nstime now, char key[KEY_MAX], size_t *len)
{
    pthread_mutex_lock(&j->lock);
    struct note *n = j->waiting.first;
    if (n) {
        become(j, n, UNDER_WAY);
        n->number = number;
        n->last = n->haunted <= haunt_over(&j->haunt, now);
        memcpy(key, n->key, n->len);
        *len = n->len;
    }
    pthread_mutex_unlock(&j->lock);
    return n != NULL;
}

static void put_off_locked(struct journal *j, struct note *n, nstime due)
{
    n->due = due;
    become(j, n, LATER);
}

void journal_put_off(struct journal *j, uint64_t number, nstime due)
{
    pthread_mutex_lock(&j->lock);
    for (struct note *n = j->under_way.first; n; n = n->next)
        if (n->number == number) {
            put_off_locked(j, n, due);
            break;
        }
    pthread_mutex_unlock(&j->lock);
}

void journal_settle(struct journal *j, uint64_t upto)
{
    pthread_mutex_lock(&j->lock);
    for (struct note *n; (n = j->under_way.first) != NULL && n->number <= upto;)
        if (!n->last)
            put_off_locked(j, n, NEVER);
        else {
            forget(j, n);
            j->settled++;
        }
    pthread_mutex_unlock(&j->lock);
}

void journal_unsent(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    while (j->under_way.first)
        become(j, j->under_way.first, WAITING);
    pthread_mutex_unlock(&j->lock);
}

/* Not in the order of their times where some were put off for want of a delete, and others for a zombie's sake. */
void journal_wake(struct journal *j, nstime now)
{
    if (journal_count(j) == 0)
        return;
    pthread_mutex_lock(&j->lock);
    uint64_t over = haunt_over(&j->haunt, now);
    for (struct note *n = j->later.first, *next; n; n = next) {
        next = n->next;
        if (n->due == NEVER ? n->haunted > over : n->due > now)
            continue;
        n->deleted = false;
        renew(j, n); /* a write that began before goes no further than the delete to come */
        become(j, n, WAITING);
    }
    pthread_mutex_unlock(&j->lock);
}

nstime journal_due(struct journal *j, nstime now)
{
    if (journal_is_quiet(j))
        return NEVER;
    pthread_mutex_lock(&j->lock);
    uint64_t over = haunt_over(&j->haunt, now);
    nstime   due = haunt_due(&j->haunt);
    for (struct note *n = j->later.first; n; n = n->next)
        due = time_earlier(due, n->due == NEVER && n->haunted <= over ? now : n->due);
    pthread_mutex_unlock(&j->lock);
    return due;
}

bool journal_torn(struct journal *j, nstime *torn_at)
{
    pthread_mutex_lock(&j->lock);
    bool torn = j->torn;
    *torn_at = j->torn_at;
    pthread_mutex_unlock(&j->lock);
    return torn;
}

bool journal_mendable(struct journal *j, nstime now, nstime *since)
{
    pthread_mutex_lock(&j->lock);
    bool mendable = j->torn_epoch <= haunt_over(&j->haunt, now);
    *since = j->torn_at > j->haunt.last ? j->torn_at : j->haunt.last;
    pthread_mutex_unlock(&j->lock);
    return mendable;
}

void journal_mend(struct journal *j, nstime torn_at)
{
    pthread_mutex_lock(&j->lock);
    if (j->torn_at == torn_at)
        atomic_store_explicit(&j->torn, false, memory_order_relaxed);
    pthread_mutex_unlock(&j->lock);
}

void journal_describe(struct journal *j, size_t *keys, uint64_t *settled, uint64_t *tears)
{
    pthread_mutex_lock(&j->lock);
    *keys = journal_count(j);
    *settled = j->settled;
    *tears = j->tears;
    pthread_mutex_unlock(&j->lock);
}
