/* picture.h - one fault as a drawing, in SVG: a panel for each client, each call a dot, time against how long it took. */
#ifndef OUTAGE_PICTURE_H
#define OUTAGE_PICTURE_H

#include <stdbool.h>
#include <stdio.h>

#include "scene.h"

/* Closes the file. False if not all of it could be written. */
bool picture_write(struct scene *const scenes[CLIENTS], FILE *file);

#endif
