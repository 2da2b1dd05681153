// SPDX-License-Identifier: MIT
//
// account: charging by kind.
//
// Idea.        See account.hpp. The own shares are relaxed counters: they are compared only when nothing is under way.
// Concurrency. any thread. All relaxed: statistics that order nothing; exact because every change is an atomic add.
#include "counter/account.hpp"

namespace allot::counter {

account* root_account = nullptr;
void (*above_high)(account& payer) noexcept = nullptr;

namespace {

void add_local(account& payer, charge_kind kind, std::int64_t bytes) noexcept {
    payer.record->local[static_cast<std::size_t>(kind)].fetch_add(bytes, std::memory_order_relaxed);
}

bool is_above_high(const account& payer) noexcept {
    for (const page_counter* at = &payer.counter(); at != nullptr; at = at->parent)
        // relaxed, both: an event, not a limit.
        if (at->usage.load(std::memory_order_relaxed) > at->high.load(std::memory_order_relaxed)) [[unlikely]]
            return true;
    return false;
}

} // namespace

bool try_charge_pages(account& payer, byte_count bytes, charge_kind kind, page_counter** over) noexcept {
    if (!try_charge(payer.counter(), bytes, over))
        return false;
    add_local(payer, kind, static_cast<std::int64_t>(bytes));
    if (is_above_high(payer) && above_high != nullptr) [[unlikely]]
        above_high(payer);
    return true;
}

void uncharge_pages(account& payer, byte_count bytes, charge_kind kind) noexcept {
    add_local(payer, kind, -static_cast<std::int64_t>(bytes));
    uncharge(payer.counter(), bytes);
}

void move_share(account& payer, std::int64_t bytes, charge_kind kind) noexcept {
    ALLOT_ASSERT(paid_by_root(kind));
    if (&payer == root_account)
        return;
    add_local(payer, kind, bytes);
    add_local(*root_account, kind, -bytes);
}

bool try_charge_object(account& payer, byte_count bytes, charge_kind kind, page_counter** over) noexcept {
    if (!try_charge_usage(payer, bytes, over))
        return false;
    move_share(payer, static_cast<std::int64_t>(bytes), kind);
    return true;
}

void uncharge_object(account& payer, byte_count bytes, charge_kind kind) noexcept {
    move_share(payer, -static_cast<std::int64_t>(bytes), kind);
    uncharge_usage(payer, bytes);
}

void reparent_local(account& from, account& to) noexcept {
    // Most figures of a short-lived group are 0; the parent's line is then left alone.
    auto move = [](auto& source, auto& target) noexcept {
        if (source.load(std::memory_order_relaxed) != 0)
            target.fetch_add(source.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
    };
    for (std::size_t kind = 0; kind < charge_kind_count; ++kind)
        move(from.record->local[kind], to.record->local[kind]);
    move(from.counter().allocations, to.counter().allocations);
    move(from.counter().failures, to.counter().failures);
}

std::int64_t local_bytes(const account& payer) noexcept {
    std::int64_t sum = 0;
    for (const auto& kind : payer.record->local)
        sum += kind.load(std::memory_order_relaxed);
    return sum;
}

} // namespace allot::counter
