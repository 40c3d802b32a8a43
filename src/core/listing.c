/* listing.c - see listing.h. */
#include "core/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const schemes[] = {[SOURCE_DNS] = "dns://", [SOURCE_CLUSTER] = "cluster://"};

/* ---- Sources, as they are written ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The length of a source's scheme; 0: the element is none's. */
static size_t read_scheme(const char *element, enum source_kind *kind, bool *is_tls)
{
    static const char over_tls[] = "tls+";
    size_t            before = strncmp(element, over_tls, sizeof over_tls - 1) == 0 ? sizeof over_tls - 1 : 0;

    *is_tls = before > 0;
    for (*kind = SOURCE_DNS; *kind <= SOURCE_CLUSTER; ++*kind)
        if (strncmp(element + before, schemes[*kind], strlen(schemes[*kind])) == 0)
            return before + strlen(schemes[*kind]);
    return 0;
}

static mend_status no_memory(char *error, size_t error_size)
{
    snprintf(error, error_size, "servers: out of memory");
    return MEND_E_MEMORY;
}

/* What is behind the scheme is written as a server is, but without a ring name: each that is found has its own. */
static mend_status read_source(struct source_spec *s, const char *element, size_t length, const struct memory *memory, char *error, size_t error_size)
{
    char             text[SERVERS_HOST_MAX + 64], server[sizeof text], why[200] = "";
    struct servers   one;
    enum source_kind kind;
    bool             is_tls;
    size_t           scheme = read_scheme(element, &kind, &is_tls);

    if (length >= sizeof text) {
        snprintf(error, error_size, "servers: the host of %.40s... is too long", element);
        return MEND_E_ARGUMENT;
    }
    snprintf(text, sizeof text, "%.*s", (int)length, element);
    snprintf(server, sizeof server, "%s%s", is_tls ? "tls://" : "", text + scheme);
    mend_status status = servers_parse(&one, server, memory, why, sizeof why);
    if (status == MEND_E_MEMORY)
        return no_memory(error, error_size);
    if (status == MEND_OK && !is_tls && one.at->is_tls)
        snprintf(why, sizeof why, "servers: with TLS it is written tls+%s", schemes[kind]);
    else if (status == MEND_OK && one.at->is_unix)
        snprintf(why, sizeof why, "servers: a path has no addresses");
    else if (status == MEND_OK && strchr(text, '='))
        snprintf(why, sizeof why, "servers: a ring name is one server's, and this stands for several");
    if (!why[0] && !(s->at = servers_copy_one(one.at, memory)))
        status = no_memory(error, error_size);
    servers_free(&one);
    if (!why[0])
        return status;
    snprintf(error, error_size, "servers: %.80s: %s", text, why + strlen("servers: "));
    return MEND_E_ARGUMENT;
}

static mend_status add_source(struct listing *l, enum source_kind kind, size_t begin, size_t end, char *error, size_t error_size)
{
    if (l->source_count == SOURCES_MAX) {
        snprintf(error, error_size, "servers: there are more than %d dns:// and cluster://", SOURCES_MAX);
        return MEND_E_ARGUMENT;
    }
    struct source_spec *s = &l->sources[l->source_count];
    *s = (struct source_spec){.kind = kind, .begin = begin, .end = end};
    mend_status status = read_source(s, l->text + begin, end - begin, &l->memory, error, error_size);
    if (status)
        return status;
    l->source_count++;
    for (size_t i = 0; i + 1 < l->source_count; i++)
        if (l->sources[i].kind == kind && servers_same(l->sources[i].at, s->at)) {
            snprintf(error, error_size, "servers: %.*s is named twice", end - begin < 100 ? (int)(end - begin) : 100, l->text + begin);
            return MEND_E_ARGUMENT;
        }
    return MEND_OK;
}

