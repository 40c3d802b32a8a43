/* io_no_tls.c - see io_tls.h: a build without OpenSSL. */
#include "world/io_tls.h"

#include <stdio.h>

mend_status tls_load(const mend_tls *from, struct tls_settings **to, char *error, size_t error_size)
{
    *to = NULL;
    snprintf(error, error_size, "%s: this libmend was built without TLS (meson's option tls, which wants OpenSSL 3)", from ? "tls" : "servers");
    return MEND_E_ARGUMENT;
}

void tls_unload(struct tls_settings *settings)
{
    (void)settings;
}

bool tls_over(struct io *io, const struct tls_settings *settings)
{
    (void)io;
    (void)settings;
    return false;
}
