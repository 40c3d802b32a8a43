/* mend.h - a memcached client that heals itself.
 *
 *     mend_client *cache;
 *     mend_reply   r = MEND_REPLY;
 *
 *     if (mend_open(&MEND_CONFIG(.servers = "10.0.0.1,10.0.0.2:11311"), &cache, &r) < 0)
 *         return fail(r.error);              // a mistake in the configuration
 *
 *     switch (mend_get(cache, mend_str("greeting"), &r)) {
 *     case MEND_OK:   use(r.data, r.len);                break;
 *     case MEND_MISS: compute_and_store();               break;
 *     default:        compute();                         break;   // no cache today: r.error
 *     }
 *     mend_reply_free(&r);
 *     mend_close(cache);
 *
 * One client serves all threads of a process. Every call ends by its deadline.
 * While a server is down, calls for its keys return MEND_E_DOWN at once, without
 * a lock or a system call, so that the caller falls back as on a miss; a thread
 * of the client's own (the healer) brings the server back when it serves again.
 *
 * Threads    Every function may be called from any thread at any time, except that
 *            mend_close must be the last call on its client. A reply belongs to one
 *            caller at a time. No call is a cancellation point. None may be made
 *            from a signal handler.
 * Fork       A child may go on using the client: its first call builds connections
 *            and a healer of its own, and the parent's are left alone. With TLS a
 *            fork waits until no thread is in OpenSSL by the client's hand, which
 *            is milliseconds; where one stays there for a second, the child's TLS
 *            servers are down, until it executes a program. What other threads of
 *            the application's do in OpenSSL at a fork the client cannot know: locks
 *            that they hold may hang the child's healer for good, but no call, and
 *            not mend_close.
 * Signals    No SIGPIPE is ever raised; the healer blocks all signals.
 * Times      are in milliseconds (_ms) or seconds (_s), and monotonic.
 * Ownership  Arguments are borrowed until the call returns. What a reply points to
 *            belongs to the reply. The client belongs to whoever opened it.
 */
#ifndef MEND_H
#define MEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined __GNUC__
#define MEND_API __attribute__((visibility("default")))
#else
#define MEND_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define MEND_VERSION "0.1.0"

/* ---- Status ------------------------------------------------------------------
 * 0    done
 * > 0  the server understood, and says no: the cache works
 * < 0  it could not be asked, or did not answer: use your fallback
 * The numbers never change. */
typedef int mend_status;
enum {
    MEND_OK = 0,

    MEND_MISS = 1,       /* there is no such key */
    MEND_EXISTS = 2,     /* cas: somebody stored since the cas was read */
    MEND_NOT_STORED = 3, /* add: the key is there; replace, append, prepend: it is not */
    MEND_TOO_LARGE = 4,  /* larger than the server stores; memcached then deletes the old value, too */
    MEND_NOT_NUMBER = 5, /* increment, decrement: the value is not a decimal 64-bit number */
    MEND_ABSENT = 6,     /* mend_fetch: the loader says that there is no such thing, now or lately */

    MEND_E_ARGUMENT = -1, /* the caller's mistake; nothing was sent */
    MEND_E_MEMORY = -2,   /* no memory (or thread, or descriptor), or a value over value_max_bytes */
    MEND_E_TIMEOUT = -3,  /* the server did not answer by the deadline */
    MEND_E_DOWN = -4,     /* the server is known to be down; or a write of this key was lost, and is not made up for yet (r.error tells which). Returned at once */
    MEND_E_BUSY = -5,     /* no turn was had in time: all connections_max were in use; or (mend_fetch) others loaded */
    MEND_E_IO = -6,       /* the connection was refused, reset or closed */
    MEND_E_SERVER = -7,   /* the server answered with an error of its own (SERVER_ERROR, say) */
    MEND_E_PROTOCOL = -8, /* the server's answer makes no sense, or is not to this question */
    MEND_E_AUTH = -9,     /* the server wants a user and a password, or others */
    MEND_E_LOADER = -10   /* mend_fetch: the application's loader failed; the cache did not */
};

/* "MEND_MISS", and "there is no such key". Never NULL, for any number. */
MEND_API const char *mend_status_name(mend_status status);
MEND_API const char *mend_status_text(mend_status status);

/* The version of the library that is running, for instance "0.1.0". */
MEND_API const char *mend_version(void);

/* ---- Bytes: a span of the caller's, any bytes, never copied beyond the call ---- */
typedef struct mend_bytes {
    const void *data;
    size_t      len;
} mend_bytes;

static inline mend_bytes mend_mem(const void *data, size_t len)
{
    mend_bytes b;
    b.data = data;
    b.len = len;
    return b;
}

static inline mend_bytes mend_str(const char *s) /* NULL is the empty span */
{
    return mend_mem(s, s ? strlen(s) : 0);
}

/* Keys are of 1 to 250 bytes. One with spaces, control characters or bytes above
 * 126 travels in base64 to a server that speaks the meta protocol, and may then
 * have 186 bytes; to another server it is MEND_E_ARGUMENT. */

/* ---- Configuration -------------------------------------------------------------- */

/* In an option, 0 means its default. Where a true zero is meant, say MEND_ZERO. */
#define MEND_ZERO (-2147483647 - 1)

/* Which server a key lives on. All processes, and all clients of other makes, that
 * share servers must agree on it, and on the list of servers. */
