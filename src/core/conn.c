/* conn.c - see conn.h. */
#include "core/conn.h"

#include <assert.h>
#include <string.h>

#include "core/key.h"

enum {
    CONN_IN_BYTES = 16 * 1024,  /* one recv's worth, and a NUL; four of the longest lines must fit */
    CONN_OUT_BYTES = 64 * 1024, /* questions that wait to be sent: a quarter of the usual socket buffer */
    CONN_PORTION_BYTES = 1024 * 1024, /* of one receive: whoever reads must come back in time to look at the clock */
    CONN_LINE_MAX = 1024,       /* questions in flight */
    COUNTER_MAX = 24, /* 20 digits, and memcached pads what it counted down with spaces */
    CONN_MANY_BYTES = 8 * 1024, /* a classic gets' length: memcached reads at least 16 KB of one line */
};

/* One question in flight. */
struct ask {
    enum wire_verb verb;
    struct wire_opaque opaque;
    uint64_t       begins, ends; /* where on the line its bytes are */
    bool           answering; /* some of its answer has come */
    bool           undeleted; /* it is behind a delete that was refused */
    struct want    one;       /* the key of a question about one */
    struct want   *many;      /* those of a gets; else NULL */
    size_t         n, next;   /* how many, and where the answers have come to */
};

static const unsigned char may[] = {
    [CONN_COLD] = 1 << CONN_DIALING,
    [CONN_DIALING] = 1 << CONN_PROVING | 1 << CONN_BROKEN,
    [CONN_PROVING] = 1 << CONN_READY | 1 << CONN_BROKEN,
    [CONN_READY] = 1 << CONN_LINGERING | 1 << CONN_BROKEN,
    [CONN_LINGERING] = 1 << CONN_BROKEN,
    [CONN_BROKEN] = 1 << CONN_COLD,
};

static void become(struct conn *c, enum conn_state next)
{
    assert(may[c->state] & 1 << next);
    c->state = next;
}

/* ---- Answers ---- */

void answer_fail(struct answer *a, mend_status status, const char *error)
{
    a->status = status;
    a->error = error;
    a->done = true;
}

static bool same_memory(const struct memory *a, const struct memory *b)
{
    return a == b || (a->hooks.allocate == b->hooks.allocate && a->hooks.context == b->hooks.context);
}

void answer_move(struct answer *to, struct answer *from)
{
    struct buf mine = to->value;

    if (same_memory(mine.memory, from->value.memory)) {
        struct buf theirs = from->value;
        *to = *from;
        to->value = (struct buf){theirs.data, theirs.len, theirs.cap, mine.memory};
        from->value = (struct buf){mine.data, 0, mine.cap, theirs.memory};
    } else {
        *to = *from;
        to->value = mine;
        to->value.len = 0;
        if (from->value.len && !(buf_reserve(&to->value, from->value.len + 1) && buf_add(&to->value, from->value.data, from->value.len)))
            answer_fail(to, MEND_E_MEMORY, "out of memory for the value");
        if (to->value.len)
            to->value.data[to->value.len] = '\0';
    }
    if (to->error == from->text)
        to->error = to->text;
}

/* Keeps the server's own words: printable ones, since they end in logs and on terminals. */
static void keep_text(char *to, size_t size, const char *before, mend_bytes text)
{
    const char *p = text.data;
    size_t      n = strlen(before);

    assert(n < size);
    memcpy(to, before, n);
    for (size_t i = 0; i < text.len && n + 1 < size; i++)
        to[n++] = p[i] >= ' ' && p[i] <= '~' ? p[i] : '?';
    to[n] = '\0';
}

void answer_fail_text(struct answer *a, mend_status status, const char *error)
{
    keep_text(a->text, sizeof a->text, "", mend_str(error));
    answer_fail(a, status, a->text);
}

/* Behind the user's name. */
static mend_bytes password(const struct conn *c)
{
    const char *space = c->credentials.len ? memchr(c->credentials.data, ' ', c->credentials.len) : NULL;

    return space ? mend_mem(space + 1, c->credentials.len - (size_t)(space + 1 - (const char *)c->credentials.data)) : mend_mem(NULL, 0);
}

static bool contains(mend_bytes text, mend_bytes part)
{
    for (size_t i = 0; part.len > 0 && i + part.len <= text.len; i++)
        if (memcmp((const char *)text.data + i, part.data, part.len) == 0)
            return true;
    return false;
}

