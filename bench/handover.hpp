// SPDX-License-Identifier: MIT
//
// handover: a ring through which one thread hands blocks to another, many at a time.
//
// Idea.        One atomic store hands over a whole batch, so the ring costs a fraction of a nanosecond a block and the same
//              for every allocator. Who finds the ring full or empty spins for a while and then gives the processor away,
//              since there may be more threads than cores.
// Invariants.  I1  taken_ <= put_ <= taken_ + nr_slots. I2  The slots [taken_, put_) are the taker's, the others the putter's.
// Concurrency. room/put: one thread; next/take: one thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <sched.h>

namespace allot_bench {

inline constexpr std::size_t handover_batch = 64;
inline constexpr std::size_t handover_slots = 16;

class handover {
  public:
    /// Waits for a free slot and returns its room for handover_batch pointers.
    void** room() {
        const std::uint64_t put = put_.load(std::memory_order_relaxed); // only this thread stores it
        // (2) acquire load; pairs with (1): the taker has read what was in the slot.
        wait_until([&] { return put - taken_.load(std::memory_order_acquire) < handover_slots; });
        return slots_[put % handover_slots];
    }
    /// Hands over the slot that room() returned.
    void put() {
        // (3) release store; pairs with (4): who sees the slot sees the pointers in it.
        put_.store(put_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    /// Waits for a slot and returns its pointers.
    void** next() {
        const std::uint64_t taken = taken_.load(std::memory_order_relaxed); // only this thread stores it
        // (4) acquire load; pairs with (3).
        wait_until([&] { return put_.load(std::memory_order_acquire) != taken; });
        return slots_[taken % handover_slots];
    }
    /// Gives back the slot that next() returned.
    void take() {
        // (1) release store; pairs with (2): who may fill the slot again does so after it was read.
        taken_.store(taken_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }

  private:
    static constexpr unsigned spins = 64;

    template <class Ready> static void wait_until(Ready ready) {
        for (unsigned tries = 0; !ready(); ++tries)
            if (tries < spins)
                relax();
            else
                sched_yield();
    }

    static void relax() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }

    alignas(128) std::atomic<std::uint64_t> put_{0};
    alignas(128) std::atomic<std::uint64_t> taken_{0};
    alignas(128) void* slots_[handover_slots][handover_batch];
};

} // namespace allot_bench
