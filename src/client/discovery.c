/* discovery.c - see discovery.h. */
#include "client/discovery.h"

#include <stdio.h>
#include <string.h>

#include "client/pool.h"

enum {
    ANSWER_MS = 5000,    /* a cluster's endpoint has for its answer... */
    ANSWER_MAX = 1 << 20, /* ...of so many bytes */
    ADDRESSES_MAX = 8,   /* of an endpoint; those beyond are not tried */
    FIRST_AGAIN_MS = 500, /* between two attempts while there is no answer yet... */
    AGAIN_MS = 5000,     /* ...and later, after one that failed, or while a server is down: it may have gone elsewhere */
    TEXT_MAX = 80,       /* an address */
};

enum stage { IDLE, LOOKING, DIALING, SENDING, HEARING };

struct finder {
    struct source_spec     what; /* kind and at: what it has found is in the routing */
    enum stage        stage;
    bool              answered;
    nstime            asked, due; /* IDLE */
    nstime            deadline;   /* of a cluster's endpoint */
    struct io_lookup *lookup;
    struct io_address at[ADDRESSES_MAX];
    size_t            at_count, at_next; /* the endpoint's, each tried in its turn */
    struct io_sock    sock;
    size_t            sent;
    struct buf        heard;
    bool              ready; /* there is something to be done for its socket */
};

struct discovery {
    uint64_t       serial; /* of the routing whose sources the finders are for */
    size_t         count;
    struct finder *finders[SOURCES_MAX];
    struct finder *polled[SOURCES_MAX]; /* whose socket the i-th of the polls is */
    size_t         polled_count;
};

/* ---- Lists ---- */

/* Takes it. The lock is held. */
static mend_status put_in_force(struct life *life, struct listing *list, char *error, size_t error_size)
{
    const char *both = client_in_gutter(life->client, &list->servers);

    if (both) {
        snprintf(error, error_size, "servers: %s is one of gutter, too", both);
        listing_free(list);
        return MEND_E_ARGUMENT;
    }
    mend_status status = routing_change(life, list);
    if (status)
        snprintf(error, error_size, "servers: out of memory");
    return status;
}

/* The lock is not held any more. */
static void tell_all(struct life *life)
{
    life->io->ring(life->io);
    life_changed(life);
}

mend_status discovery_set(struct life *life, const char *servers, char *error, size_t error_size)
{
    struct listing list;

    pthread_mutex_lock(&life->change);
    mend_status status = listing_parse_after(&list, servers, &atomic_load(&life->routing)->list, error, error_size);
    if (status == MEND_OK && servers_want_tls(&list.servers) && !life->client->tls) { /* certificates and keys are read by mend_open alone */
        listing_free(&list);
        snprintf(error, error_size, "servers: tls://... needs a client that was opened with such a server");
        status = MEND_E_ARGUMENT;
    }
    if (status == MEND_OK)
        status = put_in_force(life, &list, error, error_size);
    pthread_mutex_unlock(&life->change);
    if (status == MEND_OK)
        tell_all(life);
    return status;
}

static bool none_serves(const struct routing *r)
{
    for (size_t i = 0; i < r->homes; i++)
        if (health_askable(server_gate(r->at[i]).state))
            return false;
    return true;
}

/* Whether it is to be put in the place of what is known. A cluster's version only grows, and one that has not grown is the word of a node
 * that is behind. But where nobody serves any more it may be another cluster of that name, which counts from the beginning. */
static bool is_news(const struct routing *r, const struct source_spec *known, const char *answer, uint64_t version)
{
    bool differs = !known->answer || strcmp(known->answer, answer) != 0;

    if (!known->answer || known->kind == SOURCE_DNS)
        return differs;
    return version > known->version || (differs && none_serves(r));
}

/* What a finder has found. False: it cannot be used. */
static bool found(struct life *life, struct finder *f, const char *answer, uint64_t version)
{
    struct listing list;
    char           error[256];
    mend_status    status = MEND_OK;

    pthread_mutex_lock(&life->change);
    const struct routing *r = atomic_load(&life->routing);
    const struct listing *now = &r->list;
    size_t                i = 0;
    while (i < now->source_count && !source_same(&now->sources[i], &f->what))
        i++;
    bool news = i < now->source_count && is_news(r, &now->sources[i], answer, version);
    if (news)
        status = listing_answered(&list, now, i, answer, version, error, sizeof error);
    if (news && status == MEND_OK)
        status = put_in_force(life, &list, error, sizeof error);
    pthread_mutex_unlock(&life->change);
    if (news && status == MEND_OK)
        tell_all(life);
    return status == MEND_OK;
}

/* ---- When ---- */

static void rest(struct life *life, struct finder *f, nstime now, bool well)
{
    struct io *io = life->io;
    nstime     every = MS(1000) * life->client->config.resolve_s;
    nstime     wait = well ? every : !f->answered ? MS(FIRST_AGAIN_MS) : time_earlier(every, MS(AGAIN_MS));

    io->close(io, &f->sock, false);
    if (f->lookup)
        io->lookup_drop(io, f->lookup);
    f->lookup = NULL;
    buf_release(&f->heard);
    f->stage = IDLE;
    f->answered |= well;
    f->due = wait ? now + wait - (nstime)(io->random(io) % (uint64_t)(wait / 8)) : NEVER; /* a fleet does not ask at one moment */
}

