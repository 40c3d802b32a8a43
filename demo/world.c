/* world.c - see world.h. */
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { NO_PROGRAM = 127, START_PATIENCE_MS = 20000 };

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A port that is free, held by the socket. From below the range of which the kernel
 * gives out client ports: one of those could be taken while its server is dead, even by
 * a client that dials it and so meets itself. */
static int hold_a_port(uint16_t *port)
{
    for (int i = 0; i < 200; i++) {
        uint16_t chance;
        if (getrandom(&chance, sizeof chance, 0) != sizeof chance)
            return -1;
        *port = (uint16_t)(15000 + chance % 15000);

        struct sockaddr_in a = loopback(*port);
        int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

static bool find_ports(struct world *w)
{
    int  held[SERVERS];
    bool found = true;

    for (int s = 0; s < SERVERS; s++) {
        held[s] = hold_a_port(&w->at[s].port);
        found = found && held[s] >= 0;
        snprintf(w->at[s].address, sizeof w->at[s].address, "127.0.0.1:%u", w->at[s].port);
    }
    for (int s = 0; s < SERVERS; s++)
        if (held[s] >= 0)
            close(held[s]);
    if (!found)
        snprintf(w->why, sizeof w->why, "no free port on 127.0.0.1 was found");
    return found;
}

/* What the child does; only what is safe after a fork among threads. As root it says
 * "-u root" and means it: a change of user would undo PR_SET_PDEATHSIG. */
static _Noreturn void become_memcached(char *const argv[], pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* a terminal's Ctrl-C is for the demonstration, which then ends us */

    int nothing = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= 2 && nothing >= 0; fd++)
        dup2(nothing, fd);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) { /* else it died before it could be told of */
        execvp(argv[0], argv);
        if (strcmp(argv[0], "memcached") == 0)
            execv("/usr/bin/memcached", argv); /* for a $PATH that lacks it */
    }
    _exit(NO_PROGRAM);
}

/* Few sizes of chunks (-f 2): a new one costs a cold memcached several milliseconds, which its clients wait out. */
static bool spawn(struct world *w, int s)
{
    char *named = getenv("MEMCACHED");
    char  port[8];
    char *argv[] = {named && *named ? named : "memcached", "-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "1",
                    "-m", "32", "-f", "2", geteuid() == 0 ? "-u" : NULL, "root", NULL};
    snprintf(port, sizeof port, "%u", w->at[s].port);

    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become_memcached(argv, parent);
    if (pid < 0) {
        snprintf(w->why, sizeof w->why, "no process for a memcached: %s", strerror(errno));
        return false;
    }
    w->at[s].pid = pid;
    return true;
}

/* Does our memcached, and no other, answer there? */
static bool answers(const struct world_server *server)
{
    struct sockaddr_in a = loopback(server->port);
    struct timeval     patience = {.tv_usec = 200000};
    char               said[64] = "", due[64];
    size_t             n = 0;
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    snprintf(due, sizeof due, "STAT pid %d\r\n", (int)server->pid);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && send(fd, "stats\r\n", 7, MSG_NOSIGNAL) == 7)
        for (ssize_t got; n < strlen(due) && (got = recv(fd, said + n, strlen(due) - n, 0)) > 0;)
            n += (size_t)got;
    close(fd);
    return n == strlen(due) && memcmp(said, due, n) == 0;
}

/* Its process is of no more use, and its id is kept from others until it is reaped. */
static void bury(struct world *w, int s)
{
    if (w->at[s].pid && w->dead_count < WORLD_DEAD_MAX)
        w->dead[w->dead_count++] = w->at[s].pid;
    w->at[s].pid = 0;
}

/* Has it left by itself, and is there no use in trying again? */
static bool left_for_good(struct world *w, int s)
{
    siginfo_t end = {.si_pid = 0};
    if (waitid(P_PID, (id_t)w->at[s].pid, &end, WEXITED | WNOHANG | WNOWAIT) != 0 || end.si_pid == 0)
        return false;

    bury(w, s);
    if (end.si_code == CLD_EXITED && end.si_status == NO_PROGRAM) {
        snprintf(w->why, sizeof w->why, "there is no memcached: neither $MEMCACHED nor one in $PATH");
        return true;
    }
    snprintf(w->why, sizeof w->why, "memcached does not stay on %s", w->at[s].address);
    clock_sleep_until(clock_now() + MS(200)); /* the one before it may still have the port */
    return w->dead_count == WORLD_DEAD_MAX || !spawn(w, s);
}

bool world_start(struct world *w, int s)
{
    int64_t due = clock_now() + MS(START_PATIENCE_MS);

    snprintf(w->why, sizeof w->why, "memcached does not answer on %s", w->at[s].address);
    if (!spawn(w, s))
        return false;
    while (!answers(&w->at[s])) {
        if (left_for_good(w, s) || clock_now() > due)
            return false;
        clock_sleep_until(clock_now() + MS(1) / 2);
    }
    return true;
}

bool world_open(struct world *w)
{
    memset(w, 0, sizeof *w);
    for (int attempt = 0; attempt < 3; attempt++) { /* somebody may take a port between our finding it and its use */
        if (!find_ports(w))
            return false;
        int s = 0;
        while (s < SERVERS && world_start(w, s))
            s++;
        if (s == SERVERS)
            return true;
        world_close(w);
    }
    return false;
}

static void send_signal(struct world *w, unsigned servers, int signal)
{
    for (int s = 0; s < SERVERS; s++)
        if (servers & 1u << s && w->at[s].pid)
            kill(w->at[s].pid, signal);
}

void world_kill(struct world *w, unsigned servers)
{
    send_signal(w, servers, SIGKILL);
    for (int s = 0; s < SERVERS; s++)
        if (servers & 1u << s)
            bury(w, s);
}

void world_stop(struct world *w, unsigned servers)
{
    send_signal(w, servers, SIGSTOP);
}

void world_continue(struct world *w, int s)
{
    send_signal(w, 1u << s, SIGCONT);
}

void world_close(struct world *w)
{
    world_kill(w, (1u << SERVERS) - 1);
    for (int i = 0; i < w->dead_count; i++)
        while (waitpid(w->dead[i], NULL, 0) < 0 && errno == EINTR)
            ;
    w->dead_count = 0;
}
