// SPDX-License-Identifier: MIT
//
// capi_control: the whole-library part of allot.h.
//
// Idea.        Each brings the library up and asks the layer that knows.
// Concurrency. as allot.h says.
#include "front/entry.hpp"
#include "observe/snapshot.hpp"
#include "observe/verify.hpp"
#include "slab/deferred_free.hpp"
#include "slab/discard.hpp"

using namespace allot;
using namespace allot::front;

void allot_quiesce(void) noexcept {
    if (!enter())
        return;
    sync::drain();
    slab::sweep_discarded();
    sync::drain();
}

void allot_rcu_read_lock(void) noexcept {
    static_cast<void>(enter()); // a section needs nothing of a library that could not come up
    sync::user_read_lock();
}

void allot_rcu_read_unlock(void) noexcept { sync::user_read_unlock(); }

void allot_synchronize_rcu(void) noexcept {
    if (enter())
        sync::synchronize_rcu();
}

void allot_free_rcu(void* block, allot_rcu_head* head) noexcept {
    static_assert(sizeof(allot_rcu_head) == sizeof(slab::deferred_head));
    if (block != nullptr && enter())
        slab::free_after_grace_period(block, reinterpret_cast<slab::deferred_head&>(*head));
}

void allot_rcu_barrier(void) noexcept {
    if (enter())
        slab::deferred_free_barrier();
}

size_t allot_poll(void) noexcept { return enter() ? sync::try_run_ready() : 0; }

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
