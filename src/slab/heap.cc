// SPDX-License-Identifier: MIT
//
// heap: finding, making and dropping heaps.
//
// Idea.        See heap.hpp. The map is direct: a collision only costs a walk over the thread's heaps.
// Concurrency. slot held, but where it says otherwise.
// Lock order.  slot > node, metadata.
#include "slab/heap.hpp"

#include "slab/cold.hpp"
#include "slab/metadata.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"

#include <new>

namespace allot {

constinit sync::shut_table sync::no_bins{};

} // namespace allot

namespace allot::slab {

namespace {

std::size_t table_bytes(std::uint32_t capacity) noexcept { return capacity * sizeof(bin); }
std::size_t queues_bytes(std::uint32_t capacity) noexcept { return capacity * sizeof(std::uint32_t); }

void free_tables(heap& h) noexcept {
    give_table_back(h);
    if (h.partial != nullptr) {
        metadata_free(h.bins, table_bytes(h.capacity));
        metadata_free(h.partial, queues_bytes(h.capacity));
    }
    h.bins = h.fast = empty_table;
    h.partial = nullptr;
    set_capacity(h, small_capacity);
}

/// Makes room in a thread that has many heaps: drops the one that was entered longest ago and has no scope inside.
void trim_heaps(thread_heaps& heaps) noexcept {
    if (heaps.count < heaps_per_thread_max)
        return;
    for (heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (h->depth == 0 && h != heaps.base) {
            drop_heap(*h);
            return;
        }
}

/// The slot's heap for `owner`, or null. Slot held.
heap* find_heap(thread_heaps& heaps, const cache_owner& owner) noexcept {
    heap* h = heaps.map[map_index(owner)].load(std::memory_order_relaxed); // relaxed: slot held
    if (h != nullptr && h->owner == &owner && !h->dropped)
        return h;
    for (h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (h->owner == &owner && !h->dropped)
            break;
    return h;
}

} // namespace

sync::thread_slot& this_slot() noexcept {
    return sync::tls.slot != &sync::no_slot ? *sync::tls.slot : sync::slot_at(orphan_index);
}

heap* find_or_make_heap(sync::thread_slot& slot, cache_owner& owner, counter::page_counter** over) noexcept {
    thread_heaps& heaps = heaps_of(slot);
    auto& place = heaps.map[map_index(owner)];
    if (&owner == root_owner) {
        place.store(&heaps.root, std::memory_order_relaxed); // relaxed: constructed with the slot
        return &heaps.root;
    }
    heap* h = find_heap(heaps, owner);
    if (h == nullptr) {
        trim_heaps(heaps);
        if (!hooks.tryget(owner))
            return nullptr;
        h = metadata_new<heap>(over);
        if (h == nullptr) {
            hooks.put(owner);
            return nullptr;
        }
        h->bins = h->fast = empty_table;
        set_capacity(*h, small_capacity);
        h->owner = &owner;
        h->slot = &slot;
        heaps.all.push_back(*h);
        ++heaps.count;
        owner.nr_heaps.fetch_add(1, std::memory_order_relaxed); // relaxed: who asks was told that the heap is there
    } else if (h == place.load(std::memory_order_relaxed)) {    // relaxed: slot held
        return h;
    } else {
        h->lru.unlink();
        heaps.all.push_back(*h);
    }
    // (1) release: pairs with scope.hpp(3): a scope that finds the heap sees it initialised.
    place.store(h, std::memory_order_release);
    return h;
}

heap* effective_heap(sync::thread_slot& slot, counter::page_counter** over) noexcept {
    heap* current = static_cast<heap*>(sync::tls.heap);
    if (current == nullptr || current->slot != &slot) // a thread without a slot of its own
        return &heaps_of(slot).root;
    counter::account& payer = counter::nearest_online(*current->owner);
    if (&payer == current->owner) [[likely]]
        return current;
    return find_or_make_heap(slot, static_cast<cache_owner&>(payer), over);
}

bool ensure_tables(heap& h, std::uint32_t index, counter::page_counter** over) noexcept {
    if (h.partial != nullptr && index < h.capacity)
        return true;
    std::uint32_t capacity = small_capacity;
    while (capacity <= index)
        capacity *= 2;
    if (&h == &heaps_of(*h.slot).root) { // its tables have room for all
        set_capacity(h, capacity);
        return true;
    }
    void* const memory = metadata_alloc_raw(table_bytes(capacity), over);
    if (memory == nullptr)
        return false;
    auto* const partial = static_cast<std::uint32_t*>(metadata_alloc(queues_bytes(capacity), over));
    if (partial == nullptr) {
        metadata_free(memory, table_bytes(capacity));
        return false;
    }
    close_cold(h); // few, and perhaps in the thread's table
    bin* const bins = new (memory) bin[capacity];
    if (h.partial != nullptr)
        for (std::uint32_t i = 0; i < h.capacity; ++i) {
            bins[i] = h.bins[i];
            partial[i] = h.partial[i];
        }
    free_tables(h);
    h.bins = bins;
    h.fast = heaps_of(*h.slot).fast ? bins : empty_table;
    h.partial = partial;
    set_capacity(h, capacity);
    return true;
}

void park_all(heap& h) noexcept {
    close_cold(h);
    if (h.partial != nullptr)
        for (std::uint32_t i = 0; i < h.capacity; ++i) {
            flush(h, i, 0);
            while (h.partial[i] != 0) {
                slab& partial = slab_at(h.partial[i]);
                unqueue(h, partial);
                park(partial);
            }
        }
    while (h.full != 0) {
        slab& s = slab_at(h.full);
        unlink(h.full, s);
        park(s);
    }
    h.keep_max = 0;
}

void credit(sync::thread_slot& slot) noexcept {
    thread_heaps& heaps = heaps_of(slot);
    // relaxed: the slot is held, so the owner neither comes nor goes; what it allocates meanwhile is credited the next time.
    const sync::thread_state* const thread = slot.owner.load(std::memory_order_relaxed);
    if (thread == nullptr || thread->heap == nullptr)
        return;
    const std::uint64_t now = thread->allocations.load(std::memory_order_relaxed); // relaxed: as above
    static_cast<heap*>(thread->heap)->allocations += now - heaps.credited;
    heaps.credited = now;
}

void publish_allocations(heap& h) noexcept {
    // A program that is killed leaves what was published; what is left out stays below a slab's worth.
    constexpr std::uint64_t publish_after = 32;
    credit(*h.slot);
    if (h.allocations >= publish_after)
        fold(h);
}

void settle_cold(heap& h) noexcept {
    // relaxed, all: what the heap has is its holder's.
    if (const std::int64_t bytes = h.cold.bytes.load(std::memory_order_relaxed); bytes != 0) {
        counter::move_share(*h.owner, bytes, counter::charge_kind::shared);
        h.cold.bytes.store(0, std::memory_order_relaxed); // relaxed: as above
    }
    if (const std::int64_t objects = h.cold.objects.load(std::memory_order_relaxed); objects != 0) { // relaxed: too
        obj_cgroup_add(*h.owner->objects, objects);
        h.cold.objects.store(0, std::memory_order_relaxed); // relaxed: as above
    }
}

void tally_cold(heap& h, std::int64_t objects, std::int64_t bytes) noexcept {
    // So many may be unknown to who looks from outside.
    constexpr std::int64_t unsettled_most = 64;
    h.cold.add(objects, bytes);
    const std::int64_t now = h.cold.objects.load(std::memory_order_relaxed); // relaxed: own
    if (now >= unsettled_most || now <= -unsettled_most) [[unlikely]]
        settle_cold(h);
}

cold_figures unsettled(const cache_owner& owner) noexcept {
    cold_figures sum;
    // relaxed: a heap that is made meanwhile is as if it were made later. The count saves looking on.
    std::uint32_t left = owner.nr_heaps.load(std::memory_order_relaxed);
    const auto look = [&](sync::thread_slot& slot) noexcept {
        if (!slot.lock.try_lock())
            return;
        if (const heap* const h = find_heap(heaps_of(slot), owner)) {
            sum.objects += h->cold.objects.load(std::memory_order_relaxed); // relaxed: figures
            sum.bytes += h->cold.bytes.load(std::memory_order_relaxed);     // relaxed: as above
            --left;
        }
        slot.lock.unlock();
    };
    if (left != 0)
        look(this_slot()); // mostly the only one
    const std::uint32_t end = sync::slots_used();
    for (std::uint32_t i = 1; left != 0 && i < end; ++i)
        if (&sync::slot_at(i) != &this_slot())
            look(sync::slot_at(i));
    return sum;
}

void fold(heap& h) noexcept {
    settle_cold(h);
    if (h.allocations == 0)
        return;
    sync::rcu_guard section;
    counter::account& owner = counter::nearest_online(*h.owner);
    owner.counter().allocations.fetch_add(h.allocations, std::memory_order_relaxed); // relaxed: statistics
    h.allocations = 0;
}

void free_dropped_heap(heap& h) noexcept {
    ALLOT_ASSERT(h.dropped && h.depth == 0 && h.nr_slabs == 0);
    thread_heaps& heaps = heaps_of(*h.slot);
    fold(h);
    h.lru.unlink();
    --heaps.count;
    if (heaps.base == &h) {
        heaps.base = &heaps.root;
        heaps.base_depth = 0;
    }
    hooks.put(*h.owner);
    metadata_free(&h, sizeof h);
}

void drop_heap(heap& h) noexcept {
    thread_heaps& heaps = heaps_of(*h.slot);
    credit(*h.slot);
    park_all(h);
    fold(h);
    free_tables(h);
    if (auto& place = heaps.map[map_index(*h.owner)]; place.load(std::memory_order_relaxed) == &h) // relaxed: slot held
        place.store(nullptr, std::memory_order_relaxed); // relaxed: the slot is closed
    if (!h.dropped)
        // (2) release: pairs with group/discard.cc(1): who does not count it any more finds the blocks of its bins back with their slabs.
        h.owner->nr_heaps.fetch_sub(1, std::memory_order_release);
    h.dropped = true;
    if (h.depth == 0)
        free_dropped_heap(h);
}

/// Constructs the slab layer's part of a fresh slot. Registry held.
void construct_heaps(sync::thread_slot& slot) noexcept {
    auto& heaps = *new (&heaps_of(slot)) thread_heaps;
    heaps.root.bins = heaps.root_bins;
    heaps.root.fast = empty_table;
    heaps.shared.bins = heaps.shared.fast = empty_table;
    heaps.root.partial = heaps.root_partial;
    heaps.shared.partial = heaps.shared_partial;
    set_capacity(heaps.root, small_capacity);
    set_capacity(heaps.shared, cache_count_max);
    heaps.root.owner = heaps.shared.owner = root_owner;
    heaps.root.slot = heaps.shared.slot = &slot;
    heaps.base = &heaps.root;
}

} // namespace allot::slab
