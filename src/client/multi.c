/* multi.c - calls about many keys, and about every server: all servers at the same time, one deadline.
 *
 * The keys are dealt out to parts, one a server, each with a link of its own. A part that has a link puts
 * its questions on the line as the line takes them, so that writing and reading overlap; one pump turns
 * all links. A part that has to wait for a link holds up no other, and no part holds a link while it
 * waits for another's: a link is given back as soon as its answers are in.
 */
#include <assert.h>
#include <string.h>

#include "client/calls.h"
#include "client/reply.h"
#include "core/key.h"

/* What one server is asked in one call: the wants from `first` on, `asked` of which are on the line or answered. */
struct part {
    struct server *server;
    size_t         first, end, asked;
    struct link   *link;
    bool           over;
    bool           retried; /* the link that it had first died idle */
    bool           doubts;  /* what is asked yet is asked for the second time, each key by itself */
    nstime         ended;   /* when it was over, by the call's clock */
};

/* Where a key lives, or stays while that is down, and how it travels. */
struct home {
    mend_bytes key; /* in scratch, behind the prefix: the application's may lie in replies that are being filled */
    unsigned   server;
    uint32_t   lost; /* the serial of its note in the journal, or 0 */
    bool       binary;
    bool       deleted; /* no write of it needs a delete before it any more */
};

struct multi {
    struct call          call;
    nstime               began;
    enum wire_verb       verb;
    const mend_item     *items; /* of a set */
    const struct wire_question *questions; /* of a fetch: one for each key */
    struct answer       *answers;
    struct home         *homes; /* by key, in the order given */
    struct buf          *packed; /* values of a set or a fetch, as they travel; by key; NULL: this client packs none */
    struct want         *wants; /* grouped by server; at the end, those whose server was not to be asked */
    size_t               want_count, turned_away;
    struct part         *parts;
    size_t               part_count;
    struct link        **links;
    struct io_poll      *polls;
    struct replies_own  *own;
};

/* ---- Asking ---- */

static struct wire_question question(struct multi *m, const struct server *s, const struct want *w)
{
    struct wire_question q = {.verb = m->verb, .key = w->key, .key_binary = w->key_binary};

    if (m->items) {
        const mend_item *item = &m->items[w->into - m->answers];
        q.value = item->value;
        q.flags = item->store.flags;
        q.exptime = exptime_of(m->call.io, item->store.ttl_s);
        const struct home *home = &m->homes[w->into - m->answers];
        q.behind_delete = home->lost && !home->deleted;
    }
    if (m->questions) {
        q = m->questions[w->into - m->answers];
        q.key = w->key;
        q.key_binary = w->key_binary;
    }
    struct call *call = &m->call;
    if (m->packed && values_pack(call->life->client->values, &q, &m->packed[w->into - m->answers], call->deadline - call->now))
        call->now = call->io->now(call->io);
    return s->gutter ? gutter_question(s, &q) : q;
}

static void ask_next(struct multi *m, struct part *p)
{
    struct want *w = &m->wants[p->asked];

    if (m->verb == WIRE_GET && !w->key_binary && !p->doubts && p->end - p->asked > 1) {
        size_t took = conn_ask_many(&p->link->conn, w, p->end - p->asked);
        p->asked += took;
        if (took)
            return;
    }
    struct wire_question q = question(m, p->server, w);
    mend_status          status = conn_ask(&p->link->conn, &q, w->into);
    if (status)
        answer_fail(w->into, status, call_unasked(status));
    p->asked++;
}

/* What is not answered; and an empty hit that nobody can be asked about any more: it is not to be taken for a value. */
static void fail_rest(struct multi *m, struct part *p, const struct answer *like)
{
    for (size_t i = p->first; i < p->asked; i++)
        if (m->wants[i].into->doubtful)
            answer_fail_text(m->wants[i].into, like->status, like->error);
    for (; p->asked < p->end; p->asked++)
        answer_fail_text(m->wants[p->asked].into, like->status, like->error);
    p->over = true;
    p->ended = m->call.now;
}

