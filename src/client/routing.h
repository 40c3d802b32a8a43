/* routing.h - which servers there are, and which of them a key lives on: a snapshot that never changes, and how another
 * takes its place while calls run.
 *
 * Knows no commands and no health. A call pins the routing that is in force for as long as it uses servers of
 * it: without a lock, by counting itself in on a counter that few other threads use, and out again. A change
 * builds a routing that shares with the old one the servers that are in both lists, by name, with all that is theirs. The
 * servers that are not in the new one have left: they are drained. The old routing, and what has left with it,
 * is freed by the healer when no call can hold it any more.
 *
 *     calls        routing_pin        ...its ring and its servers...    routing_unpin
 *     changes      routing_change
 *     the healer   routing_replaced   ...once each, then...             routing_reap
 *
 * When is that? There are two counters a stripe, and a word that says which of them is counted in on. The healer
 * waits until the other is 0 everywhere, makes it the one, and waits until the first is 0, too. Whoever was in when the
 * routing was replaced has gone by then; and nobody new can keep the healer waiting. (That both are waited for is for those
 * who read the word long ago and count themselves in only now: they come to the new routing, but on any counter.)
 */
#ifndef MEND_CLIENT_ROUTING_H
#define MEND_CLIENT_ROUTING_H

#include <stdatomic.h>

#include "core/listing.h"
#include "core/ring.h"
#include "core/time.h"

struct life;
struct server;

struct routing {
    uint64_t        serial; /* of the life's */
    struct listing  list;
    struct ring    *ring;     /* NULL: there are no homes... */
    nstime          found_by; /* ...and so long calls wait for some to be found */
    struct routing *next;     /* of those that were replaced */
    size_t          homes, count; /* of the servers that keys live on; with those of the gutter */
    struct server  *at[];         /* as list.servers.at, and then as client.gutter.at */
};

enum { PIN_STRIPES = 32, PIN_STRIPE_BYTES = 64 /* a cache line */ };

struct pins {
    _Atomic uint32_t phase; /* which counters are counted in on */
    struct {
        _Atomic uint32_t in[2];
        char             apart[PIN_STRIPE_BYTES - 2 * sizeof(_Atomic uint32_t)];
    } stripe[PIN_STRIPES];
};

/* What the healer waits for. */
struct reaper {
    enum { REAP_NOTHING, REAP_OTHERS, REAP_ALL } stage;
    struct routing *waited_for; /* replaced before the wait began... */
    struct routing *later;      /* ...and since */
};

struct pin {
    struct routing   *routing;
    _Atomic uint32_t *counted;
};

struct pin routing_pin(struct life *life);
void       routing_unpin(struct pin pin);

/* The server of this name, NULL if there is none. */
struct server *routing_find(const struct routing *r, const char *name);

/* The first of a life. Takes the list, also when it fails: no memory. */
bool routing_begin(struct life *life, struct listing *list);

/* Puts another in its place. Takes the list. MEND_OK, or MEND_E_MEMORY, and nothing has changed. life->change is held. */
mend_status routing_change(struct life *life, struct listing *list);

/* The healer's. Those that were replaced since it was last asked, the latest first; they are to be handed to routing_reap. */
struct routing *routing_replaced(struct life *life);

/* Frees what can be, of these and of those before; left is told of each server just before it goes. True: there is more to
 * wait for. */
bool routing_reap(struct life *life, struct routing *replaced, void (*left)(struct server *s));

void routing_end(struct life *life); /* frees all of them; nobody has a pin */

#endif
