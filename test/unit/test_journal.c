/* test_journal.c - the keys whose last write may be lost: each is there once, until its delete is confirmed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/journal.h"

#define S(text) mend_str(text)

static int allocations_left = -1; /* -1: as many as are wanted */

static void *allocate(size_t bytes, void *context)
{
    (void)context;
    if (allocations_left == 0)
        return NULL;
    allocations_left -= allocations_left > 0;
    return malloc(bytes);
}

static void *reallocate(void *p, size_t bytes, void *context)
{
    (void)context;
    return allocations_left == 0 ? NULL : realloc(p, bytes);
}

static void release(void *p, void *context)
{
    (void)context;
    free(p);
}

static struct memory         memory = {{allocate, reallocate, release, NULL}};
static struct journal_budget budget;
static struct journal        journal, other;

static int begin(void **state)
{
    (void)state;
    allocations_left = -1;
    budget = (struct journal_budget){.bytes_max = 1 << 20};
    journal_init(&journal, &memory, &budget, 1000, 100);
    journal_init(&other, &memory, &budget, 1000, 100);
    return 0;
}

/* Whatever it did, it gives all of it back. */
static int end(void **state)
{
    (void)state;
    journal_free(&journal);
    journal_free(&other);
    return budget.bytes != 0;
}

static nstime the_time; /* of the next step */

static void next_is(const char *wanted)
{
    char   key[KEY_MAX];
    size_t len = 0;
    bool   got = journal_next(&journal, 1, the_time, key, &len);
    assert_int_equal(got, wanted != NULL);
    if (wanted) {
        assert_int_equal(len, strlen(wanted));
        assert_memory_equal(key, wanted, len);
    }
}

static bool is_torn(struct journal *j)
{
    nstime at;
    return journal_torn(j, &at);
}

static void each_once_the_oldest_first(void **state)
{
    (void)state;
    assert_int_equal(journal_holds(&journal, S("a"), NULL), 0);
    journal_note(&journal, S("a"), 1, ZOMBIE_NONE);
    journal_note(&journal, S("b"), 2, ZOMBIE_NONE);
    journal_note(&journal, S("a"), 3, ZOMBIE_NONE);
    assert_int_equal(journal_count(&journal), 2);
    assert_int_equal(journal_holds(&journal, S("c"), NULL), 0);
    next_is("a");
    next_is("b");
    next_is(NULL);
    assert_true(journal_holds(&journal, S("a"), NULL) && journal_holds(&journal, S("b"), NULL)); /* until it is confirmed */
    journal_settle(&journal, UINT64_MAX);
    assert_int_equal(journal_count(&journal), 0);
    assert_int_equal(journal_holds(&journal, S("a"), NULL), 0);
}

static void what_was_not_answered_is_asked_again(void **state)
{
    (void)state;
    journal_note(&journal, S("a"), 1, ZOMBIE_NONE);
    next_is("a");
    assert_false(journal_waits(&journal));
    journal_unsent(&journal);
    assert_true(journal_waits(&journal));
    next_is("a");
    journal_note(&journal, S("a"), 2, ZOMBIE_NONE); /* while its delete is under way, which may come before this write */
    journal_settle(&journal, UINT64_MAX);
    assert_true(journal_holds(&journal, S("a"), NULL));
    next_is("a");
    journal_settle(&journal, UINT64_MAX);
    assert_int_equal(journal_count(&journal), 0);
}

static void a_serial_is_of_one_note(void **state)
{
    (void)state;
    journal_note(&journal, S("a"), 1, ZOMBIE_NONE);
    uint32_t first = journal_holds(&journal, S("a"), NULL);
    journal_note(&journal, S("a"), 2, ZOMBIE_NONE);
    uint32_t second = journal_holds(&journal, S("a"), NULL);
    assert_true(first && second && first != second);
    journal_written(&journal, S("a"), first); /* another write failed meanwhile */
    assert_true(journal_holds(&journal, S("a"), NULL));
    journal_written(&journal, S("a"), second);
    assert_false(journal_holds(&journal, S("a"), NULL));
    journal_written(&journal, S("a"), second);

    journal.serial = UINT32_MAX - 1; /* none is 0 */
    for (int i = 0; i < 3; i++) {
        journal_note(&journal, S("a"), 3, ZOMBIE_NONE);
        assert_true(journal_holds(&journal, S("a"), NULL));
    }
}

