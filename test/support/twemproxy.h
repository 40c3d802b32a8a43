/* twemproxy.h - Debian's nutcracker in front of real memcacheds: a server of the
 * classic protocol that others wrote, which closes the connection on what it does
 * not know (meta, flush_all, gat). One process, one listening port for each.
 *
 * The program is $NUTCRACKER, else nutcracker from PATH or the usual places.
 */
#ifndef SUPPORT_TWEMPROXY_H
#define SUPPORT_TWEMPROXY_H

#include "support/memcached.h"

#include <stdbool.h>
#include <stddef.h>

struct twemproxy {
    pid_t pid;
    char  directory[64];
    int   ports[8];
    char  names[8][32]; /* for mend_open: in front of the i-th memcached */
};

/* False if there is no such program. */
bool twemproxy_start(struct twemproxy *t, const struct memcached *behind, size_t n);
bool twemproxy_start_one(struct twemproxy *t, const struct memcached *behind, size_t n); /* one port in front of all of them */
void twemproxy_stop(struct twemproxy *t);

#endif
