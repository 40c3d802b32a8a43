/* test_key.c - which keys may be sent, and how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/key.h"

/* In memory of exactly its length, so that a sanitizer sees a read beyond it. */
static enum key_kind kind_of(const void *data, size_t len)
{
    void *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, data, len);
    enum key_kind kind = key_kind(mend_mem(exact, len));
    free(exact);
    return kind;
}

static void lengths(void **state)
{
    static const struct {
        char fill;
        size_t len;
        enum key_kind kind;
    } rows[] = {
        {'a', 0, KEY_BAD},      {'a', 1, KEY_PLAIN},  {'a', 7, KEY_PLAIN},    {'a', 8, KEY_PLAIN},      {'a', 9, KEY_PLAIN},
        {'a', 187, KEY_PLAIN},  {'a', 250, KEY_PLAIN}, {'a', 251, KEY_BAD},   {'a', 1000, KEY_BAD},
        {' ', 1, KEY_BINARY},   {' ', 186, KEY_BINARY}, {' ', 187, KEY_BAD},  {' ', 250, KEY_BAD},      {' ', 251, KEY_BAD},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char key[1000];
        memset(key, rows[i].fill, sizeof key);
        assert_int_equal(kind_of(key, rows[i].len), rows[i].kind);
    }
    assert_int_equal(key_kind(mend_mem(NULL, 0)), KEY_BAD);
    assert_int_equal(key_kind(mend_mem(NULL, 5)), KEY_BAD);
}

/* The words overlap and carry: each byte, at each place, among neighbours from both ends of what is plain. */
static void every_byte_everywhere(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 26; len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned byte = 0; byte < 256; byte++)
                for (unsigned around = 0x21; around <= 0x7e; around += 0x7e - 0x21) {
                    unsigned char key[26];
                    memset(key, (int)around, len);
                    key[at] = (unsigned char)byte;
                    assert_int_equal(kind_of(key, len), byte > 0x20 && byte < 0x7f ? KEY_PLAIN : KEY_BINARY);
                }
}

static void base64(void **state)
{
    static const struct {
        const char *key, *base64;
    } rows[] = {
        /* RFC 4648, section 10 */
        {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xfe", "+//+"}, {"\xff", "/w=="}, {"a b", "YSBi"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[KEY_BASE64_MAX + 1];
        memset(out, 'x', sizeof out);
        assert_int_equal(key_base64(out, mend_str(rows[i].key)), strlen(rows[i].base64));
        assert_string_equal(out, rows[i].base64);
    }
}

static void the_longest_in_base64(void **state)
{
    char key[KEY_BINARY_MAX] = {0}, out[KEY_BASE64_MAX + 1], zeros[KEY_BASE64_MAX + 1];
    (void)state;
    memset(zeros, 'A', KEY_BASE64_MAX);
    zeros[KEY_BASE64_MAX] = '\0';
    assert_int_equal(key_base64(out, mend_mem(key, sizeof key)), KEY_BASE64_MAX);
    assert_string_equal(out, zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),
        cmocka_unit_test(every_byte_everywhere),
        cmocka_unit_test(base64),
        cmocka_unit_test(the_longest_in_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
