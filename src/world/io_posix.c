/* io_posix.c - the real world: Linux, with glibc or musl. See io.h. */
#include "world/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

struct posix {
    struct io               io;
    struct io_options       options;
    nstime                  tick; /* of the kernel's coarse timers, in which SO_RCVTIMEO is counted */
    int                     bell; /* an eventfd */
    _Atomic uint64_t        random;
    _Atomic size_t          book_size;
    _Atomic size_t          book_hint;
    _Atomic(struct book_page *)  book; /* every descriptor that is open: what a child has to close */
};

/* Pages are added, and stay. */
struct book_page {
    _Atomic(struct book_page *) next;
    size_t                 size;
    _Atomic int            fd[]; /* -1: none */
};

static struct posix *world_of(struct io *io)
{
    return (struct posix *)io;
}

const char *io_text(int result)
{
    static const char *const texts[] = {
        [-IO_DONE] = "done",
        [-IO_AGAIN] = "not now",
        [-IO_TIMEOUT] = "no answer in time",
        [-IO_LATE] = "no time was left to wait for an answer",
        [-IO_REFUSED] = "connection refused",
        [-IO_RESET] = "connection reset by the server",
        [-IO_CLOSED] = "connection closed by the server",
        [-IO_UNREACHABLE] = "the server cannot be reached",
        [-IO_UNKNOWN_NAME] = "the name cannot be resolved",
        [-IO_RESOURCES] = "this machine has no descriptor, port or memory for a connection",
        [-IO_FAILED] = "the connection failed",
        [-IO_TLS_FAILED] = "the TLS connection failed",
        [-IO_TLS_NONE] = "the server does not speak TLS",
        [-IO_TLS_VERSION] = "the server speaks no version of TLS, or no cipher, that is spoken here",
        [-IO_TLS_REFUSED] = "the server refused our certificate, or that we have none (certificate_file)",
        [-IO_TLS_UNKNOWN] = "the server's certificate is by nobody who is trusted here (ca_file)",
        [-IO_TLS_NAME] = "the server's certificate is for another name (server_name)",
        [-IO_TLS_EXPIRED] = "the server's certificate has expired",
        [-IO_TLS_EARLY] = "the server's certificate is not valid yet",
        [-IO_TLS_INVALID] = "the server's certificate is not valid",
        [-IO_TLS_FORKED] = "forked while another thread was in OpenSSL: no TLS before an exec",
    };
    return texts[-result];
}

static int result_of(int error)
{
    switch (error) {
    case EAGAIN:
    case EINPROGRESS:
    case EINTR:
        return IO_AGAIN;
    case ECONNREFUSED:
    case ENOENT: /* a Unix socket that is not there */
        return IO_REFUSED;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return IO_RESET;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
        return IO_UNREACHABLE;
    case ETIMEDOUT:
        return IO_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EADDRNOTAVAIL:
        return IO_RESOURCES;
    default:
        return IO_FAILED;
    }
}

/* ---- Time and chance ---- */

static nstime read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (nstime)t.tv_sec * 1000000000 + t.tv_nsec;
}

