// SPDX-License-Identifier: MIT
//
// Which questions the table `scaling` asks, and what is drawn of the answers.
#include "bench/scaling.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace {

using namespace allot_bench;

TEST(bench_scaling, each_sample_of_each_question_has_a_name_of_its_own) {
    std::set<std::string> prefixes;
    std::size_t curves = 0;
    for (const sweep& one : sweeps())
        for (const sweep::curve& curve : one.curves) {
            prefixes.insert(one.prefix(curve));
            ++curves;
        }
    EXPECT_EQ(prefixes.size(), curves);
}

TEST(bench_scaling, numbers_rise_and_threads_go_beyond_any_small_machine) {
    for (const sweep& one : sweeps()) {
        EXPECT_TRUE(std::is_sorted(one.places.begin(), one.places.end())) << one.question;
        EXPECT_GE(one.places.size(), 5u) << one.question;
    }
    ASSERT_EQ(sweeps()[0].question, "threads");
    EXPECT_EQ(sweeps()[0].places.back(), 64u);
}

TEST(bench_scaling, a_plot_has_a_line_for_each_sample_and_a_point_for_each_number_that_was_measured) {
    const sweep& threads = sweeps()[0];
    const answers all{{"threads_pair_1", {3, 5, 4}}, {"threads_pair_64", {6}}, {"threads_remote_2", {80}}};
    const plot picture = picture_of(threads, all);
    EXPECT_EQ(picture.name, "scaling_threads");
    EXPECT_TRUE(picture.counts);
    ASSERT_EQ(picture.lines.size(), threads.curves.size());
    ASSERT_EQ(picture.lines[0].points.size(), 2u);
    EXPECT_EQ(picture.lines[0].points[0].y.median, 4);
    EXPECT_EQ(picture.lines[0].points[1].x, 64);
    const auto has_points = [](const plot_line& one) { return !one.points.empty(); };
    EXPECT_EQ(std::count_if(picture.lines.begin(), picture.lines.end(), has_points), 2);
}

TEST(bench_scaling, sizes_are_written_as_bytes_and_counts_as_counts) {
    for (const sweep& one : sweeps())
        EXPECT_EQ(picture_of(one, {}).counts, one.question != "size") << one.question;
}

} // namespace
