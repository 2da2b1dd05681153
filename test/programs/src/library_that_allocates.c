/* SPDX-License-Identifier: MIT
 *
 * library_that_allocates: a shared object with an allocation of its own at load, functions that allocate for the caller, and a
 * destructor that frees. PREFIX names the functions, so that it can be built several times.
 *
 * Concurrency. any thread. */
#include <stdlib.h>
#include <string.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

static void* kept;

__attribute__((constructor)) static void load(void) {
    kept = malloc(5000);
    if (kept == NULL)
        abort();
    memset(kept, 1, 5000);
}

__attribute__((destructor)) static void unload(void) { free(kept); }

/* Not a tail call: the address that malloc returns to has to be in this library. */
void* JOIN(PREFIX, _take)(size_t size) {
    char* block = malloc(size);
    if (block != NULL)
        memset(block, 2, size);
    return block;
}

void JOIN(PREFIX, _give)(void* block) { free(block); }
