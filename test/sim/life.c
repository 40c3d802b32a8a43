/* life.c - see life.h. */
#include "sim/life.h"

#include <stdlib.h>
#include <string.h>

#include "client/life.h"
#include "sim/loads.h"
#include "sim/net.h"
#include "sim/oracle.h"

enum {
    CALLERS_MAX = 16,
    MANY_MAX = 12,
    OWN_TIMES = 4, /* the usual timeout, that a call of its own may have at most */
    REFUSED_MS = 10 * 1000, /* until a password that was refused is said again, and half as long at most */
    MEMORY_MAX = 48 << 20, /* that a client of four servers may have at once, with values of 48 KB */
};

/* ---- What a life consists of ---- */

struct later;

struct watched { /* a server, as the oracle of times sees it */
    nstime   well_since; /* NEVER: it is not well */
    nstime   gone_since; /* it answers nothing at all; NEVER: it does, sometimes */
    nstime   back;       /* when it was last let in */
    unsigned run, longest_run; /* of calls that failed, in a row; since it was let in */
    unsigned said;             /* how many calls are said to have failed in a row, by a fall that is to be looked into... */
    nstime   said_back;        /* ...after having been let in then */
    nstime   failed_latest;    /* when the call began that was the latest to begin of those that failed */
    unsigned broken;           /* calls whose links broke since anything else was heard of it, ... */
    uint64_t executed;         /* ...as it had executed so much, ... */
    uint64_t falls;            /* ...and had fallen so often */
    bool     listed;           /* it is in the list of servers... */
    nstime   listed_since;     /* ...since then */
    bool     classic;          /* it was taken for a classic one at some time: there are no leases then */
    uint64_t accepted;         /* so many overflows of its journal were accepted... */
    nstime   torn_since;       /* that there were more was seen then first; 0: there are not */
    nstime   accepted_at;      /* ...as it was last then */
    mend_calls told; /* what calls for keys said of it, as its statistics should */
    bool     refused;          /* the application was told that it refuses the password, and not yet that it is back... */
    nstime   refused_at;       /* ...as it was then; NEVER: or something else was wrong with it, too */
};

struct life_now {
    struct dream  *dream;
    struct net    *net;
    struct oracle *oracle;
    struct loads  *loads; /* NULL: nothing is fetched */
    mend_client   *client;

    unsigned servers, callers, calls_each;
    unsigned gutters; /* the last of the servers */
    int      gutter_ttl_s;
    int      timeout_ms, heal_max_ms, connections_max, idle_max, failures_allowed;
    bool     binary, memory_fails, poor, stalls, slow_names, hung_names, moves; /* poor: of memory or of descriptors */
    bool     busy;  /* short, and callers hardly pause: they meet on one connection all the time */
    bool     hasty; /* some calls have less time than is usual */
    bool     local[NET_SERVERS_MAX]; /* on a Unix socket */
    bool     changes; /* the list of servers does */
    bool     says_password; /* to every server, and some want one... */
    bool     refuses;       /* ...which was another at some time */
    mend_distribution distribution;
    unsigned home[ORACLE_KEYS];       /* where a key lives by the list in force... */
    nstime   home_since[ORACLE_KEYS];
    nstime   calm_at, chaos_ms;
    nstime   stalled; /* for how long threads of ours were stopped, in all... */
    nstime   stalled_last; /* ...and when that last ended */

    struct watched at[NET_SERVERS_MAX];
    struct later  *laters; /* all there ever were */
    unsigned       memory_permille;
    int            memory_left; /* allocations until there is no more memory at all; below 0: nothing of the kind */
    size_t         memory, memory_most, blocks;
    unsigned       ended;
    uint64_t       calls, asked_all; /* asked_all: those of every server, ping and flush_all */
    int            zombie_ms, journal_keys_max, resolve_s;
    int64_t        journal_bytes_max;
    mend_on_overflow on_overflow;
    nstime         lost_at[ORACLE_KEYS], lost_latest; /* when the last call for a write of it ended that failed; NEVER: none did */
    bool           calm, closing;
    bool           operated; /* somebody is there who accepts what was refused */
    nstime         all_up_at; /* since when every server has been up, as the healer's rounds saw it; NEVER: one is not */
    unsigned       slow[CALLERS_MAX][NET_SERVERS_MAX]; /* slow calls in this outage */
};

struct caller {
    struct life_now *life;
    unsigned         number;
    mend_reply       reply;
    mend_replies     replies;
    char            *value;  /* one of ours */
    char            *values; /* MANY_MAX of them */
    uint32_t         writes; /* the keys that its call writes, as bits */
    struct fetcher   fetcher;
};

/* ---- Memory: counted, and running out ---- */

struct block {
    _Alignas(max_align_t) size_t size;
};

static bool runs_out(struct life_now *l)
{
    bool out = l->memory_left == 0 || (l->memory_permille && dream_permille(l->dream, l->memory_permille));

    if (l->memory_left > 0)
        l->memory_left--;
    if (out)
        net_count(l->net, FAULT_NO_MEMORY);
    return out;
}

static void *allocate(size_t size, void *context)
{
    struct life_now *l = context;

    if (runs_out(l))
        return NULL;
    struct block *b = malloc(sizeof *b + size);
    b->size = size;
    l->blocks++;
    l->memory += size;
    if (l->memory > l->memory_most)
        l->memory_most = l->memory;
    if (l->memory > MEMORY_MAX)
        dream_fail(l->dream, "%zu bytes of memory are in use", l->memory);
    return b + 1;
}

static void release(void *p, void *context)
{
    struct life_now *l = context;
    struct block    *b = p ? (struct block *)p - 1 : NULL;

    if (!b)
        return;
    l->blocks--;
    l->memory -= b->size;
    memset(p, 0xDD, b->size);
    free(b);
}

static void *reallocate(void *p, size_t size, void *context)
{
    void *fresh = allocate(size, context);

    if (fresh && p) {
        size_t was = ((struct block *)p - 1)->size;
        memcpy(fresh, p, was < size ? was : size);
        release(p, context);
    }
    return fresh;
}

/* ---- The draw ---- */

static unsigned maybe(struct dream *d, unsigned in, unsigned most)
{
    return dream_below(d, in) ? 0 : 1 + (unsigned)dream_below(d, most);
}

static void draw_faults(struct life_now *l, unsigned server, enum toy_dialect dialect)
{
    struct dream      *d = l->dream;
    struct net_faults *f = net_faults(l->net, server);
    bool               tells = dialect == TOY_META; /* which answers to take for whose */

    *f = (struct net_faults){
        .silent = maybe(d, 4, 60), .cut = maybe(d, 5, 40), .cut_and_close = maybe(d, 4, 60), .cut_and_reset = maybe(d, 4, 60),
        .half_close = maybe(d, 6, 60), .trickle = maybe(d, 5, 200), .late = maybe(d, 4, 100), .late_by = MS(1 + dream_below(d, 300)),
        .garbage = maybe(d, 6, 40), .wrong_key = maybe(d, 6, 60), .wrong_opaque = tells ? maybe(d, 6, 60) : 0,
        .twice = tells ? maybe(d, 5, 60) : 0, .blurt = tells ? maybe(d, 6, 60) : 0, .server_error = maybe(d, 5, 60),
        .refuse = maybe(d, 5, 300), .hang = maybe(d, 6, 200), .full = maybe(d, 6, 200),
        .short_send = maybe(d, 3, 500), .short_recv = maybe(d, 3, 500),
        .no_name = maybe(d, 5, 300), .slow_name = maybe(d, 3, 500), .hung_name = l->hung_names ? 200 : 0,
        .new_list = maybe(d, 2, 900), .not_listed = maybe(d, 2, 200), .no_descriptor = maybe(d, 10, 60),
    };
}

/* Where a server is: at an address, at the end of a name, or on this machine. */
static void draw_place(struct life_now *l, unsigned server)
{
    struct dream *d = l->dream;
    nstime        latency = dream_between(d, 20000, dream_below(d, 3) ? 200000 : 2000000);
    /* Each address that says nothing has its share of the time, which must do for a trial of the one that is good. */
    unsigned addresses = (unsigned)(MS(l->timeout_ms) * 3 / 4 / ((l->says_password ? 18 : 16) * latency + MS(1)));

    switch (dream_below(d, 6)) {
    case 0: case 1:
        net_named(l->net, server);
        if (addresses > 1 && dream_below(d, 3))
            net_listed(l->net, server, addresses);
        break;
    case 2:
        net_unix(l->net, server);
        l->local[server] = true;
        latency = dream_between(d, 1000, 20000);
        break;
    }
    net_latency(l->net, server, latency);
}

