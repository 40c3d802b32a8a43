/* fuzz_servers.c - the list of servers, from any text.
 *
 * The input is the text. What must hold:
 *   - it is a table and no error, or an error that begins with "servers: " and no table, whatever room the error has
 *   - the table written down again, by its names, is the same table
 *   - every ring that is built of it puts every key on a server that there is
 *   - where memory runs out, it says so, and nothing is left
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ring.h"
#include "core/servers.h"

enum {
    RING_SERVERS_MAX = 5, RING_SLOTS_MAX = 2000, /* larger ones take milliseconds each, and are not other code */
    FAILURES_MAX = 8,                            /* allocations that are made to fail, one after another */
    TEXT_MAX = 4096,
};

static bool blank(const struct servers *s)
{
    return s->count == 0 && !s->at && s->slot_count == 0 && !s->slots;
}

static mend_status parse(struct servers *out, const char *text, const struct memory *memory)
{
    char        error[400] = "";
    mend_status status = servers_parse(out, text, memory, error, sizeof error);

    must(status == MEND_OK || status == MEND_E_ARGUMENT || status == MEND_E_MEMORY);
    must(memchr(error, '\0', sizeof error) != NULL);
    must((status == MEND_OK) == (error[0] == '\0'));
    must(status == MEND_OK || strncmp(error, "servers: ", 9) == 0);
    must(status == MEND_OK || blank(out));
    for (const char *p = error; *p; p++)
        must((unsigned char)*p >= 0x20 && *p != 0x7f);
    return status;
}

/* An error cut short is the beginning of the whole one, and stays in its room. */
static void little_room(const char *text, const struct memory *memory)
{
    static const size_t sizes[] = {1, 10, 40};
    struct servers      s;
    char                whole[400] = "";
    mend_status         status = servers_parse(&s, text, memory, whole, sizeof whole);

    servers_free(&s);
    for (size_t i = 0; status != MEND_OK && i < sizeof sizes / sizeof *sizes; i++) {
        char *error = malloc(sizes[i]);
        must(error != NULL);
        must(servers_parse(&s, text, memory, error, sizes[i]) == status);
        must(strlen(error) < sizes[i]);
        must(strncmp(error, whole, strlen(error)) == 0);
        free(error);
    }
}

static void check_table(const struct servers *s)
{
    size_t slots = 0, *own = calloc(SERVERS_MAX, sizeof *own);

    must(own != NULL);
    for (size_t i = 0; i < s->slot_count; i++) {
        must(s->slots[i] < s->count);
        own[s->slots[i]]++;
    }
    must(s->count >= 1 && s->count <= SERVERS_MAX);
    for (size_t i = 0; i < s->count; i++) {
        const struct server_spec *at = &s->at[i];
        size_t                    host = strlen(at->host);
        must(host > 0 && host <= (size_t)(at->is_unix ? SERVERS_PATH_MAX : SERVERS_HOST_MAX));
        must(at->is_unix == (at->port == 0));
        must(at->is_unix == (at->host[0] == '/'));
        must(strlen(at->ring_host) > 0 && at->ring_port <= 65535 && at->weight > 0);
        must(at->ring_port == 0 || at->ring_port == at->port);
        must(own[i] == at->weight);
        slots += at->weight;
        for (size_t k = 0; k < i; k++)
            must(strcmp(s->at[k].name, at->name) != 0);
    }
    must(slots == s->slot_count);
    free(own);
}

/* A host that is called "unix" can only be written without its port: its name, unix:11211, would be taken for a path. */
static const char *written(const struct server_spec *at)
{
    return strcmp(at->host, "unix") == 0 ? at->host : at->name;
}

/* One server as it might have been written: name, weight, and a ring name if it has one of its own. */
static void write_element(char **p, const char *end, const struct server_spec *at, size_t weight)
{
    bool ring = at->is_unix ? strcmp(at->ring_host, at->host) != 0 : at->ring_port == 0;
    int  n = snprintf(*p, (size_t)(end - *p), "%s*%zu%s%s,", written(at), weight, ring ? "=" : "", ring ? at->ring_host : "");

    must(n > 0 && n < end - *p);
    *p += n;
}

