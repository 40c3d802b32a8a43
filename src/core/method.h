/* method.h - ways of packing bytes: those that this library was built with.
 *
 * A method knows nothing of flags, nor of what stands before the packed bytes. What is costly to set up it keeps in
 * *kept, NULL at first, for the next call; its memory is that of the caller.
 */
#ifndef MEND_CORE_METHOD_H
#define MEND_CORE_METHOD_H

#include <stdint.h>

#include "core/buf.h"

enum method_name { METHOD_NONE, METHOD_ZLIB, METHOD_ZSTD, METHOD_FASTLZ, METHODS };

enum method_result {
    METHOD_DONE,
    METHOD_BROKEN,   /* these bytes were not packed so, or not all of them are there, or there are more */
    METHOD_LARGE,    /* more than `most` plain bytes */
    METHOD_NO_MEMORY,
};

#define METHOD_LENGTH_UNKNOWN UINT64_MAX

struct method {
    /* Appends to out no more than it has room for. False: that is too little, or there is no memory. NULL: it only unpacks. */
    bool (*pack)(void **kept, const struct memory *memory, mend_bytes plain, struct buf *out);

    /* Makes room in out, which is empty, and fills it. `length` is that of the plain bytes, and up to `most`, or it is not
     * known. */
    enum method_result (*unpack)(void **kept, const struct memory *memory, mend_bytes packed, uint64_t length, uint64_t most,
                                 struct buf *out);

    void (*release)(void *kept, const struct memory *memory); /* NULL: it keeps nothing */

    unsigned grows_most; /* plain bytes that a packed one can stand for: a length beyond that is a lie, and no memory is asked for it */
};

extern const struct method method_zlib, method_zstd, method_fastlz;

/* Room for plain bytes of a length that is not known: for the first try, and, grown is true, for the next. One byte is
 * for the NUL behind them. METHOD_DONE; METHOD_LARGE; METHOD_NO_MEMORY. */
enum method_result method_room(struct buf *out, mend_bytes packed, uint64_t most, bool grown);

#endif