static void give(struct multi *m, struct part *p, bool forgiven)
{
    pool_give(p->server, &m->call, p->link, forgiven);
    p->link = NULL;
}

static bool may_ask_again(const struct answer *a)
{
    return a->again || a->doubtful;
}

static bool is_doubtful(const struct answer *a)
{
    return a->doubtful;
}

/* Of the wants that were asked, those of such an answer come to the end, to be asked with the rest. Returns
 * whether there is anything to ask; *lost: whether some failed for good. */
static bool take_back(struct multi *m, struct part *p, bool (*such)(const struct answer *), bool *lost)
{
    size_t first = p->asked;

    *lost = false;
    for (size_t i = p->asked; i-- > p->first;) {
        struct answer *into = m->wants[i].into;
        *lost |= into->status < 0 && !into->again;
        if (!such(into))
            continue;
        answer_reset(into);
        struct want w = m->wants[--first];
        m->wants[first] = m->wants[i];
        m->wants[i] = w;
    }
    bool any = first < p->end;
    p->first = p->asked = first;
    return any;
}

/* Its link broke: what can be asked again is, once, if the link may have died while it was idle. */
static void mourn(struct multi *m, struct part *p)
{
    struct answer like = {.status = p->link->conn.broke};
    bool          served = p->link->pooled || like.status == MEND_E_SERVER;
    bool          lost = true;
    size_t        asked = p->asked;
    bool          again = !p->retried && served && like.status != MEND_E_TIMEOUT && take_back(m, p, may_ask_again, &lost);

    p->doubts |= like.status == MEND_E_SERVER; /* a proxy's, perhaps, that has lost the servers of some keys: now each has its own answer */

    if (again)
        stats_add(&p->server->stats.retries, asked - p->asked);
    answer_fail_text(&like, like.status, p->link->conn.why);
    give(m, p, again && !lost && like.status != MEND_E_PROTOCOL);
    p->retried = true;
    if (!again)
        fail_rest(m, p, &like);
}

/* All are answered: an empty value in a gets' answer may be a lease's stub, which only a get of its own would tell. */
static bool look_again(struct multi *m, struct part *p)
{
    bool lost;

    for (size_t i = p->first; i < p->asked && m->verb == WIRE_GET; i++)
        if (m->wants[i].into->doubtful)
            return p->doubts = take_back(m, p, is_doubtful, &lost);
    return false;
}

/* What can be done for a part without waiting. */
static void advance(struct multi *m, struct part *p)
{
    struct conn *c = &p->link->conn;

    while (p->asked < p->end && conn_takes(c))
        ask_next(m, p);
    if (c->state == CONN_READY && p->asked == p->end && link_over(p->link) && look_again(m, p)) {
        ask_next(m, p); /* so that the link is not over; the rest comes with the next round */
        return;
    }
    if (conn_is_over(c))
        mourn(m, p);
    else if (p->asked == p->end && link_over(p->link)) {
        give(m, p, false);
        p->over = true;
        p->ended = m->call.now;
    }
}

/* ---- The round over all parts ---- */

static void find_link(struct multi *m, struct part *p)
{
    struct answer a = {.error = ""};

    switch (pool_try(p->server, &m->call, p->retried, &p->link, &a)) {
    case POOL_LINK:
    case POOL_WAIT:
        break;
    case POOL_NONE:
        fail_rest(m, p, &a);
        break;
    }
}

/* One look at every part. Returns how many links are to be turned; *waiting: how many parts have none yet. */
static size_t round_of(struct multi *m, size_t *waiting)
{
    size_t n = 0;

    *waiting = 0;
    for (size_t i = 0; i < m->part_count; i++) {
        struct part *p = &m->parts[i];
        if (!p->over && !p->link)
            find_link(m, p);
        if (!p->over && p->link)
            advance(m, p);
        if (p->over)
            continue;
        if (p->link)
            m->links[n++] = p->link;
        else
            ++*waiting;
    }
    return n;
}

