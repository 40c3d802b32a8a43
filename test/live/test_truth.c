/* test_truth.c - servers that lie, cut off, stall, babble and repeat themselves.
 *
 * Whatever they do: no call returns a wrong value, each ends by its deadline, an
 * increment is never sent twice, and once the server behaves, everything works.
 */
#include "support/counted.h"
#include "support/hostile.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define S(text) mend_str(text)
/* What may or must fail is given 100 ms; what must not, as long as a busy machine needs. */
enum { SHORT_MS = 100, LONG_MS = 10000, LARGE_BYTES = 40000 };
#define BOUND_MS (SHORT_MS + slack_ms())

static char large[LARGE_BYTES + 1]; /* above 16 KB, where a call uses its own memory */

static const char *truth(const char *key)
{
    return strcmp(key, "before") == 0 ? "the value of before" : strcmp(key, "asked") == 0 ? "the value of asked" :
           strcmp(key, "after") == 0 ? "the value of after" : strcmp(key, "other") == 0 ? "quite another value" : large;
}

static struct hostile *honest(enum hostile_dialect dialect)
{
    static const char *const keys[] = {"before", "asked", "after", "other", "large"};
    struct hostile          *h = hostile_start(dialect);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        hostile_put(h, keys[i], truth(keys[i]));
    return h;
}

static mend_config patient(struct hostile *h) /* a server may fail here as often as it likes */
{
    return MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = LONG_MS, .failures_allowed = 1000000, .zombie_ms = MEND_ZERO);
}

static bool is(const mend_reply *r, const char *value)
{
    return r->len == strlen(value) && memcmp(r->data, value, r->len) == 0;
}

/* ---- What a server may do ------------------------------------------------------------------------- */
enum { GET = 1, LARGE = 2, MULTI = 4, SET = 8, LARGE_SET = 16, COUNT = 32, READS = GET | LARGE | MULTI, WRITES = SET | LARGE_SET | COUNT, ALL = READS | WRITES };
enum { META = 1, CLASSIC = 2, BOTH = 3 };

enum outcome {
    FINE,    /* odd, but right: MEND_OK */
    FAILS,   /* < 0 */
    SILENT,  /* MEND_E_TIMEOUT */
    LOST,    /* MEND_E_IO */
    REFUSED, /* < 0, and a write may be known not to be applied */
    ANY      /* right or < 0 */
};

struct misdeed {
    const char      *name;
    unsigned         calls, dialects;
    enum outcome     outcome;
    hostile_handler *handler; /* NULL: say the text ($ is the request's own opaque and key) */
    const char      *text;
};

/* Requests that the misdeed is meant for: by key, whichever command and place it has. */
static bool meant(const struct toy_ask *ask)
{
    static const char *const keys[] = {"asked", "large", "written", "written large", "counted"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(ask->key, keys[i]) == 0)
            return true;
        for (int w = 1; w < ask->words; w++)
            if (strcmp(ask->word[w], keys[i]) == 0)
                return true;
    }
    return false;
}

static enum hostile_next misbehaves(struct toy_ask *ask, void *context)
{
    const struct misdeed *misdeed = context;
    char                  echo[512], text[2048];
    size_t                at = 0;
    if (!meant(ask))
        return hostile_answer(ask);
    if (misdeed->handler)
        return misdeed->handler(ask, context);

