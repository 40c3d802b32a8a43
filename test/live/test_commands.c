/* test_commands.c - every function of mend.h, against real memcacheds.
 *
 * The same stories run in several worlds of three servers each: the meta protocol
 * over IPv4, IPv6, a name and Unix sockets, and the classic protocol through
 * twemproxy (where that is not installed, against the classic half of hostile.h);
 * where the library has TLS, over that, too.
 */
#include "support/certificates.h"
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/twemproxy.h"
#include "support/wait.h"

#include <string.h>
#include <unistd.h>

#define S(text) mend_str(text)
enum { SERVERS = 3, MB = 1 << 20, MONTH_S = 40 * 24 * 3600 };

static struct world {
    const char *name;
    const char *host; /* of the memcacheds, as memcached_start has it */
    const char *said; /* what mend is told in its place, if that differs */
    bool        classic;
    int         tls; /* so many of the servers, the first, are spoken to in TLS */

    bool             real; /* memcacheds are behind it */
    struct memcached m[SERVERS];
    struct twemproxy proxy;
    struct hostile  *fake[SERVERS];
    char             servers[512];
    struct secured   secured;
    mend_client     *c;
} worlds[] = {
    {.name = "meta over IPv4", .host = "127.0.0.1"},
    {.name = "meta over IPv6", .host = "::1"},
    {.name = "meta by a name", .host = "127.0.0.1", .said = "localhost"},
    {.name = "meta over Unix sockets", .host = "unix"},
    {.name = "classic over IPv4", .host = "127.0.0.1", .classic = true},
#ifdef WITH_TLS
    {.name = "meta over TLS and IPv4", .host = "127.0.0.1", .tls = SERVERS},
    {.name = "meta over TLS and IPv6, but for one server", .host = "::1", .tls = SERVERS - 1},
    {.name = "meta over TLS by a name", .host = "127.0.0.1", .said = "tls://localhost", .tls = SERVERS},
#endif
}, *w;

static mend_config config(void)
{
    return MEND_CONFIG(.servers = w->servers, .timeout_ms = 10000, .tls = w->tls ? &w->secured.tls : NULL);
}

static int world_begins(void **state)
{
    (void)state;
    size_t at = 0;
    w->real = true;
#ifdef WITH_TLS
    if (w->tls)
        secured_begin(&w->secured);
#endif
    for (int i = 0; i < SERVERS; i++)
        memcached_start(&w->m[i], w->host, i < w->tls ? w->secured.args : NULL);
    if (w->classic && !twemproxy_start(&w->proxy, w->m, SERVERS)) {
        w->real = false;
        for (int i = 0; i < SERVERS; i++)
            w->fake[i] = hostile_start(HOSTILE_CLASSIC);
    }
    if (w->classic)
        print_message("classic: %s\n", w->real ? "through twemproxy" : "no nutcracker here (apt-get install nutcracker): a fake server");
    for (int i = 0; i < SERVERS; i++) {
        const char *name = !w->classic ? w->m[i].name : w->real ? w->proxy.names[i] : hostile_name(w->fake[i]);
        if (w->said)
            at += (size_t)snprintf(w->servers + at, sizeof w->servers - at, "%s%s:%d", i ? ", " : "", w->said, w->m[i].port);
        else
            at += (size_t)snprintf(w->servers + at, sizeof w->servers - at, "%s%s", i ? "," : "", name);
    }
    mend_config c = config();
    w->c = open_up(&c);
    return 0;
}

static int world_ends(void **state)
{
    (void)state;
    mend_close(w->c);
    twemproxy_stop(&w->proxy);
    for (int i = 0; i < SERVERS; i++) {
        memcached_stop(&w->m[i]);
        hostile_stop(w->fake[i]);
    }
#ifdef WITH_TLS
    secured_end(&w->secured);
#endif
    return 0;
}

/* ---- What several stories ask ------------------------------------------------------------ */
static void holds(mend_bytes key, mend_bytes value)
{
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_get(w->c, key, &r), &r);
    assert_int_equal(r.len, value.len);
    assert_memory_equal(r.data, value.data, value.len);
    assert_int_equal(r.data[r.len], 0);
    assert_true(r.cas != 0);
    assert_string_not_equal(r.server, "");
    assert_string_equal(r.error, "");
    mend_reply_free(&r);
}

static void misses(mend_bytes key)
{
    mend_reply r = MEND_REPLY;
    must_be(MEND_MISS, mend_get(w->c, key, &r), &r);
    assert_int_equal(r.len, 0);
    assert_string_equal(r.data, "");
    mend_reply_free(&r);
}

/* No server has anything against us. */
static void nothing_counted(mend_client *c)
{
    for (size_t i = 0; i < SERVERS; i++) {
        struct seen s = seen_at(c, i);
        must(s.state == MEND_STATE_UP && s.falls == 0 && s.failures == 0, "%s: state %d, falls %u, failures %u, %s", s.name, s.state, s.falls, s.failures, s.why);
    }
}

/* The seconds that a key has left, by memcached itself: -1 for ever, -2 not there, -3 it can't be asked. */
static long ttl_behind_us(const char *key)
{
    char question[300], answer[64];
    snprintf(question, sizeof question, "mg %s t\r\n", key);
    for (int i = 0; i < SERVERS && w->real; i++) {
        int fd = raw_connect(w->m[i].host, w->m[i].clear_port, w->m[i].path);
        assert_true(fd >= 0);
        assert_true(raw_ask(fd, question, "\r\n", answer, sizeof answer));
        close(fd);
        if (strncmp(answer, "HD t", 4) == 0)
            return atol(answer + 4);
    }
    return w->real ? -2 : -3;
}

static bool lives_for(const char *key, long seconds)
{
    long left = ttl_behind_us(key);
    if (left == -3)
        return true;
    return seconds < 0 ? left == seconds : left >= seconds - 60 && left <= seconds + 1;
}