typedef enum mend_distribution {
    MEND_DISTRIBUTION_KETAMA_WEIGHTED = 0, /* libmemcached's weighted ketama: PHP's OPT_LIBKETAMA_COMPATIBLE, twemproxy's ketama with md5 */
    MEND_DISTRIBUTION_KETAMA = 1,          /* libmemcached's BEHAVIOR_KETAMA as it comes, keys by one-at-a-time; pylibmc's "ketama" */
    MEND_DISTRIBUTION_CONSISTENT_MD5 = 2,  /* libmemcached's DISTRIBUTION_CONSISTENT with HASH_MD5; libmc */
    MEND_DISTRIBUTION_MODULA = 3,          /* libmemcached as it comes: one-at-a-time, modulo the number of servers */
    MEND_DISTRIBUTION_CRC32 = 4            /* gomemcache: crc32 (IEEE) modulo the number of servers, in the order given */
} mend_distribution;

/* Memory of your own. All three functions or none; reallocate(NULL, n) allocates. They are called from any thread, the
 * healer's too, and may be while a lock of the client's is held: they may not call it, nor wait for a thread that does.
 * Replies that were used with the client keep using it until mend_reply_free, which
 * may be after mend_close; so does a client whose on_event hangs in mend_close. What the
 * client keeps of sockets, threads and name lookups comes from the C library. */
typedef struct mend_allocator {
    void *(*allocate)(size_t bytes, void *context);
    void *(*reallocate)(void *p, size_t bytes, void *context);
    void (*release)(void *p, void *context);
    void *context;
} mend_allocator;

/* One server as mend_servers and events tell of it. The library fills it in, and it
 * may grow at its end; the texts live until the function that got it returns. */
typedef enum mend_state {
    MEND_STATE_NEW = 0,      /* opened, and not yet asked: calls wait for the first trial, to their deadline at most */
    MEND_STATE_UP = 1,       /* serves */
    MEND_STATE_DOUBTFUL = 2, /* a call failed: calls go on, and a trial is under way */
    MEND_STATE_DOWN = 3,     /* calls return at once; the next trial is in next_trial_ms */
    MEND_STATE_TRIAL = 4     /* down, and being tried now */
} mend_state;

typedef struct mend_server {
    const char *name;           /* "10.0.0.1:11211", "[::1]:11211", "tls://cache.example:11211", "unix:/run/memcached.sock" */
    mend_state  state;
    int64_t     since_ms;       /* for how long it has been in this state; DOWN and TRIAL are one outage */
    const char *why;            /* the last failure in words, "" if there was none */
    int64_t     next_trial_ms;  /* until the next trial; 0 if one is under way; -1 if none is due */
    unsigned    falls;          /* how often it went down since the client was opened */
    unsigned    failures;       /* failed calls in a row */
    unsigned    connections;    /* open now, the healer's own included */
    unsigned    weight;
    const char *protocol;       /* "meta", "classic", or "" while it is not known */
    size_t      journal_keys;      /* whose last write was lost: they are not read until they are deleted there */
    uint64_t    journal_deleted;   /* how many were, since the client was opened */
    uint64_t    journal_overflows; /* how often there was no room for a key, or a flush_all failed */
    bool        gutter;            /* it is one of mend_config.gutter */
    uint64_t    values_broken;     /* compressed values that could not be unpacked, and were misses: others write differently here, perhaps */
} mend_server;

typedef enum mend_event_type {
    MEND_EVENT_DOWN = 1, /* the server is down; why is in server->why */
    MEND_EVENT_BACK = 2, /* the server was down, and serves again; outage_ms says how long it was away, server->why what the last trial failed for */
    MEND_EVENT_JOURNAL_OVERFLOW = 3, /* lost writes that the journal had no room for (or a flush_all that failed) were seen to; how is in server->why */
    MEND_EVENT_ALL_DOWN = 4, /* no server can be asked any more, this one was the last: perhaps it is our own network */
    MEND_EVENT_AUTH_REFUSED = 5 /* the server, which is down for that, refuses user and password, or wants some: somebody has to change a configuration. Once an outage */
} mend_event_type;

typedef struct mend_event {
    mend_event_type    type;
    const mend_server *server;
    int64_t            outage_ms; /* MEND_EVENT_BACK: from down to back */
} mend_event;

/* An event in one line, without its end, for a log or for whoever is on call. As snprintf: writes size bytes at most,
 * a NUL included, and returns how long the whole is. From any thread, while the event lives. */
MEND_API size_t mend_event_text(const mend_event *event, char *text, size_t size);

/* What becomes of a server of which too many writes were lost to keep their keys, when it serves again. */
typedef enum mend_on_overflow {
    MEND_ON_OVERFLOW_FLUSH = 0,  /* flush_all, once for all processes that want it, before it is back in service */
    MEND_ON_OVERFLOW_SERVE = 1,  /* it is served from, stale values included */
    MEND_ON_OVERFLOW_REFUSE = 2  /* it stays down for this process until mend_accept */
} mend_on_overflow;

/* How values are compressed, and which bits of their flags say so. The others are for sharing a cache with those clients: only how
 * they compress is theirs, not how they write lists, numbers or objects. Which there are depends on how the library was built. */
