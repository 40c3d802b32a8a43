/* wire.h - memcached's two text protocols: questions into bytes, and the head lines of answers out of them.
 *
 * Knows no connection: neither what was asked before nor what comes behind a head line
 * (a value's bytes are the connection's affair). Used as
 *
 *     wire_ask    one question, as bytes to send
 *     wire_head   one head line, as arrived
 *     wire_fits   whether such a head can be an answer to such a question
 *     wire_means  ...and what it then means
 */
#ifndef MEND_CORE_WIRE_H
#define MEND_CORE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "mend.h"

enum wire_dialect {
    WIRE_UNKNOWN, /* not asked yet */
    WIRE_META,    /* memcached 1.6.10 and later: HD, positional datalen, base64 keys */
    WIRE_CLASSIC, /* get, set and so on; memcached before 1.6.10, and most proxies */
};

enum wire_verb {
    WIRE_GET,
    WIRE_GET_AND_TOUCH,
    WIRE_EXISTS,
    WIRE_TOUCH,
    WIRE_SET,
    WIRE_ADD,
    WIRE_REPLACE,
    WIRE_APPEND,
    WIRE_PREPEND,
    WIRE_CAS,
    WIRE_DELETE,
    WIRE_INCREMENT,
    WIRE_DECREMENT,
    WIRE_FLUSH_ALL,
    WIRE_PROVE,    /* a get of the trial key, that tells what the server speaks, and that it serves */
    WIRE_GET_MANY, /* one classic gets of many keys: written by conn_ask_many, not wire_ask */
    WIRE_FETCH,    /* meta: a get that takes a lease where there is no value, or one to be refreshed; classic: a get */
    WIRE_STALE,    /* meta: the value stays for exptime more, and the next to fetch it refreshes it (with a cas: if nobody
                    * stored since); classic: a delete */
    WIRE_RELEASE,  /* meta: a delete, if nobody stored since the cas; classic: a delete */
    WIRE_VERBS
};

struct wire_question {
    enum wire_verb verb;
    mend_bytes     key;
    bool           key_binary; /* travels in base64; meta only */
    mend_bytes     value;
    uint32_t       flags;
    int64_t        exptime; /* as memcached counts: 0, relative to 30 days, absolute over that */
    uint64_t       cas;
    uint64_t       delta, initial;
    bool           create;
    bool           by_lease;      /* a fetch's own: it overwrites nothing newer than what it read, so nothing is stale if it fails */
    bool           behind_delete; /* the key is deleted first, by a question of the connection's own */
    int64_t        lease_s, refresh_s; /* FETCH: how long the lease holds; in which last part of its life one refreshes it */
};

/* An empty item with these flags is a negative answer: a fetch has loaded it, and there is no such thing. */
enum { WIRE_FLAGS_ABSENT = MEND_FLAGS_ABSENT };

/* Above this a value is not copied behind its head line: the connection sends it, and
 * the CRLF behind it, from where it lies. 16 KB: a copy that costs less than a span more. */
enum { WIRE_COPY_MAX = 16 * 1024 };

#define WIRE_VERB(verb) (UINT32_C(1) << WIRE_##verb)
#define WIRE_STORES (WIRE_VERB(SET) | WIRE_VERB(ADD) | WIRE_VERB(REPLACE) | WIRE_VERB(APPEND) | WIRE_VERB(PREPEND) | WIRE_VERB(CAS))
#define WIRE_READS (WIRE_VERB(GET) | WIRE_VERB(EXISTS) | WIRE_VERB(PROVE) | WIRE_VERB(GET_MANY) | WIRE_VERB(FETCH))

static inline bool wire_is_of(enum wire_verb verb, uint32_t verbs)
{
    return (verbs >> verb & 1) != 0;
}

/* Whether this verb has a value to send. */
static inline bool wire_carries_value(enum wire_verb verb)
{
    return wire_is_of(verb, WIRE_STORES);
}

/* Whether it changes anything on the server. (What a FETCH leaves there without a lease is gone soon.) */
static inline bool wire_writes(enum wire_verb verb)
{
    return !wire_is_of(verb, WIRE_READS);
}

/* When it fails: whether what the key then has may be older than the application thinks. */
static inline bool wire_leaves_stale(enum wire_verb verb)
{
    return !wire_is_of(verb, WIRE_READS | WIRE_VERB(GET_AND_TOUCH) | WIRE_VERB(FLUSH_ALL));
}

