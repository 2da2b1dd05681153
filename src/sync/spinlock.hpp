// SPDX-License-Identifier: MIT
//
// spinlock: a ranked lock of four bytes that spins briefly and then sleeps.
//
// Idea.        Three states: free, held, held with sleepers. A holder may be preempted at any time in userspace, so spinning
//              for long is waste; after a few rounds a waiter sleeps on the word itself. The holder is atomic all the same: it
//              must not wait for other work (mutex.hpp is for those who do).
// Invariants.  I1  Who sleeps has set `contended` first, so the unlock that makes the word free also wakes.
// Concurrency. lock/unlock: any thread that is not inside a signal handler on top of the holder; the memory paths see to that
//              with their busy count (thread_slot.hpp), other callers with the irqsave flavour; context.hpp checks it.
// Lock order.  sync/lock_rank.hpp, checked in debug builds.
// Checked by.  test/sync/spinlock_test.cc
// Source.      Drepper, Futexes Are Tricky, mutex 2.
#pragma once

#include "platform/os.hpp"
#include "sync/lock_rank.hpp"

namespace allot::sync {

class ALLOT_CAPABILITY("mutex") spinlock {
  public:
    explicit constexpr spinlock(lock_rank rank) noexcept : rank_(rank) {}
    spinlock(const spinlock&) = delete;
    spinlock& operator=(const spinlock&) = delete;

    void lock(call_site where = call_site::current()) noexcept ALLOT_ACQUIRE() {
        lock_acquiring(rank_, lock_kind::spin, where);
        take();
    }

    [[nodiscard]] bool try_lock(call_site where = call_site::current()) noexcept ALLOT_TRY_ACQUIRE(true) {
        if (!try_take())
            return false;
        lock_tried(rank_, lock_kind::spin, where);
        return true;
    }

    void unlock() noexcept ALLOT_RELEASE() {
        lock_released(rank_, lock_kind::spin);
        give();
    }

    /// True if somebody holds it, or the lock was taken before what the caller has acquired. Context: any.
    bool is_held() const noexcept { return word_.load(std::memory_order_relaxed) != unlocked; } // relaxed: see above

    /// In a forked child, where the holder may not exist any more: makes the lock free. Context: fork_child.
    void reset_after_fork() noexcept ALLOT_NO_TSA {
        word_.store(unlocked, std::memory_order_relaxed);
    } // relaxed: one thread

  private:
    friend class mutex; // the same word with another contract

    ALLOT_INLINE void take() noexcept {
        std::uint32_t expected = unlocked;
        // (1) acquire: pairs with (3): who gets the lock sees what the last holder wrote. Failure is relaxed: it is retried.
        if (!word_.compare_exchange_strong(expected, locked, std::memory_order_acquire, std::memory_order_relaxed))
            [[unlikely]]
            lock_slow();
    }

    ALLOT_INLINE bool try_take() noexcept {
        std::uint32_t expected = unlocked;
        // (2) acquire: pairs with (3), as (1). Failure is relaxed: the caller does something else.
        return word_.compare_exchange_strong(expected, locked, std::memory_order_acquire, std::memory_order_relaxed);
    }

    ALLOT_INLINE void give() noexcept {
        // (3) release: pairs with (1), (2), spinlock.cc(4), spinlock.cc(5).
        if (word_.exchange(unlocked, std::memory_order_release) == contended) [[unlikely]]
            platform::futex_wake(word_, 1);
    }

    ALLOT_COLD void lock_slow() noexcept;

    static constexpr std::uint32_t unlocked = 0;
    static constexpr std::uint32_t locked = 1;
    static constexpr std::uint32_t contended = 2;

    std::atomic<std::uint32_t> word_{unlocked};
    const lock_rank rank_;
};

/// Holds a spinlock or a mutex over a scope.
template <class Lock> class ALLOT_SCOPED_CAPABILITY lock_guard {
  public:
    explicit lock_guard(Lock& lock, call_site where = call_site::current()) noexcept ALLOT_ACQUIRE(lock) : lock_(lock) {
        lock_.lock(where);
    }
    ~lock_guard() ALLOT_RELEASE() { lock_.unlock(); }
    lock_guard(const lock_guard&) = delete;
    lock_guard& operator=(const lock_guard&) = delete;

  private:
    Lock& lock_;
};

/// Holds a lock over a scope with all signals of the thread blocked, so that a handler may take the same lock.
class ALLOT_SCOPED_CAPABILITY irqsave_guard {
  public:
    explicit irqsave_guard(spinlock& lock, call_site where = call_site::current()) noexcept ALLOT_ACQUIRE(lock)
        : lock_(lock) {
        lock_.lock(where);
    }
    ~irqsave_guard() ALLOT_RELEASE() { lock_.unlock(); }
    irqsave_guard(const irqsave_guard&) = delete;
    irqsave_guard& operator=(const irqsave_guard&) = delete;

  private:
    platform::signals_blocked signals_; // declared before the lock is taken, destroyed after it is released
    spinlock& lock_;
};

} // namespace allot::sync
