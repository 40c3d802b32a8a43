/* calls.c - see calls.h. */
#include "calls.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE_CALLS = 4096 };

/* n and next are published after what they promise is there. */
struct calls_page {
    atomic_size_t                n;
    _Atomic(struct calls_page *) next;
    struct call                  at[PAGE_CALLS];
};

void *calls_memory(void *old, size_t bytes)
{
    void *p = realloc(old, bytes);
    if (!p) {
        perror("mend-demo");
        abort();
    }
    return p;
}

static struct calls_page *page_new(void)
{
    struct calls_page *page = calls_memory(NULL, sizeof *page);
    atomic_init(&page->n, 0);
    atomic_init(&page->next, NULL);
    return page;
}

void calls_open(struct calls *list)
{
    list->first = list->last = page_new();
}

void calls_close(struct calls *list)
{
    for (struct calls_page *page = list->first; page;) {
        struct calls_page *next = atomic_load(&page->next);
        free(page);
        page = next;
    }
}

void calls_add(struct calls *list, const struct call *call)
{
    size_t n = atomic_load_explicit(&list->last->n, memory_order_relaxed);
    if (n == PAGE_CALLS) {
        struct calls_page *page = page_new();
        atomic_store_explicit(&list->last->next, page, memory_order_release);
        list->last = page;
        n = 0;
    }
    list->last->at[n] = *call;
    atomic_store_explicit(&list->last->n, n + 1, memory_order_release);
}

struct calls_mark calls_mark(const struct calls *list)
{
    return (struct calls_mark){.page = list->first};
}

const struct call *calls_next(struct calls_mark *mark)
{
    if (mark->n == PAGE_CALLS) {
        struct calls_page *next = atomic_load_explicit(&mark->page->next, memory_order_acquire);
        if (!next)
            return NULL;
        *mark = (struct calls_mark){.page = next};
    }
    if (mark->n == atomic_load_explicit(&mark->page->n, memory_order_acquire))
        return NULL;
    return &mark->page->at[mark->n++];
}

static int by_end(const void *a, const void *b)
{
    const struct call *x = a, *y = b;
    return (x->end_ns > y->end_ns) - (x->end_ns < y->end_ns);
}

size_t calls_gather(const struct calls *const *lists, size_t n, struct call **all)
{
    size_t       count = 0, room = PAGE_CALLS;
    struct call *at = calls_memory(NULL, room * sizeof *at);

    for (size_t i = 0; i < n; i++) {
        struct calls_mark mark = calls_mark(lists[i]);
        for (const struct call *c; (c = calls_next(&mark));) {
            if (count == room)
                at = calls_memory(at, (room *= 2) * sizeof *at);
            at[count++] = *c;
        }
    }
    qsort(at, count, sizeof *at, by_end);
    *all = at;
    return count;
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

struct calls_summary calls_summary(const struct call *calls, size_t n)
{
    struct calls_summary s = {.calls = n};
    if (n == 0)
        return s;

    int64_t *took = calls_memory(NULL, n * sizeof *took);
    for (size_t i = 0; i < n; i++) {
        took[i] = calls[i].end_ns - calls[i].start_ns;
        s.items += calls[i].items;
        s.hits += calls[i].hits;
        s.fallbacks += calls[i].fallbacks;
        s.wrong += calls[i].wrong;
    }
    qsort(took, n, sizeof *took, by_size);
    s.p50_ns = took[n / 2];
    s.p99_ns = took[n * 99 / 100];
    s.slowest_ns = took[n - 1];
    free(took);
    return s;
}
