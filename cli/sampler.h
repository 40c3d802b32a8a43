/* sampler.h - each server looked at once an interval: its health, how long a get takes, its own counters.
 *
 * A thread for each, with a client of that server alone, so that one that hangs holds up no other.
 * The state is mend's at the moment it is read; the rest is of the last look.
 */
#ifndef CLI_SAMPLER_H
#define CLI_SAMPLER_H

#include "cli.h"

enum { SAMPLER_HISTORY = 512 };

struct sampler_look {
    mend_state state;
    bool       answered;
    int64_t    latency_ns; /* of a get, where it was answered */
};

struct sample {
    const char *server;
    mend_state  state;
    int64_t     since_ms;
    char        why[100];

    uint64_t            looks; /* so far; the last is history[(looks - 1) % SAMPLER_HISTORY] */
    struct sampler_look history[SAMPLER_HISTORY];

    bool   counted; /* are the server's own counters known? */
    double gets_s, sets_s, hits; /* a second; hits: a share, negative if there were no gets */
    double memory;               /* a share of what it may use */
    double connections, items, evictions_s;
};

struct sampler;

/* Of all servers; never stopped: it ends with the process. */
struct sampler *sampler_start(struct cli *cli, int64_t interval_ns);
size_t          sampler_count(const struct sampler *s);
void            sampler_read(struct sampler *s, size_t i, struct sample *to);

#endif
