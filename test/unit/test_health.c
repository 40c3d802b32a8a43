/* test_health.c - one server's health: every arrow of the drawing, those that may not be, and the times and counts behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/health.h"

#define SECOND MS(1000)
#define START SECOND /* the moment at which all stories begin */

enum { ALLOWED = 3, TIMEOUT_MS = 100 };

static const struct health_limits usual = {.failures_allowed = ALLOWED, .timeout = MS(TIMEOUT_MS), .wait_max = MS(1000)};
static const struct health_limits patient = {.failures_allowed = 1000, .timeout = MS(TIMEOUT_MS), .wait_max = MS(1000)};

/* ---- The arrows, in short ---- */

static void fails(struct health *h, nstime now)
{
    health_failed(h, h->generation, now, 0, "reset");
}

static void serves(struct health *h, nstime now)
{
    health_served(h, h->generation, now);
}

static void trial(struct health *h, nstime begins, nstime ends, bool passes)
{
    health_trial_begins(h, begins);
    if (passes)
        health_trial_passed(h, h->generation, ends);
    else
        health_trial_failed(h, h->generation, ends, 0, "refused");
}

static struct health up(const struct health_limits *limits, nstime now)
{
    struct health h;
    health_init(&h, limits, now);
    trial(&h, now, now, true);
    assert_int_equal(h.state, MEND_STATE_UP);
    return h;
}

static struct health in_state(mend_state state)
{
    struct health h;
    health_init(&h, &usual, START);
    if (state == MEND_STATE_UP || state == MEND_STATE_DOUBTFUL)
        trial(&h, START, START, true);
    if (state == MEND_STATE_DOUBTFUL)
        fails(&h, START);
    if (state == MEND_STATE_DOWN || state == MEND_STATE_TRIAL)
        trial(&h, START, START, false);
    if (state == MEND_STATE_TRIAL)
        health_trial_begins(&h, h.trial_due);
    assert_int_equal(h.state, state);
    return h;
}

/* ---- Which arrows there are ---- */

enum event { FAILED, SERVED, TRIAL_BEGINS, TRIAL_PASSED, TRIAL_FAILED, EVENTS };
#define STAYS (-1)
#define OURS (-2) /* a mistake of our own, that is asserted */

static void report(struct health *h, enum event event, uint32_t generation, nstime now)
{
    switch (event) {
    case FAILED:
        health_failed(h, generation, now, 0, "reset");
        break;
    case SERVED:
        health_served(h, generation, now);
        break;
    case TRIAL_BEGINS:
        health_trial_begins(h, now);
        break;
    case TRIAL_PASSED:
        health_trial_passed(h, generation, now);
        break;
    case TRIAL_FAILED:
        health_trial_failed(h, generation, now, 0, "refused");
        break;
    case EVENTS:
        break;
    }
}

static void arrows(void **state)
{
    static const int next[5][EVENTS] = {
        /*                      FAILED               SERVED TRIAL_BEGINS      TRIAL_PASSED   TRIAL_FAILED */
        [MEND_STATE_NEW] = {STAYS, STAYS, STAYS, MEND_STATE_UP, MEND_STATE_DOWN},
        [MEND_STATE_UP] = {MEND_STATE_DOUBTFUL, STAYS, OURS, STAYS, STAYS},
        [MEND_STATE_DOUBTFUL] = {STAYS, STAYS, STAYS, MEND_STATE_UP, MEND_STATE_DOWN},
        [MEND_STATE_DOWN] = {STAYS, STAYS, MEND_STATE_TRIAL, STAYS, STAYS},
        [MEND_STATE_TRIAL] = {STAYS, STAYS, OURS, MEND_STATE_UP, MEND_STATE_DOWN},
    };
    (void)state;
    for (int from = MEND_STATE_NEW; from <= MEND_STATE_TRIAL; from++)
        for (enum event event = FAILED; event < EVENTS; event++) {
            struct health h = in_state((mend_state)from);
            if (next[from][event] == OURS)
                continue;
            report(&h, event, h.generation, START + SECOND);
            int expected = next[from][event] == STAYS ? from : next[from][event];
            if ((int)h.state != expected)
                fail_msg("state %d, event %d: state %d, and not %d", from, (int)event, (int)h.state, expected);
        }
}

