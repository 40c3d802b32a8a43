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

enum { LINE_MAX_BYTES = 64 << 10, BODY_MAX_BYTES = 16 << 20, ITEMS = 8192, ASKS = 16384, CONNECTIONS = 1024 };

struct item {
    char     key[256];
    size_t   key_length;
    char    *value;
    size_t   length;
    uint32_t flags;
    uint64_t cas;
};

struct link {
    struct hostile *server;
    pthread_t       thread;
    int             fd; /* -1 once closed */
    unsigned        number;
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
    unsigned             releases, stalled, resets;

    struct link link[CONNECTIONS];
    unsigned    accepted, open, open_most;

    struct item item[ITEMS];
    size_t      items;
    uint64_t    cas;

    char   (*asked)[64]; /* the keys of all requests, cut to size */
    size_t   asks;
};

/* ---- Words --------------------------------------------------------------------------------- */
static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char       *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static size_t base64_decode(const char *s, char *out, size_t room)
{
    unsigned bits = 0;
    int      have = 0;
    size_t   n = 0;
    for (; *s && *s != '=' && n < room; s++) {
        int value = base64_value(*s);
        if (value < 0)
            return 0;
        bits = bits << 6 | (unsigned)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have & 255);
        }
    }
    return n;
}

static bool one_of(const char *word, const char *words)
{
    size_t n = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || !at[n]))
            return true;
    return false;
}

bool hostile_is(const struct hostile_ask *ask, const char *commands)
{
    return ask->words > 0 && one_of(ask->word[0], commands);
}

/* Where the flags of a meta request begin. */
static int flags_at(const struct hostile_ask *ask)
{
    return hostile_is(ask, "ms") ? 3 : 2;
}

const char *hostile_flag(const struct hostile_ask *ask, char flag)
{
    for (int i = flags_at(ask); ask->meta && i < ask->words; i++)
        if (ask->word[i][0] == flag)
            return ask->word[i] + 1;
    return NULL;
}

static enum hostile_dialect speaks(struct hostile *h)
{
    pthread_mutex_lock(&h->lock);
    enum hostile_dialect dialect = h->dialect;
    pthread_mutex_unlock(&h->lock);
    return dialect;
}

/* ---- The store, under the lock ----------------------------------------------------------------- */
static struct item *find(struct hostile *h, const char *key, size_t length)
{
    for (size_t i = 0; i < h->items; i++)
        if (h->item[i].key_length == length && memcmp(h->item[i].key, key, length) == 0)
            return &h->item[i];
    return NULL;
}

static struct item *store(struct hostile *h, const char *key, size_t key_length, const char *value, size_t length, uint32_t flags)
{
    struct item *item = find(h, key, key_length);
    if (!item)
        item = &h->item[h->items < ITEMS ? h->items++ : ITEMS - 1];
    char *copy = malloc(length + 1);
    memcpy(copy, value, length);
    copy[length] = 0;
    free(item->value);
    memcpy(item->key, key, key_length);
    item->key_length = key_length;
    item->value = copy;
    item->length = length;
    item->flags = flags;
    item->cas = ++h->cas;
    return item;
}

static void forget(struct hostile *h, struct item *item)
{
    free(item->value);
    *item = h->item[--h->items];
    h->item[h->items] = (struct item){0};
}

/* memcached's default, and as it does: what was there before is gone. */
static bool too_large(struct hostile_ask *ask)
{
    if (ask->body_length < 1 << 20)
        return false;
    struct item *item = find(ask->server, ask->key, ask->key_length);
    if (item)
        forget(ask->server, item);
    return true;
}

/* Stores as the command says: add, replace, append, prepend, cas, else set. NULL: it
 * would not, and *status is one of "NS" "EX" "NF". */
