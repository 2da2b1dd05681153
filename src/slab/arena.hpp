// SPDX-License-Identifier: MIT
//
// arena: the one reservation that all blocks lie in, and the descriptors of its pages.
//
// Idea.        One range makes "is it ours" a subtraction and a compare. Descriptors lie outside the data, in arrays indexed
//              by page, so an overflow cannot reach them: `heads` finds a slab's descriptor from any address in it
//              with one load; `slabs` is the line that the owner writes; `remotes` is apart, since other threads write it.
//
//              base ...................... [4 MiB chunk][4 MiB chunk] ..........   committed chunk by chunk
//              tags     8 B a page    -> which bin takes blocks of the page        (the one that every free reads)
//              heads    4 B a page    -> place of the slab's descriptor
//              slabs   64 B a page    -> free list, cache, heap                    (meaningful at first pages only)
//              remotes 32 B a page    -> list of blocks freed by other threads
//
//              A list of free blocks is one word: the address of the first, shifted, and their count below it. A free block
//              keeps the word of the blocks behind it. So one store takes a block or puts one back, counted, and a list moves
//              from a slab to a bin as a whole.
//
// Invariants.  I1  Page 0 is never handed out: index 0 means "none" in lists.
//              I2  A descriptor that heads nothing alive has kind `none`.
// Concurrency. constant after arena_init().
// Checked by.  test/slab/arena_test.cc
#pragma once

#include "base/assert.hpp"

#include <atomic>

namespace allot::slab {

struct heap;
struct kmem_cache;
struct obj_cgroup;

inline constexpr std::size_t chunk_order = 10;
inline constexpr std::size_t chunk_pages = std::size_t{1} << chunk_order;
inline constexpr std::size_t chunk_bytes = chunk_pages * page_bytes;

/// Free blocks; see above. 0: none.
using free_word = std::uint64_t;
inline constexpr unsigned free_count_bits = 16;
inline constexpr free_word free_count_mask = (free_word{1} << free_count_bits) - 1;

ALLOT_INLINE void* first_free(free_word word) noexcept { return reinterpret_cast<void*>(word >> free_count_bits); }
constexpr std::uint32_t free_count(free_word word) noexcept {
    return static_cast<std::uint32_t>(word & free_count_mask);
}
/// The word for `block` in front of the blocks of `behind`.
ALLOT_INLINE free_word in_front(const void* block, free_word behind) noexcept {
    return reinterpret_cast<std::uintptr_t>(block) << free_count_bits | ((behind & free_count_mask) + 1);
}

enum class slab_kind : std::uint8_t {
    none,       ///< no first page of anything
    free_block, ///< a free buddy block
    owned,      ///< a slab of one group's child cache
    shared,     ///< a slab of a root cache, an owner for each object
    large,      ///< a run of pages that is one block
    metadata,   ///< a page of the library's own objects
    reserve,    ///< the blocks for handlers that interrupt the allocator
};

/// A kind that page_alloc may look at while the holder of the block changes it.
/// All accesses are relaxed: `free_block` is set and taken away under page_alloc's lock only, and whoever acts on another value
/// was handed a block of the slab.
class slab_kind_field {
  public:
    slab_kind_field& operator=(slab_kind kind) noexcept {
        kind_.store(kind, std::memory_order_relaxed); // relaxed: see the class
        return *this;
    }
    operator slab_kind() const noexcept { return kind_.load(std::memory_order_relaxed); } // relaxed: see the class

  private:
    std::atomic<slab_kind> kind_{slab_kind::none};
};

/// Which bin takes the blocks of a page. Of a slab constant while one of its blocks lives.
struct page_tag {
    std::uint32_t value = 0;      ///< equal to the bin's; up to shared_page: no bin has it
    std::uint32_t bin_offset = 0; ///< of the bin in the table of a heap, bytes
};

/// The value for pages whose blocks are each their owner's, and may go into bins for those (cold.hpp).
inline constexpr std::uint32_t shared_page = 2;
/// True if there may be a bin that takes all blocks of the page.
constexpr bool names_a_bin(page_tag tag) noexcept { return tag.value > shared_page; }

/// Where a slab is linked.
enum class slab_place : std::uint8_t { none, heap_partial, heap_full, node_partial, node_full };

struct alignas(cache_line_bytes) slab {
    free_word free_list; ///< blocks free to whoever holds the slab
    std::uint32_t pages; ///< pages that it consists of; not of a free block
    std::uint32_t object_bytes;
    union {
        kmem_cache* cache; ///< owned, shared
        obj_cgroup* payer; ///< large
    };
    heap* home;         ///< heap that it is frozen in; valid while frozen
    std::uint32_t next; ///< list links, page indices
    std::uint32_t prev;
    std::uint16_t capacity; ///< count of blocks
    std::uint16_t carved;   ///< count of blocks that were ever on a free list
    std::uint8_t order;
    slab_kind_field kind;
    slab_place place;
    bool kept;  ///< empty, and counted in its heap's `kept`
    bool dirty; ///< of a free block: it holds data that a discard would drop

