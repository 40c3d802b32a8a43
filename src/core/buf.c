/* buf.c - see buf.h. */
#include "core/buf.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

enum { BUF_LEAST = 256 };

bool buf_grow(struct buf *b, size_t more)
{
    if (more > SIZE_MAX / 2 - b->len)
        return false;

    /* Doubling keeps a buffer that fills by degrees linear; a large one is asked for exactly. */
    size_t want = b->len + more;
    size_t cap = b->cap * 2 > BUF_LEAST ? b->cap * 2 : BUF_LEAST;
    if (cap < want || want > 64 * 1024)
        cap = want;

    char *data = memory_resize(b->memory, b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n))
        return false;
    if (n)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    return true;
}

void buf_drop(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

void buf_release(struct buf *b)
{
    memory_release(b->memory, b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}
