/* test_conn.c - dialogues of a connection with a server that is made up: right answers, wrong ones, and none.
 *
 * Each dialogue is held with the server's bytes arriving whole, cut at every place, and one by one, and ends well:
 * with a question that is answered, on a new connection if the old one broke.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/conn.h"
#include "core/key.h"

/* ---- Memory that can run out ---- */

struct supply {
    unsigned asked, fails_at; /* the fails_at-th time, counted from 1; 0: never */
    bool for_good;
    unsigned live;
};

static bool supply_fails(struct supply *s)
{
    s->asked++;
    return s->fails_at && (s->asked == s->fails_at || (s->for_good && s->asked > s->fails_at));
}

static void *supply_reallocate(void *p, size_t bytes, void *context)
{
    struct supply *s = context;
    if (supply_fails(s))
        return NULL;
    s->live += p == NULL;
    return realloc(p, bytes);
}

static void *supply_allocate(size_t bytes, void *context)
{
    return supply_reallocate(NULL, bytes, context);
}

static void supply_release(void *p, void *context)
{
    ((struct supply *)context)->live--;
    free(p);
}

/* ---- A connection, and what it is asked ---- */

enum { ANSWERS = 8, OPAQUE = 100 }; /* the trial's opaque is 101, and that of the first question behind it 102 */

enum speaks { REFLECTS, META, CLASSIC }; /* memcached from 1.6.18 on; from 1.6.10 on; before, and proxies */

struct rig {
    struct supply supply;
    struct memory memory;
    struct conn c;
    struct answer answers[ANSWERS];
    struct want wants[ANSWERS];
    char sent[70000];
    size_t sent_len;
};

#define TRIAL_64 "dHJpYWw="
static const mend_bytes trial_key = {"trial", 5};

static struct rig *rig_new(void)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->memory = memory_from(&(mend_allocator){supply_allocate, supply_reallocate, supply_release, &r->supply});
    conn_init(&r->c, &r->memory, trial_key, 1 << 20);
    for (size_t i = 0; i < ANSWERS; i++) {
        r->answers[i].value.memory = &r->memory;
        answer_reset(&r->answers[i]);
    }
    return r;
}

static void rig_free(struct rig *r)
{
    conn_release(&r->c);
    for (size_t i = 0; i < ANSWERS; i++)
        buf_release(&r->answers[i].value);
    assert_int_equal(r->supply.live, 0);
    free(r);
}

/* Sends at most so many bytes, and keeps what went. */
static void transmit(struct rig *r, size_t most)
{
    mend_bytes pending[3];
    size_t n = conn_pending(&r->c, pending), went = 0;

    for (size_t i = 0; i < n && went < most; i++) {
        size_t len = pending[i].len < most - went ? pending[i].len : most - went;
        assert_true(pending[i].len > 0 && r->sent_len + len < sizeof r->sent);
        memcpy(r->sent + r->sent_len, pending[i].data, len);
        r->sent_len += len;
        went += len;
    }
    r->sent[r->sent_len] = '\0';
    conn_sent(&r->c, went);
}

static void transmit_all(struct rig *r)
{
    r->sent_len = 0;
    transmit(r, SIZE_MAX);
    mend_bytes none[3];
    assert_int_equal(conn_pending(&r->c, none), 0);
}

/* So many bytes arrive at once. */
static void arrive(struct rig *r, const char *bytes, size_t n)
{
    while (n > 0 && r->c.state != CONN_BROKEN) {
        struct conn_span room[2];
        size_t spans = conn_room(&r->c, room), took = 0;
        for (size_t i = 0; i < spans; i++) {
            size_t len = room[i].len < n - took ? room[i].len : n - took;
            assert_true(room[i].len > 0);
            memcpy(room[i].data, bytes + took, len);
            took += len;
        }
        conn_took(&r->c, took);
        bytes += took;
        n -= took;
    }
}

/* They arrive in two pieces, the first of `cut` bytes; cut 0: one by one; cut >= n: whole. */
static void feed(struct rig *r, const char *bytes, size_t n, size_t cut)
{
    if (cut == 0)
        for (size_t i = 0; i < n; i++)
            arrive(r, bytes + i, 1);
    else {
        arrive(r, bytes, cut < n ? cut : n);
        if (cut < n)
            arrive(r, bytes + cut, n - cut);
    }
}

static void feed_text(struct rig *r, const char *text)
{
    feed(r, text, strlen(text), SIZE_MAX);
}

static void ready(struct rig *r, enum speaks speaks)
{
    static const char *const proofs[] = {"EN k" TRIAL_64 " b O101\r\n", "EN\r\n", "END\r\n"};
    assert_true(conn_dial(&r->c, speaks == CLASSIC ? WIRE_CLASSIC : WIRE_UNKNOWN, OPAQUE));
    assert_false(r->c.heard);
    conn_dialed(&r->c);
    transmit_all(r);
    feed_text(r, proofs[speaks]);
    assert_int_equal(r->c.state, CONN_READY);
    assert_int_equal(r->c.dialect, speaks == CLASSIC ? WIRE_CLASSIC : WIRE_META);
    assert_int_equal(r->c.reflects, speaks == REFLECTS);
    assert_true(conn_takes(&r->c) && conn_at_rest(&r->c));
}

static mend_status ask(struct rig *r, const struct wire_question *q, size_t into)
{
    answer_reset(&r->answers[into]);
    return conn_ask(&r->c, q, &r->answers[into]);
}

/* The keys are words with a space between; their answers are the first ones. */
static size_t ask_many(struct rig *r, const char *keys)
{
    size_t n = 0;
    for (const char *p = keys; *p; n++) {
        size_t len = strcspn(p, " ");
        answer_reset(&r->answers[n]);
        r->wants[n] = (struct want){.key = {p, len}, .into = &r->answers[n]};
        p += len + (p[len] == ' ');
    }
    size_t took = conn_ask_many(&r->c, r->wants, n);
    return took == n ? n : 0;
}

/* A connection is well that answers one more question rightly; it may be dialed anew for it. */
static void end_well(struct rig *r)
{
    static const struct wire_question q = {.verb = WIRE_GET, .key = {"well", 4}};
    char answer[60];

    r->supply = (struct supply){.live = r->supply.live};
    if (r->c.state == CONN_BROKEN || r->c.state == CONN_COLD) {
        ready(r, REFLECTS);
        assert_false(r->c.ambiguous);
        assert_int_equal(r->c.broke, MEND_OK);
        assert_string_equal(r->c.why, "");
    }
    assert_int_equal(ask(r, &q, 0), MEND_OK);
    assert_false(conn_at_rest(&r->c));
    transmit_all(r);
    if (r->c.dialect == WIRE_META)
        snprintf(answer, sizeof answer, "VA 2 f0 c1 t-1 kwell O%llu\r\nhi\r\n", (unsigned long long)r->c.opaque.number);
    else
        snprintf(answer, sizeof answer, "VALUE well 0 2 1\r\nhi\r\nEND\r\n");
    feed_text(r, answer);
    assert_true(r->answers[0].done && r->answers[0].status == MEND_OK && r->answers[0].value.len == 2);
    assert_string_equal(r->answers[0].value.data, "hi");
    assert_true(conn_at_rest(&r->c));
}

/* ---- What came of it, in words ---- */

static const char *describe(const struct answer *a, char to[400])
{
    char *p = to;
    if (!a->done)
        return strcpy(to, "nothing");
    p += sprintf(p, "%s", mend_status_name(a->status) + strlen("MEND_"));
    if (a->status >= 0 && a->flags)
        p += sprintf(p, " f%u", a->flags);
    if (a->status >= 0 && a->cas)
        p += sprintf(p, " c%llu", (unsigned long long)a->cas);
    if (a->status >= 0 && a->ttl_s != MEND_TTL_UNKNOWN)
        p += sprintf(p, " t%lld", (long long)a->ttl_s);
    if (a->status >= 0 && a->number)
        p += sprintf(p, " n%llu", (unsigned long long)a->number);
    if (a->maybe_applied)
        p += sprintf(p, " maybe");
    if (a->again)
        p += sprintf(p, " again");
    if (a->status == MEND_OK && a->value.len)
        p += sprintf(p, " =%.*s", (int)a->value.len, a->value.data);
    if (a->status < 0)
        sprintf(p, ": %s", a->error);
    return to;
}

static void agree(const char *row, size_t cut, const char *what, const char *is, const char *should)
{
    if (strcmp(is, should) != 0)
        fail_msg("\"%s\", cut at %zu: %s is \"%s\", and not \"%s\"", row, cut, what, is, should);
}

static const char *describe_end(const struct conn *c, char to[400])
{
    if (c->state == CONN_READY)
        return conn_at_rest(c) ? "ready" : "ready, and waits";
    if (c->state == CONN_BROKEN)
        snprintf(to, 400, "%s: %s", mend_status_name(c->broke) + strlen("MEND_"), c->why);
    else
        snprintf(to, 400, "state %d", (int)c->state);
    return to;
}

/* ---- Proving ---- */

#define ASKS_META "mg " TRIAL_64 " b k v O101\r\n"
#define ASKS_CLASSIC "gets trial\r\n"
#define UNFIT "E_PROTOCOL: an answer that does not fit its question"
#define OTHER "E_PROTOCOL: an answer to another question"
#define GARBAGE "E_PROTOCOL: the server does not speak memcached's protocol"
#define GIVEN_UP "E_SERVER: the connection was given up after an error of the server's"
#define NOBODY "E_PROTOCOL: bytes that nobody asked for"

