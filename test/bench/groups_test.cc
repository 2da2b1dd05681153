// SPDX-License-Identifier: MIT
//
// What the workers that ask allot alone take for a cold pair, a hot one, and a depth.
#include "bench/groups.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot_bench;

allot_stat figures_of(allot_group* group) {
    allot_stat figures{};
    allot_group_stat(group, &figures);
    return figures;
}

void remove(allot_group* group) {
    EXPECT_EQ(allot_group_close(group, nullptr), 0);
    allot_group_put(group);
    allot_quiesce();
}

/// Bytes of the group's own slabs while it has one block of that size: none in a cold group.
std::uint64_t own_slabs_with_a_block(allot_group* group, std::size_t bytes) {
    const group_scope here{group};
    void* const block = touch(bytes);
    const std::uint64_t own = figures_of(group).slab;
    allot_free(block);
    return own;
}

TEST(bench_groups, a_piece_leaves_a_group_cold_and_warming_gives_it_slabs) {
    for (const std::size_t bytes : {16u, 64u, 200u, 256u, 1024u, 4096u, 32'768u}) {
        allot_group* const group = make_group(allot_root(), "bench-piece");
        const cold_piece piece = cold_piece_of(bytes);
        EXPECT_GT(piece_ns({group}, bytes), 0) << bytes;
        EXPECT_EQ(figures_of(group).allocations, piece.touched + piece.timed) << bytes;
        allot_quiesce(); // slabs that were asked for would be there
        EXPECT_EQ(own_slabs_with_a_block(group, bytes), 0u) << bytes;
        warm(group, bytes);
        EXPECT_GE(own_slabs_with_a_block(group, bytes), bytes);
        remove(group);
    }
}

TEST(bench_groups, a_chain_is_as_deep_as_it_says) {
    EXPECT_EQ(make_chain("bench-chain", 0), allot_root());
    allot_group* const third = make_chain("bench-chain", 3);
    char path[64];
    allot_group_path(third, path, sizeof path);
    EXPECT_STREQ(path, "/bench-chain0/bench-chain1/bench-chain2");
    allot_group_put(third);
    allot_group* top = nullptr;
    ASSERT_EQ(allot_group_find("/bench-chain0", &top), 0);
    remove(top);
    EXPECT_EQ(figures_of(allot_root()).nr_dying, 0u);
}

TEST(bench_groups, pairs_and_batches_leave_nothing_and_are_charged_to_the_scope) {
    allot_group* const group = make_group(allot_root(), "bench-pairs");
    {
        const group_scope here{group};
        pairs(100, 10);
        std::vector<void*> blocks(20);
        batch(100, blocks);
    }
    EXPECT_EQ(figures_of(group).allocations, 30u);
    EXPECT_EQ(figures_of(group).current, 0u);
    remove(group);
}

} // namespace
