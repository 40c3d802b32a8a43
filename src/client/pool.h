/* pool.h - the connections of one server: taken by one call at a time, and given back.
 *
 * Knows no commands. What it takes from the health of the server is whether to turn callers
 * away, and what it tells it is how links ended. Used as
 *
 *     pool_try     one that is READY and at rest, or dialing still; or there is none just now
 *     pool_dialed  ...waits until it is READY
 *     pool_give    back, whatever became of it
 */
#ifndef MEND_CLIENT_POOL_H
#define MEND_CLIENT_POOL_H

#include "client/life.h"

/* One call of the application's: when it began, or last looked at the clock, and when it must end. */
struct call {
    struct life *life;
    struct io   *io;
    struct pin   pin; /* of the routing, while it asks */
    nstime       now, deadline;
};

enum { LINGERING_MAX = 4 }; /* links of a server that linger; what more are given up are closed, and adrift */

enum pool_result {
    POOL_LINK, /* here it is */
    POOL_WAIT, /* none just now */
    POOL_NONE, /* the answer says why */
};

/* Why a link was not had goes into `a`. suspicious: the call had one that died idle, so look at all before use. */
enum pool_result pool_try(struct server *s, struct call *call, bool suspicious, struct link **link, struct answer *a);

/* Whether an idle link may be used: the first says so unseen, the second looks if need be. */
bool pool_fresh(const struct link *link, const struct call *call, struct gate gate, bool suspicious);
bool pool_usable(struct link *link, const struct call *call, struct gate gate, bool suspicious);

/* Finishes what a dial began. False: the answer says why, and the link is gone. */
bool pool_dialed(struct server *s, struct call *call, struct link *link, struct answer *a);

/* Waits, after POOL_WAIT, until something changes at this server; then all is to be tried anew. The first time it
 * comes back at once, since what changed before anybody saw the call waiting told nobody. False: the deadline. */
struct pool_wait {
    bool     told;
    uint32_t seen;
};
bool pool_wait(struct server *s, struct call *call, struct pool_wait *wait);
void pool_waited(struct server *s, const struct pool_wait *wait, bool got_link);
bool pool_wanted(const struct server *s); /* somebody waits */

/* What to say to a call that waited until its deadline. */
void pool_give_up(struct server *s, struct answer *a);

/* Gives back a link, or what is left of it; one that lingers goes to the healer. Unless `forgiven` (the call asks again), a break by the
 * server's fault is told to its health, and so is success where that matters. */
void pool_give(struct server *s, struct call *call, struct link *link, bool forgiven);

/* ...what became of a call on a link that is not given back: its answer came; or its time was up, of which the server had
 * the part since `sent`. late: that is not the server's fault. */
void pool_served(struct server *s, struct call *call, uint32_t generation);
void pool_timed_out(struct server *s, struct call *call, uint32_t generation, nstime sent, bool late, const char *why);

/* The healer's: a trial passed on this link, begun under this generation, and the server is let in with it, in one
 * moment. False: the trial is of an older generation; the link is the caller's still. */
bool pool_admit(struct server *s, struct link *link, uint32_t generation, nstime now);

/* ...links that have been idle since `before` or longer are looked at, and those that are not quiet, or of an older
 * generation, are closed (NEVER: all of them). True: the last connection to this server has died so... */
bool pool_sweep(struct server *s, nstime before);

/* ...and the sockets of those that are idle are copied, to be watched: at most `most`. */
size_t pool_watch(struct server *s, struct io_sock *socks, size_t most);

/* ...links whose callers gave writes up on them, to read on until they are at rest or broken, are taken over from calls: a list;
 * and given up. */
struct link *pool_lingering(struct server *s);
void         pool_lingered(struct server *s, struct link *link);

struct link *pool_link_new(struct server *s); /* counted as open; NULL: no memory */
void         pool_link_free(struct server *s, struct link *link, bool reset);

void pool_close(struct server *s);

#endif
