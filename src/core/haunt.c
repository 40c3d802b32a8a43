/* haunt.c - see haunt.h. */
#include "core/haunt.h"

#include <assert.h>

static struct haunt_epoch *at(struct haunt *h, uint64_t epoch)
{
    assert(epoch == h->epoch || epoch + 1 == h->epoch);
    return &h->at[epoch & 1];
}

static bool goes_on(const struct haunt_epoch *e)
{
    return e->lines > 0 || e->adrift;
}

void haunt_init(struct haunt *h)
{
    *h = (struct haunt){.epoch = 1, .at = {{.over = NEVER}, {.over = NEVER}}};
}

uint64_t haunt_line(struct haunt *h)
{
    if (!goes_on(at(h, h->epoch - 1)) && goes_on(at(h, h->epoch)))
        h->epoch++;
    at(h, h->epoch)->lines++;
    return h->epoch;
}

void haunt_ended(struct haunt *h, uint64_t epoch, nstime now)
{
    assert(at(h, epoch)->lines > 0);
    at(h, epoch)->lines--;
    h->last = now;
}

void haunt_adrift(struct haunt *h, uint64_t epoch, nstime now)
{
    struct haunt_epoch *e = at(h, epoch);

    assert(e->lines > 0);
    e->lines--;
    e->adrift = true;
    e->since = now;
    e->over = NEVER;
}

void haunt_proved(struct haunt *h, nstime since, nstime over)
{
    for (struct haunt_epoch *e = h->at; e < h->at + 2; e++)
        if (e->adrift && e->over == NEVER && e->since < since)
            e->over = over;
}

bool haunt_unproved(const struct haunt *h)
{
    return (h->at[0].adrift && h->at[0].over == NEVER) || (h->at[1].adrift && h->at[1].over == NEVER);
}

uint64_t haunt_over(struct haunt *h, nstime now)
{
    for (struct haunt_epoch *e = h->at; e < h->at + 2; e++)
        if (e->adrift && e->over <= now) {
            e->adrift = false;
            e->over = NEVER;
            h->last = now;
        }
    if (goes_on(at(h, h->epoch - 1)))
        return h->epoch - 2;
    return goes_on(at(h, h->epoch)) ? h->epoch - 1 : h->epoch;
}

nstime haunt_due(const struct haunt *h)
{
    return time_earlier(h->at[0].over, h->at[1].over);
}
