/* io.h - the world: everything that can wait, happen, or differ from run to run.
 *
 * One table of functions. io_posix.c is the real one; a simulator is another. Knows no
 * memcached: sockets carry bytes, and what they mean is core's affair.
 *
 * A result below zero is an enum io_result, in words through io_text. No function waits,
 * but those with a deadline, and they end by it.
 */
#ifndef MEND_WORLD_IO_H
#define MEND_WORLD_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/conn.h"
#include "core/time.h"

enum io_result {
    IO_DONE = 0,
    IO_AGAIN = -1,       /* not now */
    IO_TIMEOUT = -2,     /* waited until the deadline, for nothing */
    IO_LATE = -3,        /* the deadline had passed before there was any time to wait: nobody's fault but ours */
    IO_REFUSED = -4,
    IO_RESET = -5,
    IO_CLOSED = -6,
    IO_UNREACHABLE = -7,
    IO_UNKNOWN_NAME = -8,
    IO_RESOURCES = -9, /* no descriptor, no memory, no port: this machine's trouble, not the server's */
    IO_FAILED = -10,   /* anything else */

    /* Of TLS: io_tls.c tells them apart. */
    IO_TLS_FAILED = -11,
    IO_TLS_NONE = -12,
    IO_TLS_VERSION = -13,
    IO_TLS_REFUSED = -14,
    IO_TLS_UNKNOWN = -15,
    IO_TLS_NAME = -16,
    IO_TLS_EXPIRED = -17,
    IO_TLS_EARLY = -18,
    IO_TLS_INVALID = -19,
    IO_TLS_FORKED = -20, /* this process may not come to OpenSSL */
};

const char *io_text(int result);

struct io_address {
    _Alignas(8) unsigned char bytes[128];
    unsigned len; /* 0: none */
};

#define IO_ANYBODY UINT32_MAX /* of the bits of wait and wake: all */

