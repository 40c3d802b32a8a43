/* io_tls.c - TLS over a world's sockets, by OpenSSL 3. See io_tls.h.
 *
 * An SSL never touches a socket: its BIO asks the world below, so that what that promises
 * (deadlines, no SIGPIPE, results in words) holds here, too. A channel has one owner at a
 * time, as its socket has; what is shared is the context, which OpenSSL guards, and a peer's
 * sessions, which are taken and put by single exchanges.
 *
 *     CONNECTING --- below is connected ---> SHAKING --- shaken ---> OPEN
 *
 * What the library keeps of TLS comes from the C library, and what OpenSSL keeps from its own
 * allocator.
 */
#include "world/io_tls.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <pthread.h>

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

enum {
    RECORD_BYTES = 16 * 1024, /* TLS's own limit of what one record holds */
    SESSIONS = 4,             /* of a peer: TLS 1.3 takes one for each connection, and gives two */
    CHATTER_MAX = 100,        /* records and messages in a row without a byte for us: new keys at 0.1 ms each may come faster than they are read */
};

struct tls_settings {
    char  *ca, *certificate, *key; /* PEM; NULL: the system's; none; with the certificate */
    char  *server_name;            /* NULL: the host's */
    size_t ca_len, certificate_len, key_len;
    bool   verifies;

    const struct process *loaded_by;
    SSL_CTX              *context; /* that process's */
};

struct process;

struct io_tls {
    struct io                  below; /* the functions whose place we have taken */
    const struct tls_settings *settings;
    SSL_CTX                   *context; /* NULL: not made yet */
    BIO_METHOD                *method;  /* likewise */
};

struct io_peer {
    char                  *name; /* that its certificate must be for */
    bool                   is_address;
    _Atomic(SSL_SESSION *) sessions[SESSIONS];
};

enum stage { CONNECTING, SHAKING, OPEN };

struct io_channel {
    SSL            *ssl;
    struct io      *io;
    struct io_peer *peer;
    enum stage      stage;
    bool            wants_out; /* SHAKING: to go on it must write, else read. OPEN: to read on, it must write */
    bool            more;      /* more may be read than a poll of the socket tells */
    bool            asked;     /* the server has asked for our certificate */
    bool            heard;     /* a byte of the application's has come */
    unsigned        chatter;   /* OPEN: what has come since then that is TLS's own: sessions, new keys */
    bool            half_sent; /* a record; only its rest may be sent next */
    int             failed;    /* for good, by this result; 0: it has not */

    /* While SSL is at work: what its BIO is to do, and what came of that. */
    struct io_sock *sock;
    bool            dry;       /* nothing is to be read */
    ptrdiff_t (*waits)(struct io *, struct io_sock *, struct conn_span *, size_t, nstime now, nstime deadline); /* NULL: it may not */
    nstime          now, deadline;
    int             result;    /* the last below zero; 0: there was none */
};

/* ---- Frames: who is in OpenSSL by our hand ---- */

/* The process is to end and to fork while nobody is. At exit OpenSSL takes itself down, when an application may not have closed,
 * and the healer goes on. And it has locks that all of a process share: for the threads that have come to it (taken when one first
 * does, and when that one ends), for random numbers, for what is attached to its objects. One that is held at a fork is held in the
 * child for good, by a thread that is not there. */
static atomic_int  inside;  /* so many threads */
static atomic_int  asleep;  /* of those: in a BIO that waits, where nothing is locked */
static atomic_int  forking; /* so many threads: nobody goes in */
static atomic_bool shut;    /* nobody goes in any more */
static atomic_bool maimed;  /* why that is so: a child that was forked off in the middle of somebody's work */

static _Thread_local bool alone; /* from before a fork until after it: nobody is inside, nor will be */
static pthread_key_t      comer; /* set for a thread that has been inside */

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void leave(void)
{
    atomic_fetch_sub(&inside, 1);
}

static bool go_in(void)
{
    for (;; nap()) {
        atomic_fetch_add(&inside, 1);
        if (atomic_load(&forking) == 0)
            break;
        leave();
    }
    if (!atomic_load(&shut))
        return true;
    leave();
    return false;
}

/* OpenSSL frees what it keeps for a thread when that ends, under the lock of all threads: it is freed before, in a frame. */
static void thread_ends(void *unused)
{
    (void)unused;
    if (!go_in())
        return;
    OPENSSL_thread_stop();
    leave();
}

