/* health.c - see health.h. */
#include "core/health.h"

#include <assert.h>
#include <stdio.h>

enum {
    QUICK_MS = 50,       /* in the first second of an outage a trial begins every 25 to 50 ms: a restart is noticed... */
    QUICK_FOR_MS = 1000, /* ...within 50 ms, at 20 to 40 small packets */
    WINDOW_MS = 1000,
    WINDOW_CALLS = 20,
    REFUSED_MS = 10 * 1000,
    FLAP_MS = 10 * 1000, /* the third fall within this is flapping, and so much time up ends it */
};

#define MAY(s) (1 << MEND_STATE_##s)

static const unsigned char may[] = {
    [MEND_STATE_NEW] = MAY(UP) | MAY(DOWN),
    [MEND_STATE_UP] = MAY(DOUBTFUL) | MAY(DOWN),
    [MEND_STATE_DOUBTFUL] = MAY(UP) | MAY(DOWN),
    [MEND_STATE_DOWN] = MAY(TRIAL),
    [MEND_STATE_TRIAL] = MAY(UP) | MAY(DOWN),
};

static void become(struct health *h, mend_state next, nstime now)
{
    assert(may[h->state] & 1 << next);
    bool same_outage = (h->state == MEND_STATE_DOWN && next == MEND_STATE_TRIAL) || (h->state == MEND_STATE_TRIAL && next == MEND_STATE_DOWN);
    if (h->state == MEND_STATE_TRIAL && next == MEND_STATE_UP)
        h->down += now - h->since;
    if (!same_outage)
        h->since = now;
    h->became[next] += !(h->state == MEND_STATE_TRIAL && next == MEND_STATE_DOWN);
    h->state = next;
}

static void forget_failures(struct health *h)
{
    h->failures = h->window_calls = h->window_failed = 0;
    h->window = NEVER;
}

void health_init(struct health *h, const struct health_limits *limits, nstime now)
{
    *h = (struct health){
        .limits = *limits,
        .state = MEND_STATE_NEW,
        .since = now,
        .trial_due = now,
        .trial_began = now,
        .verdict_due = now + limits->timeout,
        .window = NEVER,
        .back = now,
        .fell = {-MS(FLAP_MS), -MS(FLAP_MS)},
    };
}

void health_moved(struct health *h)
{
    h->generation++;
    forget_failures(h);
}

bool health_dialable(const struct health *h)
{
    return h->state == MEND_STATE_UP || (h->state == MEND_STATE_DOUBTFUL && h->confident);
}

bool health_troubled(const struct health *h)
{
    return h->failures > 0 || h->window != NEVER;
}

/* A moment between lo and hi. */
static nstime between(nstime lo, nstime hi, uint64_t chance)
{
    return hi > lo ? lo + (nstime)(chance % (uint64_t)(hi - lo + 1)) : hi;
}

/* When the next trial begins. Counted from the start of the last one: a trial that hung has waited already. */
static void plan_trial(struct health *h, nstime from, nstime now, uint64_t chance)
{
    nstime quick = time_earlier(MS(QUICK_MS), h->limits.wait_max);
    nstime due;

    if (!h->flapping && now - h->since < MS(QUICK_FOR_MS))
        due = from + between(quick / 2, quick, chance);
    else {
        h->wait = time_earlier(h->wait ? h->wait * 2 : 2 * quick, h->limits.wait_max);
        due = from + between(time_earlier(quick / 2, h->wait), h->wait, chance); /* full jitter: a fleet must not come back as one */
    }
    h->trial_due = due > now ? due : now;
}

static void note_fall(struct health *h, nstime now)
{
    if (now - h->back >= MS(FLAP_MS))
        h->flapping = false;
    if (h->falls >= 2 && now - h->fell[1] <= MS(FLAP_MS))
        h->flapping = true;
    if (!h->flapping)
        h->wait = 0;
    h->fell[1] = h->fell[0];
    h->fell[0] = now;
    h->falls++;
}

static void fall(struct health *h, nstime now, uint64_t chance)
{
    note_fall(h, now);
    become(h, MEND_STATE_DOWN, now);
    h->generation++;
    forget_failures(h);
    plan_trial(h, now, now, chance);
}

