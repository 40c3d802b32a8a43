/* listing.h - a list of servers that may name sources: what stands for servers that are found out, and change.
 *
 *     dns://name[:port] [*weight]       every address of the name is a server
 *     cluster://host[:port] [*weight]   the servers that this one gives in answer to "config get cluster"
 *
 * and each behind tls+ : what it stands for is listed as tls://, an endpoint is itself asked over TLS, and the addresses of a name
 * have certificates for that name.
 *
 * They may stand beside servers (servers.h), in any order. Knows no name service and no network: whoever finds out
 * tells it (listing_answered), and gets the list that it comes to. What a source has not answered yet stands for no server.
 */
#ifndef MEND_CORE_LISTING_H
#define MEND_CORE_LISTING_H

#include "core/buf.h"
#include "core/servers.h"
#include "core/time.h"

enum {
    SOURCES_MAX = 8,
    CLUSTER_DOUBT_MS = 60000, /* how long a cluster's answer is not believed that is older than the last, or is another by the same version */
};

enum source_kind { SOURCE_DNS, SOURCE_CLUSTER };

struct source_spec {
    enum source_kind    kind;
    struct server_spec *at;         /* host, port, TLS and weight */
    size_t              begin, end; /* of the text */
    char               *answer;     /* servers, separated by commas; NULL: none yet */
    uint64_t            version;    /* of a cluster's answer */
};

struct listing {
    char          *text; /* as it was written */
    size_t         source_count;
    struct source_spec  sources[SOURCES_MAX];
    struct servers servers; /* what it comes to; none, perhaps, if there are sources */
    struct memory  memory;
};

/* As servers_parse. */
mend_status listing_parse(struct listing *out, const char *text, const struct memory *memory, char *error, size_t error_size);

/* The same with answers that another listing has had from the same sources. out is empty if it fails. */
mend_status listing_parse_after(struct listing *out, const char *text, const struct listing *before, char *error, size_t error_size);

/* The same as `from`, but that this source has answered so: what was there before is gone. answer: "host:port,host:port", at least
 * one. */
mend_status listing_answered(struct listing *out, const struct listing *from, size_t source, const char *answer, uint64_t version, char *error,
                             size_t error_size);

bool listing_copy(struct listing *out, const struct listing *from, const struct memory *memory); /* false: no memory */
void listing_free(struct listing *l); /* leaves it empty */

/* Whether a source, or a server that there is by now, is listed for TLS. */
bool listing_wants_tls(const struct listing *l);

/* Whether this answer is to take the last one's place. A cluster counts its versions up, and a node that was cut off may lag behind: what
 * is older is not believed. But a cluster that is made anew under its name begins again, with 1: so it is believed if none of the
 * list's servers is up any more, or if nothing else was heard for CLUSTER_DOUBT_MS. doubted: since when; the caller's, NEVER at first. */
bool source_has_news(const struct source_spec *s, const char *answer, uint64_t version, bool all_down, nstime *doubted, nstime now);

bool source_same(const struct source_spec *a, const struct source_spec *b);

/* Servers as an answer: sorted, so that all who ask agree on their order; each once. Sorts the names in place. False: no memory. */
bool listing_join(struct buf *answer, char **names, size_t n);

/* Reads the answer to "config get cluster" at p[0..n). Returns the bytes that it has; 0: it is not all there; -1: it is none. The servers
 * are appended to `answer` by their host names, or by their addresses where those are missing, as listing_join has them. *memory:
 * false if there was none. */
ptrdiff_t cluster_read(const char *p, size_t n, uint64_t *version, struct buf *answer, bool *memory);

#endif
