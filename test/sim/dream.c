/* dream.c - see dream.h. */
#include "sim/dream.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined __SANITIZE_ADDRESS__
#define FIBERS 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define FIBERS 1
#endif
#endif
#ifdef FIBERS
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    STACK_BYTES = 256 * 1024,
    THREADS_MAX = 64,
    TURNS_MAX = 3 * 1000 * 1000, /* more than any life needs by far: beyond it somebody spins */
};

struct dream_thread {
    struct dream *dream;
    ucontext_t    context;
    char         *stack;
    void         *fake_stack;
    void (*run)(void *);
    void *arg;
    bool  started, ended;
    bool (*ready)(void *);
    void  *ready_arg;
    nstime deadline;
    bool   was_ready;
};

struct event {
    nstime   when;
    uint64_t number; /* of two at the same time, the first that was asked for */
    void (*what)(void *);
    void *arg;
};

struct dream {
    uint64_t             random[4];
    nstime               now;
    FILE                *story;
    uint64_t             digest, notes, turns, numbers;
    char                 failure[512];
    struct dream_thread *threads[THREADS_MAX], *running;
    unsigned             thread_count, alive;
    ucontext_t           scheduler;
    void                *fake_stack;
    const void          *bottom;
    size_t               bottom_size;
    struct event        *events; /* a heap, the next first */
    size_t               event_count, event_room;
    unsigned             stalls;
    nstime               stall_most;
    void (*stall_told)(nstime, void *);
    void *stall_arg;
};

/* ---- Chance: xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64 ---- */

