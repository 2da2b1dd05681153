// SPDX-License-Identifier: MIT
//
// gate: what a thread's fast path goes through, and how another thread shuts it.
//
// Idea.        A fast path acts on a table that it loads inside a section. Who shuts the gate overwrites the pointer to it; the
//              barrier restarts the sections that the kernel restarts, and the read-side section that may have loaded the old
//              one is waited for. Such a section may also have put a table back: a scope change does, and work on the own
//              heap (own_section). Then once more, and since every later section sees the slot marked as closed (the caller has
//              done that), that is the last time.
// Concurrency. shut: any thread, with the slot's lock held.
// Lock order.  takes none.
// Checked by.  verify/explore/gate.cc, verify/spin/revoke.pml
#pragma once

#include "sync/rcu.hpp"

namespace allot::slab {

/// Shuts the gate of the thread that `reader` belongs to: afterwards it is in no section that saw anything else.
template <class P, class Table, class TableValue>
void shut(const sync::basic_rcu_reader<P>& reader, Table& table, TableValue empty) noexcept {
    do {
        table.store(empty, std::memory_order_relaxed); // relaxed: the barrier orders it
        P::all_barrier();
        sync::wait_for_reader(reader);
        // Relaxed: written by a section of the thread that did not see the mark, and that is over now.
    } while (table.load(std::memory_order_relaxed) != empty);
}

} // namespace allot::slab
