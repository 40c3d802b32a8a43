/* test_routing.c - the list of servers changes: which of them are kept, and when the old is freed. Over a world where nothing
 * runs: the test is the healer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/discovery.h"
#include "client/healer.h"

/* ---- A world where nothing runs ---- */

static size_t promised; /* sockets */

static nstime now(struct io *io)
{
    (void)io;
    return MS(1000);
}

static uint64_t chance(struct io *io)
{
    (void)io;
    return 1;
}

static bool room(struct io *io, size_t sockets)
{
    (void)io;
    promised = sockets;
    return true;
}

static void nothing(struct io *io)
{
    (void)io;
}

static void wake(struct io *io, _Atomic uint32_t *word, uint32_t whom, bool all)
{
    (void)io;
    (void)word;
    (void)whom;
    (void)all;
}

static struct io_thread *spawn(struct io *io, void (*run)(void *), void (*abandoned)(void *), void *arg)
{
    (void)run;
    (void)abandoned;
    (void)arg;
    return (struct io_thread *)io;
}

static bool join(struct io *io, struct io_thread *t, nstime deadline)
{
    (void)io;
    (void)t;
    (void)deadline;
    return true;
}

static bool is_me(struct io *io, const struct io_thread *t)
{
    (void)io;
    (void)t;
    return false;
}

static struct io still = {.now = now, .random = chance, .room = room, .ring = nothing, .wake = wake, .spawn = spawn, .join = join, .is_me = is_me, .free = nothing};

static struct io *begin(const struct world *world, const struct io_options *options)
{
    (void)world;
    promised = options->sockets_max;
    return &still;
}

static _Atomic uint32_t words[2];

static _Atomic uint32_t *fork_words(const struct world *world)
{
    (void)world;
    return words;
}

static void fork_words_free(const struct world *world, _Atomic uint32_t *page)
{
    (void)world;
    page[0] = page[1] = 0;
}

static const struct world world = {begin, fork_words, fork_words_free};

/* ---- Memory: counted, and running out ---- */

static size_t blocks;
static int    allocations_left = -1; /* below 0: any number */

static void *allocate(size_t bytes, void *context)
{
    (void)context;
    if (allocations_left == 0)
        return NULL;
    if (allocations_left > 0)
        allocations_left--;
    blocks++;
    return malloc(bytes);
}

static void *reallocate(void *p, size_t bytes, void *context)
{
    if (!p)
        return allocate(bytes, context);
    return allocations_left == 0 ? NULL : realloc(p, bytes);
}

static void release(void *p, void *context)
{
    (void)context;
    blocks--;
    free(p);
}

/* ---- The client under test ---- */

static mend_client *c;

static int opens(void **state)
{
    (void)state;
    return client_open(&MEND_CONFIG(.servers = "a,b,c:5", .allocator = {allocate, reallocate, release, NULL}), &world, &c, NULL);
}

static int closes(void **state)
{
    (void)state;
    mend_close(c);
    return blocks != 0;
}

static struct life *life(void)
{
    return atomic_load(&c->life);
}

static struct server *at(size_t i)
{
    return atomic_load(&life()->routing)->at[i];
}

static size_t alive(void)
{
    return atomic_load(&life()->server_count);
}

static bool reap(void)
{
    return routing_reap(life(), routing_replaced(life()), NULL);
}

static void change(const char *to)
{
    assert_int_equal(mend_set_servers(c, to, NULL), MEND_OK);
}

/* ---- The stories ---- */

static void servers_of_both_lists_are_kept(void **state)
{
    (void)state;
    struct server *a = at(0), *b = at(1), *five = at(2);

    change("c:5*3, d, a:11211");
    assert_ptr_equal(at(0), five);
    assert_ptr_equal(at(2), a);
    assert_string_equal(at(1)->spec->name, "d:11211");
    assert_true(at(1) != b);
    assert_int_equal(at(0)->weight, 3);
    assert_int_equal(at(0)->id, five->id);
    assert_true(b->left);
    assert_false(a->left || five->left || at(1)->left);
    assert_int_equal(atomic_load(&life()->routing)->count, 3);
}

static void ids_are_not_used_again(void **state)
{
    (void)state;
    uint64_t was = at(1)->id;

    change("a");
    change("a,b");
    assert_int_not_equal(at(1)->id, was);
    assert_false(at(1)->left);
    assert_int_equal(at(1)->health.state, MEND_STATE_NEW);
    assert_int_equal(journal_count(&at(1)->journal), 0);
}

static void a_journal_is_kept_with_its_server(void **state)
{
    (void)state;
    struct server *b = at(1);

    journal_note(&b->journal, mend_str("k"), MS(1), ZOMBIE_NONE);
    change("x,b,y");
    assert_ptr_equal(at(1), b);
    assert_int_not_equal(journal_holds(&b->journal, mend_str("k"), NULL), 0);
}

static void what_is_not_pinned_is_freed(void **state)
{
    (void)state;
    change("a");
    assert_int_equal(alive(), 3);
    assert_false(reap());
    assert_int_equal(alive(), 1);
    assert_false(reap()); /* nothing to do */
}

