/* open.c - the face: opening and closing. What a configuration may say, and in which words it is refused.
 *
 * Nothing here waits for the network: the healer tries the servers from the moment that it runs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/calls.h"
#include "client/number.h"
#include "client/reply.h"
#include "core/key.h"

/* Where mend_open says what is wrong. */
struct complaint {
    char text[256];
};

/* ---- The configuration ---- */

#define FIELD(f) #f, offsetof(mend_config, f)

static const struct number numbers[] = {
    {FIELD(timeout_ms), 100, 24 * 60 * 60 * 1000, false},
    {FIELD(connections_idle_max), 2, 10000, true},
    {FIELD(connections_max), 64, 10000, false},
    {FIELD(failures_allowed), 10, 1000000, true},
    {FIELD(heal_max_ms), 1000, 60 * 60 * 1000, false},
    {FIELD(journal_keys_max), 65536, 100000000, false},
    {FIELD(zombie_ms), 1000, 60 * 60 * 1000, true},
    {FIELD(compress_above_bytes), 0, INT32_MAX, true},
    {FIELD(gutter_ttl_s), 10, 30 * 24 * 60 * 60, false}, /* more is absolute to memcached */
    {FIELD(resolve_s), 60, 7 * 24 * 60 * 60, true},
    {FIELD(tcp_keepalive_s), 60, 32767, true},
    {FIELD(tcp_user_timeout_ms), -1, 24 * 60 * 60 * 1000, true}, /* by default it follows timeout_ms */
};

static bool refuse(struct complaint *complaint, const char *format, const char *name, int64_t value)
{
    snprintf(complaint->text, sizeof complaint->text, format, name, value);
    return false;
}

static bool fill_number(mend_config *config, const struct number *n, struct complaint *complaint)
{
    int said;

    switch (number_fill(config, n, &said)) {
    case NUMBER_GOOD:
        break;
    case NUMBER_ZERO:
        return refuse(complaint, "%s: cannot be zero", n->name, 0);
    case NUMBER_NEGATIVE:
        return refuse(complaint, "%s: is negative (%" PRId64 ")", n->name, said);
    case NUMBER_LARGE:
        return refuse(complaint, "%s: is too large (%" PRId64 ")", n->name, said);
    }
    return true;
}

static bool fill_numbers(mend_config *config, struct complaint *complaint)
{
    enum { USER_TIMEOUTS = 10, USER_TIMEOUT_LEAST_MS = 1000 };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!fill_number(config, &numbers[i], complaint))
            return false;
    if (config->tcp_user_timeout_ms < 0) {
        int64_t follows = (int64_t)config->timeout_ms * USER_TIMEOUTS;
        config->tcp_user_timeout_ms = (int)(follows < USER_TIMEOUT_LEAST_MS ? USER_TIMEOUT_LEAST_MS : follows > INT32_MAX ? INT32_MAX : follows);
    }
    if (config->value_max_bytes == 0)
        config->value_max_bytes = 64 * 1024 * 1024;
    if (config->journal_bytes_max == 0)
        config->journal_bytes_max = 64 * 1024 * 1024;
    if (config->journal_bytes_max < 0)
        return refuse(complaint, "%s: is negative or zero (%" PRId64 ")", "journal_bytes_max", config->journal_bytes_max);
    if (config->value_max_bytes < 0)
        return refuse(complaint, "%s: is negative or zero (%" PRId64 ")", "value_max_bytes", config->value_max_bytes);
    return true;
}

