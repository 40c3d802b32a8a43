/* wire.c - see wire.h. */
#include "core/wire.h"

#include <assert.h>
#include <string.h>

#include "core/key.h"

/* ---- Questions ---- */

/* A few bytes, copied at one go: what lies behind them is overwritten by what comes next. */
struct text {
    char          bytes[15];
    unsigned char len;
};

#define TEXT(s) {s, sizeof(s) - 1}

/* What differs between the verbs, in both protocols. */
static const struct {
    struct text meta;      /* the command, and the space behind it */
    struct text meta_more; /* flags that it always has */
    struct text classic;
    bool        shows; /* its answer shows the key */
} verbs[WIRE_VERBS] = {
    [WIRE_GET] = {TEXT("mg "), TEXT(" v f c t"), TEXT("gets "), true},
    [WIRE_GET_AND_TOUCH] = {TEXT("mg "), TEXT(" v f c t"), TEXT("gats "), true},
    [WIRE_EXISTS] = {TEXT("mg "), TEXT(" f c t s"), TEXT("gets "), true},
    [WIRE_TOUCH] = {TEXT("mg "), TEXT(" f s"), TEXT("touch "), true},
    [WIRE_SET] = {TEXT("ms "), TEXT(" c"), TEXT("set "), false},
    [WIRE_ADD] = {TEXT("ms "), TEXT(" c ME"), TEXT("add "), false},
    [WIRE_REPLACE] = {TEXT("ms "), TEXT(" c MR"), TEXT("replace "), false},
    [WIRE_APPEND] = {TEXT("ms "), TEXT(" c MA"), TEXT("append "), false},
    [WIRE_PREPEND] = {TEXT("ms "), TEXT(" c MP"), TEXT("prepend "), false},
    [WIRE_CAS] = {TEXT("ms "), TEXT(" c"), TEXT("cas "), false},
    [WIRE_DELETE] = {TEXT("md "), TEXT(""), TEXT("delete "), false},
    [WIRE_INCREMENT] = {TEXT("ma "), TEXT(" v c"), TEXT("incr "), false},
    [WIRE_DECREMENT] = {TEXT("ma "), TEXT(" v c MD"), TEXT("decr "), false},
    [WIRE_FLUSH_ALL] = {TEXT("flush_all"), TEXT(""), TEXT("flush_all"), false},
    [WIRE_PROVE] = {TEXT("mg "), TEXT(" k v"), TEXT("gets "), false},
    [WIRE_GET_MANY] = {TEXT(""), TEXT(""), TEXT("gets"), false},
    [WIRE_FETCH] = {TEXT("mg "), TEXT(" v f c t"), TEXT("gets "), true}, /* a stub that nobody hears of is gone soon */
    [WIRE_STALE] = {TEXT("md "), TEXT(" I"), TEXT("delete "), false},
    [WIRE_RELEASE] = {TEXT("md "), TEXT(""), TEXT("delete "), false},
};

enum {
    DIGITS_MAX = 20, /* of a number of 64 bits */
    PUT_SLACK = DIGITS_MAX, /* room that is to be behind whatever is put */
};

_Static_assert(sizeof(struct text) <= PUT_SLACK, "a text is copied whole");

static char *put(char *p, struct text text)
{
    memcpy(p, text.bytes, sizeof text.bytes);
    return p + text.len;
}

/* Of a string that the compiler sees. */
#define PUT(p, string) put(p, (struct text)TEXT(string))

static char *put_bytes(char *p, mend_bytes b)
{
    if (b.len)
        memcpy(p, b.data, b.len);
    return p + b.len;
}

static inline char *put_number(char *p, uint64_t number)
{
    char  digits[2 * DIGITS_MAX] = {0}; /* the second half is never anything but copied */
    char *end = digits + DIGITS_MAX, *d = end;

    do
        *--d = (char)('0' + number % 10);
    while (number /= 10);
    memcpy(p, d, DIGITS_MAX); /* as a text, at one go */
    return p + (end - d);
}

/* memcached takes a negative time for "gone already". */
static char *put_time(char *p, int64_t exptime)
{
    return exptime < 0 ? PUT(p, "-1") : put_number(p, (uint64_t)exptime);
}

void wire_opaque_begin(struct wire_opaque *o, uint32_t number)
{
    char text[DIGITS_MAX + PUT_SLACK];

    o->number = number;
    o->len = (unsigned char)(put_number(text, number) - text);
    memcpy(o->digits, text, sizeof o->digits);
}