/* One failure more than is allowed, in whatever state calls are asked. */
static void too_many_failures(void **state)
{
    static const mend_state from[] = {MEND_STATE_NEW, MEND_STATE_UP, MEND_STATE_DOUBTFUL};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct health h = in_state(from[i]);
        while (h.failures < ALLOWED) {
            fails(&h, START);
            assert_true(health_askable(h.state));
        }
        fails(&h, START);
        assert_int_equal(h.state, MEND_STATE_DOWN);
        assert_int_equal(h.falls, 1);
        assert_int_equal(h.failures, 0); /* the next time is counted anew */
        assert_string_equal(h.why, "4 calls in a row failed: reset");
    }
}

static void what_may_be_asked(void **state)
{
    (void)state;
    assert_true(health_askable(MEND_STATE_NEW));
    assert_true(health_askable(MEND_STATE_UP));
    assert_true(health_askable(MEND_STATE_DOUBTFUL));
    assert_false(health_askable(MEND_STATE_DOWN));
    assert_false(health_askable(MEND_STATE_TRIAL));
}

/* What comes from an older generation, or from one that is not yet, changes nothing at all, in any state. */
static void other_generations(void **state)
{
    (void)state;
    for (int from = MEND_STATE_NEW; from <= MEND_STATE_TRIAL; from++)
        for (enum event event = FAILED; event < EVENTS; event++)
            for (int other = -1; other <= 1; other += 2) {
                if (event == TRIAL_BEGINS)
                    continue;
                struct health h = in_state((mend_state)from), before = h;
                report(&h, event, h.generation + (uint32_t)other, START + SECOND);
                assert_memory_equal(&h, &before, sizeof h);
            }
}

/* A call that was asked before the outage times out after it; a trial that began in doubt passes when calls have decided. */
static void late_results(void **state)
{
    struct health h = up(&usual, START);
    uint32_t before = h.generation;
    (void)state;
    fails(&h, START);
    health_trial_begins(&h, START);
    for (int i = 0; i < ALLOWED; i++)
        health_failed(&h, before, START + MS(1), 0, "reset");
    assert_int_equal(h.state, MEND_STATE_DOWN);
    uint32_t outage = h.generation;
    assert_int_not_equal(outage, before);
    health_trial_passed(&h, before, START + MS(2));
    assert_int_equal(h.state, MEND_STATE_DOWN);

    trial(&h, START + MS(50), START + MS(51), true);
    assert_int_equal(h.state, MEND_STATE_UP);
    assert_int_not_equal(h.generation, outage);
    assert_int_not_equal(h.generation, before);
    for (int i = 0; i < 100; i++) {
        health_failed(&h, before, START + MS(60), 0, "timeout");
        health_failed(&h, outage, START + MS(60), 0, "timeout");
        health_trial_failed(&h, outage, START + MS(60), 0, "timeout");
    }
    assert_int_equal(h.state, MEND_STATE_UP);
    assert_int_equal(h.failures, 0);
    assert_false(health_troubled(&h));
}

/* Only falls and returns change it: what is asked in doubt is asked under the same. */
static void when_the_generation_changes(void **state)
{
    struct health h;
    (void)state;
    health_init(&h, &usual, START);
    uint32_t g = h.generation;
    trial(&h, START, START, true);
    assert_int_equal(h.generation, g);
    fails(&h, START);
    assert_int_equal(h.generation, g);
    trial(&h, START, START, true);
    assert_int_equal(h.generation, g);
    fails(&h, START);
    trial(&h, START, START, false);
    assert_int_equal(h.state, MEND_STATE_DOWN);
    assert_int_equal(h.generation, g + 1);
    trial(&h, START + MS(30), START + MS(31), false);
    assert_int_equal(h.generation, g + 1);
    trial(&h, START + MS(60), START + MS(61), true);
    assert_int_equal(h.generation, g + 2);
}

/* ---- What calls may suffer ---- */

static void failures_allowed(void **state)
{
    static const unsigned allowed[] = {0, 1, 2, 10};
    (void)state;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        struct health_limits limits = usual;
        limits.failures_allowed = allowed[i];
        struct health h = up(&limits, START);
        for (unsigned n = 0; n < allowed[i]; n++) {
            fails(&h, START);
            assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
        }
        fails(&h, START);
        assert_int_equal(h.state, MEND_STATE_DOWN);
    }
}

