/* faults.c - see faults.h. */
#include "faults.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "name.h"

/* The dead process is waited for later: the kernel may take its time with that, but its port is free. */
static void kill_first(struct world *world)
{
    kill(world->at[0].pid, SIGKILL);
    world->at[0].pid = 0;
}

static void restart_first(struct world *world)
{
    memcached_restart(&world->at[0]);
}

static void stop_first(struct world *world)
{
    memcached_pause(&world->at[0]);
}

static void continue_first(struct world *world)
{
    memcached_resume(&world->at[0]);
}

static void or_end(bool done, const char *what)
{
    if (done)
        return;
    perror(what);
    _exit(1);
}

/* The clients are told a name instead of an address. */
static void name_first(struct world *world)
{
    or_end(name_begin(world->at[0].host), "outage: a name of its own");
    snprintf(world->address[0], sizeof world->address[0], "%s:%d", NAME, world->at[0].port);
}

/* Where it was, nobody listens any more; the name leads to its successor as soon as that serves. */
static void succeed_first(struct world *world)
{
    struct memcached *m = &world->at[0];

    snprintf(m->host, sizeof m->host, "127.0.0.2");
    memcached_restart(m);
    or_end(name_move(m->host), "outage: where the name leads");
}

/* The predecessor stands where it was, and says nothing: its host hangs, and its pod was given up. */
static void replace_first(struct world *world)
{
    world->own = (void *)(intptr_t)world->at[0].pid;
    world->at[0].pid = 0;
    succeed_first(world);
}

static void kill_predecessor(struct world *world)
{
    if (world->own)
        kill((pid_t)(intptr_t)world->own, SIGKILL);
}

const struct fault faults[] = {
    {.id = "kill", .title = "kill -9, restarted after {away}", .why = "every connection is reset, new ones are refused",
     .servers = 1, .away_ms = 2000, .quick_away_ms = 1000, .times = 1, .begin = kill_first, .end = restart_first},
    {.id = "stop", .title = "SIGSTOP, SIGCONT after {away}", .why = "connections stand, and nothing is answered",
     .servers = 1, .away_ms = 2000, .quick_away_ms = 1000, .times = 1, .begin = stop_first, .end = continue_first},
    {.id = "hang", .title = "SIGSTOP, SIGCONT after {away}", .why = "longer than the 5 s that libmemcached waits by default",
     .servers = 1, .away_ms = 7000, .times = 1, .never_quick = true, .begin = stop_first, .end = continue_first},
    {.id = "blinks", .title = "{times} times SIGSTOP for {away}", .why = "answers come after their calls have timed out",
     .servers = 1, .away_ms = 150, .quick_away_ms = 150, .times = 8, .between_ms = 150, .begin = stop_first, .end = continue_first},
    {.id = "one-killed", .title = "one of three: kill -9, restarted after {away}", .why = "the others' keys should not notice",
     .servers = 3, .away_ms = 2000, .quick_away_ms = 1000, .times = 1, .begin = kill_first, .end = restart_first},
    {.id = "one-stopped", .title = "one of three: SIGSTOP, SIGCONT after {away}", .why = "it comes back with what it knew",
     .servers = 3, .away_ms = 2000, .quick_away_ms = 1000, .times = 1, .begin = stop_first, .end = continue_first},
    {.id = "one-killed-twice", .title = "one of three: kill -9 twice, restarted after {away}",
     .why = "are writes that went elsewhere served later?", .servers = 3, .away_ms = 2500, .times = 2, .between_ms = 3000, .never_quick = true,
     .begin = kill_first, .end = restart_first},
    {.id = "moved", .title = "kill -9, back at another address after {away}", .why = "as a pod of Kubernetes: its name stays the same",
     .servers = 1, .away_ms = 2000, .quick_away_ms = 1000, .times = 1, .why_not = name_why_not, .prepare = name_first,
     .begin = kill_first, .end = succeed_first},
    {.id = "moved-hung", .title = "SIGSTOP, and after {away} another in its place", .why = "a pod whose host hangs: nobody says that it is gone, and its name moves on",
     .servers = 1, .away_ms = 2000, .quick_away_ms = 1000, .times = 1, .why_not = name_why_not, .prepare = name_first,
     .begin = stop_first, .end = replace_first, .finish = kill_predecessor},
};
const int faults_count = sizeof faults / sizeof *faults;

void world_begin(struct world *world, const struct fault *fault)
{
    *world = (struct world){.servers = fault->servers};
    for (int i = 0; i < world->servers; i++) {
        memcached_start(&world->at[i], "127.0.0.1", "-m 64");
        snprintf(world->address[i], sizeof world->address[i], "%s", world->at[i].name);
    }
    if (fault->prepare)
        fault->prepare(world);
}

void world_end(struct world *world, const struct fault *fault)
{
    if (fault->finish)
        fault->finish(world);
    for (int i = 0; i < world->servers; i++)
        memcached_stop(&world->at[i]);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
}
