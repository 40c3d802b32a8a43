/* main.c - mend, the command line: which command, with which options, and their help.
 *
 * Commands and options are the rows of two tables here; usage, help and what getopt knows
 * are made from them. What a command does is elsewhere: run_get is in values.c.
 */
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "demo/clock.h"
#include "say.h"
#include "settings.h"

enum {
    LOOK_MS = 5,      /* from one look at mend_servers to the next, while something is waited for */
    VERDICT_MS = 200, /* a call's deadline and that of the first trial are the same: the healer may be so late to say what came of it */
};

/* ---- The options ------------------------------------------------------------------ */

static const struct {
    char        letter;
    const char *name, *argument, *help;
} options[] = {
    {'s', "servers", "LIST", "host, host:port, [v6]:port, unix:/path; with commas"},
    {'c', "config", "FILE", "in place of ~/.config/mend/config"},
    {'w', "timeout", "TIME", "for each call: 1s if nothing says otherwise; 250 is ms"},
    {'d', "distribution", "NAME", "ketama-weighted, ketama, consistent-md5, modula, crc32"},
    {'j', "json", NULL, "one JSON object a line"},
    {'q', "quiet", NULL, "say nothing of misses and refusals"},
    {'h', "help", NULL, "this text"},
    {'V', "version", NULL, "the version"},

    {'t', "ttl", "TIME", "how long to keep it: 90, 15m, 2h, 7d; 0 is for ever"},
    {'f', "flags", "NUMBER", "32 bits of yours, kept with the value"},
    {'I', "initial", "NUMBER", "what to begin with where the key is not there"},
    {'n', "count", "NUMBER", "end after so many"},
    {'i', "interval", "TIME", "from one look to the next: 1s"},
    {'o', "output", "FILE", "write there in place of stdout"},
    {'r', "resume", NULL, "go on with a FILE that an interrupted dump has left"},
    {'a', "add", NULL, "leave alone what is there already"},
    {'b', "from", "BYTE", "begin there: an interrupted restore says where"},
    {'y', "yes", NULL, "don't ask"},
    {'T', "time", "TIME", "how long to run: 10s"},
    {'p', "threads", "NUMBER", "threads that call at the same time: 4"},
    {'z', "size", "BYTES", "of a value: 100"},
    {'k', "keys", "NUMBER", "how many keys to use: 10000"},
    {'S', "sets", "PERCENT", "of the calls are sets, the others gets: 10"},
    {'m', "multi", "NUMBER", "keys a get: 1"},
    {'P', "picture", "FILE", "draw it there, as SVG"},
};
enum { OPTIONS = sizeof options / sizeof *options };

static const struct options defaults = {
    .interval_ms = 1000, .time_ms = 10000, .threads = 4, .size_bytes = 100, .keys = 10000, .sets_percent = 10, .multi = 1,
};

#define COMMON "scwdjqh"