static bool check(const mend_config *config, struct complaint *complaint)
{
    const mend_allocator *a = &config->allocator;
    int                   hooks = (a->allocate != NULL) + (a->reallocate != NULL) + (a->release != NULL);

    if (hooks != 0 && hooks != 3)
        return refuse(complaint, "%s: give all three functions or none (%" PRId64 " given)", "allocator", hooks);
    for (size_t i = 0; i < sizeof config->reserved / sizeof *config->reserved; i++)
        if (config->reserved[i])
            return refuse(complaint, "%s: word %" PRId64 " is not zero", "reserved", (int64_t)i);
    if ((int)config->distribution < 0 || config->distribution > MEND_DISTRIBUTION_CRC32)
        return refuse(complaint, "%s: there is no such distribution (%" PRId64 ")", "distribution", config->distribution);
    if ((int)config->on_journal_overflow < 0 || config->on_journal_overflow > MEND_ON_OVERFLOW_REFUSE)
        return refuse(complaint, "%s: there is no such choice (%" PRId64 ")", "on_journal_overflow", config->on_journal_overflow);
    bool binary;
    const char *why;
    mend_bytes  key = mend_str(config->trial_key ? config->trial_key : "mend:trial");
    if (check_key(NULL, key, &binary, &why) != MEND_OK || binary || key.len > KEY_BINARY_MAX)
        return refuse(complaint, "%s: is not a plain key of 1 to %" PRId64 " bytes", "trial_key", KEY_BINARY_MAX);
    mend_bytes prefix = mend_str(config->prefix);
    if (prefix.len && (key_kind(prefix) != KEY_PLAIN || prefix.len >= KEY_BINARY_MAX)) /* a binary key has a byte behind it yet */
        return refuse(complaint, "%s: has spaces, control characters, bytes above 126, or more than %" PRId64 " bytes", "prefix", KEY_BINARY_MAX - 1);
    return true;
}

/* ---- Opening ---- */

/* A copy, which the client frees; NULL: no memory. */
static char *keep(struct mend_client *c, const char *text)
{
    size_t size = strlen(text) + 1;
    char  *copy = memory_allocate(&c->memory, size);

    return copy ? memcpy(copy, text, size) : NULL;
}

static bool keep_texts(struct mend_client *c, const mend_config *config)
{
    c->trial_key_text = keep(c, config->trial_key ? config->trial_key : "mend:trial");
    c->prefix_text = keep(c, config->prefix ? config->prefix : "");
    if (!c->trial_key_text || !c->prefix_text)
        return false;
    c->config.trial_key = c->trial_key_text;
    c->trial_key = mend_str(c->trial_key_text);
    c->config.prefix = c->prefix_text;
    c->prefix = mend_str(c->prefix_text);
    c->hash_prefix = config->prefix_unhashed ? mend_mem(NULL, 0) : c->prefix;
    return true;
}

const char *client_in_gutter(const struct mend_client *c, const struct servers *list)
{
    for (size_t i = 0; i < c->gutter.count; i++)
        for (size_t k = 0; k < list->count; k++)
            if (servers_same(&c->gutter.at[i], &list->at[k]))
                return list->at[k].name;
    return NULL;
}

/* The gutter's list has the grammar of servers, and its own name in what is said of it. */
static mend_status build_gutter(struct mend_client *c, const mend_config *config, const struct servers *list, struct complaint *complaint)
{
    struct complaint wrong;

    if (!config->gutter)
        return MEND_OK;
    mend_status status = servers_parse(&c->gutter, config->gutter, &c->memory, wrong.text, sizeof wrong.text);
    if (status) {
        refuse(complaint, "gutter%s", wrong.text + strlen("servers"), 0);
        return status;
    }
    const char *both = client_in_gutter(c, list);
    if (both) {
        refuse(complaint, "gutter: %s is one of servers, too", both, 0);
        return MEND_E_ARGUMENT;
    }
    c->gutter_ring = ring_build(&c->gutter, config->distribution, &c->memory);
    if (c->gutter_ring)
        return MEND_OK;
    refuse(complaint, "%s", "out of memory for the client", 0);
    return MEND_E_MEMORY;
}

/* Only a client that knows packed values has anything to do with them. */
static mend_status build_values(struct mend_client *c, struct complaint *complaint)
{
    struct codec codec;
    const char  *why;

    if (codec_from(&codec, &c->config, &why) != MEND_OK) {
        snprintf(complaint->text, sizeof complaint->text, "%s", why);
        return MEND_E_ARGUMENT;
    }
    if (!codec.bits)
        return MEND_OK;
    c->values = values_new(&codec, &c->config, &c->memory);
    if (c->values)
        return MEND_OK;
    refuse(complaint, "%s", "out of memory for the client", 0);
    return MEND_E_MEMORY;
}

