// SPDX-License-Identifier: MIT
//
// What gnuplot is told.
#include "bench/plot.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot_bench;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(bench_plot, a_title_becomes_the_name_of_a_file) {
    EXPECT_EQ(plot_name("pair, 1 thread, static"), "pair_1_thread_static");
    EXPECT_EQ(plot_name("../Ring: 4"), "ring_4");
}

TEST(bench_plot, sizes_are_written_for_people) {
    EXPECT_EQ(short_bytes(16), "16");
    EXPECT_EQ(short_bytes(1024), "1 KiB");
    EXPECT_EQ(short_bytes(262'144), "256 KiB");
    EXPECT_EQ(short_bytes(1'048'576), "1 MiB");
}

TEST(bench_plot, every_line_carries_its_medians_and_spreads) {
    const plot what{
        "t", "title", "x", "ns", {{"allot", {{16, {5, 4, 7}}, {1024, {6, 6, 6}}}, true}, {"peer", {{16, {9, 8, 9}}}}},
        {}};
    const std::string script = plot_script(what);
    EXPECT_TRUE(has(script, "$line0 << END\n16 5 4 7\n1024 6 6 6\nEND\n")) << script;
    EXPECT_TRUE(has(script, "$line1 << END\n16 9 8 9\nEND\n")) << script;
    EXPECT_TRUE(has(script, "'16' 16, '1 KiB' 1024")) << script;
    EXPECT_TRUE(has(script, "set output 't.svg'")) << script;
}

TEST(bench_plot, counts_are_no_sizes) {
    plot what{"t", "", "", "", {{"a", {{1024, {1, 1, 1}}, {1'000'000, {2, 2, 2}}}}}, {}};
    what.counts = true;
    const std::string script = plot_script(what);
    EXPECT_TRUE(has(script, "'1024' 1024, '1000000' 1000000)")) << script;
}

TEST(bench_plot, who_was_not_measured_has_no_line_and_nobody_no_plot) {
    const std::string script = plot_script({"t", "", "", "", {{"absent", {}}, {"peer", {{16, {9, 8, 9}}}}}, {}});
    EXPECT_FALSE(has(script, "absent")) << script;
    EXPECT_FALSE(has(script, "$line1")) << script;
    EXPECT_EQ(plot_script({"t", "", "", "", {{"absent", {}}}, {}}), "");
}

TEST(bench_plot, a_quote_in_a_name_does_not_end_the_string) {
    const std::string script = plot_script({"t", "", "", "", {{"o'clock", {{16, {9, 8, 9}}}}}, {}});
    EXPECT_TRUE(has(script, "title 'o''clock'")) << script;
}

TEST(bench_plot, names_stand_on_the_axis_at_whole_numbers) {
    const std::string script =
        plot_script({"t", "", "", "", {{"a", {{0, {1, 1, 1}}, {1, {2, 2, 2}}}}}, {"first", "second"}});
    EXPECT_TRUE(has(script, "set xtics ('first' 0, 'second' 1)")) << script;
    EXPECT_TRUE(has(script, "unset logscale x")) << script;
}

} // namespace
