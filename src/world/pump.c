/* pump.c - see pump.h. */
#include "world/pump.h"

#include <string.h>

enum { PORTION_BYTES = 1024 * 1024 }; /* of one send: 0.1 to 0.3 ms of copying */

static mend_status status_of(int result)
{
    if (result == IO_TIMEOUT || result == IO_LATE)
        return MEND_E_TIMEOUT;
    return result == IO_RESOURCES ? MEND_E_MEMORY : MEND_E_IO;
}

static void broke(struct link *l, int result)
{
    l->late = result == IO_LATE;
    conn_fail(&l->conn, status_of(result), io_text(result));
}

/* ---- Connecting ---- */

static void dial_ended(struct link *l, int result)
{
    if (result == IO_DONE)
        conn_dialed(&l->conn);
    else if (result != IO_AGAIN)
        broke(l, result);
}

bool link_dial(struct link *l, struct io *io, const struct io_address *to, enum wire_dialect hint)
{
    if (!conn_dial(&l->conn, hint, (uint32_t)io->random(io) & 0xFFFFFF))
        return false;
    l->pooled = l->late = l->waited = false;
    l->to = *to;
    dial_ended(l, io->dial(io, &l->sock, to));
    return true;
}

/* ---- Moving bytes ---- */

bool link_over(const struct link *l)
{
    return l->conn.state == CONN_BROKEN || l->conn.state == CONN_COLD || (l->conn.state == CONN_READY && conn_at_rest(&l->conn));
}

static void arrived(struct link *l, ptrdiff_t got)
{
    if (got >= 0)
        conn_took(&l->conn, (size_t)got);
    else if (got != IO_AGAIN)
        broke(l, (int)got);
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
            broke(l, (int)sent);
        return true;
    }
    conn_sent(&l->conn, (size_t)sent);
    return conn_pending(&l->conn, spans) == 0;
}

bool link_wants(struct link *l, struct io_poll *poll)
{
    mend_bytes spans[3];
    bool       dialing = l->conn.state == CONN_DIALING;

    *poll = (struct io_poll){.in = !dialing, .out = dialing || conn_pending(&l->conn, spans) > 0};
    if (!link_over(l))
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

void link_turn(struct link *const *links, struct io_poll *polls, size_t n, struct io *io, nstime until, nstime deadline)
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
    bool   over = now >= deadline;
    bool   stopped = now > deadline + MS(LINK_STOPPED_MS);
    for (size_t i = 0; i < n; i++) {
        if (polls[i].ready)
            link_ready(links[i], io);
        if (over && !link_over(links[i]))
            broke(links[i], stopped || !links[i]->waited ? IO_LATE : IO_TIMEOUT);
    }
}

/* One turn of one link. */
static void turn(struct link *l, struct io *io, nstime now, nstime deadline)
{
    struct conn_span room[2];
    struct io_poll   poll;

    if (l->conn.state == CONN_DIALING || now >= deadline || !push(l, io)) {
        link_turn(&l, &poll, 1, io, deadline, deadline); /* to connect, to be writable, a last look: rare enough for a poll */
        return;
    }
    if (link_over(l))
        return;
    now = io->now(io); /* the send may have cost this thread its turn on the processor */
    if (now >= deadline)
        return;
    l->waited = true;
    size_t    n = conn_room(&l->conn, room);
    ptrdiff_t got = io->recv(io, &l->sock, room, n, now, deadline);
    if (got == IO_TIMEOUT && io->now(io) > deadline + MS(LINK_STOPPED_MS))
        got = IO_LATE;
    arrived(l, got);
}

void link_run(struct link *l, struct io *io, nstime now, nstime deadline)
{
    while (!link_over(l)) {
        turn(l, io, now, deadline);
        if (!link_over(l))
            now = io->now(io);
    }
}

/* ---- Idle, and the end ---- */

bool link_quiet(struct link *l, struct io *io)
{
    return io->look(io, &l->sock) == IO_AGAIN;
}

void link_close(struct link *l, struct io *io, bool reset)
{
    io->close(io, &l->sock, reset || l->conn.ambiguous);
}
