/* figure.c - see figure.h. */
#include "figure.h"

#include <stdarg.h>
#include <stdio.h>

void figure_tell(const struct figure *f, const char *format, ...)
{
    static const char *const verdicts[] = {
        [FIGURE_KEPT] = "kept", [FIGURE_MISSED] = "missed", [FIGURE_TOLD] = "told", [FIGURE_UNMEASURED] = "unmeasured",
    };
    va_list words;

    printf("%s\t%s\t%s\t", f->id, f->what, f->target);
    va_start(words, format);
    vprintf(format, words);
    va_end(words);
    if (f->value < 0)
        printf("\tnull");
    else
        printf("\t%.4g", f->value);
    printf("\t%s\t%s\n", f->unit, verdicts[f->verdict]);
    fflush(stdout);
}

void figure_detail(const char *format, ...)
{
    va_list words;

    printf("detail\t");
    va_start(words, format);
    vprintf(format, words);
    va_end(words);
    printf("\n");
    fflush(stdout);
}

enum figure_verdict figure_within(double value, double most)
{
    return value >= 0 && value <= most ? FIGURE_KEPT : FIGURE_MISSED;
}

void figure_progress(const char *format, ...)
{
    va_list words;

    fprintf(stderr, "figures: ");
    va_start(words, format);
    vfprintf(stderr, format, words);
    va_end(words);
    fprintf(stderr, "\n");
}
