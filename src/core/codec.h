/* codec.h - values that travel packed: how they are, and which bits of their flags tell so.
 *
 * Knows no question, no answer and no threads: bytes and flags in, bytes and flags out. The packing itself is done by
 * methods (method.h); what they keep between calls is in the tools, which one caller has at a time.
 *
 *     codec_from      what a configuration says
 *     codec_pack      a value, if that saves something
 *     codec_unpack    ...and back, whoever packed it
 */
#ifndef MEND_CORE_CODEC_H
#define MEND_CORE_CODEC_H

#include <stdint.h>

#include "core/buf.h"
#include "core/method.h"
#include "mend.h"

/* What the bits of the flags mean. Immutable. */
struct codec {
    uint32_t         packed;        /* set beside the method's own bit; 0: that one suffices */
    uint32_t         by[METHODS];   /* the bit that names the method; 0: it is not known here */
    bool             length_first;  /* the plain length stands before the packed bytes: 4 bytes, in this machine's order */
    enum method_name writes;        /* what this client packs with */
    uint32_t         bits;          /* all of the above: not for the application */
};

/* MEND_OK; MEND_E_ARGUMENT, and *why begins with the field that is wrong. All zeros: there are no packed values. */
mend_status codec_from(struct codec *codec, const mend_config *config, const char **why);

struct codec_tools {
    struct memory memory; /* of the tools, and what they keep */
    void         *kept[METHODS];
};

/* NULL: no memory. */
struct codec_tools *codec_tools_new(const struct memory *memory);
void                codec_tools_free(struct codec_tools *tools);

/* Packs the value into out, which is empty, and sets the bits. False: it would not save a sixteenth, or there is no
 * memory; nothing has changed then. */
bool codec_pack(const struct codec *codec, struct codec_tools *tools, mend_bytes plain, uint32_t *flags, struct buf *out);

static inline bool codec_is_packed(const struct codec *codec, uint32_t flags)
{
    return codec->packed ? flags & codec->packed : flags & codec->bits;
}

/* Unpacks what codec_is_packed, and clears the bits: into out, which is empty, of at most `most` bytes and a NUL behind
 * them. Anything but METHOD_DONE leaves nothing in it. */
enum method_result codec_unpack(const struct codec *codec, struct codec_tools *tools, mend_bytes packed, uint32_t *flags,
                                uint64_t most, struct buf *out);

#endif
