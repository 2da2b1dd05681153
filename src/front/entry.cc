// SPDX-License-Identifier: MIT
//
// entry: the common beginning and end of API calls.
//
// Idea.        See entry.hpp.
// Concurrency. any thread.
#include "front/entry.hpp"

namespace allot::front {

void (*on_thread_start)() noexcept = nullptr;

bool enter() noexcept {
    auto& tls = sync::tls;
    if (tls.slot != &sync::no_slot) [[likely]]
        return true;
    if (tls.busy != 0)
        return tls.active.load(std::memory_order_relaxed) != nullptr; // relaxed: own thread
    if (!memcg::ensure_runtime())
        return false;
    slab::begin_thread();
    if (on_thread_start != nullptr && tls.slot != &sync::no_slot)
        on_thread_start();
    return true;
}

void leave() noexcept {
    if (slab::nested() || (sync::tls.flags & sync::owns_the_world) != 0)
        return;
    memcg::note_dirty_pages();
    if (sync::work_due() && !sync::worker_running()) {
        platform::errno_guard keep;
        sync::try_run_pending();
    }
}

} // namespace allot::front
