/* bytes.h - how bytes are written where not every byte may stand: %XX, base64, UTF-8.
 *
 * Lists of keys are written with %XX for each byte that is not a visible ASCII character,
 * and for % itself, as memcached's own metadump does: a key a line, whatever is in it.
 */
#ifndef CLI_BYTES_H
#define CLI_BYTES_H

#include <stdbool.h>
#include <stddef.h>

/* Written to `to`, which has room for 3 n + 1; a NUL follows. Returns the length. */
size_t percent_encode(char *to, const void *bytes, size_t n);

/* In place; returns the length. A % without two digits behind it stands for itself. */
size_t percent_decode(char *text, size_t n);

/* Room for (n + 2) / 3 * 4 + 1; a NUL follows. Returns the length. */
size_t base64_encode(char *to, const void *bytes, size_t n);

/* Into `to`, room for n / 4 * 3. False if it is not base64. */
bool base64_decode(char *to, size_t *length, const char *text, size_t n);

bool is_utf8(const void *bytes, size_t n);
bool is_visible(const void *bytes, size_t n); /* of ASCII's visible characters only: what a key may be made of in any protocol */

#endif
