/* share.h - one connection that many calls use at the same time.
 *
 * Calls that threads make at the same time travel in the same packets. The first to come leads:
 * it takes a link from the pool, puts everybody's questions on its line, sends them at once, and
 * reads the answers until its own, which is the last, is there. Who comes meanwhile waits in the
 * queue, and is the next batch. Answers come in chunks (of 20, with memcached), and each chunk wakes those whose they are.
 *
 *                  asks, nobody leads               own answer is there, or its deadline
 *     caller ------------------------------> LEADS ----------------------------------------> gone
 *        |                                     ^
 *        | asks, somebody leads                | nobody leads any more
 *        v            boarded by a leader      |
 *     QUEUED -------------------------------> ABOARD ---- landed, or its deadline ----------> gone
 *        |
 *        +--- the line is retired, or did not move for too long ----> elsewhere, unasked
 *
 * Knows no pool but its door, and no protocol: a conn does the talking, and has one owner at any time, the leader.
 *
 * Memory: what is in the queue lies on its caller's stack, and is read under the lock; its caller
 * cannot leave without that lock. What is aboard lies in a seat, which is the share's: whoever
 * leaves at its deadline leaves the seat behind. Only a leader's answer goes straight to its
 * owner; a leader that leaves early moves into a seat.
 *
 * Retire, don't kill: after a time out the link takes nothing new, and ends when those aboard have
 * their answers or have gone.
 */
#ifndef MEND_CLIENT_SHARE_H
#define MEND_CLIENT_SHARE_H

#include <pthread.h>
#include <stdatomic.h>

#include "world/pump.h"

struct call;
struct rider;
struct seat;
struct server;

struct share {
    pthread_mutex_t lock;
    bool            led;     /* somebody owns the link, and what is on its line */
    bool            retired; /* takes no more questions */
    struct link    *link;    /* the leader's; or parked here until the next; NULL: none */
    struct rider   *queue, **queue_end;
    unsigned        queued, wary; /* wary: of them, those that had a link die under them: the next is looked at first */
    bool            left_over; /* the last batch was full, and left some in the queue */
    struct seat    *aboard;  /* not landed yet */
    struct seat    *spare;
    unsigned        seats;   /* all there are */
    unsigned        carried; /* questions of the batch aboard */
    unsigned        crowd;   /* callers that were about when the last batch landed */
    uint32_t        batch;   /* the number of the batch aboard, or of the last */
    nstime          since;   /* when it was boarded */
    nstime          starved; /* until then this machine is taken for one that keeps threads from its processors */
    _Atomic uint32_t word[2]; /* what a batch waits on, by its parity; nothing but a reason to look */
};

/* How many a server has: one carries a crowd of callers; the second stands in while the first is retired, slow or full. (That
 * callers divide between two was tried, and cost a quarter at 16 threads.) */
enum { SHARES = 2 };

void share_init(struct share *h);
void share_free(struct share *h, const struct memory *memory);

enum share_result {
    SHARE_DONE,      /* `a` has what came of it */
    SHARE_AGAIN,     /* the same, but asking once more can do no harm, and the link may have died while idle */
    SHARE_ELSEWHERE, /* nothing was asked: it is to be asked over a link of its own, or later */
};

/* Takes away a link that is parked since `before` or longer, for those who want one to themselves. NULL: none. */
struct link *share_unpark(struct server *s, struct share *h, nstime before);
/* ...or copies its socket, to be watched. False: none. */
bool share_peek(struct share *h, struct io_sock *sock);

/* Asks over one of the server's shares, if one can be had just now. again: as pool_try's suspicious. */
enum share_result share_ask(struct server *s, struct call *call, const struct wire_question *q, bool again, struct answer *a);

#endif
