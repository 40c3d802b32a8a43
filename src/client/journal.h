/* journal.h - the keys of one server whose last write may be lost: they are not read until they have been deleted there.
 *
 * Knows no connection and no server: whoever makes a write that fails notes its key, whoever reads asks
 * whether a key is noted, and the healer takes keys out to delete them. Used as
 *
 *     journal_note     a write of this key failed, or was refused, or nobody knows
 *     journal_holds    ...so it is not to be read
 *     journal_next     the healer's: the next key to delete; it is then under way
 *     journal_settle   ...those up to this one have been deleted
 *     journal_put_off  ...or this one cannot be, just now
 *     journal_unsent   ...or not, so that they have to be asked for again
 *
 *                  next               settle
 *     WAITING ------------> UNDER WAY --------------------> gone
 *        ^                      |    \
 *        |   unsent, noted anew |     +-- settle, a zombie --> LATER --- it is over ---> WAITING
 *        +----------------------+
 *
 * A zombie is a write that may still be in the kernel of a server that was stopped, and be done when it goes on,
 * after the delete: its key stays noted until no line (a connection that such a write went down) is open, and is then deleted
 * once more. What is known of lines is counted here (core/haunt.h), so that it is of one moment with the notes:
 *
 *     journal_line        a write was given up on a line: before its key is noted
 *     journal_line_over   ...the line has ended, or had to be closed
 *
 * Bounded: what does not fit is not kept, and neither is the rest: the journal begins anew, and says that it is torn
 * (journal_torn), since when some key is not in it that should be. What then happens is its owner's to decide.
 *
 * Locks: its own, for a few lines. An empty journal costs a relaxed load.
 */
#ifndef MEND_CLIENT_JOURNAL_H
#define MEND_CLIENT_JOURNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/haunt.h"
#include "core/key.h"
#include "core/memory.h"
#include "core/time.h"

struct note;

/* What all journals of a client may have together. */
struct journal_budget {
    int64_t         bytes_max;
    _Atomic int64_t bytes;
};

struct notes { /* a list, the oldest first */
    struct note *first, **end;
};

struct journal {
    const struct memory   *memory;
    struct journal_budget *budget;
    size_t                 keys_max;
    _Atomic size_t         count; /* of keys that are noted, in any state */
    _Atomic size_t         waiting_count;
    _Atomic bool           torn; /* nothing is to be read, since it is not known what is stale */
    pthread_mutex_t        lock;
    struct note          **table; /* by hash; a power of two, NULL until the first */
    size_t                 table_size;
    struct notes           waiting, under_way, later;
    uint32_t               serial;
    nstime                 torn_at; /* when a key was last let go of... */
    uint64_t               torn_epoch; /* ...which may have had a zombie of then */
    struct haunt           haunt;
    nstime                 zombie; /* how long what is adrift may take, once its server goes on; 0: there is no care for zombies */
    uint64_t               tears, settled; /* how often, and how many keys were deleted, since the client was opened */
};

void journal_init(struct journal *j, const struct memory *memory, struct journal_budget *budget, size_t keys_max, nstime zombie);
void journal_free(struct journal *j);

/* zombie: whether the write may be done yet. */
void journal_note(struct journal *j, mend_bytes key, nstime now, enum zombie zombie);

/* A write was given up on a line that goes on; 0: nobody cares. ended: all on it has been done, or never will be. */
uint64_t journal_line(struct journal *j);
void     journal_line_over(struct journal *j, uint64_t line, bool ended, nstime now);

/* Everything may be stale: a flush_all that failed. */
void journal_tear(struct journal *j, nstime now);

/* Whether the key is noted, or the journal is torn, and so it is not to be read; then a serial, by which journal_written
 * knows the note again. 0: neither. deleted, if not NULL: a write that went behind a delete was done since, so that another need not. */
uint32_t journal_holds(struct journal *j, mend_bytes key, bool *deleted);

/* Nothing noted, and not torn. */
static inline bool journal_is_quiet(const struct journal *j)
{
    return atomic_load_explicit(&j->count, memory_order_relaxed) == 0 && !atomic_load_explicit(&j->torn, memory_order_relaxed);
}

/* A write of the key went behind a delete of it (or was one), and both were done: it is readable again, unless it was noted anew, or
 * has a zombie. */
void journal_written(struct journal *j, mend_bytes key, uint32_t serial);

static inline size_t journal_count(const struct journal *j)
{
    return atomic_load_explicit(&j->count, memory_order_relaxed);
}

/* ---- The healer's ---- */

/* Copies the next key that waits; it is then under way by this number, which rises. False: none does. */
bool journal_next(struct journal *j, uint64_t number, nstime now, char key[KEY_MAX], size_t *len);

/* The deletes that are under way by numbers up to this are done. Those that a zombie may have come behind are LATER. */
void journal_settle(struct journal *j, uint64_t upto);
void journal_put_off(struct journal *j, uint64_t number, nstime due); /* LATER, by which it waits again */
void journal_unsent(struct journal *j);

/* Those whose time has come wait again. */
void   journal_wake(struct journal *j, nstime now);
nstime journal_due(struct journal *j, nstime now); /* when the next is; NEVER */

static inline bool journal_waits(const struct journal *j)
{
    return atomic_load_explicit(&j->waiting_count, memory_order_relaxed) > 0;
}

/* The server has answered a question that was put at `since`, so that it goes on; and whether that is still to be found out, for
 * the sake of a line that had to be closed. */
void journal_proved(struct journal *j, nstime since, nstime now);
bool journal_unproved(struct journal *j);

/* What mend_servers tells of it. */
void journal_describe(struct journal *j, size_t *keys, uint64_t *settled, uint64_t *tears);

/* Whether a key is missing in it, and since when the last. */
bool journal_torn(struct journal *j, nstime *torn_at);
/* ...whether a flush would be behind all zombies of the keys that are missing, if it is later than `since`. */
bool journal_mendable(struct journal *j, nstime now, nstime *since);
void journal_mend(struct journal *j, nstime torn_at); /* what was torn until then has been seen to */

#endif
