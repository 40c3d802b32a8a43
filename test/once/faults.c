/* faults.c - see faults.h. */
#include "once/faults.h"

#include <errno.h>
#include <netdb.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

#define EAI(code) (FAULT_EAI - (code))

const struct faulty faulty[CALLS] = {
    [CALL_MALLOC] = {"malloc", false, {ENOMEM}},
    [CALL_CALLOC] = {"calloc", false, {ENOMEM}},
    [CALL_REALLOC] = {"realloc", false, {ENOMEM}},
    [CALL_SOCKET] = {"socket", false, {EMFILE, ENFILE, ENOMEM, ENOBUFS, EAFNOSUPPORT}},
    [CALL_CONNECT] = {"connect", false, {ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EADDRNOTAVAIL, EINTR, EAGAIN, ECONNRESET, EPERM}},
    [CALL_SETSOCKOPT] = {"setsockopt", false, {ENOPROTOOPT}},
    [CALL_GETSOCKOPT] = {"getsockopt", false, {ENOBUFS, FAULT_REFUSED_LATER}},
    [CALL_GETSOCKNAME] = {"getsockname", false, {ENOBUFS}},
    [CALL_GETPEERNAME] = {"getpeername", false, {ENOTCONN}}, /* reset since */
    [CALL_FCNTL] = {"fcntl", false, {EPERM, ENOMEM}},
    [CALL_SEND] = {"send", false, {ECONNRESET, EPIPE, EAGAIN, EINTR, ENOMEM, FAULT_SHORT}},
    [CALL_SENDMSG] = {"sendmsg", false, {ECONNRESET, EPIPE, EAGAIN, EINTR, ENOMEM, FAULT_SHORT}},
    [CALL_RECV] = {"recv", false, {ECONNRESET, EAGAIN, EINTR, ENOMEM, ETIMEDOUT, FAULT_CLOSED, FAULT_SHORT}},
    [CALL_RECVMSG] = {"recvmsg", false, {ECONNRESET, EAGAIN, EINTR, ENOMEM, ETIMEDOUT, FAULT_CLOSED, FAULT_SHORT}},
    [CALL_PPOLL] = {"ppoll", false, {EINTR, ENOMEM}},
    [CALL_EVENTFD] = {"eventfd", false, {EMFILE, ENFILE, ENOMEM, ENODEV}},
    [CALL_READ] = {"read", true, {EAGAIN, EINTR}}, /* both are of the bell only, */
    [CALL_WRITE] = {"write", true, {EAGAIN, EINTR}}, /* an eventfd */
    [CALL_FUTEX_WAIT] = {"futex wait", false, {EINTR, EAGAIN, ETIMEDOUT, ENOMEM}}, /* all of them: it returned for no reason */
    [CALL_MMAP] = {"mmap", false, {ENOMEM, EAGAIN}},
    [CALL_MADVISE] = {"madvise", false, {EINVAL, ENOMEM, EAGAIN}},
    [CALL_GETADDRINFO] = {"getaddrinfo", false, {EAI(EAI_AGAIN), EAI(EAI_NONAME), EAI(EAI_FAIL), EAI(EAI_MEMORY), EAI(EAI_SYSTEM)}},
    [CALL_PTHREAD_CREATE] = {"pthread_create", false, {EAGAIN, ENOMEM}},
    [CALL_PTHREAD_MUTEX_INIT] = {"pthread_mutex_init", false, {ENOMEM, EAGAIN}},
    [CALL_PTHREAD_ATTR_INIT] = {"pthread_attr_init", false, {ENOMEM}},
    [CALL_CLOCK_GETRES] = {"clock_getres", false, {EINVAL}},
    [CALL_GETRANDOM] = {"getrandom", false, {EAGAIN, ENOSYS, EINTR}},
};

const char *faults_text(int error)
{
    static char text[64];
    switch (error) {
    case FAULT_CLOSED: return "end of file";
    case FAULT_SHORT: return "one byte of it";
    case FAULT_REFUSED_LATER: return "SO_ERROR is ECONNREFUSED";
    }
    if (error > FAULT_EAI)
        return gai_strerror(FAULT_EAI - error);
    snprintf(text, sizeof text, "%s", strerrorname_np(error));
    return text;
}

