// SPDX-License-Identifier: MIT
//
// lock_rank: counts of held locks by rank, per thread.
//
// Idea.        A count per rank in a trivially destructible thread-local block: nothing is allocated, nothing is torn down.
// Concurrency. per-thread state only.
#include "sync/lock_rank.hpp"

#if ALLOT_DEBUG
#include "sync/context.hpp"

namespace allot::sync {

namespace {

thread_local constinit held_locks held{};

constexpr std::size_t index_of(lock_rank rank) noexcept { return static_cast<std::size_t>(rank); }

void check_order(lock_rank rank, call_site where) noexcept {
    const std::size_t first_forbidden = rank == lock_rank::slot ? index_of(rank) + 1 : index_of(rank);
    for (std::size_t i = first_forbidden; i < rank_count; ++i)
        if (held.count[i] != 0)
            (lock_report{} << "lock order: '" << rank << "' is taken at " << where << " while '"
                           << static_cast<lock_rank>(i) << "', taken at " << held.where[i]
                           << ", is held (docs/lock_order.md)")
                .die(where);
    if (rank <= lock_rank::slot && in_own_section())
        (lock_report{} << "lock order: '" << rank << "' is taken at " << where
                       << " inside a read-side section (docs/lock_order.md)")
            .die(where);
}

void count_one(lock_rank rank, lock_kind kind, call_site where) noexcept {
    held.where[index_of(rank)] = where;
    ++held.count[index_of(rank)];
    if (kind == lock_kind::spin)
        ++held.spin[index_of(rank)];
}

} // namespace

void lock_acquiring(lock_rank rank, lock_kind kind, call_site where) noexcept {
    check_order(rank, where);
    note_lock_context(rank, true, where);
    count_one(rank, kind, where);
}

void lock_tried(lock_rank rank, lock_kind kind, call_site where) noexcept {
    check_order(rank, where);
    note_lock_context(rank, false, where);
    count_one(rank, kind, where);
}

void lock_released(lock_rank rank, lock_kind kind) noexcept {
    ALLOT_BUG_ON(held.count[index_of(rank)] == 0);
    --held.count[index_of(rank)];
    if (kind == lock_kind::spin)
        --held.spin[index_of(rank)];
}

bool holds_any_lock() noexcept {
    for (const auto count : held.count)
        if (count != 0)
            return true;
    return false;
}

const held_locks& locks_held() noexcept { return held; }

const char* name_of(lock_rank rank) noexcept {
    static constexpr const char* names[] = {"reclaim",  "executor",   "tree",  "caches",     "registry",
                                            "slot",     "node",       "runs",  "soft_limit", "owners",
                                            "metadata", "page_alloc", "debug", "cache_gate"};
    static_assert(sizeof names / sizeof names[0] == rank_count, "a name for each rank");
    return names[index_of(rank)];
}

} // namespace allot::sync
#endif
