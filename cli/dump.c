/* dump.c - the commands about all keys: keys, dump.
 *
 * A dump asks each server for its keys, and the client for their values, many at a time. A key
 * whose server, by the distribution, is another one is not what a get would find: restored, it
 * might overwrite what is. It is left out, and counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/linkhash.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "cli.h"
#include "demo/clock.h"
#include "interrupt.h"
#include "keys.h"
#include "progress.h"
#include "raw.h"
#include "record.h"
#include "say.h"
#include "walk.h"

/* ---- keys --------------------------------------------------------------------------- */

struct listing {
    struct cli *cli;
    int         argc;
    char      **argv;
    uint64_t    printed;
};

static bool print_key(const struct walk_item *item, void *context)
{
    struct listing *l = context;
    char            encoded[3 * 256 + 1];

    if (!key_matches(item->key, l->argc, l->argv))
        return true;
    if (l->cli->opt.json) {
        json_object *line = json_object_new_object();
        json_bytes(line, "key", item->key);
        json_text(line, "server", item->server);
        json_object_object_add(line, "expires_s", item->expires_s < 0 ? NULL : json_object_new_int64(item->expires_s));
        json_number(line, "accessed_s", item->accessed_s);
        json_number(line, "size_bytes", item->size_bytes);
        json_object_object_add(line, "fetched", json_object_new_boolean(item->fetched));
        json_line(line);
    } else {
        percent_encode(encoded, item->key.data, item->key.len);
        printf("%s\n", encoded);
    }
    return ++l->printed != l->cli->opt.count;
}

int run_keys(struct cli *cli, int argc, char **argv)
{
    struct listing     l = {.cli = cli, .argc = argc, .argv = argv};
    size_t             n;
    const char *const *servers = cli_servers(cli, &n);
    char               error[200];
    int                worst = DONE;

    for (size_t i = 0; i < n && !(cli->opt.count && l.printed == cli->opt.count); i++) {
        if (walk(cli, servers[i], print_key, &l, error, sizeof error))
            continue;
        fflush(stdout);
        warn("keys: %s: %s", servers[i], error);
        worst = UNAVAILABLE;
    }
    return worst;
}

/* ---- dump: what is known before it begins ---------------------------------------------- */

enum { BATCH_KEYS = 256, BATCH_BYTES = 4 << 20 }; /* read by one multi-get: items' sizes are known beforehand */

struct dump {
    struct cli      *cli;
    int              argc;
    char           **argv;
    FILE            *file;
    struct lh_table *had; /* keys, written with %XX, that an earlier dump left in the file; NULL: none */
    int64_t          ahead_s; /* the clock of the server at hand, before ours */
    uint64_t         items;   /* on all servers, more or less */
    struct progress  progress;

    mend_bytes keys[BATCH_KEYS]; /* copies */
    int64_t    expires_s[BATCH_KEYS];
    size_t     n, bytes;
    const char *server;

    uint64_t dumped, dumped_bytes, skipped, elsewhere, gone, failed;
    char     error[CLI_ERROR + 64]; /* "": none */
};

static int64_t stat_number(json_object *stats, const char *name)
{
    json_object *value;
    return json_object_object_get_ex(stats, name, &value) ? json_object_get_int64(value) : 0;
}

/* How many items there are, and what time it is there. */
static bool look(struct dump *d, const char *server)
{
    struct raw  *raw = malloc(sizeof *raw);
    json_object *stats = json_object_new_object();

    if (!raw)
        fail(UNAVAILABLE, "out of memory");
    bool answered = raw_open(raw, server, &d->cli->config, raw_deadline(d->cli->config.timeout_ms)) && raw_stats(raw, NULL, stats);
    if (answered) {
        d->items += (uint64_t)stat_number(stats, "curr_items");
        d->ahead_s = stat_number(stats, "time") - (int64_t)time(NULL);
        if (d->ahead_s >= -1 && d->ahead_s <= 1)
            d->ahead_s = 0; /* both count whole seconds: this much is between any two */
    } else {
        snprintf(d->error, sizeof d->error, "%s: %s", server, raw->error);
    }
    raw_close(raw);
    free(raw);
    json_object_put(stats);
    return answered;
}

/* ---- dump: the values ---------------------------------------------------------------------- */

