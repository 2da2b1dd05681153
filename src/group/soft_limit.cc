// SPDX-License-Identifier: MIT
//
// soft_limit: the trees and the order in which groups are asked.
//
// Idea.        See soft_limit.hpp.
// Concurrency. each node's tree under its own lock, which is taken on the executor or with the tree lock held: a fork holds both.
// Lock order.  tree > soft_limit.
#include "group/soft_limit.hpp"

#include "group/mem_cgroup.hpp"
#include "platform/topology.hpp"
#include "slab/metadata.hpp"
#include "sync/test_point.hpp"

namespace allot::memcg {

namespace {

using sync::lock_guard;

struct by_excess {
    bool operator()(const mem_cgroup_per_node& a, const mem_cgroup_per_node& b) const noexcept {
        return a.excess < b.excess;
    }
};

struct node_tree {
    sync::spinlock lock{sync::lock_rank::soft_limit};
    base::tree<mem_cgroup_per_node, &mem_cgroup_per_node::link, by_excess> tree ALLOT_GUARDED_BY(lock);
};
constinit node_tree trees[platform::numa_nodes_max];

counter::byte_count excess_of(const mem_cgroup& group) noexcept {
    // Relaxed: an order of preference; computed anew when the group is asked.
    const counter::byte_count usage = group.counter().usage.load(std::memory_order_relaxed);
    const counter::byte_count high = group.counter().high.load(std::memory_order_relaxed); // relaxed: as above
    return usage > high ? usage - high : 0;
}

constexpr std::size_t info_bytes(unsigned count) noexcept { return sizeof(mem_cgroup_per_node) * count; }
static_assert(info_bytes(platform::numa_nodes_max) <= slab::metadata_max_bytes);

/// Per-node info of the group, made if missing. Null when out of memory. Executor.
mem_cgroup_per_node* info_of(mem_cgroup& group) noexcept {
    // relaxed: only the executor makes it, and frees it.
    mem_cgroup_per_node* info = group.nodes.load(std::memory_order_relaxed);
    if (info != nullptr)
        return info;
    const unsigned count = platform::numa_node_count();
    info = static_cast<mem_cgroup_per_node*>(slab::metadata_alloc(info_bytes(count), nullptr));
    if (info == nullptr)
        return nullptr;
    for (unsigned node = 0; node < count; ++node) {
        new (&info[node]) mem_cgroup_per_node;
        info[node].group = &group;
        info[node].count = count;
    }
    // (1) release: pairs with (2), (3).
    group.nodes.store(info, std::memory_order_release);
    return info;
}

void remove(node_tree& at, mem_cgroup_per_node& info) noexcept ALLOT_REQUIRES(at.lock) {
    if (info.link.linked)
        at.tree.erase(info);
}

void update_node(unsigned node, mem_cgroup_per_node& info) noexcept {
    node_tree& at = trees[node];
    sync::busy_scope busy;
    lock_guard hold(at.lock);
    remove(at, info);
    info.excess = excess_of(*info.group);
    // relaxed: a group that closes from here on is taken out when it is asked, or freed.
    if (info.excess != 0 && info.group->online.load(std::memory_order_relaxed))
        at.tree.insert(info);
}

/// Takes the group with the largest excess of the node out of its tree, with a reference. Null if there is none.
mem_cgroup* take_largest(unsigned node) noexcept {
    node_tree& at = trees[node];
    sync::busy_scope busy;
    lock_guard whole(tree_lock()); // a fork waits for it, so that it finds the tree whole
    lock_guard hold(at.lock);
    while (mem_cgroup_per_node* const largest = at.tree.last()) {
        at.tree.erase(*largest);
        const counter::byte_count now = excess_of(*largest->group);
        if (now == 0)
            continue;
        if (now < largest->excess) {
            // It has shrunk since: it may not be the largest any more.
            largest->excess = now;
            at.tree.insert(*largest);
            if (at.tree.last() != largest)
                continue;
            at.tree.erase(*largest);
        }
        if (tryget(*largest->group)) // the lock keeps its memory: soft_limit_forget comes first
            return largest->group;
    }
    return nullptr;
}

counter::byte_count reclaim_node(unsigned node, counter::byte_count wanted) noexcept {
    constexpr unsigned groups_max = 8; // bounded work for one request
    mem_cgroup* asked[groups_max];
    unsigned count = 0;
    counter::byte_count freed = 0;
    while (freed < wanted && count < groups_max) {
        mem_cgroup* const group = take_largest(node);
        if (group == nullptr)
            break;
        freed += reclaim(*group);
        asked[count++] = group;
    }
    for (unsigned i = 0; i < count; ++i) {
        sync::busy_scope busy;
        lock_guard whole(tree_lock()); // as above
        // (3) acquire: pairs with (1). It was in the tree, so it has info.
        update_node(node, asked[i]->nodes.load(std::memory_order_acquire)[node]);
        put(*asked[i]);
    }
    return freed;
}

} // namespace

void soft_limit_note(counter::account& payer) noexcept {
    for (counter::account* at = &payer; at != nullptr; at = at->parent) {
        auto& group = static_cast<mem_cgroup&>(*at);
        if (excess_of(group) == 0)
            continue;
        const std::uint64_t bit = std::uint64_t{1} << platform::current_numa_node();
        group.noted_nodes.fetch_or(bit, std::memory_order_relaxed); // relaxed: queueing the work orders it
        // relaxed: a hint that saves the reference; the queue decides.
        if (group.soft_limit_work.pending.load(std::memory_order_relaxed) != 0 || !tryget(group))
            continue;
        if (!sync::queue_work(sync::stage::release, group.soft_limit_work))
            put(group);
    }
}

void soft_limit_update(mem_cgroup& group) noexcept {
    std::uint64_t bits = group.noted_nodes.exchange(0, std::memory_order_relaxed); // relaxed: the queue ordered it
    mem_cgroup_per_node* const info = bits != 0 ? info_of(group) : nullptr;
    ALLOT_TEST_POINT("soft_limit:update");
    for (unsigned node = 0; info != nullptr && node < info->count; ++node, bits >>= 1)
        if ((bits & 1) != 0)
            update_node(node, info[node]);
}

counter::byte_count soft_limit_reclaim(counter::byte_count wanted) noexcept {
    const unsigned here = platform::current_numa_node();
    counter::byte_count freed = reclaim_node(here, wanted);
    for (unsigned node = 0; node < platform::numa_node_count() && freed < wanted; ++node)
        if (node != here)
            freed += reclaim_node(node, wanted - freed);
    return freed;
}

void soft_limit_forget(mem_cgroup& group) noexcept {
    mem_cgroup_per_node* const info = group.nodes.exchange(nullptr, std::memory_order_relaxed); // relaxed: executor
    if (info == nullptr)
        return;
    const unsigned count = info->count;
    for (unsigned node = 0; node < count; ++node) {
        sync::busy_scope busy;
        lock_guard hold(trees[node].lock);
        remove(trees[node], info[node]);
    }
    slab::metadata_free(info, info_bytes(count));
}

counter::byte_count soft_limit_excess(mem_cgroup& group, unsigned node) noexcept {
    // (2) acquire: pairs with (1).
    mem_cgroup_per_node* const info = group.nodes.load(std::memory_order_acquire);
    if (info == nullptr || node >= info->count)
        return 0;
    sync::busy_scope busy;
    lock_guard whole(tree_lock());
    lock_guard hold(trees[node].lock);
    return info[node].link.linked ? info[node].excess : 0;
}

} // namespace allot::memcg
