// SPDX-License-Identifier: MIT
//
// lock_rank: counts of held locks by rank, per thread.
//
// Idea.        A count per rank in a trivially destructible thread-local array: nothing is allocated, nothing is torn down.
// Concurrency. per-thread state only.
#include "sync/lock_rank.hpp"

#if ALLOT_DEBUG
namespace allot::sync {

namespace {
constexpr auto rank_count = static_cast<std::size_t>(lock_rank::count);
thread_local constinit std::uint16_t held[rank_count] = {};
} // namespace

void lock_acquiring(lock_rank rank) noexcept {
    const auto index = static_cast<std::size_t>(rank);
    const std::size_t first_forbidden = rank == lock_rank::slot ? index + 1 : index;
    for (std::size_t i = first_forbidden; i < rank_count; ++i)
        if (held[i] != 0)
            base::bug("lock order: a lock is taken while one of the same or a later rank is held (docs/lock_order.md)",
                      __FILE__, __LINE__);
    ++held[index];
}

void lock_released(lock_rank rank) noexcept {
    auto& count = held[static_cast<std::size_t>(rank)];
    ALLOT_BUG_ON(count == 0);
    --count;
}

bool holds_any_lock() noexcept {
    for (const auto count : held)
        if (count != 0)
            return true;
    return false;
}

} // namespace allot::sync
#endif
