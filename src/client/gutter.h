/* gutter.h - servers that stand in for one that is down, for a short while.
 *
 * Knows no connection: it says where a call goes, how its question is put there, and what is to be noted afterwards.
 * client.c does so for one key, multi.c for many:
 *
 *     gutter_route     which server to ask: the key's home, or while that is down, its gutter, if it is not down, too
 *     gutter_parted    whether a cas was read from the other of the two, and so is no good here
 *     gutter_question  the question, as it is put to a gutter
 *     gutter_answer    ...and its answer
 *     gutter_wrote     after a write: what may be stale in the one of which it was not asked
 *
 * A write that went to the gutter is noted in its home's journal, so that the home is let in without what it had before.
 * A write that went to its home is noted in the gutter's for as long as that may have the key from an outage: its healer
 * deletes it there, and until then it is not read there. (By the journal and not by a delete in the call: so a gutter that hangs
 * costs no writer anything whose own server serves.)
 *
 * Without a gutter all of this is a look at client.gutter_ring, at server.gutter or at route.gutter.
 */
#ifndef MEND_CLIENT_GUTTER_H
#define MEND_CLIENT_GUTTER_H

#include "client/pool.h"

/* memcached counts its cas from 1 up, each server for itself. This bit says that one was read from a gutter, to the
 * application, too. */
#define GUTTER_CAS ((uint64_t)1 << 63)

/* Where a call goes. Found before it is made, since what it is found by may lie in the reply. */
struct route {
    struct server *home;   /* that the key lives on */
    struct server *gutter; /* that stands in for it, if this is a write or the home is down; NULL: there is none */
    struct server *asked;  /* one of the two... */
    unsigned       number; /* ...by its number in the routing */
};

void gutter_detour(struct call *call, enum wire_verb verb, mend_bytes by, struct route *route); /* gutter_route's, where there is a gutter */

static inline struct route gutter_route(struct call *call, enum wire_verb verb, mend_bytes key, const mend_call *options)
{
    const struct mend_client *c = call->life->client;
    mend_bytes                by = options && options->routing_key.len ? options->routing_key : key;
    unsigned                  number = ring_server(call->pin.routing->ring, c->hash_prefix, by);
    struct server            *home = call->pin.routing->at[number];
    struct route              route = {.home = home, .asked = home, .number = number};

    if (c->gutter_ring)
        gutter_detour(call, verb, by, &route);
    return route;
}

/* The answer is then a no: somebody else's value is there. Also of an add by a fetch that had no lease, to a gutter: what was
 * written at home meanwhile would not keep it away. */
bool gutter_parted(const struct server *asked, const struct wire_question *q);

struct wire_question gutter_question(const struct server *gutter, const struct wire_question *q);

static inline void gutter_answer(struct answer *a)
{
    if (a->cas)
        a->cas |= GUTTER_CAS;
}

/* Of a write, whatever became of it; there is a gutter. key: as it travels. stale: it was not a fetch's store, nor a touching get, which make nothing stale. */
void gutter_wrote(struct call *call, const struct route *route, mend_bytes key, bool stale);

#endif