/* glibc's, as C++ uses it: runs before the destructors of keys, OpenSSL's among them. Elsewhere (musl) a key's destructor has to do,
 * and is in time if the application did not come to OpenSSL before mend_open. */
extern int __cxa_thread_atexit_impl(void (*ends)(void *), void *arg, void *library) __attribute__((weak));
extern void *__dso_handle;

static void remember_thread(void)
{
    if (pthread_getspecific(comer))
        return;
    pthread_setspecific(comer, &comer);
    if (__cxa_thread_atexit_impl)
        __cxa_thread_atexit_impl(thread_ends, NULL, &__dso_handle);
}

/* Before, and leave after, whatever comes to OpenSSL while there are threads; nothing that waits is in between, but what fall_asleep
 * and wake_up enclose. False: it is too late for that. */
static bool enter(void)
{
    if (!go_in())
        return false;
    remember_thread();
    return true;
}

static void fall_asleep(void)
{
    atomic_fetch_add(&asleep, 1);
}

static void wake_up(void)
{
    for (;; nap()) {
        atomic_fetch_sub(&asleep, 1);
        if (atomic_load(&forking) == 0)
            return;
        fall_asleep();
    }
}

/* Runs before OpenSSL's own. */
static void process_exits(void)
{
    enum { PATIENCE_MS = 100 }; /* a caller may be waiting there for bytes, for longer than that */

    atomic_store(&shut, true);
    for (int i = 0; i < 10 * PATIENCE_MS && atomic_load(&inside) > 0; i++)
        nap();
}

/* In rounds: callers are kept out for some 10 ms at a time, though somebody stays inside for long (who reads a hundred authorities).
 * Bounded, since who forks may hold what somebody inside waits for: a lock of the application's allocator, or, in a signal handler,
 * the very thread. */
static void fork_comes(void)
{
    enum { ROUNDS = 100, NAPS = 60 }; /* 1 s in all */

    alone = false;
    for (int round = 0; round < ROUNDS && !alone; round++) {
        atomic_fetch_add(&forking, 1);
        for (int i = 0; i < NAPS && !(alone = atomic_load(&inside) == atomic_load(&asleep)); i++)
            nap();
        if (alone)
            return;
        atomic_fetch_sub(&forking, 1);
        nap();
    }
}

static void fork_in_parent(void)
{
    if (alone)
        atomic_fetch_sub(&forking, 1);
}

static void fork_in_child(void)
{
    atomic_store(&inside, 0);
    atomic_store(&asleep, 0);
    atomic_store(&forking, 0);
    if (alone)
        return;
    atomic_store(&maimed, true);
    atomic_store(&shut, true);
}

static bool prepared;

static void prepare_once(void)
{
    if (pthread_key_create(&comer, thread_ends) != 0 || pthread_atfork(fork_comes, fork_in_parent, fork_in_child) != 0 || !enter())
        return;
    OPENSSL_init_ssl(0, NULL); /* what is registered last runs first */
    prepared = atexit(process_exits) == 0;
    leave();
}

/* False: no memory. */
static bool prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, prepare_once);
    return prepared;
}

/* ---- The BIO: an SSL's view of the world below ---- */

static int bio_ended(BIO *bio, struct io_channel *c, ptrdiff_t result, int flags)
{
    c->result = (int)result;
    if (result == IO_AGAIN || result == IO_TIMEOUT || result == IO_LATE)
        BIO_set_flags(bio, flags | BIO_FLAGS_SHOULD_RETRY);
    return -1;
}

static int bio_read(BIO *bio, char *to, int n)
{
    struct io_channel *c = BIO_get_data(bio);
    const struct io   *below = &c->io->tls->below;
    struct conn_span   room = {to, (size_t)n};
    ptrdiff_t          got = IO_AGAIN;

    BIO_clear_retry_flags(bio);
    if (c->chatter > CHATTER_MAX)
        got = IO_TLS_FAILED;
    else if (c->waits) {
        fall_asleep();
        got = c->waits(c->io, c->sock, &room, 1, c->now, c->deadline);
        wake_up();
        c->now = c->io->now(c->io); /* part of a record has cost time */
    } else if (!c->dry)
        got = below->recv_now(c->io, c->sock, &room, 1);
    return got > 0 ? (int)got : bio_ended(bio, c, got, BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *from, int n)
{
    struct io_channel *c = BIO_get_data(bio);
    mend_bytes         span = mend_mem(from, (size_t)n);

    BIO_clear_retry_flags(bio);
    ptrdiff_t sent = c->io->tls->below.send(c->io, c->sock, &span, 1);
    return sent > 0 ? (int)sent : bio_ended(bio, c, sent, BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static BIO_METHOD *bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "mend");

    if (method) {
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    return method;
}

/* ---- What went wrong ---- */

static int of_certificate(long verdict)
{
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return IO_TLS_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return IO_TLS_EARLY;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return IO_TLS_NAME;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        return IO_TLS_UNKNOWN;
    case X509_V_ERR_OUT_OF_MEM:
        return IO_RESOURCES;
    default:
        return IO_TLS_INVALID;
    }
}

static int of_reason(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER: /* what came is no record of TLS */
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return IO_TLS_NONE;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY:
    case SSL_R_NO_CIPHERS_AVAILABLE:
        return IO_TLS_VERSION;
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE: /* TLS 1.2's word for a certificate that is missing */
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return IO_TLS_REFUSED;
    default:
        return IO_TLS_FAILED;
    }
}

