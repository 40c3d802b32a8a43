/* fuzz_listing.c - lists that name sources, and what a cluster's endpoint says, from any bytes.
 *
 * The input is a list, a NUL, and what an endpoint answers. What must hold:
 *   - it is a list and no error, or an error that begins with "servers: " and nothing left; the same of every beginning of it
 *   - an answer cut short anywhere is one that is not all there, or none; what follows it changes nothing
 *   - what was answered is the source's servers, in a copy and in a list that comes after, too
 *   - where memory runs out, it says so, and nothing is left
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "core/listing.h"

enum {
    FAILURES_MAX = 40, /* allocations that are made to fail, one after another */
    INPUT_MAX = 2048,
};

static mend_status judged(mend_status status, const struct listing *l, const char *error)
{
    must(status == MEND_OK || status == MEND_E_ARGUMENT || status == MEND_E_MEMORY);
    must(status == MEND_OK || strncmp(error, "servers: ", 9) == 0);
    must(status == MEND_OK || (!l->text && l->source_count == 0 && l->servers.count == 0));
    return status;
}

static mend_status parse(struct listing *l, const char *text, const struct memory *memory)
{
    char error[256] = "";
    return judged(listing_parse(l, text, memory, error, sizeof error), l, error);
}

/* ---- Answers ---- */

/* Of a block that is exactly as large: a byte too far is seen. */
static ptrdiff_t read_exactly(const uint8_t *p, size_t n, uint64_t *version, struct buf *answer, bool *memory)
{
    char *block = malloc(n ? n : 1);

    must(block != NULL);
    if (n)
        memcpy(block, p, n);
    ptrdiff_t took = cluster_read(block, n, version, answer, memory);
    must(took <= (ptrdiff_t)n);
    must(took <= 0 || (answer->len > 0 && answer->data[answer->len - 1] == '\0' && *memory));
    free(block);
    return took;
}

/* However it comes, it is the same. Returns what it took. */
static ptrdiff_t check_answer(const uint8_t *p, size_t n, uint64_t *version, struct buf *answer)
{
    bool      memory;
    ptrdiff_t whole = read_exactly(p, n, version, answer, &memory);

    for (size_t cut = 0; cut < n; cut++) {
        struct buf part = {.memory = answer->memory};
        uint64_t   then;
        ptrdiff_t  took = read_exactly(p, cut, &then, &part, &memory);
        must(memory);
        if (whole > 0)
            must(took == ((ptrdiff_t)cut < whole ? 0 : whole));
        must(took != -1 || whole == -1);
        must(took <= 0 || (then == *version && strcmp(part.data, answer->data) == 0));
        buf_release(&part);
    }
    return whole;
}

/* ---- Lists ---- */

static bool same_servers(const struct servers *a, const struct servers *b)
{
    if (a->count != b->count || a->slot_count != b->slot_count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const char *one = a->at[i].certified, *other = b->at[i].certified;
        if (strcmp(a->at[i].name, b->at[i].name) != 0 || a->at[i].weight != b->at[i].weight || (one ? !other || strcmp(one, other) != 0 : !!other))
            return false;
    }
    return true;
}

static void check_table(const struct listing *l)
{
    must(l->servers.count > 0 || l->source_count > 0);
    must(l->source_count <= SOURCES_MAX);
    for (size_t i = 0; i < l->servers.count; i++)
        must(!l->servers.at[i].certified || l->servers.at[i].is_tls);
    for (size_t i = 0; i < l->source_count; i++) {
        must(!l->sources[i].at->is_unix && l->sources[i].at->port);
        must(!l->sources[i].at->is_tls || listing_wants_tls(l));
        must(l->sources[i].begin < l->sources[i].end && l->sources[i].end <= strlen(l->text));
        for (size_t k = 0; k < i; k++)
            must(!source_same(&l->sources[i], &l->sources[k]));
    }
}

/* False: no memory. */
static bool check_answered(const struct listing *l, const char *answer, uint64_t version, const struct memory *memory)
{
    bool whole = true;

    for (size_t i = 0; i < l->source_count; i++) {
        struct listing next, copy, after;
        char           error[256] = "";
        nstime         doubted = NEVER;
        mend_status    status = judged(listing_answered(&next, l, i, answer, version, error, sizeof error), &next, error);
        whole &= status != MEND_E_MEMORY;
        if (status)
            continue;
        check_table(&next);
        must(next.servers.count > 0);
        must(source_has_news(&l->sources[i], answer, version, false, &doubted, 0));
        must(!source_has_news(&next.sources[i], answer, version, true, &doubted, 0));
        source_has_news(&next.sources[i], answer, version - 1, false, &doubted, 0);
        if (listing_copy(&copy, &next, memory)) {
            must(same_servers(&copy.servers, &next.servers));
            listing_free(&copy);
        } else
            whole = false;
        status = judged(listing_parse_after(&after, l->text, &next, error, sizeof error), &after, error);
        must(status != MEND_E_ARGUMENT);
        if (status == MEND_OK) {
            must(same_servers(&after.servers, &next.servers));
            listing_free(&after);
        } else
            whole = false;
        listing_free(&next);
    }
    return whole;
}

/* The whole of it, once. False: no memory. */
static bool live(const char *text, const uint8_t *said, size_t n, const struct memory *memory)
{
    struct listing l;
    uint64_t       version = 0;
    bool           whole = true, enough;
    struct buf     answer = {.memory = memory};
    bool           heard = read_exactly(said, n, &version, &answer, &enough) > 0;
    mend_status    status = parse(&l, text, memory);

    if (status == MEND_OK) {
        check_table(&l);
        whole = check_answered(&l, heard ? answer.data : "10.0.0.1:11211,[::1]:5", version, memory);
    }
    listing_free(&l); /* what is empty already is nothing to do */
    buf_release(&answer);
    return whole && enough && status != MEND_E_MEMORY;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct supply  supply = {0};
    struct memory  memory = supply_memory(&supply);
    const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
    size_t         length = nul ? (size_t)(nul - data) : size;
    const uint8_t *said = nul ? nul + 1 : data + size;
    size_t         n = size - (size_t)(said - data);
    struct buf     answer = {.memory = &memory};
    uint64_t       version;

    if (size > INPUT_MAX)
        return 0;
    char *text = malloc(length + 1);
    must(text != NULL);
    for (size_t cut = 0; cut <= length; cut++) {
        struct listing l;
        if (cut)
            memcpy(text, data, cut);
        text[cut] = '\0';
        must(parse(&l, text, &memory) != MEND_E_MEMORY);
        listing_free(&l);
    }
    check_answer(said, n, &version, &answer);
    buf_release(&answer);
    must(supply.live == 0);

    must(live(text, said, n, &memory));
    must(supply.live == 0);
    for (unsigned k = 1; k <= FAILURES_MAX; k++) {
        supply = (struct supply){.fails_at = k, .for_good = k % 2};
        bool whole = live(text, said, n, &memory);
        must(whole == (supply.asked < k));
        must(supply.live == 0);
        if (whole)
            break; /* there are no more to fail */
    }
    free(text);
    return 0;
}