/* Without a server that is listed so, settings for TLS are most likely a tls:// that was forgotten. */
static mend_status load_tls(struct mend_client *c, const mend_tls *tls, const struct listing *homes, struct complaint *complaint)
{
    if (listing_wants_tls(homes) || servers_want_tls(&c->gutter))
        return tls_load(tls, &c->tls, complaint->text, sizeof complaint->text);
    if (!tls)
        return MEND_OK;
    refuse(complaint, "%s", "tls: is given, and no server is listed as tls://... or tls+...", 0);
    return MEND_E_ARGUMENT;
}

static void wipe(char *secret)
{
    for (volatile char *p = secret; p && *p; p++) /* volatile: else the compiler sees that nobody reads it again */
        *p = '\0';
}

static bool check_word(const char *field, const char *word, size_t len, struct complaint *complaint)
{
    enum { WORD_MAX = 250 };

    if (len == 0 || len > WORD_MAX)
        return refuse(complaint, "%s: is not of 1 to %" PRId64 " bytes", field, WORD_MAX);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)word[i] <= ' ' || word[i] == 0x7f)
            return refuse(complaint, "%s: has white space or a control character in it, which memcached takes for its end", field, 0);
    return true;
}

/* No word of them gets into a complaint. */
static mend_status keep_credentials(struct mend_client *c, const char *user, size_t user_len, const char *password, size_t password_len,
                                    const char *fields[2], struct complaint *complaint)
{
    if (!check_word(fields[0], user, user_len, complaint) || !check_word(fields[1], password, password_len, complaint))
        return MEND_E_ARGUMENT;
    char *text = memory_allocate(&c->memory, user_len + 1 + password_len + 1);
    if (!text) {
        refuse(complaint, "%s", "out of memory for the client", 0);
        return MEND_E_MEMORY;
    }
    memcpy(text, user, user_len);
    text[user_len] = ' ';
    memcpy(text + user_len + 1, password, password_len);
    text[user_len + 1 + password_len] = '\0';
    c->credentials_text = text;
    c->credentials = mend_str(text);
    return MEND_OK;
}

/* The first line of the file: user:password, as memcached's own -Y has them. */
static mend_status load_auth_file(struct mend_client *c, const char *path, struct complaint *complaint)
{
    static const char *fields[] = {"auth_file: the user in its first line", "auth_file: the password in its first line"};
    char              *text;
    size_t             len;
    const char        *why = io_read_file(path, &c->memory, &text, &len);

    if (why) {
        snprintf(complaint->text, sizeof complaint->text, "auth_file: %.100s cannot be read: %s", path, why);
        return MEND_E_ARGUMENT;
    }
    size_t      line = strcspn(text, "\r\n"), user = strcspn(text, ":\r\n");
    mend_status status = MEND_E_ARGUMENT;
    if (text[user] != ':')
        refuse(complaint, "%s", "auth_file: its first line is not user:password", 0);
    else
        status = keep_credentials(c, text, user, text + user + 1, line - user - 1, fields, complaint);
    wipe(text);
    memory_release(&c->memory, text);
    return status;
}

static mend_status load_credentials(struct mend_client *c, const mend_config *config, struct complaint *complaint)
{
    static const char *fields[] = {"username", "password"};
    bool               given = config->username || config->password;

    c->config.username = c->config.password = c->config.auth_file = NULL;
    if (given && config->auth_file)
        refuse(complaint, "%s", "auth_file: is given beside username and password", 0);
    else if (config->auth_file)
        return load_auth_file(c, config->auth_file, complaint);
    else if (!given)
        return MEND_OK;
    else if (!config->password)
        refuse(complaint, "%s", "password: is not given, and username is", 0);
    else if (!config->username)
        refuse(complaint, "%s", "username: is not given, and password is", 0);
    else
        return keep_credentials(c, config->username, strlen(config->username), config->password, strlen(config->password), fields, complaint);
    return MEND_E_ARGUMENT;
}

