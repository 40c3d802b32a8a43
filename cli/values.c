/* values.c - the commands about keys: get, set and its kin, delete, touch, incr, decr, exists. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "keys.h"
#include "say.h"
#include "settings.h"

/* ---- What came of a call --------------------------------------------------------------- */

/* What the server said no with; of a store that was not done, why that was. */
static const char *refusal(const struct cli *cli, mend_status status)
{
    if (status == MEND_NOT_STORED)
        return strcmp(cli->command, "add") == 0 ? "the key is there already" : mend_status_text(MEND_MISS);
    return mend_status_text(status);
}

static void tell(struct cli *cli, mend_bytes key, const mend_reply *r)
{
    char error[CLI_ERROR], shown[KEY_SHOWN];

    key_shown(shown, key);
    if (r->status > 0 && !cli->opt.quiet)
        warn("%s %s: %s", cli->command, shown, refusal(cli, r->status));
    if (r->status < 0)
        warn("%s %s: %s%s%s%s", cli->command, shown, r->server, *r->server ? ": " : "", cli_error_of(cli->client, r, error),
             r->maybe_applied ? " (it may have been done)" : "");
}

static json_object *tell_json(struct cli *cli, mend_bytes key, const mend_reply *r)
{
    json_object *line = json_object_new_object();
    char         error[CLI_ERROR];

    json_bytes(line, "key", key);
    json_text(line, "status", mend_status_name(r->status));
    json_text(line, "server", r->server);
    if (r->status < 0) {
        json_text(line, "error", cli_error_of(cli->client, r, error));
        json_object_object_add(line, "maybe_applied", json_object_new_boolean(r->maybe_applied));
    }
    return line;
}

/* The end of every command about a key that prints nothing but what went wrong. */
static int finish(struct cli *cli, mend_bytes key, mend_reply *r)
{
    int code = cli_exit_of(r->status);

    if (cli->opt.json)
        json_line(tell_json(cli, key, r));
    else
        tell(cli, key, r);
    mend_reply_free(r);
    return code;
}

/* ---- get ---------------------------------------------------------------------------------- */

static void print_hit_json(struct cli *cli, mend_bytes key, const mend_reply *r)
{
    json_object *line = tell_json(cli, key, r);

    json_bytes(line, "value", mend_mem(r->data, r->len));
    json_unsigned(line, "flags", r->flags);
    json_unsigned(line, "cas", r->cas);
    if (r->ttl_s != MEND_TTL_UNKNOWN)
        json_object_object_add(line, "ttl_s", r->ttl_s == MEND_TTL_NEVER ? NULL : json_object_new_int64(r->ttl_s));
    json_line(line);
}

static void print_hit(const mend_reply *r, bool several)
{
    bool ends = r->len && r->data[r->len - 1] == '\n';

    fwrite(r->data, 1, r->len, stdout);
    if (several || (!ends && isatty(STDOUT_FILENO)))
        putchar('\n');
}

static int get(struct cli *cli, mend_bytes key, void *several)
{
    mend_reply  r = MEND_REPLY;
    mend_status status =
        cli->opt.ttl ? mend_get_and_touch(cli_client(cli), key, cli->opt.ttl_s, &r) : mend_get(cli_client(cli), key, &r);

    if (status != MEND_OK)
        return finish(cli, key, &r);
    if (cli->opt.json)
        print_hit_json(cli, key, &r);
    else
        print_hit(&r, *(bool *)several);
    mend_reply_free(&r);
    return DONE;
}

int run_get(struct cli *cli, int argc, char **argv)
{
    bool several = argc > 1 || strcmp(argv[0], "-") == 0;
    return keys_each(cli, argc, argv, get, &several);
}

/* ---- set and its kin ------------------------------------------------------------------------ */

struct value {
    char  *data;
    size_t len;
};

static struct value read_stdin(const char *key)
{
    struct value v = {0};

    if (isatty(STDIN_FILENO))
        fprintf(stderr, "The value of %s, to end with Ctrl-D:\n", key);
    for (size_t room = 0; !feof(stdin) && !ferror(stdin);) { /* asked once more after its end, a terminal would wait for another */
        if (v.len == room && !(v.data = realloc(v.data, room = room ? 2 * room : 65536)))
            fail(UNAVAILABLE, "out of memory: the value is too large");
        v.len += fread(v.data + v.len, 1, room - v.len, stdin);
    }
    if (ferror(stdin))
        fail(USAGE, "stdin can't be read: %s", strerror(errno));
    return v;
}

typedef mend_status store_call(mend_client *, mend_bytes key, mend_bytes value, const mend_store *, mend_reply *);

