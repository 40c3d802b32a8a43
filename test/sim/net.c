/* net.c - see net.h. */
#include "sim/net.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW_BYTES = 64 * 1024,
    LINES_MAX = 32768,
    NAME_BYTES = 24,
    LIST_MAX = 10, /* addresses of one name... */
    LIST_TRIED = 8, /* ...and how many of them the library says that it tries */
};

/* ---- Bytes on their way: one direction of a connection ---- */

struct segment {
    nstime          when; /* it arrives; NEVER: it is held back by a cut */
    char           *bytes;
    size_t          length, taken;
    struct segment *next;
};

struct pipe {
    struct segment *first, *last;
    size_t          on_the_way; /* bytes that were not taken yet */
    nstime          latest;     /* arrival of what was sent last: nothing overtakes */
    nstime          fin, rst;   /* when these arrive; NEVER: they were not sent */
};

enum line_state { LINE_DIALING, LINE_OPEN, LINE_REFUSED };

/* What an address leads to: it is a server's if it has the number that this has now. */
struct place {
    unsigned char server, dead; /* dead: a machine is there, and refuses; else nobody is */
    uint16_t      number;
};

/* One connection, ours to a server. */
struct line {
    struct net      *net;
    struct server   *server;
    int              fd;
    enum line_state  state;
    nstime           dialed;
    nstime           settled; /* when the dial ends; NEVER: it hangs */
    struct place     place; /* that was dialed */
    struct pipe      up, down;
    bool             closed; /* by us */
    bool             gone;   /* by the server */
    bool             known;  /* to the server, by its password */
    char            *heard;  /* by the server, and not yet a whole request */
    size_t           heard_count, heard_room;
};

struct server {
    struct net       *net;
    unsigned          index;
    char              name[NAME_BYTES];
    bool              running, stopped, cut, only_trials, named, is_unix;
    bool              wants_password, password_changed;
    struct place      place;
    struct place      list[LIST_MAX]; /* what its name is found to be */
    unsigned          listed, list_most;
    uint16_t          numbers; /* how many it has had */
    nstime            latency;
    uint64_t          executed; /* but for trials */
    enum toy_dialect  dialect;
    struct toy       *memory;
    struct net_faults faults;
};

struct net {
    struct io     io;
    struct world  world;
    struct dream *dream;
    unsigned      count;
    struct server servers[NET_SERVERS_MAX];
    struct line  *lines[LINES_MAX];
    int           line_count;
    bool          bell;
    int64_t       wall;
    nstime        straggle;
    unsigned      open, open_most;
    size_t        sockets_max;
    unsigned      lookups;
    struct afterthought *afterthoughts;
    struct io_lookup *all_lookups; /* that there ever were */
    struct word_wait *waits;
    void (*executed)(unsigned, const struct toy_ask *, void *);
    void            *context;
    void (*refused)(unsigned, nstime, void *);
    void            *refused_context;
    void (*rested)(void *);
    void            *rested_context;
    _Atomic uint32_t words[2];
    uint64_t         faults[FAULTS]; /* how many there were of each kind */
};

static struct net *net_of(struct io *io)
{
    return (struct net *)io;
}

/* ---- Faults ---- */

void net_count(struct net *n, enum fault kind)
{
    n->faults[kind]++;
}

const uint64_t *net_counted(const struct net *n)
{
    return n->faults;
}

static bool strikes(struct net *n, unsigned permille, enum fault kind)
{
    if (!dream_permille(n->dream, permille))
        return false;
    net_count(n, kind);
    return true;
}

/* ---- Pipes ---- */

static void nothing(void *arg)
{
    (void)arg;
}

static nstime arrival(struct line *l, struct pipe *p, nstime extra)
{
    if (l->server->cut)
        return NEVER;
    nstime when = dream_now(l->net->dream) + l->server->latency + extra;
    if (p->latest != NEVER && when < p->latest)
        when = p->latest;
    return when;
}

static void pipe_add(struct line *l, struct pipe *p, const char *bytes, size_t n, nstime extra, void (*arrived)(void *))
{
    struct segment *s = calloc(1, sizeof *s);

    s->bytes = malloc(n);
    memcpy(s->bytes, bytes, n);
    s->length = n;
    s->when = p->latest = arrival(l, p, extra);
    if (p->last)
        p->last->next = s;
    else
        p->first = s;
    p->last = s;
    p->on_the_way += n;
    if (s->when != NEVER)
        dream_at(l->net->dream, s->when, arrived, l);
}

static void pipe_end(struct line *l, struct pipe *p, nstime *end, void (*arrived)(void *))
{
    if (*end != NEVER || p->rst != NEVER)
        return;
    *end = arrival(l, p, 0);
    if (*end == NEVER)
        *end = NEVER - 1; /* sent, and held back */
    else
        dream_at(l->net->dream, *end, arrived, l);
}

static bool here(const struct net *n, nstime when)
{
    return when <= dream_now(n->dream);
}

static size_t pipe_take(struct net *n, struct pipe *p, char *to, size_t most)
{
    size_t got = 0;

    while (p->first && got < most && here(n, p->first->when)) {
        struct segment *s = p->first;
        size_t          take = s->length - s->taken < most - got ? s->length - s->taken : most - got;
        memcpy(to + got, s->bytes + s->taken, take);
        s->taken += take;
        got += take;
        if (s->taken < s->length)
            break;
        p->first = s->next;
        if (!p->first)
            p->last = NULL;
        free(s->bytes);
        free(s);
    }
    p->on_the_way -= got;
    return got;
}

