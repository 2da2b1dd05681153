// SPDX-License-Identifier: MIT
//
// fast_path: allocation and free as the machine does them.
//
// Idea.        The bin of the class in the thread's current heap gives up its first block; a block goes into the bin of its
//              cache, if the current heap has one. No counter, no atomic, no lock: the slab was charged when it was taken. Each
//              is a section that ends with one store, so that a revoker can close the fast path of another thread and know that
//              it is out: the kernel breaks the section off (fast_rseq.hpp), or it is a read-side section that the revoker waits
//              for (fast_section.hpp). Closing costs no test here: a closed thread's table holds empty bins, whose tag is no
//              slab's.
//
//              alloc_fast                              free_fast
//              |                                       |- free_cold  the current group's, of a shared slab (cold.hpp)
//              `- alloc_slow  no block, closed,        `- free_slow  another group's, large, closed, full bin, nested,
//                 |           nested                      |          foreign
//                 |- refill   next slab                   |- free_in_section  another heap's bin, or the slab
//                 `- reclaim  over a limit                |- overflow         some of the bin goes back to the slabs
//                                                         `- free_remote
//
// Invariants.  I1  A thread touches a bin here only inside a section in which it found the bin's table.
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

/// A block of the bin at this place, which is within the thread's table, or null if the slow path has to be taken.
[[nodiscard]] ALLOT_INLINE void* alloc_fast(bin_place place) noexcept {
    return take_block(static_cast<std::uint32_t>(place));
}

/// Frees `block` if this thread may do so without a lock. False if the slow path has to be taken.
[[nodiscard]] ALLOT_INLINE bool free_fast(void* block) noexcept {
    page_tag tag;
    return find_tag(block, tag) && put_block(tag, block);
}

} // namespace allot::slab
