// SPDX-License-Identifier: MIT
//
// cold: see cold.hpp.
//
// Idea.        A bin begins with few blocks and takes twice as many each time, up to a page's worth: what is left over is at most about
//              what was used.
// Concurrency. as cold.hpp says.
// Lock order.  slot > node > page_alloc.
#include "slab/cold.hpp"

#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"

#include <bit>

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
constexpr std::uint32_t between(std::uint32_t count, std::uint32_t most) noexcept {
    return count == 0 ? 1 : count < most ? count : most;
}
constexpr std::uint32_t first_count(std::uint32_t object_bytes) noexcept {
    return between(first_bytes / object_bytes, first_blocks_max);
}
constexpr std::uint32_t most_count(std::uint32_t object_bytes) noexcept {
    return between(most_bytes / object_bytes, most_blocks);
}

void let_grow(bin& b, std::uint32_t object_bytes) noexcept {
    b.max = static_cast<std::uint16_t>(between(2u * b.max, most_count(object_bytes)));
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
    b.max = static_cast<std::uint16_t>(first_count(cache.shape.object_bytes));
    b.tag = cold_tag(h.owner->objects->id);
    set_cold_bins(h, cold_bins_of(h) | std::uint64_t{1} << cache.shape.index);
    return &b;
}

void* take_cold(heap& shared, heap& h, const kmem_cache& cache, bin& b, counter::page_counter** over) noexcept {
    const std::uint32_t bytes = cache.shape.object_bytes;
    slab* const s = block_source(shared, cache.shape.index);
    if (s == nullptr)
        return nullptr;
    std::uint32_t count = between(free_count(s->free_list), b.max);
    if (!counter::has_room_for_usage(*h.owner, std::uint64_t{count} * bytes))
        count = 1;
    if (!counter::try_charge_usage(*h.owner, std::uint64_t{count} * bytes, over))
        return nullptr;
    void* taken[most_blocks];
    const std::uint32_t id = h.owner->objects->id;
    free_word list = s->free_list;
    for (std::uint32_t i = 0; i < count; ++i) {
        taken[i] = first_free(list);
        list = link_of(cache.shape, taken[i]);
        // relaxed: handing the block over orders it.
        owner_id_at(*s, cache.shape, taken[i]).store(id, std::memory_order_relaxed);
    }
    s->free_list = list;
    for (std::uint32_t i = count; i-- > 1;)
        put_into(b, taken[i]); // the bin gives them in the slab's order
    let_grow(b, bytes);
    want_trim(); // a thread that sleeps from here on has them taken back
    heaps_of(*h.slot).trimmed.store(false, std::memory_order_relaxed); // relaxed: a hint
    tally_cold(h, count, std::int64_t{count} * bytes);
    note_cold(*h.owner, cache, 1 + b.untold);
    b.untold = static_cast<std::uint8_t>(count - 1);
    ++h.allocations;
    debug_on_alloc(*s, taken[0]);
    return taken[0];
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
    let_grow(b, root_cache_at(index)->shape.object_bytes);
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
