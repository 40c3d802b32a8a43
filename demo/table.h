/* table.h - the promises, fault by fault, each beside what was measured. */
#ifndef DEMO_TABLE_H
#define DEMO_TABLE_H

#include <stdbool.h>

#include "run.h"

/* Prints it; returns how many promises were broken. */
unsigned table_print(struct run *run, bool colours);

#endif