static void proving(void **state)
{
    static const struct {
        enum wire_dialect hint;
        const char *got, *then; /* then: what comes once it has asked again, classically */
        const char *end;
        enum wire_dialect dialect;
        bool reflects;
    } rows[] = {
        {WIRE_UNKNOWN, "EN k" TRIAL_64 " b O101\r\n", NULL, "ready", WIRE_META, true},
        {WIRE_META, "EN O101 k" TRIAL_64 " b\r\n", NULL, "ready", WIRE_META, true},
        {WIRE_UNKNOWN, "EN\r\n", NULL, "ready", WIRE_META, false},
        {WIRE_UNKNOWN, "HD O101\r\n", NULL, "ready", WIRE_META, false},
        {WIRE_UNKNOWN, "VA 2 k" TRIAL_64 " b O101\r\nhi\r\n", NULL, "ready", WIRE_META, false}, /* somebody stored it */
        {WIRE_UNKNOWN, "VA 0 k" TRIAL_64 " b O101\r\n\r\n", NULL, "ready", WIRE_META, false},
        {WIRE_UNKNOWN, "OK O101\r\n", NULL, "ready", WIRE_CLASSIC, false}, /* a meta protocol that is too old */
        {WIRE_UNKNOWN, "ERROR\r\n", "END\r\n", "ready", WIRE_CLASSIC, false},
        {WIRE_META, "ERROR\r\n", "END\r\n", "ready", WIRE_CLASSIC, false},
        {WIRE_UNKNOWN, "CLIENT_ERROR bad command line format\r\n", "END\r\n", "ready", WIRE_CLASSIC, false},
        {WIRE_UNKNOWN, "ERROR\r\n", "VALUE trial 0 2 9\r\nhi\r\nEND\r\n", "ready", WIRE_CLASSIC, false},
        {WIRE_CLASSIC, "END\r\n", NULL, "ready", WIRE_CLASSIC, false},
        {WIRE_CLASSIC, "VALUE trial 0 2 9\r\nhi\r\nEND\r\n", NULL, "ready", WIRE_CLASSIC, false},

        {WIRE_UNKNOWN, "ERROR Too many open connections\r\n", NULL, "E_SERVER: ERROR Too many open connections", 0, false},
        {WIRE_CLASSIC, "ERROR Too many open connections\r\n", NULL, "E_SERVER: ERROR Too many open connections", 0, false},
        {WIRE_UNKNOWN, "CLIENT_ERROR unauthenticated\r\n", NULL, "E_AUTH: the server wants authentication", 0, false},
        {WIRE_CLASSIC, "CLIENT_ERROR unauthenticated\r\n", NULL, "E_AUTH: the server wants authentication", 0, false},
        {WIRE_UNKNOWN, "ERROR\r\n", "CLIENT_ERROR unauthenticated\r\n", "E_AUTH: the server wants authentication", 0, false},
        {WIRE_UNKNOWN, "ERROR\r\n", "ERROR again\r\n", "E_SERVER: ERROR again", 0, false},
        {WIRE_CLASSIC, "CLIENT_ERROR no\r\n", NULL, "E_SERVER: CLIENT_ERROR no", 0, false},
        {WIRE_UNKNOWN, "SERVER_ERROR backend \x1b[31mfailure\r\n", NULL, "E_SERVER: SERVER_ERROR backend ?[31mfailure", 0, false},
        {WIRE_UNKNOWN, "ERROR\r\n", "SERVER_ERROR out of memory\r\n", "E_SERVER: SERVER_ERROR out of memory", 0, false},

        {WIRE_UNKNOWN, "EN O100\r\n", NULL, OTHER, 0, false},
        {WIRE_UNKNOWN, "EN kZm9v b O101\r\n", NULL, OTHER, 0, false},
        {WIRE_UNKNOWN, "VA 2 kZm9v b O101\r\nhi\r\n", NULL, OTHER, 0, false},
        {WIRE_UNKNOWN, "VA 2\r\nhi\r\n", NULL, OTHER, 0, false},
        {WIRE_UNKNOWN, "VA 2 O101\r\nhiho\r\n", NULL, "E_PROTOCOL: a value does not end where the server said", 0, false},
        {WIRE_UNKNOWN, "END\r\n", NULL, UNFIT, 0, false},
        {WIRE_UNKNOWN, "NF O101\r\n", NULL, UNFIT, 0, false},
        {WIRE_UNKNOWN, "ERROR\r\n", "EN O101\r\n", UNFIT, 0, false},
        {WIRE_CLASSIC, "EN\r\n", NULL, UNFIT, 0, false},
        {WIRE_CLASSIC, "OK\r\n", NULL, UNFIT, 0, false},
        {WIRE_UNKNOWN, "HTTP/1.1 400 Bad Request\r\n", NULL, GARBAGE, 0, false},
        {WIRE_CLASSIC, "SSH-2.0-OpenSSH_9.2\r\n", NULL, GARBAGE, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *got = rows[i].got, *then = rows[i].then;
        size_t most = strlen(got) > (then ? strlen(then) : 0) ? strlen(got) : strlen(then);
        for (size_t cut = 0; cut <= most; cut++) {
            struct rig *r = rig_new();
            char end[400];
            assert_true(conn_dial(&r->c, rows[i].hint, OPAQUE));
            assert_int_equal(r->c.state, CONN_DIALING);
            conn_dialed(&r->c);
            assert_int_equal(r->c.state, CONN_PROVING);
            assert_false(conn_takes(&r->c));
            transmit_all(r);
            agree(got, cut, "the question", r->sent, rows[i].hint == WIRE_CLASSIC ? ASKS_CLASSIC : ASKS_META);
            feed(r, got, strlen(got), cut);
            if (then) {
                assert_int_equal(r->c.state, CONN_PROVING);
                transmit_all(r);
                agree(then, cut, "the second question", r->sent, ASKS_CLASSIC);
                feed(r, then, strlen(then), cut);
            }
            agree(got, cut, "the end", describe_end(&r->c, end), rows[i].end);
            if (r->c.state == CONN_READY) {
                assert_int_equal(r->c.dialect, rows[i].dialect);
                assert_int_equal(r->c.asks, rows[i].dialect);
                assert_int_equal(r->c.reflects, rows[i].reflects);
            }
            assert_true(r->c.heard);
            assert_false(r->c.ambiguous || conn_refused_meta(&r->c));
            end_well(r);
            rig_free(r);
        }
    }
}

/* memcached says so before it has been asked anything. */
static void refused_at_the_door(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    conn_dialed(&r->c);
    feed_text(r, "ERROR Too many open connections\r\n");
    assert_int_equal(r->c.broke, MEND_E_SERVER);
    assert_string_equal(r->c.why, "ERROR Too many open connections");
    end_well(r);
    rig_free(r);
}

#define SAYS_WHO "set mend:auth 0 -1 13\r\nuser password\r\n"
#define ASKS_META_THEN "mg " TRIAL_64 " b k v O102\r\n"

/* User and password before anything else; the trial is asked when they were taken, and not before. */
static void authentication(void **state)
{
    static const struct {
        enum wire_dialect hint;
        const char *got, *then, *end;
    } rows[] = {
        {WIRE_UNKNOWN, "STORED\r\n", "EN k" TRIAL_64 " b O102\r\n", "ready"},
        {WIRE_META, "STORED\r\n", "EN\r\n", "ready"},
        {WIRE_CLASSIC, "STORED\r\n", "END\r\n", "ready"},
        {WIRE_UNKNOWN, "STORED\r\n", "SERVER_ERROR no password\r\n", "E_SERVER: SERVER_ERROR (with the password in it)"},
        {WIRE_UNKNOWN, "STORED\r\n", "CLIENT_ERROR unauthenticated\r\n", "E_AUTH: the server wants authentication"},
        {WIRE_UNKNOWN, "CLIENT_ERROR authentication failure\r\n", NULL, "E_AUTH: the server refused the user or the password"},
        {WIRE_UNKNOWN, "CLIENT_ERROR your password is wrong\r\n", NULL, "E_AUTH: the server refused the user or the password"},
        {WIRE_UNKNOWN, "CLIENT_ERROR unauthenticated\r\n", NULL, "E_AUTH: the server refused the user or the password"},
        {WIRE_UNKNOWN, "NOT_STORED\r\n", NULL, UNFIT},
        {WIRE_CLASSIC, "EXISTS\r\n", NULL, UNFIT},
        {WIRE_META, "EN\r\n", NULL, UNFIT},
        {WIRE_META, "EN O1\r\n", NULL, UNFIT},
        {WIRE_UNKNOWN, "ERROR Too many open connections\r\n", NULL, "E_SERVER: ERROR Too many open connections"},
        {WIRE_UNKNOWN, "ERROR\r\n", NULL, "E_SERVER: ERROR"},
        {WIRE_UNKNOWN, "SERVER_ERROR user password unknown\r\n", NULL, "E_SERVER: SERVER_ERROR (with the password in it)"},
        {WIRE_UNKNOWN, "SERVER_ERROR out of memory storing passwor\r\n", NULL, "E_SERVER: SERVER_ERROR out of memory storing passwor"},
        {WIRE_UNKNOWN, "EN k" TRIAL_64 " b O101\r\n", NULL, UNFIT},
        {WIRE_UNKNOWN, "END\r\n", NULL, UNFIT},
        {WIRE_UNKNOWN, "HTTP/1.1 400 Bad Request\r\n", NULL, GARBAGE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *got = rows[i].got, *then = rows[i].then;
        size_t most = strlen(got) > (then ? strlen(then) : 0) ? strlen(got) : strlen(then);
        for (size_t cut = 0; cut <= most; cut++) {
            struct rig *r = rig_new();
            char end[400];
            conn_authenticate(&r->c, mend_str("user password"));
            assert_true(conn_dial(&r->c, rows[i].hint, OPAQUE));
            conn_dialed(&r->c);
            assert_false(conn_takes(&r->c));
            transmit_all(r);
            agree(got, cut, "who we are", r->sent, SAYS_WHO);
            feed(r, got, strlen(got), cut);
            if (then) {
                assert_int_equal(r->c.state, CONN_PROVING);
                transmit_all(r);
                agree(then, cut, "the question", r->sent, rows[i].hint == WIRE_CLASSIC ? ASKS_CLASSIC : ASKS_META_THEN);
                feed(r, then, strlen(then), cut);
            }
            agree(got, cut, "the end", describe_end(&r->c, end), rows[i].end);
            assert_false(conn_refused_meta(&r->c));
            rig_free(r);
        }
    }
}

/* Who hangs up on that has not been asked for a protocol. */
static void authentication_without_an_answer(void **state)
{
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        struct rig *r = rig_new();
        conn_authenticate(&r->c, mend_str("user password"));
        assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
        conn_dialed(&r->c);
        transmit_all(r);
        if (ends)
            conn_end(&r->c, "closed");
        else
            conn_fail(&r->c, MEND_E_TIMEOUT, "late");
        assert_false(conn_refused_meta(&r->c));
        rig_free(r);
    }
    struct rig *r = rig_new();
    conn_authenticate(&r->c, mend_str("user password"));
    assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    r->supply.fails_at = r->supply.asked + 1;
    conn_dialed(&r->c);
    assert_int_equal(r->c.broke, MEND_E_MEMORY);
    rig_free(r);
}

static void no_memory_for_the_second_trial(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    conn_dialed(&r->c);
    r->supply.fails_at = r->supply.asked + 1;
    feed_text(r, "ERROR\r\n"); /* the first has not gone yet: there is no room behind it */
    assert_int_equal(r->c.broke, MEND_E_MEMORY);
    end_well(r);
    rig_free(r);
}

static void an_answer_before_the_trial_was_asked(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    conn_dialed(&r->c);
    feed_text(r, "EN k" TRIAL_64 " b O101\r\n");
    assert_int_equal(r->c.broke, MEND_E_PROTOCOL);
    assert_string_equal(r->c.why, "an answer before its question");
    end_well(r);
    rig_free(r);
}

/* Proxies that know no meta protocol close when they are asked in it: that, and only that, is worth a classic trial. */
static void closed_for_asking_meta(void **state)
{
    static const struct {
        enum wire_dialect hint;
        size_t sent;
        const char *got;
        mend_status status;
        bool refused;
    } rows[] = {
        {WIRE_UNKNOWN, SIZE_MAX, "", MEND_E_IO, true},       {WIRE_UNKNOWN, 1, "", MEND_E_IO, true},
        {WIRE_UNKNOWN, 0, "", MEND_E_IO, false},             {WIRE_UNKNOWN, SIZE_MAX, "E", MEND_E_IO, false},
        {WIRE_UNKNOWN, SIZE_MAX, "", MEND_E_TIMEOUT, false}, {WIRE_META, SIZE_MAX, "", MEND_E_IO, false},
        {WIRE_CLASSIC, SIZE_MAX, "", MEND_E_IO, false},      {WIRE_UNKNOWN, SIZE_MAX, "ERROR\r\n", MEND_E_IO, false},
        {WIRE_UNKNOWN, SIZE_MAX, "EN\r\n", MEND_E_IO, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = rig_new();
        assert_true(conn_dial(&r->c, rows[i].hint, OPAQUE));
        conn_dialed(&r->c);
        transmit(r, rows[i].sent);
        feed_text(r, rows[i].got);
        assert_false(conn_refused_meta(&r->c));
        if (rows[i].status == MEND_E_IO)
            conn_end(&r->c, "closed");
        else
            conn_fail(&r->c, rows[i].status, "closed");
        assert_int_equal(conn_refused_meta(&r->c), rows[i].refused);
        assert_true(conn_dial(&r->c, WIRE_CLASSIC, OPAQUE));
        assert_false(conn_refused_meta(&r->c));
        conn_dialed(&r->c);
        transmit_all(r);
        assert_string_equal(r->sent, ASKS_CLASSIC);
        feed_text(r, "END\r\n");
        end_well(r);
        rig_free(r);
    }

    struct rig *r = rig_new(); /* a connection that broke, but not by the server's hand */
    assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    conn_dialed(&r->c);
    transmit_all(r);
    conn_fail(&r->c, MEND_E_IO, "the TLS connection failed");
    assert_false(conn_refused_meta(&r->c));
    rig_free(r);
}

/* ---- Questions and answers ---- */

#define KEY .key = {"key", 3}
#define VALUE .value = {"hello", 5}
#define B_KEY .key = {"a b", 3}, .key_binary = true
#define Q(...) {{__VA_ARGS__}}
#define GET_Q Q(WIRE_GET, KEY)
#define GET_SENT "mg key v f c t k O102\r\n"
#define SET_Q Q(WIRE_SET, KEY, VALUE)
#define SET_SENT "ms key 5 c O102\r\nhello\r\n"
#define INCR_Q Q(WIRE_INCREMENT, KEY, .delta = 1)
#define INCR_SENT "ma key v c O102 D1\r\n"
#define BARRIER "mg " TRIAL_64 " b k v O102\r\n"
#define BARRIER_EN "EN k" TRIAL_64 " b O102\r\n"
#define THREE {{WIRE_GET, .key = {"a", 1}}, {WIRE_SET, .key = {"b", 1}, .value = {"B", 1}}, {WIRE_GET, .key = {"c", 1}}}
#define THREE_SENT "mg a v f c t k O102\r\nms b 1 c O103\r\nB\r\nmg c v f c t k O104\r\n"
#define THREE_CLASSIC "gets a\r\nset b 0 0 1\r\nB\r\ngets c\r\n"

static const struct dialogue {
    enum speaks speaks;
    const char *keys; /* of a conn_ask_many, before... */
    struct wire_question ask[3]; /* ...these; one without a key ends them */
    const char *sent, *got;
    const char *answers[4]; /* NULL: a failure */
    const char *end;        /* NULL: ready */
} dialogues[] = {
    /* gets */
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 5 f3 c77 t30 kkey O102\r\nhello\r\n", {"OK f3 c77 t30 =hello"}, NULL},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 5 f0 c77 t-1 kkey O102\r\n\r\nEN\r\r\n", {"OK c77 t-1 =\r\nEN\r"}, NULL},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 f0 c1 t4294967233 kkey O102\r\nx\r\n", {"OK c1 t0 =x"}, NULL},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 0 f0 c1 t-1 kkey O102 W\r\n\r\n", {"MISS c1 t-1"}, NULL},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 f0 c1 t-1 ka2V5 O102 b\r\nx\r\n", {"OK c1 t-1 =x"}, NULL}, /* somebody stored it in base64 */
    {REFLECTS, NULL, GET_Q, GET_SENT, "EN kkey O102\r\n", {"MISS"}, NULL},
    {REFLECTS, NULL, GET_Q, GET_SENT, "EN O102\r\n", {"MISS"}, NULL},
    {META, NULL, GET_Q, GET_SENT, "EN\r\n", {"MISS"}, NULL},
    {META, NULL, GET_Q, GET_SENT, "VA 1 f0 c1 t-1 kkey O102\r\nx\r\n", {"OK c1 t-1 =x"}, NULL},
    {META, NULL, GET_Q, GET_SENT, "VA 1 kkey\r\nx\r\n", {"OK =x"}, NULL},
    {META, NULL, GET_Q, GET_SENT, "VA 1 O102\r\nx\r\n", {"OK =x"}, NULL},
    {REFLECTS, NULL, Q(WIRE_GET, B_KEY), "mg YSBi b v f c t O102\r\n", "VA 1 kYSBi b O102\r\nx\r\n", {"OK =x"}, NULL},
    {REFLECTS, NULL, Q(WIRE_GET, B_KEY), "mg YSBi b v f c t O102\r\n", "VA 1 kYSBj b O102\r\nx\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {REFLECTS, NULL, Q(WIRE_GET_AND_TOUCH, KEY, .exptime = 9), "mg key v f c t k O102 T9\r\n", "VA 1 f0 c1 t9 kkey O102\r\nx\r\n", {"OK c1 t9 =x"}, NULL},
    {REFLECTS, NULL, Q(WIRE_GET_AND_TOUCH, KEY), "mg key v f c t k O102 T0\r\n", "EN kkey O102\r\n", {"MISS"}, NULL},
    {REFLECTS, NULL, Q(WIRE_EXISTS, KEY), "mg key f c t s k O102\r\n", "HD f1 c2 t3 kkey O102\r\n", {"OK f1 c2 t3"}, NULL},
    {REFLECTS, NULL, Q(WIRE_EXISTS, KEY), "mg key f c t s k O102\r\n", "EN kkey O102\r\n", {"MISS"}, NULL},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "VALUE key 3 5 77\r\nhello\r\nEND\r\n", {"OK f3 c77 =hello"}, NULL},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "VALUE key 0 7 1\r\n\r\nEND\r\n\r\nEND\r\n", {"OK c1 =\r\nEND\r\n"}, NULL},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "VALUE key 0 0 1\r\n\r\nEND\r\n", {"OK c1"}, NULL},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "END\r\n", {"MISS"}, NULL},
    {CLASSIC, NULL, Q(WIRE_GET_AND_TOUCH, KEY, .exptime = 9), "gats 9 key\r\n", "VALUE key 0 1 1\r\nx\r\nEND\r\n", {"OK c1 =x"}, NULL},
    {CLASSIC, NULL, Q(WIRE_EXISTS, KEY), "gets key\r\n", "VALUE key 3 5 77\r\nhello\r\nEND\r\n", {"OK f3 c77"}, NULL},
    {CLASSIC, NULL, Q(WIRE_EXISTS, KEY), "gets key\r\n", "END\r\n", {"MISS"}, NULL},

    /* stores */
    {REFLECTS, NULL, SET_Q, SET_SENT, "HD c5 O102\r\n", {"OK c5"}, NULL},
    {META, NULL, SET_Q, SET_SENT, "HD\r\n", {"OK"}, NULL},
    {REFLECTS, NULL, Q(WIRE_ADD, KEY, VALUE), "ms key 5 c ME O102\r\nhello\r\n", "NS O102\r\n", {"NOT_STORED"}, NULL},
    {REFLECTS, NULL, Q(WIRE_REPLACE, KEY, VALUE), "ms key 5 c MR O102\r\nhello\r\n", "NS O102\r\n", {"NOT_STORED"}, NULL},
    {REFLECTS, NULL, Q(WIRE_APPEND, KEY, VALUE), "ms key 5 c MA O102\r\nhello\r\n", "HD c5 O102\r\n", {"OK c5"}, NULL},
    {REFLECTS, NULL, Q(WIRE_PREPEND, KEY, VALUE), "ms key 5 c MP O102\r\nhello\r\n", "NS O102\r\n", {"NOT_STORED"}, NULL},
    {REFLECTS, NULL, Q(WIRE_CAS, KEY, VALUE, .cas = 4), "ms key 5 c O102 C4\r\nhello\r\n", "EX O102\r\n", {"EXISTS"}, NULL},
    {REFLECTS, NULL, Q(WIRE_CAS, KEY, VALUE, .cas = 4), "ms key 5 c O102 C4\r\nhello\r\n", "NF O102\r\n", {"MISS"}, NULL},
    {REFLECTS, NULL, Q(WIRE_CAS, KEY, VALUE, .cas = 4), "ms key 5 c O102 C4\r\nhello\r\n", "HD c5 O102\r\n", {"OK c5"}, NULL},
    {CLASSIC, NULL, SET_Q, "set key 0 0 5\r\nhello\r\n", "STORED\r\n", {"OK"}, NULL},
    {CLASSIC, NULL, Q(WIRE_ADD, KEY, VALUE), "add key 0 0 5\r\nhello\r\n", "NOT_STORED\r\n", {"NOT_STORED"}, NULL},
    {CLASSIC, NULL, Q(WIRE_REPLACE, KEY, VALUE), "replace key 0 0 5\r\nhello\r\n", "STORED\r\n", {"OK"}, NULL},
    {CLASSIC, NULL, Q(WIRE_APPEND, KEY, VALUE), "append key 0 0 5\r\nhello\r\n", "NOT_STORED\r\n", {"NOT_STORED"}, NULL},
    {CLASSIC, NULL, Q(WIRE_PREPEND, KEY, VALUE), "prepend key 0 0 5\r\nhello\r\n", "STORED\r\n", {"OK"}, NULL},
    {CLASSIC, NULL, Q(WIRE_CAS, KEY, VALUE, .cas = 4), "cas key 0 0 5 4\r\nhello\r\n", "EXISTS\r\n", {"EXISTS"}, NULL},
    {CLASSIC, NULL, Q(WIRE_CAS, KEY, VALUE, .cas = 4), "cas key 0 0 5 4\r\nhello\r\n", "NOT_FOUND\r\n", {"MISS"}, NULL},
    {CLASSIC, NULL, Q(WIRE_CAS, KEY, VALUE, .cas = 4), "cas key 0 0 5 4\r\nhello\r\n", "STORED\r\n", {"OK"}, NULL},

    /* the rest */
    {REFLECTS, NULL, Q(WIRE_DELETE, KEY), "md key O102\r\n", "HD O102\r\n", {"OK"}, NULL},
    {REFLECTS, NULL, Q(WIRE_DELETE, KEY), "md key O102\r\n", "NF O102\r\n", {"MISS"}, NULL},
    {REFLECTS, NULL, Q(WIRE_TOUCH, KEY, .exptime = 9), "mg key f s k O102 T9\r\n", "HD kkey O102\r\n", {"OK"}, NULL},
    {REFLECTS, NULL, Q(WIRE_TOUCH, KEY, .exptime = 9), "mg key f s k O102 T9\r\n", "EN kkey O102\r\n", {"MISS"}, NULL},
    /* a lease's stub is no hit, nor is a negative answer; an empty value is one */
    {REFLECTS, NULL, Q(WIRE_GET, KEY), GET_SENT, "VA 0 f0 c5 t30 kkey O102 Z\r\n\r\n", {"MISS c5 t30"}, NULL},
    {REFLECTS, NULL, Q(WIRE_GET, KEY), GET_SENT, "VA 0 f0 c5 t30 kkey O102 X W\r\n\r\n", {"MISS c5 t30"}, NULL},
    {REFLECTS, NULL, Q(WIRE_GET, KEY), GET_SENT, "VA 0 f0 c5 t30 kkey O102\r\n\r\n", {"OK c5 t30"}, NULL},
    {REFLECTS, NULL, Q(WIRE_GET, KEY), GET_SENT, "VA 1 f0 c5 t30 kkey O102 Z X\r\nx\r\n", {"OK c5 t30 =x"}, NULL},
    {REFLECTS, NULL, Q(WIRE_GET, KEY), GET_SENT, "VA 0 f1835363940 c5 t30 kkey O102\r\n\r\n", {"MISS f1835363940 c5 t30"}, NULL},
    {REFLECTS, NULL, Q(WIRE_EXISTS, KEY), "mg key f c t s k O102\r\n", "HD f0 c2 t3 s0 kkey O102 Z\r\n", {"MISS c2 t3"}, NULL},
    {REFLECTS, NULL, Q(WIRE_EXISTS, KEY), "mg key f c t s k O102\r\n", "HD f0 c2 t3 s1 kkey O102 Z\r\n", {"OK c2 t3"}, NULL},
    {REFLECTS, NULL, Q(WIRE_TOUCH, KEY, .exptime = 9), "mg key f s k O102 T9\r\n", "HD f0 s0 kkey O102 W\r\n", {"MISS"}, NULL},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "VA 2 c9 O102\r\n43\r\n", {"OK c9 n43"}, NULL},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "VA 20 c9 O102\r\n18446744073709551615\r\n", {"OK c9 n18446744073709551615"}, NULL},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "VA 3 c9 O102\r\n9  \r\n", {"OK c9 n9"}, NULL},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "NF O102\r\n", {"MISS"}, NULL},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "NS O102\r\n", {"NOT_STORED"}, NULL},
    {REFLECTS, NULL, Q(WIRE_DECREMENT, KEY, .delta = 1, .create = true), "ma key v c MD O102 D1 J0 N0\r\n", "VA 1 c9 O102\r\n0\r\n", {"OK c9"}, NULL},
    {REFLECTS, NULL, Q(WIRE_FLUSH_ALL, KEY), "flush_all\r\n", "OK\r\n", {"OK"}, NULL},
    {CLASSIC, NULL, Q(WIRE_DELETE, KEY), "delete key\r\n", "DELETED\r\n", {"OK"}, NULL},
    {CLASSIC, NULL, Q(WIRE_DELETE, KEY), "delete key\r\n", "NOT_FOUND\r\n", {"MISS"}, NULL},
    {CLASSIC, NULL, Q(WIRE_TOUCH, KEY, .exptime = 9), "touch key 9\r\n", "TOUCHED\r\n", {"OK"}, NULL},
    {CLASSIC, NULL, Q(WIRE_TOUCH, KEY, .exptime = 9), "touch key 9\r\n", "NOT_FOUND\r\n", {"MISS"}, NULL},
    {CLASSIC, NULL, INCR_Q, "incr key 1\r\n", "43\r\n", {"OK n43"}, NULL},
    {CLASSIC, NULL, Q(WIRE_DECREMENT, KEY, .delta = 1), "decr key 1\r\n", "9 \r\n", {"OK n9"}, NULL},
    {CLASSIC, NULL, INCR_Q, "incr key 1\r\n", "NOT_FOUND\r\n", {"MISS"}, NULL},
    {CLASSIC, NULL, Q(WIRE_FLUSH_ALL, KEY), "flush_all\r\n", "OK\r\n", {"OK"}, NULL},

    /* the server says no, and why: the connection goes on where that is safe */
    {REFLECTS, NULL, SET_Q, SET_SENT, "SERVER_ERROR object too large for cache\r\n", {"TOO_LARGE"}, NULL},
    {CLASSIC, NULL, SET_Q, "set key 0 0 5\r\nhello\r\n", "SERVER_ERROR object too large for cache\r\n", {"TOO_LARGE"}, NULL},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n", {"NOT_NUMBER"}, NULL},
    {CLASSIC, NULL, INCR_Q, "incr key 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n", {"NOT_NUMBER"}, NULL},
    {REFLECTS, NULL, SET_Q, SET_SENT, "SERVER_ERROR out of memory storing object\r\n", {"E_SERVER: SERVER_ERROR out of memory storing object"}, NULL},
    {CLASSIC, NULL, SET_Q, "set key 0 0 5\r\nhello\r\n", "SERVER_ERROR out of memory storing object\r\n",
     {"E_SERVER: SERVER_ERROR out of memory storing object"}, NULL},
    {REFLECTS, NULL, SET_Q, SET_SENT, "SERVER_ERROR backend failure\r\n", {"E_SERVER maybe: SERVER_ERROR backend failure"}, NULL},
    {REFLECTS, NULL, SET_Q, SET_SENT, "SERVER_ERROR out of memor\r\n", {"E_SERVER maybe: SERVER_ERROR out of memor"}, NULL},
    {CLASSIC, NULL, Q(WIRE_DELETE, KEY), "delete key\r\n", "SERVER_ERROR backend failure\r\n", {"E_SERVER maybe: SERVER_ERROR backend failure"}, NULL},
    {REFLECTS, NULL, GET_Q, GET_SENT, "SERVER_ERROR backend failure\r\n", {"E_SERVER: SERVER_ERROR backend failure"}, NULL},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "SERVER_ERROR backend failure\r\n", {"E_SERVER: SERVER_ERROR backend failure"}, GIVEN_UP},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "SERVER_ERROR backend failure\r\nEND\r\n", {"E_SERVER: SERVER_ERROR backend failure"}, GIVEN_UP},
    {REFLECTS, NULL, SET_Q, SET_SENT, "CLIENT_ERROR bad data chunk\r\n", {"E_SERVER: CLIENT_ERROR bad data chunk"}, GIVEN_UP},
    {REFLECTS, NULL, GET_Q, GET_SENT, "ERROR what?\r\n", {"E_SERVER: ERROR what?"}, GIVEN_UP},
    {CLASSIC, NULL, Q(WIRE_FLUSH_ALL, KEY), "flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n", {"E_SERVER: CLIENT_ERROR flush_all not allowed"}, GIVEN_UP},
    {REFLECTS, NULL, GET_Q, GET_SENT, "CLIENT_ERROR unauthenticated\r\n", {"E_AUTH: CLIENT_ERROR unauthenticated"}, GIVEN_UP},
    {REFLECTS, NULL, GET_Q, GET_SENT, "SERVER_ERROR \x1b[0m\t\x7f\xc3\xa9~ !\r\n", {"E_SERVER: SERVER_ERROR ?[0m????~ !"}, NULL},
    {REFLECTS, NULL, GET_Q, GET_SENT, "SERVER_ERROR 345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n",
     {"E_SERVER: SERVER_ERROR 34567890123456789012345678901234567890123456789012345678901234567890123456"}, NULL},

    /* answers to nobody's question */
    {REFLECTS, NULL, GET_Q, GET_SENT, "EN\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER}, /* its misses carry the opaque */
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 kkey\r\nx\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {REFLECTS, NULL, SET_Q, SET_SENT, "HD\r\n", {"E_PROTOCOL maybe: an answer to another question"}, OTHER},
    {REFLECTS, NULL, GET_Q, GET_SENT, "EN kkey O101\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {META, NULL, GET_Q, GET_SENT, "EN O103\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {META, NULL, GET_Q, GET_SENT, "VA 1\r\nx\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 kkex O102\r\nx\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 kkeys O102\r\nx\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 k O102\r\nx\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 kkey b O102\r\nx\r\n", {"E_PROTOCOL: an answer to another question"}, OTHER},
    {REFLECTS, NULL, Q(WIRE_DELETE, KEY), "md key O102\r\n", "HD O1\r\n", {"E_PROTOCOL maybe: an answer to another question"}, OTHER},
    {REFLECTS, NULL, GET_Q, GET_SENT, "HD kkey O102\r\n", {NULL}, UNFIT},
    {REFLECTS, NULL, SET_Q, SET_SENT, "STORED\r\n", {"E_PROTOCOL maybe: an answer that does not fit its question"}, UNFIT},
    {CLASSIC, NULL, SET_Q, "set key 0 0 5\r\nhello\r\n", "END\r\n", {"E_PROTOCOL maybe: an answer that does not fit its question"}, UNFIT},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "VALUE kez 0 1 1\r\nx\r\nEND\r\n", {"E_PROTOCOL: a value that was not asked for"}, "E_PROTOCOL: a value that was not asked for"},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "VALUE key 0 1 1\r\nx\r\nVALUE key 0 1 2\r\ny\r\nEND\r\n", {"E_PROTOCOL: a value that was not asked for"}, "E_PROTOCOL: a value that was not asked for"},
    {REFLECTS, NULL, GET_Q, GET_SENT, "EN kkey O102\r\nEN kkey O102\r\n", {"MISS"}, NOBODY},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 1 kkey O102\r\nx\r\n\r\n", {"OK =x"}, NOBODY},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "END\r\nEND\r\n", {"MISS"}, NOBODY},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 2 kkey O102\r\nhiEN\r\n", {"E_PROTOCOL: a value does not end where the server said"},
     "E_PROTOCOL: a value does not end where the server said"},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 2 kkey O102\r\nhi\rx", {"E_PROTOCOL: a value does not end where the server said"},
     "E_PROTOCOL: a value does not end where the server said"},
    {REFLECTS, NULL, GET_Q, GET_SENT, "VA 2 kkey O102\r\nhix\n", {"E_PROTOCOL: a value does not end where the server said"},
     "E_PROTOCOL: a value does not end where the server said"},
    {CLASSIC, NULL, GET_Q, "gets key\r\n", "VALUE key 0 2 1\r\nhello\r\nEND\r\n", {"E_PROTOCOL: a value does not end where the server said"},
     "E_PROTOCOL: a value does not end where the server said"},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "VA 2 c9 O102\r\n4x\r\n", {"E_PROTOCOL maybe: a counter that is not a number"}, "E_PROTOCOL: a counter that is not a number"},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "VA 30 c9 O102\r\n9                             \r\n", {"E_PROTOCOL maybe: a counter that is not a number"},
     "E_PROTOCOL: a counter that is not a number"},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "VA 0 c9 O102\r\n\r\n", {"E_PROTOCOL maybe: a counter that is not a number"}, "E_PROTOCOL: a counter that is not a number"},
    {REFLECTS, NULL, INCR_Q, INCR_SENT, "VA 20 c9 O102\r\n18446744073709551616\r\n", {"E_PROTOCOL maybe: a counter that is not a number"},
     "E_PROTOCOL: a counter that is not a number"},
    {REFLECTS, NULL, Q(WIRE_DELETE, KEY), "md key O102\r\n", "\x80\x04\r\n", {"E_PROTOCOL maybe: the server does not speak memcached's protocol"}, GARBAGE},
    {CLASSIC, NULL, Q(WIRE_DELETE, KEY), "delete key\r\n", "DELETED\n", {"E_PROTOCOL maybe: the server does not speak memcached's protocol"}, GARBAGE},

    /* a gets of many, and on a meta connection a trial behind it */
    {REFLECTS, "a b c", {{0}}, BARRIER "gets a b c\r\n", BARRIER_EN "VALUE a 1 1 5\r\nA\r\nVALUE c 0 1 6\r\nC\r\nEND\r\n", {"OK f1 c5 =A", "MISS", "OK c6 =C"}, NULL},
    {CLASSIC, "a b c", {{0}}, "gets a b c\r\n", "VALUE a 1 1 5\r\nA\r\nVALUE c 0 1 6\r\nC\r\nEND\r\n", {"OK f1 c5 =A", "MISS", "OK c6 =C"}, NULL},
    {CLASSIC, "a b", {{0}}, "gets a b\r\n", "END\r\n", {"MISS", "MISS"}, NULL},
    {CLASSIC, "a b c", {{0}}, "gets a b c\r\n", "VALUE c 0 1 6\r\nC\r\nVALUE b 0 0 5\r\n\r\nVALUE a 0 1 5\r\nA\r\nEND\r\n", {"OK c5 =A", "OK c5", "OK c6 =C"}, NULL},
    {CLASSIC, "a b a", {{0}}, "gets a b a\r\n", "VALUE a 0 1 5\r\nA\r\nVALUE b 0 1 6\r\nB\r\nVALUE a 0 1 7\r\nC\r\nEND\r\n", {"OK c5 =A", "OK c6 =B", "OK c7 =C"}, NULL},
    {CLASSIC, "a a", {{0}}, "gets a a\r\n", "VALUE a 0 1 5\r\nA\r\nVALUE a 0 1 5\r\nA\r\nEND\r\n", {"OK c5 =A", "OK c5 =A"}, NULL},
    {CLASSIC, "a", {{0}}, "gets a\r\n", "VALUE a 0 1 5\r\nA\r\nEND\r\n", {"OK c5 =A"}, NULL},
    {CLASSIC, "a ab abc", {{0}}, "gets a ab abc\r\n", "VALUE ab 0 1 5\r\nA\r\nEND\r\n", {"MISS", "OK c5 =A", "MISS"}, NULL},
    {CLASSIC, "a b", {{0}}, "gets a b\r\n", "VALUE c 0 1 5\r\nA\r\nEND\r\n",
     {"E_PROTOCOL: a value that was not asked for", "E_PROTOCOL: a value that was not asked for"}, "E_PROTOCOL: a value that was not asked for"},
    {CLASSIC, "a b", {{0}}, "gets a b\r\n", "VALUE a 0 1 5\r\nA\r\nVALUE a 0 1 6\r\nB\r\nEND\r\n", {"OK c5 =A", "E_PROTOCOL: a value that was not asked for"},
     "E_PROTOCOL: a value that was not asked for"},
    {CLASSIC, "a b", {{0}}, "gets a b\r\n", "VALUE a 0 1 5\r\nA\r\nEN\r\n", {"OK c5 =A", "E_PROTOCOL: an answer that does not fit its question"}, UNFIT},
    {CLASSIC, "a a b c", {{0}}, "gets a a b c\r\n", "VALUE a 0 1 1\r\nA\r\nVALUE c 0 1 1\r\nC\r\nVALUE a 0 1 2\r\na\r\nVALUE b 0 1 1\r\nB\r\nEND\r\n",
     {"OK c1 =A", "OK c2 =a", "OK c1 =B", "OK c1 =C"}, NULL},
    {CLASSIC, "a b", {{0}}, "gets a b\r\n", "VALUE a 0 1 5\r\nA\r\nSERVER_ERROR backend failure\r\n", {"OK c5 =A", "E_SERVER: SERVER_ERROR backend failure"}, GIVEN_UP},
    {CLASSIC, "a b", {{0}}, "gets a b\r\n", "SERVER_ERROR backend failure\r\nSERVER_ERROR backend failure\r\nEND\r\n",
     {"E_SERVER: SERVER_ERROR backend failure", "E_SERVER: SERVER_ERROR backend failure"}, GIVEN_UP},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", BARRIER_EN "VALUE a 0 1 5\r\nA\r\nSERVER_ERROR backend failure\r\n",
     {"OK c5 =A", "E_SERVER again: SERVER_ERROR backend failure"}, GIVEN_UP},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", "SERVER_ERROR backend failure\r\nVALUE a 0 1 5\r\nA\r\nEND\r\n", {NULL},
     "E_SERVER: the server answered the proof of a multi-get with an error"},
    /* what is left of an answer before: the trial is out of step, and no answer is believed */
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", "VALUE a 0 1 5\r\nA\r\nEND\r\n" BARRIER_EN "END\r\n", {NULL}, UNFIT},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", "END\r\n" BARRIER_EN "END\r\n", {NULL}, UNFIT},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", "EN k" TRIAL_64 " b O101\r\nEND\r\n", {NULL}, OTHER},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", "EN kYQ== b O102\r\nEND\r\n", {NULL}, OTHER},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", "EN\r\nEND\r\n", {NULL}, OTHER},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", BARRIER_EN BARRIER_EN "END\r\n", {NULL}, UNFIT},
    {META, "a b", {{0}}, BARRIER "gets a b\r\n", "EN\r\nEND\r\n", {"MISS", "MISS"}, NULL},
    {REFLECTS, "a b", {{0}}, BARRIER "gets a b\r\n", "VA 1 k" TRIAL_64 " b O102\r\nx\r\nEND\r\n", {"MISS", "MISS"}, NULL}, /* somebody stored it */

    /* a line of questions */
    {REFLECTS, NULL, THREE, THREE_SENT, "VA 1 c1 ka O102\r\nA\r\nHD c2 O103\r\nEN kc O104\r\n", {"OK c1 =A", "OK c2", "MISS"}, NULL},
    {CLASSIC, NULL, THREE, THREE_CLASSIC, "VALUE a 0 1 1\r\nA\r\nEND\r\nSTORED\r\nEND\r\n", {"OK c1 =A", "OK", "MISS"}, NULL},
    {META, NULL, THREE, THREE_SENT, "EN\r\nHD c2 O103\r\nVA 1 c1 kc O104\r\nC\r\n", {"MISS", "OK c2", "OK c1 =C"}, NULL},
    {REFLECTS, NULL, THREE, THREE_SENT, "EN O102\r\nSERVER_ERROR out of memory\r\nEN O104\r\n", {"MISS", "E_SERVER: SERVER_ERROR out of memory", "MISS"}, NULL},
    {REFLECTS, NULL, THREE, THREE_SENT, "EN kc O104\r\nHD c2 O103\r\nVA 1 c1 ka O102\r\nA\r\n",
     {"E_PROTOCOL: an answer to another question", "E_PROTOCOL maybe: an answer to another question", "E_PROTOCOL again: an answer to another question"}, OTHER},
    {REFLECTS, NULL, THREE, THREE_SENT, "EN ka O102\r\nEN kc O104\r\n",
     {"MISS", "E_PROTOCOL maybe: an answer that does not fit its question", "E_PROTOCOL again: an answer that does not fit its question"}, UNFIT},
    {REFLECTS, NULL, THREE, THREE_SENT, "EN ka O102\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\n",
     {"MISS", "E_SERVER: CLIENT_ERROR bad data chunk", "E_SERVER again: the connection was given up after an error of the server's"}, GIVEN_UP},
    {REFLECTS, "a b", {{WIRE_DELETE, KEY}}, BARRIER "gets a b\r\nmd key O103\r\n", BARRIER_EN "VALUE b 0 1 1\r\nB\r\nEND\r\nHD O103\r\n", {"MISS", "OK c1 =B", "OK"}, NULL},
    {CLASSIC, "a b", {{WIRE_GET, KEY}}, "gets a b\r\ngets key\r\n", "END\r\nVALUE key 0 1 1\r\nx\r\nEND\r\n", {"MISS", "MISS", "OK c1 =x"}, NULL},
};

