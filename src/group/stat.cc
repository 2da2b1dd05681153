// SPDX-License-Identifier: MIT
//
// stat: reading a group's figures.
//
// Idea.        Everything but the count of allocations stands in the record at any time. Allocations on the fast path are
//              counted in the thread's block; reading credits them to its heaps, and folds what these have into the record first.
// Concurrency. any thread, Context task.
// Lock order.  slot, then tree, one after the other.
// Checked by.  test/group/stat_test.cc
#include "group/mem_cgroup.hpp"
#include "slab/slab_ops.hpp"

namespace allot::memcg {

namespace {

bool has_slabs_of(slab::thread_heaps& heaps, void* data) noexcept {
    if (data == nullptr || data == static_cast<slab::cache_owner*>(root_group))
        return true;
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (h->owner == data)
            return true;
    return false;
}

void fold_slot(sync::thread_slot& slot, void* data) noexcept {
    slab::thread_heaps& heaps = slab::heaps_of(slot);
    slab::credit(slot);
    slab::fold(heaps.root);
    // What a group has in shared slabs, the root has less.
    const bool all = data == nullptr || data == static_cast<slab::cache_owner*>(root_group);
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (all || h->owner == data)
            slab::fold(*h);
}

std::uint64_t positive(std::int64_t value) noexcept { return value > 0 ? static_cast<std::uint64_t>(value) : 0; }

} // namespace

void fold_allocations(mem_cgroup* group) noexcept {
    slab::for_each_slot_closed(has_slabs_of, fold_slot, static_cast<slab::cache_owner*>(group));
}

void read_stat(mem_cgroup& group, allot_stat& out) noexcept {
    using counter::charge_kind;
    fold_allocations(&group);
    const counter::page_counter& counter = group.counter();
    // Relaxed, all of them: each figure stands for itself.
    auto own = [&](charge_kind kind) noexcept {
        return positive(group.record->local[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed)); // relaxed
    };
    out = allot_stat{};
    out.current = counter.usage.load(std::memory_order_relaxed); // relaxed: see above
    out.peak = counter::peak_of(counter);
    out.local = positive(counter::local_bytes(group));
    out.slab = own(charge_kind::slab);
    out.shared = own(charge_kind::shared);
    out.large = own(charge_kind::large);
    out.external = own(charge_kind::external);
    out.metadata = own(charge_kind::metadata);
    out.allocations = counter.allocations.load(std::memory_order_relaxed); // relaxed: see above
    out.failures = counter.failures.load(std::memory_order_relaxed);       // relaxed: see above
    out.max_events = counter.max_events.load(std::memory_order_relaxed);   // relaxed: see above
    out.high_events = counter.high_events.load(std::memory_order_relaxed); // relaxed: see above
    sync::busy_scope busy;
    sync::lock_guard hold(tree_lock());
    out.nr_children = group.nr_children;
    out.nr_dying = group.nr_dying.load(std::memory_order_relaxed); // relaxed: statistics
}

} // namespace allot::memcg
