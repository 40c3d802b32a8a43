/* test_tls.c - TLS: certificates good and bad, handshakes that hang, sessions, and what only TLS does on a connection.
 *
 * Against memcacheds that speak it, sometimes behind a proxy, and a terminator of the tests' own for what memcached does not do.
 * That every call works over TLS is in test_commands.c, and faults under traffic are in test_faults.c.
 */
#include "support/certificates.h"
#include "support/hostile.h"
#include "support/memcached.h"
#include "support/proxy.h"
#include "support/terminator.h"
#include "support/wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#define S(text) mend_str(text)
enum { TIMEOUT_MS = 200, PATIENT_MS = 10000 };

/* ---- One server and one client, and what is told of them ---------------------------------------------------- */
static struct stage {
    struct secured     secured;
    struct memcached   m;
    struct proxy      *proxy;
    struct terminator *terminator;
    mend_client       *c;
    mend_reply         r;
    char               name[128];

    atomic_uint downs, backs;
    char        why[256]; /* of the last DOWN */
} stage;

static void hears(const mend_event *event, void *context)
{
    (void)context;
    if (event->type == MEND_EVENT_DOWN) {
        snprintf(stage.why, sizeof stage.why, "%s", event->server->why);
        stage.downs++;
    }
    stage.backs += event->type == MEND_EVENT_BACK;
}

static int rises(void **state)
{
    (void)state;
    stage = (struct stage){.r = MEND_REPLY};
    secured_begin(&stage.secured);
    return 0;
}

static int falls(void **state)
{
    (void)state;
    mend_close(stage.c);
    mend_reply_free(&stage.r);
    terminator_stop(stage.terminator);
    proxy_stop(stage.proxy);
    memcached_stop(&stage.m);
    secured_end(&stage.secured);
    return 0;
}

static void serve(const char *more_args)
{
    char args[384];
    snprintf(args, sizeof args, "%s %s", stage.secured.args, more_args);
    memcached_start(&stage.m, "127.0.0.1", args);
    snprintf(stage.name, sizeof stage.name, "%s", stage.m.name);
}

static void serve_behind_proxy(void)
{
    serve("");
    stage.proxy = proxy_start("127.0.0.1", stage.m.host, stage.m.port);
    snprintf(stage.name, sizeof stage.name, "tls://%s", proxy_name(stage.proxy));
}

static void serve_behind_terminator(int version_max)
{
    memcached_start(&stage.m, "127.0.0.1", NULL);
    stage.terminator = terminator_start(stage.secured.server_file, stage.m.port, version_max);
    snprintf(stage.name, sizeof stage.name, "%s", terminator_name(stage.terminator));
}

static mend_config config(int timeout_ms)
{
    return MEND_CONFIG(.servers = stage.name, .tls = &stage.secured.tls, .timeout_ms = timeout_ms, .on_event = hears);
}

static void open_client(int timeout_ms)
{
    mend_config wanted = config(timeout_ms);
    stage.c = open_up(&wanted);
}

static void works(void)
{
    must_be(MEND_OK, mend_set(stage.c, S("k"), S("v"), NULL, &stage.r), &stage.r);
    assert_string_equal(stage.r.server, stage.name);
    must_be(MEND_OK, mend_get(stage.c, S("k"), &stage.r), &stage.r);
    assert_string_equal(stage.r.data, "v");
}

/* ---- Certificates --------------------------------------------------------------------------------------------- */
static const struct bad {
    const char        *name, *why;
    struct certificate certificate;
    bool               of_a_stranger; /* an authority that nobody knows */
    const char        *server_name;
} bads[] = {
    {.name = "a certificate for another name", .why = "for another name", .certificate = {.names = "DNS:cache.example,IP:127.0.0.2"}},
    {.name = "a certificate without a name", .why = "for another name", .certificate = {.names = NULL}},
    {.name = "an address is no name", .why = "for another name", .certificate = {.names = "DNS:127.0.0.1"}},
    {.name = "a server_name that it is not for", .why = "for another name", .certificate = {.names = "IP:127.0.0.1"}, .server_name = "cache.example"},
    {.name = "an expired certificate", .why = "has expired", .certificate = {.names = "IP:127.0.0.1", .from_s = -7200, .until_s = -60}},
    {.name = "a certificate of tomorrow", .why = "not valid yet", .certificate = {.names = "IP:127.0.0.1", .from_s = 24 * 3600, .until_s = 48 * 3600}},
    {.name = "a certificate by a stranger", .why = "by nobody who is trusted", .certificate = {.names = "IP:127.0.0.1"}, .of_a_stranger = true},
};