static struct item *store_as(struct hostile_ask *ask, char mode, uint64_t cas, uint32_t flags, const char **status)
{
    struct hostile *h = ask->server;
    struct item    *item = find(h, ask->key, ask->key_length);
    *status = cas && !item ? "NF" : cas && item->cas != cas ? "EX" : "NS";
    if ((cas && (!item || item->cas != cas)) || (mode == 'E' && item) || (strchr("RAP", mode) && !item))
        return NULL;
    *status = "HD";
    if (mode != 'A' && mode != 'P')
        return store(h, ask->key, ask->key_length, ask->body, ask->body_length, flags);

    size_t n = item->length + ask->body_length;
    char  *both = malloc(n + 1);
    memcpy(both + (mode == 'P' ? ask->body_length : 0), item->value, item->length);
    memcpy(both + (mode == 'P' ? 0 : item->length), ask->body, ask->body_length);
    item = store(h, ask->key, ask->key_length, both, n, item->flags);
    free(both);
    return item;
}

static bool numeric(const struct item *item)
{
    return item->length && strspn(item->value, "0123456789") == item->length;
}

static void count_by(struct hostile *h, struct item *item, bool down, uint64_t delta)
{
    uint64_t was = strtoull(item->value, NULL, 10);
    char     text[32];
    int      n = snprintf(text, sizeof text, "%llu", (unsigned long long)(!down ? was + delta : was < delta ? 0 : was - delta));
    store(h, item->key, item->key_length, text, (size_t)n, item->flags);
}

/* ---- What is proper ------------------------------------------------------------------------------ */
static void add(struct hostile_ask *ask, const char *bytes, size_t n)
{
    ask->answer = realloc(ask->answer, ask->length + n + 1);
    memcpy(ask->answer + ask->length, bytes, n);
    ask->length += n;
    ask->answer[ask->length] = 0;
}