static const struct command {
    const char  *name, *arguments, *summary, *takes; /* the letters of its options, beside the common ones */
    int          min, max; /* arguments */
    command_run *run;
    const char  *help;
} commands[] = {
    {"get", "KEY...", "print values", "t", 1, INT_MAX, run_get,
     "One value is printed as it is, with nothing added; to a terminal with a newline\n"
     "if it has none. Of several keys, each value is followed by a newline. With --ttl\n"
     "the items get a new ttl, too. KEY - reads keys from stdin, a line each.\n"},
    {"set", "KEY [VALUE]", "store a value", "tf", 1, 2, run_set, "Without VALUE, or if it is -, the value is what stdin has.\n"},
    {"add", "KEY [VALUE]", "store a value if the key is not there", "tf", 1, 2, run_add, "Without VALUE, or if it is -, the value is what stdin has.\n"},
    {"replace", "KEY [VALUE]", "store a value if the key is there", "tf", 1, 2, run_replace, "Without VALUE, or if it is -, the value is what stdin has.\n"},
    {"append", "KEY [VALUE]", "put bytes behind a value", "", 1, 2, run_append, "Without VALUE, or if it is -, they are what stdin has. Flags and ttl stay.\n"},
    {"prepend", "KEY [VALUE]", "put bytes before a value", "", 1, 2, run_prepend, "Without VALUE, or if it is -, they are what stdin has. Flags and ttl stay.\n"},
    {"cas", "KEY CAS [VALUE]", "store if nobody did since", "tf", 2, 3, run_cas, "CAS is what `mend get --json KEY` said.\n"},
    {"delete", "KEY...", "remove keys", "", 1, INT_MAX, run_delete, "KEY - reads keys from stdin, a line each: mend keys 'tmp:*' | mend delete -\n"},
    {"touch", "KEY...", "give keys a new ttl", "t", 1, INT_MAX, run_touch, "Without --ttl they are kept for ever. KEY - reads keys from stdin, a line each.\n"},
    {"incr", "KEY [BY]", "add to a counter, print it", "tI", 1, 2, run_incr, "BY is 1 if not given. With --initial a key that is not there begins so.\n"},
    {"decr", "KEY [BY]", "take from a counter, print it", "tI", 1, 2, run_decr, "BY is 1 if not given; it stops at 0. With --initial a key that is not there\nbegins so.\n"},
    {"exists", "KEY...", "print the keys that are there", "", 1, INT_MAX, run_exists, "The exit code is 0 if all are. KEY - reads keys from stdin, a line each.\n"},
    {"ping", "", "ask every server, and say how long it took", "ni", 0, 0, run_ping, "Once, or --count times. Ends with 3 if a server does not answer.\n"},
    {"servers", "", "every server's health, as mend sees it", "", 0, 0, run_servers, "Ends with 3 if one is not up.\n"},
    {"stats", "[GROUP]", "every server's own statistics", "", 0, 1, run_stats, "GROUP is memcached's: settings, items, slabs, sizes, conns.\n"},
    {"which", "KEY...", "the server a key lives on, for each distribution", "", 1, INT_MAX, run_which,
     "Each server is asked whether it has the key: where it is found is what others\n"
     "store by. The * is at the distribution in use.\n"},
    {"keys", "[PATTERN...]", "print the keys that the servers have", "n", 0, INT_MAX, run_keys,
     "PATTERN is as of file names: 'user:*'; quote it. What is not a visible ASCII\n"
     "character is printed as %XX, and % as %25: lists that - reads are read so. It\n"
     "needs memcached's lru_crawler.\n"},
    {"dump", "[PATTERN...]", "write keys, values, flags and ttls to a file", "or", 0, INT_MAX, run_dump,
     "To stdout or --output FILE. The file is memcached commands: `mend restore` reads\n"
     "it, and so does memcached itself. Expiry is kept as a time of day. Keys on a\n"
     "server where the distribution does not look for them are left out, and counted.\n"},
    {"restore", "[FILE]", "store what a dump has", "ab", 0, 1, run_restore, "From stdin without FILE, or if it is -. What has expired meanwhile is left out.\n"},
    {"flush", "", "remove every item of every server", "y", 0, 0, run_flush, "It asks before it does so; where it can't ask, it wants --yes.\n"},
    {"top", "", "watch servers, rates and latencies, on a screen", "ni", 0, 0, run_top, "q ends it. With --json it is lines, and needs no terminal.\n"},
    {"watch", "", "print health and events as they happen", "ni", 0, 0, run_watch, "A line each. Every server is asked once an --interval: so a hung one shows.\n"},
    {"bench", "", "measure calls a second and their times", "TnpzkSmP", 0, 0, run_bench,
     "Its keys begin with mend:bench:, and are deleted at its end. Run it against\n"
     "servers that others need only if you mean to.\n"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* ---- Help ---------------------------------------------------------------------------- */

static void print_options(const char *letters)
{
    char words[64];

    for (size_t i = 0; i < OPTIONS; i++) {
        if (!strchr(letters, options[i].letter))
            continue;
        snprintf(words, sizeof words, "--%s%s%s", options[i].name, options[i].argument ? "=" : "", options[i].argument ? options[i].argument : "");
        printf("  -%c, %-19s %s\n", options[i].letter, words, options[i].help);
    }
}

static void print_help(void)
{
    printf("usage: mend [OPTION...] COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-8s %-16s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
    printf("\n");
    print_options(COMMON "V");
    printf("\n"
           "`mend COMMAND --help` has a command's own options, mend(1) all there is to know.\n"
           "Servers are those of --servers, else of MEND_SERVERS, else of\n"
           "~/.config/mend/config, else 127.0.0.1. Exit codes: 0; 1 a miss, or refused;\n"
           "2 a mistake in the command; 3 a server is not available.\n");
}

static void print_command_help(const struct command *c)
{
    printf("usage: mend %s [OPTION...] %s\n\n%c%s.\n%s\n", c->name, c->arguments, c->summary[0] - 'a' + 'A', c->summary + 1, c->help);
    print_options(c->takes);
    print_options(COMMON);
}

static int end_well(void)
{
    return say_flushed() ? DONE : USAGE;
}

/* ---- Reading the command line ------------------------------------------------------------ */

/* What getopt_long wants to know of the options with these letters. */
struct known {
    char          letters[2 * OPTIONS + 3];
    struct option names[OPTIONS + 1];
};

static void know(struct known *k, const char *mode, const char *letters)
{
    char          *to = stpcpy(k->letters, mode);
    struct option *name = k->names;

    for (size_t i = 0; i < OPTIONS; i++) {
        bool has = options[i].argument;
        if (!strchr(letters, options[i].letter))
            continue;
        *to++ = options[i].letter;
        if (has)
            *to++ = ':';
        *name++ = (struct option){options[i].name, has ? required_argument : no_argument, NULL, options[i].letter};
    }
    *to = '\0';
    *name = (struct option){0};
}

/* Settings are set when the file has been read, which an option names. */
struct given {
    const char *servers, *config, *timeout, *distribution;
    bool        help, version;
};

static void take(struct cli *cli, struct given *given, int letter, const char *value)
{
    struct options *o = &cli->opt;

    switch (letter) {
    case 's': given->servers = value; break;
    case 'c': given->config = value; break;
    case 'w': given->timeout = value; break;
    case 'd': given->distribution = value; break;
    case 'j': o->json = true; break;
    case 'q': o->quiet = true; break;
    case 'h': given->help = true; break;
    case 'V': given->version = true; break;
    case 't':
        o->ttl = true;
        o->ttl_s = (settings_duration_ms("--ttl", value, 1000) + 999) / 1000; /* memcached counts seconds, and 0 is for ever */
        break;
    case 'f': o->flags = (uint32_t)settings_number("--flags", value, 0, UINT32_MAX); break;
    case 'I':
        o->create = true;
        o->initial = settings_unsigned("--initial", value);
        break;
    case 'n': o->count = (uint64_t)settings_number("--count", value, 1, INT64_MAX); break;
    case 'i':
        o->interval_ms = settings_duration_ms("--interval", value, 1000);
        if (o->interval_ms < 20 || o->interval_ms > 86400000)
            fail(USAGE, "--interval: %s is out of range: it may be 20ms to 1d", value);
        break;
    case 'o': o->output = value; break;
    case 'r': o->resume = true; break;
    case 'a': o->add = true; break;
    case 'b': o->offset_bytes = settings_number("--from", value, 0, INT64_MAX); break;
    case 'y': o->yes = true; break;
    case 'T':
        o->time_ms = settings_duration_ms("--time", value, 1000);
        if (o->time_ms < 100)
            fail(USAGE, "--time: %s is too short: it must be 100ms or more", value);
        break;
    case 'p': o->threads = (unsigned)settings_number("--threads", value, 1, 1024); break;
    case 'z': o->size_bytes = (unsigned)settings_number("--size", value, 1, 1 << 30); break;
    case 'k': o->keys = (unsigned)settings_number("--keys", value, 1, 1 << 30); break;
    case 'S': o->sets_percent = (unsigned)settings_number("--sets", value, 0, 100); break;
    case 'm': o->multi = (unsigned)settings_number("--multi", value, 1, 10000); break;
    case 'P': o->picture = value; break;
    }
}

/* Takes options until there are no more, or (mode "+") the first word that is none; optind is where. */
static void read_options(struct cli *cli, struct given *given, const char *who, const char *mode, const char *letters, int argc, char **argv)
{
    struct known known;
    char         short_mode[4];

    snprintf(short_mode, sizeof short_mode, "%s:", mode);
    know(&known, short_mode, letters);
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, known.letters, known.names, NULL)) >= 0;) {
        const char *word = argv[optind - 1];
        char        alone[3] = {'-', (char)optopt, '\0'};
        bool        is_long = strncmp(word, "--", 2) == 0;
        if (letter == ':')
            fail(USAGE, "%s wants a value: `%s --help` says which", is_long ? word : alone, who);
        if (letter == '?' && is_long && optopt)
            fail(USAGE, "%s: this option takes no value", word);
        if (letter == '?')
            fail(USAGE, "there is no option %s here: `%s --help` lists them (a word that begins with - goes behind --)", is_long ? word : alone, who);
        take(cli, given, letter, optarg);
    }
}

