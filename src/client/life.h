/* life.h - the client, and its life in one process: what threads share, and the locks that guard it.
 *
 * A struct mend_client is what a fork inherits: the configuration, immutable once open. A struct
 * life is what it does not: connections, health, the healer. A page that the kernel empties in a
 * child tells that the life found there is the parent's; the child's first call closes its copies
 * of the parent's descriptors, copies the list of servers that was in force, touches nothing else
 * of the old life (its locks may be held by threads that do not exist here, so its memory is left
 * alone), and builds its own.
 *
 * Locks: a server's, held for a few lines, with no system call and no other lock inside.
 * What a call needs to know of a healthy server, or of one that is down, is in `gate`, without it.
 */
#ifndef MEND_CLIENT_LIFE_H
#define MEND_CLIENT_LIFE_H

#include <pthread.h>
#include <stdatomic.h>

#include "client/flights.h"
#include "client/journal.h"
#include "client/routing.h"
#include "client/share.h"
#include "client/stats.h"
#include "client/values.h"
#include "core/health.h"
#include "core/ring.h"
#include "core/servers.h"
#include "world/io.h"
#include "world/io_tls.h"
#include "world/pump.h"

struct trial;

/* One server, in one life, for as long as it is in the list. */
struct server {
    struct life              *life;
    const struct server_spec *spec; /* its own; but the weight is of the routing in force, below */
    uint64_t                  id;   /* no two servers of a process have the same: replies remember by it whose name they hold */
    bool                      gutter; /* no key lives here: it stands in for servers that are down */
    struct io_peer           *peer; /* NULL: it is spoken to in the clear */
    _Atomic unsigned          weight;
    _Atomic unsigned          routings; /* that have it; when none does it is freed */
    _Atomic bool              left;     /* it is not in the one in force, and nothing of it is kept beyond the calls that are under way */

    /* Health, as calls see it, written under the lock: one word, so that it is always of one moment. */
    _Atomic uint64_t gate;
    _Atomic nstime   verdict_due; /* NEW and DOUBTFUL: the trial has its verdict by then */
    _Atomic nstime   back;        /* when it last came up from NEW or from an outage */
    _Atomic uint32_t turn;        /* changes when something does that callers wait for, ... */
    _Atomic uint32_t waiting;     /* ...if any wait */

    pthread_mutex_t   lock;
    struct health     health;     /* and below: under the lock */
    struct link      *idle;       /* the latest given back first */
    struct link      *lingering;  /* those that the healer has not taken over yet */
    unsigned          idle_count, lingering_count, open_count; /* lingering: the healer's, too; open: all */
    uint64_t          opened, broken; /* links: so many were dialed, and so many of them ended otherwise than for want of use */
    enum wire_dialect dialect;    /* as the last trial found it */
    struct io_address address;    /* where the last trial found it */

    struct share     shares[SHARES]; /* each with a lock of its own */
    _Atomic unsigned held;           /* links that they have */
    struct journal   journal;        /* of lost writes; it has a lock of its own, too */
    _Atomic uint64_t values_broken;  /* hits that could not be unpacked */
    struct stats     stats;
    bool           ours;  /* the healer's alone: it went down when all did, ... */
    struct trial  *trial; /* ...its trials... */
    struct server *next;  /* ...and its list */
};

struct life {
    struct mend_client *client;
    uint32_t            serial;   /* counted over generations of processes */
    struct io          *io;
    struct io_thread   *healer;
    struct healer      *rounds;   /* the healer's alone */
    _Atomic(struct routing *) routing;  /* in force */
    _Atomic(struct routing *) replaced; /* those that are not, the latest first, until the healer takes them */
    struct pins         pins;
    struct reaper       reaper;       /* the healer's alone */
    pthread_mutex_t     change;       /* held by who changes the routing */
    struct discovery   *discovery;    /* the healer's alone */
    _Atomic size_t      server_count; /* that there are, those that have left included */
    struct journal_budget budget; /* of the servers' journals */
    _Atomic bool        closing;
    _Atomic bool        telling;  /* the healer is inside on_event */
    _Atomic uint32_t    news;     /* as turn, for those who wait for several servers */
    _Atomic uint32_t    waiting;
    struct flights      flights;  /* with a lock of its own */
};

