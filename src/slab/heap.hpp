// SPDX-License-Identifier: MIT
//
// heap: the free blocks and the slabs that one thread holds for one group.
//
// Idea.        For each cache a heap has a bin, a list of free blocks that the thread uses without atomics, a queue of slabs
//              that have blocks to fill it with, and a list of slabs that have none. A bin takes any block of the group's child
//              cache, whichever thread holds the block's slab: to the slab a block in a bin is one that was handed out. When a
//              bin has too many, some of them go back to their slabs (bins.cc).
//              A thread has a heap for the root, one for shared slabs, which have no bins, and one for each group that it was
//              in; a small map finds them by group. The bins are a table of its own, so that a group without slabs of its own
//              points to one static table of empty bins, or borrows the thread's (cold.hpp), and costs 128 bytes a thread.
// Invariants.  I1  A slab in a heap is frozen, its slot bits are the heap's slot, and `home` is the heap.
//              I2  A heap holds one reference on its group until it is dropped.
//              I3  depth > 0 while a scope of the thread is inside: then the heap is not dropped.
//              I4  A bin with a tag holds blocks of slabs with that tag only, or of its owner (cold.hpp I1): all are charged to the
//                  heap's group.
//              I5  What `cold` holds is told before the heap is dropped, and so before the group puts its owner. A dropped heap
//                  puts nothing together.
// Concurrency. everything under the slot's lock, or by the thread itself inside a read-side section that found its fast path
//              open: a revoker closes it and waits for the section before it touches anything (fast_path.hpp, own_section).
// Lock order.  slot.
// Checked by.  test/slab/heap_test.cc, test/slab/bins_test.cc
// Source.      SLUB's per-CPU slabs, mimalloc's heaps, tcmalloc's thread caches; docs/design.md "Heaps".
#pragma once

#include "slab/kmem_cache.hpp"
#include "slab/page_alloc.hpp"
#include "slab/remote.hpp"
#include "sync/thread_slot.hpp"

namespace allot::slab {

/// The tag of a bin that no cache has: no slab's.
inline constexpr std::uint32_t no_bin_tag = 1;

struct bin {
    free_word free = 0;             ///< the blocks
    std::uint16_t max = 0;          ///< count of blocks with which it is full
    bool flushed : 1 = false;       ///< blocks went back to their slabs
    bool refilled : 1 = false;      ///< and then it ran empty: it gave away what it wanted again
    std::uint8_t untold = 0;        ///< cold blocks that it was filled with, which count as warmth once they are used
    std::uint32_t tag = no_bin_tag; ///< of the slabs whose blocks it takes
};
static_assert(sizeof(bin) == 1 << bin_shift);

/// Takes a block out of the bin, which has one. Slot held, or inside a section that found the bin's table open; the next too.
ALLOT_INLINE void* take_from(bin& b) noexcept {
    void* const block = first_free(b.free);
    b.free = *static_cast<free_word*>(block);
    return block;
}
/// Puts a block into the bin, which has room.
ALLOT_INLINE void put_into(bin& b, void* block) noexcept {
    ALLOT_ASSERT(free_count(b.free) < b.max);
    *static_cast<free_word*>(block) = b.free;
    b.free = in_front(block, b.free);
}

} // namespace allot::slab

namespace allot::sync {

/// A table of nothing but empty bins, which take nothing.
struct shut_table {
    slab::bin entry[slab::cache_count_max];
};

} // namespace allot::sync

namespace allot::slab {

/// What a thread took of shared slabs, less what it gave back, that the group's owner and shares do not know of yet: from a few dozen
/// objects on, and when it leaves the group, it tells them. The charge itself is made at once. Relaxed accesses: written by who may work
/// on the heap; others read them under the slot's lock, as figures.
struct cold_tally {
    std::atomic<std::int64_t> objects{0}; ///< references on the group's obj_cgroup
    std::atomic<std::int64_t> bytes{0};   ///< of the group's own share, and less of the root's

