// SPDX-License-Identifier: MIT
//
// lock_rank_test: in debug builds every lock that is taken out of order is a bug, on first sight, whoever waits or not.
#include "sync/lock_rank.hpp"

#include "support/bugs.hpp"
#include "support/threads.hpp"
#include "sync/context.hpp"
#include "sync/spinlock.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace allot::sync {
namespace {

#if ALLOT_DEBUG

using allot_test::bug_in;

/// These tests take locks of the library's ranks as the library never does, which must not count against it.
class lock_rank_order : public testing::Test {
  protected:
    void TearDown() override {
        for (std::size_t i = 0; i < rank_count; ++i)
            forget_lock_contexts(static_cast<lock_rank>(i));
    }
};

constexpr lock_rank rank_at(unsigned index) { return static_cast<lock_rank>(index); }

/// What taking `second` under `first` is reported as; both are released.
std::string report_of(lock_rank first, lock_rank second) {
    static spinlock* outer; // static: they outlive the jump out of the report
    static spinlock* inner;
    auto one = std::make_unique<spinlock>(first);
    auto other = std::make_unique<spinlock>(second);
    outer = one.get();
    inner = other.get();
    outer->lock();
    std::string report = bug_in([] {
        inner->lock();
        inner->unlock();
    });
    outer->unlock();
    return report;
}

TEST_F(lock_rank_order, locks_are_taken_in_ascending_order_and_in_no_other) {
    for (unsigned first = 0; first < rank_count; ++first)
        for (unsigned second = 0; second < rank_count; ++second) {
            const bool both_slots = rank_at(first) == lock_rank::slot && rank_at(second) == lock_rank::slot;
            const std::string report = report_of(rank_at(first), rank_at(second));
            EXPECT_EQ(report.empty(), first < second || both_slots) << first << " then " << second << ": " << report;
            EXPECT_TRUE(report.empty() || report.starts_with("allot: BUG: lock order")) << report;
            ASSERT_FALSE(holds_any_lock());
        }
}

TEST_F(lock_rank_order, all_ranks_can_be_held_at_once) {
    std::vector<std::unique_ptr<spinlock>> locks;
    for (unsigned i = 0; i < rank_count; ++i) {
        locks.push_back(std::make_unique<spinlock>(rank_at(i)));
        locks.back()->lock();
    }
    for (const auto& lock : locks)
        lock->unlock(); // in any order
    EXPECT_FALSE(holds_any_lock());
}

TEST_F(lock_rank_order, a_thread_may_hold_many_slots_and_no_lock_before_them_afterwards) {
    static spinlock slots[3] = {spinlock{lock_rank::slot}, spinlock{lock_rank::slot}, spinlock{lock_rank::slot}};
    static spinlock registry{lock_rank::registry}, node{lock_rank::node};
    for (spinlock& slot : slots)
        slot.lock();
    EXPECT_EQ(bug_in([] { lock_guard hold(node); }), "");
    EXPECT_NE(bug_in([] { registry.lock(); }), "");
    slots[0].unlock();
    slots[2].unlock();
    EXPECT_NE(bug_in([] { registry.lock(); }), "") << "one is left";
    slots[1].unlock();
    EXPECT_EQ(bug_in([] { lock_guard hold(registry); }), "");
}

TEST_F(lock_rank_order, a_report_names_both_locks_and_where_they_were_taken) {
    static spinlock outer{lock_rank::slot}, inner{lock_rank::tree};
    const unsigned held = __LINE__ + 1;
    outer.lock();
    const unsigned taken = __LINE__ + 1;
    const std::string report = bug_in([] { inner.lock(); });
    outer.unlock();
    const auto here = [](unsigned line) { return "sync/lock_rank_test.cc:" + std::to_string(line); };
    EXPECT_NE(report.find("lock order: 'tree' is taken at "), std::string::npos) << report;
    EXPECT_NE(report.find(here(taken) + " while 'slot', taken at "), std::string::npos) << report;
    EXPECT_NE(report.find(here(held) + ", is held (docs/lock_order.md)"), std::string::npos) << report;
}

TEST_F(lock_rank_order, every_rank_has_a_name_of_its_own) {
    std::set<std::string> names;
    for (unsigned i = 0; i < rank_count; ++i)
        names.insert(name_of(rank_at(i)));
    EXPECT_EQ(names.size(), rank_count);
}

TEST_F(lock_rank_order, no_lock_whose_holder_may_wait_for_sections_is_taken_inside_one) {
    ASSERT_TRUE(allot_test::attach_thread());
    for (unsigned i = 0; i < rank_count; ++i) {
        static lock_rank rank;
        rank = rank_at(i);
        rcu_guard section;
        const std::string report = bug_in([] {
            lock_acquiring(rank);
            lock_released(rank);
        });
        EXPECT_EQ(report.empty(), rank > lock_rank::slot) << name_of(rank) << ": " << report;
        EXPECT_TRUE(report.empty() || report.find(" inside a read-side section") != std::string::npos) << report;
    }
}

TEST_F(lock_rank_order, what_was_released_no_longer_counts) {
    EXPECT_EQ(report_of(lock_rank::tree, lock_rank::slot), "");
    EXPECT_EQ(report_of(lock_rank::executor, lock_rank::tree), "");
}

TEST_F(lock_rank_order, a_lock_that_is_only_tried_is_checked_too) {
    static spinlock later{lock_rank::node}, earlier{lock_rank::tree};
    later.lock();
    EXPECT_NE(bug_in([] { static_cast<void>(earlier.try_lock()); }), "");
    later.unlock();
    EXPECT_FALSE(holds_any_lock());
}

TEST_F(lock_rank_order, a_try_that_fails_counts_nothing) {
    static spinlock lock{lock_rank::node};
    lock.lock();
    std::thread([] {
        EXPECT_FALSE(lock.try_lock());
        EXPECT_FALSE(holds_any_lock());
    }).join();
    lock.unlock();
}

TEST_F(lock_rank_order, taking_the_same_lock_twice_is_reported_rather_than_waited_for) {
    static spinlock lock{lock_rank::tree};
    lock.lock();
    EXPECT_NE(bug_in([] { lock.lock(); }), "");
    lock.unlock();
}

TEST_F(lock_rank_order, releasing_what_is_not_held_is_a_bug) {
    EXPECT_NE(bug_in([] { lock_released(lock_rank::tree); }), "");
    lock_acquiring(lock_rank::tree);
    EXPECT_NE(bug_in([] { lock_released(lock_rank::caches); }), "") << "another rank is held";
    lock_released(lock_rank::tree);
}

TEST_F(lock_rank_order, a_thread_answers_for_its_own_locks_only) {
    spinlock later{lock_rank::page_alloc};
    lock_guard hold(later);
    EXPECT_TRUE(holds_any_lock());
    std::thread([] {
        EXPECT_FALSE(holds_any_lock());
        spinlock earlier{lock_rank::reclaim};
        lock_guard hold_too(earlier);
        EXPECT_TRUE(holds_any_lock());
    }).join();
}

TEST_F(lock_rank_order, guards_count_for_as_long_as_they_live) {
    spinlock lock{lock_rank::metadata};
    {
        lock_guard hold(lock);
        EXPECT_TRUE(holds_any_lock());
    }
    EXPECT_FALSE(holds_any_lock());
    {
        irqsave_guard hold(lock);
        EXPECT_TRUE(holds_any_lock());
    }
    EXPECT_FALSE(holds_any_lock());
}

TEST_F(lock_rank_order, a_wrong_order_ends_the_process) {
    const auto take_in_wrong_order = [] {
        spinlock tree{lock_rank::tree}, slot{lock_rank::slot};
        lock_guard first(slot);
        lock_guard second(tree);
    };
    EXPECT_EXIT(take_in_wrong_order(), testing::KilledBySignal(SIGABRT), "lock order.*docs/lock_order.md");
}

#else

TEST(lock_rank, costs_nothing_in_release_builds) {
    EXPECT_LE(sizeof(spinlock), 2 * sizeof(std::uint32_t));
    lock_acquiring(lock_rank::page_alloc);
    lock_acquiring(lock_rank::reclaim); // not looked at
    lock_released(lock_rank::tree);
    EXPECT_TRUE(std::is_empty_v<call_site>);
}

#endif

} // namespace
} // namespace allot::sync