/* Told clearly and once, in the state and the event; calls return at once; and once it is a good one, all is well. */
static void a_bad_certificate(void **state)
{
    const struct bad *bad = *state;
    struct authority *stranger = authority_new("a stranger");
    certificate_write(bad->of_a_stranger ? stranger : stage.secured.ca, stage.secured.server_file, &bad->certificate);
    authority_free(stranger);
    stage.secured.tls.server_name = bad->server_name;
    serve("");
    mend_config wanted = config(PATIENT_MS);
    must_be(MEND_OK, mend_open(&wanted, &stage.c, &stage.r), &stage.r);

    await(stage.downs == 1, SOON_MS);
    must(strstr(stage.why, bad->why), "the event says: %s", stage.why);
    must_be(MEND_E_DOWN, mend_get(stage.c, S("k"), &stage.r), &stage.r);
    await(seen_at(stage.c, 0).since_ms > 100, SOON_MS); /* some trials later */
    struct seen seen = seen_at(stage.c, 0);
    must(strstr(seen.why, bad->why), "the state says: %s", seen.why);
    assert_string_equal(seen.name, stage.name);
    assert_int_equal(stage.downs, 1);

    const char *good = bad->server_name ? "DNS:cache.example" : "IP:127.0.0.1";
    certificate_write(stage.secured.ca, stage.secured.server_file, &(struct certificate){.names = good});
    memcached_restart(&stage.m);
    await(all_up(stage.c), SOON_MS);
    await(stage.backs == 1, SOON_MS);
    works();
}

static void verification_can_be_turned_off(void **state)
{
    (void)state;
    certificate_write(stage.secured.ca, stage.secured.server_file, &(struct certificate){.names = "DNS:x", .from_s = -7200, .until_s = -60});
    stage.secured.tls = (mend_tls){.insecure_no_verification = true};
    serve("");
    open_client(PATIENT_MS);
    works();
}

/* The system's authorities know nothing of the tests' own. */
static void without_a_ca_file(void **state)
{
    (void)state;
    stage.secured.tls = (mend_tls){0};
    serve("");
    mend_config wanted = config(PATIENT_MS);
    must_be(MEND_OK, mend_open(&wanted, &stage.c, &stage.r), &stage.r);
    await(stage.downs == 1, SOON_MS);
    must(strstr(stage.why, "by nobody who is trusted here (ca_file)"), "%s", stage.why);
}

