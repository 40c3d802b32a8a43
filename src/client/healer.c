/* healer.c - see healer.h. */
#include "client/healer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/discovery.h"
#include "client/pool.h"

enum {
    ADDRESSES_MAX = 8, /* of one name; those beyond are not tried */
    WATCH_MAX = 8,     /* idle links a server that are watched; all are looked at when one of them stirs */
    SWEEP_MS = 1000,   /* between looks at all idle links... */
    SWEEP_IDLE_MS = 10, /* ...that calls would not use unseen anyway */
    LOOKUP_FRESH_MS = 1000, /* between lookups for trials: name services are shared, and their own answers live for seconds */
    LINGER_MS = 10 * 1000, /* a link that lingers, once its server has answered what was asked later */
    VISIT_AGAIN_MS = 2000, /* until a name is looked up again that leads to where nobody serves */
    HANG_UPS = 2, /* that mean "I do not know mg": one may be an accident */
};

/* How far the flush of a server has come, whose journal is torn. */
enum flush { FLUSH_NONE, FLUSH_LOOK, FLUSH_LOCK, FLUSH_WHOSE, FLUSH_AGAIN, FLUSH_DO };

/* The trial of one server, and what is left of the last. */
struct trial {
    bool              under_way;
    uint32_t          generation; /* of the health that it was begun under */
    nstime            deadline;
    bool              extended; /* the deadline: we were stopped ourselves, once */
    struct link      *link; /* NULL: waits for a lookup */
    enum wire_dialect hint;
    unsigned          hang_ups; /* in answer to the question for meta, at this address */
    nstime            next_address_at; /* while it connects, if there is another to try */
    struct link      *listening;
    bool              proved; /* its link has shown that the server goes on, and that was told */

    struct lingerer {
        struct link *link;
        nstime       until; /* NEVER: as long as the server has not gone on */
        bool         polled;
    } lingering[LINGERING_MAX];

    struct io_lookup *lookup;
    nstime            looked_up; /* when `found` was found, NEVER: not yet */
    nstime            resolve_at; /* when it is to be looked up again though it is up; NEVER: that is not to be */
    bool              moved;      /* by what was found it is not where the pool's links go: it is to be visited there */
    struct io_address found[ADDRESSES_MAX];
    size_t            found_count, at;

    nstime         replay_at; /* not before then: deletes were refused */
    bool           replaying; /* its link is proved, and deletes what lost writes have left: */
    uint64_t       fed;       /* so many were asked, */
    uint64_t       answered;  /* of which so many were answered */
    bool           careful;   /* one was refused: one by one, to find out which */
    bool           one;       /* ...one is on its way */
    enum flush     flush;     /* ...and sees to a torn journal, by one question after the other... */
    nstime         torn_at;   /* ...that was torn then... */
    nstime         flush_after; /* ...by a flush that is later than this */
    struct answer  said;      /* to the last of them */

    bool told_down;
    enum { AUTH_WELL, AUTH_REFUSED, AUTH_TOLD } auth; /* by the last trial that had an answer to that */
    bool seen; /* it is in the healer's list */

    size_t polled, polled_end; /* what it is watched for, in healer.polls: its link, its listener, those that linger, its idle links */
    bool   polls_link, polls_listening;
};

struct healer {
    char            name[24]; /* whose locks are ours */
    struct server  *servers, **end; /* those in force, and those that have left and are not freed yet */
    uint64_t        serial; /* of the routing that was seen last */
    struct io_poll *polls; /* of every server that is watched: its trial's, its listener's, and WATCH_MAX at most */
    struct io_sock *watched;
    size_t          room; /* for so many servers */
    nstime          sweep_at;
};

enum { POLLS = HEALER_SOCKETS + WATCH_MAX };

enum {
    REPLAY_AGAIN_MS = 1000, /* until a delete that was refused is asked for again */
    REPLAY_PAUSE_MS = 50,   /* between two replays: a server that refuses every store is not to be tried without end */
    GUTTER_PAUSE_MS = 500,  /* ...in a gutter: what is deleted there is not needed while its own server serves, and many processes come at once */
};

/* It is not in the list any more: nobody is told of it, and nothing is made up for there. */
static bool has_left(const struct server *s)
{
    return atomic_load_explicit(&s->left, memory_order_relaxed);
}

/* ---- Telling ---- */

/* A child that was forked inside on_event comes back here, too; it is no healer. */
static bool goes_on(const struct life *life)
{
    return !atomic_load(&life->closing) && atomic_load(&life->client->page[LIFE_SERIAL]) == life->serial;
}

/* why: in place of the last failure; NULL: that. */
static void call_application(struct server *s, nstime now, mend_event_type type, int64_t outage_ms, const char *why)
{
    struct life        *life = s->life;
    const mend_config  *config = &life->client->config;
    struct server_texts texts;
    mend_server         server;

    if (!config->on_event || has_left(s))
        return;
    server_describe(s, now, &server, &texts);
    if (why)
        server.why = why;
    mend_event event = {.type = type, .server = &server, .outage_ms = outage_ms};
    atomic_store(&life->telling, true);
    config->on_event(&event, config->on_event_context);
    atomic_store(&life->telling, false);
}

