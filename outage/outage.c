/* outage.c - the same programme of faults over mend and over libmemcached, side by side.
 *
 *     mend-outage [--quick | --full] DIRECTORY     writes outage.json there, and outage-FAULT.svg for each fault
 *
 * Every client lives through every fault, one after the other, or, with --quick, all clients at the same time (and
 * then in each other's way). A scene that the machine disturbed is played again. What it all amounts to is in the
 * JSON; table.py makes tables of that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients.h"
#include "demo/clock.h"
#include "faults.h"
#include "figures.h"
#include "picture.h"
#include "report.h"
#include "scene.h"

enum {
    MOST_MS = 275000, /* for the whole programme, if it fits at all */
    LATE_MAX_MS = 40, /* much less than the timeouts of 100 ms */
    SETUP_MS = 200,   /* servers begin, keys are stored */
};

const struct client *const clients[CLIENTS] = {&client_mend, &client_libmemcached, &client_libmemcached_tuned};

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct scene *start(const struct fault *fault, const struct client *client, bool quick)
{
    struct scene *scene = scene_start(fault, client, quick);

    if (!scene)
        die("outage: a scene");
    return scene;
}

static void say(const struct scene *scene)
{
    struct figures f = figures_of(scene);
    char           slowest[CLOCK_WORDS], back[CLOCK_WORDS];

    printf("    %-20s %6.0f calls/s meanwhile, the slowest %8s, back after %8s, wrong %zu, stale %zu%s\n", scene->client->name, f.per_s,
           clock_words(slowest, f.slowest_ns), clock_words(back, f.all_ns), f.wrong, f.stale,
           scene->complete ? "" : ", and DID NOT END WELL");
    fflush(stdout);
}

/* A scene that the machine disturbed says little of its client: it is played once more, while there is time for that,
 * and the calmer of the two is taken, whatever the client did in them; both are told of. A bad end is never passed over. */
static struct scene *play_alone(const struct fault *fault, const struct client *client, int *spare_ms)
{
    struct scene *scene = start(fault, client, false);

    scene_wait(scene);
    if (scene->late_ns < MS(LATE_MAX_MS) || *spare_ms < scene_lasts_ms(fault, false))
        return scene;
    *spare_ms -= scene_lasts_ms(fault, false);

    struct scene *again = start(fault, client, false);
    scene_wait(again);
    bool          taken = !again->complete || again->late_ns < scene->late_ns;
    struct scene *left = taken ? scene : again;
    say(left);
    printf("        ...but the machine was late by %d ms: played twice, and the calmer one is this:\n", (int)(left->late_ns / MS(1)));
    scene_free(left);
    return taken ? again : scene;
}

static void play_together(const struct fault *fault, struct scene *scenes[CLIENTS])
{
    for (int i = 0; i < CLIENTS; i++)
        scenes[i] = start(fault, clients[i], true);
    for (int i = 0; i < CLIENTS; i++) {
        scene_wait(scenes[i]);
        say(scenes[i]);
    }
}

static void play(const struct fault *fault, bool quick, int *spare_ms, struct scene *scenes[CLIENTS])
{
    char title[FAULT_TITLE_MAX];

    printf("%s: %s\n", report_title(title, fault, quick), fault->why);
    fflush(stdout);
    if (quick)
        play_together(fault, scenes);
    for (int i = 0; !quick && i < CLIENTS; i++) {
        scenes[i] = play_alone(fault, clients[i], spare_ms);
        say(scenes[i]);
    }
}

static FILE *create(const char *directory, const char *name)
{
    char  path[4096];
    FILE *file = snprintf(path, sizeof path, "%s/%s", directory, name) < (int)sizeof path ? fopen(path, "we") : NULL;

    if (!file)
        die(path);
    return file;
}

static void draw(struct scene *const scenes[CLIENTS], const char *directory)
{
    char name[64];

    snprintf(name, sizeof name, "outage-%s.svg", scenes[0]->fault->id);
    if (!picture_write(scenes, create(directory, name)))
        die(name);
}

static bool played(const struct fault *fault, bool quick)
{
    return !quick || !fault->never_quick;
}

static bool possible(const struct fault *fault, bool quick)
{
    const char *why_not = fault->why_not ? fault->why_not() : NULL;
    char        title[FAULT_TITLE_MAX];

    if (why_not)
        printf("%s: left out: %s\n", report_title(title, fault, quick), why_not);
    return !why_not;
}

static int plan_ms(bool quick, int *n)
{
    int ms = 0;

    for (int i = *n = 0; i < faults_count; i++)
        if (played(&faults[i], quick)) {
            ms += (SETUP_MS + scene_lasts_ms(&faults[i], quick)) * (quick ? 1 : CLIENTS);
            ++*n;
        }
    return ms;
}

int main(int argc, char **argv)
{
    bool          quick = argc == 3 && strcmp(argv[1], "--quick") == 0, full = argc == 3 && strcmp(argv[1], "--full") == 0;
    const char   *directory = argv[argc - 1];
    struct scene *scenes[CLIENTS];
    bool          well = true, first = true;

    if (argc != 2 + (quick || full) || directory[0] == '-') {
        fprintf(stderr, "usage: mend-outage [--quick | --full] DIRECTORY\n");
        return 2;
    }
    FILE *json = create(directory, "outage.json");
    int   n, planned_ms = plan_ms(quick, &n), spare_ms = MOST_MS - planned_ms;
    printf("mend and libmemcached through %d faults, %d threads: about %d s\n", n, THREADS, planned_ms / 1000);
    report_begin(json, quick);
    for (int i = 0; i < faults_count; i++) {
        if (!played(&faults[i], quick) || !possible(&faults[i], quick))
            continue;
        play(&faults[i], quick, &spare_ms, scenes);
        report_fault(json, scenes, first);
        draw(scenes, directory);
        first = false;
        for (int c = 0; c < CLIENTS; c++) {
            well = well && scenes[c]->complete;
            scene_free(scenes[c]);
        }
    }
    if (!report_end(json))
        die("outage.json");
    return well ? 0 : 1;
}