static nstime world_now(struct io *io)
{
    (void)io;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t world_wall_s(struct io *io)
{
    (void)io;
    return read_clock(CLOCK_REALTIME) / 1000000000;
}

/* splitmix64 (Steele, Lea, Flood 2014): jitter and opaques need no more. */
static uint64_t world_random(struct io *io)
{
    uint64_t z = atomic_fetch_add_explicit(&world_of(io)->random, 0x9E3779B97F4A7C15u, memory_order_relaxed);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static struct timespec timespec_of(nstime t)
{
    return (struct timespec){.tv_sec = (time_t)(t / 1000000000), .tv_nsec = (long)(t % 1000000000)};
}

/* ---- The book of open descriptors ---- */

static _Atomic int *book_at(struct posix *p, size_t slot)
{
    struct book_page *page = atomic_load(&p->book);

    for (; slot >= page->size; page = atomic_load(&page->next))
        slot -= page->size;
    return &page->fd[slot];
}

/* Each page is as large as all before it, so that there are few. */
static bool book_grow(struct posix *p, size_t size)
{
    size_t                  before = atomic_load(&p->book_size), more = size > 2 * before ? size - before : before;
    _Atomic(struct book_page *) *end = &p->book;

    if (size <= before)
        return true;
    struct book_page *page = malloc(sizeof *page + more * sizeof page->fd[0]);
    if (!page)
        return false;
    atomic_init(&page->next, NULL);
    page->size = more;
    for (size_t i = 0; i < more; i++)
        atomic_init(&page->fd[i], -1);
    while (atomic_load(end))
        end = &atomic_load(end)->next;
    atomic_store(end, page);
    atomic_store(&p->book_size, before + more);
    return true;
}

static void book_free(struct posix *p)
{
    for (struct book_page *page = atomic_load(&p->book), *next; page; page = next) {
        next = atomic_load(&page->next);
        free(page);
    }
}

static bool world_room(struct io *io, size_t sockets)
{
    return book_grow(world_of(io), sockets);
}

static int book_enter(struct posix *p, int fd)
{
    size_t from = atomic_load_explicit(&p->book_hint, memory_order_relaxed), size = atomic_load(&p->book_size);

    for (size_t i = 0; i < size; i++) {
        size_t slot = (from + i) % size;
        int    none = -1;
        if (atomic_compare_exchange_strong(book_at(p, slot), &none, fd)) {
            atomic_store_explicit(&p->book_hint, slot + 1, memory_order_relaxed);
            return (int)slot;
        }
    }
    return -1;
}

/* Before the close: a child born in between keeps one descriptor too many, and closes none that is not ours. */
static void book_strike(struct posix *p, int slot)
{
    atomic_store(book_at(p, (size_t)slot), -1);
    atomic_store_explicit(&p->book_hint, (size_t)slot, memory_order_relaxed);
}

/* ---- Sockets ---- */

static void set(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value); /* wishes: a kernel that refuses one still connects */
}

static void set_tcp(const struct posix *p, int fd)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (p->options.keepalive_s > 0) {
        set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set(fd, IPPROTO_TCP, TCP_KEEPIDLE, p->options.keepalive_s);
        set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
        set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    }
    if (p->options.user_timeout_ms > 0)
        set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, p->options.user_timeout_ms);
}

/* SO_RCVTIMEO costs no system call a receive, but runs on the kernel's timer wheel, which counts in ticks. It is armed for
 * a moment, which most answers need less than, and for less where calls have less: the rest of the way polls, which is exact. */
static void arm(const struct posix *p, struct io_sock *s)
{
    enum { MOMENT_MS = 20 };
    nstime         armed = time_earlier(MS(MOMENT_MS), p->options.timeout - p->options.timeout / 7 - 3 * p->tick);
    struct timeval t = {.tv_sec = (time_t)(armed / 1000000000), .tv_usec = (suseconds_t)(armed % 1000000000 / 1000)};

    if (armed >= 3 * p->tick && setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0)
        s->armed = armed;
}

/* While nobody listens on a port of the ephemeral range, a connect to it may be given that very port to come
 * from, and meet itself: TCP's simultaneous open. It would keep the server from its port. */
static bool met_itself(int fd)
{
    struct sockaddr_storage ours = {0}, theirs = {0};
    socklen_t               size = sizeof ours, peer_size = sizeof theirs;

    return getsockname(fd, (struct sockaddr *)&ours, &size) == 0 && ours.ss_family != AF_UNIX &&
           getpeername(fd, (struct sockaddr *)&theirs, &peer_size) == 0 && size == peer_size && memcmp(&ours, &theirs, size) == 0;
}

static void drop_at_close(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1, .l_linger = 0}, sizeof(struct linger));
}

static void world_close(struct io *io, struct io_sock *s, bool reset)
{
    if (s->fd < 0)
        return;
    if (reset) {
        drop_at_close(s->fd);
        connect(s->fd, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr)); /* now, even if a forked child has a copy of it */
    }
    book_strike(world_of(io), s->slot);
    close(s->fd);
    *s = (struct io_sock)IO_SOCK_CLOSED;
}

/* Connected: from here on it blocks, but for the calls that say MSG_DONTWAIT. */
static int connected(struct io_sock *s)
{
    if (met_itself(s->fd)) {
        drop_at_close(s->fd);
        return IO_REFUSED;
    }
    int flags = fcntl(s->fd, F_GETFL);
    return flags >= 0 && fcntl(s->fd, F_SETFL, flags & ~O_NONBLOCK) == 0 ? IO_DONE : IO_FAILED;
}

