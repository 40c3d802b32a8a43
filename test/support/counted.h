/* counted.h - allocator hooks that count, and that fail when told to.
 *
 *     struct counted memory = {0};
 *     mend_open(&MEND_CONFIG(..., .allocator = counted_hooks(&memory)), ...)
 *     ...
 *     assert_int_equal(memory.live, 0);      everything was given back
 */
#ifndef SUPPORT_COUNTED_H
#define SUPPORT_COUNTED_H

#include <mend.h>

#include <stdatomic.h>

struct counted {
    atomic_long   live;     /* blocks not given back */
    atomic_long   requests; /* so far */
    atomic_size_t largest;  /* the largest request, in bytes */
    atomic_long   strange;  /* blocks given back that were never ours */
    atomic_long   fail_at;  /* the request that gets nothing, from 1; 0: none */
    atomic_bool   fail_on;  /* and all after it */
};

mend_allocator counted_hooks(struct counted *c);

#endif
