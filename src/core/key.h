/* key.h - which keys may be sent, and how.
 *
 * Knows no protocol beyond what a key may be in it. Every call asks key_kind
 * first; wire.c asks key_base64 when it writes a KEY_BINARY key.
 */
#ifndef MEND_CORE_KEY_H
#define MEND_CORE_KEY_H

#include <stdint.h>

#include "mend.h"

/* memcached's limit is on what travels: 186 bytes are 248 in base64, and 187 would be 252. */
enum { KEY_MAX = 250, KEY_BINARY_MAX = 186, KEY_BASE64_MAX = 248 };

enum key_kind {
    KEY_BAD,    /* is never sent */
    KEY_PLAIN,  /* travels as it is, by every protocol */
    KEY_BINARY, /* travels in base64, by the meta protocol alone */
};

enum key_kind key_kind(mend_bytes key);

/* Writes the key in base64, padded (memcached refuses it otherwise), with a NUL
 * behind it; returns the length. For keys of KEY_BINARY_MAX bytes at most. */
size_t key_base64(char out[KEY_BASE64_MAX + 1], mend_bytes key);

/* For tables of this process's own; whoever chooses keys badly makes its own tables slow, and no more. */
uint64_t key_hash(mend_bytes key);

#endif
