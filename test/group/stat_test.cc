// SPDX-License-Identifier: MIT
//
// stat_test: every figure of a group says exactly what happened, whichever path the blocks took.
#include "support/core.hpp"

#include <cerrno>

namespace {

using allot_test::blocks;
using allot_test::puppet;
using namespace allot::literals;

class group_stat : public allot_test::core_test {
  protected:
    static std::uint64_t allocations(const allot::group& of) { return of.stat().allocations; }
};

TEST_F(group_stat, a_fresh_group_has_nothing_but_its_limits) {
    const allot::stat fresh = child("fresh").stat();
    EXPECT_EQ(fresh.current, 0u);
    EXPECT_EQ(fresh.peak, 0u);
    EXPECT_EQ(fresh.local, 0u);
    EXPECT_EQ(fresh.allocations, 0u);
    EXPECT_EQ(fresh.failures, 0u);
    EXPECT_EQ(fresh.max_events, 0u);
    EXPECT_EQ(fresh.high_events, 0u);
    EXPECT_EQ(fresh.nr_children, 0u);
    EXPECT_EQ(fresh.nr_dying, 0u);
}

TEST_F(group_stat, allocations_are_exact_at_every_count) {
    const allot::group one = child("one");
    std::uint64_t expected = 0;
    for (const std::size_t size : {8u, 64u, 300u, 2000u, 3000u, 30'000u, 100'000u}) {
        blocks made;
        for (int round = 0; round < 600; ++round) { // from cold to hot, with slabs that fill up
            ASSERT_TRUE(made.make(one, size, 1));
            if (round % 50 == 0) {
                ASSERT_EQ(allocations(one), expected + static_cast<unsigned>(round) + 1) << size;
            }
            if (round % 100 == 0)
                allot_quiesce();
        }
        expected += 600;
        EXPECT_EQ(allocations(one), expected) << size;
        made.clear();
        EXPECT_EQ(allocations(one), expected) << "frees are no allocations";
        allot_test::settle_all();
        EXPECT_EQ(allocations(one), expected) << "neither is giving slabs back";
    }
}

TEST_F(group_stat, allocations_of_many_threads_and_recycled_blocks_are_exact) {
    const allot::group one = child("one");
    constexpr unsigned turns = 20'000 / allot_test::slowdown;
    allot_test::on_threads(3, [&](unsigned i) {
        const allot::scope in{one};
        for (unsigned turn = 0; turn < turns; ++turn)
            allot::free(allot::malloc(turn % 7 == 0 ? 1000 : 50 + i));
    });
    EXPECT_EQ(allocations(one), 3u * turns);
    EXPECT_EQ(one.stat().failures, 0u);
}

TEST_F(group_stat, allocations_of_a_thread_that_sleeps_are_counted) {
    const allot::group one = child("one");
    allot_test::heat(one, 64);
    const std::uint64_t before = allocations(one);
    puppet sleeper;
    blocks made;
    for (unsigned i = 1; i <= 5; ++i) {
        sleeper.does([&] { made.make(one, 64, 1); });
        EXPECT_EQ(allocations(one), before + i) << "counted in the slab, folded by who asks";
    }
}

TEST_F(group_stat, allocations_of_a_closed_group_belong_to_its_parent) {
    const std::uint64_t before = allocations(top);
    blocks made;
    {
        const allot::group gone = child("gone");
        allot_test::heat(gone, 64);
        ASSERT_TRUE(made.make(gone, 64, 10));
        const std::uint64_t its = allocations(gone);
        gone.close();
        allot_quiesce();
        EXPECT_EQ(allocations(top), before + its);
    }
    made.clear();
    allot_test::settle_all();
}

TEST_F(group_stat, resizing_in_place_is_no_allocation_and_moving_is_one) {
    const allot::scope in{top};
    void* block = allot::malloc(1_MiB);
    const std::uint64_t before = allocations(top);
    block = allot::realloc(block, 512_KiB);
    EXPECT_EQ(allocations(top), before);
    block = allot::realloc(block, 100);
    EXPECT_EQ(allocations(top), before + 1);
    block = allot::realloc(block, 2_MiB);
    EXPECT_EQ(allocations(top), before + 2);
    block = allot::realloc(block, 1536_KiB);
    void* const there = block;
    block =
        allot::realloc(block, 2_MiB); // into the pages that it has just given back, if the worker is not purging them
    EXPECT_EQ(allocations(top), before + (block == there ? 2 : 3));
    allot::free(block);
}

TEST_F(group_stat, the_kinds_add_up_to_local_and_the_children_to_current) {
    const allot::group parent = child("parent");
    const allot::group below = parent.create("below");
    blocks made;
    allot_test::heat(parent, 64);
    ASSERT_TRUE(made.make(parent, 64, 1000) && made.make(parent, 100, 10) && made.make(parent, 100'000, 2));
    ASSERT_TRUE(made.make(below, 100, 10) && made.make(below, 50'000, 3));
    const allot::charge external = below.charge_for(777);
    const allot::stat of_parent = parent.stat();
    const allot::stat of_below = below.stat();
    for (const allot::stat& stat : {of_parent, of_below})
        EXPECT_EQ(stat.local, stat.slab + stat.shared + stat.large + stat.external + stat.metadata);
    EXPECT_GE(of_parent.slab, 64'000u);
    EXPECT_EQ(of_parent.slab % 4096, 0u) << "whole slabs";
    EXPECT_EQ(of_parent.shared, 10u * 112);
    EXPECT_EQ(of_parent.large, 2u * 25 * 4096);
    EXPECT_EQ(of_parent.external, 0u);
    EXPECT_GT(of_parent.metadata, 0u) << "the structure of its child";
    EXPECT_EQ(of_below.external, 777u);
    EXPECT_EQ(of_parent.current, of_parent.local + of_below.current);
}

TEST_F(group_stat, peak_is_the_most_that_current_has_been) {
    const allot::group one = child("one");
    void* const block = one.malloc(100'000);
    const std::uint64_t high = one.stat().current;
    allot::free(block);
    EXPECT_EQ(one.stat().current, 0u);
    EXPECT_EQ(one.stat().peak, high);
    blocks made;
    ASSERT_TRUE(made.make(one, 50'000, 1));
    EXPECT_EQ(one.stat().peak, high);
    ASSERT_TRUE(made.make(one, 90'000, 1));
    EXPECT_EQ(one.stat().peak, one.stat().current);
}

TEST_F(group_stat, a_failure_counts_at_the_group_whose_max_was_met_and_nowhere_else) {
    const allot::group outer = child("outer", {.max = 1_MiB});
    const allot::group inner = outer.create("inner");
    const std::uint64_t peak = outer.stat().peak;
    for (unsigned i = 1; i <= 5; ++i) {
        errno = 0;
        EXPECT_EQ(inner.malloc(2_MiB), nullptr);
        EXPECT_EQ(errno, ENOMEM);
        EXPECT_EQ(outer.stat().failures, i);
        EXPECT_GE(outer.stat().max_events, i);
    }
    EXPECT_EQ(inner.stat().failures, 0u);
    EXPECT_EQ(inner.stat().max_events, 0u);
    EXPECT_EQ(top.stat().failures, 0u);
    EXPECT_EQ(inner.stat().allocations, 0u) << "a failure hands out no block";
    EXPECT_EQ(inner.stat().current, 0u);
    EXPECT_EQ(inner.stat().peak, 0u) << "what one level refused no level has noted";
    EXPECT_EQ(outer.stat().peak, peak);
}

TEST_F(group_stat, high_events_count_charges_above_high_and_nothing_fails) {
    const allot::group one = child("one", {.high = 100_KiB});
    blocks made;
    ASSERT_TRUE(made.make(one, 80'000, 1));
    EXPECT_EQ(one.stat().high_events, 0u);
    ASSERT_TRUE(made.make(one, 80'000, 3));
    EXPECT_EQ(one.stat().high_events, 3u);
    EXPECT_EQ(one.stat().failures, 0u);
}

TEST_F(group_stat, children_are_counted_while_open_and_the_dead_until_they_are_freed) {
    const allot::group parent = child("parent");
    allot::group first = parent.create("first");
    allot::group second = parent.create("second");
    allot::group deep = second.create("deep");
    EXPECT_EQ(parent.stat().nr_children, 2u) << "not those below them";
    EXPECT_EQ(top.stat().nr_children, 1u);
    second.close();
    EXPECT_EQ(parent.stat().nr_children, 1u);
    EXPECT_EQ(parent.stat().nr_dying, 2u) << "it and the one below";
    EXPECT_EQ(top.stat().nr_dying, 2u);
    allot_quiesce();
    EXPECT_EQ(parent.stat().nr_dying, 2u) << "their handles are held";
    second = {};
    allot_quiesce();
    EXPECT_EQ(parent.stat().nr_dying, 2u) << "the child that is not freed holds its parent";
    deep = {};
    allot_quiesce();
    EXPECT_EQ(parent.stat().nr_dying, 0u);
}

TEST_F(group_stat, reading_while_threads_allocate_never_goes_back) {
    const allot::group one = child("one");
    std::atomic<bool> done{false};
    std::thread reader{[&] {
        std::uint64_t last = 0;
        std::uint64_t peak = 0;
        while (!done) {
            const allot::stat now = one.stat();
            EXPECT_GE(now.allocations, last);
            EXPECT_GE(now.peak, peak);
            last = now.allocations;
            peak = now.peak;
        }
    }};
    constexpr unsigned turns = 6'000 / allot_test::slowdown;
    allot_test::on_threads(2, [&](unsigned) {
        const allot::scope in{one};
        blocks some;
        for (unsigned turn = 0; turn < turns; ++turn)
            some.add(allot::malloc(turn % 500));
    });
    done = true;
    reader.join();
    EXPECT_EQ(allocations(one), 2u * turns);
}

} // namespace
