/* wire.c - see wire.h. */
#include "core/wire.h"

#include <assert.h>
#include <string.h>

#include "core/key.h"

/* ---- Questions ---- */

/* What differs between the verbs, in both protocols. */
static const struct {
    const char *meta;      /* the command, and the space behind it */
    const char *meta_more; /* flags that it always has */
    const char *classic;
    bool        value, writes;
} verbs[WIRE_VERBS] = {
    [WIRE_GET] = {"mg ", " v f c t k", "gets ", false, false},
    [WIRE_GET_AND_TOUCH] = {"mg ", " v f c t k", "gats ", false, true},
    [WIRE_EXISTS] = {"mg ", " f c t k", "gets ", false, false},
    [WIRE_TOUCH] = {"mg ", " k", "touch ", false, true},
    [WIRE_SET] = {"ms ", " c", "set ", true, true},
    [WIRE_ADD] = {"ms ", " c ME", "add ", true, true},
    [WIRE_REPLACE] = {"ms ", " c MR", "replace ", true, true},
    [WIRE_APPEND] = {"ms ", " c MA", "append ", true, true},
    [WIRE_PREPEND] = {"ms ", " c MP", "prepend ", true, true},
    [WIRE_CAS] = {"ms ", " c", "cas ", true, true},
    [WIRE_DELETE] = {"md ", "", "delete ", false, true},
    [WIRE_INCREMENT] = {"ma ", " v c", "incr ", false, true},
    [WIRE_DECREMENT] = {"ma ", " v c MD", "decr ", false, true},
    [WIRE_FLUSH_ALL] = {"flush_all", "", "flush_all", false, true},
    [WIRE_PROVE] = {"mg ", " k v", "gets ", false, false},
    [WIRE_GET_MANY] = {NULL, NULL, "gets", false, false},
};

bool wire_carries_value(enum wire_verb verb)
{
    return verbs[verb].value;
}

bool wire_writes(enum wire_verb verb)
{
    return verbs[verb].writes;
}

bool wire_lists(enum wire_verb verb)
{
    return verbs[verb].classic[0] == 'g'; /* gets, gats */
}

static char *put(char *p, const char *text)
{
    size_t n = strlen(text);
    memcpy(p, text, n);
    return p + n;
}

static char *put_bytes(char *p, mend_bytes b)
{
    if (b.len)
        memcpy(p, b.data, b.len);
    return p + b.len;
}

static char *put_number(char *p, const char *before, uint64_t number)
{
    char  digits[20];
    char *d = digits + sizeof digits;

    do
        *--d = (char)('0' + number % 10);
    while (number /= 10);
    p = put(p, before);
    size_t n = (size_t)(digits + sizeof digits - d);
    memcpy(p, d, n);
    return p + n;
}

/* memcached takes a negative time for "gone already". */
static char *put_time(char *p, const char *before, int64_t exptime)
{
    return exptime < 0 ? put(put(p, before), "-1") : put_number(p, before, (uint64_t)exptime);
}

static char *put_meta(char *p, const struct wire_question *q, uint64_t opaque)
{
    p = put(p, verbs[q->verb].meta);
    if (q->verb == WIRE_FLUSH_ALL)
        return p;

    if (q->key_binary || q->verb == WIRE_PROVE) {
        char base64[KEY_BASE64_MAX + 1];
        p = put_bytes(p, mend_mem(base64, key_base64(base64, q->key)));
        if (verbs[q->verb].value)
            p = put_number(p, " ", q->value.len);
        p = put(p, " b");
    } else {
        p = put_bytes(p, q->key);
        if (verbs[q->verb].value)
            p = put_number(p, " ", q->value.len);
    }
    p = put(p, verbs[q->verb].meta_more);
    p = put_number(p, " O", opaque);

    switch (q->verb) {
    case WIRE_CAS:
        p = put_number(p, " C", q->cas);
        /* fall through */
    case WIRE_SET:
    case WIRE_ADD:
    case WIRE_REPLACE:
        if (q->flags)
            p = put_number(p, " F", q->flags);
        if (q->exptime)
            p = put_time(p, " T", q->exptime);
        break;
    case WIRE_GET_AND_TOUCH:
    case WIRE_TOUCH:
        p = put_time(p, " T", q->exptime);
        break;
    case WIRE_INCREMENT:
    case WIRE_DECREMENT:
        p = put_number(p, " D", q->delta);
        if (q->create) {
            p = put_number(p, " J", q->initial);
            p = put_time(p, " N", q->exptime);
        }
        break;
    case WIRE_GET:
    case WIRE_EXISTS:
    case WIRE_APPEND:
    case WIRE_PREPEND:
    case WIRE_DELETE:
    case WIRE_FLUSH_ALL:
    case WIRE_PROVE:
    case WIRE_GET_MANY:
    case WIRE_VERBS:
        break;
    }
    return p;
}

