/* web.c - a small web service with a cache in front of SQLite.
 *
 *     cc web.c -o web $(pkg-config --cflags --libs mend libmicrohttpd sqlite3)
 *     ./web notes.db 8080 10.0.0.1,10.0.0.2
 *
 *     curl -X PUT 'http://127.0.0.1:8080/today?text=milk'    writes a note
 *     curl -i http://127.0.0.1:8080/today                    reads it; X-From says where from
 *
 * What it shows: mend_fetch has the fallback built in, so no request knows whether
 * memcached is up. While it is down notes come from SQLite, without waiting for it;
 * a write goes to SQLite, and then out of the cache; and when memcached is back, no
 * note is served that was overwritten meanwhile.
 */
#include <mend.h>

#include <arpa/inet.h>
#include <microhttpd.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, PATH_BYTES_MAX = 200, LOCKED_MS = 500 };

static mend_client *cache;
static sqlite3     *db; /* one for all threads: SQLite has them take turns */

/* ---- The database: a note's key is its path ---- */

/* Runs a statement with one or two parameters (text may be NULL). The first column of its first row, if there is one, goes to out. */
static int run(const char *sql, mend_bytes path, const char *text, mend_loaded *out)
{
    sqlite3_stmt *s = NULL;
    int           result = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_bind_text(s, 1, path.data, (int)path.len, SQLITE_STATIC);
    if (result == SQLITE_OK && text)
        result = sqlite3_bind_text(s, 2, text, -1, SQLITE_STATIC);
    if (result == SQLITE_OK)
        result = sqlite3_step(s);
    if (result == SQLITE_ROW && mend_loaded_set(out, mend_mem(sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0))) < 0)
        result = SQLITE_NOMEM;
    sqlite3_finalize(s);
    return result;
}

/* mend_fetch calls this on a miss, for one caller at a time, and whenever the cache can't be asked. */
static int load_note(void *context, mend_bytes path, mend_loaded *out, int left_ms)
{
    (void)context;
    (void)left_ms; /* one row by its key, with LOCKED_MS, is bounded enough */
    int result = run("SELECT text FROM notes WHERE path = ?1", path, NULL, out);
    return result == SQLITE_ROW ? 0 : result == SQLITE_DONE ? MEND_ABSENT : result;
}

static const mend_recipe note = {.load = load_note, .ttl_s = 300, .absent_ttl_s = 10};

/* ---- Requests ---- */

static enum MHD_Result respond(struct MHD_Connection *http, unsigned code, mend_bytes body, const char *from)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(body.len, (void *)body.data, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    if (from)
        MHD_add_response_header(response, "X-From", from);
    enum MHD_Result queued = MHD_queue_response(http, code, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result fail(struct MHD_Connection *http, unsigned code, const char *path, const char *why)
{
    fprintf(stderr, "%s: %s\n", path, why);
    return respond(http, code, mend_str("sorry\n"), NULL);
}

static enum MHD_Result get_note(struct MHD_Connection *http, const char *path)
{
    static const char *const from[] = {"", "cache", "cache, stale", "database", "another request", "memory"}; /* by mend_source */
    mend_reply               r = MEND_REPLY;
    enum MHD_Result          done;
    switch (mend_fetch(cache, mend_str(path), &note, &r)) {
    case MEND_OK:       done = respond(http, MHD_HTTP_OK, mend_mem(r.data, r.len), from[r.source]); break;
    case MEND_ABSENT:   done = respond(http, MHD_HTTP_NOT_FOUND, mend_str("no such note\n"), from[r.source]); break;
    case MEND_E_LOADER: done = fail(http, MHD_HTTP_INTERNAL_SERVER_ERROR, path, sqlite3_errstr((int)r.number)); break;
    default:            done = fail(http, MHD_HTTP_SERVICE_UNAVAILABLE, path, r.error); break; /* no turn to load in time, or no memory */
    }
    mend_reply_free(&r);
    return done;
}

static enum MHD_Result put_note(struct MHD_Connection *http, const char *path)
{
    const char *text = MHD_lookup_connection_value(http, MHD_GET_ARGUMENT_KIND, "text");
    mend_bytes  key = mend_str(path);
    int         result = run("INSERT OR REPLACE INTO notes VALUES (?1, ?2)", key, text ? text : "", NULL);
    if (result != SQLITE_DONE)
        return fail(http, MHD_HTTP_INTERNAL_SERVER_ERROR, path, sqlite3_errstr(result));
    /* After the database, so that a load that is under way does not bring the old note back. If it fails, mend
     * keeps the key, does not read it, and deletes it before that server is back in service. */
    mend_delete(cache, key, NULL);
    return respond(http, MHD_HTTP_NO_CONTENT, mend_str(""), NULL);
}

static enum MHD_Result answer(void *context, struct MHD_Connection *http, const char *path, const char *method, const char *version,
                              const char *upload, size_t *upload_len, void **state)
{
    (void)context, (void)version, (void)upload, (void)upload_len, (void)state;
    size_t len = strlen(path);
    for (size_t i = 0; i < len; i++)
        if (len > PATH_BYTES_MAX || path[i] <= ' ' || path[i] > '~') /* what every memcached takes for a key */
            return respond(http, MHD_HTTP_BAD_REQUEST, mend_str("no note is called that\n"), NULL);
    if (strcmp(method, "PUT") == 0)
        return put_note(http, path);
    if (strcmp(method, "GET") == 0)
        return get_note(http, path);
    return respond(http, MHD_HTTP_METHOD_NOT_ALLOWED, mend_str("GET or PUT\n"), NULL);
}

/* ---- Beginning and end ---- */

static void tell(const mend_event *e, void *context)
{
    char line[400];
    (void)context;
    mend_event_text(e, line, sizeof line);
    fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
    const char        *file = argc > 1 ? argv[1] : "notes.db", *servers = argc > 3 ? argv[3] : "127.0.0.1";
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 2 ? atoi(argv[2]) : 8080)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    mend_reply         r = MEND_REPLY;
    sigset_t           stop;
    int                signal_number;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stop, NULL); /* before there are threads, so that none of them takes it */

    if (mend_open(&MEND_CONFIG(.servers = servers, .prefix = "note:", .on_event = tell), &cache, &r) < 0) {
        fprintf(stderr, "%s\n", r.error); /* a mistake in the configuration; a server that is down is none */
        mend_reply_free(&r);
        return 1;
    }
    mend_reply_free(&r);
    if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(db, LOCKED_MS) != SQLITE_OK ||
        sqlite3_exec(db, "CREATE TABLE IF NOT EXISTS notes (path TEXT PRIMARY KEY, text TEXT NOT NULL)", NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", file, sqlite3_errmsg(db));
        return 1;
    }
    struct MHD_Daemon *http = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL, MHD_OPTION_SOCK_ADDR, &here,
                                               MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS, MHD_OPTION_END);
    if (!http) {
        perror("can't listen");
        return 1;
    }
    printf("http://127.0.0.1:%u/\n", MHD_get_daemon_info(http, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);

    sigwait(&stop, &signal_number);
    MHD_stop_daemon(http); /* ends the requests, so that no call runs when the client is closed */
    mend_close(cache);
    sqlite3_close(db);
}
