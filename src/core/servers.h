/* servers.h - the list of servers, as mend_config.servers writes it down.
 *
 *     list     server [, server]...
 *     server   address [*weight] [=ring-name]          the last two in either order
 *     address  host, host:port, [v6], [v6]:port, each also behind tls://; unix:/path, or a bare /path, as gomemcache has it
 *
 * White space may stand around a server, a '*' and a '=', and nowhere else. So no
 * path of a socket may have any, nor a comma, a '*' or a '='.
 *
 * libmemcached's rings hash "path:0" for a Unix socket, ours the path alone: who shares
 * one with it says unix:/run/m.sock=/run/m.sock:0.
 *
 * Knows no name service and no ring: text in, a table out. Two elements that name
 * the same host and port, or path, are one server with their weights added.
 */
#ifndef MEND_CORE_SERVERS_H
#define MEND_CORE_SERVERS_H

#include <stdint.h>

#include "core/memory.h"
#include "mend.h"

enum {
    SERVERS_MAX = 1000, /* elements of a list */
    SERVERS_WEIGHT_MAX = 1000,
    SERVERS_HOST_MAX = 253, /* what a domain name may have */
    SERVERS_RING_NAME_MAX = 250,
    SERVERS_PATH_MAX = 107, /* what sun_path holds, less its NUL */
};

struct server_spec {
    const char *name;      /* for people and replies: "10.0.0.1:11211", "[::1]:11211", "tls://m1:11211", "unix:/run/m.sock" */
    const char *host;      /* without brackets; or the path of a Unix socket */
    uint16_t    port;      /* 0 of a Unix socket */
    bool        is_unix;
    bool        is_tls;
    const char *ring_host; /* what rings hash: the ring name, else the host as written, without brackets or tls:// */
    unsigned    ring_port; /* 0 where a ring name or a path stands alone */
    unsigned    weight;
    const char *certified; /* tls://: whom its certificate must be for; NULL: the host */
};

struct servers {
    size_t              count;
    struct server_spec *at; /* each server once, in the order of its first mention */
    size_t              slot_count; /* the sum of the weights */
    unsigned           *slots; /* indices into at, in the order as given, one for each unit of weight: modula and crc32 route by them */
    struct memory       memory;
};

/* MEND_OK; MEND_E_ARGUMENT; MEND_E_MEMORY. If it fails, out is empty, and error says
 * why in words that begin with "servers: " and quote the element at fault. */
mend_status servers_parse(struct servers *out, const char *text, const struct memory *memory, char *error, size_t error_size);

/* A copy with memory of its own. False: there is none, and out is empty. */
bool servers_copy(struct servers *out, const struct servers *from, const struct memory *memory);

/* One of them alone, in one block that memory_release gives back. NULL: no memory. */
struct server_spec *servers_copy_one(const struct server_spec *from, const struct memory *memory);

/* The server of this name has a certificate for `host`. False: no memory. */
bool servers_certify(struct servers *servers, const char *name, const char *host);

/* Whether both are one: by host and port, or path. TLS and ring names are how it is reached, and what for. */
bool servers_same(const struct server_spec *a, const struct server_spec *b);

/* Whether any of them is listed as tls://. */
bool servers_want_tls(const struct servers *servers);

/* Leaves it empty. What is empty already, or all zeros, is nothing to do. */
void servers_free(struct servers *servers);

#endif