static void pipe_drop(struct pipe *p)
{
    for (struct segment *s = p->first, *next; s; s = next) {
        next = s->next;
        free(s->bytes);
        free(s);
    }
    p->first = p->last = NULL;
    p->on_the_way = 0;
}

/* What a cut held back goes on its way again, in order: a retransmission later. */
static void pipe_release(struct line *l, struct pipe *p, void (*arrived)(void *))
{
    struct net *n = l->net;
    nstime      when = dream_now(n->dream) + l->server->latency + dream_between(n->dream, 0, MS(300));

    for (struct segment *s = p->first; s; s = s->next)
        if (s->when == NEVER) {
            s->when = p->latest = when;
            dream_at(n->dream, when, arrived, l);
        }
    for (nstime *end = &p->fin; end; end = end == &p->fin ? &p->rst : NULL)
        if (*end == NEVER - 1) {
            *end = p->latest = when;
            dream_at(n->dream, when, arrived, l);
        }
}

static void pipe_hold(struct net *n, struct pipe *p)
{
    for (struct segment *s = p->first; s; s = s->next)
        if (!here(n, s->when))
            s->when = NEVER;
    if (p->fin < NEVER - 1 && !here(n, p->fin))
        p->fin = NEVER - 1;
    if (p->rst < NEVER - 1 && !here(n, p->rst))
        p->rst = NEVER - 1;
    if (p->latest != NEVER && !here(n, p->latest))
        p->latest = NEVER;
}

/* ---- The servers ---- */

static void served(void *arg);

static void hang_up(struct line *l, bool reset)
{
    if (l->gone)
        return;
    l->gone = true;
    pipe_end(l, &l->down, reset ? &l->down.rst : &l->down.fin, nothing);
}

static void say(struct line *l, const char *bytes, size_t n, nstime extra)
{
    if (!l->gone && n)
        pipe_add(l, &l->down, bytes, n, extra, nothing);
}

/* What a server says some time later, unasked. */
struct afterthought {
    struct line         *line;
    size_t               length;
    struct afterthought *next;
    char                 bytes[];
};

static void blurt(void *arg)
{
    struct afterthought *a = arg;
    if (!a->line->closed)
        say(a->line, a->bytes, a->length, 0);
}

static void say_later(struct line *l, const char *bytes, size_t n, nstime wait)
{
    struct afterthought *a = malloc(sizeof *a + n);

    *a = (struct afterthought){.line = l, .length = n, .next = l->net->afterthoughts};
    memcpy(a->bytes, bytes, n);
    l->net->afterthoughts = a;
    dream_at(l->net->dream, dream_now(l->net->dream) + wait, blurt, a);
}

/* An answer on its way, and what the server's faults make of it. Returns whether the server goes on with this connection. */
static bool answer(struct line *l, const char *bytes, size_t length)
{
    struct net              *n = l->net;
    const struct net_faults *f = &l->server->faults;
    size_t                   cut = dream_below(n->dream, length);

    if (strikes(n, f->silent, FAULT_SILENT)) { /* for good: TCP loses no answer and delivers the next */
        l->gone = true;
        return false;
    }
    if (strikes(n, f->late, FAULT_LATE)) {
        say(l, bytes, length, dream_between(n->dream, 0, f->late_by));
        return true;
    }
    if (strikes(n, f->cut, FAULT_CUT)) {
        say(l, bytes, cut, 0);
        l->gone = true; /* silent from now on */
        return false;
    }
    if (strikes(n, f->cut_and_close, FAULT_CUT_CLOSE) || strikes(n, f->cut_and_reset, FAULT_CUT_RESET)) {
        say(l, bytes, cut, 0);
        hang_up(l, dream_permille(n->dream, 500));
        return false;
    }
    if (strikes(n, f->garbage, FAULT_GARBAGE)) {
        char noise[40];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (char)dream_below(n->dream, 256);
        noise[dream_below(n->dream, sizeof noise)] = '\n';
        say(l, noise, sizeof noise, 0);
        return true;
    }
    if (strikes(n, f->trickle, FAULT_TRICKLE)) {
        for (size_t i = 0; i < length; i++)
            say(l, bytes + i, 1, (nstime)(i + 1) * dream_between(n->dream, 0, MS(1)));
        return true;
    }
    say(l, bytes, length, 0);
    if (strikes(n, f->twice, FAULT_TWICE))
        say_later(l, bytes, length, dream_between(n->dream, 0, dream_below(n->dream, 2) ? MS(1) : MS(20)));
    if (strikes(n, f->blurt, FAULT_UNASKED))
        say_later(l, "EN O1\r\n", 7, dream_between(n->dream, 0, MS(50)));
    if (strikes(n, f->half_close, FAULT_HALF_CLOSE)) {
        hang_up(l, false);
        return false;
    }
    return true;
}

/* Another key that it has becomes the one that is asked for. */
static void mistake_key(struct line *l, struct toy_ask *ask)
{
    static char key[32];
    size_t      length;

    ask->said_key = "key:of:somebody:else";
    if (!toy_is(ask, "mg") || toy_flag(ask, 'T') || toy_flag(ask, 'b'))
        return;
    for (int tries = 0; tries < 4; tries++) {
        int n = snprintf(key, sizeof key, "key:%u", (unsigned)dream_below(l->net->dream, 12));
        if (strcmp(key, ask->key) == 0 || !toy_get(l->server->memory, key, (size_t)n, &length))
            continue;
        ask->said_key = key;
        ask->key_length = (size_t)n;
        memcpy(ask->key, key, (size_t)n + 1);
        return;
    }
}