static void draw(struct life_now *l)
{
    static const enum toy_dialect dialects[] = {TOY_META, TOY_META, TOY_META, TOY_META, TOY_BARE, TOY_OLD, TOY_CLASSIC, TOY_PROXY};
    struct dream *d = l->dream;

    bool crowd = dream_below(d, 3) == 0; /* of callers, who share connections */
    l->servers = 1 + (unsigned)dream_below(d, crowd ? 2 : NET_SERVERS_MAX);
    l->callers = 1 + (crowd ? 3 + (unsigned)dream_below(d, CALLERS_MAX - 3) : (unsigned)dream_below(d, 6));
    l->timeout_ms = 20 + (int)dream_below(d, 100);
    l->heal_max_ms = 60 + (int)dream_below(d, 1000);
    l->connections_max = 1 + (int)dream_below(d, 8);
    l->idle_max = dream_below(d, 4) ? 1 + (int)dream_below(d, 4) : MEND_ZERO;
    l->hasty = dream_below(d, 2);
    l->failures_allowed = dream_below(d, 4) ? 1 + (int)dream_below(d, dream_below(d, 2) ? 3 : 12) : MEND_ZERO;
    l->busy = crowd && dream_below(d, 2);
    l->chaos_ms = l->busy ? MS(100 + dream_below(d, 500)) : MS(200 + dream_below(d, 4000));
    l->stalls = dream_below(d, 5) == 0;
    l->memory_fails = dream_below(d, 5) == 0;
    l->hung_names = dream_below(d, 8) == 0;
    l->zombie_ms = dream_below(d, 4) ? 20 + (int)dream_below(d, 1000) : MEND_ZERO;
    l->journal_keys_max = dream_below(d, 5) ? 0 : 1 + (int)dream_below(d, 4);
    l->journal_bytes_max = dream_below(d, 8) ? 0 : 1 + (int64_t)dream_below(d, 1000);
    l->resolve_s = dream_below(d, 3) ? 1 : dream_below(d, 2) ? 0 : MEND_ZERO;
    l->on_overflow = (mend_on_overflow)dream_below(d, 3);
    l->says_password = dream_below(d, 4) == 0;
    if (l->says_password && !l->busy && dream_below(d, 8) == 0)
        l->chaos_ms = dream_between(d, MS(REFUSED_MS), 2 * MS(REFUSED_MS)); /* long enough for one that is refused to be refused again */
    for (unsigned i = 0; i < ORACLE_KEYS; i++)
        l->lost_at[i] = NEVER;
    bool binary = true;

    l->net = net_new(d, l->servers);
    net_straggle(l->net, l->zombie_ms > 0 ? MS(l->zombie_ms) : 0);
    for (unsigned i = 0; i < l->servers; i++) {
        enum toy_dialect dialect = dialects[dream_below(d, sizeof dialects / sizeof *dialects)];
        if (l->says_password && dialect == TOY_PROXY) /* who is told a password is taken for a memcached, which says ERROR to meta */
            dialect = TOY_CLASSIC;
        net_speak(l->net, i, dialect);
        draw_place(l, i);
        if (l->says_password && dream_below(d, 3))
            net_wants_password(l->net, i);
        if (dream_below(d, 2))
            draw_faults(l, i, dialect);
        l->slow_names |= net_faults(l->net, i)->slow_name > 0;
        l->moves |= net_faults(l->net, i)->not_listed > 0;
        l->poor |= l->memory_fails || net_faults(l->net, i)->no_descriptor;
        binary = binary && (dialect == TOY_META || dialect == TOY_BARE);
        l->at[i] = (struct watched){.well_since = net_well(l->net, i) ? dream_now(d) : NEVER, .gone_since = NEVER, .refused_at = NEVER};
    }
    l->oracle = oracle_new(d, l->net);
    if (l->servers > 1 && dream_below(d, 2)) {
        l->gutters = 1 + (unsigned)dream_below(d, l->servers - 1);
        l->gutter_ttl_s = 1 + (int)dream_below(d, 3);
        oracle_gutter(l->oracle, l->servers - l->gutters, l->gutter_ttl_s);
    }
    l->binary = binary && dream_below(d, 2);
    oracle_make_keys(l->oracle, l->binary);
    l->distribution = (mend_distribution)dream_below(d, 5);
    l->changes = l->servers > 1 && !l->gutters && dream_below(d, 3) == 0;
    if (l->changes)
        oracle_keys_move(l->oracle);
    else if (dream_below(d, 3)) /* what fetches may say of keys that move, loads does not know */
        l->loads = loads_new(d, l->oracle, l->timeout_ms);
}

static unsigned server_named(const struct life_now *l, const char *name)
{
    unsigned i = 0;
    while (i < l->servers && strcmp(net_name(l->net, i), name) != 0)
        i++;
    return i;
}

/* ---- Faults that have their time ---- */

static void watch(struct life_now *l)
{
    nstime now = dream_now(l->dream);

    for (unsigned i = 0; i < l->servers; i++) {
        bool well = net_well(l->net, i);
        if (!well)
            l->at[i].well_since = NEVER;
        else if (l->at[i].well_since == NEVER)
            l->at[i].well_since = now;

        bool gone = net_gone(l->net, i);
        if (gone == (l->at[i].gone_since != NEVER))
            continue;
        l->at[i].gone_since = gone ? now : NEVER;
        for (unsigned c = 0; c < CALLERS_MAX; c++)
            l->slow[c][i] = 0;
    }
}

struct later {
    struct life_now *life;
    unsigned         server;
    void (*what)(struct life_now *, unsigned server);
    struct later *next;
};

static void later_now(void *arg)
{
    struct later *later = arg;
    later->what(later->life, later->server);
}

static void after(struct life_now *l, nstime wait, void (*what)(struct life_now *, unsigned), unsigned server)
{
    struct later *later = malloc(sizeof *later);
    *later = (struct later){l, server, what, l->laters};
    l->laters = later;
    dream_at(l->dream, dream_now(l->dream) + wait, later_now, later);
}

static nstime outage(struct life_now *l)
{
    return dream_between(l->dream, MS(1), dream_below(l->dream, 2) ? MS(150) : MS(2500));
}

static void start(struct life_now *l, unsigned server)
{
    net_start(l->net, server);
    watch(l);
}

static void go_on(struct life_now *l, unsigned server)
{
    net_stop(l->net, server, false);
    watch(l);
}

static void answer_all(struct life_now *l, unsigned server)
{
    net_only_trials(l->net, server, false);
    watch(l);
}

static void join(struct life_now *l, unsigned server)
{
    net_cut(l->net, server, false);
    watch(l);
}

static void know_password(struct life_now *l, unsigned server)
{
    net_change_password(l->net, server, false);
    watch(l);
}

/* Another process has missed a key, and is to load it; which it may never do. */
static void take_lease(struct life_now *l, unsigned server)
{
    unsigned   first = (unsigned)dream_below(l->dream, ORACLE_KEYS / 2), key = first;
    char       request[64];
    mend_bytes name;

    do { /* the next that lives there, and that may be said as it is */
        key = (key + 1) % (ORACLE_KEYS / 2);
        name = oracle_key(l->oracle, key);
    } while (key != first && (!oracle_lives_on(l->oracle, key, server) || memchr(name.data, ' ', name.len)));
    if (!oracle_lives_on(l->oracle, key, server) || memchr(name.data, ' ', name.len))
        return;
    bool     in_gutter = server >= l->servers - l->gutters;
    unsigned most_s = in_gutter ? (unsigned)l->gutter_ttl_s : 3;
    snprintf(request, sizeof request, "mg %.*s v N%u\r\n", (int)name.len, (const char *)name.data, 1 + (unsigned)dream_below(l->dream, most_s));
    net_other(l->net, server, request, FAULT_LEASE_TAKEN);
}

static void break_something(struct life_now *l, unsigned server)
{
    struct dream *d = l->dream;

    if (l->calm)
        return;
    unsigned what = (unsigned)dream_below(d, l->loads ? 11 : 9);
    if (l->local[server] && (what == 4 || what == 5)) /* neither cut off nor moved */
        what = 2;
    if (l->says_password && dream_below(d, 4) == 0)
        what = 11;
    l->at[server].refused_at = NEVER;
    switch (what) {
    case 0:
    case 1: {
        bool memory_too = dream_below(d, 3) > 0;
        net_kill(l->net, server, memory_too);
        if (memory_too)
            oracle_lost(l->oracle, server);
        after(l, outage(l), start, server);
        break;
    }
    case 2:
    case 3:
        net_stop(l->net, server, true);
        after(l, outage(l), go_on, server);
        break;
    case 4:
        net_cut(l->net, server, true);
        after(l, outage(l), join, server);
        break;
    case 5:
        net_move(l->net, server);
        l->at[server].well_since = NEVER; /* watch below begins it anew */
        l->moves = true;
        break;
    case 6:
        net_wall(l->net, (int64_t)dream_below(d, 4000000) - 2000000);
        break;
    case 7:
        net_only_trials(l->net, server, true);
        after(l, dream_between(d, MS(1), MS(400)), answer_all, server);
        break;
    case 8:
        net_other(l->net, server, "flush_all\r\n", FAULT_FLUSHED);
        break;
    case 9:
    case 10:
        take_lease(l, server);
        break;
    case 11:
        net_change_password(l->net, server, true);
        l->refuses = true;
        after(l, dream_below(d, 2) ? outage(l) : dream_between(d, 0, 2 * MS(REFUSED_MS)), know_password, server);
        break;
    }
    watch(l);
    after(l, dream_between(d, MS(10), l->busy ? MS(200) : MS(1500)), break_something, (unsigned)dream_below(d, l->servers));
}