/* Calls may fail although trials pass: a trial that passes forgets nothing, and a call that is answered does. */
static void what_resets_the_count(void **state)
{
    struct health h = up(&usual, START);
    (void)state;
    for (int i = 0; i < ALLOWED; i++) {
        fails(&h, START);
        trial(&h, START, START, true);
        assert_int_equal(h.state, MEND_STATE_UP);
    }
    assert_int_equal(h.failures, ALLOWED);
    struct health served = h;
    fails(&h, START);
    assert_int_equal(h.state, MEND_STATE_DOWN);

    serves(&served, START);
    assert_int_equal(served.failures, 0);
    for (int i = 0; i < ALLOWED; i++)
        fails(&served, START);
    assert_int_equal(served.state, MEND_STATE_DOUBTFUL);
    fails(&served, START);
    assert_int_equal(served.state, MEND_STATE_DOWN);
}

/* A call that is answered ends no doubt: the trial that is under way does. */
static void doubt_is_ended_by_trials(void **state)
{
    struct health h = in_state(MEND_STATE_DOUBTFUL);
    (void)state;
    for (int i = 0; i < 100; i++)
        serves(&h, START + MS(i));
    assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
}

/* So many calls of which so many failed, in turns, over a time; the last one failed. */
static mend_state after(unsigned calls, unsigned failed, nstime over)
{
    struct health h = up(&patient, START);
    unsigned so_far = 1;
    fails(&h, START); /* the second begins */
    for (unsigned i = 1; i < calls - 1; i++) {
        bool fail = so_far < failed - 1 && (failed * 2 >= calls ? i % 2 || calls - 1 - i <= failed - 1 - so_far : calls - 1 - i <= failed - 1 - so_far);
        if (fail)
            fails(&h, START + 1);
        else
            serves(&h, START + 1);
        so_far += fail;
    }
    assert_int_equal(so_far, failed - 1);
    assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
    fails(&h, START + over);
    return h.state;
}

static void more_than_half_within_a_second(void **state)
{
    (void)state;
    assert_int_equal(after(20, 11, MS(500)), MEND_STATE_DOWN);
    assert_int_equal(after(20, 10, MS(500)), MEND_STATE_DOUBTFUL); /* half is not more than half */
    assert_int_equal(after(21, 11, MS(500)), MEND_STATE_DOWN);
    assert_int_equal(after(22, 11, MS(500)), MEND_STATE_DOUBTFUL);
    assert_int_equal(after(19, 19, MS(500)), MEND_STATE_DOUBTFUL); /* too few to say */
    assert_int_equal(after(20, 20, MS(500)), MEND_STATE_DOWN);
    assert_int_equal(after(20, 11, SECOND), MEND_STATE_DOWN);
    assert_int_equal(after(20, 11, SECOND + 1), MEND_STATE_DOUBTFUL); /* the second was over: a new one begins */
}

static void the_second_begins_with_a_failure(void **state)
{
    struct health h = up(&patient, START);
    (void)state;
    for (int i = 0; i < 1000; i++)
        serves(&h, START); /* these are in no second */
    assert_false(health_troubled(&h));
    for (int i = 0; i < 20; i++)
        fails(&h, START + 1);
    assert_int_equal(h.state, MEND_STATE_DOWN);
    assert_string_equal(h.why, "20 of 20 calls failed within a second: reset");

    h = up(&patient, START);
    for (int i = 0; i < 19; i++)
        fails(&h, START);
    serves(&h, START + SECOND + 1); /* over; and an answer begins no new one */
    assert_false(health_troubled(&h));
    for (int i = 0; i < 19; i++)
        fails(&h, START + SECOND + 2);
    assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
    fails(&h, START + SECOND + 3);
    assert_int_equal(h.state, MEND_STATE_DOWN);
}

static void the_rate_is_forgotten_with_the_outage(void **state)
{
    struct health h = up(&patient, START);
    (void)state;
    for (int i = 0; i < 20; i++)
        fails(&h, START);
    assert_int_equal(h.state, MEND_STATE_DOWN);
    assert_false(health_troubled(&h));
    trial(&h, START + MS(30), START + MS(31), true);
    for (int i = 0; i < 19; i++)
        fails(&h, START + MS(32));
    assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
}