/* What a server lies about: the answer names another key, or another question's number. */
static void lie(struct line *l, struct toy_ask *ask)
{
    struct net              *n = l->net;
    const struct net_faults *f = &l->server->faults;

    if (strikes(n, f->wrong_key, FAULT_WRONG_KEY))
        mistake_key(l, ask);
    ask->said_opaque = strikes(n, f->wrong_opaque, FAULT_WRONG_OPAQUE) ? "4294967295" : NULL;
}

/* As memcached -Y: before anything else a classic set, of any key, whose value is user and password. */
static const char *checked(struct line *l, const struct toy_ask *ask)
{
    static const char expected[] = NET_USER " " NET_PASSWORD;
    struct server    *s = l->server;

    if (!toy_is(ask, "set"))
        return "CLIENT_ERROR unauthenticated\r\n";
    l->known = !s->password_changed && ask->body_length == strlen(expected) && memcmp(ask->body, expected, ask->body_length) == 0;
    if (l->known)
        return "STORED\r\n";
    if (l->net->refused)
        l->net->refused(s->index, l->dialed, l->net->refused_context);
    return "CLIENT_ERROR authentication failure\r\n";
}

/* What every connection asks first. */
static bool is_greeting(const struct toy_ask *ask)
{
    return strcmp(ask->key, "mend:trial") == 0 || strcmp(ask->key, "mend:auth") == 0;
}

static bool serve_one(struct line *l)
{
    static struct toy_ask ask; /* large, and used by one at a time */
    struct server        *s = l->server;
    size_t                took = toy_parse(&ask, s->memory, s->dialect, l->heard, l->heard_count);

    if (took == 0)
        return false;
    if (took == TOY_NONSENSE || (s->dialect == TOY_PROXY && ask.meta)) {
        hang_up(l, false);
        return false;
    }
    if (s->only_trials && !is_greeting(&ask)) {
        hang_up(l, false);
        return false;
    }
    lie(l, &ask);
    bool goes_on = true;
    if (strikes(l->net, s->faults.server_error, FAULT_SERVER_ERROR)) /* before it has done anything */
        say(l, "SERVER_ERROR out of memory\r\n", 28, 0);
    else if (s->wants_password && !l->known) {
        const char *verdict = checked(l, &ask);
        goes_on = answer(l, verdict, strlen(verdict));
    } else {
        toy_time(s->memory, dream_now(l->net->dream) / MS(1000));
        toy_answer(&ask, s->dialect);
        s->executed += !is_greeting(&ask);
        if (l->net->executed)
            l->net->executed(s->index, &ask, l->net->context);
        goes_on = answer(l, ask.answer, ask.length);
    }
    memmove(l->heard, l->heard + took, l->heard_count - took);
    l->heard_count -= took;
    return goes_on;
}

/* Bytes, or an end, have come to the server's machine: the process reads them if it runs. */
static void served(void *arg)
{
    struct line   *l = arg;
    struct server *s = l->server;
    char           bytes[4096];
    size_t         n;

    if (l->state != LINE_OPEN || l->gone)
        return;
    if (!s->running) {
        hang_up(l, true);
        return;
    }
    if (s->stopped)
        return;
    while ((n = pipe_take(l->net, &l->up, bytes, sizeof bytes)) > 0) {
        if (l->heard_count + n > l->heard_room) {
            l->heard_room = (l->heard_count + n) * 2;
            l->heard = realloc(l->heard, l->heard_room);
        }
        memcpy(l->heard + l->heard_count, bytes, n);
        l->heard_count += n;
    }
    while (!l->gone && serve_one(l))
        ;
    if (!l->gone && (here(l->net, l->up.fin) || here(l->net, l->up.rst)))
        hang_up(l, false);
}

static void accept_line(struct line *l)
{
    struct net *n = l->net;

    l->state = LINE_OPEN;
    if (strikes(n, l->server->faults.full, FAULT_FULL)) {
        say(l, "ERROR Too many open connections\r\n", 33, 0);
        hang_up(l, false);
    }
}

/* The addresses of a name that are no server's. */
static bool nobody_there(struct line *l)
{
    if (l->place.number == l->server->place.number)
        return false;
    net_count(l->net, l->place.dead ? FAULT_DEAD_ADDRESS : FAULT_SILENT_ADDRESS);
    return true;
}

/* A connection request has come to the server's machine, or its refusal is decided. */
static void settle(void *arg)
{
    struct line   *l = arg;
    struct net    *n = l->net;
    struct server *s = l->server;
    bool           refused;

    if (l->closed || l->state != LINE_DIALING || s->cut)
        return;
    if (nobody_there(l)) {
        refused = l->place.dead;
        if (!refused)
            return;
    } else {
        if (strikes(n, s->faults.hang, FAULT_DIAL_HANGS))
            return;
        refused = !s->running || strikes(n, s->faults.refuse, FAULT_REFUSED);
    }
    l->settled = dream_now(n->dream) + s->latency;
    dream_at(n->dream, l->settled, nothing, NULL);
    if (refused)
        l->state = LINE_REFUSED;
    else
        accept_line(l);
}

/* On a Unix socket there is no way to go: it is decided at once. A full backlog refuses. */
static int settle_unix(struct line *l)
{
    struct net    *n = l->net;
    struct server *s = l->server;

    l->settled = dream_now(n->dream);
    l->state = LINE_REFUSED;
    if (!s->running || strikes(n, s->faults.refuse, FAULT_REFUSED) || strikes(n, s->faults.hang, FAULT_REFUSED))
        return IO_REFUSED;
    accept_line(l);
    return IO_DONE;
}

/* ---- Names and their addresses ---- */

