/* oracle.h - knows everything that happened in a life, and says whether an answer may be given.
 *
 * Knows no faults: it is told what servers executed, what memory they lost, and what callers were told. A value names
 * its key and its version; every write has a version of its own. Each server has a history of each key: from when to when
 * it held which version, and whether that had been made stale; a key lives on one server and on one gutter, unless the list
 * of servers changes. An answer is true if it was so at some moment of the call. It is fresh if no later write of this
 * process's had ended before the call: none that began after the call that wrote the version was over, and that was done, or
 * failed.
 */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include "mend.h"
#include "sim/net.h"

enum { ORACLE_KEYS = 24, ORACLE_VALUE_MAX = 48 * 1024 };

struct oracle;

struct oracle *oracle_new(struct dream *d, struct net *n);
void           oracle_free(struct oracle *o);

/* Keys: the first half hold values, the second half counters. Some have bytes that travel in base64, if binary. */
mend_bytes oracle_key(struct oracle *o, unsigned key);
bool       oracle_lives_on(const struct oracle *o, unsigned key, unsigned server); /* it was asked of this one, its own or the gutter */
unsigned   oracle_key_number(struct oracle *o, mend_bytes key);
bool       oracle_is_counter(unsigned key);
/* The servers from this one on are gutters: what is stored there has to expire within ttl_s, and does. */
void       oracle_gutter(struct oracle *o, unsigned first, int ttl_s);
void       oracle_make_keys(struct oracle *o, bool binary);

/* The list of servers changes: what a server holds of a key is judged by itself. */
void oracle_keys_move(struct oracle *o);

/* A new write to this key: its version, and its value, which lives until the next is made into the same buffer. */
uint64_t   oracle_version(struct oracle *o, unsigned key);
uint64_t   oracle_loaded(struct oracle *o, unsigned key); /* the same for what a loader reads now: writes that begin from now on make it stale */
mend_bytes oracle_value(struct oracle *o, uint64_t version, char *buffer);

/* Told by the network: a server executed a request; or lost its memory. */
void oracle_executed(unsigned server, const struct toy_ask *ask, void *oracle);
void oracle_lost(struct oracle *o, unsigned server);

/* Told by callers: what a call that began at `began` and has just ended said. Each may fail the dream. */
/* A read of a key. fresh_since: what was written since then must not be stale; NEVER: may be. */
void oracle_read(struct oracle *o, unsigned key, const mend_reply *r, nstime began, nstime fresh_since);

/* A fetch with a value, whose version it returns. What came out of the cache was there within the call, or within `before` of it, if another thread
 * asked for it; ages: and may be called stale without having been made so, but for what is in a gutter. */
uint64_t oracle_fetched(struct oracle *o, unsigned key, const mend_reply *r, nstime began, nstime before, nstime fresh_since, bool ages);
void oracle_wrote(struct oracle *o, unsigned key, uint64_t version, const mend_reply *r, nstime began);
void oracle_deleted(struct oracle *o, unsigned key, mend_status status, nstime began);
void oracle_counted(struct oracle *o, unsigned key, uint64_t version, uint64_t initial, const mend_reply *r, nstime began);

/* At the end: what was said to have failed has not been done since, and what is no one's to do twice was not done twice. */
void oracle_end(struct oracle *o);

#endif