static mend_status read_sources(struct listing *l, char *error, size_t error_size)
{
    size_t element = 0, blank = 0;

    for (size_t at = 0, end;; at = end + 1) {
        enum source_kind kind;
        bool             is_tls;
        size_t           begin = at;
        end = at + strcspn(l->text + at, ",");
        while (begin < end && is_space(l->text[begin]))
            begin++;
        element++;
        if (begin == end && !blank)
            blank = element;
        if (read_scheme(l->text + begin, &kind, &is_tls)) {
            mend_status status = add_source(l, kind, begin, end, error, error_size);
            if (status)
                return status;
        }
        if (!l->text[end])
            break;
    }
    if (!l->source_count || !blank)
        return MEND_OK; /* without sources it is servers_parse that says so */
    snprintf(error, error_size, "servers: number %zu of the list, \"\", is empty", blank);
    return MEND_E_ARGUMENT;
}

bool source_same(const struct source_spec *a, const struct source_spec *b)
{
    return a->kind == b->kind && strcmp(a->at->name, b->at->name) == 0;
}

bool source_has_news(const struct source_spec *s, const char *answer, uint64_t version, bool all_down, nstime *doubted, nstime now)
{
    bool same = s->answer && strcmp(s->answer, answer) == 0;

    if (s->kind == SOURCE_DNS || !s->answer)
        return !same;
    if (version > s->version || (same && version == s->version)) {
        *doubted = NEVER;
        return version > s->version;
    }
    if (*doubted == NEVER)
        *doubted = now;
    if (!all_down && now - *doubted < MS(CLUSTER_DOUBT_MS))
        return false;
    *doubted = NEVER;
    return true;
}

/* ---- What they stand for ---- */

/* The servers of an answer, each with the source's weight and TLS. */
static bool add_answer(struct buf *b, const struct source_spec *s)
{
    char        weight[16];
    int         digits = snprintf(weight, sizeof weight, "*%u", s->at->weight);
    const char *scheme = s->at->is_tls ? "tls://" : "";

    for (const char *at = s->answer; *at;) {
        size_t n = strcspn(at, ",");
        if ((b->len && !buf_add(b, ",", 1)) || !buf_add(b, scheme, strlen(scheme)) || !buf_add(b, at, n) || !buf_add(b, weight, (size_t)digits))
            return false;
        at += n + (at[n] == ',');
    }
    return true;
}

/* The list, with answers in place of sources. */
static bool expand(const struct listing *l, struct buf *b)
{
    const struct source_spec *s = l->sources;

    for (size_t at = 0, end;; at = end + 1) {
        end = at + strcspn(l->text + at, ",");
        if (s < l->sources + l->source_count && s->end == end) {
            if (s->answer && !add_answer(b, s))
                return false;
            s++;
        } else if ((b->len && !buf_add(b, ",", 1)) || !buf_add(b, l->text + at, end - at))
            return false;
        if (!l->text[end])
            return buf_add(b, "", 1);
    }
}

/* Nobody has certificates for the addresses of a pod: those that a name stands for have them for the name. */
static bool certify(struct listing *l)
{
    for (const struct source_spec *s = l->sources; s < l->sources + l->source_count; s++) {
        if (s->kind != SOURCE_DNS || !s->at->is_tls || !s->answer)
            continue;
        char name[sizeof "tls://[%]:65535" + SERVERS_HOST_MAX];
        for (const char *at = s->answer; *at;) {
            int n = (int)strcspn(at, ",");
            snprintf(name, sizeof name, "tls://%.*s", n, at);
            if (!servers_certify(&l->servers, name, s->at->host))
                return false;
            at += n + (at[n] == ',');
        }
    }
    return true;
}

static mend_status find_servers(struct listing *l, char *error, size_t error_size)
{
    struct buf  b = {.memory = &l->memory};
    mend_status status = MEND_OK;

    if (!expand(l, &b))
        status = no_memory(error, error_size);
    else if (b.data[0] || !l->source_count)
        status = servers_parse(&l->servers, b.data, &l->memory, error, error_size);
    if (status == MEND_OK && !certify(l))
        status = no_memory(error, error_size);
    buf_release(&b);
    return status;
}

