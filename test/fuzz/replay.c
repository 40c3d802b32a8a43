/* replay.c - a main for a fuzz target without libFuzzer: every file of a corpus, once.
 *
 *     fuzz_wire DIRECTORY|FILE...     ends with 1 if there was no file, or one that cannot be read
 *
 * A sanitizer that finds something may end the process at once. So FUZZ_NAMES=1 in the environment names each file
 * before it is tried: the last one named is the one.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static bool replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat st;

    if (!f || fstat(fileno(f), &st) != 0) {
        perror(path);
        if (f)
            fclose(f);
        return false;
    }
    size_t   size = (size_t)st.st_size;
    uint8_t *data = malloc(size ? size : 1); /* exactly as large: a byte too far is seen */
    bool     read = data && fread(data, 1, size, f) == size;
    fclose(f);
    if (read && getenv("FUZZ_NAMES"))
        fprintf(stderr, "%s\n", path);
    if (read)
        LLVMFuzzerTestOneInput(data, size);
    else
        fprintf(stderr, "%s: cannot be read\n", path);
    free(data);
    return read;
}

/* How many files; -1 if one cannot be read. In the order of their names, so that a failure is the same every time. */
static int replay(const char *path)
{
    struct dirent **entries;
    int             n = scandir(path, &entries, NULL, alphasort), ran = 0;

    if (n < 0)
        return replay_file(path) ? 1 : -1;
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && ran >= 0)
            ran = replay_file(file) ? ran + 1 : -1;
        free(entries[i]);
    }
    free(entries);
    return ran;
}

int main(int argc, char **argv)
{
    int files = 0;

    for (int i = 1; i < argc; i++) {
        int ran = replay(argv[i]);
        if (ran < 0)
            return 1;
        files += ran;
    }
    printf("%d inputs replayed\n", files);
    return files ? 0 : 1;
}
