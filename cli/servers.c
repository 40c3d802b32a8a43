/* servers.c - the commands about servers: ping, servers, stats, which, flush. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "demo/clock.h"
#include "keys.h"
#include "raw.h"
#include "say.h"
#include "settings.h"

static int name_width(const char *const *names, size_t n)
{
    int width = 6; /* "server" */

    for (size_t i = 0; i < n; i++)
        if ((int)strlen(names[i]) > width)
            width = (int)strlen(names[i]);
    return width;
}

/* ---- All at the same time, a thread each: one that hangs holds up no other ---------------------- */

struct visit {
    struct cli  *cli;
    const char  *server;
    const char  *group; /* of stats */
    pthread_t    thread;
    mend_client *client; /* of ping: of this server alone */
    int64_t      took_ns;
    mend_status  status;
    char         error[CLI_ERROR]; /* "": none */
    json_object *stats;
};

static struct visit *visits(struct cli *cli, size_t *n)
{
    const char *const *names = cli_servers(cli, n);
    struct visit      *all = calloc(*n, sizeof *all);

    if (!all)
        fail(UNAVAILABLE, "out of memory");
    for (size_t i = 0; i < *n; i++) {
        all[i].cli = cli;
        all[i].server = names[i];
    }
    return all;
}

static void visit_all(struct visit *all, size_t n, void *(*each)(void *))
{
    for (size_t i = 0; i < n; i++)
        if ((errno = pthread_create(&all[i].thread, NULL, each, &all[i])) != 0)
            fail(UNAVAILABLE, "no thread: %s", strerror(errno));
    for (size_t i = 0; i < n; i++)
        pthread_join(all[i].thread, NULL);
}

/* ---- ping -------------------------------------------------------------------------------------- */

static void *ping(void *visit)
{
    struct visit *v = visit;
    mend_reply    r = MEND_REPLY;

    if (!v->client) {
        v->client = cli_client_of(v->cli, v->server);
        mend_ping(v->client, &r); /* connects: that is not what a call takes */
    }
    int64_t began_ns = clock_now();
    v->status = mend_ping(v->client, &r);
    v->took_ns = clock_now() - began_ns;
    if (v->status < 0)
        cli_error_of(v->client, &r, v->error);
    mend_reply_free(&r);
    return NULL;
}

static void print_ping(const struct visit *v, int width)
{
    char words[CLOCK_WORDS];

    if (v->cli->opt.json) {
        json_object *line = json_object_new_object();
        json_text(line, "server", v->server);
        json_text(line, "status", mend_status_name(v->status));
        if (v->status == MEND_OK)
            json_real(line, "ms", (double)v->took_ns / 1e6, 3);
        else
            json_text(line, "error", v->error);
        json_line(line);
    } else if (v->status == MEND_OK) {
        printf("%-*s  %s\n", width, v->server, clock_words(words, v->took_ns));
    } else {
        printf("%-*s  %sDOWN%s  %.*s\n", width, v->server, say_ink(stdout, say_state_ink(MEND_STATE_DOWN)), say_ink(stdout, "\033[0m"),
               say_room_behind(width + 8), v->error);
    }
}

int run_ping(struct cli *cli, int argc, char **argv)
{
    size_t        n;
    struct visit *all = visits(cli, &n);
    uint64_t      rounds = cli->opt.count ? cli->opt.count : 1;
    int64_t       interval_ns = MS(cli->opt.interval_ms), next_ns = clock_now();
    int           worst = DONE;

    (void)argc, (void)argv;
    for (uint64_t round = 0; round < rounds; round++) {
        if (round > 0)
            clock_sleep_until(next_ns += interval_ns);
        visit_all(all, n, ping);
        for (size_t i = 0; i < n; i++) {
            print_ping(&all[i], name_width(cli_servers(cli, &n), n));
            worst = cli_worse(worst, cli_exit_of(all[i].status));
        }
        fflush(stdout);
    }
    for (size_t i = 0; i < n; i++)
        mend_close(all[i].client);
    free(all);
    return worst;
}

/* ---- servers -------------------------------------------------------------------------------------- */

struct listing {
    struct cli *cli;
    int         width, worst;
};

