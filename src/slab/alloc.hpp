// SPDX-License-Identifier: MIT
//
// alloc: blocks of any size for any group; the slab layer's face to the layers above.
//
// Idea.        Sizes up to kmalloc_max_bytes come from caches, larger ones, and cold ones above shared_object_max_bytes, are runs of
//              pages. Everything here is the slow half; front/ inlines the fast one.
// Concurrency. any thread; Context as each says.
// Checked by.  test/slab/alloc_test.cc
#pragma once

#include "slab/fast_path.hpp"

namespace allot::slab {

/// Where a block that was just made came from.
struct fresh_block {
    void* block = nullptr;
    bool zeroed = false;
};

/// A run of pages for the current group. Null with errno ENOMEM. Context: task; nested: null.
[[nodiscard]] fresh_block alloc_large(std::size_t bytes, std::size_t alignment) noexcept;
/// A block for whoever `owner` names at the moment when the slot is held, whatever the current group is. Null with errno
/// ENOMEM. Context: task; nested: null.
[[nodiscard]] fresh_block alloc_for_place(const std::atomic<cache_owner*>& owner, std::size_t bytes,
                                          std::size_t alignment) noexcept;
/// Makes a large block smaller or larger in place. Errors: false, nothing changed: its payer may not have so much, or what follows is
/// not free. Context: task; nested: false.
[[nodiscard]] bool resize_large(void* block, std::size_t bytes) noexcept;

/// Bytes that may be used in a live block. Context: any.
[[nodiscard]] std::size_t usable_bytes(const void* block) noexcept;
/// Who pays for a live block; the caller holds an RCU section. Null if it is none of ours.
[[nodiscard]] cache_owner* payer_of(const void* block) noexcept;

/// Sets the heap outside all scopes. False inside a scope. Context: task.
bool set_base(cache_owner& owner) noexcept;
/// The owner of the current scope. Context: any; no slot held.
cache_owner& current_owner() noexcept;

/// Gives the calling thread a slot, if it may have one. Context: task, not busy.
void begin_thread() noexcept;
/// The exit hook: parks everything and gives the slot back. Context: task.
void end_thread() noexcept;
/// Makes the reserve for handlers and the orphan slot. False when out of memory. Context: init.
bool reserve_init() noexcept;
void* reserve_alloc(std::size_t bytes) noexcept;
void reserve_free(slab& s, void* block) noexcept;

/// Queues a block that could not be freed where it was, for the executor. Context: any.
void defer_free(slab& s) noexcept;
/// Processes what nested frees and dead slots left. Runs on the executor.
void sweep_deferred() noexcept;

/// Has threads that allocated nothing since the last call give back the empty slabs that they keep. Context: task.
void trim_idle_threads() noexcept;
/// True if there may be threads that have to be looked at again. Context: any.
bool trim_is_wanted() noexcept;
/// Waits for the frees that were begun before and come by way of a grace period or of a handler. Context: task, no lock held, not in a
/// section.
void settle_frees() noexcept;

/// Gives all free pages back to the system, those in the threads' stashes too. Returns bytes. Context: task.
std::uint64_t purge() noexcept;
/// In a forked child: makes the layer's own items ready to be queued. Context: fork_child.
void reset_static_works() noexcept;
/// In a forked child: queues the sweeps that a thread that is gone may have been about to queue. Context: fork_child.
void requeue_after_fork() noexcept;
/// In a forked child, with the world stopped: parks the heaps of the threads that are gone. Context: fork_child.
void park_dead_threads() noexcept;

} // namespace allot::slab