static char *put_classic(char *p, const struct wire_question *q)
{
    p = put(p, verbs[q->verb].classic);
    if (q->verb == WIRE_FLUSH_ALL)
        return p;
    if (q->verb == WIRE_GET_AND_TOUCH)
        p = put(put_time(p, "", q->exptime), " ");
    p = put_bytes(p, q->key);

    if (verbs[q->verb].value) {
        bool keeps = q->verb == WIRE_APPEND || q->verb == WIRE_PREPEND;
        p = put_number(p, " ", keeps ? 0 : q->flags);
        p = put_time(p, " ", keeps ? 0 : q->exptime);
        p = put_number(p, " ", q->value.len);
        if (q->verb == WIRE_CAS)
            p = put_number(p, " ", q->cas);
    } else if (q->verb == WIRE_TOUCH)
        p = put_time(p, " ", q->exptime);
    else if (q->verb == WIRE_INCREMENT || q->verb == WIRE_DECREMENT)
        p = put_number(p, " ", q->delta);
    return p;
}

bool wire_ask(struct buf *out, const struct wire_question *q, enum wire_dialect dialect, uint64_t opaque)
{
    enum { HEAD_MAX = 512 }; /* a key of 250 bytes and ten numbers of 20 digits */

    bool   copy = verbs[q->verb].value && q->value.len <= WIRE_COPY_MAX;
    size_t value = copy ? q->value.len + 2 : 0;
    if (!buf_reserve(out, HEAD_MAX + value))
        return false;

    char *start = out->data + out->len;
    char *p = dialect == WIRE_META ? put_meta(start, q, opaque) : put_classic(start, q);
    p = put(p, "\r\n");
    assert(p - start <= HEAD_MAX);
    if (copy)
        p = put(put_bytes(p, q->value), "\r\n");
    out->len += (size_t)(p - start);
    return true;
}

/* ---- Answers ---- */

const char *wire_number(const char *p, const char *end, uint64_t most, uint64_t *number)
{
    uint64_t n = 0;

    if (p == end || *p < '0' || *p > '9')
        return NULL;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (n > (most - digit) / 10 || digit > most)
            return NULL;
        n = n * 10 + digit;
    }
    *number = n;
    return p;
}

/* The next word at *p, without the spaces around it; empty at the end of the line. */
static mend_bytes word(const char **p, const char *end)
{
    const char *s = *p;
    while (s < end && *s == ' ')
        s++;
    const char *e = s;
    while (e < end && *e != ' ')
        e++;
    *p = e;
    return mend_mem(s, (size_t)(e - s));
}

static bool word_number(const char **p, const char *end, uint64_t most, uint64_t *number)
{
    mend_bytes  w = word(p, end);
    const char *s = w.data;
    return wire_number(s, s + w.len, most, number) == s + w.len;
}

/* "t-1" is for ever. memcached 1.6 wraps below zero for what has just expired (t4294967233). */
static bool read_ttl(const char *p, const char *end, int64_t *ttl_s)
{
    uint64_t n;

    if (end - p == 2 && p[0] == '-' && p[1] == '1') {
        *ttl_s = MEND_TTL_NEVER;
        return true;
    }
    if (wire_number(p, end, UINT64_MAX, &n) != end)
        return false;
    *ttl_s = n > INT32_MAX ? 0 : (int64_t)n;
    return true;
}

/* The flags behind a meta answer, each a letter and what it carries. Those that we did not ask for are passed over. */
static bool read_flags(struct wire_head *h, const char *p, const char *end)
{
    for (;;) {
        mend_bytes w = word(&p, end);
        if (w.len == 0)
            return true;
        const char *s = (const char *)w.data + 1;
        uint64_t    n;

        switch (s[-1]) {
        case 'f':
            if (wire_number(s, p, UINT32_MAX, &n) != p)
                return false;
            h->flags = (uint32_t)n;
            break;
        case 'c':
            if (wire_number(s, p, UINT64_MAX, &h->cas) != p)
                return false;
            h->has_cas = true;
            break;
        case 't':
            if (!read_ttl(s, p, &h->ttl_s))
                return false;
            break;
        case 'k':
            h->key = mend_mem(s, w.len - 1);
            break;
        case 'b':
            h->key_binary = true;
            break;
        case 'O':
            if (wire_number(s, p, UINT64_MAX, &h->opaque) != p)
                return false;
            h->has_opaque = true;
            break;
        default:
            break;
        }
    }
}

