// SPDX-License-Identifier: MIT
//
// cache_destroy: the end of a root cache, and shrinking one that lives on.
//
// Idea.        Destroying goes in steps, each of which makes the next one true:
//
//              destroy_root_cache
//              |- one alias less                     not the last: done
//              |- deferred_free_barrier              what was handed to free_rcu before is free
//              |- gate.close                         from here on no release is queued, it is kept for us
//              |- gate.settle                        {rcu_barrier, flush} until none that was queued before has to run
//              |- shut_down, alone on the executor   heaps revoked, children unpublished and put, live objects counted
//              |- gate.open                          objects that are left queue their cache's release again
//              `- what was kept is queued            and the reference that kept the gate itself is put
//
//              Step 2 comes before step 3, and producers before both: an object on its way back is no leak.
// Concurrency. destroy: once for each create, Context task. shrink: any thread, Context task.
// Lock order.  caches > slot > node, one after the other; the executor's in shut_down.
// Checked by.  test/slab/cache_destroy_test.cc, verify/spin/cache_lifecycle.pml, verify/explore/cache_gate.cc
// Source.      Linux mm/slab_common.c (kmem_cache_destroy, flush_memcg_workqueue); docs/lifecycle.md.
#include "slab/cache_lifecycle.hpp"

#include "slab/debug.hpp"
#include "slab/deferred_free.hpp"
#include "slab/discard.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"

#include <cstring>
#include <iterator>