/* ---- Listings ---- */

static char *copy_text(const char *text, const struct memory *memory)
{
    size_t size = text ? strlen(text) + 1 : 1;
    char  *to = memory_allocate(memory, size);

    return to ? memcpy(to, text ? text : "", size) : NULL;
}

static mend_status parse(struct listing *out, const char *text, const struct listing *before, const struct memory *memory, char *error, size_t error_size)
{
    *out = (struct listing){.memory = *memory, .servers.memory = *memory, .text = copy_text(text, memory)};
    mend_status status = out->text ? read_sources(out, error, error_size) : no_memory(error, error_size);

    for (size_t i = 0; status == MEND_OK && before && i < out->source_count; i++)
        for (size_t k = 0; k < before->source_count; k++) {
            struct source_spec       *to = &out->sources[i];
            const struct source_spec *from = &before->sources[k];
            if (!from->answer || !source_same(to, from))
                continue;
            to->version = from->version;
            if (!(to->answer = copy_text(from->answer, memory)))
                status = no_memory(error, error_size);
        }
    if (status == MEND_OK)
        status = find_servers(out, error, error_size);
    if (status)
        listing_free(out);
    return status;
}

mend_status listing_parse(struct listing *out, const char *text, const struct memory *memory, char *error, size_t error_size)
{
    return parse(out, text, NULL, memory, error, error_size);
}

mend_status listing_parse_after(struct listing *out, const char *text, const struct listing *before, char *error, size_t error_size)
{
    return parse(out, text, before, &before->memory, error, error_size);
}

mend_status listing_answered(struct listing *out, const struct listing *from, size_t source, const char *answer, uint64_t version, char *error,
                             size_t error_size)
{
    if (!listing_copy(out, from, &from->memory))
        return no_memory(error, error_size);
    struct source_spec *s = &out->sources[source];
    char          *copy = copy_text(answer, &out->memory);
    servers_free(&out->servers);
    if (copy) {
        memory_release(&out->memory, s->answer);
        s->answer = copy;
        s->version = version;
    }
    mend_status status = copy ? find_servers(out, error, error_size) : no_memory(error, error_size);
    if (status)
        listing_free(out);
    return status;
}

bool listing_copy(struct listing *out, const struct listing *from, const struct memory *memory)
{
    *out = (struct listing){.memory = *memory, .servers.memory = *memory, .text = copy_text(from->text, memory)};
    bool whole = out->text && servers_copy(&out->servers, &from->servers, memory);
    for (size_t i = 0; whole && i < from->source_count; i++) {
        const struct source_spec *s = &from->sources[i];
        struct source_spec       *to = &out->sources[out->source_count++];
        *to = *s;
        to->answer = s->answer ? copy_text(s->answer, memory) : NULL;
        to->at = servers_copy_one(s->at, memory);
        whole = to->at && (to->answer || !s->answer);
    }
    if (!whole)
        listing_free(out);
    return whole;
}

bool listing_wants_tls(const struct listing *l)
{
    for (size_t i = 0; i < l->source_count; i++)
        if (l->sources[i].at->is_tls)
            return true;
    return servers_want_tls(&l->servers);
}

void listing_free(struct listing *l)
{
    while (l->source_count) {
        struct source_spec *s = &l->sources[--l->source_count];
        memory_release(&l->memory, s->at);
        memory_release(&l->memory, s->answer);
    }
    memory_release(&l->memory, l->text);
    l->text = NULL;
    servers_free(&l->servers);
}

/* ---- Answers ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool listing_join(struct buf *answer, char **names, size_t n)
{
    bool first = true;

    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++) {
        if (i && strcmp(names[i], names[i - 1]) == 0)
            continue;
        if ((!first && !buf_add(answer, ",", 1)) || !buf_add(answer, names[i], strlen(names[i])))
            return false;
        first = false;
    }
    return buf_add(answer, "", 1);
}

enum { NODE_MORE = sizeof "[]" }; /* that a node has more, at most, as we write it */

