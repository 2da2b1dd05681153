// SPDX-License-Identifier: MIT
//
// discard: wiping, sweeping, and the lists of large blocks.
//
// Idea.        See discard.hpp. A sweep gives an object back as its free would have, but for the charge, which went when the owner
//              was marked; a run of objects of one owner costs one change of its count.
// Concurrency. a slab's holder; lists of large blocks: one of a few locks, by the owner's id.
// Lock order.  caches > slot > node, runs, one after the other.
#include "slab/discard.hpp"

#include "slab/alloc.hpp"
#include "slab/bins.hpp"
#include "slab/cache_lifecycle.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"

#include <utility>

namespace allot::slab {

namespace {

using sync::lock_guard;

/// So much may wait to be taken back: this, or a quarter of what all shared slabs have, whichever is more.
constexpr std::int64_t waiting_least = std::int64_t{1} << 20;
constexpr std::int64_t waiting_part = 4;
std::atomic<std::int64_t> waiting_max{waiting_least};
/// So many discards may happen before somebody looks whether all was taken back, however small they are: each keeps an owner.
constexpr std::uint32_t discards_least = 4096;
constexpr std::int64_t bytes_each_discard = 65536; ///< of all shared slabs: one discard more for so many
std::atomic<std::uint32_t> discards_max{discards_least};
std::atomic<std::uint32_t> discards{0}; // since the last time

void run_sweep(sync::work&) noexcept { sweep_discarded(); }
constinit sync::work sweep_work{run_sweep};

constexpr std::uint32_t run_lock_count = 16;
struct alignas(cache_line_bytes) run_list_lock {
    sync::spinlock lock{sync::lock_rank::runs};
};
constinit run_list_lock run_locks[run_lock_count];

sync::spinlock& run_lock_of(const obj_cgroup& owner) noexcept { return run_locks[owner.id % run_lock_count].lock; }

/// Makes the slab empty, whatever lives in it. True if somebody has it queued, and will process it. Holder only.
bool wipe(slab& s) noexcept {
    const std::uint64_t word = take_remote(s, 0, 0);
    s.free_list = 0;
    s.carved = 0;
    debug_wipe(s);
    return (word & remote_queued) != 0;
}

void wipe_list(std::uint32_t head) noexcept {
    for (slab* s = first_in(head); s != nullptr; s = next_in(head, *s))
        wipe(*s);
}

/// Wipes a list of unowned slabs and moves those to `empty` that nobody has queued. Node held.
void take_unowned(std::uint32_t& head, std::uint32_t& empty) noexcept {
    for (slab* s = first_in(head); s != nullptr;) {
        slab* const following = next_in(head, *s);
        if (!wipe(*s)) {
            unlink(head, *s);
            s->place = slab_place::none;
            link_front(empty, *s);
        }
        s = following;
    }
}

void release_all(sync::thread_slot& slot, std::uint32_t& empty) noexcept {
    while (empty != 0) {
        slab& s = slab_at(empty);
        unlink(empty, s);
        release_slab(slot, s);
    }
}

/// Looks through a list of unowned slabs of a shared cache. Node held.
void sweep_list(kmem_cache& cache, std::uint32_t head, std::uint32_t& empty) noexcept ALLOT_REQUIRES(cache.node.lock) {
    for (slab* s = first_in(head); s != nullptr;) {
        slab* const following = next_in(head, *s);
        const bool found = sweep_slab(*s) != 0;
        // relaxed: the node lock orders it. A slab with blocks that others freed is queued.
        const bool queued = (remote_of(*s).word.load(std::memory_order_relaxed) & remote_queued) != 0;
        const bool goes = found && s->empty() && !queued;
        if (goes || (found && s->place == slab_place::node_full)) {
            if (head == page_index(*s) && following != nullptr)
                head = page_index(*following);
            unlink_from_node(cache, *s);
            if (goes)
                link_front(empty, *s);
            else
                link_to_node(cache, *s);
        }
        s = following;
    }
}

void sweep_unowned(sync::thread_slot& slot, kmem_cache& cache) noexcept {
    std::uint32_t empty = 0;
    {
        lock_guard hold(cache.node.lock);
        sweep_list(cache, cache.node.partial, empty);
        sweep_list(cache, cache.node.full, empty);
    }
    release_all(slot, empty);
}

bool has_shared_slabs(thread_heaps& heaps, void*) noexcept { return heaps.shared.nr_slabs != 0; }

void sweep_heap_list(std::uint32_t& head) noexcept {
    for (slab* s = first_in(head); s != nullptr;) {
        slab* const following = next_in(head, *s);
        if (sweep_slab(*s) != 0)
            after_local_free(*s);
        s = following;
    }
}

void sweep_shared_heap(sync::thread_slot& slot, void*) noexcept {
    heap& h = heaps_of(slot).shared;
    for (std::uint32_t i = 0; i < h.capacity; ++i) {
        sweep_heap_list(h.partial[i]);
    }
    sweep_heap_list(h.full);
}

/// The owner with this id, if it is marked. Inside a section.
obj_cgroup* discarded_owner(std::uint32_t id) noexcept {
    obj_cgroup& owner = obj_cgroup_of(id);
    // (1) acquire: pairs with (2): all uses of the object come before it is used anew.
    return owner.discarded.load(std::memory_order_acquire) ? &owner : nullptr;
}

/// Puts the blocks with indices in [first, end), whose owner is marked, on the slab's list.
void take_back(slab& s, std::uint32_t first, std::uint32_t end) noexcept {
    std::atomic<std::uint32_t>* const ids = owner_ids(s);
    const cache_shape& shape = s.cache->shape;
    char* const start = start_of(s);
    for (std::uint32_t i = first; i != end; ++i)
        ids[i].store(0, std::memory_order_relaxed); // relaxed: the holder's now
    if (ALLOT_DEBUG || shape.constructor != nullptr)
        for (std::uint32_t i = first; i != end; ++i) {
            void* const block = start + std::size_t{i} * s.object_bytes;
            if (debug_is_live(block)) // it was in a bin otherwise
                debug_on_free(s, block);
            if (shape.constructor != nullptr) // nobody saw to it that the object is as its free would have left it
                shape.constructor(block);
        }
    if (s.capacity == 1) { // see behind_first
        s.free_list = in_front(start, 0);
        return;
    }
    // From one word to the next the address gets smaller by a block, and the count larger by one.
    const free_word step = (free_word{s.object_bytes} << free_count_bits) - 1;
    char* const last = start + std::size_t{end - 1} * s.object_bytes;
    char* link = last + shape.link_offset;
    free_word word = in_front(last, s.free_list);
    *reinterpret_cast<free_word*>(link) = s.free_list;
    for (std::uint32_t left = end - first; --left != 0;) {
        link -= s.object_bytes;
        *reinterpret_cast<free_word*>(link) = word;
        word -= step;
    }
    s.free_list = word;
}

} // namespace

std::uint32_t sweep_slab(slab& s) noexcept {
    sync::rcu_guard section; // an object that is freed meanwhile may have had its owner's last reference
    const auto id_of = [ids = owner_ids(s)](std::uint32_t index) noexcept {
        return ids[index].load(std::memory_order_relaxed); // relaxed: only marked ones matter, see (1)
    };
    std::uint32_t id = 0;
    obj_cgroup* owner = nullptr;
    std::uint32_t of_owner = 0;
    std::uint32_t count = 0;
    std::uint32_t first = 0;
    for (std::uint32_t end = s.carved; end != 0; end = first) {
        const std::uint32_t next = id_of(end - 1);
        for (first = end - 1; first != 0 && id_of(first - 1) == next;)
            --first;
        if (next == 0)
            continue;
        if (next != id) {
            if (of_owner != 0)
                obj_cgroup_put(*owner, std::exchange(of_owner, 0));
            id = next;
            owner = discarded_owner(id);
        }
        if (owner == nullptr)
            continue;
        take_back(s, first, end);
        of_owner += end - first;
        count += end - first;
    }
    if (of_owner != 0)
        obj_cgroup_put(*owner, of_owner);
    if (count != 0) // relaxed: a hint
        discarded_bytes.fetch_sub(std::int64_t{count} * s.object_bytes, std::memory_order_relaxed);
    return count;
}

bool sweep_some_full(heap& h, std::uint32_t index, unsigned most) noexcept {
    // relaxed: a hint.
    if (h.full == 0 || discarded_bytes.load(std::memory_order_relaxed) <= 0) [[likely]]
        return false;
    for (unsigned i = 0; i < most && h.full != 0; ++i) {
        slab& oldest = slab_at(slab_at(h.full).prev);
        if (oldest.kind == slab_kind::shared && sweep_slab(oldest) != 0) {
            make_partial(oldest);
            if (oldest.cache->shape.index == index)
                return true;
        } else {
            h.full = page_index(oldest); // the ring turns: the next time, others are looked at
        }
    }
    return false;
}

void sweep_discarded() noexcept {
    discards.store(0, std::memory_order_relaxed);             // relaxed: a heuristic
    if (discarded_bytes.load(std::memory_order_relaxed) <= 0) // relaxed: a hint
        return;
    for_each_slot_closed(has_shared_slabs, sweep_shared_heap, nullptr);
    std::int64_t shared_bytes = 0;
    sync::busy_scope busy;
    for (std::uint32_t i = 0; i < cache_count_max; ++i) {
        lock_guard keep(caches_lock()); // the cache
        sync::thread_slot& orphan = sync::slot_at(orphan_index);
        lock_guard hold(orphan.lock);
        if (kmem_cache* const cache = root_cache_at(i)) {
            sweep_unowned(orphan, *cache);
            // relaxed: an estimate.
            shared_bytes += static_cast<std::int64_t>(cache->nr_pages.load(std::memory_order_relaxed) * page_bytes);
        }
    }
    const std::int64_t part = shared_bytes / waiting_part;
    waiting_max.store(part > waiting_least ? part : waiting_least, std::memory_order_relaxed); // relaxed: a heuristic
    discards_max.store(discards_least + static_cast<std::uint32_t>(shared_bytes / bytes_each_discard),
                       std::memory_order_relaxed); // relaxed: as above
}

void note_discarded(std::uint64_t bytes) noexcept {
    const auto more = static_cast<std::int64_t>(bytes);
    // relaxed, all: a heuristic; queueing orders the work.
    const std::int64_t waiting = discarded_bytes.fetch_add(more, std::memory_order_relaxed) + more;
    const std::uint32_t count = discards.fetch_add(1, std::memory_order_relaxed) + 1; // relaxed: as above
    if (waiting > waiting_max.load(std::memory_order_relaxed) ||                      // relaxed: as above
        count > discards_max.load(std::memory_order_relaxed))                         // relaxed: as above
        sync::queue_work(sync::stage::release, sweep_work);
}

void mark_discarded(obj_cgroup& owner) noexcept {
    // (2) release: pairs with (1).
    owner.discarded.store(true, std::memory_order_release);
}

void wipe_heap(heap& h) noexcept {
    forget_bins(h);
    for (std::uint32_t i = 0; h.partial != nullptr && i < h.capacity; ++i)
        wipe_list(h.partial[i]);
    wipe_list(h.full);
}

void discard_unowned(sync::thread_slot& slot, kmem_cache& cache) noexcept {
    std::uint32_t empty = 0;
    {
        lock_guard hold(cache.node.lock);
        take_unowned(cache.node.partial, empty);
        take_unowned(cache.node.full, empty);
    }
    release_all(slot, empty);
}

void discard_runs(obj_cgroup& owner) noexcept {
    while (const std::uint32_t first = first_run(owner)) // nobody else frees one
        release_large(slab_at(first));
}

std::uint32_t first_run(obj_cgroup& owner) noexcept {
    lock_guard hold(run_lock_of(owner));
    return owner.runs;
}

void link_run(obj_cgroup& owner, slab& s) noexcept {
    if (&owner == root_owner->objects)
        return;
    lock_guard hold(run_lock_of(owner));
    link_front(owner.runs, s);
}

void unlink_run(obj_cgroup& owner, slab& s) noexcept {
    if (&owner == root_owner->objects)
        return;
    lock_guard hold(run_lock_of(owner));
    unlink(owner.runs, s);
}

void discard_reset() noexcept { sweep_work.reset_after_fork(); }

} // namespace allot::slab
