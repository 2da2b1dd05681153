// SPDX-License-Identifier: MIT
//
// mutex_test: one holder at a time, waiters sleep and are woken; it may be held while waiting, and is only taken where one may.
#include "sync/mutex.hpp"

#include "support/bugs.hpp"
#include "support/threads.hpp"
#include "sync/executor.hpp"

#include <cerrno>
#include <gtest/gtest.h>
#include <thread>

namespace allot::sync {
namespace {

using allot_test::ms;
using allot_test::not_yet;
using allot_test::soon;
using allot_test::stopwatch;

/// These tests take locks of the library's ranks as the library never does, which must not count against it.
class a_mutex : public testing::Test {
  protected:
    void TearDown() override {
        for (std::size_t i = 0; i < rank_count; ++i)
            forget_lock_contexts(static_cast<lock_rank>(i));
    }
};

TEST_F(a_mutex, excludes_all_others_under_contention) {
    mutex lock{lock_rank::reclaim};
    std::uint64_t first = 0, second = 0;
    std::atomic<std::uint64_t> changes{0};
    const stopwatch watch{100 * ms};
    allot_test::run_threads(4, [&](unsigned index) {
        while (watch.running()) {
            if (index != 0)
                lock.lock();
            else if (!lock.try_lock())
                continue;
            EXPECT_EQ(first, second);
            ++first;
            if (first % 64 == 0)
                platform::yield();
            ++second;
            ++changes;
            lock.unlock();
        }
    });
    EXPECT_EQ(first, changes);
    EXPECT_EQ(second, changes);
}

TEST_F(a_mutex, try_lock_fails_while_held_and_works_when_free) {
    mutex lock{lock_rank::reclaim};
    ASSERT_TRUE(lock.try_lock());
    std::thread([&] { EXPECT_FALSE(lock.try_lock()); }).join();
    lock.unlock();
    std::thread([&] {
        ASSERT_TRUE(lock.try_lock());
        lock.unlock();
    }).join();
}

TEST_F(a_mutex, a_waiter_gets_it_when_it_is_released_and_not_before) {
    mutex lock{lock_rank::reclaim};
    std::atomic<bool> got{false};
    lock.lock();
    std::thread waiter([&] {
        lock_guard hold(lock);
        got = true;
    });
    EXPECT_TRUE(not_yet([&] { return got.load(); }));
    lock.unlock();
    EXPECT_TRUE(soon([&] { return got.load(); }));
    waiter.join();
}

TEST_F(a_mutex, may_be_held_over_a_grace_period) {
    mutex lock{lock_rank::reclaim};
    lock_guard hold(lock);
    synchronize_rcu();
    drain();
}

TEST_F(a_mutex, keeps_errno) {
    mutex lock{lock_rank::reclaim};
    errno = E2BIG;
    { lock_guard hold(lock); }
    EXPECT_EQ(errno, E2BIG);
}

#if ALLOT_DEBUG

using allot_test::bug_in;

TEST_F(a_mutex, is_taken_where_one_may_block_even_if_nobody_holds_it) {
    ASSERT_TRUE(allot_test::attach_thread());
    static mutex lock{lock_rank::reclaim};
    static spinlock atomic{lock_rank::page_alloc};
    const auto is_refused = [] {
        const std::string waited = bug_in([] { lock.lock(); });
        const std::string tried = bug_in([] { static_cast<void>(lock.try_lock()); });
        return waited.starts_with("allot: BUG: might block") && tried.starts_with("allot: BUG: might block");
    };
    {
        lock_guard hold(atomic);
        EXPECT_TRUE(is_refused());
    }
    {
        rcu_guard section;
        EXPECT_TRUE(is_refused());
    }
    user_read_lock(); // its holders wait for no section of a user
    { lock_guard allowed(lock); }
    user_read_unlock();
    {
        handler_scope handler;
        EXPECT_TRUE(is_refused());
    }
    {
        callback_scope callbacks;
        EXPECT_TRUE(is_refused());
    }
    lock_guard hold(lock); // none of them took it
}

TEST_F(a_mutex, has_its_place_in_the_order) {
    static mutex reclaim{lock_rank::reclaim}, executor{lock_rank::executor};
    static spinlock later{lock_rank::tree};
    {
        lock_guard first(reclaim);
        lock_guard second(executor);
        lock_guard third(later);
        EXPECT_TRUE(holds_any_lock());
    }
    EXPECT_FALSE(holds_any_lock());
    lock_guard hold(executor);
    const std::string report = bug_in([] { reclaim.lock(); });
    EXPECT_TRUE(report.starts_with("allot: BUG: lock order: 'reclaim' is taken at ")) << report;
}

#endif

} // namespace
} // namespace allot::sync
