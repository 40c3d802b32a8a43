/* scene.c - see scene.h. */
#include "scene.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/metronome.h"
#include "demo/clock.h"
#include "values.h"

enum {
    STEP_US = 1000, /* from the beginning of one call to the next, in each thread */
    SETS_OF = 8,    /* every eighth call is a set */
    BEFORE_MS = 1000,
    AFTER_MS = 4000, /* libmemcached waits 2 s by default before it tries again, and may take two tries */
    QUICK_BEFORE_MS = 500,
    QUICK_AFTER_MS = 3000,
    FILL_MAX_MS = 5000,
    LIMIT_S = 30, /* no scene may last longer, whatever hangs */
};

struct key {
    char             name[KEY_MAX_BYTES];
    bool             sick;
    uint32_t         version;      /* its writer's: the last that was tried */
    _Atomic uint32_t acknowledged; /* the last that was stored, as its writer was told */
    _Atomic uint32_t tried;        /* the last that failed, or was stored: written once it is known */
};

struct play {
    struct scene *scene;
    void         *cache;
    struct key    keys[KEYS];
    atomic_bool   stop;
};

struct caller {
    struct play *play;
    unsigned     index;
    uint32_t     chance;
    void        *session;
    pthread_t    thread;
};

int scene_away_ms(const struct fault *fault, bool quick)
{
    return quick ? fault->quick_away_ms : fault->away_ms;
}

int scene_lasts_ms(const struct fault *fault, bool quick)
{
    int around = quick ? QUICK_BEFORE_MS + QUICK_AFTER_MS : BEFORE_MS + AFTER_MS;
    return around + fault->times * (scene_away_ms(fault, quick) + fault->between_ms);
}

/* ---- Calls ----------------------------------------------------------------------------------------- */

static unsigned dice(struct caller *who) /* xorshift32 (Marsaglia 2003) */
{
    who->chance ^= who->chance << 13;
    who->chance ^= who->chance >> 17;
    who->chance ^= who->chance << 5;
    return who->chance;
}

/* What had been acknowledged is read before the get begins: no answer to it may be older. */
static void get_once(struct caller *who, struct call *c, unsigned index)
{
    const struct client *client = who->play->scene->client;
    struct key          *key = &who->play->keys[index];
    uint32_t             acknowledged = atomic_load(&key->acknowledged), tried = atomic_load(&key->tried);

    c->start_ns = clock_now();
    struct said said = client->get(who->session, key->name);
    int64_t     end_ns = clock_now();

    if (said.answer == ANSWER_HIT) {
        uint32_t version = value_version(index, said.value, said.length);
        c->verdict = version == 0 ? VERDICT_WRONG : version < acknowledged ? VERDICT_STALE : VERDICT_TRUE;
        c->outdated = version && version < tried;
    }
    c->code = (int16_t)said.code;
    c->answer = (uint8_t)said.answer;
    c->end_ns = end_ns;
}

static void set_once(struct caller *who, struct call *c, unsigned index)
{
    const struct client *client = who->play->scene->client;
    struct key          *key = &who->play->keys[index];
    char                 value[VALUE_MAX_BYTES];
    uint32_t             version = ++key->version;
    size_t               length = value_make(value, index, version);

    c->set = true;
    c->start_ns = clock_now();
    struct said said = client->set(who->session, key->name, value, length);
    int64_t     end_ns = clock_now();

    if (said.answer == ANSWER_STORED)
        atomic_store(&key->acknowledged, version);
    atomic_store(&key->tried, version);
    c->code = (int16_t)said.code;
    c->answer = (uint8_t)said.answer;
    c->end_ns = end_ns;
}

static void call_once(struct caller *who)
{
    struct scene *scene = who->play->scene;
    unsigned      n = atomic_load(&scene->count[who->index]);
    struct call  *c = &scene->calls[who->index][n];
    bool          set = dice(who) % SETS_OF == 0;
    unsigned      key = dice(who) % KEYS;

    if (set)
        key = key / THREADS * THREADS + who->index; /* one of its own */
    c->sick = who->play->keys[key].sick;
    c->start_ns = clock_now(); /* even of a call that never returns */
    atomic_store(&scene->count[who->index], n + 1);
    (set ? set_once : get_once)(who, c, key);
}

static void *caller_main(void *arg)
{
    struct caller *who = arg;
    struct scene  *scene = who->play->scene;
    int64_t        step_ns = STEP_US * 1000, next = scene->begun_ns + step_ns / THREADS * who->index;

    while (!atomic_load(&who->play->stop) && atomic_load(&scene->count[who->index]) < CALLS_MAX) {
        clock_sleep_until(next);
        call_once(who);
        while (next <= clock_now())
            next += step_ns;
    }
    return NULL;
}

