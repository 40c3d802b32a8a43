/* interrupt.c - see interrupt.h. */
#include "interrupt.h"

#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t caught; /* the signal; 0: none */

static void note(int signal)
{
    caught = signal;
}

void interrupt_catch(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND}; /* the second one ends it at once */

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

bool interrupted(void)
{
    return caught;
}

void interrupt_die(void)
{
    if (!caught)
        return;
    fflush(stdout);
    signal(caught, SIG_DFL);
    raise(caught);
}
