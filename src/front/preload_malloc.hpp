// SPDX-License-Identifier: MIT
//
// preload_malloc: what the preload's malloc and operator new share.
//
// Idea.        The likely halves are inline, so that malloc, free, operator new and operator delete are each one function. The
//              caller's address travels along with the rest, since a rule may go by the calling library.
// Concurrency. any thread.
#pragma once

#include "front/malloc.hpp"
#include "front/preload_placement.hpp"

namespace allot::front {

/// What preload_take() has not: larger sizes, other rules, and the slow path for small sizes. Null: errno ENOMEM.
[[nodiscard]] void* preload_malloc(std::size_t size, const void* caller) noexcept;
/// `alignment` is a power of two. Null: errno ENOMEM.
[[nodiscard]] void* preload_aligned(std::size_t alignment, std::size_t size, const void* caller) noexcept;
/// What free_fast() did not take: blocks that it may not free, null, and addresses that are not ours, which are let go.
void preload_free_rest(void* block) noexcept;

/// True below placement_small_end: one instruction, where the compiler would make two of an atomic load and a comparison.
[[nodiscard]] ALLOT_INLINE bool is_placed_by_size(std::size_t size) noexcept {
#if defined(__x86_64__)
    bool below;
    __asm__("cmpq %2, %1" : "=@ccb"(below) : "r"(size), "m"(placement_small_end));
    return below;
#else
    return size < placement_small_end.load(std::memory_order_relaxed); // relaxed: see there
#endif
}

/// A small block for the thread's group, where no rule goes by the caller. Null: preload_malloc() tells.
[[nodiscard]] ALLOT_INLINE void* preload_take(std::size_t size) noexcept {
    if (!is_placed_by_size(size)) [[unlikely]]
        return nullptr;
    return slab::alloc_fast(slab::small_bin_of(size));
}

/// All sizes, all rules. Null: errno ENOMEM.
[[nodiscard]] ALLOT_INLINE void* preload_any(std::size_t size, const void* caller) noexcept {
    if (void* const block = preload_take(size)) [[likely]]
        return block;
    return preload_malloc(size, caller);
}

ALLOT_INLINE void preload_free(void* block) noexcept {
    if (!slab::free_fast(block)) [[unlikely]]
        preload_free_rest(block);
}

} // namespace allot::front
