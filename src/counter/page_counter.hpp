// SPDX-License-Identifier: MIT
//
// page_counter: hierarchical usage with limits, exact at every instant.
//
// Idea.        A charge goes from the child to the root, each level with a compare-and-swap that refuses to pass the limit;
//              a level that refuses makes the levels below give back. Charges are rare (a slab, not an object), so the walk
//              is cheap and nothing is batched.
//              Usage is the largest just before it falls, so the uncharge notes the peak, and a charge has one word to change.
// Invariants.  I1  usage <= max, but where max was lowered below the usage. (A speculative add, as the kernel's, would let
//                  an observer see more than max for a moment.) A charge that read an old max gives back at (2).
//              I2  usage of a counter = charges made to it + usage of its children, when no charge is under way.
//              I3  usage never goes below zero; an uncharge that would is a bug.
//              I4  watermark >= what usage was before it fell, but for charges that were rolled back.
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
    atomic<byte_count> watermark{0}; // I4
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

/// Takes back from one level what it took and that level or one above refused.
template <class P> void roll_back(basic_page_counter<P>& counter, byte_count bytes) noexcept {
    counter.usage.fetch_sub(bytes, std::memory_order_relaxed); // relaxed: nobody relies on a rolled back charge
}

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
        roll_back(counter, bytes);
        return false;
    }
    return true;
}

/// Notes the event of a charge that all levels have taken, `now` being the usage that it made.
template <class P> void note_charge(basic_page_counter<P>& counter, byte_count now) noexcept {
    if (now > counter.high.load(std::memory_order_relaxed)) [[unlikely]] // relaxed: an event, not a limit
        counter.high_events.fetch_add(1, std::memory_order_relaxed);     // relaxed: statistics
}

/// Notes that usage was `before`.
template <class P> void note_peak(basic_page_counter<P>& counter, byte_count before) noexcept {
    // Relaxed: (5) publishes it; a peak is never lost, since whoever has the larger value retries.
    byte_count peak = counter.watermark.load(std::memory_order_relaxed);
    while (peak < before && !counter.watermark.compare_exchange_weak(peak, before, std::memory_order_relaxed)) {
    } // relaxed: as above
}

/// Takes `bytes` from one level.
template <class P> void uncharge_level(basic_page_counter<P>& counter, byte_count bytes) noexcept {
    byte_count before = counter.usage.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    do {
        ALLOT_BUG_ON(before < bytes); // at no instant since the bytes were charged
        note_peak(counter, before);
        // (5) release: pairs with (6): who sees usage fallen sees the peak noted. (The memory that the bytes stand for is published by
        // its own protocol.) Failure is relaxed: retried.
    } while (!counter.usage.compare_exchange_weak(before, before - bytes, std::memory_order_release,
                                                  std::memory_order_relaxed));
}

/// The most that usage has been. Never less than an earlier answer.
template <class P> [[nodiscard]] byte_count peak_of(const basic_page_counter<P>& counter) noexcept {
    // (6) acquire: pairs with (5).
    const byte_count usage = counter.usage.load(std::memory_order_acquire);
    const byte_count noted = counter.watermark.load(std::memory_order_relaxed); // relaxed: ordered by (6)
    return noted > usage ? noted : usage;
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
        roll_back(counter, bytes); // all levels or none
        return false;
    }
    note_charge(counter, now);
    return true;
}

/// True if `counter` and its ancestors up to, but without, `end` have room for `bytes` now, and do not come above `high` by it. A hint: for who would take
/// less, so that a charge of more than is needed does not count as a limit that was met.
template <class P>
[[nodiscard]] bool has_room(const basic_page_counter<P>& counter, byte_count bytes,
                            const basic_page_counter<P>* end = nullptr) noexcept {
    for (auto* level = &counter; level != end; level = level->parent) {
        // relaxed, all: a hint
        const byte_count usage = level->usage.load(std::memory_order_relaxed);
        const byte_count max = level->max.load(std::memory_order_relaxed);   // relaxed: as above
        const byte_count high = level->high.load(std::memory_order_relaxed); // relaxed: as above
        const byte_count limit = usage <= high && high < max ? high : max;
        if (bytes > limit || usage > limit - bytes)
            return false;
    }
    return true;
}

/// Sets the hard limit. Returns the usage seen after the store: above `max` it has to be reclaimed by the caller.
template <class P> byte_count set_max(basic_page_counter<P>& counter, byte_count max) noexcept {
    // (3) seq_cst: pairs with (2).
    counter.max.store(max, std::memory_order_seq_cst);
    // (4) seq_cst: pairs with (1): a charge that did not see the new max is counted here.
    return counter.usage.load(std::memory_order_seq_cst);
}

/// The same for a counter that nobody charges yet.
template <class P> void init_max(basic_page_counter<P>& counter, byte_count max) noexcept {
    counter.max.store(max, std::memory_order_relaxed); // relaxed: published with the counter
}

using page_counter = basic_page_counter<sync::real>;

} // namespace allot::counter