/* An error line, as it was said; but not the password, which a server may say to complain of it. */
static void keep_error(const struct conn *c, char *to, size_t size, const struct wire_head *h)
{
    const char *word = h->kind == WIRE_SERVER_ERROR ? "SERVER_ERROR " : h->kind == WIRE_CLIENT_ERROR ? "CLIENT_ERROR " : "ERROR ";

    keep_text(to, size, word, contains(h->text, password(c)) ? mend_str("(with the password in it)") : h->text);
    if (h->text.len == 0)
        to[strlen(to) - 1] = '\0';
}

/* ---- Life ---- */

void conn_init(struct conn *c, const struct memory *memory, mend_bytes trial_key, uint64_t value_max)
{
    *c = (struct conn){
        .state = CONN_COLD,
        .why = "",
        .trial_key = trial_key,
        .value_max = value_max,
        .in = {.memory = memory},
        .out = {.memory = memory},
    };
}

void conn_authenticate(struct conn *c, mend_bytes credentials)
{
    c->credentials = credentials;
}

void conn_release(struct conn *c)
{
    memory_release(c->in.memory, c->line);
    c->line = NULL;
    c->line_cap = 0;
    buf_release(&c->in);
    buf_release(&c->out);
}

static void forget(struct conn *c)
{
    become(c, CONN_COLD);
    c->in.len = c->in_at = c->out.len = c->out_at = 0;
    c->big = mend_mem(NULL, 0);
    c->crlf = 0;
    c->asked = c->sent = c->value_left = 0;
    c->reading = NULL;
    c->sink = NULL;
    c->reflects = c->heard = c->ambiguous = c->ended = c->lost = c->refused = false;
    c->broke = MEND_OK;
    c->why = "";
}

static enum wire_dialect asks_first(enum wire_dialect hint)
{
    return hint == WIRE_CLASSIC ? WIRE_CLASSIC : WIRE_META;
}

bool conn_dial(struct conn *c, enum wire_dialect hint, uint32_t opaque)
{
    if (c->state == CONN_BROKEN)
        forget(c);
    if (!buf_reserve(&c->in, CONN_IN_BYTES))
        return false;
    c->dialect = hint;
    c->asks = asks_first(hint);
    wire_opaque_begin(&c->opaque, opaque);
    become(c, CONN_DIALING);
    return true;
}

static struct ask *ask_at(const struct conn *c, size_t i)
{
    return &c->line[(c->line_head + i) & (c->line_cap - 1)];
}

/* ---- Questions ---- */

static bool line_reserve(struct conn *c, size_t more)
{
    if (c->line_count + more <= c->line_cap)
        return true;

    size_t      cap = c->line_cap ? c->line_cap * 2 : 4;
    struct ask *line = memory_zeroed(c->in.memory, cap, sizeof *line);
    if (!line)
        return false;
    for (size_t i = 0; i < c->line_count; i++)
        line[i] = *ask_at(c, i);
    memory_release(c->in.memory, c->line);
    c->line = line;
    c->line_head = 0;
    c->line_cap = cap;
    return true;
}

/* What was appended to out from `before` on becomes the last question of the line. */
static struct ask *line_add(struct conn *c, enum wire_verb verb, size_t before, struct want one)
{
    assert(c->line_count < c->line_cap);
    struct ask *a = ask_at(c, c->line_count++);
    size_t      bytes = c->out.len - before;
    *a = (struct ask){.verb = verb, .opaque = c->opaque, .begins = c->asked, .ends = c->asked + bytes, .one = one, .n = 1};
    c->asked += bytes;
    return a;
}

static mend_status ask_one(struct conn *c, const struct wire_question *q, struct answer *into)
{
    if (q->key_binary && c->asks != WIRE_META)
        return MEND_E_ARGUMENT;
    if (q->behind_delete) {
        struct wire_question first = {.verb = WIRE_DELETE, .key = q->key, .key_binary = q->key_binary};
        mend_status          status = ask_one(c, &first, NULL);
        if (status)
            return status;
    }
    size_t before = c->out.len;
    wire_opaque_next(&c->opaque);
    if (!line_reserve(c, 1) || !wire_ask(&c->out, q, c->asks, &c->opaque))
        return MEND_E_MEMORY;

    bool        kept = into || q->verb == WIRE_PROVE; /* else nobody keeps the key for us, and no answer to such has one */
    struct ask *a = line_add(c, q->verb, before, (struct want){.key = kept ? q->key : mend_mem(NULL, 0), .key_binary = q->key_binary, .into = into});
    if (wire_carries_value(q->verb) && q->value.len > WIRE_COPY_MAX) {
        c->big = q->value;
        c->crlf = 2;
        a->ends = c->asked += q->value.len + 2;
    }
    return MEND_OK;
}