/* What servers.c takes for more than a part of a host's name: a node is a host, and no socket's path, nor has it a scheme, a weight
 * or a ring name. */
static bool is_host(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strchr("/*=,[]", p[i]))
            return false;
    return n > 0;
}

/* "host|address|port" becomes "host:port"; without a host, "address:port". False: it is none. */
static bool write_node(char *to, const char *from, size_t length)
{
    const char *address = memchr(from, '|', length), *port = address ? memchr(address + 1, '|', length - (size_t)(address + 1 - from)) : NULL;

    if (!port)
        return false;
    size_t host = (size_t)(address - from), digits = length - (size_t)(port + 1 - from);
    if (host == 0) {
        from = address + 1;
        host = (size_t)(port - from);
    }
    bool v6 = memchr(from, ':', host) != NULL;
    sprintf(to, v6 ? "[%.*s]:%.*s" : "%.*s:%.*s", (int)host, from, (int)digits, port + 1);
    return is_host(from, host) && digits && strspn(port + 1, "0123456789") >= digits;
}

/* The lines of a configuration: a version, and nodes. They are taken apart. False: it is none, or there is no memory. */
static bool read_config(char *text, uint64_t *version, struct buf *answer, bool *memory)
{
    char  *end;
    size_t n = 0, most = 1;

    if (*text < '0' || *text > '9')
        return false;
    *version = strtoull(text, &end, 10);
    end += *end == '\r';
    if (*end++ != '\n')
        return false;
    end[strcspn(end, "\r\n")] = '\0';
    for (const char *at = end; *at; at++)
        most += *at == ' ';
    char **names = memory_zeroed(answer->memory, 1, most * (sizeof *names + NODE_MORE) + strlen(end) + 1);
    char  *to = names ? (char *)(names + most) : NULL;
    bool   good = *memory = names != NULL;
    for (const char *at = end; good && *at; at += *at == ' ') {
        size_t length = strcspn(at, " ");
        if (length) {
            names[n++] = to;
            good = write_node(to, at, length);
            to += strlen(to) + 1;
        }
        at += length;
    }
    answer->len = 0;
    if (good && n)
        good = *memory = listing_join(answer, names, n);
    memory_release(answer->memory, names);
    return good && n;
}

ptrdiff_t cluster_read(const char *p, size_t n, uint64_t *version, struct buf *answer, bool *memory)
{
    static const char head[] = "CONFIG cluster 0 ", tail[] = "\r\nEND\r\n";
    enum { DIGITS_MAX = 7, TAIL = sizeof tail - 1 };
    size_t at = sizeof head - 1, length = 0, digits = 0;

    *memory = true;
    if (memcmp(p, head, n < at ? n : at) != 0)
        return -1;
    if (n < at)
        return 0;
    for (; at < n && p[at] >= '0' && p[at] <= '9'; at++) {
        length = length * 10 + (size_t)(p[at] - '0');
        if (++digits > DIGITS_MAX)
            return -1;
    }
    while (at < n && p[at] == ' ')
        at++;
    if (n - at < 2)
        return at < n && p[at] != '\r' ? -1 : 0;
    if (!digits || p[at] != '\r' || p[at + 1] != '\n')
        return -1;
    at += 2;
    if (n - at < length + TAIL)
        return 0;
    if (memcmp(p + at + length, tail, TAIL) != 0)
        return -1;
    char *copy = memory_allocate(answer->memory, length + 1);
    *memory = copy != NULL;
    if (!copy)
        return -1;
    memcpy(copy, p + at, length);
    copy[length] = '\0';
    bool good = read_config(copy, version, answer, memory);
    memory_release(answer->memory, copy);
    return good ? (ptrdiff_t)(at + length + TAIL) : -1;
}
