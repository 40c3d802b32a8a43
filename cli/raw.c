/* raw.c - see raw.h. */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "demo/clock.h"
#include "interrupt.h"
#include "raw_tls.h"
#include "say.h"

int64_t raw_deadline(int64_t ms)
{
    return clock_now() + MS(ms);
}

static __attribute__((format(printf, 2, 3))) bool failed(struct raw *r, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    vsnprintf(r->error, sizeof r->error, format, words);
    va_end(words);
    return false;
}

static bool wait_for(struct raw *r, short events)
{
    struct pollfd p = {.fd = r->fd, .events = events};

    for (;;) {
        int64_t left_ns = r->deadline_ns - clock_now();
        if (left_ns <= 0)
            return failed(r, "no answer in time");
        struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000), .tv_nsec = (long)(left_ns % 1000000000)};
        int             n = ppoll(&p, 1, &left, NULL);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return failed(r, "%s", strerror(errno));
        if (interrupted())
            return failed(r, "interrupted");
    }
}

/* ---- Connecting --------------------------------------------------------------------- */

static bool dial(struct raw *r, int family, const void *address, socklen_t size)
{
    int       error = 0;
    socklen_t error_size = sizeof error;

    r->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (r->fd < 0)
        return failed(r, "%s", strerror(errno));
    if (family != AF_UNIX)
        setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(r->fd, address, size) == 0)
        return true;
    if (errno != EINPROGRESS)
        error = errno;
    else if (!wait_for(r, POLLOUT))
        return false;
    else
        getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    return error == 0 || failed(r, "%s", strerror(error));
}

static bool dial_unix(struct raw *r, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        return failed(r, "the path is too long for a socket's");
    strcpy(address.sun_path, path);
    return dial(r, AF_UNIX, &address, sizeof address);
}