static inline bool io_same_address(const struct io_address *a, const struct io_address *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* A stream socket. Zeroed and fd -1: closed. */
struct io_sock {
    int    fd;
    int    slot;  /* in the world's book of open descriptors */
    nstime armed; /* a moment: how long a recv that blocks does so; 0: it must be polled for */
    struct io_channel *channel; /* TLS: what encrypts; else NULL. Its owner's alone, as the socket is */
};

#define IO_SOCK_CLOSED {.fd = -1, .slot = -1}

struct io_poll {
    struct io_sock *sock;    /* NULL: passed over, and never ready */
    bool            in, out; /* what is waited for; neither: only that the peer hangs up */
    bool            ready;   /* something is there, or the peer hung up */
};

struct io;
struct io_thread;
struct io_lookup;
struct io_peer;
struct io_tls;

struct io {
    nstime (*now)(struct io *);
    int64_t (*wall_s)(struct io *); /* Unix time */
    uint64_t (*random)(struct io *);

    /* From now on so many sockets may be open at the same time; by one thread at a time. False: no memory for them. */
    bool (*room)(struct io *, size_t sockets);

    /* Sockets. dial returns IO_AGAIN while it connects; dialed tells, once a poll for `out` says so, how that ended, or
     * IO_AGAIN. peer: NULL, or who is to be spoken to in TLS. */
    int (*dial)(struct io *, struct io_sock *, const struct io_address *, struct io_peer *);
    int (*dialed)(struct io *, struct io_sock *);
    ptrdiff_t (*send)(struct io *, struct io_sock *, const mend_bytes *spans, size_t n); /* bytes, at least 1, or a result */
    /* Waits for bytes: returns how many, or a result. now: when the deadline was last compared with the clock.
     * When time is up it looks once more, so that a process that was stopped itself does not blame the server. */
    ptrdiff_t (*recv)(struct io *, struct io_sock *, struct conn_span *room, size_t n, nstime now, nstime deadline);
    /* The same, for a moment: IO_AGAIN if nothing came, or a moment is more than is left. One system call. */
    ptrdiff_t (*recv_soon)(struct io *, struct io_sock *, struct conn_span *room, size_t n, nstime now, nstime deadline);
    ptrdiff_t (*recv_now)(struct io *, struct io_sock *, struct conn_span *room, size_t n); /* without waiting: IO_AGAIN */
    int (*look)(struct io *, struct io_sock *);  /* IO_AGAIN: quiet. IO_DONE: bytes. Else how it ended. Takes nothing */
    void (*close)(struct io *, struct io_sock *, bool reset); /* reset: what was not acknowledged is never delivered */

    /* Waits until one is ready, the deadline, a signal or, with `bell`, a ring. Returns how many are ready. What is waited
     * for may be changed into what that comes to: a handshake that is to go on may have to read first. */
    int (*poll)(struct io *, struct io_poll *, size_t n, nstime deadline, bool bell);
    void (*ring)(struct io *); /* wakes the one who polls with `bell`, now or when it next does */

    /* Words that threads wait on. wait returns when *word is not seen, on wake, at the deadline, or for no reason. Who waits
     * says as whom, in bits; a wake is for those who have one of its own: for all of them, or for one. */
    void (*wait)(struct io *, _Atomic uint32_t *word, uint32_t seen, uint32_t as, nstime deadline);
    void (*wake)(struct io *, _Atomic uint32_t *word, uint32_t whom, bool all);
    void (*yield)(struct io *);

    /* A thread, with all signals blocked. join returns true if it ended by the deadline; else it is let go,
     * and calls abandoned(arg) when it ends. NULL: there is none to be had. */
    struct io_thread *(*spawn)(struct io *, void (*run)(void *arg), void (*abandoned)(void *arg), void *arg);
    bool (*join)(struct io *, struct io_thread *, nstime deadline);
    bool (*is_me)(struct io *, const struct io_thread *);
    const void *(*me)(struct io *); /* who calls, the application's threads included: of those that live, no two are the same */

    /* Addresses. address: what needs no lookup (a number, a path), IO_AGAIN for a name. lookup runs on its own and
     * rings when done; looked_up gives the number of addresses, IO_AGAIN or a result; drop never waits for it.
     * text: an address with its port, as a list of servers writes it. */
    int (*address)(struct io *, const char *host, uint16_t port, bool is_unix, struct io_address *);
    struct io_lookup *(*lookup)(struct io *, const char *host, uint16_t port);
    int (*looked_up)(struct io *, struct io_lookup *, struct io_address *, size_t most);
    void (*lookup_drop)(struct io *, struct io_lookup *);
    bool (*text)(struct io *, const struct io_address *, char *to, size_t size);

    /* A server that is spoken to in TLS, and what is kept of its sessions. Both NULL: this world has no TLS. host is
     * borrowed for the peer's life, which ends after its last socket's. */
    struct io_peer *(*peer)(struct io *, const char *host); /* NULL: no memory */
    void (*peer_free)(struct io *, struct io_peer *);
    struct io_tls *tls; /* io_tls.c's */

    void (*free)(struct io *);
    void (*forked)(struct io *); /* in a child: closes every descriptor of the parent's world, and touches nothing else */
};

/* Reads a small file whole, and puts a NUL behind it. Returns NULL, or in words why not; then *bytes is NULL. */
const char *io_read_file(const char *path, const struct memory *memory, char **bytes, size_t *len);

/* What a world is to be told when it begins. */
struct io_options {
    size_t sockets_max;
    nstime timeout; /* the usual deadline, which blocking receives are armed for */
    int    keepalive_s, user_timeout_ms; /* 0: none */
};

/* How a process comes by its world. The real one is world_posix. */
struct world {
    struct io *(*begin)(const struct world *, const struct io_options *); /* NULL: no memory or descriptor */
    /* Two words that a fork leaves zeroed in the child: how a child is told from its parent without a system call.
     * NULL: they are not to be had. */
    _Atomic uint32_t *(*fork_words)(const struct world *);
    void (*fork_words_free)(const struct world *, _Atomic uint32_t *);
};

extern const struct world world_posix;

#endif
