// SPDX-License-Identifier: MIT
//
// bins: see bins.hpp.
//
// Idea.        A flush walks its blocks once, the last of some first, so that they come out of the slab in the order in which the
//              bin would have given them: blocks that were carved in a row stay in a row, which the processor fetches ahead.
//              Blocks for slabs that others hold are chained by slab in a few places, so that neighbours in the list need not be
//              neighbours in memory for one exchange to take many of them.
// Concurrency. as bins.hpp says; what goes to others is pushed inside a read-side section, since the slab may be gone afterwards.
// Lock order.  slot > node > page_alloc.
#include "slab/bins.hpp"

#include "slab/alloc.hpp"
#include "slab/cold.hpp"
#include "slab/slab_ops.hpp"

#include <bit>
#include <cstring>
#include <iterator>
#include <new>

namespace allot::slab {

namespace {

/// A bin begins with room for this, and grows to that without being asked twice.
constexpr std::uint32_t first_bytes = 8192;
constexpr std::uint32_t first_blocks_max = 64;
constexpr std::uint32_t unasked_bytes = 16384;
/// A full bin sends back half of its blocks, but no more than these bytes of cache lines: what was freed just now is in the nearest cache,
/// and of a list of megabytes each next link is a miss.
constexpr std::uint32_t sent_bytes_max = 16384;
/// Most that the bins of a heap may grow to together, bytes.
constexpr std::uint32_t grown_bytes_max = 1u << 26;
constexpr std::uint32_t blocks_max = 0xffff;
/// A bin of larger blocks has room for few and keeps to that: the others stay in their slabs, one each, which the heap keeps as long as
/// it wants them (keep_empty), and are not touched.
constexpr std::uint32_t growing_bytes_max = 65536;
constexpr std::uint32_t large_blocks = 4;
/// Room that a bin has at least after it was filled.
constexpr std::uint32_t headroom = 16;

std::uint32_t first_max(std::uint32_t object_bytes) noexcept {
    const std::uint32_t count = first_bytes / object_bytes;
    return count < large_blocks ? large_blocks : count < first_blocks_max ? count : first_blocks_max;
}

std::uint32_t object_bytes_at(std::uint32_t index) noexcept { return root_cache_at(index)->shape.object_bytes; }

/// Bytes that the bins of the heap may hold.
std::uint64_t bytes_max(const heap& h) noexcept {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < h.capacity; ++i)
        if (h.bins[i].tag != no_bin_tag)
            sum += std::uint64_t{h.bins[i].max} * object_bytes_at(i);
    return sum;
}

/// How many of its `count` blocks a full bin sends back.
std::uint32_t part_of(std::uint32_t count, std::uint32_t object_bytes) noexcept {
    const std::uint32_t line = object_bytes < cache_line_bytes ? object_bytes : cache_line_bytes;
    const std::uint32_t most = sent_bytes_max / line;
    return count / 2 < most ? count / 2 : most;
}

/// Twice as many blocks from now on. False if the bins of the heap may not have so many.
bool grow(const heap& h, bin& b, std::uint32_t object_bytes) noexcept {
    if (object_bytes > growing_bytes_max || b.max > blocks_max / 2 ||
        bytes_max(h) + std::uint64_t{b.max} * object_bytes > grown_bytes_max)
        return false;
    b.max = static_cast<std::uint16_t>(2 * b.max);
    return true;
}

/// Blocks of one slab that go back to it together, linked as its remote list is.
struct chain {
    slab* of = nullptr;
    const char* start = nullptr; ///< of the slab
    void* last = nullptr;
    std::uint16_t head = 0;
    std::uint16_t count = 0;
    std::uint16_t apart = 0;       ///< blocks from one to the one that it has fetched: four lines, or blocks
    std::uint16_t recent[16] = {}; ///< so many heads before

