/* toy.c - see toy.h. */
#include "support/toy.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    char     key[256];
    size_t   key_length;
    char    *value;
    size_t   length;
    uint32_t flags;
    uint64_t cas;
    int64_t  expires_s; /* 0: never */
    bool     stale, won; /* by md I; somebody was told to load it */
};

struct toy {
    struct item *item;
    size_t       items, room;
    uint64_t     cas;
    int64_t      now_s;
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

bool toy_is(const struct toy_ask *ask, const char *commands)
{
    return ask->words > 0 && one_of(ask->word[0], commands);
}

/* Where the flags of a meta request begin. */
static int flags_at(const struct toy_ask *ask)
{
    return toy_is(ask, "ms") ? 3 : 2;
}

const char *toy_flag(const struct toy_ask *ask, char flag)
{
    for (int i = flags_at(ask); ask->meta && i < ask->words; i++)
        if (ask->word[i][0] == flag)
            return ask->word[i] + 1;
    return NULL;
}

/* ---- The memory --------------------------------------------------------------------------- */
static struct item *find(const struct toy *t, const char *key, size_t length)
{
    for (size_t i = 0; i < t->items; i++)
        if (t->item[i].key_length == length && memcmp(t->item[i].key, key, length) == 0)
            return &t->item[i];
    return NULL;
}

static struct item *new_item(struct toy *t)
{
    if (t->items == t->room) {
        t->room = t->room ? t->room * 2 : 16;
        t->item = realloc(t->item, t->room * sizeof *t->item);
        memset(t->item + t->items, 0, (t->room - t->items) * sizeof *t->item);
    }
    return &t->item[t->items++];
}

static struct item *store(struct toy *t, const char *key, size_t key_length, const char *value, size_t length, uint32_t flags)
{
    struct item *item = find(t, key, key_length);
    if (!item)
        item = new_item(t);
    char *copy = malloc(length + 1);
    memcpy(copy, value, length);
    copy[length] = 0;
    free(item->value);
    memcpy(item->key, key, key_length);
    item->key_length = key_length;
    item->value = copy;
    item->length = length;
    item->flags = flags;
    item->cas = ++t->cas;
    item->expires_s = 0;
    item->stale = item->won = false;
    return item;
}

static void forget(struct toy *t, struct item *item)
{
    free(item->value);
    *item = t->item[--t->items];
    t->item[t->items] = (struct item){0};
}

void toy_forget_all(struct toy *t)
{
    while (t->items)
        forget(t, &t->item[0]);
}

void toy_time(struct toy *t, int64_t now_s)
{
    if (t->now_s == now_s)
        return;
    t->now_s = now_s;
    for (size_t i = t->items; i-- > 0;)
        if (t->item[i].expires_s && t->item[i].expires_s <= now_s)
            forget(t, &t->item[i]);
}

/* When what has this ttl is gone. Unix times, over 30 days, are far off. */
static int64_t expiry(const struct toy *t, const char *ttl)
{
    int64_t s = ttl ? strtoll(ttl, NULL, 10) : 0;
    return s <= 0 || s > 2592000 ? 0 : t->now_s + s;
}

static int64_t left_s(const struct toy *t, const struct item *item)
{
    return item->expires_s ? item->expires_s - t->now_s : -1;
}

/* memcached's default, and as it does: what was there before is gone. */
static bool too_large(struct toy_ask *ask)
{
    if (ask->body_length < 1 << 20)
        return false;
    struct item *item = find(ask->toy, ask->key, ask->key_length);
    if (item)
        forget(ask->toy, item);
    return true;
}

/* Stores as the command says: add, replace, append, prepend, cas, else set. NULL: it
 * would not, and *status is one of "NS" "EX" "NF". */
static struct item *store_as(struct toy_ask *ask, char mode, uint64_t cas, uint32_t flags, const char *ttl, const char **status)
{
    struct toy  *t = ask->toy;
    struct item *item = find(t, ask->key, ask->key_length);
    *status = cas && !item ? "NF" : cas && item->cas != cas ? "EX" : "NS";
    if ((cas && (!item || item->cas != cas)) || (mode == 'E' && item) || (strchr("RAP", mode) && !item))
        return NULL;
    *status = "HD";
    if (mode != 'A' && mode != 'P') {
        item = store(t, ask->key, ask->key_length, ask->body, ask->body_length, flags);
        item->expires_s = expiry(t, ttl);
        return item;
    }

