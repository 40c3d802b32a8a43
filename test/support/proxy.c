/* proxy.c - see proxy.h. */
#include "support/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 64 << 10, QUEUE_BYTES = 4 << 20 }; /* a way that has so much queued is read no further */

#define MS(n) ((int64_t)(n) * 1000000)
#define NEVER INT64_MAX

/* Bytes that arrived together. */
struct piece {
    struct piece *next;
    int64_t       due; /* not to be passed on before */
    size_t        at, length;
    char          bytes[];
};

/* From end[i] of a line to its other end. */
struct way {
    struct piece *first, **last;
    size_t        queued;
    bool          ended, reset, told; /* no more comes; it came as a reset; the other end knows */
    int64_t       end_due;
    int64_t       next_at; /* of a trickle */
};

/* One connection of a client, and ours to the server. */
struct line {
    struct line *next;
    int          end[2]; /* the client's, the server's; -1: not yet */
    bool         connecting, deaf, dead; /* deaf: no answer reaches the client any more */
    size_t       went_down; /* since the fault began */
    struct way   way[2];
};

struct proxy {
    pthread_t          thread;
    int                listener, bell;
    struct sockaddr_in server;
    char               name[32];
    int                port;

    pthread_mutex_t    lock;
    pthread_cond_t     obeyed;
    struct proxy_fault wanted;
    bool               set, cut, stop;
    uint64_t           ordered, done;

    _Atomic uint64_t accepted, open, ended, bytes[2];

    /* The thread's own. */
    struct proxy_fault fault;
    struct line       *lines;
    struct pollfd     *polls;
    size_t             polls_room;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- Lines ---- */

static struct line *line_new(struct proxy *p, int client)
{
    struct line *l = calloc(1, sizeof *l);
    if (!l) {
        close(client);
        return NULL;
    }
    l->end[PROXY_UP] = client;
    l->end[PROXY_DOWN] = -1;
    for (int i = 0; i < 2; i++)
        l->way[i].last = &l->way[i].first;
    l->next = p->lines;
    p->lines = l;
    p->open++;
    return l;
}

static void hang_up(int fd, bool reset)
{
    if (fd < 0)
        return;
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1, .l_linger = 0}, sizeof(struct linger));
    close(fd);
}

static void line_end(struct line *l, bool reset)
{
    for (int i = 0; i < 2; i++) {
        hang_up(l->end[i], reset);
        l->end[i] = -1;
    }
    l->dead = true;
}

static void line_free(struct proxy *p, struct line *l)
{
    line_end(l, false);
    for (int i = 0; i < 2; i++) {
        for (struct piece *piece = l->way[i].first, *next; piece; piece = next) {
            next = piece->next;
            free(piece);
        }
    }
    free(l);
    p->open--;
}

static void bury(struct proxy *p)
{
    for (struct line **at = &p->lines, *l; (l = *at) != NULL;) {
        if (!l->dead) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        line_free(p, l);
    }
}

/* A server that is not there resets its client. */
static void line_connect(struct proxy *p, struct line *l)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    l->end[PROXY_DOWN] = fd;
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&p->server, sizeof p->server) == 0)
        return;
    if (fd >= 0 && errno == EINPROGRESS)
        l->connecting = true;
    else
        line_end(l, true);
}