/* Answers are to be reported only while they change something: that keeps the good path free of a lock. */
static void troubled(void **state)
{
    struct health h = up(&usual, START);
    (void)state;
    assert_false(health_troubled(&h));
    fails(&h, START);
    assert_true(health_troubled(&h));
    serves(&h, START);
    assert_true(health_troubled(&h)); /* the second goes on: it counts in the rate */
    serves(&h, START + SECOND + 1);
    assert_false(health_troubled(&h));
}

/* ---- Trials, and the waits between them ---- */

static void when_a_verdict_is_due(void **state)
{
    struct health h;
    (void)state;
    health_init(&h, &usual, START);
    assert_int_equal(h.trial_due, START); /* at once */
    assert_int_equal(h.verdict_due, START + MS(TIMEOUT_MS));
    assert_int_equal(h.since, START);
    assert_string_equal(h.why, "");
    trial(&h, START, START + MS(5), true);
    assert_int_equal(h.trial_due, NEVER);

    fails(&h, START + SECOND);
    assert_int_equal(h.trial_due, START + SECOND);
    assert_int_equal(h.verdict_due, START + SECOND + MS(TIMEOUT_MS));
    fails(&h, START + SECOND + MS(50)); /* more failures in doubt are no reason for another trial, nor to wait longer */
    assert_int_equal(h.trial_due, START + SECOND);
    assert_int_equal(h.verdict_due, START + SECOND + MS(TIMEOUT_MS));
    health_trial_begins(&h, START + SECOND + MS(50));
    assert_int_equal(h.trial_due, NEVER); /* one is under way */
    fails(&h, START + SECOND + MS(60));
    assert_int_equal(h.trial_due, NEVER);
    health_trial_passed(&h, h.generation, START + SECOND + MS(70));
    assert_int_equal(h.trial_due, NEVER);
}

static void since(void **state)
{
    struct health h;
    (void)state;
    health_init(&h, &usual, START);
    trial(&h, START, START + MS(1), true);
    assert_int_equal(h.since, START + MS(1));
    fails(&h, START + MS(2));
    assert_int_equal(h.since, START + MS(2));
    fails(&h, START + MS(3));
    assert_int_equal(h.since, START + MS(2)); /* still the same doubt */
    trial(&h, START + MS(3), START + MS(4), false);
    assert_int_equal(h.since, START + MS(4));
    for (int i = 0; i < 10; i++) { /* DOWN and TRIAL are one outage */
        nstime begins = h.trial_due;
        health_trial_begins(&h, begins);
        assert_int_equal(h.since, START + MS(4));
        health_trial_failed(&h, h.generation, begins + MS(1), 0, "refused");
        assert_int_equal(h.since, START + MS(4));
    }
    trial(&h, h.trial_due, h.trial_due + MS(7), true);
    assert_true(h.since > START + MS(4));
    assert_int_equal(h.since, h.back);
}

/* A machine that is down from now on: its wait from one trial's start to the next, by chance. */
static nstime next_wait(struct health *h, nstime begins, nstime lasts, uint64_t chance)
{
    health_trial_begins(h, begins);
    health_trial_failed(h, h->generation, begins + lasts, chance, "refused");
    return h->trial_due - begins;
}

/* Whoever is refused waits for 10 to 15 s, or for wait_max and half of it again, however young the outage; and from now on, not from
 * the trial's start. What else fails in between is tried again as ever. */
static void a_refused_trial(void **state)
{
    static const struct {
        nstime wait_max;
        uint64_t chance;
        nstime wait;
    } rows[] = {
        {MS(1000), 0, 10 * SECOND}, {MS(1000), 5 * SECOND, 15 * SECOND}, {30 * SECOND, 0, 30 * SECOND}, {30 * SECOND, 15 * SECOND, 45 * SECOND},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct health h;
        struct health_limits limits = usual;
        limits.wait_max = rows[i].wait_max;
        health_init(&h, &limits, START);
        health_trial_begins(&h, START);
        health_trial_refused(&h, 0, START + MS(2), rows[i].chance, "no");
        assert_int_equal(h.state, MEND_STATE_DOWN);
        assert_string_equal(h.why, "no");
        assert_int_equal(h.trial_due, START + MS(2) + rows[i].wait);
        assert_in_range(next_wait(&h, h.trial_due, MS(3), 0), MS(25), MS(100));
        health_trial_begins(&h, h.trial_due);
        health_trial_refused(&h, 0, h.trial_began, 0, "of an older generation");
        assert_int_equal(h.state, MEND_STATE_TRIAL);
        assert_int_equal(h.trial_due, NEVER);
    }
    struct health h = in_state(MEND_STATE_UP);
    health_trial_refused(&h, h.generation, START, 0, "no trial is under way");
    assert_int_equal(h.trial_due, NEVER);
}

