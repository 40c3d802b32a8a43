/* dream.h - a dreamt machine: threads that are coroutines, a clock that jumps, chance from one seed.
 *
 * Knows no network and no memcached. Exactly one coroutine runs at a time, and gives way only
 * where it waits; among those that may go on, chance chooses; when none may, the clock jumps to the next
 * event. So one seed is one run: everything that happens is noted, and the digest of the notes says
 * whether two runs were the same.
 *
 *     struct dream *d = dream_new(seed, story);
 *     dream_thread(d, caller, &something);
 *     dream_at(d, MS(100), break_something, it);
 *     const char *trouble = dream_run(d);          until every thread has ended
 */
#ifndef SIM_DREAM_H
#define SIM_DREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/time.h"

struct dream;
struct dream_thread;

/* story: where the notes are printed, or NULL. */
struct dream *dream_new(uint64_t seed, FILE *story);
void          dream_free(struct dream *d);

nstime   dream_now(const struct dream *d);
/* Before a thread goes on, in so many of a thousand turns, the clock goes on for a while, as when a process is stopped. */
void     dream_stalls(struct dream *d, unsigned of_a_thousand);
void     dream_on_stall(struct dream *d, nstime most, void (*told)(nstime by, void *arg), void *arg);
uint64_t dream_chance(struct dream *d);            /* 64 random bits */
uint64_t dream_below(struct dream *d, uint64_t n); /* 0 to n - 1 */
bool     dream_permille(struct dream *d, unsigned of_a_thousand);
nstime   dream_between(struct dream *d, nstime lo, nstime hi);

/* Something that happened: part of the digest, and of the story. */
void     dream_note(struct dream *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t dream_digest(const struct dream *d);
uint64_t dream_notes(const struct dream *d);

/* What must not be: the first is kept, and ends the run. */
void dream_fail(struct dream *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool dream_failed(const struct dream *d);

/* Threads. dream_wait gives way until ready(arg) says yes (NULL: never) or the deadline; true: it was ready. */
struct dream_thread *dream_thread(struct dream *d, void (*run)(void *), void *arg);
struct dream_thread *dream_self(struct dream *d);
bool                 dream_ended(const struct dream_thread *t);
unsigned             dream_alive(const struct dream *d);
bool                 dream_wait(struct dream *d, bool (*ready)(void *), void *arg, nstime deadline);
void                 dream_yield(struct dream *d);

/* Calls what(arg) at that time, or as soon as no thread runs. */
void dream_at(struct dream *d, nstime when, void (*what)(void *), void *arg);

/* Runs until every thread has ended. Returns what went wrong, or NULL. */
const char *dream_run(struct dream *d);

#endif