/* ---- The list of servers ---- */

/* Where each key lives by a list, as the library's own ring has it. */
static void settle_keys(struct life_now *l, const char *list)
{
    struct memory  memory = memory_from(NULL);
    struct servers servers;
    char           error[256];

    if (servers_parse(&servers, list, &memory, error, sizeof error) != MEND_OK)
        dream_fail(l->dream, "%s: %s", list, error);
    struct ring *ring = ring_build(&servers, l->distribution, &memory);
    for (unsigned key = 0; key < ORACLE_KEYS; key++) {
        unsigned home = server_named(l, servers.at[ring_server(ring, mend_mem(NULL, 0), oracle_key(l->oracle, key))].name);
        if (home != l->home[key] || !l->at[home].listed)
            l->home_since[key] = dream_now(l->dream);
        l->home[key] = home;
    }
    ring_free(ring);
    servers_free(&servers);
}

/* What is to be known of a list that is in force from now on. */
static void list_in_force(struct life_now *l, const char *list, unsigned which)
{
    settle_keys(l, list);
    for (unsigned i = 0; i < l->servers; i++) {
        struct watched *w = &l->at[i];
        bool            listed = which >> i & 1;
        if (listed && !w->listed) {
            w->listed_since = w->back = dream_now(l->dream);
            w->run = w->longest_run = 0;
            w->accepted = 0;
            w->refused = false;
            w->refused_at = NEVER;
            for (unsigned c = 0; c < CALLERS_MAX; c++)
                l->slow[c][i] = 0;
        }
        w->listed = listed;
    }
}

/* One bit a server. */
static void write_list(struct life_now *l, unsigned which, char *list, size_t room)
{
    size_t n = 0;

    for (unsigned i = 0; i < l->servers; i++)
        if (which >> i & 1)
            n += (size_t)snprintf(list + n, room - n, "%s%s", n ? "," : "", net_name(l->net, i));
}

static void set_list(struct life_now *l, unsigned which)
{
    char       list[256];
    mend_reply r = MEND_REPLY;

    write_list(l, which, list, sizeof list);
    mend_status status = mend_set_servers(l->client, list, &r);
    dream_note(l->dream, "the list is %s: %s", list, mend_status_name(status));
    if (status == MEND_OK)
        list_in_force(l, list, which);
    else if (status != MEND_E_MEMORY || !l->memory_fails)
        dream_fail(l->dream, "the list is refused: %s", r.error);
    net_count(l->net, FAULT_LIST);
    mend_reply_free(&r);
}

static unsigned all_of(const struct life_now *l)
{
    return (1u << l->servers) - 1;
}

/* ...but for the gutters, which are the last. */
static unsigned homes_of(const struct life_now *l)
{
    return (1u << (l->servers - l->gutters)) - 1;
}

static void change_list(struct life_now *l, unsigned server)
{
    if (l->calm)
        return;
    set_list(l, 1 + (unsigned)dream_below(l->dream, all_of(l)));
    after(l, dream_between(l->dream, MS(1), MS(400)), change_list, server);
}

static void watch_healer(void *life);

static void calm_down(struct life_now *l, unsigned server)
{
    (void)server;
    dream_note(l->dream, "the world is well again");
    l->calm = true;
    l->calm_at = dream_now(l->dream);
    l->all_up_at = NEVER;
    net_calm(l->net);
    l->memory_permille = 0;
    l->memory_left = -1;
    dream_stalls(l->dream, 0);
    watch(l);
    if (l->changes)
        set_list(l, all_of(l));
    watch_healer(l);
}

/* ---- Calls, and what must be true of every one of them ---- */

struct span {
    unsigned   home[ORACLE_KEYS]; /* of each key, when it began */
    nstime     began;
    nstime     stalled;
    nstime     most; /* that it may take */
    mend_state state[NET_SERVERS_MAX]; /* of each server, when it began */
    uint64_t   overflows[NET_SERVERS_MAX];
    uint64_t   executed[NET_SERVERS_MAX];
};

/* What mend_servers tells of each that is in the list. */
struct told {
    const struct life_now *life;
    mend_state state[NET_SERVERS_MAX];
    uint64_t   falls[NET_SERVERS_MAX], overflows[NET_SERVERS_MAX];
    bool       classic[NET_SERVERS_MAX];
};

static void note_server(const mend_server *s, void *arg)
{
    struct told *told = arg;
    unsigned     i = server_named(told->life, s->name);

    told->state[i] = s->state;
    told->falls[i] = s->falls;
    told->overflows[i] = s->journal_overflows;
    told->classic[i] = strcmp(s->protocol, "classic") == 0;
}

static struct told ask_servers(const struct life_now *l)
{
    struct told told = {.life = l};
    mend_servers(l->client, note_server, &told);
    return told;
}

static struct span begin(struct caller *c)
{
    struct life_now *l = c->life;
    struct span      s = {.began = dream_now(l->dream), .stalled = l->stalled, .most = MS(l->timeout_ms)};
    struct told      told = ask_servers(l);

    l->calls++;
    memcpy(s.state, told.state, sizeof s.state);
    memcpy(s.overflows, told.overflows, sizeof s.overflows);
    for (unsigned i = 0; i < l->servers; i++) {
        struct watched *w = &l->at[i];
        w->torn_since = told.overflows[i] <= w->accepted ? 0 : w->torn_since ? w->torn_since : s.began;
    }
    memcpy(s.home, l->home, sizeof s.home);
    for (unsigned i = 0; i < l->servers; i++)
        s.executed[i] = net_executed(l->net, i);
    return s;
}

static unsigned server_of_reply(const struct life_now *l, const mend_reply *r)
{
    return server_named(l, r->server);
}

/* Whether so many callers have so few connections that some may wait for a turn until their deadline. In a world that is
 * well, and once everybody makes the same few calls, that takes a slow server, too. */
static bool crowded(const struct life_now *l, unsigned server, bool few_calls)
{
    enum { ROUND_TRIPS = 64 }; /* of the calls that each caller makes then */

    if (l->callers <= (unsigned)l->connections_max)
        return false;
    return !few_calls || net_round_trip(l->net, server) * ROUND_TRIPS * l->callers > MS(l->timeout_ms);
}

/* A count that creates asks a classic server up to three questions, each of which may need a dial and a proof of its own. */
static bool creates_too_slowly(struct life_now *l, unsigned server, unsigned key)
{
    int round_trips = l->says_password ? 15 : 12;

    return oracle_is_counter(key) && ask_servers(l).classic[server] && net_round_trip(l->net, server) * round_trips > MS(l->timeout_ms);
}

static nstime settling(const struct life_now *l);

static bool waits_for_accept(struct life_now *l, unsigned server)
{
    return ask_servers(l).overflows[server] > l->at[server].accepted;
}

/* It is to be accepted, or has been so lately that it may not yet be back. */
static bool is_refused(struct life_now *l, unsigned server)
{
    if (l->on_overflow != MEND_ON_OVERFLOW_REFUSE || server == l->servers)
        return false;
    return waits_for_accept(l, server) || dream_now(l->dream) < l->at[server].accepted_at + settling(l);
}

static bool excused(struct life_now *l, const mend_reply *r)
{
    unsigned server = server_of_reply(l, r);

    if (r->status == MEND_E_ARGUMENT)
        return l->binary;
    if (r->status == MEND_E_MEMORY)
        return l->memory_fails;
    if (r->status == MEND_E_DOWN && is_refused(l, server))
        return true;
    if (r->status == MEND_E_BUSY || r->status == MEND_E_TIMEOUT) /* it had a turn, but late */
        return server < l->servers && crowded(l, server, l->calm);
    return false;
}

static nstime settling(const struct life_now *l)
{
    nstime names = (l->moves ? MS(1100) + MS(l->timeout_ms) : 0) + (l->slow_names ? MS(100) : 0) + (l->hung_names ? MS(3000) : 0);
    nstime replay = 2 * MS(l->timeout_ms); /* a flush, and deletes */
    nstime refused = l->refuses ? MS(REFUSED_MS) + MS(REFUSED_MS) / 2 : 0;
    return MS(l->heal_max_ms) + 2 * MS(l->timeout_ms) + MS(100) + replay + names + refused;
}

