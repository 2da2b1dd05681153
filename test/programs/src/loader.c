/* SPDX-License-Identifier: MIT
 *
 * loader FOLDER: opens and closes shared objects that allocate, again and again, while another thread allocates.
 *
 * Concurrency. two threads. */
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static volatile int over;

static void* busy(void* unused) {
    (void)unused;
    while (!over) {
        void* block = malloc(700);
        CHECK(block != NULL);
        free(block);
    }
    return NULL;
}

/* Opens a library, uses it, closes it, and frees afterwards what it had allocated. */
static void use(const char* folder, const char* name) {
    char path[4096];
    char symbol[64];
    snprintf(path, sizeof path, "%s/lib%s.so", folder, name);
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    snprintf(symbol, sizeof symbol, "%s_take", name);
    void* (*take)(size_t);
    *(void**)&take = dlsym(library, symbol);
    snprintf(symbol, sizeof symbol, "%s_give", name);
    void (*give)(void*);
    *(void**)&give = dlsym(library, symbol);
    CHECK(take != NULL && give != NULL && dlsym(library, "no such function") == NULL && dlerror() != NULL);
    void* first = take(1000);
    void* second = take(200000);
    CHECK(first != NULL && second != NULL);
    give(first);
    CHECK(dlclose(library) == 0);
    free(second);
}

int main(int argc, char** argv) {
    CHECK(argc > 1);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, busy, NULL) == 0);
    for (int i = 0; i < 150; ++i) {
        use(argv[1], "eater");
        use(argv[1], "feeder");
        if (i % 10 == 0)
            CHECK(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL && dlerror() != NULL);
    }
    over = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    puts("ok");
    return 0;
}
