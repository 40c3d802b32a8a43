/* database.c - see database.h. */
#include "database.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

void database_open(struct database *db)
{
    for (uint32_t i = 0; i < DATABASE_RECORDS; i++) {
        struct database_record *r = &db->at[i];
        snprintf(r->name, sizeof r->name, "demo:record:%" PRIu32, i);
        r->number = i;
        atomic_init(&r->version, 1);
    }
}

void database_ask(void)
{
    clock_sleep_until(clock_now() + MS(DATABASE_LATENCY_MS));
}

uint64_t database_write(struct database_record *r)
{
    return atomic_fetch_add(&r->version, 1) + 1;
}

uint64_t database_chance(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Most have up to 1 KB; one in forty has more than 18, which travels another way through the library. */
size_t database_value(const struct database_record *r, uint64_t version, char *to)
{
    size_t   at = (size_t)snprintf(to, DATABASE_VALUE_MAX, "%s %" PRIu64 "\n", r->name, version);
    uint64_t chance = (uint64_t)r->number << 32 ^ version;
    size_t   len = at + 40 + database_chance(&chance) % 1000 + (r->number % 40 == 7 ? 18000 : 0);

    for (; at < len; at += 8) {
        uint64_t word = database_chance(&chance);
        memcpy(to + at, &word, len - at < 8 ? len - at : 8);
    }
    return len;
}

uint64_t database_knows(const struct database_record *r, const char *data, size_t len, char *scratch)
{
    size_t name = strlen(r->name);
    if (len < name + 2 || memcmp(data, r->name, name) != 0 || data[name] != ' ')
        return 0;

    uint64_t version = strtoull(data + name + 1, NULL, 10);
    if (version < 1 || version > atomic_load(&r->version))
        return 0;
    return database_value(r, version, scratch) == len && memcmp(scratch, data, len) == 0 ? version : 0;
}
