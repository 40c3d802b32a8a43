/* method_fastlz.c - unpacks FastLZ, which php-memcached packs with unless told otherwise. Debian has no library of it.
 *
 * A sequence of literals and of copies from what came out already. Each begins with a byte:
 *
 *     000nnnnn                            n + 1 literals follow
 *     lllddddd [length...] dddddddd       copies l + 2 bytes from d + 1 bytes back; l = 7: and the length's bytes more
 *
 * The upper three bits of the very first byte, which has literals, are the level less one. Level 1 has one byte of length;
 * level 2 goes on while they are 255, and, where all 13 bits of d are set, has 16 more behind them.
 */
#include "core/method.h"

#include <string.h>

enum { NEAR_MAX = 8191, MORE = 255, LEVELS = 2 };

struct reader {
    const unsigned char *at, *end;
    bool                 short_of; /* a byte was wanted that is not there */
};

static unsigned next(struct reader *r)
{
    if (r->at < r->end)
        return *r->at++;
    r->short_of = true;
    return 0;
}

/* Bytes of a copy may be bytes that it has made itself. */
static bool copy_back(struct buf *out, size_t distance, size_t n, size_t length)
{
    if (distance > out->len || n > length - out->len)
        return false;
    for (const char *from = out->data + out->len - distance; n; n--)
        out->data[out->len++] = *from++;
    return true;
}

static bool copy_literals(struct reader *r, struct buf *out, size_t n, size_t length)
{
    if (n > (size_t)(r->end - r->at) || n > length - out->len)
        return false;
    memcpy(out->data + out->len, r->at, n);
    r->at += n;
    out->len += n;
    return true;
}

static bool read_copy(struct reader *r, unsigned first, unsigned level, struct buf *out, size_t length)
{
    size_t   n = first >> 5, distance = (first & 31) << 8;
    unsigned byte;

    if (n == 7)
        do {
            n += byte = next(r);
        } while (level == 2 && byte == MORE && !r->short_of);
    distance += next(r);
    if (level == 2 && distance == NEAR_MAX) {
        distance += next(r) << 8;
        distance += next(r);
    }
    return !r->short_of && copy_back(out, distance + 1, n + 2, length);
}

static enum method_result unpack(void **kept, const struct memory *memory, mend_bytes packed, uint64_t length, uint64_t most, struct buf *out)
{
    struct reader r = {packed.data, (const unsigned char *)packed.data + packed.len, false};
    (void)kept;
    (void)memory;
    (void)most;

    if (packed.len == 0 || length == METHOD_LENGTH_UNKNOWN)
        return METHOD_BROKEN;
    if (!buf_reserve(out, (size_t)length + 1))
        return METHOD_NO_MEMORY;
    unsigned first = next(&r), level = (first >> 5) + 1;
    if (level > LEVELS || !copy_literals(&r, out, (first & 31) + 1, (size_t)length))
        return METHOD_BROKEN;
    while (r.at < r.end) {
        first = next(&r);
        bool good = first < 32 ? copy_literals(&r, out, first + 1, (size_t)length) : read_copy(&r, first, level, out, (size_t)length);
        if (!good)
            return METHOD_BROKEN;
    }
    return METHOD_DONE;
}

const struct method method_fastlz = {.unpack = unpack, .grows_most = 256};
