/* test_servers.c - the list of servers: what it says, what it may not say, and in which words it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/servers.h"

/* Parses a copy of exactly its length, so that a sanitizer sees a read beyond the NUL. */
static mend_status parse_with(struct servers *out, const char *text, const struct memory *memory, char error[200])
{
    char *exact = text ? strdup(text) : NULL;
    error[0] = '\0';
    mend_status status = servers_parse(out, exact, memory, error, 200);
    free(exact);
    return status;
}

static mend_status parse(struct servers *out, const char *text, char error[200])
{
    struct memory memory = memory_from(NULL);
    return parse_with(out, text, &memory, error);
}

#define A48 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A250 A48 A48 A48 A48 A48 "aaaaaaaaaa"
#define A106 A48 A48 "aaaaaaaaaa"

static void one_server(void **state)
{
    static const struct {
        const char *text, *name, *host;
        unsigned port;
        bool is_unix;
        const char *ring_host;
        unsigned ring_port, weight;
    } rows[] = {
        {"a", "a:11211", "a", 11211, false, "a", 11211, 1},
        {"Cache-1.example_2", "Cache-1.example_2:11211", "Cache-1.example_2", 11211, false, "Cache-1.example_2", 11211, 1},
        {"10.0.0.1:65535", "10.0.0.1:65535", "10.0.0.1", 65535, false, "10.0.0.1", 65535, 1},
        {"10.0.0.1:1", "10.0.0.1:1", "10.0.0.1", 1, false, "10.0.0.1", 1, 1},
        {"tcp:1", "tcp:1", "tcp", 1, false, "tcp", 1, 1},
        {"[::1]", "[::1]:11211", "::1", 11211, false, "::1", 11211, 1},
        {"[fe80::1%eth0]:5", "[fe80::1%eth0]:5", "fe80::1%eth0", 5, false, "fe80::1%eth0", 5, 1},
        {"[::ffff:1.2.3.4]*2", "[::ffff:1.2.3.4]:11211", "::ffff:1.2.3.4", 11211, false, "::ffff:1.2.3.4", 11211, 2},
        {"unix:/run/m.sock", "unix:/run/m.sock", "/run/m.sock", 0, true, "/run/m.sock", 0, 1},
        {"/run/m.sock", "unix:/run/m.sock", "/run/m.sock", 0, true, "/run/m.sock", 0, 1},
        {"unix:/a:b@c=x", "unix:/a:b@c", "/a:b@c", 0, true, "x", 0, 1},
        {"unix:/" A106, "unix:/" A106, "/" A106, 0, true, "/" A106, 0, 1},
        {"tls://a", "tls://a:11211", "a", 11211, false, "a", 11211, 1},
        {"tls://10.0.0.1:5*2", "tls://10.0.0.1:5", "10.0.0.1", 5, false, "10.0.0.1", 5, 2},
        {"tls://[::1]:5=x", "tls://[::1]:5", "::1", 5, false, "x", 0, 1},
        {"tls://unix", "tls://unix:11211", "unix", 11211, false, "unix", 11211, 1},
        {"tls:1", "tls:1", "tls", 1, false, "tls", 1, 1},
        {"a:5*3", "a:5", "a", 5, false, "a", 5, 3},
        {"a*1000", "a:11211", "a", 11211, false, "a", 11211, 1000},
        {"a:5=b:6", "a:5", "a", 5, false, "b:6", 0, 1},
        {"a*3=b", "a:11211", "a", 11211, false, "b", 0, 3},
        {"a=b*3", "a:11211", "a", 11211, false, "b", 0, 3},
        {"a=" A250, "a:11211", "a", 11211, false, A250, 0, 1},
        {A250 "abc", A250 "abc:11211", A250 "abc", 11211, false, A250 "abc", 11211, 1},
        {" \t\n a:5 *\t3 = b \r\v\f", "a:5", "a", 5, false, "b", 0, 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct servers s;
        char error[200];
        print_message("%.60s\n", rows[i].text);
        assert_int_equal(parse(&s, rows[i].text, error), MEND_OK);
        assert_string_equal(error, "");
        assert_int_equal(s.count, 1);
        assert_string_equal(s.at->name, rows[i].name);
        assert_string_equal(s.at->host, rows[i].host);
        assert_int_equal(s.at->port, rows[i].port);
        assert_int_equal(s.at->is_unix, rows[i].is_unix);
        assert_int_equal(s.at->is_tls, strncmp(rows[i].name, "tls://", 6) == 0);
        assert_string_equal(s.at->ring_host, rows[i].ring_host);
        assert_int_equal(s.at->ring_port, rows[i].ring_port);
        assert_int_equal(s.at->weight, rows[i].weight);
        assert_int_equal(s.slot_count, rows[i].weight);
        servers_free(&s);
    }
}

/* Servers come in the order of their first mention, slots in the order as given. */
static void many_servers(void **state)
{
    static const struct {
        const char *text, *names, *slots;
    } rows[] = {
        {"a,b,c", "a:11211 b:11211 c:11211 ", "012"},
        {" a , b:5,\n[::1] ", "a:11211 b:5 [::1]:11211 ", "012"},
        {"a*2,b,c*3", "a:11211 b:11211 c:11211 ", "001222"},
        {"a,b,a", "a:11211 b:11211 ", "010"},
        {"a,tls://b,tls://b:11211", "a:11211 tls://b:11211 ", "011"},
        {"a,b*2,a:11211*2", "a:11211 b:11211 ", "01100"},
        {"a,a:5,a,a:6", "a:11211 a:5 a:6 ", "0102"},
        {"a=x,b,a=x*2", "a:11211 b:11211 ", "0100"},
        {"a=b,b=a", "a:11211 b:11211 ", "01"},
        {"a:5=b:5,b:5=a:5", "a:5 b:5 ", "01"},
        {"a:5,b=a:55,c=a", "a:5 b:11211 c:11211 ", "012"},
        {"unix:/a,/b,/a", "unix:/a unix:/b ", "010"},
        {"a,A", "a:11211 A:11211 ", "01"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct servers s;
        char error[200], names[200] = "", slots[20] = "";
        unsigned weights[20] = {0};
        assert_int_equal(parse(&s, rows[i].text, error), MEND_OK);
        for (size_t k = 0; k < s.count; k++)
            strcat(strcat(names, s.at[k].name), " ");
        for (size_t k = 0; k < s.slot_count; k++) {
            slots[k] = (char)('0' + s.slots[k]);
            weights[s.slots[k]]++;
        }
        assert_string_equal(names, rows[i].names);
        assert_string_equal(slots, rows[i].slots);
        for (size_t k = 0; k < s.count; k++)
            assert_int_equal(s.at[k].weight, weights[k]);
        servers_free(&s);
    }
}

#define PORT " is not between 1 and 65535"
#define WEIGHT " is not between 1 and 1000"
#define CHARACTER " has a character that no host has"
#define GAP " has white space or a control character in it"
#define COLONS " has more than one colon (an IPv6 address is written [::1], a weight *2)"

static void refused(void **state)
{
    static const struct {
        const char *text, *error; /* "servers: " goes before it */
    } rows[] = {
        {NULL, "none is given"},
        {"", "none is given"},
        {" \t\r\n\v\f", "none is given"},
        {",", "number 1 of the list, \"\", is empty"},
        {"a,,b", "number 2 of the list, \"\", is empty"},
        {"a, ", "number 2 of the list, \"\", is empty"},
        {",a", "number 1 of the list, \"\", is empty"},

        {"tcp://x", "\"tcp://x\" has the scheme tcp:, and only unix: and tls:// are known"},
        {"a,ssl://x:11211", "\"ssl://x:11211\" has the scheme ssl:, and only unix: and tls:// are known"},
        {"TLS://x", "\"TLS://x\" has the scheme TLS:, and only unix: and tls:// are known"},
        {"tls://unix:/a", "\"tls://unix:/a\" has a scheme behind tls://"},
        {"tls://tls://a", "\"tls://tls://a\" has a scheme behind tls://"},
        {"tls:///a", "the host of \"tls:///a\"" CHARACTER},
        {"tls://", "\"tls://\" has no host"},
        {"tls://a:0", "the port of \"tls://a:0\"" PORT},
        {"tls://a,a", "\"a\" was named before with tls://"},
        {"a=x,b,tls://a=x", "\"tls://a=x\" was named before without tls://"},
        {"tls://a=b,b", "the ring name of \"b\" is that of tls://a:11211"},
        {"http:x", "\"http:x\" has the scheme http:, and only unix: and tls:// are known"},
        {"tcp:10.0.0.1", "\"tcp:10.0.0.1\" has the scheme tcp:, and only unix: and tls:// are known"},
        {"tls:a:11211", "\"tls:a:11211\" has the scheme tls:, and only unix: and tls:// are known"},
        {"UNIX:/a", "\"UNIX:/a\" has the scheme UNIX:, and only unix: and tls:// are known"},
        {"\x01://a", "\"?://a\" has the scheme ?:, and only unix: and tls:// are known"},

        {"a:0", "the port of \"a:0\"" PORT},
        {"a:65536", "the port of \"a:65536\"" PORT},
        {"b,a:70000,c", "the port of \"a:70000\"" PORT},
        {"a:4294967297", "the port of \"a:4294967297\"" PORT},
        {"a:12x", "the port of \"a:12x\"" PORT},
        {"a:", "the port of \"a:\"" PORT},
        {"http:", "the port of \"http:\"" PORT},
        {"a:1/", "the port of \"a:1/\"" PORT},
        {"a:+5", "the port of \"a:+5\"" PORT},
        {"a:-5*2", "the port of \"a:-5*2\"" PORT},
        {"[::1]:", "the port of \"[::1]:\"" PORT},
        {"[::1]:0", "the port of \"[::1]:0\"" PORT},

        {"a*0", "the weight of \"a*0\"" WEIGHT},
        {"a*1001", "the weight of \"a*1001\"" WEIGHT},
        {"a*-1", "the weight of \"a*-1\"" WEIGHT},
        {"a*x", "the weight of \"a*x\"" WEIGHT},
        {"a*", "the weight of \"a*\"" WEIGHT},
        {"a*=x", "the weight of \"a*=x\"" WEIGHT},
        {"a*1 0", "the weight of \"a*1 0\"" WEIGHT},
        {"a*2*2", "\"a*2*2\" has two weights"},

        {":5", "\":5\" has no host"},
        {"*5", "\"*5\" has no host"},
        {"=x", "\"=x\" has no host"},
        {"a b", "the host of \"a b\"" CHARACTER},
        {"a\x7f", "the host of \"a?\"" CHARACTER},
        {"a\nb", "the host of \"a?b\"" CHARACTER},
        {"a/b", "the host of \"a/b\"" CHARACTER},
        {"me@a", "the host of \"me@a\"" CHARACTER},
        {"a%b", "the host of \"a%b\"" CHARACTER},
        {"a]", "the host of \"a]\"" CHARACTER},
        {"[:: 1]", "the host of \"[:: 1]\"" CHARACTER},
        {A250 "abcd", "the host of \"" A48 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\" is longer than 253 bytes"},

        {"[::1", "the bracket of \"[::1\" is not closed"},
        {"[", "the bracket of \"[\" is not closed"},
        {"[]", "there is no IPv6 address in the brackets of \"[]\""},
        {"[a]:5", "there is no IPv6 address in the brackets of \"[a]:5\""},
        {"[::1]5", "only a port may follow the brackets of \"[::1]5\""},
        {"::1", "\"::1\"" COLONS},
        {"a:5:6", "\"a:5:6\"" COLONS},

        {"unix:", "the path of \"unix:\" does not begin with a slash"},
        {"unix:run/m", "the path of \"unix:run/m\" does not begin with a slash"},
        {"unix:@m", "the path of \"unix:@m\" does not begin with a slash"},
        {"unix:/a /b", "the path of \"unix:/a /b\"" GAP},
        {"/a\x01", "the path of \"/a?\"" GAP},
        {"/a" A106, "the path of \"/a" A48 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\" is longer than 107 bytes"},

        {"a=", "the ring name of \"a=\" is empty"},
        {"a= *2", "the ring name of \"a= *2\" is empty"},
        {"a=b c", "the ring name of \"a=b c\"" GAP},
        {"a=b\x01", "the ring name of \"a=b?\"" GAP},
        {"a=b=c", "\"a=b=c\" has two ring names"},
        {"a=a" A250, "the ring name of \"a=a" A48 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\" is longer than 250 bytes"},

        {"a=x,a", "\"a\" was named before with another ring name, or with none"},
        {"a,b,a=x", "\"a=x\" was named before with another ring name, or with none"},
        {"a=x,a=y", "\"a=y\" was named before with another ring name, or with none"},
        {"a=x,b=x", "the ring name of \"b=x\" is that of a:11211"},
        {"a,b=a", "the ring name of \"b=a\" is that of a:11211"},
        {"c,b=a,a", "the ring name of \"a\" is that of b:11211"},
        {"a:5,b=a:5", "the ring name of \"b=a:5\" is that of a:5"},
        {"b=a:5,a:5", "the ring name of \"a:5\" is that of b:11211"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct servers s;
        char error[200], expected[200];
        snprintf(expected, sizeof expected, "servers: %s", rows[i].error);
        assert_int_equal(parse(&s, rows[i].text, error), MEND_E_ARGUMENT);
        assert_string_equal(error, expected);
        assert_int_equal(s.count, 0);
        assert_null(s.at);
        assert_int_equal(s.slot_count, 0);
        assert_null(s.slots);
        servers_free(&s);
    }
}

static void a_thousand_and_no_more(void **state)
{
    (void)state;
    for (int n = 1000; n <= 1001; n++) {
        struct servers s;
        char error[200], text[10000] = "", *to = text;
        for (int i = 0; i < n; i++)
            to += sprintf(to, "%sh%d", i ? "," : "", i);
        assert_int_equal(parse(&s, text, error), n <= 1000 ? MEND_OK : MEND_E_ARGUMENT);
        assert_string_equal(error, n <= 1000 ? "" : "servers: there are more than 1000");
        assert_int_equal(s.count, n <= 1000 ? n : 0);
        servers_free(&s);
    }
}

static void a_short_error_is_cut(void **state)
{
    struct servers s;
    struct memory memory = memory_from(NULL);
    char error[12];
    (void)state;
    assert_int_equal(servers_parse(&s, "a:0", &memory, error, sizeof error), MEND_E_ARGUMENT);
    assert_string_equal(error, "servers: th");
    assert_int_equal(servers_parse(&s, "a:0", &memory, NULL, 0), MEND_E_ARGUMENT);
}

/* ---- Memory: each request fails once, nothing leaks, and it works once there is memory again ---- */

struct pool {
    int asked, fails_at, held;
};

static void *pool_reallocate(void *p, size_t bytes, void *context)
{
    struct pool *pool = context;
    if (++pool->asked == pool->fails_at)
        return NULL;
    pool->held += !p;
    return realloc(p, bytes);
}

static void *pool_allocate(size_t bytes, void *context)
{
    return pool_reallocate(NULL, bytes, context);
}

static void pool_release(void *p, void *context)
{
    ((struct pool *)context)->held--;
    free(p);
}

static void out_of_memory(void **state)
{
    struct pool pool = {0};
    struct memory memory = memory_from(&(mend_allocator){pool_allocate, pool_reallocate, pool_release, &pool});
    mend_status status;
    int failed = 0;
    (void)state;
    do {
        struct servers s;
        char error[200];
        pool.asked = 0;
        pool.fails_at++;
        status = parse_with(&s, "a*3,b,[::1]:5=x,a", &memory, error);
        if (status != MEND_OK) {
            assert_int_equal(status, MEND_E_MEMORY);
            assert_string_equal(error, "servers: out of memory");
            assert_int_equal(s.count, 0);
            failed++;
        }
        servers_free(&s);
        servers_free(&s);
        assert_int_equal(pool.held, 0);
    } while (status != MEND_OK);
    assert_int_equal(failed, 9); /* the table; four times a server's texts, and its slots */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_server),
        cmocka_unit_test(many_servers),
        cmocka_unit_test(refused),
        cmocka_unit_test(a_thousand_and_no_more),
        cmocka_unit_test(a_short_error_is_cut),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
