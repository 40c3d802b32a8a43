/* history.h - what happened when: what was done to the servers, and what mend said of them.
 *
 * Written by whoever saw it, from any thread. Knows no files and draws nothing.
 */
#ifndef DEMO_HISTORY_H
#define DEMO_HISTORY_H

#include <mend.h>
#include <pthread.h>

#include "calls.h"

enum history_kind {
    HISTORY_KILLED,  /* a server's process is dead... */
    HISTORY_STOPPED, /* ...or stopped... */
    HISTORY_CURED,   /* ...and serves again */
    HISTORY_DOWN,    /* mend's on_event said that it is down... */
    HISTORY_BACK,    /* ...and back */
    HISTORY_WRONG,   /* an answer was not the truth */
};

struct history_event {
    int64_t           at_ns;
    enum history_kind kind;
    int               server; /* -1: no one server */
    char              text[120];
};

struct history_state { /* from then on mend_servers said this of that server */
    int64_t    at_ns;
    int        server;
    mend_state state;
};

struct history {
    pthread_mutex_t       lock;
    struct history_event *events;
    size_t                events_count;
    struct history_state *states;
    size_t                states_count;
};

void    history_open(struct history *h);
void    history_close(struct history *h);
void    history_note(struct history *h, enum history_kind kind, int server, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void    history_saw(struct history *h, int server, mend_state state);
int64_t history_first(struct history *h, enum history_kind kind, int server, int64_t after_ns); /* -1: none */

/* Copies what was noted since the first `from`, up to n events; returns how many. */
size_t history_since(struct history *h, size_t from, struct history_event *to, size_t n);

#endif
