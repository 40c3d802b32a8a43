/* fuzz_wire.c - head lines of answers: any bytes, and the same bytes cut at every place.
 *
 * The input is what the server said. What must hold:
 *   - it is read whole or cut, wire_head stays within what it was given: each cut is a block of exactly its size
 *   - a line that is read is read the same whatever stands behind it, and "not yet" until its last byte is there
 *   - what is not memcached's stays so: -1 once is -1 with every byte more
 *   - what the head points to lies in the line; numbers are within their limits
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "core/wire.h"

/* A line's length, its CRLF, and a little of the next: cuts behind that say nothing new. */
enum { CUTS_MAX = WIRE_LINE_MAX + 16 };

/* Where in the line a span is. */
static ptrdiff_t place(mend_bytes b, const char *p)
{
    return b.data ? (const char *)b.data - p : -1;
}

static void check_span(mend_bytes b, const char *p, int line)
{
    if (!b.data) {
        must(b.len == 0);
        return;
    }
    must(place(b, p) >= 0);
    must((size_t)place(b, p) + b.len <= (size_t)line - 2);
}

static void check_head(const struct wire_head *h, const char *p, int line)
{
    mend_status status = wire_means(h, WIRE_GET);

    must(line >= 2 && line <= WIRE_LINE_MAX);
    must(h->kind < WIRE_KINDS);
    must(h->size <= WIRE_VALUE_MAX);
    must(h->ttl_s == MEND_TTL_NEVER || h->ttl_s == MEND_TTL_UNKNOWN || (h->ttl_s >= 0 && h->ttl_s <= INT32_MAX));
    check_span(h->key, p, line);
    check_span(h->text, p, line);
    must(mend_status_name(status) != NULL);

    bool error = h->kind == WIRE_ERROR || h->kind == WIRE_CLIENT_ERROR || h->kind == WIRE_SERVER_ERROR;
    must(error || status >= 0);
    for (int verb = 0; verb < WIRE_VERBS; verb++)
        for (int dialect = WIRE_META; dialect <= WIRE_CLASSIC; dialect++)
            must(wire_fits(h->kind, (enum wire_verb)verb, (enum wire_dialect)dialect) || !error);
}

static void check_same(const struct wire_head *a, const char *pa, const struct wire_head *b, const char *pb)
{
    must(a->kind == b->kind && a->has_opaque == b->has_opaque && a->key_binary == b->key_binary);
    must(a->flags == b->flags && a->size == b->size && a->number == b->number && a->cas == b->cas);
    must(a->ttl_s == b->ttl_s && a->opaque == b->opaque);
    must(place(a->key, pa) == place(b->key, pb) && a->key.len == b->key.len);
    must(place(a->text, pa) == place(b->text, pb) && a->text.len == b->text.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char      *whole = (const char *)data; /* libFuzzer's block, and replay's, is as large as the input, too */
    struct wire_head all, cut;
    int              verdict = wire_head(&all, whole, size), last = 0;

    must(verdict >= -1 && verdict <= (size < WIRE_LINE_MAX ? (int)size : WIRE_LINE_MAX));
    must(verdict <= 0 || memcmp(whole + verdict - 2, "\r\n", 2) == 0);
    if (verdict > 0)
        check_head(&all, whole, verdict);

    for (size_t n = 0; n < size && n < CUTS_MAX; n++) {
        char *p = malloc(n ? n : 1);
        must(p != NULL);
        memcpy(p, whole, n);
        int now = wire_head(&cut, p, n);

        if (verdict > 0) {
            must(now == (n < (size_t)verdict ? 0 : verdict));
            if (now > 0)
                check_same(&cut, p, &all, whole);
        } else {
            must(now == 0 || now == -1);
            must(now == -1 || last == 0);
            must(now == 0 || verdict == -1);
        }
        last = now;
        free(p);
    }
    return 0;
}
