/* memcached.h - real memcacheds for the tests, and the ways in which they go wrong.
 *
 * The program is $MEMCACHED, else memcached from PATH or /usr/bin. Each is a child
 * of the test, dies with it, and is only ever signalled by its own pid. A test that
 * cannot have one fails, and says why.
 *
 *     struct memcached m;
 *     memcached_start(&m, "127.0.0.1", "-m 64");      m.name is what mend_open wants
 *     memcached_kill(&m);    memcached_restart(&m);   kill -9; again, empty, in the same place
 *     memcached_pause(&m);   memcached_resume(&m);    SIGSTOP; SIGCONT
 *     memcached_stop(&m);
 *
 * With -Z among its arguments it speaks TLS, and in the clear on a second port, for the tests to ask it by.
 */
#ifndef SUPPORT_MEMCACHED_H
#define SUPPORT_MEMCACHED_H

#include <stdbool.h>
#include <sys/types.h>

struct memcached {
    pid_t pid;       /* 0: not running */
    int   port;      /* 0: a Unix socket */
    int   clear_port; /* the same, or the second one */
    char  host[64];  /* "127.0.0.1", "::1", or "unix" */
    char  path[64];  /* of the socket, in a directory of its own */
    char  args[384]; /* more arguments, separated by spaces */
    char  name[96];  /* "127.0.0.1:4711", "[::1]:4711", "tls://127.0.0.1:4711", "unix:/tmp/.../socket" */
};

/* Starts one on that address, on a port that was free, and returns when it answers. */
void memcached_start(struct memcached *m, const char *host, const char *args);
void memcached_stop(struct memcached *m); /* for good; nothing to do if it never ran */

void memcached_kill(struct memcached *m);
void memcached_restart(struct memcached *m); /* also at another address: set m->host before */
void memcached_pause(struct memcached *m);
void memcached_resume(struct memcached *m);

/* A program of that name: the environment's, else from PATH and the usual places.
 * Allocated; NULL if there is none. */
char *program_find(const char *variable, const char *name);

/* Runs it as a child that dies with the test, its output thrown away. */
pid_t program_start(char *const argv[]);
void  program_stop(pid_t pid);

/* A port where nobody listens now, and that the kernel gives to no outgoing
 * connection: else a stranger could have it while the server is down, or the
 * client, dialing it, be connected with itself. */
int port_free(const char *host);

/* Connects, or -1; and one exchange over it: sends the question, reads until the
 * answer ends with `end`; false if that does not come within a second. */
int  raw_connect(const char *host, int port, const char *path);
bool raw_ask(int fd, const char *question, const char *end, char *answer, size_t room);

#endif