namespace allot::slab {

namespace {

using sync::lock_guard;

bool always(thread_heaps&, void*) noexcept { return true; }

/// Parks the slabs of one root cache that a heap holds.
void park_cache(heap& h, const kmem_cache& root) noexcept {
    const std::uint32_t index = root.shape.index;
    if (index >= h.capacity)
        return;
    close_bin(h, index);
    if (h.partial == nullptr)
        return;
    while (h.partial[index] != 0) {
        slab& s = slab_at(h.partial[index]);
        unqueue(h, s);
        park(s);
    }
    for (slab* s = first_in(h.full); s != nullptr;) {
        slab* const following = next_in(h.full, *s);
        if (s->cache->root == &root) {
            unlink(h.full, *s);
            park(*s);
        }
        s = following;
    }
}

void park_cache_in_slot(sync::thread_slot& slot, void* data) noexcept {
    const auto& root = *static_cast<const kmem_cache*>(data);
    thread_heaps& heaps = heaps_of(slot);
    drain_queue(slot);
    park_cache(heaps.root, root);
    park_cache(heaps.shared, root);
    for (heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
        park_cache(*h, root);
    sweep_late_pushes();
}

/// Who pays for the object with this number. Node held.
void name_payer(slab& s, std::uint32_t index, char* name) noexcept {
    sync::rcu_guard section;
    const cache_owner* payer = nullptr;
    if (s.kind == slab_kind::owned)
        payer = &load_payer(s.cache->payer);
    else if (const std::uint32_t id = owner_ids(s)[index].load(std::memory_order_relaxed); id != 0) // relaxed: a report
        payer = &obj_cgroup_of(id).load_payer();
    if (payer != nullptr)
        std::strncpy(name, hooks.name(*payer), report_group_bytes - 1);
}

/// Adds the addresses of live objects of an unowned slab to the report, as far as there is room. Node held.
void take_samples(slab& s, cache_report& report) noexcept {
    std::uint64_t is_free[(page_bytes << slab_order_max) / sizeof(void*) / 64] = {};
    for (free_word list = s.free_list; list != 0; list = behind_first(s, list)) {
        const std::uint32_t i = object_index(s, s.cache->shape, first_free(list));
        is_free[i / 64] |= std::uint64_t{1} << (i % 64);
    }
    for (std::uint32_t i = 0; i < s.carved && report.nr_samples < report_samples_max; ++i) {
        if ((is_free[i / 64] >> (i % 64) & 1) != 0)
            continue;
        const std::uint32_t at = report.nr_samples++;
        report.sample[at] = start_of(s) + std::size_t{i} * s.object_bytes;
        report.stack[at] = debug_stack_of(report.sample[at]);
        name_payer(s, i, report.group[at]);
    }
}

/// Counts live objects of unowned slabs and takes samples of them.
void count_live(kmem_cache& cache, cache_report& report) noexcept {
    lock_guard hold(cache.node.lock);
    for (const std::uint32_t head : {cache.node.partial, cache.node.full})
        for (slab* s = first_in(head); s != nullptr; s = next_in(head, *s)) {
            collect(*s);
            report.live += s->live();
            take_samples(*s, report);
        }
}

struct destruction {
    kmem_cache& cache;
    cache_report found;
};

/// Some children of the cache that are not marked yet, marked now. Returns their count.
std::size_t mark_children(kmem_cache& cache, kmem_cache** out, std::size_t room) noexcept {
    std::size_t count = 0;
    lock_guard hold(caches_lock());
    for (kmem_cache* child = cache.children.front(); child != nullptr && count < room;
         child = cache.children.next(*child))
        if (child->aliases != 0) {
            child->aliases = 0;
            out[count++] = child;
        }
    return count;
}

void shut_down_child(kmem_cache& child, cache_report& found) noexcept {
    {
        lock_guard hold(sync::slot_at(orphan_index).lock);
        count_live(child, found);
    }
    {
        sync::rcu_guard section;
        cache_owner& payer = load_payer(child.payer);
        if (child_of(payer, child.shape.index) != &child)
            return; // deactivated before: it goes with its last slab
        unpublish_child(payer, child);
    }
    put_cache(child);
}

/// Runs alone on the executor. A group whose removal is half done has unpublished its child; it puts it later.
void shut_down(void* data) noexcept {
    auto& job = *static_cast<destruction*>(data);
    for_each_slot_closed(always, park_cache_in_slot, &job.cache);
    kmem_cache* children[64];
    while (const std::size_t count = mark_children(job.cache, children, std::size(children)))
        for (std::size_t i = 0; i < count; ++i)
            shut_down_child(*children[i], job.found);
    {
        lock_guard hold(sync::slot_at(orphan_index).lock);
        count_live(job.cache, job.found);
    }
    put_cache(job.cache);
}

/// Alone on the executor: an item that is not pending any more may be queued by somebody else, run, and take its cache along, while
/// it is looked at here.
void hand_on_kept(void* data) noexcept {
    sync::work_queue::hand_on_all(static_cast<kmem_cache*>(data)->gate.take_kept(), enqueue_kept);
}

/// Bytes of all slabs of the root cache and its children.
std::uint64_t slab_bytes_of(kmem_cache& cache) noexcept {
    sync::busy_scope busy;
    lock_guard hold(caches_lock());
    std::uint64_t pages = cache.nr_pages.load(std::memory_order_relaxed); // relaxed: an estimate
    cache.children.for_each([&](kmem_cache& child) noexcept {
        pages += child.nr_pages.load(std::memory_order_relaxed); // relaxed: as above
    });
    return pages * page_bytes;
}

void flush_all_work() noexcept {
    sync::flush(sync::stage::create);
    sync::flush(sync::stage::offline);
    sync::flush(sync::stage::release);
}

bool drop_alias(kmem_cache& cache) noexcept {
    sync::busy_scope busy;
    lock_guard hold(caches_lock());
    ALLOT_BUG_ON(cache.aliases == 0); // destroyed more often than created
    return --cache.aliases == 0;
}

} // namespace

void destroy_root_cache(kmem_cache& cache, cache_report* report) noexcept {
    if (!drop_alias(cache))
        return;
    debug_cache_destroyed(cache);
    sweep_discarded(); // objects that went with their group are no leaks
    deferred_free_barrier();
    cache.refs.fetch_add(1, std::memory_order_relaxed); // relaxed: nobody else ends the cache's life before shut_down
    ALLOT_TEST_POINT("destroy:unaliased");
    cache.gate.close();
    ALLOT_TEST_POINT("destroy:closed");
    cache.gate.settle(sync::rcu_barrier, flush_all_work);
    ALLOT_TEST_POINT("destroy:settled");
    destruction job{cache, {}};
    sync::run_exclusive(shut_down, &job);
    ALLOT_TEST_POINT("destroy:shut_down");
    cache.gate.open();
    ALLOT_TEST_POINT("destroy:opened");
    sync::run_exclusive(hand_on_kept, &cache);
    put_cache(cache);
    if (report != nullptr)
        *report = job.found;
    sync::run_pending();
}

std::uint64_t shrink_root_cache(kmem_cache& cache) noexcept {
    const std::uint64_t before = slab_bytes_of(cache);
    sweep_discarded();
    for_each_slot_closed(always, park_cache_in_slot, &cache);
    sync::run_pending(); // slabs of a typesafe_by_rcu cache go after a grace period
    const std::uint64_t after = slab_bytes_of(cache);
    return after < before ? before - after : 0;
}

} // namespace allot::slab