/* cas 0: by `call`. */
static int store(struct cli *cli, const char *key, const char *value, store_call *call, uint64_t cas)
{
    mend_reply   r = MEND_REPLY;
    mend_store   how = {.ttl_s = cli->opt.ttl_s, .flags = cli->opt.flags};
    struct value v = {0};
    mend_bytes   bytes = mend_str(value);

    cli_client(cli); /* a mistake in the servers shows before anything is typed */
    if (!value || strcmp(value, "-") == 0) {
        v = read_stdin(key);
        bytes = mend_mem(v.data, v.len);
    }
    if (cas)
        mend_cas(cli->client, mend_str(key), bytes, cas, &how, &r);
    else
        call(cli->client, mend_str(key), bytes, &how, &r);
    int code = finish(cli, mend_str(key), &r);
    free(v.data);
    return code;
}

static const char *second(int argc, char **argv)
{
    return argc > 1 ? argv[1] : NULL;
}

int run_set(struct cli *cli, int argc, char **argv)
{
    return store(cli, argv[0], second(argc, argv), mend_set, 0);
}

int run_add(struct cli *cli, int argc, char **argv)
{
    return store(cli, argv[0], second(argc, argv), mend_add, 0);
}

int run_replace(struct cli *cli, int argc, char **argv)
{
    return store(cli, argv[0], second(argc, argv), mend_replace, 0);
}

int run_append(struct cli *cli, int argc, char **argv)
{
    return store(cli, argv[0], second(argc, argv), mend_append, 0);
}

int run_prepend(struct cli *cli, int argc, char **argv)
{
    return store(cli, argv[0], second(argc, argv), mend_prepend, 0);
}

int run_cas(struct cli *cli, int argc, char **argv)
{
    uint64_t cas = settings_unsigned("CAS", argv[1]);

    if (cas == 0)
        fail(USAGE, "CAS: 0 is none: `mend get --json %s` says what it is", argv[0]);
    return store(cli, argv[0], argc > 2 ? argv[2] : NULL, NULL, cas);
}

/* ---- delete, touch, exists --------------------------------------------------------------------- */

static int delete_key(struct cli *cli, mend_bytes key, void *unused)
{
    mend_reply r = MEND_REPLY;

    (void)unused;
    mend_delete(cli_client(cli), key, &r);
    return finish(cli, key, &r);
}

int run_delete(struct cli *cli, int argc, char **argv)
{
    return keys_each(cli, argc, argv, delete_key, NULL);
}

static int touch(struct cli *cli, mend_bytes key, void *unused)
{
    mend_reply r = MEND_REPLY;

    (void)unused;
    mend_touch(cli_client(cli), key, cli->opt.ttl_s, &r);
    return finish(cli, key, &r);
}

int run_touch(struct cli *cli, int argc, char **argv)
{
    return keys_each(cli, argc, argv, touch, NULL);
}

static int exists(struct cli *cli, mend_bytes key, void *unused)
{
    mend_reply r = MEND_REPLY;
    char       shown[KEY_SHOWN];

    (void)unused;
    mend_status status = mend_exists(cli_client(cli), key, &r);
    if (cli->opt.json || status < 0)
        return finish(cli, key, &r);
    mend_reply_free(&r);
    if (status == MEND_OK && !cli->opt.quiet)
        printf("%s\n", key_shown(shown, key));
    return cli_exit_of(status);
}

int run_exists(struct cli *cli, int argc, char **argv)
{
    return keys_each(cli, argc, argv, exists, NULL);
}

/* ---- incr, decr --------------------------------------------------------------------------------- */

typedef mend_status count_call(mend_client *, mend_bytes key, uint64_t delta, const mend_count *, mend_reply *);

static int count(struct cli *cli, int argc, char **argv, count_call *call)
{
    mend_reply r = MEND_REPLY;
    mend_count how = {.create = cli->opt.create, .initial = cli->opt.initial, .ttl_s = cli->opt.ttl_s};
    uint64_t   delta = argc > 1 ? settings_unsigned("BY", argv[1]) : 1;

    if (call(cli_client(cli), mend_str(argv[0]), delta, &how, &r) != MEND_OK)
        return finish(cli, mend_str(argv[0]), &r);
    if (cli->opt.json) {
        json_object *line = tell_json(cli, mend_str(argv[0]), &r);
        json_unsigned(line, "number", r.number);
        json_line(line);
    } else {
        printf("%" PRIu64 "\n", r.number);
    }
    mend_reply_free(&r);
    return DONE;
}

int run_incr(struct cli *cli, int argc, char **argv)
{
    return count(cli, argc, argv, mend_increment);
}

int run_decr(struct cli *cli, int argc, char **argv)
{
    return count(cli, argc, argv, mend_decrement);
}
