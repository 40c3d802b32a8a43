/* settings.h - which servers, and how: the command line, MEND_SERVERS, a file, in that order.
 *
 * The file is --config, else $XDG_CONFIG_HOME/mend/config, else ~/.config/mend/config; that
 * there is none is a mistake only of --config. It has lines "name = value", empty lines, and
 * lines that begin with #. What these say is kept until the process ends.
 */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "cli.h"

struct distribution {
    const char       *name; /* "ketama-weighted" */
    mend_distribution value;
    const char       *whose; /* who else finds keys so, for people */
};
extern const struct distribution distributions[];
extern const size_t              distributions_count;

/* Sets what the field of that name (servers, timeout_ms, ...) is to be; `from` is who says so,
 * for the words of the mistake that it may be. */
void settings_set(struct cli *cli, const char *name, const char *value, const char *from);

/* Fills in cli->config from the environment and the file; NULL: the usual file. What
 * settings_set is called for afterwards wins. */
void settings_read(struct cli *cli, const char *file);

/* A decimal number in [min, max], or it ends with a line that begins with `what`. */
int64_t settings_number(const char *what, const char *text, int64_t min, int64_t max);

/* A decimal number of 64 bits without a sign, or the same. */
uint64_t settings_unsigned(const char *what, const char *text);

/* "90", "90s", "15m", "2h", "7d", "500ms" in milliseconds; a number alone counts `unit_ms`. */
int64_t settings_duration_ms(const char *what, const char *text, int64_t unit_ms);

#endif
