// SPDX-License-Identifier: MIT
//
// debug_stacks: who allocated a block, and who destroyed a cache that is still used.
//
// Idea.        The stack of a block lies in a table indexed by a hash of its address, mapped when it is first wanted; a later
//              block with the same hash takes the place. A cache that is gone leaves its address, name and stack behind.
// Concurrency. any thread, Context any. A place of the table that two threads write at once may mix two stacks: they are
//              read by people.
// Lock order.  caches, for the list of caches that are gone.
// Checked by.  test/slab/debug_test.cc, test/slab/cache_destroy_test.cc
#include "slab/debug.hpp"

#if ALLOT_DEBUG
#include "platform/memory.hpp"
#include "slab/kmem_cache.hpp"

#include <cstring>
#include <unwind.h>

namespace allot::slab {

namespace {

constexpr std::size_t place_count = std::size_t{1} << 16;

struct stack_place {
    std::atomic<const void*> block{nullptr};
    std::atomic<void*> frame[debug_frames_max] = {};
};
std::atomic<stack_place*> places{nullptr}; // relaxed accesses throughout: see the heading
std::atomic<bool> recording{false};        // relaxed accesses: a switch

struct capture {
    debug_stack stack;
    std::size_t skip = 2; // this file's own frames
    std::size_t count = 0;
};

_Unwind_Reason_Code add_frame(_Unwind_Context* context, void* data) noexcept {
    auto& into = *static_cast<capture*>(data);
    if (into.skip != 0) {
        --into.skip;
        return _URC_NO_REASON;
    }
    if (into.count == debug_frames_max)
        return _URC_END_OF_STACK;
    into.stack.frame[into.count++] = reinterpret_cast<void*>(_Unwind_GetIP(context));
    return _URC_NO_REASON;
}

[[gnu::noinline]] debug_stack this_stack() noexcept {
    capture into;
    _Unwind_Backtrace(add_frame, &into);
    return into.stack;
}

stack_place* place_of(const void* block) noexcept {
    stack_place* const table = places.load(std::memory_order_relaxed); // relaxed: see the heading
    const std::uint64_t hash = (reinterpret_cast<std::uintptr_t>(block) >> 3) * 0x9e3779b97f4a7c15u;
    return table == nullptr ? nullptr : table + (hash >> 48);
}

/// A cache whose memory is gone.
struct gone_cache {
    const kmem_cache* cache;
    char name[cache_name_bytes];
    debug_stack destroyed_at;
};
constexpr std::size_t gone_count = 64;
constinit sync::spinlock gone_lock{sync::lock_rank::debug};
gone_cache gone[gone_count] ALLOT_GUARDED_BY(gone_lock) = {};
std::size_t gone_next ALLOT_GUARDED_BY(gone_lock) = 0;

bool is_in_table(const kmem_cache& cache) noexcept {
    for (std::uint32_t i = 0; i < cache_count_max; ++i)
        if (root_cache_at(i) == &cache)
            return true;
    return false;
}

} // namespace

void debug_record_stacks(bool on) noexcept {
    if (on &&
        places.load(std::memory_order_relaxed) == nullptr) { // relaxed: see the heading; a lost race loses a table
        auto* const table = static_cast<stack_place*>(platform::map(sizeof(stack_place) * place_count));
        places.store(table, std::memory_order_relaxed); // relaxed: zeroed pages are valid entries
    }
    recording.store(on, std::memory_order_relaxed); // relaxed: a switch
}

void debug_note_stack(const void* block) noexcept {
    stack_place* const place =
        recording.load(std::memory_order_relaxed) ? place_of(block) : nullptr; // relaxed: a switch
    if (place == nullptr)
        return;
    const debug_stack stack = this_stack();
    for (std::size_t i = 0; i < debug_frames_max; ++i)
        place->frame[i].store(stack.frame[i], std::memory_order_relaxed); // relaxed: see the heading
    place->block.store(block, std::memory_order_relaxed);                 // relaxed: as above
}

debug_stack debug_stack_of(const void* block) noexcept {
    debug_stack stack;
    const stack_place* const place = place_of(block);
    if (place == nullptr || place->block.load(std::memory_order_relaxed) != block) // relaxed: see the heading
        return stack;
    for (std::size_t i = 0; i < debug_frames_max; ++i)
        stack.frame[i] = place->frame[i].load(std::memory_order_relaxed); // relaxed: as above
    return stack;
}

void debug_cache_destroyed(kmem_cache& cache) noexcept { cache.destroyed_at = this_stack(); }

void debug_cache_gone(const kmem_cache& cache) noexcept {
    sync::busy_scope busy;
    sync::lock_guard hold(gone_lock);
    gone_cache& entry = gone[gone_next++ % gone_count];
    entry.cache = &cache;
    std::memcpy(entry.name, cache.name, sizeof entry.name);
    entry.destroyed_at = cache.destroyed_at;
}

void debug_check_cache(const kmem_cache& cache) noexcept {
    constexpr const char* text = "allocation from a destroyed cache";
    if (is_in_table(cache)) {
        if (cache.gate.life() != cache_life::live)
            base::bug_stacks(text, cache.name, cache.destroyed_at.frame, this_stack().frame, debug_frames_max);
        return;
    }
    gone_cache found{};
    {
        sync::busy_scope busy;
        sync::lock_guard hold(gone_lock);
        // The newest first: memory is used again.
        for (std::size_t i = 1; i <= gone_count && found.cache == nullptr; ++i)
            if (const gone_cache& entry = gone[(gone_next - i) % gone_count]; entry.cache == &cache)
                found = entry;
    }
    if (found.cache == nullptr)
        std::memcpy(found.name, "?", 2);
    base::bug_stacks(text, found.name, found.destroyed_at.frame, this_stack().frame, debug_frames_max);
}

} // namespace allot::slab
#endif