static nstime fell_at(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    nstime fell = s->health.fell[0];
    pthread_mutex_unlock(&s->lock);
    return fell;
}

/* When all of several servers went away together it is rather our own network: nothing is flushed for that. */
enum { TOGETHER_MS = 1000 };
static bool all_are_down(const struct routing *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (health_askable(server_gate(r->at[i]).state))
            return false;
    return r->count > 1;
}

static void tell_state(struct server *s, nstime now)
{
    struct life    *life = s->life;
    struct trial   *t = s->trial;
    struct routing *routing = atomic_load(&life->routing); /* it is the healer who frees it: no need for a pin */

    bool down = !health_askable(server_gate(s).state);
    if (down == t->told_down || has_left(s))
        return;
    t->told_down = down;
    bool all = down && all_are_down(routing);
    if (down)
        pool_sweep(s, NEVER); /* its idle links are of the generation that has ended */
    else
        s->ours = false;
    for (size_t i = 0; all && i < routing->count; i++)
        routing->at[i]->ours = now - fell_at(routing->at[i]) <= MS(TOGETHER_MS);

    call_application(s, now, down ? MEND_EVENT_DOWN : MEND_EVENT_BACK, down ? 0 : (now - fell_at(s)) / 1000000, NULL);
    if (all && goes_on(life))
        call_application(s, now, MEND_EVENT_ALL_DOWN, 0, NULL);
}

/* A refusal is told once, when it is known that the server is down for it. */
static void tell(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    tell_state(s, now);
    if (t->auth != AUTH_REFUSED || !t->told_down || !goes_on(s->life))
        return;
    t->auth = AUTH_TOLD;
    call_application(s, now, MEND_EVENT_AUTH_REFUSED, 0, NULL);
}

/* ---- A trial's end ---- */

static void drop(struct server *s, struct link **link)
{
    if (*link)
        pool_link_free(s, *link, false);
    *link = NULL;
}

/* What was asked to be deleted, and did not come to its end, is to be asked for again. */
static void give_up_replay(struct server *s)
{
    s->trial->replaying = false;
    s->trial->flush = FLUSH_NONE;
    journal_unsent(&s->journal);
}

static void stop(struct server *s)
{
    give_up_replay(s);
    s->trial->under_way = false;
    drop(s, &s->trial->link);
}

/* Of two that hang the one that has put its question is worth more: a server that comes back answers it. */
static void leave_listening(struct server *s)
{
    struct trial *t = s->trial;

    if (t->link && (!t->listening || t->link->conn.state == CONN_PROVING)) {
        drop(s, &t->listening);
        t->listening = t->link;
        t->link = NULL;
    }
}

/* ours: for want of a descriptor or of memory, which is not the server's fault. */
static void failed(struct server *s, nstime now, bool ours, const char *why)
{
    struct io    *io = s->life->io;
    struct trial *t = s->trial;
    uint64_t      chance = io->random(io);

    stop(s);
    pthread_mutex_lock(&s->lock);
    if (ours)
        health_trial_postponed(&s->health, t->generation, now, chance, why);
    else
        health_trial_failed(&s->health, t->generation, now, chance, why);
    server_publish_and_unlock(s);
}

/* User and password were refused, or there were none: that is the application's to mend, and a server is not asked again and
 * again, since some lock an account for that. */
static void refused(struct server *s, nstime now, const char *why)
{
    struct io    *io = s->life->io;
    struct trial *t = s->trial;
    uint64_t      chance = io->random(io);

    stop(s);
    if (t->auth == AUTH_WELL)
        t->auth = AUTH_REFUSED;
    pthread_mutex_lock(&s->lock);
    health_trial_refused(&s->health, t->generation, now, chance, why);
    server_publish_and_unlock(s);
}

static void passed(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    struct link  *l = t->link;

    t->auth = AUTH_WELL;

    t->link = NULL;
    t->under_way = false;
    if (!pool_admit(s, l, t->generation, now)) {
        pool_link_free(s, l, true);
        return;
    }
    drop(s, &t->listening);
    if (server_gate(s).generation != t->generation)
        pool_sweep(s, NEVER); /* links to where the server was */
}

/* ---- A trial's way ---- */

static bool dial(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    size_t        others = t->found_count - t->at - 1;

    assert(!t->link && t->at < t->found_count);
    t->link = pool_link_new(s);
    if (!t->link || !link_dial(t->link, s->life->io, &t->found[t->at], t->hint)) {
        failed(s, now, true, "out of memory for a connection");
        return false;
    }
    t->link->taken = now;
    /* An address that says nothing gets its share of the time, and the next one the rest. */
    t->next_address_at = others ? now + (t->deadline - now) / (nstime)(others + 1) : NEVER;
    return true;
}

