/* buf.h - bytes that grow.
 *
 * Knows nothing of what they mean. Whoever owns one says once where its memory comes
 * from (which must outlive it), and releases it once.
 *
 *     buf_reserve   room for more bytes behind len     buf_add   ...filled from a span
 */
#ifndef MEND_CORE_BUF_H
#define MEND_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "core/memory.h"

struct buf {
    char                *data;
    size_t               len, cap;
    const struct memory *memory;
};

bool buf_grow(struct buf *b, size_t more); /* buf_reserve's */

/* Room for `more` bytes behind len. False: there is no memory, and nothing has changed. */
static inline bool buf_reserve(struct buf *b, size_t more)
{
    return more <= b->cap - b->len || buf_grow(b, more);
}

bool buf_add(struct buf *b, const void *p, size_t n); /* false as buf_reserve */

/* Drops the first n bytes; the rest moves to the front. */
void buf_drop(struct buf *b, size_t n);

void buf_release(struct buf *b);

#endif
