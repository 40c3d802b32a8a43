/* keys.h - the keys that a command is given: its arguments, or lists of them on stdin. */
#ifndef CLI_KEYS_H
#define CLI_KEYS_H

#include "cli.h"

/* Calls it for each key, in their order: each argument is one, and "-" stands for the lines
 * of stdin, in which %XX is a byte. Returns the worst of what it returned. */
typedef int key_do(struct cli *cli, mend_bytes key, void *context);
int         keys_each(struct cli *cli, int argc, char **argv, key_do *each, void *context);

/* A key as it is shown to people: at most so long, with %XX where it is not visible. */
enum { KEY_SHOWN = 64 };
const char *key_shown(char shown[KEY_SHOWN], mend_bytes key);

/* Does it match one of the patterns (of file names), or are there none? */
bool key_matches(mend_bytes key, int argc, char **argv);

#endif
