// SPDX-License-Identifier: MIT
//
// page_alloc: runs of pages from the arena, a buddy system per 4 MiB chunk.
//
// Idea.        Orders 0..10; a block's buddy differs in one bit, so freeing merges in a few steps. A request for n pages
//              takes the next power of two and gives the rest back, so it costs n pages. Runs above 4 MiB take whole chunks.
//              Freed blocks keep their contents ("dirty") until the decay timer or purge() gives them to the system. They are
//              used first, though a smaller clean block would do. When none is large enough and clean memory is taken,
//              dirty memory of the same size goes to the system: the resident part does not grow beyond what was in use at a time.
//              And what lay dirty all the while as many pages were handed out as are dirty goes too.
// Invariants.  I1  handed_out() = pages in blocks that were allocated and not freed, exactly.
//              I2  No two free buddies of one order exist.
//              I3  A block that is not dirty reads as zeros.
// Concurrency. any thread, Context atomic.
// Lock order.  page_alloc, innermost.
// Checked by.  test/slab/page_alloc_test.cc
// Source.      Knuth 2.5; Linux mm/page_alloc.c; jemalloc's decay.
#pragma once

#include "slab/arena.hpp"

namespace allot::slab {

/// A run of pages. `first` is null if there was none. `zeroed`: reads as zeros.
struct page_run {
    slab* first = nullptr;
    bool zeroed = false;
};

/// Takes a block of 2^order pages (order <= chunk_order), aligned to its size. Context: atomic.
[[nodiscard]] page_run alloc_pages(unsigned order) noexcept;
/// Takes exactly `pages` pages, the first aligned to `alignment_pages` (a power of two). Context: atomic.
[[nodiscard]] page_run alloc_run(std::size_t pages, std::size_t alignment_pages) noexcept;
/// Makes a run of `had` pages `pages` long, in place. Errors: false, nothing changed: what follows is not free. Context: atomic.
[[nodiscard]] bool extend_run(slab& first, std::size_t had, std::size_t pages) noexcept;
/// Gives back pages taken above, any sub-range of whole pages. The descriptors must be reset (kind none).
void free_pages(slab& first, std::size_t pages) noexcept;

/// Free blocks of slab size that one thread keeps for itself, so that groups that come and go do not meet at the lock. They are
/// free: not handed out, not charged. Guarded by the slot's lock.
struct page_stash {
    static constexpr unsigned order_count = 5;
    static constexpr std::uint32_t room = 16;
    std::uint32_t block[order_count][room]; ///< first pages
    std::uint8_t count[order_count];
};
/// alloc_pages and free_pages for order < page_stash::order_count, through a stash. Slot held.
[[nodiscard]] page_run alloc_pages(page_stash& stash, unsigned order) noexcept;
void free_pages(page_stash& stash, slab& first, unsigned order) noexcept;
/// Gives all of a stash back. Slot held.
void drain_stash(page_stash& stash) noexcept;

/// Pages handed out now, count.
std::uint64_t pages_handed_out() noexcept;
/// Pages committed so far, count.
std::uint64_t pages_committed() noexcept;

inline constexpr std::uint64_t all_bytes = ~std::uint64_t{0};
/// Gives the contents of free blocks of at least `order_min` to the system, the largest first, until it was `bytes_most`; if that is all,
/// the descriptors of free chunks too. Returns bytes. Context: task.
std::uint64_t purge_pages(unsigned order_min, std::uint64_t bytes_most = all_bytes) noexcept;
/// True if much dirty memory should go to the system: repay_pages() is due. Context: any.
bool pages_are_owed() noexcept;
/// Gives as much to the system. Returns bytes. Context: task.
std::uint64_t repay_pages() noexcept;
/// Free pages that still hold contents, count.
std::uint64_t pages_dirty() noexcept;

} // namespace allot::slab