static int world_dial(struct io *io, struct io_sock *s, const struct io_address *to, struct io_peer *peer)
{
    struct posix          *p = world_of(io);
    const struct sockaddr *address = (const struct sockaddr *)to->bytes;

    (void)peer; /* what TLS is, io_tls.c knows */
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return result_of(errno);
    *s = (struct io_sock){.fd = fd, .slot = book_enter(p, fd)};
    if (s->slot < 0) {
        close(fd);
        s->fd = -1;
        return IO_RESOURCES;
    }
    if (address->sa_family != AF_UNIX)
        set_tcp(p, fd);
    arm(p, s);
    if (connect(fd, address, (socklen_t)to->len) == 0)
        return connected(s);
    /* On a Unix socket EAGAIN is a full backlog, and nothing will tell when it has room. */
    return errno == EAGAIN && address->sa_family == AF_UNIX ? IO_REFUSED : result_of(errno);
}

static int world_dialed(struct io *io, struct io_sock *s)
{
    int       error = 0;
    socklen_t size = sizeof error;

    (void)io;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return IO_FAILED;
    return error ? result_of(error) : connected(s);
}

static ptrdiff_t world_send(struct io *io, struct io_sock *s, const mend_bytes *spans, size_t n)
{
    enum { SPANS = 3 };
    struct iovec  iov[SPANS];
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (unsigned char)n}; /* size_t with glibc, int with musl */
    ssize_t       sent;

    (void)io;
    if (n == 1)
        sent = send(s->fd, spans->data, spans->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    else {
        for (size_t i = 0; i < n && i < SPANS; i++)
            iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)spans[i].data, .iov_len = spans[i].len};
        sent = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return sent < 0 ? result_of(errno) : sent;
}

static ptrdiff_t receive(struct io_sock *s, struct conn_span *room, size_t n, int flags)
{
    enum { SPANS = 2 };
    struct iovec  iov[SPANS];
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (unsigned char)n}; /* size_t with glibc, int with musl */
    ssize_t       got;

    if (n == 1)
        got = recv(s->fd, room->data, room->len, flags);
    else {
        for (size_t i = 0; i < n && i < SPANS; i++)
            iov[i] = (struct iovec){.iov_base = room[i].data, .iov_len = room[i].len};
        got = recvmsg(s->fd, &message, flags);
    }
    return got > 0 ? got : got == 0 ? IO_CLOSED : result_of(errno);
}

static ptrdiff_t world_recv_now(struct io *io, struct io_sock *s, struct conn_span *room, size_t n)
{
    (void)io;
    return receive(s, room, n, MSG_DONTWAIT);
}

static bool has_a_moment(struct io *io, const struct io_sock *s, nstime now, nstime deadline)
{
    return s->armed && deadline - now > s->armed + world_of(io)->tick;
}

static ptrdiff_t world_recv_soon(struct io *io, struct io_sock *s, struct conn_span *room, size_t n, nstime now, nstime deadline)
{
    return has_a_moment(io, s, now, deadline) ? receive(s, room, n, 0) : IO_AGAIN;
}

static ptrdiff_t world_recv(struct io *io, struct io_sock *s, struct conn_span *room, size_t n, nstime now, nstime deadline)
{
    bool      waited = has_a_moment(io, s, now, deadline);
    ptrdiff_t soon = waited ? receive(s, room, n, 0) : IO_AGAIN;

    if (soon != IO_AGAIN)
        return soon;
    for (;;) {
        nstime left = deadline - world_now(io);
        if (left > 0) {
            struct timespec t = timespec_of(left);
            struct pollfd   in = {.fd = s->fd, .events = POLLIN};
            ppoll(&in, 1, &t, NULL);
            waited = true;
        }
        ptrdiff_t got = receive(s, room, n, MSG_DONTWAIT);
        if (got != IO_AGAIN)
            return got;
        if (left <= 0)
            return waited ? IO_TIMEOUT : IO_LATE;
    }
}

static int world_look(struct io *io, struct io_sock *s)
{
    char    byte;
    ssize_t got = recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    (void)io;
    return got > 0 ? IO_DONE : got == 0 ? IO_CLOSED : result_of(errno);
}

/* ---- Waiting ---- */

static struct pollfd pollfd_of(const struct io_poll *poll)
{
    return (struct pollfd){
        .fd = poll->sock ? poll->sock->fd : -1,
        .events = (short)((poll->in ? POLLIN : 0) | (poll->out ? POLLOUT : 0) | POLLRDHUP),
    };
}

