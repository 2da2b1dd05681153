// SPDX-License-Identifier: MIT
//
// fast_path: allocation and free as the machine does them.
//
// Idea.        The thread's active slab for the class gives up the head of its free list; a block of a slab that this thread
//              holds goes back on it. No counter, no atomic, no lock: the slab was charged when it was taken. Each is a
//              section that ends with one store, so that a revoker can close the fast path of another thread and know that it
//              is out: the kernel restarts the section (fast_rseq.hpp), or it is a read-side section that the revoker waits
//              for (fast_section.hpp). Closing costs no test here: a closed thread's table holds an empty slab and its id
//              matches none.
//
//              alloc_fast                              free_fast
//              `- alloc_slow  no block, closed,        `- free_slow  another thread's, shared, large, closed,
//                 |           nested                      |          nested, foreign
//                 |- refill   next slab                   |- after_local_free
//                 `- reclaim  over a limit                |- empty_slow  the slab has become empty
//                                                         `- free_remote
//
// Invariants.  I1  A thread touches `free_list` of a slab here only inside a section in which it found the slab in its active
//                  table or its own id in `owner`.
// Concurrency. the calling thread; Context any (nested entry finds the fast path closed).
// Checked by.  test/slab/heap_test.cc, test/slab/signal_test.cc, verify/spin/revoke.pml, bench/golden
// Source.      docs/design.md "The fast path".
#pragma once

#include "platform/rseq.hpp"
#include "slab/heap.hpp"
#if ALLOT_RSEQ
#include "slab/fast_rseq.hpp"
#else
#include "slab/fast_section.hpp"
#endif

namespace allot::slab {

/// The slow halves; see alloc.cc and free.cc.
ALLOT_COLD void* alloc_slow(std::uint32_t index, std::size_t request) noexcept;
ALLOT_COLD void free_slow(void* block) noexcept;
ALLOT_COLD void empty_slow(slab& s) noexcept;

/// A block of the cache with `index`, which is below the thread's table capacity, or null if the slow path has to be taken.
[[nodiscard]] ALLOT_INLINE void* alloc_fast(std::uint32_t index) noexcept { return take_block(index); }

/// Frees `block` if this thread may do so without a lock. False if the slow path has to be taken.
[[nodiscard]] ALLOT_INLINE bool free_fast(void* block) noexcept {
    if (!arena_contains(block)) [[unlikely]]
        return false;
    slab* const s = slab_of(block);
    std::uint64_t length = 0;
    if (!put_block(*s, block, length)) [[unlikely]]
        return false;
    // Relaxed: by now the slab may be another's; empty_slow() looks into it.
    if (static_cast<std::uint16_t>(length) == s->empty_at.load(std::memory_order_relaxed)) [[unlikely]]
        empty_slow(*s);
    return true;
}

} // namespace allot::slab
