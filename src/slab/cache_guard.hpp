// SPDX-License-Identifier: MIT
//
// cache_guard: the two ways in which a cache_gate makes "test and queue" one step.
//
// Idea.        See cache_gate.hpp. Measured, one call on one thread: docs/lifecycle.md.
// Concurrency. scope: any thread, Context any. change: Context task.
// Lock order.  cache_gate, innermost.
// Checked by.  test/slab/cache_gate_test.cc
#pragma once

#include "slab/cache_gate.hpp"
#include "sync/spinlock.hpp"
#include "sync/thread_slot.hpp"

namespace allot::slab {

/// A read-side section around the test; the change waits for a grace period.
class section_guard {
  public:
    class scope {
      public:
        explicit scope(section_guard&) noexcept {}

      private:
        sync::rcu_guard section_;
    };
    template <class F> void change(F f) noexcept {
        f();
        sync::synchronize_rcu();
    }
};

/// A spinlock around the test, with signals blocked, since a handler may free the last object. One lock for all gates: when it is
/// released, the item that was queued under it may have run, and the cache may be gone.
class locked_guard {
  public:
    class scope {
      public:
        explicit scope(locked_guard&) noexcept : hold_(lock_) {}

      private:
        sync::busy_scope busy_;
        sync::irqsave_guard hold_;
    };
    template <class F> void change(F f) noexcept {
        scope hold(*this);
        f();
    }

  private:
    static inline constinit sync::spinlock lock_{sync::lock_rank::cache_gate};
};

using cache_gate = basic_cache_gate<sync::real, section_guard>;

} // namespace allot::slab
