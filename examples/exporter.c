/* exporter.c - a client's statistics for Prometheus, by the smallest HTTP server that will do.
 *
 *     cc exporter.c -o exporter $(pkg-config --cflags --libs mend)
 *     ./exporter SERVERS [PORT]    http://127.0.0.1:PORT/metrics; port 9150, or 0 for any that is free
 *
 * An application serves the page of the client that it has, from the HTTP server that it has. This one has
 * no other work to count, so it pings its servers before each page.
 */
#include <arpa/inet.h>
#include <mend.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int listen_on(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 16) < 0)
        return -1;
    socklen_t n = sizeof at;
    getsockname(fd, (struct sockaddr *)&at, &n);
    printf("http://127.0.0.1:%d/metrics\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void send_all(int fd, const char *p, size_t n)
{
    for (ssize_t sent; n > 0 && (sent = send(fd, p, n, MSG_NOSIGNAL)) > 0; n -= (size_t)sent)
        p += sent;
}

static void answer(int fd, const char *status, const char *body, size_t n)
{
    char head[200];
    int  length = snprintf(head, sizeof head,
                           "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, n);

    send_all(fd, head, (size_t)length);
    send_all(fd, body, n);
}

/* The first line of the request; the rest is read, and of no interest. */
static bool wants_metrics(int fd)
{
    struct timeval patience = {.tv_sec = 1};
    char           request[8192];
    size_t         n = 0;
    ssize_t        got = 1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    request[0] = '\0';
    while (n < sizeof request - 1 && !strstr(request, "\r\n\r\n") && (got = recv(fd, request + n, sizeof request - 1 - n, 0)) > 0)
        request[n += (size_t)got] = '\0';
    return strncmp(request, "GET /metrics ", 13) == 0;
}

static void serve(int fd, mend_client *cache, mend_reply *page)
{
    static const char lost[] = "try /metrics\n";

    if (!wants_metrics(fd)) {
        answer(fd, "404 Not Found", lost, sizeof lost - 1);
        return;
    }
    mend_ping(cache, NULL);
    if (mend_stats_prometheus(cache, page) == MEND_OK)
        answer(fd, "200 OK", page->data, page->len);
    else
        answer(fd, "500 Internal Server Error", page->error, strlen(page->error));
}

static volatile sig_atomic_t ended;

static void end(int number)
{
    (void)number;
    ended = 1;
}

int main(int argc, char **argv)
{
    mend_client *cache;
    mend_reply   page = MEND_REPLY;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: exporter SERVERS [PORT]\n");
        return 2;
    }
    if (mend_open(&MEND_CONFIG(.servers = argv[1]), &cache, &page) < 0) {
        fprintf(stderr, "exporter: %s\n", page.error);
        return 2;
    }
    int listener = listen_on(argc > 2 ? atoi(argv[2]) : 9150);
    if (listener < 0) {
        perror("exporter");
        return 1;
    }
    struct sigaction on_end = {.sa_handler = end}; /* without SA_RESTART: accept comes back */
    sigaction(SIGTERM, &on_end, NULL);
    sigaction(SIGINT, &on_end, NULL);
    while (!ended) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        serve(fd, cache, &page);
        close(fd);
    }
    close(listener);
    mend_reply_free(&page);
    mend_close(cache);
    return 0;
}
