// SPDX-License-Identifier: MIT
//
// discard: the end of a group together with all its blocks.
//
// Idea.        The subtree is closed; then, before the tree's lock is let go, what its groups have is taken back in the order in
//              which others could still hold it:
//
//              settle_frees       frees that were begun before and are on their way
//              close_locked       nobody charges the subtree any more
//              |- heaps           the own thread's, if only that has some: slabs wiped, heaps dropped
//              |                  else of all threads: first the bins, which may have blocks of each other's slabs
//              |- queues          of all slots, if slabs are left: frees of others that nobody has looked at
//              |- mark            owners: their objects in shared slabs are nobody's, those that lay in bins too
//              |- caches          slabs that nobody holds
//              |- runs            large blocks, by their owners
//              `- shares          of shared objects: uncharged in one go
//
//              The rest is the end of any group (lifecycle.cc), which finds little to do.
// Invariants.  I1  Groups in the subtree that were closed before are part of it: what they had belongs to it, or will.
// Concurrency. any thread. Everything under the tree lock, so that verify finds marks and shares in step.
//              A group below that was closed before may end meanwhile: what it has is taken back under the same lock (discard_rest).
// Lock order.  tree > slot, one at a time > node, runs.
// Checked by.  test/group/discard_test.cc, races.race_50b, test/torture/groups.cc, verify/spin/discard_bins.pml, verify/spin/cold_bins.pml
// Source.      docs/lifecycle.md "Discarding a group".
#include "slab/discard.hpp"
#include "group/mem_cgroup.hpp"
#include "slab/bins.hpp"
#include "slab/cold.hpp"
#include "slab/slab_ops.hpp"
#include "sync/test_point.hpp"

#include <cerrno>

