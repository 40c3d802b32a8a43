/* test_wire.c - questions as the bytes they are in both dialects, and head lines of answers: whole, cut anywhere, and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/key.h"
#include "core/wire.h"

/* ---- Questions ---- */

#define KEY .key = {"key", 3}
#define VALUE .value = {"hello", 5}
#define BINARY .key = {"a b", 3}, .key_binary = true
#define MOST UINT64_MAX
#define MOST_TEXT "18446744073709551615"
#define OPAQUE_MOST "999999999999999"

static const struct {
    struct wire_question q;
    const char *meta, *classic; /* classic NULL: it cannot be asked there */
} questions[] = {
    {{WIRE_GET, KEY}, "mg key v f c t k O7\r\n", "gets key\r\n"},
    {{WIRE_GET_AND_TOUCH, KEY, .exptime = 30}, "mg key v f c t k O7 T30\r\n", "gats 30 key\r\n"},
    {{WIRE_GET_AND_TOUCH, KEY}, "mg key v f c t k O7 T0\r\n", "gats 0 key\r\n"},
    {{WIRE_EXISTS, KEY}, "mg key f c t s k O7\r\n", "gets key\r\n"},
    {{WIRE_TOUCH, KEY, .exptime = 2592001}, "mg key f s k O7 T2592001\r\n", "touch key 2592001\r\n"},
    {{WIRE_TOUCH, KEY}, "mg key f s k O7 T0\r\n", "touch key 0\r\n"},
    {{WIRE_TOUCH, KEY, .exptime = -5}, "mg key f s k O7 T-1\r\n", "touch key -1\r\n"},

    {{WIRE_SET, KEY, VALUE}, "ms key 5 c O7\r\nhello\r\n", "set key 0 0 5\r\nhello\r\n"},
    {{WIRE_SET, KEY}, "ms key 0 c O7\r\n\r\n", "set key 0 0 0\r\n\r\n"},
    {{WIRE_SET, KEY, VALUE, .flags = UINT32_MAX, .exptime = 60}, "ms key 5 c O7 F4294967295 T60\r\nhello\r\n", "set key 4294967295 60 5\r\nhello\r\n"},
    {{WIRE_SET, KEY, VALUE, .exptime = INT64_MIN}, "ms key 5 c O7 T-1\r\nhello\r\n", "set key 0 -1 5\r\nhello\r\n"},
    {{WIRE_ADD, KEY, VALUE, .flags = 1, .exptime = 2}, "ms key 5 c ME O7 F1 T2\r\nhello\r\n", "add key 1 2 5\r\nhello\r\n"},
    {{WIRE_REPLACE, KEY, VALUE, .flags = 1, .exptime = 2}, "ms key 5 c MR O7 F1 T2\r\nhello\r\n", "replace key 1 2 5\r\nhello\r\n"},
    /* these keep what the item has */
    {{WIRE_APPEND, KEY, VALUE, .flags = 1, .exptime = 2}, "ms key 5 c MA O7\r\nhello\r\n", "append key 0 0 5\r\nhello\r\n"},
    {{WIRE_PREPEND, KEY, VALUE, .flags = 1, .exptime = 2}, "ms key 5 c MP O7\r\nhello\r\n", "prepend key 0 0 5\r\nhello\r\n"},
    {{WIRE_CAS, KEY, VALUE, .cas = MOST}, "ms key 5 c O7 C" MOST_TEXT "\r\nhello\r\n", "cas key 0 0 5 " MOST_TEXT "\r\nhello\r\n"},
    {{WIRE_CAS, KEY, VALUE, .cas = 9, .flags = 1, .exptime = 2}, "ms key 5 c O7 C9 F1 T2\r\nhello\r\n", "cas key 1 2 5 9\r\nhello\r\n"},

    {{WIRE_DELETE, KEY}, "md key O7\r\n", "delete key\r\n"},
    {{WIRE_INCREMENT, KEY, .delta = 5}, "ma key v c O7 D5\r\n", "incr key 5\r\n"},
    {{WIRE_INCREMENT, KEY, .delta = MOST}, "ma key v c O7 D" MOST_TEXT "\r\n", "incr key " MOST_TEXT "\r\n"},
    {{WIRE_INCREMENT, KEY}, "ma key v c O7 D0\r\n", "incr key 0\r\n"},
    {{WIRE_DECREMENT, KEY, .delta = 5}, "ma key v c MD O7 D5\r\n", "decr key 5\r\n"},
    {{WIRE_DECREMENT, KEY, .delta = 5, .create = true, .initial = 10, .exptime = 60}, "ma key v c MD O7 D5 J10 N60\r\n", "decr key 5\r\n"},
    {{WIRE_INCREMENT, KEY, .delta = 5, .create = true}, "ma key v c O7 D5 J0 N0\r\n", "incr key 5\r\n"},
    {{WIRE_INCREMENT, KEY, .delta = 5, .initial = 10, .exptime = 60}, "ma key v c O7 D5\r\n", "incr key 5\r\n"},
    {{WIRE_FETCH, KEY, .lease_s = 10}, "mg key v f c t k O7 N10\r\n", "gets key\r\n"},
    {{WIRE_FETCH, KEY, .lease_s = 10, .refresh_s = 90}, "mg key v f c t k O7 N10 R90\r\n", "gets key\r\n"},
    {{WIRE_STALE, KEY, .exptime = 60}, "md key I O7 T60\r\n", "delete key\r\n"},
    {{WIRE_STALE, KEY, .exptime = 60, .cas = 9}, "md key I O7 T60 C9\r\n", "delete key\r\n"},
    {{WIRE_RELEASE, KEY, .cas = 9}, "md key O7 C9\r\n", "delete key\r\n"},
    {{WIRE_FLUSH_ALL, KEY}, "flush_all\r\n", "flush_all\r\n"},
    {{WIRE_PROVE, KEY}, "mg a2V5 b k v O7\r\n", "gets key\r\n"}, /* in base64, which no meta protocol before 1.6.10 knows */

    {{WIRE_GET, BINARY}, "mg YSBi b v f c t O7\r\n", NULL},
    {{WIRE_GET_AND_TOUCH, BINARY, .exptime = 30}, "mg YSBi b v f c t O7 T30\r\n", NULL},
    {{WIRE_EXISTS, BINARY}, "mg YSBi b f c t s O7\r\n", NULL},
    {{WIRE_TOUCH, BINARY, .exptime = 30}, "mg YSBi b f s O7 T30\r\n", NULL},
    {{WIRE_SET, BINARY, VALUE, .flags = 1}, "ms YSBi 5 b c O7 F1\r\nhello\r\n", NULL},
    {{WIRE_ADD, BINARY, VALUE}, "ms YSBi 5 b c ME O7\r\nhello\r\n", NULL},
    {{WIRE_DELETE, BINARY}, "md YSBi b O7\r\n", NULL},
    {{WIRE_INCREMENT, BINARY, .delta = 5}, "ma YSBi b v c O7 D5\r\n", NULL},
    {{WIRE_GET, .key = {"\xff", 1}, .key_binary = true}, "mg /w== b v f c t O7\r\n", NULL},
};