static bool dial_host(struct raw *r, const char *server)
{
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM};
    const char      *colon = strrchr(server, ':');
    char             host[256];
    bool             brackets = server[0] == '[', dialed = false;

    if (!colon || (size_t)(colon - server) >= sizeof host)
        return failed(r, "not a server's name");
    snprintf(host, sizeof host, "%.*s", (int)(colon - server) - 2 * brackets, server + brackets);

    int code = getaddrinfo(host, colon + 1, &hints, &found);
    if (code)
        return failed(r, "%s: %s", host, gai_strerror(code));
    for (struct addrinfo *a = found; a && !dialed; a = a->ai_next) {
        if (r->fd >= 0)
            close(r->fd);
        dialed = dial(r, a->ai_family, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(found);
    return dialed;
}

/* Whether the socket may be tried again: TLS wants to read or to write. */
static bool wait_for_tls(struct raw *r, ssize_t result)
{
    if (result == RAW_TLS_READS)
        return wait_for(r, POLLIN);
    if (result == RAW_TLS_WRITES)
        return wait_for(r, POLLOUT);
    return failed(r, "TLS: %s", result == 0 ? "it closed the connection" : raw_tls_why(r->tls));
}

static bool shake(struct raw *r, const char *server, const mend_tls *settings)
{
    const char *why;
    char        host[256];
    bool        brackets = server[0] == '[';
    int         result;

    snprintf(host, sizeof host, "%.*s", (int)(strrchr(server, ':') - server) - 2 * brackets, server + brackets);
    r->tls = raw_tls_new(r->fd, host, settings, &why);
    if (!r->tls)
        return failed(r, "TLS: %s", why);
    while ((result = raw_tls_shake(r->tls)) <= 0)
        if (!wait_for_tls(r, result))
            return false;
    return true;
}

/* ---- Passwords ------------------------------------------------------------------------- */

/* "user password", of the configuration or its file. What is wrong with that the library has said: it opened first. */
static bool read_credentials(char *to, size_t room, const mend_config *config)
{
    if (!config->auth_file)
        return snprintf(to, room, "%s %s", config->username, config->password) < (int)room;
    FILE *file = fopen(config->auth_file, "re");
    char *line = file ? fgets(to, (int)room, file) : NULL, *colon = line ? strchr(line, ':') : NULL;
    if (file)
        fclose(file);
    if (!colon)
        return false;
    *colon = ' ';
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static bool authenticate(struct raw *r, const mend_config *config)
{
    char credentials[520], question[600];

    if (!config->auth_file && !(config->username && config->password))
        return true;
    if (!read_credentials(credentials, sizeof credentials, config))
        return failed(r, "user and password can't be read");
    snprintf(question, sizeof question, "set mend:auth 0 -1 %zu\r\n%s\r\n", strlen(credentials), credentials);
    char *line = raw_say(r, question) ? raw_line(r) : NULL;
    return line && (strcmp(line, "STORED") == 0 || failed(r, "it refuses the user or the password"));
}

bool raw_open(struct raw *r, const char *server, const mend_config *config, int64_t deadline_ns)
{
    static const char scheme[] = "tls://";
    bool              over_tls = strncmp(server, scheme, sizeof scheme - 1) == 0;

    r->fd = -1;
    r->tls = NULL;
    r->deadline_ns = deadline_ns;
    r->at = r->len = 0;
    r->error[0] = '\0';
    if (over_tls)
        server += sizeof scheme - 1;
    bool dialed = strncmp(server, "unix:", 5) == 0 ? dial_unix(r, server + 5) : dial_host(r, server);
    return dialed && (!over_tls || shake(r, server, config->tls)) && authenticate(r, config);
}

void raw_close(struct raw *r)
{
    raw_tls_free(r->tls);
    r->tls = NULL;
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

/* ---- Asking ---------------------------------------------------------------------------- */

bool raw_say(struct raw *r, const char *text)
{
    for (size_t left = strlen(text); left;) {
        ssize_t n = r->tls ? raw_tls_send(r->tls, text, left) : send(r->fd, text, left, MSG_NOSIGNAL);
        if (n > 0) {
            text += n;
            left -= (size_t)n;
        } else if (r->tls) {
            if (!wait_for_tls(r, n))
                return false;
        } else if (errno == EAGAIN) {
            if (!wait_for(r, POLLOUT))
                return false;
        } else if (errno != EINTR) {
            return failed(r, "%s", strerror(errno));
        }
    }
    return true;
}

static bool more(struct raw *r)
{
    memmove(r->buffer, r->buffer + r->at, r->len - r->at);
    r->len -= r->at;
    r->at = 0;
    if (r->len == sizeof r->buffer)
        return failed(r, "its answer makes no sense");
    for (;;) {
        char   *to = r->buffer + r->len;
        size_t  room = sizeof r->buffer - r->len;
        ssize_t n = r->tls ? raw_tls_recv(r->tls, to, room) : recv(r->fd, to, room, 0);
        if (n > 0) {
            r->len += (size_t)n;
            return true;
        }
        if (n == 0)
            return failed(r, "it closed the connection");
        if (r->tls) {
            if (!wait_for_tls(r, n))
                return false;
        } else if (errno == EAGAIN) {
            if (!wait_for(r, POLLIN))
                return false;
        } else if (errno != EINTR) {
            return failed(r, "%s", strerror(errno));
        }
    }
}

/* Whatever it is, a terminal only shows it. */
static void make_printable(char *line)
{
    for (; *line; line++)
        if (*line < ' ' || *line > '~')
            *line = '?';
}

char *raw_line(struct raw *r)
{
    char *end;

    while (!(end = memchr(r->buffer + r->at, '\n', r->len - r->at)))
        if (!more(r))
            return NULL;

    char *line = r->buffer + r->at;
    r->at = (size_t)(end + 1 - r->buffer);
    *end = '\0';
    if (end > line && end[-1] == '\r')
        end[-1] = '\0';
    make_printable(line);
    return line;
}

bool raw_refused(struct raw *r, const char *line)
{
    if (strcmp(line, "ERROR") != 0 && strncmp(line, "ERROR ", 6) != 0 && strncmp(line, "CLIENT_ERROR", 12) != 0 &&
        strncmp(line, "SERVER_ERROR", 12) != 0)
        return false;
    failed(r, "it says \"%.120s\"", line);
    return true;
}

bool raw_stats(struct raw *r, const char *group, json_object *to)
{
    char question[64], *line, *value;

    snprintf(question, sizeof question, "stats%s%s\r\n", group ? " " : "", group ? group : "");
    if (!raw_say(r, question))
        return false;
    while ((line = raw_line(r)) && strcmp(line, "END") != 0) {
        if (raw_refused(r, line))
            return false;
        if (strncmp(line, "STAT ", 5) != 0 || !(value = strchr(line + 5, ' ')))
            continue;
        *value++ = '\0';
        json_text(to, line + 5, value);
    }
    return line;
}
