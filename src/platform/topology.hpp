// SPDX-License-Identifier: MIT
//
// topology: the NUMA nodes of the machine, and the one that the calling thread runs on.
//
// Idea.        Counted once from what the kernel lists as possible. A test may put another topology in its place, so that what
//              is kept per node is tested on a machine with one.
// Concurrency. any thread, Context any. The injection: while nobody asks.
// Checked by.  test/platform/topology_test.cc
// Source.      getcpu(2), /sys/devices/system/node/possible.
#pragma once

#include "base/compiler.hpp"

namespace allot::platform {

inline constexpr unsigned numa_nodes_max = 64;

/// Count of nodes that the machine may have, at least 1.
[[nodiscard]] unsigned numa_node_count() noexcept;
/// The node that the calling thread runs on now, below numa_node_count().
[[nodiscard]] unsigned current_numa_node() noexcept;

/// Puts `count` nodes, and `current()` for the calling thread's, in place of the machine's. 0 ends it.
void inject_topology(unsigned count, unsigned (*current)() noexcept) noexcept;

} // namespace allot::platform