static void ask(const struct memory *memory, const struct wire_question *q, enum wire_dialect dialect, const char *digits, struct buf *out)
{
    struct wire_opaque opaque = {.len = (unsigned char)strlen(digits)};
    memcpy(opaque.digits, digits, opaque.len);
    *out = (struct buf){.memory = memory};
    assert_true(buf_add(out, "before", 6)); /* it appends */
    assert_true(wire_ask(out, q, dialect, &opaque));
    assert_memory_equal(out->data, "before", 6);
    buf_drop(out, 6);
}

static void asking(void **state)
{
    struct memory memory = memory_from(NULL);
    (void)state;
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        for (int classic = 0; classic < 2; classic++) {
            const char *expected = classic ? questions[i].classic : questions[i].meta;
            struct buf out;
            if (!expected)
                continue;
            ask(&memory, &questions[i].q, classic ? WIRE_CLASSIC : WIRE_META, "7", &out);
            if (out.len != strlen(expected) || memcmp(out.data, expected, out.len) != 0)
                fail_msg("asked \"%.*s\", and not \"%s\"", (int)out.len, out.data, expected);
            buf_release(&out);
        }
}

static void opaques_count_up(void **state)
{
    static const uint32_t from[] = {0, 7, 9, 10, 98, 99, 109, 199, 999, 1234567, 16777215, 99999998, UINT32_MAX - 1};
    (void)state;
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        struct wire_opaque o;
        wire_opaque_begin(&o, from[i]);
        for (uint64_t n = from[i]; n < from[i] + UINT64_C(12); n++, wire_opaque_next(&o)) {
            char digits[24];
            int  len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
            assert_int_equal(o.number, n);
            assert_int_equal(o.len, len);
            assert_memory_equal(o.digits, digits, (size_t)len);
        }
    }
}

static void any_value(void **state)
{
    struct memory memory = memory_from(NULL);
    struct wire_question q = {WIRE_SET, KEY, .value = {"\r\n\0\r\n", 5}};
    struct buf out;
    (void)state;
    ask(&memory, &q, WIRE_META, OPAQUE_MOST, &out);
    static const char expected[] = "ms key 5 c O" OPAQUE_MOST "\r\n\r\n\0\r\n\r\n";
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.len);
    buf_release(&out);
}

