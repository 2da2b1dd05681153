// SPDX-License-Identifier: MIT
//
// malloc: the malloc family over the slab layer, for the C interface and for the preload.
//
// Idea.        The fast half is inline, so that allot_malloc and the preload's malloc are each one function; sizes above
//              small_table_max_bytes and everything else that is rare is behind one call.
// Concurrency. any thread; Context as in allot.h.
// Checked by.  test/front/malloc_test.cc
#pragma once

#include "front/entry.hpp"
#include "slab/fast_path.hpp"

namespace allot::front {

ALLOT_COLD void* malloc_slow(std::size_t size) noexcept;
/// Above the table of small sizes; fast up to kmalloc_max_bytes.
[[gnu::noinline]] void* malloc_medium(std::size_t size) noexcept;
/// What is not to be put into a bin of the thread's current group.
ALLOT_COLD void free_slow(void* block) noexcept;
/// What free_fast() did not take; null, too.
[[gnu::noinline]] void free_rest(void* block) noexcept;
/// Keeps the owner of the block. Null: errno ENOMEM, the block is as it was.
[[nodiscard]] void* realloc_block(void* block, std::size_t size) noexcept;
[[nodiscard]] void* calloc_block(std::size_t count, std::size_t size) noexcept;
/// `alignment` is a power of two. Null: errno ENOMEM.
[[nodiscard]] void* aligned_block(std::size_t alignment, std::size_t size) noexcept;
/// For a group, or for a place. Null: errno ENOMEM.
[[nodiscard]] void* group_block(slab::cache_owner& owner, std::size_t size, std::size_t alignment) noexcept;
[[nodiscard]] void* place_block(const std::atomic<slab::cache_owner*>& owner, std::size_t size,
                                std::size_t alignment) noexcept;

[[nodiscard]] ALLOT_INLINE void* malloc_block(std::size_t size) noexcept {
    if (size > slab::small_table_max_bytes) [[unlikely]]
        return malloc_medium(size);
    if (void* const block = slab::alloc_fast(slab::small_bin_of(size))) [[likely]]
        return block;
    return malloc_slow(size);
}

ALLOT_INLINE void free_block(void* block) noexcept {
    if (!slab::free_fast(block)) [[unlikely]]
        free_rest(block);
}

} // namespace allot::front
