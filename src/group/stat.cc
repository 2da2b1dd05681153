// SPDX-License-Identifier: MIT
//
// stat: reading a group's figures.
//
// Idea.        Everything but the count of allocations stands in the record at any time. Allocations on the fast path are
//              counted in the thread's block; reading credits them to its heaps, and folds what these have into the record first.
//              Blocks of shared slabs that threads have for a group and do not use go back first, so that cold groups show what lives.
// Concurrency. any thread, Context task.
// Lock order.  slot, then tree, one after the other.
// Checked by.  test/group/stat_test.cc
#include "group/mem_cgroup.hpp"
#include "slab/cold.hpp"
#include "slab/slab_ops.hpp"

namespace allot::memcg {

namespace {

bool reads_all(const mem_cgroup* group) noexcept { return group == nullptr || group == root_group; }

bool has_figures_of(slab::thread_heaps& heaps, void* data) noexcept {
    const auto* const group = static_cast<const mem_cgroup*>(data);
    if (reads_all(group))
        return true;
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (h->owner == group || (slab::cold_bins_of(*h) != 0 && is_below(*h->owner, *group)))
            return true;
    return false;
}

void fold_slot(sync::thread_slot& slot, void* data) noexcept {
    const auto* const group = static_cast<const mem_cgroup*>(data);
    slab::thread_heaps& heaps = slab::heaps_of(slot);
    slab::credit(slot);
    slab::fold(heaps.root);
    // What a group has in shared slabs, the root has less.
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h)) {
        if (slab::cold_bins_of(*h) != 0 && (reads_all(group) || is_below(*h->owner, *group)))
            slab::flush_cold(*h);
        if (reads_all(group) || h->owner == group)
            slab::fold(*h);
    }
}

std::uint64_t positive(std::int64_t value) noexcept { return value > 0 ? static_cast<std::uint64_t>(value) : 0; }

} // namespace

void settle_figures(mem_cgroup* group) noexcept { slab::for_each_slot_closed(has_figures_of, fold_slot, group); }

void read_stat(mem_cgroup& group, allot_stat& out) noexcept {
    using counter::charge_kind;
    settle_figures(&group);
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
