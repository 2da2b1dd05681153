// SPDX-License-Identifier: MIT
//
// What workers say, and what becomes of it.
#include "bench/answers.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot_bench;

TEST(bench_answers, samples_of_one_name_stand_behind_each_other_behind_a_prefix) {
    answers all;
    for (const char* const said : {"a,1\nb,2.5\n", "no sample\na,3\n"})
        EXPECT_EQ(ask("/usr/bin/printf", {said}, all, "own_"), "");
    EXPECT_EQ(samples_of(all, "own_a"), (std::vector<double>{1, 3}));
    EXPECT_EQ(samples_of(all, "own_b"), (std::vector<double>{2.5}));
    EXPECT_TRUE(samples_of(all, "a").empty());
}

TEST(bench_answers, a_worker_that_fails_is_named_with_its_question) {
    answers all;
    const std::string asked = ask("/usr/bin/test", {"x", "=", "y"}, all);
    EXPECT_EQ(asked.substr(0, 3), "x: ") << asked;
    const std::string unasked = ask("/usr/bin/false", {}, all);
    EXPECT_EQ(unasked.substr(0, 7), "false: ") << unasked;
}

TEST(bench_answers, a_ratio_is_formed_round_by_round_and_of_nothing_it_is_zero) {
    const ratio found = ratio_between({2, 9, 8}, {1, 3, 2});
    EXPECT_EQ(found.median, 3);
    EXPECT_EQ(found.least, 2);
    EXPECT_EQ(found.most, 4);
    EXPECT_EQ(ratio_between({}, {1}).median, 0);
}

TEST(bench_answers, a_line_has_a_point_where_there_are_samples_in_the_unit_of_the_plot) {
    const answers all{{"ns_1", {1000, 3000, 2000}}, {"ns_8", {8000}}};
    const plot_line over = line_over(all, "time", "ns_", {1, 4, 8}, 1e3, true);
    ASSERT_EQ(over.points.size(), 2u);
    EXPECT_EQ(over.points[0].x, 1);
    EXPECT_EQ(over.points[0].y.median, 2);
    EXPECT_EQ(over.points[0].y.most, 3);
    EXPECT_EQ(over.points[1].x, 8);
    const plot_line through = line_through(all, "time", {"ns_4", "ns_8"}, 1, false);
    ASSERT_EQ(through.points.size(), 1u);
    EXPECT_EQ(through.points[0].x, 1);
    EXPECT_EQ(through.points[0].y.median, 8000);
}

} // namespace
