// SPDX-License-Identifier: MIT
//
// mem_cgroup: a group: a place in the tree, an account, the caches and owners that are charged to it.
//
// Idea.        A group is an account (counter/) with slab caches (slab/) in a tree. Closing it takes it out of the tree at
//              once; the rest is deferred: its caches and owners go to the parent, its heaps are dropped, and when the last
//              reference is put it is freed after a grace period, its parent's reference last.
//
//              create -> online --close--> dying --offline work--> offline --last put--> released --grace period--> freed
//
// Invariants.  I1  refs = 1 while online or dying, + 1 per handle, per thread heap, per child that is not freed, per pending
//                  creation or soft-limit update. It never goes from 0 to 1.
//                  Atomic at first, per slot once the group is hot, atomic again from the offline work on (percpu_ref.hpp).
//              I2  An online group's ancestors are online.
//              I3  The parent pointer is valid until the group is freed; the parent's reference is put as the last step.
//              I4  nr_dying of a group = closed descendants that are not freed.
// Concurrency. tree fields: tree lock. refs and counters: any thread, Context any.
// Lock order.  executor > tree > caches > slot.
// Checked by.  test/group/
// Source.      Linux mm/memcontrol.c; Costa 2012; docs/design.md "Life of a group".
#pragma once

#include "allot/allot.h"
#include "group/soft_limit.hpp"
#include "slab/alloc.hpp"
#include "slab/obj_cgroup.hpp"
#include "sync/mutex.hpp"
#include "sync/percpu_ref.hpp"

namespace allot::memcg {

enum class group_state : std::uint8_t {
    online,   ///< in the tree, takes charges
    dying,    ///< closed; its name is free; the offline work is queued
    offline,  ///< everything it had belongs to its parent
    released, ///< the last reference is gone; a grace period is under way
};

/// A long-lived object of a front end (a memory_resource). Word 0 is the front end's; never unmapped.
struct front_place {
    void* front_word = nullptr;
    std::atomic<slab::cache_owner*> owner{nullptr};
    void* more_front_words[2] = {};
    base::list_node link; // in the list of the group that it belongs to; guarded by the tree lock
};

struct mem_cgroup : slab::cache_owner {
    sync::percpu_ref refs; // I1
    std::atomic<std::uint32_t> nr_dying{0};
    std::uint32_t depth = 0;       // constant; 0 for the root
    std::uint32_t nr_children = 0; // guarded by the tree lock, as all below
    std::atomic<group_state> state{group_state::online};
    bool deactivated = false;            // what pointed to it points to the parent; executor only, as all below
    bool leaving = false;                // its grace period is over; its heaps are to be dropped
    bool reparented = false;             // its own share was moved to the parent
    std::atomic<bool> discarded{false};  // its blocks went with it; written under the tree lock
    sync::work* going = nullptr;         // unpublished children, by their release works
    mem_cgroup* next_of_crowd = nullptr; // groups that go through a step of their end together
    front_place* place = nullptr;
    mem_cgroup* hash_next = nullptr;
    base::list_node sibling; // in parent->children while online, then in parent->dying
    base::list<mem_cgroup, &mem_cgroup::sibling> children;
    base::list<mem_cgroup, &mem_cgroup::sibling> dying;
    base::list<slab::kmem_cache, &slab::kmem_cache::payer_link> own_caches;
    base::list<slab::obj_cgroup, &slab::obj_cgroup::link> owners;
    base::list<front_place, &front_place::link> places;
    std::atomic<mem_cgroup_per_node*> nodes{nullptr}; // null until the group is first above its `high`
    std::atomic<std::uint64_t> noted_nodes{0}; // where it was above its `high` since the last update; a bit a node
    sync::work create_work;
    sync::work soft_limit_work;
    sync::work life_work; // offline, then the grace period, then free: one at a time