static const char flush_refused[] = "its journal overflowed, and it refuses flush_all: mend_accept lets it serve";

/* The trial's link broke. Returns whether it goes on with another. */
static bool go_on(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    char          why[sizeof t->link->conn.text];

    /* A CLIENT_ERROR, after which a connection is given up. A delete that is answered so keeps its key from being read, and no
     * more: the next connection is let in without. */
    bool forbidden = t->flush == FLUSH_DO && t->said.done && t->said.status == MEND_E_SERVER;
    bool delete_refused = t->replaying && t->link->conn.refused;
    give_up_replay(s);
    if (forbidden) {
        failed(s, now, false, flush_refused);
        return false;
    }
    if (delete_refused) {
        t->replay_at = now + MS(REPLAY_AGAIN_MS);
        if (t->at >= t->found_count)
            t->at = 0;
    } else if (conn_refused_meta(&t->link->conn) && ++t->hang_ups <= HANG_UPS)
        t->hint = t->hang_ups == HANG_UPS ? WIRE_CLASSIC : WIRE_UNKNOWN;
    else {
        t->hint = WIRE_UNKNOWN;
        t->hang_ups = 0;
        t->at++;
    }
    mend_status broke = t->link->conn.broke;
    snprintf(why, sizeof why, "%s", t->link->conn.why);
    drop(s, &t->link);
    if (t->at < t->found_count)
        return dial(s, now);
    if (broke == MEND_E_AUTH)
        refused(s, now, why);
    else
        failed(s, now, broke == MEND_E_MEMORY, why);
    return false;
}

/* ---- What lost writes have left ---- */

static void extend(struct server *s, nstime deadline)
{
    s->trial->deadline = deadline;
    pthread_mutex_lock(&s->lock);
    s->health.verdict_due = deadline;
    server_publish_and_unlock(s);
}

/* Puts the next delete on the line. False: there is none, or it is not to be had. */
static bool feed(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    struct conn  *c = &t->link->conn;
    char          key[KEY_MAX];
    size_t        len;

    if (!conn_takes(c) || !journal_next(&s->journal, t->fed + 1, now, key, &len))
        return false;
    struct wire_question q = {.verb = WIRE_DELETE, .key = mend_mem(key, len)};
    q.key_binary = key_kind(q.key) == KEY_BINARY;
    switch (conn_ask(c, &q, NULL)) {
    case MEND_OK:
        t->fed++;
        break;
    case MEND_E_ARGUMENT: /* a key that this server's protocol has no form for; perhaps only as it is spoken today */
        journal_put_off(&s->journal, t->fed + 1, now + MS(REPLAY_AGAIN_MS));
        break;
    default:
        conn_fail(c, MEND_E_MEMORY, "out of memory");
        return false;
    }
    return true;
}

/* What was answered is settled; where something was refused, it is found out what. */
static void take_stock(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    struct conn  *c = &t->link->conn;
    uint64_t      answered = t->fed - c->line_count;

    if (answered > t->answered) /* it goes on: a timeout is without any answer */
        extend(s, now + MS(s->life->client->config.timeout_ms));
    t->answered = answered;
    if (!t->careful && !c->refused)
        journal_settle(&s->journal, answered);
    else if (!t->careful) {
        t->careful = true;
        journal_unsent(&s->journal);
    } else if (t->one && conn_at_rest(c)) {
        if (c->refused) /* nobody reads this key; the others can be served */
            journal_put_off(&s->journal, t->fed, now + MS(REPLAY_AGAIN_MS));
        else
            journal_settle(&s->journal, t->fed);
        t->one = false;
    }
}

/* Whether all that waits has been deleted, or put off. */
static bool replayed(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    struct conn  *c = &t->link->conn;

    if (!t->replaying) {
        if (has_left(s) || !journal_waits(&s->journal) || now < t->replay_at)
            return true;
        t->replaying = true;
        t->careful = t->one = c->refused = false;
        t->fed = t->answered = 0;
        extend(s, now + MS(s->life->client->config.timeout_ms));
    }
    take_stock(s, now);
    while (!t->careful && feed(s, now))
        ;
    if (t->careful && !t->one && c->state == CONN_READY && conn_at_rest(c)) {
        c->refused = false;
        uint64_t before = t->fed;
        while (t->fed == before && feed(s, now))
            ;
        t->one = t->fed > before;
    }
    if (c->state != CONN_READY || !conn_at_rest(c) || t->one)
        return false;
    t->replaying = false;
    t->replay_at = now + MS(s->gutter ? GUTTER_PAUSE_MS : REPLAY_PAUSE_MS);
    return true;
}

