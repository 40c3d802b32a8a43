/* ring.c - see ring.h. */
#include "core/ring.h"

#include <assert.h>
#include <md5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libmemcached's numbers, which libmc and twemproxy share. */
enum { STRINGS_PLAIN = 100, POINTS_WEIGHTED = 160, QUARTERS = 4, PORT_UNSAID = 11211 };

enum { RING_TEXT_MAX = SERVERS_HOST_MAX + sizeof ":65535-4294967295" }; /* the longest host, a port and a number */

enum hash { HASH_MD5, HASH_ONE_AT_A_TIME, HASH_CRC32 };

struct point {
    uint32_t value;
    unsigned server;
};

struct ring {
    struct memory memory;
    enum hash hash;      /* of keys */
    bool by_slot;        /* hash modulo count, in the order given, values unused; else the first point at or behind the hash */
    uint32_t crc32[256]; /* HASH_CRC32 */
    size_t count;        /* 1: there is one server, and no hashing */
    struct point at[];
};

static const struct {
    enum hash hash;
    bool by_slot;
} how[] = {
    [MEND_DISTRIBUTION_KETAMA_WEIGHTED] = {HASH_MD5, false},
    [MEND_DISTRIBUTION_KETAMA]          = {HASH_ONE_AT_A_TIME, false},
    [MEND_DISTRIBUTION_CONSISTENT_MD5]  = {HASH_MD5, false},
    [MEND_DISTRIBUTION_MODULA]          = {HASH_ONE_AT_A_TIME, true},
    [MEND_DISTRIBUTION_CRC32]           = {HASH_CRC32, true},
};

/* ---- Hashes ------------------------------------------------------------------ */

static const mend_bytes nothing = {NULL, 0};

/* Of the text behind the prefix, as all hashes here. Most keys fill less than one block, which is padded here, as RFC 1321 has
 * it: libmd's own way to that costs half as much again as the hash. */
static void md5_points(uint32_t points[QUARTERS], mend_bytes prefix, mend_bytes text)
{
    enum { LENGTH_AT = MD5_BLOCK_LENGTH - 8 };
    size_t  n = prefix.len + text.len;
    MD5_CTX md5;

    MD5Init(&md5);
    if (n < LENGTH_AT) {
        uint8_t block[MD5_BLOCK_LENGTH] = {0};
        if (prefix.len)
            memcpy(block, prefix.data, prefix.len);
        memcpy(block + prefix.len, text.data, text.len);
        block[n] = 0x80;
        block[LENGTH_AT] = (uint8_t)(n << 3); /* in bits */
        block[LENGTH_AT + 1] = (uint8_t)(n >> 5);
        MD5Transform(md5.state, block);
    } else {
        if (prefix.len)
            MD5Update(&md5, prefix.data, prefix.len);
        MD5Update(&md5, text.data, text.len);
        MD5Pad(&md5);
    }
    memcpy(points, md5.state, sizeof md5.state);
}

uint32_t ring_md5_point(mend_bytes text, unsigned quarter)
{
    uint32_t points[QUARTERS];
    assert(quarter < QUARTERS);
    md5_points(points, nothing, text);
    return points[quarter];
}

static uint32_t stir(uint32_t hash, mend_bytes text)
{
    const signed char *p = text.data; /* signed, as libmemcached's on x86: it tells for bytes from 0x80 up */
    for (size_t i = 0; i < text.len; i++) {
        int byte = p[i];
        hash += (uint32_t)byte;
        hash += hash << 10;
        hash ^= hash >> 6;
    }
    return hash;
}

static uint32_t one_at_a_time(mend_bytes prefix, mend_bytes text)
{
    uint32_t hash = stir(stir(0, prefix), text);
    hash += hash << 3;
    hash ^= hash >> 11;
    return hash + (hash << 15);
}

uint32_t ring_one_at_a_time(mend_bytes text)
{
    return one_at_a_time(nothing, text);
}

static void fill_crc32(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0); /* the polynomial of IEEE 802.3, its lowest bit first */
        table[i] = crc;
    }
}

static uint32_t crc32(const uint32_t table[256], uint32_t crc, mend_bytes text)
{
    const unsigned char *p = text.data;
    for (size_t i = 0; i < text.len; i++)
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xff];
    return crc;
}

static uint32_t hash_of(const struct ring *ring, mend_bytes prefix, mend_bytes text)
{
    uint32_t points[QUARTERS];

    switch (ring->hash) {
    case HASH_MD5:
        md5_points(points, prefix, text);
        return points[0];
    case HASH_ONE_AT_A_TIME:
        return one_at_a_time(prefix, text);
    case HASH_CRC32:
        return ~crc32(ring->crc32, crc32(ring->crc32, UINT32_MAX, prefix), text);
    }
    return 0;
}

/* ---- Points ------------------------------------------------------------------ */

/* libmemcached goes over to weighted points as soon as a server of a consistent ring has a weight. */
static bool is_weighted(const struct servers *servers, mend_distribution distribution)
{
    if (distribution == MEND_DISTRIBUTION_KETAMA_WEIGHTED)
        return true;
    for (size_t i = 0; i < servers->count; i++)
        if (servers->at[i].weight > 1)
            return true;
    return false;
}

