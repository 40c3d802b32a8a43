/* values.c - see values.h. */
#include "values.h"

#include <stdio.h>
#include <string.h>

void key_name(char name[KEY_MAX_BYTES], unsigned key)
{
    snprintf(name, KEY_MAX_BYTES, "outage:%u", key * 7919 % 100003);
}

size_t value_make(char value[VALUE_MAX_BYTES], unsigned key, uint32_t version)
{
    uint32_t seed = key * 2654435761u + version * 40503u;
    size_t   n = (size_t)snprintf(value, VALUE_MAX_BYTES, "%u.%u.", key, version);

    for (size_t end = n + 100 + seed % 500; n < end; n++)
        value[n] = (char)('a' + (seed + n * 7) % 26);
    return n;
}

uint32_t value_version(unsigned key, const char *value, size_t length)
{
    char     head[32] = "", wanted[VALUE_MAX_BYTES];
    unsigned told, version;

    memcpy(head, value, length < sizeof head ? length : sizeof head - 1);
    if (sscanf(head, "%u.%u.", &told, &version) != 2 || told != key)
        return 0;
    size_t n = value_make(wanted, key, version);
    return n == length && memcmp(wanted, value, n) == 0 ? version : 0;
}