    mem_cgroup* parent_group() const noexcept { return static_cast<mem_cgroup*>(parent); }
    const char* name() const noexcept { return record->name; }
};

/// The root. Constant after init.
extern mem_cgroup* root_group;

/// The lock of the tree. Context: task, on a busy thread.
sync::spinlock& tree_lock() noexcept;

/// Has the group's references counted per slot from some time on. Context: any, reference held.
ALLOT_COLD void heat_up(mem_cgroup& group) noexcept;
/// Adds a reference; the caller holds one. The root's are not counted: it is immortal. Context: any.
inline void get(mem_cgroup& group) noexcept {
    if (&group == root_group)
        return;
    group.refs.get();
    if (group.refs.is_hot() && !group.refs.is_percpu()) [[unlikely]]
        heat_up(group);
}
/// A reference, if the group is not released yet. The caller holds an RCU section or the tree lock.
[[nodiscard]] inline bool tryget(mem_cgroup& group) noexcept { return &group == root_group || group.refs.tryget(); }
/// Drops references; the last one only enqueues. Context: any.
void put(mem_cgroup& group, std::uint64_t count = 1) noexcept;

/// Creates a group with one reference for the caller. Errors: -EINVAL, -EEXIST, -ENOENT, -ENOMEM. Context: task.
[[nodiscard]] int create(mem_cgroup& parent, const char* name, const allot_limits* limits, mem_cgroup** out) noexcept;
/// Finds an online group by path, with a reference. Null if there is none. Context: task.
[[nodiscard]] mem_cgroup* find(const char* path) noexcept;
/// Closes the subtree. Errors: -EBUSY, -ENOENT. Context: task.
int close(mem_cgroup& group, allot_report* report) noexcept;
/// Closes the subtree and takes back all its blocks. Errors: as close(). Context: task, not in a section.
int discard(mem_cgroup& group, allot_report* report) noexcept;
/// The group that a counter belongs to, with a reference, or null. Context: task.
[[nodiscard]] mem_cgroup* group_of(const counter::page_counter& counter) noexcept;
/// Writes the path; returns the length it needs. Context: any, reference held.
std::size_t path_of(const mem_cgroup& group, char* buffer, std::size_t size) noexcept;
/// Up to `room` online groups of the subtree, parents first, each with a reference. Context: task.
std::size_t collect_subtree(mem_cgroup& group, mem_cgroup** out, std::size_t room) noexcept;
/// Count of online groups in the subtree. Context: task.
std::size_t count_subtree(mem_cgroup& group) noexcept;
/// Sets the limits that are not ALLOT_KEEP. Errors: -EINVAL, -ENOENT. Context: task.
int set_limits(mem_cgroup& group, const allot_limits& limits) noexcept;
/// True if `group` is `ancestor` or below it.
bool is_below(const counter::account& group, const counter::account& ancestor) noexcept;

/// Gives back what the subtree's heaps hold and nobody uses. Returns bytes uncharged. Context: task, no lock held.
counter::byte_count reclaim(mem_cgroup& group) noexcept;
/// Held over fork by the forking thread.
sync::mutex& reclaim_guard() noexcept;
/// Has threads tell what they counted for the group (null: for all), and give back what they have of shared slabs for it and for those
/// below, and do not use. Context: task, no lock held.
void settle_figures(mem_cgroup* group) noexcept;
/// Reads the figures. Context: task, no lock held.
void read_stat(mem_cgroup& group, allot_stat& out) noexcept;
/// Reads the limits. Context: any.
void read_limits(const counter::page_counter& counter, allot_limits& out) noexcept;
/// The place for the group's front-end object, or null. Context: task.
front_place* place_of(mem_cgroup& group) noexcept;

// Parts of the lifecycle that tree.cc hands to lifecycle.cc and back.
/// close() but for what needs no lock. Errors: -ENOENT.
int close_locked(mem_cgroup& group, allot_report* report) noexcept ALLOT_REQUIRES(tree_lock());
void sort_lines(allot_report& report) noexcept;
/// Takes back what threads made in a discarded group while it was discarded. Executor, once nobody charges it any more. The lock keeps off
/// the discard of a group above, which takes back the same.
void discard_rest(mem_cgroup& group) noexcept ALLOT_REQUIRES(tree_lock());
void unhash(mem_cgroup& group) noexcept ALLOT_REQUIRES(tree_lock());
void forget_id(const mem_cgroup& group) noexcept;
void take_off_tree(mem_cgroup& group) noexcept ALLOT_REQUIRES(tree_lock());
/// Keeps a group that is off everything, with its owner, for the next one that is made. False if it is to be freed.
bool keep_spare(mem_cgroup& group) noexcept ALLOT_REQUIRES(tree_lock());
/// Takes kept ones, to be freed. Returns their count.
std::size_t take_spares(mem_cgroup** out, std::size_t room) noexcept ALLOT_REQUIRES(tree_lock());
/// True if there are any. Context: any.
bool spares_are_kept() noexcept;
/// Frees all kept ones. Context: task, no lock held.
void free_spares() noexcept;
void init_works(mem_cgroup& group) noexcept;
/// Closed groups that have a step before them which deferred work takes; not those that somebody holds. Context: any.
std::uint32_t count_of_crowd() noexcept;
/// In a forked child: makes the works of crowds ready to be queued. Context: fork_child.
void reset_crowd_works() noexcept;
void want_child(slab::cache_owner& owner) noexcept;
bool adopt_cache(slab::kmem_cache& child, slab::cache_owner& payer) noexcept;
void forget_cache(slab::kmem_cache& child) noexcept;
void forget_owner(slab::obj_cgroup& owner) noexcept;
bool reclaim_at_limit(counter::page_counter& over, counter::byte_count bytes, unsigned attempt) noexcept;
void note_failure(counter::page_counter* over, counter::byte_count bytes) noexcept;
/// Makes the tree's tables and the root group. False when out of memory. Context: init.
[[nodiscard]] bool tree_init() noexcept;

} // namespace allot::memcg