static const struct command *command_of(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    fail(USAGE, "there is no command \"%s\": `mend help` lists them", name);
}

static void settle(struct cli *cli, const struct given *given)
{
    settings_read(cli, given->config);
    if (given->servers)
        settings_set(cli, "servers", given->servers, "--servers");
    if (given->timeout) {
        int64_t ms = settings_duration_ms("--timeout", given->timeout, 1);
        if (ms < 1 || ms > INT_MAX)
            fail(USAGE, "--timeout: %s is out of range: it may be 1ms to 24d", given->timeout);
        cli->config.timeout_ms = (int)ms;
    }
    if (given->distribution)
        settings_set(cli, "distribution", given->distribution, "--distribution");
}

static void check_arguments(const struct command *c, int argc)
{
    if (argc < c->min)
        fail(USAGE, "%s wants more: mend %s %s", c->name, c->name, c->arguments);
    if (argc > c->max && c->max == 0)
        fail(USAGE, "%s takes no arguments: `mend %s --help`", c->name, c->name);
    if (argc > c->max)
        fail(USAGE, "%s takes no more than: mend %s %s (a value with spaces goes in quotes)", c->name, c->name, c->arguments);
}

/* ---- The client ---------------------------------------------------------------------------- */

static bool names_tls(const char *servers)
{
    return servers && (strstr(servers, "tls://") || strstr(servers, "tls+"));
}

