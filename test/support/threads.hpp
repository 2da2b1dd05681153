// SPDX-License-Identifier: MIT
//
// threads: what concurrent tests share: waiting with an end, starting together, seeds, threads that have a slot.
//
// Idea.        A test waits for what must happen for as long as it takes, up to a bound that only a failure reaches, and lets
//              what must not happen have a short while to happen in.
#pragma once

#include "group/runtime.hpp"
#include "platform/os.hpp"
#include "slab/alloc.hpp"
#include "sync/thread_slot.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <vector>

namespace allot_test {

inline constexpr std::uint64_t ms = 1'000'000; // in ns
inline constexpr std::uint64_t patience_ns = 20'000 * ms;

/// True once `condition` holds; false if it does not for a very long time.
template <class F> [[nodiscard]] bool soon(const F& condition) {
    const std::uint64_t end = allot::platform::now_ns() + patience_ns;
    for (unsigned round = 0; !condition(); ++round) {
        if (allot::platform::now_ns() > end)
            return false;
        if (round < 1000)
            allot::platform::yield();
        else
            std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return true;
}

/// True if `condition` still does not hold after a short while.
template <class F> [[nodiscard]] bool not_yet(const F& condition) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return !condition();
}

/// The seed of a random test, printed; ALLOT_TEST_SEED=N chooses it.
inline std::uint64_t fresh_seed() {
    const char* const given = std::getenv("ALLOT_TEST_SEED");
    const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::printf("seed %llu (ALLOT_TEST_SEED)\n", static_cast<unsigned long long>(seed));
    return seed;
}

/// Runs `body(index)` in `count` threads, which begin together, and waits for all of them.
template <class F> void run_threads(unsigned count, const F& body) {
    std::atomic<unsigned> ready{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            ++ready;
            while (ready.load() < count)
                allot::platform::yield();
            body(i);
        });
    for (auto& thread : threads)
        thread.join();
}

/// True until `duration_ns` have passed since it was made.
class stopwatch {
  public:
    explicit stopwatch(std::uint64_t duration_ns) : end_(allot::platform::now_ns() + duration_ns) {}
    bool running() const { return allot::platform::now_ns() < end_; }

  private:
    std::uint64_t end_;
};

/// Brings the library up and gives the calling thread a slot. False if it has had its exit hook.
inline bool attach_thread() {
    allot::memcg::install_process_hooks();
    allot::slab::begin_thread();
    return allot::sync::tls.slot != &allot::sync::no_slot;
}

} // namespace allot_test