static void hold(const struct dialogue *d, size_t cut)
{
    struct rig *r = rig_new();
    char text[400];
    size_t n = 0;

    ready(r, d->speaks);
    if (d->keys) {
        n = ask_many(r, d->keys);
        assert_true(n > 0);
    }
    for (size_t i = 0; i < 3 && d->ask[i].key.len; i++)
        assert_int_equal(ask(r, &d->ask[i], n++), MEND_OK);
    transmit_all(r);
    agree(d->got, cut, "the question", r->sent, d->sent);
    feed(r, d->got, strlen(d->got), cut);

    for (size_t i = 0; i < n; i++) {
        assert_true(r->answers[i].done);
        if (d->answers[i])
            agree(d->got, cut, "an answer", describe(&r->answers[i], text), d->answers[i]);
        else if (r->answers[i].status >= 0)
            agree(d->got, cut, "an answer", describe(&r->answers[i], text), "a failure");
        if (r->answers[i].status == MEND_OK && r->answers[i].value.len)
            assert_int_equal(r->answers[i].value.data[r->answers[i].value.len], '\0');
    }
    agree(d->got, cut, "the end", describe_end(&r->c, text), d->end ? d->end : "ready");
    end_well(r);
    rig_free(r);
}

static void holding_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof dialogues / sizeof *dialogues; i++)
        for (size_t cut = 0; cut <= strlen(dialogues[i].got); cut++)
            hold(&dialogues[i], cut);
}