static void exchange(struct place *a, struct place *b)
{
    struct place t = *a;
    *a = *b;
    *b = t;
}

/* A name's addresses, drawn anew. The server's own is among those that are tried, unless it is to be missing. */
static void list_anew(struct server *s, bool without)
{
    struct dream *d = s->net->dream;

    s->listed = 1 + (unsigned)dream_below(d, s->list_most);
    for (unsigned i = 0; i < s->listed; i++)
        s->list[i] = (struct place){.server = (unsigned char)s->index, .dead = dream_below(d, 2) == 0, .number = s->numbers++};
    if (!without)
        s->list[dream_below(d, s->listed < LIST_TRIED ? s->listed : LIST_TRIED)] = s->place;
}

static bool is_listed(const struct server *s)
{
    for (unsigned i = 0; i < s->listed && i < LIST_TRIED; i++)
        if (s->list[i].number == s->place.number)
            return true;
    return false;
}

/* What a lookup finds: now and then another list, and often another order. */
static void consult(struct server *s)
{
    struct net *n = s->net;
    unsigned    tried = s->listed < LIST_TRIED ? s->listed : LIST_TRIED;

    if (strikes(n, s->faults.new_list, FAULT_NEW_LIST))
        list_anew(s, strikes(n, s->faults.not_listed, FAULT_NOT_LISTED));
    else if (tried > 1)
        exchange(&s->list[dream_below(n->dream, tried)], &s->list[dream_below(n->dream, tried)]);
}

static struct io_address address_of(struct place p)
{
    struct io_address to = {.len = sizeof p};
    memcpy(to.bytes, &p, sizeof p);
    return to;
}

/* ---- What happens to servers ---- */

static void each_line(struct net *n, struct server *s, void (*what)(struct line *))
{
    for (int i = 0; i < n->line_count; i++)
        if (n->lines[i]->server == s)
            what(n->lines[i]);
}

static void reset_line(struct line *l)
{
    if (l->state == LINE_OPEN)
        hang_up(l, true);
    l->heard_count = 0;
}

void net_kill(struct net *n, unsigned server, bool memory_too)
{
    struct server *s = &n->servers[server];

    dream_note(n->dream, "kill -9 of server %u%s", server, memory_too ? "" : ", whose memory survives");
    net_count(n, memory_too ? FAULT_KILLED : FAULT_KILLED_KEPT);
    s->running = s->stopped = false;
    each_line(n, s, reset_line);
    if (memory_too)
        toy_forget_all(s->memory);
}

void net_other(struct net *n, unsigned server, const char *request, enum fault kind)
{
    static struct toy_ask ask;
    struct server        *s = &n->servers[server];

    if (!s->running || s->stopped)
        return;
    toy_parse(&ask, s->memory, s->dialect, request, strlen(request));
    if (ask.meta && s->dialect != TOY_META && s->dialect != TOY_BARE)
        return;
    net_count(n, kind);
    toy_time(s->memory, dream_now(n->dream) / MS(1000));
    toy_answer(&ask, s->dialect);
    n->executed(server, &ask, n->context);
    toy_done(&ask);
}

void net_start(struct net *n, unsigned server)
{
    dream_note(n->dream, "server %u starts", server);
    n->servers[server].running = true;
}

/* Whether a trial's question is next. */
static bool asks_trial(const struct line *l)
{
    const struct segment *s = l->up.first;
    return s && (memmem(s->bytes, s->length, "mend:trial", 10) || memmem(s->bytes, s->length, "mend:auth", 9) || memmem(s->bytes, s->length, "bWVuZDp0cmlhbA==", 16));
}

/* Worker threads run in any order: that one's which has a connection that we have given up, or whose callers have gone, may be
 * the last. Of who waits still nobody is made to: the trial that a server has to come back by is answered at once. */
static void serve_line(struct line *l)
{
    struct net *n = l->net;
    bool        late = l->closed || (l->up.first && !asks_trial(l) && dream_below(n->dream, 2));

    if (late && n->straggle && l->state == LINE_OPEN && !l->gone)
        dream_at(n->dream, dream_now(n->dream) + dream_between(n->dream, 0, dream_below(n->dream, 2) ? n->straggle : n->straggle / 100), served, l);
    else
        served(l);
}

void net_straggle(struct net *n, nstime most)
{
    n->straggle = most;
}

void net_stop(struct net *n, unsigned server, bool stopped)
{
    struct server *s = &n->servers[server];

    if (s->stopped == stopped || !s->running)
        return;
    dream_note(n->dream, "%s to server %u", stopped ? "SIGSTOP" : "SIGCONT", server);
    if (stopped)
        net_count(n, FAULT_STOPPED);
    s->stopped = stopped;
    if (!stopped)
        each_line(n, s, serve_line);
}

static void hold_line(struct line *l)
{
    pipe_hold(l->net, &l->up);
    pipe_hold(l->net, &l->down);
}

static void release_line(struct line *l)
{
    pipe_release(l, &l->up, served);
    pipe_release(l, &l->down, nothing);
    if (l->state == LINE_DIALING) /* its SYN is sent again, some time */
        dream_at(l->net->dream, dream_now(l->net->dream) + dream_between(l->net->dream, 0, MS(1000)), settle, l);
}

void net_cut(struct net *n, unsigned server, bool cut)
{
    struct server *s = &n->servers[server];

    if (s->cut == cut || s->is_unix)
        return;
    dream_note(n->dream, "the network to server %u is %s", server, cut ? "cut" : "whole again");
    if (cut)
        net_count(n, FAULT_NETWORK_CUT);
    s->cut = cut;
    each_line(n, s, cut ? hold_line : release_line);
}