static bool prove(struct conn *c)
{
    struct wire_question q = {.verb = WIRE_PROVE, .key = c->trial_key};
    return ask_one(c, &q, NULL) == MEND_OK;
}

/* memcached's ASCII authentication: a classic set of any key, before anything else. A server that asks for none stores it
 * like any other; but as expired already, so that nobody reads it there. */
static bool authenticate(struct conn *c)
{
    static const char    key[] = "mend:auth";
    struct wire_question q = {.verb = WIRE_SET, .key = {key, sizeof key - 1}, .value = c->credentials, .exptime = -1};

    c->asks = WIRE_CLASSIC;
    return ask_one(c, &q, NULL) == MEND_OK;
}

/* Whether that is what is being answered: nothing else is set while PROVING. */
static bool authenticating(const struct conn *c)
{
    return c->state == CONN_PROVING && ask_at(c, 0)->verb == WIRE_SET;
}

void conn_dialed(struct conn *c)
{
    become(c, CONN_PROVING);
    if (!(c->credentials.len ? authenticate(c) : prove(c)))
        conn_fail(c, MEND_E_MEMORY, "out of memory");
}

bool conn_refused_meta(const struct conn *c)
{
    return c->state == CONN_BROKEN && c->ended && c->credentials.len == 0 && c->dialect == WIRE_UNKNOWN && c->sent > 0 && !c->heard;
}

bool conn_takes(const struct conn *c)
{
    return c->state == CONN_READY && c->crlf == 0 && c->line_count < CONN_LINE_MAX && c->out.len - c->out_at < CONN_OUT_BYTES;
}

mend_status conn_ask(struct conn *c, const struct wire_question *q, struct answer *into)
{
    assert(conn_takes(c));
    return ask_one(c, q, into);
}

size_t conn_ask_many(struct conn *c, struct want *wants, size_t n)
{
    assert(conn_takes(c));
    size_t took = 0;

    /* Room for all of it first, since half of it cannot be taken back. */
    if (n == 0 || wants->key_binary || !line_reserve(c, 2) || !buf_reserve(&c->out, WIRE_HEAD_MAX + CONN_MANY_BYTES + KEY_MAX + 8))
        return 0;
    if (c->asks == WIRE_META && !prove(c))
        return 0;
    size_t before = c->out.len;
    char *p = c->out.data + before, *full = p + CONN_MANY_BYTES;
    memcpy(p, "gets", 4);
    p += 4;
    for (; took < n && !wants[took].key_binary && p < full; took++) {
        *p++ = ' ';
        memcpy(p, wants[took].key.data, wants[took].key.len);
        p += wants[took].key.len;
    }
    memcpy(p, "\r\n", 2);
    c->out.len = (size_t)(p + 2 - c->out.data);

    struct ask *a = line_add(c, WIRE_GET_MANY, before, (struct want){0});
    a->many = wants;
    a->n = took;
    return took;
}

void conn_redirect(struct conn *c, const struct answer *from, struct answer *to, mend_bytes key)
{
    for (size_t i = 0; i < c->line_count; i++) {
        struct want *w = &ask_at(c, i)->one;
        if (w->into == from)
            *w = (struct want){.key = key, .key_binary = w->key_binary, .into = to};
    }
    if (c->reading == from)
        c->reading = to;
    if (c->sink == from)
        c->sink = NULL; /* the rest of the value is passed over */
}

size_t conn_unsent(const struct conn *c)
{
    return c->out.len - c->out_at + c->big.len;
}

/* ---- Sending ---- */

size_t conn_pending(const struct conn *c, mend_bytes pending[3])
{
    size_t n = 0;

    if (c->state != CONN_PROVING && c->state != CONN_READY)
        return 0;
    if (c->out_at < c->out.len)
        pending[n++] = mend_mem(c->out.data + c->out_at, c->out.len - c->out_at);
    if (c->big.len)
        pending[n++] = c->big;
    if (c->crlf)
        pending[n++] = mend_mem(&"\r\n"[2 - c->crlf], c->crlf);
    return n;
}

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

