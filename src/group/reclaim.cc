// SPDX-License-Identifier: MIT
//
// reclaim: what is done when a limit is met, and the record of a failure.
//
// Idea.        Threads hold slabs with free blocks for a group, and empties for reuse. At a limit all threads' heaps of the
//              subtree are revoked once: their slabs are parked, the empty ones given back. One thread does it at a time; the
//              others wait for it, since skipping would let them fail although memory is coming.
// Concurrency. any thread, Context task, no lock held.
// Lock order.  reclaim > slot.
// Checked by.  test/group/reclaim_test.cc
#include "group/mem_cgroup.hpp"
#include "slab/cold.hpp"
#include "slab/discard.hpp"
#include "slab/slab_ops.hpp"

#include <cstring>

namespace allot::memcg {

namespace {

constinit sync::mutex reclaim_lock{sync::lock_rank::reclaim};

bool holds_slabs_below(slab::thread_heaps& heaps, void* data) noexcept {
    const auto& top = *static_cast<const mem_cgroup*>(data);
    if (&top == root_group)
        return true;
    if (heaps.queue.load(std::memory_order_relaxed) != nullptr) // relaxed: slot held; what comes later comes too late
        return true;
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if ((h->partial != nullptr || slab::cold_bins_of(*h) != 0) && is_below(*h->owner, top))
            return true;
    return false;
}

void park_below(sync::thread_slot& slot, void* data) noexcept {
    const auto& top = *static_cast<const mem_cgroup*>(data);
    slab::thread_heaps& heaps = slab::heaps_of(slot);
    slab::drain_queue(slot);
    for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        if (is_below(*h->owner, top))
            slab::park_all(*h);
    if (&top == root_group) {
        slab::park_all(heaps.root);
        slab::park_all(heaps.shared); // last: cold bins were emptied into its slabs
    }
}

} // namespace

sync::mutex& reclaim_guard() noexcept { return reclaim_lock; }

counter::byte_count reclaim(mem_cgroup& group) noexcept {
    if ((sync::tls.flags & (sync::owns_the_world | sync::in_executor | sync::in_marked_handler)) != 0)
        return 0; // over fork, in a handler, and for the executor, which holds a later rank
    sync::might_reclaim();
    const auto& usage = group.counter().usage;
    counter::byte_count before = 0;
    {
        sync::busy_scope busy;
        sync::lock_guard hold(reclaim_lock);
        before = usage.load(std::memory_order_relaxed); // relaxed: an estimate
        slab::for_each_slot_closed(holds_slabs_below, park_below, &group);
        if (&group == root_group)
            slab::sweep_discarded();
    }
    sync::try_run_ready();
    if (&group == root_group)
        free_spares();
    const counter::byte_count after = usage.load(std::memory_order_relaxed); // relaxed: an estimate
    return after < before ? before - after : 0;
}

bool reclaim_at_limit(counter::page_counter& over, counter::byte_count bytes, unsigned attempt) noexcept {
    mem_cgroup* const group = group_of(over);
    if (group == nullptr)
        return attempt == 0; // freed meanwhile: the next try charges somebody else
    // The root's limit, or the machine's: those that are furthest above their `high` are asked first.
    counter::byte_count freed = group == root_group ? soft_limit_reclaim(bytes) : 0;
    if (freed < bytes)
        freed += reclaim(*group);
    // relaxed: the next attempt finds out for sure.
    const counter::byte_count usage = over.usage.load(std::memory_order_relaxed);
    const counter::byte_count max = over.max.load(std::memory_order_relaxed); // relaxed: as above
    put(*group);
    return freed != 0 || (bytes <= max && usage <= max - bytes);
}

void note_failure(counter::page_counter* over, counter::byte_count bytes) noexcept {
    slab::failure_record failure{};
    failure.request = bytes;
    failure.valid = true;
    if (over != nullptr) {
        over->failures.fetch_add(1, std::memory_order_relaxed);      // relaxed: statistics
        failure.usage = over->usage.load(std::memory_order_relaxed); // relaxed: the text of a moment
        failure.limit = over->max.load(std::memory_order_relaxed);   // relaxed: as above
        if (mem_cgroup* const group = group_of(*over)) {
            char path[ALLOT_PATH_MAX + 1];
            const std::size_t length = path_of(*group, path, sizeof path);
            const std::size_t kept = length < sizeof path ? length : sizeof path - 1;
            const std::size_t room = sizeof failure.group - 1;
            const char* const from = kept > room ? path + (kept - room) : path;
            std::memcpy(failure.group, from, std::strlen(from) + 1);
            put(*group);
        }
    }
    slab::heaps_of(slab::this_slot()).failure = failure;
}

} // namespace allot::memcg
