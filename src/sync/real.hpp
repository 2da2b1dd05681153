// SPDX-License-Identifier: MIT
//
// real: the platform P that production code is instantiated with.
//
// Idea.        The protocols of this library (RCU, work_queue, page_counter) are templates over a platform P.
//              This P is the machine: std::atomic and system calls, nothing in between. The schedule explorer has another.
// Concurrency. stateless.
// The concept P:
//   P::atomic<T>          interface of std::atomic with explicit orders
//   P::var<T>             plain shared data, guarded by a protocol: get(), set()
//   P::reader_barrier()   orders a reader's own store before its later loads, given that the other side calls all_barrier()
//   P::all_barrier()      a full barrier on every thread that may be a reader
//   P::pause(n)           the n-th round of waiting for another thread; blocks sooner or later
//   P::wait(word, v, ns)  sleeps if the word has the value v, until P::wake(word) or ns have passed (0: for ever)
#pragma once

#include "platform/os.hpp"

#include <atomic>

namespace allot::sync {

struct real {
    template <class T> using atomic = std::atomic<T>;

    template <class T> class var {
      public:
        var() = default;
        explicit constexpr var(T value) noexcept : value_(value) {}
        T get() const noexcept { return value_; }
        void set(T value) noexcept { value_ = value; }

      private:
        T value_{};
    };

    ALLOT_INLINE static void reader_barrier() noexcept {
#if ALLOT_TSAN
        // The store before it is seq_cst in this build (rcu.hpp), which is a full barrier on x86-64.
#else
        if (platform::membarrier_ready()) [[likely]]
            compiler_barrier();
        else
            // (1) seq_cst fence: pairs with (2): stands in for the membarrier that this kernel lacks.
            std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
    }

    static void all_barrier() noexcept {
#if !ALLOT_TSAN
        // (2) seq_cst fence: pairs with (1).
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (platform::membarrier_ready()) [[likely]]
            platform::membarrier_all();
#endif
    }

    /// Spins first, then yields.
    static void pause(unsigned round) noexcept {
        if (round < 64)
            cpu_relax();
        else
            platform::yield();
    }

    static void wait(atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept {
        platform::futex_wait(word, expected, timeout_ns);
    }
    static void wake(atomic<std::uint32_t>& word) noexcept { platform::futex_wake(word, 1); }
};

} // namespace allot::sync