/* Up to WIRE_COPY_MAX the value stands behind its line; a larger one is the connection's affair. */
static void large_values(void **state)
{
    struct memory memory = memory_from(NULL);
    char *value = calloc(1, WIRE_COPY_MAX + 1);
    struct buf out;
    (void)state;
    assert_non_null(value);
    ask(&memory, &(struct wire_question){WIRE_SET, KEY, .value = {value, WIRE_COPY_MAX}}, WIRE_CLASSIC, "7", &out);
    assert_int_equal(out.len, strlen("set key 0 0 16384\r\n") + WIRE_COPY_MAX + 2);
    assert_memory_equal(out.data, "set key 0 0 16384\r\n\0", 20);
    assert_memory_equal(out.data + out.len - 3, "\0\r\n", 3);
    buf_release(&out);
    ask(&memory, &(struct wire_question){WIRE_SET, KEY, .value = {value, WIRE_COPY_MAX + 1}}, WIRE_META, "7", &out);
    assert_int_equal(out.len, strlen("ms key 16385 c O7\r\n"));
    assert_memory_equal(out.data, "ms key 16385 c O7\r\n", out.len);
    buf_release(&out);
    free(value);
}

/* The longest key and the longest numbers, in every verb: wire_ask asserts that its room is enough. */
static void the_longest_questions(void **state)
{
    struct memory memory = memory_from(NULL);
    char key[KEY_MAX];
    (void)state;
    memset(key, 'k', sizeof key);
    for (enum wire_verb verb = WIRE_GET; verb < WIRE_VERBS; verb++)
        for (int binary = 0; binary < 2; binary++) {
            struct wire_question q = {verb, .key = {key, KEY_MAX}, .flags = UINT32_MAX, .exptime = INT64_MAX, .cas = MOST, .delta = MOST, .initial = MOST, .create = true, .lease_s = INT64_MAX, .refresh_s = INT64_MAX};
            struct buf out;
            if (verb == WIRE_GET_MANY) /* not wire_ask's */
                continue;
            q.key_binary = binary;
            if (binary || verb == WIRE_PROVE)
                q.key.len = KEY_BINARY_MAX;
            ask(&memory, &q, WIRE_META, OPAQUE_MOST, &out);
            assert_memory_equal(out.data + out.len - 2, "\r\n", 2);
            assert_in_range(out.len, 1, 512 + 2);
            buf_release(&out);
            q.key_binary = false;
            ask(&memory, &q, WIRE_CLASSIC, OPAQUE_MOST, &out);
            assert_memory_equal(out.data + out.len - 2, "\r\n", 2);
            buf_release(&out);
        }
}

static void *no_memory(void *p, size_t bytes, void *context)
{
    (void)p;
    (void)bytes;
    (void)context;
    return NULL;
}

static void nothing_is_asked_without_memory(void **state)
{
    struct memory memory = memory_from(NULL), none = memory;
    struct buf out = {.memory = &memory};
    (void)state;
    none.hooks.reallocate = no_memory;
    assert_true(buf_add(&out, "before", 6));
    out.memory = &none;
    assert_false(wire_ask(&out, &questions[0].q, WIRE_META, &(struct wire_opaque){7, "7", 1}));
    assert_int_equal(out.len, 6);
    assert_memory_equal(out.data, "before", 6);
    out.memory = &memory;
    buf_release(&out);
}

static void which_verbs_write(void **state)
{
    static const struct {
        bool value, writes;
    } rows[WIRE_VERBS] = {
        [WIRE_GET_AND_TOUCH] = {false, true}, [WIRE_TOUCH] = {false, true},     [WIRE_SET] = {true, true},
        [WIRE_ADD] = {true, true},            [WIRE_REPLACE] = {true, true},    [WIRE_APPEND] = {true, true},
        [WIRE_PREPEND] = {true, true},        [WIRE_CAS] = {true, true},        [WIRE_DELETE] = {false, true},
        [WIRE_INCREMENT] = {false, true},     [WIRE_DECREMENT] = {false, true}, [WIRE_FLUSH_ALL] = {false, true},
        [WIRE_STALE] = {false, true},         [WIRE_RELEASE] = {false, true},
    };
    (void)state;
    for (enum wire_verb verb = WIRE_GET; verb < WIRE_VERBS; verb++) {
        assert_int_equal(wire_carries_value(verb), rows[verb].value);
        assert_int_equal(wire_writes(verb), rows[verb].writes);
    }
}

/* ---- Answers ---- */

struct line {
    const char *text; /* without its CRLF */
    enum wire_kind kind;
    mend_status means;
    struct wire_head h; /* what else it says; a ttl_s of 0 is MEND_TTL_UNKNOWN, and one of EXPIRED is 0 */
};
#define EXPIRED (-9)
#define OPAQUE(n) .has_opaque = true, .opaque = (n)
#define SPAN(s) {s, sizeof s - 1}