void conn_sent(struct conn *c, size_t n)
{
    c->sent += n;
    assert(c->sent <= c->asked);

    size_t took = at_most(n, c->out.len - c->out_at);
    c->out_at += took;
    n -= took;
    if (c->out_at == c->out.len)
        c->out_at = c->out.len = 0;
    else if (c->out_at > c->out.len / 2) {
        buf_drop(&c->out, c->out_at);
        c->out_at = 0;
    }

    if (!n)
        return;
    took = at_most(n, c->big.len);
    c->big.data = c->big.len ? (const char *)c->big.data + took : NULL;
    c->big.len -= took;
    c->crlf -= n - took;
}

/* ---- Receiving ---- */

/* What is left of a value goes straight to its owner; what comes behind it goes into in. */
static bool reads_straight(const struct conn *c)
{
    return c->sink && c->value_left > 2 && c->in_at == c->in.len;
}

size_t conn_room(struct conn *c, struct conn_span room[2])
{
    size_t n = 0;

    if (c->in_at == c->in.len)
        c->in_at = c->in.len = 0;
    else if (c->in.cap - c->in.len < WIRE_LINE_MAX) {
        buf_drop(&c->in, c->in_at);
        c->in_at = 0;
    }
    if (reads_straight(c)) {
        size_t rest = (size_t)c->value_left - 2;
        room[n++] = (struct conn_span){c->sink->value.data + c->sink->value.len, at_most(rest, CONN_PORTION_BYTES)};
        if (rest > CONN_PORTION_BYTES)
            return n;
    }
    room[n++] = (struct conn_span){c->in.data + c->in.len, c->in.cap - c->in.len - 1};
    return n;
}

/* Whatever a write that is behind a refused delete has done, it has perhaps done to a stale value; but for a set. */
static void doubt(const struct ask *a, struct answer *into)
{
    if (!into || into->status < 0 || a->verb == WIRE_SET)
        return;
    into->status = MEND_E_SERVER;
    into->error = "the server refused a delete that was to go before this write";
    into->maybe_applied = true;
}

/* Ends the question at the head of the line. */
static void line_next(struct conn *c)
{
    assert(c->line_count > 0);
    if (ask_at(c, 0)->undeleted)
        doubt(ask_at(c, 0), ask_at(c, 0)->one.into);
    c->line_head = (c->line_head + 1) & (c->line_cap - 1);
    c->line_count--;
}

static void done(struct answer *a, mend_status status)
{
    if (!a)
        return;
    a->status = status;
    a->done = true;
}

/* The connection has proved that it serves, and what it speaks. */
static void proved(struct conn *c, enum wire_dialect dialect)
{
    c->dialect = c->asks = dialect;
    line_next(c);
    become(c, CONN_READY);
}

static const char refuses_us[] = "the server refused the user or the password", unfit[] = "an answer that does not fit its question";

/* The server has taken user and password. A refusal is a CLIENT_ERROR; whatever else fits a set (NOT_STORED) is no answer to that, and says
 * nothing of the password. */
static void authenticated(struct conn *c, const struct wire_head *h)
{
    if (h->kind != WIRE_STORED) {
        conn_fail(c, MEND_E_PROTOCOL, unfit);
        return;
    }
    line_next(c);
    c->asks = asks_first(c->dialect);
    if (!prove(c))
        conn_fail(c, MEND_E_MEMORY, "out of memory");
}

/* The answer to a question of ours, while PROVING. An OK is from before 1.6.10, whose ms has another form. */
static void read_proof(struct conn *c, const struct wire_head *h)
{
    c->reflects = h->kind == WIRE_EN && h->has_opaque;
    proved(c, h->kind == WIRE_EN || h->kind == WIRE_HD ? WIRE_META : WIRE_CLASSIC);
}

/* An error instead. A bare ERROR, or CLIENT_ERROR, says "I do not know mg" (or its b, before 1.6.10): it is asked in the
 * classic protocol. With words behind it ("Too many open connections"), an ERROR is a refusal. */