static bool told_ttl(int64_t ttl_s, int64_t seconds)
{
    if (w->classic)
        return ttl_s == MEND_TTL_UNKNOWN;
    return seconds < 0 ? ttl_s == seconds : ttl_s >= seconds - 60 && ttl_s <= seconds + 1;
}

/* ---- The stories ----------------------------------------------------------------------------- */
static void speaks_the_protocol_it_should(void **state)
{
    (void)state;
    assert_int_equal(servers_of(w->c), SERVERS);
    for (size_t i = 0; i < SERVERS; i++) {
        struct seen s = seen_at(w->c, i);
        assert_string_equal(s.protocol, w->classic ? "classic" : "meta");
        assert_int_equal(s.weight, 1);
        must(strstr(w->servers, s.name), "%s is not in %s", s.name, w->servers);
    }
    assert_true(mend_connection_available(w->c));
}

static void a_set_is_got_back(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    misses(S("greeting"));
    must_be(MEND_OK, mend_set(w->c, S("greeting"), S("hello"), NULL, &r), &r);
    assert_false(r.maybe_applied);
    assert_true(w->classic ? r.cas == 0 : r.cas != 0);
    holds(S("greeting"), S("hello"));

    must_be(MEND_OK, mend_set(w->c, S("greeting"), S("goodbye"), &(mend_store){.flags = 0xfedcba98u}, &r), &r);
    holds(S("greeting"), S("goodbye"));
    must_be(MEND_OK, mend_get(w->c, S("greeting"), &r), &r);
    assert_int_equal(r.flags, 0xfedcba98u);
    assert_true(told_ttl(r.ttl_s, MEND_TTL_NEVER));
    must_be(MEND_OK, mend_get_with(w->c, S("greeting"), &(mend_call){.timeout_ms = 9000}, &r), &r);
    assert_string_equal(r.data, "goodbye");
    mend_reply_free(&r);
}

static void values_of_every_size(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 100, 4095, 4096, 4097, 16383, 16384, 16385, 100000, MB - 512};
    (void)state;
    mend_reply r = MEND_REPLY;
    char      *value = malloc(MB);
    for (size_t i = 0; i < MB; i++)
        value[i] = (char)(i * 31 >> 3); /* zeros, line ends and all */

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[32];
        snprintf(key, sizeof key, "size:%zu", sizes[i]);
        must_be(MEND_OK, mend_set(w->c, S(key), mend_mem(value + i, sizes[i]), &(mend_store){.flags = (uint32_t)i}, &r), &r);
        holds(S(key), mend_mem(value + i, sizes[i]));
        must_be(MEND_OK, mend_get(w->c, S(key), &r), &r);
        assert_int_equal(r.flags, i);
    }
    must_be(MEND_OK, mend_set(w->c, S("size:0"), mend_mem("\r\nEND\r\n", 7), NULL, &r), &r);
    holds(S("size:0"), mend_mem("\r\nEND\r\n", 7));
    mend_reply_free(&r);
    free(value);
}

static void too_large_is_an_answer(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    char      *value = calloc(1, 2 * MB);
    for (int i = 0; i < 15; i++) /* more than failures_allowed */
        must_be(MEND_TOO_LARGE, mend_set(w->c, S("large"), mend_mem(value, 2 * MB), NULL, &r), &r);
    assert_false(r.maybe_applied);
    nothing_counted(w->c);
    must_be(MEND_OK, mend_set(w->c, S("large"), S("small"), NULL, &r), &r);
    holds(S("large"), S("small"));
    mend_reply_free(&r);
    free(value);
}