static void addf(struct hostile_ask *ask, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void addf(struct hostile_ask *ask, const char *format, ...)
{
    char    text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add(ask, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* The flags of a meta answer, in the order of the request; those of an item only if there is one. */
static void add_flags(struct hostile_ask *ask, const struct item *item)
{
    for (int i = flags_at(ask); i < ask->words; i++) {
        switch (ask->word[i][0]) {
        case 'O':
            addf(ask, " O%s", ask->said_opaque ? ask->said_opaque : ask->word[i] + 1);
            break;
        case 'k':
            addf(ask, " k%s%s", ask->said_key ? ask->said_key : ask->word[1], hostile_flag(ask, 'b') ? " b" : "");
            break;
        case 'f':
            if (item)
                addf(ask, " f%u", item->flags);
            break;
        case 'c':
            if (item)
                addf(ask, " c%llu", (unsigned long long)item->cas);
            break;
        case 't':
            if (item)
                addf(ask, " t-1");
            break;
        case 's':
            if (item)
                addf(ask, " s%zu", item->length);
            break;
        }
    }
    addf(ask, "\r\n");
}

void hostile_echo(const struct hostile_ask *ask, char *out, size_t room)
{
    size_t at = 0;
    *out = 0;
    for (int i = flags_at(ask); ask->meta && i < ask->words && at < room; i++) {
        if (ask->word[i][0] == 'O')
            at += (size_t)snprintf(out + at, room - at, " %s", ask->word[i]);
        if (ask->word[i][0] == 'k')
            at += (size_t)snprintf(out + at, room - at, " k%s%s", ask->word[1], hostile_flag(ask, 'b') ? " b" : "");
    }
}

static void meta_answer(struct hostile_ask *ask, const char *status, const struct item *item)
{
    const char *done = ask->server->dialect == HOSTILE_OLD ? "OK" : "HD";
    bool        quiet = hostile_flag(ask, 'q') && strcmp(status, hostile_is(ask, "mg") ? "EN" : "HD") == 0;
    if (quiet)
        return;
    if (item && hostile_is(ask, "mg ma") && hostile_flag(ask, 'v')) {
        addf(ask, "VA %zu", item->length);
        add_flags(ask, item);
        add(ask, item->value, item->length);
        addf(ask, "\r\n");
        return;
    }
    addf(ask, "%s", strcmp(status, "HD") == 0 ? done : status);
    add_flags(ask, item);
}

static void meta_count(struct hostile_ask *ask)
{
    struct hostile *h = ask->server;
    struct item    *item = find(h, ask->key, ask->key_length);
    const char     *initial = hostile_flag(ask, 'J'), *delta = hostile_flag(ask, 'D'), *mode = hostile_flag(ask, 'M');
    if (!item && hostile_flag(ask, 'N')) {
        item = store(h, ask->key, ask->key_length, initial ? initial : "0", strlen(initial ? initial : "0"), 0);
    } else if (item && !numeric(item)) {
        addf(ask, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        return;
    } else if (item) {
        count_by(h, item, mode && strchr("Dd-", *mode), delta ? strtoull(delta, NULL, 10) : 1);
    }
    meta_answer(ask, item ? "HD" : "NF", item);
}

static void meta(struct hostile_ask *ask)
{
    struct hostile *h = ask->server;
    struct item    *item = find(h, ask->key, ask->key_length);
    const char     *flag, *status = "HD";

    if (hostile_is(ask, "mn")) {
        addf(ask, "MN\r\n");
    } else if (hostile_flag(ask, 'b') && h->dialect == HOSTILE_OLD) {
        addf(ask, "CLIENT_ERROR invalid flag\r\n");
    } else if (hostile_is(ask, "mg")) {
        if (!item && h->dialect == HOSTILE_OLD)
            addf(ask, "EN\r\n"); /* no flags with EN before 1.6.18 */
        else
            meta_answer(ask, item ? "HD" : "EN", item);
    } else if (hostile_is(ask, "ms") && too_large(ask)) {
        addf(ask, "SERVER_ERROR object too large for cache\r\n");
    } else if (hostile_is(ask, "ms")) {
        uint64_t cas = (flag = hostile_flag(ask, 'C')) ? strtoull(flag, NULL, 10) : 0;
        uint32_t flags = (flag = hostile_flag(ask, 'F')) ? (uint32_t)strtoul(flag, NULL, 10) : 0;
        char     mode = (flag = hostile_flag(ask, 'M')) && *flag ? *flag : 'S';
        item = store_as(ask, mode, cas, flags, &status);
        meta_answer(ask, status, item);
    } else if (hostile_is(ask, "md")) {
        if (item)
            forget(h, item);
        meta_answer(ask, item ? "HD" : "NF", NULL);
    } else if (hostile_is(ask, "ma")) {
        meta_count(ask);
    } else {
        addf(ask, "ERROR\r\n");
    }
}

static void classic_get(struct hostile_ask *ask, int first)
{
    bool cas = hostile_is(ask, "gets gats");
    for (int i = first; i < ask->words; i++) {
        struct item *item = find(ask->server, ask->word[i], strlen(ask->word[i]));
        if (!item)
            continue;
        addf(ask, "VALUE %s %u %zu", ask->said_key ? ask->said_key : ask->word[i], item->flags, item->length);
        if (cas)
            addf(ask, " %llu", (unsigned long long)item->cas);
        addf(ask, "\r\n");
        add(ask, item->value, item->length);
        addf(ask, "\r\n");
    }
    addf(ask, "END\r\n");
}

static void classic_store(struct hostile_ask *ask)
{
    static const struct { const char *command, mode; } modes[] = {{"add", 'E'}, {"replace", 'R'}, {"append", 'A'}, {"prepend", 'P'}};
    char        mode = 'S';
    uint64_t    cas = hostile_is(ask, "cas") ? strtoull(ask->word[5], NULL, 10) : 0;
    const char *status;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(ask->word[0], modes[i].command) == 0)
            mode = modes[i].mode;
    store_as(ask, mode, cas, (uint32_t)strtoul(ask->word[2], NULL, 10), &status);
    addf(ask, "%s\r\n", strcmp(status, "HD") == 0 ? "STORED" : strcmp(status, "EX") == 0 ? "EXISTS" : strcmp(status, "NF") == 0 ? "NOT_FOUND" : "NOT_STORED");
}

static void classic(struct hostile_ask *ask)
{
    struct hostile *h = ask->server;
    struct item    *item = find(h, ask->key, ask->key_length);

    if (ask->body && too_large(ask)) {
        addf(ask, "SERVER_ERROR object too large for cache\r\n");
    } else if (hostile_is(ask, "get gets")) {
        classic_get(ask, 1);
    } else if (hostile_is(ask, "gat gats")) {
        classic_get(ask, 2);
    } else if (hostile_is(ask, "set add replace append prepend cas")) {
        classic_store(ask);
    } else if (hostile_is(ask, "delete")) {
        if (item)
            forget(h, item);
        addf(ask, item ? "DELETED\r\n" : "NOT_FOUND\r\n");
    } else if (hostile_is(ask, "touch")) {
        addf(ask, item ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
    } else if (hostile_is(ask, "incr decr") && !item) {
        addf(ask, "NOT_FOUND\r\n");
    } else if (hostile_is(ask, "incr decr") && !numeric(item)) {
        addf(ask, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    } else if (hostile_is(ask, "incr decr")) {
        count_by(h, item, hostile_is(ask, "decr"), strtoull(ask->word[2], NULL, 10));
        addf(ask, "%s\r\n", item->value);
    } else if (hostile_is(ask, "flush_all")) {
        while (h->items)
            forget(h, &h->item[0]);
        addf(ask, "OK\r\n");
    } else if (hostile_is(ask, "version")) {
        addf(ask, "VERSION 1.6.18\r\n");
    } else {
        addf(ask, "ERROR\r\n");
    }
}

void hostile_prepare(struct hostile_ask *ask)
{
    struct hostile *h = ask->server;
    ask->length = 0;
    add(ask, "", 0);
    pthread_mutex_lock(&h->lock);
    if (!ask->meta)
        classic(ask);
    else if (h->dialect == HOSTILE_CLASSIC)
        addf(ask, "ERROR\r\n");
    else
        meta(ask);
    pthread_mutex_unlock(&h->lock);
}

/* ---- Saying it -------------------------------------------------------------------------------------- */
bool hostile_write(struct hostile_ask *ask, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t took = send(ask->fd, bytes, n, MSG_NOSIGNAL);
        if (took <= 0)
            return false;
        bytes += took;
        n -= (size_t)took;
    }
    return true;
}

bool hostile_say(struct hostile_ask *ask, const char *format, ...)
{
    char    text[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return hostile_write(ask, text, (size_t)n);
}

enum hostile_next hostile_answer(struct hostile_ask *ask)
{
    hostile_prepare(ask);
    if (ask->meta && speaks(ask->server) == HOSTILE_PROXY)
        return HOSTILE_CLOSE;
    return hostile_write(ask, ask->answer, ask->length) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

bool hostile_trickle(struct hostile_ask *ask, const char *bytes, size_t n, int each_ms)
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

bool hostile_stall(struct hostile_ask *ask)
{
    struct hostile *h = ask->server;
    bool            stopping, released, left = false;

    pthread_mutex_lock(&h->lock);
    h->stalled++;
    pthread_mutex_unlock(&h->lock);
    do {
        pause_ms(1);
        left = gone(ask->fd);
        pthread_mutex_lock(&h->lock);
        stopping = h->stopping;
        released = h->releases != ask->releases;
        pthread_mutex_unlock(&h->lock);
    } while (!stopping && !released && !left);
    bool reset = left && was_reset(ask->fd);
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

/* The next request's line, cut into words, and its body. Returns the bytes of both; 0 at the end. */
static size_t request(int fd, struct input *in, struct hostile_ask *ask, char *line)
{
    char *end = NULL;
    while (!(end = in->have ? memchr(in->bytes, '\n', in->have) : NULL))
        if (in->have > LINE_MAX_BYTES || !more(fd, in))
            return 0;
    size_t length = (size_t)(end - in->bytes) + 1;
    if (length > LINE_MAX_BYTES)
        return 0;
    memcpy(line, in->bytes, length);
    line[length - 1] = 0;

    char *next = NULL;
    for (char *word = strtok_r(line, " \r", &next); word && ask->words < HOSTILE_WORDS; word = strtok_r(NULL, " \r", &next))
        ask->word[ask->words++] = word;
    ask->meta = hostile_is(ask, "mg ms md ma mn me");

    bool meta_body = hostile_is(ask, "ms") && ask->words > 2;
    bool body = meta_body || (hostile_is(ask, "set add replace append prepend cas") && ask->words > 4);
    if (meta_body && speaks(ask->server) == HOSTILE_CLASSIC)
        body = false;
    if (!body)
        return length;

    const char *size = ask->word[meta_body ? 2 : 4];
    ask->body_length = strtoul(*size == 'S' ? size + 1 : size, NULL, 10);
    if (ask->body_length > BODY_MAX_BYTES)
        return 0;
    while (in->have < length + ask->body_length + 2)
        if (!more(fd, in))
            return 0;
    ask->body = in->bytes + length;
    return length + ask->body_length + 2;
}

static void note(struct hostile_ask *ask)
{
    struct hostile *h = ask->server;
    int             at = hostile_is(ask, "gat gats") ? 2 : 1;
    if (ask->words > at && hostile_flag(ask, 'b'))
        ask->key_length = base64_decode(ask->word[at], ask->key, sizeof ask->key - 1);
    else if (ask->words > at)
        ask->key_length = (size_t)snprintf(ask->key, sizeof ask->key, "%.250s", ask->word[at]);

    pthread_mutex_lock(&h->lock);
    ask->releases = h->releases;
    if (h->asks < ASKS)
        snprintf(h->asked[h->asks++], sizeof *h->asked, "%.63s", ask->key);
    pthread_mutex_unlock(&h->lock);
}

/* Talks until one side has enough; true if the connection is to be reset. */
static bool converse(struct link *link, int fd, struct input *in, char *line)
{
    struct hostile *h = link->server;
    for (;;) {
        struct hostile_ask ask = {.server = h, .fd = fd, .connection = link->number};
        size_t             took = request(fd, in, &ask, line);
        if (!took)
            return false;
        note(&ask);

        pthread_mutex_lock(&h->lock);
        bool             trial = strcmp(ask.key, HOSTILE_TRIAL_KEY) == 0;
        hostile_handler *handler = trial && !h->trials ? NULL : h->handler;
        void            *context = h->context;
        pthread_mutex_unlock(&h->lock);

        enum hostile_next next = handler ? handler(&ask, context) : hostile_answer(&ask);
        free(ask.answer);
        if (next != HOSTILE_GO_ON)
            return next == HOSTILE_RESET;
        in->have -= took;
        memmove(in->bytes, in->bytes + took, in->have);
    }
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
    char           *line = malloc(LINE_MAX_BYTES + 1);
    bool            reset = false;

    pthread_mutex_lock(&h->lock);
    int fd = link->fd;
    pthread_mutex_unlock(&h->lock);
    if (greet(h, fd))
        reset = converse(link, fd, &in, line);

    pthread_mutex_lock(&h->lock);
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    link->fd = -1;
    link->ended = true;
    h->open--;
    pthread_mutex_unlock(&h->lock);
    free(in.bytes);
    free(line);
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
    while (h->items)
        forget(h, &h->item[0]);
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
    store(h, key, strlen(key), value, strlen(value), 0);
    pthread_mutex_unlock(&h->lock);
}

bool hostile_holds(struct hostile *h, const char *key, const char *value)
{
    pthread_mutex_lock(&h->lock);
    struct item *item = find(h, key, strlen(key));
    bool         is = item && strcmp(item->value, value) == 0;
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
