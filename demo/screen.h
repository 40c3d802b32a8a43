/* screen.h - the run while it goes on: drawn in place in a terminal, as lines elsewhere.
 *
 * A thread of its own asks mend_servers every few milliseconds what it thinks of each
 * server (which it also writes into the history, for the picture), and draws ten times a
 * second; or prints a line a second and one for each event. NO_COLOR is heeded.
 */
#ifndef DEMO_SCREEN_H
#define DEMO_SCREEN_H

#include <stdbool.h>

#include "run.h"

struct screen;

struct screen *screen_start(struct run *run); /* NULL: there is no thread for it */
void           screen_hush(struct screen *screen); /* nothing more is drawn, and the terminal is as it was */
void           screen_stop(struct screen *screen);
bool           screen_colours(void);

#endif
