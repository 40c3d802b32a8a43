/* net.h - a dreamt network with dreamt memcacheds on it: the io that the library's own code runs on.
 *
 * Knows no oracle: it does what its faults say, notes it, and counts. A server's memory is its own, so that
 * what was executed, how often and when, can be asked afterwards.
 *
 *     struct net *n = net_new(dream, 3);
 *     client_open(&config, net_world(n), &client, &r);
 *     net_faults(n, 0)->silent = 50;      of a thousand answers
 *     net_kill(n, 1); net_start(n, 1); net_stop(n, 2); net_cut(n, 0, true);
 */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "sim/dream.h"
#include "sim/fault.h"
#include "support/toy.h"
#include "world/io.h"

enum { NET_SERVERS_MAX = 4 };

/* What those servers want that want a password. */
#define NET_USER "user"
#define NET_PASSWORD "password"

/* Of a thousand answers (or of dials, sends, receives, lookups: as named), how many go wrong so. */
struct net_faults {
    unsigned silent, cut, cut_and_close, cut_and_reset, half_close, trickle, late, garbage, wrong_key, wrong_opaque, twice, blurt, server_error;
    unsigned refuse, hang, full; /* dials: refused, never connected, greeted with "ERROR Too many open connections" */
    unsigned short_send, short_recv;
    unsigned no_name, slow_name, hung_name; /* lookups */
    unsigned new_list, not_listed; /* lookups that find other addresses than the last; of these, those that miss the server */
    unsigned no_descriptor;      /* dials for which this machine has no descriptor */
    nstime   late_by;
};

struct net;

struct net *net_new(struct dream *d, unsigned servers);
void        net_free(struct net *n);

const struct world *net_world(struct net *n);
unsigned            net_servers(const struct net *n);
const char         *net_name(struct net *n, unsigned server); /* for the list of servers */
void                net_unix(struct net *n, unsigned server);   /* it listens on a Unix socket, and cannot be cut off */
void                net_named(struct net *n, unsigned server);  /* it is known by a name that has to be looked up... */
void                net_listed(struct net *n, unsigned server, unsigned most); /* ...and has up to so many addresses, all but one dead or silent */
void                net_move(struct net *n, unsigned server);   /* it has another address from now on; the old one is silent */

struct net_faults *net_faults(struct net *n, unsigned server);
void               net_calm(struct net *n); /* no fault any more, every server runs, nothing is cut */
void               net_speak(struct net *n, unsigned server, enum toy_dialect dialect);
void               net_latency(struct net *n, unsigned server, nstime one_way);
nstime             net_round_trip(const struct net *n, unsigned server);
void               net_wall(struct net *n, int64_t seconds); /* the wall clock jumps */

void net_kill(struct net *n, unsigned server, bool memory_too);
void net_other(struct net *n, unsigned server, const char *request, enum fault kind); /* another client asks this, and hears the answer */
void net_start(struct net *n, unsigned server);
void net_stop(struct net *n, unsigned server, bool stopped); /* SIGSTOP, SIGCONT */
void net_straggle(struct net *n, nstime most); /* ...after which what nobody waits for any more may be done so much later */
void net_only_trials(struct net *n, unsigned server, bool only); /* it answers trials, and hangs up on who asks for anything else */
void net_wants_password(struct net *n, unsigned server); /* first on every connection, as memcached -Y */
void net_change_password(struct net *n, unsigned server, bool changed); /* it is another than the client's */
bool net_refuses(const struct net *n, unsigned server); /* the password, and is well but for that */
void net_cut(struct net *n, unsigned server, bool cut);      /* packets are lost, and what was sent arrives after the cut ends */
bool net_well(const struct net *n, unsigned server);         /* it runs, is reachable, and has no fault that could touch a call */

uint64_t net_executed(const struct net *n, unsigned server); /* requests, but for trials */
bool net_gone(const struct net *n, unsigned server);         /* it answers nothing at all */

unsigned net_open(const struct net *n);      /* sockets of ours that are open */
unsigned net_open_most(const struct net *n); /* at any one time */

/* How many faults there were, by kind; those that are not the network's are counted by whoever makes them. */
void            net_count(struct net *n, enum fault kind);
const uint64_t *net_counted(const struct net *n);

/* Told of every request that a server has executed. */
void net_on_execute(struct net *n, void (*executed)(unsigned server, const struct toy_ask *ask, void *context), void *context);

/* Told of every password that a server has refused, and when the connection was dialed that said it. */
void net_on_refusal(struct net *n, void (*refused)(unsigned server, nstime dialed, void *context), void *context);

/* Told whenever the healer has done what it could, and waits. */
void net_on_round(struct net *n, void (*rested)(void *context), void *context);

#endif
