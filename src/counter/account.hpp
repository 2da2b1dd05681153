// SPDX-License-Identifier: MIT
//
// account: who pays. The slab layer charges accounts and never learns what a group is.
//
// Idea.        A record in memory that may be shared with other processes (allot/stat_file.h) holds the counter, the
//              account's own bytes by kind, and its name, so publishing figures costs nothing. The root's counter is charged
//              for whole slabs; an object in a shared slab is charged to its group and the group's ancestors below the
//              root, and moves from the root's own share to the group's. So the own shares of all accounts always add up
//              to the root's usage. Usage is exact at every instant; the moves between shares of what a thread allocates and
//              frees are put together in its heap first (slab/heap.hpp), for both shares at a time.
// Invariants.  I1  sum over all accounts of local[kind], over all kinds = usage of the root, when no charge is under way.
//              I2  An account's memory stays until a grace period after nothing points to it.
// Concurrency. charge/uncharge: any thread, Context any, inside an RCU section that covers the read of the pointer to the
//              account.
// Lock order.  takes none.
// Checked by.  test/counter/account_test.cc
#pragma once

#include "allot/stat_file.h"
#include "counter/page_counter.hpp"

namespace allot::counter {

/// What a charge is for; the index of account_record::local.
enum class charge_kind : std::uint8_t { slab, shared, large, external, metadata };
inline constexpr std::size_t charge_kind_count = 5;

/// The published form; the same bytes as allot_stat_record.
struct account_record {
    page_counter counter;
    std::atomic<std::uint32_t> state{ALLOT_RECORD_FREE};
    std::uint32_t parent = 0;
    std::uint32_t id = 0;
    std::uint32_t reserved = 0;
    std::atomic<std::int64_t> local[charge_kind_count]{};
    std::uint64_t reserved2 = 0;
    char name[64] = {};
};
static_assert(sizeof(account_record) == sizeof(allot_stat_record));
static_assert(alignof(account_record) == cache_line_bytes);

struct account {
    account_record* record = nullptr; // constant
    account* parent = nullptr;        // constant; null for the root
    std::atomic<bool> online{false};  // false: charge the nearest online ancestor instead
    std::uint32_t id = 0;             // constant; small, of no two accounts at a time

    page_counter& counter() noexcept { return record->counter; }
    const page_counter& counter() const noexcept { return record->counter; }
};

/// The account of last resort: every page is charged to it. Constant after init.
extern account* root_account;

/// Called after a charge of pages that took a counter above its `high`. Set once at init; null: nobody wants to know. Context: any,
/// inside an RCU section or with the slot held.
extern void (*above_high)(account& payer) noexcept;

/// True for kinds whose pages the root has paid for already.
constexpr bool paid_by_root(charge_kind kind) noexcept {
    return kind == charge_kind::shared || kind == charge_kind::metadata;
}

/// Charges pages (or external bytes) to `payer` and all its ancestors, or to none. Errors: false, and `*over` as try_charge.
[[nodiscard]] bool try_charge_pages(account& payer, byte_count bytes, charge_kind kind, page_counter** over) noexcept;
void uncharge_pages(account& payer, byte_count bytes, charge_kind kind) noexcept;

/// Charges an object that lies in pages which the root has paid for, but for the own shares: the caller sees to move_share(). Errors:
/// false, and `*over` as try_charge.
[[nodiscard]] inline bool try_charge_usage(account& payer, byte_count bytes, page_counter** over) noexcept {
    return &payer == root_account || try_charge(payer.counter(), bytes, over, &root_account->counter());
}
/// A hint, as has_room().
[[nodiscard]] inline bool has_room_for_usage(const account& payer, byte_count bytes) noexcept {
    return &payer == root_account || has_room(payer.counter(), bytes, &root_account->counter());
}
inline void uncharge_usage(account& payer, byte_count bytes) noexcept {
    if (&payer != root_account)
        uncharge(payer.counter(), bytes, &root_account->counter());
}
/// Moves bytes of objects from the root's own share to the payer's; negative: back.
void move_share(account& payer, std::int64_t bytes, charge_kind kind) noexcept;

/// Both. Errors: false, and `*over` as try_charge.
[[nodiscard]] bool try_charge_object(account& payer, byte_count bytes, charge_kind kind, page_counter** over) noexcept;
void uncharge_object(account& payer, byte_count bytes, charge_kind kind) noexcept;

/// Moves what is left of the own share and the statistics of `from` to its parent. `from` is charged by nobody any more.
void reparent_local(account& from, account& to) noexcept;

/// Sum of the own share over all kinds, bytes. Never negative when no charge is under way.
std::int64_t local_bytes(const account& payer) noexcept;

/// True while the account takes charges. Who still sees it online is covered by the sweep over the slots that follows.
inline bool is_online(const account& payer) noexcept {
    // (1) acquire: pairs with group/lifecycle.cc(1).
    return payer.online.load(std::memory_order_acquire);
}

/// The nearest account that takes charges: itself or an ancestor. Context: any, RCU section or reference held.
inline account& nearest_online(account& start) noexcept {
    account* at = &start;
    while (!is_online(*at) && at->parent != nullptr)
        at = at->parent;
    return *at;
}

} // namespace allot::counter