typedef enum mend_compression {
    MEND_COMPRESSION_NONE = 0,
    MEND_COMPRESSION_ZSTD = 1,      /* mend's: zstd frames, marked by zstd_flag */
    MEND_COMPRESSION_PHP = 2,       /* php-memcached: flags 0x10 to 0x80, the length before. Written with zlib; read from zlib, FastLZ (its default) and zstd */
    MEND_COMPRESSION_PYLIBMC = 3,   /* pylibmc: zlib, flag 8 */
    MEND_COMPRESSION_PYMEMCACHE = 4 /* pymemcache's CompressedSerde: zlib, flag 8 */
} mend_compression;

/* How to speak TLS with the servers that are listed as tls://... or found by tls+...: 1.2 at least, 1.3 by default. All zeros: their certificates
 * are checked against the system's authorities and their own hosts. Copied by mend_open, which reads the files (PEM). */
typedef struct mend_tls {
    const char *ca_file;          /* the authorities to trust: the system's */
    const char *certificate_file; /* ours, and those that lead to an authority, for servers that ask for one: none */
    const char *key_file;         /* the key of it, without a passphrase: in certificate_file */
    const char *server_name;      /* what the servers' certificates must be for, a name or an address: each server's own host, as listed */
    bool        insecure_no_verification; /* takes any certificate, and so anybody for the server */
    uintptr_t   reserved[6];      /* zero */
} mend_tls;

/* How a client is to be. Filled in with MEND_CONFIG(.field = ...) in C, or from
 * MEND_CONFIG_INIT in C and C++. Copied by mend_open. */
typedef struct mend_config {
    size_t size; /* sizeof(mend_config), which MEND_CONFIG fills in */

    /* "host", "host:port", "[v6]:port", "unix:/path", separated by commas; spaces are
     * ignored; the port is 11211 where none is given. "*3" behind a server gives it
     * three times the share of keys; "=name" behind it is what the ring hashes in
     * place of host and port, so that a server may move and keep its keys. A server
     * named twice has twice the share. "tls://" before a host or a [v6] makes it TLS; the ring does not hash that.
     *
     * In place of servers there may be up to 8 sources, from which they are found out, first at mend_open and then every
     * resolve_s (every 5 s, while a server is down): "dns://name:port", where every address of the name is a
     * server (Kubernetes' headless services); "cluster://host:port", whose answer to "config get cluster" names them
     * (ElastiCache, Memorystore). "tls+cluster://" asks over TLS, and "tls+" before either lists what is found as tls://: nodes with certificates for their
     * own names (encryption in transit), addresses with one for the name that leads to them. "*3" is then for each of them. Rings hash the addresses, or the nodes' names. What is found changes the list as mend_set_servers does. A
     * cluster's version that has not grown is not believed, unless all servers are down, or it says nothing else for a minute: then it was made anew. A
     * lookup that fails, or finds none, changes nothing. Until the first servers are found calls
     * wait, for timeout_ms at most from mend_open on, and then answer MEND_E_DOWN at once. */
    const char *servers;

    int timeout_ms;           /* a call's whole time, waiting and connecting included: 100 */
    int connections_idle_max; /* kept open per server between calls: 2. Few are needed: small calls of all threads share up to two. What is opened beyond it, for values over 16 KB, for
                              * calls about many keys at the same time, or while answers take longer than 10 ms, is closed after its call */
    int connections_max;      /* open at once per server: 64. Calls beyond it wait for a turn. The healer has up to 6 more: 2 for trials, and 4 on which a write was given up, until its late answer or their end comes */
    int failures_allowed;     /* failed calls in a row that a server may have without being taken for down: 10. A trial that fails, or more than half of at least 20 calls failing within a second, takes it down before */
    int heal_max_ms;          /* the longest wait between two trials of a server that is down: 1000 */

    mend_distribution distribution;

    int64_t value_max_bytes; /* a larger value in an answer is read past, without asking for memory: 64 MiB */

    /* Told of the events above. Runs on the healer's thread, one at a
     * time, with nothing held; healing waits for it. It may call
     * mend_connection_available, mend_servers, mend_stats and mend_stats_prometheus; the rest answers MEND_E_ARGUMENT.
     * mend_close waits 100 ms at most for one that is running. */
    void (*on_event)(const mend_event *event, void *context);
    void *on_event_context;

    mend_allocator allocator;

    int tcp_keepalive_s;     /* idle seconds before the kernel asks whether the peer is there: 60; MEND_ZERO: never */
    int tcp_user_timeout_ms; /* unacknowledged milliseconds after which the kernel drops a connection: 10 times timeout_ms, at least 1000; MEND_ZERO: the system's default */

    const char *trial_key; /* what trials and mend_ping get, and nobody stores: "mend:trial" */

    /* Writes that failed leave what they should have overwritten or deleted. Their keys are kept, are not read, and are
     * deleted as soon as their server can be asked, or before it is back in service. */
    int64_t          journal_bytes_max;   /* of memory for them, of all servers: 64 MiB */
    int              journal_keys_max;    /* for each server: 65536 */
    mend_on_overflow on_journal_overflow; /* what if they are more. A flush uses two keys, mend:flush-lock and mend:flushed; where the server forbids it, or two
                                           * servers or more went away in the same second (which is rather our network), it is not made: mend_accept lets in, or it is served */
    int              zombie_ms;           /* a write without an answer may be done by a server that went on, later than the delete. Its key is not read until the connection that it went down has
                                           * said all, or ended. Where that had to be closed (it broke, four such are open already, or the server has gone on for 10 s without a word on it), the key is deleted once more,
                                           * and is not read, until so long after the server has answered something: 1000. MEND_ZERO: no care is taken of either */

    /* Failover, for those who want it: servers, written as above and not among those, that stand in for one that is down. A key
     * whose server is down is read from and written to the one of these that a ring of their own gives it; it lives there
     * for gutter_ttl_s at most, whatever its ttl_s. While that one is down, too, it is MEND_E_DOWN. The healthy servers' keys
     * stay where they are. All processes should have the same list.
     *
     * What was written in the gutter is deleted in its server before that is back in service; a cas that was read in the one is MEND_EXISTS
     * in the other. For gutter_ttl_s after that (and after mend_open), what is written in the server is deleted in the gutter, by the
     * healer, within half a second, and not read there before. So this process reads nothing there that is older than its own last
     * write, as long as all processes take the server for down at about the same time. Where they do not (a network that is cut in
     * part), what one has put there may be read by another, for gutter_ttl_s, though that has written the key in the server
     * meanwhile. Of the writes of other processes it knows nothing, here as elsewhere. */
    const char *gutter;       /* none */
    int         gutter_ttl_s; /* 10 */

    int resolve_s; /* seconds between two lookups of a server's name while it is up (one that is not is looked up for its trials, at most once a second, so that one that is back elsewhere may be found a second later): 60; MEND_ZERO: never.
                    * If the name leads elsewhere, and the server there passes a trial, calls that are under way end at the
                    * old address, and all others go to the new one. A lookup that fails changes nothing */

    /* Values that travel compressed. What is larger than compress_above_bytes is compressed if that saves a sixteenth, and
     * there is time for it before the deadline (4 ms a megabyte); what comes compressed is unpacked, and its value_max_bytes are those of the
     * value unpacked. The bits of the flags that tell so are not the application's: they are cleared in replies, and flags that have them are MEND_E_ARGUMENT to a store. A compressed value that is broken
     * is MEND_MISS, so that it is stored anew (mend_server.values_broken counts them). With compress_above_bytes
     * mend_append and mend_prepend are MEND_E_ARGUMENT, since memcached would put the bytes beside compressed ones. */
    int              compress_above_bytes; /* 0: nothing is compressed, but what is can be read */
    mend_compression compression;          /* in whose way: none */
    uint32_t         zstd_flag, zlib_flag; /* of MEND_COMPRESSION_NONE and _ZSTD: the bit that tells of zstd, and of zlib (or gzip), which is only read:
                                            * none; with _ZSTD zstd_flag is 1 << 31 unless given */

    const char *prefix;  /* stands before every key of the application's, and counts in its length: printable ASCII, up to 185 bytes; none. What mend itself
                          * keeps in a server (trial_key, and the flush's keys) is the server's, shared by all who use it, and has none */
    bool prefix_unhashed; /* the server is chosen by the key (or routing_key) without the prefix, as libmemcached does unless told to hash it. By default the
                           * prefix is hashed: its MEMCACHED_BEHAVIOR_HASH_WITH_PREFIX_KEY */

    const mend_tls *tls; /* for servers listed as tls://... or tls+...; given without one it is MEND_E_ARGUMENT, as are such servers where the library was built without TLS */

    /* For servers that want it (memcached -Y): said first on every connection, in the clear where there is no TLS. Both, or a file whose first line
     * is user:password, read by mend_open; of 1 to 250 bytes each, without white space. Where they are refused the server is down, is asked again only
     * after 10 to 15 s (or heal_max_ms, if that is longer), and MEND_EVENT_AUTH_REFUSED tells of it. No error and no event has the password in it. */
    const char *username, *password;
    const char *auth_file;

    uintptr_t reserved[3]; /* zero */
} mend_config;

