/* SPDX-License-Identifier: MIT
 *
 * outlive_main: detached threads allocate and free while main returns, exit handlers run and the process ends under them.
 *
 * Concurrency. six threads that are never joined. */
#include "check.h"

#include <pthread.h>
#include <stdio.h>

static void* exchanged[64];

static void* busy(void* seed) {
    unsigned random = (unsigned)(uintptr_t)seed;
    for (;;) {
        void* block = malloc(next_random(&random) % 20000);
        CHECK(block != NULL);
        free(__atomic_exchange_n(&exchanged[next_random(&random) % 64], block, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void slow_handler(void) {
    for (int i = 0; i < 20000; ++i)
        free(__atomic_exchange_n(&exchanged[i % 64], malloc(100), __ATOMIC_ACQ_REL));
}

int main(void) {
    atexit(slow_handler);
    pthread_t thread;
    for (uintptr_t i = 0; i < 6; ++i)
        CHECK(pthread_create(&thread, NULL, busy, (void*)(i + 1)) == 0);
    usleep(50000);
    puts("ok");
    return 0;
}