static void larger_than_we_allow_ourselves(void **state)
{
    (void)state;
    mend_config small = config();
    mend_replies rs = MEND_REPLIES;
    mend_reply   r = MEND_REPLY;
    char         value[30000];
    memset(value, 'x', sizeof value);
    must_be(MEND_OK, mend_set(w->c, S("over"), mend_mem(value, sizeof value), NULL, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("exact"), mend_mem(value, 1000), NULL, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("under"), S("fits"), NULL, &r), &r);

    small.value_max_bytes = 1000;
    small.connections_max = 1;
    mend_client *c = open_up(&small);
    for (int i = 0; i < 15; i++) {
        must_be(MEND_E_MEMORY, mend_get(c, S("over"), &r), &r);
        assert_int_equal(r.len, 0);
        must_be(MEND_OK, mend_get(c, S("exact"), &r), &r);
        assert_int_equal(r.len, 1000);
    }
    mend_get_multi(c, (mend_bytes[]){S("under"), S("over"), S("exact"), S("none")}, 4, &rs);
    must_be(MEND_OK, rs.at[0].status, &rs.at[0]);
    assert_string_equal(rs.at[0].data, "fits");
    must_be(MEND_E_MEMORY, rs.at[1].status, &rs.at[1]);
    must_be(MEND_OK, rs.at[2].status, &rs.at[2]);
    must_be(MEND_MISS, rs.at[3].status, &rs.at[3]);
    nothing_counted(c);
    mend_close(c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

static void add_and_replace(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    must_be(MEND_NOT_STORED, mend_replace(w->c, S("ar"), S("no"), NULL, &r), &r);
    misses(S("ar"));
    must_be(MEND_OK, mend_add(w->c, S("ar"), S("first"), &(mend_store){.flags = 7}, &r), &r);
    must_be(MEND_NOT_STORED, mend_add(w->c, S("ar"), S("no"), NULL, &r), &r);
    holds(S("ar"), S("first"));
    must_be(MEND_OK, mend_replace(w->c, S("ar"), S("second"), &(mend_store){.ttl_s = 100}, &r), &r);
    holds(S("ar"), S("second"));
    assert_true(lives_for("ar", 100));
    mend_reply_free(&r);
}

static void append_and_prepend(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    must_be(MEND_NOT_STORED, mend_append(w->c, S("ap"), S("x"), NULL, &r), &r);
    must_be(MEND_NOT_STORED, mend_prepend(w->c, S("ap"), S("x"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("ap"), S("middle"), &(mend_store){.flags = 9, .ttl_s = 100}, &r), &r);
    must_be(MEND_OK, mend_append(w->c, S("ap"), S(" end"), &(mend_store){.flags = 1, .ttl_s = 5000}, &r), &r);
    must_be(MEND_OK, mend_prepend(w->c, S("ap"), S("begin "), NULL, &r), &r);
    holds(S("ap"), S("begin middle end"));
    must_be(MEND_OK, mend_get(w->c, S("ap"), &r), &r);
    assert_int_equal(r.flags, 9);
    assert_true(lives_for("ap", 100));
    mend_reply_free(&r);
}

static void cas_stores_if_nobody_did(void **state)
{
    (void)state;
    mend_reply mine = MEND_REPLY, r = MEND_REPLY;
    must_be(MEND_OK, mend_set(w->c, S("cas"), S("one"), NULL, &r), &r);
    must_be(MEND_OK, mend_get(w->c, S("cas"), &mine), &mine);
    uint64_t cas = mine.cas;
    if (!w->classic)
        assert_true(cas == r.cas);

    must_be(MEND_OK, mend_cas(w->c, S("cas"), S("two"), cas, &(mend_store){.flags = 3}, &r), &r);
    must_be(MEND_EXISTS, mend_cas(w->c, S("cas"), S("three"), cas, NULL, &r), &r);
    assert_false(r.maybe_applied);
    holds(S("cas"), S("two"));
    must_be(MEND_MISS, mend_cas(w->c, S("cas:none"), S("x"), cas, NULL, &r), &r);
    must_be(MEND_E_ARGUMENT, mend_cas(w->c, S("cas"), S("x"), 0, NULL, &r), &r);
    assert_string_not_equal(r.error, "");
    holds(S("cas"), S("two"));
    mend_reply_free(&r);
    mend_reply_free(&mine);
}

static void delete_and_exists(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    must_be(MEND_MISS, mend_exists(w->c, S("de"), &r), &r);
    must_be(MEND_MISS, mend_delete(w->c, S("de"), &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("de"), S("here"), NULL, &r), &r);
    must_be(MEND_OK, mend_exists(w->c, S("de"), &r), &r);
    assert_int_equal(r.len, 0);
    must_be(MEND_OK, mend_delete(w->c, S("de"), &r), &r);
    misses(S("de"));
    must_be(MEND_MISS, mend_exists(w->c, S("de"), &r), &r);
    mend_reply_free(&r);
}

static void ttl_is_relative(void **state)
{
    static const struct { const char *key; int64_t ttl_s; long left; } rows[] = {
        {"ttl:never", 0, MEND_TTL_NEVER},
        {"ttl:100", 100, 100},
        {"ttl:30d", 30 * 24 * 3600, 30 * 24 * 3600},
        {"ttl:30d1", 30 * 24 * 3600 + 1, 30 * 24 * 3600 + 1},
        {"ttl:40d", MONTH_S, MONTH_S},
    };
    (void)state;
    mend_reply r = MEND_REPLY;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        must_be(MEND_OK, mend_set(w->c, S(rows[i].key), S("v"), &(mend_store){.ttl_s = rows[i].ttl_s}, &r), &r);
        must_be(MEND_OK, mend_get(w->c, S(rows[i].key), &r), &r);
        must(told_ttl(r.ttl_s, rows[i].left), "%s: told %lld", rows[i].key, (long long)r.ttl_s);
        must(lives_for(rows[i].key, rows[i].left), "%s: %ld", rows[i].key, ttl_behind_us(rows[i].key));
    }
    if (w->real && (w->classic || w == &worlds[0])) { /* not everywhere: it takes a second */
        must_be(MEND_OK, mend_set(w->c, S("ttl:short"), S("v"), &(mend_store){.ttl_s = 1}, &r), &r);
        await(mend_get(w->c, S("ttl:short"), &r) == MEND_MISS, SOON_MS);
    }
    mend_reply_free(&r);
}

static void touch_gives_a_new_ttl(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    must_be(MEND_MISS, mend_touch(w->c, S("touch"), 100, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("touch"), S("v"), &(mend_store){.ttl_s = 50}, &r), &r);
    must_be(MEND_OK, mend_touch(w->c, S("touch"), 5000, &r), &r);
    assert_true(lives_for("touch", 5000));
    must_be(MEND_OK, mend_touch(w->c, S("touch"), MONTH_S, &r), &r);
    assert_true(lives_for("touch", MONTH_S));
    must_be(MEND_OK, mend_touch(w->c, S("touch"), 0, &r), &r);
    assert_true(lives_for("touch", MEND_TTL_NEVER));
    holds(S("touch"), S("v"));
    mend_reply_free(&r);
}

static void get_and_touch(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_set(w->c, S("gat"), S("value"), &(mend_store){.ttl_s = 50, .flags = 5}, &r), &r);
    mend_status status = mend_get_and_touch(w->c, S("gat"), 5000, &r);
    if (w->classic && w->real) { /* twemproxy knows no gat, and closes: that is told, and no more comes of it */
        must(status < 0 || status == MEND_OK, "%s", mend_status_name(status));
        await(all_up(w->c), SOON_MS);
        holds(S("gat"), S("value"));
        mend_reply_free(&r);
        return;
    }
    must_be(MEND_OK, status, &r);
    assert_string_equal(r.data, "value");
    assert_int_equal(r.flags, 5);
    assert_true(r.cas != 0);
    assert_true(lives_for("gat", 5000));
    must_be(MEND_MISS, mend_get_and_touch(w->c, S("gat:none"), 5000, &r), &r);
    assert_int_equal(r.len, 0);
    mend_reply_free(&r);
}

static void counters(void **state)
{
    enum way { UP, DOWN };
    const struct {
        enum way          way;
        uint64_t          delta;
        const mend_count *count;
        mend_status       status;
        uint64_t          number;
    } rows[] = {
        {UP, 1, NULL, MEND_MISS, 0},
        {DOWN, 1, NULL, MEND_MISS, 0},
        {UP, 5, &(mend_count){.create = true, .initial = 10, .ttl_s = 100}, MEND_OK, 10},
        {UP, 5, &(mend_count){.create = true, .initial = 77}, MEND_OK, 15},
        {UP, 1, NULL, MEND_OK, 16},
        {UP, 0, NULL, MEND_OK, 16},
        {DOWN, 6, NULL, MEND_OK, 10},
        {DOWN, 1, NULL, MEND_OK, 9},
        {UP, UINT64_MAX - 9, NULL, MEND_OK, UINT64_MAX},
        {UP, 3, NULL, MEND_OK, 2},
        {DOWN, 100, NULL, MEND_OK, 0},
        {DOWN, 1, &(mend_count){.create = true, .initial = 5}, MEND_OK, 0},
    };
    (void)state;
    mend_reply r = MEND_REPLY;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mend_status status = rows[i].way == UP ? mend_increment(w->c, S("count"), rows[i].delta, rows[i].count, &r)
                                               : mend_decrement(w->c, S("count"), rows[i].delta, rows[i].count, &r);
        must(status == rows[i].status, "row %zu: %s %s", i, mend_status_name(status), r.error);
        must(r.number == rows[i].number, "row %zu: %llu", i, (unsigned long long)r.number);
        assert_false(r.maybe_applied);
    }
    must(lives_for("count", 100), "%ld", ttl_behind_us("count")); /* it keeps its own */

    must_be(MEND_OK, mend_increment(w->c, S("count:max"), 1, &(mend_count){.create = true, .initial = UINT64_MAX}, &r), &r);
    assert_true(r.number == UINT64_MAX);
    must_be(MEND_OK, mend_decrement(w->c, S("count:down"), 1, &(mend_count){.create = true, .initial = 3}, &r), &r);
    assert_true(r.number == 3);

    must_be(MEND_OK, mend_set(w->c, S("count:word"), S("twelve"), NULL, &r), &r);
    for (int i = 0; i < 15; i++)
        must_be(MEND_NOT_NUMBER, mend_increment(w->c, S("count:word"), 1, NULL, &r), &r);
    must_be(MEND_NOT_NUMBER, mend_decrement(w->c, S("count:word"), 1, &(mend_count){.create = true}, &r), &r);
    holds(S("count:word"), S("twelve"));
    await(all_up(w->c), SOON_MS);
    for (size_t i = 0; i < SERVERS; i++)
        assert_int_equal(seen_at(w->c, i).falls, 0);
    mend_reply_free(&r);
}