#ifdef __cplusplus
static inline mend_config mend_config_init_(void)
{
    mend_config config = mend_config();
    config.size = sizeof config;
    return config;
}
#define MEND_CONFIG_INIT mend_config_init_()
#else
#define MEND_CONFIG(...) ((mend_config){.size = sizeof(mend_config), __VA_ARGS__})
#define MEND_CONFIG_INIT {.size = sizeof(mend_config)}
#endif

/* What one call may have of its own. All zeros: nothing. The calls that take it as a parameter (..._with) take NULL for nothing, too.
 * A key that was stored by a routing_key lives where that says: it is read, counted, touched and deleted by the same. */
typedef struct mend_call {
    int        timeout_ms;  /* in place of the configuration's; when less than half of that is over, the server is not blamed */
    mend_bytes routing_key; /* the server is chosen by this in place of the key; empty: by the key */
    uintptr_t  reserved[4]; /* zero */
} mend_call;

/* How to store. NULL or all zeros: for ever, flags 0.
 * ttl_s is relative: 0 is for ever, and 1 may be gone at once, since memcached counts
 * whole seconds. Over 30 days it is sent as an absolute time, by the system's clock. */
typedef struct mend_store {
    int64_t   ttl_s;
    uint32_t  flags; /* 32 bits of the application's, given back with every hit */
    mend_call call;
    uintptr_t reserved[4]; /* zero */
} mend_store;

/* How to count. NULL or all zeros: a key that is not there is a miss. */
typedef struct mend_count {
    bool      create;  /* a key that is not there is stored with... */
    uint64_t  initial; /* ...this value (the delta is not applied to it)... */
    int64_t   ttl_s;   /* ...for so long; a key that is there keeps its own */
    mend_call call;
    uintptr_t reserved[4]; /* zero */
} mend_count;

