/* values.h - keys, and values that name their key and version, so that every answer can be checked.
 *
 * A value's length and every byte of it follow from its key and version. Whatever is not exactly the value of some
 * version of that key was not stored by us: it is wrong, or half.
 */
#ifndef OUTAGE_VALUES_H
#define OUTAGE_VALUES_H

#include <stddef.h>
#include <stdint.h>

enum { KEYS = 120, KEY_MAX_BYTES = 24, VALUE_MAX_BYTES = 1024 };

void     key_name(char name[KEY_MAX_BYTES], unsigned key);
size_t   value_make(char value[VALUE_MAX_BYTES], unsigned key, uint32_t version);
uint32_t value_version(unsigned key, const char *value, size_t length); /* 0: it is none of this key */

#endif