static void delete_all(void)
{
    char   key[KEY_MAX];
    size_t len;

    while (journal_next(&journal, 1, the_time, key, &len))
        ;
    journal_settle(&journal, UINT64_MAX);
}

/* Of a line that was closed: nothing is over before the server has shown that it goes on, nor within the while that follows. */
static void what_is_adrift_is_deleted_twice(void **state)
{
    (void)state;
    the_time = 10;
    journal_note(&journal, S("z"), 1, ZOMBIE_ADRIFT);
    journal_written(&journal, S("z"), journal_holds(&journal, S("z"), NULL)); /* no write makes it readable */
    next_is("z");
    journal_settle(&journal, UINT64_MAX);
    assert_true(journal_holds(&journal, S("z"), NULL));
    journal_written(&journal, S("z"), journal_holds(&journal, S("z"), NULL));
    assert_true(journal_unproved(&journal));
    journal_proved(&journal, 1, 5); /* asked before */
    assert_true(journal_unproved(&journal));
    assert_int_equal(journal_due(&journal, 5), NEVER);
    journal_proved(&journal, 2, 10);
    journal_proved(&journal, 20, 30); /* the first counts */
    assert_false(journal_unproved(&journal));
    journal_wake(&journal, 109);
    assert_int_equal(journal_due(&journal, 109), 110);
    next_is(NULL);
    journal_wake(&journal, 110);
    assert_int_equal(journal_due(&journal, 110), NEVER);
    the_time = 110;
    next_is("z");
    journal_settle(&journal, UINT64_MAX);
    assert_int_equal(journal_count(&journal), 0);
}

static void a_line_that_ends_ends_its_zombies(void **state)
{
    (void)state;
    the_time = 1;
    uint64_t line = journal_line(&journal);
    journal_note(&journal, S("z"), 1, ZOMBIE_ON_LINE);
    journal_note(&journal, S("refused"), 1, ZOMBIE_NONE);
    delete_all();
    assert_false(journal_holds(&journal, S("refused"), NULL));
    assert_true(journal_holds(&journal, S("z"), NULL));
    journal_note(&journal, S("z"), 2, ZOMBIE_NONE); /* refused, while the zombie is waited for */
    delete_all();
    journal_wake(&journal, 1 << 20);
    next_is(NULL);
    assert_int_equal(journal_due(&journal, 1 << 20), NEVER);
    journal_line_over(&journal, line, true, 3);
    assert_int_equal(journal_due(&journal, 3), 3);
    journal_wake(&journal, 3);
    delete_all();
    assert_int_equal(journal_count(&journal), 0);
}

/* A delete that was sent while the line was open may have come before the write. */
static void a_delete_counts_from_when_it_was_sent(void **state)
{
    (void)state;
    the_time = 1;
    uint64_t line = journal_line(&journal);
    journal_note(&journal, S("z"), 1, ZOMBIE_ON_LINE);
    next_is("z");
    journal_line_over(&journal, line, true, 2);
    journal_settle(&journal, UINT64_MAX);
    assert_true(journal_holds(&journal, S("z"), NULL));
    assert_int_equal(journal_due(&journal, 2), 2);
    journal_wake(&journal, 2);
    delete_all();
    assert_int_equal(journal_count(&journal), 0);
}

/* Lines that are given up all the time put off nobody who was there before. */
static void later_lines_put_nothing_off(void **state)
{
    (void)state;
    uint64_t first = journal_line(&journal);
    journal_note(&journal, S("z"), 1, ZOMBIE_ON_LINE);
    uint64_t second = journal_line(&journal), third = journal_line(&journal);
    delete_all();
    journal_line_over(&journal, first, true, 2);
    journal_wake(&journal, 2);
    delete_all();
    assert_false(journal_holds(&journal, S("z"), NULL));

    uint64_t fourth = journal_line(&journal);
    journal_note(&journal, S("y"), 3, ZOMBIE_ON_LINE);
    journal_line_over(&journal, second, true, 3);
    journal_line_over(&journal, third, false, 4); /* adrift */
    journal_line_over(&journal, fourth, true, 5);
    the_time = 5;
    delete_all();
    assert_true(journal_holds(&journal, S("y"), NULL));
    journal_proved(&journal, 6, 6);
    the_time = 106;
    journal_wake(&journal, 106);
    delete_all();
    assert_false(journal_holds(&journal, S("y"), NULL));
}