static bool read_value_line(struct wire_head *h, const char *p, const char *end)
{
    uint64_t flags;

    h->key = word(&p, end);
    if (h->key.len == 0 || !word_number(&p, end, UINT32_MAX, &flags) || !word_number(&p, end, WIRE_VALUE_MAX, &h->size))
        return false;
    h->flags = (uint32_t)flags;
    if (p == end)
        return true; /* a get's; a gets' has the cas, too */
    h->has_cas = true;
    return word_number(&p, end, UINT64_MAX, &h->cas) && word(&p, end).len == 0;
}

/* Words of the classic protocol, and those that both share. `more` says what may stand behind. */
static const struct {
    const char    *word;
    enum wire_kind kind;
    enum { NOTHING, TEXT } more;
} words[] = {
    {"END", WIRE_END, NOTHING},
    {"STORED", WIRE_STORED, NOTHING},
    {"NOT_STORED", WIRE_NOT_STORED, NOTHING},
    {"EXISTS", WIRE_EXISTS_SINCE, NOTHING},
    {"NOT_FOUND", WIRE_NOT_FOUND, NOTHING},
    {"DELETED", WIRE_DELETED, NOTHING},
    {"TOUCHED", WIRE_TOUCHED, NOTHING},
    {"OK", WIRE_OK, NOTHING},
    {"ERROR", WIRE_ERROR, TEXT},
    {"CLIENT_ERROR", WIRE_CLIENT_ERROR, TEXT},
    {"SERVER_ERROR", WIRE_SERVER_ERROR, TEXT},
};

static bool read_words(struct wire_head *h, mend_bytes first, const char *p, const char *end)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i].word) != first.len || memcmp(words[i].word, first.data, first.len) != 0)
            continue;
        h->kind = words[i].kind;
        while (p < end && *p == ' ')
            p++;
        h->text = mend_mem(p, (size_t)(end - p));
        return words[i].more == TEXT || p == end;
    }
    h->kind = WIRE_NUMBER; /* the answer to incr and decr; 1.6 may leave spaces behind it */
    const char *after = wire_number(first.data, end, UINT64_MAX, &h->number);
    return after && word(&after, end).len == 0;
}

static bool read_line(struct wire_head *h, const char *p, const char *end)
{
    mend_bytes  first = word(&p, end);
    const char *w = first.data;

    if (first.len == 2)
        switch ((unsigned char)w[0] << 8 | (unsigned char)w[1]) {
        case 'H' << 8 | 'D':
            h->kind = WIRE_HD;
            return read_flags(h, p, end);
        case 'V' << 8 | 'A':
            h->kind = WIRE_VA;
            return word_number(&p, end, WIRE_VALUE_MAX, &h->size) && read_flags(h, p, end);
        case 'E' << 8 | 'N':
            h->kind = WIRE_EN;
            return read_flags(h, p, end);
        case 'N' << 8 | 'F':
            h->kind = WIRE_NF;
            return read_flags(h, p, end);
        case 'N' << 8 | 'S':
            h->kind = WIRE_NS;
            return read_flags(h, p, end);
        case 'E' << 8 | 'X':
            h->kind = WIRE_EX;
            return read_flags(h, p, end);
        case 'O' << 8 | 'K':
            h->kind = WIRE_OK;
            return read_flags(h, p, end); /* before 1.6.10 it is a meta answer, and may have flags */
        default:
            break;
        }
    if (first.len == 5 && memcmp(w, "VALUE", 5) == 0) {
        h->kind = WIRE_VALUE;
        return read_value_line(h, p, end);
    }
    return read_words(h, first, p, end);
}

int wire_head(struct wire_head *h, const char *p, size_t n)
{
    const char *newline = n ? memchr(p, '\n', n < WIRE_LINE_MAX ? n : WIRE_LINE_MAX) : NULL;

    if (!newline)
        return n < WIRE_LINE_MAX ? 0 : -1;
    if (newline == p || newline[-1] != '\r')
        return -1;
    memset(h, 0, sizeof *h);
    h->ttl_s = MEND_TTL_UNKNOWN;
    if (!read_line(h, p, newline - 1))
        return -1;
    return (int)(newline + 1 - p);
}

#define KIND(k) (1u << WIRE_##k)

