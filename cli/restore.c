/* restore.c - the command restore: stores what a dump has, many items at a time.
 *
 * It stops at the first that could not be stored, and says from which byte of the file to go on.
 * Items that are stored twice are the same, so nothing is lost by beginning a little early.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli.h"
#include "interrupt.h"
#include "keys.h"
#include "progress.h"
#include "record.h"
#include "say.h"

enum { BATCH_ITEMS = 256, BATCH_BYTES = 1 << 20 };

struct restore {
    struct cli     *cli;
    const char     *path; /* NULL: stdin */
    FILE           *file;
    int64_t         size; /* 0: unknown */
    struct progress progress;

    struct record batch[BATCH_ITEMS];
    size_t        n, bytes;
    int64_t       offset, stored_to; /* how far it was read, and stored */

    uint64_t restored, expired, kept, refused, failed;
    char     error[CLI_ERROR + 64]; /* "": none */
};

/* ---- A batch ------------------------------------------------------------------------- */

static void note(struct restore *s, const struct record *record, const mend_reply *r)
{
    char shown[KEY_SHOWN], error[CLI_ERROR];

    if (r->status == MEND_OK) {
        s->restored++;
    } else if (r->status == MEND_NOT_STORED) {
        s->kept++;
    } else if (r->status > 0 || r->status == MEND_E_ARGUMENT) {
        s->refused++;
        if (!s->cli->opt.quiet && !s->cli->opt.json)
            warn("restore: %s: %s", key_shown(shown, mend_mem(record->key, record->key_len)), r->status > 0 ? mend_status_text(r->status) : r->error);
    } else {
        if (s->failed++ == 0)
            snprintf(s->error, sizeof s->error, "%s: %s", r->server, cli_error_of(s->cli->client, r, error));
    }
}

/* How it is to be stored; false: it has expired. */
static bool item_of(const struct record *record, mend_item *item)
{
    int64_t left_s = record->expires_s - (int64_t)time(NULL);

    *item = (mend_item){
        .key = mend_mem(record->key, record->key_len),
        .value = mend_mem(record->value, record->value_len),
        .store = {.flags = record->flags, .ttl_s = record->expires_s ? left_s : 0},
    };
    return record->expires_s == 0 || left_s > 0;
}

static void store_each(struct restore *s, const mend_item *items, struct record *const *records, size_t n)
{
    mend_reply r = MEND_REPLY;

    for (size_t i = 0; i < n; i++) {
        mend_add(cli_client(s->cli), items[i].key, items[i].value, &items[i].store, &r);
        note(s, records[i], &r);
    }
    mend_reply_free(&r);
}

static void store_all(struct restore *s, const mend_item *items, struct record *const *records, size_t n)
{
    mend_replies rs = MEND_REPLIES;

    mend_set_multi(cli_client(s->cli), items, n, &rs);
    if (rs.count < n)
        fail(UNAVAILABLE, "restore: out of memory");
    for (size_t i = 0; i < n; i++)
        note(s, records[i], &rs.at[i]);
    mend_replies_free(&rs);
}

static void store(struct restore *s)
{
    mend_item      items[BATCH_ITEMS];
    struct record *records[BATCH_ITEMS];
    size_t         n = 0;
    char           count[WORDS_MAX];

    for (size_t i = 0; i < s->n; i++) {
        records[n] = &s->batch[i];
        if (item_of(&s->batch[i], &items[n]))
            n++;
        else
            s->expired++;
    }
    if (n && s->cli->opt.add)
        store_each(s, items, records, n);
    else if (n)
        store_all(s, items, records, n);
    s->n = s->bytes = 0;
    if (!s->failed)
        s->stored_to = s->offset;
    if (!progress_due(&s->progress))
        return;
    if (s->size)
        progress_show(&s->progress, "%s keys, %.0f %%", say_count(count, s->restored), 100 * (double)s->offset / (double)s->size);
    else
        progress_show(&s->progress, "%s keys", say_count(count, s->restored));
}

/* ---- The file ----------------------------------------------------------------------------- */

static enum record_read read_all(struct restore *s)
{
    enum record_read read = RECORD_READ;

