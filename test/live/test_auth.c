/* test_auth.c - memcached's ASCII authentication: memcacheds with -Y, and passwords right, wrong, missing and mended. */
#include "support/certificates.h"
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/wait.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define S(text) mend_str(text)
#define PASSWORD "correct-horse"
#define WRONG "battery-staple"
enum { PATIENT_MS = 10000, REFUSED_MS = 10000 };

static struct stage {
    char             directory[32], auth_file[64], other_file[64];
    struct memcached m;
    struct hostile  *h;
    struct secured   secured;
    mend_client     *c;
    mend_reply       r;

    atomic_uint downs, backs, refusals;
    atomic_bool leaked; /* an event had a password in it */
    char        why[256], server[128]; /* of the last refusal */
} stage;

static bool leaks(const char *text)
{
    return strstr(text, PASSWORD) || strstr(text, WRONG);
}

static void hears(const mend_event *event, void *context)
{
    (void)context;
    if (leaks(event->server->why))
        stage.leaked = true;
    if (event->type == MEND_EVENT_AUTH_REFUSED) {
        snprintf(stage.why, sizeof stage.why, "%s", event->server->why);
        snprintf(stage.server, sizeof stage.server, "%s", event->server->name);
        stage.refusals++;
    }
    stage.downs += event->type == MEND_EVENT_DOWN;
    stage.backs += event->type == MEND_EVENT_BACK;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    must(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static int rises(void **state)
{
    (void)state;
    stage = (struct stage){.r = MEND_REPLY, .directory = "/tmp/mend-test-XXXXXX"};
    must(mkdtemp(stage.directory), "no directory: %s", strerror(errno));
    snprintf(stage.auth_file, sizeof stage.auth_file, "%s/users", stage.directory);
    snprintf(stage.other_file, sizeof stage.other_file, "%s/ours", stage.directory);
    return 0;
}

static int falls(void **state)
{
    (void)state;
    mend_close(stage.c);
    mend_reply_free(&stage.r);
    hostile_stop(stage.h);
    memcached_stop(&stage.m);
#ifdef WITH_TLS
    secured_end(&stage.secured);
#endif
    unlink(stage.auth_file);
    unlink(stage.other_file);
    rmdir(stage.directory);
    assert_false(stage.leaked);
    return 0;
}

static void serve(const char *users, const char *more_args)
{
    char args[384];
    write_file(stage.auth_file, users);
    snprintf(args, sizeof args, "-Y %s %s", stage.auth_file, more_args);
    memcached_start(&stage.m, "127.0.0.1", args);
}

static mend_config config(void)
{
    return MEND_CONFIG(.servers = stage.m.name, .timeout_ms = PATIENT_MS, .username = "user", .password = PASSWORD, .on_event = hears);
}

static void works(void)
{
    must_be(MEND_OK, mend_set(stage.c, S("k"), S("v"), NULL, &stage.r), &stage.r);
    must_be(MEND_OK, mend_get(stage.c, S("k"), &stage.r), &stage.r);
    assert_string_equal(stage.r.data, "v");
}

static void the_right_password(void **state)
{
    (void)state;
    serve("other:" WRONG "\nuser:" PASSWORD "\n", "");
    mend_config wanted = config();
    stage.c = open_up(&wanted);
    works();
    assert_string_equal(seen_at(stage.c, 0).protocol, "meta");
    assert_int_equal(stage.refusals, 0);
}

static void from_a_file(void **state)
{
    static const char *files[] = {"user:" PASSWORD, "user:" PASSWORD "\n", "user:" PASSWORD "\r\nsomebody:else\n"};
    (void)state;
    serve("user:" PASSWORD "\n", "");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_file(stage.other_file, files[i]);
        stage.c = open_up(&MEND_CONFIG(.servers = stage.m.name, .timeout_ms = PATIENT_MS, .auth_file = stage.other_file, .on_event = hears));
        works();
        mend_close(stage.c);
        stage.c = NULL;
    }
}

static void opens(const mend_config *wanted)
{
    must_be(MEND_OK, mend_open(wanted, &stage.c, &stage.r), &stage.r);
}

/* Down, told once by an event of its own, and not asked again and again. */
static void is_refused(const char *why)
{
    await(stage.refusals == 1, SOON_MS);
    assert_int_equal(stage.downs, 1);
    must(strcmp(stage.why, why) == 0, "%s", stage.why);
    assert_string_equal(stage.server, stage.m.name);
    must_be(MEND_E_DOWN, mend_get(stage.c, S("k"), &stage.r), &stage.r);
    struct seen seen = seen_at(stage.c, 0);
    must(!leaks(stage.r.error) && !leaks(seen.why), "%s, %s", stage.r.error, seen.why);
    must(seen.next_trial_ms > REFUSED_MS - slack_ms(), "the next trial is due in %d ms", (int)seen.next_trial_ms);
}

static void the_wrong_password(void **state)
{
    (void)state;
    serve("user:" PASSWORD "\n", "");
    mend_config wanted = config();
    wanted.password = WRONG;
    opens(&wanted);
    is_refused("the server refused the user or the password");
}

static void no_password(void **state)
{
    (void)state;
    serve("user:" PASSWORD "\n", "");
    opens(&MEND_CONFIG(.servers = stage.m.name, .timeout_ms = PATIENT_MS, .on_event = hears));
    is_refused("the server wants authentication");
}

/* The server begins again with the password that we have. */
static void is_mended(void **state)
{
    (void)state;
    serve("user:" WRONG "\n", "");
    mend_config wanted = config();
    opens(&wanted);
    is_refused("the server refused the user or the password");
    write_file(stage.auth_file, "user:" PASSWORD "\n");
    memcached_restart(&stage.m);
    await(all_up(stage.c), SOON_MS);
    await(stage.backs == 1, SOON_MS);
    works();
    assert_int_equal(stage.refusals, 1);
}

/* Changed under a client that is up, which finds out by a connection that a call dials: that call hears why, and the healer sees
 * whether it goes for all. */
static void the_password_is_changed(void **state)
{
    (void)state;
    serve("user:" PASSWORD "\n", "");
    mend_config wanted = config();
    wanted.connections_idle_max = MEND_ZERO;
    stage.c = open_up(&wanted);
    works();
    write_file(stage.auth_file, "user:" WRONG "\n");
    kill(stage.m.pid, SIGHUP);
    await(mend_get(stage.c, S("k"), &stage.r) < 0, SOON_MS);
    must_be(MEND_E_AUTH, stage.r.status, &stage.r);
    assert_string_equal(stage.r.error, "the server refused the user or the password");
    await(stage.refusals == 1, SOON_MS);
    is_refused("the server refused the user or the password");
}

/* A memcached without -Y takes the words for a set: it must not have them to give. */
static void a_server_that_asks_for_none(void **state)
{
    (void)state;
    memcached_start(&stage.m, "127.0.0.1", NULL);
    mend_config wanted = config();
    stage.c = open_up(&wanted);
    works();
    must_be(MEND_MISS, mend_get(stage.c, S("mend:auth"), &stage.r), &stage.r);
}

#ifdef WITH_TLS
static void over_tls(void **state)
{
    char args[256];
    (void)state;
    secured_begin(&stage.secured);
    snprintf(args, sizeof args, "%s", stage.secured.args);
    serve("user:" PASSWORD "\n", args);
    mend_config wanted = config();
    wanted.tls = &stage.secured.tls;
    stage.c = open_up(&wanted);
    works();
    mend_close(stage.c);
    stage.c = NULL;
    wanted.password = WRONG;
    opens(&wanted);
    is_refused("the server refused the user or the password");
}
#endif

/* ---- What servers say that complain of it ------------------------------------------------------------------------------ */
static enum hostile_next echoes(struct toy_ask *ask, void *context)
{
    const char *format = context;
    hostile_say(ask, format, PASSWORD);
    return HOSTILE_GO_ON;
}

static void secrets_are_not_repeated(void **state)
{
    static char rude[] = "CLIENT_ERROR the password %s is wrong\r\n", broken[] = "SERVER_ERROR cannot check %s\r\n", odd[] = "ERROR user %s\r\n";
    char       *answers[] = {rude, broken, odd};
    (void)state;
    stage.h = hostile_start(HOSTILE_META);
    snprintf(stage.m.name, sizeof stage.m.name, "%s", hostile_name(stage.h));
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        hostile_behave_all(stage.h, echoes, answers[i]);
        mend_config wanted = config();
        opens(&wanted);
        await(state_of(stage.c, 0) == MEND_STATE_DOWN, SOON_MS);
        must(!leaks(seen_at(stage.c, 0).why), "%s", seen_at(stage.c, 0).why);
        print_message("# %s\n", seen_at(stage.c, 0).why);
        mend_close(stage.c);
        stage.c = NULL;
    }
    /* Nor later, to another question. */
    hostile_behave_all(stage.h, NULL, NULL);
    mend_config wanted = config();
    stage.c = open_up(&wanted);
    hostile_behave(stage.h, echoes, broken);
    must_be(MEND_E_SERVER, mend_set(stage.c, S("k"), S("v"), NULL, &stage.r), &stage.r);
    must(!leaks(stage.r.error), "%s", stage.r.error);
    assert_string_equal(stage.r.error, "SERVER_ERROR (with the password in it)");
}

