/* clock.c - see clock.h. */
#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

int64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void clock_sleep_until(int64_t at_ns)
{
    struct timespec t = {.tv_sec = (time_t)(at_ns / 1000000000), .tv_nsec = (long)(at_ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

const char *clock_words(char words[CLOCK_WORDS], int64_t ns)
{
    static const struct {
        double      below_ns, unit_ns;
        int         digits;
        const char *unit;
    } scale[] = {
        {1e3, 1, 0, "ns"}, {1e6, 1e3, 1, "us"}, {1e7, 1e6, 2, "ms"}, {1e9, 1e6, 1, "ms"}, {1e10, 1e6, 0, "ms"}, {1e19, 1e9, 1, "s"},
    };

    size_t i = 0;
    while ((double)ns >= scale[i].below_ns)
        i++;
    if (ns < 0)
        snprintf(words, CLOCK_WORDS, "never");
    else
        snprintf(words, CLOCK_WORDS, "%.*f %s", scale[i].digits, (double)ns / scale[i].unit_ns, scale[i].unit);
    return words;
}
