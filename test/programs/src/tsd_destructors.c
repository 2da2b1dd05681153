/* SPDX-License-Identifier: MIT
 *
 * tsd_destructors: frees and allocates in the destructors of thread-specific data, in every round of them, so also after the
 * allocator's own thread-exit hook has run and the thread's caches are gone.
 *
 * Idea.        Destructors run in the order of their keys, for up to PTHREAD_DESTRUCTOR_ITERATIONS rounds; ours set their value again
 *              until the last. Half of the memory was allocated by another thread.
 * Concurrency. a few hundred threads, eight at a time. */
#define _GNU_SOURCE
#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>

enum { keys = 40, waves = 40, wave_threads = 8, rounds = PTHREAD_DESTRUCTOR_ITERATIONS };

struct value {
    pthread_key_t key;
    int round;
    void* small;
    void* large;
    void* foreign;
};

static pthread_key_t key[keys];
static int ended; /* count of values that reached their last round */

static void destroy(void* pointer) {
    struct value* old = pointer;
    CHECK(filled(old->small, 100, 1) && filled(old->large, 50000, 2) && filled(old->foreign, 300, 3));
    free(old->small);
    free(old->large);
    free(old->foreign);
    if (old->round == rounds) {
        free(old);
        __atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED);
        return;
    }
    struct value* next = malloc(sizeof *next);
    CHECK(next != NULL);
    *next = (struct value){old->key, old->round + 1, malloc(100), malloc(50000), malloc(300)};
    CHECK(next->small != NULL && next->large != NULL && next->foreign != NULL);
    fill(next->small, 100, 1);
    fill(next->large, 50000, 2);
    fill(next->foreign, 300, 3);
    free(old);
    CHECK(pthread_setspecific(next->key, next) == 0);
}

static void* thread_main(void* foreign) {
    void** blocks = foreign;
    for (int i = 0; i < keys; ++i) {
        struct value* v = malloc(sizeof *v);
        CHECK(v != NULL);
        *v = (struct value){key[i], 1, malloc(100), malloc(50000), blocks[i]};
        fill(v->small, 100, 1);
        fill(v->large, 50000, 2);
        CHECK(pthread_setspecific(key[i], v) == 0);
    }
    free(blocks);
    return NULL;
}

int main(void) {
    for (int i = 0; i < keys; ++i)
        CHECK(pthread_key_create(&key[i], destroy) == 0);
    for (int wave = 0; wave < waves; ++wave) {
        pthread_t threads[wave_threads];
        for (int i = 0; i < wave_threads; ++i) {
            void** blocks = malloc(keys * sizeof *blocks);
            for (int k = 0; k < keys; ++k) {
                blocks[k] = malloc(300);
                fill(blocks[k], 300, 3);
            }
            CHECK(pthread_create(&threads[i], NULL, thread_main, blocks) == 0);
        }
        for (int i = 0; i < wave_threads; ++i)
            CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(ended == keys * waves * wave_threads);
    puts("ok");
    return 0;
}
