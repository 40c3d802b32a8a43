#include "metronome.h"

#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

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

static void *beat(void *arg)
{
    struct metronome *m = arg;
    char              byte = 0;

    while (!atomic_load(&m->stop)) {
        int64_t slept = clock_now();
        clock_sleep_until(slept + MS(1));
        if (send(m->ends[0], &byte, 1, MSG_NOSIGNAL) != 1 || recv(m->ends[0], &byte, 1, 0) != 1)
            break;
        int64_t heard = clock_now();
        note(m, slept, heard, heard - slept - MS(1));
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
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, m->ends) != 0)
        return false;
    return pthread_create(&m->echoing, NULL, echo, m) == 0 && pthread_create(&m->beating, NULL, beat, m) == 0;
}

void metronome_stop(struct metronome *m)
{
    atomic_store(&m->stop, true);
    pthread_join(m->beating, NULL);
    pthread_join(m->echoing, NULL);
    close(m->ends[0]);
    close(m->ends[1]);
}

int64_t metronome_worst_ns(const struct metronome *m, int64_t from_ns, int64_t to_ns)
{
    int64_t worst = 0;
    for (size_t i = bar(m, from_ns); i <= bar(m, to_ns); i++)
        if (atomic_load(&m->late_ns[i]) > worst)
            worst = atomic_load(&m->late_ns[i]);
    return worst;
}