static void read_refusal(struct conn *c, const struct wire_head *h)
{
    bool knows_no_meta = c->asks == WIRE_META && (h->kind == WIRE_CLIENT_ERROR || (h->kind == WIRE_ERROR && h->text.len == 0));

    if (authenticating(c) && h->kind == WIRE_CLIENT_ERROR)
        conn_fail(c, MEND_E_AUTH, refuses_us);
    else if (wire_means(h, ask_at(c, 0)->verb) == MEND_E_AUTH)
        conn_fail(c, MEND_E_AUTH, "the server wants authentication");
    else if (knows_no_meta) {
        line_next(c);
        c->asks = WIRE_CLASSIC;
        if (!prove(c))
            conn_fail(c, MEND_E_MEMORY, "out of memory");
    } else {
        keep_error(c, c->text, sizeof c->text, h);
        conn_fail(c, MEND_E_SERVER, c->text);
    }
}

/* The protocol that the answer to this question comes in. */
static enum wire_dialect speaks(const struct conn *c, const struct ask *a)
{
    return a->verb == WIRE_GET_MANY || a->verb == WIRE_FLUSH_ALL ? WIRE_CLASSIC : c->asks;
}

static bool is_counter(enum wire_verb verb)
{
    return verb == WIRE_INCREMENT || verb == WIRE_DECREMENT;
}

/* A whole value has come, and the CRLF behind it. */
static void value_ends(struct conn *c)
{
    struct ask    *a = ask_at(c, 0);
    struct answer *into = c->reading;

    if (c->sink) {
        c->sink->value.data[c->sink->value.len] = '\0';
        c->sink = NULL;
    }
    c->reading = NULL;
    bool goes_on = speaks(c, a) == WIRE_CLASSIC; /* VALUEs go on until END; one VA is a whole answer */
    if (into)
        into->done = !goes_on || a->many;
    if (goes_on)
        return;
    if (c->state == CONN_PROVING)
        proved(c, WIRE_META);
    else
        line_next(c);
}

/* The meta protocol tells a counter's new value as a value. It is read where it arrived: an increment that was done
 * must not fail for want of memory. */
static bool read_counter(struct conn *c, const char *p)
{
    const char *end = p + c->value_left - 2;
    const char *after = wire_number(p, end, UINT64_MAX, &c->reading->number);

    while (after && after < end && *after == ' ')
        after++;
    if (after != end) {
        conn_fail(c, MEND_E_PROTOCOL, "a counter that is not a number");
        return false;
    }
    return true;
}

/* More of a value has come. False: not all of it yet, or it does not end as a value does. */
static bool read_value(struct conn *c)
{
    size_t      have = c->in.len - c->in_at;
    const char *p = c->in.data + c->in_at;

    if (c->reading && is_counter(ask_at(c, 0)->verb) && c->value_left > 2) {
        if (have < c->value_left || !read_counter(c, p))
            return false;
    }
    if (c->value_left > 2) {
        size_t take = at_most(have, (size_t)c->value_left - 2);
        if (c->sink) {
            memcpy(c->sink->value.data + c->sink->value.len, p, take);
            c->sink->value.len += take;
        }
        c->in_at += take;
        c->value_left -= take;
        if (c->value_left > 2)
            return false;
        have -= take;
        p += take;
    }
    if (have < 2)
        return false;
    if (p[0] != '\r' || p[1] != '\n') {
        conn_fail(c, MEND_E_PROTOCOL, "a value does not end where the server said");
        return false;
    }
    c->in_at += 2;
    c->value_left = 0;
    value_ends(c);
    return true;
}

/* A value is announced: makes room for it, if its owner wants it and we may have it. */
static void value_begins(struct conn *c, struct want *w, const struct wire_head *h)
{
    struct answer *into = w->into;
    enum wire_verb verb = ask_at(c, 0)->verb;

    c->reading = into;
    c->sink = NULL;
    c->value_left = h->size + 2;
    if (!into)
        return;
    into->status = wire_means(h, verb);
    into->flags = h->flags;
    into->cas = h->cas;
    into->ttl_s = h->ttl_s;
    into->lease = h->lease;
    into->doubtful = verb == WIRE_GET_MANY && c->asks == WIRE_META && h->size == 0 && into->status == MEND_OK;
    if (is_counter(verb) && (h->size == 0 || h->size > COUNTER_MAX)) {
        conn_fail(c, MEND_E_PROTOCOL, "a counter that is not a number");
        return;
    }
    if (verb == WIRE_EXISTS || is_counter(verb))
        return;

    into->value.len = 0;
    if (into->status > 0) /* an item without a value: a lease must not be lost for want of a byte */
        return;
    if (h->size <= c->value_max && buf_reserve(&into->value, (size_t)h->size + 1)) {
        c->sink = into;
        return;
    }
    into->status = MEND_E_MEMORY;
    into->error = h->size > c->value_max ? "the value is larger than value_max_bytes" : "out of memory for the value";
    into->maybe_applied = wire_writes(verb); /* a get-and-touch has touched */
}

