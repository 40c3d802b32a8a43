/* test_histogram.c - every time has its bucket, and is known by it to an eighth of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/histogram.h"

static nstime begin_of(unsigned bucket)
{
    return bucket ? histogram_end(bucket - 1) : 0;
}

static void holds(nstime took)
{
    unsigned bucket = histogram_bucket(took);

    assert_true(bucket < HISTOGRAM_BUCKETS);
    assert_true(took >= begin_of(bucket));
    assert_true(took < histogram_end(bucket));
}

static void buckets_lie_side_by_side(void **state)
{
    (void)state;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS - 1; b++) {
        assert_int_equal(histogram_bucket(begin_of(b)), b);
        assert_int_equal(histogram_bucket(histogram_end(b) - 1), b);
        assert_int_equal(histogram_bucket(histogram_end(b)), b + 1);
    }
    assert_true(histogram_end(HISTOGRAM_BUCKETS - 1) == NEVER);
}

static void no_bucket_is_wider_than_an_eighth_of_its_times(void **state)
{
    (void)state;
    for (unsigned b = 0; b < HISTOGRAM_BUCKETS - 1; b++) {
        nstime width = histogram_end(b) - begin_of(b);
        assert_true(width == 1000 || width * 8 <= begin_of(b));
    }
}

static void every_time_has_one(void **state)
{
    (void)state;
    for (nstime took = 0; took < MS(100); took += 997)
        holds(took);
    for (int i = 0; i < 62; i++) {
        holds(((nstime)1 << i) - 1);
        holds((nstime)1 << i);
    }
    assert_int_equal(histogram_bucket(-5), 0); /* a clock that went back */
    assert_int_equal(histogram_bucket(NEVER), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(MS(60 * 1000)), HISTOGRAM_BUCKETS - 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_lie_side_by_side),
        cmocka_unit_test(no_bucket_is_wider_than_an_eighth_of_its_times),
        cmocka_unit_test(every_time_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
