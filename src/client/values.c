/* values.c - see values.h. */
#include "client/values.h"

#include <string.h>

struct values *values_new(const struct codec *codec, const mend_config *config, const struct memory *memory)
{
    struct values *v = memory_zeroed(memory, 1, sizeof *v);

    if (!v)
        return NULL;
    v->codec = *codec;
    v->memory = memory;
    v->above = config->compress_above_bytes > 0 ? (size_t)config->compress_above_bytes : SIZE_MAX;
    v->most = (uint64_t)config->value_max_bytes < SIZE_MAX / 2 ? (uint64_t)config->value_max_bytes : SIZE_MAX / 2;
    return v;
}

void values_free(struct values *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < TOOLS; i++)
        codec_tools_free(atomic_load(&v->tools[i]));
    memory_release(v->memory, v);
}

bool values_owns(const struct values *v, uint32_t flags)
{
    return v && (v->codec.bits & flags);
}

/* ---- Tools ---- */

static struct codec_tools *tools_take(struct values *v)
{
    struct codec_tools *tools;

    for (size_t i = 0; i < TOOLS; i++)
        if ((tools = atomic_exchange_explicit(&v->tools[i], NULL, memory_order_acquire)) != NULL)
            return tools;
    return codec_tools_new(v->memory);
}

static void tools_back(struct values *v, struct codec_tools *tools)
{
    for (size_t i = 0; i < TOOLS; i++) {
        struct codec_tools *none = NULL;
        if (atomic_compare_exchange_strong_explicit(&v->tools[i], &none, tools, memory_order_release, memory_order_relaxed))
            return;
    }
    codec_tools_free(tools);
}

/* ---- Out and in ---- */

static bool replaces(enum wire_verb verb)
{
    return verb == WIRE_SET || verb == WIRE_ADD || verb == WIRE_REPLACE || verb == WIRE_CAS;
}

bool values_pack(struct values *v, struct wire_question *q, struct buf *packed, nstime left)
{
    enum { NS_PER_BYTE = 4 }; /* zlib's level 1, of JSON; zstd takes half of it */

    if (!v || q->value.len <= v->above || !replaces(q->verb) || left <= 0 || q->value.len > (uint64_t)left / NS_PER_BYTE)
        return false;
    struct codec_tools *tools = tools_take(v);
    if (!tools) /* it travels as it is */
        return true;
    packed->len = 0;
    if (codec_pack(&v->codec, tools, q->value, &q->flags, packed))
        q->value = mend_mem(packed->data, packed->len);
    tools_back(v, tools);
    return true;
}

static enum method_result unpack(struct values *v, uint32_t *flags, struct buf *value)
{
    struct codec_tools *tools = tools_take(v);
    struct buf          plain = {.memory = value->memory};

    if (!tools)
        return METHOD_NO_MEMORY;
    enum method_result result = codec_unpack(&v->codec, tools, mend_mem(value->data, value->len), flags, v->most, &plain);
    tools_back(v, tools);
    if (result != METHOD_DONE) {
        buf_release(&plain);
        return result;
    }
    buf_release(value);
    *value = plain;
    return METHOD_DONE;
}

bool values_unpack_hit(struct values *v, enum wire_verb verb, struct answer *a)
{
    if (!codec_is_packed(&v->codec, a->flags))
        return true;
    if (verb == WIRE_EXISTS) { /* it was not asked for the value */
        a->flags &= ~v->codec.bits;
        return true;
    }
    switch (unpack(v, &a->flags, &a->value)) {
    case METHOD_DONE:
        return true;
    case METHOD_LARGE:
        answer_fail(a, MEND_E_MEMORY, "the value is larger than value_max_bytes");
        break;
    case METHOD_NO_MEMORY:
        answer_fail(a, MEND_E_MEMORY, "out of memory for the value");
        break;
    case METHOD_BROKEN:
        a->status = MEND_MISS;
        a->lease |= WIRE_WON; /* and its cas is the lease */
        break;
    }
    a->value.len = 0;
    a->maybe_applied = a->status < 0 && wire_writes(verb); /* a get-and-touch has touched */
    return a->status < 0;
}
