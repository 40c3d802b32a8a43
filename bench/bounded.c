/* bounded.c - by how much a call outlives its deadline while its server hangs, for timeouts other than the usual.
 *
 *     bench-bounded [--quick]
 *
 * Every way to wait has its own coarseness, and some grow coarser with the time to wait: so short ones and long.
 */
#include "clock.h"
#include "figure.h"
#include "metronome.h"

#include "support/memcached.h"
#include "support/wait.h"

#include <pthread.h>
#include <string.h>

static const int timeouts_ms[] = {20, 50, 100, 200, 400, 800, 1600};

enum { TIMEOUTS = sizeof timeouts_ms / sizeof *timeouts_ms };

struct caller {
    pthread_t    thread;
    int          index;
    mend_client *client;
    int64_t      late_ns; /* at worst */
};

/* A connection that served is asked once more, and waits. */
static void *call(void *arg)
{
    struct caller *who = arg;
    mend_reply     r = MEND_REPLY;

    pause_ms(who->index * 3); /* not all of them in step with the kernel's clock */
    int64_t began = clock_now();
    mend_get(who->client, mend_str("bounded"), &r);
    int64_t late = clock_now() - began - MS(timeouts_ms[who->index]);
    if (r.status != MEND_E_TIMEOUT)
        fail_msg("%s of a server that hangs", mend_status_name(r.status));
    if (late > who->late_ns)
        who->late_ns = late;
    mend_reply_free(&r);
    return NULL;
}

static void round_of_calls(struct caller callers[TIMEOUTS], struct memcached *m)
{
    mend_reply r = MEND_REPLY;

    for (int i = 0; i < TIMEOUTS; i++) {
        await(all_up(callers[i].client), SOON_MS);
        must_be(MEND_MISS, mend_get(callers[i].client, mend_str("bounded"), &r), &r);
    }
    mend_reply_free(&r);
    memcached_pause(m);
    for (int i = 0; i < TIMEOUTS; i++)
        if (pthread_create(&callers[i].thread, NULL, call, &callers[i]) != 0)
            fail_msg("no thread");
    for (int i = 0; i < TIMEOUTS; i++)
        pthread_join(callers[i].thread, NULL);
    memcached_resume(m);
}

int main(int argc, char **argv)
{
    int              rounds = argc > 1 && strcmp(argv[1], "--quick") == 0 ? 1 : 5;
    struct memcached m;
    struct caller    callers[TIMEOUTS];
    struct metronome metronome;
    int              worst = 0;

    figure_progress("a hung server, and timeouts of %d to %d ms", timeouts_ms[0], timeouts_ms[TIMEOUTS - 1]);
    memcached_start(&m, "127.0.0.1", NULL);
    for (int i = 0; i < TIMEOUTS; i++) {
        mend_config config = MEND_CONFIG(.servers = m.name, .timeout_ms = timeouts_ms[i]);
        callers[i] = (struct caller){.index = i, .client = open_up(&config)};
    }
    metronome_start(&metronome);
    while (rounds-- > 0)
        round_of_calls(callers, &m);
    for (int i = 0; i < TIMEOUTS; i++) {
        mend_close(callers[i].client);
        figure_progress("    timeout %d ms: %.1f ms late", timeouts_ms[i], clock_ms(callers[i].late_ns));
        if (callers[i].late_ns > callers[worst].late_ns)
            worst = i;
    }
    memcached_stop(&m);
    double late_ms = clock_ms(callers[worst].late_ns), machine_ms = clock_ms(metronome_late_ns(&metronome));
    figure_tell(&(struct figure){.id = "bounded", .what = "a call to a hung server, timeouts of 20 to 1600 ms, beyond its deadline",
                                 .target = "<= 5 ms", .unit = "ms", .value = late_ms, .verdict = figure_within(late_ms, 5)},
                "%.1f ms, at a timeout of %d ms (the machine itself was late by %.1f ms)", late_ms, timeouts_ms[worst], machine_ms);
    metronome_stop(&metronome);
    return 0;
}
