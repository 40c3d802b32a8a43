/* share.c - see share.h. */
#include "client/share.h"

#include <assert.h>
#include <string.h>

#include "client/calls.h"
#include "client/pool.h"
#include "core/key.h"

enum {
    BATCH_MAX = 64,
    BATCH_BYTES = 32 * 1024, /* of questions before the last of a batch, which is the leader's */
    SEATS_MAX = 2 * BATCH_MAX, /* those of a batch, those that landed and are not taken yet, and one for a leader that leaves */
    PATIENCE_MS = 10,     /* in the queue, or behind a batch that does not land: then a call goes its own way... */
    PATIENCE_PART = 8,    /* ...or after this part of its time, if that is less... */
    STARVED_PART = 4,     /* ...but after this where the wait is our own machine's fault: more connections would be more work for it. So it is... */
    STARVED_LATE_MS = 1,  /* ...if a thread wakes so much later than it should, ... */
    STARVED_MS = 1000,    /* ...and for so long */
    SEAT_BYTES = 32 * 1024, /* a value's memory that a seat keeps */
    BIT_SHARED = BATCH_MAX / 32, /* neighbours of a batch who are woken together */
};

/* A question in the queue, on its caller's stack. */
struct rider {
    const struct wire_question *q;
    struct seat                *seat; /* ABOARD */
    bool                        again; /* its first link died */
    bool                        evicted;
    uint32_t                    bit; /* as whom it waits, by its place in the queue: answers come in that order */
    uint64_t                    line; /* of the journal's, for when it leaves a write on the link */
    struct rider               *next;
};

/* A question that is aboard. */
struct seat {
    struct answer answer;
    bool          landed; /* the answer is its caller's to take */
    bool          left;   /* its caller has gone */
    bool          pooled; /* as its link was */
    uint32_t      generation;
    uint32_t      bit; /* its rider's */
    struct seat  *next;
    char          key[KEY_MAX];
};

/* ---- Memory ---- */

void share_init(struct share *h)
{
    pthread_mutex_init(&h->lock, NULL);
    h->queue_end = &h->queue;
}

void share_free(struct share *h, const struct memory *memory)
{
    for (struct seat *seat; (seat = h->spare) != NULL;) {
        h->spare = seat->next;
        buf_release(&seat->answer.value);
        memory_release(memory, seat);
    }
    pthread_mutex_destroy(&h->lock);
}

static struct seat *seat_take(struct share *h, const struct memory *memory)
{
    struct seat *seat = h->spare;

    if (seat)
        h->spare = seat->next;
    else {
        if (h->seats == SEATS_MAX || !(seat = memory_zeroed(memory, 1, sizeof *seat)))
            return NULL;
        seat->answer.value.memory = memory;
        h->seats++;
    }
    seat->landed = seat->left = false;
    seat->bit = 0;
    answer_reset(&seat->answer);
    return seat;
}

static void seat_back(struct share *h, struct seat *seat)
{
    if (seat->answer.value.cap > SEAT_BYTES)
        buf_release(&seat->answer.value);
    seat->next = h->spare;
    h->spare = seat;
}

static mend_bytes seat_key(struct seat *seat, mend_bytes key)
{
    memcpy(seat->key, key.data, key.len);
    return mend_mem(seat->key, key.len);
}

/* ---- The lock, and what is told when it is released ---- */

/* Who is to be woken; a bit of news changes the word first, so that nobody falls asleep over it. */
struct news {
    uint32_t aboard; /* those of the batch, in bits */
    enum { NOBODY, ONE, ALL } queue;
};

static void unlock_and_tell(struct share *h, struct io *io, struct news news)
{
    _Atomic uint32_t *batch = &h->word[h->batch & 1], *next = &h->word[(h->batch + 1) & 1];

    if (news.queue && h->left_over)
        news.aboard = IO_ANYBODY; /* they wait on the word of the batch that they were to be in */
    if (news.aboard)
        atomic_fetch_add_explicit(batch, 1, memory_order_relaxed);
    if (news.queue)
        atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
    pthread_mutex_unlock(&h->lock);
    if (news.aboard)
        io->wake(io, batch, news.aboard, true);
    if (news.queue)
        io->wake(io, next, IO_ANYBODY, news.queue == ALL);
}

/* Everyone in the queue goes elsewhere. */
static void evict_locked(struct share *h, struct news *news)
{
    for (struct rider *r = h->queue; r; r = r->next)
        r->evicted = true;
    if (h->queue)
        news->queue = ALL;
    h->queue = NULL;
    h->queue_end = &h->queue;
    h->queued = h->wary = 0;
}

