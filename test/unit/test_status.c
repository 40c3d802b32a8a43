/* test_status.c - every status has a number that never changes, and a name and a text of its own. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mend.h"

#define ROW(status, number) {status, number, #status}

static const struct {
    mend_status status;
    int number;
    const char *name;
} rows[] = {
    ROW(MEND_OK, 0),          ROW(MEND_MISS, 1),        ROW(MEND_EXISTS, 2),     ROW(MEND_NOT_STORED, 3),  ROW(MEND_TOO_LARGE, 4),
    ROW(MEND_NOT_NUMBER, 5),  ROW(MEND_E_ARGUMENT, -1), ROW(MEND_E_MEMORY, -2),  ROW(MEND_E_TIMEOUT, -3),  ROW(MEND_E_DOWN, -4),
    ROW(MEND_E_BUSY, -5),     ROW(MEND_E_IO, -6),       ROW(MEND_E_SERVER, -7),  ROW(MEND_E_PROTOCOL, -8), ROW(MEND_E_AUTH, -9),
    ROW(MEND_ABSENT, 6),      ROW(MEND_E_LOADER, -10),
};
enum { ROWS = sizeof rows / sizeof *rows };

static void numbers_and_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(rows[i].status, rows[i].number);
        assert_string_equal(mend_status_name(rows[i].status), rows[i].name);
    }
}

/* A status that is in no row must be unknown to the library, too: whoever adds one adds it here. */
static void each_has_its_own_text(void **state)
{
    const char *unknown = mend_status_text(INT_MAX);
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_true(mend_status_text(rows[i].status)[0] != '\0');
        assert_string_not_equal(mend_status_text(rows[i].status), unknown);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(mend_status_text(rows[i].status), mend_status_text(rows[j].status));
    }
}

static void unknown_numbers(void **state)
{
    (void)state;
    for (int status = -1000; status <= 1000; status++) {
        bool known = false;
        for (size_t i = 0; i < ROWS; i++)
            known |= rows[i].status == status;
        assert_int_equal(strcmp(mend_status_name(status), "MEND_?") != 0, known);
    }
    assert_string_equal(mend_status_name(INT_MAX), "MEND_?");
    assert_string_equal(mend_status_name(INT_MIN), "MEND_?");
    assert_true(mend_status_text(INT_MIN)[0] != '\0');
}

/* The header that a program was built with is this library's. */
static void version(void **state)
{
    unsigned major, minor, patch;
    (void)state;
    assert_string_equal(mend_version(), MEND_VERSION);
    assert_int_equal(sscanf(mend_version(), "%u.%u.%u", &major, &minor, &patch), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_names),
        cmocka_unit_test(each_has_its_own_text),
        cmocka_unit_test(unknown_numbers),
        cmocka_unit_test(version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
