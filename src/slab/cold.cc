// SPDX-License-Identifier: MIT
//
// cold: see cold.hpp.
//
// Idea.        A bin begins with few blocks and takes twice as many each time, up to a page's worth: what is left over is at most about
//              what was used. Requests that a thread serves one after the other are alike: where the last two groups that it left used
//              more of a cache, the next one's bin takes so many at once, and nothing is left over; and its first cold allocation fills the
//              bins of all caches that both used, charged together.
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
constexpr std::uint64_t most_expected_together = 16 * page_bytes; ///< bytes, of all caches
constexpr std::uint64_t kmalloc_bins = (std::uint64_t{1} << kmalloc_class_count) - 1;
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

/// How many blocks more the group may use, as those before did. 0: nobody knows.
std::uint32_t expected_count(const cold_pattern& pattern, const cache_shape& shape) noexcept {
    const std::uint32_t most = between(count_in(most_expected_bytes, shape), most_expected_blocks);
    const std::uint32_t expected = pattern.expected < most ? pattern.expected : most;
    return expected > pattern.taken ? expected - pattern.taken : 0;
}

/// How many blocks the bin should take now.
std::uint32_t wanted_count(const cold_pattern& pattern, const bin& b, const cache_shape& shape) noexcept {
    if (const std::uint32_t expected = expected_count(pattern, shape); expected != 0)
        return expected;
    return b.max < most_count(shape) ? b.max : most_count(shape);
}

/// Opens the heap's bin for cold blocks of the cache; its bit in cold_bins is the caller's.
void open_cold(heap& h, const cache_shape& shape) noexcept {
    bin& b = h.bins[shape.index];
    b.max = static_cast<std::uint16_t>(first_count(shape));
    b.tag = cold_tag(h.owner->objects->id);
    heaps_of(*h.slot).cold_patterns[shape.index].taken = 0;
}

/// Takes the first `count` blocks off the slab's list, gives them the owner and links them in front of a bin's list: which is returned.
free_word take_off(slab& s, const cache_shape& shape, std::uint32_t count, std::uint32_t id,
                   free_word behind) noexcept {
    ALLOT_ASSERT(shape.link_offset == 0 && count <= free_count(s.free_list));
    const free_word list = s.free_list;
    // Each link counts what is behind it: there that was the rest of the slab's list.
    const free_word more = free_word{free_count(behind)} + count - free_count(list);
    const auto start = reinterpret_cast<std::uintptr_t>(start_of(s));
    std::atomic<std::uint32_t>* const ids = owner_ids(s);
    const std::uint64_t reciprocal = shape.reciprocal;
    const std::size_t bytes = shape.object_bytes;
    // Behind the last block there may be none: then some number, which is not used.
    const auto index_of = [&](const void* block) noexcept {
        return index_at(reinterpret_cast<std::uintptr_t>(block) - start, reciprocal);
    };
    free_word rest = list;
    void* block = first_free(list);
    void* last = nullptr;
    std::uint32_t index = index_of(block);
    for (std::uint32_t i = 0; i < count; ++i) {
        ids[index].store(id, std::memory_order_relaxed); // relaxed: handing the block over orders it
        rest = *static_cast<free_word*>(block);
        if (more != 0)
            *static_cast<free_word*>(block) = rest + more;
        last = block;
        void* neighbour = static_cast<char*>(block) + bytes;
        ++index;
        // Blocks that were carved or swept are in a row: the processor guesses so, and need not wait for one link after the other.
        if (first_free(rest) != neighbour) {
            neighbour = first_free(rest);
            index = index_of(neighbour);
        }
        asm("" : "+r"(neighbour)); // to the compiler the two are one
        block = neighbour;
    }
    *static_cast<free_word*>(last) = behind;
    s.free_list = rest;
    return list + more;
}

/// Takes `count` blocks of the slab, which are charged to the heap's group, into its bin.
void take_into(heap& h, bin& b, slab& s, const cache_shape& shape, std::uint32_t count) noexcept {
    constexpr std::uint32_t most = std::numeric_limits<decltype(cold_pattern::taken)>::max();
    b.free = take_off(s, shape, count, h.owner->objects->id, b.free);
    if (const std::uint32_t now = free_count(b.free); now > b.max)
        b.max = static_cast<std::uint16_t>(now);
    std::uint16_t& taken = heaps_of(*h.slot).cold_patterns[shape.index].taken;
    taken = static_cast<std::uint16_t>(count < most - taken ? taken + count : most);
}

/// A slab of the thread's shared heap with a block of the cache with `index`, or null.
slab* cold_source(heap& shared, std::uint32_t index) noexcept {
    if (slab* const s = block_source(shared, index))
        return s;
    return sweep_some_full(shared, index, full_slabs_for_a_bin) ? block_source(shared, index) : nullptr;
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
            note_left(*heaps.borrower);
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
    open_cold(h, cache.shape);
    set_cold_bins(h, cold_bins_of(h) | std::uint64_t{1} << cache.shape.index);
    return &b;
}