static void names_and_addresses(void **state)
{
    static const struct {
        const char *names, *host, *server_name;
    } rows[] = {
        {"DNS:localhost", "localhost", NULL},
        {"DNS:*.cache.example", "127.0.0.1", "a.cache.example"},
        {"DNS:*.cache.example", "127.0.0.1", "a.cache.example."}, /* it is whole, says the dot, which certificates do not have */
        {"IP:127.0.0.9", "127.0.0.1", "127.0.0.9"},
        {"IP:::9", "localhost", "::9"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        certificate_write(stage.secured.ca, stage.secured.server_file, &(struct certificate){.names = rows[i].names});
        stage.secured.tls.server_name = rows[i].server_name;
        serve("");
        snprintf(stage.name, sizeof stage.name, "tls://%s:%d", rows[i].host, stage.m.port);
        open_client(PATIENT_MS);
        works();
        mend_close(stage.c);
        stage.c = NULL;
        memcached_stop(&stage.m);
    }
}

/* A client's certificate: not given, not by whom the server trusts, given. */
static void a_certificate_of_ours(void **state)
{
    char ours[64], theirs[64], args[128];
    (void)state;
    snprintf(ours, sizeof ours, "%s/ours.pem", stage.secured.directory);
    snprintf(theirs, sizeof theirs, "%s/theirs.pem", stage.secured.directory);
    struct authority *stranger = authority_new("a stranger");
    certificate_write(stage.secured.ca, ours, &(struct certificate){.names = "DNS:client"});
    certificate_write(stranger, theirs, &(struct certificate){.names = "DNS:client"});
    authority_free(stranger);
    snprintf(args, sizeof args, "-o ssl_verify_mode=2 -o ssl_ca_cert=%s", stage.secured.ca_file);
    serve(args);

    const char *shown[] = {NULL, theirs};
    for (unsigned i = 0; i < 2; i++) {
        stage.secured.tls.certificate_file = shown[i];
        mend_config wanted = config(PATIENT_MS);
        must_be(MEND_OK, mend_open(&wanted, &stage.c, &stage.r), &stage.r);
        await(stage.downs == i + 1, SOON_MS);
        must(strstr(stage.why, "certificate_file"), "%s: %s", shown[i] ? "a stranger's" : "none", stage.why);
        mend_close(stage.c);
    }
    stage.c = NULL;
    stage.secured.tls.certificate_file = ours;
    open_client(PATIENT_MS);
    works();
    unlink(ours);
    unlink(theirs);
}

/* Copies all of a file but its last bytes behind what is there. */
static void add_to_file(const char *path, const char *from, size_t less)
{
    char   bytes[8192];
    FILE  *in = fopen(from, "r"), *out = fopen(path, "a");
    size_t n = fread(bytes, 1, sizeof bytes, in);
    assert_true(n > less && fwrite(bytes, 1, n - less, out) == n - less);
    fclose(in);
    fclose(out);
}

static void what_is_wrong_with_the_settings(void **state)
{
    static char long_name[257];
    memset(long_name, 'x', sizeof long_name - 1);
    char *ca = stage.secured.ca_file, *server = stage.secured.server_file, *servers = (char *)"tls://127.0.0.1:1", locked[64], empty[64], cut[64], cut_chain[64];
    (void)state;
    snprintf(locked, sizeof locked, "%s/locked.pem", stage.secured.directory);
    snprintf(empty, sizeof empty, "%s/empty.pem", stage.secured.directory);
    snprintf(cut, sizeof cut, "%s/cut.pem", stage.secured.directory);
    snprintf(cut_chain, sizeof cut_chain, "%s/cut-chain.pem", stage.secured.directory);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE     *file = fopen(locked, "w");
    PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
    fclose(file);
    fclose(fopen(empty, "w"));
    add_to_file(cut, ca, 0);
    add_to_file(cut, ca, 40);
    add_to_file(cut_chain, server, 0);
    add_to_file(cut_chain, ca, 40);
    EVP_PKEY_free(key);
    const struct {
        const char *servers;
        mend_tls    tls;
        const char *error;
    } rows[] = {
        {servers, {.ca_file = "/no/such/file"}, "tls.ca_file: /no/such/file cannot be read: No such file or directory"},
        {servers, {.ca_file = "/tmp"}, "tls.ca_file: /tmp cannot be read: Is a directory"},
        {servers, {.ca_file = empty}, "tls.ca_file: has no certificate in PEM"},
        {servers, {.ca_file = locked}, "tls.ca_file: has no certificate in PEM"},
        {servers, {.ca_file = cut}, "tls.ca_file: has no certificate in PEM, or one that is not whole"},
        {servers, {.certificate_file = "/no/such/file"}, "tls.certificate_file: /no/such/file cannot be read"},
        {servers, {.certificate_file = empty}, "tls.certificate_file: has no certificate in PEM"},
        {servers, {.certificate_file = cut_chain}, "tls.certificate_file: has no certificate in PEM that can be used, or one that is not whole"},
        {servers, {.certificate_file = ca}, "tls.key_file: is not given, and certificate_file has no private key"},
        {servers, {.certificate_file = server, .key_file = "/no/such/file"}, "tls.key_file: /no/such/file cannot be read"},
        {servers, {.certificate_file = server, .key_file = locked}, "tls.key_file: has no private key in PEM that can be read without a passphrase"},
        {servers, {.certificate_file = ca, .key_file = server}, "tls.key_file: has no private key"},
        {servers, {.key_file = server}, "tls.key_file: is given without a certificate_file"},
        {servers, {.server_name = ""}, "tls.server_name: is empty"},
        {servers, {.server_name = long_name}, "tls.server_name: is longer than 255 bytes"},
        {servers, {.reserved = {[5] = 1}}, "tls.reserved: word 5 is not zero"},
        {"127.0.0.1:1", {.ca_file = ca}, "tls: is given, and no server is listed as tls://"},
    };
    int files = descriptors();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        must_be(MEND_E_ARGUMENT, mend_open(&MEND_CONFIG(.servers = rows[i].servers, .tls = &rows[i].tls), &stage.c, &stage.r), &stage.r);
        must(strncmp(stage.r.error, rows[i].error, strlen(rows[i].error)) == 0, "row %zu: %s, not %s", i, stage.r.error, rows[i].error);
        assert_null(stage.c);
    }
    assert_int_equal(descriptors(), files);
    unlink(locked);
    unlink(empty);
    unlink(cut);
    unlink(cut_chain);
}

/* ---- Handshakes that come to nothing ----------------------------------------------------------------------------- */
static void each_call_ends_by_its_deadline(void)
{
    takes_less_than(TIMEOUT_MS + slack_ms(), assert_true(mend_get(stage.c, S("k"), &stage.r) < 0));
    takes_less_than(TIMEOUT_MS + slack_ms(), assert_true(mend_set(stage.c, S("k"), S("v"), NULL, &stage.r) < 0));
    await(stage.downs == 1, SOON_MS);
    await(mend_get(stage.c, S("k"), &stage.r) == MEND_E_DOWN, SOON_MS);
}