    toy_echo(ask, echo, sizeof echo);
    for (const char *c = misdeed->text; *c; c++) {
        if (*c == '$')
            at += (size_t)snprintf(text + at, sizeof text - at, "%s", echo);
        else
            text[at++] = *c;
    }
    return hostile_write(ask, text, at) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static enum hostile_next closes(struct toy_ask *ask, void *context)
{
    (void)ask;
    (void)context;
    return HOSTILE_CLOSE;
}

static enum hostile_next resets(struct toy_ask *ask, void *context)
{
    (void)ask;
    (void)context;
    return HOSTILE_RESET;
}

static enum hostile_next does_it_and_closes(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_prepare(ask);
    return HOSTILE_CLOSE;
}

static enum hostile_next stalls(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_stall(ask);
    return HOSTILE_CLOSE;
}

static bool half(struct toy_ask *ask)
{
    hostile_prepare(ask);
    return hostile_write(ask, ask->answer, ask->length / 2);
}

static enum hostile_next half_then_stalls(struct toy_ask *ask, void *context)
{
    half(ask);
    return stalls(ask, context);
}

static enum hostile_next half_then_closes(struct toy_ask *ask, void *context)
{
    (void)context;
    half(ask);
    return HOSTILE_CLOSE;
}

static enum hostile_next half_then_resets(struct toy_ask *ask, void *context)
{
    (void)context;
    half(ask);
    return HOSTILE_RESET;
}

static enum hostile_next half_then_the_wrong_half(struct toy_ask *ask, void *context)
{
    (void)context;
    return half(ask) && hostile_write(ask, ask->answer, ask->length) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static enum hostile_next without_its_end(struct toy_ask *ask, void *context)
{
    hostile_prepare(ask);
    hostile_write(ask, ask->answer, ask->length - 2); /* the last CRLF */
    return stalls(ask, context);
}

static enum hostile_next with_a_pause_before_its_end(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_prepare(ask);
    bool sent = hostile_write(ask, ask->answer, ask->length - 2);
    pause_ms(20);
    return sent && hostile_write(ask, ask->answer + ask->length - 2, 2) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

/* So slowly that it is not done by the deadline, and never so slowly that a read would time out. */
static enum hostile_next trickles(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_prepare(ask);
    hostile_trickle(ask, ask->answer, ask->length - 1, 30);
    pause_ms(200);
    return HOSTILE_CLOSE;
}

static enum hostile_next garbage(struct toy_ask *ask, void *context)
{
    char bytes[3000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * i * 7 + i / 3);
    (void)context;
    return hostile_write(ask, bytes, sizeof bytes) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static enum hostile_next zeros(struct toy_ask *ask, void *context)
{
    (void)context;
    return hostile_write(ask, (char[200]){0}, 200) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static enum hostile_next an_endless_line(struct toy_ask *ask, void *context)
{
    char line[4096];
    (void)context;
    memset(line, 'V', sizeof line);
    while (hostile_write(ask, line, sizeof line))
        continue;
    return HOSTILE_CLOSE;
}

/* The same item for ever, and no end. */
static enum hostile_next endless_items(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_prepare(ask);
    size_t end = !ask->meta && ask->length > 5 && strcmp(ask->answer + ask->length - 5, "END\r\n") == 0 ? 5 : 0;
    while (hostile_write(ask, ask->answer, ask->length - end))
        continue;
    return HOSTILE_CLOSE;
}

/* The other key's value, as the answer to this question (the opaque is right). */
static enum hostile_next for_another_key(struct toy_ask *ask, void *context)
{
    (void)context;
    ask->said_key = "other";
    ask->key_length = (size_t)snprintf(ask->key, sizeof ask->key, "%s", ask->said_key);
    if (!ask->meta)
        ask->word[1] = ask->key;
    hostile_prepare(ask);
    return hostile_write(ask, ask->answer, ask->length) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

/* What was so when another question was asked (the key is right). */
static enum hostile_next for_another_question(struct toy_ask *ask, void *context)
{
    (void)context;
    if (toy_is(ask, "mg"))
        ask->key_length = (size_t)snprintf(ask->key, sizeof ask->key, "other");
    ask->said_opaque = "987654";
    hostile_prepare(ask);
    return hostile_write(ask, ask->answer, ask->length) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static enum hostile_next twice(struct toy_ask *ask, void *context)
{
    (void)context;
    hostile_prepare(ask);
    char *both = malloc(2 * ask->length);
    memcpy(both, ask->answer, ask->length);
    memcpy(both + ask->length, ask->answer, ask->length);
    bool sent = hostile_write(ask, both, 2 * ask->length);
    free(both);
    return sent ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static const struct misdeed misdeeds[] = {
    {"closes", ALL, BOTH, LOST, closes, NULL},
    {"resets", ALL, BOTH, LOST, resets, NULL},
    {"does it, and closes", ALL, BOTH, LOST, does_it_and_closes, NULL},
    {"stalls", ALL, BOTH, SILENT, stalls, NULL},
    {"half an answer, stalls", ALL, BOTH, SILENT, half_then_stalls, NULL},
    {"half an answer, closes", ALL, BOTH, LOST, half_then_closes, NULL},
    {"half an answer, resets", ALL, BOTH, LOST, half_then_resets, NULL},
    {"half an answer, and then a whole one", READS, BOTH, FAILS, half_then_the_wrong_half, NULL},
    {"an answer without its last line end", GET | LARGE | WRITES, META, SILENT, without_its_end, NULL},
    {"an answer without its last line end", WRITES, CLASSIC, SILENT, without_its_end, NULL},
    {"an END without its line end", MULTI, META, ANY, without_its_end, NULL}, /* what came before it may be whole */
    {"an END without its line end", READS, CLASSIC, ANY, without_its_end, NULL},
    {"a pause before the last line end", ALL, BOTH, FINE, with_a_pause_before_its_end, NULL},
    {"trickles", GET | MULTI | SET | COUNT, META, SILENT, trickles, NULL},
    {"trickles", GET | MULTI, CLASSIC, SILENT, trickles, NULL},
    {"garbage", ALL, BOTH, FAILS, garbage, NULL},
    {"zeros", ALL, BOTH, FAILS, zeros, NULL},
    {"an endless line", ALL, BOTH, FAILS, an_endless_line, NULL},
    {"endless items", ALL, BOTH, ANY, endless_items, NULL},
    {"answers for another key", READS, BOTH, FAILS, for_another_key, NULL},
    {"answers another question", GET | LARGE | WRITES, META, FAILS, for_another_question, NULL},
    {"answers twice", ALL, BOTH, ANY, twice, NULL},

    {"a word of its own", ALL, BOTH, FAILS, NULL, "HELLO\r\n"},
    {"an empty line", ALL, BOTH, FAILS, NULL, "\r\n"},
    {"ERROR", ALL, BOTH, REFUSED, NULL, "ERROR\r\n"},
    {"CLIENT_ERROR", GET | LARGE | MULTI | SET | LARGE_SET, BOTH, REFUSED, NULL, "CLIENT_ERROR bad command line format\r\n"},
    {"SERVER_ERROR", ALL, BOTH, REFUSED, NULL, "SERVER_ERROR out of order\r\n"},
    {"the barrier's answer", ALL, META, FAILS, NULL, "MN\r\n"},
    {"a classic hit", GET | LARGE | WRITES, META, FAILS, NULL, "VALUE asked 0 5\r\nwrong\r\nEND\r\n"},
    {"a classic answer", ALL, META, FAILS, NULL, "STORED\r\n"},
    {"a meta hit", ALL, CLASSIC, FAILS, NULL, "VA 5\r\nwrong\r\n"},
    {"a meta answer", ALL, CLASSIC, FAILS, NULL, "HD\r\n"},

    {"a hit of 4 GB", READS, META, FAILS, NULL, "VA 4294967296$\r\nwrong\r\n"},
    {"a hit of 4 GB + 5", READS, META, FAILS, NULL, "VA 4294967301$\r\nwrong\r\n"},
    {"a hit of -1", READS, META, FAILS, NULL, "VA -1$\r\nwrong\r\n"},
    {"a hit of 2^64 - 1", READS, META, FAILS, NULL, "VA 18446744073709551615$\r\nwrong\r\n"},
    {"a hit of 2^64 + 5", READS, META, FAILS, NULL, "VA 18446744073709551621$\r\nwrong\r\n"},
    {"a hit of no size", READS, META, FAILS, NULL, "VA$\r\nwrong\r\n"},
    {"a hit of 5x", READS, META, FAILS, NULL, "VA 5x$\r\nwrong\r\n"},
    {"a hit that is longer than it says", READS, META, FAILS, NULL, "VA 3$\r\nwrong\r\n"},
    {"a hit without opaque and key", READS, META, FAILS, NULL, "VA 5\r\nwrong\r\n"},
    {"a miss of another question", READS, META, FAILS, NULL, "EN O987654\r\n"},
    {"a hit without a value", READS, META, FAILS, NULL, "HD$\r\n"},
    {"an unknown code", ALL, META, FAILS, NULL, "XX$\r\n"},
    {"not stored, to a get", READS, META, FAILS, NULL, "NS$\r\n"},

    {"a hit of 4 GB", READS, CLASSIC, FAILS, NULL, "VALUE asked 0 4294967296 1\r\nwrong\r\nEND\r\n"},
    {"a hit of -1", READS, CLASSIC, FAILS, NULL, "VALUE asked 0 -1 1\r\nwrong\r\nEND\r\n"},
    {"a hit of 2^64 - 1", READS, CLASSIC, FAILS, NULL, "VALUE asked 0 18446744073709551615 1\r\nwrong\r\nEND\r\n"},
    {"a hit of 2^64 + 5", READS, CLASSIC, FAILS, NULL, "VALUE asked 0 18446744073709551621 1\r\nwrong\r\nEND\r\n"},
    {"a hit of no size", READS, CLASSIC, FAILS, NULL, "VALUE asked\r\nwrong\r\nEND\r\n"},
    {"a hit of 5x", READS, CLASSIC, FAILS, NULL, "VALUE asked 0 5x 1\r\nwrong\r\nEND\r\n"},
    {"a hit that is longer than it says", READS, CLASSIC, FAILS, NULL, "VALUE asked 0 3 1\r\nwrong\r\nEND\r\n"},
    {"a hit without its cas", GET | LARGE, CLASSIC, FAILS, NULL, "VALUE asked 0 5\r\nwrong\r\nEND\r\n"},
    {"a hit that nobody asked for", READS, CLASSIC, FAILS, NULL, "VALUE nobody 0 5 1\r\nwrong\r\nEND\r\n"},
    {"an answer to a set", READS | COUNT, CLASSIC, FAILS, NULL, "STORED\r\n"},
    {"an answer to an increment", READS | SET | LARGE_SET, CLASSIC, FAILS, NULL, "5\r\n"},
    {"an answer to a get", WRITES, CLASSIC, FAILS, NULL, "END\r\n"},

    {"a hit, to a set", SET | LARGE_SET, META, FAILS, NULL, "VA 5$\r\nwrong\r\n"},
    {"a miss, to a set", SET | LARGE_SET, META, FAILS, NULL, "EN$\r\n"},
    {"stored, with another opaque", SET | LARGE_SET, META, FAILS, NULL, "HD O987654\r\n"},

    {"a counter of letters", COUNT, META, FAILS, NULL, "VA 3$\r\nabc\r\n"},
    {"a counter of -1", COUNT, META, FAILS, NULL, "VA 2$\r\n-1\r\n"},
    {"a counter of 2^64", COUNT, META, FAILS, NULL, "VA 20$\r\n18446744073709551616\r\n"},
    {"a counter of nothing", COUNT, META, FAILS, NULL, "VA 0$\r\n\r\n"},
    {"a counter of 4 GB", COUNT, META, FAILS, NULL, "VA 4294967296$\r\n1\r\n"},
    {"a counter of letters", COUNT, CLASSIC, FAILS, NULL, "abc\r\n"},
    {"a counter of -1", COUNT, CLASSIC, FAILS, NULL, "-1\r\n"},
    {"a counter of 2^64", COUNT, CLASSIC, FAILS, NULL, "18446744073709551616\r\n"},
};

/* ---- What is asked, and how the answer is judged ------------------------------------------------------ */
static mend_status ask(mend_client *c, unsigned call, int timeout_ms, mend_reply *r, mend_replies *rs)
{
    mend_call  its = {.timeout_ms = timeout_ms};
    mend_store store = {.call = its};
    switch (call) {
    case GET: return mend_get_with(c, S("asked"), &its, r);
    case LARGE: return mend_get_with(c, S("large"), &its, r);
    case MULTI: return mend_get_multi_with(c, (mend_bytes[]){S("before"), S("asked"), S("after")}, 3, &its, rs);
    case SET: return mend_set(c, S("written"), S("new"), &store, r);
    case LARGE_SET: return mend_set(c, S("written"), S(large), &store, r);
    default: return mend_increment(c, S("counted"), 7, &(mend_count){.call = its}, r);
    }
}

static const char *call_name(unsigned call)
{
    return call == GET ? "get" : call == LARGE ? "large get" : call == MULTI ? "get_multi" : call == SET ? "set" : call == LARGE_SET ? "large set" : "increment";
}

static void judge(const struct misdeed *misdeed, unsigned call, mend_status status, const mend_reply *r, const mend_replies *rs, struct hostile *h)
{
    static const char *const keys[] = {"before", "asked", "after"};
    char                     what[100], number[32];
    const mend_reply        *one = r;
    snprintf(what, sizeof what, "%s, to a %s", misdeed->name, call_name(call));

    for (size_t i = 0; call == MULTI && i < 3; i++) {
        one = i == 0 || one->status == MEND_OK ? &rs->at[i] : one; /* the first that failed */
        must(rs->at[i].status < 0 || (rs->at[i].status == MEND_OK && is(&rs->at[i], truth(keys[i]))), "%s: %s is \"%s\" (%s)", what, keys[i], rs->at[i].data, mend_status_name(rs->at[i].status));
    }
    must(status <= 0, "%s: %s", what, mend_status_name(status));
    must(status == MEND_OK || strlen(one->error) > 0, "%s: %s without words", what, mend_status_name(status));
    must(status != MEND_E_ARGUMENT && status != MEND_E_DOWN && status != MEND_E_BUSY, "%s: %s", what, mend_status_name(status));
    if (status == MEND_OK) {
        snprintf(number, sizeof number, "%llu", (unsigned long long)r->number);
        must(!(call & (GET | LARGE)) || is(r, truth(call == GET ? "asked" : "large")), "%s: \"%.40s\"", what, r->data);
        must(!(call & (SET | LARGE_SET)) || hostile_holds(h, "written", call == SET ? "new" : large), "%s: it does not hold what was stored", what);
        must(call != COUNT || hostile_holds(h, "counted", number), "%s: the number is not %s", what, number);
    } else {
        must(r->len == 0 || call == MULTI, "%s: a failure with data", what);
        must(!(call & WRITES) || r->maybe_applied || misdeed->outcome == REFUSED, "%s: %s, and it may have been applied", what, mend_status_name(status));
        must(!(call & READS) || !one->maybe_applied, "%s: a get was applied", what);
    }
    switch (misdeed->outcome) {
    case FINE: must(status == MEND_OK, "%s: %s %s", what, mend_status_name(status), one->error); break;
    case SILENT: must(status == MEND_E_TIMEOUT, "%s: %s %s", what, mend_status_name(status), one->error); break;
    case LOST: must(status == MEND_E_IO, "%s: %s %s", what, mend_status_name(status), one->error); break;
    case FAILS:
    case REFUSED: must(status < 0, "%s: %s", what, mend_status_name(status)); break;
    case ANY: break;
    }
}

/* The server behaves, and everything works. */
static void works(mend_client *c, struct hostile *h)
{
    mend_reply r = MEND_REPLY;
    hostile_behave(h, NULL, NULL);
    hostile_release(h);
    await(seen_at(c, 0).journal_keys == 0, SOON_MS); /* a lost write is made up for */
    await(ask(c, GET, LONG_MS, &r, NULL) == MEND_OK, SOON_MS);
    must(is(&r, truth("asked")), "%s", r.data);
    for (int i = 0; i < 2; i++) { /* and more calls succeed than fail, so that no rule about that is met */
        must_be(MEND_OK, ask(c, LARGE, LONG_MS, &r, NULL), &r);
        assert_true(is(&r, large));
    }
    mend_reply_free(&r);
}

/* One misdeed, one call, one judgement; then the server behaves. Returns how long the call took. */
static int64_t suffer(mend_client *c, struct hostile *h, struct misdeed *misdeed, unsigned call)
{
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    const char  *key = call & (SET | LARGE_SET) ? "written" : "counted";
    bool         fails = misdeed->outcome != FINE && misdeed->outcome != LOST;
    hostile_put(h, "written", "old");
    hostile_put(h, "counted", "100");
    unsigned before = hostile_asked(h, key);
    hostile_behave(h, misbehaves, misdeed);

    int64_t     began = now_ms();
    mend_status status = ask(c, call, fails ? SHORT_MS : LONG_MS, &r, &rs);
    int64_t     took = now_ms() - began;
    judge(misdeed, call, status, &r, &rs, h);
    if (call & WRITES)
        must(hostile_asked(h, key) == before + 1, "%s: the %s was sent %u times", misdeed->name, call_name(call), hostile_asked(h, key) - before);
    works(c, h);
    mend_reply_free(&r);
    mend_replies_free(&rs);
    return took;
}

static void every_misdeed(unsigned dialect)
{
    static struct counted memory; /* static: after a failure the client lives on */
    struct hostile       *h = honest(dialect == META ? HOSTILE_META : HOSTILE_CLASSIC);
    mend_config           config = patient(h);
    memory = (struct counted){0};
    config.allocator = counted_hooks(&memory);
    mend_client *c = open_up(&config);
    works(c, h);

    for (size_t i = 0; i < sizeof misdeeds / sizeof *misdeeds; i++) {
        struct misdeed misdeed = misdeeds[i];
        for (unsigned call = 1; call & ALL && misdeed.dialects & dialect; call <<= 1) {
            int64_t took = 0;
            for (int tries = 0; misdeed.calls & call && tries < 3; tries++) { /* a core that was busy makes one try late; a wrong deadline, every one */
                took = suffer(c, h, &misdeed, call);
                if (took < BOUND_MS)
                    break;
            }
            must(took < BOUND_MS, "%s, to a %s: %d ms", misdeed.name, call_name(call), (int)took);
        }
    }
    /* The largest value was 40 KB: nobody's 4 GB, endless line or endless items cost memory. */
    must(memory.largest < 1 << 20, "%zu bytes were asked for", (size_t)memory.largest);
    mend_close(c);
    await(memory.live == 0, SOON_MS);
    hostile_stop(h);
}

static void every_misdeed_over_meta(void **state)
{
    (void)state;
    every_misdeed(META);
}

static void every_misdeed_over_classic(void **state)
{
    (void)state;
    every_misdeed(CLASSIC);
}

/* ---- Cut at every byte --------------------------------------------------------------------------------- */
struct cut {
    _Atomic size_t at, length;
    bool           goes_on;
};

static enum hostile_next cuts(struct toy_ask *ask, void *context)
{
    struct cut *cut = context;
    if (!meant(ask))
        return hostile_answer(ask);
    hostile_prepare(ask);
    cut->length = ask->length;
    size_t first = cut->at < ask->length ? cut->at : ask->length;
    if (!hostile_write(ask, ask->answer, first) || !cut->goes_on)
        return HOSTILE_CLOSE;
    pause_ms(1);
    return hostile_write(ask, ask->answer + first, ask->length - first) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static void cut_at_every_byte(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    for (enum hostile_dialect dialect = HOSTILE_META; dialect <= HOSTILE_CLASSIC; dialect += HOSTILE_CLASSIC) {
        struct hostile *h = honest(dialect);
        mend_config     config = patient(h);
        mend_client    *c = open_up(&config);
        for (unsigned call = GET; call <= COUNT; call <<= 1) {
            if (call & (LARGE | LARGE_SET))
                continue;
            struct cut cut = {.at = 0, .length = 1};
            for (cut.at = 0; cut.at <= cut.length; cut.at++) {
                struct misdeed whole = {.name = "an answer in two pieces", .outcome = FINE}, lost = {.name = "an answer cut off"};
                hostile_put(h, "counted", "100");
                cut.goes_on = true; /* the answer in two pieces is an answer */
                hostile_behave(h, cuts, &cut);
                judge(&whole, call, ask(c, call, LONG_MS, &r, &rs), &r, &rs, h);
                hostile_behave(h, NULL, NULL);
                cut.goes_on = false; /* the first piece alone is none */
                hostile_behave(h, cuts, &cut);
                mend_status status = ask(c, call, LONG_MS, &r, &rs);
                size_t      end = call == GET && dialect == HOSTILE_CLASSIC ? strlen("END\r\n") : 0; /* the value is whole without it */
                lost.outcome = call == MULTI || cut.at + end >= cut.length ? ANY : LOST;
                judge(&lost, call, status, &r, &rs, h);
                works(c, h);
            }
        }
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

/* ---- Late ----------------------------------------------------------------------------------------------- */
static enum hostile_next answers_late(struct toy_ask *ask, void *context)
{
    (void)context;
    if (!meant(ask))
        return hostile_answer(ask);
    return hostile_stall(ask) ? hostile_answer(ask) : HOSTILE_CLOSE;
}

static void a_late_answer_is_nobodys(void **state)
{
    static const struct { enum hostile_dialect dialect; int connections_max; } rows[] = {
        {HOSTILE_META, 0}, {HOSTILE_META, 1}, {HOSTILE_CLASSIC, 0}, {HOSTILE_CLASSIC, 1},
    };
    (void)state;
    mend_reply r = MEND_REPLY;
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        struct hostile *h = honest(rows[row].dialect);
        mend_config     config = patient(h);
        config.connections_max = rows[row].connections_max;
        hostile_put(h, "counted", "100");
        hostile_put(h, "uncounted", "9000");
        mend_client *c = open_up(&config);
        for (int i = 0; i < 6; i++) {
            bool count = i & 1;
            hostile_behave(h, answers_late, NULL);
            must_be(MEND_E_TIMEOUT, ask(c, count ? COUNT : GET, SHORT_MS / 2, &r, NULL), &r);
            assert_int_equal(r.maybe_applied, count);
            hostile_release(h); /* now the answer comes, while others ask */
            for (int k = 0; k < 20; k++) {
                mend_status status = mend_get(c, S("other"), &r);
                must(status < 0 || is(&r, truth("other")), "%s %s", mend_status_name(status), r.data);
                status = mend_decrement(c, S("uncounted"), 0, NULL, &r); /* once one has failed, it is deleted */
                must(status < 0 || status == MEND_MISS || (status == MEND_OK && r.number == 9000), "%s %llu", mend_status_name(status), (unsigned long long)r.number);
                status = mend_get(c, S("after"), &r);
                must(status < 0 || is(&r, truth("after")), "%s %s", mend_status_name(status), r.data);
            }
            works(c, h);
        }
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
}

/* A write that nobody knows the end of: our kernel must not deliver minutes later what it still holds of it. */
static void an_ambiguous_write_is_reset(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = honest(HOSTILE_META);
    mend_config     config = patient(h);
    mend_client    *c = open_up(&config);
    for (unsigned i = 0; i < 3; i++) {
        hostile_behave(h, misbehaves, &(struct misdeed){.handler = stalls});
        must_be(MEND_E_TIMEOUT, ask(c, i == 0 ? SET : i == 1 ? LARGE_SET : COUNT, SHORT_MS, &r, NULL), &r);
        assert_true(r.maybe_applied);
        await(hostile_resets(h) == i + 1, SOON_MS);
        works(c, h);
    }
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* ---- Twice ------------------------------------------------------------------------------------------------ */
static void the_second_of_two_answers_is_nobodys(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    for (enum hostile_dialect dialect = HOSTILE_META; dialect <= HOSTILE_CLASSIC; dialect += HOSTILE_CLASSIC) {
        struct hostile *h = honest(dialect);
        mend_config     config = patient(h);
        struct misdeed  misdeed = {.handler = twice};
        mend_client    *c = open_up(&config);
        for (int i = 0; i < 20; i++) {
            hostile_put(h, "counted", "100");
            hostile_put(h, "uncounted", "9000");
            hostile_behave(h, misbehaves, &misdeed);
            mend_status status = mend_get(c, S("asked"), &r);
            must(status < 0 || is(&r, truth("asked")), "%s", r.data);
            status = mend_get(c, S("other"), &r);
            must(status < 0 || is(&r, truth("other")), "%s", r.data);
            status = mend_increment(c, S("counted"), 1, NULL, &r);
            must(status < 0 || r.number == 101, "%llu", (unsigned long long)r.number);
            status = mend_increment(c, S("uncounted"), 1, NULL, &r);
            must(status < 0 || r.number == 9001, "%llu", (unsigned long long)r.number);
            mend_set(c, S("written"), S("x"), NULL, &r);
            status = mend_add(c, S("other"), S("x"), NULL, &r);
            must(status < 0 || status == MEND_NOT_STORED, "%s", mend_status_name(status));
            mend_delete(c, S("written"), &r);
            status = mend_delete(c, S("nothing"), &r);
            must(status < 0 || status == MEND_MISS, "%s", mend_status_name(status));
            works(c, h);
        }
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
}

/* ---- Idle connections that died, or were spoken to -------------------------------------------------------- */
static void died_while_idle_costs_nothing(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    for (enum hostile_dialect dialect = HOSTILE_META; dialect <= HOSTILE_CLASSIC; dialect += HOSTILE_CLASSIC) {
        struct hostile *h = honest(dialect);
        mend_config     config = patient(h);
        config.failures_allowed = MEND_ZERO; /* it must not count, either */
        mend_client *c = open_up(&config);
        hostile_put(h, "counted", "0");
        for (uint64_t i = 1; i <= 15; i++) {
            pause_ms(15); /* idle for longer than the 10 ms after which a caller looks */
            hostile_hang_up(h);
            switch (i % 3) {
            case 0: must_be(MEND_OK, mend_get(c, S("asked"), &r), &r); break;
            case 1: must_be(MEND_OK, mend_set(c, S("written"), S("v"), NULL, &r), &r); break;
            case 2: must_be(MEND_OK, mend_increment(c, S("counted"), 1, NULL, &r), &r); break;
            }
        }
        assert_true(hostile_holds(h, "counted", "5"));
        for (int i = 0; i < 15; i++) { /* a read costs nothing even where there is no time to look */
            must_be(MEND_OK, mend_get(c, S("asked"), &r), &r);
            hostile_hang_up(h);
            must_be(MEND_OK, mend_get(c, S("asked"), &r), &r);
            assert_true(is(&r, truth("asked")));
        }
        assert_int_equal(seen_at(c, 0).falls, 0);
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
}

static void the_healer_drops_what_died(void **state)
{
    (void)state;
    struct hostile *h = honest(HOSTILE_META);
    mend_config     config = patient(h);
    mend_client    *c = open_up(&config);
    hostile_hang_up(h);
    await(seen_at(c, 0).connections == hostile_open(h), SOON_MS); /* no descriptor of a dead connection is kept */
    mend_close(c);
    hostile_stop(h);
}

static void spoken_to_while_idle(void **state)
{
    static const char *const words[] = {
        "x", "\r\n", "EN\r\n", "VA 5\r\nwrong\r\n", "VALUE asked 0 5 1\r\nwrong\r\nEND\r\n", "STORED\r\n", "7\r\n", "ERROR\r\n", "SERVER_ERROR shutting down\r\n",
    };
    (void)state;
    mend_reply r = MEND_REPLY;
    for (enum hostile_dialect dialect = HOSTILE_META; dialect <= HOSTILE_CLASSIC; dialect += HOSTILE_CLASSIC) {
        struct hostile *h = honest(dialect);
        mend_config     config = patient(h);
        mend_client    *c = open_up(&config);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            pause_ms(15);
            hostile_blurt(h, words[i]);
            pause_ms(5);
            hostile_put(h, "counted", "100");
            must_be(MEND_OK, mend_get(c, S("asked"), &r), &r);
            must(is(&r, truth("asked")), "%s", r.data);
            pause_ms(15);
            hostile_blurt(h, words[i]);
            pause_ms(5);
            must_be(MEND_OK, mend_increment(c, S("counted"), 1, NULL, &r), &r);
            must(r.number == 101, "%llu", (unsigned long long)r.number);
        }
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
}

/* ---- The first words of a connection ------------------------------------------------------------------------ */
static void a_banner_is_no_answer(void **state)
{
    static const char *const banners[] = {"EN\r\n", "VA 5\r\nwrong\r\n", "VALUE asked 0 5 1\r\nwrong\r\nEND\r\n", "STORED\r\n", "220 smtp.example ESMTP\r\n", "END\r\n", "HD\r\n", "-ERR unknown command\r\n"};
    (void)state;
    mend_reply r = MEND_REPLY;
    for (enum hostile_dialect dialect = HOSTILE_META; dialect <= HOSTILE_CLASSIC; dialect += HOSTILE_CLASSIC) {
        for (size_t i = 0; i < sizeof banners / sizeof *banners; i++) {
            if (dialect == HOSTILE_CLASSIC && strcmp(banners[i], "END\r\n") == 0)
                continue; /* the one exemption: a line without a key, on the classic protocol */
            struct hostile *h = honest(dialect);
            mend_config     config = patient(h);
            config.timeout_ms = SHORT_MS;
            mend_client *c = open_up(&config);
            hostile_greet(h, banners[i], false);
            hostile_hang_up(h); /* so that whoever asks next needs a new connection */
            for (int k = 0; k < 5; k++) {
                int64_t     began = now_ms();
                mend_status status = mend_get(c, S("asked"), &r);
                must(status < 0 || (status == MEND_OK && is(&r, truth("asked"))), "a %s server's %s: %s %s", dialect == HOSTILE_META ? "meta" : "classic", banners[i], mend_status_name(status), r.data);
                must(now_ms() - began < BOUND_MS, "%s: %d ms", banners[i], (int)(now_ms() - began));
            }
            hostile_greet(h, NULL, false);
            works(c, h);
            mend_close(c);
            hostile_stop(h);
        }
    }
    mend_reply_free(&r);
}

static void every_dialect_is_spoken_to(void **state)
{
    static const struct { enum hostile_dialect dialect; const char *protocol; } rows[] = {
        {HOSTILE_META, "meta"}, {HOSTILE_CLASSIC, "classic"}, {HOSTILE_PROXY, "classic"}, {HOSTILE_OLD, NULL},
    };
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct hostile *h = honest(rows[i].dialect);
        mend_config     config = patient(h);
        mend_client    *c = open_up(&config);
        for (int round = 0; round < 3; round++) {
            must_be(MEND_OK, mend_get(c, S("asked"), &r), &r);
            assert_true(is(&r, truth("asked")));
            must_be(MEND_OK, mend_set(c, S("written"), S(large), &(mend_store){.flags = 5}, &r), &r);
            must_be(MEND_OK, mend_get(c, S("written"), &r), &r);
            assert_true(is(&r, large) && r.flags == 5 && r.cas != 0);
            must_be(MEND_OK, mend_cas(c, S("written"), S("10"), r.cas, NULL, &r), &r);
            must_be(MEND_OK, mend_increment(c, S("written"), 5, NULL, &r), &r);
            assert_true(r.number == 15);
            must_be(MEND_NOT_STORED, mend_add(c, S("written"), S("x"), NULL, &r), &r);
            must_be(MEND_OK, mend_get_multi(c, (mend_bytes[]){S("asked"), S("nothing"), S("after")}, 3, &rs), &r);
            assert_true(is(&rs.at[0], truth("asked")) && rs.at[1].status == MEND_MISS && is(&rs.at[2], truth("after")));
            must_be(MEND_OK, mend_delete(c, S("written"), &r), &r);
            must_be(MEND_MISS, mend_get(c, S("written"), &r), &r);
            hostile_hang_up(h); /* and again over new connections */
        }
        struct seen s = seen_at(c, 0);
        must(s.falls == 0 && s.failures == 0, "dialect %d: falls %u, %s", (int)rows[i].dialect, s.falls, s.why);
        assert_true(!rows[i].protocol || strcmp(s.protocol, rows[i].protocol) == 0);
        mend_close(c);
        hostile_stop(h);
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

static void a_server_comes_back_as_another(void **state)
{
    static const enum hostile_dialect becomes[] = {HOSTILE_CLASSIC, HOSTILE_META, HOSTILE_PROXY, HOSTILE_META, HOSTILE_OLD, HOSTILE_META};
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = honest(HOSTILE_META);
    mend_config     config = patient(h);
    mend_client    *c = open_up(&config);
    for (size_t i = 0; i < sizeof becomes / sizeof *becomes; i++) {
        hostile_down(h);
        await(mend_get(c, S("asked"), &r) == MEND_E_DOWN, SOON_MS);
        hostile_speak(h, becomes[i]);
        hostile_up(h);
        works(c, h);
        must_be(MEND_OK, mend_set(c, S("written"), S("v"), NULL, &r), &r);
    }
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* Accepts, and never says a word: not to trials either. */
static void one_that_never_answers(void **state)
{
    (void)state;
    mend_reply      r = MEND_REPLY;
    struct hostile *h = honest(HOSTILE_META);
    mend_client    *c = NULL;
    mend_config     config = patient(h);
    config.timeout_ms = SHORT_MS;
    hostile_behave_all(h, stalls, NULL);
    must_be(MEND_OK, mend_open(&config, &c, &r), &r);
    for (int i = 0; i < 3; i++) {
        int64_t began = now_ms();
        must(mend_get(c, S("asked"), &r) < 0, "%s", r.data);
        assert_true(now_ms() - began < BOUND_MS);
    }
    await(state_of(c, 0) >= MEND_STATE_DOWN, SOON_MS);
    pause_ms(1500); /* a long outage, as far as waits between trials go */
    must(hostile_open_most(h) <= 4, "%u connections to a server that never answers", hostile_open_most(h));
    must(hostile_accepted(h) < 60, "%u trials in 1.5 s", hostile_accepted(h));
    works(c, h);
    mend_close(c);
    mend_reply_free(&r);
    hostile_stop(h);
}

/* ---- Everything at once -------------------------------------------------------------------------------------- */
struct crowd {
    mend_client *client;
    atomic_int   stop, wrong, right, asked;
    atomic_llong slowest_ms;
};

struct one {
    struct crowd *crowd;
    int           number;
};

/* Each has keys of its own, so an answer of another's is seen at once. */
static void *asks_away(void *argument)
{
    struct one   *me = argument;
    struct crowd *crowd = me->crowd;
    mend_reply    r = MEND_REPLY;
    mend_replies  rs = MEND_REPLIES;
    char          names[8][32];
    mend_bytes    keys[8];
    for (int i = 0; i < 8; i++) {
        snprintf(names[i], sizeof names[i], "crowd:%d:%d", me->number, i);
        keys[i] = S(names[i]);
    }
    for (unsigned n = 0; !crowd->stop; n++) {
        int64_t began = now_ms();
        if (n % 4 == 3) {
            mend_get_multi(crowd->client, keys, 8, &rs);
            for (size_t i = 0; i < 8; i++)
                crowd->wrong += !(rs.at[i].status < 0 || (rs.at[i].status == MEND_OK && is(&rs.at[i], names[i])));
        } else {
            mend_status status = mend_get(crowd->client, keys[n % 8], &r);
            crowd->wrong += !(status < 0 || (status == MEND_OK && is(&r, names[n % 8])));
            crowd->right += status == MEND_OK;
        }
        crowd->asked++;
        long long ms = now_ms() - began, slowest = crowd->slowest_ms;
        while (ms > slowest && !atomic_compare_exchange_weak(&crowd->slowest_ms, &slowest, ms))
            continue;
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
    return NULL;
}

/* One in twenty goes wrong, each time another way. */
static enum hostile_next goes_wrong_at_times(struct toy_ask *ask, void *context)
{
    static hostile_handler *const ways[] = {closes, resets, half_then_closes, half_then_resets, twice, garbage, for_another_key, for_another_question, half_then_the_wrong_half};
    atomic_uint                  *seed = context;
    unsigned                      chance = (atomic_fetch_add(seed, 1) * 2654435761u) >> 7;
    if (chance % 20)
        return hostile_answer(ask);
    return ways[chance / 20 % (sizeof ways / sizeof *ways)](ask, context);
}

static void a_crowd_at_a_madhouse(void **state)
{
    enum { CROWD = 6 };
    (void)state;
    for (enum hostile_dialect dialect = HOSTILE_META; dialect <= HOSTILE_CLASSIC; dialect += HOSTILE_CLASSIC) {
        struct hostile *h = honest(dialect);
        mend_config     config = patient(h);
        config.timeout_ms = SHORT_MS;
        struct crowd crowd = {.client = open_up(&config)};
        struct one   ones[CROWD];
        pthread_t    thread[CROWD];
        atomic_uint  seed = 1;
        char         name[32];
        for (int i = 0; i < CROWD; i++) {
            for (int k = 0; k < 8; k++) {
                snprintf(name, sizeof name, "crowd:%d:%d", i, k);
                hostile_put(h, name, name);
            }
        }
        hostile_behave(h, goes_wrong_at_times, &seed);
        for (int i = 0; i < CROWD; i++) {
            ones[i] = (struct one){.crowd = &crowd, .number = i};
            assert_int_equal(pthread_create(&thread[i], NULL, asks_away, &ones[i]), 0);
        }
        pause_ms(1200);
        crowd.stop = 1;
        for (int i = 0; i < CROWD; i++)
            pthread_join(thread[i], NULL);
        print_message("%s: %d calls, %d right, %d wrong, slowest %lld ms\n", dialect == HOSTILE_META ? "meta" : "classic", crowd.asked, crowd.right, crowd.wrong, crowd.slowest_ms);
        assert_int_equal(crowd.wrong, 0);
        must(crowd.slowest_ms < SHORT_MS + 2 * slack_ms(), "%lld ms", crowd.slowest_ms);
        assert_true(crowd.right > 10);
        works(crowd.client, h);
        mend_close(crowd.client);
        hostile_stop(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_misdeed_over_meta),
        cmocka_unit_test(every_misdeed_over_classic),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(a_late_answer_is_nobodys),
        cmocka_unit_test(an_ambiguous_write_is_reset),
        cmocka_unit_test(the_second_of_two_answers_is_nobodys),
        cmocka_unit_test(died_while_idle_costs_nothing),
        cmocka_unit_test(the_healer_drops_what_died),
        cmocka_unit_test(spoken_to_while_idle),
        cmocka_unit_test(a_banner_is_no_answer),
        cmocka_unit_test(every_dialect_is_spoken_to),
        cmocka_unit_test(a_server_comes_back_as_another),
        cmocka_unit_test(one_that_never_answers),
        cmocka_unit_test(a_crowd_at_a_madhouse),
    };
    memset(large, 'L', LARGE_BYTES);
    return cmocka_run_group_tests_name("truth", tests, watch_begins, NULL);
}
