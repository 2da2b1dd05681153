// SPDX-License-Identifier: MIT
//
// capi_control: the whole-library part of allot.h, and the library's constructor.
//
// Idea.        The constructor goes through an exported function, so that a program that links the library and runs under the
//              preload brings up one library, not two.
// Concurrency. as allot.h says.
#include "front/entry.hpp"
#include "observe/snapshot.hpp"
#include "observe/verify.hpp"

#include <cstdlib>
#include <cstring>

using namespace allot;
using namespace allot::front;

extern "C" ALLOT_API void allot_runtime_start(void) noexcept;

void allot_runtime_start(void) noexcept {
    const char* const threads = ::getenv("ALLOT_THREADS");
    if (threads != nullptr && std::strcmp(threads, "0") == 0)
        sync::allow_worker(false);
    memcg::install_process_hooks();
}

namespace {

[[gnu::constructor(101)]] void start_library() noexcept { allot_runtime_start(); }

} // namespace

void allot_quiesce(void) noexcept {
    if (enter())
        sync::drain();
}

void allot_rcu_read_lock(void) noexcept {
    if (enter())
        sync::user_read_lock();
}

void allot_rcu_read_unlock(void) noexcept { sync::user_read_unlock(); }

void allot_synchronize_rcu(void) noexcept {
    if (enter())
        sync::synchronize_rcu();
}

size_t allot_poll(void) noexcept { return enter() ? sync::try_run_pending() : 0; }

uint64_t allot_purge(void) noexcept { return enter() ? slab::purge() : 0; }

int allot_verify(allot_verify_report* report) noexcept {
    allot_verify_report mine;
    return enter() ? observe::verify(report != nullptr ? *report : mine) : -ENOMEM;
}

int allot_snapshot(allot_format format, void (*write)(const char* text, size_t size, void* data), void* data) {
    if (write == nullptr)
        return -EINVAL;
    return enter() ? observe::snapshot(format, write, data) : -ENOMEM;
}

const char* allot_version(void) noexcept { return "0.1.0"; }
