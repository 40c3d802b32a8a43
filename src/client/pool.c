/* pool.c - see pool.h. */
#include "client/pool.h"

#include "client/calls.h"
#include "client/probe.h"

enum { LOOK_AFTER_MS = 10 }; /* a link that was idle for less is used unseen: a look costs a system call */

/* ---- Links ---- */

static void count_opened_locked(struct server *s)
{
    s->open_count++;
    s->opened++;
    PROBE1(connection__opened, s->spec->name);
}

/* broken: it was not closed for want of use. */
static void count_closed(struct server *s, bool broken)
{
    pthread_mutex_lock(&s->lock);
    s->open_count--;
    s->broken += broken;
    PROBE2(connection__closed, s->spec->name, broken);
    pthread_mutex_unlock(&s->lock);
}

/* One that is counted already. */
static struct link *link_new(struct server *s)
{
    const struct mend_client *c = s->life->client;
    struct link              *l = memory_zeroed(&c->memory, 1, sizeof *l);

    if (!l)
        return NULL;
    conn_init(&l->conn, &c->memory, c->trial_key, (uint64_t)c->config.value_max_bytes);
    l->sock = (struct io_sock)IO_SOCK_CLOSED;
    l->peer = s->peer;
    l->traffic = &s->stats.traffic;
    conn_authenticate(&l->conn, c->credentials);
    return l;
}

struct link *pool_link_new(struct server *s)
{
    struct link *l = link_new(s);

    if (!l)
        return NULL;
    pthread_mutex_lock(&s->lock);
    count_opened_locked(s);
    pthread_mutex_unlock(&s->lock);
    return l;
}

/* What was given up on it is over now, or was, if its bytes say so; else it is adrift. */
static void line_over(struct server *s, struct link *l)
{
    struct io *io = s->life->io;
    bool       ended = l->conn.state == CONN_BROKEN ? l->conn.ended : conn_at_rest(&l->conn);

    if (!l->line)
        return;
    journal_line_over(&s->journal, l->line, ended, io->now(io));
    l->line = 0;
    io->ring(io); /* the healer deletes what waited for this */
}

/* Does not count. */
static void link_free(struct server *s, struct link *l, bool reset)
{
    link_close(l, s->life->io, reset);
    conn_release(&l->conn);
    memory_release(&s->life->client->memory, l);
}

void pool_link_free(struct server *s, struct link *l, bool reset)
{
    bool broken = conn_is_over(&l->conn) || l->stirred;

    line_over(s, l);
    link_free(s, l, reset);
    count_closed(s, broken);
    server_changed(s, false);
}

/* ---- Taking ---- */

static enum pool_result none(struct answer *a, mend_status status, const char *why)
{
    answer_fail(a, status, why);
    return POOL_NONE;
}

static struct link *pop(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    struct link *l = s->idle;
    if (l) {
        s->idle = l->next;
        s->idle_count--;
    }
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = SHARES; !l && i-- > 0;)
        l = share_unpark(s, &s->shares[i], NEVER);
    return l;
}

/* Open, but for those that linger: these are for nobody's use. */
static unsigned usable_locked(const struct server *s)
{
    return s->open_count - s->lingering_count;
}

/* Whether the caller may open one, which is then counted. */
static bool may_dial(struct server *s, struct gate gate, struct io_address *to, enum wire_dialect *hint)
{
    pthread_mutex_lock(&s->lock);
    bool may = health_dialable(&s->health) && gate.generation == s->health.generation &&
               usable_locked(s) < (unsigned)s->life->client->config.connections_max && s->address.len;
    if (may) {
        count_opened_locked(s);
        *to = s->address;
        *hint = s->dialect;
    }
    pthread_mutex_unlock(&s->lock);
    return may;
}

bool pool_fresh(const struct link *l, const struct call *call, struct gate gate, bool suspicious)
{
    return l->generation == gate.generation && !suspicious && call->now - l->idle_since <= MS(LOOK_AFTER_MS);
}

bool pool_usable(struct link *l, const struct call *call, struct gate gate, bool suspicious)
{
    return pool_fresh(l, call, gate, suspicious) || (l->generation == gate.generation && link_quiet(l, call->io));
}

static enum pool_result dial(struct server *s, struct call *call, struct gate gate, const struct io_address *to, enum wire_dialect hint, struct link **link,
                             struct answer *a)
{
    struct link *l = link_new(s);

    if (!l || !link_dial(l, call->io, to, hint)) {
        if (l)
            link_free(s, l, false);
        count_closed(s, false);
        return none(a, MEND_E_MEMORY, "out of memory for a connection");
    }
    l->generation = gate.generation;
    l->taken = call->now;
    *link = l;
    return POOL_LINK;
}

enum pool_result pool_try(struct server *s, struct call *call, bool suspicious, struct link **link, struct answer *a)
{
    struct io_address to;
    enum wire_dialect hint;