    void add(std::int64_t count, std::int64_t object_bytes) noexcept {
        objects.store(objects.load(std::memory_order_relaxed) + count, std::memory_order_relaxed); // relaxed: see above
        bytes.store(bytes.load(std::memory_order_relaxed) + object_bytes, std::memory_order_relaxed); // relaxed: too
    }
};

struct heap {
    bin* bins = nullptr;              ///< never null; without slabs empty_table, or the thread's `lent`
    bin* fast = nullptr;              ///< what the fast path uses: `bins`, or empty_table where it has to stay shut
    std::uint32_t* partial = nullptr; ///< queues by cache index, page indices; null without slabs
    /// Count of entries in both that are used, a power of two: that of most heaps, so that a scope change need not change the mask.
    std::uint32_t capacity = 0;
    std::uint32_t full = 0;       ///< head of the slabs without free objects
    cache_owner* owner = nullptr; // I2
    sync::thread_slot* slot = nullptr;
    std::uint32_t depth = 0; // I3
    std::uint32_t nr_slabs = 0;
    std::uint32_t kept = 0;        ///< bytes of the empty slabs that it keeps
    std::uint32_t keep_max = 0;    ///< how many it may keep, but for one of each cache
    std::uint64_t allocations = 0; ///< count that its group does not know of yet
    cold_tally cold;               ///< of the group, until the heap is dropped
    /// A bit for each bin with blocks of shared slabs (cold.hpp). Relaxed accesses: written by who may work on the heap; others read it
    /// under the slot's lock, as a hint.
    std::atomic<std::uint64_t> cold_bins{0};
    bool gave_back = false; ///< an empty slab went since the last new one came
    bool dropped = false;   ///< its group is closed: goes when depth is 0
    std::uint32_t mask = 0; ///< mask_of(capacity)
    base::list_node lru;    ///< in thread_heaps::all, by the time of their last slow entry
};

inline constexpr bin* empty_table = sync::no_bins.entry;
inline constexpr std::uint32_t small_capacity = 64; // with room for some caches of the user
static_assert(small_capacity >= kmalloc_class_count);

/// What keeps an offset in a table of so many bins inside it.
constexpr std::uint32_t mask_of(std::uint32_t capacity) noexcept { return (capacity - 1) << bin_shift; }
inline void set_capacity(heap& h, std::uint32_t capacity) noexcept {
    h.capacity = capacity;
    h.mask = mask_of(capacity);
}
inline constexpr std::size_t heap_map_count = 1024;
/// Heaps of groups that a thread keeps; beyond it the least recently entered one without a scope is parked.
inline constexpr std::uint32_t heaps_per_thread_max = 1024;

/// Why the last request of a thread failed; what allot_failure says.
struct failure_record {
    char group[128];
    std::uint64_t usage;
    std::uint64_t limit;
    std::uint64_t request;
    bool valid;
};

/// What groups of a thread use of one cache's cold blocks, so that the next one takes as many at once. A heuristic: if two heaps of the thread
/// have cold bins at a time, they count together.
struct cold_pattern {
    std::uint16_t taken = 0;   ///< by the bin that is open, since it was opened
    std::uint8_t last = 0;     ///< used by the group that the thread left last, or 255
    std::uint8_t expected = 0; ///< by that and the one before, whichever was less
};

/// The slab layer's part of a thread slot.
struct thread_heaps {
    std::atomic<std::uint32_t> closed{1};     ///< 1: scope changes take the slow path (a revoker is at work)
    std::atomic<heap*> map[heap_map_count]{}; ///< by group id
    heap root;
    heap shared;
    heap* base = nullptr;             ///< heap outside all scopes
    std::uint32_t base_depth = 0;     ///< of `base` while no scope is inside it: 1 once it was set
    base::list<heap, &heap::lru> all; ///< but root and shared
    std::uint32_t count = 0;
    failure_record failure{}; ///< the last failed request of the thread, for reports
    page_stash stash{};
    std::atomic<slab_remote*> queue{nullptr}; ///< slabs with work for this slot, pushed by others
    std::uint64_t credited = 0;               ///< thread_state::allocations that heaps know of
    std::uint64_t seen = 0;                   ///< thread_state::allocations at the last trim_idle_threads()
    /// It has nothing idle since. Relaxed: a hint.
    std::atomic<bool> trimmed{false};
    bool fast = false;        ///< the thread may use the fast path
    heap* borrower = nullptr; ///< heap without a table of its own that uses `lent`
    bin lent[small_capacity]{};
    /// Cold blocks that came back to bins, by cache. Relaxed: own thread, a heuristic.
    std::atomic<std::uint8_t> came_back[small_capacity]{};
    cold_pattern cold_patterns[small_capacity]{};
    std::uint64_t used_bins = 0;     ///< a bit for each cache of which `last` is not 0
    std::uint64_t expected_bins = 0; ///< and `expected`
    bin root_bins[cache_count_max]{};
    std::uint32_t root_partial[cache_count_max]{};
    std::uint32_t shared_partial[cache_count_max]{};
};
inline constexpr std::size_t heaps_offset = 192;
static_assert(sizeof(sync::thread_slot) <= heaps_offset);
static_assert(sizeof(thread_heaps) + heaps_offset <= sync::slot_bytes);

/// Place of a group in thread_heaps::map: up to heap_map_count groups that were made together do not collide.
ALLOT_INLINE std::size_t map_index(const cache_owner& owner) noexcept { return owner.id % heap_map_count; }

inline thread_heaps& heaps_of(sync::thread_slot& slot) noexcept {
    return *reinterpret_cast<thread_heaps*>(reinterpret_cast<char*>(&slot) + heaps_offset);
}

/// The slot for threads without one; its lock makes them wait for each other.
inline constexpr std::uint32_t orphan_index = 1;
sync::thread_slot& this_slot() noexcept;
void construct_heaps(sync::thread_slot& slot) noexcept;

/// Holds the calling thread's slot: its fast path is closed, its heaps are this scope's. Context: atomic after entry, on a
/// thread that is not busy.
class cold_section {
  public:
    cold_section() noexcept;
    ~cold_section();
    cold_section(const cold_section&) = delete;
    cold_section& operator=(const cold_section&) = delete;

