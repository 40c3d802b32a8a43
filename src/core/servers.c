/* servers.c - see servers.h. */
#include "core/servers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PORT_MAX = 65535, PORT_UNSAID = 11211, QUOTED_MAX = 80 };

/* Part of the list: no NUL behind it. */
struct slice {
    const char *at;
    size_t      len;
};

/* One server as it is written. */
struct element {
    struct slice host;   /* without brackets, or the path */
    struct slice ring;   /* of length 0: there is none */
    unsigned     port;   /* 0: unsaid */
    unsigned     weight; /* 0: unsaid */
    bool         is_unix;
    bool         is_tls;
};

struct parse {
    struct servers *out;
    char           *error;
    size_t          error_size;
    char            quoted[QUOTED_MAX + sizeof "\"\"..."]; /* the element at hand, for errors */
};

/* ---- Errors ------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static mend_status refuse(struct parse *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->error, p->error_size, format, args);
    va_end(args);
    return MEND_E_ARGUMENT;
}

static mend_status no_memory(struct parse *p)
{
    snprintf(p->error, p->error_size, "servers: out of memory");
    return MEND_E_MEMORY;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static void quote(struct parse *p, struct slice s)
{
    char *to = p->quoted;
    *to++ = '"';
    for (size_t i = 0; i < s.len && i < QUOTED_MAX; i++)
        *to++ = is_control(s.at[i]) ? '?' : s.at[i];
    strcpy(to, s.len > QUOTED_MAX ? "...\"" : "\"");
}

/* ---- Slices ------------------------------------------------------------------ */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct slice skip(struct slice s, size_t n)
{
    return (struct slice){s.at + n, s.len - n};
}

static struct slice trim(struct slice s)
{
    while (s.len && is_space(s.at[0]))
        s = skip(s, 1);
    while (s.len && is_space(s.at[s.len - 1]))
        s.len--;
    return s;
}

/* The index of the first byte, from from on, that is one of these; len if none is. */
static size_t find(struct slice s, size_t from, const char *these)
{
    for (size_t i = from; i < s.len; i++)
        if (strchr(these, s.at[i]))
            return i;
    return s.len;
}

static bool begins(struct slice s, const char *with)
{
    size_t n = strlen(with);
    return s.len >= n && memcmp(s.at, with, n) == 0;
}

static bool equals(struct slice s, const char *text)
{
    return s.len == strlen(text) && begins(s, text);
}

/* White space or a control character inside is most likely a comma that was forgotten. */
static bool has_gap(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (is_space(s.at[i]) || is_control(s.at[i]))
            return true;
    return false;
}

/* A decimal number from 1 to max; 0 is what is none. */
static unsigned number(struct slice s, unsigned max)
{
    unsigned n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return 0;
        n = n * 10 + (unsigned)(s.at[i] - '0');
        if (n > max)
            return 0;
    }
    return n;
}

/* ---- One element, as it is written ------------------------------------------- */

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Bytes above ASCII are left to the name service. */
static bool may_be_in_host(char c, bool v6)
{
    return is_alphanumeric(c) || (unsigned char)c >= 0x80 || c == '-' || c == '.' || c == '_' || (v6 && (c == ':' || c == '%'));
}

/* Somebody used to URLs may well try ssl://host, or tls:host, and must not be left to think that it is TLS. */
static bool has_scheme(struct slice before, struct slice after)
{
    static const char *const schemes[] = {"tcp", "udp", "tls", "ssl", "http", "https", "memcache", "memcached"};

    if (begins(after, "/"))
        return before.len > 0;
    if (!after.len || (after.at[0] >= '0' && after.at[0] <= '9' && find(after, 0, ".:") == after.len))
        return false; /* a host of that name, and its port */
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (equals(before, schemes[i]))
            return true;
    return false;
}

static mend_status read_path(struct parse *p, struct element *e, struct slice path)
{
    e->is_unix = true;
    e->host = path;
    if (!begins(path, "/"))
        return refuse(p, "servers: the path of %s does not begin with a slash", p->quoted);
    if (path.len > SERVERS_PATH_MAX)
        return refuse(p, "servers: the path of %s is longer than %d bytes", p->quoted, SERVERS_PATH_MAX);
    if (has_gap(path))
        return refuse(p, "servers: the path of %s has white space or a control character in it", p->quoted);
    return MEND_OK;
}

