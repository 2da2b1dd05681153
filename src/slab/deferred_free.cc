// SPDX-License-Identifier: MIT
//
// deferred_free: the two lists and the work.
//
// Idea.        See deferred_free.hpp.
// Concurrency. `fresh` is pushed to by anybody and taken as a whole by the executor; `waiting` is the executor's.
#include "slab/deferred_free.hpp"

#include "slab/fast_path.hpp"
#include "sync/executor.hpp"
#include "sync/test_point.hpp"

#include <atomic>

namespace allot::slab {

namespace {

void run_deferred(sync::work& item) noexcept;

constinit std::atomic<deferred_head*> fresh{nullptr}; // their grace period has not begun
deferred_head* waiting = nullptr;                     // their grace period is over when the work runs next
constinit sync::work free_work{run_deferred};
constinit std::atomic<std::uint64_t> pending_count{0}; // blocks handed over and not free

void run_deferred(sync::work& item) noexcept {
    deferred_head* over = waiting;
    // (1) acquire: pairs with (2).
    waiting = fresh.exchange(nullptr, std::memory_order_acquire);
    if (waiting != nullptr)
        sync::call_rcu(item);
    while (over != nullptr) {
        deferred_head* const following = over->next; // before the block goes, and the head with it
        if (void* const block = over->block; !free_fast(block))
            free_slow(block);
        // (3) release: pairs with (4).
        pending_count.fetch_sub(1, std::memory_order_release);
        over = following;
    }
}

} // namespace

void free_after_grace_period(void* block, deferred_head& head) noexcept {
    pending_count.fetch_add(1, std::memory_order_relaxed); // relaxed: who asks was told by the caller
    head.block = block;
    head.next = fresh.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    // (2) release: pairs with (1): what the owner did with the block comes before its free. Failure is relaxed: retried.
    while (!fresh.compare_exchange_weak(head.next, &head, std::memory_order_release, std::memory_order_relaxed))
        ;
    ALLOT_TEST_POINT("free_rcu:pushed");
    sync::call_rcu(free_work); // pending already: its run finds the block on the list, and runs again for it
}

void deferred_free_barrier() noexcept {
    // The first barrier may be for a run that was under way; it queued the one that the second waits for.
    sync::rcu_barrier();
    sync::rcu_barrier();
}

bool deferred_free_pending() noexcept {
    // (4) acquire: pairs with (3): who sees none sees them free.
    return pending_count.load(std::memory_order_acquire) != 0;
}

void deferred_free_reset() noexcept { free_work.reset_after_fork(); }

void deferred_free_after_fork() noexcept {
    if (fresh.load(std::memory_order_relaxed) != nullptr || waiting != nullptr) // relaxed: one thread
        sync::call_rcu(free_work);
}

} // namespace allot::slab