/* Where a server stops in the middle, nothing is made of it, and nothing is lost when it goes on: no answer ends early. */
static void stopping_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof dialogues / sizeof *dialogues; i++) {
        const struct dialogue *d = &dialogues[i];
        if (d->end || d->keys)
            continue;
        for (size_t cut = 1; cut < strlen(d->got); cut++) {
            struct rig *r = rig_new();
            size_t n = 0, done = 0;
            ready(r, d->speaks);
            while (n < 3 && d->ask[n].key.len) {
                ask(r, &d->ask[n], n);
                n++;
            }
            transmit_all(r);
            feed(r, d->got, cut, SIZE_MAX);
            assert_int_equal(r->c.state, CONN_READY);
            assert_false(conn_at_rest(&r->c));
            conn_fail(&r->c, MEND_E_TIMEOUT, "too late");
            for (size_t k = 0; k < n; k++) {
                assert_true(r->answers[k].done);
                done += r->answers[k].status != MEND_E_TIMEOUT;
                assert_false(r->answers[k].again);
            }
            assert_true(n == 1 ? done == 0 || d->speaks == CLASSIC : done < 3);
            end_well(r);
            rig_free(r);
        }
    }
}

static void bytes_that_nobody_asked_for(void **state)
{
    static const char *const texts[] = {"x", "END\r\n", "ERROR\r\n", "\r\n", "SERVER_ERROR shutting down\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (enum speaks speaks = REFLECTS; speaks <= CLASSIC; speaks++) {
            struct rig *r = rig_new();
            char end[400];
            ready(r, speaks);
            feed_text(r, texts[i]);
            assert_string_equal(describe_end(&r->c, end), NOBODY);
            end_well(r);
            rig_free(r);
        }
}

