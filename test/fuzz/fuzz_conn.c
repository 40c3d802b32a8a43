/* fuzz_conn.c - a whole connection: questions of ours, and whatever the server may say.
 *
 * The input's first bytes say how it is held, the rest is what the server says:
 *
 *     [0]      hint: 0 unknown, 1 meta, 2 classic (% 3); 0x08 fails in the end by time, not by the link;
 *              0x10 proved beforehand, by a right answer; 0x20 that has no opaque; 0x40 dialed anew once it broke;
 *              0x80 whoever asked first goes after the first step, unanswered
 *     [1]      value_max, from a table
 *     [2]      the allocation that fails, from 1; 0: none         [3] 0x01 and all behind it; 0x06 bytes sent at a step;
 *              0x08 time is up after the first step, and the rest comes too late; 0x10 the server ends it in the end;
 *              0x20 with a user and a password
 *     [4..7]   how many bytes arrive at a step, in turn; 0: all that is left
 *     [8]      how many questions, % 9, and a byte for each:
 *              0x0f verb (14, 15: a gets of many); 0x30 which key, or keys; 0x40 large value, a counter that is made, a binary key at the head
 *              0x80 asked one step later
 *
 * What must hold after each step stands in check_answer and check; at the end all is failed, nothing is left, and the
 * connection dialed anew answers. And where it can make no difference, the same speech comes to the same, whole or in pieces.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "core/conn.h"
#include "core/key.h"

#define PASSWORD "secret"
enum { HEAD = 9, ASKED_MAX = 8, KEYS_MAX = 40, OPAQUE = 100, LARGE = WIRE_COPY_MAX + 1, SPEECH_MAX = 40000 };

/* An answer as it was when it was first seen done: it must stay so. */
struct seen {
    struct answer was;
    bool          done;
};

/* A question, or a gets of many, that was put on the line. */
struct put {
    enum wire_verb verb;
    bool           many;
    unsigned       dialing; /* on which connection: the first, the second */
    uint64_t       begins, ends; /* where its bytes are; of a gets of many, with those of the proof before it */
    size_t         n;
    char          *large;
    struct want    wants[KEYS_MAX];
    struct answer  answers[KEYS_MAX];
    struct seen    seen[KEYS_MAX];
    bool           moved; /* whoever asked for one has gone: the answer goes to answers[1], and answers[0] is touched no more */
    struct answer  gone;  /* as answers[0] was then */
    char           gone_key[KEY_MAX];
};

struct rig {
    struct supply  supply;
    struct memory  memory;
    struct conn    c;
    const uint8_t *head, *questions;
    const char    *speech;
    size_t         question_count, question_next, speech_len;
    unsigned       dialing;
    size_t         put_count;
    struct put     puts[ASKED_MAX];
};

static const mend_bytes trial_key = {"trial", 5};
static char             long_key[KEY_MAX];
static const mend_bytes keys[4] = {{"a", 1}, {"key", 3}, {long_key, KEY_MAX}, {"b\0n", 3}};

/* ---- What must hold ---- */

static bool same_answer(const struct answer *a, const struct answer *b)
{
    return a->status == b->status && a->maybe_applied == b->maybe_applied && a->again == b->again && a->flags == b->flags &&
           a->cas == b->cas && a->number == b->number && a->ttl_s == b->ttl_s && a->error == b->error && a->value.len == b->value.len;
}

static bool said(const struct rig *r, struct buf value)
{
    return value.len == 0 || memmem(r->speech, r->speech_len, value.data, value.len) != NULL;
}

static bool reads_value(const struct put *p)
{
    return p->many || p->verb == WIRE_GET || p->verb == WIRE_GET_AND_TOUCH;
}