static void what_is_pinned_is_not(void **state)
{
    (void)state;
    struct pin     old = routing_pin(life());
    struct server *b = old.routing->at[1];

    change("a");
    struct pin new = routing_pin(life());
    assert_int_equal(new.routing->count, 1);
    for (int i = 0; i < 3; i++)
        assert_true(reap());
    assert_string_equal(b->spec->name, "b:11211"); /* there yet */
    assert_int_equal(alive(), 3);
    routing_unpin(old);
    reap();
    routing_unpin(new); /* it may have been counted in with the old one */
    assert_false(reap());
    assert_int_equal(alive(), 1);
}

/* Who has read the word and counts itself in only later is not missed by the change after. */
static void who_counts_in_late_is_waited_for(void **state)
{
    (void)state;
    struct pin first = routing_pin(life()), late;

    change("a,b");
    assert_true(reap()); /* waits for `first`, on the other counter by now */
    late = (struct pin){atomic_load(&life()->routing), first.counted};
    atomic_fetch_add(late.counted, 1);
    routing_unpin(first);
    assert_true(reap()); /* `late` cannot be told from it */
    change("a");
    for (int i = 0; i < 4; i++)
        assert_true(reap());
    assert_string_equal(late.routing->at[1]->spec->name, "b:11211");
    routing_unpin(late);
    for (int i = 0; i < 4 && reap(); i++)
        continue;
    assert_int_equal(alive(), 1);
}

/* Calls come all the time, each before the one before it has gone. */
static void traffic_without_a_gap_holds_nothing_up(void **state)
{
    (void)state;
    struct pin one = routing_pin(life());

    change("a");
    for (int i = 0; i < 8; i++) {
        struct pin next = routing_pin(life());
        routing_unpin(one);
        one = next;
        reap();
    }
    assert_int_equal(alive(), 1);
    routing_unpin(one);
}

static void a_server_that_comes_back_while_it_is_drained_is_another(void **state)
{
    (void)state;
    struct pin     held = routing_pin(life());
    struct server *b = at(1);

    change("a,c:5");
    change("a,b,c:5");
    assert_true(at(1) != b);
    assert_true(b->left);
    assert_false(at(1)->left);
    assert_int_equal(alive(), 4);
    routing_unpin(held);
    while (reap())
        continue;
    assert_int_equal(alive(), 3);
}

static void a_bad_list_changes_nothing(void **state)
{
    static const char *const bad[] = {NULL, "", "a,,b", "a b", "a:0", "a*0", "a,b=a"};
    (void)state;
    struct routing *before = atomic_load(&life()->routing);
    mend_reply      r = MEND_REPLY;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mend_set_servers(c, bad[i], &r), MEND_E_ARGUMENT);
        assert_int_equal(strncmp(r.error, "servers: ", 9), 0);
        assert_ptr_equal(atomic_load(&life()->routing), before);
    }
    mend_reply_free(&r);
    assert_int_equal(mend_set_servers(NULL, "a", NULL), MEND_E_ARGUMENT);
    assert_int_equal(alive(), 3);
}

static void want_of_memory_changes_nothing(void **state)
{
    (void)state;
    struct routing *before = atomic_load(&life()->routing);
    size_t          blocks_before = blocks;
    int             n = 0;

    for (allocations_left = 0; mend_set_servers(c, "x,a,y,b,z", NULL) == MEND_E_MEMORY; allocations_left = ++n) {
        assert_ptr_equal(atomic_load(&life()->routing), before);
        assert_int_equal(alive(), 3);
        assert_int_equal(blocks, blocks_before);
        assert_false(at(0)->left || at(1)->left || at(2)->left);
    }
    allocations_left = -1;
    assert_true(n > 10);
    assert_int_equal(alive(), 6);
    assert_true(atomic_load(&life()->routing) != before);
}

static void sockets_are_promised_for_all(void **state)
{
    (void)state;
    enum { EACH = 64 + HEALER_SOCKETS };

    change("a,x,y");
    assert_int_equal(promised, 5 * EACH + DISCOVERY_SOCKETS); /* those that have left included */
    while (reap())
        continue;
    change("a,x,y,z");
    assert_int_equal(promised, 4 * EACH + DISCOVERY_SOCKETS);
}

int main(void)
{
#define STORY(f) cmocka_unit_test_setup_teardown(f, opens, closes)
    const struct CMUnitTest tests[] = {
        STORY(servers_of_both_lists_are_kept),
        STORY(ids_are_not_used_again),
        STORY(a_journal_is_kept_with_its_server),
        STORY(what_is_not_pinned_is_freed),
        STORY(what_is_pinned_is_not),
        STORY(who_counts_in_late_is_waited_for),
        STORY(traffic_without_a_gap_holds_nothing_up),
        STORY(a_server_that_comes_back_while_it_is_drained_is_another),
        STORY(a_bad_list_changes_nothing),
        STORY(want_of_memory_changes_nothing),
        STORY(sockets_are_promised_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
