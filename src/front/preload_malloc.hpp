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

/// All sizes, all rules. Null: errno ENOMEM.
[[nodiscard]] void* preload_malloc(std::size_t size, const void* caller) noexcept;
/// `alignment` is a power of two. Null: errno ENOMEM.
[[nodiscard]] void* preload_aligned(std::size_t alignment, std::size_t size, const void* caller) noexcept;
/// What free_fast() did not take: blocks that it may not free, null, and addresses that are not ours, which are let go.
void preload_free_rest(void* block) noexcept;

/// A small block for the thread's group, where no rule goes by the caller. Null: preload_malloc() tells.
[[nodiscard]] ALLOT_INLINE void* preload_take(std::size_t size) noexcept {
    if (size >= placement_small_end.load(std::memory_order_relaxed)) [[unlikely]] // relaxed: see there
        return nullptr;
    return slab::alloc_fast(slab::small_bin_of(size));
}

ALLOT_INLINE void preload_free(void* block) noexcept {
    if (!slab::free_fast(block)) [[unlikely]]
        preload_free_rest(block);
}

} // namespace allot::front