static void check_answer(const struct rig *r, const struct put *p, struct answer *a, struct seen *seen)
{
    if (!a->done) {
        must(!seen->done);
        return;
    }
    if (seen->done && same_answer(a, &seen->was))
        return;
    must(!seen->done);
    seen->done = true;
    seen->was = *a;

    must(strcmp(mend_status_name(a->status), "MEND_?") != 0);
    must((a->status < 0) == (a->error[0] != '\0'));
    must(!r->c.credentials.len || !strstr(a->error, PASSWORD));
    for (const char *s = a->error; *s; s++)
        must(*s >= ' ' && *s <= '~');
    must(!a->maybe_applied || !a->again);
    must(a->status < 0 || (!a->maybe_applied && !a->again));
    must(!a->maybe_applied || wire_writes(p->verb));
    must(a->status < 0 || r->c.sent >= (p->many ? p->begins + 1 : p->ends) || p->dialing < r->dialing || a->status == MEND_TOO_LARGE ||
         a->status == MEND_NOT_NUMBER);
    if (a->status == MEND_OK && reads_value(p)) {
        must(a->value.len <= r->c.value_max);
        must(a->value.data && a->value.data[a->value.len] == '\0');
        must(said(r, a->value));
    }
}

static const struct answer *answer_at(const struct put *p, size_t i)
{
    return &p->answers[p->moved + i];
}

static bool put_done(const struct put *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (!answer_at(p, i)->done)
            return false;
    return true;
}

static bool put_begun(const struct put *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (answer_at(p, i)->done)
            return true;
    return false;
}

static uint64_t left_to_send(const struct conn *c)
{
    mend_bytes pending[3];
    size_t     n = conn_pending(c, pending);
    uint64_t   left = 0;

    must(n <= 3);
    for (size_t i = 0; i < n; i++) {
        must(pending[i].data && pending[i].len > 0);
        left += pending[i].len;
    }
    return left;
}

static void check(struct rig *r)
{
    struct conn *c = &r->c;
    bool         all_done = true;

    must(c->state == CONN_PROVING || c->state == CONN_READY || c->state == CONN_LINGERING || c->state == CONN_BROKEN);
    must(c->state != CONN_READY || c->dialect == c->asks);
    must(!c->ambiguous || conn_is_over(c));
    for (size_t i = 0; i < r->put_count; i++) {
        struct put *p = &r->puts[i];
        must(!put_begun(p) || all_done || p->dialing < r->dialing); /* in the order asked */
        must(!p->moved || (!p->answers[0].done && same_answer(&p->answers[0], &p->gone)));
        for (size_t k = 0; k < p->n && !p->moved; k++)
            check_answer(r, p, &p->answers[k], &p->seen[k]);
        all_done = all_done && put_done(p);
    }
    if (c->state == CONN_BROKEN) {
        must(all_done);
        must(c->broke < 0 && c->why[0] != '\0');
        must(left_to_send(c) == 0);
        must(!conn_takes(c));
        must(!conn_refused_meta(c) || (c->dialect == WIRE_UNKNOWN && !c->heard && !c->ambiguous));
        for (size_t i = 0; i < r->put_count; i++) { /* what was borrowed is let go of */
            free(r->puts[i].large);
            r->puts[i].large = NULL;
        }
        return;
    }
    must(left_to_send(c) == c->asked - c->sent);
    must(!conn_at_rest(c) || (all_done && c->sent == c->asked));
    must(c->state == CONN_READY || !conn_takes(c));
    must(c->state != CONN_LINGERING || (all_done && c->ambiguous && c->sent == c->asked));
}

/* ---- What the world does ---- */

static void transmit(struct rig *r, size_t most)
{
    static char scratch[ASKED_MAX * 2 * LARGE];
    mend_bytes  pending[3];
    size_t      n = conn_pending(&r->c, pending), went = 0;

    for (size_t i = 0; i < n && went < most; i++) {
        size_t len = pending[i].len < most - went ? pending[i].len : most - went;
        must(went + len <= sizeof scratch);
        memcpy(scratch + went, pending[i].data, len);
        went += len;
    }
    if (went)
        conn_sent(&r->c, went);
}