static void retire_locked(struct share *h, struct news *news)
{
    h->retired = true;
    evict_locked(h, news);
}

static void unqueue_locked(struct share *h, struct rider *rider)
{
    struct rider **at = &h->queue;

    while (*at != rider)
        at = &(*at)->next;
    *at = rider->next;
    if (!*at)
        h->queue_end = at;
    h->queued--;
    h->wary -= rider->again;
}

/* A write stays on the link, and its caller goes. line: the journal's, had before the lock was taken. Returns it if the
 * link has one already. */
static uint64_t leave_locked(struct share *h, struct seat *seat, uint64_t line)
{
    seat->left = true;
    if (h->link->line)
        return line;
    h->link->line = line;
    return 0;
}

/* A line that was not needed. */
static void line_back(struct server *s, uint64_t line, nstime now)
{
    if (line)
        journal_line_over(&s->journal, line, true, now);
}

/* ---- Leading ---- */

/* What was learnt goes to whom it belongs. Returns whether anybody aboard, but for `mine`, still waits for more. */
static bool publish_locked(struct share *h, const struct seat *mine, struct news *news)
{
    bool waiting = false;

    for (struct seat **at = &h->aboard, *seat; (seat = *at) != NULL;) {
        if (!seat->answer.done) {
            waiting |= !seat->left && seat != mine;
            at = &seat->next;
            continue;
        }
        *at = seat->next;
        if (seat->left)
            seat_back(h, seat);
        else {
            seat->landed = true;
            news->aboard |= seat->bit;
        }
    }
    return waiting;
}

/* Puts what waits in the queue on the line. */
static void board_locked(struct share *h, struct server *s, nstime now)
{
    struct conn *c = &h->link->conn;

    h->batch++;
    h->since = now;
    h->carried = 1; /* the leader's */
    for (; h->queue && h->carried < BATCH_MAX && conn_unsent(c) < BATCH_BYTES; h->carried++) {
        struct rider *r = h->queue;
        struct seat  *seat = seat_take(h, &s->life->client->memory);
        if (!seat)
            break;
        seat->pooled = h->link->pooled;
        seat->generation = h->link->generation;
        seat->bit = r->bit;
        struct wire_question q = *r->q;
        q.key = seat_key(seat, q.key);
        mend_status status = conn_ask(c, &q, &seat->answer);
        if (status)
            answer_fail(&seat->answer, status, call_unasked(status));
        unqueue_locked(h, r);
        r->seat = seat;
        seat->next = h->aboard;
        h->aboard = seat;
    }
    h->left_over = h->queue != NULL;
}

/* What has come so far goes to those who wait for it, and not for the leader's own answer. */
static void publish(struct share *h, struct io *io)
{
    struct news news = {0, NOBODY};

    pthread_mutex_lock(&h->lock);
    publish_locked(h, NULL, &news);
    unlock_and_tell(h, io, news);
}

/* The lead is given up, with nothing on the line. */
static void unlead_locked(struct share *h, struct news *news)
{
    h->led = h->retired = false;
    if (h->queue && !news->queue)
        news->queue = ONE;
}

/* There is no link to be had. */
static void disband(struct share *h, struct io *io)
{
    struct news news = {0, NOBODY};

    pthread_mutex_lock(&h->lock);
    evict_locked(h, &news);
    unlead_locked(h, &news);
    unlock_and_tell(h, io, news);
}

/* The link is another's from now on. */
static struct link *part_with(struct share *h, struct server *s)
{
    struct link *l = h->link;

    h->link = NULL;
    if (l)
        atomic_fetch_sub_explicit(&s->held, 1, memory_order_relaxed);
    return l;
}

/* A link to lead with: the one that is parked here, or the pool's. */
static enum pool_result find_link(struct share *h, struct server *s, struct call *call, bool again, struct answer *a)
{
    enum pool_result result;

    if (h->link) {
        struct gate gate = server_gate(s);
        if (pool_usable(h->link, call, gate, again) && !server_shut(s, gate, call->now)) {
            link_reuse(h->link, call->now);
            return POOL_LINK;
        }
        pool_link_free(s, part_with(h, s), false);
    }
    result = pool_try(s, call, again, &h->link, a);
    if (result != POOL_LINK)
        return result;
    atomic_fetch_add_explicit(&s->held, 1, memory_order_relaxed);
    if (pool_dialed(s, call, h->link, a))
        return POOL_LINK;
    part_with(h, s);
    return POOL_NONE;
}

