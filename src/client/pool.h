/* pool.h - the connections of one server: taken by one call at a time, and given back.
 *
 * Knows no commands. What it takes from the health of the server is whether to turn callers
 * away, and what it tells it is how links ended. Used as
 *
 *     pool_take    a link that is READY and at rest, waiting for one if need be
 *     pool_try     the same without waiting: it may be dialing still, or there is none yet
 *     pool_give    back, whatever became of it
 */
#ifndef MEND_CLIENT_POOL_H
#define MEND_CLIENT_POOL_H

#include "client/life.h"

/* One call of the application's: when it began, or last looked at the clock, and when it must end. */
struct call {
    struct life *life;
    struct io   *io;
    nstime       now, deadline;
};

enum pool_result {
    POOL_LINK, /* here it is */
    POOL_WAIT, /* none just now */
    POOL_NONE, /* the answer says why */
};

/* Why a link was not had goes into `a`. suspicious: the call had one that died idle, so look at all before use. */
enum pool_result pool_try(struct server *s, struct call *call, bool suspicious, struct link **link, struct answer *a);
bool pool_take(struct server *s, struct call *call, bool suspicious, struct link **link, struct answer *a);

/* What to say to a call that waited until its deadline. */
void pool_give_up(struct server *s, struct answer *a);

/* Gives back a link, or what is left of it. Unless `forgiven` (the call asks again), a break by the
 * server's fault is told to its health, and so is success where that matters. */
void pool_give(struct server *s, struct call *call, struct link *link, bool forgiven);

/* The healer's: a trial passed on this link, begun under this generation, and the server is let in with it, in one
 * moment. False: the trial is of an older generation; the link is the caller's still. */
bool pool_admit(struct server *s, struct link *link, uint32_t generation, nstime now);

/* ...links that have been idle since `before` or longer are looked at, and those that are not quiet, or of an older
 * generation, are closed (NEVER: all of them). True: the last connection to this server has died so... */
bool pool_sweep(struct server *s, nstime before);

/* ...and the sockets of those that are idle are copied, to be watched: at most `most`. */
size_t pool_watch(struct server *s, struct io_sock *socks, size_t most);

struct link *pool_link_new(struct server *s); /* counted as open; NULL: no memory */
void         pool_link_free(struct server *s, struct link *link, bool reset);

void pool_close(struct server *s);

#endif