/* It was asked, and answered before a byte of the question went: whatever that answers, it is not this. */
static void answers_before_their_questions(void **state)
{
    static const struct {
        enum speaks speaks;
        const char *got;
    } rows[] = {{REFLECTS, "EN kkey O102\r\n"}, {META, "EN\r\n"}, {CLASSIC, "END\r\n"}, {CLASSIC, "ERROR\r\n"}, {REFLECTS, "SERVER_ERROR x\r\n"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = rig_new();
        struct wire_question q = {WIRE_GET, KEY};
        char text[400];
        ready(r, rows[i].speaks);
        ask(r, &q, 0);
        feed_text(r, rows[i].got);
        assert_string_equal(describe(&r->answers[0], text), "E_PROTOCOL again: an answer before its question");
        end_well(r);

        /* the same, for a second question that waits behind one that went */
        ready(r->c.state == CONN_READY ? (conn_fail(&r->c, MEND_E_IO, ""), r) : r, META);
        ask(r, &q, 0);
        transmit_all(r);
        ask(r, &q, 1);
        feed_text(r, "EN\r\nEN\r\n");
        assert_string_equal(describe(&r->answers[0], text), "MISS");
        assert_string_equal(describe(&r->answers[1], text), "E_PROTOCOL again: an answer before its question");
        end_well(r);
        rig_free(r);
    }
}

static void binary_keys_need_meta(void **state)
{
    struct rig *r = rig_new();
    struct wire_question q = {WIRE_GET, B_KEY};
    (void)state;
    ready(r, CLASSIC);
    assert_int_equal(ask(r, &q, 0), MEND_E_ARGUMENT);
    assert_true(conn_at_rest(&r->c));
    end_well(r);
    rig_free(r);
}

/* One gets ends before a key that travels in base64, and before it grows too long: the rest is asked in others. */
static void as_many_as_go_into_one_line(void **state)
{
    struct rig *r = rig_new();
    struct want wants[100];
    char key[KEY_MAX];
    (void)state;
    memset(key, 'k', sizeof key);
    for (size_t i = 0; i < 100; i++)
        wants[i] = (struct want){.key = {key, KEY_MAX}, .into = &r->answers[0]};
    ready(r, CLASSIC);
    size_t took = conn_ask_many(&r->c, wants, 100);
    assert_in_range(took, 2, 99);
    transmit_all(r);
    assert_int_equal(r->sent_len, 4 + took * (1 + KEY_MAX) + 2);
    assert_in_range(r->sent_len, 8 * 1024, 16 * 1024 - 1); /* memcached reads 16 KB of one line at least */
    feed_text(r, "END\r\n");
    assert_true(conn_at_rest(&r->c));

    for (size_t i = 0; i < 3; i++)
        r->wants[i] = (struct want){.key = {&"abc"[i], 1}, .key_binary = i == 2, .into = &r->answers[i]};
    answer_reset(&r->answers[0]);
    assert_int_equal(conn_ask_many(&r->c, r->wants, 3), 2);
    transmit_all(r);
    assert_string_equal(r->sent, "gets a b\r\n");
    feed_text(r, "END\r\n");
    assert_false(r->answers[2].done);
    end_well(r);
    rig_free(r);
}

/* A gets, or the trial before it, finds no memory: then nothing of either is asked. */
static void a_gets_without_its_trial(void **state)
{
    struct rig *r = rig_new();
    struct want wants[100];
    char key[KEY_MAX];
    (void)state;
    memset(key, 'k', sizeof key);
    for (size_t i = 0; i < 100; i++)
        wants[i] = (struct want){.key = {key, KEY_MAX}, .into = &r->answers[0]};
    ready(r, REFLECTS);
    r->supply.fails_at = r->supply.asked + 1; /* the line is there */
    uint64_t asked = r->c.asked;
    assert_int_equal(conn_ask_many(&r->c, wants, 100), 0);
    assert_true(r->supply.asked >= r->supply.fails_at);
    assert_true(conn_at_rest(&r->c) && r->c.asked == asked);
    size_t took = conn_ask_many(&r->c, wants, 100);
    assert_in_range(took, 2, 99);
    r->sent_len = 0;
    transmit_all(r);
    assert_memory_equal(r->sent, BARRIER "gets kkk", sizeof BARRIER "gets kkk" - 1);
    conn_fail(&r->c, MEND_E_IO, "reset");
    end_well(r);
    rig_free(r);
}

/* A plain key too long for base64 is nobody's that comes in base64. */
static void a_long_key_and_an_answer_in_base64(void **state)
{
    struct rig *r = rig_new();
    char key[KEY_MAX], text[400];
    (void)state;
    memset(key, 'k', sizeof key);
    ready(r, REFLECTS);
    ask(r, &(struct wire_question){WIRE_GET, .key = {key, sizeof key}}, 0);
    transmit_all(r);
    feed_text(r, "VA 1 ka2tra2s= b O102\r\nx\r\n");
    assert_string_equal(describe(&r->answers[0], text), "E_PROTOCOL: an answer to another question");
    end_well(r);
    rig_free(r);
}

/* ---- The line ---- */

/* Questions and answers in bursts, more and more: whatever room the line takes, each gets its own answer. */
static void bursts(void **state)
{
    enum { MOST = 300 };
    static struct answer answers[MOST];
    static char keys[MOST][8];
    (void)state;
    for (unsigned seed = 1; seed <= 30; seed++) {
        struct rig *r = rig_new();
        unsigned chance = seed;
        size_t asked = 0, answered = 0;
        ready(r, REFLECTS);
        while (answered < MOST) {
            chance = chance * 1664525 + 1013904223;
            for (size_t n = (chance >> 16) % (seed * 2); n > 0 && asked < MOST; n--, asked++) {
                sprintf(keys[asked], "k%zu", asked);
                answers[asked].value.memory = &r->memory;
                answer_reset(&answers[asked]);
                struct wire_question q = {WIRE_GET, .key = mend_str(keys[asked])};
                assert_int_equal(conn_ask(&r->c, &q, &answers[asked]), MEND_OK);
            }
            transmit(r, SIZE_MAX);
            r->sent_len = 0;
            chance = chance * 1664525 + 1013904223;
            for (size_t n = (chance >> 16) % (seed * 2); n > 0 && answered < asked; n--, answered++) {
                char text[80];
                snprintf(text, sizeof text, "VA %zu k%s O%zu\r\n%s\r\n", strlen(keys[answered]), keys[answered], 102 + answered, keys[answered]);
                feed_text(r, text);
                assert_int_equal(r->c.state, CONN_READY);
                assert_true(answers[answered].done && answers[answered].status == MEND_OK);
                assert_string_equal(answers[answered].value.data, keys[answered]);
                assert_true(answered + 1 >= asked || !answers[answered + 1].done);
            }
            assert_int_equal(conn_at_rest(&r->c), answered == asked);
        }
        for (size_t i = 0; i < MOST; i++)
            buf_release(&answers[i].value);
        end_well(r);
        rig_free(r);
    }
}

/* More answers at once than the connection has room for, so that the last one in its room is cut off. */
static void answers_in_one_piece(void **state)
{
    enum { N = 1000 };
    static struct answer answers[N];
    struct rig *r = rig_new();
    char *got = malloc(N * 60), *p = got;
    (void)state;
    assert_non_null(got);
    ready(r, META);
    for (size_t i = 0; i < N; i++) {
        answers[i].value.memory = &r->memory;
        answer_reset(&answers[i]);
        assert_int_equal(conn_ask(&r->c, &(struct wire_question){WIRE_GET, KEY}, &answers[i]), MEND_OK);
        p += sprintf(p, "VA 26 c1 kkey O%zu\r\n%026zu\r\n", 102 + i, i);
    }
    transmit_all(r);
    arrive(r, got, (size_t)(p - got));
    for (size_t i = 0; i < N; i++) {
        assert_true(answers[i].done && answers[i].status == MEND_OK && answers[i].value.len == 26);
        assert_int_equal(strtoul(answers[i].value.data, NULL, 10), i);
        buf_release(&answers[i].value);
    }
    end_well(r);
    rig_free(r);
    free(got);
}

/* It takes 1024 questions, or 64 KB that wait to be sent, and more once some are gone. */
static void the_line_is_full(void **state)
{
    static struct answer deleted;
    struct wire_question del = {WIRE_DELETE, KEY};
    char *value = calloc(1, WIRE_COPY_MAX);
    struct wire_question set = {WIRE_SET, KEY, .value = {value, WIRE_COPY_MAX}};
    struct rig *r = rig_new();
    size_t n;
    (void)state;
    ready(r, META);
    for (n = 0; conn_takes(&r->c); n++) {
        assert_int_equal(conn_ask(&r->c, &del, &deleted), MEND_OK);
        transmit_all(r);
    }
    assert_int_equal(n, 1024);
    feed_text(r, "HD\r\n");
    assert_true(conn_takes(&r->c));
    for (; n > 1; n--)
        feed_text(r, "NF\r\n");
    assert_true(conn_at_rest(&r->c));

    for (n = 0; conn_takes(&r->c); n++)
        assert_int_equal(conn_ask(&r->c, &set, &deleted), MEND_OK);
    assert_int_equal(n, 4); /* the fourth goes over it */
    r->sent_len = 0;
    transmit(r, WIRE_COPY_MAX);
    assert_true(conn_takes(&r->c));
    conn_fail(&r->c, MEND_E_IO, "reset");
    end_well(r);
    rig_free(r);
    free(value);
}

/* ---- Large values ---- */

static char *large_value(size_t n)
{
    char *value = malloc(n);
    uint32_t chance = 7;
    assert_non_null(value);
    for (size_t i = 0; i < n; i++) {
        chance = chance * 1664525 + 1013904223;
        value[i] = (char)(chance >> 24);
    }
    return value;
}

/* Its owner's bytes are sent from where they lie, with the line before and the CRLF behind, in pieces of any size. */
static void large_values_are_borrowed(void **state)
{
    enum { SIZE = WIRE_COPY_MAX + 1 };
    static const size_t pieces[] = {1, 7, 1000, 20, 21, 22, SIZE, SIZE + 20, SIZE + 21, SIZE_MAX};
    char *value = large_value(SIZE);
    struct wire_question q = {WIRE_SET, KEY, .value = {value, SIZE}};
    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct rig *r = rig_new();
        mend_bytes pending[3];
        ready(r, REFLECTS);
        assert_int_equal(ask(r, &q, 0), MEND_OK);
        assert_int_equal(conn_pending(&r->c, pending), 3);
        assert_int_equal(pending[0].len, strlen("ms key 16385 c O102\r\n"));
        assert_ptr_equal(pending[1].data, value);
        assert_int_equal(pending[1].len, SIZE);
        assert_memory_equal(pending[2].data, "\r\n", pending[2].len);
        for (r->sent_len = 0; conn_pending(&r->c, pending) > 0;) {
            assert_false(conn_takes(&r->c) || conn_at_rest(&r->c));
            transmit(r, pieces[i]);
        }
        assert_true(conn_takes(&r->c));
        assert_false(conn_at_rest(&r->c));
        assert_int_equal(r->sent_len, 21 + SIZE + 2);
        assert_memory_equal(r->sent, "ms key 16385 c O102\r\n", 21);
        assert_memory_equal(r->sent + 21, value, SIZE);
        assert_memory_equal(r->sent + 21 + SIZE, "\r\n", 2);
        assert_int_equal(ask(r, &(struct wire_question){WIRE_DELETE, KEY}, 1), MEND_OK); /* behind it is room for more */
        transmit_all(r);
        feed_text(r, "HD c5 O102\r\nHD O103\r\n");
        assert_true(r->answers[0].status == MEND_OK && r->answers[0].cas == 5 && r->answers[1].done);
        end_well(r);
        rig_free(r);
    }
    free(value);
}

