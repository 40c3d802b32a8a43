/* conn.h - one connection to one server: questions in, answers out, over bytes that others move.
 *
 * Knows no sockets, no threads, no clock. It has one owner at a time, who feeds it
 * what the world did and asks it what to do next:
 *
 *     conn_room     where arriving bytes go          conn_took   ...they came
 *     conn_pending  what is to be sent               conn_sent   ...it went
 *     conn_ask, conn_ask_many                        put questions on the line
 *     conn_fail, conn_end, conn_expire               the link broke, or time is up
 *
 *            dial            dialed           proved
 *     COLD --------> DIALING -------> PROVING -------> READY ------> LINGERING
 *       ^               |                |               |   expire      |
 *       |  forget       | fail           | fail,         | fail,         | fail,
 *       +-- BROKEN <----+----------------+ bad answer    | bad answer    | bad answer
 *             ^------------------------------------------+---------------+
 *
 *     DIALING -> PROVING   [conn_dialed], which says user and password, if there are any, and when they were taken [authenticated],
 *                          or at once, asks the trial key in the meta protocol
 *     PROVING -> READY     [proved]: a real get was answered, and so the dialect is known
 *     READY -> LINGERING   [conn_expire]: every question in flight is ended, and the line is kept for its late answers, since
 *                          they tell when a write that was given up has been done
 *     others  -> BROKEN    [conn_fail], which ends every question in flight, once
 *
 * The line: questions in flight, in the order asked, since memcached answers in that
 * order. An answer must fit the question at the head of the line: in kind, by the opaque
 * that it was asked with, and by its key. What does not fit breaks the connection.
 */
#ifndef MEND_CORE_CONN_H
#define MEND_CORE_CONN_H

#include "core/buf.h"
#include "core/haunt.h"
#include "core/wire.h"

/* What came of one question about one key. The value's memory is the answer's own. */
struct answer {
    mend_status status;
    bool        done;
    bool        maybe_applied; /* a write that failed, of which the server may have got a byte... */
    enum zombie zombie;        /* ...and whether it may do it yet */
    bool        again;         /* failed, and asking once more on another connection can do no harm */
    bool        doubtful;      /* an empty hit of a gets, which may be a lease's stub: a get of its own would tell */
    uint8_t     lease;         /* enum wire_lease, of several; with a cas even if it is a miss */
    uint32_t    flags;
    uint64_t    cas, number;
    int64_t     ttl_s;
    struct buf  value; /* len bytes and a NUL behind them */
    const char *error; /* constant, or text below */
    char        text[88];
};

/* As before any question, but for the value's memory, which is kept. */
static inline void answer_reset(struct answer *a)
{
    a->status = MEND_OK;
    a->done = a->maybe_applied = a->again = a->doubtful = false;
    a->zombie = ZOMBIE_NONE;
    a->lease = 0;
    a->flags = 0;
    a->cas = a->number = 0;
    a->ttl_s = MEND_TTL_UNKNOWN;
    a->value.len = 0;
    a->error = "";
}

/* An answer that no server gave. error is a constant text... */
void answer_fail(struct answer *a, mend_status status, const char *error);
/* ...or one that the answer must keep for itself. */
void answer_fail_text(struct answer *a, mend_status status, const char *error);

/* Moves what came of a question to another answer. Values are swapped, so that nothing is copied or allocated;
 * or copied, where the two have their memory from different allocators. */
void answer_move(struct answer *to, struct answer *from);

/* One key that is asked for, and where its answer goes. */
struct want {
    mend_bytes     key;
    bool           key_binary;
    struct answer *into; /* NULL: the connection's own question */
};

struct ask;

enum conn_state { CONN_COLD, CONN_DIALING, CONN_PROVING, CONN_READY, CONN_LINGERING, CONN_BROKEN };

struct conn_span {
    char  *data;
    size_t len;
};

struct conn {
    enum conn_state   state;
    enum wire_dialect dialect;        /* what the server speaks: READY, as proved; before, as hinted */
    enum wire_dialect asks;           /* what questions are put in: PROVING, on trial; READY, the dialect */
    bool              reflects;       /* its misses carry the opaque (1.6.18 and later), so every answer must */
    bool              heard;          /* a byte has come since it was dialed */
    bool              ambiguous;      /* LINGERING, BROKEN: a write may or may not have been done */
    bool              ended;          /* BROKEN: by the server's own hand, which does nothing more for it */
    bool              refused;        /* a question that nobody waits for was answered with an error */
    bool              lost;           /* LINGERING, BROKEN: some question failed for good: it is not to be asked again */
    mend_status       broke;          /* LINGERING, BROKEN: how... */
    const char       *why;            /* ...in words: constant, or text below */
    char              text[88];
    mend_bytes        trial_key;
    mend_bytes        credentials;    /* "user password"; empty: none */
    uint64_t          value_max;

