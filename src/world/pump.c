/* pump.c - see pump.h. */
#include "world/pump.h"

#include <string.h>

enum {
    PORTION_BYTES = 1024 * 1024 + 16 * 1024, /* of one send: 0.1 to 0.3 ms of copying. memcached's largest item, as it comes, goes at one go */
    MOMENT_MS = 20, /* what links may be heard in turn, while others wait */
};

static mend_status status_of(int result)
{
    if (result == IO_TIMEOUT || result == IO_LATE)
        return MEND_E_TIMEOUT;
    return result == IO_RESOURCES ? MEND_E_MEMORY : MEND_E_IO;
}

/* It is to break, for this result of the world's. */
static void link_broke(struct link *l, int result)
{
    if (result == IO_RESET || result == IO_CLOSED)
        conn_end(&l->conn, io_text(result));
    else
        conn_fail(&l->conn, status_of(result), io_text(result));
}

void link_expire(struct link *l, int result)
{
    l->late = result == IO_LATE;
    conn_expire(&l->conn, status_of(result), io_text(result));
}

/* ---- Connecting ---- */

static void dial_ended(struct link *l, int result)
{
    if (result == IO_DONE)
        conn_dialed(&l->conn);
    else if (result != IO_AGAIN)
        link_broke(l, result);
}

bool link_dial(struct link *l, struct io *io, const struct io_address *to, enum wire_dialect hint)
{
    if (!conn_dial(&l->conn, hint, (uint32_t)io->random(io) & 0xFFFFFF))
        return false;
    l->pooled = l->late = l->waited = false;
    l->to = *to;
    dial_ended(l, io->dial(io, &l->sock, to, l->peer));
    return true;
}

/* ---- Moving bytes ---- */

static void count(_Atomic uint64_t *counter, ptrdiff_t bytes)
{
    atomic_fetch_add_explicit(counter, (uint64_t)bytes, memory_order_relaxed);
}

static void arrived(struct link *l, ptrdiff_t got)
{
    if (got >= 0) {
        if (l->traffic)
            count(&l->traffic->received, got);
        conn_took(&l->conn, (size_t)got);
    } else if (got != IO_AGAIN)
        link_broke(l, (int)got);
}

/* Takes what is there without waiting. */
static void pull(struct link *l, struct io *io)
{
    struct conn_span room[2];
    size_t           n = conn_room(&l->conn, room);

    arrived(l, io->recv_now(io, &l->sock, room, n));
}

/* As much of the spans as one send should take: it must come back in time to look at the clock, and at other links. */
static size_t portion(mend_bytes spans[3], size_t n)
{
    size_t left = PORTION_BYTES, i = 0;

    for (; i < n && left > 0; i++) {
        if (spans[i].len > left)
            spans[i].len = left;
        left -= spans[i].len;
    }
    return i;
}

/* Sends once, without waiting. False: some is left. */
static bool push(struct link *l, struct io *io)
{
    mend_bytes spans[3];
    size_t     n = conn_pending(&l->conn, spans);

    if (n == 0)
        return true;
    ptrdiff_t sent = io->send(io, &l->sock, spans, portion(spans, n));
    if (sent == IO_AGAIN)
        return false;
    if (sent < 0) {
        pull(l, io); /* a server that closed may have said why */
        if (l->conn.state != CONN_BROKEN)
            link_broke(l, (int)sent);
        return true;
    }
    if (l->traffic)
        count(&l->traffic->sent, sent);
    conn_sent(&l->conn, (size_t)sent);
    return conn_all_sent(&l->conn);
}

bool link_wants(struct link *l, struct io_poll *poll)
{
    mend_bytes spans[3];
    bool       dialing = l->conn.state == CONN_DIALING;

    *poll = (struct io_poll){.in = !dialing, .out = dialing || conn_pending(&l->conn, spans) > 0};
    if (!link_over(l) || l->conn.state == CONN_LINGERING)
        poll->sock = &l->sock;
    return poll->sock != NULL;
}

void link_ready(struct link *l, struct io *io)
{
    if (l->conn.state == CONN_DIALING)
        dial_ended(l, io->dialed(io, &l->sock));
    else
        pull(l, io);
    if (!link_over(l) && l->conn.state != CONN_DIALING)
        push(l, io);
}

/* What it is to have waited until a deadline that has passed now, in vain. */
static int verdict(const struct link *l, nstime now, nstime deadline)
{
    return now > deadline + MS(LINK_STOPPED_MS) || !l->waited ? IO_LATE : IO_TIMEOUT;
}

