/* hostile.h - a memcached that misbehaves on demand, on threads of the test's own.
 *
 * Its mind is a toy's (toy.h), which parses and does what is asked. What it says to a request is
 * the handler's: one function per misbehaviour.
 * Requests for the trial key are answered properly whatever the handler, unless
 * `trials` is set, so that calls can fail while trials pass. Every connection and
 * every request is recorded.
 *
 *     static enum hostile_next cuts(struct toy_ask *ask, void *context)
 *     {
 *         hostile_prepare(ask);                              the proper answer, done to the store...
 *         hostile_write(ask, ask->answer, ask->length / 2);  ...half of it
 *         return HOSTILE_CLOSE;
 *     }
 *     struct hostile *h = hostile_start(HOSTILE_META);
 *     hostile_behave(h, cuts, NULL);
 *     ... mend_increment(client, mend_str("n"), 1, NULL, &r) ...
 *     assert_int_equal(hostile_asked(h, "n"), 1);            it was sent once
 *     hostile_behave(h, NULL, NULL);                         proper again
 */
#ifndef SUPPORT_HOSTILE_H
#define SUPPORT_HOSTILE_H

#include "support/toy.h"

#define HOSTILE_TRIAL_KEY "mend:trial"

enum hostile_dialect { /* the toy's, by our name */
    HOSTILE_META = TOY_META,
    HOSTILE_BARE = TOY_BARE,
    HOSTILE_OLD = TOY_OLD,
    HOSTILE_CLASSIC = TOY_CLASSIC,
    HOSTILE_PROXY = TOY_PROXY
};

enum hostile_next { HOSTILE_GO_ON, HOSTILE_CLOSE, HOSTILE_RESET };

typedef enum hostile_next hostile_handler(struct toy_ask *ask, void *context);

/* ---- The server ------------------------------------------------------------------------ */
struct hostile *hostile_start(enum hostile_dialect dialect); /* on 127.0.0.1, and listening */
void            hostile_stop(struct hostile *h);             /* NULL is nothing to do */
const char     *hostile_name(const struct hostile *h);       /* for mend_open */

/* What is said to requests; NULL: what is proper. To trials, too: trials. */
void hostile_behave(struct hostile *h, hostile_handler *handler, void *context);
void hostile_behave_all(struct hostile *h, hostile_handler *handler, void *context);

/* What each new connection hears before it has said anything, and whether it is then
 * closed. NULL: nothing. */
void hostile_greet(struct hostile *h, const char *greeting, bool then_close);

void hostile_speak(struct hostile *h, enum hostile_dialect dialect); /* from now on */
void hostile_down(struct hostile *h);    /* nobody listens, every connection is closed */
void hostile_up(struct hostile *h);      /* listens again, in the same place */
void hostile_hang_up(struct hostile *h); /* closes every connection, as idle_timeout does; returns when the client's kernel knows */
void hostile_blurt(struct hostile *h, const char *text); /* says it, unasked, on every connection */
void hostile_release(struct hostile *h); /* what stalls now goes on */

/* The store, from outside. */
void hostile_put(struct hostile *h, const char *key, const char *value);
bool hostile_holds(struct hostile *h, const char *key, const char *value);

/* What it saw. */
unsigned hostile_accepted(struct hostile *h);
unsigned hostile_open(struct hostile *h);
unsigned hostile_open_most(struct hostile *h);                /* at any one time */
unsigned hostile_asked(struct hostile *h, const char *key);   /* requests for it, of any kind but deletes: mend makes some of its own after a lost write */
unsigned hostile_stalled(struct hostile *h);                  /* in hostile_stall now */
unsigned hostile_resets(struct hostile *h);                   /* connections that the client reset during a stall */

/* ---- For handlers: what to say; toy_is, toy_flag and toy_echo tell what was asked ---- */
unsigned hostile_connection(const struct toy_ask *ask);       /* the how-manieth accepted, from 1 */
void hostile_prepare(struct toy_ask *ask);                /* does it, and fills in answer and length */
enum hostile_next hostile_answer(struct toy_ask *ask);    /* prepares, writes */
bool hostile_write(struct toy_ask *ask, const char *bytes, size_t n); /* false: the peer is gone */
bool hostile_say(struct toy_ask *ask, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool hostile_trickle(struct toy_ask *ask, const char *bytes, size_t n, int each_ms);

/* Says nothing until there is a release after the request came, or the peer is gone, or the server stops: false then. */
bool hostile_stall(struct toy_ask *ask);

#endif
