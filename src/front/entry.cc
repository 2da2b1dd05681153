// SPDX-License-Identifier: MIT
//
// entry: the common beginning and end of API calls, and the library's constructor.
//
// Idea.        See entry.hpp. The constructor is here since every program that uses the static library links this file. It goes
//              through an exported function, so that a program that links the library and runs under the preload brings up
//              one library, not two.
// Concurrency. any thread.
#include "front/entry.hpp"

#include <cstdlib>
#include <cstring>

extern "C" ALLOT_API void allot_runtime_start(void) noexcept;

namespace allot::front {

void (*on_thread_start)() noexcept = nullptr;

bool enter() noexcept {
    auto& tls = sync::tls;
    if (tls.slot != &sync::no_slot) [[likely]]
        return true;
    if (tls.busy != 0)
        return true; // the reserve serves it, if anything does
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
    if (!sync::timer_is_set())
        memcg::note_idle_memory();
    if (!sync::worker_running() && sync::work_was_due()) {
        platform::errno_guard keep;
        sync::try_run_ready();
    }
}

} // namespace allot::front

void allot_runtime_start(void) noexcept {
    using namespace allot;
    const char* const threads = ::getenv("ALLOT_THREADS");
    if (threads != nullptr && std::strcmp(threads, "0") == 0)
        sync::allow_worker(false);
    const char* const stacks = ::getenv("ALLOT_DEBUG_STACKS");
    slab::debug_record_stacks(stacks != nullptr && std::strcmp(stacks, "1") == 0);
    memcg::install_process_hooks();
}

namespace {

[[gnu::constructor(101)]] void start_library() noexcept { allot_runtime_start(); }

} // namespace