    for (;;) {
        struct gate gate = server_gate(s);
        if (server_shut(s, gate, call->now))
            return none(a, MEND_E_DOWN, call_down);
        if (gate.state == MEND_STATE_NEW)
            return POOL_WAIT;

        struct link *l = pop(s);
        if (!l)
            return may_dial(s, gate, &to, &hint) ? dial(s, call, gate, &to, hint, link, a) : POOL_WAIT;
        if (pool_usable(l, call, gate, suspicious)) {
            link_reuse(l, call->now);
            *link = l;
            return POOL_LINK;
        }
        pool_link_free(s, l, false);
    }
}

bool pool_wanted(const struct server *s)
{
    return atomic_load_explicit(&s->waiting, memory_order_relaxed) > 0 || atomic_load_explicit(&s->life->waiting, memory_order_relaxed) > 0;
}

bool pool_wait(struct server *s, struct call *call, struct pool_wait *wait)
{
    if (!wait->told) {
        atomic_fetch_add(&s->waiting, 1);
        atomic_thread_fence(memory_order_seq_cst); /* who changes something after this look sees that we wait */
        wait->told = true;
    } else {
        call->io->wait(call->io, &s->turn, wait->seen, IO_ANYBODY, call->deadline);
        call->now = call->io->now(call->io);
    }
    wait->seen = atomic_load(&s->turn);
    return call->now < call->deadline;
}

void pool_waited(struct server *s, const struct pool_wait *wait, bool got_link)
{
    if (!wait->told)
        return;
    atomic_fetch_sub(&s->waiting, 1);
    if (!got_link)
        server_changed(s, false); /* a turn that was meant for us is somebody else's */
}

void pool_give_up(struct server *s, struct answer *a)
{
    mend_state state = server_gate(s).state;

    pthread_mutex_lock(&s->lock);
    bool in_use = usable_locked(s) >= (unsigned)s->life->client->config.connections_max;
    pthread_mutex_unlock(&s->lock);
    if (!health_askable(state))
        answer_fail(a, MEND_E_DOWN, call_down);
    else if (in_use && state != MEND_STATE_NEW)
        answer_fail(a, MEND_E_BUSY, "every connection to the server was in use until the deadline");
    else
        answer_fail(a, MEND_E_TIMEOUT, "the server was not reached by the deadline");
}

bool pool_dialed(struct server *s, struct call *call, struct link *l, struct answer *a)
{
    if (l->conn.state == CONN_READY)
        return true;
    link_run(l, call->io, call->now, call->deadline);
    call->now = call->io->now(call->io);
    if (l->conn.state == CONN_READY)
        return true;
    answer_fail_text(a, l->conn.broke, l->conn.why);
    pool_give(s, call, l, false);
    return false;
}

/* ---- Giving back ---- */

/* Whether a time out is the server's fault: not if most of the time went into waiting for a turn, or was not given by the
 * caller, or not by the machine. */
static bool had_its_time(const struct call *call, nstime sent, bool late)
{
    return !late && call->deadline - sent >= MS(call->life->client->config.timeout_ms) / 2;
}

/* Whether a broken link is the server's doing. Its error lines (E_SERVER) and our own want of memory are not. */
static bool blames_server(const struct link *l, const struct call *call)
{
    switch (l->conn.broke) {
    case MEND_E_TIMEOUT:
        return had_its_time(call, l->taken, l->late);
    case MEND_E_IO:
    case MEND_E_PROTOCOL:
        return true;
    default:
        return false;
    }
}

/* Nobody is to blame, but somebody should see. */
static void was_stopped(struct server *s)
{
    server_suspected(s, "this process was stopped while it waited for an answer");
}

void pool_served(struct server *s, struct call *call, uint32_t generation)
{
    if (server_gate(s).troubled)
        server_served(s, generation, call->io->now(call->io));
}

void pool_timed_out(struct server *s, struct call *call, uint32_t generation, nstime sent, bool late, const char *why)
{
    if (had_its_time(call, sent, late))
        server_failed(s, generation, why);
    else if (late)
        was_stopped(s);
}

static void put_idle(struct server *s, struct link *l)
{
    l->next = s->idle;
    s->idle = l;
    s->idle_count++;
}

/* Into the pool, if it has room for it or somebody waits for it. */
static bool keep(struct server *s, struct link *l, nstime idle_since)
{
    unsigned room = (unsigned)s->life->client->config.connections_idle_max;
    unsigned held = atomic_load_explicit(&s->held, memory_order_relaxed);

    l->idle_since = idle_since;
    pthread_mutex_lock(&s->lock);
    if (atomic_load_explicit(&s->left, memory_order_relaxed))
        room = 0;
    bool kept = l->generation == s->health.generation && health_askable(s->health.state) &&
                (s->idle_count + held < room || atomic_load(&s->waiting));
    if (kept)
        put_idle(s, l);
    pthread_mutex_unlock(&s->lock);
    if (kept)
        server_changed(s, false);
    return kept;
}

