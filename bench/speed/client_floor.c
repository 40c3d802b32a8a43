/* client_floor.c - no client at all: a blocking socket per thread and server, a send, and recv until the answer is
 * complete. Nothing can be faster without sharing a connection; every other figure is a ratio to this one.
 *
 * Knows the classic protocol's bytes, just so far as to see where an answer ends. floor-meta asks for what mend asks
 * for (flags, cas, ttl, key and opaque, by the meta protocol): it tells the price of the protocol from the client's.
 * loop does nothing, rightly: what the benchmark itself takes.
 *
 * On a Unix socket a blocking recv is no floor: the kernel wakes it, too, when the server has taken the question and
 * so made room to write (1.5 context switches a call, by perf, where recv, poll, recv has 1). A client that polls can
 * be faster there.
 */
#include "client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { SMALL = 16 << 10 };

struct text {
    char  *bytes;
    size_t length;
};

/* Where a value of a batch comes to lie: the answers to the same questions are the same. */
struct place {
    const struct item *item;
    size_t             at;
};

struct floor {
    int         sockets[SERVERS_MAX];
    unsigned    servers;
    char       *buffer;
    size_t      room;
    struct text gets[SERVERS_MAX], sets[SERVERS_MAX], deletes[SERVERS_MAX]; /* a batch's questions, and... */
    size_t      hits[SERVERS_MAX], items[SERVERS_MAX]; /* ...bytes and lines of what is to come, ... */
    struct place *values[SERVERS_MAX];                  /* ...and the values in it, which the caller looks at as those of any client */
};

/* ---- Sockets ---------------------------------------------------------------------------------- */

static int dial_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

