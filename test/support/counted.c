/* counted.c - see counted.h. */
#include "support/counted.h"

#include <stdlib.h>

/* Before each block, and as large as keeps the block aligned. */
union head {
    struct counted *owner;
    max_align_t     align;
};

static bool refuses(struct counted *c, size_t bytes)
{
    long   n = atomic_fetch_add(&c->requests, 1) + 1;
    size_t largest = atomic_load(&c->largest);
    while (bytes > largest && !atomic_compare_exchange_weak(&c->largest, &largest, bytes))
        continue;
    return c->fail_at && (n == c->fail_at || (c->fail_on && n > c->fail_at));
}

static void *counted_reallocate(void *p, size_t bytes, void *context)
{
    struct counted *c = context;
    union head     *head = p ? (union head *)p - 1 : NULL;
    if (head && head->owner != c)
        atomic_fetch_add(&c->strange, 1);
    if (refuses(c, bytes))
        return NULL;
    union head *grown = realloc(head, sizeof *grown + bytes);
    if (!grown)
        return NULL;
    if (!head)
        atomic_fetch_add(&c->live, 1);
    grown->owner = c;
    return grown + 1;
}

static void *counted_allocate(size_t bytes, void *context)
{
    return counted_reallocate(NULL, bytes, context);
}

static void counted_release(void *p, void *context)
{
    struct counted *c = context;
    if (!p)
        return;
    union head *head = (union head *)p - 1;
    atomic_fetch_add(head->owner == c ? &c->live : &c->strange, head->owner == c ? -1 : 1);
    head->owner = NULL;
    free(head);
}

mend_allocator counted_hooks(struct counted *c)
{
    return (mend_allocator){.allocate = counted_allocate, .reallocate = counted_reallocate, .release = counted_release, .context = c};
}