struct mend_client {
    const struct world   *world;
    struct memory         memory;
    mend_config           config;   /* with every default filled in; servers and gutter are NULL */
    char                 *trial_key_text;
    mend_bytes            trial_key;
    char                 *prefix_text;
    mend_bytes            prefix;      /* before each key of the application's, on the wire... */
    mend_bytes            hash_prefix; /* ...and in the hash: the same, or empty */
    char                 *credentials_text;
    mend_bytes            credentials; /* "user password"; empty: none */
    struct servers        gutter;      /* empty: */
    struct ring          *gutter_ring; /* NULL: there is none */
    struct values        *values;      /* NULL: none is packed */
    struct tls_settings  *tls;         /* NULL: no server is spoken to in TLS */
    _Atomic uint32_t     *page;     /* two words, zero in a fresh child */
    _Atomic(struct life *) life;
};

enum { LIFE_STAGE, LIFE_SERIAL };              /* the words: how far the life of this process is, and which it is */
enum { LIFE_NONE, LIFE_BEGINS, LIFE_HERE };    /* its stages */

/* mend_open, in a world of the caller's, which must outlive the client. */
mend_status client_open(const mend_config *config, const struct world *world, mend_client **client, mend_reply *reply);

/* The life of this process, built if this is a child that has none. NULL: no memory, descriptor or thread. */
struct life *life_of(struct mend_client *c);

/* Begins one, with these servers. Takes the list. False: no memory, descriptor or thread. */
bool life_begin(struct mend_client *c, struct listing *list);

/* Ends it, within the time that mend_close has. True: all is given back, and the client is to be freed by the caller;
 * false: the healer hangs in the application's on_event, and frees both when it comes back. */
bool life_end(struct mend_client *c);

void client_free(struct mend_client *c);

/* The first of these that is one of the gutter's, too; NULL: none is. */
const char *client_in_gutter(const struct mend_client *c, const struct servers *list);

/* Makes room for the sockets of so many more servers. False: no memory. */
bool life_room(struct life *life, size_t servers);

struct server *server_new(struct life *life, const struct server_spec *spec, bool gutter); /* NULL: no memory */
void           server_free(struct server *s);                                              /* takes whatever server_new left */

/* ---- Health, as calls see it ---- */
struct gate {
    mend_state state;
    bool       troubled; /* successes are to be reported */
    uint32_t   generation;
};

enum { GATE_TROUBLED = 1 << 3 }; /* in server.gate: above the state, and below the generation */

static inline struct gate server_gate(const struct server *s)
{
    uint64_t word = atomic_load_explicit(&s->gate, memory_order_acquire);
    return (struct gate){.state = (mend_state)(word & (GATE_TROUBLED - 1)), .troubled = (word & GATE_TROUBLED) != 0, .generation = (uint32_t)(word >> 32)};
}

/* Whether calls are to be turned away at once: it is down, or its trial is overdue. */
static inline bool server_shut(const struct server *s, struct gate gate, nstime now)
{
    bool awaits = gate.state == MEND_STATE_NEW || gate.state == MEND_STATE_DOUBTFUL;
    return awaits ? now > atomic_load_explicit(&s->verdict_due, memory_order_relaxed) : gate.state != MEND_STATE_UP;
}

/* What a call came to. failed: by the server's fault, on a link that was dialed under this generation. */
void server_served(struct server *s, uint32_t generation, nstime now);
void server_failed(struct server *s, uint32_t generation, const char *why);
void server_suspected(struct server *s, const char *why); /* nothing failed, but a trial is due */

void server_wants_trial(struct server *s, const char *why); /* ...for what it does: nothing speaks against the server */

/* After a change of health under the lock; it returns with the lock released, and everyone told. */
void server_publish_and_unlock(struct server *s);

/* Wakes those who wait for this server: all of them, or one and those who wait for several. */
void server_changed(struct server *s, bool all);

/* Wakes those who wait for several, or for any. */
void life_changed(struct life *life);

/* A snapshot for the application. The texts live in `texts`. */
struct server_texts {
    char why[sizeof((struct health *)0)->why];
};
void server_describe(struct server *s, nstime now, mend_server *out, struct server_texts *texts);

#endif