static void give_up_waiting(struct multi *m)
{
    for (size_t i = 0; i < m->part_count; i++) {
        struct part *p = &m->parts[i];
        if (p->over || p->link)
            continue;
        struct answer like;
        pool_give_up(p->server, &like);
        fail_rest(m, p, &like);
    }
}

static void run_parts(struct multi *m)
{
    enum { GLANCE_MS = 1 }; /* between looks for a link of one part, while another's answers are awaited: rare */
    struct call *call = &m->call;
    struct life *life = call->life;
    bool         told = false; /* that we wait */
    bool         prompt = true; /* every server has answered within a moment */
    size_t       waiting, n;

    for (;;) {
        uint32_t seen = atomic_load(&life->news);
        n = round_of(m, &waiting);
        if (n == 0 && waiting == 0)
            break;
        if (waiting && call->now >= call->deadline)
            give_up_waiting(m);
        else if (waiting && !told) { /* then look once more: what came before that told nobody */
            atomic_fetch_add(&life->waiting, 1);
            atomic_thread_fence(memory_order_seq_cst);
            told = true;
            continue;
        } else if (n == 0)
            call->io->wait(call->io, &life->news, seen, IO_ANYBODY, call->deadline);
        if (n > 1 && !waiting && prompt)
            prompt = link_hear_all(m->links, n, call->io, call->deadline);
        else if (n)
            link_turn(m->links, m->polls, n, call->io, waiting ? call->now + MS(GLANCE_MS) : call->deadline, call->deadline);
        call->now = call->io->now(call->io);
    }
    if (told)
        atomic_fetch_sub(&life->waiting, 1);
}

/* ---- Memory of a call ---- */

/* Pieces of the scratch buffer, in the order that they are asked for, each aligned. */
static void *carve(struct buf *scratch, size_t n, size_t each)
{
    enum { ALIGN = _Alignof(max_align_t) };
    void *p = scratch->data + scratch->len;
    scratch->len += (n * each + ALIGN - 1) / ALIGN * ALIGN;
    assert(scratch->len <= scratch->cap);
    return p;
}

static bool prepare(struct multi *m, size_t n, size_t key_bytes)
{
    size_t      servers = m->call.pin.routing->count;
    bool        packs = (m->items || m->questions) && values_packs(m->call.life->client->values);
    size_t      a_key = sizeof *m->wants + sizeof *m->homes + packs * sizeof *m->packed, a_server = sizeof *m->parts + sizeof *m->links + sizeof *m->polls;
    struct buf *scratch = &m->own->scratch;
    size_t      slack = 8 * _Alignof(max_align_t);

    if (n > (SIZE_MAX / 2 - key_bytes) / a_key)
        return false;
    scratch->len = 0;
    if (!buf_reserve(scratch, n * a_key + servers * a_server + key_bytes + slack))
        return false;
    m->wants = carve(scratch, n, sizeof *m->wants);
    m->want_count = n;
    m->homes = carve(scratch, n, sizeof *m->homes);
    m->parts = carve(scratch, servers, sizeof *m->parts);
    m->links = carve(scratch, servers, sizeof *m->links);
    m->polls = carve(scratch, servers, sizeof *m->polls);
    memset(m->parts, 0, servers * sizeof *m->parts);
    if (packs)
        m->packed = carve(scratch, n, sizeof *m->packed);
    for (size_t i = 0; i < n && packs; i++)
        m->packed[i] = (struct buf){.memory = &m->call.life->client->memory};
    return true;
}

static void release_packed(struct multi *m, size_t n)
{
    for (size_t i = 0; i < n && m->packed; i++)
        buf_release(&m->packed[i]);
}

/* ---- Dealing out ---- */

