/* pump.h - a link: one connection joined to one socket, and the loops that move bytes between them.
 *
 * Knows no pool and no health: it turns until the questions on the line are answered, the
 * link breaks, or the deadline comes, which breaks it. A link has one owner at a time.
 *
 *     link_dial    begin to connect
 *     link_run     turn one link until it is at rest or broken
 *     link_carry   turn one until an answer is there, and leave it whole if that comes too late
 *     link_turn    one turn of several at once
 */
#ifndef MEND_WORLD_PUMP_H
#define MEND_WORLD_PUMP_H

#include <stdatomic.h>

#include "core/conn.h"
#include "world/io.h"

/* A thread that is woken so long after its deadline was not running: the process was stopped, or starved. What it then
 * did not hear is not held against the server. */
enum { LINK_STOPPED_MS = 20 };

/* Bytes of the protocol, of many links. */
struct traffic {
    _Atomic uint64_t sent, received;
};

struct link {
    struct conn       conn;
    struct io_sock    sock;
    struct io_address to;
    struct io_peer   *peer;       /* who is spoken to in TLS; NULL: in the clear. Borrowed */
    uint32_t          generation; /* of the server's health, when it was dialed */
    nstime            idle_since; /* in the pool: since when */
    nstime            taken;      /* from it: when, by the call that has it */
    bool              pooled;     /* it had served before this call: its death may be old news */
    bool              waited;     /* since it was taken: there was time to wait for the server */
    bool              stirred;    /* a look while it was idle found that it had ended, or that something came that nobody asked for */
    bool              late;       /* LINGERING, BROKEN: by a deadline, without that */
    struct traffic   *traffic;    /* where its bytes are counted; NULL: nowhere. Borrowed */
    uint64_t          line;       /* writes on it were given up: as which line of the server's journal; else 0 */
    struct link      *next;       /* in the pool */
};

/* Begins to connect; on failure the connection is BROKEN at once. False: no memory, and it is COLD still. */
bool link_dial(struct link *l, struct io *io, const struct io_address *to, enum wire_dialect hint);

/* Turns until the connection is at rest (READY, every question answered) or BROKEN. */
void link_run(struct link *l, struct io *io, nstime now, nstime deadline);

/* As link_run, for a link that has others' questions on its line, too: turns until `mine` is done, or it is over (IO_DONE);
 * or the deadline comes: IO_TIMEOUT, or IO_LATE if that is not to be held against the server, and the link is as it was.
 * once: also after one turn. */
int link_carry(struct link *l, struct io *io, nstime now, nstime deadline, const struct answer *mine, bool once);

/* Waits, until `until` at most, for something to do on any of them, and does it. Links that are at rest or
 * broken are passed over. After the deadline: a last look, then what is not at rest is broken.
 * polls: room for n, the caller's. */
void link_turn(struct link *const *links, struct io_poll *polls, size_t n, struct io *io, nstime until, nstime deadline);

/* Of links that have all been asked: sends, and reads what each answers in turn, waiting but a moment for any, by fewer
 * system calls than turns take. True: all are over. False: they have to be turned. */
bool link_hear_all(struct link *const *links, size_t n, struct io *io, nstime deadline);

/* The two halves of link_turn for those who have a poll of their own: what to wait for (false, and no socket:
 * for nothing), and what to do when it is there. */
bool link_wants(struct link *l, struct io_poll *poll);
void link_ready(struct link *l, struct io *io);

/* The deadline of all that is in flight has come: IO_TIMEOUT, or IO_LATE. */
void link_expire(struct link *l, int result);

/* Taken by another call, straight from the one before. */
void link_reuse(struct link *l, nstime now);

/* Whether there is nothing more to be done for it by those who asked. */
static inline bool link_over(const struct link *l)
{
    return conn_is_over(&l->conn) || l->conn.state == CONN_COLD || (l->conn.state == CONN_READY && conn_at_rest(&l->conn));
}

/* A quiet link that is idle: nothing has come, and the peer is there. */
bool link_quiet(struct link *l, struct io *io);

/* Closes its socket; with a reset if a write on it may or may not have been done, so that our kernel does
 * not deliver it minutes later, or where `reset` says that nothing will be missed. Keeps the memory. */
void link_close(struct link *l, struct io *io, bool reset);

#endif
