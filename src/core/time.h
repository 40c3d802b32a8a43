/* time.h - monotonic time: nanoseconds since some moment in the past, which only the world knows.
 *
 * Always an argument: nobody below src/world asks a clock.
 */
#ifndef MEND_CORE_TIME_H
#define MEND_CORE_TIME_H

#include <stdint.h>

typedef int64_t nstime;

#define MS(n) ((nstime)(n) * 1000000)
#define NEVER INT64_MAX

static inline nstime time_earlier(nstime a, nstime b)
{
    return a < b ? a : b;
}

#endif
