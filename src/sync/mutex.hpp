// SPDX-License-Identifier: MIT
//
// mutex: a ranked lock that may be held while its holder waits: for a grace period, for other threads' sections.
//
// Idea.        The spinlock's word with another contract. Taking one may take as long as its holder waits, so it may only be
//              taken where one may wait oneself; debug builds check that on every call, contended or not.
// Concurrency. lock/unlock: any thread. Context: task or worker, no spinlock held, not inside a read-side section.
// Lock order.  sync/lock_rank.hpp; the mutexes are the outermost ranks.
// Checked by.  test/sync/mutex_test.cc
// Source.      Linux kernel/locking/mutex.c (the contract), Drepper, Futexes Are Tricky, mutex 2 (the word).
#pragma once

#include "sync/context.hpp"
#include "sync/spinlock.hpp"

namespace allot::sync {

class ALLOT_CAPABILITY("mutex") mutex {
  public:
    explicit constexpr mutex(lock_rank rank) noexcept : word_(rank) {}
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;

    void lock(call_site where = call_site::current()) noexcept ALLOT_ACQUIRE() {
        might_lock(where);
        lock_acquiring(word_.rank_, lock_kind::mutex, where);
        word_.take();
    }

    /// Does not wait, but is for the same contexts: who got it might wait.
    [[nodiscard]] bool try_lock(call_site where = call_site::current()) noexcept ALLOT_TRY_ACQUIRE(true) {
        might_lock(where);
        if (!word_.try_take())
            return false;
        lock_tried(word_.rank_, lock_kind::mutex, where);
        return true;
    }

    void unlock() noexcept ALLOT_RELEASE() {
        lock_released(word_.rank_, lock_kind::mutex);
        word_.give();
    }

  private:
    spinlock word_;
};

} // namespace allot::sync