/* ---- Whose call it is, and whether it fails ---- */

static _Thread_local bool ours;
static atomic_bool        armed;
static atomic_long        live, met, counts[CALLS];
static struct fault       planned; /* changes only while no client is open */

void faults_plan(const struct fault *fault)
{
    atomic_store(&armed, false);
    planned = *fault;
    atomic_store(&met, 0);
    for (int i = 0; i < CALLS; i++)
        atomic_store(&counts[i], 0);
}

void faults_arm(bool on) { atomic_store(&armed, on); }
void faults_enter(void) { ours = true; }
void faults_leave(void) { ours = false; }
long faults_met(void) { return atomic_load(&met); }
long faults_count(enum call call) { return atomic_load(&counts[call]); }
long faults_live(void) { return atomic_load(&live); }

/* A wait that fails for good is begun again and again: as often as a storm of signals would make it, and not as a processor can. */
enum { STORM = 100, STORM_NS = 200000 };

/* The error that this call fails with, in errno, too; 0: it does not. */
static int fails(enum call call)
{
    if (!ours || !atomic_load(&armed))
        return 0;
    long n = atomic_fetch_add(&counts[call], 1) + 1;
    if (planned.nth == 0 || planned.call != call || (planned.for_good ? n < planned.nth : n != planned.nth))
        return 0;
    if (atomic_fetch_add(&met, 1) > STORM)
        nanosleep(&(struct timespec){.tv_nsec = STORM_NS}, NULL);
    errno = planned.error > FAULT_EAI ? EMFILE : planned.error;
    return planned.error;
}

/* ---- The calls ---- */

/* PASSES(type, name, what an error returns, parameters, arguments): one that fails, or goes through. */
#define PASSES(CALL, type, name, failed, parameters, arguments) \
    type __real_##name parameters; \
    type __wrap_##name parameters; \
    type __wrap_##name parameters { return fails(CALL) ? (failed) : __real_##name arguments; }

PASSES(CALL_SOCKET, int, socket, -1, (int family, int type, int protocol), (family, type, protocol))
PASSES(CALL_SETSOCKOPT, int, setsockopt, -1, (int fd, int level, int name, const void *value, socklen_t n), (fd, level, name, value, n))
PASSES(CALL_GETSOCKNAME, int, getsockname, -1, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
PASSES(CALL_GETPEERNAME, int, getpeername, -1, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
PASSES(CALL_PPOLL, int, ppoll, -1, (struct pollfd *fds, nfds_t n, const struct timespec *t, const sigset_t *mask), (fds, n, t, mask))
PASSES(CALL_EVENTFD, int, eventfd, -1, (unsigned value, int flags), (value, flags))
PASSES(CALL_READ, ssize_t, read, -1, (int fd, void *p, size_t n), (fd, p, n))
PASSES(CALL_WRITE, ssize_t, write, -1, (int fd, const void *p, size_t n), (fd, p, n))
PASSES(CALL_MADVISE, int, madvise, -1, (void *p, size_t n, int advice), (p, n, advice))
PASSES(CALL_CLOCK_GETRES, int, clock_getres, -1, (clockid_t clock, struct timespec *t), (clock, t))
PASSES(CALL_GETRANDOM, ssize_t, getrandom, -1, (void *p, size_t n, unsigned flags), (p, n, flags))
PASSES(CALL_PTHREAD_MUTEX_INIT, int, pthread_mutex_init, planned.error, (pthread_mutex_t *m, const pthread_mutexattr_t *a), (m, a))
PASSES(CALL_PTHREAD_ATTR_INIT, int, pthread_attr_init, planned.error, (pthread_attr_t *a), (a))
PASSES(CALL_GETADDRINFO, int, getaddrinfo, FAULT_EAI - planned.error,
       (const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **list), (host, service, hints, list))
PASSES(CALL_MMAP, void *, mmap, (void *)-1, (void *p, size_t n, int prot, int flags, int fd, off_t at), (p, n, prot, flags, fd, at))

void *__wrap_mmap64(void *p, size_t n, int prot, int flags, int fd, off_t at); /* what glibc calls mmap where off_t has 64 bits */
void *__wrap_mmap64(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
    return __wrap_mmap(p, n, prot, flags, fd, at);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);

static int control(int fd, int command, va_list rest)
{
    return fails(CALL_FCNTL) ? -1 : __real_fcntl(fd, command, va_arg(rest, long));
}

int __wrap_fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    int result = control(fd, command, rest);
    va_end(rest);
    return result;
}

int __wrap_fcntl64(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    int result = control(fd, command, rest);
    va_end(rest);
    return result;
}

/* An interrupted connect goes on by itself. */
int __real_connect(int fd, const struct sockaddr *to, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t n);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t n)
{
    int error = fails(CALL_CONNECT);
    if (error && error != EINTR)
        return -1;
    int result = __real_connect(fd, to, n);
    if (!error)
        return result;
    errno = error;
    return -1;
}

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *n);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *n);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
    int error = fails(CALL_GETSOCKOPT);
    if (error == FAULT_REFUSED_LATER) {
        *(int *)value = ECONNREFUSED;
        return 0;
    }
    return error ? -1 : __real_getsockopt(fd, level, name, value, n);
}