static void arrive(struct rig *r, const char *bytes, size_t n)
{
    while (n > 0 && (r->c.state == CONN_PROVING || r->c.state == CONN_READY || r->c.state == CONN_LINGERING)) {
        struct conn_span room[2];
        size_t           spans = conn_room(&r->c, room), took = 0;
        must(spans == 1 || spans == 2);
        for (size_t i = 0; i < spans; i++) {
            size_t len = room[i].len < n - took ? room[i].len : n - took;
            must(room[i].len > 0);
            if (len)
                memcpy(room[i].data, bytes + took, len);
            took += len;
        }
        conn_took(&r->c, took);
        bytes += took;
        n -= took;
    }
}

/* ---- Questions ---- */

static void add_want(struct rig *r, struct put *p, mend_bytes key)
{
    struct answer *a = &p->answers[p->n];
    a->value.memory = &r->memory;
    answer_reset(a);
    p->wants[p->n++] = (struct want){.key = key, .key_binary = key_kind(key) == KEY_BINARY, .into = a};
}

static void choose_keys(struct rig *r, struct put *p, uint8_t q)
{
    static const uint8_t few[3][3] = {{0, 1, 2}, {0, 0, 1}, {0, 3, 1}}; /* different; twice the same; one that is binary */
    unsigned             set = q >> 4 & 3;

    if (q & 0x40)
        add_want(r, p, keys[3]); /* a binary one at the head: nothing can be asked */
    for (size_t i = 0; set < 3 && i < 3; i++)
        add_want(r, p, keys[few[set][i]]);
    while (set == 3 && p->n < KEYS_MAX) /* more than go into one line */
        add_want(r, p, keys[2]);
}

static void ask_many(struct rig *r, struct put *p, uint8_t q)
{
    struct conn *c = &r->c;
    size_t       before = c->line_count;

    choose_keys(r, p, q);
    size_t took = conn_ask_many(c, p->wants, p->n);
    must(took <= p->n);
    must(took == 0 || !(q & 0x40));
    must(took > 0 || (c->asked == p->begins && c->line_count == before));
    for (size_t i = took; i < p->n; i++)
        must(!p->answers[i].done && p->answers[i].value.data == NULL);
    p->n = took;
    p->many = true;
    p->verb = WIRE_GET_MANY;
}

static void ask_one(struct rig *r, struct put *p, uint8_t q)
{
    struct conn         *c = &r->c;
    struct wire_question question = {.verb = (enum wire_verb)(q & 15), .key = keys[q >> 4 & 3], .flags = 7, .exptime = q & 0x40 ? -1 : 60,
                                     .cas = 9, .delta = 1, .initial = 5, .create = q & 0x40, .value = {"hello", 5}};

    if (wire_carries_value(question.verb) && q & 0x40) {
        p->large = calloc(1, LARGE);
        must(p->large != NULL);
        question.value = mend_mem(p->large, LARGE);
    }
    add_want(r, p, question.key);
    question.key_binary = p->wants[0].key_binary;
    p->verb = question.verb;

    mend_status status = conn_ask(c, &question, &p->answers[0]);
    must(status == MEND_OK || status == MEND_E_MEMORY || (status == MEND_E_ARGUMENT && question.key_binary && c->asks == WIRE_CLASSIC));
    must(status == MEND_OK || (c->asked == p->begins && !p->answers[0].done));
    if (status != MEND_OK)
        p->n = 0;
}

/* As many as it takes. Without a wait all are asked at once. */
static void ask(struct rig *r)
{
    while (r->question_next < r->question_count && conn_takes(&r->c)) {
        uint8_t     q = r->questions[r->question_next++];
        struct put *p = &r->puts[r->put_count++];
        memset(p, 0, offsetof(struct put, wants));
        p->begins = r->c.asked;
        p->dialing = r->dialing;
        memset(p->seen, 0, sizeof p->seen);
        if ((q & 15) >= WIRE_PROVE)
            ask_many(r, p, q);
        else
            ask_one(r, p, q);
        p->ends = r->c.asked;
        must(r->c.state == CONN_READY);
        if (q & 0x80)
            return;
    }
}

/* ---- A life ---- */

