/* test_codec.c - packed values, without a network: the bytes of other clients, what a configuration may say, bombs and broken
 * bytes, and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/codec.h"

#define HELLO "hello hello, this is a value. "
static const char hello_3[] = HELLO HELLO HELLO;

enum { MB = 1 << 20 };

/* Memory that counts, and fails the n-th request and all after it; 0: none. */
static struct supply {
    unsigned asked, fails_at, live;
} supply;

static bool is_out(void)
{
    return ++supply.asked >= supply.fails_at && supply.fails_at;
}

static void *supply_allocate(size_t bytes, void *context)
{
    (void)context;
    if (is_out())
        return NULL;
    supply.live++;
    return malloc(bytes);
}

static void *supply_reallocate(void *p, size_t bytes, void *context)
{
    (void)context;
    if (is_out())
        return NULL;
    supply.live += !p;
    return realloc(p, bytes);
}

static void supply_release(void *p, void *context)
{
    (void)context;
    supply.live -= p != NULL;
    free(p);
}

static const struct memory memory = {{supply_allocate, supply_reallocate, supply_release, NULL}};

static struct codec codec_for(mend_config config)
{
    struct codec codec;
    const char  *why = "";

    if (codec_from(&codec, &config, &why) != MEND_OK)
        fail_msg("%s", why);
    return codec;
}

#define CODEC(...) codec_for(MEND_CONFIG(__VA_ARGS__))

/* One that this library was built without is no test's fault. */
static void needs(enum mend_compression compression)
{
    struct codec codec;
    const char  *why;

    if (codec_from(&codec, &MEND_CONFIG(.compression = compression), &why) == MEND_OK)
        return;
    print_message("skipped: %s\n", why);
    skip();
}

/* Unpacks by tools of its own; the plain bytes are `out`'s. */
static enum method_result unpack(const struct codec *codec, const void *packed, size_t n, uint32_t flags, uint64_t most, struct buf *out)
{
    struct codec_tools *tools = codec_tools_new(&memory);
    char               *exact = malloc(n ? n : 1); /* a byte too far is seen */

    *out = (struct buf){.memory = &memory};
    assert_non_null(tools);
    memcpy(exact, packed, n);
    enum method_result result = codec_unpack(codec, tools, mend_mem(exact, n), &flags, most, out);
    assert_int_equal(flags & codec->bits, result == METHOD_DONE ? 0 : flags & codec->bits);
    assert_true(result == METHOD_DONE || out->len == 0);
    free(exact);
    codec_tools_free(tools);
    return result;
}

static void unpacks_to(const struct codec *codec, const void *packed, size_t n, uint32_t flags, const void *plain, size_t len)
{
    struct buf out;

    assert_int_equal(unpack(codec, packed, n, flags, MB, &out), METHOD_DONE);
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, plain, len);
    assert_int_equal(out.data[len], 0);
    buf_release(&out);
    assert_int_equal(unpack(codec, packed, n, flags, len, &out), METHOD_DONE); /* exactly as much as may be */
    buf_release(&out);
    assert_int_equal(unpack(codec, packed, n, flags, len - 1, &out), METHOD_LARGE);
    buf_release(&out);
    assert_int_equal(supply.live, 0);
}

/* ---- The bytes of others ---- */

#define BYTES(s) (s), sizeof(s) - 1

static const char zlib_3[] = "\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x00\x91\x3a\x0a\x25\x19\x99\xc5\x0a\x40\x94\xa8\x50\x96\x98\x53\x9a\xaa"
                             "\x07\x11\x27\x53\x16\x00\x98\x05\x1e\xfd"; /* Python's zlib.compress */