static mend_status read_port(struct parse *p, struct element *e, struct slice port)
{
    e->port = number(port, PORT_MAX);
    return e->port ? MEND_OK : refuse(p, "servers: the port of %s is not between 1 and %d", p->quoted, PORT_MAX);
}

static mend_status read_host(struct parse *p, struct element *e, struct slice host, bool v6)
{
    if (!host.len)
        return refuse(p, "servers: %s has no host", p->quoted);
    if (host.len > SERVERS_HOST_MAX)
        return refuse(p, "servers: the host of %s is longer than %d bytes", p->quoted, SERVERS_HOST_MAX);
    for (size_t i = 0; i < host.len; i++)
        if (!may_be_in_host(host.at[i], v6))
            return refuse(p, "servers: the host of %s has a character that no host has", p->quoted);
    e->host = host;
    return MEND_OK;
}

static mend_status read_v6(struct parse *p, struct element *e, struct slice address)
{
    size_t close = find(address, 1, "]");
    if (close == address.len)
        return refuse(p, "servers: the bracket of %s is not closed", p->quoted);

    struct slice host = {address.at + 1, close - 1};
    struct slice after = skip(address, close + 1);
    if (find(host, 0, ":") == host.len)
        return refuse(p, "servers: there is no IPv6 address in the brackets of %s", p->quoted);
    if (after.len && after.at[0] != ':')
        return refuse(p, "servers: only a port may follow the brackets of %s", p->quoted);
    mend_status status = read_host(p, e, host, true);
    return status == MEND_OK && after.len ? read_port(p, e, skip(after, 1)) : status;
}

static mend_status read_name(struct parse *p, struct element *e, struct slice address)
{
    size_t colon = find(address, 0, ":");
    struct slice host = {address.at, colon};
    if (colon == address.len)
        return read_host(p, e, host, false);

    struct slice port = skip(address, colon + 1);
    if (has_scheme(host, port) && e->is_tls)
        return refuse(p, "servers: %s has a scheme behind tls://", p->quoted);
    if (has_scheme(host, port))
        return refuse(p, "servers: %s has the scheme %.*s:, and only unix: and tls:// are known", p->quoted, colon < 32 ? (int)colon : 32, p->quoted + 1);
    if (find(port, 0, ":") < port.len)
        return refuse(p, "servers: %s has more than one colon (an IPv6 address is written [::1], a weight *2)", p->quoted);
    mend_status status = read_host(p, e, host, false);
    return status == MEND_OK ? read_port(p, e, port) : status;
}

static mend_status read_address(struct parse *p, struct element *e, struct slice address)
{
    if (begins(address, "unix:"))
        return read_path(p, e, skip(address, strlen("unix:")));
    if (begins(address, "/"))
        return read_path(p, e, address);
    e->is_tls = begins(address, "tls://");
    if (e->is_tls)
        address = skip(address, strlen("tls://"));
    return begins(address, "[") ? read_v6(p, e, address) : read_name(p, e, address);
}

static mend_status read_weight(struct parse *p, struct element *e, struct slice weight)
{
    if (e->weight)
        return refuse(p, "servers: %s has two weights", p->quoted);
    e->weight = number(weight, SERVERS_WEIGHT_MAX);
    return e->weight ? MEND_OK : refuse(p, "servers: the weight of %s is not between 1 and %d", p->quoted, SERVERS_WEIGHT_MAX);
}

static mend_status read_ring(struct parse *p, struct element *e, struct slice ring)
{
    if (e->ring.len)
        return refuse(p, "servers: %s has two ring names", p->quoted);
    if (!ring.len)
        return refuse(p, "servers: the ring name of %s is empty", p->quoted);
    if (ring.len > SERVERS_RING_NAME_MAX)
        return refuse(p, "servers: the ring name of %s is longer than %d bytes", p->quoted, SERVERS_RING_NAME_MAX);
    if (has_gap(ring))
        return refuse(p, "servers: the ring name of %s has white space or a control character in it", p->quoted);
    e->ring = ring;
    return MEND_OK;
}

static mend_status read_element(struct parse *p, struct element *e, struct slice s)
{
    size_t mark = find(s, 0, "*=");
    mend_status status = read_address(p, e, trim((struct slice){s.at, mark}));
    while (status == MEND_OK && mark < s.len) {
        size_t end = find(s, mark + 1, "*=");
        struct slice said = trim((struct slice){s.at + mark + 1, end - mark - 1});
        status = s.at[mark] == '*' ? read_weight(p, e, said) : read_ring(p, e, said);
        mark = end;
    }
    return status;
}

