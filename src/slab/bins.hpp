// SPDX-License-Identifier: MIT
//
// bins: filling, emptying and sizing the lists of free blocks in front of the slabs.
//
// Idea.        A bin is filled with the whole free list of a slab, which moves as one word. A bin with as many blocks as it may
//              have sends some back, those that came last: each to the free list of its slab if this thread holds that, else to the slab's
//              remote list, the blocks of a slab together. How many it may have grows while it sends back what it wants again
//              (a batch, a consumer), up to what a heap may have in all, and shrinks while the thread idles.
//
//                  slab --fill--> [bin] --alloc_fast--> user --free_fast--> [bin] --flush--> slab, of this thread or another
//
// Invariants.  heap.hpp I4.
// Concurrency. slot held and closed, or inside the own open section, as each says.
// Lock order.  slot > node > page_alloc.
// Checked by.  test/slab/bins_test.cc, verify/explore/remote.cc
// Source.      Bonwick and Adams's magazines, tcmalloc's slow start.
#pragma once

#include "slab/heap.hpp"

namespace allot::slab {

/// The tag of the cache's pages and its bins; that of none if its blocks do not go through bins.
page_tag page_tag_for(const kmem_cache& cache) noexcept;
/// Gives the cache's bin of `h` the cache's tag: it takes blocks from now on. Slot held and closed; the tables have room, and the cache
/// is neither unpublished nor destroyed, or the holder does it next.
void open_bin(heap& h, const kmem_cache& cache) noexcept;
/// Puts the list into the empty bin. Slot held, or inside an open section.
void fill(bin& b, free_word blocks) noexcept;
/// Sends blocks back to their slabs until the bin has at most `left`. Slot held and closed.
void flush(heap& h, std::uint32_t index, std::uint32_t left) noexcept;
/// The same of a cold bin whose blocks are uncharged already.
void send_back(heap& h, std::uint32_t index, std::uint32_t left) noexcept;
/// A bin without room gets some: it may have more, or those that came last go. False if its blocks are better left with their slabs. Slot
/// held and closed.
[[nodiscard]] bool make_room(heap& h, std::uint32_t index) noexcept;
/// The bin may have half as many blocks as before, but what it began with; the others go. Slot held and closed.
void shrink_bin(heap& h, std::uint32_t index) noexcept;
/// Sends all blocks back; the bin takes none any more. Slot held and closed.
void close_bin(heap& h, std::uint32_t index) noexcept;
/// Leaves the blocks in the bins of `h` to whoever wipes their slabs; the bins take nothing any more. Slot held and closed.
void forget_bins(heap& h) noexcept;
/// The bin of the slot that takes blocks of `s`, whose pages have `tag`, and its heap; null if there is none. Slot held, or inside an
/// open section.
bin* bin_for(sync::thread_slot& slot, const slab& s, page_tag tag, heap** of) noexcept;

/// The same for a thread that has none and frees blocks of its current group: opened, if there is memory. Slot held and closed.
bin* open_bin_for(sync::thread_slot& slot, const slab& s, page_tag tag, heap** of) noexcept;

} // namespace allot::slab
