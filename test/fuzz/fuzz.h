/* fuzz.h - what the fuzz targets share: a demand that holds in every build, and memory that can run out.
 *
 * Each fuzz_*.c is one libFuzzer target. With libFuzzer (fuzz.sh) it is given inputs without end; with replay.c in
 * libFuzzer's place it is given the files of its corpus, by any compiler, as a test.
 */
#ifndef MEND_TEST_FUZZ_H
#define MEND_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An assert that NDEBUG leaves alone. */
#define must(fact) ((fact) ? (void)0 : must_not_be(#fact, __FILE__, __LINE__))

_Noreturn void must_not_be(const char *fact, const char *file, int line);

struct supply {
    unsigned asked, fails_at; /* the fails_at-th time, counted from 1; 0: never */
    bool     for_good;
    unsigned live; /* blocks */
};

/* The supply must stay where it is. */
struct memory supply_memory(struct supply *s);

#endif
