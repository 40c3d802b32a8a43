/* io_tls.h - TLS over a world's sockets. With OpenSSL: io_tls.c; in a build without it: io_no_tls.c.
 *
 * It takes the place of the functions that move bytes, for the sockets that are dialed with a
 * peer; all others go on below as they were. Knows no memcached. Used as
 *
 *     tls_load     at open: reads the files, and says what is wrong with them
 *     tls_over     each time that a world begins
 *     tls_unload   at the end
 */
#ifndef MEND_WORLD_IO_TLS_H
#define MEND_WORLD_IO_TLS_H

#include "mend.h"
#include "world/io.h"

/* What mend_tls says, with what the files hold: a child that is forked off begins its own from that. Immutable. */
struct tls_settings;

/* from: NULL: as if all zeros. MEND_OK; MEND_E_ARGUMENT or MEND_E_MEMORY, and `error` says why, in words that name the field. */
mend_status tls_load(const mend_tls *from, struct tls_settings **to, char *error, size_t error_size);
void        tls_unload(struct tls_settings *settings); /* NULL is nothing to do */

/* From here on io has peers, and io->free frees this, too. False: no memory, and nothing has changed. */
bool tls_over(struct io *io, const struct tls_settings *settings);

#endif
