// SPDX-License-Identifier: MIT
//
// page_counter: hierarchical usage with limits, exact at every instant.
//
// Idea.        A charge goes from the child to the root, each level with a compare-and-swap that refuses to pass the limit;
//              a level that refuses makes the levels below give back. Charges are rare (a slab, not an object), so the walk
//              is cheap and nothing is batched.
// Invariants.  I1  usage <= max, but where max was lowered below the usage. (A speculative add, as the kernel's, would let
//                  an observer see more than max for a moment.) A charge that read an old max gives back at (2).
//              I2  usage of a counter = charges made to it + usage of its children, when no charge is under way.
//              I3  usage never goes below zero; an uncharge that would is a bug.
// Concurrency. try_charge, uncharge: any thread, Context any. set_max: any thread.
// Lock order.  takes none.
// Checked by.  test/counter/page_counter_test.cc, verify/explore
// Source.      Linux mm/page_counter.c.
#pragma once

#include "base/assert.hpp"
#include "sync/real.hpp"

namespace allot::counter {

using byte_count = std::uint64_t;
inline constexpr byte_count unlimited = ~byte_count{0};

template <class P> struct basic_page_counter {
    template <class T> using atomic = typename P::template atomic<T>;

    // Written by every charge.
    alignas(cache_line_bytes) atomic<byte_count> usage{0};
    atomic<byte_count> watermark{0};
    atomic<std::uint64_t> failures{0};
    atomic<std::uint64_t> max_events{0};
    atomic<std::uint64_t> high_events{0};
    atomic<std::uint64_t> allocations{0};
    // Read by every charge.
    alignas(cache_line_bytes) atomic<byte_count> max{unlimited};
    atomic<byte_count> high{unlimited};
    atomic<byte_count> low{0};
    atomic<byte_count> min{0};
    basic_page_counter* parent = nullptr; // constant while the counter has children or charges
};

/// Charges `bytes` to one level, or not. `*now` is the usage that it made.
template <class P>
[[nodiscard]] bool try_charge_level(basic_page_counter<P>& counter, byte_count bytes, byte_count* now) noexcept {
    byte_count usage = counter.usage.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    for (;;) {
        const byte_count max = counter.max.load(std::memory_order_relaxed); // relaxed: read again at (2)
        if (bytes > max || usage > max - bytes)
            return false;
        // (1) seq_cst: pairs with (4): a setter that stores max after this sees the new usage. Failure is relaxed: retried.
        if (counter.usage.compare_exchange_weak(usage, usage + bytes, std::memory_order_seq_cst,
                                                std::memory_order_relaxed))
            break;
    }
    *now = usage + bytes;
    // (2) seq_cst: pairs with (3): a max stored before (1) in the total order is seen here.
    if (*now > counter.max.load(std::memory_order_seq_cst)) [[unlikely]] {
        counter.usage.fetch_sub(bytes, std::memory_order_relaxed); // relaxed: nobody relies on a rolled back charge
        return false;
    }
    return true;
}

/// Notes the peak and the event of a charge that all levels have taken, `now` being the usage that it made.
template <class P> void note_charge(basic_page_counter<P>& counter, byte_count now) noexcept {
    // Relaxed: statistics; a peak is never lost, since whoever has the larger value retries.
    byte_count peak = counter.watermark.load(std::memory_order_relaxed);
    while (peak < now && !counter.watermark.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }                                                                    // relaxed: as above
    if (now > counter.high.load(std::memory_order_relaxed)) [[unlikely]] // relaxed: an event, not a limit
        counter.high_events.fetch_add(1, std::memory_order_relaxed);     // relaxed: statistics
}

/// Takes `bytes` from one level.
template <class P> void uncharge_level(basic_page_counter<P>& counter, byte_count bytes) noexcept {
    // Relaxed: the memory that the bytes stand for is published by its own protocol.
    const byte_count before = counter.usage.fetch_sub(bytes, std::memory_order_relaxed);
    ALLOT_BUG_ON(before < bytes);
}

/// Takes `bytes` from `counter` and its ancestors up to, but without, `end`.
template <class P>
void uncharge(basic_page_counter<P>& counter, byte_count bytes, const basic_page_counter<P>* end = nullptr) noexcept {
    for (auto* level = &counter; level != end; level = level->parent)
        uncharge_level(*level, bytes);
}

/// Charges `bytes` to `counter` and to its ancestors up to, but without, `end` (null: with the root), or to none.
///
/// On failure `*over` is the first counter whose max refused, and usage is as before.
/// Units:   bytes.                            Errors: false; never throws.
/// Thread:  any number of callers on one counter.
/// Context: any, also RCU readers, signal handlers and inside malloc: no lock, no allocation, no blocking.
/// Source:  Linux mm/page_counter.c, page_counter_try_charge().
template <class P>
[[nodiscard]] bool try_charge(basic_page_counter<P>& counter, byte_count bytes, basic_page_counter<P>** over,
                              const basic_page_counter<P>* end = nullptr) noexcept {
    if (&counter == end)
        return true;
    byte_count now = 0;
    if (!try_charge_level(counter, bytes, &now)) [[unlikely]] {
        counter.max_events.fetch_add(1, std::memory_order_relaxed); // relaxed: statistics
        *over = &counter;
        return false;
    }
    // The levels above, at most ALLOT_DEPTH_MAX deep; if one refuses, this one gives back.
    if (counter.parent != end && !try_charge(*counter.parent, bytes, over, end)) [[unlikely]] {
        uncharge_level(counter, bytes);
        return false;
    }
    note_charge(counter, now);
    return true;
}

/// Sets the hard limit. Returns the usage seen after the store: above `max` it has to be reclaimed by the caller.
template <class P> byte_count set_max(basic_page_counter<P>& counter, byte_count max) noexcept {
    // (3) seq_cst: pairs with (2).
    counter.max.store(max, std::memory_order_seq_cst);
    // (4) seq_cst: pairs with (1): a charge that did not see the new max is counted here.
    return counter.usage.load(std::memory_order_seq_cst);
}

using page_counter = basic_page_counter<sync::real>;

} // namespace allot::counter
