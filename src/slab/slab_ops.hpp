// SPDX-License-Identifier: MIT
//
// slab_ops: what the holder of a slab does with it.
//
// Idea.        A slab is always held by somebody: the thread whose heap it is frozen in (slot lock, fast path closed or own),
//              or, unfrozen, the node lock of its cache. These functions are the only ones that change a slab's place.
//
//                             new_slab
//                                |                     .-----------------------------.
//                                v                     v                             |
//              page_alloc <-- [active] --exhausted--> [heap_full] --a block came--> [heap_partial] --> active
//                   ^            | park                 | park                       | park
//                   |            v                      v                            v
//                   '--empty-- [node_partial] <------> [node_full]   --adopt--> active
//
// Concurrency. holder only; frozen changes under the node lock.
// Lock order.  slot > node > page_alloc.
// Checked by.  test/slab/slab_test.cc
// Source.      Linux mm/slub.c (freeze, unfreeze, deactivate_slab).
#pragma once

#include "slab/heap.hpp"

namespace allot::slab {

/// Why there is no slab or block.
struct shortage {
    counter::page_counter* over = nullptr; ///< the counter whose max refused; null: the system has no memory
    counter::byte_count wanted = 0;        ///< bytes that were not charged
};

/// Takes `s` off the list with head `head`, or puts it at its front.
void unlink(std::uint32_t& head, slab& s) noexcept;
void link(std::uint32_t& head, slab& s) noexcept;

/// The link word of a free block.
ALLOT_INLINE void*& link_of(const cache_shape& shape, void* block) noexcept {
    return *reinterpret_cast<void**>(static_cast<char*>(block) + shape.link_offset);
}

/// Moves blocks that others freed to the free list; clears and sets bits of the remote word with it.
void collect(slab& s, std::uint64_t clear = 0, std::uint64_t set = 0) noexcept;
/// Puts some of the blocks that were never used on the free list. False if there are none.
bool carve(slab& s) noexcept;
/// Takes a block off the free list, which is not empty.
void* pop(slab& s) noexcept;
/// Puts a block on the free list.
void push(slab& s, void* block) noexcept;

/// A slab of `h` for `cache` with a free block, made active; null with `*why` filled in. Slot held.
[[nodiscard]] slab* refill(heap& h, kmem_cache& cache, shortage* why) noexcept;
/// Adds the allocations of an owned slab that its payer does not know of to the payer's figure. Holder, slot held.
void fold_allocations(slab& s) noexcept;
/// The same for all active slabs of the heap. Slot held and closed.
void fold_active(heap& h) noexcept;
/// Ends being the active slab; the caller has cleared the table's entry.
void deactivate(slab& s) noexcept;
/// Unfreezes a slab that is on no list: it goes to its cache's node, or back to page_alloc. Slot held and closed.
void park(slab& s) noexcept;
/// A block of `s` was pushed locally: moves the slab to the place where it belongs now. Slot held.
void after_local_free(slab& s) noexcept;
/// Does what a freer of a queued slab has to do. Slot held; any slot.
void process_queued(sync::thread_slot& slot, slab& s) noexcept;
/// Processes everything queued for the slot. Slot held.
void drain_queue(sync::thread_slot& slot) noexcept;
/// Queues a slab for the slot that it is frozen in. Context: any.
void push_queue(std::atomic<slab_remote*>& queue, slab& s) noexcept;

/// Uncharges an object of a shared slab from its owner and clears the owner id. Context: any, inside a RCU section.
void uncharge_shared(slab& s, const void* block) noexcept;

} // namespace allot::slab