/* Moves what can be moved, and waits for more until `until` at most, by a poll. Returns the time then. */
static nstime poll_all(struct link *const *links, struct io_poll *polls, size_t n, struct io *io, nstime until, nstime deadline)
{
    bool in_time = io->now(io) < deadline, news = false;

    for (size_t i = 0; i < n; i++) {
        links[i]->waited |= in_time;
        if (!link_over(links[i]) && links[i]->conn.state != CONN_DIALING)
            push(links[i], io);
        news |= !link_wants(links[i], &polls[i]) && links[i]->conn.state == CONN_BROKEN;
    }
    if (news)
        until = 0; /* a link that broke by its send is to be seen to before anything else comes */
    io->poll(io, polls, n, time_earlier(until, deadline), false);
    nstime now = io->now(io);
    for (size_t i = 0; i < n; i++)
        if (polls[i].ready)
            link_ready(links[i], io);
    return now;
}

/* One turn of one link. IO_DONE; or how the time came to be up. */
static int turn(struct link *l, struct io *io, nstime now, nstime deadline)
{
    struct conn_span room[2];
    struct io_poll   poll;

    if (l->conn.state == CONN_DIALING || now >= deadline || !push(l, io)) { /* to connect, to be writable, a last look: rare enough for a poll */
        now = poll_all(&l, &poll, 1, io, deadline, deadline);
        return now >= deadline ? verdict(l, now, deadline) : IO_DONE;
    }
    if (link_over(l))
        return IO_DONE;
    now = io->now(io); /* the send may have cost this thread its turn on the processor */
    if (now >= deadline)
        return IO_DONE;
    l->waited = true;
    size_t    n = conn_room(&l->conn, room);
    ptrdiff_t got = io->recv(io, &l->sock, room, n, now, deadline);
    if (got == IO_LATE)
        return IO_LATE;
    if (got == IO_TIMEOUT && (now = io->now(io)) >= deadline) /* else the kernel's: it has given the connection up */
        return verdict(l, now, deadline);
    arrived(l, got);
    return IO_DONE;
}

void link_turn(struct link *const *links, struct io_poll *polls, size_t n, struct io *io, nstime until, nstime deadline)
{
    if (n == 1 && until >= deadline) { /* one alone needs no poll */
        int result = turn(links[0], io, io->now(io), deadline);
        if (result != IO_DONE && !link_over(links[0]))
            link_expire(links[0], result);
        return;
    }
    nstime now = poll_all(links, polls, n, io, until, deadline);
    for (size_t i = 0; i < n && now >= deadline; i++)
        if (!link_over(links[i]))
            link_expire(links[i], verdict(links[i], now, deadline));
}

bool link_hear_all(struct link *const *links, size_t n, struct io *io, nstime deadline)
{
    struct conn_span room[2];
    nstime           now = io->now(io), bored = now + MS(MOMENT_MS);
    bool             sent = true;

    for (size_t i = 0; i < n; i++)
        sent &= links[i]->conn.state != CONN_DIALING && push(links[i], io);
    for (size_t i = 0; i < n && sent; i++)
        while (!link_over(links[i])) {
            size_t    spans = conn_room(&links[i]->conn, room);
            ptrdiff_t got = now < bored ? io->recv_soon(io, &links[i]->sock, room, spans, now, deadline) : IO_AGAIN;
            if (got == IO_AGAIN)
                return false;
            arrived(links[i], got);
            now = io->now(io);
        }
    return sent;
}

int link_carry(struct link *l, struct io *io, nstime now, nstime deadline, const struct answer *mine, bool once)
{
    int result = IO_DONE;

    while (result == IO_DONE && !mine->done && !link_over(l)) {
        result = turn(l, io, now, deadline);
        if (once)
            break;
        if (!mine->done && !link_over(l))
            now = io->now(io);
    }
    return mine->done || link_over(l) ? IO_DONE : result;
}

void link_run(struct link *l, struct io *io, nstime now, nstime deadline)
{
    while (!link_over(l)) {
        int result = turn(l, io, now, deadline);
        if (link_over(l))
            return;
        if (result != IO_DONE)
            link_expire(l, result);
        else
            now = io->now(io);
    }
}

/* ---- Idle, and the end ---- */

void link_reuse(struct link *l, nstime now)
{
    l->pooled = true;
    l->waited = false;
    l->taken = now;
}

bool link_quiet(struct link *l, struct io *io)
{
    l->stirred = io->look(io, &l->sock) != IO_AGAIN;
    return !l->stirred;
}

void link_close(struct link *l, struct io *io, bool reset)
{
    io->close(io, &l->sock, reset || l->conn.ambiguous);
}
