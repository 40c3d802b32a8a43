/* raw_tls.c - see raw_tls.h. */
#include "raw_tls.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct raw_tls {
    SSL_CTX *context;
    SSL     *ssl;
};

/* Returns what is wrong, or NULL. The library has read the same files, and says more of what is wrong with them. */
static const char *configure(SSL_CTX *context, const mend_tls *settings)
{
    const char *certificate = settings->certificate_file, *key = settings->key_file ? settings->key_file : certificate;

    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, settings->insecure_no_verification ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (settings->ca_file ? SSL_CTX_load_verify_locations(context, settings->ca_file, NULL) != 1 : SSL_CTX_set_default_verify_paths(context) != 1)
        return "the authorities can't be read";
    if (certificate && (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1))
        return "the certificate or its key can't be read";
    return NULL;
}

static bool name(SSL *ssl, const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

struct raw_tls *raw_tls_new(int fd, const char *host, const mend_tls *settings, const char **why)
{
    static const mend_tls zeros;
    struct raw_tls       *t = calloc(1, sizeof *t);

    *why = "TLS can't be had";
    if (!t || !(t->context = SSL_CTX_new(TLS_client_method())))
        goto fail;
    settings = settings ? settings : &zeros;
    const char *wrong = configure(t->context, settings);
    if (wrong) {
        *why = wrong;
        goto fail;
    }
    t->ssl = SSL_new(t->context);
    if (t->ssl && SSL_set_fd(t->ssl, fd) == 1 && name(t->ssl, settings->server_name ? settings->server_name : host))
        return t;

fail:
    raw_tls_free(t);
    return NULL;
}

void raw_tls_free(struct raw_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl);
    SSL_CTX_free(t->context);
    free(t);
}

static int result_of(struct raw_tls *t, int result)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ: return RAW_TLS_READS;
    case SSL_ERROR_WANT_WRITE: return RAW_TLS_WRITES;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: return RAW_TLS_FAILED;
    }
}

/* OpenSSL writes as to a file: a connection that broke would kill us. */
static bool pipe_signal_off(sigset_t *pipe, sigset_t *before)
{
    sigset_t pending;

    sigemptyset(pipe);
    sigaddset(pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, pipe, before);
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE);
}

static void pipe_signal_back(const sigset_t *pipe, const sigset_t *before, bool was_pending)
{
    static const struct timespec at_once;

    if (!was_pending)
        sigtimedwait(pipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

int raw_tls_shake(struct raw_tls *t)
{
    sigset_t pipe, before;
    bool     pending = pipe_signal_off(&pipe, &before);

    ERR_clear_error();
    int result = result_of(t, SSL_connect(t->ssl));
    pipe_signal_back(&pipe, &before, pending);
    return result;
}

ssize_t raw_tls_send(struct raw_tls *t, const char *bytes, size_t n)
{
    sigset_t pipe, before;
    bool     pending = pipe_signal_off(&pipe, &before);

    ERR_clear_error();
    int result = result_of(t, SSL_write(t->ssl, bytes, (int)n));
    pipe_signal_back(&pipe, &before, pending);
    return result;
}

ssize_t raw_tls_recv(struct raw_tls *t, char *to, size_t room)
{
    ERR_clear_error();
    return result_of(t, SSL_read(t->ssl, to, (int)room));
}

const char *raw_tls_why(struct raw_tls *t)
{
    long        verdict = SSL_get_verify_result(t->ssl);
    const char *why = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : ERR_reason_error_string(ERR_peek_last_error());

    return why ? why : "the connection broke";
}
