// SPDX-License-Identifier: MIT
//
// What the benchmark learns of the programs that it starts.
#include "../../bench/child.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot_bench;

constexpr double patience_s = 60;

outcome shell(const char* script, std::vector<std::string> variables = {}) {
    return run(command{"/bin/sh", {"-c", script}, "", std::move(variables)}, patience_s);
}

TEST(bench_child, output_time_and_memory_of_a_program_are_told) {
    const outcome ended = shell("echo one; echo two");
    EXPECT_EQ(ended.trouble, "");
    EXPECT_EQ(ended.output, "one\ntwo\n");
    EXPECT_GT(ended.wall_s, 0);
    EXPECT_GT(ended.most_resident_bytes, 0);
}

TEST(bench_child, processor_time_of_children_that_it_waited_for_counts) {
    const outcome ended = shell("sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; :");
    EXPECT_EQ(ended.trouble, "");
    EXPECT_GT(ended.cpu_s, 0);
}

TEST(bench_child, variables_are_set_for_it_alone) {
    EXPECT_EQ(shell("echo $ALLOT_BENCH_WORD", {"ALLOT_BENCH_WORD=set"}).output, "set\n");
    EXPECT_EQ(shell("echo $ALLOT_BENCH_WORD").output, "\n");
}

TEST(bench_child, a_failure_is_told_with_the_last_line_of_stderr) {
    EXPECT_EQ(shell("echo why >&2; exit 3").trouble, "ended with status 3: why");
    EXPECT_NE(run(command{"/nonexistent", {}, "", {}}, patience_s).trouble, "");
}

TEST(bench_child, a_program_that_is_asked_to_end_ends) {
    child server{{"/bin/sh", {"-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"}, "", {}}};
    server.ask_to_end();
    const outcome ended = server.finish(patience_s);
    // It may have been asked before its trap was set.
    EXPECT_TRUE(ended.trouble.empty() ? ended.output == "up\nbye\n" : ended.trouble.starts_with("killed by"));
}

} // namespace
