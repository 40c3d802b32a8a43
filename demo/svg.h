/* svg.h - a sheet of paper in SVG, and the few shapes that our pictures are made of.
 *
 *     svg_begin(file, width, height)     white paper with a thin edge, legible on any page
 *     svg_rectangle, svg_line, svg_words
 *     svg_end(file)                      closes it; false if not all of it could be written
 *
 * Knows nothing of what is drawn. Words are the caller's own: nothing in them is escaped.
 */
#ifndef DEMO_SVG_H
#define DEMO_SVG_H

#include <stdbool.h>
#include <stdio.h>

void svg_begin(FILE *file, int width, int height);
bool svg_end(FILE *file);

void svg_rectangle(FILE *file, double x, double y, double width, double height, const char *fill);
void svg_line(FILE *file, double x1, double y1, double x2, double y2, const char *stroke, const char *dashes);

/* anchor: start, middle or end. style: more attributes, such as fill="#fff". */
void svg_words(FILE *file, double x, double y, const char *anchor, const char *style, const char *text);

#endif
