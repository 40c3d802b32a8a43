/* walk.h - all keys that a memcached has, as its lru_crawler tells them.
 *
 * The list is put aside in a temporary file before any of it is given out, so that a slow reader,
 * or values that are fetched meanwhile, never keep the crawler waiting.
 */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include "cli.h"

struct walk_item {
    const char *server;
    const char *written; /* the key with %XX, as it came */
    mend_bytes  key;
    int64_t     expires_s;   /* a time of day, by the server's clock; -1: never */
    int64_t     accessed_s;  /* a time of day, by the server's clock */
    int64_t     size_bytes;  /* of the item, with what memcached adds */
    bool        fetched;     /* since it was stored */
};

/* Returns false when there were enough. */
typedef bool walk_each(const struct walk_item *item, void *context);

/* All items of one server, as long as `each` wants more. False if it could not be asked or stopped
 * midway; then error says why, and what it had told by then was given out. A key that comes or goes meanwhile may be among them or not. */
bool walk(const struct cli *cli, const char *server, walk_each *each, void *context, char *error, size_t error_size);

#endif