static int world_poll(struct io *io, struct io_poll *polls, size_t n, nstime deadline, bool bell)
{
    enum { ON_STACK = 64 };
    struct pollfd  few[ON_STACK];
    struct pollfd *fds = n < ON_STACK ? few : calloc(n + 1, sizeof *fds);
    int            ready = 0;

    if (!fds) { /* look at some of them rather than at none */
        fds = few;
        n = ON_STACK - 1;
    }
    for (size_t i = 0; i < n; i++)
        fds[i] = pollfd_of(&polls[i]);
    fds[n] = (struct pollfd){.fd = bell ? world_of(io)->bell : -1, .events = POLLIN};

    nstime          left = deadline == NEVER ? 0 : deadline - world_now(io);
    struct timespec t = timespec_of(left > 0 ? left : 0);
    int             got = ppoll(fds, n + 1, deadline == NEVER ? NULL : &t, NULL);
    for (size_t i = 0; i < n; i++)
        ready += polls[i].ready = got > 0 && fds[i].revents != 0;
    if (got > 0 && fds[n].revents) {
        uint64_t rings;
        if (read(world_of(io)->bell, &rings, sizeof rings) < 0)
            rings = 0; /* somebody else's ring was read with it: nothing to do */
    }
    if (fds != few)
        free(fds);
    return ready;
}

