/* say.c - see say.h. */
#include "say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bytes.h"

/* ---- Lines on stderr ------------------------------------------------------------ */

static void line(const char *format, va_list words)
{
    flockfile(stderr);
    fputs("mend: ", stderr);
    vfprintf(stderr, format, words);
    putc('\n', stderr);
    funlockfile(stderr);
}

void fail(int code, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    fflush(stdout);
    line(format, words);
    va_end(words);
    exit(code);
}

void warn(const char *format, ...)
{
    va_list words;
    va_start(words, format);
    line(format, words);
    va_end(words);
}

bool say_flushed(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    if (errno != EPIPE)
        warn("can't write to stdout: %s", errno ? strerror(errno) : "an earlier write failed");
    return false;
}

/* ---- Terminals and colours ------------------------------------------------------- */

bool say_is_terminal(FILE *file)
{
    const char *term = getenv("TERM");
    return isatty(fileno(file)) && term && *term && strcmp(term, "dumb") != 0;
}

const char *say_ink(FILE *file, const char *code)
{
    const char *no = getenv("NO_COLOR");
    return say_is_terminal(file) && !(no && *no) ? code : "";
}

int say_room_behind(int columns)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 1000;
    return size.ws_col > columns + 10 ? size.ws_col - columns : 10;
}

static const struct {
    const char *name, *ink;
} states[] = {
    [MEND_STATE_NEW] = {"new", "\033[34m"},        [MEND_STATE_UP] = {"up", "\033[32m"},      [MEND_STATE_DOUBTFUL] = {"doubtful", "\033[33m"},
    [MEND_STATE_DOWN] = {"DOWN", "\033[1;31m"}, [MEND_STATE_TRIAL] = {"DOWN", "\033[1;31m"},
};

const char *say_state(mend_state state)
{
    return (size_t)state < sizeof states / sizeof *states ? states[state].name : "?";
}

const char *say_state_ink(mend_state state)
{
    return (size_t)state < sizeof states / sizeof *states ? states[state].ink : "";
}

/* ---- Numbers in words -------------------------------------------------------------- */

const char *say_bytes(char words[WORDS_MAX], double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    size_t                   i = 0;

    for (; bytes >= 999.5 && i + 1 < sizeof units / sizeof *units; i++)
        bytes /= 1000;
    snprintf(words, WORDS_MAX, "%.*f %s", i > 0 && bytes < 99.95, bytes, units[i]);
    return words;
}

const char *say_count(char words[WORDS_MAX], uint64_t n)
{
    char   digits[WORDS_MAX], *to = words;
    size_t length = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n);

    for (size_t i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return words;
}

const char *say_brief(char words[WORDS_MAX], double n)
{
    static const char units[] = " kMGTPE";
    size_t            i = 0;

    for (; n >= 999.5 && i + 2 < sizeof units; i++)
        n /= 1000;
    snprintf(words, WORDS_MAX, i ? "%.*f%c" : "%.*f", i > 0 && n < 99.95, n, units[i]);
    return words;
}

const char *say_seconds(char words[WORDS_MAX], int64_t ms)
{
    double s = (double)ms / 1e3;

    if (ms < 100)
        snprintf(words, WORDS_MAX, "%d ms", (int)ms);
    else if (s < 9.95)
        snprintf(words, WORDS_MAX, "%.1f s", s);
    else if (s < 120)
        snprintf(words, WORDS_MAX, "%.0f s", s);
    else if (s < 7200)
        snprintf(words, WORDS_MAX, "%.0f min", s / 60);
    else if (s < 2 * 86400)
        snprintf(words, WORDS_MAX, "%.0f h", s / 3600);
    else
        snprintf(words, WORDS_MAX, "%.0f d", s / 86400);
    return words;
}

/* ---- JSON ---------------------------------------------------------------------------- */

void json_bytes(json_object *to, const char *name, mend_bytes bytes)
{
    char  field[64];
    char *text;

    if (is_utf8(bytes.data, bytes.len)) {
        json_object_object_add(to, name, json_object_new_string_len(bytes.data, (int)bytes.len));
        return;
    }
    snprintf(field, sizeof field, "%s_base64", name);
    text = malloc((bytes.len + 2) / 3 * 4 + 1);
    if (!text)
        fail(3, "out of memory");
    base64_encode(text, bytes.data, bytes.len);
    json_object_object_add(to, field, json_object_new_string(text));
    free(text);
}

void json_text(json_object *to, const char *name, const char *text)
{
    json_bytes(to, name, mend_str(text));
}

void json_number(json_object *to, const char *name, int64_t number)
{
    json_object_object_add(to, name, json_object_new_int64(number));
}

void json_unsigned(json_object *to, const char *name, uint64_t number)
{
    json_object_object_add(to, name, json_object_new_uint64(number));
}

void json_real(json_object *to, const char *name, double number, int digits)
{
    char text[64];
    snprintf(text, sizeof text, "%.*f", digits, number);
    json_object_object_add(to, name, json_object_new_double_s(number, text));
}

/* What json-c leaves as it is, and a terminal may obey: DEL, and the control characters beyond ASCII. */
static void put_json(const char *text, size_t n)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + n;

    for (; at < end; at++)
        if (*at == 0x7f)
            fputs("\\u007f", stdout);
        else if (*at == 0xc2 && at[1] < 0xa0)
            printf("\\u%04x", *++at);
        else
            putchar_unlocked(*at);
}

void json_line(json_object *object)
{
    size_t      length;
    const char *text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    flockfile(stdout);
    put_json(text, length);
    putchar('\n');
    funlockfile(stdout);
    json_object_put(object);
}
