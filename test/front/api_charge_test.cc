// SPDX-License-Identifier: MIT
//
// charge: memory from elsewhere.
#include "api_fixture.hpp"

#include <thread>
#include <utility>

namespace {

using namespace allot::literals;

class api_charge : public allot_test::api_test {};

TEST_F(api_charge, counts_for_the_group_and_its_ancestors_until_it_dies) {
    const allot::group child = top.create("child");
    {
        const allot::charge held = child.try_charge(10_MiB);
        ASSERT_TRUE(held);
        EXPECT_EQ(held.bytes(), 10_MiB);
        EXPECT_EQ(child.stat().external, 10_MiB);
        EXPECT_EQ(child.stat().current, 10_MiB);
        EXPECT_GE(top.stat().current, 10_MiB);
        EXPECT_EQ(top.stat().external, 0u) << "classes count the group alone";
    }
    EXPECT_EQ(child.stat().external, 0u);
    EXPECT_EQ(child.stat().current, 0u);
    EXPECT_EQ(child.stat().peak, 10_MiB);
}

TEST_F(api_charge, all_levels_or_none) {
    const allot::group parent = capped("parent", 1_MiB);
    const allot::group child = parent.create("child");
    const std::uint64_t before = parent.stat().current;
    EXPECT_FALSE(child.try_charge(2_MiB));
    EXPECT_EQ(child.stat().current, 0u);
    EXPECT_EQ(parent.stat().current, before);
    EXPECT_THROW((void)child.charge_for(2_MiB), allot::limit_exceeded);
}

TEST_F(api_charge, an_empty_one_is_false_and_harmless) {
    allot::charge none;
    EXPECT_FALSE(none);
    EXPECT_EQ(none.bytes(), 0u);
    none.release();
    EXPECT_FALSE(none.try_resize(10));
    EXPECT_THROW(none.resize(10), std::system_error);
    EXPECT_THROW((void)none.split(1), std::system_error);
    EXPECT_FALSE(none.try_transfer(top));
}

TEST_F(api_charge, moves_and_never_counts_twice) {
    allot::charge first = top.charge_for(1_MiB);
    allot::charge second = std::move(first);
    EXPECT_FALSE(first); // NOLINT: a moved-from charge is empty by contract
    EXPECT_EQ(second.bytes(), 1_MiB);
    EXPECT_EQ(top.stat().external, 1_MiB);
    allot::charge third = top.charge_for(2_MiB);
    third = std::move(second);
    EXPECT_EQ(top.stat().external, 1_MiB) << "assignment gives back what was held";
    allot::charge& alias = third;
    third = std::move(alias);
    EXPECT_EQ(third.bytes(), 1_MiB);
    third.release();
    EXPECT_FALSE(third);
    EXPECT_EQ(top.stat().external, 0u);
}

TEST_F(api_charge, resizes_within_the_limit) {
    const allot::group child = capped("child", 1_MiB);
    allot::charge held = child.charge_for(100_KiB);
    held.resize(1_MiB);
    EXPECT_EQ(child.stat().external, 1_MiB);
    EXPECT_THROW(held.resize(1_MiB + 1), allot::limit_exceeded);
    EXPECT_FALSE(held.try_resize(2_MiB));
    EXPECT_EQ(held.bytes(), 1_MiB) << "a failed resize changes nothing";
    EXPECT_EQ(child.stat().external, 1_MiB);
    EXPECT_TRUE(held.try_resize(0));
    EXPECT_EQ(child.stat().external, 0u);
    EXPECT_TRUE(held) << "a charge of nothing is still a charge";
    held.resize(5);
    EXPECT_EQ(child.stat().external, 5u);
}

TEST_F(api_charge, splits_without_charging) {
    allot::charge whole = top.charge_for(100);
    {
        const allot::charge part = whole.split(30);
        EXPECT_EQ(part.bytes(), 30u);
        EXPECT_EQ(whole.bytes(), 70u);
        EXPECT_EQ(top.stat().external, 100u);
    }
    EXPECT_EQ(top.stat().external, 70u);
    EXPECT_THROW((void)whole.split(71), std::system_error);
    EXPECT_EQ(whole.bytes(), 70u);
    const allot::charge rest = whole.split(70);
    EXPECT_EQ(rest.bytes(), 70u);
    EXPECT_EQ(whole.bytes(), 0u);
}

TEST_F(api_charge, transfers_under_the_receivers_limit) {
    const allot::group from = top.create("from");
    const allot::group to = capped("to", 1_MiB);
    allot::charge held = from.charge_for(2_MiB);
    EXPECT_THROW(held.transfer(to), allot::limit_exceeded);
    EXPECT_FALSE(held.try_transfer(to));
    EXPECT_EQ(from.stat().external, 2_MiB) << "it stays where it was";
    held.resize(1_MiB);
    held.transfer(to);
    EXPECT_EQ(from.stat().external, 0u);
    EXPECT_EQ(to.stat().external, 1_MiB);
    EXPECT_THROW(held.transfer(allot::group{}), std::system_error);
    EXPECT_EQ(held.bytes(), 1_MiB);
}

TEST_F(api_charge, a_closed_group_takes_none_and_hands_its_own_to_the_parent) {
    const allot::group child = top.create("child");
    allot::charge held = child.charge_for(1_MiB);
    EXPECT_EQ(child.close().bytes, 1_MiB);
    EXPECT_FALSE(child.try_charge(1));
    try {
        (void)child.charge_for(1);
        ADD_FAILURE() << "a closed group was charged";
    } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
    }
    allot::quiesce();
    EXPECT_EQ(top.stat().external, 1_MiB);
    held.resize(2_MiB);
    EXPECT_EQ(top.stat().external, 2_MiB) << "it grows where it belongs now";
    held.release();
    EXPECT_EQ(top.stat().external, 0u);
}

TEST_F(api_charge, sums_are_exact_when_threads_charge_at_once) {
    std::vector<std::thread> threads;
    for (int index = 0; index < 4; ++index)
        threads.emplace_back([this] {
            for (std::uint64_t round = 1; round <= 2000; ++round) {
                allot::charge held = top.charge_for(round);
                allot::charge part = held.split(round / 2);
                held.resize(round * 3);
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(top.stat().external, 0u);
    EXPECT_EQ(top.stat().current, 0u);
}

} // namespace
