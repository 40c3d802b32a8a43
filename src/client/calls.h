/* calls.h - what every call of the application begins and ends with.
 *
 * Knows no protocol. client.c has the calls about one key, multi.c those about many.
 */
#ifndef MEND_CLIENT_CALLS_H
#define MEND_CLIENT_CALLS_H

#include <string.h>

#include "client/gutter.h"
#include "client/life.h"
#include "client/pool.h"
#include "core/key.h"

/* Begins a call. MEND_OK; or a status, and *why a constant text: no client, a call from on_event, no memory for a
 * forked child's life. It has no deadline yet: a call to a server that is down needs none, nor a look at the clock. Between
 * call_pin and call_unpin, and no longer, it may use servers; nothing of the application's runs in between. */
mend_status call_begin(struct call *call, struct mend_client *c, const char **why);
void        call_pin(struct call *call, const mend_call *options); /* waits if no server has been found yet; options may be NULL */
void        call_unpin(struct call *call);
void        call_clock(struct call *call, const mend_call *options); /* if it was not done since call_pin */

extern const char call_nobody[];    /* the same, where no server is known */
extern const char call_down[];      /* the text of MEND_E_DOWN: why it is down is in mend_servers */
const char       *call_unasked(mend_status status); /* of a question that conn_ask did not take */

/* Checks what the application passed: MEND_OK, or MEND_E_ARGUMENT and *why. NULL is nothing to check. */
mend_status check_call(const mend_call *options, const char **why);
mend_status check_store(const struct mend_client *c, const mend_store *options, const char **why); /* c may be NULL */
mend_status check_key(const struct mend_client *c, mend_bytes key, bool *binary, const char **why); /* c: NULL is no client, and no prefix */
mend_status check_value(mend_bytes value, const char **why); /* MEND_TOO_LARGE: over what any memcached stores */

/* Calls each once for every server, in the order of the routing, which is pinned meanwhile; it may be the application's. */
mend_status servers_visit(struct mend_client *c, void (*each)(struct server *s, nstime now, void *context), void *context);

bool        check_zero(const uintptr_t *reserved, size_t n); /* the words of a struct that are not used yet */

/* Asks one question of the server that its key lives on, or of its gutter: whichever that is it returns (NULL: none is known); what came of it is in `a`.
 * large: over a link of its own. All was checked before. The call is pinned. */
struct server *call_ask(struct call *call, const mend_call *options, const struct wire_question *q, bool large, struct answer *a);

/* Asks many at once, each by its own question, whose verbs may differ; as mend_get_multi otherwise, but that hits have
 * their ttl_s. multi_refuse: all n of them get that answer. */
mend_status multi_ask(struct mend_client *c, const struct wire_question *questions, size_t n, const mend_call *options,
                      mend_replies *rs);
mend_status multi_refuse(struct mend_client *c, size_t n, mend_status status, const char *why, mend_replies *rs);
void        multi_asked(mend_replies *rs, size_t i, const struct server *s); /* ...key i was then asked of this one, by itself */
mend_status multi_verdict(const struct answer *answers, size_t n); /* what a call about many returns */

/* A relative ttl as memcached wants it. */
int64_t exptime_of(struct io *io, int64_t ttl_s);

/* The key as it travels, and as journals have it: behind the prefix, in `room`; or itself, if there is none. Replies show no
 * keys, so nothing leads back. Flights have keys without it. */
static inline mend_bytes call_key(const struct call *call, mend_bytes key, char room[KEY_MAX])
{
    mend_bytes prefix = call->life->client->prefix;

    if (!prefix.len)
        return key;
    memcpy(room, prefix.data, prefix.len);
    memcpy(room + prefix.len, key.data, key.len);
    return mend_mem(room, prefix.len + key.len);
}

/* What is to be known of a lost write before and after a call about a key. lost_before: 0, or the note's serial; a read of
 * such a key is not made (call_lost is its text), and a write goes behind a delete. lost_after: of a write, by its answer from
 * the server that was asked, or was to be. lost_note: notes a key. */
extern const char call_lost[];
static inline uint32_t lost_before(struct server *s, mend_bytes key, bool *deleted) /* deleted: a write need not go behind another delete */
{
    *deleted = false;
    return journal_is_quiet(&s->journal) ? 0 : journal_holds(&s->journal, key, deleted);
}
void     lost_after(const struct route *route, struct call *call, mend_bytes key, uint32_t serial, const struct answer *a);
void     lost_note(struct server *s, struct call *call, mend_bytes key, enum zombie zombie);

/* Calls are no cancellation points: a thread that is cancelled goes when its call is over. */
int  cancel_off(void);
void cancel_restore(int before);

#endif