    int64_t expires_s = item->expires_s;
    size_t n = item->length + ask->body_length;
    char  *both = malloc(n + 1);
    memcpy(both + (mode == 'P' ? ask->body_length : 0), item->value, item->length);
    memcpy(both + (mode == 'P' ? 0 : item->length), ask->body, ask->body_length);
    item = store(t, ask->key, ask->key_length, both, n, item->flags);
    item->expires_s = expires_s;
    free(both);
    return item;
}

static bool numeric(const struct item *item)
{
    return item->length && strspn(item->value, "0123456789") == item->length;
}

static void count_by(struct toy *t, struct item *item, bool down, uint64_t delta)
{
    uint64_t was = strtoull(item->value, NULL, 10);
    char     text[32];
    int      n = snprintf(text, sizeof text, "%llu", (unsigned long long)(!down ? was + delta : was < delta ? 0 : was - delta));
    int64_t  expires_s = item->expires_s;
    store(t, item->key, item->key_length, text, (size_t)n, item->flags)->expires_s = expires_s;
}

/* ---- What is proper ------------------------------------------------------------------------------ */
static void add(struct toy_ask *ask, const char *bytes, size_t n)
{
    if (ask->room < ask->length + n + 1) {
        ask->room = 2 * (ask->length + n + 1);
        ask->answer = realloc(ask->answer, ask->room);
    }
    memcpy(ask->answer + ask->length, bytes, n);
    ask->length += n;
    ask->answer[ask->length] = 0;
}

static void addf(struct toy_ask *ask, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void addf(struct toy_ask *ask, const char *format, ...)
{
    char    text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add(ask, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* The flags of a meta answer, in the order of the request; those of an item only if there is one. */
static void add_flags(struct toy_ask *ask, const struct item *item)
{
    for (int i = flags_at(ask); i < ask->words; i++) {
        switch (ask->word[i][0]) {
        case 'O':
            addf(ask, " O%s", ask->said_opaque ? ask->said_opaque : ask->word[i] + 1);
            break;
        case 'k':
            addf(ask, " k%s%s", ask->said_key ? ask->said_key : ask->word[1], toy_flag(ask, 'b') ? " b" : "");
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
                addf(ask, " t%lld", (long long)left_s(ask->toy, item));
            break;
        case 's':
            if (item)
                addf(ask, " s%zu", item->length);
            break;
        }
    }
    addf(ask, "%s\r\n", ask->lease);
}

void toy_echo(const struct toy_ask *ask, char *out, size_t room)
{
    size_t at = 0;
    *out = 0;
    for (int i = flags_at(ask); ask->meta && i < ask->words && at < room; i++) {
        if (ask->word[i][0] == 'O')
            at += (size_t)snprintf(out + at, room - at, " %s", ask->word[i]);
        if (ask->word[i][0] == 'k')
            at += (size_t)snprintf(out + at, room - at, " k%s%s", ask->word[1], toy_flag(ask, 'b') ? " b" : "");
    }
}

static void meta_answer(struct toy_ask *ask, enum toy_dialect dialect, const char *status, const struct item *item)
{
    const char *done = dialect == TOY_OLD ? "OK" : "HD";
    bool        quiet = toy_flag(ask, 'q') && strcmp(status, toy_is(ask, "mg") ? "EN" : "HD") == 0;
    if (quiet)
        return;
    if (item && toy_is(ask, "mg ma") && toy_flag(ask, 'v')) {
        addf(ask, "VA %zu", item->length);
        add_flags(ask, item);
        add(ask, item->value, item->length);
        addf(ask, "\r\n");
        return;
    }
    addf(ask, "%s", strcmp(status, "HD") == 0 ? done : status);
    add_flags(ask, item);
}

static void meta_count(struct toy_ask *ask, enum toy_dialect dialect)
{
    struct toy  *t = ask->toy;
    struct item *item = find(t, ask->key, ask->key_length);
    const char  *initial = toy_flag(ask, 'J'), *delta = toy_flag(ask, 'D'), *mode = toy_flag(ask, 'M');
    if (!item && toy_flag(ask, 'N')) {
        item = store(t, ask->key, ask->key_length, initial ? initial : "0", strlen(initial ? initial : "0"), 0);
        item->expires_s = expiry(t, toy_flag(ask, 'N'));
    } else if (item && !numeric(item)) {
        addf(ask, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        return;
    } else if (item) {
        count_by(t, item, mode && strchr("Dd-", *mode), delta ? strtoull(delta, NULL, 10) : 1);
    }
    meta_answer(ask, dialect, item ? "HD" : "NF", item);
}

/* A get, with what memcached says of leases. */
static void meta_get(struct toy_ask *ask, enum toy_dialect dialect, struct item *item)
{
    struct toy *t = ask->toy;
    const char *lease = toy_flag(ask, 'N'), *refresh = toy_flag(ask, 'R');

    if (!item && lease && *lease) {
        item = store(t, ask->key, ask->key_length, "", 0, 0);
        item->expires_s = expiry(t, lease);
        item->won = true;
        ask->lease = " W";
    } else if (item) {
        bool due = item->stale || (refresh && item->expires_s && left_s(t, item) < strtoll(refresh, NULL, 10));
        ask->lease = item->won ? item->stale ? " Z X" : " Z" : !due ? "" : item->stale ? " X W" : " W";
        item->won |= due;
        if (toy_flag(ask, 'T'))
            item->expires_s = expiry(t, toy_flag(ask, 'T'));
    }
    if (!item && dialect != TOY_META)
        addf(ask, "EN\r\n"); /* no flags with EN before 1.6.18 */
    else
        meta_answer(ask, dialect, item ? "HD" : "EN", item);
}

static void meta_delete(struct toy_ask *ask, enum toy_dialect dialect, struct item *item)
{
    const char *cas = toy_flag(ask, 'C'), *ttl = toy_flag(ask, 'T');

    if (item && cas && strtoull(cas, NULL, 10) != item->cas) {
        meta_answer(ask, dialect, "EX", NULL);
        return;
    }
    meta_answer(ask, dialect, item ? "HD" : "NF", NULL);
    if (item && !toy_flag(ask, 'I')) {
        forget(ask->toy, item);
    } else if (item) {
        item->stale = true;
        item->won = false;
        item->cas = ++ask->toy->cas;
        item->expires_s = ttl ? expiry(ask->toy, ttl) : item->expires_s;
    }
}

static void meta(struct toy_ask *ask, enum toy_dialect dialect)
{
    struct toy  *t = ask->toy;
    struct item *item = find(t, ask->key, ask->key_length);
    const char  *flag, *status = "HD";

    if (toy_is(ask, "mn")) {
        addf(ask, "MN\r\n");
    } else if (toy_flag(ask, 'b') && dialect == TOY_OLD) {
        addf(ask, "CLIENT_ERROR invalid flag\r\n");
    } else if (toy_is(ask, "mg")) {
        meta_get(ask, dialect, item);
    } else if (toy_is(ask, "ms") && too_large(ask)) {
        addf(ask, "SERVER_ERROR object too large for cache\r\n");
    } else if (toy_is(ask, "ms")) {
        uint64_t cas = (flag = toy_flag(ask, 'C')) ? strtoull(flag, NULL, 10) : 0;
        uint32_t flags = (flag = toy_flag(ask, 'F')) ? (uint32_t)strtoul(flag, NULL, 10) : 0;
        char     mode = (flag = toy_flag(ask, 'M')) && *flag ? *flag : 'S';
        item = store_as(ask, mode, cas, flags, toy_flag(ask, 'T'), &status);
        meta_answer(ask, dialect, status, item);
    } else if (toy_is(ask, "md")) {
        meta_delete(ask, dialect, item);
    } else if (toy_is(ask, "ma")) {
        meta_count(ask, dialect);
    } else {
        addf(ask, "ERROR\r\n");
    }
}

static void classic_get(struct toy_ask *ask, int first)
{
    bool cas = toy_is(ask, "gets gats");
    for (int i = first; i < ask->words; i++) {
        struct item *item = find(ask->toy, ask->word[i], strlen(ask->word[i]));
        if (!item)
            continue;
        if (first == 2)
            item->expires_s = expiry(ask->toy, ask->word[1]);
        addf(ask, "VALUE %s %u %zu", ask->said_key ? ask->said_key : ask->word[i], item->flags, item->length);
        if (cas)
            addf(ask, " %llu", (unsigned long long)item->cas);
        addf(ask, "\r\n");
        add(ask, item->value, item->length);
        addf(ask, "\r\n");
    }
    addf(ask, "END\r\n");
}

static void classic_store(struct toy_ask *ask)
{
    static const struct { const char *command, mode; } modes[] = {{"add", 'E'}, {"replace", 'R'}, {"append", 'A'}, {"prepend", 'P'}};
    char        mode = 'S';
    uint64_t    cas = toy_is(ask, "cas") ? strtoull(ask->word[5], NULL, 10) : 0;
    const char *status;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(ask->word[0], modes[i].command) == 0)
            mode = modes[i].mode;
    store_as(ask, mode, cas, (uint32_t)strtoul(ask->word[2], NULL, 10), ask->word[3], &status);
    addf(ask, "%s\r\n", strcmp(status, "HD") == 0 ? "STORED" : strcmp(status, "EX") == 0 ? "EXISTS" : strcmp(status, "NF") == 0 ? "NOT_FOUND" : "NOT_STORED");
}

static void classic(struct toy_ask *ask)
{
    struct toy  *t = ask->toy;
    struct item *item = find(t, ask->key, ask->key_length);

    if (ask->body && too_large(ask)) {
        addf(ask, "SERVER_ERROR object too large for cache\r\n");
    } else if (toy_is(ask, "get gets")) {
        classic_get(ask, 1);
    } else if (toy_is(ask, "gat gats")) {
        classic_get(ask, 2);
    } else if (toy_is(ask, "set add replace append prepend cas")) {
        classic_store(ask);
    } else if (toy_is(ask, "delete")) {
        if (item)
            forget(t, item);
        addf(ask, item ? "DELETED\r\n" : "NOT_FOUND\r\n");
    } else if (toy_is(ask, "touch")) {
        if (item)
            item->expires_s = expiry(t, ask->word[2]);
        addf(ask, item ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
    } else if (toy_is(ask, "incr decr") && !item) {
        addf(ask, "NOT_FOUND\r\n");
    } else if (toy_is(ask, "incr decr") && !numeric(item)) {
        addf(ask, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    } else if (toy_is(ask, "incr decr")) {
        count_by(t, item, toy_is(ask, "decr"), strtoull(ask->word[2], NULL, 10));
        addf(ask, "%s\r\n", item->value);
    } else if (toy_is(ask, "flush_all")) {
        toy_forget_all(t);
        addf(ask, "OK\r\n");
    } else if (toy_is(ask, "version")) {
        addf(ask, "VERSION 1.6.18\r\n");
    } else {
        addf(ask, "ERROR\r\n");
    }
}

/* ---- Its life --------------------------------------------------------------------------- */
struct toy *toy_new(void)
{
    return calloc(1, sizeof(struct toy));
}

void toy_free(struct toy *t)
{
    if (!t)
        return;
    toy_forget_all(t);
    free(t->item);
    free(t);
}

void toy_put(struct toy *t, const char *key, const char *value)
{
    store(t, key, strlen(key), value, strlen(value), 0);
}

const char *toy_get(const struct toy *t, const char *key, size_t key_length, size_t *length)
{
    const struct item *item = find(t, key, key_length);
    if (item)
        *length = item->length;
    return item ? item->value : NULL;
}

int64_t toy_left_s(const struct toy *t, const char *key, size_t key_length)
{
    const struct item *item = find(t, key, key_length);
    return item ? left_s(t, item) : -1;
}

bool toy_stale(const struct toy *t, const char *key, size_t key_length)
{
    const struct item *item = find(t, key, key_length);
    return item && item->stale;
}

/* ---- Requests --------------------------------------------------------------------------- */
static void read_key(struct toy_ask *ask)
{
    const char *key = ask->words > 1 ? ask->word[toy_is(ask, "gat gats") && ask->words > 2 ? 2 : 1] : "";
    if (toy_flag(ask, 'b')) {
        ask->key_length = base64_decode(key, ask->key, sizeof ask->key);
    } else {
        ask->key_length = strlen(key) < sizeof ask->key ? strlen(key) : sizeof ask->key - 1;
        memcpy(ask->key, key, ask->key_length);
    }
    ask->key[ask->key_length < sizeof ask->key ? ask->key_length : sizeof ask->key - 1] = 0;
}

size_t toy_parse(struct toy_ask *ask, struct toy *t, enum toy_dialect dialect, const char *bytes, size_t n)
{
    const char *end = n ? memchr(bytes, '\n', n) : NULL;
    if (!end)
        return n >= TOY_LINE_MAX ? TOY_NONSENSE : 0;
    size_t length = (size_t)(end - bytes) + 1;
    if (length > TOY_LINE_MAX)
        return TOY_NONSENSE;
    ask->toy = t;
    ask->words = 0;
    ask->body = ask->said_key = ask->said_opaque = NULL;
    ask->body_length = 0;
    memcpy(ask->line, bytes, length);
    ask->line[length - 1] = 0;

    char *next = NULL;
    for (char *word = strtok_r(ask->line, " \r", &next); word && ask->words < TOY_WORDS; word = strtok_r(NULL, " \r", &next))
        ask->word[ask->words++] = word;
    ask->meta = toy_is(ask, "mg ms md ma mn me");
    read_key(ask);

    bool meta_body = toy_is(ask, "ms") && ask->words > 2;
    bool body = meta_body ? dialect != TOY_CLASSIC : toy_is(ask, "set add replace append prepend cas") && ask->words > 4;
    if (!body)
        return length;
    const char *size = ask->word[meta_body ? 2 : 4];
    ask->body_length = strtoul(*size == 'S' ? size + 1 : size, NULL, 10);
    if (ask->body_length > TOY_BODY_MAX)
        return TOY_NONSENSE;
    if (n < length + ask->body_length + 2)
        return 0;
    ask->body = bytes + length;
    return length + ask->body_length + 2;
}

void toy_answer(struct toy_ask *ask, enum toy_dialect dialect)
{
    ask->length = 0;
    ask->lease = "";
    add(ask, "", 0);
    if (!ask->meta)
        classic(ask);
    else if (dialect == TOY_CLASSIC)
        addf(ask, "ERROR\r\n");
    else
        meta(ask, dialect);
}

void toy_done(struct toy_ask *ask)
{
    free(ask->answer);
    ask->answer = NULL;
    ask->room = 0;
}
