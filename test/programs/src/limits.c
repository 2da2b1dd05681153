/* SPDX-License-Identifier: MIT
 *
 * limits BYTES: takes memory until malloc fails, which has to be before BYTES, gives it back, and does it again; the program
 * goes on living all the while.
 *
 * Concurrency. one thread. */
#include "check.h"

#include <errno.h>
#include <stdio.h>

enum { blocks_max = 1 << 20 };

static void* blocks[blocks_max];

static size_t take_all(size_t size, size_t limit) {
    size_t count = 0;
    errno = 0;
    while (count < blocks_max && (blocks[count] = malloc(size)) != NULL) {
        memset(blocks[count++], 1, size);
        CHECK(count * size <= limit);
    }
    CHECK(count < blocks_max && errno == ENOMEM);
    const size_t taken = count * size;
    while (count != 0)
        free(blocks[--count]);
    return taken;
}

int main(int argc, char** argv) {
    CHECK(argc > 1);
    const size_t limit = (size_t)atol(argv[1]);
    for (int round = 0; round < 3; ++round)
        for (size_t size = 100; size < limit / 8; size *= 20)
            CHECK(take_all(size, limit) > limit / 2);
    char* block = malloc(limit / 2);
    CHECK(block != NULL);
    fill(block, limit / 2, 1);
    CHECK(realloc(block, limit * 2) == NULL && filled(block, limit / 2, 1));
    free(block);
    puts("ok");
    return 0;
}
