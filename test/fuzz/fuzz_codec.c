/* fuzz_codec.c - packed values, as a server may hold them: any bytes, by every method.
 *
 * The input's first byte says in whose way it is packed, and its second which memory request fails (0: none); the rest is the
 * value. From 128 on it is a plain value instead, behind six bytes of configuration, and is packed first. What must hold:
 *   - no byte is read beyond the value, none written beyond what is made for it
 *   - what is unpacked is of `most` bytes at most, with a NUL behind it, and its flags are clean; else there is nothing
 *   - no more memory is asked for than the value can stand for
 *   - what was packed is smaller, and unpacks to what it was
 *   - the same bytes unpack to the same again, by the same tools, whatever those have just failed at
 *   - all memory is given back
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "core/codec.h"

enum { MOST = 64 * 1024 };

static const struct {
    mend_compression compression;
    uint32_t         zlib_flag, flags;
} ways[] = {
    {MEND_COMPRESSION_ZSTD, 0, 1u << 31}, {MEND_COMPRESSION_NONE, 2, 2},    {MEND_COMPRESSION_PYLIBMC, 0, 8 | 16},
    {MEND_COMPRESSION_PHP, 0, 0x30},      {MEND_COMPRESSION_PHP, 0, 0x50},  {MEND_COMPRESSION_PHP, 0, 0x90},
    {MEND_COMPRESSION_PHP, 0, 0xf0},
};

static enum method_result unpack(const struct codec *codec, struct codec_tools *tools, mend_bytes packed, uint32_t flags, struct buf *out)
{
    uint32_t           left = flags;
    enum method_result result = codec_unpack(codec, tools, packed, &left, MOST, out);

    if (result != METHOD_DONE) {
        must(out->len == 0 && left == flags);
        return result;
    }
    must(out->len <= MOST && out->data[out->len] == '\0');
    must(left == (flags & ~codec->bits));
    return result;
}

static void pack(const struct codec *codec, struct supply *supply, const struct memory *memory, mend_bytes plain)
{
    struct codec_tools *tools = codec_tools_new(memory);
    struct buf          packed = {.memory = memory}, again = {.memory = memory};
    uint32_t            flags = 0;

    if (tools && codec_pack(codec, tools, plain, &flags, &packed)) {
        must(packed.len < plain.len && codec_is_packed(codec, flags) && !(flags & ~codec->bits));
        supply->fails_at = 0;
        must(unpack(codec, tools, mend_mem(packed.data, packed.len), flags, &again) == METHOD_DONE);
        must(again.len == plain.len && memcmp(again.data, plain.data, plain.len) == 0);
    }
    buf_release(&packed);
    buf_release(&again);
    codec_tools_free(tools);
}

static int pack_input(const uint8_t *data, size_t size)
{
    enum { BEFORE = 8 };
    if (size < BEFORE)
        return 0;
    struct supply supply = {.fails_at = data[1]};
    struct memory memory = supply_memory(&supply);
    struct codec  codec;
    const char   *why = "";
    mend_config   config = MEND_CONFIG(.compression = (mend_compression)data[2], .compress_above_bytes = data[3], .zstd_flag = data[4] | (uint32_t)data[5] << 24,
                                       .zlib_flag = data[6] | (uint32_t)data[7] << 24);

    if (codec_from(&codec, &config, &why) != MEND_OK)
        must(strstr(why, ": ") != NULL);
    else if (codec.writes != METHOD_NONE)
        pack(&codec, &supply, &memory, mend_mem(data + BEFORE, size - BEFORE));
    must(supply.live == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[0] >= 128)
        return pack_input(data, size);
    size_t        way = data[0] % (sizeof ways / sizeof *ways);
    struct supply supply = {.fails_at = data[1]};
    struct memory memory = supply_memory(&supply);
    struct codec  codec;
    const char   *why;
    mend_config   config = MEND_CONFIG(.compression = ways[way].compression, .zlib_flag = ways[way].zlib_flag);
    mend_bytes    packed = mend_mem(data + 2, size - 2); /* libFuzzer's block, and replay's, is as large as the input */

    if (codec_from(&codec, &config, &why) != MEND_OK) /* this library was built without it */
        return 0;
    struct codec_tools *tools = codec_tools_new(&memory);
    struct buf          first = {.memory = &memory}, again = {.memory = &memory};
    if (tools) {
        enum method_result result = unpack(&codec, tools, packed, ways[way].flags, &first);
        bool               failed = supply.fails_at && supply.asked >= supply.fails_at;
        must(result != METHOD_NO_MEMORY || failed);
        must(first.cap <= 2 * (MOST + 256));
        supply.fails_at = 0;
        enum method_result then = unpack(&codec, tools, packed, ways[way].flags, &again);
        must(result == then || failed);
        must(result != METHOD_DONE || (again.len == first.len && memcmp(again.data, first.data, first.len) == 0));
    }
    buf_release(&first);
    buf_release(&again);
    codec_tools_free(tools);
    must(supply.live == 0);
    return 0;
}
