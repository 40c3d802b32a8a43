/* memory.c - see memory.h. */
#include "core/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *libc_allocate(size_t bytes, void *context)
{
    (void)context;
    return malloc(bytes);
}

static void *libc_reallocate(void *p, size_t bytes, void *context)
{
    (void)context;
    return realloc(p, bytes);
}

static void libc_release(void *p, void *context)
{
    (void)context;
    free(p);
}

struct memory memory_from(const mend_allocator *hooks)
{
    static const mend_allocator libc = {libc_allocate, libc_reallocate, libc_release, NULL};
    return (struct memory){hooks && hooks->allocate ? *hooks : libc};
}

void *memory_allocate(const struct memory *m, size_t bytes)
{
    return m->hooks.allocate(bytes ? bytes : 1, m->hooks.context);
}

void *memory_zeroed(const struct memory *m, size_t n, size_t each)
{
    if (each && n > SIZE_MAX / each)
        return NULL;
    void *p = memory_allocate(m, n * each);
    if (p)
        memset(p, 0, n * each);
    return p;
}

void *memory_resize(const struct memory *m, void *p, size_t bytes)
{
    return m->hooks.reallocate(p, bytes ? bytes : 1, m->hooks.context);
}

void memory_release(const struct memory *m, void *p)
{
    if (p)
        m->hooks.release(p, m->hooks.context);
}
