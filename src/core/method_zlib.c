/* method_zlib.c - packs and unpacks by zlib; also unpacks gzip, by its own header. */
#include "core/method.h"

#include <limits.h>
#include <zlib.h>

/* Level 1: 4 ms a megabyte of JSON, where 6, the usual one, takes 12 and saves a seventh more. */
enum { LEVEL = 1, ANY_HEADER = 15 + 32 };

enum { GROWS_MOST = 1032 }; /* 258 bytes in two bits */

struct kept {
    z_stream packer, unpacker;
    bool     has_packer, has_unpacker;
};

static void *allocate(void *memory, uInt n, uInt each)
{
    return memory_zeroed(memory, n, each);
}

static void release_block(void *memory, void *p)
{
    memory_release(memory, p);
}

static struct kept *keep(void **kept, const struct memory *memory)
{
    if (!*kept)
        *kept = memory_zeroed(memory, 1, sizeof(struct kept));
    return *kept;
}

static void begin(z_stream *z, const struct memory *memory)
{
    *z = (z_stream){.zalloc = allocate, .zfree = release_block, .opaque = (void *)(uintptr_t)memory};
}

static z_stream *packer(struct kept *k, const struct memory *memory)
{
    if (k->has_packer)
        return deflateReset(&k->packer) == Z_OK ? &k->packer : NULL;
    begin(&k->packer, memory);
    k->has_packer = deflateInit(&k->packer, LEVEL) == Z_OK;
    return k->has_packer ? &k->packer : NULL;
}

static z_stream *unpacker(struct kept *k, const struct memory *memory)
{
    if (k->has_unpacker)
        return inflateReset(&k->unpacker) == Z_OK ? &k->unpacker : NULL;
    begin(&k->unpacker, memory);
    k->has_unpacker = inflateInit2(&k->unpacker, ANY_HEADER) == Z_OK;
    return k->has_unpacker ? &k->unpacker : NULL;
}

static bool pack(void **kept, const struct memory *memory, mend_bytes plain, struct buf *out)
{
    struct kept *k = keep(kept, memory);
    z_stream    *z = k ? packer(k, memory) : NULL;

    if (!z || plain.len > UINT_MAX)
        return false;
    z->next_in = (Bytef *)(uintptr_t)plain.data;
    z->avail_in = (uInt)plain.len;
    z->next_out = (Bytef *)out->data + out->len;
    z->avail_out = (uInt)(out->cap - out->len);
    if (deflate(z, Z_FINISH) != Z_STREAM_END)
        return false;
    out->len = out->cap - z->avail_out;
    return true;
}

/* All the room there is for plain bytes, but for that of the NUL. */
static size_t fill(z_stream *z, struct buf *out)
{
    size_t room = out->cap - out->len - 1;

    if (room > UINT_MAX)
        room = UINT_MAX;
    z->next_out = (Bytef *)out->data + out->len;
    z->avail_out = (uInt)room;
    return room;
}

static enum method_result unpack(void **kept, const struct memory *memory, mend_bytes packed, uint64_t length, uint64_t most, struct buf *out)
{
    struct kept *k = keep(kept, memory);
    z_stream    *z = k ? unpacker(k, memory) : NULL;
    bool         known = length != METHOD_LENGTH_UNKNOWN;
    int          result = Z_OK;

    if (!z)
        return METHOD_NO_MEMORY;
    if (packed.len > UINT_MAX)
        return METHOD_BROKEN;
    if (known && !buf_reserve(out, (size_t)length + 1))
        return METHOD_NO_MEMORY;
    z->next_in = (Bytef *)(uintptr_t)packed.data;
    z->avail_in = (uInt)packed.len;
    for (bool grown = false; result != Z_STREAM_END; grown = true) {
        enum method_result room = known ? METHOD_DONE : method_room(out, packed, most, grown);
        if (room != METHOD_DONE)
            return room;
        size_t had = fill(z, out);
        result = inflate(z, Z_NO_FLUSH);
        out->len += had - z->avail_out;
        if (result == Z_MEM_ERROR)
            return METHOD_NO_MEMORY;
        bool full = z->avail_out == 0;
        if (result != Z_STREAM_END && ((result != Z_OK && result != Z_BUF_ERROR) || !full || known))
            return METHOD_BROKEN;
    }
    if (out->len > most)
        return METHOD_LARGE;
    return z->avail_in ? METHOD_BROKEN : METHOD_DONE;
}

static void release(void *kept, const struct memory *memory)
{
    struct kept *k = kept;

    if (k->has_packer)
        deflateEnd(&k->packer);
    if (k->has_unpacker)
        inflateEnd(&k->unpacker);
    memory_release(memory, k);
}

const struct method method_zlib = {pack, unpack, release, GROWS_MOST};