    sync::thread_slot& slot() noexcept { return slot_; }
    thread_heaps& heaps() noexcept { return heaps_of(slot_); }

  private:
    platform::errno_guard keep_errno_;
    sync::thread_slot& slot_;
    const bool locked_;
};

/// A read-side section in which the calling thread may work on its heaps as with its slot held, if it is_open(): nobody is
/// closing the slot, and the call is not nested. The fast path is shut meanwhile, for handlers on top. No locks inside. Context: any.
class own_section {
  public:
    own_section() noexcept;
    ~own_section();
    own_section(const own_section&) = delete;
    own_section& operator=(const own_section&) = delete;

    bool is_open() const noexcept { return open_; }
    /// The table of the fast path from the section's end on; it goes with the mask that is set.
    void use(bin* table) noexcept { table_ = table; }

  private:
    std::uint64_t count_ = 0;
    void* table_ = nullptr; ///< what `bins` was
    bool entered_ = false;
    bool open_ = false;
};

/// True if the calling thread is inside the library below this call: then nothing may be locked. Context: any.
ALLOT_INLINE bool nested() noexcept {
    return sync::tls.busy != 0 || (sync::tls.slot != &sync::no_slot && sync::tls.slot->reader.inside());
}

/// Heap of the slot for `owner`, made if missing. Errors: null; `*over` (may be null) as of metadata_alloc. Slot held.
[[nodiscard]] heap* find_or_make_heap(sync::thread_slot& slot, cache_owner& owner,
                                      counter::page_counter** over) noexcept;
/// Heap that the thread's allocations are served from: that of the current scope, or of the nearest open ancestor. Slot held.
[[nodiscard]] heap* effective_heap(sync::thread_slot& slot, counter::page_counter** over) noexcept;
/// Gives the heap room for slabs of cache `index`. Errors: false. Slot held.
[[nodiscard]] bool ensure_tables(heap& h, std::uint32_t index, counter::page_counter** over) noexcept;
/// Tells the thread's current heap what it allocated on the fast path since the last time. Slot held, or own open section.
void credit(sync::thread_slot& slot) noexcept;
/// Both, if much has come together since the last time. Slot held, or own open section.
void publish_allocations(heap& h) noexcept;
/// Tells the heap's group how many blocks it allocated, and settle_cold(). Slot held, or own open section.
void fold(heap& h) noexcept;
/// Tells the group's owner and shares what the heap has put together. Slot held, or own open section.
void settle_cold(heap& h) noexcept;
/// Adds objects that the heap's group has more, or fewer, and settle_cold() from a few dozen on. Slot held, or own open section.
void tally_cold(heap& h, std::int64_t objects, std::int64_t bytes) noexcept;
/// What the threads' heaps for the group have not told yet, but for threads that are in a slow path: nobody is waited for. Context:
/// atomic, no slot held.
struct cold_figures {
    std::int64_t objects = 0;
    std::int64_t bytes = 0;
};
cold_figures unsettled(const cache_owner& owner) noexcept;
/// Parks all slabs of the heap. Slot held and closed.
void park_all(heap& h) noexcept;
/// Parks, drops the group's reference and, if no scope is inside, frees the heap. Slot held and closed.
void drop_heap(heap& h) noexcept;
/// Frees a dropped heap whose last scope has ended. Slot held.
void free_dropped_heap(heap& h) noexcept;

/// Closes another thread's fast path (slot held): afterwards the thread touches no slab until it gets the slot's lock.
void close_thread(sync::thread_slot& slot) noexcept;
/// Calls `visit` with each slot that exists held and closed, one after the other. Context: task.
void for_each_slot_closed(bool (*wanted)(thread_heaps& heaps, void* data) noexcept,
                          void (*visit)(sync::thread_slot& slot, void* data) noexcept, void* data) noexcept;

/// Stops every thread outside the library's slow paths, and keeps them out. Context: task.
void stop_world() noexcept;
void resume_world() noexcept;
/// True while the world is stopped by another thread. Context: any.
bool world_is_stopped() noexcept;

} // namespace allot::slab
