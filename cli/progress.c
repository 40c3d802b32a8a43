/* progress.c - see progress.h. */
#include "progress.h"

#include <stdarg.h>
#include <stdio.h>

#include "demo/clock.h"
#include "say.h"

bool progress_due(struct progress *p)
{
    int64_t now_ns = clock_now();

    if (p->quiet || now_ns < p->next_ns || !say_is_terminal(stderr))
        return false;
    p->next_ns = now_ns + MS(200);
    return true;
}

void progress_show(struct progress *p, const char *format, ...)
{
    va_list words;
    char    line[80]; /* one column less than the narrowest terminal: nothing wraps */

    va_start(words, format);
    vsnprintf(line, sizeof line, format, words);
    va_end(words);
    fprintf(stderr, "\r%s\033[K", line);
    p->shown = true;
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
