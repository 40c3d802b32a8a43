/* faults.h - what is done to servers: a row for each fault.
 *
 * A row says how many servers there are, what is done to the first of them and how it is undone, for how long, and
 * how often. A fault that needs more of the world than a process (a proxy in between, say) is a row with `prepare`,
 * which puts it there before the clients are opened and changes the addresses that they are told, and with
 * `finish`, which takes it away. Nothing here knows who asks the servers, nor what becomes of it.
 */
#ifndef OUTAGE_FAULTS_H
#define OUTAGE_FAULTS_H

#include <stdbool.h>

#include "support/memcached.h"

enum { SERVERS_MAX = 3 };

struct world {
    int              servers;
    struct memcached at[SERVERS_MAX];
    char             address[SERVERS_MAX][96]; /* where the clients are to look for it */
    void            *own;                      /* the fault's */
};

struct fault {
    const char *id, *title, *why; /* in a file's name; in the table; what it is there to show */
    int         servers;
    int         away_ms, quick_away_ms; /* how long, each time */
    int         times;                  /* how often */
    int         between_ms;             /* from the end of one to the beginning of the next */
    bool        never_quick;

    const char *(*why_not)(void);    /* this machine cannot have it: the reason; NULL: any can */
    void (*prepare)(struct world *); /* NULL: nothing to prepare */
    void (*begin)(struct world *);
    void (*end)(struct world *); /* returns when the server serves again, as far as we can do that */
    void (*finish)(struct world *);
};

extern const struct fault faults[];
extern const int          faults_count;

void world_begin(struct world *world, const struct fault *fault);
void world_end(struct world *world, const struct fault *fault);

#endif