struct link *share_unpark(struct server *s, struct share *h, nstime before)
{
    struct link *l = NULL;

    pthread_mutex_lock(&h->lock);
    if (!h->led && !h->aboard && !h->queue && h->link && h->link->idle_since <= before)
        l = part_with(h, s);
    pthread_mutex_unlock(&h->lock);
    return l;
}

bool share_peek(struct share *h, struct io_sock *sock)
{
    pthread_mutex_lock(&h->lock);
    bool parked = !h->led && h->link;
    if (parked)
        *sock = h->link->sock;
    pthread_mutex_unlock(&h->lock);
    return parked;
}

static bool may_park(const struct share *h, const struct server *s)
{
    return !atomic_load_explicit(&s->left, memory_order_relaxed) && h - s->shares < s->life->client->config.connections_idle_max;
}

/* The batch is over: the link stays for the next, or goes back. */
static void finish(struct share *h, struct server *s, struct call *call, bool again)
{
    struct link *l = h->link;
    struct news  news = {0, NOBODY};
    bool         deserted = !link_over(l); /* those whose answers are to come have gone, and told the server's health so */

    if (deserted)
        conn_expire(&l->conn, MEND_E_TIMEOUT, "nobody waits for its answers any more");
    bool forgiven = deserted || (l->pooled && !l->conn.lost && !again);

    pthread_mutex_lock(&h->lock);
    publish_locked(h, NULL, &news);
    assert(!h->aboard);
    h->crowd = h->carried + h->queued;
    bool retired = h->retired;
    bool kept = l->conn.state == CONN_READY && !retired && !pool_wanted(s) && (h->queue || may_park(h, s));
    if (kept)
        l->idle_since = call->now;
    else
        part_with(h, s);
    unlead_locked(h, &news);
    uint32_t generation = l->generation; /* from here on a link that is kept is another's */
    unlock_and_tell(h, call->io, news);
    if (kept)
        pool_served(s, call, generation);
    else if (retired && l->conn.state == CONN_READY)
        pool_link_free(s, l, true);
    else
        pool_give(s, call, l, forgiven);
}

/* What a call is told whose time is up, and its server's health. sent: since when the server had the question. */
static void time_out(struct server *s, struct call *call, uint32_t generation, nstime sent, bool late, bool writes, struct answer *a)
{
    answer_reset(a);
    answer_fail(a, MEND_E_TIMEOUT, io_text(late ? IO_LATE : IO_TIMEOUT));
    a->maybe_applied = writes;
    a->zombie = writes ? ZOMBIE_ON_LINE : ZOMBIE_NONE;
    pool_timed_out(s, call, generation, sent, late, a->error);
}

/* What a leader has of its own on the line: with a seat, or at first hand. */
struct own {
    const struct wire_question *q;
    struct seat                *seat;
    struct answer              *a;
};

static struct answer *own_answer(const struct own *own)
{
    return own->seat ? &own->seat->answer : own->a;
}

/* The leader's time is up, or its answer was there before those of others: it leaves the line to them. False: there is
 * nobody, or no seat to leave a question in. */
static bool hand_on(struct share *h, struct server *s, struct call *call, struct own *own, bool timed_out)
{
    struct news  news = {0, NOBODY};
    struct link *l = h->link;
    bool         moves = timed_out && !own->seat;
    uint64_t     line = timed_out && wire_writes(own->q->verb) ? journal_line(&s->journal) : 0;

    pthread_mutex_lock(&h->lock);
    bool waited_for = publish_locked(h, own->seat, &news);
    if (waited_for && moves && (own->seat = seat_take(h, &s->life->client->memory)) != NULL) {
        conn_redirect(&l->conn, own->a, &own->seat->answer, seat_key(own->seat, own->q->key));
        own->seat->next = h->aboard;
        h->aboard = own->seat;
    }
    if (!waited_for || (timed_out && !own->seat)) {
        unlock_and_tell(h, call->io, news);
        line_back(s, line, call->now);
        return false;
    }
    if (timed_out) {
        retire_locked(h, &news);
        line = leave_locked(h, own->seat, line);
        own->seat = NULL;
    }
    h->led = false;
    news.aboard = IO_ANYBODY; /* one of them leads on */
    unlock_and_tell(h, call->io, news);
    line_back(s, line, call->now);
    return true;
}

