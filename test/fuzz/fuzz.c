/* fuzz.c - see fuzz.h. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_not_be(const char *fact, const char *file, int line)
{
    fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, fact);
    abort();
}

static bool supply_fails(struct supply *s)
{
    s->asked++;
    return s->fails_at && (s->asked == s->fails_at || (s->for_good && s->asked > s->fails_at));
}

static void *supply_reallocate(void *p, size_t bytes, void *context)
{
    struct supply *s = context;
    if (supply_fails(s))
        return NULL;
    void *q = realloc(p, bytes);
    s->live += !p && q;
    return q;
}

static void *supply_allocate(size_t bytes, void *context)
{
    return supply_reallocate(NULL, bytes, context);
}

static void supply_release(void *p, void *context)
{
    ((struct supply *)context)->live--;
    free(p);
}

struct memory supply_memory(struct supply *s)
{
    return memory_from(&(mend_allocator){supply_allocate, supply_reallocate, supply_release, s});
}