static const char gzip_3[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x00\x91\x3a\x0a\x25\x19\x99\xc5\x0a\x40"
                             "\x94\xa8\x50\x96\x98\x53\x9a\xaa\x07\x11\x27\x53\x16\x00\xea\xb5\x53\x51\x5a\x00\x00\x00";
static const char zstd_3[] = "\x28\xb5\x2f\xfd\x24\x5a\x2d\x01\x00\xc0\x68\x65\x6c\x6c\x6f\x20\x2c\x20\x74\x68\x69\x73\x20\x69\x73\x20"
                           "\x61\x20\x76\x61\x6c\x75\x65\x2e\x04\x00\x06\x15\x01\x0c\x60\xe7\x84\x5c\x05\x0e\x61\x1b\xe7\x5e"; /* the zstd program, of a file... */
static const char zstd_stream_3[] = "\x28\xb5\x2f\xfd\x04\x58\x35\x01\x00\xe8\x68\x65\x6c\x6c\x6f\x20\x68\x65\x6c\x6c\x6f\x2c\x20\x74\x68\x69"
                           "\x73\x20\x69\x73\x20\x61\x20\x76\x61\x6c\x75\x65\x2e\x02\x00\x0c\xea\x80\x16\x9b\x4e\x61\x1b\xe7\x5e"; /* ...and of a pipe */
/* php-memcached 3.2.0, as it comes: 3000 bytes, 100 times HELLO */
static const char php_fastlz_100[] = "\xb8\x0b\x00\x00\x05\x68\x65\x6c\x6c\x6f\x20\x60\x05\x06\x2c\x20\x74\x68\x69\x73\x20\x20\x02\x07\x61\x20\x76\x61\x6c\x75\x65\x2e\x80\x17\x80\x05\xe0\xfd"
                                     "\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\xfd\x1d\xe0\x41\x1d\x02\x65\x2e\x20";
/* ...and with OPT_COMPRESSION_TYPE at COMPRESSION_ZLIB */
static const char php_zlib_100[] = "\xb8\x0b\x00\x00\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x00\x91\x3a\x0a\x25\x19\x99\xc5\x0a\x40\x94\xa8\x50\x96\x98\x53\x9a\xaa"
                                     "\x07\x11\x1f\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x95\x1d\x60\x59\x00\xe5\x4f\x09\x0d";

static bool little_endian(void)
{
    return *(const char *)&(const uint32_t){1} == 1;
}

static void bytes_of_python(void **state)
{
    (void)state;
    needs(MEND_COMPRESSION_PYLIBMC);
    struct codec pylibmc = CODEC(.compression = MEND_COMPRESSION_PYLIBMC), pymemcache = CODEC(.compression = MEND_COMPRESSION_PYMEMCACHE);
    unpacks_to(&pylibmc, BYTES(zlib_3), 8 | 16, hello_3, 90);
    unpacks_to(&pymemcache, BYTES(zlib_3), 8 | 16, hello_3, 90);
    assert_false(codec_is_packed(&pylibmc, 16 | 4 | 2 | 1));
}

static void bytes_of_spymemcached(void **state)
{
    (void)state;
    needs(MEND_COMPRESSION_PYLIBMC);
    struct codec spy = CODEC(.zlib_flag = 2);
    unpacks_to(&spy, BYTES(gzip_3), 2, hello_3, 90);
}

static void bytes_of_zstd(void **state)
{
    (void)state;
    needs(MEND_COMPRESSION_ZSTD);
    struct codec by_default = CODEC(.compression = MEND_COMPRESSION_ZSTD), named = CODEC(.zstd_flag = 64);
    unpacks_to(&by_default, BYTES(zstd_3), 1u << 31, hello_3, 90);
    unpacks_to(&named, BYTES(zstd_3), 64 | 1u << 31, hello_3, 90);
    unpacks_to(&named, BYTES(zstd_stream_3), 64, hello_3, 90); /* without its length */
}

static void bytes_of_php(void **state)
{
    char plain[3000];
    (void)state;
    needs(MEND_COMPRESSION_PHP);
    if (!little_endian()) {
        print_message("skipped: php-memcached's lengths are in the machine's order, and these are a little-endian's\n");
        skip();
    }
    for (size_t i = 0; i < 100; i++)
        memcpy(plain + 30 * i, HELLO, 30);
    struct codec php = CODEC(.compression = MEND_COMPRESSION_PHP);
    unpacks_to(&php, BYTES(php_fastlz_100), 0x50, plain, 3000);
    unpacks_to(&php, BYTES(php_zlib_100), 0x30, plain, 3000);
    assert_false(codec_is_packed(&php, 0x20 | 0xf)); /* php-memcached looks at 0x10 */

    struct buf out;
    static const uint32_t wrong[] = {0x10, 0x70, 0x90 | 0x20, 0x50 | 0x80};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(unpack(&php, BYTES(php_zlib_100), wrong[i], MB, &out), METHOD_BROKEN);
}

/* FastLZ's second level, by hand: php-memcached uses it from 64 KB on. */
static void fastlz_by_hand(void **state)
{
    (void)state;
    struct codec php = {.packed = 0x10, .by = {[METHOD_FASTLZ] = 0x40}, .length_first = true, .bits = 0x50};
    struct {
        uint32_t length;
        char     bytes[64];
    } v;
    char        plain[20000];
    static const struct {
        const char *bytes;
        size_t      n;
        uint32_t    length;
        const char *plain; /* NULL: broken */
    } rows[] = {
        {BYTES("\x02" "abc"), 3, "abc"},
        {BYTES("\x02" "abc\x20\x02"), 6, "abcabc"},            /* three from three back */
        {BYTES("\x00" "a\x20\x00"), 4, "aaaa"},                /* out of what it makes itself */
        {BYTES("\x00" "a\xe0\x01\x00"), 11, "aaaaaaaaaaa"},    /* a length of two bytes */
        {BYTES("\x20" "a\xe0\x01\x00"), 11, "aaaaaaaaaaa"},    /* the same on the second level */
        {BYTES("\x22" "abc\x00" "d"), 4, "abcd"},
        {BYTES(""), 0, NULL},
        {BYTES("\x02" "abc"), 4, NULL},         /* less than it says */
        {BYTES("\x02" "abc"), 2, NULL},         /* more */
        {BYTES("\x03" "abc"), 4, NULL},         /* cut in its literals... */
        {BYTES("\x02" "abc\x20"), 6, NULL},     /* ...in a copy... */
        {BYTES("\x02" "abc\xe0"), 20, NULL},    /* ...in its length... */
        {BYTES("\x22" "abc\xe0\xff"), 600, NULL},
        {BYTES("\x22" "abc\x3f\xff"), 6, NULL}, /* ...in a far distance */
        {BYTES("\x02" "abc\x20\x03"), 6, NULL}, /* from before the beginning */
        {BYTES("\x42" "abc"), 3, NULL},         /* a third level */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out;
        v.length = rows[i].length;
        memcpy(v.bytes, rows[i].bytes, rows[i].n);
        if (rows[i].plain)
            unpacks_to(&php, &v, 4 + rows[i].n, 0x50, rows[i].plain, rows[i].length);
        else {
            assert_int_equal(unpack(&php, &v, 4 + rows[i].n, 0x50, MB, &out), METHOD_BROKEN);
            buf_release(&out);
        }
    }
    /* level 2: "ab", then a's as far as 8192 back; then a copy of "ab" and what follows it from 9000 back */
    char *to = v.bytes;
    memset(plain, 'a', sizeof plain);
    plain[1] = 'b';
    memcpy(to, "\x22" "aba\xe0", 5);
    to += 5;
    size_t left = 9000 - 3 - 9;
    for (; left >= 255; left -= 255)
        *to++ = '\xff';
    *to++ = (char)left;
    *to++ = 0;
    unsigned far = 9000 - 8191 - 1;
    *to++ = '\x3f';
    *to++ = '\xff';
    *to++ = (char)(far >> 8);
    *to++ = (char)far;
    memcpy(plain + 9000, plain, 3);
    v.length = 9003;
    unpacks_to(&php, &v, 4 + (size_t)(to - v.bytes), 0x50, plain, 9003);
}

/* ---- There and back ---- */

/* Something that packs to about a third. */
static char *letters(size_t n)
{
    char    *p = malloc(n);
    unsigned x = 1;

    for (size_t i = 0; i < n; i++) {
        x = x * 1103515245 + 12345;
        p[i] = "abcdefghabcdabab"[x >> 28];
    }
    return p;
}

static const mend_compression all[] = {MEND_COMPRESSION_ZSTD, MEND_COMPRESSION_PHP, MEND_COMPRESSION_PYLIBMC, MEND_COMPRESSION_PYMEMCACHE};

static void there_and_back(void **state)
{
    static const size_t sizes[] = {200, 4096, 100000, 3 * MB};
    char               *plain = letters(3 * MB);
    (void)state;
    needs(MEND_COMPRESSION_ZSTD);
    needs(MEND_COMPRESSION_PHP);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct codec        codec = CODEC(.compression = all[i]);
        struct codec_tools *tools = codec_tools_new(&memory); /* for all: what one leaves behind, the next does not meet */
        for (size_t k = 0; k < 8; k++) {
            size_t     n = sizes[k / 2];
            uint32_t   flags = 1 << 16;
            struct buf packed = {.memory = &memory}, out = {.memory = &memory};
            assert_true(codec_pack(&codec, tools, mend_mem(plain, n), &flags, &packed));
            assert_true(packed.len <= n - n / 16);
            assert_true(codec_is_packed(&codec, flags));
            assert_int_equal(flags & ~codec.bits, 1 << 16);
            assert_int_equal(codec_unpack(&codec, tools, mend_mem(packed.data, packed.len), &flags, n, &out), METHOD_DONE);
            assert_int_equal(flags, 1 << 16);
            assert_int_equal(out.len, n);
            assert_memory_equal(out.data, plain, n);
            for (size_t cut = 1; cut < 10 && k % 2; cut++) { /* neither less nor more of it is taken, at any place */
                uint32_t marked = flags | codec.packed | codec.by[codec.writes];
                out.len = 0;
                assert_int_not_equal(codec_unpack(&codec, tools, mend_mem(packed.data, packed.len * cut / 10), &marked, 4 * MB, &out), METHOD_DONE);
            }
            uint32_t marked = flags | codec.packed | codec.by[codec.writes];
            buf_add(&packed, "x", 1);
            out.len = 0;
            assert_int_equal(codec_unpack(&codec, tools, mend_mem(packed.data, packed.len), &marked, 4 * MB, &out), METHOD_BROKEN);
            buf_release(&packed);
            buf_release(&out);
        }
        codec_tools_free(tools);
        assert_int_equal(supply.live, 0);
    }
    free(plain);
}

