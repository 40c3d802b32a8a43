/* test_listing.c - lists that name sources: what is refused, what they come to, and what a cluster's endpoint says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/listing.h"

static struct memory memory;
static char          error[256];

static void *libc_allocate(size_t bytes, void *context)
{
    int *left = context;
    return *left == 0 ? NULL : (--*left, malloc(bytes));
}

static void *libc_reallocate(void *p, size_t bytes, void *context)
{
    int *left = context;
    return *left == 0 ? NULL : (--*left, realloc(p, bytes));
}

static void libc_release(void *p, void *context)
{
    (void)context;
    free(p);
}

static int begins(void **state)
{
    (void)state;
    memory = memory_from(NULL);
    return 0;
}

/* The servers of a list, as "name*weight name*weight". */
static const char *servers_of(const struct listing *l)
{
    static char text[1024];
    size_t      n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < l->servers.count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s*%u", i ? " " : "", l->servers.at[i].name, l->servers.at[i].weight);
    return text;
}

static struct listing must_parse(const char *text)
{
    struct listing l;
    if (listing_parse(&l, text, &memory, error, sizeof error) != MEND_OK)
        fail_msg("%s: %s", text, error);
    return l;
}

static struct listing answered(const struct listing *l, size_t i, const char *answer, uint64_t version)
{
    struct listing next;
    if (listing_answered(&next, l, i, answer, version, error, sizeof error) != MEND_OK)
        fail_msg("%s: %s", answer, error);
    return next;
}

static void plain_lists_are_as_they_were(void **state)
{
    (void)state;
    struct listing l = must_parse("a, b:5*2, unix:/s");
    assert_int_equal(l.source_count, 0);
    assert_string_equal(servers_of(&l), "a:11211*1 b:5*2 unix:/s*1");
    listing_free(&l);
}

static void sources_are_read(void **state)
{
    (void)state;
    struct listing l = must_parse("dns://pool.example:5 *3 , a,cluster://cfg.example");
    assert_int_equal(l.source_count, 2);
    assert_int_equal(l.sources[0].kind, SOURCE_DNS);
    assert_string_equal(l.sources[0].at->host, "pool.example");
    assert_int_equal(l.sources[0].at->port, 5);
    assert_int_equal(l.sources[0].at->weight, 3);
    assert_int_equal(l.sources[1].kind, SOURCE_CLUSTER);
    assert_int_equal(l.sources[1].at->port, 11211);
    assert_string_equal(servers_of(&l), "a:11211*1"); /* nothing is found yet */
    listing_free(&l);
    l = must_parse(" dns://alone ");
    assert_int_equal(l.servers.count, 0);
    listing_free(&l);
}

static void answers_take_their_place(void **state)
{
    (void)state;
    struct listing l = must_parse("x,dns://pool*2,cluster://cfg,y*7");
    struct listing one = answered(&l, 1, "n1:1,n2:2", 9);
    assert_string_equal(servers_of(&one), "x:11211*1 n1:1*1 n2:2*1 y:11211*7");
    struct listing two = answered(&one, 0, "10.0.0.1:11211,[::1]:5", 0);
    assert_string_equal(servers_of(&two), "x:11211*1 10.0.0.1:11211*2 [::1]:5*2 n1:1*1 n2:2*1 y:11211*7");
    struct listing three = answered(&two, 0, "10.0.0.2:11211", 0);
    assert_string_equal(servers_of(&three), "x:11211*1 10.0.0.2:11211*2 n1:1*1 n2:2*1 y:11211*7");
    assert_int_equal(three.sources[1].version, 9);

    struct listing next; /* what was found stays known to another list with the same source */
    assert_int_equal(listing_parse_after(&next, "cluster://cfg,dns://other", &three, error, sizeof error), MEND_OK);
    assert_string_equal(servers_of(&next), "n1:1*1 n2:2*1");
    assert_int_equal(next.sources[0].version, 9);
    listing_free(&l);
    listing_free(&one);
    listing_free(&two);
    listing_free(&three);
    listing_free(&next);
}

/* What a source over TLS stands for is listed so; the addresses of a name have certificates for the name. */
static void sources_over_tls(void **state)
{
    (void)state;
    struct listing l = must_parse("x,tls+dns://pool*2,tls+cluster://cfg:5");
    assert_true(listing_wants_tls(&l));
    assert_int_equal(l.sources[0].kind, SOURCE_DNS);
    assert_int_equal(l.sources[1].kind, SOURCE_CLUSTER);
    assert_string_equal(l.sources[1].at->host, "cfg");
    assert_int_equal(l.sources[1].at->port, 5);
    struct listing one = answered(&l, 1, "n1:1", 9), two = answered(&one, 0, "10.0.0.1:11211,[::1]:5", 0);
    assert_string_equal(servers_of(&two), "x:11211*1 tls://10.0.0.1:11211*2 tls://[::1]:5*2 tls://n1:1*1");
    struct listing copy;
    assert_true(listing_copy(&copy, &two, &memory));
    assert_string_equal(copy.servers.at[1].certified, "pool");
    assert_string_equal(copy.servers.at[2].certified, "pool");
    assert_string_equal(copy.servers.at[2].ring_host, "::1");
    assert_null(copy.servers.at[0].certified);
    assert_null(copy.servers.at[3].certified); /* a node is known by its own name */
    struct listing clear = must_parse("x,dns://pool,cluster://cfg");
    assert_false(listing_wants_tls(&clear));
    struct listing next; /* nobody has said in the clear what was found over TLS */
    assert_int_equal(listing_parse_after(&next, "x,dns://pool", &two, error, sizeof error), MEND_OK);
    assert_string_equal(servers_of(&next), "x:11211*1");
    listing_free(&l);
    listing_free(&one);
    listing_free(&two);
    listing_free(&copy);
    listing_free(&clear);
    listing_free(&next);
}

