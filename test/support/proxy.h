/* proxy.h - a TCP proxy that does to bytes what networks do, between a client and one server.
 *
 * One thread, no protocol: it does not know what the bytes mean, nor who the client is. It
 * knows no test framework, so that benchmarks may use it too. IPv4 only. What no proxy can
 * do: lose packets (it has none), or refuse a client because the server does (it has accepted
 * by then; it resets). In a forked child there is no thread, but there are copies of the
 * sockets until it executes something: connections do not end while it lives.
 *
 *     struct proxy *p = proxy_start("127.0.0.1", "127.0.0.1", 11211);     proxy_name(p) is what clients dial
 *     proxy_set(p, &(struct proxy_fault){.delay_ms = {150, 150}});        from now on, old connections included
 *     proxy_set(p, NULL);                                                 well again: what was held back goes on
 *     proxy_cut(p);                                                       every connection is reset
 *     proxy_stop(p);
 */
#ifndef SUPPORT_PROXY_H
#define SUPPORT_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROXY_UP, PROXY_DOWN }; /* from the client to the server; from the server to the client */

enum proxy_end {
    PROXY_NO_END,
    PROXY_RESET,     /* both sides, as if somebody's machine had forgotten the connection */
    PROXY_HALF_CLOSE /* the client reads an end, its questions still go up, and no answer comes any more */
};

/* What goes wrong, all at the same time; all zeros: nothing. */
struct proxy_fault {
    bool refuse;        /* nobody listens; the port stays ours. Connections that are open live on */
    bool silent;        /* connections are accepted, nothing is read from them */
    bool hold;          /* everything is read, and kept: a partition, as a connection feels it */
    int  delay_ms[2];   /* each way: how much later it arrives */
    int  trickle_ms[2]; /* each way: a byte, or trickle_bytes, each so many milliseconds; 0: no trickle */
    size_t trickle_bytes;
    enum proxy_end end; /* of every connection, when... */
    size_t         end_after; /* ...so many bytes went down on it, counted from proxy_set */
};

struct proxy_counts {
    uint64_t accepted;
    uint64_t open;     /* connections now */
    uint64_t ended;    /* by .end, or by proxy_cut */
    uint64_t bytes[2]; /* passed on, each way */
};

/* Listens on that loopback address, on a port that nobody had and that the kernel gives to no outgoing
 * connection. NULL, and errno says why. */
struct proxy *proxy_start(const char *listen_at, const char *server, int server_port);
void          proxy_stop(struct proxy *p); /* NULL is nothing to do */

const char *proxy_name(const struct proxy *p); /* "127.0.0.1:4711" */
int         proxy_port(const struct proxy *p);

/* Both return when it is so. NULL: no fault. */
void proxy_set(struct proxy *p, const struct proxy_fault *fault);
void proxy_cut(struct proxy *p); /* what was held back is lost */

struct proxy_counts proxy_counts(struct proxy *p);

#endif
