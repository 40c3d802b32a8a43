/* values.h - where values are packed on their way to a server, and unpacked on their way back: twice, once for the calls
 * about one key (call_ask), once for those about many (multi.c).
 *
 * Knows no format: that is core/codec.h's. Keeps the tools that packing is costly to do without, at most TOOLS of them,
 * each with one caller at a time; who finds none there makes one, and who finds no room frees it. No lock.
 */
#ifndef MEND_CLIENT_VALUES_H
#define MEND_CLIENT_VALUES_H

#include <stdatomic.h>

#include "core/codec.h"
#include "core/conn.h"
#include "core/time.h"

/* Setting one up costs 20 us (zstd) to 1 ms (zlib, whose memory glibc maps anew each time), keeping it up to 1 MB. */
enum { TOOLS = 8 };

struct values {
    struct codec         codec;
    const struct memory *memory;
    size_t               above; /* only larger ones are packed; SIZE_MAX: none */
    uint64_t             most;  /* bytes, unpacked */
    _Atomic(struct codec_tools *) tools[TOOLS];
};

/* NULL: no memory. The configuration has its defaults; memory is borrowed. */
struct values *values_new(const struct codec *codec, const mend_config *config, const struct memory *memory);
void           values_free(struct values *v); /* NULL is nothing to do */

/* In the functions below, NULL is a client that knows no packed values. */
static inline bool values_packs(const struct values *v)
{
    return v && v->above != SIZE_MAX;
}

bool values_owns(const struct values *v, uint32_t flags); /* whether there are bits among them that are not the application's */

/* A question with a value to store: as it travels. The packed bytes lie in `packed`, which the caller releases when the question
 * is answered. left: of the call's time; a value that would take longer travels as it is. Returns whether there was anything to do, which took
 * time. */
bool values_pack(struct values *v, struct wire_question *q, struct buf *packed, nstime left);

/* An answer to such a question: as the application has it. False: what is there is broken, and is a miss now. A fetch takes it for
 * won: what is broken it may replace. */
bool values_unpack_hit(struct values *v, enum wire_verb verb, struct answer *a);

static inline bool values_unpack(struct values *v, enum wire_verb verb, struct answer *a)
{
    return !v || a->status != MEND_OK || values_unpack_hit(v, verb, a);
}

#endif
