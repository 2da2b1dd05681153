// SPDX-License-Identifier: MIT
//
// Limits: they hold at every level, failures leave no trace, setting one keeps the others.
#include "api_fixture.hpp"

#include <atomic>
#include <thread>

namespace {

using namespace allot::literals;
using allot_test::owned_blocks;
using allot_test::settle;

class api_limits : public allot_test::api_test {};

static_assert(1_KiB == 1024 && 3_MiB == 3 * 1024 * 1024 && 5_GiB == 5ull << 30);
static_assert(allot::limits{.max = 1_MiB}.low == allot::keep);
static_assert(allot::limits{} == allot::limits{.max = allot::keep});

TEST_F(api_limits, a_new_group_has_no_protection_and_no_limit) {
    const allot::group child = top.create("child");
    EXPECT_EQ(child.limits(), (allot::limits{.min = 0, .low = 0, .high = allot::unlimited, .max = allot::unlimited}));
}

TEST_F(api_limits, designated_initialisers_set_the_named_limits_and_keep_the_others) {
    const allot::group child = top.create("child", {.low = 64_MiB, .max = 4_GiB});
    EXPECT_EQ(child.limits(), (allot::limits{.min = 0, .low = 64_MiB, .high = allot::unlimited, .max = 4_GiB}));
    child.set({.max = 2_GiB});
    EXPECT_EQ(child.limits(), (allot::limits{.min = 0, .low = 64_MiB, .high = allot::unlimited, .max = 2_GiB}));
    child.set({.min = 1_MiB, .high = 1_GiB});
    EXPECT_EQ(child.limits(), (allot::limits{.min = 1_MiB, .low = 64_MiB, .high = 1_GiB, .max = 2_GiB}));
    child.set({.max = allot::unlimited});
    EXPECT_EQ(child.limits().max, allot::unlimited);
    EXPECT_EQ(child.limits().high, 1_GiB);
}

TEST_F(api_limits, protection_above_max_is_refused_and_changes_nothing) {
    const allot::group child = top.create("child", {.max = 1_MiB});
    EXPECT_THROW(child.set({.low = 2_MiB}), std::system_error);
    EXPECT_THROW(child.set({.min = 2_MiB}), std::system_error);
    EXPECT_EQ(child.limits(), (allot::limits{.min = 0, .low = 0, .high = allot::unlimited, .max = 1_MiB}));
    EXPECT_THROW((void)top.create("other", {.min = 2, .max = 1}), std::system_error);
    EXPECT_EQ(top.find("other"), std::nullopt);
}

TEST_F(api_limits, max_stops_allocations_of_every_size_and_serves_most_of_itself) {
    for (const std::size_t size :
         {std::size_t{16}, std::size_t{100}, std::size_t{1000}, std::size_t{5000}, std::size_t{100'000}}) {
        const allot::group child = capped("child", 1_MiB);
        owned_blocks held;
        const std::uint64_t usable = held.fill(child, size);
        EXPECT_LE(usable, 1_MiB) << size;
        EXPECT_GE(usable, 512_KiB) << size;
        const allot::stat full = child.stat();
        EXPECT_LE(full.current, 1_MiB) << size;
        EXPECT_LE(full.peak, 1_MiB) << size;
        EXPECT_GE(full.current, usable) << size;
        EXPECT_GE(full.failures, 1u) << size;
        EXPECT_GE(full.max_events, 1u) << size;
        EXPECT_EQ(full.allocations, held.count()) << size;

        held.clear();
        settle(child);
        EXPECT_EQ(child.stat().current, 0u) << size;
        EXPECT_EQ(child.stat().peak, full.peak) << size;
        child.close();
    }
}

TEST_F(api_limits, a_limit_holds_for_the_sum_of_the_children) {
    const allot::group parent = capped("parent", 1_MiB);
    const allot::group first = parent.create("first");
    const allot::group second = parent.create("second", {.max = 10_MiB});
    owned_blocks held;
    held.fill(first, 4000, 100);
    held.fill(second, 4000);
    EXPECT_LE(parent.stat().current, 1_MiB);
    EXPECT_GE(parent.stat().current, first.stat().current + second.stat().current);
    EXPECT_EQ(first.malloc(500'000), nullptr);
    EXPECT_GE(parent.stat().failures, 1u) << "the group whose limit was met counts the failure";
}

TEST_F(api_limits, a_victim_does_not_disturb_its_neighbours) {
    const allot::group victim = capped("victim", 256_KiB);
    const allot::group neighbour = capped("neighbour", 256_KiB);
    owned_blocks held;
    held.fill(victim, 300);
    EXPECT_EQ(victim.malloc(100'000), nullptr);
    void* block = neighbour.malloc(100'000);
    EXPECT_NE(block, nullptr);
    EXPECT_EQ(neighbour.stat().failures, 0u);
    held.add(block);
}

TEST_F(api_limits, lowering_max_below_usage_takes_effect_and_ends_when_it_fits) {
    const allot::group child = capped("child", 1_MiB);
    allot::charge held = child.charge_for(512_KiB);
    child.set({.max = 256_KiB});
    EXPECT_EQ(child.limits().max, 256_KiB);
    EXPECT_FALSE(child.try_charge(1));
    held.resize(128_KiB);
    EXPECT_TRUE(child.try_charge(128_KiB));
    EXPECT_FALSE(child.try_charge(128_KiB + 1));
}

TEST_F(api_limits, max_zero_lets_nothing_through) {
    const allot::group child = capped("child", 0);
    EXPECT_EQ(child.malloc(1), nullptr);
    EXPECT_FALSE(child.try_charge(1));
    EXPECT_EQ(child.stat().current, 0u);
}

TEST_F(api_limits, going_over_high_is_counted_and_stops_nothing) {
    const allot::group child = top.create("child", {.high = 64_KiB});
    const allot::charge below = child.charge_for(64_KiB);
    EXPECT_EQ(child.stat().high_events, 0u);
    const allot::charge above = child.charge_for(1);
    EXPECT_EQ(child.stat().high_events, 1u);
}

TEST_F(api_limits, current_is_never_above_max_while_threads_allocate_and_free) {
    constexpr std::uint64_t max_bytes = 512 * 1024;
    const allot::group parent = capped("parent", max_bytes);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> overshoot{0};
    std::thread sampler{[&] {
        while (!stop.load()) {
            const std::uint64_t current = parent.stat().current;
            if (current > max_bytes)
                overshoot = current;
        }
    }};
    std::vector<allot::group> groups; // made before the parent is full
    for (int index = 0; index < 3; ++index)
        groups.push_back(parent.create("t" + std::to_string(index)));
    std::vector<std::thread> workers;
    for (const allot::group& mine : groups)
        workers.emplace_back([&mine] {
            for (int round = 0; round < 20; ++round) {
                owned_blocks held;
                held.fill(mine, static_cast<std::size_t>(64 << (round % 8)), 2000);
            }
        });
    for (std::thread& worker : workers)
        worker.join();
    stop = true;
    sampler.join();
    EXPECT_EQ(overshoot.load(), 0u);
    for (allot::group& mine : groups)
        mine.close();
    groups.clear();
    settle(parent);
    EXPECT_EQ(parent.stat().current, 0u);
}

} // namespace