    /// Blocks that were handed out and did not come back to the free list: those in bins are among them.
    std::uint32_t live() const noexcept { return carved - free_count(free_list); }
    bool empty() const noexcept { return live() == 0; }
};
static_assert(sizeof(slab) == 64);

/// What other threads write about a slab. The word: see remote.hpp.
struct slab_remote {
    std::atomic<std::uint64_t> word;
    std::atomic<slab_remote*> queue_next;
    std::uint64_t unused[2]; ///< two in a cache line: pages that are neighbours are often different threads'
};
static_assert(sizeof(slab_remote) == 32);

/// One line, which every free reads; fast_rseq.hpp knows its symbol.
struct alignas(cache_line_bytes) arena_map {
    char* base = nullptr;
    std::size_t bytes = 0;
    slab* slabs = nullptr;
    page_tag* tags = nullptr;
    std::uint32_t* heads = nullptr;
    slab_remote* remotes = nullptr;
    std::atomic<std::uint8_t>* live_bits = nullptr; ///< debug builds: a bit for every 8 bytes
};

extern arena_map arena __asm__("allot_arena") __attribute__((visibility("hidden")));

/// Reserves the arena, as much as the address space limit lets (1 TiB .. 64 MiB, at most half of what is left). Errors: false. Context: init.
[[nodiscard]] bool arena_init() noexcept;
/// Commits the pages and descriptors of one chunk. Errors: false. Context: page_alloc's lock held.
[[nodiscard]] bool arena_commit_chunks(std::size_t first_chunk, std::size_t count) noexcept;

ALLOT_INLINE bool arena_contains(const void* address) noexcept {
    return static_cast<std::size_t>(static_cast<const char*>(address) - arena.base) < arena.bytes;
}
ALLOT_INLINE std::size_t page_of(const void* address) noexcept {
    return static_cast<std::size_t>(static_cast<const char*>(address) - arena.base) >> page_shift;
}
/// The tag of the page. Who has a block was handed it, so it is not being written.
ALLOT_INLINE const page_tag& page_tag_of(const void* address) noexcept { return arena.tags[page_of(address)]; }
/// The descriptor of the slab or run that `address` lies in (of a run: only for its first page).
ALLOT_INLINE slab* slab_of(const void* address) noexcept { return &arena.slabs[arena.heads[page_of(address)]]; }
/// The place of a page's descriptor, and the page of a place. The first pages of large slabs are multiples of 16 and more: in the
/// order of the pages their descriptors would fall into few sets of the processor's cache and be gone at every free.
constexpr std::uint32_t place_of(std::uint32_t page) noexcept {
    page ^= page >> 4 & 15;
    return page ^ (page >> 6 & 63);
}
constexpr std::uint32_t page_at(std::uint32_t place) noexcept {
    place ^= place >> 6 & 63;
    return place ^ (place >> 4 & 15);
}
ALLOT_INLINE std::uint32_t page_index(const slab& s) noexcept {
    return page_at(static_cast<std::uint32_t>(&s - arena.slabs));
}
ALLOT_INLINE slab& slab_at(std::uint32_t page) noexcept { return arena.slabs[place_of(page)]; }
ALLOT_INLINE char* start_of(const slab& s) noexcept {
    return arena.base + (static_cast<std::size_t>(page_index(s)) << page_shift);
}
ALLOT_INLINE slab_remote& remote_of(const slab& s) noexcept { return arena.remotes[&s - arena.slabs]; }
ALLOT_INLINE slab& slab_of_remote(const slab_remote& r) noexcept { return arena.slabs[&r - arena.remotes]; }
inline std::size_t slab_bytes(const slab& s) noexcept { return std::size_t{s.pages} * page_bytes; }
/// Makes it consist of `pages`, and addresses in them lead to it and have this tag.
inline void set_pages(slab& s, std::size_t pages, page_tag tag = {}) noexcept {
    s.pages = static_cast<std::uint32_t>(pages);
    const auto place = static_cast<std::uint32_t>(&s - arena.slabs);
    const std::uint32_t first = page_at(place);
    for (std::size_t i = 0; i < pages; ++i) {
        arena.heads[first + i] = place;
        arena.tags[first + i] = tag;
    }
}
/// No bin takes its blocks from now on.
inline void clear_tags(const slab& s) noexcept {
    for (std::size_t i = 0; i < s.pages; ++i)
        arena.tags[page_index(s) + i] = {};
}

} // namespace allot::slab
