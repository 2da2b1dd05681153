// SPDX-License-Identifier: MIT
//
// sleeper_test: work that is added at any moment either keeps the sleeper awake or wakes it.
#include "sync/sleeper.hpp"

#include "scripted.hpp"
#include "support/threads.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace allot::sync {
namespace {

using allot_test::access;
using allot_test::ms;
using allot_test::scripted;
using allot_test::soon;
using allot_test::stopwatch;

using scripted_sleeper = basic_sleeper<scripted>;

constexpr auto no_work = [] { return false; };
constexpr auto for_ever = [] { return std::uint64_t{0}; };

TEST(sleeper, sleeps_if_there_is_no_work) {
    scripted_sleeper sleeper;
    scripted::sleeps = 0;
    sleeper.sleep_unless(no_work, [] { return std::uint64_t{12'345}; });
    EXPECT_EQ(scripted::sleeps, 1u);
    EXPECT_EQ(scripted::last_timeout_ns, 12'345u);
}

TEST(sleeper, does_not_sleep_if_there_is_work) {
    scripted_sleeper sleeper;
    scripted::sleeps = 0;
    sleeper.sleep_unless([] { return true; }, for_ever);
    EXPECT_EQ(scripted::sleeps, 0u);
}

TEST(sleeper, never_sleeps_over_work_that_is_added_at_any_moment) {
    // The moments: before it says that it sleeps, before it looks for work, and before it sleeps.
    for (int at = 1; at <= 3; ++at) {
        scripted_sleeper sleeper;
        scripted::atomic<bool> work{false};
        scripted::sleeps = 0;
        int accesses = 0;
        const auto add_work = [&](access, const void*) {
            if (++accesses != at)
                return;
            work.store(true, std::memory_order_seq_cst);
            sleeper.wake();
        };
        scripted::play(add_work,
                       [&] { sleeper.sleep_unless([&] { return work.load(std::memory_order_seq_cst); }, for_ever); });
        EXPECT_EQ(scripted::sleeps, 0u) << "added before access " << at;
        EXPECT_GE(accesses, at);
    }
}

TEST(sleeper, is_woken_once_by_those_who_add_work_together) {
    scripted_sleeper sleeper;
    sleeper.sleep_unless(no_work, for_ever);
    int wakes = 0;
    const auto count_wakes = [&](access what, const void*) { wakes += what == access::wake; };
    scripted::play(count_wakes, [&] {
        sleeper.wake();
        sleeper.wake();
        sleeper.wake();
    });
    EXPECT_EQ(wakes, 1);
}

TEST(sleeper, that_is_awake_costs_a_producer_one_load) {
    scripted_sleeper sleeper;
    int accesses = 0, loads = 0;
    const auto count = [&](access what, const void*) {
        ++accesses;
        loads += what == access::load;
    };
    scripted::play(count, [&] { sleeper.wake(); });
    EXPECT_EQ(accesses, 1);
    EXPECT_EQ(loads, 1);
}

TEST(sleeper, that_a_forked_child_does_not_have_is_not_woken) {
    scripted_sleeper sleeper;
    sleeper.sleep_unless(no_work, for_ever); // and then the fork
    sleeper.reset_after_fork();
    int wakes = 0;
    scripted::play([&](access what, const void*) { wakes += what == access::wake; }, [&] { sleeper.wake(); });
    EXPECT_EQ(wakes, 0);
}

TEST(sleeper, wakes_for_each_piece_of_work_in_turn) {
    // Whoever adds work waits until it is done, so a wake that is lost is a hang.
    sleeper here;
    std::atomic<unsigned> added{0}, done{0};
    std::atomic<bool> stopped{false};
    std::thread worker([&] {
        while (!stopped) {
            done = added.load();
            here.sleep_unless([&] { return added.load() != done || stopped; }, for_ever);
        }
    });
    const stopwatch watch{150 * ms};
    volatile unsigned delay = 0;
    unsigned round = 0;
    while (watch.running() && !HasFailure()) {
        added = ++round;
        here.wake();
        EXPECT_TRUE(soon([&] { return done == round; }));
        for (unsigned spin = 0; spin < round % 100; ++spin)
            delay = spin;
    }
    static_cast<void>(delay);
    stopped = true;
    here.wake();
    worker.join();
}

TEST(sleeper, wakes_by_itself_after_its_timeout) {
    sleeper here;
    const std::uint64_t begin = platform::now_ns();
    while (platform::now_ns() - begin < 2 * ms)
        here.sleep_unless(no_work, [] { return 2 * ms; });
    errno = E2BIG;
    here.sleep_unless(no_work, [] { return std::uint64_t{1}; });
    here.wake();
    EXPECT_EQ(errno, E2BIG);
}

} // namespace
} // namespace allot::sync
