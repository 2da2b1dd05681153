// SPDX-License-Identifier: MIT
//
// lock_rank: the order of all locks, and in debug builds the proof that it is kept.
//
// Idea.        Every lock has a rank; a thread may only take a lock whose rank is above those it holds. A second slot lock
//              is allowed to the thread that stops the world, in the order of the slots' numbers. Debug builds also keep in what
//              contexts the locks of a rank were taken (context.hpp).
// Invariants.  I1  The ranks that a thread holds increase strictly, but for rank `slot`.
//              I2  No lock of rank `slot` or before is taken inside a read-side section of the library: who holds one may be
//                  waiting for the section.
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
    runs,       ///< the large blocks of one owner
    soft_limit, ///< one NUMA node's tree of groups above their `high`
    owners,     ///< the table of obj_cgroup ids
    metadata,   ///< the library's own small objects
    page_alloc, ///< free pages
    debug,      ///< what debug builds remember
    cache_gate, ///< whether work may still be queued for a root cache
    count
};

/// What holding a lock forbids.
enum class lock_kind : std::uint8_t {
    spin,  ///< the holder is atomic: it must not wait for other work
    mutex, ///< the holder may wait
};

#if ALLOT_DEBUG

/// A place in the source, the default argument of what takes a lock or may block; empty in release builds. (std::source_location
/// is not in every library that we compile with.)
struct call_site {
    const char* file = nullptr;
    unsigned line = 0;

    static constexpr call_site current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) noexcept {
        return {file, line};
    }
};

/// Before a lock is waited for: a bug if this order or context is wrong.
void lock_acquiring(lock_rank rank, lock_kind kind = lock_kind::spin, call_site where = call_site::current()) noexcept;
/// After a lock was got without waiting: the same, but that a handler or a callback may try any lock.
void lock_tried(lock_rank rank, lock_kind kind = lock_kind::spin, call_site where = call_site::current()) noexcept;
void lock_released(lock_rank rank, lock_kind kind = lock_kind::spin) noexcept;
/// True if the calling thread holds any lock of the library.
bool holds_any_lock() noexcept;
/// A thread without a slot enters and leaves a read-side section of the library.
void slotless_section_entered() noexcept;
void slotless_section_left() noexcept;

#else

struct call_site {
    static constexpr call_site current() noexcept { return {}; }
};
inline void lock_acquiring(lock_rank, lock_kind = lock_kind::spin, call_site = {}) noexcept {}
inline void lock_tried(lock_rank, lock_kind = lock_kind::spin, call_site = {}) noexcept {}
inline void lock_released(lock_rank, lock_kind = lock_kind::spin) noexcept {}
inline void slotless_section_entered() noexcept {}
inline void slotless_section_left() noexcept {}

#endif

} // namespace allot::sync