/* It is the healer's from now on, which waits for its late answers. False: there are enough of such. */
static bool linger(struct server *s, struct link *l)
{
    if (!l->line)
        l->line = journal_line(&s->journal);
    if (!l->line)
        return false;
    pthread_mutex_lock(&s->lock);
    bool may = s->lingering_count < LINGERING_MAX;
    if (may) {
        s->lingering_count++;
        l->next = s->lingering;
        s->lingering = l;
    }
    pthread_mutex_unlock(&s->lock);
    if (may) {
        s->life->io->ring(s->life->io);
        server_changed(s, false);
    }
    return may;
}

void pool_give(struct server *s, struct call *call, struct link *l, bool forgiven)
{
    if (conn_is_over(&l->conn)) {
        if (!forgiven && blames_server(l, call))
            server_failed(s, l->generation, l->conn.why);
        else if (l->late)
            was_stopped(s);
        else if (l->conn.broke == MEND_E_AUTH)
            server_suspected(s, l->conn.why); /* the healer finds out whether this goes for all, and asks no more then */
        if (l->conn.state == CONN_BROKEN || !linger(s, l))
            pool_link_free(s, l, false);
        return;
    }
    pool_served(s, call, l->generation);
    /* What is over idle_max is reset, not closed: nothing is outstanding on it, and thousands of closes would leave no port. */
    if (!keep(s, l, call->now))
        pool_link_free(s, l, true);
}

/* ---- The healer's ---- */

bool pool_admit(struct server *s, struct link *l, uint32_t generation, nstime now)
{
    pthread_mutex_lock(&s->lock);
    struct health *h = &s->health;
    if (h->generation != generation) {
        pthread_mutex_unlock(&s->lock);
        return false;
    }
    health_trial_passed(h, generation, now);
    if (h->generation == generation && s->address.len && !io_same_address(&s->address, &l->to))
        health_moved(h); /* links to the old address take nothing more; all of a server's go to one address */
    s->address = l->to;
    s->dialect = l->conn.dialect;
    l->generation = h->generation;
    l->idle_since = now;
    /* Even beyond idle_max: somebody may wait for just this. Not beyond connections_max: links that were retired may be in use still. */
    bool kept = usable_locked(s) <= (unsigned)s->life->client->config.connections_max;
    if (kept)
        put_idle(s, l);
    server_publish_and_unlock(s);
    if (!kept)
        pool_link_free(s, l, true);
    return true;
}

/* Takes the links that have been idle since `before` or longer, the longest first, so that they go back in the order they had. */
static struct link *take_idle(struct server *s, nstime before)
{
    struct link *taken = NULL, *parked;

    for (unsigned i = 0; i < SHARES; i++)
        if ((parked = share_unpark(s, &s->shares[i], before)) != NULL) {
            parked->next = taken;
            taken = parked;
        }
    pthread_mutex_lock(&s->lock);
    for (struct link **at = &s->idle, *l; (l = *at) != NULL;) {
        if (l->idle_since > before) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        l->next = taken;
        taken = l;
        s->idle_count--;
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

bool pool_sweep(struct server *s, nstime before)
{
    struct gate gate = server_gate(s);
    bool        died = false;

    for (struct link *l = take_idle(s, before), *next; l; l = next) {
        next = l->next;
        bool quiet = link_quiet(l, s->life->io);
        died |= !quiet;
        if (l->generation != gate.generation || !quiet || !keep(s, l, l->idle_since))
            pool_link_free(s, l, false);
    }
    pthread_mutex_lock(&s->lock);
    bool none_left = usable_locked(s) == 0;
    pthread_mutex_unlock(&s->lock);
    return died && none_left;
}

size_t pool_watch(struct server *s, struct io_sock *socks, size_t most)
{
    size_t n = 0;

    pthread_mutex_lock(&s->lock);
    for (struct link *l = s->idle; l && n < most; l = l->next)
        socks[n++] = l->sock;
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < SHARES && n < most; i++)
        n += share_peek(&s->shares[i], &socks[n]);
    return n;
}

struct link *pool_lingering(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    struct link *l = s->lingering;
    s->lingering = NULL;
    pthread_mutex_unlock(&s->lock);
    return l;
}

void pool_lingered(struct server *s, struct link *l)
{
    pthread_mutex_lock(&s->lock);
    s->lingering_count--;
    pthread_mutex_unlock(&s->lock);
    pool_link_free(s, l, false);
}

static void close_all(struct server *s, struct link *first)
{
    for (struct link *l = first, *next; l; l = next) {
        next = l->next;
        link_free(s, l, false);
    }
}

void pool_close(struct server *s)
{
    close_all(s, take_idle(s, NEVER));
    close_all(s, pool_lingering(s));
}
