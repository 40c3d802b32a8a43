/* name.c - see name.h. */
#include "name.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/network.h"

#define HERE "127.0.0.1"

static int hosts = -1; /* this process's /etc/hosts */

/* The line is always as long, and written at once: no lookup finds half of it, or none. */
bool name_move(const char *address)
{
    char line[64];
    int  n = snprintf(line, sizeof line, "%-15s %s\n", address, NAME);

    return pwrite(hosts, line, (size_t)n, 0) == n;
}

/* What is mounted stays, though its own name goes. */
static bool put_over_hosts(const char *address)
{
    char path[] = "/tmp/mend-outage-XXXXXX";

    if ((hosts = mkostemp(path, O_CLOEXEC)) < 0)
        return false;
    bool put = fchmod(hosts, 0644) == 0 && name_move(address) && mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0;
    int  why = errno;
    unlink(path);
    errno = why;
    return put;
}

bool name_begin(const char *address)
{
    return namespaces_of_our_own(CLONE_NEWNS) && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && put_over_hosts(address);
}

/* False where other name services come first (nsswitch.conf(5)). */
static bool leads_here(void)
{
    char             address[NI_MAXHOST] = "";
    struct addrinfo *found, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};

    if (getaddrinfo(NAME, NULL, &hints, &found) != 0)
        return false;
    getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    return strcmp(address, HERE) == 0;
}

/* Tried by a child, since there is no way back out of a namespace. */
const char *name_why_not(void)
{
    enum { ELSEWHERE = 255 };
    static char why[128];
    int         status = 0;
    pid_t       pid = fork();

    if (pid == 0)
        _exit(!name_begin(HERE) ? errno : !leads_here() ? ELSEWHERE : 0);
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return strerror(errno);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    snprintf(why, sizeof why, "no /etc/hosts of its own: %s",
             !WIFEXITED(status) ? "the trial was killed" : WEXITSTATUS(status) == ELSEWHERE ? "names are not looked up there" : strerror(WEXITSTATUS(status)));
    return why;
}