static void line_connected(struct line *l)
{
    int       error = 0;
    socklen_t size = sizeof error;

    l->connecting = false;
    if (getsockopt(l->end[PROXY_DOWN], SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error)
        line_end(l, true);
}

/* ---- Bytes ---- */

static bool reads(const struct proxy *p, const struct line *l, int i)
{
    return !l->dead && !p->fault.silent && l->end[i] >= 0 && !l->connecting && !l->way[i].ended && l->way[i].queued < QUEUE_BYTES;
}

static void take(struct proxy *p, struct line *l, int i)
{
    struct way   *w = &l->way[i];
    int64_t       due = now_ns() + MS(p->fault.delay_ms[i]);
    struct piece *piece = malloc(sizeof *piece + PIECE_BYTES);

    if (!piece) {
        line_end(l, true);
        return;
    }
    ssize_t got = recv(l->end[i], piece->bytes, PIECE_BYTES, 0);
    if (got <= 0) {
        free(piece);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        w->ended = true;
        w->reset = got < 0;
        w->end_due = due;
        return;
    }
    *piece = (struct piece){.due = due, .length = (size_t)got};
    struct piece *fits = realloc(piece, sizeof *piece + piece->length);
    if (fits)
        piece = fits;
    *w->last = piece;
    w->last = &piece->next;
    w->queued += piece->length;
}

/* How many bytes may go now; 0: none, and *when says when that may be looked into again. */
static size_t may_go(const struct proxy *p, const struct line *l, int i, int64_t now, int64_t *when)
{
    const struct way *w = &l->way[i];

    if (l->dead || !w->first || l->end[!i] < 0 || l->connecting || p->fault.hold || p->fault.silent)
        return 0;
    int64_t at = w->first->due;
    if (p->fault.trickle_ms[i] && w->next_at > at)
        at = w->next_at;
    if (at > now) {
        *when = earlier(*when, at);
        return 0;
    }
    size_t n = w->first->length - w->first->at;
    if (p->fault.trickle_ms[i])
        n = smaller(n, p->fault.trickle_bytes ? p->fault.trickle_bytes : 1);
    if (i == PROXY_DOWN && p->fault.end && !l->deaf)
        n = smaller(n, p->fault.end_after - l->went_down);
    return n;
}

static void gone(struct way *w, size_t n)
{
    struct piece *piece = w->first;

    piece->at += n;
    w->queued -= n;
    if (piece->at < piece->length)
        return;
    w->first = piece->next;
    if (!w->first)
        w->last = &w->first;
    free(piece);
}

/* Passes on what may go. *when: see may_go. */
static void pass(struct proxy *p, struct line *l, int i, int64_t now, int64_t *when)
{
    struct way *w = &l->way[i];

    for (size_t n; (n = may_go(p, l, i, now, when)) > 0;) {
        const char *bytes = w->first->bytes + w->first->at;
        ssize_t     sent = i == PROXY_DOWN && l->deaf ? (ssize_t)n : send(l->end[!i], bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return; /* poll tells when there is room */
        if (sent < 0) {
            line_end(l, true);
            return;
        }
        gone(w, (size_t)sent);
        p->bytes[i] += (uint64_t)sent;
        w->next_at = now + MS(p->fault.trickle_ms[i]);
        if (i == PROXY_DOWN)
            l->went_down += (size_t)sent;
        if (i == PROXY_DOWN && p->fault.end && l->went_down >= p->fault.end_after)
            return;
    }
}

/* The end of one side reaches the other, behind its bytes. */
static void pass_end(struct proxy *p, struct line *l, int i, int64_t now, int64_t *when)
{
    struct way *w = &l->way[i];

    if (l->dead || !w->ended || w->told || w->first || l->connecting || p->fault.hold || p->fault.silent)
        return;
    if (w->end_due > now) {
        *when = earlier(*when, w->end_due);
        return;
    }
    w->told = true;
    if (w->reset)
        line_end(l, true);
    else if (l->way[!i].told)
        line_end(l, false);
    else
        shutdown(l->end[!i], SHUT_WR);
}

static void end_if_due(struct proxy *p, struct line *l)
{
    if (l->dead || l->deaf || !p->fault.end || l->went_down < p->fault.end_after)
        return;
    p->ended++;
    if (p->fault.end == PROXY_RESET)
        line_end(l, true);
    else {
        l->deaf = true;
        shutdown(l->end[PROXY_UP], SHUT_WR);
    }
}

/* All that is to be done on a line now; returns when it must be looked at again, whatever comes. */
static int64_t tend(struct proxy *p, struct line *l, int64_t now)
{
    int64_t when = NEVER;

    if (!l->dead && l->end[PROXY_DOWN] < 0 && !p->fault.silent)
        line_connect(p, l);
    for (int i = 0; i < 2; i++) {
        pass(p, l, i, now, &when);
        end_if_due(p, l);
        pass_end(p, l, i, now, &when);
    }
    return when;
}

/* ---- Orders ---- */

static void accept_all(struct proxy *p)
{
    for (;;) {
        int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        p->accepted++;
        line_new(p, fd);
    }
}

static void cut_all(struct proxy *p)
{
    for (struct line *l = p->lines; l; l = l->next) {
        p->ended += !l->dead;
        line_end(l, true);
    }
}

/* A listener that is shut down keeps its port, and refuses: nobody can take it meanwhile. */
static void change(struct proxy *p, const struct proxy_fault *wanted)
{
    if (wanted->refuse && !p->fault.refuse)
        shutdown(p->listener, SHUT_RDWR);
    else if (!wanted->refuse && p->fault.refuse)
        listen(p->listener, SOMAXCONN);
    p->fault = *wanted;
    for (struct line *l = p->lines; l; l = l->next)
        l->went_down = 0;
}

/* False: it is to stop. */
static bool obey(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->done < p->ordered) {
        if (p->set)
            change(p, &p->wanted);
        if (p->cut)
            cut_all(p);
        p->set = p->cut = false;
        p->done = p->ordered;
        pthread_cond_broadcast(&p->obeyed);
    }
    bool goes_on = !p->stop;
    pthread_mutex_unlock(&p->lock);
    return goes_on;
}

static void order(struct proxy *p, const struct proxy_fault *fault, bool cut, bool stop)
{
    static const uint64_t one = 1;

    pthread_mutex_lock(&p->lock);
    if (fault)
        p->wanted = *fault;
    p->set |= fault != NULL;
    p->cut |= cut;
    p->stop |= stop;
    uint64_t mine = ++p->ordered;
    while (write(p->bell, &one, sizeof one) < 0 && errno == EINTR)
        continue;
    while (p->done < mine)
        pthread_cond_wait(&p->obeyed, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

/* ---- The thread ---- */

/* What an end is polled for; nothing: it is left out, or a hang-up would keep us awake. */
static struct pollfd wants(const struct proxy *p, const struct line *l, int i, int64_t now)
{
    int64_t when = NEVER;
    short   events = 0;

    if (reads(p, l, i))
        events |= POLLIN;
    if ((i == PROXY_DOWN && l->connecting) || may_go(p, l, !i, now, &when) > 0)
        events |= POLLOUT;
    return (struct pollfd){.fd = events ? l->end[i] : -1, .events = events};
}

static size_t fill_in(struct proxy *p, int64_t now)
{
    size_t n = 2;

    if (p->polls_room < 2 + 2 * p->open) {
        size_t         room = 64 + 4 * p->open;
        struct pollfd *polls = realloc(p->polls, room * sizeof *polls);
        if (!polls)
            abort();
        p->polls = polls;
        p->polls_room = room;
    }
    p->polls[0] = (struct pollfd){.fd = p->bell, .events = POLLIN};
    p->polls[1] = (struct pollfd){.fd = p->fault.refuse ? -1 : p->listener, .events = POLLIN};
    for (struct line *l = p->lines; l; l = l->next)
        for (int i = 0; i < 2; i++)
            p->polls[n++] = wants(p, l, i, now);
    return n;
}

/* In the order of fill_in: nothing was added or taken away since. */
static void attend(struct proxy *p)
{
    size_t n = 2;

    for (struct line *l = p->lines; l; l = l->next) {
        for (int i = 0; i < 2; i++) {
            short came = p->polls[n++].revents;
            if (came && i == PROXY_DOWN && l->connecting)
                line_connected(l);
            else if (came && reads(p, l, i))
                take(p, l, i);
        }
    }
}

static void *run(void *argument)
{
    struct proxy *p = argument;
    uint64_t      rings;

    while (obey(p)) {
        int64_t now = now_ns(), when = NEVER;
        for (struct line *l = p->lines; l; l = l->next)
            when = earlier(when, tend(p, l, now));
        bury(p);
        size_t          n = fill_in(p, now);
        int64_t         left = when - now;
        struct timespec t = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
        if (ppoll(p->polls, n, when == NEVER ? NULL : &t, NULL) <= 0)
            continue;
        attend(p);
        if (p->polls[0].revents && read(p->bell, &rings, sizeof rings) < 0)
            continue;
        if (p->polls[1].revents)
            accept_all(p);
    }
    return NULL;
}

/* ---- From outside ---- */

static bool listens(int fd, const char *host, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    return inet_pton(AF_INET, host, &a.sin_addr) == 1 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, SOMAXCONN) == 0;
}

/* Below what the kernel gives to outgoing connections, or a client could meet itself while we refuse. */
static int listen_somewhere(struct proxy *p, const char *host)
{
    static _Atomic unsigned tries;
    enum { LOW = 10000, HIGH = 32000 };

    for (int i = 0; i < 1000; i++) {
        unsigned spread = ((unsigned)getpid() * 2654435761u >> 8) + tries++ * 7907u;
        int      fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        p->port = LOW + (int)(spread % (HIGH - LOW));
        if (fd < 0 || listens(fd, host, p->port))
            return fd;
        close(fd);
    }
    return -1;
}

/* It takes no signal that is meant for its process. */
static int start_thread(struct proxy *p)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&p->thread, NULL, run, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

struct proxy *proxy_start(const char *listen_at, const char *server, int server_port)
{
    struct proxy *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)server_port)};
    inet_pton(AF_INET, server, &p->server.sin_addr);
    p->listener = listen_somewhere(p, listen_at);
    p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    snprintf(p->name, sizeof p->name, "%s:%d", listen_at, p->port);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->obeyed, NULL);
    if (p->listener >= 0 && p->bell >= 0 && (errno = start_thread(p)) == 0)
        return p;
    hang_up(p->listener, false);
    hang_up(p->bell, false);
    free(p);
    return NULL;
}

void proxy_stop(struct proxy *p)
{
    if (!p)
        return;
    order(p, NULL, true, true);
    pthread_join(p->thread, NULL);
    bury(p);
    for (struct line *l = p->lines; l; l = l->next) /* accepted since */
        line_end(l, true);
    bury(p);
    close(p->listener);
    close(p->bell);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->obeyed);
    free(p->polls);
    free(p);
}

const char *proxy_name(const struct proxy *p)
{
    return p->name;
}

int proxy_port(const struct proxy *p)
{
    return p->port;
}

void proxy_set(struct proxy *p, const struct proxy_fault *fault)
{
    order(p, fault ? fault : &(struct proxy_fault){0}, false, false);
}

void proxy_cut(struct proxy *p)
{
    order(p, NULL, true, false);
}

struct proxy_counts proxy_counts(struct proxy *p)
{
    return (struct proxy_counts){.accepted = p->accepted, .open = p->open, .ended = p->ended, .bytes = {p->bytes[0], p->bytes[1]}};
}
