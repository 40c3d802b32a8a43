/* haunt.h - which writes that were given up a server may yet do.
 *
 * A write whose caller has gone without an answer is over when its line says so: the connection that
 * it went down has answered all, or the server has ended it. A line that had to be closed before says nothing any more. It is
 * adrift, and is taken to be over a while after the server has answered something that was asked later.
 *
 *     haunt_line      a line has a write that was given up: its epoch
 *     haunt_ended     ...it has come to its end, in that epoch
 *     haunt_adrift    ...or it was closed before
 *     haunt_proved    the server goes on: it has answered what it was asked
 *     haunt_over      all that was given up in epochs until then is over
 *
 * Knows no connections and no keys: it counts, for two epochs. A new one begins when the older of the two is over, so that
 * lines that are given up all the time put off nothing that was given up before them.
 */
#ifndef MEND_CORE_HAUNT_H
#define MEND_CORE_HAUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/time.h"

/* Whether a write that failed may yet be done: not by a server that never had it, or ended its line... */
enum zombie {
    ZOMBIE_NONE,
    ZOMBIE_ON_LINE, /* ...until the end of a line that is counted here */
    ZOMBIE_ADRIFT,  /* ...and nothing tells until when */
};

struct haunt {
    uint64_t epoch; /* that lines are given up in now; from 1 */
    struct haunt_epoch {
        unsigned lines;
        bool     adrift; /* some are: */
        nstime   since;  /* the last was lost sight of then, ... */
        nstime   over;   /* ...and this is when they are taken to be over; NEVER: the server has not gone on since */
    } at[2]; /* by the epoch's parity: this one, and the one before */
    nstime last; /* when the last of all was found to be over */
};

void haunt_init(struct haunt *h);

uint64_t haunt_line(struct haunt *h);
void     haunt_ended(struct haunt *h, uint64_t epoch, nstime now);
void     haunt_adrift(struct haunt *h, uint64_t epoch, nstime now);

/* The server has answered a question of `since`: what was adrift before is over by `over`. */
void haunt_proved(struct haunt *h, nstime since, nstime over);
bool haunt_unproved(const struct haunt *h); /* something is adrift, and waits for that */

uint64_t haunt_over(struct haunt *h, nstime now);
nstime   haunt_due(const struct haunt *h); /* when time alone will make something over; NEVER */

#endif
