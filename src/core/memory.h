/* memory.h - where memory comes from: the allocator of one client, or the C library's.
 *
 * Knows no owner: whoever allocates keeps the struct memory (small, copied by
 * value) beside what it allocated, and releases with the same.
 */
#ifndef MEND_CORE_MEMORY_H
#define MEND_CORE_MEMORY_H

#include <stddef.h>

#include "mend.h"

struct memory {
    mend_allocator hooks; /* never NULL once memory_from made it */
};

/* The hooks of a configuration, or the C library where it has none. */
struct memory memory_from(const mend_allocator *hooks);

void *memory_allocate(const struct memory *m, size_t bytes);        /* NULL: there is none */
void *memory_zeroed(const struct memory *m, size_t n, size_t each); /* the same, for n * each bytes of zero */
void *memory_resize(const struct memory *m, void *p, size_t bytes); /* NULL: there is none, and p is as it was */
void memory_release(const struct memory *m, void *p);               /* NULL is nothing to do */

#endif