/* In the first second 25 to 50 ms, whatever chance says, and both ends can be had. */
static void the_first_second(void **state)
{
    static const struct {
        uint64_t chance;
        nstime wait;
    } rows[] = {{0, MS(25)}, {MS(25), MS(50)}, {1, MS(25) + 1}, {MS(25) + 1, MS(25)}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct health h;
        health_init(&h, &usual, START);
        health_trial_begins(&h, START);
        health_trial_failed(&h, 0, START + MS(2), rows[i].chance, "refused");
        assert_int_equal(h.trial_due, START + MS(2) + rows[i].wait);
        assert_int_equal(next_wait(&h, START + MS(900), MS(3), rows[i].chance), rows[i].wait);
        assert_int_equal(next_wait(&h, START + MS(1001), 0, rows[i].chance), rows[i].wait); /* down for 999 ms */
    }
    srand(1);
    for (int i = 0; i < 10000; i++) {
        struct health h = in_state(MEND_STATE_DOWN);
        uint64_t chance = i == 0 ? UINT64_MAX : (uint64_t)rand() * (uint64_t)rand() * (uint64_t)rand();
        assert_in_range(next_wait(&h, START + MS(100), MS(1), chance), MS(25), MS(50));
    }
}

/* After it the span doubles from 100 ms to wait_max, and the wait is anything from 25 ms to it. */
static void then_it_doubles(void **state)
{
    static const int spans_ms[] = {100, 200, 400, 800, 1000, 1000, 1000};
    (void)state;
    for (int extreme = 0; extreme < 2; extreme++) {
        struct health h = in_state(MEND_STATE_DOWN);
        nstime now = h.since + SECOND;
        for (size_t i = 0; i < sizeof spans_ms / sizeof *spans_ms; i++) {
            uint64_t chance = extreme ? (uint64_t)MS(spans_ms[i] - 25) : 0;
            nstime wait = next_wait(&h, now, 0, chance);
            assert_int_equal(wait, extreme ? MS(spans_ms[i]) : MS(25));
            now += wait;
        }
    }
    nstime least = NEVER, longest = 0;
    srand(2);
    for (int i = 0; i < 1000; i++) {
        struct health h = in_state(MEND_STATE_DOWN);
        nstime now = h.since + SECOND, wait = 0;
        for (int k = 0; k < 6; k++)
            now += wait = next_wait(&h, now, 0, i == 0 ? UINT64_MAX : (uint64_t)rand() * (uint64_t)rand() * (uint64_t)rand());
        assert_in_range(wait, MS(25), MS(1000));
        least = time_earlier(least, wait);
        longest = wait > longest ? wait : longest;
    }
    assert_true(least < MS(100) && longest > MS(900)); /* full jitter: a fleet does not come back as one */
}

/* Waits are counted from a trial's start: one that hung has waited already, but none begins in the past. */
static void a_hung_trial_has_waited(void **state)
{
    struct health h = in_state(MEND_STATE_DOWN);
    (void)state;
    assert_int_equal(next_wait(&h, START + MS(100), MS(20), 0), MS(25));
    assert_int_equal(next_wait(&h, START + MS(200), MS(25), 0), MS(25));
    assert_int_equal(next_wait(&h, START + MS(300), MS(100), 0), MS(100)); /* at once */
}

