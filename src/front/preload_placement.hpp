// SPDX-License-Identifier: MIT
//
// preload_placement: decides whose memory it is when an unmodified program runs under the malloc preload.
//
// Idea.        Two questions, asked at different moments. Which group is this thread's? is asked when a thread starts and when its
//              name changes, and is answered by allot_thread_set_group(), so it costs malloc nothing. Which library is calling?
//              is asked in every malloc if any library matters, and is answered by a cache from the caller's page to a target.
//              Environment: ALLOT_RULES=FILE, ALLOT_GROUP_BY=thread|library|none, ALLOT_MAX=BYTES.
// Invariants.  I1  The first rule of the file that matches wins: a library's target holds only for threads whose own rule does not
//                  come earlier.
//              I2  A page stands in the cache only while the object that it belongs to is mapped: dlclose empties the cache.
// Concurrency. placement_for_caller: Context any. placement_init: init. The others: the thread itself, Context task.
// Checked by.  test/programs/rules.sh, test/programs/group_by.sh
// Source.      docs/preload.md
#pragma once

#include <allot/allot.h>

#include <atomic>
#include <cstddef>

namespace allot::front {

/// Reads the environment and makes the groups, then places the calling thread. From the preload's constructor.
///
/// On a bad value or a bad rules file it prints one line to stderr and ends the process with status 2.
void placement_init() noexcept;

/// Below this a size needs no more than a look into the table of small sizes. 0 if malloc has to ask placement_for_caller(), so
/// that the one comparison serves both questions; becomes 0 at most once after placement_init(). Relaxed: a thread that misses
/// the change places its block as before.
extern std::atomic<std::size_t> placement_small_end __attribute__((visibility("hidden"))); // one load, not two

inline bool placement_by_caller() noexcept {
    return placement_small_end.load(std::memory_order_relaxed) == 0; // relaxed: see there
}

/// The group for a call from `return_address`, borrowed; null for "the thread's". Keeps errno.
/// Context: any that malloc may be called in: no lock, no allocation.
allot_group* placement_for_caller(const void* return_address) noexcept;

/// Puts the calling thread into the group of its name. Once, when the thread's first allocation is done.
void placement_thread_start() noexcept;

/// The same after the calling thread changed its name.
void placement_thread_renamed() noexcept;

/// After the calling thread changed another thread's name to `name`: that thread moves at its next malloc.
void placement_other_renamed(const char* name) noexcept;

/// After a shared object may have been unmapped. Context: task.
void placement_library_closed() noexcept;

} // namespace allot::front
