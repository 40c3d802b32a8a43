/* test_proxies.c - behind a proxy whose backend is down: the proxy answers errors for it, several to one question, and the
 * rest of what it serves is served, the answers in step, and the proxy not taken for down.
 */
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/twemproxy.h"
#include "support/wait.h"

#include <string.h>

#define S(text) mend_str(text)

enum { BACKENDS = 2, KEYS = 40, ROUNDS = 200 };

static void name_key(char key[16], int i)
{
    snprintf(key, 16, "k%d", i);
}

/* What a call for many says of each key: its own value, a miss, or that it failed. */
static void look_at(const mend_reply *r, const char *key, int *ok, int *failed)
{
    if (r->status == MEND_OK)
        assert_string_equal(r->data, key);
    else
        must(r->status < 0, "%s: %s", key, mend_status_name(r->status));
    *ok += r->status == MEND_OK;
    *failed += r->status < 0;
}

/* Singles and multis by turns, so that an answer too many would be taken for the next one's. each: of a multi, too, none
 * fails but those that are lost. */
static void ask_in_turn(mend_client *c, const bool *lost, bool each)
{
    mend_reply   r = MEND_REPLY;
    mend_replies rs = MEND_REPLIES;
    char         names[KEYS][16];
    mend_bytes   keys[KEYS];
    int          ok = 0, failed = 0;

    for (int i = 0; i < KEYS; i++) {
        name_key(names[i], i);
        keys[i] = S(names[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        int i = round % KEYS;
        mend_status status = mend_get(c, keys[i], &r);
        if (lost[i])
            must(status < 0, "%s lives on a dead backend: %s", names[i], mend_status_name(status));
        else
            must_be(MEND_OK, status, &r);
        if (status == MEND_OK)
            assert_string_equal(r.data, names[i]);
        mend_get_multi(c, keys, KEYS, &rs);
        assert_int_equal(rs.count, KEYS);
        for (int k = 0; k < KEYS; k++) {
            look_at(&rs.at[k], names[k], &ok, &failed);
            must(!each || (rs.at[k].status < 0) == lost[k], "%s: %s", names[k], mend_status_name(rs.at[k].status));
        }
    }
    print_message("%d rounds of %d keys: %d hits, %d failed\n", ROUNDS, KEYS, ok, failed);
    mend_reply_free(&r);
    mend_replies_free(&rs);
}

/* ---- The real one -------------------------------------------------------------------------- */
static void behind_twemproxy(void **state)
{
    (void)state;
    struct memcached m[BACKENDS];
    struct twemproxy t;
    mend_reply       r = MEND_REPLY;
    char             key[16];
    bool             lost[KEYS];
    int              alive = 0;

    for (int i = 0; i < BACKENDS; i++)
        memcached_start(&m[i], "127.0.0.1", NULL);
    if (!twemproxy_start_one(&t, m, BACKENDS)) {
        print_message("there is no nutcracker here (apt-get install nutcracker)\n");
        for (int i = 0; i < BACKENDS; i++)
            memcached_stop(&m[i]);
        skip();
    }
    /* What trials ask for lives on the first backend, and so shares its fate: the proxy is up as long as that is. */
    mend_client *c = open_up(&MEND_CONFIG(.servers = t.names[0], .timeout_ms = 2000, .trial_key = "k0"));
    for (int i = 0; i < KEYS; i++) {
        name_key(key, i);
        must_be(MEND_OK, mend_set(c, S(key), S(key), NULL, &r), &r);
    }
    memcached_kill(&m[1]);
    for (int i = 0; i < KEYS; i++) {
        name_key(key, i);
        lost[i] = mend_get(c, S(key), &r) != MEND_OK;
        alive += !lost[i];
    }
    assert_in_range(alive, 1, KEYS - 1);
    ask_in_turn(c, lost, false); /* twemproxy has one answer to a get of several: an error, if one of its backends has none */
    assert_int_equal(seen_at(c, 0).falls, 0);
    mend_close(c);
    mend_reply_free(&r);
    twemproxy_stop(&t);
    for (int i = 0; i < BACKENDS; i++)
        memcached_stop(&m[i]);
}

/* ---- One of memcached's kind ------------------------------------------------------------------ */

/* Keys with an even number live on a backend that is down. */
static bool is_lost(const char *key)
{
    return key[0] == 'k' && (key[strlen(key) - 1] - '0') % 2 == 0;
}

/* As memcached's own proxy does: to a get of several a SERVER_ERROR line for each key that is lost, and then the END. */
static enum hostile_next half_fails(struct toy_ask *ask, void *context)
{
    static const char error[] = "SERVER_ERROR backend failure\r\n";
    bool              said = true;

    (void)context;
    if (!toy_is(ask, "get gets") && is_lost(ask->key))
        return hostile_say(ask, error) ? HOSTILE_GO_ON : HOSTILE_CLOSE;
    if (!toy_is(ask, "get gets"))
        return hostile_answer(ask);
    for (int i = 1; said && i < ask->words; i++) {
        size_t      n;
        const char *value = toy_get(ask->toy, ask->word[i], strlen(ask->word[i]), &n);
        if (is_lost(ask->word[i]))
            said = hostile_say(ask, error);
        else if (value)
            said = hostile_say(ask, "VALUE %s 0 %zu 1\r\n%.*s\r\n", ask->word[i], n, (int)n, value);
    }
    return said && hostile_say(ask, "END\r\n") ? HOSTILE_GO_ON : HOSTILE_CLOSE;
}

static void behind_memcacheds_proxy(void **state)
{
    (void)state;
    for (int dialect = 0; dialect < 2; dialect++) {
        struct hostile *h = hostile_start(dialect ? HOSTILE_CLASSIC : HOSTILE_META);
        bool            lost[KEYS];
        char            key[16];
        for (int i = 0; i < KEYS; i++) {
            name_key(key, i);
            hostile_put(h, key, key);
            lost[i] = is_lost(key);
        }
        mend_client *c = open_up(&MEND_CONFIG(.servers = hostile_name(h), .timeout_ms = 2000));
        hostile_behave(h, half_fails, NULL);
        ask_in_turn(c, lost, dialect == 0);
        assert_int_equal(seen_at(c, 0).falls, 0);
        mend_close(c);
        hostile_stop(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behind_twemproxy),
        cmocka_unit_test(behind_memcacheds_proxy),
    };
    return cmocka_run_group_tests_name("proxies", tests, watch_begins, NULL);
}
