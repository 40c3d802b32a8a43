/* clock.h - time as the demonstration knows it: monotonic nanoseconds, since nobody knows when. */
#ifndef DEMO_CLOCK_H
#define DEMO_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define MS(n) ((int64_t)(n) * 1000000)

int64_t clock_now(void);
void    clock_sleep_until(int64_t at_ns);

/* "85 ns", "1.3 us", "2.31 ms", "45.1 ms", "1012 ms", "12.3 s"; "never" if it is negative. */
enum { CLOCK_WORDS = 16 };
const char *clock_words(char words[CLOCK_WORDS], int64_t ns);

#endif