/* The application's keys, each `step` bytes behind the one before, and what is said of their servers. */
struct source {
    const mend_bytes           *first;
    size_t                      step;
    const mend_item            *items;     /* of a set, which the keys lie in */
    const struct wire_question *questions; /* of a fetch, the same */
    const mend_call            *options;
};

static inline mend_bytes key_at(const struct source *from, size_t i)
{
    return *(const mend_bytes *)((const char *)from->first + i * from->step);
}

static inline enum wire_verb verb_at(const struct multi *m, size_t i)
{
    return m->questions ? m->questions[i].verb : m->verb;
}

static inline struct route route_at(struct multi *m, const struct source *from, size_t i)
{
    return gutter_route(&m->call, verb_at(m, i), key_at(from, i), from->items ? &from->items[i].store.call : from->options);
}

/* The i-th write was not asked of anybody. */
static void lose(struct multi *m, const struct source *from, size_t i, const struct answer *a)
{
    struct route route = route_at(m, from, i);
    char         room[KEY_MAX];

    route.asked = route.home;
    lost_after(&route, &m->call, call_key(&m->call, key_at(from, i), room), 0, a);
}

static inline mend_status check_at(struct multi *m, const struct source *from, size_t i, bool *binary, const char **why)
{
    mend_status status = check_key(m->call.life->client, key_at(from, i), binary, why);

    if (!status && from->items)
        status = check_store(m->call.life->client, &from->items[i].store, why);
    if (!status && from->items)
        status = check_value(from->items[i].value, why);
    return status;
}

/* Room was made for every key. */
static mend_bytes keep_key(struct multi *m, mend_bytes key)
{
    struct buf *scratch = &m->own->scratch;
    char       *to = scratch->data + scratch->len;
    mend_bytes  kept = call_key(&m->call, key, to);

    if (kept.data != to)
        memcpy(to, kept.data, kept.len);
    scratch->len += kept.len;
    return mend_mem(to, kept.len);
}

/* The deadline came before this key's turn. */
static void deal_late(struct multi *m, const struct source *from, size_t i)
{
    const char *why;

    answer_fail(&m->answers[i], MEND_E_TIMEOUT, "the deadline came before all keys were dealt out");
    if (wire_leaves_stale(m->verb) && m->call.pin.routing->homes && check_at(m, from, i, &m->homes[i].binary, &why) == MEND_OK)
        lose(m, from, i, &m->answers[i]);
}

/* Finds the home of key i, whose part it is counted to; a key that is not to be asked has its answer already. */
static void deal_one(struct multi *m, const struct source *from, size_t i)
{
    struct home   *home = &m->homes[i];
    struct answer *into = &m->answers[i];
    const char    *why;
    mend_status    status = check_at(m, from, i, &home->binary, &why);

    if (status)
        answer_fail(into, status, status < 0 ? why : "");
    else if (!m->call.pin.routing->homes)
        answer_fail(into, MEND_E_DOWN, call_nobody);
    else {
        struct route route = route_at(m, from, i);
        home->server = route.number;
        home->key = keep_key(m, key_at(from, i));
        home->lost = lost_before(route.asked, home->key, &home->deleted);
        if (home->lost && !wire_leaves_stale(m->verb))
            answer_fail(into, MEND_E_DOWN, call_lost);
        else if (m->questions && gutter_parted(route.asked, &m->questions[i]))
            answer_fail(into, MEND_EXISTS, "");
        else
            m->parts[home->server].end++;
        if (into->done) {
            m->wants[m->want_count - ++m->turned_away] = (struct want){.into = into};
            stats_count(stats_tally(&route.asked->stats, m->call.pin), stats_operation[verb_at(m, i)], into->status, 1);
        } else if (route.asked != route.home)
            stats_add(&route.home->stats.gutter_calls, 1);
    }
}

