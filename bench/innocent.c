/* innocent.c - what must not count against a server: a caller's mistakes, and a server's honest No.
 *
 *     bench-innocent [--quick]
 *
 * Each is done a thousand times in a row, far more often than failures are allowed; then the server must be UP,
 * have never fallen, and no call in between may have been refused.
 */
#include "figure.h"

#include "support/memcached.h"
#include "support/wait.h"

#include <string.h>

static unsigned times = 1000;

static char zeros[2 * 1024 * 1024];

/* The n-th of the kind. */
static mend_status bad_key(mend_client *c, unsigned n, mend_reply *r)
{
    char key[300];
    memset(key, n % 3 == 2 ? ' ' : 'k', sizeof key);
    return mend_get(c, mend_mem(key, n % 3 == 0 ? 0 : n % 3 == 1 ? 251 : 187), r);
}

static mend_status too_large(mend_client *c, unsigned n, mend_reply *r)
{
    (void)n;
    return mend_set(c, mend_str("large"), mend_mem(zeros, sizeof zeros), NULL, r);
}

/* Its memory is full, and it was told to forget nothing. */
static mend_status out_of_memory(mend_client *c, unsigned n, mend_reply *r)
{
    char key[32];
    snprintf(key, sizeof key, "full:%u", n);
    return mend_set(c, mend_str(key), mend_mem(zeros, 100 * 1024), NULL, r);
}

static const struct {
    const char  *id, *what, *memcached;
    mend_status (*ask)(mend_client *, unsigned, mend_reply *);
    mend_status  answer;
} innocents[] = {
    {"bad_key", "a bad key never counts", "-m 64", bad_key, MEND_E_ARGUMENT},
    {"too_large", "a value of 2 MB never counts", "-m 64", too_large, MEND_TOO_LARGE},
    {"server_error", "a SERVER_ERROR on a store never counts", "-m 2 -M", out_of_memory, MEND_E_SERVER},
};

static void measure(size_t which)
{
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    unsigned         got = 0, turned_away = 0, asked = 0;

    memcached_start(&m, "127.0.0.1", innocents[which].memcached);
    mend_client *client = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = 1000));
    for (; got < times && asked < 4 * times; asked++) { /* until it is full, stores succeed */
        got += innocents[which].ask(client, asked, &r) == innocents[which].answer;
        turned_away += r.status == MEND_E_DOWN || mend_get(client, mend_str("other"), &r) < 0;
    }
    struct seen seen;
    await((seen = seen_at(client, 0)).state == MEND_STATE_UP || seen.falls, 1000); /* for the deletes that refused stores leave to be made it is tried, and DOUBTFUL for that long */
    bool        unharmed = got == times && !turned_away && seen.state == MEND_STATE_UP && seen.falls == 0 && seen.failures == 0;
    figure_tell(&(struct figure){.id = innocents[which].id, .what = innocents[which].what, .target = "UP, 0 falls", .unit = "falls",
                                 .value = seen.falls, .verdict = unharmed ? FIGURE_KEPT : FIGURE_MISSED},
                "%s, %u falls, %u calls turned away; %u times %s", seen.state == MEND_STATE_UP ? "UP" : "not UP", seen.falls,
                turned_away, got, mend_status_name(innocents[which].answer));
    mend_close(client);
    mend_reply_free(&r);
    memcached_stop(&m);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--quick") == 0)
        times = 200;
    figure_progress("bad keys, values that are too large, a server that is full: %u of each", times);
    for (size_t i = 0; i < sizeof innocents / sizeof *innocents; i++)
        measure(i);
    return 0;
}
