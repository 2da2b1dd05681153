// SPDX-License-Identifier: MIT
//
// gate: what a thread's fast path goes through, and how another thread shuts it.
//
// Idea.        A fast path acts on an id and a table that it loads inside a section. Who shuts the gate overwrites both; the
//              barrier restarts the sections that the kernel restarts, and the read-side section that may have loaded the old
//              values is waited for. Such a section may also have put values back: a scope change does, and work on the own
//              heap (own_section). Then once more, and since every later section sees the slot marked as closed (the caller has
//              done that), that is the last time.
// Concurrency. shut: any thread, with the slot's lock held.
// Lock order.  takes none.
// Checked by.  verify/explore/gate.cc, verify/spin/revoke.pml
#pragma once

#include "sync/rcu.hpp"

namespace allot::slab {

/// Overwrites the id and the table. Not enough by itself, but for the own thread.
template <class Id, class Table, class IdValue, class TableValue>
void store_shut(Id& fast_id, Table& active, IdValue no_id, TableValue empty) noexcept {
    // Relaxed: the barrier of the grace period that follows orders them.
    fast_id.store(no_id, std::memory_order_relaxed);
    active.store(empty, std::memory_order_relaxed); // relaxed: as above
}

/// Shuts the gate of the thread that `reader` belongs to: afterwards it is in no section that saw anything else.
template <class P, class Id, class Table, class IdValue, class TableValue>
void shut(const sync::basic_rcu_reader<P>& reader, Id& fast_id, Table& active, IdValue no_id,
          TableValue empty) noexcept {
    do {
        store_shut(fast_id, active, no_id, empty);
        P::all_barrier();
        sync::wait_for_reader(reader);
        // Relaxed: written by a section of the thread that did not see the mark, and that is over now.
    } while (active.load(std::memory_order_relaxed) != empty || fast_id.load(std::memory_order_relaxed) != no_id);
}

} // namespace allot::slab