void wire_opaque_next(struct wire_opaque *o)
{
    unsigned i = o->len;

    o->number++;
    while (i > 0 && o->digits[i - 1] == '9')
        o->digits[--i] = '0';
    if (i > 0) {
        o->digits[i - 1]++;
        return;
    }
    assert(o->len < sizeof o->digits);
    o->digits[0] = '1';
    o->digits[o->len++] = '0';
}

static char *put_meta(char *p, const struct wire_question *q, const struct wire_opaque *opaque)
{
    p = put(p, verbs[q->verb].meta);
    if (q->verb == WIRE_FLUSH_ALL)
        return p;

    if (q->key_binary || q->verb == WIRE_PROVE) {
        char base64[KEY_BASE64_MAX + 1];
        p = put_bytes(p, mend_mem(base64, key_base64(base64, q->key)));
        if (wire_carries_value(q->verb))
            p = put_number(PUT(p, " "), q->value.len);
        p = PUT(p, " b");
    } else {
        p = put_bytes(p, q->key);
        if (wire_carries_value(q->verb))
            p = put_number(PUT(p, " "), q->value.len);
    }
    p = put(p, verbs[q->verb].meta_more);
    if (verbs[q->verb].shows && !q->key_binary) /* an item that a lease makes shows its key as it is, though it was asked for in base64: a line of any bytes */
        p = PUT(p, " k");
    p = PUT(p, " O");
    memcpy(p, opaque->digits, sizeof opaque->digits);
    p += opaque->len;

    switch (q->verb) {
    case WIRE_CAS:
        p = put_number(PUT(p, " C"), q->cas);
        /* fall through */
    case WIRE_SET:
    case WIRE_ADD:
    case WIRE_REPLACE:
        if (q->flags)
            p = put_number(PUT(p, " F"), q->flags);
        if (q->exptime)
            p = put_time(PUT(p, " T"), q->exptime);
        break;
    case WIRE_GET_AND_TOUCH:
    case WIRE_TOUCH:
        p = put_time(PUT(p, " T"), q->exptime);
        break;
    case WIRE_INCREMENT:
    case WIRE_DECREMENT:
        p = put_number(PUT(p, " D"), q->delta);
        if (q->create) {
            p = put_number(PUT(p, " J"), q->initial);
            p = put_time(PUT(p, " N"), q->exptime);
        }
        break;
    case WIRE_FETCH:
        p = put_number(PUT(p, " N"), (uint64_t)q->lease_s);
        if (q->refresh_s)
            p = put_number(PUT(p, " R"), (uint64_t)q->refresh_s);
        break;
    case WIRE_STALE:
        p = put_time(PUT(p, " T"), q->exptime);
        /* fall through */
    case WIRE_RELEASE:
        if (q->cas)
            p = put_number(PUT(p, " C"), q->cas);
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
        p = PUT(put_time(p, q->exptime), " ");
    p = put_bytes(p, q->key);

    if (wire_carries_value(q->verb)) {
        bool keeps = q->verb == WIRE_APPEND || q->verb == WIRE_PREPEND;
        p = put_number(PUT(p, " "), keeps ? 0 : q->flags);
        p = put_time(PUT(p, " "), keeps ? 0 : q->exptime);
        p = put_number(PUT(p, " "), q->value.len);
        if (q->verb == WIRE_CAS)
            p = put_number(PUT(p, " "), q->cas);
    } else if (q->verb == WIRE_TOUCH)
        p = put_time(PUT(p, " "), q->exptime);
    else if (q->verb == WIRE_INCREMENT || q->verb == WIRE_DECREMENT)
        p = put_number(PUT(p, " "), q->delta);
    return p;
}

bool wire_ask(struct buf *out, const struct wire_question *q, enum wire_dialect dialect, const struct wire_opaque *opaque)
{
    bool   copy = wire_carries_value(q->verb) && q->value.len <= WIRE_COPY_MAX;
    size_t value = copy ? q->value.len + 2 : 0;
    if (!buf_reserve(out, WIRE_HEAD_MAX + value))
        return false;

    char *start = out->data + out->len;
    char *p = dialect == WIRE_META ? put_meta(start, q, opaque) : put_classic(start, q);
    p = PUT(p, "\r\n");
    assert(p - start <= WIRE_HEAD_MAX - PUT_SLACK); /* a key of 250 bytes, and ten numbers of 20 digits */
    if (copy)
        p = PUT(put_bytes(p, q->value), "\r\n");
    out->len += (size_t)(p - start);
    return true;
}

/* ---- Answers ---- */

const char *wire_number(const char *p, const char *end, uint64_t most, uint64_t *number)
{
    enum { SAFE_DIGITS = 19 }; /* 10^19 is below 2^64 */
    const char *safe = end - p > SAFE_DIGITS ? p + SAFE_DIGITS : end;
    uint64_t    n = 0;
    unsigned    digit;

    if (p == end || (unsigned)(*p - '0') > 9)
        return NULL;
    for (; p < safe && (digit = (unsigned)(*p - '0')) <= 9; p++)
        n = n * 10 + digit;
    for (; p < end && (digit = (unsigned)(*p - '0')) <= 9; p++) {
        if (n > (UINT64_MAX - digit) / 10)
            return NULL;
        n = n * 10 + digit;
    }
    if (n > most)
        return NULL;
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

/* A number at *p, of a line that ends in CRLF: the CR stops it. False: there is none, or it is larger than `most`. */
static inline bool line_number(const char **p, uint64_t most, uint64_t *number)
{
    enum { SAFE_DIGITS = 19 }; /* 10^19 is below 2^64 */
    const char *s = *p;
    unsigned    digit = (unsigned)(*s - '0');
    uint64_t    n = 0;

    if (digit > 9)
        return false;
    do
        n = n * 10 + digit;
    while ((digit = (unsigned)(*++s - '0')) <= 9);
    if (s - *p > SAFE_DIGITS && !wire_number(*p, s, UINT64_MAX, &n))
        return false;
    *p = s;
    *number = n;
    return n <= most;
}

/* The flags behind a meta answer, each a letter and what it carries, from p to the CR at end. Those that we did not ask
 * for are passed over. Every answer comes through here. */
static bool read_flags(struct wire_head *h, const char *p, const char *end)
{
    uint64_t    n;
    const char *s;

    while (p < end) {
        if (*p == ' ') {
            p++;
            continue;
        }
        switch (*p++) {
        case 'f':
            if (!line_number(&p, UINT32_MAX, &n))
                return false;
            h->flags = (uint32_t)n;
            break;
        case 'c':
            if (!line_number(&p, UINT64_MAX, &h->cas))
                return false;
            h->has_cas = true;
            break;
        case 't':
            for (s = p; *p != ' ' && p < end; p++)
                ;
            if (!read_ttl(s, p, &h->ttl_s))
                return false;
            break;
        case 'k':
            s = p;
            if (!(p = memchr(p, ' ', (size_t)(end - p))))
                p = end;
            h->key = mend_mem(s, (size_t)(p - s));
            break;
        case 'b':
            h->key_binary = true;
            break;
        case 'O':
            if (!line_number(&p, UINT64_MAX, &h->opaque))
                return false;
            h->has_opaque = true;
            break;
        case 's':
            if (!line_number(&p, WIRE_VALUE_MAX, &n))
                return false;
            h->has_size = true;
            if (h->kind == WIRE_HD) /* a VA's stands before its flags */
                h->size = n;
            break;
        case 'W':
            h->lease |= WIRE_WON;
            break;
        case 'Z':
            h->lease |= WIRE_TAKEN;
            break;
        case 'X':
            h->lease |= WIRE_OLD;
            break;
        default:
            while (p < end && *p != ' ')
                p++;
            break;
        }
        if (*p != ' ' && p != end)
            return false;
    }
    return true;
}

static inline const char *skip_spaces(const char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

/* VA, its size and its flags. */
static bool read_meta_value(struct wire_head *h, const char *p, const char *end)
{
    p = skip_spaces(p);
    return line_number(&p, WIRE_VALUE_MAX, &h->size) && (p == end || *p == ' ') && read_flags(h, p, end);
}

/* A space, and a number: as memcached writes them. */
static inline bool one_number(const char **p, uint64_t most, uint64_t *number)
{
    return *(*p)++ == ' ' && line_number(p, most, number);
}

/* A space or more, and a number. */
static inline bool next_number(const char **p, uint64_t most, uint64_t *number)
{
    if (**p != ' ')
        return false;
    *p = skip_spaces(*p);
    return line_number(p, most, number);
}

/* A VALUE's key, flags, size and, of a gets, cas. */
static bool read_value_line(struct wire_head *h, const char *p, const char *end)
{
    const char *after;
    uint64_t    flags;

    if (!(after = memchr(p, ' ', (size_t)(end - p))))
        return false;
    h->key = mend_mem(p, (size_t)(after - p));
    if (h->key.len == 0 || !next_number(&after, UINT32_MAX, &flags) || !next_number(&after, WIRE_VALUE_MAX, &h->size))
        return false;
    h->flags = (uint32_t)flags;
    if (skip_spaces(after) == end)
        return true; /* a get's; a gets' has the cas, too */
    h->has_cas = true;
    return next_number(&after, UINT64_MAX, &h->cas) && skip_spaces(after) == end;
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
    const char *w = p;

    if (end - p > 5 && memcmp(p, "VALUE ", 6) == 0) {
        h->kind = WIRE_VALUE;
        return read_value_line(h, skip_spaces(p + 5), end);
    }
    mend_bytes first = word(&p, end);
    w = first.data;
    if (first.len == 2)
        switch ((unsigned char)w[0] << 8 | (unsigned char)w[1]) {
        case 'H' << 8 | 'D':
            h->kind = WIRE_HD;
            return read_flags(h, p, end);
        case 'V' << 8 | 'A':
            h->kind = WIRE_VA;
            return read_meta_value(h, p, end);
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

size_t wire_value(struct wire_head *h, const char *line, size_t n, mend_bytes key)
{
    enum { BEFORE = sizeof "VALUE " - 1 };
    const char *p = line + BEFORE + key.len;
    uint64_t    flags;

    if (n < BEFORE + key.len || memcmp(line, "VALUE ", BEFORE) != 0 || memcmp(line + BEFORE, key.data, key.len) != 0)
        return 0;
    if (!one_number(&p, UINT32_MAX, &flags) || !one_number(&p, WIRE_VALUE_MAX, &h->size) || !one_number(&p, UINT64_MAX, &h->cas) ||
        p[0] != '\r' || p[1] != '\n')
        return 0;
    h->flags = (uint32_t)flags;
    h->ttl_s = MEND_TTL_UNKNOWN;
    return (size_t)(p + 2 - line);
}

/* A space, this letter, and a number. */
static inline bool flag_number(const char **p, char letter, uint64_t most, uint64_t *number)
{
    if ((*p)[0] != ' ' || (*p)[1] != letter)
        return false;
    *p += 2;
    return line_number(p, most, number);
}

/* memcached tells the flags in the order that put_meta asks for them. */
size_t wire_hit(struct wire_head *h, const char *line, size_t n, mend_bytes key, const struct wire_opaque *opaque)
{
    const char *p = line + 3, *end = line + n;
    uint64_t    flags, ttl;

    if (n < 3 || memcmp(line, "VA ", 3) != 0 || !line_number(&p, WIRE_VALUE_MAX, &h->size))
        return 0;
    if (!flag_number(&p, 'f', UINT32_MAX, &flags) || !flag_number(&p, 'c', UINT64_MAX, &h->cas))
        return 0;
    h->flags = (uint32_t)flags;
    h->ttl_s = MEND_TTL_NEVER;
    if (p[0] == ' ' && p[1] == 't' && p[2] == '-' && p[3] == '1')
        p += 4;
    else if (flag_number(&p, 't', INT32_MAX, &ttl))
        h->ttl_s = (int64_t)ttl;
    else
        return 0;
    if ((size_t)(end - p) < sizeof " k O\r\n" - 1 + key.len + opaque->len || p[0] != ' ' || p[1] != 'k' || memcmp(p + 2, key.data, key.len) != 0)
        return 0;
    p += 2 + key.len;
    if (p[0] != ' ' || p[1] != 'O' || memcmp(p + 2, opaque->digits, opaque->len) != 0)
        return 0;
    p += 2 + opaque->len;
    return p[0] == '\r' && p[1] == '\n' ? (size_t)(p + 2 - line) : 0;
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
        [WIRE_FETCH] = KIND(VA) | KIND(EN),
        [WIRE_STALE] = KIND(HD) | KIND(OK) | KIND(NF) | KIND(EX),
        [WIRE_RELEASE] = KIND(HD) | KIND(OK) | KIND(NF) | KIND(EX),
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
        [WIRE_FETCH] = values,
        [WIRE_STALE] = KIND(DELETED) | KIND(NOT_FOUND),
        [WIRE_RELEASE] = KIND(DELETED) | KIND(NOT_FOUND),
    };
    return (((dialect == WIRE_META ? meta : classic)[verb] | always) >> kind & 1) != 0;
}

static bool begins(mend_bytes text, const char *with)
{
    size_t n = strlen(with);
    return text.len >= n && memcmp(text.data, with, n) == 0;
}

/* There is an item, and nothing in it. */
static bool empty(const struct wire_head *h)
{
    return h->size == 0 && (h->kind == WIRE_VA || h->kind == WIRE_VALUE || (h->kind == WIRE_HD && h->has_size));
}

mend_status wire_means(const struct wire_head *h, enum wire_verb verb)
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
    if (empty(h) && h->lease & (WIRE_WON | WIRE_TAKEN))
        return MEND_MISS;
    if (empty(h) && h->flags == WIRE_FLAGS_ABSENT)
        return verb == WIRE_FETCH ? MEND_ABSENT : MEND_MISS;
    return meaning[h->kind];
}
