// SPDX-License-Identifier: MIT
//
// entry: what every function of the C interface does first and last.
//
// Idea.        Bring the library up, give the thread its slot; afterwards, on threads that are not inside the library, let work
//              that waits be done if the library has no thread of its own.
// Concurrency. any thread.
#pragma once

#include "group/mem_cgroup.hpp"
#include "group/runtime.hpp"

#include <cerrno>

namespace allot::front {

/// Called once a thread has got its slot, in task context; set by the malloc preload.
extern void (*on_thread_start)() noexcept;

/// Brings up the library and the thread. False when out of memory. Context: any; does nothing on a busy thread.
[[nodiscard]] bool enter() noexcept;
/// Does deferred work that is due, if the library has no thread. Context: any; does nothing on a busy thread.
void leave() noexcept;

inline memcg::mem_cgroup* group_from(allot_group* group) noexcept {
    return reinterpret_cast<memcg::mem_cgroup*>(group);
}
inline const memcg::mem_cgroup* group_from(const allot_group* group) noexcept {
    return reinterpret_cast<const memcg::mem_cgroup*>(group);
}
inline allot_group* handle_of(slab::cache_owner* group) noexcept { return reinterpret_cast<allot_group*>(group); }

} // namespace allot::front
