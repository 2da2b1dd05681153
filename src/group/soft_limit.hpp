// SPDX-License-Identifier: MIT
//
// soft_limit: which group is asked first when the machine has no memory: per NUMA node, the one furthest above its `high`.
//
// Idea.        A group that is charged above its `high` is noted with the node it was charged on. Deferred work puts it into that
//              node's tree, ordered by excess (usage - high). Excess falls without notice, so who takes the largest out computes
//              it anew and puts it back where it belongs. A group that was never above its `high` has no per-node info.
// Invariants.  I1  A group's info is on no tree when its memory goes: free_group removes it first.
//              I2  A pending update holds a reference on its group.
// Concurrency. note: any thread, Context any. The rest: Context task, on a busy thread.
// Lock order.  soft_limit, innermost but for what allocates; one node's at a time.
// Checked by.  test/group/soft_limit_test.cc
// Source.      Linux mm/memcontrol-v1.c (mem_cgroup_tree_per_node); Costa 2012, whose report was about this lock.
#pragma once

#include "base/tree.hpp"
#include "counter/account.hpp"

namespace allot::memcg {

struct mem_cgroup;

/// What a group has for each node.
struct mem_cgroup_per_node {
    base::tree_node link;           // guarded by the node's lock
    counter::byte_count excess = 0; // the key; constant while linked; guarded by the node's lock
    mem_cgroup* group = nullptr;    // constant
    unsigned count = 0;             // of nodes that the group has info for; constant
};

/// `payer` or a group above it may be above its `high` now: has the tree brought up to date. Context: any, inside an RCU section.
void soft_limit_note(counter::account& payer) noexcept;
/// The work that soft_limit_note queues. Executor.
void soft_limit_update(mem_cgroup& group) noexcept;
/// Asks groups, the largest excess of the calling thread's node first, then those of the other nodes, to give back what nobody uses,
/// until `wanted` bytes have come or nobody is left. Returns bytes uncharged. Context: task, no lock held.
counter::byte_count soft_limit_reclaim(counter::byte_count wanted) noexcept;
/// Takes the group out of all trees and frees its per-node info. Executor, before the group's memory goes.
void soft_limit_forget(mem_cgroup& group) noexcept;
/// The excess with which the group stands in the node's tree; 0 if it does not. Context: task.
counter::byte_count soft_limit_excess(mem_cgroup& group, unsigned node) noexcept;

} // namespace allot::memcg