/* Whether there was no memory for something: this machine's trouble, whatever it then came to. Takes all errors off this thread's queue. */
static bool was_poor(void)
{
    bool poor = false;

    for (unsigned long error; (error = ERR_get_error()) != 0;)
        poor |= ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
    return poor;
}

/* ---- An SSL at work ---- */

/* It is to do something on this socket. Whatever the application's own use of OpenSSL left in this thread's queue of errors
 * would be taken for ours. */
static SSL *at_work(struct io_channel *c, struct io_sock *s)
{
    c->sock = s;
    c->result = 0;
    ERR_clear_error();
    return c->ssl;
}

/* What SSL's last answer n <= 0 comes to: what the BIO last said if it only waits, else how it ended, which is for good. Want of memory
 * may look like a wait that the BIO knows nothing of, and leave no error either. */
static int outcome(struct io_channel *c, int n)
{
    int error = SSL_get_error(c->ssl, n);

    if ((error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) && c->result)
        return c->result;

    unsigned long first = ERR_peek_error();
    long          verdict = c->io->tls->settings->verifies ? SSL_get_verify_result(c->ssl) : X509_V_OK;
    if (error == SSL_ERROR_ZERO_RETURN)
        c->failed = IO_CLOSED;
    else if (was_poor() || (!first && !c->result))
        c->failed = IO_RESOURCES;
    else if (c->stage == SHAKING && verdict != X509_V_OK)
        c->failed = of_certificate(verdict);
    else if (error == SSL_ERROR_SSL && ERR_GET_LIB(first) == ERR_LIB_SSL)
        c->failed = of_reason(ERR_GET_REASON(first));
    else
        c->failed = c->result ? c->result : IO_TLS_FAILED;
    /* In TLS 1.3 our certificate is looked at when the handshake has ended for us, and the alert that says so may be lost in a reset. */
    if (c->stage == OPEN && c->asked && !c->heard && (c->failed == IO_RESET || c->failed == IO_CLOSED))
        c->failed = IO_TLS_REFUSED;
    ERR_clear_error();
    return c->failed;
}

static int certificate_asked_for(SSL *ssl, void *nothing)
{
    struct io_channel *c = SSL_get_app_data(ssl);

    (void)nothing;
    c->asked = true;
    return 1; /* what there is to show is shown */
}

/* SSL has no end of its own to what is none of the application's: while such comes, it reads on, past any deadline. */
static void message_passes(int sent, int version, int type, const void *bytes, size_t n, SSL *ssl, void *nothing)
{
    struct io_channel *c = SSL_get_app_data(ssl);

    (void)version;
    (void)bytes;
    (void)n;
    (void)nothing;
    c->chatter += c->stage == OPEN && !sent && (type == SSL3_RT_HEADER || type == SSL3_RT_HANDSHAKE);
}

/* ---- Sessions: a handshake that goes on from one is shorter ---- */

static void keep_session(struct io_peer *peer, SSL_SESSION *session)
{
    for (int i = 0; i < SESSIONS; i++) {
        SSL_SESSION *none = NULL;
        if (atomic_compare_exchange_strong(&peer->sessions[i], &none, session))
            return;
    }
    SSL_SESSION_free(atomic_exchange(&peer->sessions[0], session));
}

static SSL_SESSION *take_session(struct io_peer *peer)
{
    for (int i = 0; i < SESSIONS; i++) {
        SSL_SESSION *session = atomic_exchange(&peer->sessions[i], NULL);
        if (session)
            return session;
    }
    return NULL;
}