static void a_handshake_that_hangs(void **state)
{
    const struct proxy_fault *fault = *state;
    serve_behind_proxy();
    proxy_set(stage.proxy, fault);
    mend_config wanted = config(TIMEOUT_MS);
    must_be(MEND_OK, mend_open(&wanted, &stage.c, &stage.r), &stage.r);
    each_call_ends_by_its_deadline();
    must(strstr(stage.why, "TLS"), "%s", stage.why);

    proxy_set(stage.proxy, NULL);
    await(all_up(stage.c), SOON_MS);
    await(mend_set(stage.c, S("k"), S("v"), NULL, &stage.r) == MEND_OK, SOON_MS);

    proxy_set(stage.proxy, fault);
    proxy_cut(stage.proxy);
    await(state_of(stage.c, 0) == MEND_STATE_DOWN || state_of(stage.c, 0) == MEND_STATE_TRIAL, SOON_MS);
    takes_less_than(100 + slack_ms(), mend_close(stage.c); stage.c = NULL);
}

static const struct proxy_fault silent = {.silent = true}, held = {.hold = true}, cut_short = {.trickle_ms = {[PROXY_DOWN] = 5}};

static void a_server_that_is_stopped(void **state)
{
    (void)state;
    serve("");
    open_client(TIMEOUT_MS);
    await(mend_set(stage.c, S("k"), S("v"), NULL, &stage.r) == MEND_OK, SOON_MS);
    memcached_pause(&stage.m);
    each_call_ends_by_its_deadline();
    memcached_resume(&stage.m);
    await(all_up(stage.c), SOON_MS);
    await(mend_set(stage.c, S("k"), S("v"), NULL, &stage.r) == MEND_OK, SOON_MS);
}

static void a_server_without_tls(void **state)
{
    (void)state;
    memcached_start(&stage.m, "127.0.0.1", NULL);
    snprintf(stage.name, sizeof stage.name, "tls://%s", stage.m.name);
    mend_config wanted = config(TIMEOUT_MS);
    must_be(MEND_OK, mend_open(&wanted, &stage.c, &stage.r), &stage.r);
    await(stage.downs == 1, SOON_MS);
    must(strstr(stage.why, "TLS"), "%s", stage.why);
    print_message("# %s\n", stage.why);
}

static void a_client_without_tls(void **state)
{
    (void)state;
    serve("");
    must_be(MEND_OK, mend_open(&MEND_CONFIG(.servers = strstr(stage.m.name, "127"), .timeout_ms = TIMEOUT_MS, .on_event = hears), &stage.c, &stage.r), &stage.r);
    await(stage.downs == 1, SOON_MS);
    print_message("# %s\n", stage.why);
    const char *const later[] = {stage.m.name, "tls+dns://pool.example", "tls+cluster://127.0.0.1"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        must_be(MEND_E_ARGUMENT, mend_set_servers(stage.c, later[i], &stage.r), &stage.r);
        must(strstr(stage.r.error, "needs a client that was opened with such a server"), "%s", stage.r.error);
    }
}

/* ---- Sources -------------------------------------------------------------------------------------------------------- */
static enum hostile_next names_a_node(struct toy_ask *ask, void *node)
{
    char config[128];
    if (!toy_is(ask, "config"))
        return hostile_answer(ask);
    int n = snprintf(config, sizeof config, "1\n127.0.0.1||%s\n", (const char *)node);
    hostile_say(ask, "CONFIG cluster 0 %d\r\n%s\r\nEND\r\n", n, config);
    return HOSTILE_GO_ON;
}

