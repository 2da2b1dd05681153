// SPDX-License-Identifier: MIT
//
// lock_rank: the order of all locks, and in debug builds the proof that it is kept.
//
// Idea.        Every lock has a rank; a thread may only take a lock whose rank is above those it holds. A second slot lock
//              is allowed to the thread that stops the world, in the order of the slots' numbers.
// Invariants.  I1  The ranks that a thread holds increase strictly, but for rank `slot`.
// Concurrency. per-thread state only.
// Checked by.  test/sync/lock_rank_test.cc
// Source.      Linux lockdep; docs/lock_order.md.
#pragma once

#include "base/assert.hpp"

namespace allot::sync {

/// All locks of the library, outermost first.
enum class lock_rank : std::uint8_t {
    reclaim,    ///< one thread at a time reclaims at a limit
    executor,   ///< one thread at a time runs deferred work
    tree,       ///< the tree of groups, its ids and lists
    caches,     ///< the list of root caches and the life of child caches
    registry,   ///< which thread slots exist
    slot,       ///< one thread's heaps
    node,       ///< one cache's lists of unowned slabs
    soft_limit, ///< one NUMA node's tree of groups above their `high`
    owners,     ///< the table of obj_cgroup ids
    metadata,   ///< the library's own small objects
    page_alloc, ///< free pages
    debug,      ///< what debug builds remember
    cache_gate, ///< whether work may still be queued for a root cache
    count
};

#if ALLOT_DEBUG
void lock_acquiring(lock_rank rank) noexcept;
void lock_released(lock_rank rank) noexcept;
/// True if the calling thread holds any lock of the library.
bool holds_any_lock() noexcept;
#else
inline void lock_acquiring(lock_rank) noexcept {}
inline void lock_released(lock_rank) noexcept {}
#endif

} // namespace allot::sync