/* ---- Whether an answer belongs to its question ---- */

static bool same(mend_bytes a, mend_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* A key that was once stored in base64 comes back so, even if it was asked for plainly. */
static bool same_key(mend_bytes asked, mend_bytes got, bool got_base64)
{
    char base64[KEY_BASE64_MAX + 1];

    if (!got_base64)
        return same(asked, got);
    return asked.len <= KEY_BINARY_MAX && same(mend_mem(base64, key_base64(base64, asked)), got);
}

/* The key of a question that nobody waits for is not kept: then an answer tells it by its opaque, or by its kind alone. */
static bool keeps_key(const struct want *w)
{
    return w->key.data != NULL;
}

/* Of an answer in the meta protocol. */
static bool belongs(const struct conn *c, const struct ask *a, const struct wire_head *h)
{
    if (h->has_opaque ? h->opaque != a->opaque.number : c->reflects)
        return false;
    if (h->key.data && keeps_key(&a->one) && !same_key(a->one.key, h->key, h->key_binary))
        return false;
    return h->kind != WIRE_VA || h->has_opaque || h->key.data;
}

/* Which of a gets' keys a VALUE is for: servers answer in the order asked, and proxies in any. */
static struct want *find_want(struct ask *a, mend_bytes key)
{
    for (size_t i = 0; i < a->n; i++) {
        size_t       at = a->next + i < a->n ? a->next + i : a->next + i - a->n;
        struct want *w = &a->many[at];
        if (!w->into->done && same(w->key, key)) {
            a->next = at + 1 < a->n ? at + 1 : 0;
            return w;
        }
    }
    return NULL;
}

/* ---- The answers' shapes ---- */

/* An error line. Whatever was asked, it is the whole answer; what else it does to the line depends on who says it. */
static void read_error(struct conn *c, struct ask *a, const struct wire_head *h)
{
    if (a->verb == WIRE_PROVE) {
        conn_fail(c, MEND_E_SERVER, "the server answered the proof of a multi-get with an error");
        return;
    }

    mend_status   status = wire_means(h, a->verb);
    bool          keeps = status > 0 || (h->kind == WIRE_SERVER_ERROR && (speaks(c, a) == WIRE_META || !wire_lists(a->verb)));
    struct want  *wants = a->many ? a->many : &a->one;

    static const char no_memory[] = "out of memory";

    /* memcached's own refusals store nothing; a proxy's SERVER_ERROR may stand for a write that went through. */
    bool maybe = wire_writes(a->verb) && h->kind == WIRE_SERVER_ERROR && status < 0 &&
                 !(h->text.len >= sizeof no_memory - 1 && memcmp(h->text.data, no_memory, sizeof no_memory - 1) == 0);

    if (!wants[0].into && status < 0) {
        c->refused = true;
        if (c->line_count > 1)
            ask_at(c, 1)->undeleted = true;
    }
    for (size_t i = 0; i < a->n; i++) {
        struct answer *into = wants[i].into;
        if (!into || into->done)
            continue;
        done(into, status);
        into->maybe_applied = maybe;
        into->zombie = maybe ? ZOMBIE_ADRIFT : ZOMBIE_NONE;
        if (status < 0) {
            into->again = a->many && c->asks == WIRE_META; /* one by one, where each has an answer of its own */
            keep_error(c, into->text, sizeof into->text, h);
            into->error = into->text;
        }
    }
    line_next(c);
    /* After a refused line the server may take a value for commands, and a proxy's error to a get may be one of several. */
    if (!keeps)
        conn_fail(c, MEND_E_SERVER, "the connection was given up after an error of the server's");
}

static void read_meta(struct conn *c, struct ask *a, const struct wire_head *h)
{
    struct answer *into = a->one.into;

    if (!belongs(c, a, h)) {
        conn_fail(c, MEND_E_PROTOCOL, "an answer to another question");
        return;
    }
    if (c->state == CONN_PROVING && h->kind != WIRE_VA) {
        read_proof(c, h);
        return;
    }
    if (h->kind == WIRE_VA) {
        value_begins(c, &a->one, h);
        return;
    }
    if (into) {
        into->flags = h->flags;
        into->cas = h->cas;
        into->ttl_s = h->ttl_s;
        into->lease = h->lease;
    }
    done(into, wire_means(h, a->verb));
    line_next(c);
}

static void read_classic(struct conn *c, struct ask *a, const struct wire_head *h)
{
    struct answer *into = a->one.into;

    if (h->kind == WIRE_VALUE) {
        struct want *w = a->many ? find_want(a, h->key) : a->next++ == 0 ? &a->one : NULL;
        if (!w || (keeps_key(w) && !same(w->key, h->key)) || !h->has_cas) { /* a gets' value has a cas */
            conn_fail(c, MEND_E_PROTOCOL, "a value that was not asked for");
            return;
        }
        value_begins(c, w, h);
        return;
    }
    if (h->kind == WIRE_END) {
        struct want *wants = a->many ? a->many : &a->one;
        for (size_t i = 0; i < a->n; i++)
            if (wants[i].into && !wants[i].into->done)
                done(wants[i].into, a->many || a->next == 0 ? MEND_MISS : wants[i].into->status);
        if (c->state == CONN_PROVING)
            read_proof(c, h);
        else
            line_next(c);
        return;
    }
    if (authenticating(c)) {
        authenticated(c, h);
        return;
    }
    if (into)
        into->number = h->number;
    done(into, wire_means(h, a->verb));
    line_next(c);
}

static void read_head(struct conn *c, const struct wire_head *h)
{
    struct ask *a = ask_at(c, 0);
    bool        error = h->kind == WIRE_ERROR || h->kind == WIRE_CLIENT_ERROR || h->kind == WIRE_SERVER_ERROR;
    bool        greets = error && c->state == CONN_PROVING; /* memcached refuses a connection too many before it is asked */

    if (c->sent < (error ? a->begins + 1 : a->ends) && !greets) { /* what is wrong with a question can be seen before its end */
        conn_fail(c, MEND_E_PROTOCOL, "an answer before its question");
        return;
    }
    if (!wire_fits(h->kind, a->verb, speaks(c, a))) {
        conn_fail(c, MEND_E_PROTOCOL, unfit);
        return;
    }
    if (greets)
        read_refusal(c, h);
    else if (error)
        read_error(c, a, h);
    else if (speaks(c, a) == WIRE_META)
        read_meta(c, a, h);
    else
        read_classic(c, a, h);
}

/* A value that w asks for, all of it there: its head line, of `head` bytes, has been read. False: it is not, and nothing was taken. */
static inline bool take_value(struct conn *c, const struct want *w, const struct wire_head *h, size_t head)
{
    struct answer *into = w->into;
    const char    *p = c->in.data + c->in_at + head;
    size_t         have = c->in.len - c->in_at - head;

    if (!head || h->size == 0 || have < h->size + 2 || h->size > c->value_max) /* empty: perhaps a lease's stub */
        return false;
    if (p[h->size] != '\r' || p[h->size + 1] != '\n' || !buf_reserve(&into->value, h->size + 1))
        return false;
    memcpy(into->value.data, p, h->size);
    into->value.data[h->size] = '\0';
    into->value.len = h->size;
    into->flags = h->flags;
    into->cas = h->cas;
    into->ttl_s = h->ttl_s;
    done(into, MEND_OK);
    c->in_at += head + h->size + 2;
    return true;
}

static bool awaits(const struct want *w)
{
    return w->into && !w->into->done;
}

/* The usual answers at their shortest: values of the keys that are next in a gets, and a hit of a get. False: something else, and
 * nothing was taken. */
static bool read_usual(struct conn *c, struct ask *a)
{
    struct wire_head h;
    bool             any = false;

    if (c->sent < a->ends)
        return false;
    if (!a->many) {
        if (!awaits(&a->one) || !take_value(c, &a->one, &h, wire_hit(&h, c->in.data + c->in_at, c->in.len - c->in_at, a->one.key, &a->opaque)))
            return false;
        line_next(c);
        return true;
    }
    for (struct want *w; w = &a->many[a->next], awaits(w); any = a->answering = true) {
        if (!take_value(c, w, &h, wire_value(&h, c->in.data + c->in_at, c->in.len - c->in_at, w->key)))
            break;
        a->next = a->next + 1 < a->n ? a->next + 1 : 0;
    }
    return any;
}

/* One step over what is in the buffer. False: it needs more bytes. */
static bool read_step(struct conn *c)
{
    struct wire_head h;

    if (c->value_left)
        return read_value(c);
    if (c->in_at == c->in.len)
        return false;
    if (c->line_count == 0) {
        conn_fail(c, MEND_E_PROTOCOL, "bytes that nobody asked for");
        return false;
    }
    struct ask *a = ask_at(c, 0);
    if ((a->verb == WIRE_GET_MANY || (a->verb == WIRE_GET && c->asks == WIRE_META)) && read_usual(c, a))
        return true;
    a->answering = true;
    int n = wire_head(&h, c->in.data + c->in_at, c->in.len - c->in_at);
    if (n < 0)
        conn_fail(c, MEND_E_PROTOCOL, "the server does not speak memcached's protocol");
    if (n <= 0)
        return false;
    c->in_at += (size_t)n;
    read_head(c, &h);
    return true;
}

void conn_took(struct conn *c, size_t n)
{
    assert(c->state == CONN_PROVING || c->state == CONN_READY || c->state == CONN_LINGERING);
    c->heard |= n > 0;
    if (reads_straight(c)) {
        size_t straight = at_most(n, (size_t)c->value_left - 2);
        c->sink->value.len += straight;
        c->value_left -= straight;
        n -= straight;
    }
    c->in.len += n;
    assert(c->in.len < c->in.cap);
    c->in.data[c->in.len] = '\0';
    while (c->state != CONN_BROKEN && read_step(c))
        ;
}

/* ---- The end ---- */

static void fail_ask(struct conn *c, struct ask *a, mend_status status, const char *why)
{
    struct want *wants = a->many ? a->many : &a->one;
    bool         touched = c->sent > a->begins;
    bool         maybe = touched && wire_writes(a->verb);

    c->ambiguous |= maybe;
    for (size_t i = 0; i < a->n; i++) {
        struct answer *into = wants[i].into;
        if (!into || into->done)
            continue;
        answer_fail(into, status, why);
        into->maybe_applied = maybe;
        if (maybe && !c->ended)
            into->zombie = c->state == CONN_LINGERING ? ZOMBIE_ON_LINE : ZOMBIE_ADRIFT;
        into->again = status != MEND_E_TIMEOUT && (!touched || (!wire_writes(a->verb) && !a->answering));
        c->lost |= !into->again;
    }
}

/* Becomes BROKEN or LINGERING: what is in flight fails. */
static void fail_all(struct conn *c, enum conn_state next, mend_status status, const char *why)
{
    become(c, next);
    c->broke = status;
    c->why = why;
    c->reading = NULL;
    c->sink = NULL;
    for (size_t i = 0; i < c->line_count; i++)
        fail_ask(c, ask_at(c, i), status, why);
}

void conn_fail(struct conn *c, mend_status status, const char *why)
{
    if (c->state == CONN_BROKEN || c->state == CONN_COLD)
        return;
    fail_all(c, CONN_BROKEN, status, why);
    c->value_left = 0;
    c->line_count = 0;
}

/* A gets has its keys, by which its values are told from others', in its caller's memory. */
static bool may_linger(const struct conn *c)
{
    bool writes = false;

    if (c->state != CONN_READY || c->out_at < c->out.len || c->crlf)
        return false;
    for (size_t i = 0; i < c->line_count; i++) {
        if (ask_at(c, i)->many)
            return false;
        writes |= wire_writes(ask_at(c, i)->verb);
    }
    return writes;
}

void conn_expire(struct conn *c, mend_status status, const char *why)
{
    if (!may_linger(c)) {
        conn_fail(c, status, why);
        return;
    }
    fail_all(c, CONN_LINGERING, status, why);
    for (size_t i = 0; i < c->line_count; i++)
        ask_at(c, i)->one = (struct want){.into = NULL};
}

void conn_end(struct conn *c, const char *why)
{
    if (c->state != CONN_BROKEN && c->state != CONN_COLD)
        c->ended = true;
    conn_fail(c, MEND_E_IO, why);
}