/* memcached may refuse a value before it has read it: what is left of it is sent nevertheless, or it is taken for commands. */
static void refused_while_it_is_sent(void **state)
{
    char *value = large_value(WIRE_COPY_MAX + 1);
    struct rig *r = rig_new();
    (void)state;
    ready(r, REFLECTS);
    ask(r, &(struct wire_question){WIRE_SET, KEY, .value = {value, WIRE_COPY_MAX + 1}}, 0);
    transmit(r, 1000);
    feed_text(r, "SERVER_ERROR object too large for cache\r\n");
    assert_int_equal(r->answers[0].status, MEND_TOO_LARGE);
    if (r->c.state == CONN_READY) {
        assert_false(conn_at_rest(&r->c) || conn_takes(&r->c));
        transmit(r, 15000);
        assert_false(conn_at_rest(&r->c) || conn_takes(&r->c));
        transmit_all(r);
        assert_true(conn_at_rest(&r->c) && conn_takes(&r->c));
    }
    end_well(r);
    rig_free(r);
    free(value);
}

/* They are read straight into the answer, and what comes behind them is not. */
static void large_values_arrive_where_they_belong(void **state)
{
    enum { SIZE = 100 * 1000 };
    static const size_t pieces[] = {3, 4096, 16 * 1024, 16 * 1024 + 1, SIZE, SIZE + 200};
    char *value = large_value(SIZE), *got = malloc(SIZE + 1000);
    (void)state;
    assert_non_null(got);
    for (int classic = 0; classic < 2; classic++) {
        const char *head = classic ? "VALUE key 3 100000 9\r\n" : "VA 100000 f3 c9 t5 kkey O102\r\n";
        const char *tail = classic ? "\r\nEND\r\nDELETED\r\n" : "\r\nHD O103\r\n";
        size_t n = strlen(head);
        memcpy(got, head, n);
        memcpy(got + n, value, SIZE);
        memcpy(got + n + SIZE, tail, strlen(tail));
        n += SIZE + strlen(tail);
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
            for (size_t first = 1; first < 60; first++) { /* the head's end, at each place of the first piece */
                struct rig *r = rig_new();
                ready(r, classic ? CLASSIC : REFLECTS);
                ask(r, &(struct wire_question){WIRE_GET, KEY}, 0);
                ask(r, &(struct wire_question){WIRE_DELETE, KEY}, 1);
                transmit_all(r);
                arrive(r, got, first);
                for (size_t at = first; at < n; at += pieces[i])
                    arrive(r, got + at, n - at < pieces[i] ? n - at : pieces[i]);
                assert_true(r->answers[0].done && r->answers[0].status == MEND_OK && r->answers[0].flags == 3 && r->answers[0].cas == 9);
                assert_int_equal(r->answers[0].value.len, SIZE);
                assert_memory_equal(r->answers[0].value.data, value, SIZE);
                assert_int_equal(r->answers[0].value.data[SIZE], '\0');
                assert_true(r->answers[1].done && r->answers[1].status == MEND_OK);
                assert_in_range(r->answers[0].value.cap, SIZE + 1, SIZE + 4096); /* it is not made larger than it has to be */
                end_well(r);
                rig_free(r);
                if (pieces[i] == 3 && first > 2)
                    break; /* slow, and all the same */
            }
    }
    free(value);
    free(got);
}

/* Two spans: what is left of the value, in the answer, and then the connection's own buffer. */
static void two_rooms(void **state)
{
    struct rig *r = rig_new();
    struct conn_span room[2];
    (void)state;
    ready(r, REFLECTS);
    assert_int_equal(conn_room(&r->c, room), 1);
    ask(r, &(struct wire_question){WIRE_GET, KEY}, 0);
    transmit_all(r);
    feed_text(r, "VA 30000 kkey O102\r\nabc");
    assert_int_equal(conn_room(&r->c, room), 2);
    assert_ptr_equal(room[0].data, r->answers[0].value.data + 3);
    assert_int_equal(room[0].len, 30000 - 3);
    memset(room[0].data, 'x', room[0].len);
    conn_took(&r->c, room[0].len);
    assert_false(r->answers[0].done);
    assert_int_equal(conn_room(&r->c, room), 1); /* the CRLF is nobody's */
    feed_text(r, "\r\n");
    assert_true(r->answers[0].done);
    assert_int_equal(r->answers[0].value.len, 30000);
    end_well(r);
    rig_free(r);
}

