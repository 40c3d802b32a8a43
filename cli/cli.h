/* cli.h - what every command of mend, the command line, is given and keeps to.
 *
 * A command is a function that gets the options and its arguments, and returns an exit
 * code. A mistake that ends it goes through fail(): one line that says what to do.
 * The client is opened by the first who asks for it, and closed by main.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <mend.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { /* exit codes; the greatest of several keys' or servers' is the command's */
    DONE = 0,
    REFUSED = 1,     /* a miss, or the server said no */
    USAGE = 2,       /* the command, the configuration or a file here is wrong */
    UNAVAILABLE = 3, /* a server could not be asked, or did not answer */
};

struct options { /* as given on the command line; else zeros, NULLs, and the defaults in main.c */
    bool        json, quiet, yes, resume, add, create;
    int64_t     ttl_s;
    bool        ttl; /* was a ttl given? */
    uint32_t    flags;
    uint64_t    initial;
    uint64_t    count; /* 0: not given */
    int64_t     interval_ms, time_ms;
    int64_t     offset_bytes;
    const char *output, *picture;
    unsigned    threads, size_bytes, keys, sets_percent, multi;
};

struct cli {
    const char    *command; /* "get" */
    mend_config    config;
    mend_tls       tls; /* config.tls, where a server is listed so */
    const char    *servers_from; /* who said so: "--servers", "MEND_SERVERS", a file's line */
    struct options opt;
    mend_client   *client; /* NULL until cli_client */
    const char   **servers; /* their names, each once; NULL until cli_servers */
    size_t         servers_count;
};

/* Opens the client, or ends with a line that names the mistake and where it was made. */
mend_client *cli_client(struct cli *cli);

/* A client of that one server of the list, by its name in mend_servers, with all else the same. */
mend_client *cli_client_of(const struct cli *cli, const char *server);

/* The names of all servers, in the order of the list, each once; n of them, at least one: if none is found it ends. They live as
 * long as the process. */
const char *const *cli_servers(struct cli *cli, size_t *n);

/* Waits until each server's first trial has said whether it is up, for a moment at most: after a call that has waited already. */
void cli_await_verdicts(mend_client *client);

/* Why a call failed (status < 0), in words: of a server that is down those of mend_servers, since the reply's are always the same. */
enum { CLI_ERROR = 200 };
const char *cli_error_of(mend_client *client, const mend_reply *r, char text[CLI_ERROR]);

int cli_exit_of(mend_status status);
int cli_worse(int a, int b);

typedef int command_run(struct cli *cli, int argc, char **argv); /* argv[0..argc): the arguments, without the command */

command_run run_get, run_set, run_add, run_replace, run_append, run_prepend, run_cas, run_delete, run_touch, run_incr, run_decr, run_exists;
command_run run_ping, run_servers, run_stats, run_which, run_flush;
command_run run_keys, run_dump, run_restore;
command_run run_top, run_watch, run_bench;

#endif
