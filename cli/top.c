/* top.c - the command top: every server's state, rates and latency on a screen, with their history. */
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "demo/clock.h"
#include "interrupt.h"
#include "sampler.h"
#include "say.h"
#include "terminal.h"

enum {
    NUMBERS = 58, /* columns of a line behind its server's name */
    NAME_MIN = 21,
    AROUND = 4, /* lines beside the servers': the title, the heads, two of legend */
};

struct top {
    struct cli     *cli;
    struct sampler *sampler;
    struct sample  *samples; /* of this frame */
    size_t          n;
    int64_t         interval_ms;
    bool            utf8;
    int             rows, columns, name_width;
    FILE           *frame;
};

static const char *ink(const char *code)
{
    return say_ink(stdout, code);
}

static void end_line(struct top *t)
{
    fprintf(t->frame, "%s" TERMINAL_EOL "\n", ink("\033[0m"));
}

/* ---- One server ------------------------------------------------------------------------ */

/* A name that is too long keeps its end, which tells it from others. */
static void draw_name(struct top *t, const char *name)
{
    int length = (int)strlen(name), width = t->name_width;

    if (length <= width)
        fprintf(t->frame, "%s%-*s%s ", ink("\033[1m"), width, name, ink("\033[0m"));
    else
        fprintf(t->frame, "%s~%s%s ", ink("\033[1m"), name + length - width + 1, ink("\033[0m"));
}

static void draw_numbers(struct top *t, const struct sample *s)
{
    char gets[WORDS_MAX], sets[WORDS_MAX], connections[WORDS_MAX], hits[WORDS_MAX] = "-", latency[CLOCK_WORDS] = "-";

    if (s->looks && s->history[(s->looks - 1) % SAMPLER_HISTORY].answered)
        clock_words(latency, s->history[(s->looks - 1) % SAMPLER_HISTORY].latency_ns);
    if (!s->counted) {
        fprintf(t->frame, " %6s %6s %5s %8s", "", "", "", latency);
        return;
    }
    if (s->hits >= 0)
        snprintf(hits, sizeof hits, "%.0f%%", 100 * s->hits);
    fprintf(t->frame, " %6s %6s %5s %8s %4.0f%% %5s", say_brief(gets, s->gets_s), say_brief(sets, s->sets_s), hits, latency, 100 * s->memory,
            say_brief(connections, s->connections));
}

static void draw_server(struct top *t, const struct sample *s)
{
    char since[WORDS_MAX];
    bool down = s->state == MEND_STATE_DOWN || s->state == MEND_STATE_TRIAL;

    draw_name(t, s->server);
    fprintf(t->frame, "%s%-8s%s %6s", ink(say_state_ink(s->state)), say_state(s->state), ink("\033[0m"), say_seconds(since, s->since_ms));
    if (down)
        fprintf(t->frame, "  %.*s", t->columns - t->name_width - 18, s->why);
    else
        draw_numbers(t, s);
    end_line(t);
}

/* ---- Its history: a column for each look, the newest at the right ------------------------- */

static const int64_t     steps_ns[] = {30000, 100000, 300000, 1000000, 3000000, 10000000, 30000000};
static const char *const bars_utf8[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
static const char *const bars_ascii[] = {"_", ".", ":", "-", "=", "+", "*", "#"};

static const char *bar(const struct top *t, int64_t ns)
{
    size_t height = 0;

    while (height < sizeof steps_ns / sizeof *steps_ns && ns >= steps_ns[height])
        height++;
    return (t->utf8 ? bars_utf8 : bars_ascii)[height];
}

static void draw_history(struct top *t, const struct sample *s)
{
    int         width = t->columns - 4 < SAMPLER_HISTORY ? t->columns - 4 : SAMPLER_HISTORY;
    const char *last = "";

    fputs("  ", t->frame);
    for (int i = width; i > 0; i--) {
        if ((uint64_t)i > s->looks) {
            putc(' ', t->frame);
            continue;
        }
        const struct sampler_look *look = &s->history[(s->looks - (uint64_t)i) % SAMPLER_HISTORY];
        const char                *colour = ink(look->answered ? say_state_ink(look->state) : say_state_ink(MEND_STATE_DOWN));
        if (strcmp(colour, last) != 0)
            fputs(last = colour, t->frame);
        fputs(look->answered ? bar(t, look->latency_ns) : "x", t->frame);
    }
    end_line(t);
}

/* ---- The frame --------------------------------------------------------------------------------- */

static void draw_title(struct top *t)
{
    size_t    up = 0;
    double    gets_s = 0, hits_s = 0, sets_s = 0;
    char      gets[WORDS_MAX], sets[WORDS_MAX], clock[16];
    time_t    now = time(NULL);
    struct tm day;

    for (size_t i = 0; i < t->n; i++) {
        const struct sample *s = &t->samples[i];
        up += s->state == MEND_STATE_UP;
        if (s->counted) {
            gets_s += s->gets_s;
            sets_s += s->sets_s;
            hits_s += s->hits > 0 ? s->hits * s->gets_s : 0;
        }
    }
    strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &day));
    fprintf(t->frame, "%smend top%s  %s  %s%zu of %zu up%s   %s gets/s   %s sets/s", ink("\033[1m"), ink("\033[0m"), clock,
            up < t->n ? ink(say_state_ink(MEND_STATE_DOWN)) : "", up, t->n, ink("\033[0m"), say_brief(gets, gets_s), say_brief(sets, sets_s));
    if (gets_s > 0)
        fprintf(t->frame, "   %.1f %% hits", 100 * hits_s / gets_s);
    end_line(t);
}