/* What does not save a sixteenth travels as it is. */
static void only_if_it_saves(void **state)
{
    unsigned char noise[1000];
    unsigned      x = 7;
    (void)state;
    needs(MEND_COMPRESSION_ZSTD);
    needs(MEND_COMPRESSION_PHP);
    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * 1103515245 + 12345;
        noise[i] = (unsigned char)(x >> 23);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct codec        codec = CODEC(.compression = all[i]);
        struct codec_tools *tools = codec_tools_new(&memory);
        struct buf          packed = {.memory = &memory};
        uint32_t            flags = 0;
        assert_false(codec_pack(&codec, tools, mend_mem(noise, sizeof noise), &flags, &packed));
        assert_false(codec_pack(&codec, tools, mend_mem("aaaa", 4), &flags, &packed));
        assert_int_equal(flags, 0);
        assert_int_equal(packed.len, 0);
        buf_release(&packed);
        codec_tools_free(tools);
    }
}

/* ---- Bombs ---- */

static void a_bomb_is_bounded(void **state)
{
    char *zeros = calloc(1, 16 * MB);
    (void)state;
    needs(MEND_COMPRESSION_ZSTD);
    needs(MEND_COMPRESSION_PHP);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct codec        codec = CODEC(.compression = all[i]);
        struct codec_tools *tools = codec_tools_new(&memory);
        struct buf          packed = {.memory = &memory}, out = {.memory = &memory};
        uint32_t            flags = 0;
        assert_true(codec_pack(&codec, tools, mend_mem(zeros, 16 * MB), &flags, &packed));
        assert_int_equal(codec_unpack(&codec, tools, mend_mem(packed.data, packed.len), &flags, MB, &out), METHOD_LARGE);
        assert_true(out.cap <= 2 * MB); /* no memory was asked for it */
        if (codec.length_first) {       /* one that says that it is small */
            memcpy(packed.data, &(uint32_t){1000}, 4);
            assert_int_equal(codec_unpack(&codec, tools, mend_mem(packed.data, packed.len), &flags, MB, &out), METHOD_BROKEN);
            assert_true(out.cap <= 2 * MB);
        }
        buf_release(&packed);
        buf_release(&out);
        codec_tools_free(tools);
    }
    free(zeros);
}

