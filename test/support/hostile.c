/* hostile.c - see hostile.h. One thread accepts, one more serves each connection. */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ASKS = 16384, CONNECTIONS = 1024 };

struct link {
    struct hostile *server;
    pthread_t       thread;
    int             fd; /* -1 once closed */
    unsigned        number;
    unsigned        releases; /* how many there had been when its latest request came */
    bool            ended, joined;
};

struct hostile {
    pthread_mutex_t      lock; /* over all that follows; never held while writing or stalling */
    pthread_t            thread;
    enum hostile_dialect dialect;
    int                  port, listener; /* -1 while down */
    char                 name[32];
    bool                 stopping;

    hostile_handler *handler;
    void            *context;
    bool             trials;
    const char      *greeting;
    bool             greeting_closes;
    unsigned         releases, stalled, resets;

    struct link link[CONNECTIONS];
    unsigned    accepted, open, open_most;

    struct toy *toy;

    char (*asked)[64]; /* the keys of all requests, cut to size */
    size_t asks;
};

/* ---- Requests ------------------------------------------------------------------------------ */
static const struct link *link_of(const struct toy_ask *ask)
{
    return ask->from;
}

unsigned hostile_connection(const struct toy_ask *ask)
{
    return link_of(ask)->number;
}

static enum toy_dialect speaks(struct hostile *h)
{
    pthread_mutex_lock(&h->lock);
    enum toy_dialect dialect = (enum toy_dialect)h->dialect;
    pthread_mutex_unlock(&h->lock);
    return dialect;
}

void hostile_prepare(struct toy_ask *ask)
{
    struct hostile *h = link_of(ask)->server;
    pthread_mutex_lock(&h->lock);
    toy_answer(ask, (enum toy_dialect)h->dialect);
    pthread_mutex_unlock(&h->lock);
}

/* ---- Saying it -------------------------------------------------------------------------------------- */
bool hostile_write(struct toy_ask *ask, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t took = send(link_of(ask)->fd, bytes, n, MSG_NOSIGNAL);
        if (took <= 0)
            return false;
        bytes += took;
        n -= (size_t)took;
    }
    return true;
}

bool hostile_say(struct toy_ask *ask, const char *format, ...)
{
    char    text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return hostile_write(ask, text, (size_t)n);
}

enum hostile_next hostile_answer(struct toy_ask *ask)
{
    hostile_prepare(ask);
    if (ask->meta && speaks(link_of(ask)->server) == TOY_PROXY)
        return HOSTILE_CLOSE;
    return hostile_write(ask, ask->answer, ask->length) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

bool hostile_trickle(struct toy_ask *ask, const char *bytes, size_t n, int each_ms)
{
    for (size_t i = 0; i < n; i++) {
        if (!hostile_write(ask, bytes + i, 1))
            return false;
        pause_ms(each_ms);
    }
    return true;
}

static bool gone(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL);
}

/* Whether the peer ended it so. */
static bool was_reset(int fd)
{
    int       error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return error == ECONNRESET;
}

bool hostile_stall(struct toy_ask *ask)
{
    const struct link *link = link_of(ask);
    struct hostile    *h = link->server;
    bool               stopping, released, left = false;

    pthread_mutex_lock(&h->lock);
    h->stalled++;
    pthread_mutex_unlock(&h->lock);
    do {
        pause_ms(1);
        left = gone(link->fd);
        pthread_mutex_lock(&h->lock);
        stopping = h->stopping;
        released = h->releases != link->releases;
        pthread_mutex_unlock(&h->lock);
    } while (!stopping && !released && !left);
    bool reset = left && was_reset(link->fd);
    pthread_mutex_lock(&h->lock);
    h->stalled--;
    h->resets += reset;
    pthread_mutex_unlock(&h->lock);
    return released && !stopping && !left;
}

/* ---- One connection ----------------------------------------------------------------------------------- */
struct input {
    char  *bytes;
    size_t have, room;
};

/* More bytes, or false at the end of it all. */
static bool more(int fd, struct input *in)
{
    if (in->room - in->have < 64 << 10) {
        in->room = in->room * 2 + (128 << 10);
        in->bytes = realloc(in->bytes, in->room + 1);
    }
    ssize_t n = recv(fd, in->bytes + in->have, in->room - in->have, 0);
    if (n <= 0)
        return false;
    in->have += (size_t)n;
    return true;
}