/* By when a lost write is made up for in a world that is well: by a trial that begins at once, unless deletes were refused
 * before; and, where there may be a zombie on a line that an earlier fault has silenced for good, by another when that has been waited for,
 * one that shows that the server goes on, and one when zombie_ms are over. */
static nstime making_up(const struct life_now *l)
{
    enum { REFUSED_DELETE_MS = 1000, LINGERING_MS = 10 * 1000 };
    nstime once = 2 * settling(l) + MS(REFUSED_DELETE_MS);
    nstime lines = l->changes ? 2 * MS(LINGERING_MS) : MS(LINGERING_MS); /* one that is silenced just after its server has joined is waited for from the next trial on */
    return l->zombie_ms > 0 ? once + lines + 2 * settling(l) + MS(l->zombie_ms) : once;
}

static bool says_lost(const mend_reply *r)
{
    return r->status == MEND_E_DOWN && strncmp(r->error, "a write of this key was lost", 28) == 0;
}

/* A write has ended: was it lost? Where there are gutters, it may be for one of its two servers, even if it was done. */
static void note_write(struct life_now *l, unsigned key, mend_status status)
{
    if ((status < 0 && status != MEND_E_ARGUMENT) || l->gutters)
        l->lost_at[key] = l->lost_latest = dream_now(l->dream);
}

/* Since when what was written must not be stale in this answer: its server knows its lost writes, all of them, since the key
 * came to live there. Of what was read for another thread, it is not told from which of the key's two servers. */
static nstime fresh_since(struct life_now *l, unsigned key, const mend_reply *r)
{
    struct told told = ask_servers(l);
    unsigned    server = server_of_reply(l, r);
    bool        either = l->gutters && !r->cas && (r->source == MEND_SOURCE_CACHE || r->source == MEND_SOURCE_STALE);
    bool        known = server < l->servers && (l->gutters || l->home[key] == server);

    for (unsigned i = 0; i < l->servers; i++)
        if (either || i == server)
            known = known && told.overflows[i] == 0 && !(l->loads && l->at[i].classic);
    return known ? l->home_since[key] : NEVER;
}

/* Whether its journal had been torn when the call began, is to be accepted, and was not until now. */
static bool refused(const struct life_now *l, const struct span *s, unsigned server)
{
    bool stayed = l->at[server].listed && l->at[server].listed_since <= s->began; /* one that came back begins as new */
    return stayed && l->on_overflow == MEND_ON_OVERFLOW_REFUSE && s->overflows[server] > l->at[server].accepted;
}

/* A read has been answered by a server that nobody has accepted. */
static void check_refused(struct life_now *l, const mend_reply *r, const struct span *s, const char *what)
{
    unsigned server = server_of_reply(l, r);

    if (r->status >= 0 && server < l->servers && refused(l, s, server))
        dream_fail(l->dream, "a %s was answered by server %u, which has lost more writes than are known, and nobody has accepted that", what, server);
}

/* After a while in which the process was stopped, we may have taken our own absence for a server's. */
static bool was_away(const struct life_now *l, const struct span *s)
{
    return l->stalled != s->stalled || (l->stalled && s->began < l->stalled_last + settling(l));
}

/* A server that has been well for long enough serves. */
static void check_healthy(struct life_now *l, const mend_reply *r, const struct span *s, unsigned key)
{
    unsigned server = server_of_reply(l, r);

    if (r->status >= 0 || server == l->servers || was_away(l, s) || excused(l, r))
        return;
    if (s->most < MS(l->timeout_ms) && (r->status == MEND_E_BUSY || r->status == MEND_E_TIMEOUT)) /* it was in a hurry */
        return;
    if (l->memory_fails && (r->status == MEND_E_DOWN || r->status == MEND_E_TIMEOUT)) /* a trial fails for want of memory, too: the next has its wait, and nobody dials meanwhile */
        return;
    if (r->status == MEND_E_TIMEOUT && creates_too_slowly(l, server, key))
        return;
    nstime since = l->at[server].well_since;
    if (since != NEVER && l->at[server].listed_since > since)
        since = l->at[server].listed_since;
    if (says_lost(r) && since != NEVER) {
        nstime lost = s->overflows[server] || waits_for_accept(l, server) ? l->lost_latest : l->lost_at[key]; /* one that is torn has lost every key */
        if (lost != NEVER && lost > since)
            since = lost;
        since += making_up(l);
    } else if (since != NEVER && (l->poor || l->slow_names || l->hung_names) && l->lost_latest > since)
        since = l->lost_latest; /* a trial is made for a lost write, and calls wait for it, and for the lookup that it begins with */
    if (since != NEVER && s->began >= since + settling(l))
        dream_fail(l->dream, "%s from server %u, which has been well since %.6f (%s)", mend_status_name(r->status), server, (double)since / 1e9, r->error);
}

static bool was_down(struct life_now *l, const mend_reply *r, const struct span *s)
{
    unsigned server = server_of_reply(l, r);
    return server < l->servers && (s->state[server] == MEND_STATE_DOWN || s->state[server] == MEND_STATE_TRIAL);
}

/* How many calls of one thread may be slow in an outage. It is found out when the first call has waited in vain; where
 * calls wait for each other's connections, that may be one with a longer time of its own. */
static unsigned slow_most(const struct life_now *l)
{
    return l->callers > (unsigned)l->connections_max ? 2 + OWN_TIMES : 2;
}

/* One that is known to be down costs nothing, and one that is gone costs a thread two timeouts at most. */
static void check_cost(struct caller *c, const mend_reply *r, const struct span *s)
{
    struct life_now *l = c->life;
    unsigned         server = server_of_reply(l, r);
    nstime           took = dream_now(l->dream) - s->began;

    if (server == l->servers || l->stalled != s->stalled)
        return;
    if (r->status == MEND_E_DOWN && was_down(l, r, s) && took > 0)
        dream_fail(l->dream, "a call to server %u, which was down, took %.3f ms", server, (double)took / 1e6);
    if (l->at[server].gone_since != NEVER && l->at[server].gone_since <= s->began && took > MS(l->timeout_ms) / 2 && r->status < 0 && !l->poor &&
        ++l->slow[c->number][server] > slow_most(l))
        dream_fail(l->dream, "caller %u had %u slow calls in one outage of server %u", c->number, l->slow[c->number][server], server);
}

/* The next call writes this key. */
static void will_write(struct caller *c, unsigned key)
{
    if (!c->life->loads || c->writes >> key & 1)
        return;
    c->writes |= 1u << key;
    loads_writing(c->life->loads, 1u << key);
}

static void note_failure(struct watched *w, const struct span *s, unsigned links)
{
    w->run += links;
    if (w->run > w->longest_run)
        w->longest_run = w->run;
    if (s->began > w->failed_latest)
        w->failed_latest = s->began;
}

/* A server whose answers to trials are good, and that breaks the link of whoever asks anything else, falls: by as many
 * links as are allowed to; each of them may have broken under all callers. */
static void note_broken(struct life_now *l, unsigned server, const struct span *s)
{
    struct watched *w = &l->at[server];
    uint64_t        falls = ask_servers(l).falls[server], executed = net_executed(l->net, server);
    unsigned        allowed = l->failures_allowed == MEND_ZERO ? 0 : (unsigned)l->failures_allowed;

    bool fast = !net_gone(l->net, server) && !net_faults(l->net, server)->late && !net_faults(l->net, server)->trickle;
    if (w->falls != falls || w->executed != executed || s->executed[server] != executed || !fast) /* an answer may be on its way */
        w->broken = 0;
    w->falls = falls;
    w->executed = executed;
    if (++w->broken > l->callers * (allowed + 1) && !l->stalled)
        dream_fail(l->dream, "%u calls to server %u in a row have lost their links, %u may, and it has not fallen", w->broken, server, allowed);
}

static bool blames(mend_status status)
{
    return status == MEND_E_TIMEOUT || status == MEND_E_IO || status == MEND_E_PROTOCOL;
}

/* What its health may know of a server from calls. */
static void note_outcome(struct life_now *l, const mend_reply *r, const struct span *s)
{
    unsigned server = server_of_reply(l, r);

    if (server == l->servers)
        return;
    if (r->status >= 0)
        l->at[server].run = 0;
    else if (blames(r->status))
        note_failure(&l->at[server], s, 1);
    if (r->status == MEND_E_IO || r->status == MEND_E_PROTOCOL)
        note_broken(l, server, s);
    else if (r->status >= 0 || r->status == MEND_E_SERVER)
        l->at[server].broken = 0;
}

/* The same of a call for many, which is one call to each server: some of whose answers may have come before its link
 * broke, and which may then have lost a second one. */
