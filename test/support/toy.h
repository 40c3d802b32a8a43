/* toy.h - a toy memcached's mind: one request in, what is proper to say out, over a small memory of its own.
 *
 * Knows no sockets, no threads, and of time what it is told by toy_time: nothing expires by itself. It speaks enough meta
 * and classic to be taken for a memcached. Used as
 *
 *     toy_parse    one request, as arrived: its words, key and body
 *     toy_answer   does it to the memory, and fills in the answer
 *     toy_done     gives back what the ask has kept, after the last request
 *
 * An ask begins zeroed, and serves for one request after the other.
 * said_key and said_opaque, set in between, are echoed in place of the truth: lies.
 */
#ifndef SUPPORT_TOY_H
#define SUPPORT_TOY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOY_WORDS = 4096, TOY_LINE_MAX = 64 << 10, TOY_BODY_MAX = 16 << 20 };

enum toy_dialect {
    TOY_META,    /* 1.6.18: meta and classic */
    TOY_BARE,    /* 1.6.10 to 1.6.17: the same, but a miss says neither key nor opaque */
    TOY_OLD,     /* 1.6.6: OK for HD, no base64 */
    TOY_CLASSIC, /* ERROR to meta */
    TOY_PROXY    /* twemproxy: closes on meta, which is its owner's to do */
};

struct toy;

struct toy *toy_new(void);
void        toy_free(struct toy *t); /* NULL is nothing to do */
void        toy_forget_all(struct toy *t);
void        toy_time(struct toy *t, int64_t now_s); /* it is so late now; what has expired is gone */
void        toy_put(struct toy *t, const char *key, const char *value);
/* The value of a key, NULL if there is none; it is the toy's, until the next request. */
const char *toy_get(const struct toy *t, const char *key, size_t key_length, size_t *length);

int64_t     toy_left_s(const struct toy *t, const char *key, size_t key_length); /* that it has to live; -1: for ever, or it is not there */
bool        toy_stale(const struct toy *t, const char *key, size_t key_length); /* made so by md I, and not stored since */

struct toy_ask {
    void       *from; /* whoever parses may keep here whose request it is */
    struct toy *toy;
    char        line[TOY_LINE_MAX];
    char       *word[TOY_WORDS]; /* of the request line: word[0] is the command */
    int         words;
    bool        meta;
    char        key[256]; /* the first one, decoded */
    size_t      key_length;
    const char *body; /* of a store; it lies where it was parsed */
    size_t      body_length;

    const char *said_key;    /* echoed in place of the key, where one is echoed */
    const char *said_opaque; /* the same for the opaque */
    const char *lease;       /* what an mg is told of it: " W", " Z", " X W" and so on */

    char  *answer; /* the ask's, until the next answer; "" if the request was quiet */
    size_t length;
    size_t room; /* for the answer */
};

#define TOY_NONSENSE SIZE_MAX

/* The request at bytes[0..n): how many bytes it has; 0: it is not all there; TOY_NONSENSE: it never will be. */
size_t toy_parse(struct toy_ask *ask, struct toy *t, enum toy_dialect dialect, const char *bytes, size_t n);
void   toy_answer(struct toy_ask *ask, enum toy_dialect dialect);
void   toy_done(struct toy_ask *ask);

bool        toy_is(const struct toy_ask *ask, const char *commands); /* "ma incr decr" */
const char *toy_flag(const struct toy_ask *ask, char flag); /* of a meta request: what it carries, "" if nothing, NULL: it is not there */
void        toy_echo(const struct toy_ask *ask, char *out, size_t room); /* " O17 kname": those of O and k that were asked for */

#endif
