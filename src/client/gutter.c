/* gutter.c - see gutter.h. */
#include "client/gutter.h"

#include "client/calls.h"

static bool is_askable(const struct server *s)
{
    return health_askable(server_gate(s).state);
}

void gutter_detour(struct call *call, enum wire_verb verb, mend_bytes by, struct route *route)
{
    const struct mend_client *c = call->life->client;
    const struct routing     *r = call->pin.routing;
    bool                      up = is_askable(route->home);

    if (up && !wire_writes(verb))
        return;
    unsigned number = (unsigned)r->homes + ring_server(c->gutter_ring, c->hash_prefix, by);
    route->gutter = r->at[number];
    if (!up && is_askable(route->gutter)) {
        route->asked = route->gutter;
        route->number = number;
    }
}

bool gutter_parted(const struct server *asked, const struct wire_question *q)
{
    if (!asked->life->client->gutter_ring)
        return false;
    if (q->cas)
        return asked->gutter != (q->cas >= GUTTER_CAS);
    return asked->gutter && q->by_lease;
}

struct wire_question gutter_question(const struct server *gutter, const struct wire_question *q)
{
    struct wire_question there = *q;
    int64_t              ttl_s = gutter->life->client->config.gutter_ttl_s;

    if (there.exptime == 0 || there.exptime > ttl_s) /* absolute times are over it, too */
        there.exptime = ttl_s;
    if (there.lease_s > ttl_s)
        there.lease_s = ttl_s;
    there.refresh_s = 0; /* nothing lives long enough there to be refreshed */
    there.cas &= ~GUTTER_CAS;
    return there;
}

/* Whether the gutter may have a value of this server's keys: it is down; or was, and what was put there until all processes saw
 * it back (each tries within heal_max_ms) has not expired (by memcached's clock, which counts whole seconds). */
static bool may_be_in_gutter(const struct server *home, nstime now)
{
    const mend_config *config = &home->life->client->config;
    nstime             lives = MS(1000) * ((nstime)config->gutter_ttl_s + 1) + MS(config->heal_max_ms);

    return !is_askable(home) || now < atomic_load_explicit(&home->back, memory_order_relaxed) + lives;
}

void gutter_wrote(struct call *call, const struct route *route, mend_bytes key, bool stale)
{
    if (route->asked == route->home) {
        if (stale && may_be_in_gutter(route->home, call->io->now(call->io)))
            lost_note(route->gutter, call, key, ZOMBIE_NONE);
        return;
    }
    if (stale)
        lost_note(route->home, call, key, ZOMBIE_NONE);
    if (is_askable(route->home)) /* it came back meanwhile: another write may have gone there, and what is in the gutter is behind it */
        lost_note(route->gutter, call, key, ZOMBIE_NONE);
}
