/* database.h - the pretend database behind the cache, and with it the truth.
 *
 * It has a version of every record. A record's value names its key and its version,
 * and all of its bytes follow from these two, so that a value that comes from the cache
 * can be told from any other key's, from a half or a mixture, and from one that was
 * never written. Knows nothing of mend.
 */
#ifndef DEMO_DATABASE_H
#define DEMO_DATABASE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DATABASE_RECORDS = 600,
    DATABASE_VALUE_MAX = 24 << 10,
    DATABASE_LATENCY_MS = 2, /* what asking it costs: pretended, and some ten times a cache's */
};

struct database_record {
    char             name[32];
    uint32_t         number;
    _Atomic uint64_t version; /* the newest written; the first is 1 */
};

struct database {
    struct database_record at[DATABASE_RECORDS];
};

void     database_open(struct database *db);
void     database_ask(void);                        /* the time that a question takes */
uint64_t database_write(struct database_record *r); /* the new version */

/* The value of that version; to has DATABASE_VALUE_MAX bytes. Returns its length. */
size_t database_value(const struct database_record *r, uint64_t version, char *to);

/* The version of the record that this value is, whole; 0: of none. NUL must follow data; scratch has DATABASE_VALUE_MAX bytes. */
uint64_t database_knows(const struct database_record *r, const char *data, size_t len, char *scratch);

/* The next of a run of well-mixed numbers (splitmix64). */
uint64_t database_chance(uint64_t *state);

#endif
