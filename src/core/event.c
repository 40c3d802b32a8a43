/* event.c - events in words, for logs and for whoever is on call. */
#include "mend.h"

#include <inttypes.h>
#include <stdio.h>

size_t mend_event_text(const mend_event *event, char *text, size_t size)
{
    const mend_server *s = event->server;
    int                n = -1;

    switch (event->type) {
    case MEND_EVENT_DOWN:
        n = snprintf(text, size, "%s is down: %s", s->name, s->why);
        break;
    case MEND_EVENT_BACK:
        n = snprintf(text, size, "%s serves again, after %" PRId64 ".%03d s (%s)", s->name, event->outage_ms / 1000, (int)(event->outage_ms % 1000), s->why);
        break;
    case MEND_EVENT_JOURNAL_OVERFLOW:
        n = snprintf(text, size, "%s missed more writes than could be noted: %s", s->name, s->why);
        break;
    case MEND_EVENT_ALL_DOWN:
        n = snprintf(text, size, "every server is down, perhaps it is our own network; the last was %s: %s", s->name, s->why);
        break;
    case MEND_EVENT_AUTH_REFUSED:
        n = snprintf(text, size, "%s is down until user and password are mended, here or there: %s", s->name, s->why);
        break;
    }
    if (n < 0) /* an event of a later version's */
        n = snprintf(text, size, "%s: event %d", s->name, (int)event->type);
    return (size_t)n;
}
