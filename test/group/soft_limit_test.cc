// SPDX-License-Identifier: MIT
//
// soft_limit_test: groups above their `high` are in the trees of the nodes they were charged on, the largest excess is asked first,
// and nothing stays in a tree when it is freed.
#include "support/core.hpp"
#include "support/test_points.hpp"

#include "group/soft_limit.hpp"
#include "platform/topology.hpp"

namespace {

using namespace allot;
using namespace allot::literals;
using allot_test::blocks;
using allot_test::inside;

std::atomic<unsigned> node_now{0};

class soft_limit : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        node_now = 0;
        platform::inject_topology(3, []() noexcept -> unsigned { return node_now; });
    }
    void TearDown() override {
        core_test::TearDown();
        platform::inject_topology(0, nullptr);
    }
    static std::uint64_t excess(const allot::group& group, unsigned node) {
        return memcg::soft_limit_excess(inside(group), node);
    }
};

TEST_F(soft_limit, a_group_stands_in_the_trees_of_the_nodes_where_it_was_charged_above_its_high) {
    const allot::group group = child("a", {.high = 1_MiB});
    blocks made;
    ASSERT_TRUE(made.make(group, 100'000, 5));
    quiesce();
    EXPECT_EQ(excess(group, 0), 0u) << "below its high";
    EXPECT_EQ(inside(group).nodes.load(), nullptr) << "and has no info";
    node_now = 2;
    ASSERT_TRUE(made.make(group, 1'000'000, 1));
    quiesce();
    EXPECT_EQ(excess(group, 0), 0u);
    EXPECT_EQ(excess(group, 2), group.stat().current - 1_MiB);
    node_now = 1;
    ASSERT_TRUE(made.make(group, 1'000'000, 1));
    quiesce();
    EXPECT_GT(excess(group, 1), excess(group, 2)) << "the first entry is brought up to date when it is asked";
}

TEST_F(soft_limit, a_charge_below_counts_for_the_groups_above) {
    const allot::group above = child("above", {.high = 1_MiB});
    const allot::group below = above.create("below");
    blocks made;
    ASSERT_TRUE(made.make(below, 2'000'000, 1));
    quiesce();
    EXPECT_EQ(excess(below, 0), 0u) << "it has no high";
    EXPECT_GT(excess(above, 0), 900'000u);
}

TEST_F(soft_limit, asks_the_one_furthest_above_its_high_first_and_only_as_many_as_needed) {
    const allot::group small = child("small", {.high = 64_KiB});
    const allot::group large = child("large", {.high = 64_KiB});
    blocks of_small;
    blocks of_large;
    for (const allot::group* group : {&small, &large}) {
        allot_test::heat(*group, 1024);
        allot_test::heat(*group, 64);
    }
    ASSERT_TRUE(of_small.make(small, 1024, 1000));
    ASSERT_TRUE(of_large.make(large, 1024, 4000));
    quiesce();
    for (const allot::group* group : {&small, &large}) {
        blocks slack; // leaves the thread an empty slab, which can be given back
        ASSERT_TRUE(slack.make(*group, 64, 1));
    }
    quiesce();
    const std::uint64_t small_before = small.stat().current;
    const std::uint64_t entry_before = excess(small, 0);
    of_small.thin(2); // its entry is out of date now, and would be brought up to date if it were asked
    ASSERT_GT(excess(large, 0), entry_before);
    EXPECT_GT(memcg::soft_limit_reclaim(1), 0u);
    EXPECT_EQ(excess(large, 0), large.stat().current - 64_KiB);
    EXPECT_EQ(excess(small, 0), entry_before) << "the second is not asked when the first had enough";
    EXPECT_GT(memcg::soft_limit_reclaim(1_GiB), 0u);
    EXPECT_LT(small.stat().current, small_before);
    EXPECT_EQ(excess(small, 0), small.stat().current - 64_KiB);
}

TEST_F(soft_limit, who_has_fallen_below_its_high_meanwhile_is_not_asked) {
    const allot::group fallen = child("fallen", {.high = 1_MiB});
    blocks made;
    ASSERT_TRUE(made.make(fallen, 3'000'000, 1));
    quiesce();
    ASSERT_GT(excess(fallen, 0), 0u);
    made.clear();
    memcg::soft_limit_reclaim(1_GiB);
    EXPECT_EQ(excess(fallen, 0), 0u) << "it left the tree";
}

TEST_F(soft_limit, the_order_follows_the_excess_of_now) {
    const allot::group first = child("first", {.high = 1_MiB});
    const allot::group second = child("second", {.high = 1_MiB});
    blocks of_first;
    blocks of_second;
    ASSERT_TRUE(of_first.make(first, 1'000'000, 9));
    ASSERT_TRUE(of_second.make(second, 1'000'000, 4));
    quiesce();
    of_first.clear();
    ASSERT_TRUE(of_first.make(first, 1'000'000, 2)); // noted anew
    quiesce();
    EXPECT_LT(excess(first, 0), excess(second, 0));
    memcg::soft_limit_reclaim(1_GiB); // nothing to give back; both are put back with their excess of now
    EXPECT_EQ(excess(first, 0), first.stat().current - 1_MiB);
    EXPECT_EQ(excess(second, 0), second.stat().current - 1_MiB);
}

TEST_F(soft_limit, a_closed_group_is_in_no_tree_when_it_is_freed) {
    for (int turn = 0; turn < 20; ++turn) {
        allot::group group = child("gone", {.high = 64_KiB});
        blocks made;
        node_now = static_cast<unsigned>(turn % 3);
        ASSERT_TRUE(made.make(group, 200'000, 2));
        if (turn % 2 == 0)
            quiesce();
        group.close();
        group = {};
        quiesce();
        EXPECT_EQ(memcg::soft_limit_reclaim(1_GiB), 0u) << "a freed group in a tree would be touched here";
    }
    EXPECT_EQ(top.stat().nr_dying, 0u);
}

TEST_F(soft_limit, an_update_that_runs_after_the_close_does_not_put_the_group_back) {
    SKIP_WITHOUT_TEST_POINTS();
    allot::group group = child("gone", {.high = 64_KiB});
    blocks made;
    allot_test::parked at{"soft_limit:update"};
    std::thread runner([&] { // without the library's thread the allocation itself runs the update
        made.make(group, 200'000, 2);
        quiesce();
    });
    ASSERT_TRUE(at.arrived());
    group.close();
    at.let_go();
    runner.join();
    EXPECT_EQ(excess(group, 0), 0u);
    quiesce();
}

TEST_F(soft_limit, charges_from_many_threads_and_closes_leave_nothing_behind) {
    allot_test::on_threads(4, [&](unsigned i) {
        for (int turn = 0; turn < 100 / static_cast<int>(allot_test::slowdown); ++turn) {
            const std::string name = "g" + std::to_string(i);
            const allot::group group = top.create(name.c_str(), {.high = 64_KiB});
            blocks made;
            node_now = static_cast<unsigned>(turn) % 3;
            ASSERT_TRUE(made.make(group, 100'000, 3));
            if (turn % 4 == 0)
                memcg::soft_limit_reclaim(1_MiB);
            group.close();
        }
    });
    quiesce();
    EXPECT_EQ(memcg::soft_limit_reclaim(1_GiB), 0u);
    EXPECT_EQ(top.stat().nr_dying, 0u);
}

} // namespace