static int session_came(SSL *ssl, SSL_SESSION *session)
{
    const struct io_channel *c = SSL_get_app_data(ssl);

    keep_session(c->peer, session);
    return 1; /* it is ours now */
}

/* ---- The context: what all connections of a life have in common ---- */

/* OpenSSL's own library context has locks, which a child that is forked off may inherit from threads of the application's that it
 * does not have. So a process that is not the first has one of its own. It is never freed: threads that used it may end at any time. */
struct process {
    pid_t         id;
    OSSL_LIB_CTX *libctx; /* NULL: OpenSSL's own */
    const void   *parent; /* whose threads are not here; what it has is left as it is */
};

static OSSL_LIB_CTX *libctx_new(void)
{
    OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
    char         *file = libctx ? CONF_get1_default_config_file() : NULL;

    if (file)
        OSSL_LIB_CTX_load_config(libctx, file); /* as the first has done; a file that is not there changes nothing */
    OPENSSL_free(file);
    return libctx;
}

/* NULL: no memory. */
static const struct process *this_process(void)
{
    static _Atomic(struct process *) latest;
    struct process                  *last = atomic_load(&latest), *this;

    if (last && last->id == getpid())
        return last;
    this = calloc(1, sizeof *this);
    if (!this)
        return NULL;
    this->id = getpid();
    this->parent = last;
    this->libctx = last ? libctx_new() : NULL;
    if (last && !this->libctx) {
        free(this);
        return NULL;
    }
    if (atomic_compare_exchange_strong(&latest, &last, this))
        return this;
    OSSL_LIB_CTX_free(this->libctx); /* another thread was first */
    free(this);
    return last;
}

/* A key under a passphrase is refused: nobody is asked for it at a terminal. */
static int no_passphrase(char *to, int size, int writing, void *context)
{
    (void)to;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

/* NULL: there is none, or no other (no_more), or it is not whole. */
static X509 *read_certificate(BIO *pem, OSSL_LIB_CTX *libctx)
{
    X509 *certificate = X509_new_ex(libctx, NULL);

    if (certificate && PEM_read_bio_X509_AUX(pem, &certificate, no_passphrase, NULL))
        return certificate;
    X509_free(certificate);
    return NULL;
}

/* Why nothing was read. A file that is cut off, or damaged in the middle, is not to pass for a shorter one. */
static bool no_more(void)
{
    unsigned long error = ERR_peek_last_error();

    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

static bool trust(SSL_CTX *context, BIO *pem, OSSL_LIB_CTX *libctx)
{
    X509 *authority;
    int   n = 0;

    for (; (authority = read_certificate(pem, libctx)) != NULL; n++) {
        int added = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority);
        X509_free(authority);
        if (!added)
            return false;
    }
    return n > 0 && no_more();
}

/* The first is ours, and the others lead from it to somebody who is trusted. */
static bool show(SSL_CTX *context, BIO *pem, OSSL_LIB_CTX *libctx)
{
    X509 *certificate = read_certificate(pem, libctx);
    bool  shows = certificate && SSL_CTX_use_certificate(context, certificate) == 1;

    X509_free(certificate);
    while (shows && (certificate = read_certificate(pem, libctx)) != NULL)
        if (SSL_CTX_add0_chain_cert(context, certificate) != 1) {
            X509_free(certificate);
            return false;
        }
    return shows && no_more();
}

static bool hold_key(SSL_CTX *context, BIO *pem, OSSL_LIB_CTX *libctx)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey_ex(pem, NULL, no_passphrase, NULL, libctx, NULL);
    bool      holds = key && SSL_CTX_use_PrivateKey(context, key) == 1;

    EVP_PKEY_free(key);
    return holds;
}

static bool read_pem(SSL_CTX *context, const char *bytes, size_t len, OSSL_LIB_CTX *libctx, bool (*read)(SSL_CTX *, BIO *, OSSL_LIB_CTX *))
{
    BIO *pem = BIO_new_mem_buf(bytes, (int)len);
    bool good = pem && read(context, pem, libctx);

    BIO_free(pem);
    return good;
}

