// SPDX-License-Identifier: MIT
//
// remote: blocks of a slab that were freed by somebody who does not hold it.
//
// Idea.        One 64-bit word a slab, apart from the holder's line: a list of freed blocks (16-bit offsets, linked through
//              the blocks), its length, and what the next freer has to do. Freeing is one compare-and-swap in any context. Who
//              frees many at once leaves in each the place of one further on: the holder, to whose processor the blocks come one
//              after the other, fetches that before it gets there.
//
//                bits  0..15  head: offset of the first block / 8, plus 1; 0 = empty
//                bits 16..31  count of blocks on the list
//                bit  32      frozen: the slab is in a thread's heap; bits 48..63 are the thread's slot
//                bit  33      notify: nobody will look at the list by itself, so a freer has to queue the slab
//                bit  34      queued: somebody has, and has not processed it yet
//
// Invariants.  I1  Who sets `queued` owns the duty to have the slab processed; until then its pages are not given back.
//              I2  frozen changes only under the node lock of the slab's cache; so do the slot bits.
//              I3  The list is taken only by the holder: the frozen slab's thread (slot lock), else the node lock.
// Concurrency. push: any thread, Context any. The rest: the holder.
// Checked by.  test/slab/remote_test.cc, verify/explore
// Source.      snmalloc's and mimalloc's remote lists; SLUB's frozen bit.
#pragma once

#include "slab/arena.hpp"
#include "sync/real.hpp"

namespace allot::slab {

inline constexpr std::uint64_t remote_head_mask = 0xffff;
inline constexpr std::uint64_t remote_count_one = std::uint64_t{1} << 16;
inline constexpr std::uint64_t remote_count_mask = std::uint64_t{0xffff} << 16;
inline constexpr std::uint64_t remote_frozen = std::uint64_t{1} << 32;
inline constexpr std::uint64_t remote_notify = std::uint64_t{1} << 33;
inline constexpr std::uint64_t remote_queued = std::uint64_t{1} << 34;
inline constexpr unsigned remote_slot_shift = 48;

constexpr std::uint32_t remote_slot(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word >> remote_slot_shift);
}
constexpr std::uint64_t remote_count(std::uint64_t word) noexcept { return (word & remote_count_mask) >> 16; }

/// What a block on the list holds: places of other blocks, 0 for none.
struct remote_link {
    std::uint16_t next;
    std::uint16_t ahead; ///< of one further on, to fetch
};

/// push_remote() on the word itself: `head` stands for the first block, `set_link` writes what the last one is to be followed by.
template <class P, class SetLink>
std::uint64_t push_remote_word(typename P::template atomic<std::uint64_t>& word, std::uint64_t head,
                               std::uint64_t count, SetLink set_link) noexcept {
    std::uint64_t old = word.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    for (;;) {
        set_link(static_cast<std::uint16_t>(old & remote_head_mask));
        std::uint64_t fresh = (old & ~remote_head_mask) + count * remote_count_one;
        fresh |= head;
        fresh |= (old & remote_notify) != 0 ? remote_queued : 0;
        // (1) acq_rel: pairs with (2), slab_ops.cc(5): the taker sees the links, and all uses of the block before its free. Failure relaxed.
        if (word.compare_exchange_weak(old, fresh, std::memory_order_acq_rel, std::memory_order_relaxed))
            return old;
    }
}

/// True if the slab is in a heap of the slot with `index`. A hint unless the slot is held, or the section is its thread's own.
inline bool is_held_by(const slab& s, std::uint32_t index) noexcept {
    // relaxed: exact where the slot is held, since then nobody else changes these bits.
    const std::uint64_t word = remote_of(s).word.load(std::memory_order_relaxed);
    return (word & remote_frozen) != 0 && remote_slot(word) == index;
}

/// Where a list of such a slab has the block.
inline std::uint16_t remote_place(const char* start, const void* block) noexcept {
    return static_cast<std::uint16_t>((static_cast<const char*>(block) - start) / 8 + 1);
}

/// The block at that place of a slab that begins at `start`.
inline char* block_at(char* start, std::uint16_t place) noexcept { return start + std::size_t{place - 1u} * 8; }

/// Pushes `count` blocks, linked from the one at `head` to one whose remote_link is at `last_link`, and returns the word before. The
/// caller must queue the slab if that word has `notify` and not `queued`; `queued` is then set.
inline std::uint64_t push_remote(slab& s, std::uint16_t head, std::uint16_t count, void* last_link) noexcept {
    return push_remote_word<sync::real>(remote_of(s).word, head, count, [last_link](std::uint16_t next) noexcept {
        const remote_link link{next, 0};
        __builtin_memcpy(last_link, &link, sizeof link);
    });
}

/// take_remote() on the word itself.
template <class P>
std::uint64_t take_remote_word(typename P::template atomic<std::uint64_t>& word, std::uint64_t clear,
                               std::uint64_t set) noexcept {
    std::uint64_t old = word.load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    // (2) acq_rel: pairs with (1), slab_ops.cc(4). Failure is relaxed: it is retried.
    while (!word.compare_exchange_weak(old, (old & ~(remote_head_mask | remote_count_mask | clear)) | set,
                                       std::memory_order_acq_rel, std::memory_order_relaxed)) {
    }
    return old;
}

/// Empties the list, clears `clear` and sets `set`, and returns the word before. Holder only.
inline std::uint64_t take_remote(slab& s, std::uint64_t clear, std::uint64_t set) noexcept {
    return take_remote_word<sync::real>(remote_of(s).word, clear, set);
}

} // namespace allot::slab
