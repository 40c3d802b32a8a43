/* clients.h - the clients that are set side by side, all asked through one small table.
 *
 * A cache is opened once in a process; each thread joins it for a session of its own, gets and sets through that,
 * and leaves. What the client says is told in five words, and in its own code beside them. Who asks knows nothing
 * else of the client; a client knows nothing of faults, threads or figures. Keys and values are ours: short, and
 * without anything that would have to be quoted.
 */
#ifndef OUTAGE_CLIENTS_H
#define OUTAGE_CLIENTS_H

#include <stddef.h>

enum answer {
    ANSWER_FAILED, /* it could not be asked, or did not answer: the application has to fall back */
    ANSWER_HIT,
    ANSWER_MISS,
    ANSWER_STORED,
    ANSWER_REFUSED, /* the server understood, and said no */
};

struct said {
    enum answer answer;
    int         code;  /* the client's own */
    const char *value; /* a hit's, until the session is asked again; else NULL */
    size_t      length;
};

struct client {
    const char *id, *name;

    void *(*open)(const char *servers); /* "host:port,host:port"; NULL: it would not */
    void *(*join)(void *cache);         /* for one thread; NULL: it would not */
    struct said (*get)(void *session, const char *key);
    struct said (*set)(void *session, const char *key, const char *value, size_t length);
    int (*port)(void *session, const char *key); /* of the server that the key lives on while all are well; 0: unknown */
    void (*leave)(void *session);
    void (*close)(void *cache);
    const char *(*words)(int code);
};

enum { CLIENTS = 3 };
extern const struct client *const clients[CLIENTS];

extern const struct client client_mend;                /* client_mend.c */
extern const struct client client_libmemcached;        /* client_libmemcached.c: as it comes */
extern const struct client client_libmemcached_tuned;  /* the same: as its users tune it */

#endif