/* Returns what is wrong with the settings, or NULL. */
static const char *set_up(SSL_CTX *context, const struct tls_settings *settings, OSSL_LIB_CTX *libctx)
{
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(context, 1); /* a record's head and body in one receive */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, session_came);
    SSL_CTX_set_cert_cb(context, certificate_asked_for, NULL);
    SSL_CTX_set_msg_callback(context, message_passes);
    SSL_CTX_set_verify(context, settings->verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);

    if (!settings->ca)
        SSL_CTX_set_default_verify_paths(context);
    else if (!read_pem(context, settings->ca, settings->ca_len, libctx, trust))
        return "tls.ca_file: has no certificate in PEM, or one that is not whole";
    if (!settings->certificate)
        return NULL;
    if (!read_pem(context, settings->certificate, settings->certificate_len, libctx, show))
        return "tls.certificate_file: has no certificate in PEM that can be used, or one that is not whole";
    if (settings->key && !read_pem(context, settings->key, settings->key_len, libctx, hold_key))
        return "tls.key_file: has no private key in PEM that can be read without a passphrase, and is the certificate's";
    if (!settings->key && !read_pem(context, settings->certificate, settings->certificate_len, libctx, hold_key))
        return "tls.key_file: is not given, and certificate_file has no private key that can be read without a passphrase, and is the certificate's";
    return NULL;
}

/* NULL: `wrong` says what is wrong with the settings; or it is NULL, and there is no memory. */
static SSL_CTX *context_new(const struct tls_settings *settings, const char **wrong)
{
    const struct process *process = this_process();
    SSL_CTX              *context = process ? SSL_CTX_new_ex(process->libctx, NULL, TLS_client_method()) : NULL;

    *wrong = context ? set_up(context, settings, process->libctx) : NULL;
    if (*wrong) {
        SSL_CTX_free(context);
        context = NULL;
    }
    if (was_poor())
        *wrong = NULL;
    return context;
}

/* Reading the authorities may take a tenth of a second. So what was made at open serves the process that did so, and a child
 * makes its own when it first dials, which its healer does, and not when it first calls. */
static bool has_context(struct io_tls *t)
{
    const char *wrong;

    if (!t->method)
        t->method = bio_method();
    if (!t->method || t->context)
        return t->method;
    if (t->settings->loaded_by != this_process())
        t->context = context_new(t->settings, &wrong);
    else if (SSL_CTX_up_ref(t->settings->context))
        t->context = t->settings->context;
    return t->context != NULL;
}

/* ---- Connecting ---- */

/* Whom it is to be. */
static bool expect(SSL *ssl, const struct io_peer *peer, bool verifies)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (!peer->is_address && SSL_set_tlsext_host_name(ssl, peer->name) != 1)
        return false;
    if (!verifies)
        return true;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return (peer->is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, peer->name) : X509_VERIFY_PARAM_set1_host(param, peer->name, 0)) == 1;
}

static struct io_channel *channel_new(struct io *io, struct io_peer *peer)
{
    if (!has_context(io->tls))
        return NULL;

    struct io_channel *c = calloc(1, sizeof *c);
    SSL               *ssl = SSL_new(io->tls->context);
    BIO               *bio = BIO_new(io->tls->method);
    if (!c || !ssl || !bio || !expect(ssl, peer, io->tls->settings->verifies) || !SSL_set_app_data(ssl, c)) {
        ERR_clear_error();
        BIO_free(bio);
        SSL_free(ssl);
        free(c);
        return NULL;
    }
    *c = (struct io_channel){.ssl = ssl, .io = io, .peer = peer};
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_connect_state(ssl);

    SSL_SESSION *session = take_session(peer);
    if (session)
        SSL_set_session(ssl, session);
    SSL_SESSION_free(session);
    return c;
}

/* A session of TLS 1.2 serves for more than one connection. */
static void shaken(struct io_channel *c)
{
    SSL_SESSION *session;

    c->stage = OPEN;
    c->more = SSL_has_pending(c->ssl);
    if (SSL_version(c->ssl) < TLS1_3_VERSION && SSL_session_reused(c->ssl) && (session = SSL_get1_session(c->ssl)) != NULL)
        keep_session(c->peer, session);
}

static int shake(struct io_channel *c, struct io_sock *s)
{
    if (!enter())
        return IO_FAILED;
    int n = SSL_do_handshake(at_work(c, s)), result = IO_DONE;

    c->wants_out = SSL_want_write(c->ssl);
    if (n == 1)
        shaken(c);
    else
        result = outcome(c, n);
    leave();
    return result;
}

static int tls_dial(struct io *io, struct io_sock *s, const struct io_address *to, struct io_peer *peer)
{
    int result = io->tls->below.dial(io, s, to, NULL);

    if (!peer || (result != IO_DONE && result != IO_AGAIN))
        return result;
    if (!enter())
        return atomic_load(&maimed) ? IO_TLS_FORKED : IO_FAILED;
    s->channel = channel_new(io, peer);
    leave();
    if (!s->channel)
        return IO_RESOURCES;
    if (result == IO_AGAIN)
        return IO_AGAIN;
    s->channel->stage = SHAKING;
    return shake(s->channel, s);
}

