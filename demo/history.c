/* history.c - see history.h. */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* Room doubles whenever the count is a power of two. */
static void *room_for_one(void *at, size_t count, size_t size)
{
    return count & (count - 1) ? at : calls_memory(at, (count ? 2 * count : 1) * size);
}

void history_open(struct history *h)
{
    memset(h, 0, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
}

void history_close(struct history *h)
{
    pthread_mutex_destroy(&h->lock);
    free(h->events);
    free(h->states);
}

void history_note(struct history *h, enum history_kind kind, int server, const char *format, ...)
{
    struct history_event e = {.at_ns = clock_now(), .kind = kind, .server = server};
    va_list              words;
    va_start(words, format);
    vsnprintf(e.text, sizeof e.text, format, words);
    va_end(words);

    pthread_mutex_lock(&h->lock);
    h->events = room_for_one(h->events, h->events_count, sizeof e);
    h->events[h->events_count++] = e;
    pthread_mutex_unlock(&h->lock);
}

void history_saw(struct history *h, int server, mend_state state)
{
    struct history_state s = {.at_ns = clock_now(), .server = server, .state = state};

    pthread_mutex_lock(&h->lock);
    size_t last = h->states_count;
    while (last > 0 && h->states[last - 1].server != server)
        last--;
    if (last == 0 || h->states[last - 1].state != state) {
        h->states = room_for_one(h->states, h->states_count, sizeof s);
        h->states[h->states_count++] = s;
    }
    pthread_mutex_unlock(&h->lock);
}

int64_t history_first(struct history *h, enum history_kind kind, int server, int64_t after_ns)
{
    int64_t at = -1;

    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->events_count && at < 0; i++) {
        const struct history_event *e = &h->events[i];
        if (e->kind == kind && e->server == server && e->at_ns >= after_ns)
            at = e->at_ns;
    }
    pthread_mutex_unlock(&h->lock);
    return at;
}

size_t history_since(struct history *h, size_t from, struct history_event *to, size_t n)
{
    size_t copied = 0;

    pthread_mutex_lock(&h->lock);
    for (size_t i = from; i < h->events_count && copied < n; i++)
        to[copied++] = h->events[i];
    pthread_mutex_unlock(&h->lock);
    return copied;
}