static bool dial(struct rig *r)
{
    static const enum wire_dialect hints[] = {WIRE_UNKNOWN, WIRE_META, WIRE_CLASSIC};
    enum wire_dialect              hint = hints[(r->head[0] & 7) % 3];
    bool        known = r->c.credentials.len > 0;
    const char *proof = hint == WIRE_CLASSIC ? "END\r\n" : r->head[0] & 0x20 ? "EN\r\n" : known ? "EN kdHJpYWw= b O102\r\n" : "EN kdHJpYWw= b O101\r\n";

    r->dialing++;
    if (!conn_dial(&r->c, hint, OPAQUE))
        return false;
    must(r->c.state == CONN_DIALING && left_to_send(&r->c) == 0 && !conn_takes(&r->c));
    conn_dialed(&r->c);
    check(r);
    if (r->head[0] & 0x10) {
        transmit(r, SIZE_MAX);
        if (known) {
            arrive(r, "STORED\r\n", strlen("STORED\r\n"));
            transmit(r, SIZE_MAX);
        }
        arrive(r, proof, strlen(proof));
        check(r);
        must(r->c.state == CONN_READY || r->supply.fails_at);
    }
    return true;
}

static void step(struct rig *r, const char *bytes, size_t n)
{
    static const size_t sends[] = {SIZE_MAX, 1, 20, 5000};

    ask(r);
    check(r);
    transmit(r, sends[r->head[3] >> 1 & 3]);
    check(r);
    if ((r->head[3] & 0x1e) == 0 && r->question_next < r->question_count) { /* a large value was in the way of those behind it */
        ask(r);
        transmit(r, SIZE_MAX);
    }
    arrive(r, bytes, n);
    check(r);
}

/* Whoever asked the first question goes: its key and its answer's place are not to be touched again. */
static void leave(struct rig *r)
{
    struct put *p = &r->puts[0];

    if (!(r->head[0] & 0x80) || r->put_count == 0 || p->many || p->moved || p->answers[0].done)
        return;
    p->answers[1] = (struct answer){.value.memory = &r->memory};
    answer_reset(&p->answers[1]);
    memcpy(p->gone_key, p->wants[0].key.data, p->wants[0].key.len);
    p->moved = true;
    conn_redirect(&r->c, &p->answers[0], &p->answers[1], mend_mem(p->gone_key, p->wants[0].key.len));
    p->wants[0].key = mend_mem(NULL, 0);
    p->gone = p->answers[0];
}

/* What was not done is done by `ends`, and says truthfully how. */
static void end(struct rig *r, void (*ends)(struct conn *, mend_status, const char *), mend_status status)
{
    static struct answer before[ASKED_MAX][KEYS_MAX];
    bool                 maybe = false;

    for (size_t i = 0; i < r->put_count; i++)
        memcpy(before[i], answer_at(&r->puts[i], 0), r->puts[i].n * sizeof before[i][0]);
    ends(&r->c, status, "cut off");
    must(conn_is_over(&r->c) && r->c.broke == status && strcmp(r->c.why, "cut off") == 0);
    for (size_t i = 0; i < r->put_count; i++) {
        const struct put *p = &r->puts[i];
        bool              touched = r->c.sent > p->begins, writes = wire_writes(p->verb);
        for (size_t k = 0; k < p->n; k++) {
            const struct answer *a = answer_at(p, k);
            if (before[i][k].done)
                continue;
            must(a->done && a->status == status && strcmp(a->error, "cut off") == 0);
            must(a->maybe_applied == (touched && writes));
            must(a->zombie == (!a->maybe_applied || r->c.ended ? ZOMBIE_NONE : r->c.state == CONN_LINGERING ? ZOMBIE_ON_LINE : ZOMBIE_ADRIFT));
            must(a->again || touched || status == MEND_E_TIMEOUT);
            must(!a->again || (status != MEND_E_TIMEOUT && (!touched || !writes)));
            maybe = maybe || a->maybe_applied;
        }
    }
    must(!maybe || r->c.ambiguous);
    check(r);
}

