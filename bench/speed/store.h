/* store.h - the keys and values that are measured with: made, and stored where the ring wants them.
 *
 *     items_new      so many keys, each value beginning with its key
 *     items_store    stores them (or, if they are to be missed, deletes them) and notes each one's server
 */
#ifndef SPEED_STORE_H
#define SPEED_STORE_H

#include "client.h"

struct item *items_new(size_t n, size_t value_bytes);
void         items_free(struct item *items);
bool         items_store(struct item *items, const struct target *target, bool missing);

#endif