    explicit chain(slab& s) noexcept
        : of(&s), start(start_of(s)), apart(s.object_bytes <= 16   ? 16
                                            : s.object_bytes <= 32 ? 8
                                                                   : 4) {}
    void add(void* block) noexcept {
        std::uint16_t& passed = recent[count & (apart - 1u)];
        const remote_link link{head, passed};
        std::memcpy(block, &link, sizeof link);
        passed = head;
        head = remote_place(start, block);
        if (count++ == 0)
            last = block;
    }
    /// Inside a section; once.
    void send() noexcept {
        const std::uint64_t word = push_remote(*of, head, count, last);
        if ((word & remote_notify) == 0 || (word & remote_queued) != 0)
            return;
        if ((word & remote_frozen) != 0)
            queue_for_slot(remote_slot(word), *of);
        else
            defer_free(*of);
    }
};

/// The chains of a flush. Most flushes are of a few blocks of slabs that the thread holds: those touch none of them.
class outgoing {
  public:
    outgoing() noexcept {}
    ~outgoing() {
        if (used_ == 0)
            return;
        sync::rcu_guard section;
        for (; used_ != 0; used_ &= used_ - 1)
            chains_[std::countr_zero(used_)].send();
    }
    /// False if no block of the slab, whose page with `block` this is, was added lately.
    [[nodiscard]] bool add_next(const slab& s, std::size_t page, void* block) noexcept {
        const std::size_t index = index_of(page);
        if ((used_ >> index & 1) == 0 || chains_[index].of != &s)
            return false;
        chains_[index].add(block);
        return true;
    }
    void add(slab& s, std::size_t page, void* block) noexcept {
        const std::size_t index = index_of(page);
        if ((used_ >> index & 1) != 0) {
            sync::rcu_guard section;
            chains_[index].send();
        }
        used_ |= 1u << index;
        new (&chains_[index]) chain{s};
        chains_[index].add(block);
    }

  private:
    static constexpr std::uint32_t pages_apart = 1u << slab_order_max; // most slabs of a busy cache are of this size
    static constexpr std::uint32_t count = 16;
    static std::size_t index_of(std::size_t page) noexcept { return page / pages_apart % count; }

    std::uint32_t used_ = 0; // a bit each; the others are not even initialised
    union {
        chain chains_[count];
    };
};

void give_back(const heap& h, void* block, outgoing& others) noexcept {
    slab& s = *slab_of(block);
    const std::size_t page = page_of(block);
    if (s.kind == slab_kind::shared) // relaxed: whoever takes the block orders it
        owner_id_at(s, s.cache->shape, block).store(0, std::memory_order_relaxed);
    if (others.add_next(s, page, block))
        return;
    if (is_held_by(s, h.slot->index)) {
        push(s, block);
        after_local_free(s);
    } else {
        others.add(s, page, block);
    }
}

} // namespace

page_tag page_tag_for(const kmem_cache& cache) noexcept {
    // A child is one object of metadata of at least so many bytes. The root group's are not: they get numbers that no child in
    // an arena has.
    constexpr unsigned child_shift = 8;
    constexpr std::uint32_t tag_last = ~std::uint32_t{0};
    if (cache.is_root())
        return has_cold_bins(cache.shape) ? page_tag{shared_page, cache.shape.index << bin_shift} : page_tag{};
    if (cache.shape.link_offset != 0)
        return {};
    std::size_t tag = tag_last - cache.shape.index;
    if (arena_contains(&cache)) {
        tag = static_cast<std::size_t>(reinterpret_cast<const char*>(&cache) - arena.base) >> child_shift;
        if (tag >= cold_tag_first) // in the last GiB of the largest arena: without bins
            return {};
    }
    return {static_cast<std::uint32_t>(tag), cache.shape.index << bin_shift};
}

void open_bin(heap& h, const kmem_cache& cache) noexcept {
    bin& b = h.bins[cache.shape.index];
    const std::uint32_t tag = page_tag_for(cache).value;
    if (is_cold(b))
        close_bin(h, cache.shape.index);
    if (b.tag == tag || tag == 0)
        return;
    ALLOT_ASSERT(b.free == 0);
    b.tag = tag;
    b.flushed = false;
    b.max = static_cast<std::uint16_t>(first_max(cache.shape.object_bytes));
}

void fill(bin& b, free_word blocks) noexcept {
    ALLOT_ASSERT(b.free == 0);
    b.free = blocks;
    b.refilled = b.flushed;
    // What the slab had, the heap had before.
    if (const std::uint32_t count = free_count(blocks) + headroom; count > b.max)
        b.max = static_cast<std::uint16_t>(count < blocks_max ? count : blocks_max);
}

void flush(heap& h, std::uint32_t index, std::uint32_t left) noexcept {
    const bin& b = h.bins[index];
    if (is_cold(b) && free_count(b.free) > left)
        uncharge_cold(h, leave_cold(h, *root_cache_at(index), free_count(b.free) - left));
    send_back(h, index, left);
}

