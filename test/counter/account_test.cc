// SPDX-License-Identifier: MIT
//
// account_test: the own shares of all accounts add up to the root's usage, whoever charges, uncharges or goes.
#include "counter/account.hpp"

#include "support/threads.hpp"
#include "sync/executor.hpp"

#include <cstddef>
#include <cstring>
#include <deque>
#include <gtest/gtest.h>
#include <random>

namespace allot::counter {
namespace {

using allot_test::ms;
using allot_test::stopwatch;

/// An account with a record of its own.
struct test_account : account {
    explicit test_account(test_account* above = nullptr) {
        record = &here;
        parent = above;
        here.counter.parent = above != nullptr ? &above->counter() : nullptr;
        online = true;
    }
    byte_count usage() const { return here.counter.usage.load(); }
    std::int64_t own(charge_kind kind) const { return here.local[static_cast<std::size_t>(kind)].load(); }

    account_record here;
};

/// A tree of accounts that stands in for the library's: root > a > {a1, a2}, root > b.
class account_tree : public testing::Test {
  protected:
    void SetUp() override {
        sync::drain(); // the library's own work would charge the stand-in
        before_ = std::exchange(root_account, &root);
    }
    void TearDown() override { root_account = before_; }

    std::vector<test_account*> all() { return {&root, &a, &a1, &a2, &b}; }
    std::int64_t sum_of_shares() {
        std::int64_t sum = 0;
        for (const test_account* each : all())
            sum += local_bytes(*each);
        return sum;
    }
    void expect_that_shares_add_up() {
        EXPECT_EQ(sum_of_shares(), static_cast<std::int64_t>(root.usage()));
        for (const test_account* each : all())
            EXPECT_GE(local_bytes(*each), 0);
    }

    test_account root;
    test_account a{&root}, b{&root};
    test_account a1{&a}, a2{&a};
    page_counter* over = nullptr;

