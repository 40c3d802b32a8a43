/* raw.h - what the library's public face does not give: plain questions to one memcached.
 *
 *     struct raw r;
 *     if (raw_open(&r, "127.0.0.1:11211", &cli->config, raw_deadline(1000)) && raw_say(&r, "version\r\n") && (line = raw_line(&r)))
 *         ...
 *     raw_close(&r);                     after a failure, too; r.error says which
 *
 * A blocking socket with a deadline for all that is asked of it; only looking up a name
 * takes as long as the system likes; a caught signal (interrupt.h) ends it, too. No health, no healing, no second try: stats and
 * lru_crawler are asked so, values never are. Names are those of mend_servers: host:port,
 * [v6]:port, unix:/path, and tls:// before the first two. What speaks TLS (raw_tls.h), or wants a password, has them by the configuration.
 */
#ifndef CLI_RAW_H
#define CLI_RAW_H

#include <json-c/json.h>
#include <mend.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raw {
    int     fd; /* -1: none */
    int64_t deadline_ns;
    size_t  at, len; /* of buffer: what has come and was not yet given out */
    struct raw_tls *tls; /* NULL: in the clear */
    char    error[160];
    char    buffer[65536];
};

int64_t raw_deadline(int64_t ms); /* so long from now */

bool raw_open(struct raw *r, const char *server, const mend_config *config, int64_t deadline_ns);
void raw_close(struct raw *r);

bool raw_say(struct raw *r, const char *text);

/* The next line without its end, until the next call; NULL after a failure. What is not printable ASCII is '?' in it: whoever
 * speaks there may be hostile, and lines end on terminals. */
char *raw_line(struct raw *r);

/* Is it a memcached's way to say no (ERROR, CLIENT_ERROR why, SERVER_ERROR why)? Then r->error is set to that. */
bool raw_refused(struct raw *r, const char *line);

/* Every statistic of the group (NULL: the general ones) becomes a string of that object, in the order they came. */
bool raw_stats(struct raw *r, const char *group, json_object *to);

#endif
