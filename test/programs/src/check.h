/* SPDX-License-Identifier: MIT
 *
 * check: what the programs of this folder share: a check that says where it failed and ends the program with status 1.
 *
 * Concurrency. any thread, any context: it writes with write(2) and leaves with _exit(2), so it works in handlers and children. */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_TEXT_(line) #line
#define CHECK_TEXT(line) CHECK_TEXT_(line)
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            check_failed(__FILE__ ":" CHECK_TEXT(__LINE__) ": " #condition "\n");                                      \
    } while (0)

static inline void check_failed(const char* text) {
    if (write(2, text, strlen(text)) < 0)
        _exit(99);
    _exit(1);
}

/* Fills a block with a pattern of its own, and tells whether it is still there. */
static inline void fill(void* block, size_t size, unsigned seed) {
    for (size_t i = 0; i < size; ++i)
        ((unsigned char*)block)[i] = (unsigned char)(seed * 31 + i * 7);
}
static inline int filled(const void* block, size_t size, unsigned seed) {
    for (size_t i = 0; i < size; ++i)
        if (((const unsigned char*)block)[i] != (unsigned char)(seed * 31 + i * 7))
            return 0;
    return 1;
}

/* A small generator, so that a failing run can be repeated. */
static inline unsigned next_random(unsigned* state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

#endif
