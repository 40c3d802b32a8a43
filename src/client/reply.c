/* reply.c - see reply.h. */
#include "client/reply.h"

#include <string.h>

static void reset(mend_reply *r)
{
    r->status = MEND_OK;
    r->maybe_applied = false;
    r->flags = 0;
    r->cas = r->number = 0;
    r->ttl_s = MEND_TTL_UNKNOWN;
    r->data = r->error = r->server = "";
    r->len = 0;
    r->source = MEND_SOURCE_NONE;
}

mend_status reply_refuse(mend_reply *r, mend_status status, const char *error)
{
    if (r) {
        reset(r);
        r->status = status;
        r->error = error;
    }
    return status;
}

struct reply_own *reply_begin(mend_reply *r, const struct memory *memory)
{
    struct reply_own *own = r->own;

    reset(r);
    if (!own) {
        own = memory_zeroed(memory, 1, sizeof *own);
        if (!own) {
            reply_refuse(r, MEND_E_MEMORY, "out of memory for the reply");
            return NULL;
        }
        own->memory = *memory;
        own->answer.value.memory = &own->memory;
        r->own = own;
    }
    own->was_large = own->answer.value.len > WIRE_COPY_MAX;
    answer_reset(&own->answer);
    return own;
}

mend_reply *reply_lend(mend_reply *r, struct reply_own *own, const struct memory *memory)
{
    own->memory = *memory;
    own->answer.value = (struct buf){.memory = &own->memory};
    own->server_id = 0;
    own->was_large = false;
    r->own = own;
    return r;
}

void reply_show(mend_reply *r, struct answer *a)
{
    r->status = a->status;
    if (a->status < 0) {
        r->maybe_applied = a->maybe_applied;
        r->error = a->error;
        return;
    }
    if (a->status > 0)
        return;
    r->flags = a->flags;
    r->cas = a->cas;
    r->ttl_s = a->ttl_s;
    r->number = a->number;
    if (a->value.len) {
        r->data = a->value.data;
        r->len = a->value.len;
    }
}

void reply_server(mend_reply *r, const struct server *s)
{
    struct reply_own *own = r->own;

    if (!s)
        return;
    if (own->server_id != s->id) { /* most calls ask the server that the last one asked */
        size_t n = strlen(s->spec->name);
        if (n >= sizeof own->server)
            n = sizeof own->server - 1;
        memcpy(own->server, s->spec->name, n);
        own->server[n] = '\0';
        own->server_id = s->id;
    }
    r->server = own->server;
}

mend_status reply_end(mend_reply *r, struct reply_own *own)
{
    reply_show(r, &own->answer);
    return r->status;
}

void mend_reply_free(mend_reply *r)
{
    if (!r)
        return;
    struct reply_own *own = r->own;
    if (own) {
        struct memory memory = own->memory;
        buf_release(&own->answer.value);
        memory_release(&memory, own);
    }
    r->own = NULL;
    reset(r);
}

/* ---- Replies to many ---- */

static bool make_room(mend_replies *rs, struct replies_own *own, size_t n)
{
    struct answer *answers;
    mend_reply    *at;

    if (n <= own->room)
        return true;
    if (n > SIZE_MAX / sizeof *answers || n > SIZE_MAX / sizeof *at)
        return false;
    if (!(answers = memory_resize(&own->memory, own->answers, n * sizeof *answers)))
        return false;
    own->answers = answers;
    if (!(at = memory_resize(&own->memory, rs->at, n * sizeof *at)))
        return false;
    rs->at = at;
    for (size_t i = own->room; i < n; i++) {
        answers[i] = (struct answer){.value = {.memory = &own->memory}};
        at[i] = (mend_reply)MEND_REPLY;
    }
    own->room = n;
    return true;
}

struct replies_own *replies_begin(mend_replies *rs, size_t n, const struct memory *memory)
{
    struct replies_own *own = rs->own;

    rs->count = 0;
    if (!own) {
        own = memory_zeroed(memory, 1, sizeof *own);
        if (!own)
            return NULL;
        own->memory = *memory;
        own->scratch.memory = own->names.memory = &own->memory;
        rs->own = own;
        rs->at = NULL;
    }
    if (!make_room(rs, own, n))
        return NULL;
    rs->count = n;
    for (size_t i = 0; i < n; i++) {
        reset(&rs->at[i]);
        answer_reset(&own->answers[i]);
    }
    return own;
}

void mend_replies_free(mend_replies *rs)
{
    if (!rs)
        return;
    struct replies_own *own = rs->own;
    if (own) {
        struct memory memory = own->memory;
        for (size_t i = 0; i < own->room; i++)
            buf_release(&own->answers[i].value);
        memory_release(&memory, own->answers);
        memory_release(&memory, rs->at);
        buf_release(&own->scratch);
        buf_release(&own->names);
        memory_release(&memory, own);
    }
    *rs = (mend_replies)MEND_REPLIES;
}