static bool some_are_down(const struct routing *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (!health_askable(server_gate(r->at[i]).state))
            return true;
    return false;
}

static nstime due(const struct life *life, const struct finder *f, bool down)
{
    nstime soon = f->asked + MS(AGAIN_MS);

    if (f->stage == LOOKING)
        return f->what.kind == SOURCE_DNS ? NEVER : f->deadline; /* a lookup rings when it is done */
    if (f->stage != IDLE)
        return f->deadline;
    return down && life->client->config.resolve_s ? time_earlier(f->due, soon) : f->due;
}

/* ---- The addresses of a name ---- */

static bool list_addresses(struct life *life, struct finder *f, const struct io_address *at, size_t n)
{
    const struct memory *memory = &life->client->memory;
    struct buf           answer = {.memory = memory};
    char               **names = memory_zeroed(memory, n, sizeof *names + TEXT_MAX), *texts = (char *)(names + n);
    bool                 well = names != NULL;

    for (size_t i = 0; well && i < n; i++) {
        names[i] = texts + i * TEXT_MAX;
        well = life->io->text(life->io, &at[i], names[i], TEXT_MAX);
    }
    well = well && listing_join(&answer, names, n) && found(life, f, answer.data, 0);
    memory_release(memory, names);
    buf_release(&answer);
    return well;
}

/* ---- A cluster's endpoint ---- */

static const char question[] = "config get cluster\r\n";

static void dial(struct life *life, struct finder *f, nstime now)
{
    struct io *io = life->io;
    size_t     at = f->at_next++ % f->at_count;

    f->sent = 0;
    f->ready = true;
    switch (io->dial(io, &f->sock, &f->at[at], NULL)) {
    case IO_DONE:
        f->stage = SENDING;
        break;
    case IO_AGAIN:
        f->stage = DIALING;
        f->ready = false;
        break;
    default:
        rest(life, f, now, false);
    }
}

static bool heard_all(struct life *life, struct finder *f, bool *well)
{
    struct buf answer = {.memory = &life->client->memory};
    uint64_t   version;
    bool       memory;
    ptrdiff_t  n = cluster_read(f->heard.data, f->heard.len, &version, &answer, &memory);

    *well = n > 0 && found(life, f, answer.data, version);
    buf_release(&answer);
    return n != 0;
}

/* Takes what has come. True: it is over, and *well: with an answer. */
static bool hear(struct life *life, struct finder *f, bool *well)
{
    enum { PORTION = 4096 };
    struct io *io = life->io;

    *well = false;
    for (;;) {
        if (f->heard.len > ANSWER_MAX || !buf_reserve(&f->heard, PORTION))
            return true;
        struct conn_span room = {.data = f->heard.data + f->heard.len, .len = f->heard.cap - f->heard.len};
        ptrdiff_t        got = io->recv_now(io, &f->sock, &room, 1);
        if (got == IO_AGAIN)
            return false;
        if (got < 0)
            return true;
        f->heard.len += (size_t)got;
        if (heard_all(life, f, well))
            return true;
    }
}

/* Does what can be done for its socket without waiting. */
static void converse(struct life *life, struct finder *f, nstime now)
{
    struct io *io = life->io;
    bool       well;

    f->ready = false;
    if (f->stage == DIALING) {
        int result = io->dialed(io, &f->sock);
        if (result == IO_DONE)
            f->stage = SENDING;
        else if (result != IO_AGAIN)
            rest(life, f, now, false);
    }
    if (f->stage == SENDING) {
        mend_bytes left = mend_mem(question + f->sent, sizeof question - 1 - f->sent);
        ptrdiff_t  sent = io->send(io, &f->sock, &left, 1);
        if (sent > 0 && (f->sent += (size_t)sent) == sizeof question - 1)
            f->stage = HEARING;
        else if (sent < 0 && sent != IO_AGAIN)
            rest(life, f, now, false);
    }
    if (f->stage == HEARING && hear(life, f, &well))
        rest(life, f, now, well);
}

/* ---- The round ---- */

static void looked_up(struct life *life, struct finder *f, nstime now)
{
    struct io *io = life->io;

    if (io->looked_up(io, f->lookup, NULL, 0) == IO_AGAIN)
        return; /* it rings */
    size_t             most = f->what.kind == SOURCE_DNS ? SERVERS_MAX : ADDRESSES_MAX;
    struct io_address *at = memory_zeroed(&life->client->memory, most, sizeof *at);
    int                n = at ? io->looked_up(io, f->lookup, at, most) : IO_RESOURCES;

    if (n <= 0)
        rest(life, f, now, false);
    else if (f->what.kind == SOURCE_DNS)
        rest(life, f, now, list_addresses(life, f, at, (size_t)n));
    else {
        io->lookup_drop(io, f->lookup);
        f->lookup = NULL;
        f->at_count = (size_t)n;
        memcpy(f->at, at, (size_t)n * sizeof *at);
        dial(life, f, now);
    }
    memory_release(&life->client->memory, at);
}

