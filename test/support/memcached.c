/* memcached.c - see memcached.h. */
#include "support/memcached.h"
#include "support/wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

char *program_find(const char *variable, const char *name)
{
    const char *named = getenv(variable);
    if (named && *named)
        return access(named, X_OK) == 0 ? strdup(named) : NULL;

    char        places[4096];
    const char *path = getenv("PATH");
    snprintf(places, sizeof places, "%s:/usr/bin:/usr/sbin:/usr/local/bin", path ? path : "");

    char *next = NULL;
    for (char *place = strtok_r(places, ":", &next); place; place = strtok_r(NULL, ":", &next)) {
        char *program = NULL;
        if (asprintf(&program, "%s/%s", place, name) < 0)
            return NULL;
        if (access(program, X_OK) == 0)
            return program;
        free(program);
    }
    return NULL;
}

pid_t program_start(char *const argv[])
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int nowhere = open("/dev/null", O_RDWR);
    dup2(nowhere, 0);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    if (getppid() == parent) /* else the test died before the prctl */
        execv(argv[0], argv);
    _exit(127);
}

void program_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* Fills in an address; returns its length. */
static socklen_t address(struct sockaddr_storage *a, const char *host, int port, const char *path)
{
    memset(a, 0, sizeof *a);
    struct sockaddr_in  *v4 = (struct sockaddr_in *)a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)a;
    struct sockaddr_un  *un = (struct sockaddr_un *)a;
    if (port == 0) {
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof un->sun_path, "%s", path ? path : "");
        return sizeof *un;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        return sizeof *v6;
    }
    inet_pton(AF_INET, host, &v4->sin_addr);
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return sizeof *v4;
}

static bool listenable(const char *host, int port)
{
    struct sockaddr_storage a;
    socklen_t               length = address(&a, host, port, NULL);
    int                     fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool                    free = fd >= 0 && bind(fd, (struct sockaddr *)&a, length) == 0 && listen(fd, 1) == 0;
    if (fd >= 0)
        close(fd);
    return free;
}

int port_free(const char *host)
{
    static unsigned tries;
    int             low = 32768;
    FILE           *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (range) {
        if (fscanf(range, "%d", &low) != 1 || low < 12000)
            low = 32768;
        fclose(range);
    }
    for (int i = 0; i < 1000; i++) {
        unsigned spread = ((unsigned)getpid() * 2654435761u >> 8) + tries++ * 7919u;
        int      port = 10000 + (int)(spread % (unsigned)(low - 10000));
        if (listenable(host, port))
            return port;
    }
    fail_msg("no port below %d is free at %s", low, host);
    return 0;
}

int raw_connect(const char *host, int port, const char *path)
{
    struct sockaddr_storage a;
    socklen_t               length = address(&a, host, port, path);
    int                     fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&a, length) == 0)
        return fd;
    close(fd);
    return -1;
}

bool raw_ask(int fd, const char *question, const char *end, char *answer, size_t room)
{
    int64_t until = now_ms() + 1000;
    size_t  have = 0, tail = strlen(end);

    if (send(fd, question, strlen(question), MSG_NOSIGNAL) != (ssize_t)strlen(question))
        return false;
    while (have + 1 < room) {
        int64_t left = until - now_ms();
        if (left < 0 || poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)left) <= 0)
            return false;
        ssize_t n = recv(fd, answer + have, room - have - 1, 0);
        if (n <= 0)
            return false;
        have += (size_t)n;
        answer[have] = 0;
        if (have >= tail && strcmp(answer + have - tail, end) == 0)
            return true;
    }
    return false;
}

/* It speaks TLS, and has another port where it does not. */
static bool is_secured(const struct memcached *m)
{
    return strstr(m->args, "-Z") != NULL;
}

/* It answers, and it is ours: not a stranger that took the port first. With -Y it tells a stranger like us no more than that it asks for
 * a password, and if it is not ours, ours ends soon. */
static bool answers(const struct memcached *m)
{
    char answer[8192], ours[32];
    int  fd = raw_connect(m->host, is_secured(m) ? m->clear_port : m->port, m->path);
    if (fd < 0)
        return false;
    bool asks = strstr(m->args, "-Y");
    bool is = raw_ask(fd, "stats\r\n", asks ? "CLIENT_ERROR unauthenticated\r\n" : "END\r\n", answer, sizeof answer);
    close(fd);
    if (asks)
        return is;
    snprintf(ours, sizeof ours, "STAT pid %d\r\n", (int)m->pid);
    return is && strstr(answer, ours);
}