void net_only_trials(struct net *n, unsigned server, bool only)
{
    struct server *s = &n->servers[server];

    if (only == s->only_trials)
        return;
    dream_note(n->dream, "server %u answers %s", server, only ? "trials only" : "everybody again");
    if (only)
        net_count(n, FAULT_TRIALS_ONLY);
    s->only_trials = only;
}

void net_wants_password(struct net *n, unsigned server)
{
    n->servers[server].wants_password = true;
}

/* Who is connected stays so, unless it took a restart. */
void net_change_password(struct net *n, unsigned server, bool changed)
{
    struct server *s = &n->servers[server];

    if (changed == s->password_changed || !s->wants_password)
        return;
    dream_note(n->dream, "the password of server %u is %s", server, changed ? "changed" : "as it was");
    s->password_changed = changed;
    if (!changed)
        return;
    net_count(n, FAULT_PASSWORD);
    if (dream_below(n->dream, 2))
        each_line(n, s, reset_line);
}

/* But for its password. */
static bool is_well(const struct server *s)
{
    static const struct net_faults none;
    struct net_faults       f = s->faults;

    f.short_recv = f.short_send = 0; /* these cost no answer, and no time */
    f.late_by = 0;
    return s->running && !s->stopped && !s->cut && !s->only_trials && memcmp(&f, &none, sizeof f) == 0;
}

bool net_well(const struct net *n, unsigned server)
{
    return is_well(&n->servers[server]) && !n->servers[server].password_changed;
}

bool net_refuses(const struct net *n, unsigned server)
{
    return is_well(&n->servers[server]) && n->servers[server].password_changed;
}

bool net_gone(const struct net *n, unsigned server)
{
    const struct server *s = &n->servers[server];
    return !s->running || s->stopped || s->cut;
}

struct net_faults *net_faults(struct net *n, unsigned server)
{
    return &n->servers[server].faults;
}

void net_calm(struct net *n)
{
    for (unsigned i = 0; i < n->count; i++) {
        n->servers[i].faults = (struct net_faults){0};
        if (!is_listed(&n->servers[i]))
            list_anew(&n->servers[i], false);
        net_cut(n, i, false);
        net_only_trials(n, i, false);
        net_change_password(n, i, false);
        if (!n->servers[i].running)
            net_start(n, i);
        net_stop(n, i, false);
    }
}

void net_speak(struct net *n, unsigned server, enum toy_dialect dialect)
{
    n->servers[server].dialect = dialect;
}

void net_latency(struct net *n, unsigned server, nstime one_way)
{
    n->servers[server].latency = one_way;
}

nstime net_round_trip(const struct net *n, unsigned server)
{
    return 2 * n->servers[server].latency;
}

uint64_t net_executed(const struct net *n, unsigned server)
{
    return n->servers[server].executed;
}

void net_wall(struct net *n, int64_t seconds)
{
    dream_note(n->dream, "the wall clock jumps by %lld s", (long long)seconds);
    net_count(n, FAULT_WALL_CLOCK);
    n->wall += seconds;
}

void net_named(struct net *n, unsigned server)
{
    struct server *s = &n->servers[server];
    s->named = true;
    snprintf(s->name, sizeof s->name, "cache%u.test:11211", server);
}

void net_listed(struct net *n, unsigned server, unsigned most)
{
    struct server *s = &n->servers[server];
    s->list_most = most < LIST_MAX ? most : LIST_MAX;
    list_anew(s, false);
}

void net_unix(struct net *n, unsigned server)
{
    struct server *s = &n->servers[server];
    s->is_unix = true;
    snprintf(s->name, sizeof s->name, "unix:/run/cache%u", server);
}

void net_move(struct net *n, unsigned server)
{
    struct server *s = &n->servers[server];

    dream_note(n->dream, "server %u moves to another address", server);
    net_count(n, FAULT_MOVED);
    unsigned at = 0;
    while (at < s->listed && s->list[at].number != s->place.number)
        at++;
    s->place.number = s->numbers++;
    if (at < s->listed)
        s->list[at] = s->place;
    each_line(n, s, reset_line);
}

unsigned net_servers(const struct net *n)
{
    return n->count;
}

const char *net_name(struct net *n, unsigned server)
{
    return n->servers[server].name;
}

/* ---- The io: time and chance ---- */

static nstime io_now(struct io *io)
{
    return dream_now(net_of(io)->dream);
}

static int64_t io_wall_s(struct io *io)
{
    return net_of(io)->wall + dream_now(net_of(io)->dream) / 1000000000;
}

static uint64_t io_random(struct io *io)
{
    return dream_chance(net_of(io)->dream);
}

/* ---- The io: sockets ---- */

static struct line *line_of(struct io *io, const struct io_sock *s)
{
    struct net *n = net_of(io);
    assert(s->fd >= 3 && s->fd < n->line_count + 3 && !n->lines[s->fd - 3]->closed);
    return n->lines[s->fd - 3];
}