static int tls_dialed(struct io *io, struct io_sock *s)
{
    struct io_channel *c = s->channel;

    if (!c)
        return io->tls->below.dialed(io, s);
    if (c->stage == CONNECTING) {
        int result = io->tls->below.dialed(io, s);
        if (result != IO_DONE)
            return result;
        c->stage = SHAKING;
    }
    return shake(c, s);
}

/* ---- Bytes ---- */

/* The first of what is left of the spans behind `at`: where it lies, if it fills a record or is all there is; else put together. */
static mend_bytes next_record(const mend_bytes *spans, size_t n, size_t at, char together[RECORD_BYTES])
{
    size_t len = 0;

    for (size_t i = 0; i < n && len < RECORD_BYTES; i++) {
        if (at >= spans[i].len) {
            at -= spans[i].len;
            continue;
        }
        const char *from = (const char *)spans[i].data + at;
        size_t      left = spans[i].len - at, take = left < RECORD_BYTES - len ? left : RECORD_BYTES - len;
        if (len == 0 && (i + 1 == n || take == RECORD_BYTES))
            return mend_mem(from, take);
        memcpy(together + len, from, take);
        len += take;
        at = 0;
    }
    return mend_mem(together, len);
}

static ptrdiff_t channel_send(struct io_channel *c, struct io_sock *s, const mend_bytes *spans, size_t n)
{
    char   together[RECORD_BYTES];
    size_t sent = 0;

    while (!c->failed) {
        mend_bytes record = next_record(spans, n, sent, together);
        if (record.len == 0)
            break;
        int wrote = SSL_write(at_work(c, s), record.data, (int)record.len);
        c->half_sent = wrote <= 0;
        if (wrote <= 0) {
            int result = outcome(c, wrote);
            return sent ? (ptrdiff_t)sent : result;
        }
        sent += (size_t)wrote;
    }
    return sent ? (ptrdiff_t)sent : c->failed;
}

static ptrdiff_t tls_send(struct io *io, struct io_sock *s, const mend_bytes *spans, size_t n)
{
    if (!s->channel)
        return io->tls->below.send(io, s, spans, n);
    if (!enter())
        return IO_FAILED;
    ptrdiff_t sent = channel_send(s->channel, s, spans, n);
    leave();
    return sent;
}

/* Reads what has come, in one receive below if need be: once that has given something, only what it gave. */
static ptrdiff_t channel_recv(struct io_channel *c, struct io_sock *s, const struct conn_span *room, size_t n)
{
    size_t had = 0;

    if (c->failed)
        return c->failed;
    c->dry = c->more = false;
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < room[i].len;) {
            size_t left = room[i].len - at;
            int    got = SSL_read(at_work(c, s), room[i].data + at, left < INT32_MAX ? (int)left : INT32_MAX);
            if (got <= 0) {
                int result = outcome(c, got);
                c->wants_out = SSL_want_write(c->ssl);
                c->more = had && c->failed; /* what ended it is told next time */
                return had ? (ptrdiff_t)had : result;
            }
            at += (size_t)got;
            had += (size_t)got;
            c->dry = c->heard = true;
            c->chatter = 0;
            c->waits = NULL;
        }
    c->more = true;
    return (ptrdiff_t)had;
}

static ptrdiff_t tls_recv_now(struct io *io, struct io_sock *s, struct conn_span *room, size_t n)
{
    if (!s->channel)
        return io->tls->below.recv_now(io, s, room, n);
    if (!enter())
        return IO_FAILED;
    ptrdiff_t got = channel_recv(s->channel, s, room, n);
    leave();
    return got;
}

static ptrdiff_t recv_by(struct io_channel *c, struct io_sock *s, struct conn_span *room, size_t n, nstime now, nstime deadline,
                         ptrdiff_t (*waits)(struct io *, struct io_sock *, struct conn_span *, size_t, nstime, nstime))
{
    if (!enter())
        return IO_FAILED;
    c->waits = waits;
    c->now = now;
    c->deadline = deadline;
    ptrdiff_t got = channel_recv(c, s, room, n);
    c->waits = NULL;
    leave();
    return got;
}

static ptrdiff_t tls_recv_soon(struct io *io, struct io_sock *s, struct conn_span *room, size_t n, nstime now, nstime deadline)
{
    const struct io *below = &io->tls->below;

    return s->channel ? recv_by(s->channel, s, room, n, now, deadline, below->recv_soon) : below->recv_soon(io, s, room, n, now, deadline);
}

