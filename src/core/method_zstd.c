/* method_zstd.c - packs and unpacks by zstd: whole frames. */
#include "core/method.h"

#define ZSTD_STATIC_LINKING_ONLY /* for allocators of one's own; the library has exported them since 1.0 */
#include <zstd.h>
#include <zstd_errors.h>

/* Level 1: 1.7 ms a megabyte of JSON, where 3 takes 2.2 and saved nothing more. */
enum { LEVEL = 1 };

enum { GROWS_MOST = 32 * 1024 }; /* a block of 128 KB that is one byte, in 4 bytes */

struct kept {
    ZSTD_CCtx *packer;
    ZSTD_DCtx *unpacker;
};

static void *allocate(void *memory, size_t bytes)
{
    return memory_allocate(memory, bytes);
}

static void release_block(void *memory, void *p)
{
    memory_release(memory, p);
}

static ZSTD_customMem hooks(const struct memory *memory)
{
    return (ZSTD_customMem){allocate, release_block, (void *)(uintptr_t)memory};
}

static struct kept *keep(void **kept, const struct memory *memory)
{
    if (!*kept)
        *kept = memory_zeroed(memory, 1, sizeof(struct kept));
    return *kept;
}

static bool pack(void **kept, const struct memory *memory, mend_bytes plain, struct buf *out)
{
    struct kept *k = keep(kept, memory);

    if (!k || (!k->packer && !(k->packer = ZSTD_createCCtx_advanced(hooks(memory)))))
        return false;
    size_t n = ZSTD_compressCCtx(k->packer, out->data + out->len, out->cap - out->len, plain.data, plain.len, LEVEL);
    if (ZSTD_isError(n))
        return false;
    out->len += n;
    return true;
}

static enum method_result unpack(void **kept, const struct memory *memory, mend_bytes packed, uint64_t length, uint64_t most, struct buf *out)
{
    struct kept       *k = keep(kept, memory);
    unsigned long long said = ZSTD_getFrameContentSize(packed.data, packed.len);
    bool               known = said != ZSTD_CONTENTSIZE_UNKNOWN || length != METHOD_LENGTH_UNKNOWN;

    if (!k || (!k->unpacker && !(k->unpacker = ZSTD_createDCtx_advanced(hooks(memory)))))
        return METHOD_NO_MEMORY;
    if (said == ZSTD_CONTENTSIZE_ERROR || (said != ZSTD_CONTENTSIZE_UNKNOWN && said / GROWS_MOST > packed.len))
        return METHOD_BROKEN;
    if (said != ZSTD_CONTENTSIZE_UNKNOWN && said > most)
        return METHOD_LARGE;
    if (length == METHOD_LENGTH_UNKNOWN && known)
        length = said;
    if (known && !buf_reserve(out, (size_t)length + 1))
        return METHOD_NO_MEMORY;
    for (bool grown = false;; grown = true) {
        enum method_result room = known ? METHOD_DONE : method_room(out, packed, most, grown);
        if (room != METHOD_DONE)
            return room;
        size_t n = ZSTD_decompressDCtx(k->unpacker, out->data, out->cap - 1, packed.data, packed.len);
        if (!ZSTD_isError(n)) {
            out->len = n;
            return n > most ? METHOD_LARGE : known && n != length ? METHOD_BROKEN : METHOD_DONE;
        }
        if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
            return METHOD_NO_MEMORY;
        if (known || ZSTD_getErrorCode(n) != ZSTD_error_dstSize_tooSmall)
            return METHOD_BROKEN;
    }
}

static void release(void *kept, const struct memory *memory)
{
    struct kept *k = kept;

    ZSTD_freeCCtx(k->packer);
    ZSTD_freeDCtx(k->unpacker);
    memory_release(memory, k);
}

const struct method method_zstd = {pack, unpack, release, GROWS_MOST};
