// SPDX-License-Identifier: MIT
//
// rcu: read-side sections of two plain stores, and grace periods that pay for them.
//
// Idea.        Each thread has a counter that only it writes: odd while it reads. A section costs two stores. A grace period
//              issues a full barrier on all threads (membarrier), then waits until every counter that was odd has changed.
//              Any change will do: the reader has left the section that might have seen the old state.
//              Threads without a slot count themselves in and out of one of two shared pairs (SRCU).
// Invariants.  I1  A counter is odd exactly while its thread is inside an outermost section.
//              I2  A nested section (a handler on top of one) changes nothing: the outer one covers it.
// Concurrency. read_lock/unlock: the owner and its handlers, Context any. synchronize: any thread, Context task, not inside a
//              section. It takes no lock; callers may overlap.
// Lock order.  takes none; may be called with locks held that no reader takes.
// Checked by.  test/sync/rcu_test.cc, verify/explore
// Source.      McKenney, "Is Parallel Programming Hard", 9.5; Linux srcu; docs/design.md "RCU".
#pragma once

#include "sync/real.hpp"

#include <cstdint>

namespace allot::sync {

/// The part of RCU that one thread owns.
template <class P> struct basic_rcu_reader {
    typename P::template atomic<std::uint64_t> sections{0};

    ALLOT_INLINE bool inside() const noexcept {
        return (sections.load(std::memory_order_relaxed) & 1) != 0; // relaxed: own counter
    }

    /// Enters a section. False if the thread was inside one already; then leave() must not be called. Context: any.
    ALLOT_INLINE bool enter() noexcept {
        const std::uint64_t count = sections.load(std::memory_order_relaxed); // relaxed: own counter
        if ((count & 1) != 0)
            return false;
#if ALLOT_TSAN
        // (1) seq_cst: pairs with (4), (12); in this build the store itself is the barrier.
        sections.store(count + 1, std::memory_order_seq_cst);
#else
        // (10) release: pairs with (5): who waits for the last section and sees this one sees the last one over. (C++20 has no
        // release sequences of plain stores.) That this section's loads come after it is reader_barrier()'s doing.
        sections.store(count + 1, std::memory_order_release);
#endif
        P::reader_barrier();
        return true;
    }

    /// Enters a section of the fast path, `count` being even and what count() returned. It has no barrier for machines without
    /// membarrier: there the fast path stays closed. Context: any.
    ALLOT_INLINE void enter_fast(std::uint64_t count) noexcept {
#if ALLOT_TSAN
        // (3) seq_cst: pairs with (4), (12), as (1).
        sections.store(count + 1, std::memory_order_seq_cst);
#else
        // (11) release: pairs with (5), as (10). That the section's loads come after it is membarrier's doing.
        sections.store(count + 1, std::memory_order_release);
        compiler_barrier();
#endif
    }
    ALLOT_INLINE std::uint64_t count() const noexcept {
        return sections.load(std::memory_order_relaxed); // relaxed: own counter
    }
    ALLOT_INLINE void leave_fast(std::uint64_t count) noexcept {
        // (9) release: pairs with (4), (5), (12), as (2).
        sections.store(count + 2, std::memory_order_release);
    }

    /// Leaves the outermost section.
    ALLOT_INLINE void leave() noexcept {
        const std::uint64_t count = sections.load(std::memory_order_relaxed); // relaxed: own counter
        // (2) release: pairs with (4), (5), (12): who sees the section over also sees everything done in it.
        sections.store(count + 1, std::memory_order_release);
    }
};

/// Waits until `reader` has left the section it was in when this was called, if any. all_barrier() comes before it.
template <class P> void wait_for_reader(const basic_rcu_reader<P>& reader) noexcept {
    // (4) seq_cst: pairs with (1), (3) in TSan builds and, as acquire, with (2), (9).
    const std::uint64_t seen = reader.sections.load(std::memory_order_seq_cst);
    if ((seen & 1) == 0)
        return;
    for (unsigned round = 0;; ++round) {
        // (5) acquire: pairs with (2), (9), (10), (11).
        if (reader.sections.load(std::memory_order_acquire) != seen)
            return;
        P::pause(round);
    }
}

/// True if `reader` is in no section that began before this was called: wait_for_reader() would not have waited. all_barrier()
/// comes before it.
template <class P> [[nodiscard]] bool is_quiescent(const basic_rcu_reader<P>& reader) noexcept {
    // (12) seq_cst: pairs with (1), (3) in TSan builds and, as acquire, with (2), (9).
    return (reader.sections.load(std::memory_order_seq_cst) & 1) == 0;
}

/// Readers without a slot: two pairs of shared counters, one in use, one draining.
template <class P> class basic_shared_readers {
  public:
    /// Enters a section and returns the token for leave(). Context: any.
    unsigned enter() noexcept {
        const unsigned side = side_.load(std::memory_order_relaxed) & 1; // relaxed: either side is waited for
        // (6) seq_cst: pairs with (8): the count is visible before any load of the section.
        entered_[side].fetch_add(1, std::memory_order_seq_cst);
        P::reader_barrier(); // a seq_cst exchange is no fence: without membarrier its store may come after the section's loads
        return side;
    }
    void leave(unsigned side) noexcept {
        // (7) seq_cst: pairs with (8): the section's accesses come before its end.
        left_[side].fetch_add(1, std::memory_order_seq_cst);
    }
    /// Waits for all sections that began before. Both sides are drained, whoever flips meanwhile: a reader may have read `side_`
    /// long before it counts itself in. The flips only see to it that the side that is waited for gets no new readers.
    void wait() noexcept {
        // relaxed, both: which side new readers take does not matter for what is waited for.
        const unsigned first = side_.fetch_add(1, std::memory_order_relaxed) & 1;
        drain(first);
        side_.fetch_add(1, std::memory_order_relaxed); // relaxed: as above
        drain(first ^ 1);
    }
    /// True if no section that began before is left: wait() would not have waited. all_barrier() comes before it.
    [[nodiscard]] bool idle() const noexcept { return is_drained(0) && is_drained(1); }
    /// In a forked child: nobody reads. Context: fork_child.
    void reset_after_fork() noexcept {
        for (unsigned side = 0; side < 2; ++side) // relaxed: one thread
            left_[side].store(entered_[side].load(std::memory_order_relaxed), std::memory_order_relaxed);
    }

  private:
    void drain(unsigned side) noexcept {
        for (unsigned round = 0; !is_drained(side); ++round)
            P::pause(round);
    }
    bool is_drained(unsigned side) const noexcept {
        // (8) seq_cst: pairs with (6), (7). Ends are read before beginnings: equal then means none in between.
        const std::uint64_t ends = left_[side].load(std::memory_order_seq_cst);
        return entered_[side].load(std::memory_order_seq_cst) == ends; // second load of (8)
    }

    typename P::template atomic<unsigned> side_{0};
    typename P::template atomic<std::uint64_t> entered_[2]{};
    typename P::template atomic<std::uint64_t> left_[2]{};
};

/// A grace period: `wait_for_each()` waits for each reader there is, by wait_for_reader() or shared_readers::wait().
template <class P, class WaitForEach> void synchronize(WaitForEach wait_for_each) noexcept {
    P::all_barrier();
    wait_for_each();
    P::all_barrier();
}

using rcu_reader = basic_rcu_reader<real>;
using shared_readers = basic_shared_readers<real>;

} // namespace allot::sync
