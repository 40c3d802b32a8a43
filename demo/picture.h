/* picture.h - the whole run as one drawing, in SVG: the servers, the calls, the answers, over time. */
#ifndef DEMO_PICTURE_H
#define DEMO_PICTURE_H

#include <stdbool.h>

#include "run.h"

bool picture_can(const char *path); /* can it be written there? If not, errno says why */
bool picture_write(struct run *run, const char *path);

#endif
