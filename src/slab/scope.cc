// SPDX-License-Identifier: MIT
//
// scope: which group the thread's allocations belong to.
//
// Idea.        Entering finds the thread's heap for the group in a small map and swaps three thread-local words inside a
//              read-side section; no shared counter moves, since the heap holds the reference. A closed slot, or a group that
//              the thread has no heap for, takes the slow path.
// Concurrency. own thread; a revoker is seen by `closed`.
// Lock order.  slot, in the slow path.
// Checked by.  test/slab/scope_test.cc
#include "slab/alloc.hpp"

namespace allot::slab {

namespace {

ALLOT_INLINE void install(heap& h) noexcept {
    sync::tls.heap = &h;
    if (const std::uint32_t mask = mask_of(h.capacity); sync::tls.bin_mask != mask) [[unlikely]] {
        // Neither goes with the other's table, and a handler may allocate in between.
        sync::tls.bins.store(empty_table, std::memory_order_relaxed); // relaxed: own
        compiler_barrier();
        sync::tls.bin_mask = mask;
        compiler_barrier();
    }
    sync::tls.bins.store(h.fast, std::memory_order_relaxed); // relaxed: a revoker waits for the section, then looks
}

/// credit(), for the own thread.
ALLOT_INLINE void credit_own(thread_heaps& heaps, heap& current) noexcept {
    const std::uint64_t now = sync::tls.allocations.load(std::memory_order_relaxed); // relaxed: own
    current.allocations += now - heaps.credited;
    heaps.credited = now;
}

/// Who looks at the group from outside sees what was allocated before the thread left it. Slot held, or inside the own section.
ALLOT_INLINE void tell_cold(heap& left) noexcept {
    if (left.cold.bytes.load(std::memory_order_relaxed) != 0) [[unlikely]] // relaxed: own
        fold(left);
}

/// A heap for the group or, when there is no memory for one, for the nearest ancestor that has one.
heap* heap_or_ancestors(cold_section& here, cache_owner& owner) noexcept {
    for (counter::account* at = &counter::nearest_online(owner); at != nullptr; at = at->parent)
        if (heap* h = find_or_make_heap(here.slot(), static_cast<cache_owner&>(*at), nullptr))
            return h;
    return &here.heaps().root;
}

ALLOT_COLD heap* enter_slow(cache_owner& owner) noexcept {
    begin_thread();
    cold_section here;
    heap* const h = heap_or_ancestors(here, owner);
    heap* previous = static_cast<heap*>(sync::tls.heap);
    if (previous == nullptr)
        previous = here.heaps().base;
    credit(here.slot());
    ++h->depth;
    sync::tls.heap = h;
    return previous;
}

ALLOT_COLD void leave_slow(heap* previous) noexcept {
    cold_section here;
    auto* const left = static_cast<heap*>(sync::tls.heap);
    if (left == nullptr || left->depth == 0)
        return; // the thread's exit hook was here: the heaps of its scopes are gone
    credit(here.slot());
    tell_cold(*left);
    sync::tls.heap = previous;
    if (--left->depth == 0 && left->dropped)
        free_dropped_heap(*left);
}

} // namespace

heap* enter_scope(cache_owner& owner) noexcept {
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    if (tls.slot == &sync::no_slot) [[unlikely]]
        return enter_slow(owner);
    const std::uint64_t count = reader.count();
    reader.enter_fast(count);
    thread_heaps& heaps = heaps_of(*tls.slot);
    // (1) acquire: pairs with revoke.cc(2): a section that begins after the grace period sees the mark.
    if (heaps.closed.load(std::memory_order_acquire) == 0) [[likely]] {
        // (3) acquire: pairs with heap.cc(1).
        heap* const h = heaps.map[map_index(owner)].load(std::memory_order_acquire);
        if (h != nullptr && h->owner == &owner && !h->dropped) [[likely]] {
            auto* const previous = static_cast<heap*>(tls.heap);
            ++h->depth;
            credit_own(heaps, *previous);
            install(*h);
            reader.leave_fast(count);
            return previous;
        }
    }
    reader.leave_fast(count);
    return enter_slow(owner);
}

void leave_scope(heap* previous) noexcept {
    auto& tls = sync::tls;
    if (tls.slot == &sync::no_slot) [[unlikely]] {
        leave_slow(previous);
        return;
    }
    sync::rcu_reader& reader = tls.slot->reader;
    const std::uint64_t count = reader.count();
    reader.enter_fast(count);
    auto* const left = static_cast<heap*>(tls.heap);
    // (2) acquire: pairs with revoke.cc(2), as (1).
    thread_heaps& heaps = heaps_of(*tls.slot);
    if (heaps.closed.load(std::memory_order_acquire) == 0 && left->depth > 0) [[likely]] {
        credit_own(heaps, *left);
        tell_cold(*left);
        const bool last_of_dropped =
            --left->depth == 0 && left->dropped; // read inside: afterwards a revoker may free it
        install(*previous);
        reader.leave_fast(count);
        if (last_of_dropped) [[unlikely]] {
            cold_section here;
            free_dropped_heap(*left);
        }
        return;
    }
    reader.leave_fast(count);
    leave_slow(previous);
}

bool set_base(cache_owner& owner) noexcept {
    begin_thread();
    cold_section here;
    thread_heaps& heaps = here.heaps();
    if (static_cast<heap*>(sync::tls.heap) != heaps.base || heaps.base->depth != heaps.base_depth ||
        sync::tls.slot == &sync::no_slot)
        return false;
    heap* const h = heap_or_ancestors(here, owner);
    heap* const old = heaps.base;
    credit(here.slot());
    ++h->depth;
    heaps.base = h;
    heaps.base_depth = 1;
    sync::tls.heap = h;
    if (old->depth > 0 && --old->depth == 0 && old->dropped)
        free_dropped_heap(*old);
    return true;
}

cache_owner& current_owner() noexcept {
    const auto* const h = static_cast<const heap*>(sync::tls.heap);
    return h == nullptr ? *root_owner : *h->owner;
}

} // namespace allot::slab
