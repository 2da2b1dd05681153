/* SPDX-License-Identifier: MIT
 *
 * signal_storm SECONDS: signal handlers free and allocate on top of threads that do nothing but allocate and free.
 *
 * Idea.        A handler may be refused memory (malloc returns NULL), but nothing may hang, tear or be lost. Only for allot's malloc:
 *              glibc's is not made for this and deadlocks.
 * Concurrency. three threads, each with a handler on top that the main thread's signals and a timer start. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

enum { threads = 3, places = 128 };

static void* shared[places];
static volatile int over;
static unsigned long served, refused;

static void handler(int signal) {
    (void)signal;
    static unsigned seed; /* its races do no harm */
    unsigned random = ++seed * 2654435761u;
    for (int i = 0; i < 4; ++i) {
        const size_t size = next_random(&random) % 3000;
        char* block = malloc(size);
        if (block != NULL && size != 0)
            block[size - 1] = 1;
        __atomic_add_fetch(block != NULL ? &served : &refused, 1, __ATOMIC_RELAXED);
        free(__atomic_exchange_n(&shared[next_random(&random) % places], block, __ATOMIC_ACQ_REL));
    }
}

static void* busy(void* seed) {
    unsigned random = (unsigned)(uintptr_t)seed;
    void* own[64] = {NULL};
    while (!over) {
        const unsigned i = next_random(&random) % 64;
        free(own[i]);
        const size_t size = next_random(&random) % (i == 0 ? 200000 : 1500);
        own[i] = malloc(size);
        CHECK(own[i] != NULL); /* outside of handlers there is no excuse */
        if (size != 0)
            *(char*)own[i] = 1;
        free(__atomic_exchange_n(&shared[next_random(&random) % places], malloc(100), __ATOMIC_ACQ_REL));
    }
    for (int i = 0; i < 64; ++i)
        free(own[i]);
    return NULL;
}

int main(int argc, char** argv) {
    const double seconds = argc > 1 ? atof(argv[1]) : 3;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_NODEFER};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);
    pthread_t thread[threads];
    for (uintptr_t i = 0; i < threads; ++i)
        CHECK(pthread_create(&thread[i], NULL, busy, (void*)(i + 1)) == 0);
    const struct itimerval interval = {{0, 300}, {0, 300}};
    CHECK(setitimer(ITIMER_REAL, &interval, NULL) == 0);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        for (int i = 0; i < threads; ++i)
            pthread_kill(thread[i], SIGUSR1);
        for (volatile int pause = 0; pause < 3000; ++pause)
            ;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) * 1e-9 < seconds);
    const struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    over = 1;
    for (int i = 0; i < threads; ++i)
        CHECK(pthread_join(thread[i], NULL) == 0);
    for (int i = 0; i < places; ++i)
        free(shared[i]);
    CHECK(served > 0);
    printf("ok: %lu served, %lu refused\n", served, refused);
    return 0;
}
