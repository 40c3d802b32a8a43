/* codec.c - see codec.h. */
#include "core/codec.h"

#include <string.h>

/* What a value must come to less than itself, to be worth the unpacking: 15 parts of 16. */
enum { SAVES_PART = 16 };

enum { LENGTH_BYTES = 4 };

/* Of mend's own preset, where the configuration names none: the bit that applications reach last. */
#define ZSTD_FLAG_DEFAULT ((uint32_t)1 << 31)

static const struct method *const methods[METHODS] = {
#ifdef MEND_ZLIB
    [METHOD_ZLIB] = &method_zlib,
#endif
#ifdef MEND_ZSTD
    [METHOD_ZSTD] = &method_zstd,
#endif
    [METHOD_FASTLZ] = &method_fastlz,
};

/* php-memcached: bits 4 to 7, under the application's 16 to 31 and over its types in 0 to 3. It packs with FastLZ unless told
 * otherwise, and reads zlib always. The Python clients' is python-memcached's bit. */
static const struct codec presets[] = {
    [MEND_COMPRESSION_NONE] = {.writes = METHOD_NONE},
    [MEND_COMPRESSION_ZSTD] = {.writes = METHOD_ZSTD},
    [MEND_COMPRESSION_PHP] = {.packed = 0x10, .by = {[METHOD_ZLIB] = 0x20, [METHOD_FASTLZ] = 0x40, [METHOD_ZSTD] = 0x80},
                              .length_first = true, .writes = METHOD_ZLIB},
    [MEND_COMPRESSION_PYLIBMC] = {.by = {[METHOD_ZLIB] = 8}, .writes = METHOD_ZLIB},
    [MEND_COMPRESSION_PYMEMCACHE] = {.by = {[METHOD_ZLIB] = 8}, .writes = METHOD_ZLIB},
};

/* ---- What a configuration says ---- */

static mend_status wrong(const char **why, const char *text)
{
    *why = text;
    return MEND_E_ARGUMENT;
}

static bool is_one_bit(uint32_t flag)
{
    return (flag & (flag - 1)) == 0; /* or none */
}

mend_status codec_from(struct codec *codec, const mend_config *config, const char **why)
{
    if ((int)config->compression < 0 || config->compression > MEND_COMPRESSION_PYMEMCACHE)
        return wrong(why, "compression: there is no such choice");
    bool preset = config->compression > MEND_COMPRESSION_ZSTD;
    if (config->compress_above_bytes > 0 && config->compression == MEND_COMPRESSION_NONE)
        return wrong(why, "compression: is none, and compress_above_bytes wants one");
    if (preset && config->zstd_flag)
        return wrong(why, "zstd_flag: this compression has flags of its own");
    if (preset && config->zlib_flag)
        return wrong(why, "zlib_flag: this compression has flags of its own");
    if (!is_one_bit(config->zstd_flag))
        return wrong(why, "zstd_flag: is not a single bit");
    if (!is_one_bit(config->zlib_flag))
        return wrong(why, "zlib_flag: is not a single bit");

    *codec = presets[config->compression];
    if (!preset) {
        codec->by[METHOD_ZSTD] = config->zstd_flag;
        codec->by[METHOD_ZLIB] = config->zlib_flag;
    }
    if (config->compression == MEND_COMPRESSION_ZSTD && !config->zstd_flag)
        codec->by[METHOD_ZSTD] = ZSTD_FLAG_DEFAULT;
    if (codec->by[METHOD_ZSTD] & codec->by[METHOD_ZLIB])
        return wrong(why, "zlib_flag: is zstd_flag's bit");
    if (codec->writes != METHOD_NONE && !methods[codec->writes])
        return wrong(why, "compression: this library was built without it");
    if (config->zstd_flag && !methods[METHOD_ZSTD])
        return wrong(why, "zstd_flag: this library was built without zstd");
    if (config->zlib_flag && !methods[METHOD_ZLIB])
        return wrong(why, "zlib_flag: this library was built without zlib");
    codec->bits = codec->packed;
    for (size_t i = 0; i < METHODS; i++)
        codec->bits |= codec->by[i];
    return MEND_OK;
}