/* Turns the link until the leader's own answer is there, and sees to the others. */
static void carry(struct share *h, struct server *s, struct call *call, bool again, struct own *own)
{
    struct link *l = h->link;
    uint32_t     generation = l->generation;
    nstime       sent = l->taken;
    int          result = IO_DONE;

    while (result == IO_DONE && !own_answer(own)->done && !link_over(l)) {
        result = link_carry(l, call->io, call->now, call->deadline, own_answer(own), h->aboard != NULL);
        if (h->aboard && !own_answer(own)->done && !link_over(l)) {
            publish(h, call->io);
            call->now = call->io->now(call->io);
        }
    }
    bool         timed_out = !own_answer(own)->done;

    if (!link_over(l) && hand_on(h, s, call, own, timed_out)) {
        if (timed_out)
            time_out(s, call, generation, sent, result == IO_LATE, wire_writes(own->q->verb), own->a);
        else
            pool_served(s, call, generation);
        return;
    }
    if (timed_out && !link_over(l))
        link_expire(l, result);
    finish(h, s, call, again);
}

/* Whether there were more about when the last batch landed than wait now: those that it woke come again, if they run
 * first. A lone caller never gives way. */
static bool expects_more(const struct share *h)
{
    return h->queued + 1 < h->crowd;
}

/* Gives way to them, again as long as some come. */
static void gather(struct share *h, struct call *call)
{
    unsigned before, queued = 0;
    bool     more;

    do {
        before = queued;
        call->io->yield(call->io);
        pthread_mutex_lock(&h->lock);
        queued = h->queued;
        more = expects_more(h);
        pthread_mutex_unlock(&h->lock);
    } while (more && queued > before);
    call->now = call->io->now(call->io);
}

static enum share_result outcome(const struct answer *a, bool pooled, bool again)
{
    return a->again && pooled && !again ? SHARE_AGAIN : SHARE_DONE;
}

/* The lead was taken just now, and the lock is held. */
static enum share_result lead_and_unlock(struct share *h, struct server *s, struct call *call, const struct wire_question *q, bool again, struct answer *a)
{
    struct own own = {q, NULL, a};

    h->led = true;
    h->since = call->now;
    bool        gathers = expects_more(h), looks = again || h->wary;
    struct gate gate = server_gate(s);
    if (!gathers && h->link && pool_fresh(h->link, call, gate, looks) && !server_shut(s, gate, call->now))
        link_reuse(h->link, call->now);
    else {
        pthread_mutex_unlock(&h->lock);
        switch (find_link(h, s, call, looks, a)) {
        case POOL_LINK:
            break;
        case POOL_WAIT:
            disband(h, call->io);
            return SHARE_ELSEWHERE;
        case POOL_NONE:
            disband(h, call->io);
            return SHARE_DONE;
        }
        if (gathers)
            gather(h, call);
        pthread_mutex_lock(&h->lock);
    }
    board_locked(h, s, call->now);
    pthread_mutex_unlock(&h->lock);

    bool        pooled = h->link->pooled;
    mend_status status = conn_ask(&h->link->conn, q, a);
    if (status)
        answer_fail(a, status, call_unasked(status));
    carry(h, s, call, again, &own);
    return outcome(a, pooled, again);
}

/* ---- Riding ---- */

static nstime patience(const struct share *h, const struct call *call)
{
    nstime left = call->deadline - call->now;
    return call->now < h->starved ? left / STARVED_PART : time_earlier(left / PATIENCE_PART, MS(PATIENCE_MS));
}

/* Its patience has ended. Whether it has more, once: it was woken late, and so may be those whom it waits for. */
static bool starves_locked(struct share *h, const struct call *call, nstime *bored, bool *stayed)
{
    bool late = !*stayed && call->now - *bored > MS(STARVED_LATE_MS);

    *stayed = true;
    if (late)
        h->starved = call->now + MS(STARVED_MS);
    *bored = call->now + patience(h, call);
    return late && *bored > call->now + MS(STARVED_LATE_MS);
}

static void enqueue_locked(struct share *h, struct rider *rider)
{
    *h->queue_end = rider;
    h->queue_end = &rider->next;
    rider->bit = UINT32_C(1) << h->queued / BIT_SHARED % 32;
    h->queued++;
    h->wary += rider->again;
}

/* The answer is in the seat. The lock is held when it begins. */
static enum share_result land_and_unlock(struct share *h, struct seat *seat, bool again, struct answer *a)
{
    bool pooled = seat->pooled;

    answer_move(a, &seat->answer);
    seat_back(h, seat);
    pthread_mutex_unlock(&h->lock);
    return outcome(a, pooled, again);
}