static uint64_t turn_left(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

uint64_t dream_chance(struct dream *d)
{
    uint64_t *s = d->random, result = turn_left(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = turn_left(s[3], 45);
    return result;
}

uint64_t dream_below(struct dream *d, uint64_t n)
{
    return n ? dream_chance(d) % n : 0;
}

bool dream_permille(struct dream *d, unsigned of_a_thousand)
{
    return of_a_thousand && dream_below(d, 1000) < of_a_thousand;
}

nstime dream_between(struct dream *d, nstime lo, nstime hi)
{
    return lo + (nstime)dream_below(d, (uint64_t)(hi - lo) + 1);
}

/* ---- Notes ---- */

static void digest(struct dream *d, const char *text)
{
    for (; *text; text++)
        d->digest = (d->digest ^ (unsigned char)*text) * 0x100000001B3u; /* FNV-1a */
}

void dream_note(struct dream *d, const char *format, ...)
{
    char    text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->notes++;
    d->digest = (d->digest ^ (uint64_t)d->now) * 0x100000001B3u;
    digest(d, text);
    if (d->story)
        fprintf(d->story, "%11.6f  %s\n", (double)d->now / 1e9, text);
}

uint64_t dream_digest(const struct dream *d)
{
    return d->digest;
}

uint64_t dream_notes(const struct dream *d)
{
    return d->notes;
}

void dream_fail(struct dream *d, const char *format, ...)
{
    va_list args;

    if (d->failure[0])
        return;
    va_start(args, format);
    vsnprintf(d->failure, sizeof d->failure, format, args);
    va_end(args);
    dream_note(d, "FAILED: %s", d->failure);
}

bool dream_failed(const struct dream *d)
{
    return d->failure[0] != '\0';
}

/* ---- Time ---- */

nstime dream_now(const struct dream *d)
{
    return d->now;
}

void dream_stalls(struct dream *d, unsigned of_a_thousand)
{
    d->stalls = of_a_thousand;
}

void dream_on_stall(struct dream *d, nstime most, void (*told)(nstime, void *), void *arg)
{
    d->stall_most = most;
    d->stall_told = told;
    d->stall_arg = arg;
}

static bool sooner(const struct event *a, const struct event *b)
{
    return a->when != b->when ? a->when < b->when : a->number < b->number;
}

static void swap(struct event *a, struct event *b)
{
    struct event t = *a;
    *a = *b;
    *b = t;
}

void dream_at(struct dream *d, nstime when, void (*what)(void *), void *arg)
{
    if (d->event_count == d->event_room) {
        d->event_room = d->event_room ? d->event_room * 2 : 64;
        d->events = realloc(d->events, d->event_room * sizeof *d->events);
    }
    size_t i = d->event_count++;
    d->events[i] = (struct event){when, d->numbers++, what, arg};
    for (; i && sooner(&d->events[i], &d->events[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&d->events[i], &d->events[(i - 1) / 2]);
}

static struct event next_event(struct dream *d)
{
    struct event first = d->events[0];

    d->events[0] = d->events[--d->event_count];
    for (size_t i = 0;;) {
        size_t least = i, child = 2 * i + 1;
        if (child < d->event_count && sooner(&d->events[child], &d->events[least]))
            least = child;
        if (child + 1 < d->event_count && sooner(&d->events[child + 1], &d->events[least]))
            least = child + 1;
        if (least == i)
            return first;
        swap(&d->events[i], &d->events[least]);
        i = least;
    }
}

/* ---- Threads ---- */

static void switch_to(struct dream *d, struct dream_thread *t)
{
    d->running = t;
#ifdef FIBERS
    __sanitizer_start_switch_fiber(&d->fake_stack, t->stack, STACK_BYTES);
#endif
    swapcontext(&d->scheduler, &t->context);
#ifdef FIBERS
    __sanitizer_finish_switch_fiber(d->fake_stack, NULL, NULL);
#endif
    d->running = NULL;
}

/* Back to the scheduler; last: for good. */
static void switch_back(struct dream_thread *t, bool last)
{
    struct dream *d = t->dream;
#ifdef FIBERS
    __sanitizer_start_switch_fiber(last ? NULL : &t->fake_stack, d->bottom, d->bottom_size);
#endif
    (void)last;
    swapcontext(&t->context, &d->scheduler);
#ifdef FIBERS
    __sanitizer_finish_switch_fiber(t->fake_stack, &d->bottom, &d->bottom_size);
#endif
}

static void thread_main(unsigned high, unsigned low)
{
    struct dream_thread *t = (struct dream_thread *)((uintptr_t)high << 32 | low);
#ifdef FIBERS
    __sanitizer_finish_switch_fiber(NULL, &t->dream->bottom, &t->dream->bottom_size);
#endif
    t->run(t->arg);
    t->ended = true;
    t->dream->alive--;
    switch_back(t, true);
}

struct dream_thread *dream_thread(struct dream *d, void (*run)(void *), void *arg)
{
    struct dream_thread *t = calloc(1, sizeof *t);

    if (!t || d->thread_count == THREADS_MAX)
        abort();
    *t = (struct dream_thread){.dream = d, .run = run, .arg = arg, .deadline = d->now};
    t->stack = malloc(STACK_BYTES);
    getcontext(&t->context);
    t->context.uc_stack = (stack_t){.ss_sp = t->stack, .ss_size = STACK_BYTES};
    t->context.uc_link = NULL;
    makecontext(&t->context, (void (*)(void))thread_main, 2, (unsigned)((uintptr_t)t >> 32), (unsigned)(uintptr_t)t);
    d->threads[d->thread_count++] = t;
    d->alive++;
    return t;
}

struct dream_thread *dream_self(struct dream *d)
{
    return d->running;
}

bool dream_ended(const struct dream_thread *t)
{
    return t->ended;
}

unsigned dream_alive(const struct dream *d)
{
    return d->alive;
}

bool dream_wait(struct dream *d, bool (*ready)(void *), void *arg, nstime deadline)
{
    struct dream_thread *t = d->running;

    t->ready = ready;
    t->ready_arg = arg;
    t->deadline = deadline;
    switch_back(t, false);
    return t->was_ready;
}

void dream_yield(struct dream *d)
{
    dream_wait(d, NULL, NULL, d->now);
}

static bool may_go_on(struct dream_thread *t)
{
    t->was_ready = t->ready && t->ready(t->ready_arg);
    return t->was_ready || t->dream->now >= t->deadline;
}

/* One of those that may go on, by chance; NULL: none may. */
static struct dream_thread *choose(struct dream *d)
{
    struct dream_thread *may[THREADS_MAX];
    size_t               n = 0;

    for (unsigned i = 0; i < d->thread_count; i++)
        if (!d->threads[i]->ended && may_go_on(d->threads[i]))
            may[n++] = d->threads[i];
    return n ? may[dream_below(d, n)] : NULL;
}

/* The clock jumps to whatever comes next: a thread's deadline or an event. False: nothing ever will. */
static bool jump(struct dream *d)
{
    nstime next = d->event_count ? d->events[0].when : NEVER;

    for (unsigned i = 0; i < d->thread_count; i++)
        if (!d->threads[i]->ended)
            next = time_earlier(next, d->threads[i]->deadline);
    if (next == NEVER)
        return false;
    if (next > d->now)
        d->now = next;
    return true;
}

/* The next event, if it is due by then. */
static bool run_event(struct dream *d, nstime until)
{
    if (!d->event_count || d->events[0].when > until)
        return false;
    struct event e = next_event(d);
    if (e.when > d->now)
        d->now = e.when;
    e.what(e.arg);
    return true;
}

/* The world goes on while the process does not. */
static void stall(struct dream *d)
{
    if (!dream_permille(d, d->stalls))
        return;
    nstime by = dream_between(d, 0, d->stall_most), until = d->now + by;
    dream_note(d, "the process is stopped for %.3f ms", (double)by / 1e6);
    while (run_event(d, until))
        ;
    d->now = until;
    d->stall_told(by, d->stall_arg);
}

const char *dream_run(struct dream *d)
{
    while (d->alive && !dream_failed(d)) {
        while (run_event(d, d->now))
            ;
        struct dream_thread *t = choose(d);
        if (t) {
            stall(d);
            switch_to(d, t);
        } else if (!jump(d))
            dream_fail(d, "every thread waits for ever");
        if (++d->turns > TURNS_MAX)
            dream_fail(d, "a thread spins: %llu turns", (unsigned long long)d->turns);
    }
    return dream_failed(d) ? d->failure : NULL;
}

struct dream *dream_new(uint64_t seed, FILE *story)
{
    struct dream *d = calloc(1, sizeof *d);

    if (!d)
        abort();
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        d->random[i] = z ^ z >> 31;
    }
    d->now = MS(1000);
    d->story = story;
    d->digest = 0xCBF29CE484222325u;
    return d;
}

void dream_free(struct dream *d)
{
    for (unsigned i = 0; i < d->thread_count; i++) {
        free(d->threads[i]->stack);
        free(d->threads[i]);
    }
    free(d->events);
    free(d);
}
