// SPDX-License-Identifier: MIT
//
// When a bar holds, when it is missed, and when the noise forbids to tell.
#include "bench/bars.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot_bench;

const cell pair_16{"pair", 1, 16};
const cell pair_64{"pair", 1, 64};
const cell lifo_16{"lifo", 1, 16};
const cell large_pair{"pair", 1, 65536};
const cell ring_16{"ring", 4, 16};

variant one(const char* name, role is, samples measured, linkage how = linkage::linked) {
    variant made;
    made.name = name;
    made.how = how;
    made.is = is;
    made.measured = std::move(measured);
    return made;
}

/// The verdict whose name begins with `name`; fails the test if there is none.
verdict find(const std::vector<verdict>& all, const std::string& name) {
    for (const verdict& candidate : all)
        if (candidate.what.starts_with(name))
            return candidate;
    ADD_FAILURE() << "no verdict " << name;
    return {};
}

ratio steady_ratio(double value) { return {{value, value, value}}; }
ratio noisy_ratio(double value) { return {{value, 0.0, 3 * value}}; }

TEST(bench_bars, each_cell_is_compared_with_the_peer_that_is_fastest_there) {
    const std::vector<variant> all{one("allot", role::ours, {{pair_16, {6}}, {pair_64, {6}}}),
                                   one("good_at_16", role::peer, {{pair_16, {3}}, {pair_64, {12}}}),
                                   one("good_at_64", role::peer, {{pair_16, {12}}, {pair_64, {3}}})};
    const comparison found = compare(sides(all).at(0), nullptr, {pair_16, pair_64});
    EXPECT_DOUBLE_EQ(found.mean.value().value(), 2.0);
    EXPECT_EQ(compare(sides(all).at(0), &all[1], {pair_16, pair_64}).where, pair_16);
}

TEST(bench_bars, allot_without_groups_and_the_floor_are_no_peers) {
    const std::vector<variant> all{
        one("allot", role::ours, {{pair_16, {4}}}), one("allot-root", role::root, {{pair_16, {1}}}),
        one("floor", role::floor, {{pair_16, {1}}}), one("peer", role::peer, {{pair_16, {8}}})};
    const side here = sides(all).at(0);
    ASSERT_NE(fastest_peer(here, pair_16), nullptr);
    EXPECT_EQ(fastest_peer(here, pair_16)->name, "peer");
    EXPECT_EQ(here.root->name, "allot-root");
    EXPECT_EQ(here.floor->name, "floor");
}

TEST(bench_bars, linkages_are_never_mixed) {
    const std::vector<variant> all{one("allot", role::ours, {{pair_16, {4}}}),
                                   one("peer", role::peer, {{pair_16, {8}}}, linkage::preloaded)};
    for (const side& here : sides(all))
        EXPECT_EQ(compare(here, nullptr, {pair_16}).mean.count(), 0u);
    EXPECT_TRUE(judge_speed(all, {pair_16}).empty());
}

TEST(bench_bars, a_mean_holds_up_to_its_bar_and_is_missed_above_it) {
    comparison found;
    found.add(steady_ratio(0.5), pair_16, nullptr);
    found.add(steady_ratio(2.0), pair_64, nullptr);
    EXPECT_EQ(judge_mean(1, "", found, 1.0).stands, standing::holds);
    EXPECT_EQ(judge_mean(1, "", found, 0.99).stands, standing::missed);
    EXPECT_EQ(judge_worst(1, "", found, 2.0).stands, standing::holds);
    EXPECT_EQ(judge_worst(1, "", found, 1.15).stands, standing::missed);
    EXPECT_NE(judge_worst(1, "", found, 1.15).note.find("64 B"), std::string::npos);
}

TEST(bench_bars, a_mean_without_more_than_a_quarter_of_its_cells_says_nothing) {
    comparison found;
    for (int cells = 0; cells < 3; ++cells)
        found.add(steady_ratio(0.5), pair_16, nullptr);
    found.add(noisy_ratio(9), pair_64, nullptr);
    EXPECT_EQ(judge_mean(1, "", found, 1.0).stands, standing::holds);
    found.add(noisy_ratio(9), pair_64, nullptr);
    EXPECT_EQ(judge_mean(1, "", found, 1.0).stands, standing::noisy);
    EXPECT_EQ(judge_worst(1, "", found, 1.0).stands, standing::noisy);
    found.add(steady_ratio(1.2), lifo_16, nullptr);
    found.add(noisy_ratio(9), pair_64, nullptr);
    EXPECT_EQ(judge_worst(1, "", found, 1.15).stands, standing::missed) << "a cell that is not noise is a miss";
}

TEST(bench_bars, a_number_that_is_smaller_than_its_spread_is_noise) {
    EXPECT_EQ(judge(8, "", steady_ratio(1.9), 2, "ns").stands, standing::holds);
    EXPECT_EQ(judge(8, "", steady_ratio(2.1), 2, "ns").stands, standing::missed);
    EXPECT_EQ(judge(8, "", noisy_ratio(1.9), 2, "ns").stands, standing::noisy);
}

TEST(bench_bars, each_row_takes_its_own_cells) {
    const std::vector<cell> cells{pair_16, lifo_16, large_pair, ring_16};
    const samples ours{{pair_16, {2}}, {lifo_16, {3}}, {large_pair, {5}}, {ring_16, {7}}};
    const samples ones{{pair_16, {1}}, {lifo_16, {1}}, {large_pair, {1}}, {ring_16, {1}}};
    const std::vector<variant> all{one("allot", role::ours, ours), one("peer", role::peer, ones),
                                   one("allot-root", role::root, ones),
                                   one("floor", role::floor, {{pair_16, {1}}, {lifo_16, {2}}})};
    const std::vector<verdict> found = judge_speed(all, cells);
    EXPECT_DOUBLE_EQ(find(found, "pair, small").measured.value(), 2);
    EXPECT_DOUBLE_EQ(find(found, "batches and churn").measured.value(), 3);
    EXPECT_DOUBLE_EQ(find(found, "batches, small / floor").measured.value(), 1.5);
    EXPECT_NEAR(find(found, "rows 1 and 2 / closest").measured.value(), 2.4495, 1e-4);
    EXPECT_DOUBLE_EQ(find(found, "large").measured.value(), 5);
    EXPECT_DOUBLE_EQ(find(found, "remote").measured.value(), 7);
    EXPECT_NEAR(find(found, "rows 1 and 2 / without").measured.value(), 2.4495, 1e-4);
    EXPECT_EQ(found.front().row, 1u);
    EXPECT_EQ(found.back().row, 7u);
}

TEST(bench_bars, the_best_single_peer_is_the_one_that_allot_is_slowest_against) {
    const std::vector<variant> all{one("allot", role::ours, {{large_pair, {4}}}),
                                   one("slow", role::peer, {{large_pair, {40}}}),
                                   one("best", role::peer, {{large_pair, {5}}})};
    const verdict found = find(judge_speed(all, {large_pair}), "large");
    EXPECT_EQ(found.note, "best");
    EXPECT_DOUBLE_EQ(found.measured.value(), 0.8);
    EXPECT_EQ(found.stands, standing::holds);
}

} // namespace