static void a_small_wait_max(void **state)
{
    static const struct {
        nstime wait_max, quick_least, quick_most, most;
    } rows[] = {
        {MS(10), MS(5), MS(10), MS(10)}, {MS(1), MS(1) / 2, MS(1), MS(1)}, {MS(50), MS(25), MS(50), MS(50)}, {MS(60), MS(25), MS(50), MS(60)}, {0, 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct health_limits limits = usual;
        struct health h;
        limits.wait_max = rows[i].wait_max;
        health_init(&h, &limits, START);
        trial(&h, START, START, false);
        for (uint64_t chance = 0; chance < 1000; chance++) {
            assert_in_range(next_wait(&h, START + MS(500), 0, chance * 7777777777), rows[i].quick_least, rows[i].quick_most);
            assert_in_range(next_wait(&h, START + SECOND * 5, 0, chance * 7777777777), rows[i].quick_least, rows[i].most);
        }
        health_trial_begins(&h, START + SECOND * 6);
        health_trial_failed(&h, h.generation, START + SECOND * 6, (uint64_t)(rows[i].most - rows[i].quick_least), "refused");
        assert_int_equal(h.trial_due, START + SECOND * 6 + rows[i].most);
    }
}

/* ---- Flapping ---- */

/* Falls at `at`, and is back 30 ms later. Says the longest that its first wait could have been. */
static nstime flap(struct health *h, nstime at)
{
    fails(h, at);
    health_trial_begins(h, at);
    struct health longest = *h;
    health_trial_failed(h, h->generation, at, 0, "refused");
    assert_int_equal(h->state, MEND_STATE_DOWN);
    nstime most = 0;
    for (nstime span = MS(25); span <= MS(1000); span += MS(25)) {
        struct health one = longest;
        health_trial_failed(&one, one.generation, at, (uint64_t)(span - MS(25)), "refused");
        most = one.trial_due - at > most ? one.trial_due - at : most;
    }
    trial(h, at + MS(30), at + MS(30), true);
    return most;
}

static void the_third_fall_within_ten_seconds(void **state)
{
    (void)state;
    struct health h = up(&usual, START);
    assert_int_equal(flap(&h, START + 1 * SECOND), MS(50));
    assert_int_equal(flap(&h, START + 6 * SECOND), MS(50));
    assert_int_equal(flap(&h, START + 11 * SECOND), MS(100)); /* ten seconds after the first, to the moment */
    assert_true(h.flapping);
    assert_int_equal(flap(&h, START + 12 * SECOND), MS(200)); /* each fall makes it longer */
    assert_int_equal(flap(&h, START + 13 * SECOND), MS(400));
    assert_int_equal(h.falls, 5);

    h = up(&usual, START);
    flap(&h, START + 1 * SECOND);
    flap(&h, START + 6 * SECOND);
    assert_int_equal(flap(&h, START + 11 * SECOND + 1), MS(50)); /* a moment later it is no flapping */
    assert_false(h.flapping);
    assert_int_equal(flap(&h, START + 12 * SECOND), MS(100)); /* but the next is */
}

/* A clock may begin at 0: the falls that there were not were no falls. */
static void the_first_falls_are_no_flapping(void **state)
{
    struct health h = up(&usual, 0);
    (void)state;
    assert_int_equal(flap(&h, 0), MS(50));
    assert_int_equal(flap(&h, MS(100)), MS(50));
    assert_false(h.flapping);
    flap(&h, MS(200));
    assert_true(h.flapping);
}

/* Suspicion is doubt without a failure: a trial is to say, and nothing is counted. */
static void suspicion(void **state)
{
    (void)state;
    for (int from = MEND_STATE_NEW; from <= MEND_STATE_TRIAL; from++) {
        struct health h = in_state((mend_state)from), before = h;
        health_suspect(&h, START + MS(7), "the name moved");
        if (from == MEND_STATE_UP) {
            assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
            assert_string_equal(h.why, "the name moved");
            assert_int_equal(h.trial_due, START + MS(7));
            assert_int_equal(h.verdict_due, START + MS(7 + TIMEOUT_MS));
            assert_int_equal(h.failures, 0);
            assert_false(health_troubled(&h));
        } else
            assert_memory_equal(&h, &before, sizeof h);
    }
}

static void flapping_ends_after_ten_seconds_of_up(void **state)
{
    (void)state;
    for (int later = -1; later <= 0; later++) {
        struct health h = up(&usual, START);
        for (int i = 1; i <= 5; i++)
            flap(&h, START + i * SECOND);
        nstime back = h.back;
        assert_int_equal(back, START + 5 * SECOND + MS(30));
        fails(&h, back + SECOND); /* doubt is no fall, and does not begin the ten seconds anew */
        trial(&h, back + SECOND, back + SECOND, true);
        assert_int_equal(h.back, back);
        assert_int_equal(flap(&h, back + 10 * SECOND + later), later ? MS(800) : MS(50));
        assert_int_equal(h.flapping, later < 0);
    }
}

/* In a long outage the waits had grown: the next one begins with short ones again, if it is not flapping. */
static void a_new_outage_waits_anew(void **state)
{
    struct health h = in_state(MEND_STATE_DOWN);
    nstime now = h.since + SECOND;
    (void)state;
    for (int i = 0; i < 10; i++)
        now += next_wait(&h, now, 0, UINT64_MAX);
    assert_int_equal(h.wait, MS(1000));
    trial(&h, now, now, true);
    assert_int_equal(flap(&h, now + SECOND), MS(50));
    fails(&h, now + 20 * SECOND);
    trial(&h, now + 20 * SECOND, now + 20 * SECOND, false);
    assert_int_equal(h.wait, 0);
    assert_int_equal(next_wait(&h, now + 22 * SECOND, 0, (uint64_t)MS(75)), MS(100));
}

/* ---- Words ---- */

static void why(void **state)
{
    struct health h = up(&usual, START);
    char longest[300];
    (void)state;
    assert_string_equal(h.why, "");
    fails(&h, START);
    assert_string_equal(h.why, "reset");
    health_failed(&h, h.generation, START, 0, "timeout");
    assert_string_equal(h.why, "timeout");
    trial(&h, START, START, true);
    assert_string_equal(h.why, "timeout"); /* the last failure is told of after it, too */
    fails(&h, START);
    trial(&h, START, START, false);
    assert_string_equal(h.why, "refused");
    trial(&h, START + MS(30), START + MS(30), true);
    assert_string_equal(h.why, "refused");

    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    health_failed(&h, h.generation, START + MS(40), 0, longest);
    assert_int_equal(strlen(h.why), sizeof h.why - 1);
    for (int i = 0; i < ALLOWED; i++)
        health_failed(&h, h.generation, START + MS(40), 0, longest);
    assert_int_equal(strlen(h.why), sizeof h.why - 1);
    assert_memory_equal(h.why, "4 calls in a row failed: xxx", 28);

    h = up(&patient, START);
    for (int i = 0; i < 9; i++)
        serves(&h, START);
    fails(&h, START);
    for (int i = 0; i < 9; i++)
        serves(&h, START);
    for (int i = 0; i < 10; i++)
        fails(&h, START);
    assert_string_equal(h.why, "11 of 20 calls failed within a second: reset");
}

/* Any sequence of reports, at any times: the drawing's states, a trial due whenever one is wanted, and it ends well. */
static void any_sequence(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct health h;
        nstime now = START;
        srand(seed);
        health_init(&h, seed % 2 ? &usual : &patient, now);
        for (int i = 0; i < 500; i++) {
            uint32_t generation = h.generation - (rand() % 8 == 0);
            now += MS(rand() % (1 + (int)seed));
            switch (rand() % 4) {
            case 0:
                health_failed(&h, generation, now, (uint64_t)rand(), "reset");
                break;
            case 1:
                health_served(&h, generation, now);
                break;
            default:
                if (h.trial_due <= now)
                    health_trial_begins(&h, now);
                else if (h.trial_due == NEVER && rand() % 2)
                    health_trial_passed(&h, generation, now);
                else if (h.trial_due == NEVER)
                    health_trial_failed(&h, generation, now, (uint64_t)rand(), "refused");
            }
            assert_in_range(h.state, MEND_STATE_NEW, MEND_STATE_TRIAL);
            assert_int_equal(h.state == MEND_STATE_DOWN ? h.trial_due < NEVER : true, true);
            assert_int_equal(h.state == MEND_STATE_UP || h.state == MEND_STATE_TRIAL ? h.trial_due == NEVER : true, true);
            assert_true(h.trial_due == NEVER || h.trial_due <= now + MS(1000));
            assert_true(h.since <= now && h.failures <= h.limits.failures_allowed);
        }
        if (h.state == MEND_STATE_DOWN)
            health_trial_begins(&h, h.trial_due);
        health_trial_passed(&h, h.generation, now + 2 * SECOND);
        assert_int_equal(h.state, MEND_STATE_UP);
    }
}