/* Versions grow. One that does not is a node's that lags behind, or a new cluster's. */
static void a_cluster_that_begins_again(void **state)
{
    enum { LAST = 5 };
    (void)state;
    struct listing            l = must_parse("cluster://cfg,dns://pool"), known = answered(&l, 0, "n1:1", LAST);
    const struct source_spec *s = &known.sources[0];
    nstime                    doubted = NEVER, now = MS(1000);
    assert_true(source_has_news(&l.sources[0], "n1:1", 1, false, &doubted, now)); /* the first */
    assert_false(source_has_news(s, "n1:1", LAST, true, &doubted, now));
    assert_true(source_has_news(s, "n1:1", LAST + 1, false, &doubted, now));
    assert_true(doubted == NEVER);

    for (uint64_t version = 1; version <= LAST; version += LAST - 1) { /* a cluster that never changed begins again by the version that it had */
        assert_false(source_has_news(s, "n2:1", version, false, &doubted, now));
        assert_false(source_has_news(s, "n2:1", version, false, &doubted, now + MS(CLUSTER_DOUBT_MS) - 1));
        assert_false(source_has_news(s, "n1:1", LAST, false, &doubted, now + MS(CLUSTER_DOUBT_MS) - 1)); /* so it was one that lags */
        assert_false(source_has_news(s, "n2:1", version, false, &doubted, now + MS(CLUSTER_DOUBT_MS)));
        assert_true(source_has_news(s, "n2:1", version, false, &doubted, now + MS(2 * CLUSTER_DOUBT_MS)));
        assert_true(doubted == NEVER);
        assert_true(source_has_news(s, "n2:1", version, true, &doubted, now)); /* there is nothing to lose */
    }
    assert_true(source_has_news(&known.sources[1], "10.0.0.1:1", 0, false, &doubted, now)); /* a name has no versions */
    listing_free(&l);
    listing_free(&known);
}

static void bad_lists_are_refused(void **state)
{
    static const char *const bad[][2] = {
        {NULL, "servers: none is given"},
        {" ", "servers: none is given"},
        {"dns://", "servers: dns://: none is given"},
        {"a,dns://pool:0", "servers: dns://pool:0: the port of \"pool:0\" is not between 1 and 65535"},
        {"dns://pool:99999", "servers: dns://pool:99999: the port of \"pool:99999\" is not between 1 and 65535"},
        {"cluster://cfg*0", "servers: cluster://cfg*0: the weight of \"cfg*0\" is not between 1 and 1000"},
        {"dns://unix:/s", "servers: dns://unix:/s: a path has no addresses"},
        {"cluster:///s", "servers: cluster:///s: a path has no addresses"},
        {"dns://pool=ring", "servers: dns://pool=ring: a ring name is one server's, and this stands for several"},
        {"dns://a,dns://a:11211", "servers: dns://a:11211 is named twice"},
        {"dns://a,tls+dns://a", "servers: tls+dns://a is named twice"},
        {"cluster://tls://cfg", "servers: cluster://tls://cfg: with TLS it is written tls+cluster://"},
        {"tls+cluster://tls://cfg", "servers: tls+cluster://tls://cfg: \"tls://tls://cfg\" has a scheme behind tls://"},
        {"tls+dns://", "servers: tls+dns://: \"tls://\" has no host"},
        {"dns://a,", "servers: number 2 of the list, \"\", is empty"},
        {",dns://a", "servers: number 1 of the list, \"\", is empty"},
        {"dns://a, b:0", "servers: the port of \"b:0\" is not between 1 and 65535"},
        {"dns://1,dns://2,dns://3,dns://4,dns://5,dns://6,dns://7,dns://8,dns://9", "servers: there are more than 8 dns:// and cluster://"},
    };
    struct listing l;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(listing_parse(&l, bad[i][0], &memory, error, sizeof error), MEND_E_ARGUMENT);
        assert_string_equal(error, bad[i][1]);
    }
    char longest[400] = "dns://";
    memset(longest + 6, 'x', 380);
    assert_int_equal(listing_parse(&l, longest, &memory, error, sizeof error), MEND_E_ARGUMENT);
    assert_non_null(strstr(error, "too long"));
}

