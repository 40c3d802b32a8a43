/* healer.h - the one thread of a client that tries servers, lets them in, and tells the application.
 *
 * Knows no calls. It is a step function that a thread merely loops: every step looks at each
 * server, does what can be done without waiting, and says when it wants to be called next. So no
 * server's trial, nor a name lookup that hangs, holds up another's.
 *
 * A trial is a lookup, a connect, the question for the protocol and with it a real get, all
 * within the client's timeout. One that hangs is left listening when it has failed, one a server:
 * its late answer is the quickest news of a process that was stopped and goes on.
 *
 * Links linger here that calls gave writes up on: until they are answered, or end, their keys are not read.
 */
#ifndef MEND_CLIENT_HEALER_H
#define MEND_CLIENT_HEALER_H

#include "client/life.h"
#include "client/pool.h"

enum { HEALER_SOCKETS = 2 + LINGERING_MAX }; /* per server, beside the pool's: the trial's, the one left listening, those that linger */

bool healer_new(struct life *life); /* false: no memory */
void healer_free(struct life *life);

/* What it keeps of a server, from before it sees it until it does no more. False: no memory. */
bool healer_takes(struct server *s);
void healer_drops(struct server *s);

/* One round over all servers, those that have left and are used still included. Returns when the next is due, at the latest. */
nstime healer_step(struct life *life, nstime now);

void healer_run(void *life); /* until it is closing */

#endif