/* Groups the keys that are to be asked by server. */
static void deal(struct multi *m, const struct source *from, size_t n)
{
    enum { LOOK_AT_CLOCK = 1024 }; /* keys, of 0.1 to 0.3 us each */
    const struct routing *routing = m->call.pin.routing;
    size_t                at = 0;

    for (size_t i = 0; i < n; i++) {
        if (i % LOOK_AT_CLOCK == LOOK_AT_CLOCK - 1)
            m->call.now = m->call.io->now(m->call.io);
        if (m->call.now < m->call.deadline)
            deal_one(m, from, i);
        else
            deal_late(m, from, i);
    }
    for (size_t s = 0; s < routing->count; s++) {
        struct part *p = &m->parts[s];
        p->server = routing->at[s];
        p->over = p->end == 0;
        p->first = p->asked = at;
        at += p->end;
        p->end = p->first; /* counts up again below */
    }
    for (size_t i = 0; i < n; i++) {
        const struct home *home = &m->homes[i];
        if (!m->answers[i].done)
            m->wants[m->parts[home->server].end++] = (struct want){.key = home->key, .key_binary = home->binary, .into = &m->answers[i]};
    }
    m->part_count = routing->count;
}

/* ---- Telling ---- */

static unsigned operation_of(const struct multi *m, const struct want *w)
{
    if (!m->questions)
        return stats_operation[m->verb];
    return stats_operation[verb_at(m, (size_t)(w->into - m->answers))];
}

/* What came of the keys that were dealt out; neighbours that came to the same are counted together. */
static void count_calls(struct multi *m)
{
    for (size_t i = 0, k = 0; i < m->part_count; i++) {
        struct part *p = &m->parts[i];
        while (k < p->end) {
            const struct want *first = &m->wants[k];
            unsigned           operation = operation_of(m, first);
            mend_status        status = first->into->status;
            size_t             began = k;
            while (++k < p->end && m->wants[k].into->status == status && operation_of(m, &m->wants[k]) == operation)
                ;
            stats_count(stats_tally(&p->server->stats, m->call.pin), operation, status, k - began);
        }
    }
}

/* A part that ended before the clock moved was turned away. */
static void count_times(const struct multi *m)
{
    for (size_t i = 0; i < m->part_count; i++)
        if (m->parts[i].ended > m->began)
            stats_took(stats_tally(&m->parts[i].server->stats, m->call.pin), m->parts[i].ended - m->began, 1);
}

static void note_lost_writes(struct multi *m, const struct source *from)
{
    bool stale = wire_leaves_stale(m->verb);

    for (size_t i = 0; i < m->part_count && (stale || m->questions); i++) {
        struct part *p = &m->parts[i];
        for (size_t k = i ? m->parts[i - 1].end : 0; k < p->end; k++) {
            const struct want *w = &m->wants[k];
            size_t             at = (size_t)(w->into - m->answers);
            if (!stale && !(p->server->gutter && m->questions && wire_writes(m->questions[at].verb)))
                continue;
            struct route route = route_at(m, from, at);
            route.asked = p->server; /* whatever is up now */
            if (stale)
                lost_after(&route, &m->call, w->key, m->homes[at].lost, w->into);
            else
                gutter_wrote(&m->call, &route, w->key, false);
        }
    }
}

/* What gutters have said. */
static void mark_answers(struct multi *m)
{
    for (size_t i = m->call.pin.routing->homes; i < m->part_count; i++)
        for (size_t k = i ? m->parts[i - 1].end : 0; k < m->parts[i].end; k++)
            gutter_answer(m->wants[k].into);
}

/* Of what was written: a load that began meanwhile may have read what was before. */
static void end_flights(struct multi *m)
{
    size_t prefix = m->call.life->client->prefix.len;

    if (!wire_writes(m->verb))
        return;
    for (size_t k = 0; m->part_count && k < m->parts[m->part_count - 1].end; k++) {
        mend_bytes key = m->wants[k].key;
        flights_wrote(&m->call.life->flights, mend_mem((const char *)key.data + prefix, key.len - prefix));
    }
}