/* Whether its answer in the classic protocol is a list of values with an END. */
static inline bool wire_lists(enum wire_verb verb)
{
    return wire_is_of(verb, WIRE_READS | WIRE_VERB(GET_AND_TOUCH));
}

/* A question's opaque: a number, and its digits, which are counted up like an odometer's, and looked for in the answer. */
struct wire_opaque {
    uint64_t      number;
    char          digits[15]; /* of numbers below 10^15: of 10 questions a microsecond for three years */
    unsigned char len;
};

void wire_opaque_begin(struct wire_opaque *o, uint32_t number);
void wire_opaque_next(struct wire_opaque *o);

/* A question needs no more room than this, but for a value that is copied. */
enum { WIRE_HEAD_MAX = 528 };

/* Appends the question. False: no memory, and nothing was appended. */
bool wire_ask(struct buf *out, const struct wire_question *q, enum wire_dialect dialect, const struct wire_opaque *opaque);

enum wire_kind {
    /* meta */
    WIRE_HD, /* and the OK of before 1.6.10, and of flush_all */
    WIRE_VA,
    WIRE_EN,
    WIRE_NF,
    WIRE_NS,
    WIRE_EX,
    /* classic */
    WIRE_VALUE,
    WIRE_END,
    WIRE_STORED,
    WIRE_NOT_STORED,
    WIRE_EXISTS_SINCE,
    WIRE_NOT_FOUND,
    WIRE_DELETED,
    WIRE_TOUCHED,
    WIRE_OK,
    WIRE_NUMBER,
    /* both */
    WIRE_ERROR,
    WIRE_CLIENT_ERROR,
    WIRE_SERVER_ERROR,
    WIRE_KINDS
};

/* What a meta answer says of leases. */
enum wire_lease {
    WIRE_WON = 1,   /* W: whoever asked is to load the value */
    WIRE_TAKEN = 2, /* Z: somebody else is at it */
    WIRE_OLD = 4,   /* X: the value was made stale */
};

struct wire_head {
    enum wire_kind kind;
    bool           has_opaque, has_cas, has_size, key_binary;
    uint8_t        lease; /* enum wire_lease, of several */
    uint32_t       flags;
    uint64_t       size;   /* VA, VALUE: bytes of the value that follows; HD, has_size: of the item's */
    uint64_t       number; /* NUMBER */
    uint64_t       cas;
    int64_t        ttl_s; /* as mend_reply */
    uint64_t       opaque;
    mend_bytes     key;  /* as it stands in the line, base64 if key_binary; data NULL if there is none */
    mend_bytes     text; /* errors: what stands behind the word */
};

/* A longer line is no memcached's: a key of 250 bytes, an opaque of 32 and 20 flags fit four times. */
enum { WIRE_LINE_MAX = 2048 };

/* memcached stores no item over 1 GiB (-I), so a longer value is a lie. */
#define WIRE_VALUE_MAX ((uint64_t)1 << 30)

/* Reads the one line at p[0..n). Returns the bytes it took, its CRLF included;
 * 0 if the line is not all there yet; -1 if this is not memcached speaking. */
int wire_head(struct wire_head *h, const char *p, size_t n);

/* The same for the lines that are most likely: a VALUE of this key, as the answer to a gets; a VA of this key and opaque,
 * as the answer to a GET. 0: it is another, or not all there, and wire_head is to be asked. Behind p[0..n) stands a NUL.
 * Only size, flags, cas and ttl_s are filled in. */
size_t wire_value(struct wire_head *h, const char *p, size_t n, mend_bytes key);
size_t wire_hit(struct wire_head *h, const char *p, size_t n, mend_bytes key, const struct wire_opaque *opaque);

/* Whether a head of this kind can answer this question. Errors can answer any. */
bool wire_fits(enum wire_kind kind, enum wire_verb verb, enum wire_dialect dialect);

/* What a head says, in our words; text is that of an error. A lease's stub, and a negative answer, are misses, though
 * memcached has an empty item there; to a FETCH the latter is MEND_ABSENT. */
mend_status wire_means(const struct wire_head *h, enum wire_verb verb);

/* A decimal number at p, of at most `most`. Returns where it ends, or NULL if there is none or it is larger. */
const char *wire_number(const char *p, const char *end, uint64_t most, uint64_t *number);

#endif
