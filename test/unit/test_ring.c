/* test_ring.c - keys live where the other clients have them: golden vectors of libmemcached 1.1.4 and gomemcache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ring.h"

static struct ring *build(const char *text, mend_distribution distribution)
{
    struct memory memory = memory_from(NULL);
    struct servers servers;
    char error[200];
    assert_int_equal(servers_parse(&servers, text, &memory, error, sizeof error), MEND_OK);
    struct ring *ring = ring_build(&servers, distribution, &memory);
    assert_non_null(ring);
    servers_free(&servers); /* the ring must not need it */
    return ring;
}

static unsigned server_behind(const struct ring *ring, const char *prefix, const char *word, unsigned i)
{
    char key[40];
    int len = snprintf(key, sizeof key, "%s%u", word, i);
    return ring_server(ring, mend_str(prefix), mend_mem(key, (size_t)len));
}

static unsigned server_of(const struct ring *ring, const char *word, unsigned i)
{
    return server_behind(ring, NULL, word, i);
}

#define ABC "10.0.1.1:11211,10.0.1.2:11212,cache3.example:11211"

/* The servers of the keys key:0 to key:23, and how many of k0 to k99999 each has. */
static void golden(void **state)
{
    static const struct {
        const char *servers;
        mend_distribution distribution;
        const char *expected;
        unsigned counts[3];
    } rows[] = {
        {ABC, MEND_DISTRIBUTION_KETAMA_WEIGHTED, "021022020012220102010000", {34746, 30959, 34295}},
        {ABC, MEND_DISTRIBUTION_KETAMA, "012200102011102222111011", {30836, 36451, 32713}},
        {ABC, MEND_DISTRIBUTION_CONSISTENT_MD5, "000221022212221112010200", {36361, 31532, 32107}},
        {ABC, MEND_DISTRIBUTION_MODULA, "222111111122111111111211", {33243, 33261, 33496}},
        {ABC, MEND_DISTRIBUTION_CRC32, "102221211111112020202200", {33505, 32941, 33554}},
        {"10.0.1.1,10.0.1.2:11212*2,cache3.example*3", MEND_DISTRIBUTION_KETAMA_WEIGHTED, "221222222212220202010201", {19618, 30716, 49666}},

        /* in exact arithmetic the first would have 58 strings, and in libmemcached's floats it has 57 */
        {"10.0.1.1*29,10.0.1.2:11212,cache3.example*30", MEND_DISTRIBUTION_KETAMA_WEIGHTED, "220222002202220202020200", {45920, 1792, 52288}},
        /* a share too small for a single string */
        {"10.0.1.1*1000,10.0.1.2:11212,cache3.example*1000", MEND_DISTRIBUTION_KETAMA_WEIGHTED, "220222002002220202020200", {49894, 0, 50106}},
        /* a weight takes a consistent ring to weighted points; its keys keep their hash */
        {"10.0.1.1,10.0.1.2:11212*2,cache3.example*3", MEND_DISTRIBUTION_KETAMA, "012212100212022122100120", {19408, 31081, 49511}},
        {"10.0.1.1,10.0.1.2:11212*2,cache3.example*3", MEND_DISTRIBUTION_CONSISTENT_MD5, "221222222212220202010201", {19618, 30716, 49666}},
        {"[fe80::1],[fe80::2]:11212,[::1]", MEND_DISTRIBUTION_KETAMA_WEIGHTED, "122200100112021011020010", {30594, 35679, 33727}},

        /* a ring name stands for host and port; one server named several times has its weights added */
        {"z:5=10.0.1.1,y:6=10.0.1.2:11212,x:7=cache3.example", MEND_DISTRIBUTION_KETAMA_WEIGHTED, "021022020012220102010000", {34746, 30959, 34295}},
        {"z:5=10.0.1.1,y:6=10.0.1.2:11212,x:7=cache3.example", MEND_DISTRIBUTION_KETAMA, "012200102011102222111011", {30836, 36451, 32713}},
        {"10.0.1.1,10.0.1.2:11212,cache3.example,10.0.1.2:11212,cache3.example*2", MEND_DISTRIBUTION_KETAMA_WEIGHTED,
         "221222222212220202010201", {19618, 30716, 49666}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ring *ring = build(rows[i].servers, rows[i].distribution);
        char servers[25] = "";
        unsigned counts[3] = {0};
        for (unsigned k = 0; k < 24; k++)
            servers[k] = (char)('0' + server_of(ring, "key:", k));
        assert_string_equal(servers, rows[i].expected);
        for (unsigned k = 0; k < 100000; k++)
            counts[server_of(ring, "k", k)]++;
        assert_memory_equal(counts, rows[i].counts, sizeof counts);
        ring_free(ring);
    }
}

/* Behind the prefix app:, hashed: libmemcached 1.1.4 with MEMCACHED_BEHAVIOR_HASH_WITH_PREFIX_KEY. (Unhashed, they are as above.) */
static void behind_a_prefix(void **state)
{
    static const struct {
        mend_distribution distribution;
        const char *expected;
        unsigned counts[3];
    } rows[] = {
        {MEND_DISTRIBUTION_KETAMA_WEIGHTED, "001201102002102000110021", {34661, 30854, 34485}},
        {MEND_DISTRIBUTION_KETAMA, "010221011212110210001221", {30760, 36749, 32491}},
        {MEND_DISTRIBUTION_CONSISTENT_MD5, "102200200121100002020220", {36360, 31406, 32234}},
        {MEND_DISTRIBUTION_MODULA, "101101001120000000001111", {33223, 33523, 33254}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ring *ring = build(ABC, rows[i].distribution);
        char servers[25] = "";
        unsigned counts[3] = {0};
        for (unsigned k = 0; k < 24; k++)
            servers[k] = (char)('0' + server_behind(ring, "app:", "key:", k));
        assert_string_equal(servers, rows[i].expected);
        for (unsigned k = 0; k < 100000; k++)
            counts[server_behind(ring, "app:", "k", k)]++;
        assert_memory_equal(counts, rows[i].counts, sizeof counts);
        ring_free(ring);
    }
    struct ring *ring = build(ABC, MEND_DISTRIBUTION_CRC32);
    for (unsigned k = 0; k < 1000; k++)
        assert_int_equal(server_behind(ring, "app:", "k", k), server_of(ring, "app:k", k));
    ring_free(ring);
}

/* Bytes from 0x80 up are negative to one-at-a-time: libmemcached 1.1.4's servers of é0 to é23. */
static void high_bytes(void **state)
{
    static const struct {
        mend_distribution distribution;
        const char *expected;
    } rows[] = {
        {MEND_DISTRIBUTION_KETAMA, "000220102212021201122120"},
        {MEND_DISTRIBUTION_MODULA, "111101112002222220002222"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ring *ring = build(ABC, rows[i].distribution);
        char servers[25] = "";
        for (unsigned k = 0; k < 24; k++)
            servers[k] = (char)('0' + server_of(ring, "\xc3\xa9", k));
        assert_string_equal(servers, rows[i].expected);
        ring_free(ring);
    }
}

static void points(void **state)
{
    static const struct {
        const char *text;
        unsigned quarter;
        uint32_t point;
    } rows[] = {
        {"10.0.1.1-0", 0, 2383802539}, {"10.0.1.1-0", 1, 488362977},       {"10.0.1.1-0", 2, 2185284489},
        {"10.0.1.1-0", 3, 383925769},  {"10.0.1.2:11212-0", 0, 811425674}, {"key:0", 0, 2192279263},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(ring_md5_point(mend_str(rows[i].text), rows[i].quarter), rows[i].point);
    assert_int_equal(ring_one_at_a_time(mend_str("key:0")), 3235172033);
}

/* One block, up to 55 bytes, and several. By Python: struct.unpack('<4I', hashlib.md5(b'x' * length).digest()) */
static void md5_of_any_length(void **state)
{
    static const struct {
        size_t   length;
        uint32_t first, last;
    } rows[] = {
        {1, 1642386589, 2791791637},
        {54, 1946806881, 1933059496},
        {55, 541341188, 1922017848},
        {56, 3581053542, 1269919149},
        {57, 2268541033, 173263621},
        {63, 550158973, 2173279737},
        {64, 2169486273, 1445209579},
        {65, 87214363, 4128039007},
        {119, 1601844395, 1338118719},
        {250, 1263649145, 3576129611},
    };
    struct ring *ring = build(ABC, MEND_DISTRIBUTION_KETAMA_WEIGHTED);
    char         text[250];
    (void)state;
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mend_bytes all = mend_mem(text, rows[i].length);
        assert_int_equal(ring_md5_point(all, 0), rows[i].first);
        assert_int_equal(ring_md5_point(all, 3), rows[i].last);
        for (size_t split = 0; split < all.len; split++)
            assert_int_equal(ring_server(ring, mend_mem(text, split), mend_mem(text + split, all.len - split)), ring_server(ring, mend_mem(NULL, 0), all));
    }
    ring_free(ring);
}

/* The check value that every description of CRC-32 has: 0xcbf43926 of "123456789". */
static void crc32_by_a_thousand_servers(void **state)
{
    char text[10000] = "", *to = text;
    (void)state;
    for (int i = 0; i < 1000; i++)
        to += sprintf(to, "%sh%d", i ? "," : "", i);
    struct ring *ring = build(text, MEND_DISTRIBUTION_CRC32);
    assert_int_equal(ring_server(ring, mend_mem(NULL, 0), mend_str("123456789")), 0xcbf43926 % 1000);
    ring_free(ring);
}

/* Modula and crc32 keep a slot for each mention, in the order as given. */
static void slots(void **state)
{
    static const unsigned owner[] = {0, 1, 0, 2, 2};
    static const mend_distribution distributions[] = {MEND_DISTRIBUTION_MODULA, MEND_DISTRIBUTION_CRC32};
    (void)state;
    for (size_t d = 0; d < 2; d++) {
        struct ring *by_name = build("a,b,a,c*2", distributions[d]);
        struct ring *by_slot = build("s0,s1,s2,s3,s4", distributions[d]);
        for (unsigned k = 0; k < 1000; k++)
            assert_int_equal(server_of(by_name, "k", k), owner[server_of(by_slot, "k", k)]);
        ring_free(by_name);
        ring_free(by_slot);
    }
}

/* A key that is hashed to a point itself lives there: these are what the points of the three servers are made of. */
static void on_a_point(void **state)
{
    static const char *const prefixes[] = {"10.0.1.1-", "10.0.1.2:11212-", "cache3.example-"};
    (void)state;
    struct ring *ring = build(ABC, MEND_DISTRIBUTION_CONSISTENT_MD5);
    for (unsigned server = 0; server < 3; server++)
        for (unsigned i = 0; i < 100; i++)
            assert_int_equal(server_of(ring, prefixes[server], i), server);
    ring_free(ring);
}

/* s735-46 and s1179-96 have the same point, 0xcd3f4e39: it is the first server's, whichever that is. */
static void two_servers_on_one_point(void **state)
{
    static const char *const lists[] = {"s735,s1179", "s1179,s735"};
    (void)state;
    assert_int_equal(ring_md5_point(mend_str("s735-46"), 0), 0xcd3f4e39);
    for (size_t i = 0; i < 2; i++) {
        struct ring *ring = build(lists[i], MEND_DISTRIBUTION_CONSISTENT_MD5);
        assert_int_equal(ring_server(ring, mend_mem(NULL, 0), mend_str("s735-46")), 0);
        assert_int_equal(ring_server(ring, mend_mem(NULL, 0), mend_str("s1179-96")), 0);
        ring_free(ring);
    }
}

/* A Unix socket's path is hashed alone: as that of a host on the port that is not said. */
static void unix_sockets(void **state)
{
    (void)state;
    struct ring *unix_ring = build("unix:/run/a,/run/b", MEND_DISTRIBUTION_KETAMA_WEIGHTED);
    struct ring *named = build("x:1=/run/a,y:2=/run/b", MEND_DISTRIBUTION_KETAMA_WEIGHTED);
    unsigned counts[2] = {0};
    for (unsigned k = 0; k < 1000; k++) {
        assert_int_equal(server_of(unix_ring, "k", k), server_of(named, "k", k));
        counts[server_of(unix_ring, "k", k)]++;
    }
    assert_true(counts[0] > 300 && counts[1] > 300);
    ring_free(unix_ring);
    ring_free(named);
}

/* A long text is hashed to its end, or all points of such servers would be one. */
static void the_longest_ring_texts(void **state)
{
    char host[SERVERS_HOST_MAX + 1], text[2000];
    unsigned counts[2] = {0};
    (void)state;
    memset(host, 'h', SERVERS_HOST_MAX);
    host[SERVERS_HOST_MAX] = '\0';
    snprintf(text, sizeof text, "%s:65534*1000,%s:65535*1000", host, host);
    struct ring *ring = build(text, MEND_DISTRIBUTION_KETAMA_WEIGHTED);
    for (unsigned k = 0; k < 1000; k++)
        counts[server_of(ring, "k", k)]++;
    assert_true(counts[0] > 300 && counts[1] > 300);
    ring_free(ring);
}

static void one_server(void **state)
{
    (void)state;
    for (mend_distribution d = MEND_DISTRIBUTION_KETAMA_WEIGHTED; d <= MEND_DISTRIBUTION_CRC32; d++) {
        struct ring *ring = build("a*3,a", d);
        for (unsigned k = 0; k < 100; k++)
            assert_int_equal(server_of(ring, "k", k), 0);
        assert_int_equal(ring_server(ring, mend_mem(NULL, 0), mend_mem(NULL, 3)), 0); /* nothing is hashed */
        ring_free(ring);
    }
    ring_free(NULL);
}

static void *no_memory(size_t bytes, void *context)
{
    (void)bytes;
    (void)context;
    return NULL;
}

static void out_of_memory(void **state)
{
    struct memory memory = memory_from(NULL), none = memory;
    struct servers servers;
    char error[200];
    (void)state;
    none.hooks.allocate = no_memory;
    assert_int_equal(servers_parse(&servers, ABC, &memory, error, sizeof error), MEND_OK);
    assert_null(ring_build(&servers, MEND_DISTRIBUTION_KETAMA, &none));
    servers_free(&servers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(behind_a_prefix),
        cmocka_unit_test(high_bytes),
        cmocka_unit_test(points),
        cmocka_unit_test(md5_of_any_length),
        cmocka_unit_test(crc32_by_a_thousand_servers),
        cmocka_unit_test(slots),
        cmocka_unit_test(on_a_point),
        cmocka_unit_test(two_servers_on_one_point),
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(the_longest_ring_texts),
        cmocka_unit_test(one_server),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
