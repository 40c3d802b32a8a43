/* wait.h - waiting for facts, and looking at a client from outside.
 *
 * Nothing here sleeps for "long enough": a test names the fact that it waits for
 * and how long it may take to come true. Only a fault's own duration is slept.
 * Everything but the macros may be used from any thread; the macros fail the
 * test, so they belong to the thread that runs it.
 */
#ifndef SUPPORT_WAIT_H
#define SUPPORT_WAIT_H

#include <mend.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Longer than anything that is right can take, even under a sanitizer on a busy machine. */
#define SOON_MS 30000

int64_t now_ms(void);
void pause_ms(int ms);

/* What a call may take beyond its timeout here, where a sanitizer slows it down and
 * every core is busy with the other tests: 300 ms, and three times the longest that a
 * thread which only naps was late, or is. What a call waits for in vain must last longer
 * than that. The real figure is the benchmark's. A group's setup starts the watch. */
int watch_begins(void **state);
int slack_ms(void);
int late_ms(void); /* that longest */

/* Waits until the condition holds, a look each millisecond. */
#define await(condition, bound_ms) \
    do { \
        int64_t until_ = now_ms() + (bound_ms); \
        while (!(condition)) { \
            if (now_ms() > until_) \
                fail_msg("not true within %d ms: %s", (int)(bound_ms), #condition); \
            pause_ms(1); \
        } \
    } while (0)

/* Does it, and takes fewer milliseconds than that: at once, or when tried again twice. A
 * core that was busy with others makes one try late; a wrong deadline makes every one. */
#define takes_less_than(bound_ms, call) \
    do { \
        int64_t took_ = 0; \
        for (int try_ = 0; try_ < 3; try_++) { \
            took_ = now_ms(); \
            call; \
            took_ = now_ms() - took_; \
            if (took_ < (bound_ms)) \
                break; \
        } \
        if (took_ >= (bound_ms)) \
            fail_msg("%s: %d ms, not under %d", #call, (int)took_, (int)(bound_ms)); \
    } while (0)

/* The condition holds, with the words and numbers that are needed when it does not. */
#define must(condition, ...) \
    do { \
        if (!(condition)) { \
            print_error("not so: %s: ", #condition); \
            print_error(__VA_ARGS__); \
            print_error("\n"); \
            fail(); \
        } \
    } while (0)

/* The status is this one; if it is not, say both by name and what the reply has to say. */
#define must_be(wanted, status, reply) \
    do { \
        mend_status got_ = (status); \
        if (got_ != (wanted)) \
            fail_msg("%s: %s, not %s (%s)", #status, mend_status_name(got_), mend_status_name(wanted), (reply)->error); \
    } while (0)

/* One server, as mend_servers told it, with texts of its own. */
struct seen {
    char        name[256];
    mend_state  state;
    int64_t     since_ms;
    char        why[256];
    int64_t     next_trial_ms;
    unsigned    falls;
    unsigned    failures;
    unsigned    connections;
    unsigned    weight;
    char        protocol[16];
    size_t      journal_keys;
    uint64_t    journal_deleted, journal_overflows;
    uint64_t    values_broken;
};

struct seen seen_of(const mend_server *server);
struct seen seen_at(mend_client *client, size_t i); /* the i-th of the list; state -1 if there is none */
mend_state  state_of(mend_client *client, size_t i);
bool        all_up(mend_client *client);
size_t      servers_of(mend_client *client); /* how many there are */

/* Opens a client and waits until every server is UP. */
mend_client *open_up(const mend_config *config);

/* Open descriptors and threads of this process. */
int descriptors(void);
int threads(void);

#endif
