/* keys.c - see keys.h. */
#include "keys.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "say.h"

static int each_line(struct cli *cli, key_do *each, void *context)
{
    char   *line = NULL;
    size_t  room = 0;
    ssize_t n;
    int     worst = DONE;

    while ((n = getline(&line, &room, stdin)) >= 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n > 0)
            worst = cli_worse(worst, each(cli, mend_mem(line, percent_decode(line, (size_t)n)), context));
    }
    if (ferror(stdin))
        fail(USAGE, "stdin can't be read: %s", strerror(errno));
    free(line);
    return worst;
}

int keys_each(struct cli *cli, int argc, char **argv, key_do *each, void *context)
{
    int worst = DONE;

    for (int i = 0; i < argc; i++)
        worst = cli_worse(worst, strcmp(argv[i], "-") == 0 ? each_line(cli, each, context) : each(cli, mend_str(argv[i]), context));
    return worst;
}

const char *key_shown(char shown[KEY_SHOWN], mend_bytes key)
{
    char   text[3 * 256 + 1];
    size_t n = percent_encode(text, key.data, key.len < 256 ? key.len : 256);

    if (key.len == 0)
        return strcpy(shown, "\"\"");
    snprintf(shown, KEY_SHOWN, n < KEY_SHOWN ? "%s" : "%.60s...", text);
    return shown;
}

bool key_matches(mend_bytes key, int argc, char **argv)
{
    char text[256];

    if (argc == 0)
        return true;
    if (key.len >= sizeof text)
        return false;
    memcpy(text, key.data, key.len);
    text[key.len] = '\0';
    for (int i = 0; i < argc; i++)
        if (fnmatch(argv[i], text, 0) == 0)
            return true;
    return false;
}
