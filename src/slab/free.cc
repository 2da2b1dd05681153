// SPDX-License-Identifier: MIT
//
// free: the slow half of free.
//
// Idea.        A block goes into the bin that a heap of this thread has for its cache, though that is not the current one. Without
//              such a bin, one of a slab that this thread holds goes back to it; any other is pushed on the slab's remote
//              list, in any context. Whoever finds that nobody will look at the list has the slab processed: by the thread
//              that holds it, by itself if nobody does, or by the executor if it may take no lock.
// Concurrency. any thread, Context any.
// Lock order.  slot > node > page_alloc; none when nested.
#include "slab/alloc.hpp"
#include "slab/bins.hpp"
#include "slab/cold.hpp"
#include "slab/deferred_free.hpp"
#include "slab/discard.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/page_alloc.hpp"
#include "slab/slab_ops.hpp"
#include "sync/test_point.hpp"

namespace allot::slab {

namespace {

std::atomic<slab_remote*> deferred{nullptr};
/// Blocks that handlers freed while the world was stopped, linked through themselves.
std::atomic<void*> late{nullptr};

void run_sweep(sync::work&) noexcept { sweep_deferred(); }
constinit sync::work sweep_work{run_sweep};

void run_late_sweep(sync::work& item) noexcept;
constinit sync::work late_sweep_work{run_late_sweep};
std::atomic<bool> late_sweep_wanted{false}; // since the last run of the work
bool late_sweep_armed = false;              // the work's grace period began after it was wanted; executor only

/// True if the calling thread's slot holds `s`. A hint unless the slot is held.
bool is_mine(const slab& s) noexcept { return is_held_by(s, sync::tls.slot->index); }

enum class local_free : std::uint8_t {
    done,
    emptied,   ///< done; the slab is to be retired
    locked,    ///< it takes the slot
    elsewhere, ///< the block has no place in this thread
};

/// True if the current group may have a bin for blocks of the slab. In a section.
bool may_have_bin(const slab& s, page_tag tag) noexcept {
    const auto* const h = static_cast<const heap*>(sync::tls.heap);
    return names_a_bin(tag) && h != nullptr && !h->dropped && &load_payer(s.cache->payer) == h->owner &&
           child_of(*h->owner, s.cache->shape.index) == s.cache;
}

/// Puts an object into the current heap's cold bin, which has room. In a section, or slot held.
void put_cold(bin& cold, slab& s, void* block) noexcept {
    debug_on_free(s, block);
    put_into(cold, block);
    note_cold(*static_cast<heap*>(sync::tls.heap)->owner, *s.cache, 1);
}

/// Frees into a bin or a slab that this thread holds, inside a section, if its fast path is open.
local_free free_in_section(slab& s, void* block) noexcept {
    const own_section here;
    if (!here.is_open())
        return local_free::locked;
    heap* unused = nullptr;
    const page_tag tag = page_tag_of(block);
    if (bin* const b = bin_for(*sync::tls.slot, s, tag, &unused)) {
        if (free_count(b->free) < b->max) {
            debug_on_free(s, block);
            put_into(*b, block);
            return local_free::done;
        }
        if (s.capacity != 1 || !is_mine(s)) // a large block that is not taken goes to its slab
            return local_free::locked;
    }
    if (bin* const cold = cold_bin_for(s, block)) {
        if (free_count(cold->free) >= cold->max)
            return local_free::locked;
        put_cold(*cold, s, block);
        return local_free::done;
    }
    if (!is_mine(s))
        return may_have_bin(s, tag) ? local_free::locked : local_free::elsewhere;
    debug_on_free(s, block);
    if (s.kind == slab_kind::shared)
        uncharge_shared_by_holder(s, block);
    push(s, block);
    if (s.place == slab_place::heap_full)
        make_partial(s);
    return s.place == slab_place::heap_partial && s.empty() && !keep_empty(s) ? local_free::emptied : local_free::done;
}

/// The same with the slot held; a full bin makes room.
bool free_local(slab& s, void* block) noexcept {
    cold_section here;
    heap* h = nullptr;
    const page_tag tag = page_tag_of(block);
    bin* b = bin_for(here.slot(), s, tag, &h);
    if (b == nullptr)
        b = open_bin_for(here.slot(), s, tag, &h);
    if (b != nullptr && make_room(*h, tag.bin_offset >> bin_shift)) {
        debug_on_free(s, block);
        put_into(*b, block);
        return true;
    }
    if (bin* const cold = cold_bin_for(s, block)) {
        make_cold_room(*static_cast<heap*>(sync::tls.heap), s.cache->shape.index);
        put_cold(*cold, s, block);
        return true;
    }
    if (!is_mine(s))
        return false;
    debug_on_free(s, block);
    if (s.kind == slab_kind::shared) {
        sync::rcu_guard section;
        uncharge_shared_by_holder(s, block);
    }
    push(s, block);
    after_local_free(s);
    return true;
}

/// Waits until the world goes on. Not nested, no section.
void wait_for_world() noexcept {
    sync::thread_slot& slot = this_slot();
    sync::busy_scope busy;
    sync::lock_guard hold(slot.lock);
}

/// Leaves a block of `s` for the executor, which does not run while the world is stopped. Context: any.
void free_late(const slab& s, void* block) noexcept {
    void* head = late.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    do
        link_of(s.cache->shape, block) = in_front(head, 0);
    // (4) release: pairs with (5). Failure is relaxed: it is retried.
    while (!late.compare_exchange_weak(head, block, std::memory_order_release, std::memory_order_relaxed));
    sync::queue_work(sync::stage::release, sweep_work);
}

enum class after_push : std::uint8_t { nothing, drain_own };

/// Pushes a block of a slab that this thread does not hold. Inside a section, the world not stopped.
after_push push_in_section(slab& s, void* block, bool is_nested) noexcept {
    debug_on_free(s, block);
    if (s.kind == slab_kind::shared)
        uncharge_shared(s, block);
    const std::uint64_t word = push_remote(s, remote_place(start_of(s), block), 1, &link_of(s.cache->shape, block));
    if ((word & remote_notify) == 0 || (word & remote_queued) != 0)
        return after_push::nothing;
    if ((word & remote_frozen) != 0) {
        ALLOT_TEST_POINT("free_remote:pushed");
        queue_for_slot(remote_slot(word), s);
        return after_push::nothing;
    }
    if (is_nested) {
        defer_free(s);
        return after_push::nothing;
    }
    // On the own queue before the section ends: should this thread vanish in a fork, its slot's queue is found.
    queue_for_slot(this_slot().index, s);
    return after_push::drain_own;
}

void free_remote(slab& s, void* block) noexcept {
    const bool is_nested = nested();
    after_push next = after_push::nothing;
    for (;;) {
        if (!is_nested && world_is_stopped())
            wait_for_world();
        sync::rcu_guard section;
        if (!world_is_stopped()) {
            next = push_in_section(s, block, is_nested);
            break;
        }
        if (is_nested) { // it may be on top of a call that waits for the world
            free_late(s, block);
            return;
        }
    }
    if (next == after_push::drain_own) {
        cold_section here;
        drain_queue(here.slot());
    }
}

} // namespace

void release_large(slab& s) noexcept {
    const std::size_t pages = s.pages;
    obj_cgroup& payer = *s.payer;
    s.kind = slab_kind::none;
    {
        sync::rcu_guard section;
        counter::uncharge_pages(payer.load_payer(), pages * page_bytes, counter::charge_kind::large);
    }
    unlink_run(payer, s);
    free_pages(s, pages);
    obj_cgroup_put(payer);
}

namespace {

void free_large(slab& s, void* block) noexcept {
    if (block != start_of(s))
        base::bug_object("free of an address inside a large block", block, "?", "large");
    if (nested()) {
        defer_free(s);
        return;
    }
    cold_section here;
    if (s.kind != slab_kind::large)
        base::bug_object("double free", block, "?", "large");
    release_large(s);
}

/// Gives back a slab that this thread found empty where it could take no lock.
void retire_emptied(slab& s) noexcept {
    cold_section here;
    // relaxed: slot held. By now the slab may be somebody else's, or have live blocks: then there is nothing to do.
    if (is_mine(s) && (s.kind == slab_kind::owned || s.kind == slab_kind::shared) &&
        s.place == slab_place::heap_partial && s.empty())
        after_local_free(s);
}

void free_object(slab& s, void* block) noexcept {
    const local_free how = free_in_section(s, block);
    if (how == local_free::emptied)
        retire_emptied(s);
    else if (how != local_free::done && (how == local_free::elsewhere || nested() || !free_local(s, block)))
        free_remote(s, block);
}

} // namespace

void queue_for_slot(std::uint32_t index, slab& s) noexcept {
    sync::thread_slot& slot = sync::slot_at(index);
    push_queue(heaps_of(slot).queue, s);
    // (1) seq_cst: pairs with thread_slot.cc(5): either this sees the thread gone, or its exit hook's last drain sees the slab.
    if (slot.owner.load(std::memory_order_seq_cst) == nullptr)
        sync::queue_work(sync::stage::release, sweep_work);
}

void free_slow(void* block) noexcept {
    if (!arena_contains(block))
        base::bug_object("free of an address that is not from this library", block, "?", "?");
    slab& s = *slab_of(block);
    switch (slab_kind{s.kind}) {
    case slab_kind::owned:
    case slab_kind::shared:
        free_object(s, block);
        return;
    case slab_kind::large:
        free_large(s, block);
        return;
    case slab_kind::reserve:
        reserve_free(s, block);
        return;
    default:
        base::bug_object("free of an address that is no live block", block, "?", "?");
    }
}

void defer_free(slab& s) noexcept {
    push_queue(deferred, s);
    sync::queue_work(sync::stage::release, sweep_work);
}

/// Processes what is queued for slots with threads that may sleep for long. Executor.
static void sweep_queues() noexcept {
    sync::busy_scope busy;
    const std::uint32_t end = sync::slots_used();
    for (std::uint32_t i = 1; i < end; ++i) {
        sync::thread_slot& slot = sync::slot_at(i);
        if (heaps_of(slot).queue.load(std::memory_order_relaxed) == nullptr) // relaxed: the grace period has ordered it
            continue;
        sync::lock_guard hold(slot.lock);
        close_thread(slot);
        drain_queue(slot);
    }
}

namespace {

void run_late_sweep(sync::work& item) noexcept {
    if (late_sweep_armed)
        sweep_queues();
    // What was wanted while this grace period was under way has to wait for one of its own.
    late_sweep_armed = late_sweep_wanted.exchange(false, std::memory_order_relaxed); // relaxed: the queue orders it
    if (late_sweep_armed)
        sync::call_rcu(item);
}

} // namespace

void sweep_late_pushes() noexcept {
    late_sweep_wanted.store(true, std::memory_order_relaxed); // relaxed: queueing orders it
    sync::call_rcu(late_sweep_work);
}

/// Frees what handlers left while the world was stopped. A slot held, so the world is not stopped.
static void sweep_late() noexcept {
    // (5) acq_rel: pairs with (4), (6).
    void* block = late.exchange(nullptr, std::memory_order_acq_rel);
    while (block != nullptr) {
        slab& s = *slab_of(block);
        void* const following = first_free(link_of(s.cache->shape, block));
        sync::rcu_guard section;
        push_in_section(s, block, true);
        block = following;
    }
}

void reset_static_works() noexcept {
    sweep_work.reset_after_fork();
    late_sweep_work.reset_after_fork();
    discard_reset();
    deferred_free_reset();
}

void requeue_after_fork() noexcept {
    bool wanted = deferred.load(std::memory_order_relaxed) != nullptr || // relaxed, all: one thread
                  late.load(std::memory_order_relaxed) != nullptr;       // relaxed: as above
    for (std::uint32_t i = 1; i < sync::slots_used(); ++i)
        wanted = wanted || heaps_of(sync::slot_at(i)).queue.load(std::memory_order_relaxed) != nullptr; // relaxed
    if (wanted)
        sync::queue_work(sync::stage::release, sweep_work);
    deferred_free_after_fork();
}

/// Frees what handlers left, whoever else is at it: when this returns, all of it that was there before is free.
static void sweep_handlers() noexcept {
    sync::thread_slot& orphan = sync::slot_at(orphan_index);
    sync::lock_guard hold(orphan.lock);
    sweep_late();
    // (3) acq_rel: pairs with slab_ops.cc(7), (6).
    slab_remote* item = deferred.exchange(nullptr, std::memory_order_acq_rel);
    while (item != nullptr) {
        // relaxed: ordered by the exchange; read before the slab may be queued again.
        slab_remote* const following = item->queue_next.load(std::memory_order_relaxed);
        slab& s = slab_of_remote(*item);
        if (s.kind == slab_kind::large)
            release_large(s);
        else
            process_queued(orphan, s);
        item = following;
    }
}

/// True if handlers left nothing, and nobody is freeing what they left.
static bool handlers_left_nothing() noexcept {
    // (6) acquire: pairs with (3), (5): who sees a list taken sees the lock taken before.
    return late.load(std::memory_order_acquire) == nullptr && deferred.load(std::memory_order_acquire) == nullptr &&
           !sync::slot_at(orphan_index).lock.is_held();
}

void settle_frees() noexcept {
    if (deferred_free_pending())
        deferred_free_barrier();
    if (handlers_left_nothing())
        return;
    sync::busy_scope busy;
    sweep_handlers();
}

void sweep_deferred() noexcept {
    sweep_handlers();
    const std::uint32_t end = sync::slots_used();
    for (std::uint32_t i = 1; i < end; ++i) {
        sync::thread_slot& slot = sync::slot_at(i);
        // relaxed: hints; a slab pushed later queues the sweep again.
        if (slot.owner.load(std::memory_order_relaxed) != nullptr ||
            heaps_of(slot).queue.load(std::memory_order_relaxed) == nullptr)
            continue;
        sync::lock_guard hold(slot.lock);
        close_thread(slot); // it may have a thread by now
        drain_queue(slot);
    }
}

} // namespace allot::slab
