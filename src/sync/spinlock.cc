// SPDX-License-Identifier: MIT
//
// spinlock: the contended half.
//
// Idea.        A bounded spin, then sleep with the word marked; see spinlock.hpp.
// Concurrency. any thread.
#include "sync/spinlock.hpp"

namespace allot::sync {

void spinlock::lock_slow() noexcept {
    constexpr int spins_before_sleep = 100;
    for (int i = 0; i < spins_before_sleep; ++i) {
        std::uint32_t expected = unlocked;
        // relaxed load: a hint only; the exchange decides.
        if (word_.load(std::memory_order_relaxed) == unlocked &&
            // (4) acquire: pairs with (3), as (1). Failure is relaxed: it is retried.
            word_.compare_exchange_weak(expected, locked, std::memory_order_acquire, std::memory_order_relaxed))
            return;
        cpu_relax();
    }
    // (5) acquire: pairs with (3), as (1). Marking it contended even when nobody else waits costs one needless wake.
    while (word_.exchange(contended, std::memory_order_acquire) != unlocked)
        platform::futex_wait(word_, contended, 0);
}

} // namespace allot::sync
