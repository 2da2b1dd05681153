// SPDX-License-Identifier: MIT
//
// obj_cgroup: the thing that objects point to instead of their group.
//
// Idea.        Objects in shared slabs, large blocks and external charges name an obj_cgroup by a 4-byte id or a pointer; it
//              names the account that pays now. Removing a group rewrites that one pointer, so objects never pin a group
//              and removal costs nothing per object.
// Invariants.  I1  refs >= 1 while its group is open or anything charged through it lives; it never goes from 0 to 1.
//              I2  `payer` is read inside an RCU section that lasts until the charge or uncharge is done.
// Concurrency. get/put: any thread, Context any: the last put only enqueues.
// Lock order.  the id table's lock (owners) is taken by create and by the release work only.
// Checked by.  test/slab/obj_cgroup_test.cc
// Source.      Linux mm/memcontrol.c since 5.9 (obj_cgroup); docs/design.md "Owners".
#pragma once

#include "base/list.hpp"
#include "counter/account.hpp"
#include "sync/executor.hpp"

namespace allot::slab {

struct cache_owner;

struct obj_cgroup {
    std::atomic<cache_owner*> payer{nullptr}; // I2
    std::atomic<std::uint64_t> refs{1};
    std::uint32_t id = 0; // constant
    base::list_node link; // in the list of the group that owns it now; guarded by the tree lock
    sync::work release_work;
};

/// Makes one with its id and one reference. Null when out of memory or over the root's limit. Context: task.
[[nodiscard]] obj_cgroup* obj_cgroup_create(cache_owner& payer) noexcept;
/// By id; valid while the caller knows of an object that holds a reference. Context: any.
obj_cgroup& obj_cgroup_of(std::uint32_t id) noexcept;
void obj_cgroup_get(obj_cgroup& owner) noexcept;
void obj_cgroup_put(obj_cgroup& owner) noexcept;
/// Maps the id table. Errors: false. Context: init.
[[nodiscard]] bool obj_cgroup_init() noexcept;
/// Called by the release work with the dead one, before its memory goes; unlinks it from its group's list. Set by `group`.
extern void (*obj_cgroup_unlink)(obj_cgroup& owner) noexcept;

} // namespace allot::slab
