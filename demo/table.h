/* table.h - the promises, fault by fault, each beside what was measured. */
#ifndef DEMO_TABLE_H
#define DEMO_TABLE_H

#include <stdbool.h>

#include "run.h"

struct table_sums {
    unsigned broken;
    unsigned unjudged; /* not kept, while the machine itself was late by a tenth of a timeout or more */
};

struct table_sums table_print(struct run *run, bool colours);

#endif
