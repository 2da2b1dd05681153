/* SPDX-License-Identifier: MIT
 *
 * exit_handlers: atexit handlers and destructors that free, allocate and register more of their kind.
 *
 * Concurrency. one thread. */
#define _GNU_SOURCE
#include "check.h"

#include <stdio.h>

static void* kept[200];
static int handlers;

static void free_all(void) {
    for (int i = 0; i < 200; ++i) {
        CHECK(kept[i] == NULL || filled(kept[i], 100, (unsigned)i));
        free(kept[i]);
        kept[i] = NULL;
    }
    ++handlers;
}

static void again(void) {
    void* block = malloc(100000);
    CHECK(block != NULL);
    free(block);
    if (++handlers < 40)
        CHECK(atexit(again) == 0); /* a handler that a handler registers runs next */
}

static void with_argument(int status, void* argument) {
    CHECK(status == 0 && filled(argument, 500, 9));
    free(argument);
    ++handlers;
}

__attribute__((destructor)) static void destructor(void) {
    CHECK(handlers >= 41);
    void* block = calloc(1, 3000);
    CHECK(block != NULL);
    free(block);
    if (write(1, "ok\n", 3) != 3)
        _exit(1);
}

int main(void) {
    for (int i = 0; i < 200; ++i) {
        kept[i] = malloc(100);
        fill(kept[i], 100, (unsigned)i);
    }
    void* argument = malloc(500);
    fill(argument, 500, 9);
    CHECK(atexit(free_all) == 0 && atexit(again) == 0 && on_exit(with_argument, argument) == 0);
    return 0;
}