static void list_json(const mend_server *s)
{
    json_object *line = json_object_new_object();

    json_text(line, "server", s->name);
    json_text(line, "state", s->state == MEND_STATE_TRIAL ? "trial" : s->state == MEND_STATE_DOWN ? "down" : say_state(s->state));
    json_number(line, "since_ms", s->since_ms);
    json_text(line, "why", s->why);
    json_number(line, "next_trial_ms", s->next_trial_ms);
    json_number(line, "falls", s->falls);
    json_number(line, "failures", s->failures);
    json_number(line, "connections", s->connections);
    json_number(line, "weight", s->weight);
    json_object_object_add(line, "gutter", json_object_new_boolean(s->gutter));
    json_text(line, "protocol", s->protocol);
    json_number(line, "journal_keys", (int64_t)s->journal_keys);
    json_unsigned(line, "journal_deleted", s->journal_deleted);
    json_unsigned(line, "journal_overflows", s->journal_overflows);
    json_line(line);
}

static void list(const mend_server *s, void *context)
{
    struct listing *l = context;
    char            weight[16] = "gutter";

    if (!s->gutter)
        snprintf(weight, sizeof weight, "%u", s->weight);
    l->worst = cli_worse(l->worst, s->state == MEND_STATE_UP ? DONE : UNAVAILABLE);
    if (l->cli->opt.json)
        list_json(s);
    else
        printf("%-*s  %s%-8s%s  %6s  %-8s  %.*s\n", l->width, s->name, say_ink(stdout, say_state_ink(s->state)), say_state(s->state),
               say_ink(stdout, "\033[0m"), weight, s->protocol, say_room_behind(l->width + 30), s->why);
}

int run_servers(struct cli *cli, int argc, char **argv)
{
    size_t             n;
    const char *const *names = cli_servers(cli, &n);
    struct listing     l = {.cli = cli, .width = name_width(names, n)};

    (void)argc, (void)argv;
    mend_ping(cli_client(cli), NULL);
    cli_await_verdicts(cli->client);
    if (!cli->opt.json)
        printf("%s%-*s  %-8s  weight  %-8s  why%s\n", say_ink(stdout, "\033[2m"), l.width, "server", "state", "protocol", say_ink(stdout, "\033[0m"));
    mend_servers(cli->client, list, &l);
    return l.worst;
}

/* ---- stats ------------------------------------------------------------------------------------------ */

static void *ask_stats(void *visit)
{
    struct visit *v = visit;
    struct raw   *raw = malloc(sizeof *raw);

    v->stats = json_object_new_object();
    if (!raw)
        fail(UNAVAILABLE, "out of memory");
    if (!raw_open(raw, v->server, &v->cli->config, raw_deadline(v->cli->config.timeout_ms)) || !raw_stats(raw, v->group, v->stats)) {
        v->status = MEND_E_IO;
        snprintf(v->error, sizeof v->error, "%s", raw->error);
    }
    raw_close(raw);
    free(raw);
    return NULL;
}

static void print_stats(const struct visit *v)
{
    if (v->status != MEND_OK) {
        warn("stats: %s: %s", v->server, v->error);
        return;
    }
    printf("%s%s%s\n", say_ink(stdout, "\033[1m"), v->server, say_ink(stdout, "\033[0m"));
    json_object_object_foreach(v->stats, name, value)
        printf("  %-30s %s\n", name, json_object_get_string(value));
}

static void print_stats_json(const struct visit *v)
{
    json_object *line = json_object_new_object();

    json_text(line, "server", v->server);
    json_text(line, "status", mend_status_name(v->status));
    if (v->status == MEND_OK)
        json_object_object_add(line, "stats", json_object_get(v->stats));
    else
        json_text(line, "error", v->error);
    json_line(line);
}

int run_stats(struct cli *cli, int argc, char **argv)
{
    size_t        n;
    struct visit *all = visits(cli, &n);
    int           worst = DONE;

    if (argc && (strlen(argv[0]) > 40 || strpbrk(argv[0], " \r\n")))
        fail(USAGE, "\"%.60s\" is no group of statistics: say settings, items, slabs, sizes or conns", argv[0]);
    if (argc && strcmp(argv[0], "reset") == 0)
        fail(USAGE, "stats only reads: it resets nothing");
    for (size_t i = 0; i < n; i++)
        all[i].group = argc ? argv[0] : NULL;
    visit_all(all, n, ask_stats);
    for (size_t i = 0; i < n; i++) {
        if (cli->opt.json)
            print_stats_json(&all[i]);
        else
            print_stats(&all[i]);
        worst = cli_worse(worst, cli_exit_of(all[i].status));
        json_object_put(all[i].stats);
    }
    free(all);
    return worst;
}