/* ---- Mistakes ------------------------------------------------------------------------------------------------------------ */
static void what_is_wrong_with_the_settings(void **state)
{
    static char long_word[252];
    memset(long_word, 'x', 251);
    (void)state;
    const struct {
        mend_config config;
        const char *file, *error;
    } rows[] = {
        {MEND_CONFIG(.username = "user"), NULL, "password: is not given, and username is"},
        {MEND_CONFIG(.password = PASSWORD), NULL, "username: is not given, and password is"},
        {MEND_CONFIG(.username = "", .password = PASSWORD), NULL, "username: is not of 1 to 250 bytes"},
        {MEND_CONFIG(.username = "user", .password = ""), NULL, "password: is not of 1 to 250 bytes"},
        {MEND_CONFIG(.username = "us er", .password = PASSWORD), NULL, "username: has white space"},
        {MEND_CONFIG(.username = "user", .password = PASSWORD "\n"), NULL, "password: has white space"},
        {MEND_CONFIG(.username = "user", .password = long_word), NULL, "password: is not of 1 to 250 bytes"},
        {MEND_CONFIG(.username = "user", .password = PASSWORD, .auth_file = "/dev/null"), NULL, "auth_file: is given beside"},
        {MEND_CONFIG(.auth_file = "/no/such/file"), NULL, "auth_file: /no/such/file cannot be read: No such file or directory"},
        {MEND_CONFIG(.auth_file = stage.other_file), "", "auth_file: its first line is not user:password"},
        {MEND_CONFIG(.auth_file = stage.other_file), PASSWORD "\nuser:" PASSWORD "\n", "auth_file: its first line is not user:password"},
        {MEND_CONFIG(.auth_file = stage.other_file), "user:\n", "auth_file: the password in its first line: is not of 1 to 250 bytes"},
        {MEND_CONFIG(.auth_file = stage.other_file), ":" PASSWORD "\n", "auth_file: the user in its first line: is not of 1 to 250 bytes"},
        {MEND_CONFIG(.auth_file = stage.other_file), "user:" PASSWORD " \n", "auth_file: the password in its first line: has white space"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mend_config wanted = rows[i].config;
        wanted.servers = "127.0.0.1:1";
        write_file(stage.other_file, rows[i].file ? rows[i].file : "");
        must_be(MEND_E_ARGUMENT, mend_open(&wanted, &stage.c, &stage.r), &stage.r);
        must(strncmp(stage.r.error, rows[i].error, strlen(rows[i].error)) == 0, "row %zu: %s, not %s", i, stage.r.error, rows[i].error);
        assert_false(leaks(stage.r.error));
        assert_null(stage.c);
    }
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, rises, falls)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(the_right_password),
        STAGED(from_a_file),
        STAGED(the_wrong_password),
        STAGED(no_password),
        STAGED(is_mended),
        STAGED(the_password_is_changed),
        STAGED(a_server_that_asks_for_none),
#ifdef WITH_TLS
        STAGED(over_tls),
#endif
        STAGED(secrets_are_not_repeated),
        STAGED(what_is_wrong_with_the_settings),
    };
    return cmocka_run_group_tests(tests, watch_begins, NULL);
}
