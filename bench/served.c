/* served.c - runs a command beside a memcached of its own.
 *
 *     bench-served COMMAND ARGUMENTS...     an argument @ becomes the server's name
 *
 * Ends with the command's status, and stops the memcached.
 */
#include "support/memcached.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct memcached m;
    int              status = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: bench-served COMMAND ARGUMENTS...\n");
        return 2;
    }
    memcached_start(&m, "127.0.0.1", "-m 64");
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "@") == 0)
            argv[i] = m.name;

    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        perror("bench-served");
    memcached_stop(&m);
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
