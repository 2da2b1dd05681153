// SPDX-License-Identifier: MIT
//
// deferred_free: frees blocks after a grace period, for structures that readers walk without locks.
//
// Idea.        The caller's block has room for a head of two words, by which it is linked: nothing is allocated. One work item
//              serves all: a run frees the blocks whose grace period is over and begins one for those that came meanwhile.
// Invariants.  I1  A block is freed after a grace period that began after it was handed over.
//              I2  While a list is not empty, the work is queued or running.
// Concurrency. free_after_grace_period: any thread, Context any. barrier: Context task, not in a section.
// Lock order.  takes none.
// Checked by.  test/slab/deferred_free_test.cc
// Source.      Linux kfree_rcu(), kvfree_rcu_barrier().
#pragma once

#include "base/compiler.hpp"

namespace allot::slab {

/// Lies inside the block; the same bytes as allot_rcu_head.
struct deferred_head {
    deferred_head* next;
    void* block;
};

/// Frees `block`, which `head` is a part of, after a grace period. Context: any.
void free_after_grace_period(void* block, deferred_head& head) noexcept;
/// Waits until all blocks that were handed over before are free. Context: task, no lock held, not in a section.
void deferred_free_barrier() noexcept;
/// False if all blocks that were handed over before are free. Context: any.
[[nodiscard]] bool deferred_free_pending() noexcept;
/// In a forked child: makes the work ready to be queued. Context: fork_child.
void deferred_free_reset() noexcept;
/// In a forked child: the work may have been about to be queued by a thread that is gone. Context: fork_child.
void deferred_free_after_fork() noexcept;

} // namespace allot::slab
