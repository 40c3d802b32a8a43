/* twemproxy.c - see twemproxy.h. */
#include "support/twemproxy.h"
#include "support/wait.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool answers(int port)
{
    char answer[256];
    int  fd = raw_connect("127.0.0.1", port, NULL);
    if (fd < 0)
        return false;
    bool is = raw_ask(fd, "get mend:there\r\n", "END\r\n", answer, sizeof answer);
    close(fd);
    return is;
}

static bool all_answer(const struct twemproxy *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!answers(t->ports[i]))
            return false;
    return true;
}

static char *in_directory(const struct twemproxy *t, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", t->directory, name) < 0 ? NULL : path;
}

/* `pools`, each in front of the next n of them. */
static bool start(struct twemproxy *t, const struct memcached *behind, size_t pools, size_t n)
{
    char *program = program_find("NUTCRACKER", "nutcracker");
    *t = (struct twemproxy){0};
    if (!program)
        return false;

    snprintf(t->directory, sizeof t->directory, "/tmp/mend-test-XXXXXX");
    if (!mkdtemp(t->directory))
        fail_msg("no directory for %s", program);
    char *config = in_directory(t, "config"), *log = in_directory(t, "log"), *pid = in_directory(t, "pid"), stats[16];

    FILE *out = fopen(config, "we");
    for (size_t i = 0; i < pools; i++) {
        t->ports[i] = port_free("127.0.0.1");
        snprintf(t->names[i], sizeof t->names[i], "127.0.0.1:%d", t->ports[i]);
        fprintf(out, "pool%zu:\n  listen: %s\n  hash: fnv1a_64\n  distribution: modula\n  timeout: 10000\n  servers:\n", i, t->names[i]);
        for (size_t k = 0; k < n; k++)
            fprintf(out, "   - %s:1 backend%zu\n", behind[i * n + k].name, k); /* it sorts them by these, else by their addresses */
    }
    fclose(out);
    snprintf(stats, sizeof stats, "%d", port_free("127.0.0.1"));
    char *argv[] = {program, (char *)"-c", config, (char *)"-o", log, (char *)"-p", pid, (char *)"-a", (char *)"127.0.0.1", (char *)"-s", stats, NULL};
    t->pid = program_start(argv);
    await(all_answer(t, pools), SOON_MS);

    free(config);
    free(log);
    free(pid);
    free(program);
    return true;
}

bool twemproxy_start(struct twemproxy *t, const struct memcached *behind, size_t n)
{
    return start(t, behind, n, 1);
}

bool twemproxy_start_one(struct twemproxy *t, const struct memcached *behind, size_t n)
{
    return start(t, behind, 1, n);
}

void twemproxy_stop(struct twemproxy *t)
{
    static const char *const left[] = {"config", "log", "pid"};
    if (!t->pid)
        return;
    program_stop(t->pid);
    for (size_t i = 0; i < 3; i++) {
        char *path = in_directory(t, left[i]);
        unlink(path);
        free(path);
    }
    rmdir(t->directory);
    *t = (struct twemproxy){0};
}