/* Aboard, and nobody leads. */
static enum share_result take_over(struct share *h, struct server *s, struct call *call, struct rider *rider, bool again, struct answer *a)
{
    struct own own = {rider->q, rider->seat, a};

    call->now = call->io->now(call->io);
    carry(h, s, call, again, &own);
    if (!own.seat)
        return SHARE_DONE;
    pthread_mutex_lock(&h->lock);
    return land_and_unlock(h, own.seat, again, a);
}

/* In the queue at its deadline, and nobody leads: the next may, or the link goes back. Released by now. */
static enum share_result pass_and_unlock(struct share *h, struct server *s, struct call *call)
{
    struct news  news = {0, h->queue ? ONE : NOBODY};
    struct link *l = h->queue ? NULL : part_with(h, s);

    unlock_and_tell(h, call->io, news);
    if (l)
        pool_give(s, call, l, true);
    return SHARE_ELSEWHERE;
}

/* The lock is held when it begins, and the rider in the queue. */
static enum share_result ride_and_unlock(struct share *h, struct server *s, struct call *call, struct rider *rider, bool again, struct answer *a)
{
    nstime bored = call->now + patience(h, call), late = call->deadline + MS(LINK_STOPPED_MS);
    bool   spared = false; /* its time is up because this process was stopped: the leader gets a moment to look */
    bool   stayed = false; /* beyond its patience */
    bool   counted = false; /* the line that it would leave a write on */

    for (;;) {
        _Atomic uint32_t *word = &h->word[(h->batch + !rider->seat) & 1];
        uint32_t          seen = atomic_load_explicit(word, memory_order_relaxed);
        nstime            until = !rider->seat ? bored : spared ? call->now + MS(1) : call->deadline;
        pthread_mutex_unlock(&h->lock);
        if (counted && !rider->line)
            rider->line = journal_line(&s->journal);
        call->io->wait(call->io, word, seen, rider->bit, until);
        pthread_mutex_lock(&h->lock);

        struct seat *seat = rider->seat;
        if (seat && seat->landed) {
            uint32_t          generation = seat->generation;
            enum share_result result = land_and_unlock(h, seat, again, a);
            if (a->status >= 0) /* else whoever led told what the link came to */
                pool_served(s, call, generation);
            return result;
        }
        if (seat && !h->led) {
            h->led = true;
            pthread_mutex_unlock(&h->lock);
            return take_over(h, s, call, rider, again, a);
        }
        call->now = call->io->now(call->io);
        if (!seat && rider->evicted) {
            pthread_mutex_unlock(&h->lock);
            return SHARE_ELSEWHERE;
        }
        if (!seat && !h->led && !h->aboard) {
            unqueue_locked(h, rider);
            if (call->now >= call->deadline)
                return pass_and_unlock(h, s, call);
            return lead_and_unlock(h, s, call, rider->q, again, a);
        }
        if (!seat && call->now >= bored && !starves_locked(h, call, &bored, &stayed)) {
            unqueue_locked(h, rider);
            pthread_mutex_unlock(&h->lock);
            return SHARE_ELSEWHERE;
        }
        if (seat && call->now >= call->deadline) {
            if (call->now > late && !spared) {
                spared = true;
                continue;
            }
            if (wire_writes(rider->q->verb) && !counted) {
                counted = true;
                continue;
            }
            struct news news = {0, NOBODY};
            uint32_t    generation = seat->generation;
            nstime      sent = h->since;
            rider->line = leave_locked(h, seat, rider->line);
            retire_locked(h, &news);
            unlock_and_tell(h, call->io, news);
            time_out(s, call, generation, sent, call->now > late, wire_writes(rider->q->verb), a);
            return SHARE_DONE;
        }
    }
}

/* ---- Asking ---- */

enum share_result share_ask(struct server *s, struct call *call, const struct wire_question *q, bool again, struct answer *a)
{
    for (unsigned i = 0; i < SHARES; i++) {
        struct share *h = &s->shares[i];
        pthread_mutex_lock(&h->lock);
        if (!h->led && !h->aboard)
            return lead_and_unlock(h, s, call, q, again, a);
        bool moves = !h->retired && call->now - h->since <= patience(h, call);
        if (moves && h->queued < SEATS_MAX) {
            struct rider rider = {.q = q, .again = again};
            enqueue_locked(h, &rider);
            enum share_result result = ride_and_unlock(h, s, call, &rider, again, a);
            line_back(s, rider.line, call->now);
            return result;
        }
        pthread_mutex_unlock(&h->lock);
    }
    return SHARE_ELSEWHERE;
}
