/* SPDX-License-Identifier: MIT
 *
 * loader_uses FOLDER LIMIT: takes memory through two libraries, one linked and one loaded later, until the rules' limit for the
 * first stops it; itself it must not notice. Ends with _exit, with the memory still in use.
 *
 * Concurrency. one thread. */
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>

void* eater_take(size_t size);
void eater_give(void* block);

int main(int argc, char** argv) {
    CHECK(argc > 2);
    const size_t limit = (size_t)atol(argv[2]);
    size_t taken = 0;
    errno = 0;
    while (eater_take(10000) != NULL) {
        taken += 10000;
        CHECK(taken <= limit);
    }
    CHECK(errno == ENOMEM && taken > limit / 2);
    void* own = malloc(limit); /* the program itself has no limit */
    CHECK(own != NULL);
    fill(own, limit, 1);

    char path[4096];
    snprintf(path, sizeof path, "%s/libfeeder.so", argv[1]);
    void* library = dlopen(path, RTLD_NOW);
    CHECK(library != NULL);
    void* (*take)(size_t);
    *(void**)&take = dlsym(library, "feeder_take");
    CHECK(take != NULL);
    for (int i = 0; i < 300; ++i)
        CHECK(take(10000) != NULL);
    printf("%zu\n", taken);
    fflush(stdout);
    _exit(0);
}
