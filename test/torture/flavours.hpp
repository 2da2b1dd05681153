// SPDX-License-Identifier: MIT
//
// flavours: the RCU of this library and liburcu's, behind the same few names, so that one torture runs over both.
//
// Idea.        A flavour F has sections of `F::ways` kinds, a grace period, callbacks and their barrier. `F::broken` makes grace
//              periods that do not wait: whoever checks has to notice.
// Concurrency. as RCU's: sections anywhere, also in handlers; the rest in task context.
#pragma once

#include "program.hpp"

#include <allot/allot.h>

#include "base/list.hpp"
#include "group/runtime.hpp"
#include "slab/alloc.hpp"
#include "sync/executor.hpp"
#include "sync/thread_slot.hpp"

#include <atomic>
#include <new>

#if ALLOT_HAVE_LIBURCU
#include <urcu/urcu-memb.h>
#else
#define ALLOT_HAVE_LIBURCU 0
#endif

namespace torture {

/// This library's.
struct allot_rcu {
    static constexpr const char* name = "allot";
    static constexpr unsigned ways = 2;   ///< the library's own sections, and the user's
    static constexpr bool is_bare = true; ///< threads without a slot read, too
    static inline std::atomic<bool> broken{false};

    struct head : allot::sync::work {
        void (*then)(head&) noexcept = nullptr;
    };

    /// Begins a thread. Without a slot it reads as threads do before their first call.
    static void begin_thread(bool with_slot) {
        if (!with_slot)
            return;
        allot::memcg::install_process_hooks();
        allot::slab::begin_thread();
        if (allot::sync::tls.slot == &allot::sync::no_slot)
            fail("a thread got no slot");
    }
    static void end_thread() {}
    static bool has_slot() { return allot::sync::tls.slot != &allot::sync::no_slot; }

    template <class Body> static void section(unsigned way, Body&& body) {
        if (way % ways == 0) {
            allot::sync::rcu_guard guard;
            body();
        } else {
            allot::sync::user_read_lock();
            body();
            allot::sync::user_read_unlock();
        }
    }
    static void synchronize() {
        if (!broken)
            allot::sync::synchronize_rcu();
    }
    static void call(head& item, void (*then)(head&) noexcept) {
        item.then = then;
        item.run = [](allot::sync::work& work) noexcept {
            auto& mine = static_cast<head&>(work);
            mine.then(mine);
        };
        const bool queued = broken ? allot::sync::queue_work(allot::sync::stage::release, item) // no grace period
                                   : allot::sync::call_rcu(item);
        if (!queued)
            fail("a callback was pending already");
    }
    static void barrier() {
        if (!broken)
            allot::sync::rcu_barrier();
        else
            allot::sync::drain();
    }
    static void start(bool with_worker) {
        allot::sync::allow_worker(with_worker);
        begin_thread(true);
        allot::sync::ensure_worker();
    }
    /// What slow calls do in a program without the library's thread.
    static void poll() {
        if (!allot::sync::worker_running())
            allot::sync::try_run_ready();
    }
    /// Something to do inside a section of the user.
    static void allocate(std::size_t bytes) {
        if (has_slot())
            allot_free(allot_malloc(bytes));
    }
};

#if ALLOT_HAVE_LIBURCU
/// liburcu's flavour with membarrier. Its threads have to register, so there is one kind of reader.
struct liburcu {
    static constexpr const char* name = "liburcu";
    static constexpr unsigned ways = 1;
    static constexpr bool is_bare = false;
    static inline std::atomic<bool> broken{false};

    struct head {
        rcu_head node;
        void (*then)(head&) noexcept = nullptr;
    };

    static void begin_thread(bool) { urcu_memb_register_thread(); }
    static void end_thread() { urcu_memb_unregister_thread(); }
    static bool has_slot() { return true; }

    template <class Body> static void section(unsigned, Body&& body) {
        urcu_memb_read_lock();
        body();
        urcu_memb_read_unlock();
    }
    static void synchronize() {
        if (!broken)
            urcu_memb_synchronize_rcu();
    }
    static void call(head& item, void (*then)(head&) noexcept) {
        item.then = then;
        if (broken) // no grace period
            then(item);
        else
            urcu_memb_call_rcu(&item.node, [](rcu_head* node) {
                head& mine = *reinterpret_cast<head*>(node); // its first member
                mine.then(mine);
            });
    }
    static void barrier() {
        if (!broken)
            urcu_memb_barrier();
    }
    static void start(bool) { begin_thread(true); }
    static void poll() {}
    static void allocate(std::size_t) {}
};
#endif

} // namespace torture
