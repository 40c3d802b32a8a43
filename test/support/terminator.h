/* terminator.h - a TLS terminator before a server that speaks in the clear, and what such do that a memcached with TLS does not:
 * older versions, sessions and changes of keys on connections that are idle, and it tells which handshakes went on from a session.
 *
 *     struct terminator *t = terminator_start("/tmp/.../server.pem", m.clear_port, TLS1_2_VERSION);
 *     ... terminator_name(t) ...                      "tls://127.0.0.1:4711"
 *     terminator_stop(t);
 */
#ifndef SUPPORT_TERMINATOR_H
#define SUPPORT_TERMINATOR_H

#include <stdbool.h>

struct terminator_counts {
    unsigned shaken;   /* handshakes that came to a good end */
    unsigned resumed;  /* ...that went on from a session */
    unsigned refused;  /* ...that came to none */
    unsigned open;     /* connections now */
    unsigned goodbyes; /* connections whose client said that it was the end */
};

/* On 127.0.0.1. version_max: 0: the latest. */
struct terminator *terminator_start(const char *certificate, int server_port, int version_max);
void               terminator_stop(struct terminator *t); /* NULL is nothing to do */

const char              *terminator_name(const struct terminator *t);
struct terminator_counts terminator_counts(const struct terminator *t);

/* On every connection, with nothing asked; they return when it is done. TLS 1.3. */
void terminator_give_sessions(struct terminator *t);
void terminator_change_keys(struct terminator *t);
void terminator_flood(struct terminator *t);  /* of such changes, for 5 s: it returns when that has begun */
void terminator_blurt(struct terminator *t);  /* a byte of the application's */
void terminator_hang_up(struct terminator *t); /* says goodbye, and closes */

#endif