static void note_outcome_of_many(struct life_now *l, const mend_replies *rs, const struct span *s)
{
    bool failed[NET_SERVERS_MAX + 1] = {false}, served[NET_SERVERS_MAX + 1] = {false};

    for (size_t i = 0; i < rs->count; i++) {
        unsigned server = server_of_reply(l, &rs->at[i]);
        failed[server] |= blames(rs->at[i].status);
        served[server] |= rs->at[i].status >= 0;
    }
    for (unsigned i = 0; i < l->servers; i++)
        if (failed[i])
            note_failure(&l->at[i], s, 2);
        else if (served[i])
            l->at[i].run = 0;
    for (unsigned i = 0; i < l->servers; i++)
        if (served[i])
            l->at[i].broken = 0;
}

/* A call for many, all of whose servers were down, costs nothing either. */
static void check_cost_of_many(struct life_now *l, const mend_replies *rs, const struct span *s)
{
    bool all = rs->count > 0 && l->stalled == s->stalled;

    for (size_t i = 0; i < rs->count; i++)
        all = all && rs->at[i].status == MEND_E_DOWN && was_down(l, &rs->at[i], s);
    if (all && dream_now(l->dream) > s->began)
        dream_fail(l->dream, "a call for many, all of whose servers were down, took %.3f ms", (double)(dream_now(l->dream) - s->began) / 1e6);
}

static void check_time(struct caller *c, const struct span *s, const char *what)
{
    struct life_now *l = c->life;
    nstime           took = dream_now(l->dream) - s->began, most = s->most + l->stalled - s->stalled;

    if (c->writes)
        loads_written(l->loads, c->writes);
    c->writes = 0;

    if (l->stalled != s->stalled)
        most += MS(2); /* whoever leads gets a moment to look at what came meanwhile, and another if it is a write */
    if (took > most)
        dream_fail(l->dream, "%s took %.3f ms, and its deadline was %.3f", what, (double)took / 1e6, (double)most / 1e6);
}

/* What the statistics are to say. */
static void note_told(struct life_now *l, const mend_reply *r, unsigned key)
{
    unsigned server = server_of_reply(l, r);

    if (key == ORACLE_KEYS)
        l->asked_all++;
    else if (server < l->servers)
        ++*(r->status < 0 ? &l->at[server].told.failed[-r->status] : &l->at[server].told.answered[r->status]);
}

static void check_reply(struct caller *c, const mend_reply *r, const struct span *s, const char *what, unsigned key, bool single)
{
    struct life_now *l = c->life;

    dream_note(l->dream, "caller %u: %s of key %u: %s%s%s%s", c->number, what, key, mend_status_name(r->status), r->maybe_applied ? ", maybe applied" : "",
               r->error[0] ? ": " : "", r->error);
    if (!r->error || !r->server || !r->data || (r->status < 0) != (r->error[0] != '\0'))
        dream_fail(l->dream, "a reply with a status of %s, and the error \"%s\"", mend_status_name(r->status), r->error);
    if (r->status == MEND_E_ARGUMENT && !(l->binary && key % 4 == 3)) /* servers that hang up twice when asked are taken for classic */
        dream_fail(l->dream, "%s of key %u: %s", what, key, r->error);
    check_healthy(l, r, s, key);
    if (key < ORACLE_KEYS && !l->gutters && server_of_reply(l, r) < l->servers && server_of_reply(l, r) != s->home[key])
        dream_fail(l->dream, "%s of key %u went to %s, and its home was %s", what, key, r->server, net_name(l->net, s->home[key]));
    note_told(l, r, key);
    if (!single)
        return;
    note_outcome(l, r, s);
    check_cost(c, r, s);
}

/* ---- The calls ---- */

/* Some have more time than is usual: when they fail, their server may have fallen and come back meanwhile. Some have less,
 * and leave before the others of their batch. */
static mend_call own_time(struct caller *c, struct span *s)
{
    struct life_now *l = c->life;
    mend_call        call = {.timeout_ms = dream_below(l->dream, 4) ? 0 : l->timeout_ms * (1 + (int)dream_below(l->dream, OWN_TIMES))};

    if (l->hasty && dream_below(l->dream, 4) == 0)
        call.timeout_ms = 1 + (int)dream_below(l->dream, (uint64_t)l->timeout_ms / 2);
    if (call.timeout_ms)
        s->most = MS(call.timeout_ms);
    return call;
}

/* To the classic protocol the stub of a lease, which a server that speaks both has, is an empty hit. */
static bool is_stub(const struct life_now *l, const mend_reply *r)
{
    unsigned server = server_of_reply(l, r);
    return l->loads && r->status == MEND_OK && r->len == 0 && server < l->servers && l->at[server].classic;
}

static void read_said(struct life_now *l, unsigned key, const mend_reply *r, const struct span *s)
{
    check_refused(l, r, s, "get");
    if (!is_stub(l, r))
        oracle_read(l->oracle, key, r, s->began, fresh_since(l, key, r));
}

static void get(struct caller *c, unsigned key)
{
    struct life_now *l = c->life;
    struct span      s = begin(c);
    mend_bytes       k = oracle_key(l->oracle, key);

    if (dream_below(l->dream, 6) == 0) {
        will_write(c, key);
        mend_get_and_touch(l->client, k, 0, &c->reply);
        if (l->gutters)
            note_write(l, key, c->reply.status);
    } else {
        mend_call call = own_time(c, &s);
        mend_get_with(l->client, k, &call, &c->reply);
    }
    check_time(c, &s, "get");
    check_reply(c, &c->reply, &s, "get", key, true);
    read_said(l, key, &c->reply, &s);
}

/* A call for many that has to make room for its replies may find that there is none, from some point of it on. */
static struct span begin_many(struct caller *c)
{
    struct life_now *l = c->life;

    if (l->memory_permille && dream_below(l->dream, 3) == 0) {
        mend_replies_free(&c->replies);
        l->memory_left = (int)dream_below(l->dream, 8);
    }
    return begin(c);
}

/* Returns whether it came to replies. */
static bool end_many(struct caller *c, const struct span *s, mend_status status, unsigned n, const unsigned *keys, const char *what)
{
    struct life_now    *l = c->life;
    const mend_replies *rs = &c->replies;
    mend_status         should = MEND_OK;

    l->memory_left = -1;
    check_time(c, s, what);
    check_cost_of_many(l, rs, s);
    note_outcome_of_many(l, rs, s);
    for (unsigned i = 0; i < rs->count && i < n; i++) {
        check_reply(c, &rs->at[i], s, what, keys[i], false);
        if (rs->at[i].status < 0 && should != MEND_E_ARGUMENT && (should == MEND_OK || rs->at[i].status == MEND_E_ARGUMENT))
            should = rs->at[i].status;
    }
    if (rs->count == 0) /* no memory for so much as the replies: nothing was sent */
        should = MEND_E_MEMORY;
    if (status != should || (rs->count != n && rs->count != 0))
        dream_fail(l->dream, "%s of %u keys returned %s, and %zu replies, the first failure of which is %s", what, n, mend_status_name(status), rs->count,
                   mend_status_name(should));
    return rs->count == n;
}

static unsigned draw_keys(struct caller *c, unsigned *keys, mend_bytes *bytes, unsigned among)
{
    struct life_now *l = c->life;
    unsigned         n = 1 + (unsigned)dream_below(l->dream, MANY_MAX);

    for (unsigned i = 0; i < n; i++) {
        keys[i] = (unsigned)dream_below(l->dream, among);
        bytes[i] = oracle_key(l->oracle, keys[i]);
    }
    return n;
}

static void get_multi(struct caller *c)
{
    struct life_now *l = c->life;
    unsigned         keys[MANY_MAX];
    mend_bytes       bytes[MANY_MAX];
    unsigned         n = draw_keys(c, keys, bytes, ORACLE_KEYS);
    struct span      s = begin_many(c);
    mend_call        call = own_time(c, &s);
    mend_status      status = mend_get_multi_with(l->client, bytes, n, &call, &c->replies);

    if (!end_many(c, &s, status, n, keys, "get_multi"))
        return;
    for (unsigned i = 0; i < n; i++)
        read_said(l, keys[i], &c->replies.at[i], &s);
}

static void forget_multi(struct caller *c)
{
    unsigned    keys[MANY_MAX];
    mend_bytes  bytes[MANY_MAX];
    unsigned    n = draw_keys(c, keys, bytes, ORACLE_KEYS / 2);
    struct span s = begin_many(c);
    for (unsigned i = 0; i < n; i++)
        will_write(c, keys[i]);
    mend_status status = mend_delete_multi(c->life->client, bytes, n, &c->replies);

    bool came = end_many(c, &s, status, n, keys, "delete_multi");
    for (unsigned i = 0; i < n; i++) {
        mend_status its = came ? c->replies.at[i].status : status;
        note_write(c->life, keys[i], its);
        oracle_deleted(c->life->oracle, keys[i], its, s.began);
    }
}