static const struct line lines[] = {
    /* meta; in the orders of 1.6.18 and 1.6.45, that of the request */
    {"HD", WIRE_HD, MEND_OK, {0}},
    {"HD ", WIRE_HD, MEND_OK, {0}}, /* before 1.6.18 there may be stray spaces */
    {"HD c7 O5", WIRE_HD, MEND_OK, {.cas = 7, OPAQUE(5)}},
    {"HD f1 c2 t3 kkey O102", WIRE_HD, MEND_OK, {.flags = 1, .cas = 2, .ttl_s = 3, .key = SPAN("key"), OPAQUE(102)}},
    {"VA 5 f30 c77 t-1 kkey O5", WIRE_VA, MEND_OK, {.size = 5, .flags = 30, .cas = 77, .ttl_s = MEND_TTL_NEVER, .key = SPAN("key"), OPAQUE(5)}},
    {"VA 0", WIRE_VA, MEND_OK, {0}},
    {"VA  2  O5  kkey ", WIRE_VA, MEND_OK, {.size = 2, .key = SPAN("key"), OPAQUE(5)}},
    {"VA 2 f0 c1 t60 kYSBi O5 b", WIRE_VA, MEND_OK, {.size = 2, .cas = 1, .ttl_s = 60, .key = SPAN("YSBi"), .key_binary = true, OPAQUE(5)}},
    {"VA 2 kYSBi b O5", WIRE_VA, MEND_OK, {.size = 2, .key = SPAN("YSBi"), .key_binary = true, OPAQUE(5)}},
    {"VA 2 O5 W", WIRE_VA, MEND_OK, {.size = 2, OPAQUE(5)}}, /* lease, stale and won flags are passed over */
    {"VA 2 O5 X W", WIRE_VA, MEND_OK, {.size = 2, OPAQUE(5)}},
    {"VA 2 O5 Z X", WIRE_VA, MEND_OK, {.size = 2, OPAQUE(5)}},
    {"VA 2 s2 h1 l30 O5", WIRE_VA, MEND_OK, {.size = 2, OPAQUE(5)}},
    {"VA 1073741824 f4294967295 c18446744073709551615 t2147483647 O18446744073709551615", WIRE_VA, MEND_OK,
     {.size = WIRE_VALUE_MAX, .flags = UINT32_MAX, .cas = MOST, .ttl_s = INT32_MAX, OPAQUE(MOST)}},
    {"VA 1 t0", WIRE_VA, MEND_OK, {.size = 1, .ttl_s = EXPIRED}},
    {"VA 1 t4294967233", WIRE_VA, MEND_OK, {.size = 1, .ttl_s = EXPIRED}}, /* wrapped below zero: has just expired */
    {"VA 1 t2147483648", WIRE_VA, MEND_OK, {.size = 1, .ttl_s = EXPIRED}},
    {"VA 1 t18446744073709551615", WIRE_VA, MEND_OK, {.size = 1, .ttl_s = EXPIRED}},
    {"VA 1 k", WIRE_VA, MEND_OK, {.size = 1, .key = {"", 0}}}, /* a key of no bytes is one, and nobody's */
    {"EN", WIRE_EN, MEND_MISS, {0}},
    {"EN kkey O5", WIRE_EN, MEND_MISS, {.key = SPAN("key"), OPAQUE(5)}}, /* from 1.6.18 on */
    {"NF O5", WIRE_NF, MEND_MISS, {OPAQUE(5)}},
    {"NS O5", WIRE_NS, MEND_NOT_STORED, {OPAQUE(5)}},
    {"EX O5", WIRE_EX, MEND_EXISTS, {OPAQUE(5)}},
    {"OK", WIRE_OK, MEND_OK, {0}},
    {"OK c7 O5", WIRE_OK, MEND_OK, {.cas = 7, OPAQUE(5)}}, /* HD before 1.6.10 */

    /* classic */
    {"VALUE key 30 5", WIRE_VALUE, MEND_OK, {.flags = 30, .size = 5, .key = SPAN("key")}},
    {"VALUE key 30 5 77", WIRE_VALUE, MEND_OK, {.flags = 30, .size = 5, .cas = 77, .key = SPAN("key")}},
    {"VALUE key 30 5 77 ", WIRE_VALUE, MEND_OK, {.flags = 30, .size = 5, .cas = 77, .key = SPAN("key")}},
    {"VALUE k 4294967295 1073741824 18446744073709551615", WIRE_VALUE, MEND_OK, {.flags = UINT32_MAX, .size = WIRE_VALUE_MAX, .cas = MOST, .key = SPAN("k")}},
    {"END", WIRE_END, MEND_MISS, {0}},
    {"STORED", WIRE_STORED, MEND_OK, {0}},
    {"NOT_STORED", WIRE_NOT_STORED, MEND_NOT_STORED, {0}},
    {"EXISTS", WIRE_EXISTS_SINCE, MEND_EXISTS, {0}},
    {"NOT_FOUND", WIRE_NOT_FOUND, MEND_MISS, {0}},
    {"DELETED", WIRE_DELETED, MEND_OK, {0}},
    {"TOUCHED", WIRE_TOUCHED, MEND_OK, {0}},
    {"43", WIRE_NUMBER, MEND_OK, {.number = 43}},
    {"9 ", WIRE_NUMBER, MEND_OK, {.number = 9}}, /* a decr from 10 */
    {"0", WIRE_NUMBER, MEND_OK, {0}},
    {"18446744073709551615", WIRE_NUMBER, MEND_OK, {.number = MOST}},

    /* errors, in both versions' words */
    {"ERROR", WIRE_ERROR, MEND_E_SERVER, {.text = {"", 0}}},
    {"ERROR Too many open connections", WIRE_ERROR, MEND_E_SERVER, {.text = SPAN("Too many open connections")}},
    {"CLIENT_ERROR bad command line format", WIRE_CLIENT_ERROR, MEND_E_SERVER, {.text = SPAN("bad command line format")}},
    {"CLIENT_ERROR bad data chunk", WIRE_CLIENT_ERROR, MEND_E_SERVER, {.text = SPAN("bad data chunk")}},
    {"CLIENT_ERROR unauthenticated", WIRE_CLIENT_ERROR, MEND_E_AUTH, {.text = SPAN("unauthenticated")}},
    {"CLIENT_ERROR cannot increment or decrement non-numeric value", WIRE_CLIENT_ERROR, MEND_NOT_NUMBER,
     {.text = SPAN("cannot increment or decrement non-numeric value")}},
    {"CLIENT_ERROR", WIRE_CLIENT_ERROR, MEND_E_SERVER, {.text = {"", 0}}},
    {"SERVER_ERROR object too large for cache", WIRE_SERVER_ERROR, MEND_TOO_LARGE, {.text = SPAN("object too large for cache")}},
    {"SERVER_ERROR out of memory storing object", WIRE_SERVER_ERROR, MEND_E_SERVER, {.text = SPAN("out of memory storing object")}},
    {"SERVER_ERROR  backend failure", WIRE_SERVER_ERROR, MEND_E_SERVER, {.text = SPAN("backend failure")}},
    /* whose words they are matters */
    {"SERVER_ERROR unauthenticated", WIRE_SERVER_ERROR, MEND_E_SERVER, {.text = SPAN("unauthenticated")}},
    {"CLIENT_ERROR object too large for cache", WIRE_CLIENT_ERROR, MEND_E_SERVER, {.text = SPAN("object too large for cache")}},
    {"SERVER_ERROR cannot increment or decrement non-numeric value", WIRE_SERVER_ERROR, MEND_E_SERVER,
     {.text = SPAN("cannot increment or decrement non-numeric value")}},
    {"ERROR unauthenticated", WIRE_ERROR, MEND_E_SERVER, {.text = SPAN("unauthenticated")}},
};
enum { LINES = sizeof lines / sizeof *lines };

