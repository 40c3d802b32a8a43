/* number.c - see number.h. */
#include "client/number.h"

#include <string.h>

#include "mend.h"

enum number_fault number_fill(void *options, const struct number *n, int *said)
{
    char *at = (char *)options + n->at;

    memcpy(said, at, sizeof *said);
    if (*said == MEND_ZERO && !n->zero)
        return NUMBER_ZERO;
    if (*said < 0 && *said != MEND_ZERO)
        return NUMBER_NEGATIVE;
    if (*said > n->most)
        return NUMBER_LARGE;
    int meant = *said == MEND_ZERO ? 0 : *said == 0 ? n->otherwise : *said;
    memcpy(at, &meant, sizeof meant);
    return NUMBER_GOOD;
}
