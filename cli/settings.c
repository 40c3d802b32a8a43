/* settings.c - see settings.h. */
#include "settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "say.h"

const struct distribution distributions[] = {
    {"ketama-weighted", MEND_DISTRIBUTION_KETAMA_WEIGHTED, "PHP's LIBKETAMA_COMPATIBLE, twemproxy"},
    {"ketama", MEND_DISTRIBUTION_KETAMA, "libmemcached's and pylibmc's ketama"},
    {"consistent-md5", MEND_DISTRIBUTION_CONSISTENT_MD5, "libmemcached with md5, libmc"},
    {"modula", MEND_DISTRIBUTION_MODULA, "libmemcached as it comes"},
    {"crc32", MEND_DISTRIBUTION_CRC32, "gomemcache"},
};
const size_t distributions_count = sizeof distributions / sizeof *distributions;

/* ---- Values ---------------------------------------------------------------------- */

int64_t settings_number(const char *what, const char *text, int64_t min, int64_t max)
{
    char *end;

    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end)
        fail(USAGE, "%s: \"%s\" is not a number", what, text);
    if (errno || n < min || n > max)
        fail(USAGE, "%s: %s is out of range: it may be %lld to %lld", what, text, (long long)min, (long long)max);
    return n;
}

uint64_t settings_unsigned(const char *what, const char *text)
{
    char *end;

    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        fail(USAGE, "%s: \"%s\" is not a number of 64 bits", what, text);
    return n;
}

