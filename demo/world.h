/* world.h - three real memcacheds on loopback ports, started here and nowhere else.
 *
 * Each is known by the process id that it was started with, and is asked for it before
 * it is believed to answer, so that no other memcached is ever taken for it or harmed.
 * They end with this process, however that ends (PR_SET_PDEATHSIG: the thread that
 * starts them must be the one that lives longest).
 */
#ifndef DEMO_WORLD_H
#define DEMO_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "calls.h"

struct world_server {
    char     address[32]; /* "127.0.0.1:20001" */
    uint16_t port;
    pid_t    pid; /* 0: not running */
};

enum { WORLD_DEAD_MAX = 64 };

struct world {
    struct world_server at[SERVERS];
    pid_t               dead[WORLD_DEAD_MAX]; /* to be reaped at the end: where others look through /proc, that can take seconds */
    int                 dead_count;
    char                why[200]; /* what went wrong */
};

bool world_open(struct world *w);                   /* finds ports, starts all three */
bool world_start(struct world *w, int s);           /* returns when it answers, or after 20 s */
void world_kill(struct world *w, unsigned servers); /* kill -9 */
void world_stop(struct world *w, unsigned servers); /* SIGSTOP */
void world_continue(struct world *w, int s);        /* SIGCONT */
void world_close(struct world *w);                  /* kills all, and reaps them */

#endif
