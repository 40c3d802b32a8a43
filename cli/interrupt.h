/* interrupt.h - Ctrl-C, SIGTERM, SIGHUP: noticed, so that a command can end well, and then die of them.
 *
 *     interrupt_catch();
 *     while (!interrupted())
 *         ...                       a wait in the system ends with EINTR
 *     interrupt_die();              after the terminal is as it was, and files are whole
 *
 * Dying of the signal is what tells a shell to end its own loop; it reports 130 for Ctrl-C.
 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

void interrupt_catch(void);
bool interrupted(void);
void interrupt_die(void); /* if there was one */

#endif