static void a_bad_answer_is_refused(void **state)
{
    (void)state;
    struct listing l = must_parse("dns://pool"), next;
    assert_int_equal(listing_answered(&next, &l, 0, "no host:1", 0, error, sizeof error), MEND_E_ARGUMENT);
    assert_null(next.text);
    listing_free(&l);
}

static void want_of_memory_leaves_nothing(void **state)
{
    int            left;
    mend_allocator hooks = {libc_allocate, libc_reallocate, libc_release, &left};
    struct memory  poor = memory_from(&hooks);
    struct listing l, next;
    int            n = 0;
    (void)state;
    do
        left = n++;
    while (listing_parse(&l, "a,tls+dns://pool,cluster://cfg", &poor, error, sizeof error) == MEND_E_MEMORY);
    assert_true(n > 5);
    n = 0;
    do
        left = n++;
    while (listing_answered(&next, &l, 0, "x:1,y:2", 0, error, sizeof error) == MEND_E_MEMORY);
    assert_true(n > 5);
    listing_free(&l);
    listing_free(&next);
}

static void answers_are_sorted_and_each_once(void **state)
{
    char      *names[] = {(char *)"b:1", (char *)"a:2", (char *)"b:1", (char *)"a:1"};
    struct buf answer = {.memory = &memory};
    (void)state;
    assert_true(listing_join(&answer, names, 4));
    assert_string_equal(answer.data, "a:1,a:2,b:1");
    buf_release(&answer);
}

/* ---- A cluster's answer ---- */

static ptrdiff_t reads(const char *p, size_t n, uint64_t *version, char *into, size_t room)
{
    struct buf answer = {.memory = &memory};
    bool       had_memory;
    char      *exact = malloc(n ? n : 1); /* so that a read beyond it is noticed */
    memcpy(exact, p, n);
    ptrdiff_t took = cluster_read(exact, n, version, &answer, &had_memory);
    free(exact);
    assert_true(had_memory);
    if (took > 0)
        snprintf(into, room, "%s", answer.data);
    buf_release(&answer);
    return took;
}

static void a_cluster_is_read_however_it_comes(void **state)
{
    static const char config[] = "CONFIG cluster 0 79\r\n12\nn2.example|10.0.0.2|11211 n1.example||5 |10.0.0.3|7 |fe80::1|11211 fd::1||9\n\r\nEND\r\n";
    uint64_t version = 0;
    char     answer[256];
    size_t   n = strlen(config);
    (void)state;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(reads(config, i, &version, answer, sizeof answer), 0);
    assert_int_equal(reads(config, n, &version, answer, sizeof answer), n);
    assert_int_equal(version, 12);
    assert_string_equal(answer, "10.0.0.3:7,[fd::1]:9,[fe80::1]:11211,n1.example:5,n2.example:11211");
}

static void what_is_no_cluster_is_refused(void **state)
{
    static const char *const bad[] = {
        "ERROR\r\n",
        "CLIENT_ERROR no\r\n",
        "END\r\n",
        "CONFIG cluster 0 x\r\n",
        "CONFIG cluster 0 \r\n",
        "CONFIG cluster 0 99999999\r\n",
        "CONFIG cluster 0 5\r\n1\na|\n\r\nEND\r\n",     /* longer than it says */
        "CONFIG cluster 0 8\r\n1\na|b|c\n\r\nEND\r\n", /* no port */
        "CONFIG cluster 0 8\r\nv\na|b|1\n\r\nEND\r\n", /* no version */
        "CONFIG cluster 0 3\r\n1\n\n\r\nEND\r\n",      /* no node */
        "CONFIG cluster 0 7\r\n1\na b c\r\nEND\r\n",
        "CONFIG cluster 0 8\r\n1\n||2222\r\nEND\r\n",
        "CONFIG cluster 0 15\r\n1\ntls://a||2222\r\nEND\r\n", /* no host: */
        "CONFIG cluster 0 15\r\n1\nunix:/a||2222\r\nEND\r\n",
        "CONFIG cluster 0 10\r\n1\n/a||2222\r\nEND\r\n",
        "CONFIG cluster 0 11\r\n1\na=b||2222\r\nEND\r\n",
        "CONFIG cluster 0 11\r\n1\na*9||2222\r\nEND\r\n",
        "CONFIG cluster 0 11\r\n1\na,b||2222\r\nEND\r\n",
    };
    uint64_t version;
    char     answer[64];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (reads(bad[i], strlen(bad[i]), &version, answer, sizeof answer) != -1)
            fail_msg("taken: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lists_are_as_they_were),
        cmocka_unit_test(sources_are_read),
        cmocka_unit_test(answers_take_their_place),
        cmocka_unit_test(sources_over_tls),
        cmocka_unit_test(a_cluster_that_begins_again),
        cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(a_bad_answer_is_refused),
        cmocka_unit_test(want_of_memory_leaves_nothing),
        cmocka_unit_test(answers_are_sorted_and_each_once),
        cmocka_unit_test(a_cluster_is_read_however_it_comes),
        cmocka_unit_test(what_is_no_cluster_is_refused),
    };
    return cmocka_run_group_tests(tests, begins, NULL);
}