/* The next request. Returns its bytes; 0 at the end. */
static size_t request(struct link *link, struct input *in, struct toy_ask *ask)
{
    struct hostile *h = link->server;
    for (;;) {
        size_t took = toy_parse(ask, h->toy, speaks(h), in->bytes, in->have);
        if (took == TOY_NONSENSE || (!took && !more(link->fd, in)))
            return 0;
        if (took)
            return took;
    }
}

static void note(struct link *link, const struct toy_ask *ask)
{
    struct hostile *h = link->server;

    pthread_mutex_lock(&h->lock);
    link->releases = h->releases;
    if (h->asks < ASKS && !toy_is(ask, "md delete"))
        snprintf(h->asked[h->asks++], sizeof *h->asked, "%.63s", ask->key);
    pthread_mutex_unlock(&h->lock);
}

/* Talks until one side has enough; true if the connection is to be reset. */
static bool converse(struct link *link, struct input *in, struct toy_ask *ask)
{
    struct hostile *h = link->server;
    size_t          took;

    while ((took = request(link, in, ask)) > 0) {
        note(link, ask);
        pthread_mutex_lock(&h->lock);
        bool             trial = strcmp(ask->key, HOSTILE_TRIAL_KEY) == 0;
        hostile_handler *handler = trial && !h->trials ? NULL : h->handler;
        void            *context = h->context;
        pthread_mutex_unlock(&h->lock);

        enum hostile_next next = handler ? handler(ask, context) : hostile_answer(ask);
        if (next != HOSTILE_GO_ON)
            return next == HOSTILE_RESET;
        in->have -= took;
        memmove(in->bytes, in->bytes + took, in->have);
    }
    return false;
}

static bool greet(struct hostile *h, int fd)
{
    pthread_mutex_lock(&h->lock);
    const char *greeting = h->greeting;
    bool        closes = h->greeting_closes;
    pthread_mutex_unlock(&h->lock);
    if (greeting && send(fd, greeting, strlen(greeting), MSG_NOSIGNAL) < 0)
        return false;
    return !closes;
}

static void *serve(void *argument)
{
    struct link    *link = argument;
    struct hostile *h = link->server;
    struct input    in = {0};
    struct toy_ask *ask = calloc(1, sizeof *ask); /* too large for a stack */
    int             fd = link->fd;
    bool            reset = false;

    ask->from = link;
    if (greet(h, fd))
        reset = converse(link, &in, ask);
    toy_done(ask);
    free(ask);
    free(in.bytes);

    pthread_mutex_lock(&h->lock);
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    link->fd = -1;
    link->ended = true;
    h->open--;
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- The server ------------------------------------------------------------------------------------------ */
static void take_in(struct hostile *h, int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    pthread_mutex_lock(&h->lock);
    struct link *link = NULL;
    for (size_t i = 0; i < CONNECTIONS && !link; i++) {
        struct link *l = &h->link[i];
        if (l->ended && !l->joined) {
            pthread_join(l->thread, NULL); /* it does nothing more that needs the lock */
            l->joined = true;
        }
        if (!l->server || l->joined)
            link = l;
    }
    if (!link) {
        pthread_mutex_unlock(&h->lock);
        close(fd);
        return;
    }
    *link = (struct link){.server = h, .fd = fd, .number = ++h->accepted};
    if (++h->open > h->open_most)
        h->open_most = h->open;
    pthread_create(&link->thread, NULL, serve, link);
    pthread_mutex_unlock(&h->lock);
}

static void *accept_all(void *argument)
{
    struct hostile *h = argument;
    for (;;) {
        pthread_mutex_lock(&h->lock);
        bool stopping = h->stopping;
        int  fd = h->listener < 0 ? -1 : accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_mutex_unlock(&h->lock);
        if (stopping && fd >= 0)
            close(fd);
        if (stopping)
            return NULL;
        if (fd >= 0)
            take_in(h, fd);
        else
            pause_ms(1);
    }
}

static int listen_at(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 128) == 0)
        return fd;
    close(fd);
    return -1;
}

struct hostile *hostile_start(enum hostile_dialect dialect)
{
    struct hostile *h = calloc(1, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    h->dialect = dialect;
    h->toy = toy_new();
    h->asked = calloc(ASKS, sizeof *h->asked);
    do {
        h->port = port_free("127.0.0.1");
        h->listener = listen_at(h->port);
    } while (h->listener < 0);
    snprintf(h->name, sizeof h->name, "127.0.0.1:%d", h->port);
    pthread_create(&h->thread, NULL, accept_all, h);
    return h;
}

/* Under the lock: their threads see the end, and close. */
static void end_all(struct hostile *h)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (h->link[i].server && !h->link[i].ended)
            shutdown(h->link[i].fd, SHUT_RDWR);
}

