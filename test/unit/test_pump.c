/* test_pump.c - the loop between a connection and its socket, over a world that only counts: no one system call is asked
 * to move more than whoever waits for the clock can afford.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world/pump.h"

enum { PORTION_BYTES = (1 << 20) + (1 << 14), LARGE_BYTES = 10 << 20 };

/* A world that takes all that it is given, and says what it was told to say. */
struct counting {
    struct io          io;
    const struct conn *asks; /* answers come once all of its question went */
    const char        *says;
    size_t             left;
    size_t             sent, most_sent, most_room;
    unsigned           moments; /* that were waited for */
};

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

static int dial(struct io *io, struct io_sock *s, const struct io_address *to, struct io_peer *peer)
{
    (void)io;
    (void)to;
    (void)peer;
    s->fd = 0;
    return IO_DONE;
}

static ptrdiff_t takes(struct io *io, struct io_sock *s, const mend_bytes *spans, size_t n)
{
    struct counting *w = (struct counting *)io;
    size_t           length = 0;
    (void)s;
    for (size_t i = 0; i < n; i++)
        length += spans[i].len;
    w->sent += length;
    w->most_sent = length > w->most_sent ? length : w->most_sent;
    return (ptrdiff_t)length;
}

static ptrdiff_t says(struct io *io, struct io_sock *s, struct conn_span *room, size_t n)
{
    struct counting *w = (struct counting *)io;
    size_t           space = 0, said = 0;
    mend_bytes       pending[3];
    (void)s;
    if (conn_pending(w->asks, pending) > 0)
        return IO_AGAIN;
    for (size_t i = 0; i < n; i++) {
        size_t length = room[i].len < w->left ? room[i].len : w->left;
        memcpy(room[i].data, w->says, length);
        w->says += length;
        w->left -= length;
        said += length;
        space += room[i].len;
    }
    w->most_room = space > w->most_room ? space : w->most_room;
    return said ? (ptrdiff_t)said : IO_AGAIN;
}

static ptrdiff_t says_soon(struct io *io, struct io_sock *s, struct conn_span *room, size_t n, nstime at, nstime deadline)
{
    (void)at;
    (void)deadline;
    ptrdiff_t said = says(io, s, room, n);
    return said == IO_AGAIN ? IO_CLOSED : said;
}

static ptrdiff_t says_in_a_moment(struct io *io, struct io_sock *s, struct conn_span *room, size_t n, nstime at, nstime deadline)
{
    (void)at;
    (void)deadline;
    ((struct counting *)io)->moments++;
    return says(io, s, room, n);
}

static int all_are_ready(struct io *io, struct io_poll *polls, size_t n, nstime deadline, bool bell)
{
    (void)io;
    (void)deadline;
    (void)bell;
    for (size_t i = 0; i < n; i++)
        polls[i].ready = polls[i].sock != NULL;
    return (int)n;
}

static void closes(struct io *io, struct io_sock *s, bool reset)
{
    (void)io;
    (void)s;
    (void)reset;
}

static const struct io counting = {
    .now = now, .random = chance, .dial = dial, .send = takes, .recv = says_soon, .recv_soon = says_in_a_moment, .recv_now = says, .poll = all_are_ready, .close = closes,
};

static void run(struct link *l, struct counting *w, const char *answer, size_t n)
{
    w->says = answer;
    w->left = n;
    link_run(l, &w->io, MS(1000), MS(2000));
    if (l->conn.state != CONN_READY)
        fail_msg("%s", l->conn.why);
    assert_int_equal(w->left, 0);
}

static void a_large_value_goes_and_comes_in_portions(void **state)
{
    (void)state;
    struct memory        memory = memory_from(NULL);
    struct link          l = {.sock = IO_SOCK_CLOSED};
    struct counting      w = {.io = counting, .asks = &l.conn};
    struct answer        a = {.value.memory = &memory};
    struct wire_question set = {.verb = WIRE_SET, .key = mend_str("key")}, get = {.verb = WIRE_GET, .key = mend_str("key")};
    char                *value = calloc(1, LARGE_BYTES), *answer = malloc(LARGE_BYTES + 100);
    assert_true(value && answer);
    conn_init(&l.conn, &memory, mend_str("trial"), LARGE_BYTES);
    assert_true(link_dial(&l, &w.io, &(struct io_address){.len = 1}, WIRE_CLASSIC));
    run(&l, &w, "END\r\n", 5);

    answer_reset(&a);
    set.value = mend_mem(value, LARGE_BYTES);
    w.sent = 0;
    assert_int_equal(conn_ask(&l.conn, &set, &a), MEND_OK);
    run(&l, &w, "STORED\r\n", 8);
    assert_int_equal(a.status, MEND_OK);
    assert_true(w.sent > LARGE_BYTES);
    assert_true(w.most_sent <= PORTION_BYTES);

    int n = sprintf(answer, "VALUE key 0 %d 1\r\n", LARGE_BYTES);
    memcpy(answer + n, value, LARGE_BYTES);
    memcpy(answer + n + LARGE_BYTES, "\r\nEND\r\n", 7);
    answer_reset(&a);
    assert_int_equal(conn_ask(&l.conn, &get, &a), MEND_OK);
    run(&l, &w, answer, (size_t)n + LARGE_BYTES + 7);
    assert_int_equal(a.status, MEND_OK);
    assert_int_equal(a.value.len, LARGE_BYTES);
    assert_true(w.most_room <= PORTION_BYTES + PORTION_BYTES / 4); /* and what comes behind the value, with it */

    link_close(&l, &w.io, false);
    conn_release(&l.conn);
    buf_release(&a.value);
    free(value);
    free(answer);
}

static void who_does_not_answer_is_waited_for_but_a_moment(void **state)
{
    (void)state;
    struct memory        memory = memory_from(NULL);
    struct link          l = {.sock = IO_SOCK_CLOSED}, *links[] = {&l};
    struct counting      w = {.io = counting, .asks = &l.conn};
    struct answer        a = {.value.memory = &memory};
    struct wire_question get = {.verb = WIRE_GET, .key = mend_str("key")};
    conn_init(&l.conn, &memory, mend_str("trial"), LARGE_BYTES);
    assert_true(link_dial(&l, &w.io, &(struct io_address){.len = 1}, WIRE_CLASSIC));
    run(&l, &w, "END\r\n", 5);

    answer_reset(&a);
    assert_int_equal(conn_ask(&l.conn, &get, &a), MEND_OK);
    assert_false(link_hear_all(links, 1, &w.io, MS(2000)));
    assert_int_equal(w.moments, 1);
    assert_true(w.sent > 0 && !a.done);
    w.says = "END\r\n";
    w.left = 5;
    assert_true(link_hear_all(links, 1, &w.io, MS(2000)));
    assert_int_equal(a.status, MEND_MISS);
    assert_int_equal(w.moments, 2);

    link_close(&l, &w.io, false);
    conn_release(&l.conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_value_goes_and_comes_in_portions),
        cmocka_unit_test(who_does_not_answer_is_waited_for_but_a_moment),
    };
    return cmocka_run_group_tests_name("pump", tests, NULL, NULL);
}