/* Names live with the replies, since those outlive the client. */
static void name_servers(struct multi *m, mend_replies *rs)
{
    struct buf *names = &m->own->names;
    size_t      bytes = 0;

    for (size_t i = 0; i < m->part_count; i++)
        bytes += strlen(m->parts[i].server->spec->name) + 1;
    names->len = 0;
    if (!buf_reserve(names, bytes))
        return;
    for (size_t i = 0, k = 0; i < m->part_count; i++) {
        const char *name = names->data + names->len;
        if (k < m->parts[i].end)
            buf_add(names, m->parts[i].server->spec->name, strlen(m->parts[i].server->spec->name) + 1);
        for (; k < m->parts[i].end; k++)
            rs->at[m->wants[k].into - m->answers].server = name;
    }
    for (size_t k = m->want_count - m->turned_away; k < m->want_count; k++) {
        size_t i = (size_t)(m->wants[k].into - m->answers);
        multi_asked(rs, i, m->parts[m->homes[i].server].server);
    }
}

/* Room was made for every name, each once; without that there is none to tell. */
void multi_asked(mend_replies *rs, size_t i, const struct server *s)
{
    struct buf *names = &((struct replies_own *)rs->own)->names;
    size_t      bytes = strlen(s->spec->name) + 1, at = 0;

    while (at < names->len && strcmp(names->data + at, s->spec->name) != 0)
        at += strlen(names->data + at) + 1;
    bool told = at < names->len || (names->cap - names->len >= bytes && buf_add(names, s->spec->name, bytes));
    rs->at[i].server = told ? names->data + at : "";
}

/* What a call about many returns: a bad argument first, since only the caller can mend it. */
mend_status multi_verdict(const struct answer *answers, size_t n)
{
    mend_status first = MEND_OK;

    for (size_t i = 0; i < n; i++) {
        if (answers[i].status == MEND_E_ARGUMENT)
            return MEND_E_ARGUMENT;
        if (answers[i].status < 0 && first == MEND_OK)
            first = answers[i].status;
    }
    return first;
}

static mend_status tell(struct multi *m, mend_replies *rs)
{
    struct values *values = m->call.life->client->values;

    for (size_t i = 0; i < rs->count; i++) {
        if (!values_unpack(values, m->verb, &m->answers[i]))
            atomic_fetch_add(&m->parts[m->homes[i].server].server->values_broken, 1);
        if (!m->questions)
            m->answers[i].ttl_s = MEND_TTL_UNKNOWN; /* a gets does not tell, whatever a lone mg may */
        reply_show(&rs->at[i], &m->answers[i]);
    }
    count_calls(m);
    count_times(m);
    name_servers(m, rs);
    return multi_verdict(m->answers, rs->count);
}

/* ---- The calls ---- */

static mend_status refuse_all(mend_replies *rs, mend_status status, const char *why)
{
    struct replies_own *own = rs->own;

    for (size_t i = 0; i < rs->count; i++) {
        answer_fail(&own->answers[i], status, why);
        reply_refuse(&rs->at[i], status, why);
    }
    return status;
}

/* No memory for so much as to begin: writes that were wanted are lost all the same. */
static mend_status lose_all(struct multi *m, const struct source *from, size_t n)
{
    const char *why;
    bool        binary;

    for (size_t i = 0; i < n && wire_leaves_stale(m->verb) && m->call.pin.routing->homes; i++)
        if (check_at(m, from, i, &binary, &why) == MEND_OK) {
            flights_wrote(&m->call.life->flights, key_at(from, i));
            lose(m, from, i, &(struct answer){.status = MEND_E_MEMORY});
        }
    return MEND_E_MEMORY;
}

