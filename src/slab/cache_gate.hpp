// SPDX-License-Identifier: MIT
//
// cache_gate: whether deferred work may still be queued for a root cache and its children.
//
// Idea.        Whoever drops the last slab of a cache, in whatever context, wants to queue its release. While the root cache is
//              being destroyed nothing may be queued that the destroyer does not wait for. So the test and the queueing are
//              one step, enqueue_unless_dying(): while the cache dies, the item goes to the destroyer instead, who sees to
//              it at the end. Nothing is skipped, so nothing is forgotten (a skipped release would be a cache for ever).
//
//              live --close()--> dying --open()--> orphaned
//              queued            kept for the       queued: objects outlived the cache, the
//                                destroyer          last one of each child releases it
//
//              Two ways to make it one step, both complete protocols: locked_guard is the kernel's (a spinlock with signals
//              blocked around test and queueing); section_guard takes a read-side section there, and who changes the state waits
//              for a grace period. The second costs two plain stores and is the one in use; the first is tested beside it.
// Invariants.  I1  After close() returned, no item is queued until open(); settle() waits for those queued before.
//              I2  pending_ = items that were queued and whose function has not called finished().
//              I3  Every item given to enqueue_unless_dying() runs, or is in take_kept().
// Concurrency. enqueue_unless_dying, finished: any thread, Context any. The rest: the destroyer, Context task.
//              After enqueue_unless_dying() has queued an item, the gate may be gone with its cache: only the guard's scope,
//              which lives elsewhere, ends after that.
// Lock order.  locked_guard: its own lock, which is taken with any other held and under which none is taken.
// Checked by.  test/slab/cache_gate_test.cc, verify/explore/cache_gate.cc, verify/spin/cache_lifecycle.pml
// Source.      Gushchin 2019 (the dying flag under memcg_kmem_wq_lock); docs/lifecycle.md "Destroying a root cache".
#pragma once

#include "sync/test_point.hpp"
#include "sync/work_queue.hpp"

namespace allot::slab {

enum class cache_life : std::uint8_t {
    live,     ///< items are queued
    dying,    ///< a destroyer is at work; items are kept for it
    orphaned, ///< destroyed with live objects; items are queued again
};

/// `Guard` has: `class scope`, held by who tests and queues; `change(f)`, which runs f so that every scope that began before is
/// over when it returns, and every later one sees what f did.
template <class P, class Guard> class basic_cache_gate {
  public:
    using work = sync::basic_work<P>;
    using queue = sync::basic_work_queue<P>;

    /// Calls `enqueue(item)`, which tells whether the item was not pending yet, or keeps the item for the destroyer.
    /// False if it was kept. Context: any.
    template <class Enqueue> bool enqueue_unless_dying(work& item, Enqueue enqueue) noexcept {
        typename Guard::scope hold(guard_);
        // (1) acquire: pairs with (2): who finds the gate open again sees what the destroyer did before.
        if (life_.load(std::memory_order_acquire) == cache_life::dying) {
            kept_.push(item);
            return false;
        }
        ALLOT_TEST_POINT("gate:tested");
        pending_.fetch_add(1, std::memory_order_relaxed); // relaxed: close() orders it by way of the guard
        if (!enqueue(item))
            pending_.fetch_sub(1, std::memory_order_relaxed); // relaxed: merged with one that is counted
        return true;
    }

    /// Called by an item's function as the last thing it does with the cache. What the function queued before cannot have run yet,
    /// since items run one at a time (executor.hpp I1).
    void finished() noexcept {
        // (3) release: pairs with (4): the destroyer sees what the item did.
        [[maybe_unused]] const auto before = pending_.fetch_sub(1, std::memory_order_release);
        ALLOT_ASSERT(before != 0);
    }

    /// From here on nothing is queued.
    void close() noexcept { change(cache_life::dying); }
    /// From here on things are queued again.
    void open() noexcept { change(cache_life::orphaned); }

    /// True if no item that was queued still has to run.
    bool idle() const noexcept {
        // (4) acquire: pairs with (3).
        return pending_.load(std::memory_order_acquire) == 0;
    }
    /// Waits for all that was queued before close(). One pass is not enough: an item that runs may begin a grace period of its
    /// own. `barrier()` waits for the callbacks that are queued, then `flush()` for the work that they queued.
    template <class Barrier, class Flush> void settle(Barrier barrier, Flush flush) noexcept {
        do {
            barrier();
            flush();
        } while (!idle());
    }

    /// What was kept while the cache was dying, oldest first, linked by `next`. After open(), and where no item runs until all have
    /// been queued: one that is not pending any more may be queued by somebody else and take its cache along.
    work* take_kept() noexcept { return kept_.take_all(); }

    cache_life life() const noexcept {
        return life_.load(
            std::memory_order_relaxed); // relaxed: for reports and asserts, or under a lock of the caller's
    }

  private:
    void change(cache_life to) noexcept {
        guard_.change([&]() noexcept {
            // (2) release: pairs with (1).
            life_.store(to, std::memory_order_release);
        });
    }

    typename P::template atomic<cache_life> life_{cache_life::live};
    typename P::template atomic<std::uint32_t> pending_{0};
    queue kept_;
    [[no_unique_address]] Guard guard_;
};

} // namespace allot::slab