/* The keys by which processes agree on a flush. The lock keeps others off for a while after it, too. */
enum { FLUSH_LOCK_S = 10, FLUSH_MARK_S = 24 * 60 * 60 };
static const mend_bytes flush_lock = {"mend:flush-lock", 15}, flush_mark = {"mend:flushed", 12};

/* Each question has the time of a call: they are not put together, since what is asked next is up to the answer. */
static void ask_flush(struct server *s, nstime now, enum flush next, const struct wire_question *q)
{
    struct trial *t = s->trial;

    extend(s, now + MS(s->life->client->config.timeout_ms));
    t->flush = next;
    answer_reset(&t->said);
    if (conn_ask(&t->link->conn, q, &t->said))
        conn_fail(&t->link->conn, MEND_E_MEMORY, "out of memory");
}

/* The mark tells by the life that is left of it when it was set: in whole seconds, so that one more is taken off. On the
 * classic protocol it does not tell, and is not believed. */
static bool flushed_since(const struct answer *mark, nstime since, nstime now)
{
    if (mark->status != MEND_OK || mark->ttl_s < 0 || mark->ttl_s > FLUSH_MARK_S)
        return false;
    return now - MS((FLUSH_MARK_S - mark->ttl_s + 1) * 1000) > since;
}

/* The mark, and the lock anew, go in the same send as the flush that they follow: nobody else's question comes between. */
static void flush(struct server *s, nstime now, const struct wire_question *lock)
{
    struct wire_question mark = *lock, hold = *lock;

    mark.verb = hold.verb = WIRE_SET;
    mark.key = flush_mark;
    mark.exptime = FLUSH_MARK_S;
    ask_flush(s, now, FLUSH_DO, &(struct wire_question){.verb = WIRE_FLUSH_ALL});
    struct conn *c = &s->trial->link->conn;
    if (!conn_takes(c) || conn_ask(c, &mark, NULL) || conn_ask(c, &hold, NULL))
        conn_fail(c, MEND_E_MEMORY, "out of memory");
}

/* ---- Writes that were given up ---- */

/* Takes over what calls have left, and closes what has come to its end, or does not. */
static void linger(struct server *s, nstime now)
{
    struct lingerer *all = s->trial->lingering;

    for (struct link *l = pool_lingering(s), *next; l; l = next) {
        struct lingerer *at = all;
        next = l->next;
        while (at->link)
            at++;
        assert(at < all + LINGERING_MAX);
        *at = (struct lingerer){.link = l, .until = NEVER};
    }
    for (struct lingerer *at = all; at < all + LINGERING_MAX; at++)
        if (at->link && (at->link->conn.state == CONN_BROKEN || conn_at_rest(&at->link->conn) || now >= at->until)) {
            pool_lingered(s, at->link);
            at->link = NULL;
        }
}

/* The trial's link has answered: the server goes on. What was asked at another address may never be answered. */
static void prove(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (t->proved)
        return;
    t->proved = true;
    for (struct lingerer *at = t->lingering; at < t->lingering + LINGERING_MAX; at++)
        if (at->link && !io_same_address(&at->link->to, &t->link->to))
            at->until = now;
        else if (at->link)
            at->until = time_earlier(at->until, now + MS(LINGER_MS));
    linger(s, now);
    journal_proved(&s->journal, t->link->taken, now);
}

/* ---- The flush of a torn journal ---- */

/* One step of a flush. Returns whether the server may be let in. */
static bool flushed(struct server *s, nstime now)
{
    struct trial         *t = s->trial;
    struct wire_question  look = {.verb = WIRE_GET, .key = flush_mark};
    struct wire_question  lock = {.verb = WIRE_ADD, .key = flush_lock, .value = mend_str(s->life->rounds->name), .exptime = FLUSH_LOCK_S};

    if (t->flush != FLUSH_NONE && !(t->said.done && conn_at_rest(&t->link->conn)))
        return false;
    switch (t->flush) {
    case FLUSH_NONE:
        ask_flush(s, now, FLUSH_LOOK, &look);
        return false;
    case FLUSH_LOOK:
        if (flushed_since(&t->said, t->flush_after, now))
            break;
        ask_flush(s, now, FLUSH_LOCK, &lock);
        return false;
    case FLUSH_LOCK: /* another's flush may have come between: the lock goes with it, and the mark comes right behind it */
        if (t->said.status == MEND_OK)
            ask_flush(s, now, FLUSH_AGAIN, &look);
        else
            ask_flush(s, now, FLUSH_WHOSE, &(struct wire_question){.verb = WIRE_GET, .key = flush_lock});
        return false;
    case FLUSH_WHOSE:
        if (t->said.status == MEND_OK && strcmp(t->said.value.data, s->life->rounds->name) == 0)
            flush(s, now, &lock);
        else
            failed(s, now, false, t->said.status < 0 ? t->said.error : "its journal overflowed, and another process is just flushing it");
        return false;
    case FLUSH_AGAIN:
        if (flushed_since(&t->said, t->flush_after, now))
            break;
        flush(s, now, &lock);
        return false;
    case FLUSH_DO:
        if (t->said.status != MEND_OK) {
            failed(s, now, false, flush_refused);
            return false;
        }
        break;
    }
    t->flush = FLUSH_NONE;
    return true;
}