void send_back(heap& h, std::uint32_t index, std::uint32_t left) noexcept {
    bin& b = h.bins[index];
    if (free_count(b.free) <= left)
        return;
    outgoing others;
    void* taken[64];
    while (free_count(b.free) > left) {
        std::size_t count = 0;
        while (count < std::size(taken) && free_count(b.free) > left)
            taken[count++] = take_from(b);
        while (count != 0)
            give_back(h, taken[--count], others);
    }
}

bool make_room(heap& h, std::uint32_t index) noexcept {
    bin& b = h.bins[index];
    const std::uint32_t count = free_count(b.free);
    if (count < b.max)
        return true;
    const std::uint32_t bytes = object_bytes_at(index);
    if (bytes > growing_bytes_max)
        return false;
    if ((b.refilled || std::uint64_t{b.max} * bytes < unasked_bytes) && !grow(h, b, bytes)) {
        // Others have had their time.
        for (std::uint32_t i = 0; i < h.capacity; ++i)
            if (i != index)
                shrink_bin(h, i);
        grow(h, b, bytes);
    }
    b.flushed = true;
    b.refilled = false;
    if (count >= b.max)
        flush(h, index, count - part_of(count, bytes));
    return true;
}

void shrink_bin(heap& h, std::uint32_t index) noexcept {
    bin& b = h.bins[index];
    if (b.tag == no_bin_tag || is_cold(b))
        return;
    const std::uint32_t least = first_max(object_bytes_at(index));
    const std::uint32_t half = b.max / 2;
    const std::uint32_t fewer = half > least ? half : least;
    flush(h, index, fewer);
    b.max = static_cast<std::uint16_t>(fewer);
}

void close_bin(heap& h, std::uint32_t index) noexcept {
    if (h.bins[index].tag == no_bin_tag) // perhaps the table that all share
        return;
    flush(h, index, 0);
    if (is_cold(h.bins[index]))
        set_cold_bins(h, cold_bins_of(h) & ~(std::uint64_t{1} << index));
    h.bins[index] = bin{};
}

void forget_bins(heap& h) noexcept {
    if (h.partial != nullptr)
        for (std::uint32_t i = 0; i < h.capacity; ++i)
            h.bins[i] = bin{};
    else // all that it has are in the thread's table
        for (std::uint64_t left = cold_bins_of(h); left != 0; left &= left - 1)
            h.bins[std::countr_zero(left)] = bin{};
    set_cold_bins(h, 0);
    give_table_back(h);
}

bin* bin_for(sync::thread_slot& slot, const slab& s, page_tag tag, heap** of) noexcept {
    const std::uint32_t index = tag.bin_offset >> bin_shift;
    const auto take = [&](heap* h) noexcept -> bin* {
        if (h == nullptr || h->partial == nullptr || index >= h->capacity || h->bins[index].tag != tag.value)
            return nullptr;
        *of = h;
        return &h->bins[index];
    };
    if (!names_a_bin(tag))
        return nullptr;
    if (is_held_by(s, slot.index))
        return take(s.home);
    const cache_owner& payer = load_payer(s.cache->payer);
    // relaxed: the slot is held, or the section is the own thread's.
    return take(heaps_of(slot).map[map_index(payer)].load(std::memory_order_relaxed));
}

bin* open_bin_for(sync::thread_slot& slot, const slab& s, page_tag tag, heap** of) noexcept {
    auto* const h = static_cast<heap*>(sync::tls.heap);
    if (!names_a_bin(tag) || h == nullptr || h->slot != &slot || h->dropped)
        return nullptr;
    sync::rcu_guard section;
    kmem_cache& cache = *s.cache;
    // Who closes the group or destroys the cache does so before it sweeps this slot.
    if (&load_payer(cache.payer) != h->owner || !counter::is_online(*h->owner) ||
        child_of(*h->owner, cache.shape.index) != &cache || cache.root->gate.life() != cache_life::live)
        return nullptr;
    counter::page_counter* over = nullptr;
    if (!ensure_tables(*h, cache.shape.index, &over))
        return nullptr;
    open_bin(*h, cache);
    *of = h;
    return &h->bins[cache.shape.index];
}

} // namespace allot::slab