static void take(struct dump *d, size_t i, const mend_reply *r)
{
    char error[CLI_ERROR];

    if (r->status < 0 && r->status != MEND_E_ARGUMENT) {
        if (d->failed++ == 0)
            snprintf(d->error, sizeof d->error, "%s: %s", r->server, cli_error_of(d->cli->client, r, error));
    } else if (strcmp(r->server, d->server) != 0) {
        d->elsewhere++;
    } else if (r->status != MEND_OK) {
        d->gone++;
    } else {
        record_write(d->file, d->keys[i], mend_mem(r->data, r->len), r->flags, d->expires_s[i]);
        d->dumped++;
        d->dumped_bytes += r->len;
    }
}

static void fetch(struct dump *d)
{
    mend_replies rs = MEND_REPLIES;
    char         count[WORDS_MAX], of[WORDS_MAX], bytes[WORDS_MAX];

    if (d->n == 0)
        return;
    mend_get_multi(cli_client(d->cli), d->keys, d->n, &rs);
    for (size_t i = 0; i < d->n; i++) {
        if (i < rs.count)
            take(d, i, &rs.at[i]);
        free((void *)d->keys[i].data);
    }
    if (rs.count < d->n)
        fail(UNAVAILABLE, "dump: out of memory");
    mend_replies_free(&rs);
    d->n = d->bytes = 0;
    if (ferror(d->file))
        return;
    if (progress_due(&d->progress))
        progress_show(&d->progress, "%s of about %s keys, %s", say_count(count, d->dumped + d->skipped), say_count(of, d->items),
                      say_bytes(bytes, (double)d->dumped_bytes));
}

static bool note_key(const struct walk_item *item, void *context)
{
    struct dump *d = context;
    char         encoded[3 * 256 + 1], *copy;

    if (!key_matches(item->key, d->argc, d->argv))
        return true;
    percent_encode(encoded, item->key.data, item->key.len);
    if (d->had && lh_table_lookup_entry(d->had, encoded)) {
        d->skipped++;
        return true;
    }
    if (!(copy = malloc(item->key.len)))
        fail(UNAVAILABLE, "out of memory");
    memcpy(copy, item->key.data, item->key.len);
    d->keys[d->n] = mend_mem(copy, item->key.len);
    d->expires_s[d->n++] = item->expires_s < 0 ? 0 : item->expires_s - d->ahead_s;
    d->bytes += (size_t)item->size_bytes;
    d->server = item->server;
    if (d->n == BATCH_KEYS || d->bytes >= BATCH_BYTES)
        fetch(d);
    return !interrupted() && !ferror(d->file);
}

/* ---- dump: the file --------------------------------------------------------------------------- */

static void forget_key(struct lh_entry *entry)
{
    free(lh_entry_k(entry));
}

static void remember_key(struct lh_table *keys, const char *written)
{
    char *copy;

    if (lh_table_lookup_entry(keys, written))
        return;
    if (!(copy = strdup(written)) || lh_table_insert(keys, copy, NULL) != 0)
        fail(UNAVAILABLE, "out of memory");
}

/* Reads what an interrupted dump has left, and cuts off half a record at its end. */
static bool read_earlier(struct dump *d, const char *path)
{
    struct record    r = {.key_len = 0};
    int64_t          offset = 0;
    char             encoded[3 * 256 + 1];
    enum record_read read;

    if (!(d->had = lh_kchar_table_new(1024, forget_key)))
        fail(UNAVAILABLE, "out of memory");
    while ((read = record_read(&r, d->file, &offset)) == RECORD_READ) {
        percent_encode(encoded, r.key, r.key_len);
        remember_key(d->had, encoded);
    }
    record_free(&r);
    if (read == RECORD_BAD)
        fail(USAGE, "%s: is no dump from byte %" PRId64 " on: nothing was changed", path, offset);
    if (read == RECORD_END)
        return false;
    if (fseeko(d->file, offset, SEEK_SET) != 0 || ftruncate(fileno(d->file), offset) != 0)
        fail(USAGE, "%s: %s", path, strerror(errno));
    return true;
}