/* ---- The child ---------------------------------------------------------------------------------------- */

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "outage: %s\n", what);
    _exit(1);
}

static void fill_key(struct play *play, const struct caller *who, unsigned index)
{
    const struct client *client = play->scene->client;
    struct key          *key = &play->keys[index];
    char                 value[VALUE_MAX_BYTES];
    size_t               length = value_make(value, index, 1);
    int64_t              due = clock_now() + MS(FILL_MAX_MS);

    key_name(key->name, index);
    while (client->set(who->session, key->name, value, length).answer != ANSWER_STORED)
        if (clock_now() > due)
            give_up("before any fault, a value could not be stored");
    key->version = 1;
    atomic_init(&key->acknowledged, 1);
    atomic_init(&key->tried, 1);
}

/* Every thread's session stores its own keys, and so has its connections before the clock runs. */
static void fill(struct play *play, struct caller callers[THREADS], const struct world *world)
{
    for (unsigned i = 0; i < KEYS; i++) {
        struct caller *who = &callers[i % THREADS];
        fill_key(play, who, i);
        int port = play->scene->client->port(who->session, play->keys[i].name);
        const char *colon = strrchr(world->address[0], ':');
        play->keys[i].sick = colon && port == atoi(colon + 1);
    }
}

static void befall(struct scene *scene, struct world *world)
{
    const struct fault *fault = scene->fault;
    int                 away_ms = scene_away_ms(fault, scene->quick);

    assert(fault->times <= SPANS_MAX);
    for (int i = 0; i < fault->times; i++) {
        struct span *span = &scene->away[i];
        if (i > 0)
            clock_sleep_until(clock_now() + MS(fault->between_ms));
        span->from_ns = clock_now();
        scene->aways++;
        fault->begin(world);
        clock_sleep_until(span->from_ns + MS(away_ms));
        fault->end(world);
        span->to_ns = clock_now();
    }
}

static void perform(struct scene *scene, struct world *world)
{
    static struct play play;
    struct caller      callers[THREADS];
    char               servers[SERVERS_MAX * sizeof *world->address] = "";
    struct metronome   metronome;

    for (int i = 0; i < world->servers; i++)
        snprintf(servers + strlen(servers), sizeof servers - strlen(servers), "%s%s", i ? "," : "", world->address[i]);
    play.scene = scene;
    if (!(play.cache = scene->client->open(servers)))
        give_up("a client can't be opened");
    for (unsigned i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.play = &play, .index = i, .chance = 2463534242u + i * 7919};
        if (!(callers[i].session = scene->client->join(play.cache)))
            give_up("a thread can't join its client");
    }
    fill(&play, callers, world);

    metronome_start(&metronome);
    scene->begun_ns = clock_now() + MS(1);
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]) != 0)
            give_up("no thread");
    clock_sleep_until(scene->begun_ns + MS(scene->quick ? QUICK_BEFORE_MS : BEFORE_MS));
    befall(scene, world);
    clock_sleep_until(clock_now() + MS(scene->quick ? QUICK_AFTER_MS : AFTER_MS));
    scene->ended_ns = clock_now();
    atomic_store(&play.stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(callers[i].thread, NULL);
    scene->late_ns = metronome_late_ns(&metronome);
    metronome_stop(&metronome);

    for (unsigned i = 0; i < THREADS; i++)
        scene->client->leave(callers[i].session);
    scene->client->close(play.cache);
}

/* A broken pipe is no way to die, whatever a client does about SIGPIPE: that is not what is compared. */
static _Noreturn void child(struct scene *scene)
{
    struct world world;

    signal(SIGPIPE, SIG_IGN);
    alarm(LIMIT_S);
    world_begin(&world, scene->fault);
    perform(scene, &world);
    world_end(&world, scene->fault);
    scene->complete = true;
    _exit(0);
}

/* ---- The parent ------------------------------------------------------------------------------------------ */

struct scene *scene_start(const struct fault *fault, const struct client *client, bool quick)
{
    struct scene *scene = mmap(NULL, sizeof *scene, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t         parent = getpid();

    if (scene == MAP_FAILED)
        return NULL;
    scene->fault = fault;
    scene->client = client;
    scene->quick = quick;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        child(scene);
    }
    scene->pid = pid;
    if (pid > 0)
        return scene;
    scene_free(scene);
    return NULL;
}

void scene_wait(struct scene *scene)
{
    int status = 0;

    while (waitpid(scene->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    scene->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (!scene->ended_ns)
        scene->ended_ns = clock_now();
}

void scene_free(struct scene *scene)
{
    munmap(scene, sizeof *scene);
}
