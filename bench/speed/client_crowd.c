/* client_crowd.c - sharing at its barest: threads that ask at the same time share one connection, and nothing else is done.
 *
 * The first to come leads: it sends everybody's questions at once, reads the answers, and wakes its batch with one futex
 * call; who comes meanwhile is the next batch. No check, no key, no opaque, no second server, and every value
 * of the same length: what sharing by sleeping threads can come to on this machine, as floor is for one thread. They sleep
 * with a deadline, though nobody looks at it, since a call that must end by one can't do without (at 64 threads that costs a
 * twelfth). A call of n that travel together costs (n + 2) / n system calls at least: n - 1 sleep, one sends, receives and wakes.
 */
#include "client.h"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RIDERS_MAX = 64, VALUE_ROOM = 4096 + 64, DEADLINE_S = 1 };

struct rider {
    struct crowd      *crowd;
    const struct item *item;
    struct rider      *next;
    bool               queued, done;
    char               answer[VALUE_ROOM];
};

struct crowd {
    int              fd;
    pthread_mutex_t  lock;
    bool             led;
    struct rider    *queue;
    unsigned         waiting, seen; /* in the queue; about when the last batch landed */
    unsigned         batch;
    _Atomic uint32_t word[2]; /* what a batch sleeps on, by its parity */
    char             out[RIDERS_MAX * (KEY_ROOM + 8)], in[RIDERS_MAX * VALUE_ROOM];
};

static void sleep_on(_Atomic uint32_t *word, uint32_t seen)
{
    struct timespec deadline;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += DEADLINE_S;
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen, &deadline, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void wake(_Atomic uint32_t *word, int most)
{
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, most, NULL, NULL, 0);
}

/* Sends what the batch asks and reads what is said: "VA 100", the value, and their lines' ends. */
static bool exchange(struct crowd *c, struct rider *batch, size_t n)
{
    size_t out = 0, each = (size_t)snprintf(NULL, 0, "VA %zu\r\n", batch->item->value_bytes) + batch->item->value_bytes + 2;

    for (struct rider *r = batch; r; r = r->next) {
        memcpy(c->out + out, "mg ", 3);
        memcpy(c->out + out + 3, r->item->key, r->item->key_bytes);
        memcpy(c->out + out + 3 + r->item->key_bytes, " v\r\n", 4);
        out += r->item->key_bytes + 7;
    }
    if (send(c->fd, c->out, out, MSG_NOSIGNAL) != (ssize_t)out)
        return false;
    for (size_t got = 0; got < n * each;) {
        ssize_t came = recv(c->fd, c->in + got, sizeof c->in - got, 0);
        if (came <= 0)
            return false;
        got += (size_t)came;
    }
    char *at = c->in;
    for (struct rider *r = batch; r; r = r->next, at += each)
        memcpy(r->answer, at, each);
    return true;
}

static void gather(struct crowd *c)
{
    for (unsigned before = c->waiting; c->waiting + 1 < c->seen; before = c->waiting) {
        pthread_mutex_unlock(&c->lock);
        sched_yield();
        pthread_mutex_lock(&c->lock);
        if (c->waiting == before)
            return;
    }
}

/* The lock is held when it begins, and not when it ends. */
static void lead(struct crowd *c, struct rider *own)
{
    size_t n = 1;

    c->led = true;
    gather(c);
    own->next = NULL;
    struct rider *batch = own;
    while (c->queue && n < RIDERS_MAX) {
        struct rider *r = c->queue;
        c->queue = r->next;
        r->queued = false;
        r->next = batch;
        batch = r;
        n++;
    }
    c->waiting -= (unsigned)n - 1;
    c->batch++;
    pthread_mutex_unlock(&c->lock);

    if (!exchange(c, batch, n))
        exit(EXIT_FAILURE);

    pthread_mutex_lock(&c->lock);
    _Atomic uint32_t *landed = &c->word[c->batch & 1], *next = &c->word[(c->batch + 1) & 1];
    for (struct rider *r = batch, *then; r; r = then) { /* once it is done it may ask again */
        then = r->next;
        r->done = true;
    }
    c->seen = (unsigned)n + c->waiting;
    c->led = false;
    bool more = c->queue != NULL;
    atomic_fetch_add(landed, 1);
    if (more)
        atomic_fetch_add(next, 1);
    pthread_mutex_unlock(&c->lock);
    if (n > 1)
        wake(landed, RIDERS_MAX);
    if (more)
        wake(next, 1);
}

static void ask(struct crowd *c, struct rider *r)
{
    r->done = false;
    pthread_mutex_lock(&c->lock);
    if (!c->led) {
        lead(c, r);
        return;
    }
    r->queued = true;
    r->next = c->queue;
    c->queue = r;
    c->waiting++;
    while (!r->done) {
        if (r->queued && !c->led) {
            for (struct rider **at = &c->queue; *at; at = &(*at)->next)
                if (*at == r) {
                    *at = r->next;
                    break;
                }
            r->queued = false;
            c->waiting--;
            lead(c, r);
            return;
        }
        _Atomic uint32_t *word = &c->word[(c->batch + r->queued) & 1];
        uint32_t          seen = atomic_load(word);
        pthread_mutex_unlock(&c->lock);
        sleep_on(word, seen);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

static enum outcome crowd_get(void *mine, const struct item *item, struct answer *a)
{
    struct rider *r = mine;

    r->item = item;
    ask(r->crowd, r);
    if (r->answer[0] != 'V')
        return MISS;
    a->data = strchr(r->answer, '\n') + 1;
    a->bytes = item->value_bytes;
    return HIT;
}

static void *crowd_open(const struct target *t)
{
    struct crowd      *c = must_have(calloc(1, sizeof *c));
    struct sockaddr_in at = {.sin_family = AF_INET};
    char               host[64];
    int                port = 0, on = 1;

    pthread_mutex_init(&c->lock, NULL);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sscanf(t->servers[0], "%63[^:]:%d", host, &port) == 2)
        inet_pton(AF_INET, host, &at.sin_addr);
    at.sin_port = htons((unsigned short)port);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&at, sizeof at) == 0)
        return c;
    perror(t->servers[0]);
    exit(EXIT_FAILURE);
}

static void *crowd_join(void *shared, const struct target *t)
{
    struct rider *r = must_have(calloc(1, sizeof *r));

    (void)t;
    r->crowd = shared;
    return r;
}

static void crowd_close(void *shared)
{
    struct crowd *c = shared;

    close(c->fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const struct client client_crowd = {
    .name = "crowd", .open = crowd_open, .join = crowd_join, .get = crowd_get, .leave = free, .close = crowd_close,
};