/* A file may well say how TLS is spoken, when the command line names a server that speaks none. */
static mend_client *open_client(const struct cli *cli, const mend_config *wanted)
{
    mend_client *client;
    mend_reply   r = MEND_REPLY;
    mend_config  config = *wanted;

    if (!names_tls(config.servers) && !names_tls(config.gutter))
        config.tls = NULL;
    mend_status status = mend_open(&config, &client, &r);
    if (status < 0)
        fail(cli_exit_of(status), "%s: %s", strncmp(r.error, "servers", 7) == 0 ? cli->servers_from : "the configuration", r.error);
    mend_reply_free(&r);
    return client;
}

mend_client *cli_client(struct cli *cli)
{
    if (cli->client)
        return cli->client;
    cli->client = open_client(cli, &cli->config);
    if (cli->config.gutter)
        mend_ping(cli->client, NULL); /* a call for a server that has no verdict yet is not always stood in for */
    return cli->client;
}

mend_client *cli_client_of(const struct cli *cli, const char *server)
{
    mend_config config = cli->config;
    config.servers = server;
    config.gutter = NULL;
    return open_client(cli, &config);
}

static void note_name(const mend_server *server, void *context)
{
    struct cli *cli = context;

    for (size_t i = 0; i < cli->servers_count; i++)
        if (strcmp(cli->servers[i], server->name) == 0)
            return;
    cli->servers = reallocarray(cli->servers, cli->servers_count + 1, sizeof *cli->servers);
    if (!cli->servers || !(cli->servers[cli->servers_count++] = strdup(server->name)))
        fail(UNAVAILABLE, "out of memory");
}

