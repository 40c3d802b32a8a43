/* raw_tls.h - TLS over raw.h's socket.
 *
 * With OpenSSL: raw_tls.c; in a build without it: raw_no_tls.c. Knows no memcached, and waits for nothing: each function does what it can on a socket that does not block. Verifies as the library does:
 * TLS 1.2 at least, the authorities of mend_tls, and the name of the server.
 */
#ifndef CLI_RAW_TLS_H
#define CLI_RAW_TLS_H

#include <mend.h>
#include <sys/types.h>

struct raw_tls;

/* Below zero, in place of a number of bytes. 0: the server has ended the connection. */
enum { RAW_TLS_READS = -1, RAW_TLS_WRITES = -2, RAW_TLS_FAILED = -3 }; /* it waits until it may read, or write */

/* settings: NULL: all zeros. NULL: there is none to be had, and *why says so. */
struct raw_tls *raw_tls_new(int fd, const char *host, const mend_tls *settings, const char **why);
void            raw_tls_free(struct raw_tls *t); /* NULL is nothing to do */

int     raw_tls_shake(struct raw_tls *t); /* 1: done */
ssize_t raw_tls_send(struct raw_tls *t, const char *bytes, size_t n);
ssize_t raw_tls_recv(struct raw_tls *t, char *to, size_t room);

const char *raw_tls_why(struct raw_tls *t); /* it failed */

#endif
