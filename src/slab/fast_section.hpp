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

[[nodiscard]] ALLOT_INLINE void* take_block(std::uint32_t index) noexcept {
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    const std::uint64_t count = reader.count();
    if ((count & 1) != 0) [[unlikely]]
        return nullptr;
    reader.enter_fast(count);
    // Relaxed: a revoker that writes the table or the pointer waits for this section afterwards.
    auto* const table = static_cast<active_table*>(tls.active.load(std::memory_order_relaxed));
    slab* const s = table[index].load(std::memory_order_relaxed); // relaxed: as above
    void* const block = first_free(s->free_list);
    if (block == nullptr) [[unlikely]] {
        reader.leave_fast(count);
        return nullptr;
    }
    s->free_list = *static_cast<free_word*>(block);
    // Relaxed: written by this thread alone, and read as a figure.
    tls.allocations.store(tls.allocations.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    debug_on_alloc(*s, block);
    reader.leave_fast(count);
    return block;
}

[[nodiscard]] ALLOT_INLINE bool put_block(slab& s, void* block, std::uint64_t& length) noexcept {
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    const std::uint64_t count = reader.count();
    if ((count & 1) != 0) [[unlikely]]
        return false;
    reader.enter_fast(count);
    // Relaxed: a revoker that writes either waits for this section afterwards.
    if (s.owner.load(std::memory_order_relaxed) != tls.fast_id.load(std::memory_order_relaxed)) [[unlikely]] {
        reader.leave_fast(count);
        return false;
    }
    debug_on_free(s, block);
    *static_cast<free_word*>(block) = s.free_list;
    s.free_list = in_front(block, s.free_list);
    length = free_count(s.free_list);
    reader.leave_fast(count);
    return true;
}

} // namespace allot::slab