namespace allot::memcg {

namespace {

using counter::charge_kind;
using sync::lock_guard;

/// Calls `visit` for the closed group and all below it that are not freed. Tree lock held.
template <class F> void for_each_closed(mem_cgroup& group, F&& visit) noexcept {
    group.dying.for_each([&](mem_cgroup& below) noexcept { for_each_closed(below, visit); });
    visit(group);
}

std::atomic<std::int64_t>& shared_share(const mem_cgroup& group) noexcept {
    return group.record->local[static_cast<std::size_t>(charge_kind::shared)];
}

/// What the subtree may still have.
struct left_over {
    std::uint32_t heaps = 0;
    std::uint64_t slabs = 0;
};

left_over count_left(mem_cgroup& top) noexcept {
    left_over left;
    for_each_closed(top, [&](mem_cgroup& group) noexcept {
        // (1) acquire: pairs with slab/heap.cc(2). The caller knows of all that were made.
        left.heaps += group.nr_heaps.load(std::memory_order_acquire);
        group.own_caches.for_each([&](slab::kmem_cache& cache) noexcept {
            left.slabs += cache.nr_slabs.load(std::memory_order_relaxed); // relaxed: the caller knows of those, too
        });
    });
    return left;
}

void mark(mem_cgroup& top) noexcept {
    for_each_closed(top, [](mem_cgroup& group) noexcept {
        group.discarded.store(true, std::memory_order_relaxed); // relaxed: see drop_leaving_heaps; else the lock
        group.owners.for_each([](slab::obj_cgroup& owner) noexcept { slab::mark_discarded(owner); });
    });
}

/// Does what is queued for the slot and drops its heaps in the subtree, with their slabs. Slot held and closed.
void discard_heaps(sync::thread_slot& slot, void* data) noexcept {
    const auto& top = *static_cast<const mem_cgroup*>(data);
    slab::thread_heaps& heaps = slab::heaps_of(slot);
    slab::drain_queue(slot);
    for (slab::heap* h = heaps.all.front(); h != nullptr;) {
        slab::heap* const following = heaps.all.next(*h);
        if (!h->dropped && is_below(*h->owner, top)) {
            slab::wipe_heap(*h);
            slab::drop_heap(*h);
        }
        h = following;
    }
}

/// Takes the blocks in the bins of the slot's heaps in the subtree from its thread: their slabs may be wiped in another slot. Slot held
/// and closed.
void forget_in_slot(sync::thread_slot& slot, void* data) noexcept {
    const auto& top = *static_cast<const mem_cgroup*>(data);
    slab::thread_heaps& heaps = slab::heaps_of(slot);
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (is_below(*h->owner, top))
            slab::forget_bins(*h);
}

std::uint32_t count_heaps(slab::thread_heaps& heaps, const mem_cgroup& top) noexcept {
    std::uint32_t count = 0;
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        count += !h->dropped && is_below(*h->owner, top) ? 1u : 0u;
    return count;
}

bool has_heap_or_queue(slab::thread_heaps& heaps, void* data) noexcept {
    if (heaps.queue.load(std::memory_order_relaxed) != nullptr) // relaxed: slot held; what the caller knows of is there
        return true;
    const auto& top = *static_cast<const mem_cgroup*>(data);
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (!h->dropped && is_below(*h->owner, top))
            return true;
    return false;
}

/// The heaps and what is queued. Mostly the own thread alone has heaps, and there is nobody to wait for.
void discard_held(mem_cgroup& top) noexcept {
    if (const std::uint32_t heaps = count_left(top).heaps; heaps != 0) {
        std::uint32_t own = 0;
        {
            slab::cold_section here;
            own = count_heaps(here.heaps(), top);
            if (own == heaps)
                discard_heaps(here.slot(), &top);
        }
        if (own != heaps)
            slab::for_each_slot_closed(has_heap_or_queue, forget_in_slot, &top);
    }
    if (const left_over left = count_left(top); left.heaps != 0 || left.slabs != 0)
        slab::for_each_slot_closed(has_heap_or_queue, discard_heaps, &top);
}

void discard_large(slab::obj_cgroup& owner) noexcept {
    // relaxed: who is still making the first one holds a slot; then discard_rest(), after a sweep over the slots, sees it.
    if (!owner.had_runs.load(std::memory_order_relaxed) || slab::first_run(owner) == 0)
        return;
    slab::cold_section here;
    slab::discard_runs(owner);
}

void discard_unheld(mem_cgroup& top) noexcept {
    for_each_closed(top, [](mem_cgroup& group) noexcept {
        group.own_caches.for_each([](slab::kmem_cache& cache) noexcept {
            if (cache.nr_slabs.load(std::memory_order_relaxed) == 0) // relaxed: as in count_left
                return;
            slab::cold_section here;
            slab::discard_unowned(here.slot(), cache);
        });
        group.owners.for_each([](slab::obj_cgroup& owner) noexcept { discard_large(owner); });
    });
}

/// Shared objects of groups that were closed before may stand in their shares or in those of their heirs; the sum is right.
void uncharge_shares(mem_cgroup& top) noexcept {
    std::int64_t bytes = 0;
    for_each_closed(top, [&](mem_cgroup& group) noexcept {
        // relaxed: nobody charges the subtree any more.
        if (shared_share(group).load(std::memory_order_relaxed) != 0 && &group != &top)
            shared_share(top).fetch_add(shared_share(group).exchange(0, std::memory_order_relaxed), // relaxed: as above
                                        std::memory_order_relaxed);
    });
    bytes = shared_share(top).load(std::memory_order_relaxed); // relaxed: as above
    if (bytes <= 0)
        return;
    counter::uncharge_object(top, static_cast<std::uint64_t>(bytes), charge_kind::shared);
    slab::note_discarded(static_cast<std::uint64_t>(bytes));
}

} // namespace

int discard(mem_cgroup& group, allot_report* report) noexcept {
    if (&group == root_group)
        return -EBUSY;
    slab::settle_frees();
    if (report != nullptr)
        slab::settle_current();
    {
        sync::busy_scope busy;
        lock_guard hold(tree_lock());
        if (const int error = close_locked(group, report); error != 0)
            return error;
        discard_held(group);
        mark(group); // the objects in bins of the heaps, too: nobody has those bins any more
        ALLOT_TEST_POINT("discard:marked");
        discard_unheld(group);
        uncharge_shares(group);
    }
    ALLOT_TEST_POINT("discard:discarded");
    if (report != nullptr)
        sort_lines(*report);
    return 0;
}

void discard_rest(mem_cgroup& group) noexcept {
    const std::int64_t bytes =
        shared_share(group).load(std::memory_order_relaxed); // relaxed: nobody charges it any more
    ALLOT_TEST_POINT("discard_rest:read");
    if (bytes > 0) {
        counter::uncharge_object(group, static_cast<std::uint64_t>(bytes), charge_kind::shared);
        slab::note_discarded(static_cast<std::uint64_t>(bytes));
    }
    sync::busy_scope busy;
    discard_large(*group.objects);
}

} // namespace allot::memcg
