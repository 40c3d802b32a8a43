/* down.c - what a read costs while its server is known to be down.
 *
 *     bench-down [--quick]
 *
 * With one server the key needs no hashing; with three it does, by weighted ketama: an MD5, and a search among 160
 * points a server. As much is done here with the same MD5 and measured beside it, over the same keys. Counted is
 * the processor's time: a read of a server that is down waits for nothing, so the rest would be other programs'.
 */
#include "clock.h"
#include "figure.h"

#include "support/memcached.h"
#include "support/wait.h"

#include <md5.h>
#include <string.h>

enum { BATCHES = 7, KEYS = 64, POINTS = 3 * 160 };

static char              keys[KEYS][24];
static uint32_t          points[POINTS];
static volatile unsigned found;

/* Where nobody listens. */
static mend_client *open_down(const char *servers)
{
    mend_client *client = NULL;
    mend_reply   r = MEND_REPLY;

    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = servers), &client, &r), &r);
    mend_reply_free(&r);
    await(!mend_connection_available(client), SOON_MS);
    return client;
}

static void get(mend_client *client, mend_bytes key, mend_reply *r)
{
    mend_get(client, key, r);
    if (r->status != MEND_E_DOWN)
        fail_msg("%s where nobody listens", mend_status_name(r->status));
}

static uint32_t md5_of(const void *data, size_t n)
{
    MD5_CTX  md5;
    uint8_t  digest[MD5_DIGEST_LENGTH];
    uint32_t first;

    MD5Init(&md5);
    MD5Update(&md5, data, n);
    MD5Final(digest, &md5);
    memcpy(&first, digest, sizeof first);
    return first;
}

static void hash(mend_client *client, mend_bytes key, mend_reply *r)
{
    uint32_t point = md5_of(key.data, key.len);
    unsigned low = 0, high = POINTS;

    (void)client;
    (void)r;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (points[middle] < point)
            low = middle + 1;
        else
            high = middle;
    }
    found = low;
}

static int by_place(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

typedef void action(mend_client *client, mend_bytes key, mend_reply *reply);

static int64_t processor_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double cost(action *one, mend_client *client, unsigned n)
{
    mend_reply r = MEND_REPLY;
    int64_t    began = processor_ns();

    for (unsigned i = 0; i < n; i++)
        one(client, mend_mem(keys[i % KEYS], 16), &r);
    int64_t took = processor_ns() - began;
    mend_reply_free(&r);
    return (double)took / n;
}

static double median(double x[BATCHES])
{
    qsort(x, BATCHES, sizeof *x, by_size);
    return x[BATCHES / 2];
}

static void prepare(void)
{
    for (unsigned i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof keys[i], "figure:%09u", i * 7919);
    for (unsigned i = 0; i < POINTS; i++)
        points[i] = md5_of(&i, sizeof i);
    qsort(points, POINTS, sizeof *points, by_place);
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 && strcmp(argv[1], "--quick") == 0 ? 300000 : 2000000;
    char     one[32], three[96];

    figure_progress("reads while their server is down");
    prepare();
    snprintf(one, sizeof one, "127.0.0.1:%d", port_free("127.0.0.1"));
    snprintf(three, sizeof three, "%s,127.0.0.1:%d,127.0.0.1:%d", one, port_free("127.0.0.1"), port_free("127.0.0.1"));

    mend_client *single = open_down(one), *several = open_down(three);
    double       alone[BATCHES], hashed[BATCHES], sharded[BATCHES];
    for (int i = 0; i < BATCHES; i++) { /* in turns: what else the machine does befalls all alike */
        alone[i] = cost(get, single, n);
        hashed[i] = cost(hash, NULL, n);
        sharded[i] = cost(get, several, n);
    }
    mend_close(single);
    mend_close(several);

    double ns = median(alone), hashing = median(hashed), with_three = median(sharded);
    char target[48];
    snprintf(target, sizeof target, "<= 100 ns + hashing (%.0f ns)", hashing);
    figure_tell(&(struct figure){.id = "down", .what = "a read while its server is down", .target = "<= 100 ns", .unit = "ns",
                                 .value = ns, .verdict = figure_within(ns, 100)},
                "%.0f ns", ns);
    figure_tell(&(struct figure){.id = "down_sharded", .what = "the same, with three servers", .target = target, .unit = "ns",
                                 .value = with_three, .verdict = figure_within(with_three, 100 + hashing)},
                "%.0f ns", with_three);
    return 0;
}
