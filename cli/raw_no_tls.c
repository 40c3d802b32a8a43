/* raw_no_tls.c - see raw_tls.h: a build without OpenSSL. */
#include "raw_tls.h"

#include <stddef.h>

struct raw_tls *raw_tls_new(int fd, const char *host, const mend_tls *settings, const char **why)
{
    (void)fd;
    (void)host;
    (void)settings;
    *why = "this mend was built without TLS";
    return NULL;
}

void raw_tls_free(struct raw_tls *t)
{
    (void)t;
}

int raw_tls_shake(struct raw_tls *t)
{
    (void)t;
    return RAW_TLS_FAILED;
}

ssize_t raw_tls_send(struct raw_tls *t, const char *bytes, size_t n)
{
    (void)t;
    (void)bytes;
    (void)n;
    return RAW_TLS_FAILED;
}

ssize_t raw_tls_recv(struct raw_tls *t, char *to, size_t room)
{
    (void)t;
    (void)to;
    (void)room;
    return RAW_TLS_FAILED;
}

const char *raw_tls_why(struct raw_tls *t)
{
    (void)t;
    return "built without TLS";
}
