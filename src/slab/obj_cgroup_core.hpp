// SPDX-License-Identifier: MIT
//
// obj_cgroup_core: who pays, and for how long anybody may ask.
//
// Idea.        What is charged holds a reference on a core and names the group only through its `payer`. A removal rewrites
//              that, waits for a grace period, and moves the group's own shares: whoever read the old payer in a section has
//              charged or uncharged it by then, and who reads later finds the heir. So each byte is uncharged where it is
//              charged at that time.
//              While the group is open its own references outweigh all others, so nobody has to count exactly: a thread adds up
//              what it takes and puts (slab/heap.hpp), and tells the core before the group puts its own.
// Invariants.  I1  refs >= 1 while the group is open or anything charged through it lives; it never goes from 0 to 1. Once the
//                  group's own are put, refs is exact.
//              I2  `payer` is read inside a section that lasts until the charge or uncharge is done.
//              I3  Own shares move, and the group's reference is put, a grace period after reparent().
// Concurrency. get, put, load_payer: any thread, Context any; the last put is told so and only enqueues. reparent: one at a time.
// Lock order.  takes none.
// Checked by.  test/slab/obj_cgroup_core_test.cc, verify/explore/obj_cgroup.cc
// Source.      Linux mm/memcontrol.c since 5.9 (obj_cgroup); docs/design.md "Owners".
#pragma once

#include "base/assert.hpp"
#include "sync/real.hpp"

namespace allot::slab {

template <class P, class Payer> struct basic_obj_cgroup_core {
    /// References of the group itself: more than anybody ever puts before they are taken.
    static constexpr std::uint64_t own_refs = std::uint64_t{1} << 40;

    typename P::template atomic<Payer*> payer{nullptr};        // I2
    typename P::template atomic<std::uint64_t> refs{own_refs}; // I1

    /// Takes a reference; the caller knows of one that stays meanwhile. From 0 it is a bug. Context: any.
    void get() noexcept {
        // Relaxed: there is a reference already, so nothing can be released meanwhile.
        const std::uint64_t before = refs.fetch_add(1, std::memory_order_relaxed);
        ALLOT_BUG_ON(before == 0);
    }
    /// Drops `count` references. True: that was the last one, and the caller enqueues the release, for after a grace period: a reader may have the core
    /// from a block that was just freed. Context: any.
    [[nodiscard]] bool put(std::uint64_t count = 1) noexcept {
        // (1) acq_rel: pairs with (1), slab/obj_cgroup.cc(3): the last put comes after all uses that earlier puts ended.
        const std::uint64_t before = refs.fetch_sub(count, std::memory_order_acq_rel);
        ALLOT_BUG_ON(before < count);
        return before == count;
    }

    /// Adds what was taken, less what was put, while the group's own references are there. Context: any.
    void add(std::int64_t count) noexcept {
        // Relaxed: the group puts its own after it has waited for the thread, which orders what the thread did.
        refs.fetch_add(static_cast<std::uint64_t>(count), std::memory_order_relaxed);
    }

    /// Who pays now. Valid inside the caller's section. Context: any, in a section.
    Payer& load_payer() const noexcept {
        // (2) acquire: pairs with (3): the heir is seen initialised.
        return *payer.load(std::memory_order_acquire);
    }
    /// From here on, and a grace period later for everybody, `heir` pays. Context: the lock of the group's list held.
    void reparent(Payer& heir) noexcept {
        // (3) release: pairs with (2).
        payer.store(&heir, std::memory_order_release);
    }
};

} // namespace allot::slab
