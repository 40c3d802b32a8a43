/* report.c - see report.h. */
#include "report.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "figures.h"

const char *report_title(char title[FAULT_TITLE_MAX], const struct fault *fault, bool quick)
{
    int    away_ms = scene_away_ms(fault, quick);
    size_t n = 0;

    for (const char *p = fault->title; *p && n + 16 < FAULT_TITLE_MAX;) {
        if (strncmp(p, "{away}", 6) == 0) {
            n += (size_t)(away_ms < 1000 ? snprintf(title + n, 16, "%d ms", away_ms) : snprintf(title + n, 16, "%g s", away_ms / 1000.0));
            p += 6;
        } else if (strncmp(p, "{times}", 7) == 0) {
            n += (size_t)snprintf(title + n, 16, "%d", fault->times);
            p += 7;
        } else {
            title[n++] = *p++;
        }
    }
    title[n] = 0;
    return title;
}

void report_begin(FILE *file, bool quick)
{
    struct utsname system;
    char           when[32] = "";
    time_t         now = time(NULL);

    uname(&system);
    strftime(when, sizeof when, "%FT%TZ", gmtime(&now));
    fprintf(file, "{\n  \"when\": \"%s\",\n  \"quick\": %s,\n  \"processors\": %ld,\n  \"kernel\": \"%s %s\",\n", when,
            quick ? "true" : "false", sysconf(_SC_NPROCESSORS_ONLN), system.sysname, system.release);
    fprintf(file, "  \"threads\": %d,\n  \"faults\": [", THREADS);
    fflush(file); /* what is left in the buffer, a scene's process would write once more */
}

bool report_end(FILE *file)
{
    fprintf(file, "\n  ]\n}\n");

    bool written = !ferror(file);
    return fclose(file) == 0 && written;
}

/* ---- One scene ------------------------------------------------------------------------------------------- */

static void ms(FILE *file, const char *name, int64_t ns)
{
    if (ns < 0)
        fprintf(file, "\"%s\": null, ", name);
    else
        fprintf(file, "\"%s\": %.3f, ", name, (double)ns / 1e6);
}

static void group(FILE *file, const char *name, const struct group *g)
{
    fprintf(file, "\"%s\": {\"calls\": %zu, \"failed\": %zu, \"gets\": %zu, \"hits\": %zu, \"p99_ms\": %.3f}, ", name, g->calls,
            g->failed, g->gets, g->hits, (double)g->p99_ns / 1e6);
}

/* How often each of the client's own codes was given as the reason for a failure. */
static void failures(FILE *file, const struct scene *scene)
{
    enum { CODES = 512 };
    unsigned count[CODES] = {0};
    bool     first = true;

    for (int i = 0; i < THREADS; i++)
        for (unsigned n = atomic_load(&scene->count[i]), k = 0; k < n; k++) {
            const struct call *c = &scene->calls[i][k];
            int                code = c->code + CODES / 2;
            if (c->answer == ANSWER_FAILED && c->end_ns && code >= 0 && code < CODES)
                count[code]++;
        }
    fprintf(file, "\"failures\": {");
    for (int i = 0; i < CODES; i++)
        if (count[i]) {
            fprintf(file, "%s\"%s\": %u", first ? "" : ", ", scene->client->words(i - CODES / 2), count[i]);
            first = false;
        }
    fprintf(file, "}");
}

static void one(FILE *file, const struct scene *scene)
{
    struct figures f = figures_of(scene);

    fprintf(file, "{\"client\": \"%s\", \"name\": \"%s\", \"complete\": %s, \"signal\": %d, ", scene->client->id, scene->client->name,
            scene->complete ? "true" : "false", scene->signal);
    fprintf(file, "\"calls\": %zu, \"calls_a_second\": %.0f, ", f.calls, f.per_s);
    ms(file, "outage_ms", figures_to(scene) - figures_from(scene));
    ms(file, "p50_ms", f.p50_ns);
    ms(file, "p99_ms", f.p99_ns);
    ms(file, "slowest_ms", f.slowest_ns);
    fprintf(file, "\"waited_s\": %.3f, \"slow_calls\": %zu, \"failed\": %zu, ", f.waited_s, f.slow, f.failed);
    ms(file, "detect_ms", f.detect_ns);
    ms(file, "back_first_ms", f.first_ns);
    ms(file, "back_all_ms", f.all_ns);
    fprintf(file, "\"relapses\": %zu, \"hanging\": %zu, \"wrong\": %zu, \"stale\": %zu, \"outdated\": %zu, \"refused\": %zu, ", f.relapses,
            f.hanging, f.wrong, f.stale, f.outdated, f.refused);
    group(file, "sick", &f.sick);
    group(file, "others", &f.others);
    ms(file, "machine_late_ms", scene->late_ns);
    failures(file, scene);
    fprintf(file, "}");
}

void report_fault(FILE *file, struct scene *const scenes[CLIENTS], bool first)
{
    const struct fault *fault = scenes[0]->fault;
    char                title[FAULT_TITLE_MAX];

    fprintf(file, "%s\n    {\"id\": \"%s\", \"title\": \"%s\", \"why\": \"%s\", \"servers\": %d, \"clients\": [",
            first ? "" : ",", fault->id, report_title(title, fault, scenes[0]->quick), fault->why, fault->servers);
    for (int i = 0; i < CLIENTS; i++) {
        fprintf(file, "%s\n      ", i ? "," : "");
        one(file, scenes[i]);
    }
    fprintf(file, "\n    ]}");
    fflush(file);
}
