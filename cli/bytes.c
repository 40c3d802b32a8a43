/* bytes.c - see bytes.h. */
#include "bytes.h"

#include <stdint.h>
#include <string.h>

static bool visible(unsigned char c)
{
    return c > 0x20 && c < 0x7f;
}

/* ---- %XX ---------------------------------------------------------------------- */

size_t percent_encode(char *to, const void *bytes, size_t n)
{
    static const char    digits[] = "0123456789ABCDEF";
    const unsigned char *from = bytes;
    char                *start = to;

    for (size_t i = 0; i < n; i++) {
        if (visible(from[i]) && from[i] != '%') {
            *to++ = (char)from[i];
            continue;
        }
        *to++ = '%';
        *to++ = digits[from[i] >> 4];
        *to++ = digits[from[i] & 15];
    }
    *to = '\0';
    return (size_t)(to - start);
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t percent_decode(char *text, size_t n)
{
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        if (text[i] == '%' && i + 2 < n && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
            text[out++] = (char)(digit(text[i + 1]) << 4 | digit(text[i + 2]));
            i += 2;
        } else {
            text[out++] = text[i];
        }
    }
    return out;
}

/* ---- Base64 ------------------------------------------------------------------- */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(char *to, const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    char                *start = to;

    for (size_t i = 0; i < n; i += 3) {
        size_t   left = n - i;
        uint32_t bits = (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) | (left > 2 ? from[i + 2] : 0);
        *to++ = letters[bits >> 18];
        *to++ = letters[bits >> 12 & 63];
        *to++ = left > 1 ? letters[bits >> 6 & 63] : '=';
        *to++ = left > 2 ? letters[bits & 63] : '=';
    }
    *to = '\0';
    return (size_t)(to - start);
}

bool base64_decode(char *to, size_t *length, const char *text, size_t n)
{
    size_t padding = n && text[n - 1] == '=' ? (n > 1 && text[n - 2] == '=' ? 2 : 1) : 0;
    char  *start = to;

    if (n % 4)
        return false;
    for (size_t i = 0; i < n; i += 4) {
        uint32_t bits = 0;
        for (size_t j = i; j < i + 4; j++) {
            const char *at = text[j] ? strchr(letters, text[j]) : NULL;
            if (!at && !(text[j] == '=' && j >= n - padding))
                return false;
            bits = bits << 6 | (at ? (uint32_t)(at - letters) : 0);
        }
        *to++ = (char)(bits >> 16);
        *to++ = (char)(bits >> 8);
        *to++ = (char)bits;
    }
    *length = (size_t)(to - start) - padding;
    return true;
}

/* ---- What they are ------------------------------------------------------------ */

/* The length of the character that begins there, by RFC 3629's table; 0: there is none. */
static size_t utf8_character(const unsigned char *at, size_t n)
{
    static const struct {
        unsigned char from, to, second_from, second_to, length;
    } forms[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t length = forms[i].length;
        if (at[0] < forms[i].from || at[0] > forms[i].to)
            continue;
        if (length > n || (length > 1 && (at[1] < forms[i].second_from || at[1] > forms[i].second_to)))
            return 0;
        for (size_t j = 2; j < length; j++)
            if (at[j] >> 6 != 2)
                return 0;
        return length;
    }
    return 0;
}

bool is_utf8(const void *bytes, size_t n)
{
    const unsigned char *at = bytes;

    for (size_t i = 0, step; i < n; i += step)
        if ((step = utf8_character(at + i, n - i)) == 0)
            return false;
    return true;
}

bool is_visible(const void *bytes, size_t n)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < n; i++)
        if (!visible(at[i]))
            return false;
    return true;
}
