// SPDX-License-Identifier: MIT
//
// obj_cgroup: the thing that objects point to instead of their group.
//
// Idea.        Objects in shared slabs, large blocks and external charges name an obj_cgroup by a 4-byte id or a pointer; it
//              names the account that pays now. Removing a group rewrites that one pointer, so objects never pin a group
//              and removal costs nothing per object.
// Invariants.  those of obj_cgroup_core.hpp; the section is an RCU section, and the group's lists are under the tree lock.
// Concurrency. get/put: any thread, Context any: the last put only enqueues.
// Lock order.  the id table's lock (owners) is taken by create and by the release work only.
// Checked by.  test/slab/obj_cgroup_test.cc, verify/explore/obj_cgroup.cc
// Source.      Linux mm/memcontrol.c since 5.9 (obj_cgroup); docs/design.md "Owners".
#pragma once

#include "base/list.hpp"
#include "counter/account.hpp"
#include "slab/obj_cgroup_core.hpp"
#include "sync/executor.hpp"

namespace allot::slab {

struct cache_owner;

struct obj_cgroup : basic_obj_cgroup_core<sync::real, cache_owner> {
    std::uint32_t id = 0;               // constant
    std::atomic<bool> idle{false};      // only its group's references are left, which go with the group
    std::atomic<bool> discarded{false}; // its objects in shared slabs are to be taken back, see discard.hpp
    std::atomic<bool> had_runs{false};  // a large block was ever charged to it; set with the slot held
    base::list_node link;               // in the list of the group that owns it now; guarded by the tree lock
    [[no_unique_address]] sync::work release_work;
    std::uint32_t runs =
        0; // list of its large blocks, page indices; guarded by one of discard.cc's locks. In the work's last bytes
};
static_assert(sizeof(obj_cgroup) == cache_line_bytes, "there is one for each group");

/// Ids are below it.
inline constexpr std::size_t obj_cgroup_count_max = std::size_t{1} << 22;

/// Makes one with its id and the group's own references. Null when out of memory or over the root's limit. Context: task.
[[nodiscard]] obj_cgroup* obj_cgroup_create(cache_owner& payer) noexcept;
/// By id; valid while the caller knows of an object that holds a reference. Context: any.
obj_cgroup& obj_cgroup_of(std::uint32_t id) noexcept;
inline void obj_cgroup_get(obj_cgroup& owner) noexcept { owner.get(); }
/// Adds what a thread took, less what it put; the group's own references are there meanwhile. Context: any.
inline void obj_cgroup_add(obj_cgroup& owner, std::int64_t count) noexcept { owner.add(count); }
void obj_cgroup_put(obj_cgroup& owner, std::uint64_t count = 1) noexcept;
/// True if only the group's own references are left of a group that nobody can charge any more; then it is the group that frees it, with
/// obj_cgroups_free() after a grace period. Executor.
[[nodiscard]] bool obj_cgroup_is_idle(obj_cgroup& owner) noexcept;
/// Makes one that obj_cgroups_free() would take fit for another group instead; it keeps its id. Context: any.
void obj_cgroup_renew(obj_cgroup& owner, cache_owner& payer) noexcept;
/// Frees some that are on no list and that nobody has, a grace period after obj_cgroup_is_idle(). Executor, or the tree lock held.
void obj_cgroups_free(obj_cgroup** owners, std::size_t count) noexcept;
/// Maps the id table. Errors: false. Context: init.
[[nodiscard]] bool obj_cgroup_init() noexcept;
/// Called by the release work with the dead one, before its memory goes; unlinks it from its group's list. Set by `group`.
extern void (*obj_cgroup_unlink)(obj_cgroup& owner) noexcept;

} // namespace allot::slab