static void set(struct caller *c, unsigned key)
{
    struct life_now *l = c->life;
    uint64_t         version = oracle_version(l->oracle, key);
    mend_bytes       k = oracle_key(l->oracle, key), value = oracle_value(l->oracle, version, c->value);
    mend_store       store = {.flags = (uint32_t)key, .ttl_s = dream_below(l->dream, 4) ? 0 : 4000000};
    struct span      s = begin(c);

    store.call = own_time(c, &s);
    will_write(c, key);
    switch (dream_below(l->dream, 6)) {
    case 0:
        mend_add(l->client, k, value, &store, &c->reply);
        break;
    case 1:
        mend_replace(l->client, k, value, &store, &c->reply);
        break;
    case 2:
        mend_cas(l->client, k, value, 1 + dream_below(l->dream, 50), &store, &c->reply);
        break;
    default:
        mend_set(l->client, k, value, &store, &c->reply);
        break;
    }
    check_time(c, &s, "set");
    note_write(l, key, c->reply.status);
    check_reply(c, &c->reply, &s, "set", key, true);
    oracle_wrote(l->oracle, key, version, &c->reply, s.began);
}

static void set_multi(struct caller *c)
{
    struct life_now *l = c->life;
    unsigned         keys[MANY_MAX];
    uint64_t         versions[MANY_MAX];
    mend_bytes       bytes[MANY_MAX];
    mend_item        items[MANY_MAX];
    unsigned         n = draw_keys(c, keys, bytes, ORACLE_KEYS / 2);

    for (unsigned i = 0; i < n; i++) {
        versions[i] = oracle_version(l->oracle, keys[i]);
        items[i] = (mend_item){bytes[i], oracle_value(l->oracle, versions[i], c->values + i * (ORACLE_VALUE_MAX + 64)), {0}};
    }
    struct span s = begin_many(c);
    for (unsigned i = 0; i < n; i++)
        will_write(c, keys[i]);
    mend_status status = mend_set_multi(l->client, items, n, &c->replies);
    bool came = end_many(c, &s, status, n, keys, "set_multi");
    for (unsigned i = 0; i < n; i++) {
        const mend_reply *r = came ? &c->replies.at[i] : &(mend_reply){.status = status, .error = "no replies"};
        note_write(l, keys[i], r->status);
        oracle_wrote(l->oracle, keys[i], versions[i], r, s.began);
    }
}

static void forget(struct caller *c, unsigned key)
{
    struct life_now *l = c->life;
    struct span      s = begin(c);

    will_write(c, key);
    mend_delete(l->client, oracle_key(l->oracle, key), &c->reply);
    check_time(c, &s, "delete");
    note_write(c->life, key, c->reply.status);
    check_reply(c, &c->reply, &s, "delete", key, true);
    oracle_deleted(l->oracle, key, c->reply.status, s.began);
}

static void touch(struct caller *c, unsigned key)
{
    struct life_now *l = c->life;
    struct span      s = begin(c);
    bool             exists = dream_below(l->dream, 2) == 0;

    if (!exists)
        will_write(c, key);
    if (exists)
        mend_exists(l->client, oracle_key(l->oracle, key), &c->reply);
    else
        mend_touch(l->client, oracle_key(l->oracle, key), 0, &c->reply);
    check_time(c, &s, "touch");
    if (!exists)
        note_write(l, key, c->reply.status);
    check_reply(c, &c->reply, &s, exists ? "exists" : "touch", key, true);
}

static void count(struct caller *c, unsigned key)
{
    struct life_now *l = c->life;
    uint64_t         version = oracle_version(l->oracle, key);
    mend_count       create = {.create = dream_below(l->dream, 3) > 0, .initial = 0};
    struct span      s = begin(c);

    create.call = own_time(c, &s);
    mend_increment(l->client, oracle_key(l->oracle, key), version, &create, &c->reply);
    check_time(c, &s, "increment");
    note_write(l, key, c->reply.status);
    check_reply(c, &c->reply, &s, "increment", key, true);
    oracle_counted(l->oracle, key, version, 0, &c->reply, s.began);
}

static void flush(struct caller *c)
{
    struct life_now *l = c->life;
    struct span      s = begin(c);

    for (unsigned key = 0; key < ORACLE_KEYS; key++)
        will_write(c, key);
    mend_flush_all(l->client, &c->reply);
    for (unsigned i = 0; i < l->servers; i++)
        l->at[i].broken = 0;
    check_time(c, &s, "flush_all");
    check_reply(c, &c->reply, &s, "flush_all", ORACLE_KEYS, false);
    for (unsigned i = 0; i < l->servers && c->reply.status < 0; i++)
        note_failure(&l->at[i], &s, 2); /* as ping */
}

/* What a fetch has failed at, on its way to an answer, it does not say. */
static void note_fetch(struct caller *c)
{
    struct life_now *l = c->life;

    for (unsigned i = 0; i < l->servers; i++) {
        note_failure(&l->at[i], &(struct span){.began = c->fetcher.began}, 100);
        l->at[i].broken = 0;
    }
}

static void fetch_said(struct caller *c, unsigned key, const mend_reply *r, const struct span *s, const char *what)
{
    struct life_now *l = c->life;

    dream_note(l->dream, "caller %u: %s of key %u: %s, source %d%s%s", c->number, what, key, mend_status_name(r->status), r->source, r->error[0] ? ": " : "", r->error);
    if ((r->status == MEND_E_ARGUMENT && !(l->binary && key % 4 == 3)) || (r->status == MEND_E_MEMORY && !l->memory_fails))
        dream_fail(l->dream, "%s of key %u: %s", what, key, r->error);
    unsigned server = server_of_reply(l, r);
    bool     cached = r->source == MEND_SOURCE_CACHE || r->source == MEND_SOURCE_STALE;
    if (cached && server < l->servers && s->began > l->at[server].torn_since + loads_most(l->loads, MANY_MAX)) /* else it may have been read before that, for another thread */
        check_refused(l, r, s, what);
    if (!is_stub(l, r))
        fetch_ended(&c->fetcher, key, r, fresh_since(l, key, r));
}

static void fetch(struct caller *c, unsigned key)
{
    struct life_now *l = c->life;
    mend_recipe      recipe;
    struct span      s = begin(c);

    c->fetcher.many = false;
    fetch_begins(&c->fetcher);
    s.most = loads_most(l->loads, 1);
    mend_fetch(l->client, oracle_key(l->oracle, key), loads_recipe(&c->fetcher, &recipe), &c->reply);
    note_fetch(c);
    check_time(c, &s, "fetch");
    fetch_said(c, key, &c->reply, &s, "fetch");
}

static void fetch_multi(struct caller *c)
{
    struct life_now *l = c->life;
    unsigned         keys[MANY_MAX];
    mend_bytes       bytes[MANY_MAX];
    mend_recipe      recipe;
    unsigned         n = draw_keys(c, keys, bytes, ORACLE_KEYS / 2);
    struct span      s = begin(c);

    c->fetcher.many = true;
    fetch_begins(&c->fetcher);
    s.most = loads_most(l->loads, n);
    mend_status status = mend_fetch_multi(l->client, bytes, n, loads_recipe(&c->fetcher, &recipe), &c->replies);
    note_fetch(c);
    check_time(c, &s, "fetch_multi");
    if (c->replies.count != n && !(status == MEND_E_MEMORY && l->memory_fails))
        dream_fail(l->dream, "fetch_multi of %u keys returned %s, and %zu replies", n, mend_status_name(status), c->replies.count);
    for (unsigned i = 0; i < c->replies.count && i < n; i++)
        fetch_said(c, keys[i], &c->replies.at[i], &s, "fetch_multi");
}

static void make_stale(struct caller *c, unsigned key)
{
    struct life_now *l = c->life;
    struct span      s = begin(c);

    will_write(c, key);
    mend_make_stale(l->client, oracle_key(l->oracle, key), 1 + (int)dream_below(l->dream, 3), &c->reply);
    check_time(c, &s, "make_stale");
    note_write(l, key, c->reply.status);
    check_reply(c, &c->reply, &s, "make_stale", key, true);
}

/* Somebody has seen that a server is refused, and lets it in. */
static void accept_server(struct life_now *l, unsigned server)
{
    struct watched *w = &l->at[server];
    nstime          listed_since = w->listed_since;
    uint64_t        overflows = ask_servers(l).overflows[server];
    mend_status     status = mend_accept(l->client, net_name(l->net, server));

    if (!w->listed || w->listed_since != listed_since) /* it is another by now, or none */
        return;
    if (status != MEND_OK && status != MEND_MISS && !l->changes)
        dream_fail(l->dream, "accept: %s", mend_status_name(status));
    w->accepted = overflows;
    if (status == MEND_OK)
        w->accepted_at = dream_now(l->dream);
}