/* ---- Tools ---- */

struct codec_tools *codec_tools_new(const struct memory *memory)
{
    struct codec_tools *tools = memory_zeroed(memory, 1, sizeof *tools);

    if (tools)
        tools->memory = *memory;
    return tools;
}

void codec_tools_free(struct codec_tools *tools)
{
    if (!tools)
        return;
    struct memory memory = tools->memory;
    for (size_t i = 0; i < METHODS; i++)
        if (tools->kept[i])
            methods[i]->release(tools->kept[i], &tools->memory);
    memory_release(&memory, tools);
}

/* ---- Packing ---- */

bool codec_pack(const struct codec *codec, struct codec_tools *tools, mend_bytes plain, uint32_t *flags, struct buf *out)
{
    const struct method *method = methods[codec->writes];
    uint32_t             length = (uint32_t)plain.len;
    size_t               room = plain.len - plain.len / SAVES_PART;

    if (plain.len < SAVES_PART || plain.len > UINT32_MAX || !buf_reserve(out, room))
        return false;
    struct buf all = *out;
    all.cap = room;
    if (codec->length_first)
        buf_add(&all, &length, LENGTH_BYTES);
    if (!method->pack(&tools->kept[codec->writes], &tools->memory, plain, &all))
        return false;
    out->len = all.len;
    *flags |= codec->packed | codec->by[codec->writes];
    return true;
}

/* ---- Unpacking ---- */

enum method_result method_room(struct buf *out, mend_bytes packed, uint64_t most, bool grown)
{
    enum { GUESS = 4, LEAST = 256 };
    uint64_t want = grown ? 2 * (uint64_t)out->cap : (uint64_t)packed.len * GUESS + LEAST;

    if (grown && out->cap > most)
        return METHOD_LARGE;
    if (want > most)
        want = most + 1;
    return want <= SIZE_MAX && buf_reserve(out, (size_t)want - out->len) ? METHOD_DONE : METHOD_NO_MEMORY;
}

/* The one method that the flags name; METHOD_NONE: there is none, or more than one, or one that this library lacks. */
static enum method_name method_of(const struct codec *codec, uint32_t flags)
{
    enum method_name found = METHOD_NONE;

    for (unsigned i = METHOD_NONE + 1; i < METHODS; i++) {
        if (!(flags & codec->by[i]))
            continue;
        if (found || !methods[i])
            return METHOD_NONE;
        found = (enum method_name)i;
    }
    return found;
}

enum method_result codec_unpack(const struct codec *codec, struct codec_tools *tools, mend_bytes packed, uint32_t *flags,
                                uint64_t most, struct buf *out)
{
    enum method_name name = method_of(codec, *flags);
    uint64_t         length = METHOD_LENGTH_UNKNOWN;

    if (name == METHOD_NONE)
        return METHOD_BROKEN;
    if (codec->length_first) {
        uint32_t said;
        if (packed.len < LENGTH_BYTES)
            return METHOD_BROKEN;
        memcpy(&said, packed.data, LENGTH_BYTES);
        packed = mend_mem((const char *)packed.data + LENGTH_BYTES, packed.len - LENGTH_BYTES);
        length = said;
        if (length / methods[name]->grows_most > packed.len)
            return METHOD_BROKEN;
        if (length > most)
            return METHOD_LARGE;
    }
    enum method_result result = methods[name]->unpack(&tools->kept[name], &tools->memory, packed, length, most, out);
    if (result == METHOD_DONE && length != METHOD_LENGTH_UNKNOWN && out->len != length)
        result = METHOD_BROKEN;
    if (result == METHOD_DONE && !buf_reserve(out, 1))
        result = METHOD_NO_MEMORY;
    if (result != METHOD_DONE) {
        out->len = 0;
        return result;
    }
    out->data[out->len] = '\0';
    *flags &= ~codec->bits;
    return METHOD_DONE;
}
