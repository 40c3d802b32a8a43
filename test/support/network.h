/* network.h - a network of the test's own: a namespace, with a loopback that can be made to drop every packet.
 *
 * Entered before there is any thread; servers that are started later are in it, too. Where a process may not have
 * namespaces, the functions return false, and errno says why.
 */
#ifndef SUPPORT_NETWORK_H
#define SUPPORT_NETWORK_H

#include <stdbool.h>

/* As unshare's flags say. A user other than root needs a user namespace to have others in. */
bool namespaces_of_our_own(int what);

/* The network's, with more if wanted, and its loopback, which is up. */
bool network_of_our_own(int more);

bool network_drops(bool on); /* from now on */

/* As network_of_our_own, and packets can be dropped in it. NULL; or why not. */
const char *network_that_drops(void);

#endif