typedef struct mend_item {
    mend_bytes key;
    mend_bytes value;
    mend_store store;
} mend_item;

/* ---- Replies ------------------------------------------------------------------------ */
#define MEND_TTL_NEVER (-1)   /* the item does not expire */
#define MEND_TTL_UNKNOWN (-2) /* the server was not asked, or its protocol cannot say */

/* Where the answer of a mend_fetch came from. */
typedef enum mend_source {
    MEND_SOURCE_NONE = 0,   /* it is no fetch's, or there is no answer */
    MEND_SOURCE_CACHE = 1,  /* the cache, and it is as fresh as its recipe wants it */
    MEND_SOURCE_STALE = 2,  /* the cache, past its ttl_s or made stale, while somebody refreshes it, or nobody could */
    MEND_SOURCE_LOADED = 3, /* this call's own load */
    MEND_SOURCE_SHARED = 4, /* a load of another thread's */
    MEND_SOURCE_LOCAL = 5   /* kept in this process since a load, while the cache cannot be asked */
} mend_source;

/* What came of a call. The caller owns it, hands it to one call after the other, and
 * frees it once; its memory is reused, so a loop of gets allocates nothing. Each call
 * resets it: nothing of an earlier answer is left. Arguments may point into the data
 * of the reply that they are passed with. */
typedef struct mend_reply {
    mend_status status;        /* what the function returned */
    bool        maybe_applied; /* status < 0: this write may have been done, or may yet be */
    uint32_t    flags;         /* a hit's, as stored */
    uint64_t    cas;           /* a hit's, never 0; after a successful store over the meta protocol, the new one; else 0 */
    int64_t     ttl_s;         /* a hit's: seconds left, MEND_TTL_NEVER or MEND_TTL_UNKNOWN */
    uint64_t    number;        /* a counter's new value */
    const char *data;          /* a hit's value: len bytes and a NUL behind them. Never NULL */
    size_t      len;
    const char *error;         /* status < 0: what happened, in words; else "". Never NULL. Lives as long as the reply */
    const char *server;        /* the server that the key lives on, or the one of the gutter that stood in for it; "" if it got that far not. Never NULL. Lives as long as the reply */
    void       *own;           /* the library's */
    mend_source source;        /* of mend_fetch and mend_fetch_multi, where the answer came from */
    uintptr_t   reserved[3];
} mend_reply;

/* What came of a call for many keys: at[i] belongs to the i-th key, duplicates
 * included. The elements belong to it: do not free them one by one. */
typedef struct mend_replies {
    size_t      count;
    mend_reply *at;
    void       *own; /* the library's */
    uintptr_t   reserved[4];
} mend_replies;

#ifdef __cplusplus
static inline mend_reply mend_reply_init_(void)
{
    mend_reply r = mend_reply();
    r.data = r.error = r.server = "";
    return r;
}
#define MEND_REPLY mend_reply_init_()
#define MEND_REPLIES mend_replies()
#else
#define MEND_REPLY {.data = "", .error = "", .server = ""}
#define MEND_REPLIES {.count = 0}
#endif

/* Gives back what it points to, and leaves it as it began. NULL is nothing to do. */
MEND_API void mend_reply_free(mend_reply *reply);
MEND_API void mend_replies_free(mend_replies *replies);

/* ---- The client ---------------------------------------------------------------------- */
typedef struct mend_client mend_client;

/* Opens a client. Never waits for the network, nor for a name: a server that is down
 * or unknown is no error; its state says so. Fails with MEND_E_ARGUMENT and words that
 * name the field, or with MEND_E_MEMORY; then *client is NULL. reply may be NULL. */
MEND_API mend_status mend_open(const mend_config *config, mend_client **client, mend_reply *reply);

/* Closes it: the healer, all connections, all memory. Returns within 100 ms, whatever
 * hangs. No other call may be running, none may follow. NULL is nothing to do; so is
 * a call from on_event. */
MEND_API void mend_close(mend_client *client);

/* False only once no server can be asked: all are down, those of the gutter, too. Never blocks. */
MEND_API bool mend_connection_available(const mend_client *client);

/* Gets trial_key from every server, those of the gutter included, at the same time. MEND_OK only if all answered, else the
 * first failure in the order of the lists, with that server in reply->server. One known
 * to be down answers MEND_E_DOWN at once. reply may be NULL. */
MEND_API mend_status mend_ping(mend_client *client, mend_reply *reply);

/* Calls each once for every server, in the order of the list, and then of the gutter. Waits for nothing. */
MEND_API mend_status mend_servers(mend_client *client, void (*each)(const mend_server *server, void *context), void *context);

/* Puts another list in place of mend_config.servers, while other threads call. A server that is in both, by its name as
 * mend_servers gives it, is kept as it is: its connections, its health, its journal. One that is new begins as at mend_open. One
 * that is not in the list any more has its connections closed as soon as the calls that are under way with it have ended, by
 * themselves. What is known of it ends with it, its journal, too: if it comes back it begins as new, with whatever it holds by then,
 * like any server that joins (mend_flush_all is how to begin afresh). No event tells of servers that come or go. A call
 * that has begun goes by the list that it began with. tls:// and tls+ are for clients that had such a server at mend_open: those without have connections that know nothing
 * of TLS, and stay so. MEND_E_ARGUMENT, in words that begin with "servers: " (one that is in the gutter is a mistake, too), or MEND_E_MEMORY: nothing has
 * changed. Does not wait for the network. Calls at the same time take turns. A child that is forked begins with the list in force.
 * reply may be NULL. */
