/* scene.h - one client lives through one fault, and every call of it is written down.
 *
 * A scene has a process of its own, with servers of its own: what a client does to its process (hangs, dies, leaks)
 * harms no other scene. The log is in memory that both processes see, so what happened until then is there even so.
 * Some threads each begin a call in fixed steps: nearly all are gets of any key, some are sets of a key that only
 * this thread writes. What a slow call cost is not made up for afterwards.
 *
 *     scene = scene_start(fault, client, quick)     it runs
 *     scene_wait(scene)                             it is over, one way or the other
 *     scene_free(scene)
 */
#ifndef OUTAGE_SCENE_H
#define OUTAGE_SCENE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "clients.h"
#include "faults.h"

enum {
    THREADS = 4,
    CALLS_MAX = 20000, /* of a thread: one each millisecond, longer than a scene may last */
    SPANS_MAX = 16,
    SLOW_MS = 50,      /* half the timeout: such a call felt the fault */
};

enum verdict {
    VERDICT_TRUE,
    VERDICT_WRONG, /* a hit that is no value of this key */
    VERDICT_STALE, /* a hit that is older than what was acknowledged before the get began */
};

struct call {
    int64_t start_ns, end_ns; /* end 0: it has not returned */
    int16_t code;
    uint8_t answer; /* enum answer */
    uint8_t verdict;
    bool    set;
    bool    sick; /* the key lives on the server that the fault befalls */
    bool    outdated; /* a hit that is older than a set which had failed, as far as its caller was told */
};

struct span {
    int64_t from_ns, to_ns;
};

struct scene {
    const struct fault  *fault;
    const struct client *client;
    bool                 quick;
    pid_t                pid;
    int                  signal; /* that ended it; 0: it came to its end */

    /* The child's: */
    bool        complete;
    int64_t     begun_ns, ended_ns; /* of the calls */
    struct span away[SPANS_MAX];    /* each time that the server was away */
    int         aways;
    int64_t     late_ns; /* by how much the machine itself was late, at worst */
    atomic_uint count[THREADS];
    struct call calls[THREADS][CALLS_MAX];
};

struct scene *scene_start(const struct fault *fault, const struct client *client, bool quick);
void          scene_wait(struct scene *scene);
void          scene_free(struct scene *scene);

int scene_away_ms(const struct fault *fault, bool quick);
int scene_lasts_ms(const struct fault *fault, bool quick); /* about */

#endif
