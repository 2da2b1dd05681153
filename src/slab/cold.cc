// SPDX-License-Identifier: MIT
//
// cold: see cold.hpp.
//
// Idea.        A bin begins with few blocks and takes twice as many each time, up to a page's worth: what is left over is at most about
//              what was used. Requests that a thread serves one after the other are alike: where the last two groups that it left used
//              more of a cache, the next one's bin takes so many at once, and nothing is left over.
// Concurrency. as cold.hpp says.
// Lock order.  slot > node > page_alloc.
#include "slab/cold.hpp"

#include "slab/discard.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"

#include <bit>
#include <limits>

namespace allot::slab {

static_assert(cold_tag_end - cold_tag_first == obj_cgroup_count_max, "a tag for each owner id");

namespace {

constexpr std::uint32_t warm_objects = 256;
constexpr std::uint32_t warm_bytes = 32768;
constexpr std::uint32_t warm_objects_min = 8;

/// True if a (group, cache) pair gets slabs of its own after `heat` cold allocations.
constexpr bool is_warm(std::uint32_t heat, std::uint32_t object_bytes) noexcept {
    // heat >= warm_bytes / object_bytes, without the division.
    return heat >= warm_objects_min && (heat >= warm_objects || (heat + std::uint64_t{1}) * object_bytes > warm_bytes);
}
static_assert(!is_warm(255, 64) && is_warm(256, 64) && !is_warm(31, 1024) && is_warm(32, 1024) && is_warm(10, 3000) &&
              !is_warm(9, 3000) && !is_warm(7, 32768) && is_warm(8, 32768));

/// What a bin takes the first time, and the most that it takes or keeps.
constexpr std::uint32_t first_bytes = 1024;
constexpr std::uint32_t first_blocks_max = 4;
constexpr std::uint32_t most_bytes = page_bytes;
constexpr std::uint32_t most_blocks = 32;
/// The most that it takes because groups before used so many.
constexpr std::uint32_t most_expected_bytes = 4 * page_bytes;
constexpr std::uint32_t most_expected_blocks = 128;
static_assert(most_expected_blocks <= 1u << std::numeric_limits<decltype(bin::untold)>::digits);
constexpr std::uint32_t between(std::uint32_t count, std::uint32_t most) noexcept {
    return count == 0 ? 1 : count < most ? count : most;
}
/// How many objects have room in so many bytes.
constexpr std::uint32_t count_in(std::uint32_t bytes, const cache_shape& shape) noexcept {
    return index_at(bytes, shape.reciprocal);
}
constexpr std::uint32_t first_count(const cache_shape& shape) noexcept {
    return between(count_in(first_bytes, shape), first_blocks_max);
}
constexpr std::uint32_t most_count(const cache_shape& shape) noexcept {
    return between(count_in(most_bytes, shape), most_blocks);
}

void let_grow(bin& b, const cache_shape& shape) noexcept {
    if (const std::uint32_t more = between(2u * b.max, most_count(shape)); more > b.max)
        b.max = static_cast<std::uint16_t>(more);
}

/// How many blocks the bin should take now.
std::uint32_t wanted_count(const cold_pattern& pattern, const bin& b, const cache_shape& shape) noexcept {
    if (pattern.expected <= pattern.taken)
        return b.max < most_count(shape) ? b.max : most_count(shape);
    const std::uint32_t most = between(count_in(most_expected_bytes, shape), most_expected_blocks);
    return between(pattern.expected - pattern.taken, most);
}

/// Notes how many blocks the group used of a bin that is closed.
void note_used(cold_pattern& pattern, std::uint32_t left) noexcept {
    constexpr std::uint32_t most = std::numeric_limits<decltype(pattern.last)>::max();
    const std::uint32_t used = pattern.taken > left ? pattern.taken - left : 0;
    const auto now = static_cast<std::uint8_t>(used < most ? used : most);
    pattern.expected = now < pattern.last ? now : pattern.last;
    pattern.last = now;
}

/// Takes the first `count` blocks off the slab's list, gives them the owner and links them as a list of a bin: which is returned.
free_word take_off(slab& s, const cache_shape& shape, std::uint32_t count, std::uint32_t id) noexcept {
    ALLOT_ASSERT(shape.link_offset == 0 && count <= free_count(s.free_list));
    const free_word list = s.free_list;
    const std::uint32_t behind = free_count(list) - count; // are counted in each link
    const char* const start = start_of(s);
    std::atomic<std::uint32_t>* const ids = owner_ids(s);
    const std::uint64_t reciprocal = shape.reciprocal;
    const auto index_of = [&](const void* block) noexcept {
        return index_at(static_cast<std::uint64_t>(static_cast<const char*>(block) - start), reciprocal);
    };
    free_word rest = list;
    void* block = first_free(list);
    void* last = nullptr;
    std::uint32_t index = index_of(block);
    for (std::uint32_t i = 0; i < count; ++i) {
        ids[index].store(id, std::memory_order_relaxed); // relaxed: handing the block over orders it
        rest = *static_cast<free_word*>(block);
        if (behind != 0)
            *static_cast<free_word*>(block) = rest - behind;
        last = block;
        void* neighbour = static_cast<char*>(block) + s.object_bytes;
        ++index;
        // Blocks that were carved or swept are in a row: the processor guesses so, and need not wait for one link after the other.
        if (first_free(rest) != neighbour) {
            neighbour = first_free(rest);
            index = index_of(neighbour);
        }
        asm("" : "+r"(neighbour)); // to the compiler the two are one
        block = neighbour;
    }
    *static_cast<free_word*>(last) = 0;
    s.free_list = rest;
    return list - behind;
}

/// Has the heap use the thread's table. False if another heap has blocks in it, and may not be flushed.
bool borrow_table(heap& h, bool may_flush) noexcept {
    thread_heaps& heaps = heaps_of(*h.slot);
    if (heaps.borrower == &h)
        return true;
    if (heaps.borrower != nullptr) {
        if (cold_bins_of(*heaps.borrower) != 0) {
            if (!may_flush)
                return false;
            close_cold(*heaps.borrower);
        }
        give_table_back(*heaps.borrower);
    }
    heaps.borrower = &h;
    h.bins = heaps.lent;
    h.fast = heaps.fast ? heaps.lent : empty_table;
    return true;
}

} // namespace

void note_cold(cache_owner& owner, const kmem_cache& cache, std::int32_t count) noexcept {
    const std::uint32_t index = cache.shape.index;
    auto& place = owner.heat[index % heat_count];
    // Relaxed: a heuristic; who counts at the same time may count once. The wanted bit makes the request once.
    const std::int32_t heat = place.load(std::memory_order_relaxed) + count;
    place.store(static_cast<std::uint16_t>(heat < 0 ? 0 : heat), std::memory_order_relaxed); // relaxed: as above
    if (count <= 0 || !is_warm(static_cast<std::uint32_t>(heat), cache.shape.object_bytes)) [[likely]]
        return;
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    auto& word = owner.wanted[index / 64];
    // relaxed: queueing the work orders it.
    if ((word.load(std::memory_order_relaxed) & bit) == 0 &&
        (word.fetch_or(bit, std::memory_order_relaxed) & bit) == 0) // relaxed: as above
        hooks.want_child(owner);
}

bin* cold_bin(heap& h, const kmem_cache& cache, bool may_flush) noexcept {
    if (!has_cold_bins(cache.shape) || &h != sync::tls.heap || h.dropped || &h == &heaps_of(*h.slot).root ||
        (h.partial == nullptr && !borrow_table(h, may_flush)))
        return nullptr;
    bin& b = h.bins[cache.shape.index];
    if (is_cold(b))
        return &b;
    if (b.tag != no_bin_tag) // of a child that is going
        return nullptr;
    b.max = static_cast<std::uint16_t>(first_count(cache.shape));
    b.tag = cold_tag(h.owner->objects->id);
    heaps_of(*h.slot).cold_patterns[cache.shape.index].taken = 0;
    set_cold_bins(h, cold_bins_of(h) | std::uint64_t{1} << cache.shape.index);
    return &b;
}

void* take_cold(heap& shared, heap& h, const kmem_cache& cache, bin& b, counter::page_counter** over) noexcept {
    const std::uint32_t bytes = cache.shape.object_bytes;
    slab* s = block_source(shared, cache.shape.index);
    if (s == nullptr && sweep_some_full(shared, cache.shape.index, full_slabs_in_section))
        s = block_source(shared, cache.shape.index);
    if (s == nullptr)
        return nullptr;
    cold_pattern& pattern = heaps_of(*h.slot).cold_patterns[cache.shape.index];
    std::uint32_t count = between(wanted_count(pattern, b, cache.shape), free_count(s->free_list));
    while (count > 1 && !counter::has_room_for_usage(*h.owner, std::uint64_t{count} * bytes))
        count /= 2;
    if (!counter::try_charge_usage(*h.owner, std::uint64_t{count} * bytes, over))
        return nullptr;
    b.free = take_off(*s, cache.shape, count, h.owner->objects->id);
    void* const block = take_from(b);
    if (count > b.max)
        b.max = static_cast<std::uint16_t>(count);
    if (const std::uint32_t all = pattern.taken + count; all <= std::numeric_limits<decltype(pattern.taken)>::max())
        pattern.taken = static_cast<std::uint16_t>(all);
    let_grow(b, cache.shape);
    want_trim(); // a thread that sleeps from here on has them taken back
    heaps_of(*h.slot).trimmed.store(false, std::memory_order_relaxed); // relaxed: a hint
    tally_cold(h, count, std::int64_t{count} * bytes);
    note_cold(*h.owner, cache, 1 + b.untold);
    b.untold = static_cast<std::uint8_t>(count - 1);
    ++h.allocations;
    debug_on_alloc(*s, block);
    return block;
}

void note_came_back(std::uint32_t index) noexcept {
    auto& h = *static_cast<heap*>(sync::tls.heap);
    const auto is_hot = [&]() noexcept {
        sync::rcu_guard section;
        return child_of(*h.owner, index) != nullptr;
    };
    if (!is_hot()) {
        note_cold(*h.owner, *root_cache_at(index), told_at_once);
    } else if (!nested()) { // who always frees what it allocates would never ask for another block
        cold_section here;
        close_bin(h, index);
    }
}

bin* cold_bin_for(const slab& s, const void* block) noexcept {
    auto* const h = static_cast<heap*>(sync::tls.heap);
    if (h == nullptr || cold_bins_of(*h) == 0 || s.kind != slab_kind::shared || !has_cold_bins(s.cache->shape))
        return nullptr;
    bin& b = h->bins[s.cache->shape.index];
    // relaxed: who has the block was handed it.
    const std::uint32_t id = owner_id_at(s, s.cache->shape, block).load(std::memory_order_relaxed);
    return b.tag == cold_tag(id) ? &b : nullptr;
}

void make_cold_room(heap& h, std::uint32_t index) noexcept {
    bin& b = h.bins[index];
    const std::uint32_t count = free_count(b.free);
    if (count < b.max)
        return;
    let_grow(b, root_cache_at(index)->shape);
    if (count == b.max)
        flush(h, index, count / 2);
}

cold_figures leave_cold(heap& h, const kmem_cache& cache, std::uint32_t count) noexcept {
    bin& b = h.bins[cache.shape.index];
    note_cold(*h.owner, cache, b.untold - static_cast<std::int32_t>(count));
    b.untold = 0;
    return {count, std::int64_t{count} * cache.shape.object_bytes};
}

void uncharge_cold(heap& h, cold_figures left) noexcept {
    if (left.objects == 0)
        return;
    sync::rcu_guard section;
    uncharge_objects(&h, *h.owner->objects, left);
}

void flush_cold(heap& h) noexcept {
    cold_figures sum;
    for (std::uint64_t left = cold_bins_of(h); left != 0; left &= left - 1) {
        const auto index = static_cast<std::uint32_t>(std::countr_zero(left));
        const cold_figures one = leave_cold(h, *root_cache_at(index), free_count(h.bins[index].free));
        sum.objects += one.objects;
        sum.bytes += one.bytes;
    }
    uncharge_cold(h, sum);
    for (std::uint64_t left = cold_bins_of(h); left != 0; left &= left - 1)
        send_back(h, static_cast<std::uint32_t>(std::countr_zero(left)), 0);
}

void close_cold(heap& h) noexcept {
    for (std::uint64_t left = cold_bins_of(h); left != 0; left &= left - 1) {
        const auto index = static_cast<std::uint32_t>(std::countr_zero(left));
        note_used(heaps_of(*h.slot).cold_patterns[index], free_count(h.bins[index].free));
    }
    flush_cold(h);
    for (std::uint64_t left = cold_bins_of(h); left != 0; left &= left - 1)
        h.bins[std::countr_zero(left)] = bin{};
    set_cold_bins(h, 0);
}

void give_table_back(heap& h) noexcept {
    thread_heaps& heaps = heaps_of(*h.slot);
    if (heaps.borrower != &h)
        return;
    ALLOT_ASSERT(cold_bins_of(h) == 0);
    heaps.borrower = nullptr;
    h.bins = h.fast = empty_table;
}

void settle_current() noexcept {
    const auto* const current = static_cast<const heap*>(sync::tls.heap);
    if (current == nullptr || cold_bins_of(*current) == 0 || nested())
        return;
    cold_section here;
    flush_cold(*static_cast<heap*>(sync::tls.heap));
}

} // namespace allot::slab
