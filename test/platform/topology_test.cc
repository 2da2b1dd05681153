// SPDX-License-Identifier: MIT
//
// topology_test: there is a node, the thread is on it, and tests may say otherwise.
#include "platform/topology.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot::platform;

TEST(topology, has_at_least_one_node_and_the_thread_is_on_one_of_them) {
    EXPECT_GE(numa_node_count(), 1u);
    EXPECT_LE(numa_node_count(), numa_nodes_max);
    EXPECT_LT(current_numa_node(), numa_node_count());
}

TEST(topology, an_injected_one_counts_until_it_is_taken_back) {
    const unsigned before = numa_node_count();
    inject_topology(4, []() noexcept -> unsigned { return 3; });
    EXPECT_EQ(numa_node_count(), 4u);
    EXPECT_EQ(current_numa_node(), 3u);
    inject_topology(2, []() noexcept -> unsigned { return 9; });
    EXPECT_EQ(current_numa_node(), 0u) << "a number that there is no node for";
    inject_topology(0, nullptr);
    EXPECT_EQ(numa_node_count(), before);
}

} // namespace
