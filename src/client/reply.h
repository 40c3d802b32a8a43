/* reply.h - what replies keep for themselves, and how answers become replies.
 *
 * Knows no server and no connection. A reply's own memory comes from the allocator of
 * the client that it was first used with, and goes back there.
 */
#ifndef MEND_CLIENT_REPLY_H
#define MEND_CLIENT_REPLY_H

#include "core/conn.h"
#include "client/life.h"

/* What one reply owns. The answer's value is its data. */
struct reply_own {
    struct memory memory;
    struct answer answer;
    bool          was_large; /* the value that it had before this call: the next may be, too */
    uint64_t      server_id; /* whose name is in `server`; 0: nobody's */
    char          server[272];
    char          error[256]; /* longer texts: those of mend_open */
};

/* Resets what the application sees of it, and gives its own memory; NULL: there is none, and the reply says so. */
struct reply_own *reply_begin(mend_reply *r, const struct memory *memory);

/* A reply for the length of a call, for an application that wants none. Its value is to be released. */
mend_reply *reply_lend(mend_reply *r, struct reply_own *own, const struct memory *memory);

/* Between the two: names the server that was asked; NULL: none was. */
void reply_server(mend_reply *r, const struct server *s);

/* Fills in the rest from its own answer. */
mend_status reply_end(mend_reply *r, struct reply_own *own);

/* Fills in what an answer says, but for the server's name. */
void reply_show(mend_reply *r, struct answer *a);

/* A reply to a call that was not made. error is a constant text. r may be NULL. */
mend_status reply_refuse(mend_reply *r, mend_status status, const char *error);

/* ---- Replies to many ---- */

struct replies_own {
    struct memory  memory;
    struct answer *answers; /* `room` of them, and as many in mend_replies.at */
    size_t         room;
    struct buf     scratch; /* of the call that is running */
    struct buf     names;   /* of the servers of the last */
};

/* Room for n, each reset, with its answer. NULL: there is no memory, and count is 0. */
struct replies_own *replies_begin(mend_replies *rs, size_t n, const struct memory *memory);

#endif
