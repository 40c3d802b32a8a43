/* life.h - one life of a client, from one seed: a configuration, callers, a mix of faults, then calm, then the end.
 *
 * The library's own code runs in it, from the public header down to io. What it may be asked for is drawn from the seed
 * first, so that each life has its own mix (a swarm).
 */
#ifndef SIM_LIFE_H
#define SIM_LIFE_H

#include <stdint.h>
#include <stdio.h>

#include "sim/fault.h"

struct life_report {
    char     failure[512]; /* "": it went well */
    uint64_t digest, calls, virtual_ms;
    uint64_t faults[FAULTS];  /* by kind */
    int64_t  up_ns, up_within_ns; /* from the end of all faults until every server was up; what is promised of that */
};

/* story: where what happens is told, or NULL. */
void life_run(uint64_t seed, FILE *story, struct life_report *report);

#endif