static void world_ring(struct io *io)
{
    static const uint64_t one = 1;
    while (write(world_of(io)->bell, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void world_wait(struct io *io, _Atomic uint32_t *word, uint32_t seen, uint32_t as, nstime deadline)
{
    struct timespec t = timespec_of(deadline);

    (void)io;
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen, deadline == NEVER ? NULL : &t, NULL, as);
}

static void world_wake(struct io *io, _Atomic uint32_t *word, uint32_t whom, bool all)
{
    (void)io;
    syscall(SYS_futex, word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, all ? INT32_MAX : 1, NULL, NULL, whom);
}

static void world_yield(struct io *io)
{
    (void)io;
    sched_yield();
}

/* ---- Threads ---- */

enum fate { RUNNING, ENDED, ABANDONED };

struct io_thread {
    pthread_t        id;
    _Atomic uint32_t fate;
    void (*run)(void *);
    void (*abandoned)(void *);
    void *arg;
};

static void *thread_main(void *arg)
{
    struct io_thread *t = arg;

    t->run(t->arg);
    if (atomic_exchange(&t->fate, ENDED) == ABANDONED) {
        t->abandoned(t->arg);
        free(t);
    } else
        world_wake(NULL, &t->fate, IO_ANYBODY, true);
    return NULL;
}

/* No signal of the application's is ever handled on a thread of ours. */
static int start_thread(pthread_t *id, void *(*run)(void *), void *arg, bool detached)
{
    sigset_t       all, before;
    pthread_attr_t attributes;

    if (pthread_attr_init(&attributes) != 0)
        return -1;
    pthread_attr_setdetachstate(&attributes, detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(id, &attributes, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error ? -1 : 0;
}

static struct io_thread *world_spawn(struct io *io, void (*run)(void *), void (*abandoned)(void *), void *arg)
{
    struct io_thread *t = malloc(sizeof *t);

    (void)io;
    if (!t)
        return NULL;
    *t = (struct io_thread){.run = run, .abandoned = abandoned, .arg = arg};
    if (start_thread(&t->id, thread_main, t, false) != 0) {
        free(t);
        return NULL;
    }
    return t;
}

static bool world_join(struct io *io, struct io_thread *t, nstime deadline)
{
    while (atomic_load(&t->fate) == RUNNING && world_now(io) < deadline)
        world_wait(io, &t->fate, RUNNING, IO_ANYBODY, deadline);

    pthread_t id = t->id; /* once it is abandoned, t is the thread's to free */
    uint32_t  running = RUNNING;
    if (atomic_compare_exchange_strong(&t->fate, &running, ABANDONED)) {
        pthread_detach(id);
        return false;
    }
    pthread_join(id, NULL);
    free(t);
    return true;
}

static bool world_is_me(struct io *io, const struct io_thread *t)
{
    (void)io;
    return pthread_equal(pthread_self(), t->id) != 0;
}

static const void *world_me(struct io *io)
{
    (void)io;
    return (const void *)(uintptr_t)pthread_self();
}

/* ---- Names ---- */

/* LOOKING -> RINGING -> LOOKED_UP, or DROPPED on the way: then the thread frees it. While RINGING the bell must stay. */
enum { LOOKING, RINGING, LOOKED_UP, DROPPED };

struct io_lookup {
    _Atomic uint32_t  stage;
    struct io        *io;
    int               result;
    struct io_address *found; /* so many */
    char              port[8];
    char              host[];
};

/* Of all clients of the process: a resolver that hangs must not cost a thread for every name and every open. In the upper half it says
 * of which process: a child that is forked off has none of its parent's threads, which may never have ended. */
enum { LOOKUPS_MAX = 64 };
static _Atomic uint64_t lookups;

static uint64_t lookups_of(uint64_t process, uint64_t counted)
{
    return counted >> 32 == process ? counted & UINT32_MAX : 0;
}

/* False: there are enough. */
static bool count_lookup(void)
{
    uint64_t process = (uint32_t)getpid(), counted = atomic_load(&lookups), n;

    do
        if ((n = lookups_of(process, counted)) >= LOOKUPS_MAX)
            return false;
    while (!atomic_compare_exchange_weak(&lookups, &counted, process << 32 | (n + 1)));
    return true;
}

static void uncount_lookup(void)
{
    atomic_fetch_sub(&lookups, 1);
}

static void keep_address(struct io_address *to, const struct addrinfo *from)
{
    memcpy(to->bytes, from->ai_addr, from->ai_addrlen);
    to->len = (unsigned)from->ai_addrlen;
}

static void free_lookup(struct io_lookup *l)
{
    free(l->found);
    free(l);
}

static void *lookup_main(void *arg)
{
    struct io_lookup *l = arg;
    struct addrinfo   hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;

    l->result = IO_UNKNOWN_NAME;
    if (getaddrinfo(l->host, l->port, &hints, &list) == 0) {
        int n = 0;
        for (struct addrinfo *a = list; a; a = a->ai_next)
            n++;
        l->found = calloc((size_t)n, sizeof *l->found);
        n = 0;
        for (struct addrinfo *a = list; l->found && a; a = a->ai_next)
            if (a->ai_addrlen <= sizeof l->found->bytes)
                keep_address(&l->found[n++], a);
        freeaddrinfo(list);
        l->result = n ? n : IO_UNKNOWN_NAME;
    }
    uncount_lookup();
    uint32_t looking = LOOKING;
    if (atomic_compare_exchange_strong(&l->stage, &looking, RINGING)) {
        world_ring(l->io);
        atomic_store(&l->stage, LOOKED_UP);
    } else
        free_lookup(l);
    return NULL;
}

static struct io_lookup *world_lookup(struct io *io, const char *host, uint16_t port)
{
    size_t            size = strlen(host) + 1;
    struct io_lookup *l = calloc(1, sizeof *l + size);
    pthread_t         id;

    if (!l)
        return NULL;
    if (!count_lookup()) {
        free(l);
        return NULL;
    }
    l->io = io;
    snprintf(l->port, sizeof l->port, "%u", (unsigned)port);
    memcpy(l->host, host, size);
    if (start_thread(&id, lookup_main, l, true) != 0) {
        uncount_lookup();
        free(l);
        return NULL;
    }
    return l;
}

static int world_looked_up(struct io *io, struct io_lookup *l, struct io_address *to, size_t most)
{
    (void)io;
    if (atomic_load(&l->stage) == LOOKING)
        return IO_AGAIN;
    int n = l->result > (int)most ? (int)most : l->result;
    if (n > 0)
        memcpy(to, l->found, (size_t)n * sizeof *to);
    return n;
}

static void world_lookup_drop(struct io *io, struct io_lookup *l)
{
    uint32_t looking = LOOKING;

    if (atomic_compare_exchange_strong(&l->stage, &looking, DROPPED))
        return;
    while (atomic_load(&l->stage) != LOOKED_UP) /* one write to the bell long */
        world_yield(io);
    free_lookup(l);
}

static bool world_text(struct io *io, const struct io_address *address, char *to, size_t size)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    (void)io;
    if (getnameinfo((const struct sockaddr *)address->bytes, (socklen_t)address->len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    return snprintf(to, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port) < (int)size;
}

static int world_address(struct io *io, const char *host, uint16_t port, bool is_unix, struct io_address *to)
{
    (void)io;
    if (is_unix) {
        struct sockaddr_un path = {.sun_family = AF_UNIX};
        size_t             n = strlen(host);
        if (n >= sizeof path.sun_path)
            return IO_UNKNOWN_NAME;
        memcpy(path.sun_path, host, n);
        memcpy(to->bytes, &path, sizeof path);
        to->len = sizeof path;
        return IO_DONE;
    }

    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *list = NULL;
    char            service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    if (getaddrinfo(host, service, &hints, &list) != 0)
        return IO_AGAIN;
    keep_address(to, list);
    freeaddrinfo(list);
    return IO_DONE;
}

/* ---- Files ---- */

const char *io_read_file(const char *path, const struct memory *memory, char **bytes, size_t *len)
{
    enum { FILE_MAX = 1024 * 1024 }; /* the certificates of all the authorities there are come to a quarter of it */
    FILE *file = fopen(path, "re");

    *bytes = NULL;
    if (!file)
        return strerror(errno);
    char *whole = memory_allocate(memory, FILE_MAX + 1);
    if (!whole) {
        fclose(file);
        return strerror(ENOMEM);
    }
    *len = fread(whole, 1, FILE_MAX + 1, file);
    int error = ferror(file) ? errno : *len > FILE_MAX ? EFBIG : 0;
    fclose(file);
    if (error) {
        memory_release(memory, whole);
        return strerror(error);
    }
    whole[*len] = '\0';
    *bytes = memory_resize(memory, whole, *len + 1);
    if (!*bytes)
        *bytes = whole; /* it did not get smaller */
    return NULL;
}

/* ---- The world's own life ---- */

static void world_free(struct io *io)
{
    struct posix *p = world_of(io);
    close(p->bell);
    book_free(p);
    free(p);
}

static void world_forked(struct io *io)
{
    struct posix *p = world_of(io);

    for (struct book_page *page = atomic_load(&p->book); page; page = atomic_load(&page->next))
        for (size_t i = 0; i < page->size; i++) {
            int fd = atomic_exchange(&page->fd[i], -1);
            if (fd >= 0)
                close(fd);
        }
    if (p->bell >= 0)
        close(p->bell);
    p->bell = -1; /* it may be done again, when that number is somebody else's */
}

static struct io *world_begin(const struct world *world, const struct io_options *options)
{
    static const struct io table = {
        .now = world_now,
        .wall_s = world_wall_s,
        .random = world_random,
        .room = world_room,
        .dial = world_dial,
        .dialed = world_dialed,
        .send = world_send,
        .recv = world_recv, .recv_soon = world_recv_soon,
        .recv_now = world_recv_now,
        .look = world_look,
        .close = world_close,
        .poll = world_poll,
        .ring = world_ring,
        .wait = world_wait,
        .wake = world_wake,
        .yield = world_yield,
        .spawn = world_spawn,
        .join = world_join,
        .is_me = world_is_me,
        .me = world_me,
        .address = world_address,
        .lookup = world_lookup,
        .looked_up = world_looked_up,
        .lookup_drop = world_lookup_drop,
        .text = world_text,
        .free = world_free,
        .forked = world_forked,
    };
    struct posix *p = malloc(sizeof *p);

    (void)world;
    if (!p)
        return NULL;

    struct timespec tick = {.tv_nsec = 10000000};
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) < 0)
        seed = (uint64_t)world_now(NULL) ^ (uint64_t)getpid() << 32;

    p->io = table;
    p->options = *options;
    p->tick = tick.tv_nsec;
    p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_init(&p->random, seed);
    atomic_init(&p->book_size, 0);
    atomic_init(&p->book_hint, 0);
    atomic_init(&p->book, NULL);
    if (p->bell < 0 || !book_grow(p, options->sockets_max)) {
        if (p->bell >= 0)
            close(p->bell);
        book_free(p);
        free(p);
        return NULL;
    }
    return &p->io;
}

static _Atomic uint32_t *world_fork_words(const struct world *world)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void  *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)world;
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, size, MADV_WIPEONFORK) != 0) { /* Linux 4.14 has it */
        munmap(page, size);
        return NULL;
    }
    return page;
}

static void world_fork_words_free(const struct world *world, _Atomic uint32_t *words)
{
    (void)world;
    munmap((void *)words, (size_t)sysconf(_SC_PAGESIZE));
}

const struct world world_posix = {world_begin, world_fork_words, world_fork_words_free};