/* What wire_head takes of it, in memory of exactly its length, so that a sanitizer sees a read beyond it. */
static int head_of(const char *bytes, size_t n, struct wire_head *h, char **exact)
{
    *exact = malloc(n ? n : 1);
    assert_non_null(*exact);
    memcpy(*exact, bytes, n);
    memset(h, 0x5a, sizeof *h); /* what an earlier line left there */
    return wire_head(h, *exact, n);
}

static bool same(mend_bytes a, mend_bytes b)
{
    return !a.data == !b.data && a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0);
}

static void check_line(const struct line *l, const char *bytes, size_t n)
{
    struct wire_head h;
    char *exact;
    int64_t ttl_s = l->h.ttl_s == EXPIRED ? 0 : l->h.ttl_s ? l->h.ttl_s : MEND_TTL_UNKNOWN;
    int took = head_of(bytes, n, &h, &exact);

    bool right = took == (int)strlen(l->text) + 2 && h.kind == l->kind && h.has_opaque == l->h.has_opaque && h.opaque == l->h.opaque &&
                 h.key_binary == l->h.key_binary && h.flags == l->h.flags && h.size == l->h.size && h.number == l->h.number &&
                 h.cas == l->h.cas && h.ttl_s == ttl_s && same(h.key, l->h.key) && (!l->h.text.data || same(h.text, l->h.text)) &&
                 wire_means(&h, WIRE_GET) == l->means;
    free(exact);
    if (!right)
        fail_msg("\"%s\" was read wrongly (took %d)", l->text, took);
}

static void each_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < LINES; i++) {
        char bytes[300];
        int n = snprintf(bytes, sizeof bytes, "%s\r\n", lines[i].text);
        check_line(&lines[i], bytes, (size_t)n);
        n = snprintf(bytes, sizeof bytes, "%s\r\nhello\r\nHD\r\n", lines[i].text); /* what comes behind is not its own */
        check_line(&lines[i], bytes, (size_t)n);
    }
}

