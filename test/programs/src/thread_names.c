/* SPDX-License-Identifier: MIT
 *
 * thread_names: threads with names take memory, each a size of its own, and keep it; the program ends with _exit.
 *
 * Idea.        The ways to a name: pthread_setname_np on oneself, prctl, by another thread, and inheritance. "names" is 3 MiB, "byprctl"
 *              2 MiB (of two threads), "byother" 4 MiB, "heir" 1 MiB; main takes 6 MiB.
 * Concurrency. one thread after the other. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/prctl.h>

enum { block_bytes = 2000, blocks_per_mib = (1 << 20) / block_bytes };

static sem_t started, named;

static void take(int mib) {
    for (int i = 0; i < mib * blocks_per_mib; ++i) {
        void* block = malloc(block_bytes);
        CHECK(block != NULL);
        *(char*)block = 1;
    }
}

static void* by_setname(void* unused) {
    (void)unused;
    take(0);
    free(malloc(10)); /* the first allocation comes before the name */
    CHECK(pthread_setname_np(pthread_self(), "names-1") == 0);
    CHECK(pthread_setname_np(pthread_self(), "a name of 16 byt") != 0); /* ERANGE; the old one stays */
    take(3);
    return NULL;
}

static void* by_prctl(void* number) {
    char name[16];
    snprintf(name, sizeof name, "byprctl-%d", (int)(intptr_t)number);
    CHECK(prctl(PR_SET_NAME, name, 0, 0, 0) == 0);
    char back[16] = "";
    CHECK(prctl(PR_GET_NAME, back, 0, 0, 0) == 0 && strcmp(name, back) == 0);
    take(1);
    return NULL;
}

static void* by_other(void* unused) {
    (void)unused;
    free(malloc(10));
    sem_post(&started);
    sem_wait(&named);
    take(4);
    return NULL;
}

static void* heir_child(void* unused) {
    (void)unused;
    take(1);
    return NULL;
}

static void* heir(void* unused) {
    CHECK(pthread_setname_np(pthread_self(), "heir") == 0);
    pthread_t child; /* inherits the name */
    CHECK(pthread_create(&child, NULL, heir_child, unused) == 0 && pthread_join(child, NULL) == 0);
    return NULL;
}

static pthread_t start(void* (*function)(void*), intptr_t argument) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, function, (void*)argument) == 0);
    return thread;
}

static void run(void* (*function)(void*), intptr_t argument) {
    CHECK(pthread_join(start(function, argument), NULL) == 0);
}

int main(void) {
    sem_init(&started, 0, 0);
    sem_init(&named, 0, 0);
    run(by_setname, 0);
    run(by_prctl, 1);
    run(by_prctl, 22);
    run(heir, 0);
    const pthread_t other = start(by_other, 0);
    sem_wait(&started);
    CHECK(pthread_setname_np(other, "byother") == 0);
    sem_post(&named);
    CHECK(pthread_join(other, NULL) == 0);
    take(6);
    puts("ok");
    fflush(stdout);
    _exit(0);
}
