// SPDX-License-Identifier: MIT
//
// cache_lifecycle: the birth and death of root caches and of their children.
//
// Idea.        A child is made by deferred work once its pair is warm, published last with a release store, unpublished first
//              when its group goes, and released by itself when its last slab is given back. A root cache that is destroyed
//              takes its children along; with live objects it stays valid for their frees and releases itself later.
//
//              absent -> creating (queued) -> live -> deactivated (entry cleared, swept) -> dead (refs 0: released by work)
//
//              The release of a dead cache is queued through its root's gate (cache_gate.hpp), so that who destroys the root
//              can wait for all of them.
//
// Invariants.  I1  An entry of a cache array points to a live child or is null.
//              I2  A child holds one reference on its root cache.
// Concurrency. create_root, destroy_root, shrink_root: any thread, Context task. put: any. The rest: the executor.
// Lock order.  caches > slot > node; tree is never taken under caches.
// Checked by.  test/slab/cache_lifecycle_test.cc, test/slab/cache_destroy_test.cc
// Source.      Gushchin 2019; Linux 5.3 mm/slab_common.c.
#pragma once

#include "slab/heap.hpp"

namespace allot::slab {

inline constexpr std::size_t report_samples_max = 8;
inline constexpr std::size_t report_group_bytes = 64;

/// What a destroyed cache still held; what allot_cache_report says.
struct cache_report {
    std::uint64_t live = 0;
    void* sample[report_samples_max] = {};
    char group[report_samples_max][report_group_bytes] = {}; ///< name of the group that pays for the sample
    debug_stack stack[report_samples_max];
    std::uint32_t nr_samples = 0;
};

/// Makes (or finds, with the same name and shape) a root cache. Errors: null and errno. Context: task.
[[nodiscard]] kmem_cache* create_root_cache(const char* name, const cache_shape& shape, std::size_t alignment) noexcept;
/// Destroys it. Context: task, no lock held, not in a read-side section.
void destroy_root_cache(kmem_cache& cache, cache_report* report) noexcept;
/// Gives back the slabs of the cache and its children that hold no objects, whichever thread has them. Returns bytes. Context: task,
/// no lock held, not in a read-side section.
std::uint64_t shrink_root_cache(kmem_cache& cache) noexcept;

/// Makes the children that `owner` wants. Runs on the executor; the caller holds a reference on the group.
void create_wanted_children(cache_owner& owner) noexcept;
/// Clears the owner's entry for the child, if it is that. Tree lock or executor.
void unpublish_child(cache_owner& owner, kmem_cache& child) noexcept;
/// Queues a work item of a cache that its gate kept. The item is not pending. Context: task.
void enqueue_kept(sync::work& item) noexcept;
/// Frees the array of an owner that nobody can read it of any more.
void free_cache_array(cache_owner& owner) noexcept;

/// Fork: held over it by the forking thread.
sync::spinlock& caches_lock() noexcept;

} // namespace allot::slab
