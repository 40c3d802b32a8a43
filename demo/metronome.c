/* metronome.c - see metronome.h. */
#include "metronome.h"

#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { LOOK_MS = 10 };

static size_t bar(const struct metronome *m, int64_t at_ns)
{
    int64_t n = (at_ns - m->started_ns) / MS(10);
    return n < 0 ? 0 : n < METRONOME_BARS ? (size_t)n : METRONOME_BARS - 1;
}

/* Lateness belongs to all of the time during which it grew. */
static void note(struct metronome *m, int64_t from_ns, int64_t to_ns, int64_t late_ns)
{
    for (size_t i = bar(m, from_ns); i <= bar(m, to_ns); i++)
        if (late_ns > atomic_load(&m->late_ns[i]))
            atomic_store(&m->late_ns[i], late_ns);
}

int64_t metronome_worst_ns(const struct metronome *m, int64_t from_ns, int64_t to_ns)
{
    int64_t worst = 0;
    for (size_t i = bar(m, from_ns); i <= bar(m, to_ns); i++)
        if (atomic_load(&m->late_ns[i]) > worst)
            worst = atomic_load(&m->late_ns[i]);
    return worst;
}

/* ---- What the kernel says of a thread ------------------------------------------------------ */

int metronome_own_queue(void)
{
    return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* "ns on a processor, ns in the queue for one, turns" */
int64_t metronome_queued_ns(int own_queue)
{
    char    text[100], *queued;
    ssize_t n = pread(own_queue, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    strtoll(text, &queued, 10);
    return strtoll(queued, NULL, 10);
}

static void follow_threads_of(struct metronome_server *server, pid_t pid)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (!threads)
        return;

    for (struct dirent *t; (t = readdir(threads)) && server->count < METRONOME_THREADS_MAX;) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, t->d_name);
        int queue = t->d_name[0] == '.' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        if (queue < 0)
            continue;
        server->queue[server->count] = queue;
        server->queued_ns[server->count++] = metronome_queued_ns(queue);
    }
    closedir(threads);
}

void metronome_follow(struct metronome *m, int server, pid_t pid)
{
    struct metronome_server now = {.count = 0};
    if (pid)
        follow_threads_of(&now, pid);

    pthread_mutex_lock(&m->following);
    struct metronome_server before = m->servers[server];
    m->servers[server] = now;
    pthread_mutex_unlock(&m->following);
    for (int i = 0; i < before.count; i++)
        close(before.queue[i]);
}

/* A thread's time in the queue is told when it leaves it. */
static void look_at_servers(struct metronome *m, int64_t now_ns)
{
    pthread_mutex_lock(&m->following);
    for (int s = 0; s < SERVERS; s++) {
        struct metronome_server *server = &m->servers[s];
        for (int i = 0; i < server->count; i++) {
            int64_t queued = metronome_queued_ns(server->queue[i]);
            int64_t late = queued - server->queued_ns[i];
            if (queued == 0 || late <= 0) /* dead, or never late */
                continue;
            note(m, now_ns - late, now_ns, late);
            server->queued_ns[i] = queued;
        }
    }
    pthread_mutex_unlock(&m->following);
}

/* ---- The threads ------------------------------------------------------------------------------ */

static void *beat(void *arg)
{
    struct metronome *m = arg;
    char              byte = 0;
    int64_t           look_ns = 0;

    while (!atomic_load(&m->stop)) {
        int64_t slept = clock_now();
        clock_sleep_until(slept + MS(1));
        if (send(m->ends[0], &byte, 1, MSG_NOSIGNAL) != 1 || recv(m->ends[0], &byte, 1, 0) != 1)
            break;
        int64_t heard = clock_now();
        note(m, slept, heard, heard - slept - MS(1));
        if (heard >= look_ns) {
            look_at_servers(m, heard);
            look_ns = heard + MS(LOOK_MS);
        }
    }
    shutdown(m->ends[0], SHUT_RDWR);
    return NULL;
}

static void *echo(void *arg)
{
    struct metronome *m = arg;
    char              byte;

    while (recv(m->ends[1], &byte, 1, 0) == 1)
        if (send(m->ends[1], &byte, 1, MSG_NOSIGNAL) != 1)
            break;
    return NULL;
}

bool metronome_start(struct metronome *m)
{
    m->started_ns = clock_now();
    pthread_mutex_init(&m->following, NULL);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m->ends) != 0)
        return false;
    return pthread_create(&m->echoing, NULL, echo, m) == 0 && pthread_create(&m->beating, NULL, beat, m) == 0;
}

void metronome_stop(struct metronome *m)
{
    atomic_store(&m->stop, true);
    pthread_join(m->beating, NULL);
    pthread_join(m->echoing, NULL);
    for (int s = 0; s < SERVERS; s++)
        metronome_follow(m, s, 0);
    pthread_mutex_destroy(&m->following);
    close(m->ends[0]);
    close(m->ends[1]);
}