static mend_status run_pinned(struct multi *m, const struct source *from, size_t n, mend_replies *rs)
{
    size_t key_bytes = 0;

    m->own = replies_begin(rs, n, &m->call.life->client->memory);
    if (!m->own)
        return lose_all(m, from, n);
    m->answers = m->own->answers;
    for (size_t i = 0; i < n; i++)
        key_bytes += key_at(from, i).len <= KEY_MAX ? m->call.life->client->prefix.len + key_at(from, i).len : 0;
    if (!prepare(m, n, key_bytes))
        return refuse_all(rs, lose_all(m, from, n), "out of memory for the call");
    if (wire_writes(m->verb))
        for (size_t i = 0; i < n; i++)
            if (key_at(from, i).data)
                flights_wrote(&m->call.life->flights, key_at(from, i));
    deal(m, from, n);
    int before = cancel_off();
    run_parts(m);
    cancel_restore(before);
    mark_answers(m);
    end_flights(m);
    release_packed(m, n);
    note_lost_writes(m, from);
    return tell(m, rs);
}

static mend_status run(struct mend_client *c, const struct source *from, size_t n, enum wire_verb verb, mend_replies *rs)
{
    struct multi m = {.verb = verb, .items = from->items, .questions = from->questions};
    const char  *why;

    rs->count = 0;
    if (!c || (n && !from->first))
        return MEND_E_ARGUMENT;
    mend_status status = check_call(from->options, &why);
    if (!status)
        status = call_begin(&m.call, c, &why);
    if (status)
        return multi_refuse(c, n, status, why, rs);
    call_pin(&m.call, from->options);
    call_clock(&m.call, from->options); /* the time for making room counts */
    m.began = m.call.now;
    status = run_pinned(&m, from, n, rs);
    call_unpin(&m.call);
    return status;
}

/* As run, for those who do not want the replies. */
static mend_status run_quietly(struct mend_client *c, const struct source *from, size_t n, enum wire_verb verb, mend_replies *rs)
{
    mend_replies local = MEND_REPLIES;
    mend_status  status = run(c, from, n, verb, rs ? rs : &local);

    mend_replies_free(&local);
    return status;
}

mend_status mend_get_multi_with(mend_client *c, const mend_bytes *keys, size_t n, const mend_call *options, mend_replies *rs)
{
    return rs ? run(c, &(struct source){.first = keys, .step = sizeof *keys, .options = options}, n, WIRE_GET, rs) : MEND_E_ARGUMENT;
}

mend_status mend_get_multi(mend_client *c, const mend_bytes *keys, size_t n, mend_replies *rs)
{
    return mend_get_multi_with(c, keys, n, NULL, rs);
}

mend_status mend_set_multi(mend_client *c, const mend_item *items, size_t n, mend_replies *rs)
{
    return run_quietly(c, &(struct source){.first = items ? &items->key : NULL, .step = sizeof *items, .items = items}, n, WIRE_SET, rs);
}

mend_status mend_delete_multi_with(mend_client *c, const mend_bytes *keys, size_t n, const mend_call *options, mend_replies *rs)
{
    return run_quietly(c, &(struct source){.first = keys, .step = sizeof *keys, .options = options}, n, WIRE_DELETE, rs);
}

mend_status mend_delete_multi(mend_client *c, const mend_bytes *keys, size_t n, mend_replies *rs)
{
    return mend_delete_multi_with(c, keys, n, NULL, rs);
}

mend_status multi_ask(struct mend_client *c, const struct wire_question *questions, size_t n, const mend_call *options, mend_replies *rs)
{
    struct source from = {.first = questions ? &questions->key : NULL, .step = sizeof *questions, .questions = questions, .options = options};
    return run(c, &from, n, WIRE_FETCH, rs);
}

mend_status multi_refuse(struct mend_client *c, size_t n, mend_status status, const char *why, mend_replies *rs)
{
    return replies_begin(rs, n, &c->memory) ? refuse_all(rs, status, why) : MEND_E_MEMORY;
}

/* ---- Every server ---- */

