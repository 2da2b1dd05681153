/* SPDX-License-Identifier: MIT
 *
 * family: every function of the malloc family does what glibc's does, in the corners too.
 *
 * Concurrency. one thread. Also a reference: it passes without the preload, on glibc itself. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>

#pragma GCC diagnostic ignored "-Walloc-size-larger-than="
#pragma GCC diagnostic ignored "-Wuse-after-free"

static bool is_aligned(const void* block, size_t alignment) { return ((uintptr_t)block & (alignment - 1)) == 0; }

static bool is_zero(const unsigned char* block, size_t size) {
    for (size_t i = 0; i < size; ++i)
        if (block[i] != 0)
            return false;
    return true;
}

static void zero_sizes(void) {
    void* a = malloc(0);
    void* b = malloc(0);
    CHECK(a != NULL && b != NULL && a != b);
    CHECK(is_aligned(a, 8));
    free(a);
    free(b);
    void* c = calloc(0, 10);
    void* d = calloc(10, 0);
    CHECK(c != NULL && d != NULL && c != d);
    free(c);
    free(d);
    void* e = malloc(10);
    CHECK(realloc(e, 0) == NULL); /* frees, as in glibc */
    void* f = realloc(NULL, 0);   /* as malloc(0) */
    CHECK(f != NULL);
    free(f);
    free(NULL);
    CHECK(malloc_usable_size(NULL) == 0);
}

static void too_large(void) {
    const size_t largest = (size_t)PTRDIFF_MAX;
    errno = 0;
    CHECK(malloc(largest + 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(malloc(SIZE_MAX) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(SIZE_MAX / 2, 4) == NULL && errno == ENOMEM); /* the product overflows */
    errno = 0;
    CHECK(calloc((size_t)1 << 33, (size_t)1 << 31) == NULL && errno == ENOMEM); /* the product is 0 modulo 2^64 */
    errno = 0;
    CHECK(reallocarray(NULL, SIZE_MAX / 2, 4) == NULL && errno == ENOMEM);
    char* block = malloc(100);
    fill(block, 100, 1);
    errno = 0;
    CHECK(realloc(block, largest + 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(block, (size_t)1 << 33, (size_t)1 << 31) == NULL && errno == ENOMEM);
    CHECK(filled(block, 100, 1)); /* a failed realloc leaves the block */
    free(block);
    errno = 0;
    CHECK(memalign(64, largest + 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(valloc(SIZE_MAX - 10) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(SIZE_MAX - 10) == NULL && errno == ENOMEM);
}

static void alignments(void) {
    for (size_t size = 1; size < 100000; size = size * 3 / 2 + 1) {
        void* block = malloc(size);
        CHECK(block != NULL && is_aligned(block, size < 16 ? 8 : 16) && malloc_usable_size(block) >= size);
        fill(block, malloc_usable_size(block), 2);
        free(block);
    }
    for (size_t alignment = 8; alignment <= (size_t)1 << 21; alignment *= 2)
        for (size_t size = 1; size <= 100000; size = size * 10 + 7) {
            void* a = NULL;
            CHECK(posix_memalign(&a, alignment, size) == 0 && is_aligned(a, alignment));
            void* b = aligned_alloc(alignment, size);
            CHECK(b != NULL && is_aligned(b, alignment));
            void* c = memalign(alignment, size);
            CHECK(c != NULL && is_aligned(c, alignment));
            fill(a, size, 3);
            fill(b, size, 4);
            fill(c, malloc_usable_size(c), 5);
            CHECK(filled(a, size, 3) && filled(b, size, 4));
            b = realloc(b, size * 2); /* an aligned block may be resized; its alignment is not kept */
            CHECK(b != NULL && filled(b, size, 4));
            free(a);
            free(b);
            free(c);
        }
    void* odd = aligned_alloc(24, 48); /* glibc rounds 24 up to 32 */
    CHECK(odd != NULL && is_aligned(odd, 16));
    free(odd);
    void* other = memalign(48, 100);
    CHECK(other != NULL && is_aligned(other, 64));
    free(other);
}

static void bad_alignments(void) {
    void* untouched = &untouched;
    CHECK(posix_memalign(&untouched, 24, 48) == EINVAL);
    CHECK(posix_memalign(&untouched, 4, 48) == EINVAL); /* no multiple of sizeof(void*) */
    CHECK(posix_memalign(&untouched, 0, 48) == EINVAL);
    CHECK(posix_memalign(&untouched, 64, SIZE_MAX - 100) == ENOMEM);
    CHECK(untouched == &untouched);
    CHECK(posix_memalign(&untouched, 64, 0) == 0);
    free(untouched);
}

static void pages(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void* a = valloc(10);
    CHECK(a != NULL && is_aligned(a, page));
    void* b = pvalloc(page + 1);
    CHECK(b != NULL && is_aligned(b, page) && malloc_usable_size(b) >= 2 * page);
    fill(b, 2 * page, 6);
    void* c = pvalloc(0);
    CHECK(c != NULL);
    free(a);
    free(b);
    free(c);
}

static void resizing(void) {
    unsigned random = 12345;
    char* block = NULL;
    size_t size = 0;
    for (int i = 0; i < 3000; ++i) {
        const size_t wanted = 1 + next_random(&random) % (i % 10 == 0 ? 300000 : 3000);
        block = realloc(block, wanted);
        CHECK(block != NULL && filled(block, size < wanted ? size : wanted, 7));
        fill(block, wanted, 7);
        size = wanted;
        CHECK(malloc_usable_size(block) >= wanted);
    }
    free(block);
    int* array = reallocarray(NULL, 10, sizeof(int));
    CHECK(array != NULL && malloc_usable_size(array) >= 40);
    array = reallocarray(array, 10000, sizeof(int));
    CHECK(array != NULL && malloc_usable_size(array) >= 40000);
    free(array);
}

static void zeroing(void) {
    for (size_t size = 1; size < 2000000; size = size * 2 + 1) {
        unsigned char* dirty = malloc(size);
        CHECK(dirty != NULL);
        memset(dirty, 0xff, size);
        free(dirty);
        unsigned char* clean = calloc(1, size);
        CHECK(clean != NULL && is_zero(clean, size));
        free(clean);
    }
}

static void errno_is_kept(void) {
    errno = 77;
    void* block = malloc(100);
    free(block);
    void* large = malloc(10 << 20);
    free(large);
    free(NULL);
    CHECK(errno == 77); /* POSIX 2024 asks it of free; glibc since 2.33 */
}

static void the_rest(void) {
    malloc_trim(0);
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 0 || mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    char* text = strdup("allocated in libc, freed here");
    CHECK(text != NULL && strlen(text) == 29);
    free(text);
    char* line = NULL;
    size_t capacity = 0;
    FILE* self = fopen("/proc/self/status", "r");
    CHECK(self != NULL && getline(&line, &capacity, self) > 0 && malloc_usable_size(line) >= capacity);
    fclose(self);
    free(line);
    char* printed = NULL;
    CHECK(asprintf(&printed, "%d and %f", 7, 0.5) == 14);
    free(printed);
}

int main(void) {
    zero_sizes();
    too_large();
    alignments();
    bad_alignments();
    pages();
    resizing();
    zeroing();
    errno_is_kept();
    the_rest();
    puts("ok");
    return 0;
}