static void ping(struct caller *c)
{
    struct life_now *l = c->life;
    struct span      s = begin(c);

    mend_ping(l->client, &c->reply);
    for (unsigned i = 0; i < l->servers; i++)
        l->at[i].broken = 0; /* some may have answered */
    check_time(c, &s, "ping");
    check_reply(c, &c->reply, &s, "ping", ORACLE_KEYS, false);
    for (unsigned i = 0; i < l->servers && c->reply.status < 0; i++)
        note_failure(&l->at[i], &s, 2); /* it tells of the first that failed, and others may have */
    if (!mend_connection_available(l->client) && l->calm && dream_now(l->dream) > l->calm_at + settling(l))
        dream_fail(l->dream, "no connection is available in a world that is well");
}

static void call_something(struct caller *c)
{
    struct dream *d = c->life->dream;
    unsigned      value = (unsigned)dream_below(d, ORACLE_KEYS / 2), counter = ORACLE_KEYS / 2 + (unsigned)dream_below(d, ORACLE_KEYS / 2);

    switch (dream_below(d, c->life->loads ? 25 : 17)) {
    case 0: case 1: case 2: case 3: case 4:
        get(c, dream_below(d, 5) ? value : counter);
        break;
    case 5: case 6: case 7:
        set(c, value);
        break;
    case 8: case 9:
        get_multi(c);
        break;
    case 10:
        set_multi(c);
        break;
    case 11:
        forget(c, value);
        break;
    case 12:
        touch(c, value);
        break;
    case 13: case 14:
        count(c, counter);
        break;
    case 15:
        if (dream_below(d, 6))
            ping(c);
        else
            flush(c);
        break;
    case 16:
        forget_multi(c);
        break;
    case 17: case 18: case 19: case 20: case 21:
        fetch(c, value);
        break;
    case 22: case 23:
        fetch_multi(c);
        break;
    case 24:
        make_stale(c, value);
        break;
    }
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void pause_until(struct life_now *l, nstime until)
{
    dream_wait(l->dream, never, NULL, until);
}

static bool is_calm(void *arg)
{
    return ((struct life_now *)arg)->calm;
}

/* When the world is well, nobody waits but for the network: a call waits for the batch before it, and for its own, and each
 * may have to connect. One that was not woken for its turn waits for its patience to end, which is more than that. */
static void check_quick(struct caller *c, const struct span *s)
{
    struct life_now *l = c->life;
    unsigned         round_trips = l->says_password ? 12 : 10;
    unsigned         server = server_of_reply(l, &c->reply);
    nstime           took = dream_now(l->dream) - s->began;

    if (server == l->servers || was_away(l, s) || l->callers > (unsigned)l->connections_max)
        return;
    if (took > round_trips * net_round_trip(l->net, server))
        dream_fail(l->dream, "the world is well, a round trip to server %u takes %.3f ms, and a call took %.3f", server, (double)net_round_trip(l->net, server) / 1e6,
                   (double)took / 1e6);
}

/* What must work when the world is well: everything. */
static void check_well(struct caller *c)
{
    struct life_now *l = c->life;

    for (unsigned key = 0; key < ORACLE_KEYS / 2; key++) {
        uint64_t    version = oracle_version(l->oracle, key);
        mend_bytes  value = oracle_value(l->oracle, version, c->value);
        struct span s = begin(c);
        will_write(c, key);
        mend_set(l->client, oracle_key(l->oracle, key), value, NULL, &c->reply);
        check_time(c, &s, "set");
        check_quick(c, &s);
        note_write(l, key, c->reply.status);
        check_reply(c, &c->reply, &s, "set", key, true);
        oracle_wrote(l->oracle, key, version, &c->reply, s.began);
        if (c->reply.status != MEND_OK && !excused(l, &c->reply) && !was_away(l, &s))
            dream_fail(l->dream, "the world is well, and a set says %s: %s", mend_status_name(c->reply.status), c->reply.error);
    }
    get_multi(c);
}

static void caller_main(void *arg)
{
    struct caller   *c = arg;
    struct life_now *l = c->life;

    while (!l->calm) {
        call_something(c);
        nstime think = l->busy ? dream_between(l->dream, 0, MS(1) / 2) : dream_below(l->dream, 3) ? dream_between(l->dream, 0, MS(5)) : dream_between(l->dream, 0, MS(120));
        dream_wait(l->dream, is_calm, l, dream_now(l->dream) + think);
    }
    if (c->number == 0)
        ping(c); /* one that moved while there was no connection to it is not missed until it is asked */
    pause_until(l, l->calm_at + settling(l) + MS(1));
    check_well(c);
    l->ended++;
}

/* ---- The whole ---- */

static void all_made_up_for(const mend_server *s, void *arg)
{
    struct life_now *l = arg;
    if (s->journal_keys)
        dream_fail(l->dream, "the world has been well for %.3f s, and %zu keys of %s wait for their deletes", (double)(dream_now(l->dream) - l->calm_at) / 1e9,
                   s->journal_keys, s->name);
}

/* What the statistics say of calls is what callers were told. A fetch asks, stores and deletes of its own accord, and a reply
 * that there is no memory for does not name its server, so that they may say more; of a server that left and came back they begin
 * anew, and may say less. */
static void compare(struct life_now *l, const char *server, const char *outcome, int status, uint64_t counted, uint64_t told)
{
    if ((counted < told && !l->changes) || (counted > told && !l->loads && !l->memory_fails))
        dream_fail(l->dream, "of %s %llu calls %s %d, and the statistics say %llu", server, (unsigned long long)told, outcome, status, (unsigned long long)counted);
}

static void adds_up(const mend_server_stats *s, void *arg)
{
    struct life_now  *l = arg;
    const char       *name = s->server->name;
    const mend_calls *told = &l->at[server_named(l, name)].told;
    mend_calls        counted = {0};
    uint64_t          all = 0, of_all = 0, timed = 0;

    for (int k = 0; k < 16; k++) {
        for (unsigned o = 0; o < s->operations; o++) {
            const mend_calls *calls = &s->calls[o];
            all += calls->answered[k] + calls->failed[k];
            if (o == MEND_OPERATION_PING || o == MEND_OPERATION_FLUSH) {
                of_all += calls->answered[k] + calls->failed[k];
            } else {
                counted.answered[k] += calls->answered[k];
                counted.failed[k] += calls->failed[k];
            }
        }
        compare(l, name, "answered", k, counted.answered[k], told->answered[k]);
        compare(l, name, "failed by", -k, counted.failed[k], told->failed[k]);
    }
    if (of_all > l->asked_all || (of_all < l->asked_all && !l->changes && !l->poor))
        dream_fail(l->dream, "%llu calls asked all servers, and of %s the statistics say %llu", (unsigned long long)l->asked_all, name, (unsigned long long)of_all);
    for (size_t i = 0; i < s->buckets; i++)
        timed += s->latency[i].count;
    if (timed > all)
        dream_fail(l->dream, "%llu calls asked %s, and %llu are timed", (unsigned long long)all, name, (unsigned long long)timed);
}

static nstime later_of(nstime a, nstime b)
{
    return a > b ? a : b;
}

static void all_up(const mend_server *s, void *arg)
{
    struct life_now *l = arg;
    if (s->state != MEND_STATE_UP)
        dream_fail(l->dream, "the world has been well for %.3f s, and %s is in state %d: %s", (double)(dream_now(l->dream) - l->calm_at) / 1e9, s->name,
                   s->state, s->why);
}

static void is_up(const mend_server *s, void *arg)
{
    bool *up = arg;
    /* Doubtful is also who owes deletes, and is tried for them. A gutter may do so when no call says any more that it serves. */
    *up &= s->state == MEND_STATE_UP || (s->state == MEND_STATE_DOUBTFUL && (s->failures == 0 || s->gutter));
}

static void note_protocols(struct life_now *l)
{
    struct told told = ask_servers(l);
    for (unsigned i = 0; i < l->servers; i++)
        l->at[i].classic |= told.classic[i];
}

/* The healer has done a round. */
static void watch_healer(void *arg)
{
    struct life_now *l = arg;
    bool             up = true;

    if (l->loads && l->client && !l->closing)
        note_protocols(l);
    if (!l->calm || l->closing)
        return;
    mend_servers(l->client, is_up, &up);
    if (!up)
        l->all_up_at = NEVER;
    else if (l->all_up_at == NEVER)
        l->all_up_at = dream_now(l->dream);
}

/* A fall that is blamed on calls: enough of them must have failed in a row (where one caller's order is ours), and one
 * at least that began since the server was let in. Asked when all calls that were running then have ended. */
static void check_fall(struct life_now *l, unsigned server)
{
    struct watched *w = &l->at[server];

    if (w->said && !l->stalled && w->said_back == w->back) { /* it is not back meanwhile, which begins the count anew */
        if (w->failed_latest < w->said_back)
            dream_fail(l->dream, "server %u fell because %u calls failed, all of which began before it was back", server, w->said);
        if (l->callers == 1 && w->longest_run < w->said)
            dream_fail(l->dream, "server %u fell because %u calls in a row failed, and it were %u", server, w->said, w->longest_run);
    }
    w->said = 0;
}

/* A server refuses our password: once the application has been told so, nobody dials it to say that again, for a while. */
static void check_not_hammered(unsigned server, nstime dialed, void *context)
{
    struct life_now *l = context;
    nstime           at = l->at[server].refused_at;

    if (at != NEVER && !l->stalled && l->at[server].listed && dialed > at && dialed < at + MS(REFUSED_MS))
        dream_fail(l->dream, "server %u, which refused our password, has heard it again after %.3f s", server, (double)(dialed - at) / 1e9);
}

static void note_refusal(struct life_now *l, unsigned server)
{
    struct watched *w = &l->at[server];

    if (w->refused)
        dream_fail(l->dream, "it is told twice that server %u refuses the password", server);
    w->refused = true;
    w->refused_at = net_refuses(l->net, server) ? dream_now(l->dream) : NEVER;
}

static void on_event(const mend_event *e, void *context)
{
    struct life_now *l = context;
    unsigned         server = server_named(l, e->server->name);
    struct watched  *w = &l->at[server];
    if (!w->listed)
        dream_fail(l->dream, "an event tells of %s, which has left", e->server->name);
    if (e->type == MEND_EVENT_BACK) {
        w->back = dream_now(l->dream);
        w->run = w->longest_run = 0;
        w->refused = false;
        w->refused_at = NEVER;
    } else if (e->type == MEND_EVENT_AUTH_REFUSED) {
        note_refusal(l, server);
    } else if (e->type == MEND_EVENT_DOWN && sscanf(e->server->why, "%u calls in a row", &w->said) == 1) {
        w->said_back = w->back;
        after(l, (OWN_TIMES + 1) * MS(l->timeout_ms), check_fall, server);
    }
    static const char *const became[] = {[MEND_EVENT_DOWN] = "is down", [MEND_EVENT_BACK] = "is back", [MEND_EVENT_JOURNAL_OVERFLOW] = "had lost too many writes",
                                         [MEND_EVENT_ALL_DOWN] = "is down, as all are", [MEND_EVENT_AUTH_REFUSED] = "refuses the password"};
    dream_note(l->dream, "mend: %s %s%s%s", e->server->name, became[e->type], e->server->why[0] ? ": " : "", e->server->why);
}

static bool open_client(struct life_now *l)
{
    char       list[256], gutter[256] = "";
    mend_reply r = MEND_REPLY;

    write_list(l, homes_of(l), list, sizeof list);
    list_in_force(l, list, all_of(l));
    write_list(l, all_of(l) & ~homes_of(l), gutter, sizeof gutter);
    mend_config config = MEND_CONFIG(.servers = list, .timeout_ms = l->timeout_ms, .heal_max_ms = l->heal_max_ms, .connections_max = l->connections_max,
                                     .connections_idle_max = l->idle_max, .failures_allowed = l->failures_allowed, .on_event = on_event,
                                     .on_event_context = l, .allocator = {allocate, reallocate, release, l},
                                     .distribution = l->distribution, .zombie_ms = l->zombie_ms, .resolve_s = l->resolve_s,
                                     .journal_keys_max = l->journal_keys_max, .journal_bytes_max = l->journal_bytes_max, .on_journal_overflow = l->on_overflow,
                                     .gutter = l->gutters ? gutter : NULL, .gutter_ttl_s = l->gutter_ttl_s,
                                     .username = l->says_password ? NET_USER : NULL, .password = l->says_password ? NET_PASSWORD : NULL);
    dream_note(l->dream, "open: %s, gutter: %s, timeout %d ms, at most %d connections", list, gutter, l->timeout_ms, l->connections_max);
    mend_status status = client_open(&config, net_world(l->net), &l->client, &r);
    if (status)
        dream_fail(l->dream, "open: %s", r.error);
    mend_reply_free(&r);
    return status == MEND_OK;
}

static bool everybody_ended(void *arg)
{
    struct life_now *l = arg;
    return l->ended == l->callers;
}

static bool nobody_operates(void *arg)
{
    return !((struct life_now *)arg)->operated;
}

/* With MEND_ON_OVERFLOW_REFUSE: lets in what is refused, now and then; and in a world that is well, soon. */
static void operator_main(void *arg)
{
    struct life_now *l = arg;

    while (!l->closing) {
        pause_until(l, dream_now(l->dream) + (l->calm ? MS(5) : dream_between(l->dream, 0, MS(500))));
        for (unsigned i = 0; i < l->servers && !l->closing; i++)
            if (waits_for_accept(l, i))
                accept_server(l, i);
    }
    l->operated = false;
}

/* The main thread: opens, lets the callers call, and closes. */
static void life_main(void *arg)
{
    struct life_now *l = arg;
    struct caller    callers[CALLERS_MAX];

    if (!open_client(l))
        return;
    if (l->memory_fails)
        l->memory_permille = 1 + (unsigned)dream_below(l->dream, 40);
    for (unsigned i = 0; i < l->callers; i++) {
        callers[i] = (struct caller){l, i, MEND_REPLY, MEND_REPLIES, malloc(ORACLE_VALUE_MAX + 64), malloc(MANY_MAX * (ORACLE_VALUE_MAX + 64)), 0, {.loads = l->loads}};
        callers[i].fetcher.value = callers[i].value;
        dream_thread(l->dream, caller_main, &callers[i]);
    }
    l->operated = l->on_overflow == MEND_ON_OVERFLOW_REFUSE;
    if (l->operated)
        dream_thread(l->dream, operator_main, l);
    after(l, dream_between(l->dream, 0, l->busy ? MS(50) : MS(300)), break_something, 0);
    after(l, l->chaos_ms, calm_down, 0);
    if (l->changes)
        after(l, dream_between(l->dream, 0, MS(100)), change_list, 0);
    dream_wait(l->dream, everybody_ended, l, NEVER);
    pause_until(l, later_of(l->calm_at, later_of(l->lost_latest, l->stalled_last)) + making_up(l));
    mend_servers(l->client, all_up, l);
    mend_servers(l->client, all_made_up_for, l);
    mend_stats(l->client, adds_up, l);
    struct life *life = atomic_load(&l->client->life);
    if (atomic_load(&life->server_count) != l->servers)
        dream_fail(l->dream, "%u servers are in the list, and %zu are not freed", l->servers, atomic_load(&life->server_count));
    l->closing = true;
    dream_wait(l->dream, nobody_operates, l, NEVER);
    mend_close(l->client);
    for (unsigned i = 0; i < l->callers; i++) {
        mend_reply_free(&callers[i].reply);
        mend_replies_free(&callers[i].replies);
        free(callers[i].value);
        free(callers[i].values);
    }
    if (l->blocks)
        dream_fail(l->dream, "%zu blocks of memory were left, %zu bytes", l->blocks, l->memory);
    oracle_end(l->oracle);
}

/* Since when servers could have come up for good: the end of all faults; or what came behind that, and before they were up. */
static nstime last_blow(const struct life_now *l)
{
    nstime since = l->calm_at;

    if (l->lost_latest < l->all_up_at)
        since = later_of(since, l->lost_latest); /* a journal overflowed, perhaps */
    if (l->stalled_last < l->all_up_at)
        since = later_of(since, l->stalled_last);
    return since;
}

static void stall(nstime by, void *arg)
{
    struct life_now *l = arg;
    net_count(l->net, FAULT_STALL);
    l->stalled += by;
    l->stalled_last = dream_now(l->dream);
}

void life_run(uint64_t seed, FILE *story, struct life_report *report)
{
    struct life_now l = {.dream = dream_new(seed, story), .all_up_at = NEVER, .memory_left = -1};

    *report = (struct life_report){.calls = 0};
    draw(&l);
    net_on_round(l.net, watch_healer, &l);
    net_on_refusal(l.net, check_not_hammered, &l);
    dream_on_stall(l.dream, MS(150), stall, &l);
    dream_stalls(l.dream, l.stalls ? 2 : 0);
    dream_thread(l.dream, life_main, &l);
    const char *failure = dream_run(l.dream);
    if (failure)
        snprintf(report->failure, sizeof report->failure, "%s", failure);
    report->digest = dream_digest(l.dream);
    report->calls = l.calls;
    report->virtual_ms = (uint64_t)(dream_now(l.dream) / 1000000);
    memcpy(report->faults, net_counted(l.net), sizeof report->faults);
    report->up_ns = l.all_up_at - last_blow(&l);
    report->up_within_ns = settling(&l);
    for (struct later *at = l.laters, *next; at; at = next) {
        next = at->next;
        free(at);
    }
    loads_free(l.loads);
    oracle_free(l.oracle);
    net_free(l.net);
    dream_free(l.dream);
}