/* As ElastiCache with encryption in transit: the endpoint and the nodes. */
static void a_cluster_over_tls(void **state)
{
    (void)state;
    serve("");
    struct hostile *endpoint = hostile_start(HOSTILE_META);
    stage.terminator = terminator_start(stage.secured.server_file, atoi(strchr(hostile_name(endpoint), ':') + 1), 0);
    hostile_behave_all(endpoint, names_a_node, strrchr(stage.m.name, ':') + 1);
    snprintf(stage.name, sizeof stage.name, "tls+cluster://%s", strstr(terminator_name(stage.terminator), "127"));
    open_client(PATIENT_MS);
    snprintf(stage.name, sizeof stage.name, "%s", stage.m.name);
    works();
    await(terminator_counts(stage.terminator).open == 0, SOON_MS);
    assert_int_equal(terminator_counts(stage.terminator).refused, 0);
    mend_close(stage.c);
    stage.c = NULL;

    /* An endpoint that may be anybody is not believed. */
    stage.secured.tls.server_name = "cache.example";
    snprintf(stage.name, sizeof stage.name, "tls+cluster://%s", strstr(terminator_name(stage.terminator), "127"));
    mend_config wanted = config(TIMEOUT_MS);
    must_be(MEND_OK, mend_open(&wanted, &stage.c, &stage.r), &stage.r);
    await(terminator_counts(stage.terminator).refused > 0, SOON_MS);
    must_be(MEND_E_DOWN, mend_get(stage.c, S("k"), &stage.r), &stage.r);
    mend_close(stage.c);
    stage.c = NULL;
    hostile_stop(endpoint);
}

/* The addresses of a name: its certificate is for the name. */
static void a_name_over_tls(void **state)
{
    (void)state;
    certificate_write(stage.secured.ca, stage.secured.server_file, &(struct certificate){.names = "DNS:localhost"});
    serve("");
    snprintf(stage.name, sizeof stage.name, "tls+dns://localhost:%d", stage.m.port);
    mend_config wanted = config(PATIENT_MS);
    must_be(MEND_OK, mend_open(&wanted, &stage.c, &stage.r), &stage.r);
    await(servers_of(stage.c) > 0, SOON_MS);
    size_t i = 0; /* localhost may be ::1, too */
    while (i + 1 < servers_of(stage.c) && strcmp(seen_at(stage.c, i).name, stage.m.name) != 0)
        i++;
    assert_string_equal(seen_at(stage.c, i).name, stage.m.name);
    await(state_of(stage.c, i) == MEND_STATE_UP, SOON_MS);
}

/* ---- Sessions, and what else comes unasked --------------------------------------------------------------------------- */
static const int tls_1_2 = TLS1_2_VERSION, latest = 0;

static void sessions_are_resumed(void **state)
{
    serve_behind_terminator(*(const int *)*state);
    open_client(PATIENT_MS);
    for (unsigned i = 0; i < 3; i++) {
        unsigned shaken = terminator_counts(stage.terminator).shaken;
        works();
        assert_int_equal(terminator_counts(stage.terminator).resumed, i); /* each in turn from what the one before has left */
        terminator_hang_up(stage.terminator);
        await(terminator_counts(stage.terminator).shaken > shaken, SOON_MS); /* the healer sees that its last connection has gone */
        await(all_up(stage.c), SOON_MS);
    }
    works();
    struct terminator_counts counts = terminator_counts(stage.terminator);
    must(counts.resumed == counts.shaken - 1, "%u of %u handshakes", counts.resumed, counts.shaken);
}

/* A terminator that begins again knows no session: the handshake is a whole one, and nothing fails. */
static void a_session_that_the_server_has_forgotten(void **state)
{
    serve("");
    (void)state;
    open_client(PATIENT_MS);
    for (int i = 0; i < 3; i++) {
        works();
        unsigned downs = stage.downs;
        memcached_restart(&stage.m);
        await(stage.downs > downs || all_up(stage.c), SOON_MS);
        await(mend_set(stage.c, S("k"), S("v"), NULL, &stage.r) == MEND_OK, SOON_MS);
    }
}

static void a_new_session_costs_no_connection(void **state)
{
    serve_behind_terminator(0);
    (void)state;
    open_client(PATIENT_MS);
    works();
    unsigned shaken = terminator_counts(stage.terminator).shaken;
    for (int i = 0; i < 4; i++) {
        terminator_give_sessions(stage.terminator);
        terminator_change_keys(stage.terminator);
        pause_ms(15); /* one that has been idle for longer than 10 ms is looked at */
        works();
    }
    await(seen_at(stage.c, 0).since_ms > 1500, SOON_MS); /* the healer has looked at what is idle */
    works();
    assert_int_equal(terminator_counts(stage.terminator).shaken, shaken);
    assert_int_equal(stage.downs, 0);
}

/* But a byte of the application's that nobody asked for does, as in the clear. */
static void a_byte_that_nobody_asked_for(void **state)
{
    serve_behind_terminator(0);
    (void)state;
    open_client(PATIENT_MS);
    works();
    unsigned shaken = terminator_counts(stage.terminator).shaken;
    terminator_blurt(stage.terminator);
    await(terminator_counts(stage.terminator).shaken > shaken, SOON_MS);
    works();
}