/* False: there is nothing left to do. */
static bool open_file(struct dump *d)
{
    const char *path = d->cli->opt.output;
    bool        resume = d->cli->opt.resume;

    if (!path && resume)
        fail(USAGE, "dump: --resume wants --output FILE, the file to go on with");
    if (!path) {
        if (isatty(STDOUT_FILENO))
            fail(USAGE, "dump: values are no text for a terminal: say --output FILE, or > FILE");
        d->file = stdout;
        return true;
    }
    int fd = open(path, resume ? O_RDWR | O_CREAT | O_CLOEXEC : O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        fail(USAGE, "dump: %s is there already: --resume goes on with it; or remove it", path);
    if (fd < 0 || !(d->file = fdopen(fd, resume ? "r+" : "w")))
        fail(USAGE, "dump: %s: %s", path, strerror(errno));
    return !resume || read_earlier(d, path);
}

/* Exit code DONE or USAGE. */
static int close_file(struct dump *d, bool whole)
{
    if (whole)
        record_write_end(d->file);
    errno = 0;
    bool written = fflush(d->file) == 0 && !ferror(d->file);
    if (written && d->file != stdout)
        written = fclose(d->file) == 0;
    if (!written && !interrupted()) /* which ends a write to a pipe that is full */
        warn("dump: can't write %s: %s", d->cli->opt.output ? d->cli->opt.output : "to stdout", errno ? strerror(errno) : "an earlier write failed");
    return written ? DONE : USAGE;
}

/* ---- dump: the end ------------------------------------------------------------------------------- */

static void sum_up_json(const struct dump *d, bool whole)
{
    json_object *line = json_object_new_object();

    json_object_object_add(line, "complete", json_object_new_boolean(whole));
    json_unsigned(line, "dumped", d->dumped);
    json_unsigned(line, "dumped_bytes", d->dumped_bytes);
    json_unsigned(line, "had", d->skipped);
    json_unsigned(line, "gone", d->gone);
    json_unsigned(line, "elsewhere", d->elsewhere);
    json_unsigned(line, "failed", d->failed);
    json_text(line, "error", d->error);
    if (d->cli->opt.output) {
        json_line(line);
    } else {
        fprintf(stderr, "%s\n", json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN));
        json_object_put(line);
    }
}

static void sum_up(const struct dump *d, bool whole)
{
    char words[WORDS_MAX], bytes[WORDS_MAX];

    if (!whole)
        warn("dump: not complete%s%s%s", *d->error ? ": " : "", d->error, d->cli->opt.output ? "; --resume goes on with it" : "");
    if (d->elsewhere)
        warn("dump: left out %s keys that are on a server where %s", say_count(words, d->elsewhere), "this --distribution does not look for them");
    if (d->cli->opt.quiet)
        return;
    fprintf(stderr, "%s keys, %s", say_count(words, d->dumped), say_bytes(bytes, (double)d->dumped_bytes));
    if (d->skipped)
        fprintf(stderr, "; %s were there from before", say_count(words, d->skipped));
    if (d->gone)
        fprintf(stderr, "; %s had gone before they were read", say_count(words, d->gone));
    fprintf(stderr, "\n");
}

static bool dump_server(struct dump *d, const char *server)
{
    char error[150];

    if (!look(d, server))
        return false;
    bool walked = walk(d->cli, server, note_key, d, error, sizeof error);
    fetch(d);
    if (!walked)
        snprintf(d->error, sizeof d->error, "%s: %s", server, error);
    return walked;
}

static void already_whole(const struct dump *d)
{
    if (d->cli->opt.json)
        sum_up_json(d, true);
    else if (!d->cli->opt.quiet)
        fprintf(stderr, "%s is complete: there is nothing to go on with\n", d->cli->opt.output);
}

static void end(struct dump *d)
{
    if (d->had)
        lh_table_free(d->had);
    free(d);
}

int run_dump(struct cli *cli, int argc, char **argv)
{
    struct dump       *d = calloc(1, sizeof *d);
    size_t             n;
    const char *const *servers = cli_servers(cli, &n);
    bool               whole = true;

    if (!d)
        fail(UNAVAILABLE, "out of memory");
    d->cli = cli;
    d->argc = argc;
    d->argv = argv;
    d->progress.quiet = cli->opt.quiet || cli->opt.json;
    if (!open_file(d)) {
        already_whole(d);
        fclose(d->file);
        end(d);
        return DONE;
    }
    interrupt_catch();
    for (size_t i = 0; i < n && !interrupted() && !ferror(d->file); i++)
        whole = dump_server(d, servers[i]) && whole;
    whole = whole && !d->failed && !interrupted() && !ferror(d->file);
    progress_end(&d->progress);

    int code = cli_worse(close_file(d, whole), whole ? DONE : UNAVAILABLE);
    if (cli->opt.json)
        sum_up_json(d, whole);
    else
        sum_up(d, whole);
    interrupt_die();
    end(d);
    return code;
}