/* A trial that is wanted for what it does is no doubt: calls may open connections, as long as nothing speaks against the server. */
static void a_trial_is_wanted(void **state)
{
    struct health        h;
    struct health_limits limits = {.failures_allowed = 10, .timeout = MS(100), .wait_max = MS(1000)};
    (void)state;

    health_init(&h, &limits, 0);
    assert_false(health_dialable(&h));
    health_trial_begins(&h, 0);
    health_trial_passed(&h, h.generation, MS(1));
    assert_true(health_dialable(&h));
    health_wants_trial(&h, MS(2), "deletes");
    assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
    assert_true(health_dialable(&h));
    health_suspect(&h, MS(3), "closed");
    assert_false(health_dialable(&h));
    health_wants_trial(&h, MS(3), "deletes");
    assert_false(health_dialable(&h));
    health_trial_begins(&h, MS(4));
    health_trial_passed(&h, h.generation, MS(5));

    health_failed(&h, h.generation, MS(6), 0, "reset");
    assert_false(health_dialable(&h));
    health_trial_begins(&h, MS(7));
    health_trial_passed(&h, h.generation, MS(8));
    health_wants_trial(&h, MS(9), "deletes"); /* the failure is not forgotten */
    assert_false(health_dialable(&h));
}

/* The last connection died while it was idle: nobody failed, but somebody should go and see. */
static void suspected(void **state)
{
    (void)state;
    struct health h;
    health_init(&h, &(struct health_limits){3, MS(100), MS(1000)}, 0);
    health_suspect(&h, MS(1), "closed");
    assert_int_equal(h.state, MEND_STATE_NEW); /* its trial is under way */
    health_trial_begins(&h, MS(1));
    health_trial_passed(&h, h.generation, MS(2));

    health_suspect(&h, MS(10), "closed");
    assert_int_equal(h.state, MEND_STATE_DOUBTFUL);
    assert_int_equal(h.trial_due, MS(10));
    assert_int_equal(h.verdict_due, MS(110));
    assert_int_equal(h.failures, 0);
    assert_string_equal(h.why, "closed");
    health_trial_begins(&h, MS(10));
    health_trial_failed(&h, h.generation, MS(11), 0, "refused");
    assert_int_equal(h.state, MEND_STATE_DOWN);
    health_suspect(&h, MS(12), "closed");
    assert_string_equal(h.why, "refused");
}

