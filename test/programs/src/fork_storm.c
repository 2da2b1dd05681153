/* SPDX-License-Identifier: MIT
 *
 * fork_storm COUNT: forks COUNT times while other threads allocate, free and take locks of the allocator at full speed. Every
 * child has to live, allocate, use what it inherited, start threads, fork again, and end.
 *
 * Idea.        A naive preload leaves the child a lock that a thread held which does not exist there: 10 of the first 24 hung.
 * Concurrency. four allocating threads in the parent, two in each child. A child that hangs is killed by alarm(2), and counted. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum { busy_threads = 4, inherited_count = 64, seconds_of_a_child = 20 };

static void* exchanged[256]; /* blocks that go from thread to thread */

static void* busy(void* seed) {
    unsigned random = (unsigned)(uintptr_t)seed;
    for (;;) {
        const size_t size = next_random(&random) % (next_random(&random) % 50 == 0 ? 400000 : 2000);
        void* block = malloc(size);
        if (block != NULL && size != 0)
            *(char*)block = 1;
        free(__atomic_exchange_n(&exchanged[next_random(&random) % 256], block, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void* short_thread(void* seed) {
    unsigned random = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < 2000; ++i) {
        void* block = malloc(next_random(&random) % 5000);
        CHECK(block != NULL);
        free(block);
    }
    return malloc(64);
}

static void grandchild(void) {
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        void* block = malloc(1000);
        CHECK(block != NULL);
        _exit(block == NULL);
    }
    int state = 0;
    CHECK(waitpid(pid, &state, 0) == pid && WIFEXITED(state) && WEXITSTATUS(state) == 0);
}

static void child(int number, void** inherited) {
    alarm(seconds_of_a_child);
    for (int i = 0; i < inherited_count; ++i) {
        CHECK(filled(inherited[i], 500, (unsigned)i));
        free(inherited[i]);
    }
    for (int i = 0; i < 2000; ++i) {
        char* block = malloc((size_t)i * 3 + 1);
        CHECK(block != NULL);
        block[0] = 1;
        free(block);
    }
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; ++i)
        CHECK(pthread_create(&threads[i], NULL, short_thread, (void*)(i + 1)) == 0);
    for (int i = 0; i < 2; ++i) {
        void* from_thread = NULL;
        CHECK(pthread_join(threads[i], &from_thread) == 0);
        free(from_thread);
    }
    if (number % 10 == 0)
        grandchild();
    if (number % 2 == 0)
        exit(0);
    _exit(0);
}

int main(int argc, char** argv) {
    const int count = argc > 1 ? atoi(argv[1]) : 300;
    void* inherited[inherited_count];
    for (int i = 0; i < inherited_count; ++i) {
        inherited[i] = malloc(500);
        fill(inherited[i], 500, (unsigned)i);
    }
    pthread_t thread;
    for (uintptr_t i = 0; i < busy_threads; ++i)
        CHECK(pthread_create(&thread, NULL, busy, (void*)(i + 1)) == 0);
    int alive = 0;
    for (int i = 0; i < count; ++i) {
        const pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            child(i, inherited);
        int state = 0;
        CHECK(waitpid(pid, &state, 0) == pid);
        alive += WIFEXITED(state) && WEXITSTATUS(state) == 0;
    }
    printf("%d of %d\n", alive, count);
    fflush(stdout);
    _exit(alive == count ? 0 : 1);
}
