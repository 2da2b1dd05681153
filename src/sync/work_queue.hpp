// SPDX-License-Identifier: MIT
//
// work_queue: intrusive work items, queued from any context and run by one thread at a time.
//
// Idea.        Producers push with one compare-and-swap; the consumer takes the whole stack and reverses it, so items run in
//              the order they came. The item lives in the object it is about, so queueing allocates nothing.
// Invariants.  I1  `pending` is 1 from the push until just before the function runs, so an item is on one queue at most once;
//                  queueing it again meanwhile is merged, and queueing it from its own function works.
// Concurrency. push: any thread, Context any. take_all: the consumer, under the executor's lock.
// Lock order.  takes none.
// Checked by.  test/sync/work_queue_test.cc, verify/explore
// Source.      Treiber stack; Linux kernel/workqueue.c (merging of pending work).
#pragma once

#include "base/assert.hpp"
#include "sync/real.hpp"

namespace allot::sync {

template <class P> struct basic_work {
    using function = void (*)(basic_work& self) noexcept;

    explicit constexpr basic_work(function f = nullptr) noexcept : run(f) {}

    typename P::template var<basic_work*> next; // written by who set `pending`, and by the consumer
    function run;
    typename P::template atomic<std::uint32_t> pending{0};

    /// In a forked child, with the queues empty. Context: fork_child.
    void reset_after_fork() noexcept { pending.store(0, std::memory_order_relaxed); } // relaxed: one thread
};

template <class P> class basic_work_queue {
  public:
    using work = basic_work<P>;

    /// Queues `item`. False if it was pending already. Context: any.
    bool push(work& item) noexcept {
        // (1) acq_rel: pairs with (4), (6): what was written before a merged push is visible to the run that follows.
        if (item.pending.exchange(1, std::memory_order_acq_rel) != 0)
            return false;
        work* head = head_.load(std::memory_order_relaxed); // relaxed: a guess; the exchange checks it
        do
            item.next.set(head);
        // (2) seq_cst: pairs with (3), (5): the consumer sees the item whole; seq_cst because a sleeping flag is read next.
        while (!head_.compare_exchange_weak(head, &item, std::memory_order_seq_cst, std::memory_order_relaxed));
        return true;
    }

    /// Takes all items, oldest first, linked by `next`. Consumer only.
    work* take_all() noexcept {
        // (3) seq_cst: pairs with (2).
        work* newest_first = head_.exchange(nullptr, std::memory_order_seq_cst);
        work* oldest_first = nullptr;
        while (newest_first != nullptr) {
            work* const following = newest_first->next.get();
            newest_first->next.set(oldest_first);
            oldest_first = newest_first;
            newest_first = following;
        }
        return oldest_first;
    }

    bool empty() const noexcept {
        // (5) seq_cst: pairs with (2): a consumer that is about to sleep does not miss a push.
        return head_.load(std::memory_order_seq_cst) == nullptr;
    }

    /// Runs what take_all() returned. Returns the count of items run. Consumer only.
    static std::size_t run_all(work* item) noexcept {
        return run_all(item, [](work& self, typename work::function function) noexcept { function(self); });
    }
    /// The same by way of `run(item, function)`.
    template <class Run> static std::size_t run_all(work* item, Run run) noexcept {
        std::size_t count = 0;
        for (; item != nullptr; ++count) {
            work* const following = item->next.get();
            const auto function = item->run;
            // (4) acq_rel: pairs with (1). After it the item may be queued again, and the function may free it.
            [[maybe_unused]] const auto was = item->pending.exchange(0, std::memory_order_acq_rel);
            ALLOT_ASSERT(was == 1);
            run(*item, function);
            item = following;
        }
        return count;
    }
    std::size_t run_batch() noexcept { return run_all(take_all()); }

    /// Gives what take_all() returned to `enqueue(item)` instead of running it. Consumer only.
    template <class Enqueue> static void hand_on_all(work* item, Enqueue enqueue) noexcept {
        while (item != nullptr) {
            work* const following = item->next.get();
            // (6) acq_rel: pairs with (1), as (4).
            item->pending.exchange(0, std::memory_order_acq_rel);
            enqueue(*item);
            item = following;
        }
    }

  private:
    typename P::template atomic<work*> head_{nullptr};
};

using work = basic_work<real>;
using work_queue = basic_work_queue<real>;

} // namespace allot::sync