static int io_dial(struct io *io, struct io_sock *s, const struct io_address *to, struct io_peer *peer)
{
    struct net    *n = net_of(io);
    struct place   place;

    (void)peer; /* nobody dreams of TLS */
    memcpy(&place, to->bytes, sizeof place);
    if (to->len != sizeof place || place.server >= n->count) {
        dream_fail(n->dream, "an address was dialed that nobody gave");
        return IO_FAILED;
    }
    struct server *server = &n->servers[place.server];
    if (strikes(n, server->faults.no_descriptor, FAULT_NO_DESCRIPTOR))
        return IO_RESOURCES;
    if (n->line_count == LINES_MAX) {
        dream_fail(n->dream, "%d connections were opened in one life", n->line_count);
        return IO_RESOURCES;
    }
    struct line *l = calloc(1, sizeof *l);
    l->net = n;
    l->server = server;
    l->place = server->is_unix ? server->place : place; /* a path leads to whoever is there */
    l->dialed = dream_now(n->dream);
    l->settled = NEVER;
    l->up.fin = l->up.rst = l->down.fin = l->down.rst = NEVER;
    l->fd = n->line_count + 3;
    n->lines[n->line_count++] = l;
    *s = (struct io_sock){.fd = l->fd};
    if (++n->open > n->open_most)
        n->open_most = n->open;
    if (n->open > n->sockets_max)
        dream_fail(n->dream, "%u sockets are open, more than the %zu that were promised", n->open, n->sockets_max);
    dream_note(n->dream, "dial %d to server %u, address %u", l->fd, server->index, place.number);
    if (server->is_unix)
        return settle_unix(l);
    dream_at(n->dream, dream_now(n->dream) + server->latency, settle, l);
    return IO_AGAIN;
}

static bool settled(const struct line *l)
{
    return l->state != LINE_DIALING && here(l->net, l->settled);
}

static int io_dialed(struct io *io, struct io_sock *s)
{
    struct line *l = line_of(io, s);

    if (!settled(l))
        return IO_AGAIN;
    return l->state == LINE_OPEN ? IO_DONE : IO_REFUSED;
}

static bool readable(const struct line *l)
{
    return (l->down.first && here(l->net, l->down.first->when)) || here(l->net, l->down.fin) || here(l->net, l->down.rst);
}

static ptrdiff_t io_send(struct io *io, struct io_sock *s, const mend_bytes *spans, size_t count)
{
    struct net  *n = net_of(io);
    struct line *l = line_of(io, s);
    char         bytes[WINDOW_BYTES];
    size_t       length = 0, room;

    if (here(n, l->down.rst) || (l->server->is_unix && l->down.fin != NEVER))
        return IO_RESET;
    room = WINDOW_BYTES > l->up.on_the_way ? WINDOW_BYTES - l->up.on_the_way : 0;
    for (size_t i = 0; i < count; i++) {
        size_t take = spans[i].len < room - length ? spans[i].len : room - length;
        memcpy(bytes + length, spans[i].data, take);
        length += take;
    }
    if (length == 0)
        return IO_AGAIN;
    if (strikes(n, l->server->faults.short_send, FAULT_SHORT_SEND))
        length = 1 + dream_below(n->dream, length);
    if (!l->gone || l->server->stopped)
        pipe_add(l, &l->up, bytes, length, 0, served);
    else
        pipe_end(l, &l->down, &l->down.rst, nothing); /* nobody there: the answer is a reset */
    return (ptrdiff_t)length;
}

static ptrdiff_t io_recv_now(struct io *io, struct io_sock *s, struct conn_span *room, size_t count)
{
    struct net  *n = net_of(io);
    struct line *l = line_of(io, s);
    size_t       got = 0;

    for (size_t i = 0; i < count; i++) {
        size_t want = room[i].len;
        if (want && strikes(n, l->server->faults.short_recv, FAULT_SHORT_RECV))
            want = 1 + dream_below(n->dream, want < 32 ? want : 32);
        size_t took = pipe_take(n, &l->down, room[i].data, want);
        got += took;
        if (took < room[i].len)
            break;
    }
    if (got)
        return (ptrdiff_t)got;
    if (here(n, l->down.rst))
        return IO_RESET;
    return here(n, l->down.fin) ? IO_CLOSED : IO_AGAIN;
}

static bool line_readable(void *arg)
{
    return readable(arg);
}

static ptrdiff_t io_recv(struct io *io, struct io_sock *s, struct conn_span *room, size_t count, nstime now, nstime deadline)
{
    struct net *n = net_of(io);
    bool        late = dream_now(n->dream) >= deadline;

    (void)now;
    dream_wait(n->dream, line_readable, line_of(io, s), deadline);
    ptrdiff_t got = io_recv_now(io, s, room, count);
    if (got == IO_AGAIN)
        return late ? IO_LATE : IO_TIMEOUT;
    return got;
}

static ptrdiff_t io_recv_soon(struct io *io, struct io_sock *s, struct conn_span *room, size_t count, nstime now, nstime deadline)
{
    struct net *n = net_of(io);
    nstime      moment = MS(dream_below(n->dream, 20) + 1);

    if (deadline - now <= moment)
        return IO_AGAIN;
    dream_wait(n->dream, line_readable, line_of(io, s), dream_now(n->dream) + moment);
    return io_recv_now(io, s, room, count);
}

static int io_look(struct io *io, struct io_sock *s)
{
    struct line *l = line_of(io, s);

    if (l->down.first && here(l->net, l->down.first->when))
        return IO_DONE;
    if (here(l->net, l->down.rst))
        return IO_RESET;
    return here(l->net, l->down.fin) ? IO_CLOSED : IO_AGAIN;
}

static void io_close(struct io *io, struct io_sock *s, bool reset)
{
    if (s->fd < 0)
        return;
    struct net  *n = net_of(io);
    struct line *l = line_of(io, s);

    dream_note(n->dream, "%s %d", reset ? "reset" : "close", l->fd);
    l->closed = true;
    n->open--;
    pipe_drop(&l->down);
    if (reset && !l->server->is_unix) {
        struct segment **at = &l->up.first;
        while (*at && here(n, (*at)->when)) /* the server's kernel has it */
            at = &(*at)->next;
        struct pipe rest = {.first = *at};
        *at = NULL;
        pipe_drop(&rest);
        l->up.last = l->up.first;
        while (l->up.last && l->up.last->next)
            l->up.last = l->up.last->next;
    }
    pipe_end(l, &l->up, reset ? &l->up.rst : &l->up.fin, served);
    *s = (struct io_sock)IO_SOCK_CLOSED;
}