MEND_API mend_status mend_set_servers(mend_client *client, const char *servers, mend_reply *reply);

/* With MEND_ON_OVERFLOW_REFUSE: this server, by the name that mend_servers gives, may serve again, stale values
 * included. MEND_E_ARGUMENT: there is none of that name. MEND_MISS: it had not overflowed. */
MEND_API mend_status mend_accept(mend_client *client, const char *server);

/* ---- Statistics: what came of calls, by the server that was asked -------------------------
 * Counted always, from mend_open on (in a forked child: from its first call on; of a server that left the list and came back: since
 * then). Reading them holds nobody up. Each number is exact, and only rises unless it says "now"; they are not all of one moment. */
typedef enum mend_operation {
    MEND_OPERATION_GET = 0,    /* get, get_and_touch, exists, and what mend_fetch asks the cache for */
    MEND_OPERATION_STORE = 1,  /* set, add, replace, append, prepend, cas, and what mend_fetch has loaded */
    MEND_OPERATION_DELETE = 2, /* delete, make_stale */
    MEND_OPERATION_TOUCH = 3,
    MEND_OPERATION_COUNT = 4, /* increment, decrement */
    MEND_OPERATION_PING = 5,
    MEND_OPERATION_FLUSH = 6
} mend_operation;
#define MEND_OPERATIONS 7

/* How many calls of one operation came to what. A call for many keys counts once for each. What was the caller's own mistake
 * reached no server, and is not here. */
typedef struct mend_calls {
    const char *operation;    /* "get", "store", "delete", "touch", "count", "ping", "flush" */
    uint64_t    answered[16]; /* by status: answered[MEND_OK] of MEND_OPERATION_GET are the hits, answered[MEND_MISS] the misses */
    uint64_t    failed[16];   /* by -status: failed[-MEND_E_DOWN] are those that were turned away at once */
} mend_calls;

/* Calls that took less than this, and not less than the bucket before says. */
typedef struct mend_bucket {
    int64_t  less_than_ns; /* INT64_MAX: the last */
    uint64_t count;
} mend_bucket;

/* The library fills it in, and it may grow at its end. What it points to lives until the function that got it returns. */
typedef struct mend_server_stats {
    const mend_server *server; /* as mend_servers tells of it: its state, and what there is now of connections and of the journal */
    const mend_calls  *calls;  /* by mend_operation */
    size_t             operations;

    /* How long calls took that were not turned away, waiting for a turn included; of a call for many keys, its part at this server, until
     * that was noticed to be over. Of calls that come to the same the first are all timed, and then one of eight, which counts as
     * eight. The first buckets are 1 us wide, and none is wider than an eighth of its times. */
    const mend_bucket *latency;
    size_t             buckets;
    uint64_t           latency_ns; /* of all of them together */

    uint64_t bytes_sent, bytes_received; /* of the protocol, the healer's trials included; TLS comes on top */
    uint64_t connections_opened;         /* or tried to, by calls and by the healer */
    uint64_t connections_broken;         /* of those, they that ended by a failure, a time out or the server's hand, and not because they were not needed */
    uint64_t retries;                    /* questions asked once more, since a connection had died idle */
    uint64_t gutter_calls;               /* calls for keys that live here, that a server of the gutter was asked; what came of them is counted there */
    uint64_t states[8];                  /* by mend_state: how often it came into it; of an outage, once into DOWN, and into TRIAL for each trial */
    int64_t  down_ms;                    /* for how long it was down, this outage included */
} mend_server_stats;

/* Calls each once for every server, in the order of mend_servers. Waits for nothing. May be called from on_event, too. */
MEND_API mend_status mend_stats(mend_client *client, void (*each)(const mend_server_stats *stats, void *context), void *context);

/* The time within which that part of the calls ended, 0.5 for half, 0.99 for all but one of a hundred: the end of its
 * bucket. 0: there were none. INT64_MAX: it is in the last bucket. */
MEND_API int64_t mend_latency_ns(const mend_server_stats *stats, double part);

/* All of it in Prometheus' text format (0.0.4), each name beginning with "mend_", as the data of a reply: to be served, as it is, with
 * "Content-Type: text/plain; version=0.0.4". A process with several clients serves each at a path of its own. In a server's name bytes beyond ASCII are \xNN. Buckets of
 * mend_call_duration_seconds are one a doubling. MEND_OK, MEND_E_ARGUMENT or MEND_E_MEMORY. */
MEND_API mend_status mend_stats_prometheus(mend_client *client, mend_reply *reply);

/* ---- Reading: MEND_OK is a hit, MEND_MISS a miss ------------------------------------- */
MEND_API mend_status mend_get(mend_client *client, mend_bytes key, mend_reply *reply);
MEND_API mend_status mend_get_with(mend_client *client, mend_bytes key, const mend_call *call, mend_reply *reply);

/* A get that gives the item a new ttl_s. */
MEND_API mend_status mend_get_and_touch(mend_client *client, mend_bytes key, int64_t ttl_s, mend_reply *reply);
MEND_API mend_status mend_get_and_touch_with(mend_client *client, mend_bytes key, int64_t ttl_s, const mend_call *call, mend_reply *reply);