static void keys_of_all_lengths(void **state)
{
    static const struct { bool binary; size_t length; bool meta, classic; } rows[] = {
        {false, 0, false, false},  {false, 1, true, true},    {false, 250, true, true},  {false, 251, false, false},
        {false, 100000, false, false}, {true, 1, true, false}, {true, 185, true, false}, {true, 186, true, false},
        {true, 187, false, false}, {true, 250, false, false},
    };
    (void)state;
    mend_reply r = MEND_REPLY;
    char      *key = malloc(100000);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < rows[i].length; k++)
            key[k] = rows[i].binary ? (char)(k - 100) : (char)('a' + k % 26);
        mend_bytes  name = mend_mem(key, rows[i].length);
        mend_status wanted = (w->classic ? rows[i].classic : rows[i].meta) ? MEND_OK : MEND_E_ARGUMENT;
        mend_status status = mend_set(w->c, name, S("at the limit"), NULL, &r);
        must(status == wanted, "row %zu: %s %s", i, mend_status_name(status), r.error);
        if (status == MEND_OK)
            holds(name, S("at the limit"));
        else
            assert_int_equal(mend_get(w->c, name, &r), MEND_E_ARGUMENT);
    }
    for (int i = 0; i < 30; i++)
        assert_int_equal(mend_get(w->c, S(""), &r), MEND_E_ARGUMENT);
    nothing_counted(w->c);
    mend_reply_free(&r);
    free(key);
}