static int dial(const char *server)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    char               host[64];
    int                port, on = 1;

    if (strncmp(server, "unix:", 5) == 0)
        return dial_unix(server + 5);
    if (sscanf(server, "%63[^:]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &at.sin_addr) != 1)
        return -1;
    at.sin_port = htons((unsigned short)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool say(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* A head, a large body and its line's end, uncopied. */
static bool say_large(int fd, const char *head, size_t n, const struct item *item)
{
    struct iovec  parts[3] = {{(char *)head, n}, {(char *)item->value, item->value_bytes}, {"\r\n", 2}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    ssize_t       sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    size_t        left = n + item->value_bytes + 2 - (size_t)sent;

    if (sent < (ssize_t)n || left < 2)
        return sent > 0 && left == 0;
    return say(fd, item->value + item->value_bytes - (left - 2), left - 2) && say(fd, "\r\n", 2);
}

/* Reads until what came ends so. 0: the connection is lost. */
static size_t hear(struct floor *f, int fd, const char *end, size_t end_bytes)
{
    size_t n = 0;

    while (n < end_bytes || memcmp(f->buffer + n - end_bytes, end, end_bytes) != 0) {
        ssize_t came = recv(fd, f->buffer + n, f->room - n, 0);
        if (came <= 0)
            return 0;
        n += (size_t)came;
    }
    return n;
}

/* Reads so many bytes: the answers of a batch have no end of their own. */
static bool hear_bytes(struct floor *f, int fd, size_t bytes)
{
    for (size_t n = 0; n < bytes;) {
        ssize_t came = recv(fd, f->buffer + n, f->room - n, 0);
        if (came <= 0)
            return false;
        n += (size_t)came;
    }
    return true;
}

static size_t put(char *to, const char *bytes, size_t n)
{
    memcpy(to, bytes, n);
    return n;
}

/* ---- One call ----------------------------------------------------------------------------------- */

static enum outcome floor_get(void *mine, const struct item *item, struct answer *a)
{
    struct floor *f = mine;
    int           fd = f->sockets[item->server];
    char          line[KEY_ROOM + 16];
    size_t        n = put(line, "get ", 4);

    n += put(line + n, item->key, item->key_bytes);
    n += put(line + n, "\r\n", 2);
    if (!say(fd, line, n) || (n = hear(f, fd, "END\r\n", 5)) == 0)
        return FAILED;
    if (n == 5)
        return MISS;
    char *newline = memchr(f->buffer, '\n', n);
    a->data = newline + 1;
    a->bytes = n - (size_t)(newline + 1 - f->buffer) - 7;
    return HIT;
}

/* Its answer has no end of its own, so the length is read. */
static enum outcome meta_get(void *mine, const struct item *item, struct answer *a)
{
    struct floor *f = mine;
    int           fd = f->sockets[item->server];
    char          line[KEY_ROOM + 32];
    size_t        n = put(line, "mg ", 3);

    n += put(line + n, item->key, item->key_bytes);
    n += put(line + n, " v f c t k O7\r\n", 15);
    if (!say(fd, line, n) || (n = hear(f, fd, "\r\n", 2)) < 4)
        return FAILED;
    if (f->buffer[0] == 'E')
        return MISS;
    char *newline = memchr(f->buffer, '\n', n);
    a->data = newline + 1;
    a->bytes = strtoul(f->buffer + 3, NULL, 10);
    while (n < (size_t)(a->data - f->buffer) + a->bytes + 2) {
        ssize_t came = recv(fd, f->buffer + n, f->room - n, 0);
        if (came <= 0)
            return FAILED;
        n += (size_t)came;
    }
    return HIT;
}

static size_t set_head(char *line, const struct item *item)
{
    size_t n = put(line, "set ", 4);

    n += put(line + n, item->key, item->key_bytes);
    switch (item->value_bytes) { /* the usual ones are written by the compiler: a floor formats nothing */
    case 100: return n + put(line + n, " 0 0 100\r\n", 10);
    case 4096: return n + put(line + n, " 0 0 4096\r\n", 11);
    default: return n + (size_t)sprintf(line + n, " 0 0 %zu\r\n", item->value_bytes);
    }
}

static enum outcome floor_set(void *mine, const struct item *item)
{
    struct floor *f = mine;
    int           fd = f->sockets[item->server];
    char          line[KEY_ROOM + SMALL];
    size_t        n = set_head(line, item);
    bool          said;

    if (item->value_bytes < SMALL - 64) {
        n += put(line + n, item->value, item->value_bytes);
        n += put(line + n, "\r\n", 2);
        said = say(fd, line, n);
    } else {
        said = say_large(fd, line, n, item);
    }
    return said && hear(f, fd, "\r\n", 2) == 8 && memcmp(f->buffer, "STORED", 6) == 0 ? DONE : FAILED;
}

static enum outcome floor_delete(void *mine, const struct item *item)
{
    struct floor *f = mine;
    int           fd = f->sockets[item->server];
    char          line[KEY_ROOM + 16];
    size_t        n = put(line, "delete ", 7);

    n += put(line + n, item->key, item->key_bytes);
    n += put(line + n, "\r\n", 2);
    if (!say(fd, line, n) || hear(f, fd, "\r\n", 2) == 0)
        return FAILED;
    return f->buffer[0] == 'D' || f->buffer[0] == 'N' ? DONE : FAILED;
}

/* ---- Many ---------------------------------------------------------------------------------------- */

static size_t count_right(const struct floor *f, unsigned s)
{
    size_t right = 0;

    for (size_t i = 0; i < f->items[s]; i++)
        right += item_is(f->values[s][i].item, f->buffer + f->values[s][i].at, f->values[s][i].item->value_bytes);
    return right;
}

/* Sends each server its part, then reads what each says. */
static size_t floor_get_multi(void *mine, const struct target *t)
{
    struct floor *f = mine;
    size_t        right = 0;

    for (unsigned s = 0; s < f->servers; s++)
        if (f->items[s] && !say(f->sockets[s], f->gets[s].bytes, f->gets[s].length))
            return 0;
    for (unsigned s = 0; s < f->servers; s++)
        if (f->items[s] && hear(f, f->sockets[s], "END\r\n", 5) == f->hits[s])
            right += count_right(f, s);
    (void)t;
    return right;
}

static size_t floor_set_multi(void *mine, const struct target *t)
{
    struct floor *f = mine;
    size_t        right = 0;

    for (unsigned s = 0; s < f->servers; s++)
        if (f->items[s] && !say(f->sockets[s], f->sets[s].bytes, f->sets[s].length))
            return 0;
    for (unsigned s = 0; s < f->servers; s++)
        if (f->items[s] && hear_bytes(f, f->sockets[s], f->items[s] * strlen("STORED\r\n")))
            right += f->items[s];
    (void)t;
    return right;
}

static size_t lines(const char *bytes, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += bytes[i] == '\n';
    return count;
}

static size_t floor_delete_multi(void *mine, const struct target *t)
{
    struct floor *f = mine;
    size_t        right = 0;

    for (unsigned s = 0; s < f->servers; s++)
        if (f->items[s] && !say(f->sockets[s], f->deletes[s].bytes, f->deletes[s].length))
            return 0;
    for (unsigned s = 0; s < f->servers; s++)
        for (size_t heard = 0; heard < f->items[s];) { /* DELETED or NOT_FOUND: of unlike lengths */
            ssize_t came = recv(f->sockets[s], f->buffer, f->room, 0);
            if (came <= 0)
                return 0;
            size_t more = lines(f->buffer, (size_t)came);
            heard += more;
            right += more;
        }
    (void)t;
    return right;
}

static void add(struct text *text, const char *bytes, size_t n)
{
    text->bytes = must_have(realloc(text->bytes, text->length + n + 1));
    memcpy(text->bytes + text->length, bytes, n);
    text->length += n;
}

/* A batch's questions are the same each time: written once, before anything is measured. */
static void prepare_batch(struct floor *f, const struct target *t)
{
    char line[KEY_ROOM + 64];

    for (size_t i = 0; i < t->batch; i++) {
        const struct item *item = &t->items[i];
        unsigned           s = item->server;
        add(&f->gets[s], f->items[s] ? " " : "get ", f->items[s] ? 1 : 4);
        add(&f->gets[s], item->key, item->key_bytes);
        add(&f->sets[s], line, set_head(line, item));
        add(&f->sets[s], item->value, item->value_bytes);
        add(&f->sets[s], "\r\n", 2);
        add(&f->deletes[s], line, (size_t)sprintf(line, "delete %s\r\n", item->key));
        f->hits[s] += (size_t)sprintf(line, "VALUE %s 0 %zu\r\n", item->key, item->value_bytes);
        f->values[s] = must_have(realloc(f->values[s], (f->items[s] + 1) * sizeof *f->values[s]));
        f->values[s][f->items[s]] = (struct place){item, f->hits[s]};
        f->hits[s] += item->value_bytes + 2;
        f->items[s]++;
    }
    for (unsigned s = 0; s < f->servers; s++) {
        add(&f->gets[s], "\r\n", 2);
        f->hits[s] += 5;
    }
}

static void floor_leave(void *mine)
{
    struct floor *f = mine;

    for (unsigned s = 0; s < f->servers; s++) {
        if (f->sockets[s] >= 0)
            close(f->sockets[s]);
        free(f->gets[s].bytes);
        free(f->sets[s].bytes);
        free(f->deletes[s].bytes);
        free(f->values[s]);
    }
    free(f->buffer);
    free(f);
}

static void *floor_join(void *shared, const struct target *t)
{
    struct floor *f = must_have(calloc(1, sizeof *f));

    (void)shared;
    f->servers = t->server_count;
    f->room = (t->batch + 1) * (t->items[0].value_bytes + 2 * KEY_ROOM) + 64;
    f->buffer = must_have(malloc(f->room));
    for (unsigned s = 0; s < f->servers; s++)
        if ((f->sockets[s] = dial(t->servers[s])) < 0)
            perror(t->servers[s]);
    prepare_batch(f, t);
    return f;
}

const struct client client_floor = {
    .name = "floor", .join = floor_join, .leave = floor_leave,
    .get = floor_get, .set = floor_set, .delete = floor_delete,
    .get_multi = floor_get_multi, .set_multi = floor_set_multi, .delete_multi = floor_delete_multi,
};

const struct client client_floor_meta = {
    .name = "floor-meta", .join = floor_join, .leave = floor_leave, .get = meta_get, .set = floor_set,
};

/* ---- Nothing at all ---------------------------------------------------------------------------------- */

static enum outcome loop_get(void *mine, const struct item *item, struct answer *a)
{
    (void)mine;
    *a = (struct answer){item->value, item->value_bytes};
    return HIT;
}

static enum outcome loop_done(void *mine, const struct item *item)
{
    (void)mine;
    (void)item;
    return DONE;
}

static size_t loop_get_multi(void *mine, const struct target *t)
{
    size_t right = 0;

    (void)mine;
    for (size_t i = 0; i < t->batch; i++)
        right += item_is(&t->items[i], t->items[i].value, t->items[i].value_bytes);
    return right;
}

static size_t loop_multi(void *mine, const struct target *t)
{
    (void)mine;
    return t->batch;
}

static void *loop_join(void *shared, const struct target *t)
{
    (void)t;
    return shared;
}

static void loop_leave(void *mine)
{
    (void)mine;
}

const struct client client_loop = {
    .name = "loop", .join = loop_join, .leave = loop_leave,
    .get = loop_get, .set = loop_done, .delete = loop_done,
    .get_multi = loop_get_multi, .set_multi = loop_multi, .delete_multi = loop_multi,
};