/* ---- Memory that runs out ---- */

static void memory_runs_out(void **state)
{
    char *plain = letters(50000);
    (void)state;
    needs(MEND_COMPRESSION_ZSTD);
    needs(MEND_COMPRESSION_PHP);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct codec codec = CODEC(.compression = all[i]);
        struct buf   good = {.memory = &memory};
        uint32_t     good_flags = 0;
        supply.fails_at = 0;
        struct codec_tools *first = codec_tools_new(&memory);
        assert_true(codec_pack(&codec, first, mend_mem(plain, 50000), &good_flags, &good));
        codec_tools_free(first);
        bool whole = false;
        for (unsigned fails_at = 1; !whole; fails_at++) {
            supply = (struct supply){.fails_at = fails_at, .live = supply.live};
            struct codec_tools *tools = codec_tools_new(&memory);
            struct buf          packed = {.memory = &memory}, out = {.memory = &memory};
            uint32_t            flags = 0, marked = good_flags;
            if (tools) {
                bool               is_packed = codec_pack(&codec, tools, mend_mem(plain, 50000), &flags, &packed);
                enum method_result result = codec_unpack(&codec, tools, mend_mem(good.data, good.len), &marked, MB, &out);
                assert_true(is_packed || (flags == 0 && packed.len == 0));
                assert_true(result == METHOD_NO_MEMORY || (result == METHOD_DONE && out.len == 50000));
                whole = is_packed && result == METHOD_DONE;
            }
            buf_release(&packed);
            buf_release(&out);
            codec_tools_free(tools);
        }
        supply.fails_at = 0;
        buf_release(&good);
        assert_int_equal(supply.live, 0);
    }
    free(plain);
}

