/* discovery.h - finds out, on the healer's thread, which servers a list's sources stand for: the addresses of a name, or what a
 * cluster's endpoint says.
 *
 * Knows no calls, and of servers no more than their list. Each source has a finder, which asks from time to time, waits for nothing, and
 * holds up nobody. What it finds is put into the list in force, as mend_set_servers puts a list there. One that finds nothing leaves the
 * list as it is.
 *
 *     NAME: IDLE ----> LOOKING ----> IDLE
 *     CLUSTER: IDLE ----> LOOKING ----> DIALING ----> SENDING ----> HEARING ----> IDLE
 */
#ifndef MEND_CLIENT_DISCOVERY_H
#define MEND_CLIENT_DISCOVERY_H

#include "client/life.h"

enum { DISCOVERY_SOCKETS = SOURCES_MAX };

/* Puts this list in force, with what is known of its sources. As listing_parse, for what is returned. From any thread. */
mend_status discovery_set(struct life *life, const char *servers, char *error, size_t error_size);

/* The healer's. */
bool   discovery_new(struct life *life); /* false: no memory */
void   discovery_free(struct life *life);
nstime discovery_step(struct life *life, nstime now); /* when it is to be called again, at the latest */

/* What the finders wait for goes to polls, DISCOVERY_SOCKETS at most; returns how many. Then what came of it. */
size_t discovery_watch(struct life *life, struct io_poll *polls);
void   discovery_attend(struct life *life, const struct io_poll *polls);

#endif