static void each_line_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < LINES; i++)
        for (size_t n = 0; n <= strlen(lines[i].text) + 1; n++) {
            char bytes[300], *exact;
            struct wire_head h;
            snprintf(bytes, sizeof bytes, "%s\r\n", lines[i].text);
            assert_int_equal(head_of(bytes, n, &h, &exact), 0);
            free(exact);
        }
}

static void what_is_not_memcached(void **state)
{
    static const char *const bad[] = {
        "\r\n", " \r\n", "\n", "HD\n", "END\n", "x\n", "\r\r\n",
        "VA\r\n", "VA \r\n", "VA x\r\n", "VA -1\r\n", "VA 1073741825\r\n", "VA 4294967296\r\n", "VA 18446744073709551616\r\n", "VA 2x\r\n", "VA 2.0\r\n",
        "VA +2\r\n", "VA f1 2\r\n", "VA99\r\n",
        "HD f-1\r\n", "HD f4294967296\r\n", "HD f\r\n", "HD f1x\r\n", "HD c18446744073709551616\r\n", "HD c\r\n", "HD c-1\r\n", "HD t\r\n", "HD t-2\r\n", "HD t-\r\n",
        "HD t-1x\r\n", "HD t18446744073709551616\r\n", "HD tx\r\n", "HD O\r\n", "HD Ox\r\n", "HD O5x\r\n", "HD O18446744073709551616\r\n", "OK O5x\r\n",
        "EN O5x\r\n", "NF O5x\r\n", "NS O5x\r\n", "EX O5x\r\n",
        "VALUE\r\n", "VALUE key\r\n", "VALUE key 0\r\n", "VALUE key 0 \r\n", "VALUE key 0 -1\r\n", "VALUE key 0 x\r\n", "VALUE key 0 1073741825\r\n", "VALUE key 0 4294967296\r\n",
        "VALUE key 0 18446744073709551616\r\n", "VALUE key 4294967296 1\r\n", "VALUE key -1 1\r\n", "VALUE key x 1\r\n", "VALUE key 0 1x\r\n",
        "VALUE key 0 1 x\r\n", "VALUE key 0 1 18446744073709551616\r\n", "VALUE key 0 1 7 8\r\n", "VALUE key 0 1 7x\r\n", "VALUES key 0 1\r\n",
        "18446744073709551616\r\n", "99999999999999999999999\r\n", "-1\r\n", "4x\r\n", "4 x\r\n", "4.0\r\n", "0x10\r\n",
        "END x\r\n", "ENDS\r\n", "STORED x\r\n", "stored\r\n", "hd\r\n", "TOUCHED 1\r\n", "NOT_FOUNDx\r\n", "NOT_FOUN\r\n", "MN\r\n", "ME key\r\n", "HX\r\n",
        "VERSION 1.6.18\r\n", "HTTP/1.1 400 Bad Request\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "-ERR unknown command\r\n", "+PONG\r\n", "ERRORS\r\n", "SERVER_ERRORx\r\n",
        "\x80\x81\x82\x83\r\n", "HD\tO5\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wire_head h;
        char *exact;
        if (head_of(bad[i], strlen(bad[i]), &h, &exact) != -1)
            fail_msg("\"%s\" was taken for memcached's", bad[i]);
        free(exact);
    }
}

/* A line that has not ended after WIRE_LINE_MAX bytes never will. */
static void endless_lines(void **state)
{
    char bytes[WIRE_LINE_MAX + 10];
    struct wire_head h;
    char *exact;
    (void)state;
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, "SERVER_ERROR ", 13);
    assert_int_equal(head_of(bytes, WIRE_LINE_MAX - 1, &h, &exact), 0);
    free(exact);
    assert_int_equal(head_of(bytes, WIRE_LINE_MAX, &h, &exact), -1);
    free(exact);
    memcpy(bytes + WIRE_LINE_MAX - 1, "\r\n", 2); /* ends one byte too late */
    assert_int_equal(head_of(bytes, sizeof bytes, &h, &exact), -1);
    free(exact);
    memcpy(bytes + WIRE_LINE_MAX - 2, "\r\n", 2); /* the longest line there is */
    assert_int_equal(head_of(bytes, WIRE_LINE_MAX, &h, &exact), WIRE_LINE_MAX);
    assert_int_equal(h.text.len, WIRE_LINE_MAX - 2 - 13);
    free(exact);
    memset(bytes, '9', sizeof bytes);
    assert_int_equal(head_of(bytes, sizeof bytes, &h, &exact), -1);
    free(exact);
}