/// Fills bins of a group that has none but one, and no slabs of its own, with what the groups before used; as far as slabs of the thread
/// have it, and there is room. Slot held, or inside an open section.
static void take_expected(heap& shared, heap& h) noexcept {
    thread_heaps& heaps = heaps_of(*h.slot);
    const std::uint64_t expected = heaps.expected_bins & kmalloc_bins; // others may be gone meanwhile
    std::uint64_t bytes = 0;
    for (std::uint64_t left = expected; left != 0; left &= left - 1) {
        const auto index = static_cast<std::uint32_t>(std::countr_zero(left));
        const cache_shape& shape = root_cache_at(index)->shape;
        if (!is_cold(h.bins[index]))
            open_cold(h, shape);
        bytes += std::uint64_t{expected_count(heaps.cold_patterns[index], shape)} * shape.object_bytes;
    }
    set_cold_bins(h, cold_bins_of(h) | expected);
    counter::page_counter* over = nullptr;
    if (bytes == 0 || bytes > most_expected_together || !counter::has_room_for_usage(*h.owner, bytes) ||
        !counter::try_charge_usage(*h.owner, bytes, &over))
        return;
    cold_figures sum;
    for (std::uint64_t left = expected; left != 0; left &= left - 1) {
        const auto index = static_cast<std::uint32_t>(std::countr_zero(left));
        const cache_shape& shape = root_cache_at(index)->shape;
        bin& b = h.bins[index];
        while (const std::uint32_t wanted = expected_count(heaps.cold_patterns[index], shape)) {
            slab* const s = cold_source(shared, index);
            if (s == nullptr)
                break;
            const std::uint32_t count = between(wanted, free_count(s->free_list));
            take_into(h, b, *s, shape, count);
            b.untold = static_cast<std::uint8_t>(b.untold + count);
            sum.objects += count;
            sum.bytes += std::int64_t{count} * shape.object_bytes;
        }
    }
    tally_cold(h, sum.objects, sum.bytes);
    if (const std::uint64_t rest = bytes - static_cast<std::uint64_t>(sum.bytes); rest != 0) // the slabs had less
        counter::uncharge_usage(*h.owner, rest);
}

void* take_cold(heap& shared, heap& h, const kmem_cache& cache, bin& b, counter::page_counter** over) noexcept {
    const std::uint32_t index = cache.shape.index;
    const std::uint32_t bytes = cache.shape.object_bytes;
    slab* const s = cold_source(shared, index);
    if (s == nullptr)
        return nullptr;
    thread_heaps& heaps = heaps_of(*h.slot);
    const cold_pattern& pattern = heaps.cold_patterns[index];
    const bool is_first = pattern.taken == 0 && cold_bins_of(h) == std::uint64_t{1} << index;
    std::uint32_t count = between(wanted_count(pattern, b, cache.shape), free_count(s->free_list));
    while (count > 1 && !counter::has_room_for_usage(*h.owner, std::uint64_t{count} * bytes))
        count /= 2;
    if (!counter::try_charge_usage(*h.owner, std::uint64_t{count} * bytes, over))
        return nullptr;
    take_into(h, b, *s, cache.shape, count);
    void* const block = take_from(b);
    let_grow(b, cache.shape);
    want_trim();                                           // a thread that sleeps from here on has them taken back
    heaps.trimmed.store(false, std::memory_order_relaxed); // relaxed: a hint
    tally_cold(h, count, std::int64_t{count} * bytes);
    note_cold(*h.owner, cache, 1 + b.untold);
    b.untold = static_cast<std::uint8_t>(count - 1);
    ++h.allocations;
    debug_on_alloc(*s, block);
    // relaxed: a child that somebody makes meanwhile is as if it were made later.
    if (is_first && heaps.expected_bins != 0 && h.owner->caches.load(std::memory_order_relaxed) == nullptr)
        take_expected(shared, h);
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
    cold_pattern& pattern = heaps_of(*h.slot).cold_patterns[cache.shape.index];
    pattern.taken = static_cast<std::uint16_t>(pattern.taken > count ? pattern.taken - count : 0);
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

void note_left(const heap& h) noexcept {
    const std::uint64_t open = cold_bins_of(h);
    if (open == 0) // nothing is known of it
        return;
    constexpr std::uint32_t most = std::numeric_limits<decltype(cold_pattern::last)>::max();
    thread_heaps& heaps = heaps_of(*h.slot);
    std::uint64_t used = 0;
    std::uint64_t expected = 0;
    for (std::uint64_t left = open | heaps.used_bins; left != 0; left &= left - 1) {
        const auto index = static_cast<std::uint32_t>(std::countr_zero(left));
        const std::uint64_t bit = left & (0 - left);
        cold_pattern& pattern = heaps.cold_patterns[index];
        std::uint32_t now = 0;
        if ((open & bit) != 0) {
            const std::uint32_t unused = free_count(h.bins[index].free);
            now = pattern.taken > unused ? pattern.taken - unused : 0;
            now = now < most ? now : most;
        }
        pattern.expected = now < pattern.last ? static_cast<std::uint8_t>(now) : pattern.last;
        pattern.last = static_cast<std::uint8_t>(now);
        used |= now != 0 ? bit : 0;
        expected |= pattern.expected != 0 ? bit : 0;
    }
    heaps.used_bins = used;
    heaps.expected_bins = expected;
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