/* Whoever asked has gone, and what was borrowed is given back, whether or not the line is kept for its late answers. */
static void expire(struct rig *r)
{
    if (conn_is_over(&r->c))
        return;
    end(r, conn_expire, MEND_E_TIMEOUT);
    for (size_t i = 0; i < r->put_count; i++)
        for (size_t k = 0; k < r->puts[i].n; k++) {
            r->puts[i].wants[k].key = mend_mem(NULL, 0);
            must(!r->puts[i].large || r->c.state == CONN_LINGERING);
        }
}

static void ended(struct conn *c, mend_status status, const char *why)
{
    (void)status;
    conn_end(c, why);
}

/* The link breaks, or time is up, or the server ends it. */
static void fail(struct rig *r)
{
    if (r->c.state == CONN_BROKEN || r->c.state == CONN_COLD)
        return;
    if (r->head[3] & 0x10)
        end(r, ended, MEND_E_IO);
    else
        end(r, conn_fail, r->head[0] & 8 ? MEND_E_TIMEOUT : MEND_E_IO);
    conn_fail(&r->c, MEND_E_MEMORY, "and once more, for nothing");
    must(r->c.state == CONN_BROKEN && strcmp(r->c.why, "cut off") == 0);
}

/* The world is well again: so must the connection be. */
static void end_well(struct rig *r)
{
    static const char           answer[] = "VA 2 f0 c1 t-1 kwell O102\r\nhi\r\n", proof[] = "EN kdHJpYWw= b O101\r\n";
    static const struct wire_question q = {.verb = WIRE_GET, .key = {"well", 4}};
    struct answer               a = {.value.memory = &r->memory};

    must(!strstr(r->c.why, PASSWORD));
    conn_authenticate(&r->c, mend_mem(NULL, 0));
    r->supply.fails_at = 0;
    r->put_count = 0;
    r->c.value_max = 2;
    must(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    must(!r->c.heard && !r->c.ambiguous && r->c.broke == MEND_OK && r->c.why[0] == '\0');
    conn_dialed(&r->c);
    transmit(r, SIZE_MAX);
    arrive(r, proof, sizeof proof - 1);
    must(r->c.state == CONN_READY && conn_takes(&r->c) && conn_at_rest(&r->c));
    answer_reset(&a);
    must(conn_ask(&r->c, &q, &a) == MEND_OK);
    transmit(r, SIZE_MAX);
    arrive(r, answer, sizeof answer - 1);
    must(a.done && a.status == MEND_OK && a.value.len == 2 && strcmp(a.value.data, "hi") == 0);
    must(conn_at_rest(&r->c) && conn_unsent(&r->c) == 0);

    /* A write behind a delete that is refused: whatever it did, it did to what should not be there. */
    static const char                 refused[] = "SERVER_ERROR no\r\nHD O104\r\n";
    static const struct wire_question touch = {.verb = WIRE_TOUCH, .key = {"well", 4}, .exptime = 60, .behind_delete = true};
    struct answer                     touched = {.value.memory = &r->memory};
    answer_reset(&touched);
    must(conn_ask(&r->c, &touch, &touched) == MEND_OK);
    transmit(r, SIZE_MAX);
    arrive(r, refused, sizeof refused - 1);
    must(touched.done && touched.status == MEND_E_SERVER && touched.maybe_applied && r->c.refused && conn_at_rest(&r->c));

    /* Moved on, within one allocator and from one to the other. */
    struct memory libc = memory_from(NULL);
    struct answer b = {.value.memory = &r->memory}, far = {.value.memory = &libc};
    answer_move(&b, &a);
    must(a.value.len == 0 && b.done && b.value.len == 2 && strcmp(b.value.data, "hi") == 0);
    answer_move(&far, &b);
    must(far.done && far.value.len == 2 && strcmp(far.value.data, "hi") == 0);
    buf_release(&a.value);
    buf_release(&b.value);
    buf_release(&far.value);
}

/* What a life came to, in one number. */
static void mix(uint64_t *sum, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *sum = (*sum ^ ((const uint8_t *)p)[i]) * 0x100000001b3; /* FNV-1a */
}

static uint64_t outcome(const struct rig *r)
{
    uint64_t sum = 0xcbf29ce484222325;

    mix(&sum, r->c.why, strlen(r->c.why));
    for (size_t i = 0; i < r->put_count; i++)
        for (size_t k = 0; k < r->puts[i].n; k++) {
            const struct answer *a = answer_at(&r->puts[i], k);
            uint64_t numbers[] = {(uint64_t)a->status, a->maybe_applied, a->again, a->flags, a->cas, a->number, (uint64_t)a->ttl_s};
            mix(&sum, numbers, sizeof numbers);
            mix(&sum, a->error, strlen(a->error));
            if (a->status == MEND_OK && a->value.len)
                mix(&sum, a->value.data, a->value.len);
        }
    return sum;
}

/* A whole life, its bytes arriving by pieces of these sizes. */
static uint64_t live(const uint8_t *data, size_t size, const uint8_t pieces[4])
{
    static struct rig r;

    memset(&r, 0, offsetof(struct rig, puts));
    r.memory = supply_memory(&r.supply);
    r.supply.fails_at = data[2];
    r.supply.for_good = data[3] & 1;
    r.head = data;
    r.questions = data + HEAD;
    r.question_count = data[8] % (ASKED_MAX + 1);
    if (r.question_count > size - HEAD)
        r.question_count = size - HEAD;
    r.speech = (const char *)r.questions + r.question_count;
    r.speech_len = size - HEAD - r.question_count;

    static const uint64_t limits[] = {1 << 20, 0, 16, 5000};
    conn_init(&r.c, &r.memory, trial_key, limits[data[1] % 4]);
    if (data[3] & 0x20)
        conn_authenticate(&r.c, mend_str("user " PASSWORD));
    bool   dialed = dial(&r);
    size_t at = 0;
    for (unsigned turn = 0; dialed && (turn == 0 || at < r.speech_len); turn++) {
        size_t left = r.speech_len - at, n = pieces[turn % 4];
        n = n && n < left ? n : left;
        step(&r, r.speech + at, n);
        leave(&r);
        if (turn == 0 && data[3] & 8)
            expire(&r);
        at += n;
        if (r.c.state != CONN_BROKEN)
            continue;
        if (!(data[0] & 0x40) || r.dialing > 1)
            break;
        dialed = dial(&r);
    }
    fail(&r);

    uint64_t came_to = outcome(&r);
    size_t   put_count = r.put_count;
    end_well(&r);
    conn_release(&r.c);
    for (size_t i = 0; i < put_count; i++) {
        free(r.puts[i].large);
        for (size_t k = 0; k < r.puts[i].n + r.puts[i].moved; k++)
            buf_release(&r.puts[i].answers[k].value);
        r.puts[i].moved = false;
    }
    must(r.supply.live == 0);
    return came_to;
}

/* Whether it can make no difference in which pieces the speech comes: all is asked and sent before it begins. */
static bool indifferent(const uint8_t *data, size_t size)
{
    if (data[2] || (data[3] & 0x1e) || !(data[0] & 0x10) || data[0] & (0x40 | 0x80))
        return false;
    for (size_t i = HEAD; i < size && i < HEAD + data[8] % (ASKED_MAX + 1u); i++) {
        bool large = data[i] & 0x40 && wire_carries_value((enum wire_verb)(data[i] & 15));
        if (data[i] & 0x80 || large)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t whole[4] = {0}, single[4] = {1, 1, 1, 1};

    if (size < HEAD || size > SPEECH_MAX)
        return 0;
    memset(long_key, 'k', sizeof long_key);
    uint64_t came_to = live(data, size, data + 4);
    if (indifferent(data, size)) {
        must(live(data, size, whole) == came_to);
        must(size > 3000 || live(data, size, single) == came_to);
    }
    return 0;
}
