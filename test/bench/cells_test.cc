// SPDX-License-Identifier: MIT
//
// Which cells the benchmark measures, and in which order.
#include "bench/cells.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace {

using namespace allot_bench;

bool has(const std::vector<cell>& cells, const cell& wanted) {
    return std::find(cells.begin(), cells.end(), wanted) != cells.end();
}

TEST(bench_cells, who_works_alone_meets_small_and_large_blocks_on_each_number_of_threads) {
    const std::vector<cell> cells = make_cells({"churn"}, {}, {1, 2});
    EXPECT_EQ(cells.size(), 18u);
    EXPECT_TRUE(has(cells, {"churn", 1, 16}));
    EXPECT_TRUE(has(cells, {"churn", 2, 1'048'576}));
}

TEST(bench_cells, who_works_with_others_has_threads_of_its_own_and_small_blocks) {
    const std::vector<cell> cells = make_cells({"remote", "ring"}, {}, {1});
    ASSERT_EQ(cells.size(), 8u);
    EXPECT_EQ(cells.front(), (cell{"remote", 2, 16}));
    EXPECT_EQ(cells.back(), (cell{"ring", 4, small_most}));
}

TEST(bench_cells, sizes_that_were_asked_for_hold_for_every_work) {
    for (const std::string& work : names_of_works()) {
        const std::vector<cell> cells = make_cells({work}, {48, 8192}, {1});
        ASSERT_EQ(cells.size(), 2u) << work;
        EXPECT_EQ(cells[0].size, 48u) << work;
        EXPECT_EQ(cells[1].size, 8192u) << work;
    }
}

TEST(bench_cells, a_worker_begins_with_one_thread_and_with_small_blocks) {
    const std::vector<cell> cells = in_working_order(make_cells({"ring", "pair", "lifo"}, {}, {2, 1}));
    ASSERT_EQ(cells.size(), 40u);
    EXPECT_EQ(cells[0], (cell{"pair", 1, 16}));
    EXPECT_EQ(cells[4], (cell{"lifo", 1, 16}));
    EXPECT_EQ(cells[8], (cell{"pair", 1, 4096}));
    EXPECT_EQ(cells[17].threads, 1u);
    EXPECT_EQ(cells[18], (cell{"pair", 2, 16}));
    EXPECT_EQ(cells[36], (cell{"ring", 4, 16}));
}

} // namespace