/* Keys that change in the middle of much traffic both ways. */
static void keys_change_under_way(void **state)
{
    serve_behind_terminator(0);
    (void)state;
    open_client(PATIENT_MS);
    enum { BYTES = 700 * 1000, KEYS = 8 };
    char      *value = malloc(BYTES);
    mend_item  items[KEYS];
    mend_bytes keys[KEYS];
    const char *names[KEYS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (int i = 0; i < BYTES; i++)
        value[i] = (char)(i * 7 / 5);
    for (int i = 0; i < KEYS; i++) {
        keys[i] = S(names[i]);
        items[i] = (mend_item){.key = keys[i], .value = mend_mem(value, BYTES)};
    }
    mend_replies rs = MEND_REPLIES;
    for (int round = 0; round < 10; round++) {
        terminator_change_keys(stage.terminator);
        must(mend_set_multi(stage.c, items, KEYS, &rs) == MEND_OK, "round %d: %s", round, rs.at[0].error);
        terminator_change_keys(stage.terminator);
        must(mend_get_multi(stage.c, keys, KEYS, &rs) == MEND_OK, "round %d: %s", round, rs.at[0].error);
        for (size_t i = 0; i < KEYS; i++)
            must(rs.at[i].len == BYTES && memcmp(rs.at[i].data, value, BYTES) == 0, "round %d, %s: %zu bytes", round, names[i], rs.at[i].len);
    }
    mend_replies_free(&rs);
    free(value);
}

/* Faster than they can be read: a connection on which nothing else comes is given up. */
static void keys_change_without_end(void **state)
{
    serve_behind_terminator(0);
    (void)state;
    open_client(PATIENT_MS);
    works();
    terminator_flood(stage.terminator);
    int64_t began = now_ms();
    await(mend_set(stage.c, S("k"), S("v"), NULL, &stage.r) == MEND_OK, SOON_MS);
    must(now_ms() - began < 2000 + slack_ms(), "%d ms", (int)(now_ms() - began));
}

/* ---- Want of memory in OpenSSL ------------------------------------------------------------------------------------------- */
static atomic_long until_failure = -1; /* so many allocations go well yet, then one fails; below 0: none does */

static bool fails(void)
{
    return until_failure >= 0 && atomic_fetch_sub(&until_failure, 1) == 0;
}

static _Thread_local bool dawdles; /* this thread stays in OpenSSL, once it allocates there, while... */
static atomic_bool        dawdling, done_dawdling;

static void dawdle(void)
{
    dawdling = true;
    while (!done_dawdling)
        pause_ms(1);
    dawdles = false;
}

static void *poor_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    if (dawdles)
        dawdle();
    return fails() ? NULL : malloc(n);
}

static void *poor_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : realloc(p, n);
}

static void poor_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

/* It is never a mistake of the configuration's. */
static void no_memory_at_open(void **state)
{
    (void)state;
    serve("");
    mend_config wanted = config(PATIENT_MS);
    bool        spent = true;
    for (int n = 0; spent; n += 1 + n / 8) {
        until_failure = n;
        mend_status status = mend_open(&wanted, &stage.c, &stage.r);
        spent = until_failure < 0;
        until_failure = -1;
        must(status == MEND_OK || status == MEND_E_MEMORY, "allocation %d: %s", n, stage.r.error);
        mend_close(stage.c);
        stage.c = NULL;
    }
}

/* Nor the server's fault; and all is well again afterwards. */
static void no_memory_for_a_connection(void **state)
{
    (void)state;
    serve_behind_proxy();
    open_client(PATIENT_MS);
    int blamed = 0, poor = 0;
    for (int n = 0; n < 60; n++) {
        until_failure = n;
        proxy_cut(stage.proxy);
        for (int64_t until = now_ms() + 20; until_failure >= 0 && now_ms() < until;) {
            mend_status status = mend_set(stage.c, S("k"), S("v"), NULL, &stage.r);
            poor += status == MEND_E_MEMORY;
            blamed += status == MEND_E_TIMEOUT || status == MEND_E_PROTOCOL;
        }
        until_failure = -1;
        await(mend_set(stage.c, S("k"), S("v"), NULL, &stage.r) == MEND_OK, SOON_MS);
    }
    must(blamed == 0 && poor > 0, "%d, and %d", blamed, poor);
}

/* ---- With the application's own OpenSSL ------------------------------------------------------------------------------- */
static void errors_are_not_mixed_up(void **state)
{
    (void)state;
    serve("");
    open_client(PATIENT_MS);
    for (int i = 0; i < 3; i++) {
        ERR_raise(ERR_LIB_USER, 42); /* the application left one in this thread's queue */
        works();
        assert_int_equal(ERR_peek_error(), 0);
    }
    mend_close(stage.c);
    stage.c = NULL;
    must_be(MEND_E_ARGUMENT, mend_open(&MEND_CONFIG(.servers = stage.name, .tls = &(mend_tls){.ca_file = "/dev/null"}), &stage.c, &stage.r), &stage.r);
    assert_int_equal(ERR_peek_error(), 0);
}

