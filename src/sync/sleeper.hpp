// SPDX-License-Identifier: MIT
//
// sleeper: a thread that sleeps until there is work, and producers that wake it.
//
// Idea.        The sleeper says that it sleeps, then looks for work once more; a producer adds the work, then looks whether the
//              sleeper sleeps (Dekker). With seq_cst on all four, one of them sees the other. Who does not sleep costs a
//              producer one load.
// Invariants.  I1  While the thread sleeps with `sleeping_` == 1, no work was added that had been followed by wake().
// Concurrency. sleep_unless: one thread at a time. wake: any thread, Context any.
// Lock order.  takes none.
// Checked by.  test/sync/executor_test.cc, verify/explore/sleeper.cc
// Source.      Drepper, Futexes Are Tricky; docs/design.md "Deferred work".
#pragma once

#include "sync/real.hpp"

namespace allot::sync {

template <class P> class basic_sleeper {
  public:
    /// Sleeps until wake(), or for `timeout_ns()` (0: for ever), unless `has_work()`, whose loads are seq_cst. Context: task.
    template <class HasWork, class Timeout> void sleep_unless(HasWork has_work, Timeout timeout_ns) noexcept {
        // (1) seq_cst: pairs with (2): either this thread sees the work, or the producer sees it asleep.
        sleeping_.store(1, std::memory_order_seq_cst);
        if (has_work())
            sleeping_.store(0, std::memory_order_relaxed); // relaxed: only saves the producer a wake
        else
            P::wait(sleeping_, std::uint32_t{1}, timeout_ns());
    }

    /// To be called after the work was added with a seq_cst operation. Context: any; keeps errno.
    void wake() noexcept {
        // (2) seq_cst: pairs with (1). Both the test and the exchange: an older store must not satisfy the test.
        if (sleeping_.load(std::memory_order_seq_cst) != 0 &&
            sleeping_.exchange(0, std::memory_order_seq_cst) != 0) // also (2)
            P::wake(sleeping_);
    }

    /// In a forked child, where the sleeper does not exist. Context: fork_child.
    void reset_after_fork() noexcept { sleeping_.store(0, std::memory_order_relaxed); } // relaxed: one thread

  private:
    typename P::template atomic<std::uint32_t> sleeping_{0};
};

using sleeper = basic_sleeper<real>;

} // namespace allot::sync
