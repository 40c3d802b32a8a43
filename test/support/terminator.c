/* terminator.c - see terminator.h. A thread for each connection; orders are a counter that each looks at every few milliseconds. */
#include "support/terminator.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

enum order { NOTHING, GIVE_SESSION, CHANGE_KEYS, FLOOD, BLURT, HANG_UP };

struct terminator {
    SSL_CTX    *context;
    int         listener, server_port;
    char        name[64];
    pthread_t   acceptor;
    atomic_bool stop;
    atomic_uint shaken, resumed, refused, open, goodbyes, threads;
    atomic_int  order;
    atomic_uint ordered, obeyed; /* how many orders there were; how many connections have obeyed one */
};

struct connection {
    struct terminator *t;
    SSL               *ssl;
    int                client, server;
    unsigned           ordered; /* of the last order that it has seen */
};

enum { LOOK_MS = 2, FLOOD_MS = 5000 };

/* What the SSL says that it waits for, or that there is nothing more to do. False: the end. */
static bool goes_on(struct connection *c, int n)
{
    int error = SSL_get_error(c->ssl, n);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        return false;
    poll(&(struct pollfd){.fd = c->client, .events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT}, 1, LOOK_MS);
    return !c->t->stop;
}

static bool write_all(struct connection *c, const char *p, int n)
{
    while (n > 0) {
        int wrote = SSL_write(c->ssl, p, n);
        if (wrote > 0) {
            p += wrote;
            n -= wrote;
        } else if (!goes_on(c, wrote))
            return false;
    }
    return true;
}

static bool from_client(struct connection *c)
{
    char bytes[16 * 1024];
    int  got;
    while ((got = SSL_read(c->ssl, bytes, sizeof bytes)) > 0)
        if (send(c->server, bytes, (size_t)got, MSG_NOSIGNAL) != got)
            return false;
    if (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN)
        c->t->goodbyes++;
    return SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ;
}

static bool from_server(struct connection *c)
{
    char    bytes[16 * 1024];
    ssize_t got = recv(c->server, bytes, sizeof bytes, 0);
    return got > 0 && write_all(c, bytes, (int)got);
}

static bool new_keys(struct connection *c)
{
    int n;
    SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED);
    while ((n = SSL_do_handshake(c->ssl)) != 1)
        if (!goes_on(c, n))
            return false;
    return true;
}

/* The client's own new keys are read on the way, lest both sides wait. */
static bool flood(struct connection *c)
{
    char nothing;
    for (int64_t until = now_ms() + FLOOD_MS; now_ms() < until; SSL_peek(c->ssl, &nothing, 1))
        if (!new_keys(c))
            return false;
    return true;
}

static bool obey(struct connection *c)
{
    bool well = true;
    if (c->ordered == c->t->ordered)
        return true;
    c->ordered = c->t->ordered;
    switch ((enum order)c->t->order) {
    case NOTHING:
        break;
    case GIVE_SESSION:
        SSL_new_session_ticket(c->ssl);
        SSL_do_handshake(c->ssl);
        break;
    case CHANGE_KEYS:
        SSL_key_update(c->ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(c->ssl);
        break;
    case FLOOD:
        c->t->obeyed++;
        return flood(c);
    case BLURT:
        well = write_all(c, "E", 1);
        break;
    case HANG_UP:
        SSL_shutdown(c->ssl);
        well = false;
        break;
    }
    c->t->obeyed++;
    return well;
}

static void carry(struct connection *c)
{
    while (!c->t->stop && obey(c)) {
        struct pollfd fds[] = {{.fd = c->client, .events = POLLIN}, {.fd = c->server, .events = POLLIN}};
        poll(fds, 2, LOOK_MS);
        if ((fds[0].revents || SSL_has_pending(c->ssl)) && !from_client(c))
            return;
        if (fds[1].revents && !from_server(c))
            return;
    }
}

static bool shake(struct connection *c)
{
    int n;
    while ((n = SSL_accept(c->ssl)) != 1)
        if (!goes_on(c, n))
            return false;
    return true;
}

static void *serve(void *argument)
{
    struct connection *c = argument;
    struct terminator *t = c->t;
    if (shake(c)) {
        t->resumed += (unsigned)SSL_session_reused(c->ssl);
        t->shaken++;
        t->open++;
        carry(c);
        t->open--;
    } else
        t->refused++;
    SSL_free(c->ssl);
    ERR_clear_error();
    close(c->client);
    close(c->server);
    free(c);
    t->threads--;
    return NULL;
}

static void begin(struct terminator *t, int client)
{
    struct connection *c = calloc(1, sizeof *c);
    pthread_t          thread;
    int                on = 1;
    *c = (struct connection){.t = t, .ssl = SSL_new(t->context), .client = client, .server = raw_connect("127.0.0.1", t->server_port, NULL), .ordered = t->ordered};
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(client, F_SETFL, O_NONBLOCK);
    SSL_set_fd(c->ssl, client);
    t->threads++;
    must(c->server >= 0, "a terminator without its server");
    if (pthread_create(&thread, NULL, serve, c) == 0)
        pthread_detach(thread);
}

static void *accept_all(void *argument)
{
    struct terminator *t = argument;
    while (!t->stop)
        if (poll(&(struct pollfd){.fd = t->listener, .events = POLLIN}, 1, LOOK_MS) > 0) {
            int client = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC);
            if (client >= 0)
                begin(t, client);
        }
    return NULL;
}

struct terminator *terminator_start(const char *certificate, int server_port, int version_max)
{
    struct terminator *t = calloc(1, sizeof *t);
    int                port = port_free("127.0.0.1");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int                on = 1;

    t->server_port = server_port;
    t->context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_max_proto_version(t->context, version_max);
    SSL_CTX_set_session_id_context(t->context, (const unsigned char *)"tests", 5);
    must(SSL_CTX_use_certificate_chain_file(t->context, certificate) == 1 && SSL_CTX_use_PrivateKey_file(t->context, certificate, SSL_FILETYPE_PEM) == 1,
         "%s", certificate);
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(t->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(t->listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(t->listener, 64) == 0, "port %d", port);
    snprintf(t->name, sizeof t->name, "tls://127.0.0.1:%d", port);
    must(pthread_create(&t->acceptor, NULL, accept_all, t) == 0, "no thread");
    return t;
}

void terminator_stop(struct terminator *t)
{
    if (!t)
        return;
    t->stop = true;
    pthread_join(t->acceptor, NULL);
    await(t->threads == 0, SOON_MS);
    close(t->listener);
    SSL_CTX_free(t->context);
    free(t);
}

const char *terminator_name(const struct terminator *t)
{
    return t->name;
}

struct terminator_counts terminator_counts(const struct terminator *t)
{
    return (struct terminator_counts){t->shaken, t->resumed, t->refused, t->open, t->goodbyes};
}

static void order(struct terminator *t, enum order what)
{
    unsigned all = t->open;
    t->obeyed = 0;
    t->order = (int)what;
    t->ordered++;
    await(t->obeyed >= all, SOON_MS);
}

void terminator_give_sessions(struct terminator *t)
{
    order(t, GIVE_SESSION);
}

void terminator_change_keys(struct terminator *t)
{
    order(t, CHANGE_KEYS);
}

void terminator_flood(struct terminator *t)
{
    order(t, FLOOD);
}

void terminator_blurt(struct terminator *t)
{
    order(t, BLURT);
}

void terminator_hang_up(struct terminator *t)
{
    order(t, HANG_UP);
}
