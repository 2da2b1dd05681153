// SPDX-License-Identifier: MIT
//
// scope: which group the thread's allocations belong to.
//
// Idea.        Entering finds the thread's heap for the group in a small map and swaps three thread-local words inside a
//              read-side section; no shared counter moves, since the heap holds the reference. A closed slot, or a group that
//              the thread has no heap for, takes the slow path (scope.cc).
// Concurrency. own thread; a revoker is seen by `closed`.
// Lock order.  slot, in the slow path.
// Checked by.  test/slab/scope_test.cc, verify/explore/gate.cc, bench/golden
#pragma once

#include "slab/heap.hpp"

namespace allot::slab {

ALLOT_COLD heap* enter_slow(cache_owner& owner) noexcept;
ALLOT_COLD void leave_slow(heap* previous) noexcept;
/// Frees a dropped heap whose last scope has ended. Context: task.
ALLOT_COLD void free_left_heap(heap& left) noexcept;

namespace detail {

ALLOT_INLINE void install(heap& h) noexcept {
    sync::tls.heap = &h;
    if (sync::tls.bin_mask != h.mask) [[unlikely]] {
        // Neither goes with the other's table, and a handler may allocate in between.
        sync::tls.bins.store(empty_table, std::memory_order_relaxed); // relaxed: own
        compiler_barrier();
        sync::tls.bin_mask = h.mask;
        compiler_barrier();
    }
    sync::tls.bins.store(h.fast, std::memory_order_relaxed); // relaxed: a revoker waits for the section, then looks
}

/// credit(), for the own thread.
ALLOT_INLINE void credit_own(thread_heaps& heaps, heap& current) noexcept {
    const std::uint64_t now = sync::tls.allocations.load(std::memory_order_relaxed); // relaxed: own
    // A scope in which nothing happens does not wait for the sum of the one before.
    if (now == heaps.credited) [[likely]]
        return;
    current.allocations += now - heaps.credited;
    heaps.credited = now;
}

/// True if something of the thread's is to be told, or given back, when it leaves: then leave_slow() does. Slot held, or inside the own
/// section.
ALLOT_INLINE bool leaves_much(const heap& left) noexcept {
    // relaxed, both: own.
    const auto told = static_cast<std::uint64_t>(left.cold.bytes.load(std::memory_order_relaxed));
    return (told | left.cold_bins.load(std::memory_order_relaxed)) != 0; // relaxed: as above
}

} // namespace detail

/// enter_scope() as far as it needs no lock. Null: nothing happened, enter_slow() does it. Context: task.
[[nodiscard]] ALLOT_INLINE heap* try_enter_scope(const cache_owner& owner) noexcept {
    auto& tls = sync::tls;
    sync::thread_slot& slot = *tls.slot;
    if (&slot == &sync::no_slot) [[unlikely]]
        return nullptr;
    sync::rcu_reader& reader = slot.reader;
    const std::uint64_t count = reader.count();
    reader.enter_fast(count);
    thread_heaps& heaps = heaps_of(slot);
    // (1) acquire: pairs with revoke.cc(2): a section that begins after the grace period sees the mark.
    if (heaps.closed.load(std::memory_order_acquire) == 0) [[likely]] {
        // (3) acquire: pairs with heap.cc(1). A heap that is dropped is taken off the map while the slot is closed.
        heap* const h = heaps.map[map_index(owner)].load(std::memory_order_acquire);
        if (h != nullptr && h->owner == &owner) [[likely]] {
            auto* const previous = static_cast<heap*>(tls.heap);
            ++h->depth;
            detail::credit_own(heaps, *previous);
            detail::install(*h);
            reader.leave_fast(count);
            return previous;
        }
    }
    reader.leave_fast(count);
    return nullptr;
}

/// Enters the group: allocations of this thread are its own from now on. Returns what leave_scope needs. Context: task.
ALLOT_INLINE heap* enter_scope(cache_owner& owner) noexcept {
    heap* const previous = try_enter_scope(owner);
    return previous != nullptr ? previous : enter_slow(owner);
}

ALLOT_INLINE void leave_scope(heap* previous) noexcept {
    auto& tls = sync::tls;
    sync::thread_slot& slot = *tls.slot;
    if (&slot == &sync::no_slot) [[unlikely]] {
        leave_slow(previous);
        return;
    }
    sync::rcu_reader& reader = slot.reader;
    const std::uint64_t count = reader.count();
    reader.enter_fast(count);
    auto* const left = static_cast<heap*>(tls.heap);
    // (2) acquire: pairs with revoke.cc(2), as (1).
    thread_heaps& heaps = heaps_of(slot);
    if (const std::uint32_t depth = left->depth;
        heaps.closed.load(std::memory_order_acquire) == 0 && depth > 0 && !detail::leaves_much(*left)) [[likely]] {
        detail::credit_own(heaps, *left);
        left->depth = depth - 1;
        const bool last_of_dropped = left->dropped && depth == 1; // read inside: afterwards a revoker may free it
        detail::install(*previous);
        reader.leave_fast(count);
        if (last_of_dropped) [[unlikely]]
            free_left_heap(*left);
        return;
    }
    reader.leave_fast(count);
    leave_slow(previous);
}

} // namespace allot::slab