/* Whether a torn journal is to be seen to now: a flush must not come before the zombies of keys that it has forgotten. */
static bool torn_is_due(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (!journal_torn(&s->journal, &t->torn_at))
        return false;
    return journal_mendable(&s->journal, now, &t->flush_after) || s->life->client->config.on_journal_overflow == MEND_ON_OVERFLOW_REFUSE;
}

/* A torn journal is seen to, as the application wants it. Returns whether the server may be let in. */
static bool mended(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    const char   *why = "it was flushed, so nothing of before is in it";

    if (t->replaying) /* nothing is read while it is torn: the next trial sees to it */
        return true;
    if (t->flush == FLUSH_NONE && (has_left(s) || !torn_is_due(s, now)))
        return true;
    switch (s->life->client->config.on_journal_overflow) {
    case MEND_ON_OVERFLOW_FLUSH:
        if (s->ours)
            why = "it went away together with all others, as if our own network had failed, and so was not flushed: some values may be stale";
        else if (!flushed(s, now))
            return false;
        break;
    case MEND_ON_OVERFLOW_SERVE:
        why = "it is served from nevertheless, as on_journal_overflow has it: some values may be stale";
        break;
    case MEND_ON_OVERFLOW_REFUSE:
        failed(s, now, false, "its journal overflowed: mend_accept lets it serve");
        return false;
    }
    journal_mend(&s->journal, t->torn_at);
    call_application(s, now, MEND_EVENT_JOURNAL_OVERFLOW, 0, why);
    return goes_on(s->life); /* a child that was forked in there is no healer */
}

/* Whether the server is to be let in, by its trial's link. */
static bool is_ready(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (!t->link || t->link->conn.state != CONN_READY)
        return false;
    prove(s, now);
    return mended(s, now) && replayed(s, now);
}

/* The address in use comes first, so that nobody moves who need not. */
static void put_first(struct trial *t, const struct io_address *in_use)
{
    for (size_t i = 0; i < t->found_count; i++)
        if (io_same_address(&t->found[i], in_use)) {
            t->found[i] = t->found[0];
            t->found[0] = *in_use;
            return;
        }
}

static struct io_address address_in_use(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    struct io_address in_use = s->address;
    pthread_mutex_unlock(&s->lock);
    return in_use;
}

/* What there is to learn of a name: a lookup that fails keeps what an earlier one found. */
static void learn_addresses(struct server *s, nstime now)
{
    struct io        *io = s->life->io;
    struct trial     *t = s->trial;
    struct io_address found[ADDRESSES_MAX];

    if (!t->lookup || t->link) /* a trial that is on its way down the list goes on with the list that it has */
        return;
    int n = io->looked_up(io, t->lookup, found, ADDRESSES_MAX);
    if (n == IO_AGAIN)
        return;
    io->lookup_drop(io, t->lookup);
    t->lookup = NULL;
    if (n <= 0)
        return;
    for (int i = 0; i < n; i++)
        t->found[i] = found[i];
    t->found_count = (size_t)n;
    t->looked_up = now;
    t->at = 0;
    struct io_address in_use = address_in_use(s);
    put_first(t, &in_use);
    t->moved = !t->under_way && in_use.len && !io_same_address(&t->found[0], &in_use);
}

/* A trial waits for its lookup; but with addresses at hand only a quarter of its time. */
static nstime lookup_patience(const struct server *s)
{
    const struct trial *t = s->trial;
    nstime              timeout = MS(s->life->client->config.timeout_ms);

    return t->found_count ? t->deadline - timeout / 4 * 3 : t->deadline;
}

static void connect_if_known(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (t->lookup && now < lookup_patience(s))
        return;
    if (t->found_count)
        dial(s, now);
    else if (!t->lookup)
        failed(s, now, false, io_text(IO_UNKNOWN_NAME));
}

static void expire(struct server *s, nstime now)
{
    struct trial *t = s->trial;
    char          why[96];

    if (t->link)
        link_ready(t->link, s->life->io); /* one last look */
    if (is_ready(s, now)) {
        passed(s, now);
        return;
    }
    if (!t->under_way)
        return;
    if (t->link && t->link->conn.state == CONN_READY) {
        failed(s, now, false, "the server did not answer in time to the deletes of lost writes");
        return;
    }
    if (now > t->deadline + MS(LINK_STOPPED_MS) && !t->extended) { /* we were stopped ourselves: it gets its time */
        t->extended = true;
        extend(s, now + MS(s->life->client->config.timeout_ms));
        return;
    }
    snprintf(why, sizeof why, "%s within %d ms",
             !t->link                                 ? "the name was not resolved"
             : t->link->conn.state == CONN_DIALING ? s->peer ? "no TLS connection" : "no connection"
                                                   : "no answer to a trial",
             s->life->client->config.timeout_ms);
    leave_listening(s);
    failed(s, now, false, why);
}