/* How many strings of this server are hashed, for QUARTERS points each. A small share of the weight may come to none.
 *
 * libmemcached reckons in 32-bit floats. Where the exact product is a whole number, theirs may lie just below and lose
 * a string, so each step is rounded to a float here, too, in a statement of its own: what is left to the compiler
 * to fuse or to keep in wider registers is nothing, under -std=c11 (GCC contracts across statements under
 * -std=gnu11). It also adds 1e-10, which is too little to change a float that is near 1 or above. */
static unsigned weighted_strings(unsigned weight, uint64_t weights, size_t servers)
{
    float share = (float)weight / (float)weights;
    float points = share * POINTS_WEIGHTED;
    float strings = points / QUARTERS;
    float scaled = strings * (float)servers;
    return (unsigned)scaled;
}

/* What the i-th point of a server is the hash of. */
static mend_bytes ring_text(char text[RING_TEXT_MAX], const struct server_spec *server, unsigned i)
{
    int len = server->ring_port == 0 || server->ring_port == PORT_UNSAID
                  ? snprintf(text, RING_TEXT_MAX, "%s-%u", server->ring_host, i)
                  : snprintf(text, RING_TEXT_MAX, "%s:%u-%u", server->ring_host, server->ring_port, i);
    assert(len > 0 && len < RING_TEXT_MAX);
    return mend_mem(text, (size_t)len);
}

static void add_point(struct ring *ring, uint32_t value, size_t server)
{
    ring->at[ring->count++] = (struct point){value, (unsigned)server};
}

static void add_plain(struct ring *ring, const struct servers *servers)
{
    char text[RING_TEXT_MAX];
    for (size_t server = 0; server < servers->count; server++)
        for (unsigned i = 0; i < STRINGS_PLAIN; i++)
            add_point(ring, hash_of(ring, nothing, ring_text(text, &servers->at[server], i)), server);
}

static void add_weighted(struct ring *ring, const struct servers *servers)
{
    char text[RING_TEXT_MAX];
    uint32_t points[QUARTERS];
    for (size_t server = 0; server < servers->count; server++) {
        unsigned strings = weighted_strings(servers->at[server].weight, servers->slot_count, servers->count);
        for (unsigned i = 0; i < strings; i++) {
            md5_points(points, nothing, ring_text(text, &servers->at[server], i));
            for (unsigned q = 0; q < QUARTERS; q++)
                add_point(ring, points[q], server);
        }
    }
}

static void add_slots(struct ring *ring, const struct servers *servers)
{
    for (size_t i = 0; i < servers->slot_count; i++)
        add_point(ring, 0, servers->slots[i]);
}

static int by_value_then_server(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->server < y->server ? -1 : x->server > y->server;
}

static size_t count_points(const struct servers *servers, bool by_slot, bool weighted)
{
    if (servers->count == 1)
        return 1;
    if (by_slot)
        return servers->slot_count;
    if (!weighted)
        return STRINGS_PLAIN * servers->count;
    size_t n = 0;
    for (size_t i = 0; i < servers->count; i++)
        n += QUARTERS * weighted_strings(servers->at[i].weight, servers->slot_count, servers->count);
    return n;
}

/* ---- The ring ---------------------------------------------------------------- */

struct ring *ring_build(const struct servers *servers, mend_distribution distribution, const struct memory *memory)
{
    assert(servers->count > 0);
    assert((size_t)distribution < sizeof how / sizeof *how);

    bool by_slot = how[distribution].by_slot;
    bool weighted = is_weighted(servers, distribution);
    size_t count = count_points(servers, by_slot, weighted);
    struct ring *ring = memory_allocate(memory, sizeof *ring + count * sizeof *ring->at);
    if (!ring)
        return NULL;
    *ring = (struct ring){.memory = *memory, .hash = how[distribution].hash, .by_slot = by_slot};
    fill_crc32(ring->crc32);

    if (servers->count == 1)
        add_point(ring, 0, 0);
    else if (by_slot)
        add_slots(ring, servers);
    else if (weighted)
        add_weighted(ring, servers);
    else
        add_plain(ring, servers);
    assert(ring->count == count);

    if (!by_slot)
        qsort(ring->at, ring->count, sizeof *ring->at, by_value_then_server);
    return ring;
}

void ring_free(struct ring *ring)
{
    if (!ring)
        return;
    struct memory memory = ring->memory;
    memory_release(&memory, ring);
}

/* The first point at or behind the value; behind the last comes the first. */
static unsigned server_behind(const struct ring *ring, uint32_t value)
{
    const struct point *from = ring->at;
    for (size_t n = ring->count; n > 0;) {
        size_t half = n / 2;
        if (from[half].value < value) {
            from += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return from == ring->at + ring->count ? ring->at->server : from->server;
}

unsigned ring_server(const struct ring *ring, mend_bytes prefix, mend_bytes key)
{
    if (ring->count == 1)
        return ring->at->server;
    uint32_t hash = hash_of(ring, prefix, key);
    return ring->by_slot ? ring->at[hash % ring->count].server : server_behind(ring, hash);
}
