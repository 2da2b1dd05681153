// SPDX-License-Identifier: MIT
//
// fast_path: allocation and free as the machine does them.
//
// Idea.        The thread's active slab for the class gives up the head of its free list; a block of a slab that this thread
//              holds goes back on it. No counter, no atomic, no lock: the slab was charged when it was taken. Both run inside
//              a read-side section of two plain stores, so that a revoker can close the fast path of another thread and wait
//              until it is out. Closing costs no test here: a closed thread's table holds an empty slab and its id matches
//              none.
//
//              alloc_fast                              free_fast
//              `- alloc_slow  no block, closed,        `- free_slow  another thread's, shared, large, closed,
//                 |           nested                      |          nested, foreign
//                 |- refill   next slab                   |- after_local_free
//                 `- reclaim  over a limit                |- empty_slow  the slab has become empty
//                                                         `- free_remote
//
// Invariants.  I1  A thread touches `free_list`, `allocs` and `frees` of a slab here only inside a section in which it found
//                  the slab in its active table or its own id in `owner`.
// Concurrency. the calling thread; Context any (nested entry is seen from the section count).
// Checked by.  test/slab/heap_test.cc, bench/golden
// Source.      docs/design.md "The fast path".
#pragma once

#include "slab/debug.hpp"
#include "slab/heap.hpp"

namespace allot::slab {

/// The slow halves; see alloc.cc and free.cc.
ALLOT_COLD void* alloc_slow(std::uint32_t index, std::size_t request) noexcept;
ALLOT_COLD void free_slow(void* block) noexcept;
ALLOT_COLD void empty_slow(slab& s) noexcept;

/// A block of the cache with `index`, which is below the thread's table capacity, or null if the slow path has to be taken.
[[nodiscard]] ALLOT_INLINE void* alloc_fast(std::uint32_t index) noexcept {
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    const std::uint64_t count = reader.count();
    if ((count & 1) != 0) [[unlikely]]
        return nullptr;
    reader.enter_fast(count);
    // Relaxed: a revoker that writes the table or the pointer waits for this section afterwards.
    auto* const table = static_cast<active_table*>(tls.active.load(std::memory_order_relaxed));
    slab* const s = table[index].load(std::memory_order_relaxed); // relaxed: as above
    void* const block = s->free_list;
    if (block == nullptr) [[unlikely]] {
        reader.leave_fast(count);
        return nullptr;
    }
    s->free_list = *static_cast<void**>(block);
    ++s->allocs;
    debug_on_alloc(*s, block);
    reader.leave_fast(count);
    return block;
}

/// Frees `block` if this thread may do so without a lock. False if the slow path has to be taken.
[[nodiscard]] ALLOT_INLINE bool free_fast(void* block) noexcept {
    if (!arena_contains(block)) [[unlikely]]
        return false;
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    slab* const s = slab_of(block);
    const std::uint64_t count = reader.count();
    if ((count & 1) != 0) [[unlikely]]
        return false;
    reader.enter_fast(count);
    // Relaxed: a revoker that writes either waits for this section afterwards.
    if (s->owner.load(std::memory_order_relaxed) != tls.fast_id.load(std::memory_order_relaxed)) [[unlikely]] {
        reader.leave_fast(count);
        return false;
    }
    debug_on_free(*s, block);
    *static_cast<void**>(block) = s->free_list;
    s->free_list = block;
    const bool emptied = ++s->frees == s->allocs;
    reader.leave_fast(count);
    if (emptied) [[unlikely]]
        empty_slow(*s);
    return true;
}

} // namespace allot::slab