/* Any three bytes changed in any line: a verdict, and no read outside. */
static void mangled_lines(void **state)
{
    unsigned chance = 1;
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char bytes[300], *exact;
        struct wire_head h;
        int n = snprintf(bytes, sizeof bytes, "%s\r\n", lines[round % LINES].text);
        for (int i = 0; i < 3; i++) {
            chance = chance * 1664525 + 1013904223;
            bytes[(chance >> 8) % (unsigned)n] = (char)(chance >> 24);
        }
        int took = head_of(bytes, (size_t)n, &h, &exact);
        assert_true(took >= -1 && took <= n);
        if (took > 0) {
            assert_true((unsigned)h.kind < WIRE_KINDS);
            assert_true(!h.key.data || ((const char *)h.key.data >= exact && (const char *)h.key.data + h.key.len < exact + took));
            assert_true(!h.text.data || ((const char *)h.text.data >= exact && (const char *)h.text.data + h.text.len < exact + took));
        }
        free(exact);
    }
}

/* ---- What fits what ---- */

#define K(kind) (1u << WIRE_##kind)

/* The short ways to the usual lines say what the long way says, or nothing; and read no byte behind the NUL. */
static int shortly(struct wire_head *h, const char *line, size_t n)
{
    mend_bytes key = {"key", 3};
    return (int)(strncmp(line, "VA ", 3) == 0 ? wire_hit(h, line, n, key, &(struct wire_opaque){42, "42", 2}) : wire_value(h, line, n, key));
}

static bool is_the_usual(const struct wire_head *h)
{
    if (h->key.len != 3 || memcmp(h->key.data, "key", 3) != 0 || !h->has_cas)
        return false;
    return h->kind == WIRE_VALUE || (h->kind == WIRE_VA && h->has_opaque && h->opaque == 42);
}

static void check_short(const char *line, size_t n)
{
    char            *exact = malloc(n + 1); /* so that a sanitizer sees what is read behind it */
    struct wire_head h = {0}, full;

    memcpy(exact, line, n);
    exact[n] = '\0';
    int took = shortly(&h, exact, n);
    if (took != 0) {
        assert_int_equal(took, wire_head(&full, exact, n));
        assert_true(is_the_usual(&full));
        assert_true(h.size == full.size && h.flags == full.flags && h.cas == full.cas && h.ttl_s == full.ttl_s);
    }
    free(exact);
}

static void usual_lines(void **state)
{
    static const char *const usual[] = {
        "VA 5 f0 c1 t-1 kkey O42\r\n", "VA 1073741824 f4294967295 c18446744073709551615 t2147483647 kkey O42\r\n", "VALUE key 0 5 1\r\n",
        "VALUE key 4294967295 1073741824 18446744073709551615\r\n",
    };
    static const char *const unusual[] = {
        "VA 5 f0 c1 t-1 kkey O43\r\n", "VA 5 f0 c1 t-1 kkez O42\r\n", "VA 5 c1 f0 t-1 kkey O42\r\n", "VA 5 f0 c1 t-1 kkey O42 Z\r\n", "VA 5 f0 c1 t-1 kke",
        "VA 5 f0 c18446744073709551616 t-1 kkey O42\r\n", "VA 5 f0 c1 t4294967233 kkey O42\r\n", "VALUE kez 0 5 1\r\n", "VALUE key 0 5\r\n", "VALUE key 0 5 1 2\r\n", "END\r\n",
        "VA ", "V", "",
    };
    struct wire_head h;

    (void)state;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        char   line[100];
        size_t n = strlen(usual[i]);
        assert_int_equal(shortly(&h, usual[i], n), n);
        for (size_t cut = 0; cut < n; cut++) {
            memcpy(line, usual[i], n + 1);
            line[cut] = '\0';
            assert_int_equal(shortly(&h, line, cut), 0);
            check_short(line, cut);
        }
        for (size_t at = 0; at < n; at++)
            for (unsigned byte = 0; byte < 256; byte++) {
                memcpy(line, usual[i], n + 1);
                line[at] = (char)byte;
                check_short(line, n);
            }
    }
    for (size_t i = 0; i < sizeof unusual / sizeof *unusual; i++)
        assert_int_equal(shortly(&h, unusual[i], strlen(unusual[i])), 0);
}