/* Counts a call within the second that began with a failure. */
static void count_call(struct health *h, nstime now, bool failed)
{
    if (h->window != NEVER && now - h->window > MS(WINDOW_MS)) {
        h->window = NEVER;
        h->window_calls = h->window_failed = 0;
    }
    if (h->window == NEVER) {
        if (!failed)
            return;
        h->window = now;
    }
    h->window_calls++;
    h->window_failed += failed;
}

void health_served(struct health *h, uint32_t generation, nstime now)
{
    if (generation != h->generation)
        return;
    h->failures = 0;
    count_call(h, now, false);
}

/* The trial begins at once, and has its verdict a timeout later. */
static void doubt(struct health *h, nstime now, bool confident)
{
    h->confident &= confident;
    if (h->state != MEND_STATE_UP)
        return;
    h->confident = confident && h->failures == 0;
    become(h, MEND_STATE_DOUBTFUL, now);
    h->trial_due = now;
    h->verdict_due = now + h->limits.timeout;
}

void health_failed(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why)
{
    if (generation != h->generation || !health_askable(h->state))
        return;
    h->failures++;
    count_call(h, now, true);

    if (h->failures > h->limits.failures_allowed) {
        if (h->failures == 1)
            snprintf(h->why, sizeof h->why, "%s", why);
        else
            snprintf(h->why, sizeof h->why, "%u calls in a row failed: %s", h->failures, why);
        fall(h, now, chance);
    } else if (h->window_calls >= WINDOW_CALLS && h->window_failed * 2 > h->window_calls) {
        snprintf(h->why, sizeof h->why, "%u of %u calls failed within a second: %s", h->window_failed, h->window_calls, why);
        fall(h, now, chance);
    } else {
        snprintf(h->why, sizeof h->why, "%s", why);
        doubt(h, now, false);
    }
}

void health_suspect(struct health *h, nstime now, const char *why)
{
    if (h->state == MEND_STATE_UP)
        snprintf(h->why, sizeof h->why, "%s", why);
    doubt(h, now, false);
}

void health_wants_trial(struct health *h, nstime now, const char *why)
{
    if (h->state == MEND_STATE_UP)
        snprintf(h->why, sizeof h->why, "%s", why);
    doubt(h, now, true);
}

void health_trial_begins(struct health *h, nstime now)
{
    assert(h->state != MEND_STATE_UP && h->state != MEND_STATE_TRIAL);
    h->trial_due = NEVER;
    h->trial_began = now;
    if (h->state == MEND_STATE_DOWN)
        become(h, MEND_STATE_TRIAL, now);
}

void health_trial_postponed(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why)
{
    if (generation != h->generation || h->state != MEND_STATE_DOUBTFUL) {
        health_trial_failed(h, generation, now, chance, why);
        return;
    }
    h->trial_due = now + between(MS(QUICK_MS) / 2, MS(QUICK_MS), chance);
    h->verdict_due = h->trial_due + h->limits.timeout;
}

void health_trial_passed(struct health *h, uint32_t generation, nstime now)
{
    if (generation != h->generation || h->state == MEND_STATE_UP || h->state == MEND_STATE_DOWN)
        return;
    if (h->state == MEND_STATE_TRIAL) {
        h->generation++;
        forget_failures(h); /* a trial that passes in DOUBTFUL forgets nothing: calls may fail all the same */
    }
    if (h->state != MEND_STATE_DOUBTFUL)
        h->back = now;
    become(h, MEND_STATE_UP, now);
    h->trial_due = NEVER;
}

void health_trial_failed(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why)
{
    if (generation != h->generation || h->state == MEND_STATE_UP || h->state == MEND_STATE_DOWN)
        return;
    snprintf(h->why, sizeof h->why, "%s", why);
    if (h->state == MEND_STATE_TRIAL) {
        become(h, MEND_STATE_DOWN, now);
        plan_trial(h, h->trial_began, now, chance);
    } else
        fall(h, now, chance);
}

void health_trial_refused(struct health *h, uint32_t generation, nstime now, uint64_t chance, const char *why)
{
    nstime wait = h->limits.wait_max > MS(REFUSED_MS) ? h->limits.wait_max : MS(REFUSED_MS);

    if (generation != h->generation || h->state == MEND_STATE_UP || h->state == MEND_STATE_DOWN)
        return;
    health_trial_failed(h, generation, now, chance, why);
    h->trial_due = now + between(wait, wait + wait / 2, chance);
}
