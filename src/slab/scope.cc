// SPDX-License-Identifier: MIT
//
// scope: the slow half of entering and leaving a group; the group outside all scopes.
//
// Idea.        See scope.hpp.
// Concurrency. own thread.
// Lock order.  slot, in the slow path.
// Checked by.  test/slab/scope_test.cc
#include "slab/scope.hpp"

#include "slab/alloc.hpp"
#include "slab/cold.hpp"

namespace allot::slab {

namespace {

/// A heap for the group or, when there is no memory for one, for the nearest ancestor that has one.
heap* heap_or_ancestors(cold_section& here, cache_owner& owner) noexcept {
    for (counter::account* at = &counter::nearest_online(owner); at != nullptr; at = at->parent)
        if (heap* h = find_or_make_heap(here.slot(), static_cast<cache_owner&>(*at), nullptr))
            return h;
    return &here.heaps().root;
}

/// The heap of a thread that leaves a scope for `previous`. One without a slot has none of its own outside of scopes, so that it may get
/// a slot there; for as long as others without one are in a scope of the root, nobody knows whether it is outside.
heap* heap_after(cold_section& here, heap* previous) noexcept {
    const thread_heaps& heaps = here.heaps();
    const bool is_outside = previous == heaps.base && previous->depth == heaps.base_depth;
    return sync::tls.slot == &sync::no_slot && is_outside ? nullptr : previous;
}

/// Who looks at the group from outside sees what was allocated before the thread left it, and no more. Slot held.
void leave_for(heap& left, const heap& next) noexcept {
    if (&left != &next) {
        note_left(left);
        close_cold(left);
    }
    if (detail::leaves_much(left))
        fold(left);
}

} // namespace

heap* enter_slow(cache_owner& owner) noexcept {
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

void leave_slow(heap* previous) noexcept {
    cold_section here;
    auto* const left = static_cast<heap*>(sync::tls.heap);
    if (left == nullptr || left->depth == 0)
        return; // the thread's exit hook was here: the heaps of its scopes are gone
    credit(here.slot());
    leave_for(*left, *previous);
    --left->depth;
    sync::tls.heap = heap_after(here, previous);
    if (left->depth == 0 && left->dropped)
        free_dropped_heap(*left);
}

void free_left_heap(heap& left) noexcept {
    cold_section here;
    free_dropped_heap(left);
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
    leave_for(*old, *h);
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