static ptrdiff_t tls_recv(struct io *io, struct io_sock *s, struct conn_span *room, size_t n, nstime now, nstime deadline)
{
    const struct io *below = &io->tls->below;

    if (!s->channel)
        return below->recv(io, s, room, n, now, deadline);
    ptrdiff_t got = recv_by(s->channel, s, room, n, now, deadline, below->recv);
    if (got != IO_AGAIN)
        return got;
    /* To read on it has to write, and there is no room for that: a change of keys in the middle of much to send. */
    struct io_poll poll = {.sock = s, .out = true};
    return below->poll(io, &poll, 1, deadline, false) ? IO_AGAIN : IO_TIMEOUT;
}

/* A session that comes while it is idle is taken, and is nothing that needs to be told. */
static int channel_look(struct io_channel *c, struct io_sock *s)
{
    char byte;

    if (c->failed)
        return c->failed;
    c->dry = false;
    int n = SSL_peek(at_work(c, s), &byte, 1);
    c->more = n > 0;
    c->wants_out = SSL_want_write(c->ssl);
    return n > 0 ? IO_DONE : outcome(c, n);
}

static int tls_look(struct io *io, struct io_sock *s)
{
    if (!s->channel)
        return io->tls->below.look(io, s);
    if (!enter())
        return IO_FAILED;
    int result = channel_look(s->channel, s);
    leave();
    return result;
}

/* ---- Waiting ---- */

/* In terms of the socket below. */
static void translate(const struct io_channel *c, struct io_poll *poll)
{
    switch (c->stage) {
    case CONNECTING:
        break;
    case SHAKING:
        poll->in = !c->wants_out;
        poll->out = c->wants_out;
        break;
    case OPEN:
        poll->out |= poll->in && c->wants_out;
        break;
    }
}

/* One that is only watched for a hang-up may be another's by now: it is not touched. */
static const struct io_channel *polled(const struct io_poll *poll)
{
    return poll->sock && (poll->in || poll->out) ? poll->sock->channel : NULL;
}

static int tls_poll(struct io *io, struct io_poll *polls, size_t n, nstime deadline, bool bell)
{
    const struct io_channel *c;
    bool                     more = false;

    for (size_t i = 0; i < n; i++)
        if ((c = polled(&polls[i])) != NULL) {
            translate(c, &polls[i]);
            more |= c->more;
        }
    int ready = io->tls->below.poll(io, polls, n, more ? 0 : deadline, bell);
    for (size_t i = 0; more && i < n; i++)
        if ((c = polled(&polls[i])) != NULL && c->more && !polls[i].ready) {
            polls[i].ready = true;
            ready++;
        }
    return ready;
}

/* ---- The end ---- */

static void channel_free(struct io_channel *c, struct io_sock *s, bool goodbye)
{
    if (goodbye && c->stage == OPEN && !c->failed && !c->half_sent)
        SSL_shutdown(at_work(c, s)); /* if it can be said at once */
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session would not be used again */
    SSL_free(c->ssl);
    ERR_clear_error();
    free(c);
}

static void tls_close(struct io *io, struct io_sock *s, bool reset)
{
    if (s->channel && enter()) {
        channel_free(s->channel, s, !reset);
        leave();
    }
    s->channel = NULL;
    io->tls->below.close(io, s, reset);
}

static void tls_peer_free(struct io *io, struct io_peer *peer)
{
    (void)io;
    if (enter()) {
        for (int i = 0; i < SESSIONS; i++)
            SSL_SESSION_free(peer->sessions[i]);
        leave();
    }
    free(peer->name);
    free(peer);
}

