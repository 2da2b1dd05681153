// SPDX-License-Identifier: MIT
//
// preload_malloc: the malloc family of libc, for programs that know nothing of this library.
//
// Idea.        Every entry that hands out or takes a block is here, so that no block of ours meets libc's allocator: redis
//              crashes without malloc_usable_size. Calls come before constructors, after exit hooks and in forked children; the
//              layers below take them all. An address that is not ours (from a time before us) is let go, never touched.
// Concurrency. any thread, any time.
// Checked by.  test/programs/
// Source.      malloc(3), posix_memalign(3); docs/preload.md.
#include "front/preload_malloc.hpp"

#include <cstdlib>
#include <cstring>

using namespace allot;
using namespace allot::front;

namespace {

/// The group that the calling library's rule names, or null for the thread's.
[[gnu::noinline]] slab::cache_owner* group_for_caller(const void* caller) noexcept {
    if (!enter())
        return nullptr;
    allot_group* const group = placement_for_caller(caller);
    return group != nullptr ? group_from(group) : nullptr;
}

ALLOT_COLD void* malloc_for_caller(std::size_t size, std::size_t alignment, const void* caller) noexcept {
    slab::cache_owner* const owner = group_for_caller(caller);
    if (owner == nullptr || slab::nested())
        return alignment != 0 ? aligned_block(alignment, size) : malloc_block(size);
    return group_block(*owner, size, alignment != 0 ? alignment : 16);
}

/// A block whose size is not known here cannot be moved.
ALLOT_COLD void* realloc_foreign() noexcept {
    errno = ENOMEM;
    return nullptr;
}

} // namespace

// operator new (preload_new.cc) passes its own caller.
namespace allot::front {

void* preload_malloc(std::size_t size, const void* caller) noexcept {
    if (placement_by_caller()) [[unlikely]]
        return malloc_for_caller(size, 0, caller);
    if (size > slab::small_table_max_bytes && size <= slab::kmalloc_max_bytes)
        if (void* const block = slab::alloc_fast(slab::medium_bin_of(size))) [[likely]]
            return block;
    return malloc_slow(size);
}

void* preload_aligned(std::size_t alignment, std::size_t size, const void* caller) noexcept {
    return placement_by_caller() ? malloc_for_caller(size, alignment, caller) : aligned_block(alignment, size);
}

void preload_free_rest(void* block) noexcept {
    if (slab::arena_contains(block))
        front::free_rest(block);
}

} // namespace allot::front

extern "C" {

ALLOT_API void* malloc(size_t size) noexcept { return preload_any(size, __builtin_return_address(0)); }

ALLOT_API void free(void* block) noexcept { preload_free(block); }
ALLOT_API void cfree(void* block) noexcept { preload_free(block); }

ALLOT_API void* calloc(size_t count, size_t size) noexcept {
    std::size_t bytes = 0;
    if (placement_by_caller() && !__builtin_mul_overflow(count, size, &bytes)) [[unlikely]] {
        void* const block = malloc_for_caller(bytes, 0, __builtin_return_address(0));
        return block != nullptr ? std::memset(block, 0, bytes) : nullptr;
    }
    return calloc_block(count, size);
}

ALLOT_API void* realloc(void* block, size_t size) noexcept {
    if (block == nullptr)
        return preload_any(size, __builtin_return_address(0));
    return slab::arena_contains(block) ? realloc_block(block, size) : realloc_foreign();
}

ALLOT_API void* reallocarray(void* block, size_t count, size_t size) noexcept {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return nullptr;
    }
    if (block == nullptr)
        return preload_any(bytes, __builtin_return_address(0));
    return slab::arena_contains(block) ? realloc_block(block, bytes) : realloc_foreign();
}

/// As glibc: an alignment that is no power of two is rounded up to one.
ALLOT_API void* memalign(size_t alignment, size_t size) noexcept {
    if (alignment > PTRDIFF_MAX / 2) {
        errno = EINVAL;
        return nullptr;
    }
    return preload_aligned(std::bit_ceil(alignment), size, __builtin_return_address(0));
}

ALLOT_API void* aligned_alloc(size_t alignment, size_t size) noexcept {
    if (alignment > PTRDIFF_MAX / 2) {
        errno = EINVAL;
        return nullptr;
    }
    return preload_aligned(std::bit_ceil(alignment), size, __builtin_return_address(0));
}

ALLOT_API int posix_memalign(void** out, size_t alignment, size_t size) noexcept {
    if (!is_power_of_two(alignment) || alignment % sizeof(void*) != 0)
        return EINVAL;
    platform::errno_guard keep;
    void* const block = preload_aligned(alignment, size, __builtin_return_address(0));
    if (block == nullptr)
        return ENOMEM;
    *out = block;
    return 0;
}

ALLOT_API void* valloc(size_t size) noexcept { return preload_aligned(page_bytes, size, __builtin_return_address(0)); }

ALLOT_API void* pvalloc(size_t size) noexcept {
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return nullptr;
    }
    const std::size_t whole = round_up(size != 0 ? size : 1, page_bytes);
    return preload_aligned(page_bytes, whole, __builtin_return_address(0));
}

ALLOT_API size_t malloc_usable_size(void* block) noexcept {
    return block != nullptr && slab::arena_contains(block) ? slab::usable_bytes(block) : 0;
}

ALLOT_API int malloc_trim(size_t) noexcept {
    if (!enter() || slab::nested())
        return 0;
    memcg::reclaim(*memcg::root_group);
    return slab::purge() != 0 ? 1 : 0;
}

} // extern "C"

namespace {

/// The library's own thread stays out of programs that did not ask for it: their slow calls do the deferred work.
[[gnu::constructor(102)]] void start_preload() noexcept {
    const char* const threads = ::getenv("ALLOT_THREADS");
    sync::allow_worker(threads != nullptr && std::strcmp(threads, "1") == 0);
    const char* const directory = ::getenv("ALLOT_STAT_DIR");
    if (enter() && directory != nullptr && directory[0] != '\0')
        memcg::publish_figures(directory); // a failure costs the table, not the program
    placement_init();
    on_thread_start = placement_thread_start;
}

[[gnu::destructor]] void end_preload() noexcept {
    if (!slab::nested() && enter())
        memcg::settle_figures(nullptr);
}

} // namespace