/* A value over value_max is read past without asking for memory; the connection goes on. */
static void values_too_large_for_us(void **state)
{
    static const struct {
        enum speaks speaks;
        const char *keys;
        const char *head, *tail;
        const char *answers[3];
    } rows[] = {
        {REFLECTS, NULL, "VA %d f1 c9 kkey O102\r\n", "\r\n", {"E_MEMORY: the value is larger than value_max_bytes", NULL, NULL}},
        {CLASSIC, NULL, "VALUE key 1 %d 9\r\n", "\r\nEND\r\n", {"E_MEMORY: the value is larger than value_max_bytes", NULL, NULL}},
        {CLASSIC, "a b c", "VALUE a 0 1 1\r\nA\r\nVALUE b 1 %d 9\r\n", "\r\nVALUE c 0 1 1\r\nC\r\nEND\r\n",
         {"OK c1 =A", "E_MEMORY: the value is larger than value_max_bytes", "OK c1 =C"}},
    };
    char text[400], *got = malloc(60000);
    (void)state;
    assert_non_null(got);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int size = 999; size <= 50000; size = size == 999 ? 1000 : size == 1000 ? 1001 : size + 48999)
            for (size_t cut = 0; cut < 60; cut++) {
                struct rig *r = rig_new();
                r->c.value_max = 1000;
                ready(r, rows[i].speaks);
                size_t n = rows[i].keys ? ask_many(r, rows[i].keys) : 1;
                if (!rows[i].keys)
                    ask(r, &(struct wire_question){WIRE_GET, KEY}, 0);
                transmit_all(r);
                unsigned before = r->supply.asked;
                int len = sprintf(got, rows[i].head, size);
                memset(got + len, 'x', (size_t)size);
                strcpy(got + len + size, rows[i].tail);
                feed(r, got, strlen(got), cut);
                for (size_t k = 0; k < n; k++)
                    if (size > 1000 || k != n / 2)
                        agree(rows[i].head, cut, "an answer", describe(&r->answers[k], text), rows[i].answers[k]);
                    else
                        assert_true(r->answers[k].status == MEND_OK && (int)r->answers[k].value.len == size);
                if (size > 1000)
                    assert_int_equal(r->supply.asked - before, n == 3 ? 2 : 0);
                assert_true(conn_at_rest(&r->c));
                end_well(r);
                rig_free(r);
                if (size > 1001 && cut == 0)
                    cut = 50;
            }
    free(got);
}

/* What was read past was touched all the same. */
static void touched_and_read_past(void **state)
{
    struct rig *r = rig_new();
    char text[400];
    (void)state;
    for (int touch = 0; touch < 2; touch++) {
        r->c.value_max = 1;
        ready(r, REFLECTS);
        ask(r, &(struct wire_question){touch ? WIRE_GET_AND_TOUCH : WIRE_GET, KEY, .exptime = 9}, 0);
        transmit_all(r);
        feed_text(r, "VA 2 O102\r\nhi\r\n");
        assert_string_equal(describe(&r->answers[0], text),
                            touch ? "E_MEMORY maybe: the value is larger than value_max_bytes" : "E_MEMORY: the value is larger than value_max_bytes");
        r->c.value_max = 2;
        end_well(r);
        conn_fail(&r->c, MEND_E_IO, "closed");
    }
    rig_free(r);
}

/* ---- Memory runs out ---- */

/* Everything that asks for memory, once over: a proof, a small set, a large one, a get, a gets of two, in one line. */
static void live_through(struct rig *r, char *large)
{
    struct wire_question asks[] = {
        {WIRE_SET, KEY, VALUE}, {WIRE_GET, KEY}, {WIRE_DELETE, KEY}, {WIRE_GET, KEY}, {WIRE_SET, KEY, .value = {large, WIRE_COPY_MAX + 1}},
    };
    char answer[200];

    if (!conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE))
        return;
    conn_dialed(&r->c);
    if (r->c.state == CONN_BROKEN) {
        assert_int_equal(r->c.broke, MEND_E_MEMORY);
        return;
    }
    transmit_all(r);
    feed_text(r, "ERROR\r\n");
    if (r->c.state == CONN_BROKEN) {
        assert_int_equal(r->c.broke, MEND_E_MEMORY);
        return;
    }
    conn_fail(&r->c, MEND_E_IO, "closed");
    if (!conn_dial(&r->c, WIRE_META, OPAQUE))
        return;
    conn_dialed(&r->c);
    if (r->c.state == CONN_BROKEN)
        return;
    transmit_all(r);
    feed_text(r, "EN k" TRIAL_64 " b O101\r\n");
    assert_int_equal(r->c.state, CONN_READY);

    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        uint64_t asked = r->c.asked;
        mend_status status = ask(r, &asks[i], i);
        assert_true(status == MEND_OK || status == MEND_E_MEMORY);
        assert_true(status == MEND_OK || r->c.asked == asked);
        if (status)
            continue;
        transmit_all(r);
        snprintf(answer, sizeof answer, asks[i].verb == WIRE_GET ? "VA 300 kkey O%llu\r\n%0300d\r\n" : "HD O%llu\r\n", (unsigned long long)r->c.opaque.number, 0);
        if (asks[i].verb == WIRE_GET) {
            char value[400];
            snprintf(value, sizeof value, "VA 300 c1 kkey O%llu\r\n%0300d\r\n", (unsigned long long)r->c.opaque.number, 0);
            feed_text(r, value);
        } else
            feed_text(r, answer);
        assert_true(r->answers[i].done);
        assert_true(r->answers[i].status == MEND_OK || (asks[i].verb == WIRE_GET && r->answers[i].status == MEND_E_MEMORY));
        assert_true(r->answers[i].status == MEND_OK || r->answers[i].value.len == 0);
        assert_true(conn_at_rest(&r->c));
    }

    uint64_t asked = r->c.asked;
    if (ask_many(r, "a b")) {
        transmit_all(r);
        snprintf(answer, sizeof answer, "EN k" TRIAL_64 " b O%llu\r\nVALUE b 0 1 1\r\nB\r\nEND\r\n", (unsigned long long)r->c.opaque.number);
        feed_text(r, answer);
        assert_true(r->answers[0].done && r->answers[1].done && r->answers[0].status == MEND_MISS);
        assert_true(r->answers[1].status == MEND_OK || r->answers[1].status == MEND_E_MEMORY);
    } else
        assert_int_equal(r->c.asked, asked);
    assert_true(conn_at_rest(&r->c));
}

static void memory_runs_out_at_each_place(void **state)
{
    char *large = large_value(WIRE_COPY_MAX + 1);
    (void)state;
    for (int for_good = 0; for_good < 2; for_good++) {
        unsigned at = 1;
        for (bool failed = true; failed; at++) {
            struct rig *r = rig_new();
            r->supply.fails_at = at;
            r->supply.for_good = for_good;
            live_through(r, large);
            failed = r->supply.asked >= at;
            end_well(r); /* there is memory again */
            rig_free(r);
        }
        assert_in_range(at, 8, 100); /* places there were */
    }
    free(large);
}

/* The line itself, and what it is written in, when there is no memory for another question. */
static void no_memory_for_one_more(void **state)
{
    (void)state;
    for (int many = 0; many < 2; many++) {
        struct rig *r = rig_new();
        struct wire_question q = {WIRE_DELETE, KEY};
        size_t asked = 0;
        ready(r, REFLECTS);
        r->supply.fails_at = r->supply.asked + 1;
        r->supply.for_good = true;
        answer_reset(&r->answers[0]);
        for (; asked < 100; asked++) {
            if (many && !ask_many(r, "a b"))
                break;
            if (!many && conn_ask(&r->c, &q, &r->answers[0]) != MEND_OK)
                break;
        }
        assert_in_range(asked, many ? 0 : 1, 20);
        uint64_t before = r->c.asked;
        mend_status status = conn_ask(&r->c, &q, &r->answers[0]);
        assert_true(status == MEND_E_MEMORY ? r->c.asked == before : many && status == MEND_OK && r->c.asked > before);
        conn_fail(&r->c, MEND_E_IO, "reset");
        end_well(r);
        rig_free(r);
    }
}

/* ---- The end ---- */

#define TIMEOUT MEND_E_TIMEOUT
#define IO MEND_E_IO
#define ALL SIZE_MAX

static void failing(void **state)
{
    static const struct {
        enum speaks speaks;
        struct wire_question ask[3];
        size_t sent;
        const char *got;
        mend_status status;
        const char *answers[3];
        bool ambiguous;
    } rows[] = {
        /* nothing of it went: it can be asked again, whatever it was */
        {META, GET_Q, 0, "", IO, {"E_IO again: cut off"}, false},
        {META, GET_Q, 0, "", TIMEOUT, {"E_TIMEOUT: cut off"}, false}, /* not even that: the time is up */
        {META, SET_Q, 0, "", IO, {"E_IO again: cut off"}, false},
        {CLASSIC, INCR_Q, 0, "", IO, {"E_IO again: cut off"}, false},
        /* a read: unless it was late, or is half answered */
        {META, GET_Q, 1, "", IO, {"E_IO again: cut off"}, false},
        {META, GET_Q, ALL, "", IO, {"E_IO again: cut off"}, false},
        {CLASSIC, GET_Q, ALL, "", IO, {"E_IO again: cut off"}, false},
        {META, Q(WIRE_EXISTS, KEY), ALL, "", IO, {"E_IO again: cut off"}, false},
        {META, GET_Q, 1, "", TIMEOUT, {"E_TIMEOUT: cut off"}, false},
        {META, GET_Q, ALL, "", TIMEOUT, {"E_TIMEOUT: cut off"}, false},
        {META, GET_Q, ALL, "VA 5 kkey\r\n", IO, {"E_IO: cut off"}, false},
        {META, GET_Q, ALL, "VA 5 kkey\r\nhel", IO, {"E_IO: cut off"}, false},
        {META, GET_Q, ALL, "VA 5 kkey\r\nhello\r", IO, {"E_IO: cut off"}, false},
        {CLASSIC, GET_Q, ALL, "VALUE key 0 5 1\r\nhel", IO, {"E_IO: cut off"}, false},
        {CLASSIC, GET_Q, ALL, "VALUE key 0 5 1\r\nhello\r\nEN", IO, {"E_IO: cut off"}, false}, /* a value may be whole, and the answer is not */
        /* a write of which a byte went: it may have been done, and must not be asked again */
        {META, SET_Q, 1, "", IO, {"E_IO maybe: cut off"}, true},
        {META, SET_Q, ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, SET_Q, ALL, "", TIMEOUT, {"E_TIMEOUT maybe: cut off"}, true},
        {CLASSIC, SET_Q, 1, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_ADD, KEY, VALUE), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_REPLACE, KEY, VALUE), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_APPEND, KEY, VALUE), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_PREPEND, KEY, VALUE), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_CAS, KEY, VALUE, .cas = 1), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_DELETE, KEY), 1, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_TOUCH, KEY), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_GET_AND_TOUCH, KEY), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_FLUSH_ALL, KEY), ALL, "", IO, {"E_IO maybe: cut off"}, true},
        {META, INCR_Q, ALL, "VA 2 O102\r\n4", IO, {"E_IO maybe: cut off"}, true},
        {META, Q(WIRE_DECREMENT, KEY), 1, "", TIMEOUT, {"E_TIMEOUT maybe: cut off"}, true},
        /* a line of them, of which the second has begun to go: "mg a v f c t k O102\r\n" are 21 bytes */
        {META, THREE, 20, "", IO, {"E_IO again: cut off", "E_IO again: cut off", "E_IO again: cut off"}, false},
        {META, THREE, 21, "", IO, {"E_IO again: cut off", "E_IO again: cut off", "E_IO again: cut off"}, false},
        {META, THREE, 22, "", IO, {"E_IO again: cut off", "E_IO maybe: cut off", "E_IO again: cut off"}, true},
        {META, THREE, ALL, "", TIMEOUT, {"E_TIMEOUT: cut off", "E_TIMEOUT maybe: cut off", "E_TIMEOUT: cut off"}, true},
        {META, THREE, ALL, "EN\r\n", IO, {"MISS", "E_IO maybe: cut off", "E_IO again: cut off"}, true},
        {META, THREE, ALL, "EN\r\nHD\r\n", IO, {"MISS", "OK", "E_IO again: cut off"}, false}, /* what is done stays done */
        {META, THREE, ALL, "EN\r\nHD\r\nVA 3 kc\r\nab", IO, {"MISS", "OK", "E_IO: cut off"}, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig *r = rig_new();
        char text[400], row[40];
        size_t n = 0;
        snprintf(row, sizeof row, "row %zu of failing", i);
        ready(r, rows[i].speaks);
        for (; n < 3 && rows[i].ask[n].key.len; n++)
            ask(r, &rows[i].ask[n], n);
        transmit(r, rows[i].sent);
        feed_text(r, rows[i].got);
        conn_fail(&r->c, rows[i].status, "cut off");
        conn_fail(&r->c, MEND_E_MEMORY, "and once more, for nothing");
        assert_int_equal(r->c.broke, rows[i].status);
        assert_string_equal(r->c.why, "cut off");
        for (size_t k = 0; k < n; k++)
            agree(row, 0, "an answer", describe(&r->answers[k], text), rows[i].answers[k]);
        assert_int_equal(r->c.ambiguous, rows[i].ambiguous);
        assert_true(conn_at_rest(&r->c) || r->c.out.len > r->c.out_at);
        mend_bytes none[3];
        assert_int_equal(conn_pending(&r->c, none), 0);
        end_well(r);
        rig_free(r);
    }
}