  private:
    account* before_ = nullptr;
};

TEST_F(account_tree, pages_are_charged_to_the_payer_and_to_all_above_it) {
    EXPECT_TRUE(try_charge_pages(a1, 4096, charge_kind::slab, &over));
    EXPECT_EQ(a1.usage(), 4096u);
    EXPECT_EQ(a.usage(), 4096u);
    EXPECT_EQ(root.usage(), 4096u);
    EXPECT_EQ(b.usage(), 0u);
    EXPECT_EQ(a1.own(charge_kind::slab), 4096) << "the share is the payer's alone";
    EXPECT_EQ(local_bytes(a), 0);
    EXPECT_EQ(local_bytes(root), 0);
    expect_that_shares_add_up();
    uncharge_pages(a1, 4096, charge_kind::slab);
    EXPECT_EQ(root.usage(), 0u);
    expect_that_shares_add_up();
}

TEST_F(account_tree, each_kind_is_kept_apart) {
    const charge_kind kinds[] = {charge_kind::slab, charge_kind::shared, charge_kind::large, charge_kind::external,
                                 charge_kind::metadata};
    byte_count bytes = 1;
    for (const charge_kind kind : kinds)
        EXPECT_TRUE(try_charge_pages(a1, bytes *= 10, kind, &over));
    bytes = 1;
    for (const charge_kind kind : kinds)
        EXPECT_EQ(a1.own(kind), static_cast<std::int64_t>(bytes *= 10));
    EXPECT_EQ(local_bytes(a1), 111'110);
    expect_that_shares_add_up();
}

TEST_F(account_tree, an_object_moves_from_the_roots_share_to_the_payers) {
    EXPECT_TRUE(try_charge_pages(root, 4096, charge_kind::shared, &over)); // the shared slab
    EXPECT_TRUE(try_charge_object(a1, 100, charge_kind::shared, &over));
    EXPECT_EQ(root.usage(), 4096u) << "paid already";
    EXPECT_EQ(a.usage(), 100u);
    EXPECT_EQ(a1.usage(), 100u);
    EXPECT_EQ(a1.own(charge_kind::shared), 100);
    EXPECT_EQ(root.own(charge_kind::shared), 3996);
    expect_that_shares_add_up();
    uncharge_object(a1, 100, charge_kind::shared);
    EXPECT_EQ(root.own(charge_kind::shared), 4096);
    EXPECT_EQ(a.usage(), 0u);
    expect_that_shares_add_up();
}

TEST_F(account_tree, an_object_of_the_root_is_in_its_share_already) {
    EXPECT_TRUE(try_charge_pages(root, 4096, charge_kind::metadata, &over));
    EXPECT_TRUE(try_charge_object(root, 100, charge_kind::metadata, &over));
    EXPECT_EQ(root.usage(), 4096u);
    EXPECT_EQ(local_bytes(root), 4096);
    uncharge_object(root, 100, charge_kind::metadata);
    expect_that_shares_add_up();
}

TEST_F(account_tree, a_refused_charge_changes_no_share) {
    a.here.counter.max = 5000;
    EXPECT_TRUE(try_charge_pages(a1, 4096, charge_kind::slab, &over));
    EXPECT_FALSE(try_charge_pages(a2, 4096, charge_kind::large, &over));
    EXPECT_EQ(over, &a.counter());
    EXPECT_FALSE(try_charge_object(a2, 1000, charge_kind::shared, &over));
    EXPECT_EQ(over, &a.counter());
    EXPECT_EQ(local_bytes(a2), 0);
    EXPECT_EQ(a2.usage(), 0u);
    EXPECT_EQ(local_bytes(root), 0);
    expect_that_shares_add_up();
}

TEST_F(account_tree, the_roots_limit_does_not_count_for_what_it_has_paid) {
    root.here.counter.max = 4096;
    EXPECT_TRUE(try_charge_pages(root, 4096, charge_kind::shared, &over));
    EXPECT_TRUE(try_charge_object(a1, 100, charge_kind::shared, &over));
    EXPECT_FALSE(try_charge_pages(a1, 4096, charge_kind::slab, &over));
    EXPECT_EQ(over, &root.counter());
    expect_that_shares_add_up();
}

TEST_F(account_tree, shares_move_to_the_parent_when_an_account_goes) {
    EXPECT_TRUE(try_charge_pages(root, 4096, charge_kind::shared, &over));
    EXPECT_TRUE(try_charge_pages(a1, 8192, charge_kind::slab, &over));
    EXPECT_TRUE(try_charge_pages(a, 4096, charge_kind::slab, &over));
    EXPECT_TRUE(try_charge_object(a1, 100, charge_kind::shared, &over));
    a1.here.counter.allocations = 7;
    a1.here.counter.failures = 2;
    a.here.counter.allocations = 10;
    reparent_local(a1, a);
    EXPECT_EQ(local_bytes(a1), 0);
    EXPECT_EQ(a.own(charge_kind::slab), 12'288);
    EXPECT_EQ(a.own(charge_kind::shared), 100);
    EXPECT_EQ(a.here.counter.allocations, 17u);
    EXPECT_EQ(a.here.counter.failures, 2u);
    EXPECT_EQ(a1.here.counter.allocations, 0u) << "moved, not copied";
    EXPECT_EQ(a.usage(), 12'388u) << "usage above was right all along";
    expect_that_shares_add_up();
    // What is left is given back in the parent's name.
    uncharge_pages(a, 8192, charge_kind::slab);
    uncharge_object(a, 100, charge_kind::shared);
    uncharge_pages(a, 4096, charge_kind::slab);
    EXPECT_EQ(a.usage(), 0u);
    EXPECT_EQ(local_bytes(a), 0);
    expect_that_shares_add_up();
}

TEST_F(account_tree, the_root_takes_over_too) {
    // The root is charged differently: an object's bytes are in its pages (race 54).
    EXPECT_TRUE(try_charge_pages(root, 4096, charge_kind::shared, &over));
    EXPECT_TRUE(try_charge_object(b, 100, charge_kind::shared, &over));
    EXPECT_TRUE(try_charge_pages(b, 8192, charge_kind::large, &over));
    reparent_local(b, root);
    EXPECT_EQ(root.own(charge_kind::shared), 4096);
    EXPECT_EQ(root.own(charge_kind::large), 8192);
    expect_that_shares_add_up();
    uncharge_object(root, 100, charge_kind::shared);
    uncharge_pages(root, 8192, charge_kind::large);
    uncharge_pages(root, 4096, charge_kind::shared);
    EXPECT_EQ(root.usage(), 0u);
    expect_that_shares_add_up();
}

TEST_F(account_tree, shares_move_on_as_far_as_accounts_go) {
    EXPECT_TRUE(try_charge_pages(a1, 4096, charge_kind::slab, &over));
    reparent_local(a1, a);
    reparent_local(a, root);
    reparent_local(a1, a); // nothing is left to move
    EXPECT_EQ(local_bytes(root), 4096);
    expect_that_shares_add_up();
}

TEST_F(account_tree, the_nearest_online_account_takes_the_charge) {
    EXPECT_EQ(&nearest_online(a1), &a1);
    a1.online = false;
    EXPECT_EQ(&nearest_online(a1), &a);
    a.online = false;
    EXPECT_EQ(&nearest_online(a1), &root);
    root.online = false;
    EXPECT_EQ(&nearest_online(a1), &root) << "the last resort";
}

// --- Random work ------------------------------------------------------------------------------------------------------------

struct held_charge {
    test_account* payer;
    byte_count bytes;
    charge_kind kind;
    bool object;
};

/// Charges and uncharges at random, and leaves what it holds in `held`.
void work_at_random(const std::vector<test_account*>& payers, std::mt19937_64& random, const stopwatch& watch,
                    std::deque<held_charge>& held) {
    page_counter* over = nullptr;
    while (watch.running()) {
        if (random() % 2 == 0 && !held.empty()) {
            const held_charge last = held.front();
            held.pop_front();
            last.object ? uncharge_object(*last.payer, last.bytes, last.kind)
                        : uncharge_pages(*last.payer, last.bytes, last.kind);
            continue;
        }
        held_charge fresh{payers[random() % payers.size()], 1 + random() % 5000,
                          static_cast<charge_kind>(random() % charge_kind_count), random() % 2 == 0};
        fresh.object = fresh.object && paid_by_root(fresh.kind);
        if (fresh.object ? try_charge_object(*fresh.payer, fresh.bytes, fresh.kind, &over)
                         : try_charge_pages(*fresh.payer, fresh.bytes, fresh.kind, &over))
            held.push_back(fresh);
    }
}

TEST_F(account_tree, shares_add_up_after_random_work_of_many_threads) {
    constexpr unsigned threads = 4;
    const std::uint64_t seed = allot_test::fresh_seed();
    a.here.counter.max = 200'000;
    a2.here.counter.max = 50'000;
    std::deque<held_charge> held[threads];
    const stopwatch watch{200 * ms};
    allot_test::run_threads(threads, [&](unsigned index) {
        std::mt19937_64 random{seed + index};
        work_at_random(all(), random, watch, held[index]);
    });
    EXPECT_EQ(sum_of_shares(), static_cast<std::int64_t>(root.usage()));
    byte_count under_a = 0, in_root = 0;
    std::int64_t own_of_b[charge_kind_count] = {};
    for (const auto& each : held)
        for (const held_charge& one : each) {
            under_a += one.payer == &a || one.payer == &a1 || one.payer == &a2 ? one.bytes : 0;
            in_root += one.object ? 0 : one.bytes;
            if (one.payer == &b)
                own_of_b[static_cast<std::size_t>(one.kind)] += static_cast<std::int64_t>(one.bytes);
        }
    EXPECT_EQ(a.usage(), under_a);
    EXPECT_EQ(root.usage(), in_root);
    for (std::size_t kind = 0; kind < charge_kind_count; ++kind)
        EXPECT_EQ(b.own(static_cast<charge_kind>(kind)), own_of_b[kind]);
    EXPECT_GT(a.here.counter.max_events + a2.here.counter.max_events, 0u) << "limits were hit";

    for (const auto& each : held)
        for (const held_charge& one : each)
            one.object ? uncharge_object(*one.payer, one.bytes, one.kind)
                       : uncharge_pages(*one.payer, one.bytes, one.kind);
    for (const test_account* each : all()) {
        EXPECT_EQ(each->usage(), 0u);
        EXPECT_EQ(local_bytes(*each), 0);
    }
}

TEST_F(account_tree, shares_add_up_though_accounts_go_while_their_parents_work) {
    constexpr unsigned threads = 3;
    const std::uint64_t seed = allot_test::fresh_seed();
    std::deque<held_charge> held[threads];
    std::mt19937_64 before{seed};
    work_at_random({&a1, &a2}, before, stopwatch{10 * ms}, held[0]);
    std::deque<held_charge> left;
    left.swap(held[0]);
    const stopwatch watch{100 * ms};
    allot_test::run_threads(threads + 1, [&](unsigned index) {
        if (index < threads) {
            std::mt19937_64 random{seed + 1 + index};
            work_at_random({&a, &b, &root}, random, watch, held[index]);
            return;
        }
        reparent_local(a1, a);
        reparent_local(a2, a);
        for (const held_charge& one : left) // what is freed later uncharges the parent
            one.object ? uncharge_object(a, one.bytes, one.kind) : uncharge_pages(a, one.bytes, one.kind);
    });
    EXPECT_EQ(sum_of_shares(), static_cast<std::int64_t>(root.usage()));
    EXPECT_EQ(local_bytes(a1), 0);
    EXPECT_EQ(local_bytes(a2), 0);
    for (const auto& each : held)
        for (const held_charge& one : each)
            one.object ? uncharge_object(*one.payer, one.bytes, one.kind)
                       : uncharge_pages(*one.payer, one.bytes, one.kind);
    for (const test_account* each : {&root, &a, &b})
        EXPECT_EQ(local_bytes(*each), 0);
    EXPECT_EQ(root.usage(), 0u);
    EXPECT_EQ(a.usage(), 0u);
}

// --- The published form -----------------------------------------------------------------------------------------------------

TEST(account_record, is_laid_out_as_readers_of_the_stat_file_expect) {
    account_record record;
    record.counter.usage = 1;
    record.counter.watermark = 2;
    record.counter.failures = 3;
    record.counter.max_events = 4;
    record.counter.high_events = 5;
    record.counter.allocations = 6;
    record.counter.max = 7;
    record.counter.high = 8;
    record.counter.low = 9;
    record.counter.min = 10;
    record.state = ALLOT_RECORD_DYING;
    record.parent = 12;
    record.id = 13;
    for (std::size_t kind = 0; kind < charge_kind_count; ++kind)
        record.local[kind] = 20 + static_cast<std::int64_t>(kind);
    std::strcpy(record.name, "tenant");

    allot_stat_record read;
    std::memcpy(&read, static_cast<const void*>(&record), sizeof read);
    EXPECT_EQ(read.usage, 1u);
    EXPECT_EQ(read.peak, 2u);
    EXPECT_EQ(read.failures, 3u);
    EXPECT_EQ(read.max_events, 4u);
    EXPECT_EQ(read.high_events, 5u);
    EXPECT_EQ(read.allocations, 6u);
    EXPECT_EQ(read.max, 7u);
    EXPECT_EQ(read.high, 8u);
    EXPECT_EQ(read.low, 9u);
    EXPECT_EQ(read.min, 10u);
    EXPECT_EQ(read.state, static_cast<std::uint32_t>(ALLOT_RECORD_DYING));
    EXPECT_EQ(read.parent, 12u);
    EXPECT_EQ(read.id, 13u);
    EXPECT_EQ(read.slab, 20);
    EXPECT_EQ(read.shared, 21);
    EXPECT_EQ(read.large, 22);
    EXPECT_EQ(read.external, 23);
    EXPECT_EQ(read.metadata, 24);
    EXPECT_STREQ(read.name, "tenant");
}

TEST(account_record, of_zeros_is_free) {
    alignas(account_record) static const char zeros[sizeof(account_record)] = {};
    allot_stat_record read;
    std::memcpy(&read, zeros, sizeof read);
    EXPECT_EQ(read.state, static_cast<std::uint32_t>(ALLOT_RECORD_FREE));
}

} // namespace
} // namespace allot::counter