static void draw_legend(struct top *t)
{
    fprintf(t->frame, "%sA column each %.*f s, the newest at the right: %s a get under 30 us, %s 1 ms,", ink("\033[2m"), t->interval_ms % 1000 ? 1 : 0,
            (double)t->interval_ms / 1e3, bar(t, 0), bar(t, 1000000));
    end_line(t);
    fprintf(t->frame, "%s%s 30 ms or more, x no answer. q ends it.%s" TERMINAL_EOL, ink("\033[2m"), bar(t, 100000000), ink("\033[0m"));
}

static void draw_servers(struct top *t)
{
    int  room = t->rows - AROUND;
    bool histories = 2 * (int)t->n <= room, all = (int)t->n <= room;

    if (!all)
        room--; /* for the line that says so */
    for (int healthy = 0; healthy < 2; healthy++) { /* where not all fit, those that are ill come first */
        for (size_t i = 0; i < t->n && room > 0; i++) {
            const struct sample *s = &t->samples[i];
            if (all ? healthy : healthy != (s->state == MEND_STATE_UP))
                continue;
            draw_server(t, s);
            if (histories)
                draw_history(t, s);
            room -= !all;
        }
    }
    if (!all) {
        fprintf(t->frame, "%sand %d more: make the window higher", ink("\033[2m"), (int)t->n - (t->rows - AROUND - 1));
        end_line(t);
    }
}

static void draw(struct top *t)
{
    terminal_size(&t->rows, &t->columns);
    t->name_width = NAME_MIN;
    for (size_t i = 0; i < t->n; i++) {
        sampler_read(t->sampler, i, &t->samples[i]);
        int length = (int)strlen(t->samples[i].server);
        if (length > t->name_width)
            t->name_width = length;
    }
    if (t->name_width > t->columns - NUMBERS)
        t->name_width = t->columns - NUMBERS > 8 ? t->columns - NUMBERS : 8;

    t->frame = terminal_frame();
    draw_title(t);
    fprintf(t->frame, "%s%-*s %-8s %6s %6s %6s %5s %8s %5s %5s", ink("\033[2m"), t->name_width, "server", "state", "for", "gets/s", "sets/s", "hits", "a get",
            "mem", "conns");
    end_line(t);
    draw_servers(t);
    draw_legend(t);
    terminal_show();
}

static void show(struct top *t, uint64_t rounds)
{
    int64_t next_ns = clock_now();

    terminal_open();
    for (uint64_t round = 0; !interrupted() && !(rounds && round == rounds); round++) {
        draw(t);
        next_ns += MS(t->interval_ms);
        for (int64_t now_ns; (now_ns = clock_now()) < next_ns && !interrupted();) {
            int64_t soon_ns = now_ns + MS(250); /* a window that changes its size, and states, show that soon */
            int     key = terminal_key(soon_ns < next_ns ? soon_ns : next_ns);
            if (key == 'q' || key == 'Q')
                return;
            draw(t);
        }
    }
}

/* ---- As lines ---------------------------------------------------------------------------------- */

static void print(const struct sample *s)
{
    json_object               *line = json_object_new_object();
    const struct sampler_look *last = s->looks ? &s->history[(s->looks - 1) % SAMPLER_HISTORY] : NULL;

    json_text(line, "server", s->server);
    json_number(line, "time", (int64_t)time(NULL));
    json_text(line, "state", s->state == MEND_STATE_DOWN ? "down" : s->state == MEND_STATE_TRIAL ? "trial" : say_state(s->state));
    json_number(line, "since_ms", s->since_ms);
    json_text(line, "why", s->why);
    if (last && last->answered)
        json_real(line, "latency_ms", (double)last->latency_ns / 1e6, 3);
    if (s->counted) {
        json_real(line, "gets_s", s->gets_s, 1);
        json_real(line, "sets_s", s->sets_s, 1);
        json_real(line, "evictions_s", s->evictions_s, 1);
        if (s->hits >= 0)
            json_real(line, "hits", s->hits, 4);
        json_real(line, "memory", s->memory, 4);
        json_number(line, "connections", (int64_t)s->connections);
        json_number(line, "items", (int64_t)s->items);
    }
    json_line(line);
}

static void print_on(struct top *t, uint64_t rounds)
{
    int64_t next_ns = clock_now();

    for (uint64_t round = 0; !interrupted() && !(rounds && round == rounds); round++) {
        next_ns += MS(t->interval_ms);
        while (clock_now() < next_ns && !interrupted())
            clock_sleep_until(clock_now() + MS(20) < next_ns ? clock_now() + MS(20) : next_ns);
        for (size_t i = 0; i < t->n; i++) {
            sampler_read(t->sampler, i, &t->samples[i]);
            print(&t->samples[i]);
        }
        fflush(stdout);
    }
}

int run_top(struct cli *cli, int argc, char **argv)
{
    struct top t = {.cli = cli, .interval_ms = cli->opt.interval_ms};

    (void)argc, (void)argv;
    if (!cli->opt.json && !(isatty(STDIN_FILENO) && say_is_terminal(stdout)))
        fail(USAGE, "top draws on a terminal, and this is none: `mend watch` prints lines, `mend top --json` numbers");
    setlocale(LC_CTYPE, "");
    t.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    interrupt_catch();
    t.sampler = sampler_start(cli, MS(t.interval_ms));
    t.n = sampler_count(t.sampler);
    t.samples = calloc(t.n, sizeof *t.samples);
    if (!t.samples)
        fail(UNAVAILABLE, "out of memory");
    if (cli->opt.json)
        print_on(&t, cli->opt.count);
    else
        show(&t, cli->opt.count);
    terminal_close();
    interrupt_die();
    exit(say_flushed() ? DONE : USAGE); /* its threads may be waiting for servers: they end with the process */
}