static void failing_among_many(void **state)
{
    struct rig *r = rig_new();
    char text[400];
    (void)state;
    ready(r, REFLECTS);
    assert_int_equal(ask_many(r, "a b c"), 3);
    transmit_all(r);
    conn_fail(&r->c, MEND_E_IO, "cut off"); /* before the first byte of an answer */
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(describe(&r->answers[i], text), "E_IO again: cut off");
    assert_false(r->c.ambiguous);

    ready(r, CLASSIC);
    assert_int_equal(ask_many(r, "a b c"), 3);
    transmit_all(r);
    feed_text(r, "VALUE a 0 1 1\r\nA\r\nVALUE b 0 5 1\r\nB");
    conn_fail(&r->c, MEND_E_IO, "cut off");
    assert_string_equal(describe(&r->answers[0], text), "OK c1 =A");
    assert_string_equal(describe(&r->answers[2], text), "E_IO: cut off");
    assert_int_equal(r->answers[1].status, MEND_E_IO);
    assert_false(r->answers[1].again);
    end_well(r);
    rig_free(r);
}

/* A large value, cut off anywhere: in its line, in the owner's bytes, in the CRLF. The owner's memory is then let go of. */
static void failing_within_a_large_value(void **state)
{
    enum { SIZE = WIRE_COPY_MAX + 1 };
    static const size_t sent[] = {0, 1, 20, 21, 22, 21 + SIZE - 1, 21 + SIZE, 21 + SIZE + 1, 21 + SIZE + 2};
    (void)state;
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        struct rig *r = rig_new();
        char *value = large_value(SIZE), text[400];
        ready(r, REFLECTS);
        ask(r, &(struct wire_question){WIRE_SET, KEY, .value = {value, SIZE}}, 0);
        r->sent_len = 0;
        transmit(r, sent[i]);
        conn_fail(&r->c, MEND_E_TIMEOUT, "too late");
        free(value);
        assert_string_equal(describe(&r->answers[0], text), sent[i] ? "E_TIMEOUT maybe: too late" : "E_TIMEOUT: too late");
        assert_int_equal(r->c.ambiguous, sent[i] > 0);
        end_well(r);
        rig_free(r);
    }
}

static void failing_before_it_is_ready(void **state)
{
    struct rig *r = rig_new();
    mend_bytes none[3];
    (void)state;
    assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    assert_int_equal(conn_pending(&r->c, none), 0);
    conn_fail(&r->c, MEND_E_IO, "refused");
    assert_int_equal(r->c.broke, MEND_E_IO);
    assert_false(conn_takes(&r->c) || r->c.ambiguous || conn_refused_meta(&r->c));

    assert_true(conn_dial(&r->c, WIRE_UNKNOWN, OPAQUE));
    conn_dialed(&r->c);
    transmit(r, 3);
    conn_fail(&r->c, MEND_E_TIMEOUT, "hung");
    assert_int_equal(conn_pending(&r->c, none), 0); /* the rest of the trial is not sent */
    assert_false(r->c.ambiguous);
    end_well(r);
    rig_free(r);
}

/* Of an old connection nothing is left: neither bytes that came and were not read, nor those that were to go. */
static void dialed_anew(void **state)
{
    char *value = large_value(WIRE_COPY_MAX + 1);
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct rig *r = rig_new();
        ready(r, REFLECTS);
        if (i == 0)
            ask(r, &(struct wire_question){WIRE_SET, KEY, .value = {value, WIRE_COPY_MAX + 1}}, 1);
        else
            ask(r, &(struct wire_question){WIRE_GET, KEY}, 1);
        transmit(r, i < 2 ? 10 : SIZE_MAX);
        if (i >= 2)
            feed_text(r, i == 2 ? "VA 5 kk" : "VA 5 kkey O102\r\nhel");
        conn_fail(&r->c, MEND_E_IO, "cut off");
        ready(r, i % 2 ? META : CLASSIC);
        assert_false(r->c.heard == false || r->c.ambiguous);
        end_well(r);
        rig_free(r);
    }
    free(value);
}

static void answers_that_no_server_gave(void **state)
{
    struct answer a = {.flags = 1, .cas = 2, .number = 3, .ttl_s = 4, .maybe_applied = true, .again = true, .done = true, .value.len = 5};
    char text[200];
    (void)state;
    answer_reset(&a);
    assert_true(a.status == MEND_OK && !a.done && !a.maybe_applied && !a.again && !a.flags && !a.cas && !a.number && !a.value.len);
    assert_int_equal(a.ttl_s, MEND_TTL_UNKNOWN);
    assert_string_equal(a.error, "");

    answer_fail(&a, MEND_E_DOWN, "the server is down");
    assert_true(a.done && a.status == MEND_E_DOWN && !a.maybe_applied && !a.again);
    assert_string_equal(a.error, "the server is down");

    memset(text, 'x', sizeof text);
    text[3] = '\n';
    text[sizeof text - 1] = '\0';
    answer_fail_text(&a, MEND_E_IO, text);
    memset(text, 'y', sizeof text - 1); /* it has a copy: printable, and as long as there is room for */
    assert_int_equal(strlen(a.error), sizeof a.text - 1);
    assert_memory_equal(a.error, "xxx?xxx", 7);
}

/* The line grows, and what is half read must not lie in the old one. */
static void a_question_is_added_while_a_value_arrives(void **state)
{
    struct rig *r = rig_new();
    struct wire_question q = {WIRE_GET, KEY};
    (void)state;
    ready(r, REFLECTS);
    for (size_t i = 0; i < 4; i++)
        ask(r, &q, i);
    transmit_all(r);
    feed_text(r, "VA 5 kkey O102\r\nhe");
    assert_int_equal(ask(r, &q, 4), MEND_OK); /* the fifth */
    transmit_all(r);
    feed_text(r, "llo\r\nEN O103\r\nEN O104\r\nEN O105\r\nEN O106\r\n");
    assert_string_equal(r->answers[0].value.data, "hello");
    assert_true(conn_at_rest(&r->c));
    rig_free(r);
}

/* It is proved by the trial key's value alone, and by one. */
static void a_classic_trial_with_another_key(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    assert_true(conn_dial(&r->c, WIRE_CLASSIC, OPAQUE));
    conn_dialed(&r->c);
    transmit_all(r);
    feed_text(r, "VALUE other 0 2 1\r\nhi\r\nEND\r\n");
    assert_int_equal(r->c.state, CONN_BROKEN);
    rig_free(r);
}

static void a_classic_trial_answered_twice(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    assert_true(conn_dial(&r->c, WIRE_CLASSIC, OPAQUE));
    conn_dialed(&r->c);
    transmit_all(r);
    feed_text(r, "VALUE trial 0 2 1\r\nhi\r\nVALUE trial 0 2 1\r\nho\r\nEND\r\n");
    assert_int_equal(r->c.state, CONN_BROKEN);
    rig_free(r);
}

/* Nothing is asked, so nothing is on the line. */
static void many_of_which_the_first_is_binary(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    ready(r, CLASSIC);
    r->wants[0] = (struct want){.key = {"a b", 3}, .key_binary = true, .into = &r->answers[0]};
    assert_int_equal(conn_ask_many(&r->c, r->wants, 1), 0);
    assert_true(conn_at_rest(&r->c));
    rig_free(r);
}

/* Even while a byte is always left to send. */
static void what_was_sent_is_let_go_of(void **state)
{
    struct rig *r = rig_new();
    static struct answer a;
    struct wire_question q = {WIRE_DELETE, KEY};
    (void)state;
    ready(r, META);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(conn_ask(&r->c, &q, &a), MEND_OK);
        mend_bytes pending[3];
        conn_pending(&r->c, pending);
        conn_sent(&r->c, pending[0].len - 1);
        feed_text(r, i ? "HD\r\n" : "");
    }
    assert_in_range(r->c.out.cap, 0, 96 * 1024);
    rig_free(r);
}

/* A gats is a get to a proxy: its SERVER_ERROR may be one of several lines, and the END behind it is nobody's miss. */
static void the_error_to_a_gats(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    ready(r, CLASSIC);
    ask(r, &(struct wire_question){WIRE_GET_AND_TOUCH, KEY, .exptime = 9}, 0);
    transmit_all(r);
    feed_text(r, "SERVER_ERROR backend failure\r\n");
    if (r->c.state == CONN_READY) {
        ask(r, &(struct wire_question){WIRE_GET, .key = {"other", 5}}, 1);
        transmit_all(r);
        feed_text(r, "END\r\n"); /* the gats' own */
        assert_true(r->answers[1].status != MEND_MISS);
    }
    rig_free(r);
}

/* Stored? It has not been sent. */
static void an_early_answer_to_a_large_set(void **state)
{
    struct rig *r = rig_new();
    char *value = large_value(WIRE_COPY_MAX + 1);
    (void)state;
    ready(r, REFLECTS);
    ask(r, &(struct wire_question){WIRE_SET, KEY, .value = {value, WIRE_COPY_MAX + 1}}, 0);
    transmit(r, 100);
    feed_text(r, "HD O102\r\n");
    if (r->answers[0].done) {
        free(value);
        transmit_all(r);
    } else
        free(value);
    rig_free(r);
}

static void a_bare_error(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    ready(r, REFLECTS);
    ask(r, &(struct wire_question){WIRE_GET, KEY}, 0);
    transmit_all(r);
    feed_text(r, "ERROR\r\n");
    assert_string_equal(r->answers[0].error, "ERROR");
    rig_free(r);
}

static void failing_a_cold_one(void **state)
{
    struct rig *r = rig_new();
    (void)state;
    conn_fail(&r->c, MEND_E_IO, "closed");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proving),
        cmocka_unit_test(refused_at_the_door),
        cmocka_unit_test(authentication),
        cmocka_unit_test(authentication_without_an_answer),
        cmocka_unit_test(no_memory_for_the_second_trial),
        cmocka_unit_test(an_answer_before_the_trial_was_asked),
        cmocka_unit_test(closed_for_asking_meta),
        cmocka_unit_test(holding_dialogues),
        cmocka_unit_test(stopping_anywhere),
        cmocka_unit_test(bytes_that_nobody_asked_for),
        cmocka_unit_test(answers_before_their_questions),
        cmocka_unit_test(binary_keys_need_meta),
        cmocka_unit_test(as_many_as_go_into_one_line),
        cmocka_unit_test(a_gets_without_its_trial),
        cmocka_unit_test(a_long_key_and_an_answer_in_base64),
        cmocka_unit_test(bursts),
        cmocka_unit_test(answers_in_one_piece),
        cmocka_unit_test(the_line_is_full),
        cmocka_unit_test(large_values_are_borrowed),
        cmocka_unit_test(refused_while_it_is_sent),
        cmocka_unit_test(large_values_arrive_where_they_belong),
        cmocka_unit_test(two_rooms),
        cmocka_unit_test(values_too_large_for_us),
        cmocka_unit_test(touched_and_read_past),
        cmocka_unit_test(memory_runs_out_at_each_place),
        cmocka_unit_test(no_memory_for_one_more),
        cmocka_unit_test(failing),
        cmocka_unit_test(failing_among_many),
        cmocka_unit_test(failing_within_a_large_value),
        cmocka_unit_test(failing_before_it_is_ready),
        cmocka_unit_test(dialed_anew),
        cmocka_unit_test(answers_that_no_server_gave),
        cmocka_unit_test(a_question_is_added_while_a_value_arrives),
        cmocka_unit_test(a_classic_trial_with_another_key),
        cmocka_unit_test(a_classic_trial_answered_twice),
        cmocka_unit_test(many_of_which_the_first_is_binary),
        cmocka_unit_test(what_was_sent_is_let_go_of),
        cmocka_unit_test(the_error_to_a_gats),
        cmocka_unit_test(an_early_answer_to_a_large_set),
        cmocka_unit_test(a_bare_error),
        cmocka_unit_test(failing_a_cold_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
