/* fork.c - a forking server, whose children use the client that the parent opened.
 *
 *     cc fork.c -o fork $(pkg-config --cflags --libs mend)
 *     ./fork 7000 10.0.0.1,10.0.0.2
 *
 *     echo index.html | nc -N 127.0.0.1 7000      a line a page: how often was it asked for?
 *
 * What it shows: the parent opens the client once, and says what is wrong with the
 * configuration; a child's first call builds connections and a healer of its own.
 * Counters that all children share. And that an increment which was not answered
 * is not taken for one that was not done. (They are cached, not kept: a counter
 * begins anew when memcached does, and after an increment that was lost.)
 */
#include <mend.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 4, PATIENCE_S = 10 };

static mend_client *cache;

/* ---- A child ---- */

static void answer(int to, const char *page, mend_reply *r)
{
    int me = (int)getpid();
    switch (mend_increment(cache, mend_str(page), 1, &(mend_count){.create = true, .initial = 1}, r)) {
    case MEND_OK:         dprintf(to, "%s: %" PRIu64 ", says %d\n", page, r->number, me); break;
    case MEND_NOT_NUMBER: dprintf(to, "%s: not a counter, says %d\n", page, me); break;
    case MEND_E_ARGUMENT: dprintf(to, "%s, says %d\n", r->error, me); break; /* no key is called that */
    default: /* the cache can't be asked: a page is served all the same, without its count */
        dprintf(to, "%s: unknown (%s%s), says %d\n", page, r->error, r->maybe_applied ? "; perhaps counted" : "", me);
        break;
    }
}

static void serve(int listener)
{
    static const struct timeval patience = {.tv_sec = PATIENCE_S};
    mend_reply                  r = MEND_REPLY;
    for (;;) {
        char  page[256];
        int   fd = accept(listener, NULL, NULL);
        FILE *lines = fd < 0 ? NULL : fdopen(fd, "r");
        if (fd >= 0 && !lines)
            close(fd);
        if (!lines) /* the caller has gone already, or there is no memory */
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        while (fgets(page, sizeof page, lines)) {
            page[strcspn(page, "\r\n")] = 0;
            answer(fd, page, &r);
        }
        fclose(lines);
    }
}

/* ---- The parent ---- */

/* Forks a child, which serves until a signal ends it. -1: there is none. */
static pid_t begin_child(int listener, const sigset_t *usual)
{
    pid_t child = fork();
    if (child < 0)
        perror("fork");
    if (child == 0) {
        sigprocmask(SIG_SETMASK, usual, NULL);
        serve(listener);
    }
    return child;
}

static int listens_on(uint16_t port)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t          len = sizeof here;
    int                listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
        bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, SOMAXCONN) < 0 ||
        getsockname(listener, (struct sockaddr *)&here, &len) < 0) {
        perror("can't listen");
        exit(1);
    }
    printf("127.0.0.1:%u\n", ntohs(here.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    pid_t      children[CHILDREN], dead;
    sigset_t   awaited, usual;
    int        came = 0;
    mend_reply r = MEND_REPLY;
    if (mend_open(&MEND_CONFIG(.servers = argc > 2 ? argv[2] : "127.0.0.1", .prefix = "asked:"), &cache, &r) < 0) {
        fprintf(stderr, "%s\n", r.error); /* a mistake in the configuration; a server that is down is none */
        mend_reply_free(&r);
        return 1;
    }
    mend_reply_free(&r);
    signal(SIGPIPE, SIG_IGN); /* for our own sockets; mend's raise none */
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGTERM);
    sigprocmask(SIG_BLOCK, &awaited, &usual);

    int listener = listens_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 7000));
    for (int i = 0; i < CHILDREN; i++)
        children[i] = begin_child(listener, &usual);
    while (sigwait(&awaited, &came) == 0 && came == SIGCHLD) /* children that died are replaced */
        while ((dead = waitpid(-1, NULL, WNOHANG)) > 0)
            for (int i = 0; i < CHILDREN; i++)
                if (children[i] == dead)
                    children[i] = begin_child(listener, &usual);

    for (int i = 0; i < CHILDREN; i++)
        if (children[i] > 0)
            kill(children[i], SIGTERM); /* nothing to close: what a child has at memcached ends with it */
    while (waitpid(-1, NULL, 0) > 0)
        ;
    mend_close(cache);
}