/* From the slots, since their order matters: a run of one server's is an element, or some if it is longer than a weight may be. */
static char *write_list(const struct servers *s)
{
    size_t elements = 0, room = 1;
    for (size_t i = 0, n; i < s->slot_count; i += n, elements++) {
        for (n = 1; n < SERVERS_WEIGHT_MAX && i + n < s->slot_count && s->slots[i + n] == s->slots[i]; n++)
            ;
        room += strlen(s->at[s->slots[i]].name) + strlen(s->at[s->slots[i]].ring_host) + 16;
    }
    must(elements <= SERVERS_MAX);

    char *text = malloc(room), *p = text;
    must(text != NULL);
    for (size_t i = 0, n; i < s->slot_count; i += n) {
        for (n = 1; n < SERVERS_WEIGHT_MAX && i + n < s->slot_count && s->slots[i + n] == s->slots[i]; n++)
            ;
        write_element(&p, text + room, &s->at[s->slots[i]], n);
    }
    p[-1] = '\0'; /* the last comma */
    return text;
}

static void check_again(const struct servers *s, const struct memory *memory)
{
    struct servers again;
    char          *text = write_list(s);

    must(parse(&again, text, memory) == MEND_OK);
    must(again.count == s->count && again.slot_count == s->slot_count);
    must(memcmp(again.slots, s->slots, s->slot_count * sizeof *s->slots) == 0);
    for (size_t i = 0; i < s->count; i++) {
        const struct server_spec *a = &s->at[i], *b = &again.at[i];
        must(strcmp(a->name, b->name) == 0 && strcmp(a->host, b->host) == 0 && strcmp(a->ring_host, b->ring_host) == 0);
        must(a->port == b->port && a->is_unix == b->is_unix && a->ring_port == b->ring_port && a->weight == b->weight);
    }
    servers_free(&again);
    free(text);
}

static void check_rings(const struct servers *s, const struct memory *memory)
{
    static const mend_bytes keys[] = {{"a", 1}, {"key:0", 5}, {"\0\xff", 2}};

    if (s->count > RING_SERVERS_MAX || s->slot_count > RING_SLOTS_MAX)
        return;
    for (int d = 0; d <= MEND_DISTRIBUTION_CRC32; d++) {
        struct ring *ring = ring_build(s, (mend_distribution)d, memory);
        for (size_t i = 0; ring && i < sizeof keys / sizeof *keys; i++) {
            unsigned server = ring_server(ring, mend_mem(NULL, 0), keys[i]);
            must(server < s->count);
            must(server == ring_server(ring, mend_mem(NULL, 0), keys[i]));
        }
        ring_free(ring);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct supply  supply = {0};
    struct memory  memory = supply_memory(&supply);
    struct servers s;

    if (size > TEXT_MAX)
        return 0;
    char *text = malloc(size + 1);
    must(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';

    mend_status status = parse(&s, text, &memory);
    must(status != MEND_E_MEMORY);
    if (status == MEND_OK) {
        check_table(&s);
        check_again(&s, &memory);
        check_rings(&s, &memory);
    } else
        little_room(text, &memory);
    servers_free(&s);
    servers_free(&s); /* what is empty already is nothing to do */
    must(blank(&s) && supply.live == 0);

    for (unsigned n = 1; n <= FAILURES_MAX; n++) {
        supply = (struct supply){.fails_at = n, .for_good = n % 2};
        mend_status now = parse(&s, text, &memory);
        must(now == status || now == MEND_E_MEMORY);
        must((now == MEND_E_MEMORY) == (supply.asked >= n));
        if (now == MEND_OK)
            check_rings(&s, &memory);
        servers_free(&s);
        must(supply.live == 0);
        if (supply.asked < n)
            break; /* there are no more to fail */
    }
    free(text);
    return 0;
}