static void advance(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (!t->link)
        connect_if_known(s, now);
    else if (t->link->conn.state == CONN_DIALING && now >= t->next_address_at && now < t->deadline) {
        drop(s, &t->link);
        t->at++;
        dial(s, now);
    }
    while (t->under_way && t->link && t->link->conn.state == CONN_BROKEN)
        if (!go_on(s, now))
            return;
    if (!t->under_way)
        return;
    if (is_ready(s, now))
        passed(s, now);
    else if (t->under_way && now >= t->deadline)
        expire(s, now);
}

/* ---- A trial's beginning ---- */

/* Not all of a fleet at the same moment. */
static nstime next_lookup(struct life *life, nstime now)
{
    nstime span = MS(1000) * life->client->config.resolve_s;
    return span ? now + span - (nstime)(life->io->random(life->io) % (uint64_t)(span / 8)) : NEVER;
}

static void ask_name(struct server *s, nstime now)
{
    struct io *io = s->life->io;

    s->trial->lookup = io->lookup(io, s->spec->host, s->spec->port);
    s->trial->resolve_at = next_lookup(s->life, now);
}

static void look_up(struct server *s, nstime now)
{
    struct io    *io = s->life->io;
    struct trial *t = s->trial;

    if (t->lookup || (t->looked_up != NEVER && now - t->looked_up < MS(LOOKUP_FRESH_MS)))
        return;
    if (io->address(io, s->spec->host, s->spec->port, s->spec->is_unix, &t->found[0]) == IO_DONE) {
        t->found_count = 1;
        return;
    }
    ask_name(s, now);
}

static void set_out(struct server *s, nstime now, uint32_t generation, enum wire_dialect hint)
{
    struct trial *t = s->trial;

    t->generation = generation;
    t->hint = hint;
    t->under_way = true;
    t->extended = t->moved = t->proved = false;
    t->deadline = now + MS(s->life->client->config.timeout_ms);
    t->at = 0;
    t->hang_ups = 0;
}

static void begin(struct server *s, nstime now)
{
    pthread_mutex_lock(&s->lock);
    /* What the server speaks is asked anew after an outage: it may be another server. */
    enum wire_dialect hint = s->health.state == MEND_STATE_DOUBTFUL && s->dialect == WIRE_CLASSIC ? WIRE_CLASSIC : WIRE_UNKNOWN;
    health_trial_begins(&s->health, now);
    uint32_t generation = s->health.generation;
    server_publish_and_unlock(s);

    set_out(s, now, generation, hint);
    look_up(s, now);
}

/* A server that is up is looked for at the addresses that its name has by now. Its health knows nothing of that: if it is
 * not there, calls go on where they are. */
static void visit(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    set_out(s, now, server_gate(s).generation, WIRE_UNKNOWN);
    if (t->resolve_at != NEVER)
        t->resolve_at = time_earlier(t->resolve_at, now + MS(VISIT_AGAIN_MS));
}

static void see_to_name(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (t->under_way || has_left(s) || server_gate(s).state != MEND_STATE_UP)
        return;
    if (t->moved)
        visit(s, now);
    else if (!t->lookup && now >= t->resolve_at)
        ask_name(s, now);
}

/* ---- The round ---- */

/* Looks at idle links. When the last connection to a server has died, whoever calls next would be the one to find out
 * why: the healer goes and sees. */
static void sweep(struct server *s, nstime before)
{
    if (pool_sweep(s, before) && !has_left(s))
        server_suspected(s, "the last connection was closed while it was idle");
}

/* The one left listening has heard something. */
static void listen(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (!t->listening)
        return;
    switch (t->listening->conn.state) {
    case CONN_READY: /* it serves: what is under way has no more to prove */
        stop(s);
        pthread_mutex_lock(&s->lock);
        if (s->health.state == MEND_STATE_DOWN)
            health_trial_begins(&s->health, now);
        t->generation = s->health.generation;
        server_publish_and_unlock(s);
        t->link = t->listening;
        t->listening = NULL;
        t->under_way = t->extended = true;
        t->proved = false;
        extend(s, now + MS(s->life->client->config.timeout_ms));
        break;
    case CONN_COLD:
    case CONN_LINGERING:
    case CONN_BROKEN:
        drop(s, &t->listening);
        break;
    case CONN_DIALING:
    case CONN_PROVING:
        break;
    }
}

static nstime trial_due(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    nstime when = s->health.trial_due;
    pthread_mutex_unlock(&s->lock);
    return when;
}

/* A line came to linger after the last trial: until another shows that the server goes on, it may say nothing for ever. */
static bool lingers_unproved(const struct trial *t)
{
    for (const struct lingerer *at = t->lingering; at < t->lingering + LINGERING_MAX; at++)
        if (at->link && at->until == NEVER)
            return true;
    return false;
}