ssize_t __real_send(int fd, const void *p, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
    int error = fails(CALL_SEND);
    return error && error != FAULT_SHORT ? -1 : __real_send(fd, p, error ? 1 : n, flags);
}

ssize_t __real_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
    int error = fails(CALL_RECV);
    return error == FAULT_CLOSED ? 0 : error && error != FAULT_SHORT ? -1 : __real_recv(fd, p, error ? 1 : n, flags);
}

/* The same message, but of its first byte only. */
static struct msghdr short_message(const struct msghdr *message, struct iovec *one)
{
    struct msghdr m = *message;
    size_t        i = 0;
    while (m.msg_iov[i].iov_len == 0)
        i++;
    *one = (struct iovec){.iov_base = m.msg_iov[i].iov_base, .iov_len = 1};
    m.msg_iov = one;
    m.msg_iovlen = 1;
    return m;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    int error = fails(CALL_SENDMSG);
    if (error != FAULT_SHORT)
        return error ? -1 : __real_sendmsg(fd, message, flags);
    struct iovec  one;
    struct msghdr m = short_message(message, &one);
    return __real_sendmsg(fd, &m, flags);
}

ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    int error = fails(CALL_RECVMSG);
    if (error != FAULT_SHORT)
        return error == FAULT_CLOSED ? 0 : error ? -1 : __real_recvmsg(fd, message, flags);
    struct iovec  one;
    struct msghdr m = short_message(message, &one);
    return __real_recvmsg(fd, &m, flags);
}

/* Only waiting fails: a wake on a good address does not. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long    a[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_futex && ((int)a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && fails(CALL_FUTEX_WAIT))
        return -1;
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- Memory ---- */

static void *kept(void *p)
{
    if (p && ours)
        atomic_fetch_add(&live, 1);
    return p;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
    return fails(CALL_MALLOC) ? NULL : kept(__real_malloc(n));
}

void *__real_calloc(size_t n, size_t each);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_calloc(size_t n, size_t each)
{
    return fails(CALL_CALLOC) ? NULL : kept(__real_calloc(n, each));
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
    if (fails(CALL_REALLOC))
        return NULL;
    return p ? __real_realloc(p, n) : kept(__real_realloc(p, n));
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
    if (p && ours)
        atomic_fetch_sub(&live, 1);
    __real_free(p);
}

/* ---- Threads: what the client begins is the client's ---- */

struct begun {
    void *(*run)(void *);
    void *arg;
};

static void *begun_main(void *arg)
{
    struct begun b = *(struct begun *)arg;
    __real_free(arg);
    ours = true;
    return b.run(b.arg);
}

int __real_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
    int error = fails(CALL_PTHREAD_CREATE);
    if (error || !ours)
        return error ? error : __real_pthread_create(id, a, run, arg);
    struct begun *b = __real_malloc(sizeof *b);
    if (!b)
        return EAGAIN;
    *b = (struct begun){run, arg};
    error = __real_pthread_create(id, a, begun_main, b);
    if (error)
        __real_free(b);
    return error;
}