/* ---- which -------------------------------------------------------------------------------------------- */

struct atlas { /* a client for each distribution */
    mend_client *client[16];
    size_t       n;
};

static void which_json(mend_bytes key, const struct distribution *d, bool used, const mend_reply *r)
{
    json_object *line = json_object_new_object();

    json_bytes(line, "key", key);
    json_text(line, "distribution", d->name);
    json_object_object_add(line, "used", json_object_new_boolean(used));
    json_text(line, "server", r->server);
    json_text(line, "status", mend_status_name(r->status));
    json_line(line);
}

static int which(struct cli *cli, mend_bytes key, void *context)
{
    struct atlas *atlas = context;
    char          shown[KEY_SHOWN];
    int           worst = DONE;

    for (size_t i = 0; i < atlas->n; i++) {
        const struct distribution *d = &distributions[i];
        bool                       used = d->value == cli->config.distribution;
        mend_reply                 r = MEND_REPLY;

        mend_exists(atlas->client[i], key, &r);
        if (r.status == MEND_E_ARGUMENT)
            fail(USAGE, "which %s: %s", key_shown(shown, key), r.error);
        if (i == 0 && !cli->opt.json)
            printf("%s%s%s\n", say_ink(stdout, "\033[1m"), key_shown(shown, key), say_ink(stdout, "\033[0m"));
        if (cli->opt.json)
            which_json(key, d, used, &r);
        else
            printf("%c %-16s %-24s %s\n", used ? '*' : ' ', d->name, r.server, r.status == MEND_OK ? "is there" : r.status > 0 ? "is not there" : "does not answer");
        worst = cli_worse(worst, r.status < 0 ? UNAVAILABLE : DONE);
        mend_reply_free(&r);
    }
    return worst;
}

int run_which(struct cli *cli, int argc, char **argv)
{
    struct atlas atlas = {.n = distributions_count};
    struct cli   other = *cli;

    for (size_t i = 0; i < atlas.n; i++) {
        other.client = NULL;
        other.config.distribution = distributions[i].value;
        atlas.client[i] = cli_client(&other);
    }
    int code = keys_each(cli, argc, argv, which, &atlas);
    for (size_t i = 0; i < atlas.n; i++)
        mend_close(atlas.client[i]);
    return code;
}

/* ---- flush ---------------------------------------------------------------------------------------------- */

static void ask_whether(struct cli *cli)
{
    size_t             n;
    const char *const *names = cli_servers(cli, &n);
    char               answer[16];

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        fail(USAGE, "flush removes everything, and there is nobody to ask: say --yes if you mean it");
    fprintf(stderr, "Remove every item of");
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "%s %s", i ? "," : "", names[i]);
    fprintf(stderr, "? (yes or no) ");
    if (!fgets(answer, sizeof answer, stdin) || (strcmp(answer, "yes\n") != 0 && strcmp(answer, "y\n") != 0))
        fail(REFUSED, "nothing was removed");
}

int run_flush(struct cli *cli, int argc, char **argv)
{
    mend_reply r = MEND_REPLY;
    char       error[CLI_ERROR] = "";

    (void)argc, (void)argv;
    if (!cli->opt.yes)
        ask_whether(cli);
    mend_status status = mend_flush_all(cli_client(cli), &r);
    if (status < 0)
        cli_error_of(cli->client, &r, error);
    if (cli->opt.json) {
        json_object *line = json_object_new_object();
        json_text(line, "status", mend_status_name(status));
        json_text(line, "server", r.server);
        json_text(line, "error", error);
        json_line(line);
    } else if (status < 0) {
        warn("flush: %s: %s; other servers that answered are flushed", r.server, error);
    }
    mend_reply_free(&r);
    return cli_exit_of(status);
}