/* ---- The io: waiting ---- */

struct poll_wait {
    struct net     *net;
    struct io_poll *polls;
    size_t          n;
    bool            bell;
};

static bool poll_ready_one(struct net *n, const struct io_poll *p)
{
    if (!p->sock)
        return false;
    if (p->sock->fd < 3 || n->lines[p->sock->fd - 3]->closed)
        return false; /* closed by its owner while another watched a copy of it */
    const struct line *l = n->lines[p->sock->fd - 3];
    if (l->state == LINE_DIALING || !settled(l))
        return false;
    bool ended = here(n, l->down.fin) || here(n, l->down.rst);
    return ended || (p->in && readable(l)) || (p->out && l->up.on_the_way < WINDOW_BYTES);
}

static bool poll_ready(void *arg)
{
    struct poll_wait *w = arg;

    if (w->bell && w->net->bell)
        return true;
    for (size_t i = 0; i < w->n; i++)
        if (poll_ready_one(w->net, &w->polls[i]))
            return true;
    return false;
}

static int io_poll(struct io *io, struct io_poll *polls, size_t n, nstime deadline, bool bell)
{
    struct net      *net = net_of(io);
    struct poll_wait w = {net, polls, n, bell};
    int              ready = 0;

    if (bell && net->rested)
        net->rested(net->rested_context);
    dream_wait(net->dream, poll_ready, &w, deadline);
    if (bell)
        net->bell = false;
    for (size_t i = 0; i < n; i++)
        ready += polls[i].ready = poll_ready_one(net, &polls[i]);
    return ready;
}

static void io_ring(struct io *io)
{
    net_of(io)->bell = true;
}

struct word_wait {
    _Atomic uint32_t *word;
    uint32_t          as;
    bool              woken;
    struct word_wait *next;
};

static bool woken(void *arg)
{
    return ((struct word_wait *)arg)->woken;
}

/* As the kernel's: a word that has changed already ends it, one that changes later does not; only a wake does. */
static void io_wait(struct io *io, _Atomic uint32_t *word, uint32_t seen, uint32_t as, nstime deadline)
{
    struct net       *n = net_of(io);
    struct word_wait  w = {.word = word, .as = as, .next = n->waits};
    struct word_wait **at;

    if (atomic_load(word) != seen)
        return;
    if (dream_permille(n->dream, 20))
        deadline = dream_now(n->dream); /* for no reason */
    n->waits = &w;
    dream_wait(n->dream, woken, &w, deadline);
    for (at = &n->waits; *at != &w; at = &(*at)->next)
        ;
    *at = w.next;
}

static void io_wake(struct io *io, _Atomic uint32_t *word, uint32_t whom, bool all)
{
    struct net       *n = net_of(io);
    struct word_wait *among[64];
    size_t            count = 0;

    for (struct word_wait *w = n->waits; w; w = w->next)
        if (w->word == word && w->as & whom && !w->woken && count < 64)
            among[count++] = w;
    for (size_t i = 0; all && i < count; i++)
        among[i]->woken = true;
    if (!all && count)
        among[dream_below(n->dream, count)]->woken = true;
}

static void io_yield(struct io *io)
{
    dream_yield(net_of(io)->dream);
}

/* ---- The io: threads ---- */

struct io_thread {
    struct dream_thread *thread;
};

static struct io_thread *io_spawn(struct io *io, void (*run)(void *), void (*abandoned)(void *), void *arg)
{
    struct io_thread *t = malloc(sizeof *t);

    (void)abandoned;
    t->thread = dream_thread(net_of(io)->dream, run, arg);
    return t;
}

static bool thread_ended(void *arg)
{
    return dream_ended(((struct io_thread *)arg)->thread);
}

static bool io_join(struct io *io, struct io_thread *t, nstime deadline)
{
    if (!dream_wait(net_of(io)->dream, thread_ended, t, deadline))
        dream_fail(net_of(io)->dream, "the healer does not end in time");
    free(t);
    return true;
}

static bool io_is_me(struct io *io, const struct io_thread *t)
{
    return dream_self(net_of(io)->dream) == t->thread;
}

static const void *io_me(struct io *io)
{
    return dream_self(net_of(io)->dream);
}

/* ---- The io: names ---- */

struct io_lookup {
    struct net    *net;
    struct server *server;
    nstime         done; /* NEVER: it hangs */
    bool           fails;
    bool           dropped;
    struct io_lookup *next;
};

static struct server *server_named(struct net *n, const char *host, bool is_unix)
{
    size_t scheme = is_unix ? strlen("unix:") : 0;

    for (unsigned i = 0; i < n->count; i++)
        if (n->servers[i].is_unix == is_unix && strncmp(n->servers[i].name + scheme, host, strlen(host)) == 0)
            return &n->servers[i];
    return NULL;
}

static int io_address(struct io *io, const char *host, uint16_t port, bool is_unix, struct io_address *to)
{
    struct server *s = server_named(net_of(io), host, is_unix);

    (void)port;
    if (!s || s->named)
        return IO_AGAIN;
    *to = address_of(s->place);
    return IO_DONE;
}

static void looked_up(void *arg)
{
    struct io_lookup *l = arg;

    if (!l->dropped)
        l->net->bell = true;
}