static void exits_well(pid_t child)
{
    int status = -1;
    await(waitpid(child, &status, WNOHANG) == child, SOON_MS);
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x", (unsigned)status);
}

/* The child makes its own connection, and says no goodbye on the parent's. */
static void a_fork(void **state)
{
    (void)state;
    serve_behind_terminator(0);
    open_client(PATIENT_MS);
    works();
    for (int i = 0; i < 3; i++) {
        unsigned before = terminator_counts(stage.terminator).shaken;
        pid_t    child = fork();
        if (child == 0) {
            alarm(SOON_MS / 1000);
            bool good = mend_get(stage.c, S("k"), &stage.r) == MEND_OK && mend_set(stage.c, S("c"), S("child"), NULL, &stage.r) == MEND_OK;
            if (i == 1)
                mend_close(stage.c);
            _exit(!good);
        }
        exits_well(child);
        unsigned after = terminator_counts(stage.terminator).shaken;
        must(after > before, "the child was served by its parent's connection");
        works();
        must_be(MEND_OK, mend_get(stage.c, S("c"), &stage.r), &stage.r);
        assert_int_equal(terminator_counts(stage.terminator).shaken, after); /* its parent's is as it was */
    }
    assert_int_equal(stage.downs, 0);
    await(terminator_counts(stage.terminator).open == 1, SOON_MS);
    assert_int_equal(terminator_counts(stage.terminator).goodbyes, 1); /* of the child that closed */
    mend_close(stage.c);
    stage.c = NULL;
    await(terminator_counts(stage.terminator).goodbyes == 2, SOON_MS);
}

/* Threads that come to OpenSSL for the first time, and that end, are under a lock of the process's there, which a child would find held. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif
static atomic_bool enough;

static void *comes_and_goes(void *nothing)
{
    mend_reply r = MEND_REPLY;
    must_be(MEND_OK, mend_get(stage.c, S("k"), &r), &r);
    mend_reply_free(&r);
    return nothing;
}

static void *keeps_them_coming(void *nothing)
{
    while (!enough) {
        pthread_t threads[8];
        for (int i = 0; i < 8; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, comes_and_goes, NULL), 0);
        for (int i = 0; i < 8; i++)
            pthread_join(threads[i], NULL);
    }
    return nothing;
}

static void forks_while_threads_come_and_go(void **state)
{
    enum { CHILDREN = 60 };
    pthread_t keeper;
    pid_t     children[CHILDREN];
    (void)state;
    if (sanitized) {
        print_message("# skipped: GCC 12's sanitizers do not hold the locks of their own allocator over a fork\n");
        skip();
    }
    serve("");
    open_client(PATIENT_MS);
    works();
    enough = false;
    assert_int_equal(pthread_create(&keeper, NULL, keeps_them_coming, NULL), 0);
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            alarm(SOON_MS / 1000);
            _exit(mend_get(stage.c, S("k"), &stage.r) != MEND_OK);
        }
        pause_ms(2);
    }
    for (int i = 0; i < CHILDREN; i++)
        exits_well(children[i]);
    enough = true;
    pthread_join(keeper, NULL);
}

static void *opens_slowly(void *nothing)
{
    mend_config  wanted = config(PATIENT_MS);
    mend_client *c = NULL;
    mend_reply   r = MEND_REPLY;
    dawdles = true;
    must_be(MEND_OK, mend_open(&wanted, &c, &r), &r);
    mend_close(c);
    mend_reply_free(&r);
    return nothing;
}

/* Calls for either server: over TLS they come to this, and else they are good. */
static bool come_to(mend_status over_tls, const char *plain)
{
    bool good = true;
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        mend_status status = mend_set(stage.c, S(key), S("v"), NULL, &stage.r);
        bool        as_it_should = status == (strcmp(stage.r.server, plain) == 0 ? MEND_OK : over_tls);
        if (!as_it_should)
            fprintf(stderr, "%s of %s: %s, %s\n", key, stage.r.server, mend_status_name(status), stage.r.error);
        good &= as_it_should;
    }
    return good;
}

