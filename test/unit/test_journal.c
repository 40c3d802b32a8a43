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
    journal_init(&journal, &memory, &budget, 1000);
    journal_init(&other, &memory, &budget, 1000);
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

static void next_is(const char *wanted)
{
    char   key[KEY_MAX];
    size_t len = 0;
    bool   got = journal_next(&journal, 1, key, &len);
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
    journal_note(&journal, S("a"), 1, false);
    journal_note(&journal, S("b"), 2, false);
    journal_note(&journal, S("a"), 3, false);
    assert_int_equal(journal_count(&journal), 2);
    assert_int_equal(journal_holds(&journal, S("c"), NULL), 0);
    next_is("a");
    next_is("b");
    next_is(NULL);
    assert_true(journal_holds(&journal, S("a"), NULL) && journal_holds(&journal, S("b"), NULL)); /* until it is confirmed */
    journal_settle(&journal, UINT64_MAX, 4, 100);
    assert_int_equal(journal_count(&journal), 0);
    assert_int_equal(journal_holds(&journal, S("a"), NULL), 0);
}

static void what_was_not_answered_is_asked_again(void **state)
{
    (void)state;
    journal_note(&journal, S("a"), 1, false);
    next_is("a");
    assert_false(journal_waits(&journal));
    journal_unsent(&journal);
    assert_true(journal_waits(&journal));
    next_is("a");
    journal_note(&journal, S("a"), 2, false); /* while its delete is under way, which may come before this write */
    journal_settle(&journal, UINT64_MAX, 3, 100);
    assert_true(journal_holds(&journal, S("a"), NULL));
    next_is("a");
    journal_settle(&journal, UINT64_MAX, 4, 100);
    assert_int_equal(journal_count(&journal), 0);
}

static void a_serial_is_of_one_note(void **state)
{
    (void)state;
    journal_note(&journal, S("a"), 1, false);
    uint32_t first = journal_holds(&journal, S("a"), NULL);
    journal_note(&journal, S("a"), 2, false);
    uint32_t second = journal_holds(&journal, S("a"), NULL);
    assert_true(first && second && first != second);
    journal_written(&journal, S("a"), first); /* another write failed meanwhile */
    assert_true(journal_holds(&journal, S("a"), NULL));
    journal_written(&journal, S("a"), second);
    assert_false(journal_holds(&journal, S("a"), NULL));
    journal_written(&journal, S("a"), second);

    journal.serial = UINT32_MAX - 1; /* none is 0 */
    for (int i = 0; i < 3; i++) {
        journal_note(&journal, S("a"), 3, false);
        assert_true(journal_holds(&journal, S("a"), NULL));
    }
}

static void a_zombie_is_deleted_twice(void **state)
{
    (void)state;
    journal_note(&journal, S("z"), 1, true);
    journal_written(&journal, S("z"), journal_holds(&journal, S("z"), NULL)); /* no write makes it readable */
    next_is("z");
    journal_settle(&journal, UINT64_MAX, 10, 100);
    assert_true(journal_holds(&journal, S("z"), NULL));
    journal_written(&journal, S("z"), journal_holds(&journal, S("z"), NULL));
    journal_wake(&journal, 109);
    assert_int_equal(journal_due(&journal), 110);
    next_is(NULL);
    journal_wake(&journal, 110);
    assert_int_equal(journal_due(&journal), NEVER);
    next_is("z");
    journal_settle(&journal, UINT64_MAX, 111, 100);
    assert_int_equal(journal_count(&journal), 0);
}

static void a_zombie_outlives_a_later_failure(void **state)
{
    (void)state;
    journal_note(&journal, S("z"), 1, true);
    next_is("z");
    journal_settle(&journal, UINT64_MAX, 10, 100);
    journal_note(&journal, S("z"), 20, false); /* refused, while the zombie is waited for */
    next_is("z");
    journal_settle(&journal, UINT64_MAX, 30, 100);
    assert_true(journal_holds(&journal, S("z"), NULL));
    journal_wake(&journal, 130);
    next_is("z");
    journal_settle(&journal, UINT64_MAX, 131, 100);
    assert_int_equal(journal_count(&journal), 0);
}

static void many_keys(void **state)
{
    char key[32];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        journal_note(&journal, S(key), i, false);
    }
    assert_int_equal(journal_count(&journal), 1000);
    assert_false(is_torn(&journal));
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        assert_true(journal_holds(&journal, S(key), NULL));
        next_is(key);
    }
    journal_settle(&journal, UINT64_MAX, 1000, 0);
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
        journal_note(&journal, S(key), i, false);
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
    journal_note(&journal, S("a"), 1, false);
    budget.bytes_max = budget.bytes;
    journal_note(&other, S("b"), 2, false);
    assert_true(is_torn(&other));
    assert_int_equal(journal_count(&other), 0);
    assert_false(is_torn(&journal));
    next_is("a");
    journal_settle(&journal, UINT64_MAX, 3, 0);
    journal_note(&other, S("b"), 4, false); /* room was given back */
    assert_int_equal(journal_count(&other), 1);
}

static void no_memory_tears_it(void **state)
{
    (void)state;
    for (int left = 0; left < 2; left++) { /* for the table, for the note */
        allocations_left = left;
        journal_note(left ? &journal : &other, S("a"), 1, false);
        allocations_left = -1;
        assert_true(is_torn(left ? &journal : &other));
        journal_note(left ? &journal : &other, S("a"), 2, false);
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
        TEST(a_zombie_is_deleted_twice),
        TEST(a_zombie_outlives_a_later_failure),
        TEST(many_keys),
        TEST(one_too_many_tears_it),
        TEST(a_budget_is_for_all),
        TEST(no_memory_tears_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