static struct io_lookup *io_lookup(struct io *io, const char *host, uint16_t port)
{
    struct net       *n = net_of(io);
    struct io_lookup *l = calloc(1, sizeof *l);

    (void)port;
    n->lookups++;
    *l = (struct io_lookup){.net = n, .server = server_named(n, host, false), .next = n->all_lookups};
    n->all_lookups = l;
    const struct net_faults *f = &l->server->faults;
    nstime                   takes = dream_between(n->dream, 0, MS(5));
    if (strikes(n, f->hung_name, FAULT_HUNG_NAME))
        takes = dream_between(n->dream, MS(500), MS(3000));
    else if (strikes(n, f->slow_name, FAULT_SLOW_NAME))
        takes = dream_between(n->dream, MS(5), MS(100));
    l->fails = strikes(n, f->no_name, FAULT_NO_NAME);
    l->done = dream_now(n->dream) + takes;
    dream_at(n->dream, l->done, looked_up, l);
    return l;
}

static int io_looked_up(struct io *io, struct io_lookup *l, struct io_address *to, size_t most)
{
    struct server *s = l->server;
    unsigned       found = 0;

    if (!here(net_of(io), l->done))
        return IO_AGAIN;
    if (l->fails)
        return IO_UNKNOWN_NAME;
    consult(s);
    for (; found < s->listed && found < most; found++)
        to[found] = address_of(s->list[found]);
    dream_note(net_of(io)->dream, "the name of server %u has %u addresses, the first of which is %u", s->index, found, s->list[0].number);
    return (int)found;
}

static void io_lookup_drop(struct io *io, struct io_lookup *l)
{
    struct net *n = net_of(io);

    n->lookups--;
    l->dropped = true;
}

/* ---- The world ---- */

static void io_free(struct io *io)
{
    struct net *n = net_of(io);

    if (n->open)
        dream_fail(n->dream, "%u sockets were left open", n->open);
    if (n->lookups)
        dream_fail(n->dream, "%u lookups were left", n->lookups);
}

static void io_forked(struct io *io)
{
    (void)io;
}

static struct io *world_begin(const struct world *world, const struct io_options *options)
{
    struct net *n = (struct net *)((char *)(uintptr_t)world - offsetof(struct net, world));
    n->sockets_max = options->sockets_max;
    return &n->io;
}

static bool io_room(struct io *io, size_t sockets)
{
    struct net *n = net_of(io);
    if (sockets > n->sockets_max)
        n->sockets_max = sockets;
    return true;
}

static _Atomic uint32_t *world_fork_words(const struct world *world)
{
    struct net *n = (struct net *)((char *)(uintptr_t)world - offsetof(struct net, world));
    return n->words;
}

static void world_fork_words_free(const struct world *world, _Atomic uint32_t *words)
{
    (void)world;
    (void)words;
}

const struct world *net_world(struct net *n)
{
    return &n->world;
}

struct net *net_new(struct dream *d, unsigned servers)
{
    struct net *n = calloc(1, sizeof *n);

    assert(servers <= NET_SERVERS_MAX);
    n->dream = d;
    n->count = servers;
    n->wall = 1800000000;
    n->world = (struct world){world_begin, world_fork_words, world_fork_words_free};
    n->io = (struct io){
        .now = io_now, .wall_s = io_wall_s, .random = io_random, .room = io_room,
        .dial = io_dial, .dialed = io_dialed, .send = io_send, .recv = io_recv, .recv_soon = io_recv_soon, .recv_now = io_recv_now, .look = io_look, .close = io_close,
        .poll = io_poll, .ring = io_ring, .wait = io_wait, .wake = io_wake, .yield = io_yield,
        .spawn = io_spawn, .join = io_join, .is_me = io_is_me, .me = io_me,
        .address = io_address, .lookup = io_lookup, .looked_up = io_looked_up, .lookup_drop = io_lookup_drop,
        .free = io_free, .forked = io_forked,
    };
    for (unsigned i = 0; i < servers; i++) {
        struct server *s = &n->servers[i];
        *s = (struct server){.net = n, .index = i, .running = true, .list_most = 1, .numbers = 1, .latency = 50000, .dialect = TOY_META, .memory = toy_new()};
        s->place.server = (unsigned char)i;
        s->list[s->listed++] = s->place;
        snprintf(s->name, sizeof s->name, "10.0.0.%u:11211", i + 1);
    }
    return n;
}

void net_free(struct net *n)
{
    for (int i = 0; i < n->line_count; i++) {
        pipe_drop(&n->lines[i]->up);
        pipe_drop(&n->lines[i]->down);
        free(n->lines[i]->heard);
        free(n->lines[i]);
    }
    for (unsigned i = 0; i < n->count; i++)
        toy_free(n->servers[i].memory);
    for (struct io_lookup *l = n->all_lookups, *next; l; l = next) {
        next = l->next;
        free(l);
    }
    for (struct afterthought *a = n->afterthoughts, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    free(n);
}

unsigned net_open(const struct net *n)
{
    return n->open;
}

unsigned net_open_most(const struct net *n)
{
    return n->open_most;
}

void net_on_execute(struct net *n, void (*executed)(unsigned, const struct toy_ask *, void *), void *context)
{
    n->executed = executed;
    n->context = context;
}

void net_on_refusal(struct net *n, void (*refused)(unsigned, nstime, void *), void *context)
{
    n->refused = refused;
    n->refused_context = context;
}

void net_on_round(struct net *n, void (*rested)(void *), void *context)
{
    n->rested = rested;
    n->rested_context = context;
}
