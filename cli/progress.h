/* progress.h - how far a long command is: one line on stderr, drawn over, if that is a terminal. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool    quiet; /* nothing is shown */
    bool    shown;
    int64_t next_ns;
};

bool progress_due(struct progress *p); /* five times a second, on a terminal */
void progress_show(struct progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void progress_end(struct progress *p); /* the line is as it was before */

#endif
