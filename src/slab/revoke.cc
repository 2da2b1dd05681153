// SPDX-License-Identifier: MIT
//
// revoke: taking a thread's fast path away, one thread or all of them; a thread's beginning and end.
//
// Idea.        With the slot's lock held: mark the slot closed, overwrite the thread's table, wait one grace period for
//              that one thread. A scope change that was under way may have put a table back; then once more, and since every
//              later one sees the mark, that is the last time. The thread opens its fast path itself, at its next slow call.
// Concurrency. close_thread: slot lock held, any thread. stop_world: holds all slot locks.
// Lock order.  registry > slot.
// Checked by.  test/slab/revoke_test.cc, verify/spin/revoke.pml
#include "platform/rseq.hpp"
#include "slab/alloc.hpp"
#include "slab/discard.hpp"
#include "slab/gate.hpp"
#include "slab/slab_ops.hpp"
#include "sync/test_point.hpp"

#include <algorithm>

namespace allot::slab {

namespace {

std::atomic<bool> world_stopped{false};
std::atomic<bool> trim_wanted{false}; // a hint

/// True if this thread may work without its slot's lock at all: somebody else can make it stop.
bool sections_allowed() noexcept { return ALLOT_TSAN || platform::membarrier_ready(); }

/// True if it may do so on the fast path.
bool fast_path_allowed() noexcept { return ALLOT_RSEQ ? platform::rseq_works_here() : sections_allowed(); }

/// Opens the fast path for a heap. Slot held, or inside the thread's own section, which a revoker waits for and then looks.
void open_fast_path(bin* table, std::uint32_t capacity) noexcept {
    sync::tls.bin_mask = mask_of(capacity); // `bins` is empty_table
    compiler_barrier();
    sync::tls.bins.store(table, std::memory_order_relaxed); // relaxed: own thread reads it
}

/// Shuts the calling thread's.
void close_own() noexcept {
    sync::tls.bins.store(empty_table, std::memory_order_relaxed);
} // relaxed: own thread reads it

/// Opens the calling thread's fast path. Slot held.
void open_own(sync::thread_slot& slot) noexcept {
    thread_heaps& heaps = heaps_of(slot);
    const auto* current = static_cast<const heap*>(sync::tls.heap);
    if (current == nullptr)
        return; // the slot is being attached
    // A group that is closed later is swept after this slot is unlocked.
    if (counter::is_online(*current->owner))
        open_fast_path(current->fast, current->capacity);
    else
        open_fast_path(empty_table, small_capacity);
    heaps.closed.store(0, std::memory_order_relaxed); // relaxed: own thread reads it
}

} // namespace

cold_section::cold_section() noexcept ALLOT_NO_TSA : slot_(this_slot()),
                                                     locked_((sync::tls.flags & sync::owns_the_world) == 0) {
    ++sync::tls.busy;
    compiler_barrier();
    if (locked_)
        slot_.lock.lock();
    close_own();
    compiler_barrier();
}

cold_section::~cold_section() ALLOT_NO_TSA {
    const bool own = &slot_ == sync::tls.slot;
    if (own && locked_ && sections_allowed() && (sync::tls.flags & sync::thread_exited) == 0)
        open_own(slot_);
    if (locked_)
        slot_.lock.unlock();
    compiler_barrier();
    --sync::tls.busy;
}

own_section::own_section() noexcept {
    auto& tls = sync::tls;
    sync::rcu_reader& reader = tls.slot->reader;
    count_ = reader.count();
    if ((count_ & 1) != 0 || tls.busy != 0)
        return;
    reader.enter_fast(count_);
    entered_ = true;
    // (6) acquire: pairs with (2): a section that begins after the grace period sees the mark.
    if (heaps_of(*tls.slot).closed.load(std::memory_order_acquire) != 0)
        return;
    open_ = true;
    table_ = tls.bins.load(
        std::memory_order_relaxed); // relaxed: own; a revoker that writes it waits for this section, then looks
    close_own();
    compiler_barrier();
}

own_section::~own_section() {
    if (!entered_)
        return;
    if (open_) {
        compiler_barrier();
        sync::tls.bins.store(table_, std::memory_order_relaxed); // relaxed: as it was read
    }
    sync::tls.slot->reader.leave_fast(count_);
}

void close_thread(sync::thread_slot& slot) noexcept {
    thread_heaps& heaps = heaps_of(slot);
    heaps.closed.store(
        1,
        std::
            memory_order_seq_cst); // (2) pairs with (6), scope.hpp(1), scope.hpp(2), by way of the barrier that follows
    // relaxed: slot held, so the owner neither comes nor goes.
    sync::thread_state* const thread = slot.owner.load(std::memory_order_relaxed);
    if (thread == nullptr)
        return;
    shut<sync::real>(slot.reader, thread->bins, static_cast<void*>(empty_table));
}

void for_each_slot_closed(bool (*wanted)(thread_heaps& heaps, void* data) noexcept,
                          void (*visit)(sync::thread_slot& slot, void* data) noexcept, void* data) noexcept {
    sync::busy_scope busy;
    const std::uint32_t end = sync::slots_used();
    for (std::uint32_t i = 1; i < end; ++i) {
        sync::thread_slot& slot = sync::slot_at(i);
        sync::lock_guard hold(slot.lock);
        if (!wanted(heaps_of(slot), data))
            continue;
        close_thread(slot);
        visit(slot, data);
    }
}

void stop_world() noexcept ALLOT_NO_TSA {
    ++sync::tls.busy;
    compiler_barrier();
    sync::slots_registry_lock().lock();
    const std::uint32_t end = sync::slots_used();
    for (std::uint32_t i = 1; i < end; ++i)
        sync::slot_at(i).lock.lock();
    sync::tls.flags |= sync::owns_the_world;
    // (3) seq_cst: pairs with (4): a remote free that begins after the grace periods below sees it.
    world_stopped.store(true, std::memory_order_seq_cst);
    for (std::uint32_t i = 1; i < end; ++i)
        close_thread(sync::slot_at(i));
    sync::rcu_guard::shared_side().wait();
    --sync::tls.busy;
}

void resume_world() noexcept ALLOT_NO_TSA {
    ++sync::tls.busy;
    compiler_barrier();
    world_stopped.store(false, std::memory_order_seq_cst); // (5) pairs with (4)
    sync::tls.flags &= ~sync::owns_the_world;
    for (std::uint32_t i = sync::slots_used(); i-- > 1;)
        sync::slot_at(i).lock.unlock();
    sync::slots_registry_lock().unlock();
    compiler_barrier();
    --sync::tls.busy;
}

bool world_is_stopped() noexcept {
    // (4) seq_cst: pairs with (3), (5).
    return world_stopped.load(std::memory_order_seq_cst) && (sync::tls.flags & sync::owns_the_world) == 0;
}

/// Parks everything that a thread has. Slot held and closed.
static void give_up_heaps(thread_heaps& heaps) noexcept {
    // The next thread finds its slot closed until it has a heap: a handler may allocate before that.
    heaps.closed.store(1, std::memory_order_relaxed); // relaxed: the slot's lock orders it
    for (heap* h = heaps.all.front(); h != nullptr; h = heaps.all.front()) {
        h->depth = 0;
        drop_heap(*h);
    }
    heaps.root.depth = 0;
    heaps.base = &heaps.root;
    heaps.base_depth = 0;
    fold(heaps.root);
    park_all(heaps.root);
    park_all(heaps.shared);
    drain_stash(heaps.stash);
    heaps.failure.valid = false;
    std::ranges::fill(heaps.cold_patterns, cold_pattern{}); // the next thread does other work
    heaps.used_bins = heaps.expected_bins = 0;
}

void begin_thread() noexcept {
    auto& tls = sync::tls;
    if (tls.slot != &sync::no_slot || (tls.flags & (sync::thread_exited | sync::owns_the_world)) != 0 || tls.busy != 0)
        return;
    if (tls.heap != nullptr) // it is in a scope that it entered when there was no slot for it
        return;
    platform::errno_guard keep;
    if (!sync::slot_attach())
        return;
    ALLOT_TEST_POINT("begin_thread:attached");
    cold_section here;
    thread_heaps& heaps = here.heaps();
    heaps.fast = fast_path_allowed();
    heaps.root.fast = heaps.fast ? heaps.root.bins : empty_table;
    heaps.credited = tls.allocations.load(std::memory_order_relaxed); // relaxed: own
    tls.heap = heaps.base;
}

void end_thread() noexcept {
    auto& tls = sync::tls;
    if (tls.slot == &sync::no_slot)
        return;
    {
        cold_section here;
        tls.flags |= sync::thread_exited;
        thread_heaps& heaps = here.heaps();
        drain_queue(here.slot());
        credit(here.slot());
        give_up_heaps(heaps);
        tls.heap = nullptr;
    }
    sync::thread_slot& slot = *tls.slot;
    ALLOT_TEST_POINT("end_thread:parked");
    sync::slot_detach();
    ALLOT_TEST_POINT("end_thread:detached");
    // What was pushed meanwhile; what comes later sees that the slot has no owner. Or it has a new one already.
    sync::busy_scope busy;
    sync::lock_guard hold(slot.lock);
    close_thread(slot);
    drain_queue(slot);
    drain_stash(heaps_of(slot).stash);
}

void park_dead_threads() noexcept {
    const std::uint32_t end = sync::slots_used();
    for (std::uint32_t i = 1; i < end; ++i) {
        sync::thread_slot& slot = sync::slot_at(i);
        if (&slot == sync::tls.slot)
            continue;
        thread_heaps& heaps = heaps_of(slot);
        drain_queue(slot);
        give_up_heaps(heaps);
    }
}

void want_trim() noexcept {
    if (!trim_wanted.load(std::memory_order_relaxed)) // relaxed: a hint
        trim_wanted.store(true, std::memory_order_relaxed);
}

bool trim_is_wanted() noexcept { return trim_wanted.load(std::memory_order_relaxed); } // relaxed: a hint

void trim_idle_threads() noexcept {
    trim_wanted.store(false, std::memory_order_relaxed); // relaxed: a hint
    sync::busy_scope busy;
    const std::uint32_t end = sync::slots_used();
    for (std::uint32_t i = 1; i < end; ++i) {
        sync::thread_slot& slot = sync::slot_at(i);
        sync::lock_guard hold(slot.lock);
        thread_heaps& heaps = heaps_of(slot);
        const sync::thread_state* const thread = slot.owner.load(std::memory_order_relaxed); // relaxed: slot held
        if (thread == nullptr)
            continue;
        // relaxed: a figure.
        if (const std::uint64_t now = thread->allocations.load(std::memory_order_relaxed); now != heaps.seen) {
            heaps.seen = now;
            heaps.trimmed.store(false, std::memory_order_relaxed);   // relaxed: a hint
            want_trim();                                             // the next time it may be idle
        } else if (!heaps.trimmed.load(std::memory_order_relaxed)) { // relaxed: as above
            close_thread(slot);
            for (heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
                trim(*h);
            trim(heaps.root);
            trim(heaps.shared);                                   // last: cold bins were emptied into its slabs
            heaps.trimmed.store(true, std::memory_order_relaxed); // relaxed: as above
        }
    }
}

std::uint64_t purge() noexcept {
    sweep_discarded();
    {
        sync::busy_scope busy;
        const std::uint32_t end = sync::slots_used();
        for (std::uint32_t i = 1; i < end; ++i) {
            sync::lock_guard hold(sync::slot_at(i).lock);
            drain_stash(heaps_of(sync::slot_at(i)).stash);
        }
    }
    cold_section here; // fork waits for the slot's lock, so that it finds the free lists whole
    return purge_pages(0);
}

} // namespace allot::slab