/* A get without the value (over the classic protocol the value travels, and is dropped). reply may be NULL. */
MEND_API mend_status mend_exists(mend_client *client, mend_bytes key, mend_reply *reply);
MEND_API mend_status mend_exists_with(mend_client *client, mend_bytes key, const mend_call *call, mend_reply *reply);

/* Many keys, all servers at the same time, one deadline (making room for n replies, and filling them in, comes on
 * top of it, and is felt from some ten thousand keys on). Returns MEND_OK if every server
 * answered, else the first failure in the order of the keys; what the healthy servers
 * said is always filled in. A bad key fails its own element, and the return is then
 * MEND_E_ARGUMENT. Hits have no ttl_s here (MEND_TTL_UNKNOWN). */
MEND_API mend_status mend_get_multi(mend_client *client, const mend_bytes *keys, size_t n, mend_replies *replies);
MEND_API mend_status mend_get_multi_with(mend_client *client, const mend_bytes *keys, size_t n, const mend_call *call, mend_replies *replies);

/* ---- Writing: store and reply may be NULL ---------------------------------------------
 * If the status is < 0, reply->maybe_applied says whether it may have been done. */
MEND_API mend_status mend_set(mend_client *client, mend_bytes key, mend_bytes value, const mend_store *store, mend_reply *reply);
MEND_API mend_status mend_add(mend_client *client, mend_bytes key, mend_bytes value, const mend_store *store, mend_reply *reply);
MEND_API mend_status mend_replace(mend_client *client, mend_bytes key, mend_bytes value, const mend_store *store, mend_reply *reply);

/* These keep the item's ttl and flags: those of store are not used. */
MEND_API mend_status mend_append(mend_client *client, mend_bytes key, mend_bytes value, const mend_store *store, mend_reply *reply);
MEND_API mend_status mend_prepend(mend_client *client, mend_bytes key, mend_bytes value, const mend_store *store, mend_reply *reply);

/* Stores if nobody did since cas was read. Every hit has its cas; 0 is MEND_E_ARGUMENT. */
MEND_API mend_status mend_cas(mend_client *client, mend_bytes key, mend_bytes value, uint64_t cas, const mend_store *store, mend_reply *reply);

MEND_API mend_status mend_delete(mend_client *client, mend_bytes key, mend_reply *reply); /* MEND_MISS: it was not there */
MEND_API mend_status mend_delete_with(mend_client *client, mend_bytes key, const mend_call *call, mend_reply *reply);
MEND_API mend_status mend_touch(mend_client *client, mend_bytes key, int64_t ttl_s, mend_reply *reply);
MEND_API mend_status mend_touch_with(mend_client *client, mend_bytes key, int64_t ttl_s, const mend_call *call, mend_reply *reply);

/* Unsigned 64-bit counters, in decimal. Incrementing wraps, decrementing stops at 0. The
 * new value is in reply->number. Over the classic protocol creating takes a second
 * question, an add. */
MEND_API mend_status mend_increment(mend_client *client, mend_bytes key, uint64_t delta, const mend_count *count, mend_reply *reply);
MEND_API mend_status mend_decrement(mend_client *client, mend_bytes key, uint64_t delta, const mend_count *count, mend_reply *reply);

/* Every item of every server is gone, in the gutter, too. As mend_ping, for what is returned. What fails counts as an overflow of that server's
 * journal. */
MEND_API mend_status mend_flush_all(mend_client *client, mend_reply *reply);

/* Many writes, all servers at the same time, one deadline: timeout_ms of the configuration
 * (an item's own store.call.timeout_ms is not used). Returns as mend_get_multi does; an
 * answer > 0 of an element is no failure. replies may be NULL. */
MEND_API mend_status mend_set_multi(mend_client *client, const mend_item *items, size_t n, mend_replies *replies);
MEND_API mend_status mend_delete_multi(mend_client *client, const mend_bytes *keys, size_t n, mend_replies *replies);
MEND_API mend_status mend_delete_multi_with(mend_client *client, const mend_bytes *keys, size_t n, const mend_call *call, mend_replies *replies);

/* ---- Get or load: the fallback, built in ---------------------------------------------
 *
 *     static int load_user(void *db, mend_bytes key, mend_loaded *out, int left_ms)
 *     {
 *         struct row *row = db_find(db, key.data, key.len);
 *         return row ? mend_loaded_set(out, mend_mem(row->bytes, row->size)) : MEND_ABSENT;
 *     }
 *
 *     static const mend_recipe user = {.load = load_user, .ttl_s = 300, .refresh_s = 30, .stale_s = 60};
 *
 *     switch (mend_fetch(cache, mend_str("user:42"), &user, &r)) {
 *     case MEND_OK:     use(r.data, r.len);   break;   // r.source says where from
 *     case MEND_ABSENT: no_such_user();       break;
 *     default:          sorry(r.error);       break;   // the loader failed, or there was no turn to load
 *     }
 *
 * A hit is returned. A miss is loaded once: by one thread of this process, for all that ask for
 * the key meanwhile; and by one process of the fleet, by leases of the meta protocol. The others
 * wait for it, wait_ms at most, or are served what is stale. What was loaded is stored by the
 * lease, so that a write or a delete while it was loaded wins. A server that speaks only the
 * classic protocol has no leases: there one thread of each process loads, and stores by an add,
 * which overwrites nothing newer; but a delete in between loses.
 *
 * While the cache cannot be asked, what is fetched is loaded, still once a key at a time in this
 * process, and by loads_max threads at once. The status is then the load's: that the cache failed
 * is not the caller's affair.
 *
 * Plain calls for the same keys may be mixed in. To gets, a key whose load is under way and a
 * negative answer are misses; but to memcached there is an item, and mend_add says
 * MEND_NOT_STORED. A plain get of a stale value is a hit, and may use up the one turn to refresh
 * it. All who fetch a key should do so by the same recipe. */