static void fits(void **state)
{
    static const unsigned stores = K(HD) | K(OK) | K(NS) | K(EX) | K(NF), hits = K(VA) | K(EN), heads = K(HD) | K(OK) | K(EN);
    static const unsigned values = K(VALUE) | K(END), stored = K(STORED) | K(NOT_STORED), errors = K(ERROR) | K(CLIENT_ERROR) | K(SERVER_ERROR);
    static const struct {
        unsigned meta, classic;
    } rows[WIRE_VERBS] = {
        [WIRE_GET] = {hits, values},
        [WIRE_GET_AND_TOUCH] = {hits, values},
        [WIRE_EXISTS] = {heads, values},
        [WIRE_TOUCH] = {heads, K(TOUCHED) | K(NOT_FOUND)},
        [WIRE_SET] = {stores, stored},
        [WIRE_ADD] = {stores, stored},
        [WIRE_REPLACE] = {stores, stored},
        [WIRE_APPEND] = {stores, stored},
        [WIRE_PREPEND] = {stores, stored},
        [WIRE_CAS] = {stores, K(STORED) | K(EXISTS_SINCE) | K(NOT_FOUND)},
        [WIRE_DELETE] = {K(HD) | K(OK) | K(NF), K(DELETED) | K(NOT_FOUND)},
        [WIRE_INCREMENT] = {K(VA) | K(NF) | K(NS), K(NUMBER) | K(NOT_FOUND)},
        [WIRE_DECREMENT] = {K(VA) | K(NF) | K(NS), K(NUMBER) | K(NOT_FOUND)},
        [WIRE_FLUSH_ALL] = {K(OK), K(OK)},
        [WIRE_PROVE] = {K(VA) | K(HD) | K(EN) | K(OK), values},
        [WIRE_GET_MANY] = {values, values},
        [WIRE_FETCH] = {hits, values},
        [WIRE_STALE] = {K(HD) | K(OK) | K(NF) | K(EX), K(DELETED) | K(NOT_FOUND)},
        [WIRE_RELEASE] = {K(HD) | K(OK) | K(NF) | K(EX), K(DELETED) | K(NOT_FOUND)},
    };
    (void)state;
    for (enum wire_verb verb = WIRE_GET; verb < WIRE_VERBS; verb++)
        for (enum wire_kind kind = WIRE_HD; kind < WIRE_KINDS; kind++) {
            if (wire_fits(kind, verb, WIRE_META) != (((rows[verb].meta | errors) >> kind & 1) != 0))
                fail_msg("kind %d, verb %d, meta", (int)kind, (int)verb);
            if (wire_fits(kind, verb, WIRE_CLASSIC) != (((rows[verb].classic | errors) >> kind & 1) != 0))
                fail_msg("kind %d, verb %d, classic", (int)kind, (int)verb);
        }
}

/* ---- Numbers ---- */

static void decimal_numbers(void **state)
{
    static const struct {
        const char *text;
        uint64_t most;
        int took; /* -1: no number */
        uint64_t number;
    } rows[] = {
        {"", MOST, -1, 0},  {"x", MOST, -1, 0}, {"-1", MOST, -1, 0}, {"+1", MOST, -1, 0}, {" 1", MOST, -1, 0}, {"/", MOST, -1, 0}, {":", MOST, -1, 0},
        {"0", MOST, 1, 0},  {"0", 0, 1, 0},     {"1", 0, -1, 0},     {"7", 5, -1, 0},     {"5", 5, 1, 5},      {"6", 5, -1, 0},
        {"10", 5, -1, 0},   {"10", 10, 2, 10},  {"11", 10, -1, 0},   {"19", 20, 2, 19},   {"20", 20, 2, 20},   {"21", 20, -1, 0},
        {"007", MOST, 3, 7}, {"12 3", MOST, 2, 12}, {"12x", MOST, 2, 12}, {"0000000000000000000000000000005", 5, 31, 5},
        {"4294967295", UINT32_MAX, 10, UINT32_MAX}, {"4294967296", UINT32_MAX, -1, 0},
        {"1073741824", WIRE_VALUE_MAX, 10, WIRE_VALUE_MAX}, {"1073741825", WIRE_VALUE_MAX, -1, 0},
        {"18446744073709551615", MOST, 20, MOST}, {"18446744073709551616", MOST, -1, 0}, {"18446744073709551620", MOST, -1, 0},
        {"99999999999999999999", MOST, -1, 0}, {"184467440737095516150", MOST, -1, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].text);
        char *exact = malloc(n ? n : 1);
        uint64_t number = 4711;
        assert_non_null(exact);
        memcpy(exact, rows[i].text, n);
        const char *end = wire_number(exact, exact + n, rows[i].most, &number);
        bool right = rows[i].took < 0 ? !end && number == 4711 : end == exact + rows[i].took && number == rows[i].number;
        free(exact);
        if (!right)
            fail_msg("\"%s\", at most %llu", rows[i].text, (unsigned long long)rows[i].most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asking),
        cmocka_unit_test(opaques_count_up),
        cmocka_unit_test(any_value),
        cmocka_unit_test(large_values),
        cmocka_unit_test(the_longest_questions),
        cmocka_unit_test(nothing_is_asked_without_memory),
        cmocka_unit_test(which_verbs_write),
        cmocka_unit_test(each_line),
        cmocka_unit_test(each_line_cut_anywhere),
        cmocka_unit_test(what_is_not_memcached),
        cmocka_unit_test(endless_lines),
        cmocka_unit_test(mangled_lines),
        cmocka_unit_test(usual_lines),
        cmocka_unit_test(fits),
        cmocka_unit_test(decimal_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
