/* name.h - a name that leads where we say, for this process and its children: /etc/hosts is a file of ours to them.
 *
 * That takes a mount namespace, which is entered before there is any thread; the system's own file is not touched, and
 * nothing is left to be tidied up. Who looks the name up, and when, is not known here.
 */
#ifndef OUTAGE_NAME_H
#define OUTAGE_NAME_H

#include <stdbool.h>

#define NAME "cache.example"

const char *name_why_not(void); /* it cannot be had on this machine: the reason, static; NULL: it can */

bool name_begin(const char *address); /* an IPv4 address; false: errno says why */
bool name_move(const char *address);  /* from the next lookup on */

#endif
