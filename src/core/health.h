/* health.h - one server's health: a state machine over what calls and trials report.
 *
 * Knows no network and no clock: time is an argument, and so is chance. Its owner sees to
 * it that one thread at a time is inside.
 *
 *      trial_passed             failed                     trial_failed, or too many failed
 *  NEW ------------> UP ------------------> DOUBTFUL ----------------------------> DOWN <---+
 *   |                ^ ^                     |                                      |       | trial_failed:
 *   |                | +--- trial_passed ----+                         trial_begins |       | the wait grows
 *   |                |                                                              v       |
 *   |                +------------------------ trial_passed --------------------- TRIAL ----+
 *   +--- trial_failed ---> DOWN
 *
 * UP falls at once where too many calls failed for one more trial. NEW and DOUBTFUL have a trial under way or
 * due soon; its verdict is in by verdict_due.
 *
 * Generations: a number that changes with every fall and every return, and with a move. A call or a trial
 * reports the one that it began under, and what comes from an older one changes nothing: a timeout from
 * before the outage is no news of the server that is back.
 */
#ifndef MEND_CORE_HEALTH_H
#define MEND_CORE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/time.h"
#include "mend.h"

struct health_limits {
    unsigned failures_allowed; /* in a row; one more takes the server down */
    nstime   timeout;          /* of a trial */
    nstime   wait_max;         /* between trials */
};

struct health {
    struct health_limits limits;
    mend_state           state;
    uint32_t             generation;
    nstime               since;     /* of the state; DOWN and TRIAL are one outage */
    nstime               trial_due; /* when the next trial is to begin; NEVER while one is under way, or while none is wanted */
    nstime               trial_began;
    nstime               verdict_due;
    nstime               wait; /* the span that the next wait is drawn from, once the quick ones are over */

    unsigned failures; /* of calls, in a row */
    bool     confident; /* DOUBTFUL: for a trial's sake, and nothing speaks against the server */

    nstime   window; /* the second that began with a failure, NEVER if there is none... */
    unsigned window_calls, window_failed;

    unsigned falls;
    uint64_t became[MEND_STATE_TRIAL + 1]; /* how often it came into each state; DOWN from TRIAL is the same outage, and counts for none */
    nstime   down;    /* how long the outages lasted that are over */
    nstime   fell[2]; /* the last two, the later first */
    nstime   back;    /* when it last came up from NEW or from an outage */
    bool     flapping;
    char     why[128]; /* the last failure */
};

void health_init(struct health *h, const struct health_limits *limits, nstime now);

/* A call was answered, or failed by the server's fault. chance: any 64 random bits. */
void health_served(struct health *h, uint32_t generation, nstime now);
void health_failed(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why);

/* Nothing failed, but there is reason to ask whether it still serves: UP becomes DOUBTFUL, and no failure is counted. */
void health_suspect(struct health *h, nstime now, const char *why);

/* A trial is wanted for what it does, though nothing speaks against the server: the same, but calls may still dial. */
void health_wants_trial(struct health *h, nstime now, const char *why);

void health_trial_begins(struct health *h, nstime now);
void health_trial_passed(struct health *h, uint32_t generation, nstime now);
void health_trial_failed(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why);

/* The trial was refused, as all will be until somebody changes a configuration: the next is due after 10 s, or wait_max if that is longer. */
void health_trial_refused(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why);

/* The trial could not be made, for want of something of ours. While calls go on (DOUBTFUL) it is made again
 * a little later; in other states it failed. */
void health_trial_postponed(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why);

/* It serves at another address: what is heard from the old one is no news any more. */
void health_moved(struct health *h);

/* Whether calls may be asked: NEW counts as yes, since its verdict is awaited. */
static inline bool health_askable(mend_state state)
{
    return state != MEND_STATE_DOWN && state != MEND_STATE_TRIAL;
}

/* Whether calls may open connections: a server that is doubted is not to be found out about by them. */
bool health_dialable(const struct health *h);

/* Whether successes are to be reported: only then do they change anything. */
bool health_troubled(const struct health *h);

#endif
