/* say.h - what is said to people and to programs: lines on stderr, colours, JSON, numbers in words.
 *
 * Colours only on a terminal, and not with NO_COLOR. JSON is one object a line.
 */
#ifndef CLI_SAY_H
#define CLI_SAY_H

#include <json-c/json.h>
#include <mend.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* "mend: ..." on stderr; the first ends the process with that exit code. */
_Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void           warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Was all that went to stdout written? If not, a line says so. A reader that left is not spoken of. */
bool say_flushed(void);

bool        say_is_terminal(FILE *file);               /* one that can draw: not TERM=dumb */
const char *say_ink(FILE *file, const char *code);     /* the escape sequence, or "" where there are no colours */
int         say_room_behind(int columns);              /* how many bytes of words fit there on stdout's line: to a terminal's edge, else any */
const char *say_state(mend_state state);               /* "up" */
const char *say_state_ink(mend_state state);           /* its colour's escape sequence */
enum { WORDS_MAX = 32 };
const char *say_bytes(char words[WORDS_MAX], double bytes);  /* "12.3 MB": powers of ten */
const char *say_count(char words[WORDS_MAX], uint64_t n);    /* "12,345" */
const char *say_brief(char words[WORDS_MAX], double n);      /* in 5 columns: "999", "12.3k", "1.2M" */
const char *say_seconds(char words[WORDS_MAX], int64_t ms);  /* "17 ms", "0.4 s", "12 s", "3 min", "5 h", "9 d" */

/* A field of bytes: as a string if they are UTF-8, else as NAME_base64. */
void json_bytes(json_object *to, const char *name, mend_bytes bytes);
void json_text(json_object *to, const char *name, const char *text);
void json_number(json_object *to, const char *name, int64_t number);
void json_unsigned(json_object *to, const char *name, uint64_t number);
void json_real(json_object *to, const char *name, double number, int digits);
void json_line(json_object *object); /* prints it, and gives it back */

#endif