void hostile_stop(struct hostile *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    end_all(h);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (h->link[i].server && !h->link[i].joined)
            pthread_join(h->link[i].thread, NULL);
    if (h->listener >= 0)
        close(h->listener);
    toy_free(h->toy);
    free(h->asked);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

const char *hostile_name(const struct hostile *h)
{
    return h->name;
}

static void behave(struct hostile *h, hostile_handler *handler, void *context, bool trials)
{
    pthread_mutex_lock(&h->lock);
    h->handler = handler;
    h->context = context;
    h->trials = trials;
    pthread_mutex_unlock(&h->lock);
}

void hostile_behave(struct hostile *h, hostile_handler *handler, void *context)
{
    behave(h, handler, context, false);
}

void hostile_behave_all(struct hostile *h, hostile_handler *handler, void *context)
{
    behave(h, handler, context, true);
}

void hostile_greet(struct hostile *h, const char *greeting, bool then_close)
{
    pthread_mutex_lock(&h->lock);
    h->greeting = greeting;
    h->greeting_closes = then_close;
    pthread_mutex_unlock(&h->lock);
}

void hostile_speak(struct hostile *h, enum hostile_dialect dialect)
{
    pthread_mutex_lock(&h->lock);
    h->dialect = dialect;
    pthread_mutex_unlock(&h->lock);
}

void hostile_down(struct hostile *h)
{
    pthread_mutex_lock(&h->lock);
    if (h->listener >= 0)
        close(h->listener);
    h->listener = -1;
    end_all(h);
    pthread_mutex_unlock(&h->lock);
}

void hostile_up(struct hostile *h)
{
    int fd = -1;
    await((fd = listen_at(h->port)) >= 0, SOON_MS);
    pthread_mutex_lock(&h->lock);
    h->listener = fd;
    pthread_mutex_unlock(&h->lock);
}

/* The peer's kernel has acknowledged our FIN, or is gone. */
static bool heard(int fd)
{
    struct tcp_info info;
    socklen_t       length = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ||
           (info.tcpi_state != TCP_ESTABLISHED && info.tcpi_state != TCP_FIN_WAIT1);
}

void hostile_hang_up(struct hostile *h)
{
    int    fd[CONNECTIONS];
    size_t n = 0;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (h->link[i].server && !h->link[i].ended)
            fd[n++] = dup(h->link[i].fd);
    end_all(h);
    pthread_mutex_unlock(&h->lock);
    for (size_t i = 0; i < n; i++) {
        await(heard(fd[i]), SOON_MS);
        close(fd[i]);
    }
}

void hostile_blurt(struct hostile *h, const char *text)
{
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (h->link[i].server && !h->link[i].ended)
            (void)!send(h->link[i].fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    pthread_mutex_unlock(&h->lock);
}

void hostile_release(struct hostile *h)
{
    pthread_mutex_lock(&h->lock);
    h->releases++;
    pthread_mutex_unlock(&h->lock);
}

void hostile_put(struct hostile *h, const char *key, const char *value)
{
    pthread_mutex_lock(&h->lock);
    toy_put(h->toy, key, value);
    pthread_mutex_unlock(&h->lock);
}

bool hostile_holds(struct hostile *h, const char *key, const char *value)
{
    pthread_mutex_lock(&h->lock);
    size_t      length;
    const char *held = toy_get(h->toy, key, strlen(key), &length);
    bool        is = held && strcmp(held, value) == 0;
    pthread_mutex_unlock(&h->lock);
    return is;
}

static unsigned read_locked(struct hostile *h, const unsigned *field)
{
    pthread_mutex_lock(&h->lock);
    unsigned value = *field;
    pthread_mutex_unlock(&h->lock);
    return value;
}

unsigned hostile_accepted(struct hostile *h)
{
    return read_locked(h, &h->accepted);
}

unsigned hostile_open(struct hostile *h)
{
    return read_locked(h, &h->open);
}

unsigned hostile_open_most(struct hostile *h)
{
    return read_locked(h, &h->open_most);
}

unsigned hostile_stalled(struct hostile *h)
{
    return read_locked(h, &h->stalled);
}

unsigned hostile_resets(struct hostile *h)
{
    return read_locked(h, &h->resets);
}

unsigned hostile_asked(struct hostile *h, const char *key)
{
    unsigned n = 0;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->asks; i++)
        n += strcmp(h->asked[i], key) == 0;
    pthread_mutex_unlock(&h->lock);
    return n;
}