/* ---- The table --------------------------------------------------------------- */

static char *copy(char *to, struct slice s)
{
    memcpy(to, s.at, s.len);
    to[s.len] = '\0';
    return to;
}

static void write_name(char *to, size_t size, const struct server_spec *spec)
{
    const char *scheme = spec->is_tls ? "tls://" : "";

    if (spec->is_unix)
        snprintf(to, size, "unix:%s", spec->host);
    else if (strchr(spec->host, ':'))
        snprintf(to, size, "%s[%s]:%u", scheme, spec->host, spec->port);
    else
        snprintf(to, size, "%s%s:%u", scheme, spec->host, spec->port);
}

/* Its texts lie in one block, which begins with the name. */
static size_t text_bytes(const struct server_spec *spec)
{
    size_t certified = spec->certified ? strlen(spec->certified) + 1 : 0;
    return strlen(spec->name) + 1 + strlen(spec->host) + 1 + strlen(spec->ring_host) + 1 + certified;
}

static void copy_texts(struct server_spec *to, const struct server_spec *from, char *block)
{
    size_t name_size = strlen(from->name) + 1, host_size = strlen(from->host) + 1;

    *to = *from;
    to->name = strcpy(block, from->name);
    to->host = strcpy(block + name_size, from->host);
    to->ring_host = strcpy(block + name_size + host_size, from->ring_host);
    if (from->certified)
        to->certified = strcpy(block + name_size + host_size + strlen(from->ring_host) + 1, from->certified);
}

/* Fills in the next row of the table. */
static struct server_spec *make_spec(struct servers *servers, const struct element *e)
{
    struct slice ring = e->ring.len ? e->ring : e->host;
    size_t name_size = e->host.len + sizeof "tls://[]:65535";
    char *name = memory_allocate(&servers->memory, name_size + e->host.len + 1 + ring.len + 1);
    if (!name)
        return NULL;

    struct server_spec *spec = &servers->at[servers->count++];
    spec->name = name;
    spec->host = copy(name + name_size, e->host);
    spec->port = (uint16_t)(e->is_unix ? 0 : e->port ? e->port : PORT_UNSAID);
    spec->is_unix = e->is_unix;
    spec->is_tls = e->is_tls;
    spec->ring_host = copy(name + name_size + e->host.len + 1, ring);
    spec->ring_port = e->ring.len ? 0 : spec->port;
    spec->weight = 0;
    spec->certified = NULL;
    write_name(name, name_size, spec);
    return spec;
}

static void drop_last(struct servers *servers)
{
    memory_release(&servers->memory, (char *)servers->at[--servers->count].name);
}

bool servers_same(const struct server_spec *a, const struct server_spec *b) /* port 0 is a Unix socket */
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Whether rings hash the same text for both. That of the server a:5 is that of a ring name "a:5", too. */
static bool same_ring(const struct server_spec *a, const struct server_spec *b)
{
    unsigned a_port = a->ring_port == PORT_UNSAID ? 0 : a->ring_port;
    unsigned b_port = b->ring_port == PORT_UNSAID ? 0 : b->ring_port;
    if (a_port == b_port)
        return strcmp(a->ring_host, b->ring_host) == 0;
    if (a_port && b_port)
        return false;
    if (b_port)
        return same_ring(b, a);

    size_t n = strlen(a->ring_host);
    char port[sizeof ":65535"];
    snprintf(port, sizeof port, ":%u", a_port);
    return strncmp(a->ring_host, b->ring_host, n) == 0 && strcmp(b->ring_host + n, port) == 0;
}

static bool add_weight(struct servers *servers, size_t index, unsigned weight)
{
    unsigned *slots = memory_resize(&servers->memory, servers->slots, (servers->slot_count + weight) * sizeof *slots);
    if (!slots)
        return false;
    servers->slots = slots;
    servers->at[index].weight += weight;
    for (unsigned i = 0; i < weight; i++)
        slots[servers->slot_count++] = (unsigned)index;
    return true;
}