static bool is_address(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* As certificates have it: an IPv6 address without its zone, and a name without the dot that says that it is whole. */
static void trim(char *name)
{
    size_t n = strlen(name);

    if (strchr(name, ':'))
        name[strcspn(name, "%")] = '\0';
    else if (n > 1 && name[n - 1] == '.')
        name[n - 1] = '\0';
}

static struct io_peer *tls_peer(struct io *io, const char *host)
{
    const struct tls_settings *settings = io->tls->settings;
    struct io_peer            *peer = calloc(1, sizeof *peer);

    if (!peer)
        return NULL;
    peer->name = strdup(settings->server_name ? settings->server_name : host);
    if (!peer->name) {
        free(peer);
        return NULL;
    }
    trim(peer->name);
    peer->is_address = is_address(peer->name);
    return peer;
}

/* ---- Over a world ---- */

static void tls_free(struct io *io)
{
    struct io_tls *t = io->tls;
    struct io      below = t->below;

    if (enter()) {
        BIO_meth_free(t->method);
        SSL_CTX_free(t->context);
        leave();
    }
    free(t);
    below.free(io);
}

bool tls_over(struct io *io, const struct tls_settings *settings)
{
    struct io_tls *t = calloc(1, sizeof *t);

    if (!t)
        return false;
    *t = (struct io_tls){.below = *io, .settings = settings};
    io->tls = t;
    io->dial = tls_dial;
    io->dialed = tls_dialed;
    io->send = tls_send;
    io->recv = tls_recv;
    io->recv_soon = tls_recv_soon;
    io->recv_now = tls_recv_now;
    io->look = tls_look;
    io->close = tls_close;
    io->poll = tls_poll;
    io->peer = tls_peer;
    io->peer_free = tls_peer_free;
    io->free = tls_free;
    return true;
}

/* ---- Settings ---- */

__attribute__((format(printf, 3, 4))) static mend_status refuse(char *error, size_t error_size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_size, format, args);
    va_end(args);
    return MEND_E_ARGUMENT;
}

static mend_status no_memory(char *error, size_t error_size)
{
    refuse(error, error_size, "out of memory for TLS");
    return MEND_E_MEMORY;
}

static mend_status load_file(const char *field, const char *path, char **bytes, size_t *len, char *error, size_t error_size)
{
    if (!path)
        return MEND_OK;

    struct memory memory = memory_from(NULL);
    const char   *why = io_read_file(path, &memory, bytes, len);
    return why ? refuse(error, error_size, "tls.%s: %.100s cannot be read: %s", field, path, why) : MEND_OK;
}

static mend_status load(const mend_tls *from, struct tls_settings *to, char *error, size_t error_size)
{
    mend_status status;
    const char *wrong;

    for (size_t i = 0; i < sizeof from->reserved / sizeof *from->reserved; i++)
        if (from->reserved[i])
            return refuse(error, error_size, "tls.reserved: word %zu is not zero", i);
    if (from->key_file && !from->certificate_file)
        return refuse(error, error_size, "tls.key_file: is given without a certificate_file");
    if (from->server_name && !*from->server_name)
        return refuse(error, error_size, "tls.server_name: is empty");
    if (from->server_name && strlen(from->server_name) > TLSEXT_MAXLEN_host_name)
        return refuse(error, error_size, "tls.server_name: is longer than %d bytes", TLSEXT_MAXLEN_host_name);
    to->verifies = !from->insecure_no_verification;
    if (from->server_name && !(to->server_name = strdup(from->server_name)))
        return no_memory(error, error_size);

    status = load_file("ca_file", from->ca_file, &to->ca, &to->ca_len, error, error_size);
    if (status == MEND_OK)
        status = load_file("certificate_file", from->certificate_file, &to->certificate, &to->certificate_len, error, error_size);
    if (status == MEND_OK)
        status = load_file("key_file", from->key_file, &to->key, &to->key_len, error, error_size);
    if (status)
        return status;

    if (!enter())
        return refuse(error, error_size, "tls: %s", io_text(atomic_load(&maimed) ? IO_TLS_FORKED : IO_FAILED));
    to->loaded_by = this_process();
    to->context = context_new(to, &wrong);
    leave();
    if (!to->context)
        return wrong ? refuse(error, error_size, "%s", wrong) : no_memory(error, error_size);
    return MEND_OK;
}

mend_status tls_load(const mend_tls *from, struct tls_settings **to, char *error, size_t error_size)
{
    static const mend_tls nothing;

    *to = prepare() ? calloc(1, sizeof **to) : NULL;
    if (!*to)
        return no_memory(error, error_size);
    mend_status status = load(from ? from : &nothing, *to, error, error_size);
    if (status) {
        tls_unload(*to);
        *to = NULL;
    }
    return status;
}

void tls_unload(struct tls_settings *settings)
{
    if (!settings)
        return;
    if (settings->key)
        OPENSSL_cleanse(settings->key, settings->key_len);
    if (settings->certificate)
        OPENSSL_cleanse(settings->certificate, settings->certificate_len); /* the key may be in it */
    if (settings->context && enter()) {
        SSL_CTX_free(settings->context);
        leave();
    }
    free(settings->key);
    free(settings->certificate);
    free(settings->ca);
    free(settings->server_name);
    free(settings);
}
