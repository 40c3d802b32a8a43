/* loads.h - the database of a life, and the rules for what mend_fetch makes of it.
 *
 * A load takes its time, and makes a version of its own of the key, as a write does; some say that there is no such
 * thing, some fail. Told which keys are being written, it demands of every load that no other of the same key runs in
 * this process (but for one that a write has overtaken), and that no more than loads_max do; and of every answer that its source is the
 * truth. What is stale, the oracle knows.
 *
 *     fetch_begins(f)     mend_fetch(client, key, loads_recipe(f, &recipe), &r)     fetch_ended(f, key, &r, fresh_since)
 */
#ifndef SIM_LOADS_H
#define SIM_LOADS_H

#include "sim/oracle.h"

enum { LOADS_MS = 40 }; /* that one may take */

struct loads;

struct loads *loads_new(struct dream *d, struct oracle *o, int timeout_ms); /* draws its recipe */
void          loads_free(struct loads *l);

/* Calls that write these keys (bits) begin, and have ended. */
void loads_writing(struct loads *l, uint32_t keys);
void loads_written(struct loads *l, uint32_t keys);

/* One caller's fetches, one after the other. */
struct fetcher {
    struct loads *loads;
    nstime        began;
    bool          many;  /* keys, of which one may be there twice, and the second wait for the first */
    char         *value; /* room for one */
};

void               fetch_begins(struct fetcher *f);
const mend_recipe *loads_recipe(struct fetcher *f, mend_recipe *recipe); /* this life's, for this caller */
nstime             loads_most(const struct loads *l, unsigned keys);     /* that such a fetch may take */
void               fetch_ended(struct fetcher *f, unsigned key, const mend_reply *r, nstime fresh_since);

#endif
