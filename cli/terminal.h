/* terminal.h - the whole terminal for a while: a screen of its own, keys as they are pressed.
 *
 *     terminal_open();
 *     FILE *frame = terminal_frame();
 *     fprintf(frame, "...%s\n", TERMINAL_EOL);       each line ends so
 *     terminal_show();                               at once, so that nothing flickers
 *     terminal_close();                              as it was; also by exit()
 *
 * Knows nothing of what is drawn. What is wider than the terminal is cut off, not wrapped.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdint.h>
#include <stdio.h>

#define TERMINAL_EOL "\033[K"

void  terminal_open(void);
void  terminal_close(void); /* nothing to do if it is not open */
void  terminal_size(int *rows, int *columns);
FILE *terminal_frame(void);
void  terminal_show(void);

/* The key that is pressed until then; -1: none, or a signal. */
int terminal_key(int64_t until_ns);

#endif