static void moved(void **state)
{
    (void)state;
    struct health h = in_state(MEND_STATE_DOUBTFUL);
    uint32_t      before = h.generation;
    health_trial_passed(&h, before, START);
    health_moved(&h);
    assert_int_equal(h.state, MEND_STATE_UP);
    assert_int_not_equal(h.generation, before);
    assert_int_equal(h.failures, 0);
    health_failed(&h, before, START, 0, "reset"); /* of the old place */
    assert_int_equal(h.state, MEND_STATE_UP);
    assert_int_equal(h.falls, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrows),
        cmocka_unit_test(too_many_failures),
        cmocka_unit_test(what_may_be_asked),
        cmocka_unit_test(other_generations),
        cmocka_unit_test(late_results),
        cmocka_unit_test(when_the_generation_changes),
        cmocka_unit_test(failures_allowed),
        cmocka_unit_test(what_resets_the_count),
        cmocka_unit_test(doubt_is_ended_by_trials),
        cmocka_unit_test(more_than_half_within_a_second),
        cmocka_unit_test(the_second_begins_with_a_failure),
        cmocka_unit_test(the_rate_is_forgotten_with_the_outage),
        cmocka_unit_test(troubled),
        cmocka_unit_test(when_a_verdict_is_due),
        cmocka_unit_test(since),
        cmocka_unit_test(a_refused_trial),
        cmocka_unit_test(the_first_second),
        cmocka_unit_test(then_it_doubles),
        cmocka_unit_test(a_hung_trial_has_waited),
        cmocka_unit_test(a_small_wait_max),
        cmocka_unit_test(the_third_fall_within_ten_seconds),
        cmocka_unit_test(the_first_falls_are_no_flapping),
        cmocka_unit_test(suspicion),
        cmocka_unit_test(flapping_ends_after_ten_seconds_of_up),
        cmocka_unit_test(a_new_outage_waits_anew),
        cmocka_unit_test(why),
        cmocka_unit_test(any_sequence),
        cmocka_unit_test(suspected),
        cmocka_unit_test(a_trial_is_wanted),
        cmocka_unit_test(moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