/* What it cannot have it says, at once, and hangs nowhere; the servers that need no TLS are served, and the parent is as it was. */
static bool lives_maimed(const char *plain)
{
    static const char why[] = "forked while another thread was in OpenSSL: no TLS before an exec";
    mend_config       wanted = config(PATIENT_MS);
    mend_client      *c = NULL;
    alarm(SOON_MS / 1000);
    bool good = come_to(MEND_E_DOWN, plain) && strstr(stage.why, why) != NULL;
    good &= mend_open(&wanted, &c, &stage.r) == MEND_E_ARGUMENT && strstr(stage.r.error, why) != NULL;
    int64_t began = now_ms();
    mend_close(stage.c);
    return good && now_ms() - began < 100 + slack_ms();
}

static void a_fork_while_a_thread_stays_in_openssl(void **state)
{
    pthread_t        opener;
    struct memcached plain;
    char             both[256];
    (void)state;
    serve("");
    memcached_start(&plain, "127.0.0.1", NULL);
    snprintf(both, sizeof both, "%s,%s", stage.name, plain.name);
    stage.c = open_up(&MEND_CONFIG(.servers = both, .tls = &stage.secured.tls, .timeout_ms = PATIENT_MS, .on_event = hears));
    assert_true(come_to(MEND_OK, plain.name));
    dawdling = done_dawdling = false;
    assert_int_equal(pthread_create(&opener, NULL, opens_slowly, NULL), 0);
    await(dawdling, SOON_MS);
    int64_t began = now_ms();
    pid_t   child = fork();
    if (child == 0)
        _exit(!lives_maimed(plain.name));
    int64_t took = now_ms() - began;
    assert_true(come_to(MEND_OK, plain.name));
    done_dawdling = true;
    pthread_join(opener, NULL);
    exits_well(child);
    must(took < 3000 + slack_ms(), "the fork took %d ms", (int)took);
    assert_true(come_to(MEND_OK, plain.name));
    memcached_stop(&plain);
}

/* An application that ends without mend_close, while the healer shakes hands. */
/* LeakSanitizer asks this before it looks for leaks at an exit. It is asked for none where threads run on meanwhile, since what a thread
 * has that could not be suspended looks lost. */
static volatile bool leaves_threads;
int                  __lsan_is_turned_off(void);
int                  __lsan_is_turned_off(void)
{
    return leaves_threads;
}

static void an_exit_without_a_close(void **state)
{
    (void)state;
    serve("");
    for (int i = 0; i < 10; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(SOON_MS / 1000);
            mend_config wanted = config(PATIENT_MS);
            if (mend_open(&wanted, &stage.c, NULL) == MEND_OK) {
                pause_ms(i / 2);
                leaves_threads = true;
                exit(0);
            }
            _exit(1);
        }
        exits_well(child);
    }
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, rises, falls)
#define ROW(text, test, row) {text, test, rises, falls, (void *)(uintptr_t)(row)}

int main(void)
{
    assert_true(CRYPTO_set_mem_functions(poor_malloc, poor_realloc, poor_free)); /* before OpenSSL's first */
    struct CMUnitTest tests[64] = {
        STAGED(verification_can_be_turned_off),
        STAGED(without_a_ca_file),
        STAGED(names_and_addresses),
        STAGED(a_certificate_of_ours),
        STAGED(what_is_wrong_with_the_settings),
        ROW("a handshake that hangs: nothing is read", a_handshake_that_hangs, &silent),
        ROW("a handshake that hangs: nothing arrives", a_handshake_that_hangs, &held),
        ROW("a handshake that takes too long", a_handshake_that_hangs, &cut_short),
        STAGED(a_server_that_is_stopped),
        STAGED(a_server_without_tls),
        STAGED(a_client_without_tls),
        STAGED(a_cluster_over_tls),
        STAGED(a_name_over_tls),
        ROW("sessions are resumed", sessions_are_resumed, &latest),
        ROW("sessions of TLS 1.2 are resumed", sessions_are_resumed, &tls_1_2),
        STAGED(a_session_that_the_server_has_forgotten),
        STAGED(a_new_session_costs_no_connection),
        STAGED(a_byte_that_nobody_asked_for),
        STAGED(keys_change_under_way),
        STAGED(keys_change_without_end),
        STAGED(no_memory_at_open),
        STAGED(no_memory_for_a_connection),
        STAGED(errors_are_not_mixed_up),
        STAGED(a_fork),
        STAGED(forks_while_threads_come_and_go),
        STAGED(a_fork_while_a_thread_stays_in_openssl),
        STAGED(an_exit_without_a_close),
    };
    size_t n = 0;
    while (tests[n].name)
        n++;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++)
        tests[n++] = (struct CMUnitTest)ROW(bads[i].name, a_bad_certificate, &bads[i]);
    return _cmocka_run_group_tests("tls", tests, n, watch_begins, NULL);
}
