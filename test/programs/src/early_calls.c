/* SPDX-License-Identifier: MIT
 *
 * early_calls: allocates before any constructor of any library has run, and in every later phase up to the last destructor.
 *
 * Idea.        .preinit_array runs before the constructors of all shared objects, the preload's included; an ifunc resolver runs before
 *              even that, while the program is being relocated.
 * Concurrency. one thread, but for one that a constructor starts. */
#include "check.h"

#include <pthread.h>
#include <stdio.h>

static void* from_preinit[100];
static void* from_constructor;
static pthread_t thread;

static void* allocating_thread(void* unused) {
    (void)unused;
    for (int i = 0; i < 1000; ++i) {
        void* block = malloc((size_t)i * 10);
        CHECK(block != NULL);
        free(block);
    }
    return malloc(123);
}

static void preinit(int argc, char** argv, char** environment) {
    (void)argc, (void)argv, (void)environment;
    for (int i = 0; i < 100; ++i) {
        from_preinit[i] = i % 3 == 0 ? calloc(1, 100) : malloc((size_t)i * 50);
        CHECK(from_preinit[i] != NULL);
    }
    from_preinit[7] = realloc(from_preinit[7], 100000);
    CHECK(from_preinit[7] != NULL);
    fill(from_preinit[7], 100000, 7);
    free(from_preinit[8]);
    from_preinit[8] = NULL;
}
__attribute__((section(".preinit_array"), used)) static void (*preinit_pointer)(int, char**, char**) = preinit;

__attribute__((constructor(101))) static void first_constructor(void) {
    CHECK(filled(from_preinit[7], 100000, 7));
    from_constructor = malloc(1000);
    CHECK(from_constructor != NULL);
    CHECK(pthread_create(&thread, NULL, allocating_thread, NULL) == 0);
}

__attribute__((destructor(101))) static void last_destructor(void) {
    void* block = malloc(100);
    CHECK(block != NULL && filled(from_preinit[7], 100000, 7));
    free(block);
    free(from_preinit[7]);
}

int main(void) {
    void* from_thread = NULL;
    CHECK(pthread_join(thread, &from_thread) == 0 && from_thread != NULL);
    free(from_thread);
    for (int i = 0; i < 100; ++i)
        if (i != 7)
            free(from_preinit[i]);
    free(from_constructor);
    puts("ok");
    return 0;
}
