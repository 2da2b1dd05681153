// SPDX-License-Identifier: MIT
//
// What the benchmark says about its samples, and what it refuses to say.
#include "../../bench/results.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot_bench;

const cell some_cell{"pair", 1, 16};

samples rounds(std::vector<double> ns) { return {{some_cell, std::move(ns)}}; }

TEST(bench_results, the_median_is_the_middle_and_the_spread_leaves_nothing_out) {
    const figure odd = sum_up({9, 1, 5});
    EXPECT_EQ(odd.median, 5);
    EXPECT_EQ(odd.spread(), 8);
    EXPECT_EQ(odd.spread_percent(), 160);
    EXPECT_EQ(sum_up({4, 1, 2, 9}).median, 3);
    EXPECT_EQ(sum_up({7}).spread(), 0);
}

TEST(bench_results, ratios_are_formed_within_a_round) {
    // The machine was half as fast in the second round: both took twice as long, and the ratio does not know.
    const auto found = ratio_of(rounds({2, 4, 2}), rounds({4, 8, 4}), some_cell);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->median, 0.5);
    EXPECT_EQ(found->spread(), 0);
    EXPECT_TRUE(found->may_be_printed());
}

TEST(bench_results, a_ratio_smaller_than_its_spread_is_refused) {
    const auto found = ratio_of(rounds({1, 1, 3}), rounds({1, 1, 1}), some_cell);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->median, 1);
    EXPECT_EQ(found->spread(), 2);
    EXPECT_FALSE(found->may_be_printed());
}

TEST(bench_results, a_cell_that_one_side_did_not_measure_has_no_ratio) {
    EXPECT_FALSE(ratio_of(rounds({1}), {}, some_cell));
    EXPECT_FALSE(ratio_of({}, rounds({1}), some_cell));
}

TEST(bench_results, the_mean_is_geometric_and_counts_what_it_leaves_out) {
    geometric_mean mean;
    EXPECT_FALSE(mean.value());
    mean.add(ratio{{0.5, 0.5, 0.5}});
    mean.add(ratio{{2.0, 2.0, 2.0}});
    mean.add(ratio{{9.0, 0.0, 99.0}}); // refused
    mean.add(std::nullopt);
    ASSERT_TRUE(mean.value());
    EXPECT_DOUBLE_EQ(*mean.value(), 1.0);
    EXPECT_EQ(mean.count(), 2u);
    EXPECT_EQ(mean.left_out(), 1u);
}

} // namespace
