/* test_event.c - events as lines of a log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mend.h"

static void says(mend_event_type type, const char *why, int64_t outage_ms, const char *wanted)
{
    mend_server server = {.name = "10.0.0.1:11211", .why = why};
    mend_event  event = {.type = type, .server = &server, .outage_ms = outage_ms};
    char        text[256];

    assert_int_equal(mend_event_text(&event, text, sizeof text), strlen(wanted));
    assert_string_equal(text, wanted);
}

static void each_kind_has_its_sentence(void **state)
{
    (void)state;
    says(MEND_EVENT_DOWN, "connection refused", 0, "10.0.0.1:11211 is down: connection refused");
    says(MEND_EVENT_BACK, "connection refused", 3207, "10.0.0.1:11211 serves again, after 3.207 s (connection refused)");
    says(MEND_EVENT_JOURNAL_OVERFLOW, "it was flushed, so nothing of before is in it", 0,
         "10.0.0.1:11211 missed more writes than could be noted: it was flushed, so nothing of before is in it");
    says(MEND_EVENT_ALL_DOWN, "no connection within 100 ms", 0,
         "every server is down, perhaps it is our own network; the last was 10.0.0.1:11211: no connection within 100 ms");
    says(MEND_EVENT_AUTH_REFUSED, "the server refused the user or the password", 0,
         "10.0.0.1:11211 is down until user and password are mended, here or there: the server refused the user or the password");
    says((mend_event_type)99, "", 0, "10.0.0.1:11211: event 99");
}

static void a_short_buffer_has_its_beginning(void **state)
{
    (void)state;
    mend_server server = {.name = "a", .why = "connection refused"};
    mend_event  event = {.type = MEND_EVENT_DOWN, .server = &server};
    char        text[8] = "xxxxxxx";

    assert_int_equal(mend_event_text(&event, text, sizeof text), strlen("a is down: connection refused"));
    assert_string_equal(text, "a is do");
    assert_int_equal(mend_event_text(&event, NULL, 0), strlen("a is down: connection refused"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_sentence),
        cmocka_unit_test(a_short_buffer_has_its_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