    while (read == RECORD_READ && !s->failed && !interrupted()) {
        struct record *record = &s->batch[s->n];
        read = record_read(record, s->file, &s->offset);
        if (ferror(s->file) && !interrupted())
            snprintf(s->error, sizeof s->error, "can't be read: %s", strerror(errno));
        if (read == RECORD_READ) {
            s->n++;
            s->bytes += record->value_len;
        }
        if (s->n == BATCH_ITEMS || s->bytes >= BATCH_BYTES || read != RECORD_READ)
            store(s);
    }
    return read;
}

static void open_file(struct restore *s, const char *path)
{
    struct stat about;

    s->path = path && strcmp(path, "-") != 0 ? path : NULL;
    s->file = s->path ? fopen(s->path, "r") : stdin;
    if (!s->file)
        fail(USAGE, "restore: %s: %s", s->path, strerror(errno));
    if (fstat(fileno(s->file), &about) == 0 && S_ISREG(about.st_mode))
        s->size = about.st_size;
    s->offset = s->stored_to = s->cli->opt.offset_bytes;
    if (s->offset && fseeko(s->file, s->offset, SEEK_SET) != 0)
        fail(USAGE, "restore: --from wants a file, not a pipe");
}

/* ---- The end --------------------------------------------------------------------------------- */

static void sum_up_json(const struct restore *s, bool whole)
{
    json_object *line = json_object_new_object();

    json_object_object_add(line, "complete", json_object_new_boolean(whole));
    json_unsigned(line, "restored", s->restored);
    json_unsigned(line, "expired", s->expired);
    json_unsigned(line, "kept", s->kept);
    json_unsigned(line, "refused", s->refused);
    json_unsigned(line, "failed", s->failed);
    json_number(line, "from", s->stored_to);
    json_text(line, "error", s->error);
    json_line(line);
}

static void sum_up(const struct restore *s)
{
    char words[WORDS_MAX];

    if (s->failed || interrupted())
        warn("restore: stopped%s%s; go on with: mend restore --from %" PRId64 " %s", *s->error ? ": " : "", s->error, s->stored_to,
             s->path ? s->path : "FILE");
    else if (*s->error)
        warn("restore: %s: %s", s->path ? s->path : "stdin", s->error);
    if (s->cli->opt.quiet)
        return;
    fprintf(stderr, "%s keys", say_count(words, s->restored));
    if (s->expired)
        fprintf(stderr, "; %s had expired", say_count(words, s->expired));
    if (s->kept)
        fprintf(stderr, "; %s were there already", say_count(words, s->kept));
    if (s->refused)
        fprintf(stderr, "; %s were refused", say_count(words, s->refused));
    fprintf(stderr, "\n");
}

static int verdict(struct restore *s, enum record_read read)
{
    if (s->failed || interrupted())
        return UNAVAILABLE;
    if (read == RECORD_BAD)
        snprintf(s->error, sizeof s->error, "is no dump from byte %" PRId64 " on", s->offset);
    if (!*s->error && (read == RECORD_CUT || read == RECORD_MISSING))
        snprintf(s->error, sizeof s->error, "the dump is not complete: what it has was stored");
    if (*s->error)
        return USAGE;
    return s->refused ? REFUSED : DONE;
}

int run_restore(struct cli *cli, int argc, char **argv)
{
    struct restore *s = calloc(1, sizeof *s);

    if (!s)
        fail(UNAVAILABLE, "out of memory");
    s->cli = cli;
    s->progress.quiet = cli->opt.quiet || cli->opt.json;
    cli_client(cli);
    open_file(s, argc ? argv[0] : NULL);
    interrupt_catch();

    enum record_read read = read_all(s);
    int              code = verdict(s, read);
    progress_end(&s->progress);
    if (cli->opt.json)
        sum_up_json(s, code == DONE || code == REFUSED);
    else
        sum_up(s);
    interrupt_die();
    for (size_t i = 0; i < BATCH_ITEMS; i++)
        record_free(&s->batch[i]);
    if (s->path)
        fclose(s->file);
    free(s);
    return code;
}