int64_t settings_duration_ms(const char *what, const char *text, int64_t unit_ms)
{
    static const struct {
        const char *suffix;
        int64_t     ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char  *end;
    double n = strtod(text, &end);
    bool   known = !*end;

    for (size_t i = 0; i < sizeof units / sizeof *units && !known; i++) {
        known = strcmp(end, units[i].suffix) == 0;
        unit_ms = known ? units[i].ms : unit_ms;
    }
    if (!known || end == text || end != text + strspn(text, "0123456789.") || n > 1e12) /* strtod would take "0x10" and "1e3", too */
        fail(USAGE, "%s: \"%s\" is not a time: say 90, 500ms, 90s, 15m, 2h or 7d", what, text);
    double ms = n * (double)unit_ms;
    return ms > 0 && ms < 1 ? 1 : (int64_t)ms; /* what is short is not nothing, which may stand for ever */
}

/* Texts that live until the process ends: a file's line does not. */
struct text {
    struct text *next;
    char         at[];
};

static char *kept(const char *text)
{
    static struct text *texts;
    struct text        *copy = malloc(sizeof *copy + strlen(text) + 1);

    if (!copy)
        fail(UNAVAILABLE, "out of memory");
    copy->next = texts;
    texts = copy;
    return strcpy(copy->at, text);
}

/* ---- Settings by name -------------------------------------------------------------- */

enum kind { TEXT, INT, BYTES, DISTRIBUTION, TLS };

/* A new field of mend_config, or (TLS) of mend_tls, is a row here, and a word in mend(1). */
static const struct {
    const char *name;
    enum kind   kind;
    size_t      field;
} settings[] = {
    {"servers", TEXT, offsetof(mend_config, servers)},
    {"timeout_ms", INT, offsetof(mend_config, timeout_ms)},
    {"distribution", DISTRIBUTION, offsetof(mend_config, distribution)},
    {"failures_allowed", INT, offsetof(mend_config, failures_allowed)},
    {"heal_max_ms", INT, offsetof(mend_config, heal_max_ms)},
    {"value_max_bytes", BYTES, offsetof(mend_config, value_max_bytes)},
    {"trial_key", TEXT, offsetof(mend_config, trial_key)},
    {"gutter", TEXT, offsetof(mend_config, gutter)},
    {"gutter_ttl_s", INT, offsetof(mend_config, gutter_ttl_s)},
    {"username", TEXT, offsetof(mend_config, username)},
    {"password", TEXT, offsetof(mend_config, password)},
    {"auth_file", TEXT, offsetof(mend_config, auth_file)},
    {"ca_file", TLS, offsetof(mend_tls, ca_file)},
    {"certificate_file", TLS, offsetof(mend_tls, certificate_file)},
    {"key_file", TLS, offsetof(mend_tls, key_file)},
    {"server_name", TLS, offsetof(mend_tls, server_name)},
};
enum { SETTINGS = sizeof settings / sizeof *settings, NAMES_MAX = 400 };

static mend_distribution distribution_of(const char *name, const char *from)
{
    char names[NAMES_MAX] = "";

    for (size_t i = 0; i < distributions_count; i++) {
        if (strcmp(distributions[i].name, name) == 0)
            return distributions[i].value;
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", distributions[i].name);
    }
    fail(USAGE, "%s: there is no distribution \"%s\": say %s", from, name, names);
}

static void set(struct cli *cli, size_t setting, const char *value, const char *from)
{
    bool  of_tls = settings[setting].kind == TLS;
    void *field = (of_tls ? (char *)&cli->tls : (char *)&cli->config) + settings[setting].field;

    switch (settings[setting].kind) {
    case TEXT:
    case TLS: *(const char **)field = kept(value); break;
    case INT: *(int *)field = (int)settings_number(from, value, 1, INT_MAX); break;
    case BYTES: *(int64_t *)field = settings_number(from, value, 1, INT64_MAX); break;
    case DISTRIBUTION: *(mend_distribution *)field = distribution_of(value, from); break;
    }
}

void settings_set(struct cli *cli, const char *name, const char *value, const char *from)
{
    char names[NAMES_MAX] = "";

    for (size_t i = 0; i < SETTINGS; i++) {
        if (strcmp(settings[i].name, name) == 0) {
            set(cli, i, value, from);
            if (settings[i].kind == TLS)
                cli->config.tls = &cli->tls;
            if (settings[i].field == offsetof(mend_config, servers))
                cli->servers_from = kept(from);
            return;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", settings[i].name);
    }
    fail(USAGE, "%s: there is no setting \"%s\": there are %s", from, name, names);
}

/* ---- The file ------------------------------------------------------------------------ */

static char *trim(char *text)
{
    text += strspn(text, " \t\r\n");
    for (char *end = text + strlen(text); end > text && strchr(" \t\r\n", end[-1]);)
        *--end = '\0';
    return text;
}

static void read_line(struct cli *cli, char *line, const char *from)
{
    char *name = trim(line);
    if (!*name || *name == '#')
        return;

    char *equals = strchr(name, '=');
    if (!equals)
        fail(USAGE, "%s: \"%s\" is not a setting: write NAME = VALUE", from, name);
    *equals = '\0';

    name = trim(name);
    char *value = trim(equals + 1);
    if (!*value)
        fail(USAGE, "%s: %s has no value: write %s = VALUE, or remove the line", from, name, name);
    settings_set(cli, name, value, from);
}

static void read_file(struct cli *cli, const char *path, bool must_be)
{
    FILE *file = fopen(path, "r");
    if (!file && errno == ENOENT && !must_be)
        return;

    char  *line = NULL, from[PATH_MAX + 24];
    size_t room = 0;
    for (int n = 1; file && getline(&line, &room, file) >= 0; n++) {
        snprintf(from, sizeof from, "%s:%d", path, n);
        read_line(cli, line, from);
    }
    if (!file || ferror(file))
        fail(USAGE, "%s: can't be read: %s", path, strerror(errno));
    free(line);
    fclose(file);
}

void settings_read(struct cli *cli, const char *file)
{
    const char *servers = getenv("MEND_SERVERS"), *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char        path[PATH_MAX];

    cli->config.servers = "127.0.0.1";
    cli->servers_from = "the default";
    cli->config.timeout_ms = 1000; /* a person's patience, not an application's */
    if (file) {
        read_file(cli, file, true);
    } else if ((base && *base) || (home && *home)) {
        bool xdg = base && *base;
        snprintf(path, sizeof path, "%s%s/mend/config", xdg ? base : home, xdg ? "" : "/.config");
        read_file(cli, path, false);
    }
    if (servers && *servers)
        settings_set(cli, "servers", servers, "MEND_SERVERS");
}