    struct buf in;    /* arrived, and not yet read from in_at on */
    size_t     in_at;
    struct buf out;   /* to be sent from out_at on */
    size_t     out_at;
    mend_bytes big;   /* behind out: what is left of a large value, where its owner has it... */
    size_t     crlf;  /* ...and of the line's end behind that */
    uint64_t   asked; /* bytes put on the line since dialed, and */
    uint64_t   sent;  /* how many of them went */

    struct ask   *line; /* a ring of line_cap, a power of two */
    size_t        line_head, line_count, line_cap;
    struct wire_opaque opaque; /* of the last question */
    struct answer *reading;    /* whose value is arriving, if it is anybody's */
    struct answer *sink;       /* the same, if the value is to be kept */
    uint64_t      value_left; /* of its bytes, and of the CRLF behind */
};

/* trial_key is borrowed for the connection's life. */
void conn_init(struct conn *c, const struct memory *memory, mend_bytes trial_key, uint64_t value_max);

/* From its next dial on it says "user password" before anything else. Borrowed for the connection's life. */
void conn_authenticate(struct conn *c, mend_bytes credentials);
void conn_release(struct conn *c);

/* COLD or BROKEN to DIALING. hint: what this server is known to speak. opaque: where the
 * numbers of its questions begin; at random, so that no two connections' agree. False: no memory. */
bool conn_dial(struct conn *c, enum wire_dialect hint, uint32_t opaque);
void conn_dialed(struct conn *c);

/* BROKEN while it was asked for its dialect, before it said a word: proxies that know no meta
 * protocol close. It is to be dialed again with the hint WIRE_CLASSIC. (Where we authenticate it
 * is taken for a memcached, which says ERROR.) */
bool conn_refused_meta(const struct conn *c);

/* Whether it takes a question now: READY, and not too much before it. */
bool conn_takes(const struct conn *c);

/* Puts a question on the line; into may be NULL. A value over WIRE_COPY_MAX, and the key of any, are borrowed
 * until the connection is at rest or broken: an error may answer what was half sent. MEND_OK; MEND_E_MEMORY or MEND_E_ARGUMENT, and nothing was asked. */
mend_status conn_ask(struct conn *c, const struct wire_question *q, struct answer *into);

/* Asks for as many of the keys as go into one line, by one classic gets: fewer than n if it
 * grows long. On a meta connection a get of the trial key goes before it, whose opaque proves that question and
 * answers are in step: without that answer none of those behind it is believed. Returns how many were asked;
 * 0: the first key is binary, or there is no memory. wants is borrowed. */
size_t conn_ask_many(struct conn *c, struct want *wants, size_t n);

/* Whoever asked goes, and the question stays on the line: its answer goes to another place, and its key is at another. */
void conn_redirect(struct conn *c, const struct answer *from, struct answer *to, mend_bytes key);

size_t conn_unsent(const struct conn *c); /* bytes of questions that wait to be sent */

static inline bool conn_all_sent(const struct conn *c)
{
    return c->out_at == c->out.len && c->crlf == 0;
}

/* Nothing in flight, nothing to send. */
static inline bool conn_at_rest(const struct conn *c)
{
    return c->line_count == 0 && conn_all_sent(c);
}

size_t conn_room(struct conn *c, struct conn_span room[2]); /* how many of the two */
void   conn_took(struct conn *c, size_t n);
size_t conn_pending(const struct conn *c, mend_bytes pending[3]); /* how many of the three */
void   conn_sent(struct conn *c, size_t n);

/* Breaks it and fails what is in flight. why is a constant text. Broken already, or COLD: nothing. */
void conn_fail(struct conn *c, mend_status status, const char *why);

/* Time is up for what is in flight, which fails. LINGERING if a write was sent, all that was asked was sent whole, and nobody's
 * memory is lent to it but for answers and keys, which are given back; else BROKEN. */
void conn_expire(struct conn *c, mend_status status, const char *why);

/* LINGERING or BROKEN: for those who asked it is over. */
static inline bool conn_is_over(const struct conn *c)
{
    return c->state == CONN_LINGERING || c->state == CONN_BROKEN;
}

/* As conn_fail, by the server's own hand: it closed, or its process died. What it has not done by now it never will. */
void conn_end(struct conn *c, const char *why);

#endif
