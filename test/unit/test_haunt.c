/* test_haunt.c - whether a write that was given up may yet be done: against a model that remembers every line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/haunt.h"

enum { LINES = 4000, ZOMBIE = 50, OPEN_MAX = 7 };

enum fate { OPEN, ENDED, ADRIFT, PROVED };

static struct model {
    uint64_t  epoch;
    enum fate fate;
    nstime    since, over;
} lines[LINES];

static bool is_over(const struct model *m, nstime now)
{
    return m->fate == ENDED || (m->fate == PROVED && m->over <= now);
}

/* Whatever happens: what it calls over is so, and what was given up first is not put off for ever by what comes later. */
static void it_agrees_with_a_model(void **state)
{
    struct haunt h;
    unsigned     seed = 1;
    int          count = 0, first = 0;
    nstime       now = 0;
    (void)state;

    haunt_init(&h);
    assert_int_equal(haunt_over(&h, 0), h.epoch);
    while (count < LINES) {
        now += rand_r(&seed) % 10;
        int at = first + rand_r(&seed) % OPEN_MAX;
        switch (rand_r(&seed) % 4) {
        case 0:
        case 1:
            if (count - first < OPEN_MAX)
                lines[count++] = (struct model){.epoch = haunt_line(&h)};
            break;
        case 2:
            if (at < count && lines[at].fate == OPEN) {
                bool ended = rand_r(&seed) % 3;
                lines[at].fate = ended ? ENDED : ADRIFT;
                lines[at].since = now;
                ended ? haunt_ended(&h, lines[at].epoch, now) : haunt_adrift(&h, lines[at].epoch, now);
            }
            break;
        default:
            haunt_proved(&h, now, now + ZOMBIE);
            for (int i = first; i < count; i++)
                if (lines[i].fate == ADRIFT && lines[i].since < now) {
                    lines[i].fate = PROVED;
                    lines[i].over = now + ZOMBIE;
                }
        }
        uint64_t over = haunt_over(&h, now);
        for (int i = first; i < count; i++)
            if (lines[i].epoch <= over)
                assert_true(is_over(&lines[i], now));
        assert_true(over + 2 >= h.epoch);
        while (first < count && is_over(&lines[first], now) && lines[first].epoch <= over)
            first++;
    }
    for (int i = first; i < count; i++)
        if (lines[i].fate == OPEN)
            haunt_ended(&h, lines[i].epoch, now);
    haunt_proved(&h, now + 1, now + ZOMBIE);
    assert_false(haunt_unproved(&h));
    assert_true(haunt_due(&h) <= now + ZOMBIE || haunt_due(&h) == NEVER);
    assert_int_equal(haunt_over(&h, now + ZOMBIE), h.epoch);
    assert_int_equal(haunt_due(&h), NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_agrees_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