static void keys_of_all_bytes(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    char         key[256][3], value[256][16];
    mend_bytes   keys[256];
    for (int i = 0; i < 256; i++) {
        bool        plain = i > 32 && i < 127;
        mend_status wanted = plain || !w->classic ? MEND_OK : MEND_E_ARGUMENT;
        memcpy(key[i], (char[]){'k', (char)i, 'k'}, 3);
        snprintf(value[i], sizeof value[i], "<%d>", i);
        keys[i] = mend_mem(key[i], 3);
        mend_status status = mend_set(w->c, keys[i], S(value[i]), NULL, &r);
        must(status == wanted, "byte %d: %s %s", i, mend_status_name(status), r.error);
    }
    must_be(w->classic ? MEND_E_ARGUMENT : MEND_OK, mend_get_multi(w->c, keys, 256, &rs), &rs.at[0]);
    assert_int_equal(rs.count, 256);
    for (int i = 0; i < 256; i++) {
        bool there = (i > 32 && i < 127) || !w->classic;
        must(rs.at[i].status == (there ? MEND_OK : MEND_E_ARGUMENT), "byte %d: %s", i, rs.at[i].error);
        if (there)
            assert_string_equal(rs.at[i].data, value[i]);
    }
    if (!w->classic) { /* base64 is the key's way of travelling, not its name */
        must_be(MEND_OK, mend_set(w->c, S("\x01"), S("the byte"), NULL, &r), &r);
        must_be(MEND_OK, mend_set(w->c, S("AQ=="), S("the text"), NULL, &r), &r);
        holds(S("\x01"), S("the byte"));
        holds(S("AQ=="), S("the text"));
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

static void many_keys_at_once(void **state)
{
    (void)state;
    mend_replies rs = MEND_REPLIES;
    mend_reply   r = MEND_REPLY;
    must_be(MEND_OK, mend_set(w->c, S("m:a"), S("A"), &(mend_store){.flags = 1}, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("m:b"), S(""), &(mend_store){.flags = 2}, &r), &r);

    mend_bytes keys[] = {S("m:a"), S("m:none"), S("m:b"), S("m:a"), S("m:none"), S("m:a")};
    must_be(MEND_OK, mend_get_multi(w->c, keys, 6, &rs), &r);
    assert_int_equal(rs.count, 6);
    for (size_t i = 0; i < 6; i++) {
        char which = ((const char *)keys[i].data)[2];
        must_be(which == 'n' ? MEND_MISS : MEND_OK, rs.at[i].status, &rs.at[i]);
        assert_string_equal(rs.at[i].data, which == 'a' ? "A" : "");
        assert_int_equal(rs.at[i].len, which == 'a');
        assert_int_equal(rs.at[i].flags, which == 'a' ? 1 : which == 'b' ? 2 : 0);
        assert_string_not_equal(rs.at[i].server, "");
        assert_true(which == 'n' || rs.at[i].cas != 0);
    }
    keys[1] = S("");
    must_be(MEND_E_ARGUMENT, mend_get_multi(w->c, keys, 3, &rs), &r);
    assert_int_equal(rs.count, 3);
    must_be(MEND_OK, rs.at[0].status, &rs.at[0]);
    must_be(MEND_E_ARGUMENT, rs.at[1].status, &rs.at[1]);
    must_be(MEND_OK, rs.at[2].status, &rs.at[2]);

    must_be(MEND_OK, mend_get_multi_with(w->c, keys, 1, &(mend_call){.timeout_ms = 9000}, &rs), &r);
    assert_int_equal(rs.count, 1);
    assert_string_equal(rs.at[0].data, "A");
    must_be(MEND_OK, mend_get_multi(w->c, keys, 0, &rs), &r);
    assert_int_equal(rs.count, 0);
    must_be(MEND_OK, mend_get_multi(w->c, NULL, 0, &rs), &r);
    nothing_counted(w->c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
    mend_replies_free(&rs);
}

static void many_writes_at_once(void **state)
{
    (void)state;
    mend_replies rs = MEND_REPLIES;
    mend_reply   r = MEND_REPLY;
    mend_item    items[] = {
        {.key = S("w:a"), .value = S("A"), .store = {.flags = 4, .ttl_s = 100}},
        {.key = S("w:b"), .value = S("B")},
        {.key = S(""), .value = S("no key")},
        {.key = S("w:c"), .value = S("")},
        {.key = S("w:a"), .value = S("A again")},
    };
    must_be(MEND_E_ARGUMENT, mend_set_multi(w->c, items, 5, &rs), &r);
    assert_int_equal(rs.count, 5);
    for (size_t i = 0; i < 5; i++)
        must_be(i == 2 ? MEND_E_ARGUMENT : MEND_OK, rs.at[i].status, &rs.at[i]);
    holds(S("w:a"), S("A again"));
    holds(S("w:b"), S("B"));
    holds(S("w:c"), S(""));
    must_be(MEND_OK, mend_set_multi(w->c, items, 2, NULL), &r);
    holds(S("w:a"), S("A"));
    assert_true(lives_for("w:a", 100));
    must_be(MEND_OK, mend_get(w->c, S("w:a"), &r), &r);
    assert_int_equal(r.flags, 4);

    char *large = calloc(1, 2 * MB);
    items[1].value = mend_mem(large, 2 * MB);
    must_be(MEND_OK, mend_set_multi(w->c, items, 2, &rs), &r); /* an answer > 0 is no failure */
    must_be(MEND_OK, rs.at[0].status, &rs.at[0]);
    must_be(MEND_TOO_LARGE, rs.at[1].status, &rs.at[1]);
    free(large);

    mend_bytes keys[] = {S("w:a"), S("w:none"), S("w:c")};
    must_be(MEND_OK, mend_delete_multi(w->c, keys, 3, &rs), &r);
    assert_int_equal(rs.count, 3);
    must_be(MEND_OK, rs.at[0].status, &rs.at[0]);
    must_be(MEND_MISS, rs.at[1].status, &rs.at[1]);
    must_be(MEND_OK, rs.at[2].status, &rs.at[2]);
    misses(S("w:a"));
    misses(S("w:c"));
    must_be(MEND_OK, mend_delete_multi(w->c, keys, 3, NULL), &r);
    must_be(MEND_OK, mend_delete_multi(w->c, keys, 0, &rs), &r);
    must_be(MEND_OK, mend_set_multi(w->c, NULL, 0, &rs), &r);
    assert_int_equal(rs.count, 0);
    nothing_counted(w->c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

enum { MANY = 5000 };

static void five_thousand_keys(void **state)
{
    (void)state;
    mend_replies rs = MEND_REPLIES;
    mend_reply   r = MEND_REPLY;
    char(*text)[2][64] = calloc(MANY, sizeof *text);
    mend_item  *items = calloc(MANY, sizeof *items);
    mend_bytes *keys = calloc(MANY, sizeof *keys);
    for (int i = 0; i < MANY; i++) {
        snprintf(text[i][0], sizeof text[i][0], "many:%d", i);
        snprintf(text[i][1], sizeof text[i][1], "the value of many:%d", i);
        keys[i] = S(text[i][0]);
        items[i] = (mend_item){.key = keys[i], .value = S(text[i][1])};
    }
    must_be(MEND_OK, mend_set_multi(w->c, items, MANY, &rs), &r);
    must_be(MEND_OK, mend_delete_multi(w->c, keys + MANY / 2, MANY / 2, &rs), &r);
    must_be(MEND_OK, mend_get_multi(w->c, keys, MANY, &rs), &r);
    assert_int_equal(rs.count, MANY);

    unsigned on[SERVERS] = {0};
    for (int i = 0; i < MANY; i++) {
        must_be(i < MANY / 2 ? MEND_OK : MEND_MISS, rs.at[i].status, &rs.at[i]);
        assert_string_equal(rs.at[i].data, i < MANY / 2 ? text[i][1] : "");
        for (size_t s = 0; s < SERVERS; s++)
            on[s] += strcmp(rs.at[i].server, seen_at(w->c, s).name) == 0;
    }
    assert_int_equal(on[0] + on[1] + on[2], MANY);
    for (int s = 0; s < SERVERS; s++)
        must(on[s] > MANY / 10, "%u of %d keys are on server %d", on[s], MANY, s);
    free(text);
    free(items);
    free(keys);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

/* So much in both directions that one who only writes would stop for good. */
static void large_values_at_once(void **state)
{
    enum { N = 60, BYTES = 500000 };
    (void)state;
    mend_replies rs = MEND_REPLIES;
    mend_reply   r = MEND_REPLY;
    char        *value = malloc(BYTES), names[N][32];
    mend_item    items[N];
    mend_bytes   keys[N];
    memset(value, 'v', BYTES);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "heavy:%d", i);
        keys[i] = S(names[i]);
        items[i] = (mend_item){.key = keys[i], .value = mend_mem(value, (size_t)(BYTES - i))};
    }
    must_be(MEND_OK, mend_set_multi(w->c, items, N, &rs), &r);
    must_be(MEND_OK, mend_get_multi(w->c, keys, N, &rs), &r);
    for (int i = 0; i < N; i++) {
        must_be(MEND_OK, rs.at[i].status, &rs.at[i]);
        assert_int_equal(rs.at[i].len, BYTES - i);
        assert_memory_equal(rs.at[i].data, value, rs.at[i].len);
    }
    must_be(MEND_OK, mend_delete_multi(w->c, keys, N, NULL), &r);
    free(value);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

static void a_reply_keeps_nothing_of_the_last(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_set(w->c, S("reuse"), S("something"), &(mend_store){.flags = 9}, &r), &r);
    must_be(MEND_OK, mend_get(w->c, S("reuse"), &r), &r);
    must_be(MEND_MISS, mend_get(w->c, S("reuse:none"), &r), &r);
    assert_string_equal(r.data, "");
    assert_true(r.len == 0 && r.flags == 0 && r.cas == 0 && r.number == 0 && !r.maybe_applied);

    must_be(MEND_OK, mend_increment(w->c, S("reuse:n"), 1, &(mend_count){.create = true, .initial = 4}, &r), &r);
    must_be(MEND_OK, mend_get(w->c, S("reuse"), &r), &r);
    assert_true(r.number == 0);
    must_be(MEND_E_ARGUMENT, mend_get(w->c, S(""), &r), &r);
    assert_string_equal(r.data, "");
    assert_string_not_equal(r.error, "");
    assert_int_equal(r.status, MEND_E_ARGUMENT);
    must_be(MEND_OK, mend_get(w->c, S("reuse"), &r), &r);
    assert_string_equal(r.error, "");
    assert_int_equal(r.status, MEND_OK);

    mend_reply_free(&r); /* it is as it began, and may be used again */
    assert_string_equal(r.data, "");
    assert_string_equal(r.error, "");
    assert_string_equal(r.server, "");
    must_be(MEND_OK, mend_get(w->c, S("reuse"), &r), &r);
    assert_string_equal(r.data, "something");
    mend_reply_free(&r);
    mend_reply_free(&r);
}

static void arguments_from_the_same_reply(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    char       long_one[20000];
    memset(long_one, 'l', sizeof long_one);
    must_be(MEND_OK, mend_set(w->c, S("chain"), S("chain:1"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("chain:1"), mend_mem(long_one, sizeof long_one), NULL, &r), &r);

    must_be(MEND_OK, mend_get(w->c, S("chain"), &r), &r);
    must_be(MEND_OK, mend_get(w->c, mend_mem(r.data, r.len), &r), &r); /* follow the key */
    assert_int_equal(r.len, sizeof long_one);
    must_be(MEND_OK, mend_set(w->c, S("chain:2"), mend_mem(r.data, r.len), NULL, &r), &r);
    holds(S("chain:2"), mend_mem(long_one, sizeof long_one));

    must_be(MEND_OK, mend_get(w->c, S("chain"), &r), &r);
    must_be(MEND_OK, mend_set(w->c, mend_mem(r.data, r.len), mend_mem(r.data + 1, r.len - 1), NULL, &r), &r);
    holds(S("chain:1"), S("hain:1"));
    must_be(MEND_OK, mend_get(w->c, S("chain"), &r), &r);
    must_be(MEND_OK, mend_delete(w->c, mend_mem(r.data, r.len), &r), &r);
    misses(S("chain:1"));
    mend_reply_free(&r);

    mend_replies rs = MEND_REPLIES;
    must_be(MEND_OK, mend_set(w->c, S("chain:3"), S("end"), NULL, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("chain"), S("chain:3"), NULL, &r), &r);
    must_be(MEND_OK, mend_get_multi(w->c, (mend_bytes[]){S("chain")}, 1, &rs), &r);
    must_be(MEND_OK, mend_get_multi(w->c, (mend_bytes[]){mend_mem(rs.at[0].data, rs.at[0].len), S("chain")}, 2, &rs), &r);
    assert_string_equal(rs.at[0].data, "end");
    assert_string_equal(rs.at[1].data, "chain:3");
    mend_replies_free(&rs);
    mend_reply_free(&r);
}

static void a_routing_key_keeps_together(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    mend_call  together = {.routing_key = S("user:1")};
    char       key[32], where[256] = "";
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "route:%d", i);
        must_be(MEND_OK, mend_set(w->c, S(key), S(key), &(mend_store){.call = together}, &r), &r);
        if (!i)
            snprintf(where, sizeof where, "%s", r.server);
        assert_string_equal(r.server, where);
        must_be(MEND_OK, mend_get_with(w->c, S(key), &together, &r), &r);
        assert_string_equal(r.data, key);
        assert_string_equal(r.server, where);
    }
    mend_replies rs = MEND_REPLIES;
    must_be(MEND_OK, mend_get_multi_with(w->c, (mend_bytes[]){S("route:3"), S("route:7")}, 2, &together, &rs), &r);
    assert_string_equal(rs.at[0].data, "route:3");
    assert_string_equal(rs.at[1].data, "route:7");
    mend_replies_free(&rs);
    must_be(MEND_OK, mend_increment(w->c, S("route:n"), 1, &(mend_count){.create = true, .call = together}, &r), &r);
    assert_string_equal(r.server, where);
    mend_reply_free(&r);
}

/* Where a reply may be NULL. */
static void without_a_reply(void **state)
{
    (void)state;
    mend_client *c = w->c;
    assert_int_equal(mend_set(c, S("null"), S("1"), NULL, NULL), MEND_OK);
    assert_int_equal(mend_add(c, S("null"), S("x"), NULL, NULL), MEND_NOT_STORED);
    assert_int_equal(mend_replace(c, S("null"), S("2"), NULL, NULL), MEND_OK);
    assert_int_equal(mend_append(c, S("null"), S("3"), NULL, NULL), MEND_OK);
    assert_int_equal(mend_prepend(c, S("null"), S("1"), NULL, NULL), MEND_OK);
    holds(S("null"), S("123"));
    assert_int_equal(mend_increment(c, S("null"), 1, NULL, NULL), MEND_OK);
    assert_int_equal(mend_decrement(c, S("null"), 4, NULL, NULL), MEND_OK);
    holds(S("null"), S("120"));
    assert_int_equal(mend_cas(c, S("null"), S("x"), UINT64_MAX, NULL, NULL), MEND_EXISTS);
    assert_int_equal(mend_touch(c, S("null"), 100, NULL), MEND_OK);
    assert_int_equal(mend_exists(c, S("null"), NULL), MEND_OK);
    assert_int_equal(mend_set(c, S(""), S("x"), NULL, NULL), MEND_E_ARGUMENT);
    assert_int_equal(mend_delete(c, S("null"), NULL), MEND_OK);
    assert_int_equal(mend_ping(c, NULL), MEND_OK);
}

static void ping_and_flush_all(void **state)
{
    (void)state;
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_ping(w->c, &r), &r);
    must_be(MEND_OK, mend_set(w->c, S("flush"), S("v"), NULL, &r), &r);
    mend_status status = mend_flush_all(w->c, &r);
    if (w->classic && w->real) { /* twemproxy knows no flush_all, and closes */
        must(status < 0, "%s", mend_status_name(status));
        assert_string_not_equal(r.error, "");
        await(all_up(w->c) && mend_get(w->c, S("flush"), &r) == MEND_OK, SOON_MS); /* a flush that failed is a journal that is torn, for a moment */
        holds(S("flush"), S("v"));
    } else {
        must_be(MEND_OK, status, &r);
        misses(S("flush"));
    }
    mend_reply_free(&r);
}

/* ---- What one world is enough for ---------------------------------------------------------------- */
static void null_is_told_not_crashed_on(void **state)
{
    (void)state;
    mend_client *c = w->c, *opened = NULL;
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   key = S("k"), none = mend_mem(NULL, 3);
    mend_status  all[] = {
        mend_get(NULL, key, &r), mend_get(c, key, NULL), mend_get(c, none, &r), mend_get(c, S(NULL), &r),
        mend_get_with(NULL, key, NULL, &r), mend_get_with(c, key, NULL, NULL),
        mend_get_and_touch(NULL, key, 1, &r), mend_get_and_touch(c, key, 1, NULL), mend_exists(NULL, key, &r), mend_exists(c, none, NULL),
        mend_get_multi(NULL, &key, 1, &rs), mend_get_multi(c, NULL, 1, &rs), mend_get_multi(c, &key, 1, NULL), mend_get_multi(c, &none, 1, &rs),
        mend_set(NULL, key, key, NULL, &r), mend_set(c, none, key, NULL, &r), mend_set(c, key, none, NULL, &r),
        mend_add(NULL, key, key, NULL, NULL), mend_replace(NULL, key, key, NULL, NULL), mend_append(NULL, key, key, NULL, NULL),
        mend_prepend(NULL, key, key, NULL, NULL), mend_cas(NULL, key, key, 1, NULL, NULL), mend_cas(c, none, key, 1, NULL, NULL),
        mend_delete(NULL, key, NULL), mend_delete(c, none, NULL), mend_touch(NULL, key, 1, NULL), mend_touch(c, none, 1, NULL),
        mend_increment(NULL, key, 1, NULL, NULL), mend_decrement(NULL, key, 1, NULL, NULL), mend_increment(c, none, 1, NULL, NULL),
        mend_set_multi(NULL, &(mend_item){.key = key}, 1, &rs), mend_set_multi(c, NULL, 1, &rs), mend_delete_multi(NULL, &key, 1, &rs),
        mend_delete_multi(c, NULL, 1, NULL), mend_delete_multi(c, &none, 1, NULL), mend_flush_all(NULL, NULL), mend_ping(NULL, &r),
        mend_servers(NULL, NULL, NULL), mend_servers(c, NULL, NULL), mend_open(NULL, &opened, &r),
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        must(all[i] == MEND_E_ARGUMENT, "call %zu: %s", i, mend_status_name(all[i]));
    mend_config fine = config();
    assert_int_equal(mend_open(&fine, NULL, &r), MEND_E_ARGUMENT);
    assert_false(mend_connection_available(NULL));
    assert_int_equal(mend_set(w->c, key, mend_mem(NULL, 0), NULL, NULL), MEND_OK); /* an empty value may have no address */
    mend_close(NULL);
    mend_reply_free(NULL);
    mend_replies_free(NULL);
    nothing_counted(w->c);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

static void reserved_words_are_zero(void **state)
{
    (void)state;
    mend_client *c = w->c;
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_bytes   key = S("reserved");
    for (size_t i = 0; i < 4; i++) {
        mend_call  call = {.timeout_ms = 0};
        mend_store store = {.ttl_s = 0}, store_call = {.ttl_s = 0};
        mend_count count = {.create = true}, count_call = {.create = true};
        call.reserved[i] = store.reserved[i] = store_call.call.reserved[i] = count.reserved[i] = count_call.call.reserved[i] = 1;
        must_be(MEND_E_ARGUMENT, mend_get_with(c, key, &call, &r), &r);
        must_be(MEND_E_ARGUMENT, mend_get_multi_with(c, &key, 1, &call, &rs), &r);
        must_be(MEND_E_ARGUMENT, mend_set(c, key, key, &store, &r), &r);
        must_be(MEND_E_ARGUMENT, mend_set(c, key, key, &store_call, &r), &r);
        must_be(MEND_E_ARGUMENT, mend_cas(c, key, key, 1, &store, &r), &r);
        must_be(MEND_E_ARGUMENT, mend_increment(c, key, 1, &count, &r), &r);
        must_be(MEND_E_ARGUMENT, mend_decrement(c, key, 1, &count_call, &r), &r);
        must_be(MEND_E_ARGUMENT, mend_set_multi(c, &(mend_item){.key = key, .store = store}, 1, &rs), &r);
    }
    must_be(MEND_E_ARGUMENT, mend_get_with(c, key, &(mend_call){.timeout_ms = -1}, &r), &r);
    misses(key); /* nothing was sent */
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

static void six_megabytes(void **state)
{
    (void)state;
    struct memcached m;
    mend_reply       r = MEND_REPLY;
    size_t           n = 6 * MB;
    char            *value = malloc(n);
    for (size_t i = 0; i < n; i++)
        value[i] = (char)(i >> 8 ^ i);
    memcached_start(&m, "127.0.0.1", "-I 8m -m 128");
    mend_client *c = open_up(&MEND_CONFIG(.servers = m.name, .timeout_ms = 10000));
    must_be(MEND_OK, mend_set(c, S("big"), mend_mem(value, n), NULL, &r), &r);
    must_be(MEND_OK, mend_get(c, S("big"), &r), &r);
    assert_int_equal(r.len, n);
    assert_true(memcmp(r.data, value, n) == 0 && r.data[n] == 0);
    mend_close(c);
    assert_true(memcmp(r.data, value, n) == 0); /* a reply outlives its client */
    mend_reply_free(&r);
    memcached_stop(&m);
    free(value);
}

static void replies_outlive_the_client(void **state)
{
    (void)state;
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    mend_client *c = NULL;
    char         nobody[32];
    snprintf(nobody, sizeof nobody, "127.0.0.1:%d", port_free("127.0.0.1"));
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = nobody), &c, &r), &r);
    must(mend_get(c, S("k"), &r) < 0, "%s", nobody);
    assert_true(mend_get_multi(c, (mend_bytes[]){S("a"), S("b")}, 2, &rs) < 0);
    mend_close(c);
    assert_string_not_equal(r.error, "");
    assert_string_equal(r.server, nobody);
    for (size_t i = 0; i < 2; i++) {
        assert_string_not_equal(rs.at[i].error, "");
        assert_string_equal(rs.at[i].server, nobody);
    }
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

static void statuses_have_names(void **state)
{
    static const struct { mend_status status; const char *name; } rows[] = {
        {0, "MEND_OK"}, {1, "MEND_MISS"}, {2, "MEND_EXISTS"}, {3, "MEND_NOT_STORED"}, {4, "MEND_TOO_LARGE"}, {5, "MEND_NOT_NUMBER"},
        {-1, "MEND_E_ARGUMENT"}, {-2, "MEND_E_MEMORY"}, {-3, "MEND_E_TIMEOUT"}, {-4, "MEND_E_DOWN"}, {-5, "MEND_E_BUSY"},
        {-6, "MEND_E_IO"}, {-7, "MEND_E_SERVER"}, {-8, "MEND_E_PROTOCOL"}, {-9, "MEND_E_AUTH"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(mend_status_name(rows[i].status), rows[i].name);
        assert_true(strlen(mend_status_text(rows[i].status)) > 3);
    }
    for (int s = -1000; s < 1000; s++)
        assert_true(mend_status_name(s) && mend_status_text(s));
    assert_string_equal(mend_version(), MEND_VERSION);
}

int main(void)
{
    const struct CMUnitTest everywhere[] = {
        cmocka_unit_test(speaks_the_protocol_it_should), cmocka_unit_test(a_set_is_got_back), cmocka_unit_test(values_of_every_size),
        cmocka_unit_test(too_large_is_an_answer), cmocka_unit_test(larger_than_we_allow_ourselves), cmocka_unit_test(add_and_replace),
        cmocka_unit_test(append_and_prepend), cmocka_unit_test(cas_stores_if_nobody_did), cmocka_unit_test(delete_and_exists),
        cmocka_unit_test(ttl_is_relative), cmocka_unit_test(touch_gives_a_new_ttl), cmocka_unit_test(counters),
        cmocka_unit_test(keys_of_all_lengths), cmocka_unit_test(keys_of_all_bytes), cmocka_unit_test(many_keys_at_once),
        cmocka_unit_test(many_writes_at_once), cmocka_unit_test(five_thousand_keys), cmocka_unit_test(large_values_at_once),
        cmocka_unit_test(a_reply_keeps_nothing_of_the_last), cmocka_unit_test(arguments_from_the_same_reply),
        cmocka_unit_test(a_routing_key_keeps_together), cmocka_unit_test(without_a_reply), cmocka_unit_test(get_and_touch),
        cmocka_unit_test(ping_and_flush_all),
    };
    const struct CMUnitTest once[] = {
        cmocka_unit_test(null_is_told_not_crashed_on), cmocka_unit_test(reserved_words_are_zero), cmocka_unit_test(six_megabytes),
        cmocka_unit_test(replies_outlive_the_client), cmocka_unit_test(statuses_have_names),
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++) {
        w = &worlds[i];
        failed += cmocka_run_group_tests_name(w->name, everywhere, world_begins, world_ends);
    }
    w = &worlds[0];
    failed += cmocka_run_group_tests_name("once", once, world_begins, world_ends);
    return failed;
}
