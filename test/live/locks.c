/* locks.c - looks on while a program uses the library, and ends it where the library takes a lock, moves bytes or begins to wait
 * under another: doc/DESIGN.md, "The locks".
 *
 * Loaded before all else (LD_PRELOAD), it stands between libmend.so and the C library, and heeds what libmend.so itself calls. Of other
 * callers it knows nothing. Where nothing was ever locked, it says so: then it looked at nothing.
 */
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static _Thread_local pthread_mutex_t *held; /* by the library, in this thread */
static _Atomic unsigned long          locked;

static bool of_the_library(void *caller)
{
    Dl_info info;
    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libmend.so");
}

static void never_under_a_lock(const char *what, void *caller)
{
    if (!held || !of_the_library(caller))
        return;
    fprintf(stderr, "locks: %s under a lock\n", what);
    abort();
}

/* What stands behind this one, in the C library. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define LOOK(name) never_under_a_lock(#name, __builtin_return_address(0))

int pthread_mutex_lock(pthread_mutex_t *m)
{
    static __typeof__(&pthread_mutex_lock) next;

    if (!next)
        next = NEXT(pthread_mutex_lock);
    LOOK(pthread_mutex_lock);
    int result = next(m);
    if (!held && of_the_library(__builtin_return_address(0))) {
        held = m;
        atomic_fetch_add_explicit(&locked, 1, memory_order_relaxed);
    }
    return result;
}

int pthread_mutex_unlock(pthread_mutex_t *m)
{
    static __typeof__(&pthread_mutex_unlock) next;

    if (!next)
        next = NEXT(pthread_mutex_unlock);
    if (held == m)
        held = NULL;
    return next(m);
}

ssize_t send(int fd, const void *data, size_t n, int flags)
{
    LOOK(send);
    return NEXT(send)(fd, data, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    LOOK(sendmsg);
    return NEXT(sendmsg)(fd, message, flags);
}

ssize_t recv(int fd, void *to, size_t n, int flags)
{
    LOOK(recv);
    return NEXT(recv)(fd, to, n, flags);
}

int connect(int fd, const struct sockaddr *to, socklen_t n)
{
    LOOK(connect);
    return NEXT(connect)(fd, to, n);
}

int close(int fd)
{
    LOOK(close);
    return NEXT(close)(fd);
}

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    LOOK(ppoll);
    return NEXT(ppoll)(fds, n, timeout, mask);
}

long syscall(long number, ...) /* futexes */
{
    va_list list;
    long    a[6];

    LOOK(syscall);
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void __attribute__((destructor)) looked(void)
{
    if (!atomic_load(&locked)) {
        fprintf(stderr, "locks: saw no lock taken\n");
        _exit(1);
    }
}