/* One question to each: part i is server i, and its only want. */
static void deal_each(struct multi *m, mend_bytes key)
{
    const struct routing *routing = m->call.pin.routing;

    for (size_t i = 0; i < routing->count; i++) {
        m->wants[i] = (struct want){.key = key, .into = &m->answers[i]};
        m->parts[i] = (struct part){.server = routing->at[i], .first = i, .asked = i, .end = i + 1};
    }
    m->part_count = routing->count;
}

/* The first failure becomes the reply, with the server whose it is. */
static mend_status tell_first(struct multi *m, const mend_replies *rs, mend_reply *reply)
{
    mend_status status = multi_verdict(m->answers, rs->count);
    size_t      i = 0;

    if (!reply)
        return status;
    while (i < rs->count && status && m->answers[i].status != status)
        i++;
    struct reply_own *own = reply_begin(reply, &m->call.life->client->memory);
    if (!own)
        return status;
    if (!status)
        return reply_end(reply, own);
    for (size_t k = 0; k < rs->count; k++) /* one server that was flushed is enough */
        own->answer.maybe_applied |= wire_writes(m->verb) && (m->answers[k].status >= 0 || m->answers[k].maybe_applied);
    answer_fail_text(&own->answer, status, m->answers[i].error);
    reply_server(reply, m->call.pin.routing->at[i]);
    return reply_end(reply, own);
}

static mend_status ask_each_pinned(struct multi *m, mend_replies *rs, mend_reply *reply)
{
    struct call *call = &m->call;

    if (!call->pin.routing->homes)
        return reply_refuse(reply, MEND_E_DOWN, call_nobody);
    call_clock(call, NULL);
    m->began = call->now;
    if (m->verb == WIRE_FLUSH_ALL)
        flights_wrote_all(&call->life->flights);
    m->answers = m->own->answers;
    deal_each(m, call->life->client->trial_key);
    int before = cancel_off();
    run_parts(m);
    if (m->verb == WIRE_FLUSH_ALL)
        flights_wrote_all(&call->life->flights); /* as above */
    for (size_t i = 0; i < rs->count && m->verb == WIRE_FLUSH_ALL; i++)
        if (m->answers[i].status < 0 && (m->answers[i].status != MEND_E_SERVER || m->answers[i].maybe_applied)) { /* a plain no leaves all as it was */
            journal_tear(&call->pin.routing->at[i]->journal, call->now);
            call->io->ring(call->io);
        }
    for (size_t i = 0; i < rs->count; i++)
        stats_count(stats_tally(&m->parts[i].server->stats, call->pin), m->verb == WIRE_FLUSH_ALL ? MEND_OPERATION_FLUSH : MEND_OPERATION_PING,
                    m->answers[i].status, 1);
    count_times(m);
    cancel_restore(before);
    return tell_first(m, rs, reply);
}

static mend_status ask_each(struct mend_client *c, enum wire_verb verb, mend_reply *reply)
{
    struct multi m = {.verb = verb};
    mend_replies rs = MEND_REPLIES;
    const char  *why;
    mend_status  status = call_begin(&m.call, c, &why);

    if (status)
        return reply_refuse(reply, status, why);
    call_pin(&m.call, NULL);
    m.own = replies_begin(&rs, m.call.pin.routing->count, &c->memory);
    if (m.own && prepare(&m, rs.count, 0))
        status = ask_each_pinned(&m, &rs, reply);
    else
        status = reply_refuse(reply, MEND_E_MEMORY, "out of memory for the call");
    call_unpin(&m.call);
    mend_replies_free(&rs);
    return status;
}

mend_status mend_ping(mend_client *c, mend_reply *reply)
{
    return ask_each(c, WIRE_EXISTS, reply);
}

mend_status mend_flush_all(mend_client *c, mend_reply *reply)
{
    return ask_each(c, WIRE_FLUSH_ALL, reply);
}