/* memcached 1.6.18 with TLS, started some hundred times, was mute at its other port for its whole life in a few of them. */
enum { MUTE_MS = 5000 };

/* Runs it where m says; false if it ended by itself, as it does if the port is taken, or is of no use. */
static bool run(struct memcached *m)
{
    char *program = program_find("MEMCACHED", "memcached");
    if (!program)
        fail_msg("no memcached: set MEMCACHED, or install it (Debian: apt-get install memcached)");

    char  port[16], places[192], args[sizeof m->args];
    char *argv[32] = {program};
    int   n = 1;
    snprintf(port, sizeof port, "%d", m->port);
    if (geteuid() == 0) {
        argv[n++] = (char *)"-u";
        argv[n++] = (char *)"root";
    }
    argv[n++] = (char *)(m->port ? "-l" : "-s");
    snprintf(places, sizeof places, strchr(m->host, ':') ? "[%s]:%d,notls:[%s]:%d" : "%s:%d,notls:%s:%d", m->host, m->port, m->host, m->clear_port);
    argv[n++] = m->port == 0 ? m->path : is_secured(m) ? places : m->host;
    if (m->port) {
        argv[n++] = (char *)"-U0";
        argv[n++] = (char *)"-p";
        argv[n++] = port;
    }
    snprintf(args, sizeof args, "%s", m->args);
    char *next = NULL;
    for (char *arg = strtok_r(args, " ", &next); arg && n < 31; arg = strtok_r(NULL, " ", &next))
        argv[n++] = arg;

    m->pid = program_start(argv);
    int64_t patience = is_secured(m) ? MUTE_MS : SOON_MS;
    for (int64_t until = now_ms() + patience; now_ms() < until; pause_ms(1)) {
        if (answers(m)) {
            free(program);
            return true;
        }
        if (waitpid(m->pid, NULL, WNOHANG) == m->pid) {
            free(program);
            m->pid = 0;
            return false;
        }
    }
    if (!is_secured(m))
        fail_msg("%s runs but does not answer at %s", program, m->name);
    print_message("%s listens in the clear beside %s, and says nothing there: once more\n", program, m->name);
    free(program);
    program_stop(m->pid);
    m->pid = 0;
    return false;
}

void memcached_start(struct memcached *m, const char *host, const char *args)
{
    *m = (struct memcached){0};
    snprintf(m->host, sizeof m->host, "%s", host);
    snprintf(m->args, sizeof m->args, "%s", args ? args : "");

    for (int tries = 0; tries < 5; tries++) {
        if (strcmp(host, "unix") == 0) {
            char directory[] = "/tmp/mend-test-XXXXXX";
            if (!mkdtemp(directory))
                fail_msg("no directory for a socket: %s", strerror(errno));
            snprintf(m->path, sizeof m->path, "%s/socket", directory);
            snprintf(m->name, sizeof m->name, "unix:%s", m->path);
        } else {
            bool tls = is_secured(m);
            m->port = port_free(host);
            m->clear_port = tls ? port_free(host) : m->port;
            snprintf(m->name, sizeof m->name, strchr(host, ':') ? "%s[%s]:%d" : "%s%s:%d", tls ? "tls://" : "", host, m->port);
        }
        if (run(m))
            return;
    }
    if (is_secured(m)) {
        print_message("skipped: memcached %s was mute at its port in the clear, five times\n", m->args);
        skip();
    }
    fail_msg("memcached %s does not start on %s", m->args, m->host);
}

void memcached_kill(struct memcached *m)
{
    program_stop(m->pid);
    m->pid = 0;
}

void memcached_restart(struct memcached *m)
{
    if (m->pid)
        memcached_kill(m);
    for (int tries = 0; tries < 5; tries++)
        if (run(m))
            return;
    fail_msg("memcached does not start again at %s", m->name);
}

void memcached_pause(struct memcached *m)
{
    int status;
    kill(m->pid, SIGSTOP);
    waitpid(m->pid, &status, WUNTRACED); /* all its threads have stopped */
}

void memcached_resume(struct memcached *m)
{
    kill(m->pid, SIGCONT);
}

void memcached_stop(struct memcached *m)
{
    if (m->pid)
        memcached_kill(m);
    if (m->path[0]) {
        unlink(m->path);
        *strrchr(m->path, '/') = 0;
        rmdir(m->path);
    }
    *m = (struct memcached){0};
}