/* Where a loader puts what it loaded. The library's, for the length of the load. */
typedef struct mend_loaded {
    uint32_t  flags; /* stored with the value: 0 */
    int64_t   ttl_s; /* in place of the recipe's; 0: the recipe's; negative: not to be stored */
    void     *own;   /* the library's */
    uintptr_t reserved[4];
} mend_loaded;

/* Copies a value there, in place of any before: the span stays the caller's. MEND_OK, MEND_E_MEMORY
 * or MEND_E_ARGUMENT. */
MEND_API mend_status mend_loaded_set(mend_loaded *loaded, mend_bytes value);

/* Loads the value of key. Runs on the thread of the call that fetches, which holds nothing
 * meanwhile, and may be cancelled there; it is not to be left by longjmp or a C++ exception. It
 * returns 0 after mend_loaded_set; MEND_ABSENT: there is no such thing; anything else: it failed,
 * and the fetch is MEND_E_LOADER, with that number in reply->number (as an int64_t).
 * left_ms: for how long those who wait for it will yet do so. The load may take longer, but it is
 * for the loader to bound it. It may use the client, and fetch other keys; its own is
 * MEND_E_ARGUMENT to it. Two loads that fetch each other's key wait for wait_ms. */
typedef int mend_load(void *context, mend_bytes key, mend_loaded *out, int left_ms);

/* Loads many: out[i] is for keys[i], each once. Returns 0: those that were not set are absent.
 * Anything else: those that were not set have failed. */
typedef int mend_load_many(void *context, const mend_bytes *keys, mend_loaded *out, size_t n, int left_ms);

/* How to fetch. 0 is the default; MEND_ZERO is zero, where zero makes sense. The ints go up to 10^9. */
typedef struct mend_recipe {
    mend_load      *load;
    mend_load_many *load_many; /* mend_fetch_multi loads by this, if it is there */
    void           *context;   /* the loaders' */

    int64_t ttl_s;    /* how long a value is fresh: for ever */
    int refresh_s;    /* in this last part of ttl_s one caller loads it anew, while the others are served: 0.
                       * Less than ttl_s */
    int stale_s;      /* for so long after ttl_s it is served yet, as MEND_SOURCE_STALE, while one caller loads
                       * it, or when that fails: 0 */
    int absent_ttl_s; /* for how long the cache keeps that there is no such thing: 10; MEND_ZERO: not at all */
    int lease_s;      /* for how long other processes leave a load to the one that began it: 10. Longer than
                       * a load takes */
    int wait_ms;      /* how long to wait for the load of another, or for a turn to load: 1000; MEND_ZERO: not
                       * at all. When three quarters of it are over, a load that another process has begun
                       * is made here, too, since that process may be dead */
    int loads_max;    /* begin no load while so many run with this client, by any recipe: 32. What a loader
                       * fetches itself is not held up */
    int local_ttl_ms; /* for how long what was loaded while the cache could not be asked is kept in this process,
                       * and served while it still cannot: 0, not at all. Up to 1024 values, of 64 KB at
                       * most, 4 MB in all; this process's own writes of a key drop it */

    mend_call call;        /* as of any get: timeout_ms is for each question to the cache, not for loads nor waits */
    uintptr_t reserved[6]; /* zero */
} mend_recipe;

/* An empty item with these flags ("mend", in ASCII) is a negative answer. To clients of other makes it is an empty hit. */
#define MEND_FLAGS_ABSENT 0x6d656e64

/* Gets the value of key, or loads it. MEND_OK; MEND_ABSENT; MEND_E_LOADER; MEND_E_BUSY: there was no
 * turn to load within wait_ms, or another thread is loading it still; MEND_E_ARGUMENT, in words that
 * name the field; MEND_E_MEMORY. reply->cas is 0 if what was loaded was not stored by this call;
 * reply->ttl_s is what is left of the recipe's ttl_s. If a load fails while there is a value that may be served yet,
 * that is the answer. */
MEND_API mend_status mend_fetch(mend_client *client, mend_bytes key, const mend_recipe *recipe, mend_reply *reply);

/* ...of many: one round to all servers, one load of all that is missing (one by one if there is no
 * load_many), one round to store it; then what others load is waited for, wait_ms in all. Returns
 * as mend_get_multi does; an answer > 0 of an element is no failure. */
MEND_API mend_status mend_fetch_multi(mend_client *client, const mend_bytes *keys, size_t n, const mend_recipe *recipe,
                                      mend_replies *replies);

/* The value has changed: the next who fetches it loads it, and the others are served the old one
 * meanwhile, for stale_s (1 or more) at most. MEND_MISS: there is none. Over the classic protocol
 * it is a delete. reply may be NULL. */
MEND_API mend_status mend_make_stale(mend_client *client, mend_bytes key, int stale_s, mend_reply *reply);
MEND_API mend_status mend_make_stale_with(mend_client *client, mend_bytes key, int stale_s, const mend_call *call, mend_reply *reply);

#ifdef __cplusplus
}
#endif
#endif