/* Two servers of one ring name would share their points, and one of them get no keys. */
static mend_status add(struct parse *p, const struct element *e)
{
    struct servers *servers = p->out;
    const struct server_spec *made = make_spec(servers, e);
    if (!made)
        return no_memory(p);

    size_t index = 0, last = servers->count - 1;
    while (!servers_same(&servers->at[index], made)) /* it finds itself at the latest */
        index++;
    for (size_t i = 0; i < last; i++) {
        bool same = same_ring(&servers->at[i], made);
        if (i == index && servers->at[i].is_tls != made->is_tls)
            return refuse(p, "servers: %s was named before %s tls://", p->quoted, made->is_tls ? "without" : "with");
        if (i == index && !same)
            return refuse(p, "servers: %s was named before with another ring name, or with none", p->quoted);
        if (i != index && same)
            return refuse(p, "servers: the ring name of %s is that of %s", p->quoted, servers->at[i].name);
    }
    if (index < last)
        drop_last(servers);
    return add_weight(servers, index, e->weight ? e->weight : 1) ? MEND_OK : no_memory(p);
}

static size_t count_elements(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == ',';
    return n;
}

static mend_status parse(struct parse *p, const char *text)
{
    size_t elements = count_elements(text);
    if (elements > SERVERS_MAX)
        return refuse(p, "servers: there are more than %d", SERVERS_MAX);
    p->out->at = memory_zeroed(&p->out->memory, elements, sizeof *p->out->at);
    if (!p->out->at)
        return no_memory(p);

    for (size_t i = 1; i <= elements; i++) {
        struct slice s = {text, strcspn(text, ",")};
        struct element e = {0};
        text += s.len + 1;
        s = trim(s);
        quote(p, s);
        if (!s.len)
            return refuse(p, "servers: number %zu of the list, %s, is empty", i, p->quoted);
        mend_status status = read_element(p, &e, s);
        if (status == MEND_OK)
            status = add(p, &e);
        if (status != MEND_OK)
            return status;
    }
    return MEND_OK;
}

mend_status servers_parse(struct servers *out, const char *text, const struct memory *memory, char *error, size_t error_size)
{
    struct parse p = {.out = out, .error = error, .error_size = error_size};
    *out = (struct servers){.memory = *memory};

    bool blank = !text || !text[strspn(text, " \t\n\v\f\r")];
    mend_status status = blank ? refuse(&p, "servers: none is given") : parse(&p, text);
    if (status != MEND_OK)
        servers_free(out);
    return status;
}

struct server_spec *servers_copy_one(const struct server_spec *from, const struct memory *memory)
{
    struct server_spec *to = memory_allocate(memory, sizeof *to + text_bytes(from));

    if (to)
        copy_texts(to, from, (char *)(to + 1));
    return to;
}

bool servers_copy(struct servers *out, const struct servers *from, const struct memory *memory)
{
    *out = (struct servers){.memory = *memory};
    out->at = memory_zeroed(memory, from->count, sizeof *out->at);
    out->slots = memory_zeroed(memory, from->slot_count, sizeof *out->slots);
    bool whole = out->at && out->slots;
    while (whole && out->count < from->count) {
        const struct server_spec *spec = &from->at[out->count];
        char                     *block = memory_allocate(memory, text_bytes(spec));
        whole = block != NULL;
        if (block)
            copy_texts(&out->at[out->count++], spec, block);
    }
    if (!whole) {
        servers_free(out);
        return false;
    }
    if (from->slot_count)
        memcpy(out->slots, from->slots, from->slot_count * sizeof *out->slots);
    out->slot_count = from->slot_count;
    return true;
}

bool servers_certify(struct servers *servers, const char *name, const char *host)
{
    for (size_t i = 0; i < servers->count; i++) {
        struct server_spec *spec = &servers->at[i], certified = *spec;
        if (strcmp(spec->name, name) != 0)
            continue;
        certified.certified = host;
        char *block = memory_allocate(&servers->memory, text_bytes(&certified));
        if (!block)
            return false;
        char *before = (char *)(uintptr_t)spec->name;
        copy_texts(spec, &certified, block);
        memory_release(&servers->memory, before);
    }
    return true;
}

bool servers_want_tls(const struct servers *servers)
{
    for (size_t i = 0; i < servers->count; i++)
        if (servers->at[i].is_tls)
            return true;
    return false;
}

void servers_free(struct servers *servers)
{
    while (servers->count)
        drop_last(servers);
    memory_release(&servers->memory, servers->at);
    memory_release(&servers->memory, servers->slots);
    *servers = (struct servers){.memory = servers->memory};
}
