// SPDX-License-Identifier: MIT
//
// fast_section: the fast path's sections where the kernel does not restart them.
//
// Idea.        A read-side section of two plain stores, which a revoker waits for. It serves debug builds, whose checks run
//              inside, ThreadSanitizer, and machines that no section was written for.
// Invariants.  fast_path.hpp I1.
// Concurrency. the calling thread; Context any (nested entry is seen from the section count).
// Checked by.  test/slab/heap_test.cc, verify/explore, verify/spin/revoke.pml
// Source.      docs/design.md "The fast path".
#pragma once

#include "slab/debug.hpp"
#include "slab/heap.hpp"

namespace allot::slab {

[[nodiscard]] ALLOT_INLINE void* take_block(std::uint64_t offset) noexcept {
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    const std::uint64_t count = reader.count();
    if ((count & 1) != 0) [[unlikely]]
        return nullptr;
    reader.enter_fast(count);
    // Relaxed: a revoker that writes it waits for this section afterwards.
    bin& from = *reinterpret_cast<bin*>(static_cast<char*>(tls.bins.load(std::memory_order_relaxed)) + offset);
    if (from.free == 0) [[unlikely]] {
        reader.leave_fast(count);
        return nullptr;
    }
    void* const block = take_from(from);
    // Relaxed: written by this thread alone, and read as a figure.
    tls.allocations.store(tls.allocations.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
#if ALLOT_DEBUG
    debug_on_alloc(*slab_of(block), block);
#endif
    reader.leave_fast(count);
    return block;
}

[[nodiscard]] ALLOT_INLINE bool find_tag(const void* block, page_tag& tag) noexcept {
    if (!arena_contains(block))
        return false;
    tag = page_tag_of(block);
    return true;
}

[[nodiscard]] ALLOT_INLINE bool put_block(page_tag tag, void* block) noexcept {
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    const std::uint64_t count = reader.count();
    if ((count & 1) != 0) [[unlikely]]
        return false;
    reader.enter_fast(count);
    // Relaxed: a revoker that writes it waits for this section afterwards.
    char* const table = static_cast<char*>(tls.bins.load(std::memory_order_relaxed));
    bin& to = *reinterpret_cast<bin*>(table + (tag.bin_offset & tls.bin_mask));
    if (tag.value != to.tag || free_count(to.free) >= to.max) [[unlikely]] {
        reader.leave_fast(count);
        return false;
    }
#if ALLOT_DEBUG
    debug_on_free(*slab_of(block), block);
#endif
    put_into(to, block);
    reader.leave_fast(count);
    return true;
}

} // namespace allot::slab