/* On failure the client is to be freed. */
static mend_status build(struct mend_client *c, const mend_config *config, mend_client **client, struct complaint *complaint)
{
    c->config = *config;
    c->config.servers = c->config.gutter = NULL;
    c->config.tls = NULL;
    if (!fill_numbers(&c->config, complaint))
        return MEND_E_ARGUMENT;

    mend_status status = build_values(c, complaint);
    if (!status)
        status = load_credentials(c, config, complaint);
    if (status)
        return status;
    if (!keep_texts(c, config)) {
        refuse(complaint, "%s", "out of memory for the client", 0);
        return MEND_E_MEMORY;
    }
    c->page = c->world->fork_words(c->world);
    if (!c->page) {
        refuse(complaint, "%s", "no page that tells a fork (MADV_WIPEONFORK, Linux 4.14) is to be had", 0);
        return MEND_E_MEMORY;
    }
    struct listing list;
    status = listing_parse(&list, config->servers, &c->memory, complaint->text, sizeof complaint->text);
    if (status)
        return status;
    status = build_gutter(c, config, &list.servers, complaint);
    if (!status)
        status = load_tls(c, config->tls, &list, complaint);
    if (status) {
        listing_free(&list);
        return status;
    }
    *client = c; /* on_event may run before life_begin returns, and asks with it */
    if (!life_begin(c, &list)) {
        *client = NULL;
        refuse(complaint, "%s", "no memory, descriptor or thread for the client is to be had", 0);
        return MEND_E_MEMORY;
    }
    return MEND_OK;
}

static mend_status try_open(const mend_config *config, const struct world *world, mend_client **client, struct complaint *complaint)
{
    if (!check(config, complaint))
        return MEND_E_ARGUMENT;

    struct memory       memory = memory_from(&config->allocator);
    struct mend_client *c = memory_zeroed(&memory, 1, sizeof *c);
    if (!c) {
        refuse(complaint, "%s", "out of memory for the client", 0);
        return MEND_E_MEMORY;
    }
    c->memory = memory;
    c->world = world;
    mend_status status = build(c, config, client, complaint);
    if (status)
        client_free(c);
    return status;
}

mend_status client_open(const mend_config *config, const struct world *world, mend_client **client, mend_reply *reply)
{
    struct complaint complaint = {""};
    mend_status      status = MEND_E_ARGUMENT;
    struct memory    memory = memory_from(NULL);

    if (client)
        *client = NULL;
    if (!client)
        refuse(&complaint, "%s", "client: is NULL", 0);
    else if (!config)
        refuse(&complaint, "%s", "config: is NULL", 0);
    else if (config->size != sizeof *config)
        refuse(&complaint, "%s: is %" PRId64 ", which is no mend_config that this library knows", "size", (int64_t)config->size);
    else {
        int before = cancel_off();
        status = try_open(config, world, client, &complaint);
        cancel_restore(before);
    }
    if (!reply)
        return status;

    if (status == MEND_OK)
        memory = (*client)->memory;
    struct reply_own *own = reply_begin(reply, &memory);
    if (!own) { /* a client that is open stays open: only the reply has no memory */
        reply->status = status;
        reply->error = status ? mend_status_text(status) : "";
        return status;
    }
    memcpy(own->error, complaint.text, sizeof own->error);
    answer_fail(&own->answer, status, own->error);
    return reply_end(reply, own);
}

mend_status mend_open(const mend_config *config, mend_client **client, mend_reply *reply)
{
    return client_open(config, &world_posix, client, reply);
}

/* ---- Closing ---- */

void client_free(struct mend_client *c)
{
    struct memory memory = c->memory;

    if (c->page)
        c->world->fork_words_free(c->world, c->page);
    ring_free(c->gutter_ring);
    values_free(c->values);
    servers_free(&c->gutter);
    tls_unload(c->tls);
    wipe(c->credentials_text);
    memory_release(&memory, c->credentials_text);
    memory_release(&memory, c->trial_key_text);
    memory_release(&memory, c->prefix_text);
    memory_release(&memory, c);
}

void mend_close(mend_client *c)
{
    if (!c)
        return;
    struct life *life = atomic_load(&c->life);
    if (atomic_load(&life->telling) && life->io->is_me(life->io, life->healer))
        return;
    int before = cancel_off();
    if (life_end(c))
        client_free(c);
    cancel_restore(before);
}
