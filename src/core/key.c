/* key.c - see key.h. */
#include "core/key.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define EACH_BYTE(b) (UINT64_MAX / 0xff * (b))

/* A high bit stays set for a byte that is no plain one: for those below 0x21 and the highest by the first term, for
 * those above 0x7e by the second. A borrow or carry may flag the next byte wrongly, but begins at one flagged rightly. */
static uint64_t odd_in(uint64_t word)
{
    return ((word - EACH_BYTE(0x21)) | (word + EACH_BYTE(0x01))) & EACH_BYTE(0x80);
}

static uint64_t odd_at(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return odd_in(word);
}

/* Eight bytes at a time, since every call comes through here; the last eight overlap those before them. */
static bool is_plain(const unsigned char *p, size_t len)
{
    uint64_t odd = 0;
    if (len < 8) {
        for (size_t i = 0; i < len; i++)
            odd |= odd_in(EACH_BYTE(p[i]));
        return !odd;
    }
    for (size_t i = 0; i + 8 < len; i += 8)
        odd |= odd_at(p + i);
    return !(odd | odd_at(p + len - 8));
}

enum key_kind key_kind(mend_bytes key)
{
    if (!key.data || !key.len || key.len > KEY_MAX)
        return KEY_BAD;
    if (is_plain(key.data, key.len))
        return KEY_PLAIN;
    return key.len <= KEY_BINARY_MAX ? KEY_BINARY : KEY_BAD;
}

size_t key_base64(char out[KEY_BASE64_MAX + 1], mend_bytes key)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = key.data;
    char *to = out;

    assert(key.len <= KEY_BINARY_MAX);
    for (size_t i = 0; i < key.len; i += 3) {
        size_t left = key.len - i;
        uint32_t three = (uint32_t)in[i] << 16;
        if (left > 1)
            three |= (uint32_t)in[i + 1] << 8;
        if (left > 2)
            three |= in[i + 2];
        *to++ = digit[three >> 18];
        *to++ = digit[three >> 12 & 63];
        *to++ = left > 1 ? digit[three >> 6 & 63] : '=';
        *to++ = left > 2 ? digit[three & 63] : '=';
    }
    *to = '\0';
    return (size_t)(to - out);
}

/* FNV-1a (Fowler, Noll, Vo). */
uint64_t key_hash(mend_bytes key)
{
    const unsigned char *p = key.data;
    uint64_t             hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}