/* Whether there is something to do about lost writes, of a server that stayed up. */
static bool writes_wait(struct server *s, nstime now)
{
    if (now < s->trial->replay_at)
        return false;
    return journal_waits(&s->journal) || (!journal_is_quiet(&s->journal) && (journal_unproved(&s->journal) || lingers_unproved(s->trial)));
}

/* They are made up for by a trial, too, which ends with their deletes. */
static void see_to_journal(struct server *s, nstime now)
{
    if (has_left(s))
        return;
    journal_wake(&s->journal, now);
    if (server_gate(s).state == MEND_STATE_UP && (writes_wait(s, now) || torn_is_due(s, now)))
        server_wants_trial(s, s->gutter ? "what stood in for a server is deleted" : "writes were lost, and are made up for by deletes");
}

static nstime lingering_due(const struct trial *t)
{
    nstime when = NEVER;

    for (const struct lingerer *at = t->lingering; at < t->lingering + LINGERING_MAX; at++)
        if (at->link)
            when = time_earlier(when, at->until);
    return when;
}

static nstime trial_step_due(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    if (!t->under_way && server_gate(s).state == MEND_STATE_UP && has_left(s))
        return NEVER;
    if (!t->under_way && server_gate(s).state == MEND_STATE_UP) {
        nstime journal = time_earlier(writes_wait(s, NEVER) ? t->replay_at : NEVER, journal_due(&s->journal, now));
        return time_earlier(journal, t->lookup ? NEVER : t->resolve_at); /* a lookup rings when it is done */
    }
    if (!t->under_way)
        return trial_due(s);
    nstime when = t->deadline;
    if (t->link && t->link->conn.state == CONN_DIALING)
        when = time_earlier(when, t->next_address_at);
    if (!t->link)
        when = time_earlier(when, lookup_patience(s));
    return when;
}

static nstime due(struct server *s, nstime now)
{
    return time_earlier(trial_step_due(s, now), lingering_due(s->trial));
}

static void step(struct server *s, nstime now)
{
    struct trial *t = s->trial;

    tell(s, now);
    if (!goes_on(s->life))
        return;
    listen(s, now);
    linger(s, now);
    learn_addresses(s, now);
    if (t->under_way && t->generation != server_gate(s).generation)
        stop(s); /* calls took it down meanwhile: the next trial is due in its own time */
    see_to_journal(s, now);
    see_to_name(s, now);
    if (!t->under_way && trial_due(s) <= now)
        begin(s, now);
    if (t->under_way)
        advance(s, now);
    if (server_gate(s).state == MEND_STATE_UP)
        drop(s, &t->listening);
    tell(s, now);
}

/* The servers of this routing that are new to the healer. */
static void welcome(struct healer *h, const struct routing *r)
{
    for (size_t i = 0; i < r->count; i++) {
        struct server *s = r->at[i];
        if (s->trial->seen)
            continue;
        s->trial->seen = true;
        *h->end = s;
        h->end = &s->next;
    }
}

/* It is about to be freed. */
static void see_off(struct server *s)
{
    struct healer  *h = s->life->rounds;
    struct server **at = &h->servers;

    if (!s->trial->seen)
        return;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    if (!*at)
        h->end = at;
}

/* Sees which servers there are, and frees those that nobody can use any more. True: there are more of them to be freed. */
static bool follow_routing(struct life *life)
{
    struct healer  *h = life->rounds;
    struct routing *replaced = routing_replaced(life);

    for (struct routing *r = replaced; r; r = r->next) /* a call may wait for the verdict on one that came and left */
        welcome(h, r);
    struct routing *current = atomic_load(&life->routing);
    if (current->serial != h->serial)
        welcome(h, current);
    h->serial = current->serial;
    return routing_reap(life, replaced, see_off);
}

nstime healer_step(struct life *life, nstime now)
{
    enum { REAP_AGAIN_MS = 10 };
    struct healer *h = life->rounds;
    bool           sweep_due = now >= h->sweep_at;
    nstime         next;

    if (sweep_due)
        h->sweep_at = now + MS(SWEEP_MS);
    next = time_earlier(h->sweep_at, discovery_step(life, now));
    if (follow_routing(life))
        next = time_earlier(next, now + MS(REAP_AGAIN_MS));
    for (struct server *s = h->servers; s && goes_on(life); s = s->next) {
        if (has_left(s))
            sweep(s, NEVER);
        else if (sweep_due)
            sweep(s, now - MS(SWEEP_IDLE_MS));
        step(s, now);
        next = time_earlier(next, due(s, now));
    }
    return next;
}

/* ---- The loop ---- */

/* Adds what this server is watched for at polls[n]; a server that is down between two trials, nothing. Returns how many
 * there are then. */
