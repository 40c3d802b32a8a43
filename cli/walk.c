/* walk.c - see walk.h. */
#include "walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "demo/clock.h"
#include "interrupt.h"
#include "raw.h"
#include "say.h"

enum {
    PATIENCE_MS = 10000, /* the crawler stops between slabs, and for other clients' crawls */
    BUSY_MS = 100,       /* until it is asked again whether the crawler is free */
};

static int64_t field(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    return at ? strtoll(at + strlen(name), NULL, 10) : 0;
}

/* "key=... exp=-1 la=1700000000 cas=2 fetch=no cls=1 size=63": the key has no spaces. */
static bool parse(struct walk_item *item, char *line, char *key, size_t room)
{
    char *end = strchr(line, ' ');

    if (strncmp(line, "key=", 4) != 0 || !end || (size_t)(end - line) - 4 >= room)
        return false;
    *end++ = '\0';
    item->written = line + 4;
    strcpy(key, item->written);
    item->key = mend_mem(key, percent_decode(key, strlen(key)));
    item->expires_s = field(end, "exp=");
    item->accessed_s = field(end, "la=");
    item->size_bytes = field(end, "size=");
    item->fetched = strstr(end, "fetch=yes");
    return true;
}

/* A server that hangs is found out within the timeout of a call: a crawl may take longer to say its first word. */
static bool answers(struct raw *raw)
{
    return raw_say(raw, "version\r\n") && raw_line(raw);
}

static char *ask(struct raw *raw, const char *question)
{
    raw->deadline_ns = raw_deadline(PATIENCE_MS);
    return raw_say(raw, question) ? raw_line(raw) : NULL;
}

/* Its first line, as soon as no other client's crawl is under way. By the hash table, since items
 * that move in the LRU lists meanwhile are missed there; older servers have only the lists. */
static char *begin(struct raw *raw)
{
    for (int64_t until_ns = raw_deadline(PATIENCE_MS);;) {
        char *line = ask(raw, "lru_crawler metadump hash\r\n");
        if (line && strncmp(line, "BADCLASS", 8) == 0)
            line = ask(raw, "lru_crawler metadump all\r\n");
        if (!line || strncmp(line, "BUSY", 4) != 0)
            return line;
        if (clock_now() >= until_ns || interrupted()) {
            snprintf(raw->error, sizeof raw->error, "its lru_crawler is busy with another client's question: try again later");
            return NULL;
        }
        clock_sleep_until(clock_now() + MS(BUSY_MS));
    }
}

/* The list, put aside as fast as it comes: while nobody reads on, the crawler waits with the lock of
 * some items held, and whoever gets one of these waits, too. */
static bool put_aside(struct raw *raw, FILE *list)
{
    for (char *line = begin(raw); line; line = raw_line(raw)) {
        if (strcmp(line, "END") == 0)
            return true;
        if (raw_refused(raw, line))
            return false;
        if (strncmp(line, "key=", 4) != 0) {
            snprintf(raw->error, sizeof raw->error, "it can't list its keys: it says \"%.60s\"", line);
            return false;
        }
        fprintf(list, "%s\n", line);
        raw->deadline_ns = raw_deadline(PATIENCE_MS);
    }
    return false;
}

static void each_line(FILE *list, const char *server, walk_each *each, void *context)
{
    struct walk_item item = {.server = server};
    char             key[3 * 256], *line = NULL;
    size_t           room = 0;
    bool             more = true;

    rewind(list);
    while (more && getline(&line, &room, list) >= 0)
        if (parse(&item, line, key, sizeof key))
            more = each(&item, context);
    free(line);
}

bool walk(const struct cli *cli, const char *server, walk_each *each, void *context, char *error, size_t error_size)
{
    struct raw *raw = malloc(sizeof *raw);
    FILE       *list = tmpfile();

    if (!raw || !list)
        fail(UNAVAILABLE, "no place for a list of keys: %s", strerror(errno));
    bool listed = raw_open(raw, server, &cli->config, raw_deadline(cli->config.timeout_ms)) && answers(raw) && put_aside(raw, list);
    raw_close(raw);
    if (fflush(list) != 0 || ferror(list))
        fail(USAGE, "no place for a list of keys: %s", strerror(errno));
    snprintf(error, error_size, "%s", listed ? "" : raw->error);
    each_line(list, server, each, context);
    fclose(list);
    free(raw);
    return listed;
}
