/* number.h - the ints of an option struct: what 0 stands for, how large they may be, and whether MEND_ZERO may be said.
 *
 * A table of them describes a struct; what is wrong is put into words by whoever has the struct.
 */
#ifndef MEND_CLIENT_NUMBER_H
#define MEND_CLIENT_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

struct number {
    const char *name; /* as it is to be told */
    size_t      at;   /* its offset */
    int         otherwise, most;
    bool        zero; /* MEND_ZERO may be said */
};

enum number_fault { NUMBER_GOOD, NUMBER_ZERO, NUMBER_NEGATIVE, NUMBER_LARGE };

/* Puts what is meant in the place of what was said, which *said is. */
enum number_fault number_fill(void *options, const struct number *n, int *said);

#endif
