/* ring.h - which server a key lives on.
 *
 * Knows no server's state and no address: keys in, indices out. Built once from a
 * parsed list and immutable from then on, so that any thread may ask without a
 * lock; it keeps nothing of the list it was built from. All processes that share
 * servers must come to the same answer, to the last key: the distributions are
 * those of libmemcached, libmc and gomemcache bit by bit, and the vectors in
 * test/unit/test_ring.c are theirs.
 */
#ifndef MEND_CORE_RING_H
#define MEND_CORE_RING_H

#include <stdint.h>

#include "core/memory.h"
#include "core/servers.h"
#include "mend.h"

struct ring;

/* NULL: there is no memory. The servers are at least one. */
struct ring *ring_build(const struct servers *servers, mend_distribution distribution, const struct memory *memory);
void ring_free(struct ring *ring); /* NULL is nothing to do */

/* The index into servers.at, by the hash of the key behind the prefix. With a single server nothing is hashed at all. */
unsigned ring_server(const struct ring *ring, mend_bytes prefix, mend_bytes key);

/* The hashes that points and keys are made of, for the tests. */
uint32_t ring_md5_point(mend_bytes text, unsigned quarter); /* a quarter, 0 to 3, of its MD5, little-endian */
uint32_t ring_one_at_a_time(mend_bytes text);               /* Jenkins's */

#endif
