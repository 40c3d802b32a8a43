/* app.h - the application: threads that read through the cache, with the database to fall back on.
 *
 * It mostly gets; what the cache does not have, or cannot be asked for, it asks the
 * database and stores. It also reads many keys at once, writes through, invalidates and
 * counts. Every answer is checked against the database, every call is recorded. Knows
 * nothing of faults: it never looks whether a server is well, and just calls.
 */
#ifndef DEMO_APP_H
#define DEMO_APP_H

#include <mend.h>

#include "calls.h"
#include "history.h"

enum { APP_THREADS_MAX = 64 };

struct app;

struct app_plan {
    mend_client    *client;
    struct history *history; /* is told of answers that are not the truth */
    const char     *address[SERVERS];
    unsigned        threads;
    unsigned        calls_per_s; /* of all threads together, about */
};

/* NULL, with why in words, if it could not start. */
struct app *app_start(const struct app_plan *plan, char *why, size_t why_bytes);

/* How many threads have not come back from a call within 20 s; if any, the app must not be closed. */
unsigned app_stop(struct app *app);
void     app_close(struct app *app);

const struct calls *app_calls(const struct app *app, unsigned thread);

#endif
