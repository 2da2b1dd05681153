// SPDX-License-Identifier: MIT
//
// discard: taking back what a group has, without its objects being freed one by one.
//
// Idea.        A slab of the group's own is wiped, which makes it empty whatever lived in it, and goes back as an empty one does.
//              Large blocks are linked to their owner and freed from that list. Objects in shared slabs are not searched for:
//              their owner is marked, and whoever runs such a slab dry looks through its owner ids and takes back what belongs
//              to a marked one. When more than a bound waits for that, the executor looks through all shared slabs.
// Invariants.  I1  From its mark on, an owner's objects in shared slabs are the root's: nobody else is charged for them, and
//                  nobody may free them.
//              I2  Each such object holds a reference on its owner until it is taken back, so the id stays in use.
//              I3  A large block of any group but the root is on its owner's list while it lives.
// Concurrency. wipe: the slab's holder. sweep_slab: its holder, also without the slot's lock inside an open section. The rest as each
//              says.
// Lock order.  caches > slot > node, runs.
// Checked by.  test/slab/discard_test.cc, test/group/discard_test.cc
// Source.      docs/lifecycle.md "Discarding a group".
#pragma once

#include "slab/heap.hpp"

namespace allot::slab {

/// Bytes of discarded objects in shared slabs that were not taken back yet. A hint while others work.
inline constinit std::atomic<std::int64_t> discarded_bytes{0};

/// Takes back the discarded objects of a shared slab. Returns their count. Holder only.
std::uint32_t sweep_slab(slab& s) noexcept;
/// The same, if anything is discarded anywhere. True if the slab, which had no free block, has one now.
inline bool sweep_dry(slab& s) noexcept {
    // relaxed: a hint; what is missed now is found the next time.
    if (s.kind != slab_kind::shared || discarded_bytes.load(std::memory_order_relaxed) <= 0) [[likely]]
        return false;
    return sweep_slab(s) != 0;
}
/// Looks through up to `most` of the heap's slabs without free blocks, those that have been so for longest. True if one of cache `index`
/// has a block now. Slot held, or inside an open section.
bool sweep_some_full(heap& h, std::uint32_t index, unsigned most) noexcept;
/// So many before a new slab is taken; and so many to fill a bin: after a discard it is mostly the first one.
inline constexpr unsigned full_slabs_at_once = 16;
inline constexpr unsigned full_slabs_for_a_bin = 2;
/// Takes back all discarded objects there are. Context: task, no lock of rank caches or later held.
void sweep_discarded() noexcept;
/// `bytes` of shared objects were discarded: has them taken back if that is worth a search. Context: any.
void note_discarded(std::uint64_t bytes) noexcept;

/// Marks the owner: from here on its objects in shared slabs are nobody's. Context: the lock of its group's list held.
void mark_discarded(obj_cgroup& owner) noexcept;
/// Makes all slabs of the heap empty. Slot held and closed.
void wipe_heap(heap& h) noexcept;
/// Gives back the slabs of a child cache that no heap has, with whatever lives in them. Slot held.
void discard_unowned(sync::thread_slot& slot, kmem_cache& cache) noexcept;
/// Frees all large blocks of the owner. Slot held.
void discard_runs(obj_cgroup& owner) noexcept;

/// Its first large block, or 0. Context: atomic.
std::uint32_t first_run(obj_cgroup& owner) noexcept;
/// Links a large block that was just made to its owner, and takes it off. Slot held.
void link_run(obj_cgroup& owner, slab& s) noexcept;
void unlink_run(obj_cgroup& owner, slab& s) noexcept;

/// In a forked child: makes the work ready to be queued. Context: fork_child.
void discard_reset() noexcept;

} // namespace allot::slab
