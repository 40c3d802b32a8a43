/* report.h - everything that was measured, as JSON: for table.py, and for whoever wants to look closer. */
#ifndef OUTAGE_REPORT_H
#define OUTAGE_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "scene.h"

enum { FAULT_TITLE_MAX = 100 };

/* A fault's title, with its times filled in. */
const char *report_title(char title[FAULT_TITLE_MAX], const struct fault *fault, bool quick);

void report_begin(FILE *file, bool quick);
void report_fault(FILE *file, struct scene *const scenes[CLIENTS], bool first);
bool report_end(FILE *file); /* closes it; false if not all of it could be written */

#endif