bool wire_fits(enum wire_kind kind, enum wire_verb verb, enum wire_dialect dialect)
{
    static const unsigned always = KIND(ERROR) | KIND(CLIENT_ERROR) | KIND(SERVER_ERROR);
    static const unsigned stores = KIND(HD) | KIND(OK) | KIND(NS) | KIND(EX) | KIND(NF);
    static const unsigned counts = KIND(VA) | KIND(NF) | KIND(NS);
    static const unsigned meta[WIRE_VERBS] = {
        [WIRE_GET] = KIND(VA) | KIND(EN),
        [WIRE_GET_AND_TOUCH] = KIND(VA) | KIND(EN),
        [WIRE_EXISTS] = KIND(HD) | KIND(OK) | KIND(EN),
        [WIRE_TOUCH] = KIND(HD) | KIND(OK) | KIND(EN),
        [WIRE_SET] = stores,
        [WIRE_ADD] = stores,
        [WIRE_REPLACE] = stores,
        [WIRE_APPEND] = stores,
        [WIRE_PREPEND] = stores,
        [WIRE_CAS] = stores,
        [WIRE_DELETE] = KIND(HD) | KIND(OK) | KIND(NF),
        [WIRE_INCREMENT] = counts,
        [WIRE_DECREMENT] = counts,
        [WIRE_FLUSH_ALL] = KIND(OK),
        [WIRE_PROVE] = KIND(VA) | KIND(HD) | KIND(EN) | KIND(OK),
        [WIRE_GET_MANY] = KIND(VALUE) | KIND(END),
    };
    static const unsigned values = KIND(VALUE) | KIND(END);
    static const unsigned stored = KIND(STORED) | KIND(NOT_STORED);
    static const unsigned number = KIND(NUMBER) | KIND(NOT_FOUND);
    static const unsigned classic[WIRE_VERBS] = {
        [WIRE_GET] = values,
        [WIRE_GET_AND_TOUCH] = values,
        [WIRE_EXISTS] = values,
        [WIRE_TOUCH] = KIND(TOUCHED) | KIND(NOT_FOUND),
        [WIRE_SET] = stored,
        [WIRE_ADD] = stored,
        [WIRE_REPLACE] = stored,
        [WIRE_APPEND] = stored,
        [WIRE_PREPEND] = stored,
        [WIRE_CAS] = KIND(STORED) | KIND(EXISTS_SINCE) | KIND(NOT_FOUND),
        [WIRE_DELETE] = KIND(DELETED) | KIND(NOT_FOUND),
        [WIRE_INCREMENT] = number,
        [WIRE_DECREMENT] = number,
        [WIRE_FLUSH_ALL] = KIND(OK),
        [WIRE_PROVE] = values,
        [WIRE_GET_MANY] = values,
    };
    return (((dialect == WIRE_META ? meta : classic)[verb] | always) >> kind & 1) != 0;
}

static bool begins(mend_bytes text, const char *with)
{
    size_t n = strlen(with);
    return text.len >= n && memcmp(text.data, with, n) == 0;
}

mend_status wire_means(const struct wire_head *h)
{
    static const mend_status meaning[WIRE_KINDS] = {
        [WIRE_HD] = MEND_OK,
        [WIRE_VA] = MEND_OK,
        [WIRE_EN] = MEND_MISS,
        [WIRE_NF] = MEND_MISS,
        [WIRE_NS] = MEND_NOT_STORED,
        [WIRE_EX] = MEND_EXISTS,
        [WIRE_VALUE] = MEND_OK,
        [WIRE_END] = MEND_MISS,
        [WIRE_STORED] = MEND_OK,
        [WIRE_NOT_STORED] = MEND_NOT_STORED,
        [WIRE_EXISTS_SINCE] = MEND_EXISTS,
        [WIRE_NOT_FOUND] = MEND_MISS,
        [WIRE_DELETED] = MEND_OK,
        [WIRE_TOUCHED] = MEND_OK,
        [WIRE_OK] = MEND_OK,
        [WIRE_NUMBER] = MEND_OK,
        [WIRE_ERROR] = MEND_E_SERVER,
        [WIRE_CLIENT_ERROR] = MEND_E_SERVER,
        [WIRE_SERVER_ERROR] = MEND_E_SERVER,
    };
    if (h->kind == WIRE_CLIENT_ERROR && begins(h->text, "cannot increment or decrement non-numeric value"))
        return MEND_NOT_NUMBER;
    if (h->kind == WIRE_CLIENT_ERROR && begins(h->text, "unauthenticated"))
        return MEND_E_AUTH;
    if (h->kind == WIRE_SERVER_ERROR && begins(h->text, "object too large for cache"))
        return MEND_TOO_LARGE;
    return meaning[h->kind];
}