static size_t watch(struct server *s, struct io_poll *polls, size_t n, struct io_sock *socks)
{
    struct trial *t = s->trial;
    size_t        idle = pool_watch(s, socks, WATCH_MAX);

    t->polled = n;
    n += t->polls_link = t->link && link_wants(t->link, &polls[n]);
    n += t->polls_listening = t->listening && link_wants(t->listening, &polls[n]);
    for (struct lingerer *at = t->lingering; at < t->lingering + LINGERING_MAX; at++)
        n += at->polled = at->link && link_wants(at->link, &polls[n]);
    for (size_t i = 0; i < idle; i++)
        polls[n++] = (struct io_poll){.sock = &socks[i]};
    t->polled_end = n;
    return n;
}

/* There is no memory to watch it: it is seen to from time to time. */
static void unwatch(struct server *s)
{
    s->trial->polls_link = s->trial->polls_listening = false;
    s->trial->polled = s->trial->polled_end = 0;
}

static void attend(struct server *s, const struct io_poll *polls)
{
    struct trial *t = s->trial;
    struct io    *io = s->life->io;
    size_t        i = t->polled;

    if (t->polls_link && polls[i++].ready)
        link_ready(t->link, io);
    if (t->polls_listening && polls[i++].ready)
        link_ready(t->listening, io);
    for (struct lingerer *at = t->lingering; at < t->lingering + LINGERING_MAX; at++)
        if (at->polled && polls[i++].ready)
            link_ready(at->link, io);
    for (; i < t->polled_end; i++)
        if (polls[i].ready) {
            sweep(s, NEVER);
            break;
        }
}

/* Room to watch so many servers. Returns for how many there is: there may be no memory. */
static size_t make_room(struct life *life, size_t servers)
{
    const struct memory *memory = &life->client->memory;
    struct healer       *h = life->rounds;

    if (servers <= h->room && h->polls)
        return servers;
    struct io_poll *polls = memory_resize(memory, h->polls, (DISCOVERY_SOCKETS + servers * POLLS) * sizeof *polls);
    if (polls)
        h->polls = polls;
    struct io_sock *watched = polls ? memory_resize(memory, h->watched, servers * WATCH_MAX * sizeof *watched) : NULL;
    if (watched) {
        h->watched = watched;
        h->room = servers;
    }
    return h->room;
}

/* Waits until there is something to do, and does what has to be done at once. */
static void rest(struct life *life, nstime until)
{
    struct healer *h = life->rounds;
    size_t         room = make_room(life, atomic_load(&life->server_count)), watched = 0, n = discovery_watch(life, h->polls);

    for (struct server *s = h->servers; s; s = s->next, watched++)
        if (watched < room)
            n = watch(s, h->polls, n, h->watched + watched * WATCH_MAX);
        else
            unwatch(s);
    if (!goes_on(life))
        return;
    life->io->poll(life->io, h->polls, n, until, true);
    discovery_attend(life, h->polls);
    for (struct server *s = h->servers; s; s = s->next)
        attend(s, h->polls);
}

void healer_run(void *arg)
{
    struct life *life = arg;

    while (goes_on(life))
        rest(life, healer_step(life, life->io->now(life->io)));
    for (struct server *s = life->rounds->servers; s && atomic_load(&life->closing); s = s->next)
        pool_close(s); /* here, since mend_close waits for this thread so long and no longer */
}

bool healer_takes(struct server *s)
{
    const struct memory *memory = &s->life->client->memory;

    s->trial = memory_zeroed(memory, 1, sizeof *s->trial);
    if (!s->trial)
        return false;
    s->trial->looked_up = s->trial->resolve_at = NEVER;
    s->trial->said.value.memory = memory;
    return true;
}

void healer_drops(struct server *s)
{
    struct trial *t = s->trial;

    if (!t)
        return;
    drop(s, &t->link);
    drop(s, &t->listening);
    for (struct lingerer *at = t->lingering; at < t->lingering + LINGERING_MAX; at++)
        drop(s, &at->link);
    buf_release(&t->said.value);
    if (t->lookup)
        s->life->io->lookup_drop(s->life->io, t->lookup);
    memory_release(&s->life->client->memory, t);
}

bool healer_new(struct life *life)
{
    struct healer *h = memory_zeroed(&life->client->memory, 1, sizeof *h);
    size_t         servers = atomic_load(&life->server_count);

    if (!h)
        return false;
    life->rounds = h;
    snprintf(h->name, sizeof h->name, "%016" PRIx64, life->io->random(life->io));
    h->end = &h->servers;
    h->sweep_at = life->io->now(life->io) + MS(SWEEP_MS);
    return make_room(life, servers) == servers && h->polls;
}

void healer_free(struct life *life)
{
    const struct memory *memory = &life->client->memory;
    struct healer       *h = life->rounds;

    memory_release(memory, h->polls);
    memory_release(memory, h->watched);
    memory_release(memory, h);
    life->rounds = NULL;
}