static void ask(struct life *life, struct finder *f, nstime now)
{
    struct io                *io = life->io;
    const struct server_spec *at = f->what.at;
    struct io_address         number;

    f->asked = now;
    f->deadline = now + MS(ANSWER_MS);
    bool is_number = io->address(io, at->host, at->port, false, &number) == IO_DONE;
    if (is_number && f->what.kind == SOURCE_DNS)
        rest(life, f, now, list_addresses(life, f, &number, 1));
    else if (is_number) {
        f->at[0] = number;
        f->at_count = 1;
        dial(life, f, now);
    } else if ((f->lookup = io->lookup(io, at->host, at->port)) != NULL)
        f->stage = LOOKING;
    else
        rest(life, f, now, false);
}

static void advance(struct life *life, struct finder *f, nstime now)
{
    if (f->stage == LOOKING)
        looked_up(life, f, now);
    else if (f->stage != IDLE && f->ready)
        converse(life, f, now);
    if (f->stage != IDLE && f->what.kind == SOURCE_CLUSTER && now >= f->deadline)
        rest(life, f, now, false);
}

static void finder_free(struct life *life, struct finder *f)
{
    rest(life, f, 0, false);
    memory_release(&life->client->memory, f->what.at);
    memory_release(&life->client->memory, f);
}

/* NULL: no memory. */
static struct finder *finder_new(struct life *life, const struct source_spec *s, nstime now)
{
    const struct memory *memory = &life->client->memory;
    struct finder       *f = memory_zeroed(memory, 1, sizeof *f);

    if (!f)
        return NULL;
    *f = (struct finder){.what = {.kind = s->kind, .at = servers_copy_one(s->at, memory)}, .answered = s->answer != NULL, .asked = now, .due = now,
                         .sock = IO_SOCK_CLOSED, .heard = {.memory = memory}};
    if (!f->what.at) {
        memory_release(memory, f);
        return NULL;
    }
    return f;
}

/* A finder for each source of the list in force, those that there are for the same included. False: no memory, for now. */
static bool follow_list(struct life *life, const struct routing *r, nstime now)
{
    struct discovery    *d = life->discovery;
    const struct source_spec *s = r->list.sources;
    struct finder       *kept[SOURCES_MAX] = {NULL};
    bool                 whole = true;

    for (size_t i = 0; i < r->list.source_count; i++)
        for (size_t k = 0; k < d->count; k++)
            if (d->finders[k] && source_same(&s[i], &d->finders[k]->what)) {
                kept[i] = d->finders[k];
                d->finders[k] = NULL;
            }
    for (size_t k = 0; k < d->count; k++)
        if (d->finders[k])
            finder_free(life, d->finders[k]);
    d->count = r->list.source_count;
    for (size_t i = 0; i < d->count; i++) {
        d->finders[i] = kept[i] ? kept[i] : finder_new(life, &s[i], now);
        whole &= d->finders[i] != NULL;
    }
    return whole;
}

nstime discovery_step(struct life *life, nstime now)
{
    enum { MEMORY_AGAIN_MS = 100 };
    struct discovery *d = life->discovery;
    struct routing   *r = atomic_load(&life->routing); /* the healer needs no pin */
    nstime            next = NEVER;

    if (r->serial != d->serial) {
        if (follow_list(life, r, now))
            d->serial = r->serial;
        else
            next = now + MS(MEMORY_AGAIN_MS);
    }
    bool down = d->count && some_are_down(r);
    for (size_t i = 0; i < d->count; i++) {
        struct finder *f = d->finders[i];
        if (!f)
            continue;
        if (f->stage != IDLE)
            advance(life, f, now);
        else if (due(life, f, down) <= now)
            ask(life, f, now);
        next = time_earlier(next, f->stage != IDLE && f->ready ? now : due(life, f, down));
    }
    return next;
}

/* ---- Sockets ---- */

size_t discovery_watch(struct life *life, struct io_poll *polls)
{
    struct discovery *d = life->discovery;

    d->polled_count = 0;
    for (size_t i = 0; i < d->count; i++) {
        struct finder *f = d->finders[i];
        if (!f || f->stage < DIALING)
            continue;
        polls[d->polled_count] = (struct io_poll){.sock = &f->sock, .in = f->stage == HEARING, .out = f->stage != HEARING};
        d->polled[d->polled_count++] = f;
    }
    return d->polled_count;
}

void discovery_attend(struct life *life, const struct io_poll *polls)
{
    struct discovery *d = life->discovery;

    for (size_t i = 0; i < d->polled_count; i++)
        d->polled[i]->ready |= polls[i].ready;
}

bool discovery_new(struct life *life)
{
    life->discovery = memory_zeroed(&life->client->memory, 1, sizeof *life->discovery);
    return life->discovery != NULL;
}

void discovery_free(struct life *life)
{
    struct discovery *d = life->discovery;

    for (size_t i = 0; d && i < d->count; i++)
        if (d->finders[i])
            finder_free(life, d->finders[i]);
    memory_release(&life->client->memory, d);
    life->discovery = NULL;
}
