// SPDX-License-Identifier: MIT
//
// slab_ops: what the holder of a slab does with it.
//
// Idea.        A slab is always held by somebody: the thread whose heap it is frozen in (slot lock, fast path closed or own),
//              or, unfrozen, the node lock of its cache. These functions are the only ones that change a slab's place.
//
//              new_slab --> [heap_partial] --has no block left--> [heap_full]
//                            |   |      ^                            |  |
//                         empty  |      '----- a block came back ----'  |
//                            |   | park                            park |
//                            v   v                                      v
//                  page_alloc  [node_partial] <------------------> [node_full]    node_partial --adopt--> [heap_partial]
//
//              Blocks are taken from the first slab of the queue: its whole list goes into the cache's bin, or, of caches
//              without bins, one block at a time to the caller.
//
// Concurrency. holder only; frozen changes under the node lock.
// Lock order.  slot > node > page_alloc.
// Checked by.  test/slab/slab_test.cc
// Source.      Linux mm/slub.c (freeze, unfreeze, deactivate_slab).
#pragma once

#include "slab/bins.hpp"

namespace allot::slab {

/// Why there is no slab or block.
struct shortage {
    counter::page_counter* over = nullptr; ///< the counter whose max refused; null: the system has no memory
    counter::byte_count wanted = 0;        ///< bytes that were not charged
};

/// Lists of slabs are rings of page indices; the head is the first, 0 if there is none.
void unlink(std::uint32_t& head, slab& s) noexcept;
void link_front(std::uint32_t& head, slab& s) noexcept;
void link_back(std::uint32_t& head, slab& s) noexcept;
/// Takes a slab off its heap's queue. Slot held, or inside an open section.
void unqueue(heap& h, slab& s) noexcept;
/// The slab after `s`, or null after the last.
inline slab* next_in(std::uint32_t head, const slab& s) noexcept { return s.next == head ? nullptr : &slab_at(s.next); }
inline slab* first_in(std::uint32_t head) noexcept { return head == 0 ? nullptr : &slab_at(head); }

/// The word of the blocks behind a free block.
ALLOT_INLINE free_word& link_of(const cache_shape& shape, void* block) noexcept {
    return *reinterpret_cast<free_word*>(static_cast<char*>(block) + shape.link_offset);
}

/// What is behind the first block of a list of the slab, which is not empty. A slab of one block keeps nothing in it.
ALLOT_INLINE free_word behind_first(const slab& s, free_word list) noexcept {
    return s.capacity == 1 ? 0 : link_of(s.cache->shape, first_free(list));
}

/// Moves blocks that others freed to the free list; clears and sets bits of the remote word with it.
void collect(slab& s, std::uint64_t clear = 0, std::uint64_t set = 0) noexcept;
/// Puts some of the blocks that were never used on the free list. False if there are none.
bool carve(slab& s) noexcept;
/// Takes a block off the free list, which is not empty.
void* pop(slab& s) noexcept;
/// Puts a block on the free list.
void push(slab& s, void* block) noexcept;

/// The slab of the heap that the next block of the cache with `index` comes from, or null. Slot held, or inside an open section.
[[nodiscard]] slab* block_source(heap& h, std::uint32_t index) noexcept;
/// The next block of what the heap has for the cache with `index`, or null; fills the bin if there is one. Slot held, or inside an open
/// section.
[[nodiscard]] void* next_block(heap& h, std::uint32_t index) noexcept;
/// Sees to it that the heap has a slab with a block of the cache: one that nobody holds, or a new one. False with `*why` filled in. Slot
/// held.
[[nodiscard]] bool provide(heap& h, kmem_cache& cache, shortage* why) noexcept;
/// The next block of what the heap has or gets; null with `*why` filled in. Slot held.
[[nodiscard]] void* refill(heap& h, kmem_cache& cache, shortage* why) noexcept;
/// Unfreezes a slab that is on no list: it goes to its cache's node, or back to page_alloc. Slot held and closed.
void park(slab& s) noexcept;
/// A block came back to a slab of the full list: it joins the queue. Slot held, or inside an open section.
void make_partial(slab& s) noexcept;
/// A block of `s` was pushed locally: moves the slab to the place where it belongs now. Slot held.
void after_local_free(slab& s) noexcept;
/// Keeps an empty slab of the queue for its heap, if the heap may keep one more. Slot held, or inside an open section.
[[nodiscard]] bool keep_empty(slab& s) noexcept;
/// Gives back up to `bytes` that the heap keeps in bins and empty slabs of one block, but of the cache with index `but`. Slot held.
/// To be called when so many are wanted for a slab of that cache, or a run of pages (kmalloc_class_count): what was wanted once, as of a
/// block that grew step by step, does not add to what is wanted now. Sizes below come first: what grew left them behind.
void release_large_idle(heap& h, std::uint32_t but, std::size_t bytes) noexcept;
/// Notes that a thread has taken a slab, which it may keep longer than it needs it. Context: any.
void want_trim() noexcept;
/// Empties the bins and gives back the empty slabs of the heap; both may have half as much from now on. Slot held and closed.
void trim(heap& h) noexcept;
/// Does what a freer of a queued slab has to do. Slot held; any slot.
void process_queued(sync::thread_slot& slot, slab& s) noexcept;
/// To be called after slabs of a slot were parked: who saw one frozen there, inside a section, may still queue it for that slot, whose
/// thread may sleep for long. Has it processed after a grace period. Context: any.
void sweep_late_pushes() noexcept;
/// Processes everything queued for the slot. Slot held.
void drain_queue(sync::thread_slot& slot) noexcept;
/// Pushes a queued slab. Context: any.
void push_queue(std::atomic<slab_remote*>& queue, slab& s) noexcept;
/// Has a queued slab that is frozen in the slot with `index` processed: by its thread or, if that is gone, by the executor.
/// Context: any. Defined in free.cc.
void queue_for_slot(std::uint32_t index, slab& s) noexcept;

/// The work of a typesafe_by_rcu cache: gives back the slabs whose grace period is over, begins one for the new. Executor.
void release_after_grace_period(sync::work& item) noexcept;
/// Pages of the next slab of the cache: few for the first ones, so that many small groups stay small; and the fewest that do.
std::size_t pages_for(const kmem_cache& cache) noexcept;
std::size_t pages_min(const kmem_cache& cache) noexcept;
/// A slab of so many pages, charged and in the heap, on no list; null with `*why` filled in. Slot held.
[[nodiscard]] slab* new_slab_of(heap& h, kmem_cache& cache, std::size_t pages, shortage* why) noexcept;
/// Uncharges a slab that is nobody's and gives its pages to the slot's stash. Slot held.
void give_back_slab(sync::thread_slot& slot, slab& s) noexcept;
/// Gives the pages of an empty slab, which is on no list and not queued, back, by way of the slot's stash. Slot held.
void release_slab(sync::thread_slot& slot, slab& s) noexcept;
/// An unfrozen slab that has blocks, or none, live: links it where it belongs.
void link_to_node(kmem_cache& cache, slab& s) noexcept ALLOT_REQUIRES(cache.node.lock);
void unlink_from_node(kmem_cache& cache, slab& s) noexcept ALLOT_REQUIRES(cache.node.lock);
/// Frees a large block. Slot held. Defined in free.cc.
void release_large(slab& s) noexcept;

/// Uncharges objects of shared slabs from their owner. If `h`, which may be null, is the payer's own heap, the shares and references are put
/// together there; then slot held, or inside an open section. Inside a RCU section. Defined in shared.cc.
void uncharge_objects(heap* h, obj_cgroup& owner, cold_figures gone) noexcept;
/// Uncharges an object of a shared slab from its owner and clears the owner id. Context: any, inside a RCU section. Defined in shared.cc.
void uncharge_shared(slab& s, const void* block) noexcept;
/// The same for the holder of the slab. Slot held, or inside an open section; inside a RCU section.
void uncharge_shared_by_holder(slab& s, const void* block) noexcept;

} // namespace allot::slab