const char *const *cli_servers(struct cli *cli, size_t *n)
{
    int64_t until_ns = clock_now() + MS(cli->config.timeout_ms);

    if (!cli->servers)
        mend_servers(cli_client(cli), note_name, cli);
    while (!cli->servers && clock_now() < until_ns) { /* dns:// and cluster:// are to be found out first */
        clock_sleep_until(clock_now() + MS(LOOK_MS));
        mend_servers(cli->client, note_name, cli);
    }
    if (!cli->servers)
        fail(UNAVAILABLE, "no server was found: nobody said in time what %s stands for", cli->config.servers);
    *n = cli->servers_count;
    return cli->servers;
}

/* ---- Why a server is down ------------------------------------------------------------------------ */

static void note_new(const mend_server *server, void *any)
{
    *(bool *)any |= server->state == MEND_STATE_NEW;
}

void cli_await_verdicts(mend_client *client)
{
    int64_t until_ns = clock_now() + MS(VERDICT_MS);

    for (bool any = true; any && clock_now() < until_ns;) {
        any = false;
        mend_servers(client, note_new, &any);
        if (any)
            clock_sleep_until(clock_now() + MS(LOOK_MS));
    }
}

struct why {
    const char *server;
    char       *text;
};

static void note_why(const mend_server *server, void *context)
{
    struct why *why = context;
    if (strcmp(server->name, why->server) == 0)
        snprintf(why->text, CLI_ERROR, "%s", server->why);
}

const char *cli_error_of(mend_client *client, const mend_reply *r, char text[CLI_ERROR])
{
    text[0] = '\0';
    if (r->status == MEND_E_DOWN) {
        cli_await_verdicts(client);
        mend_servers(client, note_why, &(struct why){r->server, text});
    }
    if (!text[0])
        snprintf(text, CLI_ERROR, "%s", r->error);
    return text;
}

int cli_exit_of(mend_status status)
{
    if (status >= 0)
        return status == MEND_OK ? DONE : REFUSED;
    return status == MEND_E_ARGUMENT ? USAGE : UNAVAILABLE;
}

int cli_worse(int a, int b)
{
    return a > b ? a : b;
}

/* ---- The beginning ---------------------------------------------------------------------------- */

static int run(struct cli *cli, struct given *given, int argc, char **argv)
{
    const struct command *c = command_of(argv[0]);
    char                  letters[2 * OPTIONS], who[32];

    snprintf(letters, sizeof letters, COMMON "%s", c->takes);
    snprintf(who, sizeof who, "mend %s", c->name);
    optind = 0; /* GNU's way to begin anew */
    read_options(cli, given, who, "", letters, argc, argv);
    if (given->help) {
        print_command_help(c);
        return end_well();
    }
    argc -= optind;
    argv += optind;
    check_arguments(c, argc);
    settle(cli, given);

    cli->command = c->name;
    int code = c->run(cli, argc, argv);
    mend_close(cli->client);
    return say_flushed() ? code : cli_worse(code, USAGE);
}

int main(int argc, char **argv)
{
    static struct cli cli; /* what it points to lives as long as the process */
    struct given      given = {0};

    cli = (struct cli){.config = MEND_CONFIG_INIT, .opt = defaults};

    read_options(&cli, &given, "mend", "+", COMMON "V", argc, argv);
    argc -= optind;
    argv += optind;
    if (given.version) {
        printf("mend %s\n", mend_version());
        return end_well();
    }
    if (argc > 1 && strcmp(argv[0], "help") == 0) {
        print_command_help(command_of(argv[1]));
        return end_well();
    }
    if (given.help || (argc > 0 && strcmp(argv[0], "help") == 0)) {
        print_help();
        return end_well();
    }
    if (argc == 0)
        fail(USAGE, "say what to do: `mend help` lists the commands");
    return run(&cli, &given, argc, argv);
}
