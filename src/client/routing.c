/* routing.c - see routing.h. */
#include "client/routing.h"

#include <string.h>

#include "client/life.h"
#include "client/healer.h"

/* ---- Pins ---- */

/* Threads that run at the same time rather meet at different stripes: what differs in where their stacks are is spread
 * by Fibonacci hashing. */
static unsigned stripe_of_thread(void)
{
    enum { BITS = 5 };
    _Static_assert(1 << BITS == PIN_STRIPES, "a stripe for each value");
    return (unsigned)((uint64_t)(uintptr_t)pthread_self() * 0x9E3779B97F4A7C15u >> (64 - BITS));
}

struct pin routing_pin(struct life *life)
{
    struct pins      *pins = &life->pins;
    _Atomic uint32_t *counted = &pins->stripe[stripe_of_thread()].in[atomic_load_explicit(&pins->phase, memory_order_relaxed)];

    /* Before the look at the routing, in the order that all threads see: or it may be freed in between. */
    atomic_fetch_add(counted, 1);
    return (struct pin){atomic_load(&life->routing), counted};
}

void routing_unpin(struct pin pin)
{
    atomic_fetch_sub_explicit(pin.counted, 1, memory_order_release);
}

static bool nobody_in(struct pins *pins, unsigned phase)
{
    for (unsigned i = 0; i < PIN_STRIPES; i++)
        if (atomic_load(&pins->stripe[i].in[phase]))
            return false;
    return true;
}

/* ---- Routings ---- */

/* Without its servers. Takes the list. */
static struct routing *routing_new(struct life *life, struct listing *list)
{
    const struct mend_client *c = life->client;
    const struct servers     *servers = &list->servers;
    size_t                    count = servers->count + c->gutter.count;
    struct routing           *r = memory_zeroed(&c->memory, 1, sizeof *r + count * sizeof r->at[0]);
    struct ring              *ring = servers->count ? ring_build(servers, c->config.distribution, &c->memory) : NULL;

    if (!r || (servers->count && !ring)) {
        ring_free(ring);
        memory_release(&c->memory, r);
        listing_free(list);
        return NULL;
    }
    r->ring = ring;
    r->list = *list;
    r->homes = servers->count;
    r->count = count;
    r->found_by = life->io->now(life->io) + MS(c->config.timeout_ms);
    return r;
}

/* Takes it away, with those of its servers that no other routing has. left: NULL, if nobody is to be told. */
static void routing_free(struct life *life, struct routing *r, void (*left)(struct server *))
{
    for (size_t i = 0; i < r->count; i++) {
        struct server *s = r->at[i];
        if (!s || atomic_fetch_sub(&s->routings, 1) > 1)
            continue;
        if (left)
            left(s);
        server_free(s);
    }
    ring_free(r->ring);
    listing_free(&r->list);
    memory_release(&life->client->memory, r);
}

struct server *routing_find(const struct routing *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->at[i]->spec->name, name) == 0)
            return r->at[i];
    return NULL;
}

static const struct server_spec *spec_at(const struct life *life, const struct routing *r, size_t i)
{
    return i < r->homes ? &r->list.servers.at[i] : &life->client->gutter.at[i - r->homes];
}

/* Fills in its servers: those that `old` has, too (NULL: there is none), and new ones. False: no memory. */
static bool fill(struct life *life, struct routing *r, const struct routing *old)
{
    size_t fresh = 0;

    for (size_t i = 0; i < r->count; i++) {
        r->at[i] = old ? routing_find(old, spec_at(life, r, i)->name) : NULL;
        fresh += !r->at[i];
    }
    size_t counted = 0, all = life_room(life, fresh) ? r->count : 0;
    for (; counted < all; counted++) {
        struct server **s = &r->at[counted];
        if (!*s && !(*s = server_new(life, spec_at(life, r, counted), counted >= r->homes)))
            break;
        atomic_fetch_add(&(*s)->routings, 1);
    }
    bool whole = counted == r->count;
    r->count = counted;
    return whole;
}

bool routing_begin(struct life *life, struct listing *list)
{
    struct routing *r = routing_new(life, list);

    if (!r)
        return false;
    r->serial = 1;
    atomic_store(&life->routing, r);
    return fill(life, r, NULL);
}

/* Publishes it, and sees the old one off. */
static void replace(struct life *life, struct routing *old, struct routing *fresh)
{
    for (size_t i = 0; i < fresh->homes; i++)
        atomic_store_explicit(&fresh->at[i]->weight, fresh->list.servers.at[i].weight, memory_order_relaxed);
    fresh->serial = old->serial + 1;
    if (!old->homes && !fresh->homes)
        fresh->found_by = old->found_by;
    atomic_store(&life->routing, fresh);
    for (size_t i = 0; i < old->count; i++)
        if (!routing_find(fresh, old->at[i]->spec->name))
            atomic_store_explicit(&old->at[i]->left, true, memory_order_relaxed);
    old->next = atomic_load(&life->replaced);
    while (!atomic_compare_exchange_weak(&life->replaced, &old->next, old))
        ;
}

mend_status routing_change(struct life *life, struct listing *list)
{
    struct routing *fresh = routing_new(life, list), *old = atomic_load(&life->routing);

    if (!fresh)
        return MEND_E_MEMORY;
    if (!fill(life, fresh, old)) {
        routing_free(life, fresh, NULL); /* under the lock: what is kept is in the one in force, so that none of it goes */
        return MEND_E_MEMORY;
    }
    replace(life, old, fresh);
    return MEND_OK;
}

/* ---- The healer's ---- */

struct routing *routing_replaced(struct life *life)
{
    return atomic_load(&life->replaced) ? atomic_exchange(&life->replaced, NULL) : NULL;
}

static void free_all(struct life *life, struct routing *r, void (*left)(struct server *))
{
    for (struct routing *next; r; r = next) {
        next = r->next;
        routing_free(life, r, left);
    }
}

static struct routing **end_of(struct routing **list)
{
    while (*list)
        list = &(*list)->next;
    return list;
}

bool routing_reap(struct life *life, struct routing *replaced, void (*left)(struct server *))
{
    struct reaper *r = &life->reaper;
    unsigned       phase = atomic_load(&life->pins.phase);

    *end_of(&r->later) = replaced;
    if (r->stage == REAP_NOTHING) {
        if (!r->later)
            return false;
        r->waited_for = r->later;
        r->later = NULL;
        r->stage = REAP_OTHERS;
    }
    if (r->stage == REAP_OTHERS) {
        if (!nobody_in(&life->pins, !phase))
            return true;
        phase = !phase;
        atomic_store(&life->pins.phase, phase);
        r->stage = REAP_ALL;
    }
    if (!nobody_in(&life->pins, !phase))
        return true;
    free_all(life, r->waited_for, left);
    r->waited_for = NULL;
    r->stage = REAP_NOTHING;
    return r->later != NULL;
}

void routing_end(struct life *life)
{
    struct routing *current = atomic_load(&life->routing);

    free_all(life, routing_replaced(life), NULL);
    free_all(life, life->reaper.waited_for, NULL);
    free_all(life, life->reaper.later, NULL);
    if (current)
        routing_free(life, current, NULL);
}
