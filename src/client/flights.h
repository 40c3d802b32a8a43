/* flights.h - loads under way in this process, one a key; and what was loaded while the cache could not be asked.
 *
 * Knows no cache and no loader. A flight is one load: whoever enters it first leads, loads and lands it; the others wait for
 * it and copy its answer. Used as
 *
 *     flights_enter    a flight for this key, new or under way         flight_wait   until it has landed
 *     flight_land      its answer is there, for all who wait           flight_copy   ...the answer
 *     flights_end      it takes nobody more, or is kept for a while    flights_leave gives it back
 *
 *              enter, first            land               end
 *     (none) -------------> FLYING -----------> LANDED ----------> gone, or KEPT
 *                             |                    |                        |
 *                             +---- wrote ---------+------------------------+---> DIRTY: not found by newcomers
 *
 * A key that is written by this process while it is loaded makes its flight dirty: those who ask afterwards must not be served
 * what was read before.
 *
 * One lock, held for a few lines. A landed flight's answer never changes again, and is read without it.
 */
#ifndef MEND_CLIENT_FLIGHTS_H
#define MEND_CLIENT_FLIGHTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/conn.h"
#include "world/io.h"

enum { FLIGHT_BUCKETS = 64 };

struct flight {
    struct flight   *next;    /* of its bucket; and below: under the lock, ... */
    struct flight   *younger; /* KEPT: the next that was kept */
    uint64_t         hash;
    unsigned         holders;
    bool             dirty, kept;
    bool             loading; /* its owner has a turn */
    const void      *owner;   /* a thread, as io->me tells them apart */
    uint64_t         lease;   /* the cas that the cache let its owner, or somebody who joined, have; 0: none */
    nstime           expires; /* KEPT */
    _Atomic uint32_t word;    /* ...up to here. It changes when there is news */
    _Atomic bool     landed;
    struct answer    answer;  /* the owner's until it has landed, then everybody's */
    mend_source      source;  /* as those see it who did not load it */
    size_t           key_bytes;
    char             key[];
};

struct flights {
    const struct memory *memory;
    pthread_mutex_t      lock;
    struct flight       *bucket[FLIGHT_BUCKETS];
    struct flight       *oldest, *youngest; /* of those kept */
    size_t               kept, kept_bytes;
    _Atomic unsigned     count;   /* in the buckets */
    _Atomic uint32_t     ended;   /* how many ever did */
    _Atomic unsigned     loading; /* turns taken... */
    _Atomic uint32_t     turn;    /* ...and a word for those who wait for one */
};

void flights_init(struct flights *f, const struct memory *memory);
void flights_free(struct flights *f); /* nobody flies */

/* Whether this thread is loading this key. */
bool flights_mine(struct flights *f, struct io *io, mend_bytes key);

/* A flight for the key: one that is FLYING or LANDED, or a new one that the caller leads. lease: brought along, and given to a
 * leader that has none. NULL: no memory. */
struct flight *flights_enter(struct flights *f, struct io *io, mend_bytes key, uint64_t lease, bool *leads);

/* One that was kept, and may be served still; to be left. NULL: none. */
struct flight *flights_recall(struct flights *f, mend_bytes key, nstime now);

/* Waits until it lands. False: the deadline came. nap: ...or until it is given a lease, for the leader. */
bool     flight_wait(struct flight *flight, struct io *io, nstime deadline);
uint64_t flight_nap(struct flights *f, struct flight *flight, struct io *io, nstime until);

void flight_land(struct flight *flight, struct io *io);
bool flight_copy(const struct flight *flight, struct answer *to); /* false: no memory, and `to` says so */

/* The leader's last word. kept_until: as long it may be recalled, unless its key was written; 0: not at all. */
void flights_end(struct flights *f, struct flight *flight, nstime kept_until);
void flights_leave(struct flights *f, struct flight *flight);

/* This process writes the key; all keys. Costs one load when there is nothing. */
void flights_wrote(struct flights *f, mend_bytes key);
void flights_wrote_all(struct flights *f);

/* A turn to load, while fewer than `most` do; or at once, where this thread has one. False: the deadline came. *taken: it is
 * to be given back. */
bool flights_turn(struct flights *f, struct flight *flight, struct io *io, unsigned most, nstime deadline, bool *taken);
void flights_turn_over(struct flights *f, struct io *io);

#endif