/* ---- What a configuration may say ---- */

static void mistakes_are_named(void **state)
{
    static const struct {
        mend_config config;
        const char *begins;
    } rows[] = {
        {{.compression = (mend_compression)5}, "compression: "},
        {{.compression = (mend_compression)-1}, "compression: "},
        {{.compress_above_bytes = 100}, "compression: "},
        {{.compress_above_bytes = 100, .zlib_flag = 2}, "compression: "},
        {{.zstd_flag = 3}, "zstd_flag: "},
        {{.zlib_flag = 0x8001}, "zlib_flag: "},
        {{.zstd_flag = 8, .zlib_flag = 8}, "zlib_flag: "},
        {{.compression = MEND_COMPRESSION_ZSTD, .zlib_flag = 1u << 31}, "zlib_flag: "},
        {{.compression = MEND_COMPRESSION_PHP, .zlib_flag = 2}, "zlib_flag: "},
        {{.compression = MEND_COMPRESSION_PYLIBMC, .zstd_flag = 2}, "zstd_flag: "},
    };
    (void)state;
    needs(MEND_COMPRESSION_ZSTD);
    needs(MEND_COMPRESSION_PHP);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct codec codec;
        const char  *why = "";
        assert_int_equal(codec_from(&codec, &rows[i].config, &why), MEND_E_ARGUMENT);
        if (strncmp(why, rows[i].begins, strlen(rows[i].begins)) != 0)
            fail_msg("row %zu: %s", i, why);
    }
    assert_int_equal(CODEC(.servers = "a").bits, 0);
    assert_int_equal(CODEC(.compression = MEND_COMPRESSION_PHP).bits, 0xf0);
    assert_int_equal(CODEC(.compression = MEND_COMPRESSION_ZSTD, .zlib_flag = 1).bits, 1u << 31 | 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_python), cmocka_unit_test(bytes_of_spymemcached), cmocka_unit_test(bytes_of_zstd),
        cmocka_unit_test(bytes_of_php),    cmocka_unit_test(fastlz_by_hand),        cmocka_unit_test(there_and_back),
        cmocka_unit_test(only_if_it_saves), cmocka_unit_test(a_bomb_is_bounded),    cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