/* It has forgotten its keys, and not that they have zombies: a flush is to come behind those. */
static void what_is_torn_is_haunted(void **state)
{
    nstime since;
    (void)state;
    uint64_t line = journal_line(&journal);
    journal_note(&journal, S("z"), 1, ZOMBIE_ON_LINE);
    journal_tear(&journal, 2);
    assert_false(journal_mendable(&journal, 3, &since));
    uint64_t later = journal_line(&journal);
    journal_line_over(&journal, line, true, 4);
    assert_true(journal_mendable(&journal, 5, &since));
    assert_int_equal(since, 4);
    journal_line_over(&journal, later, true, 5);
}

/* zombie_ms is MEND_ZERO. */
static void nobody_cares_for_zombies(void **state)
{
    (void)state;
    journal.zombie = 0;
    assert_int_equal(journal_line(&journal), 0);
    journal_note(&journal, S("a"), 1, ZOMBIE_ADRIFT);
    journal_note(&journal, S("b"), 1, ZOMBIE_ON_LINE);
    delete_all();
    assert_int_equal(journal_count(&journal), 0);
}

static void many_keys(void **state)
{
    char key[32];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        journal_note(&journal, S(key), i, ZOMBIE_NONE);
    }
    assert_int_equal(journal_count(&journal), 1000);
    assert_false(is_torn(&journal));
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        assert_true(journal_holds(&journal, S(key), NULL));
        next_is(key);
    }
    journal_settle(&journal, UINT64_MAX);
    assert_int_equal(journal_count(&journal), 0);
}

static void one_too_many_tears_it(void **state)
{
    char     key[32];
    nstime   at;
    size_t   keys;
    uint64_t settled, tears;
    (void)state;
    for (int i = 0; i <= 1000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        journal_note(&journal, S(key), i, ZOMBIE_NONE);
    }
    assert_true(journal_torn(&journal, &at));
    assert_int_equal(at, 1000);
    assert_int_equal(journal_count(&journal), 1); /* it begins anew, with this one */
    assert_true(journal_holds(&journal, S("key:1000"), NULL));
    journal_describe(&journal, &keys, &settled, &tears);
    assert_true(keys == 1 && settled == 0 && tears == 1);
    journal_tear(&journal, 2000);
    journal_mend(&journal, at); /* what was torn since has not been seen to */
    assert_true(journal_torn(&journal, &at));
    journal_mend(&journal, at);
    assert_false(is_torn(&journal));
}

static void a_budget_is_for_all(void **state)
{
    (void)state;
    journal_note(&journal, S("a"), 1, ZOMBIE_NONE);
    budget.bytes_max = budget.bytes;
    journal_note(&other, S("b"), 2, ZOMBIE_NONE);
    assert_true(is_torn(&other));
    assert_int_equal(journal_count(&other), 0);
    assert_false(is_torn(&journal));
    next_is("a");
    journal_settle(&journal, UINT64_MAX);
    journal_note(&other, S("b"), 4, ZOMBIE_NONE); /* room was given back */
    assert_int_equal(journal_count(&other), 1);
}

static void no_memory_tears_it(void **state)
{
    (void)state;
    for (int left = 0; left < 2; left++) { /* for the table, for the note */
        allocations_left = left;
        journal_note(left ? &journal : &other, S("a"), 1, ZOMBIE_NONE);
        allocations_left = -1;
        assert_true(is_torn(left ? &journal : &other));
        journal_note(left ? &journal : &other, S("a"), 2, ZOMBIE_NONE);
        assert_true(journal_holds(left ? &journal : &other, S("a"), NULL));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_once_the_oldest_first),
        TEST(what_was_not_answered_is_asked_again),
        TEST(a_serial_is_of_one_note),
        TEST(what_is_adrift_is_deleted_twice),
        TEST(a_line_that_ends_ends_its_zombies),
        TEST(a_delete_counts_from_when_it_was_sent),
        TEST(later_lines_put_nothing_off),
        TEST(what_is_torn_is_haunted),
        TEST(nobody_cares_for_zombies),
        TEST(many_keys),
        TEST(one_too_many_tears_it),
        TEST(a_budget_is_for_all),
        TEST(no_memory_tears_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
