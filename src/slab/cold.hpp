// SPDX-License-Identifier: MIT
//
// cold: bins of blocks of shared slabs, for groups that have no slab of their own for a class.
//
// Idea.        A group that needs a cold block takes some of a shared slab: they are charged to it and get its owner id together, and lie
//              in a bin of the heap. So most cold allocations and frees touch no counter either, and usage is what the group holds,
//              as with slabs of its own. The bin's tag is made from the owner id: a free of an object in a shared slab looks the
//              object's owner up, and the bin takes it if it is the same. What is not used goes back, uncharged, when the thread leaves
//              the group, at a limit, when somebody reads the group's figures, and when the thread idles.
//              Bins need a table, and a group that is cold throughout shall not cost one: it borrows the thread's, which one heap at
//              a time has (thread_heaps::lent).
//              How much is taken at once goes by what the bin took before and what the groups before used (cold_pattern).
//
//                  shared slab --take_cold--> [bin] --alloc_fast--> user --free_cold--> [bin] --flush--> shared slab
//                              charged, with owner                                          uncharged, without
//
// Invariants.  I1  A block in a bin with a cold tag is charged to the heap's group, has its owner's id and holds a reference on it.
//              I2  `cold_bins` of a heap has a bit for each bin with a cold tag. Its table is the lent one only if it is the borrower.
//              I3  Only the heap that the thread is in gets cold bins, and loses them when the thread leaves its scope for another group's.
// Concurrency. slot held and closed, or inside the own open section, as each says.
// Lock order.  slot > node > page_alloc.
// Checked by.  test/slab/cold_bins_test.cc, test/group/discard_test.cc, verify/spin/cold_bins.pml
#pragma once

#include "slab/bins.hpp"
#include "slab/fast_path.hpp"

namespace allot::slab {

/// The tag of bins with blocks of this owner. No child cache has one of these (page_tag_for).
inline constexpr std::uint32_t cold_tag_end = ~std::uint32_t{0} - cache_count_max;
inline constexpr std::uint32_t cold_tag_first = cold_tag_end - (1u << 22);
constexpr std::uint32_t cold_tag(std::uint32_t owner_id) noexcept { return cold_tag_first + owner_id; }
inline bool is_cold(const bin& b) noexcept { return b.tag >= cold_tag_first && b.tag < cold_tag_end; }

/// True if cold objects of this shape go through bins: others keep their content while they are free, or are few in a slab.
constexpr bool has_cold_bins(const cache_shape& shape) noexcept {
    return shape.index < small_capacity && shape.link_offset == 0 && shape.object_bytes <= shared_object_max_bytes;
}

inline std::uint64_t cold_bins_of(const heap& h) noexcept {
    return h.cold_bins.load(std::memory_order_relaxed); // relaxed: see there
}
inline void set_cold_bins(heap& h, std::uint64_t bits) noexcept {
    h.cold_bins.store(bits, std::memory_order_relaxed); // relaxed: see there
}

/// Counts cold allocations of the group; enough of them have a child made. Bins count what was used of what they were filled with, and
/// what comes back to them, less what leaves them. Context: any.
void note_cold(cache_owner& owner, const kmem_cache& cache, std::int32_t count) noexcept;

/// The heap's bin for cold blocks of the cache, opened if need be; null if there is no place for one. `may_flush`: the slot is held and
/// closed, so another heap may be made to give the thread's table back. Else inside an open section.
[[nodiscard]] bin* cold_bin(heap& h, const kmem_cache& cache, bool may_flush) noexcept;
/// Takes blocks of a slab that the thread's shared heap has: the first is the caller's, the others go into the bin, which is empty.
/// Null without such a slab, or if the limit of `*over` is met. A group's first fills its other bins too, with what the groups before used.
/// Slot held, or inside an open section.
[[nodiscard]] void* take_cold(heap& shared, heap& h, const kmem_cache& cache, bin& b,
                              counter::page_counter** over) noexcept;
/// Tells the current group that so many cold objects of the cache came back to its bin; which is closed once the group has slabs of its
/// own. Context: any.
ALLOT_COLD void note_came_back(std::uint32_t index) noexcept;
inline constexpr std::int32_t told_at_once = 32;

enum class cold_free : std::uint8_t {
    refused, ///< the block is none of a shared slab, or there is no bin for it with room
    done,
    told, ///< done, and it was told how warm the group is: work may be due
};

/// What free_fast() did not take: puts an object of a shared slab into the current heap's bin for it. Context: any.
[[nodiscard]] ALLOT_INLINE cold_free free_cold(void* block) noexcept {
    if (!arena_contains(block))
        return cold_free::refused;
    const page_tag tag = page_tag_of(block);
    if (tag.value != shared_page)
        return cold_free::refused;
    const slab& s = *slab_of(block);
    // relaxed: who has the block was handed it.
    const std::uint32_t id = owner_id_at(s, s.cache->shape, block).load(std::memory_order_relaxed);
    if (!put_block({cold_tag(id), tag.bin_offset}, block))
        return cold_free::refused;
    const std::uint32_t index = tag.bin_offset >> bin_shift;
    auto& count = heaps_of(*sync::tls.slot).came_back[index];
    const std::uint32_t now = count.load(std::memory_order_relaxed) + 1u;   // relaxed: own, and a heuristic
    count.store(static_cast<std::uint8_t>(now), std::memory_order_relaxed); // relaxed: as above
    if (now % static_cast<std::uint32_t>(told_at_once) != 0) [[likely]]
        return cold_free::done;
    note_came_back(index);
    return cold_free::told;
}
/// The current heap's bin for the object of a shared slab, or null. Slot held, or inside an open section.
[[nodiscard]] bin* cold_bin_for(const slab& s, const void* block) noexcept;
/// A cold bin without room gets some. Slot held and closed.
void make_cold_room(heap& h, std::uint32_t index) noexcept;
/// Blocks of the root cache are about to leave a cold bin: what uncharge_cold() is to be told. Slot held.
cold_figures leave_cold(heap& h, const kmem_cache& cache, std::uint32_t count) noexcept;
/// Uncharges them. Slot held.
void uncharge_cold(heap& h, cold_figures left) noexcept;
/// Notes what the group used, for those after it: to be called before close_cold() when the thread leaves it. Slot held.
void note_left(const heap& h) noexcept;
/// Sends what is in the heap's cold bins back. Slot held and closed.
void flush_cold(heap& h) noexcept;
/// The same, and the bins take nothing any more. Slot held and closed.
void close_cold(heap& h) noexcept;
/// The thread's table is for others again; the heap's cold bins are closed, or forgotten. Slot held and closed.
void give_table_back(heap& h) noexcept;
/// Has the calling thread give back what its current group does not use. Context: task.
void settle_current() noexcept;

} // namespace allot::slab
