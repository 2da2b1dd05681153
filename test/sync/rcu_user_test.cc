// SPDX-License-Identifier: MIT
//
// rcu_user_test: the user's read-side sections, which are longer than the library's own and hold its work up no more than they must.
#include "support/threads.hpp"
#include "sync/executor.hpp"
#include "sync/thread_slot.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <unistd.h>

namespace allot::sync {
namespace {

using allot_test::attach_thread;
using allot_test::not_yet;
using allot_test::soon;

struct callback : work {
    callback() : work([](work& self) noexcept { static_cast<callback&>(self).ran = true; }) {}
    std::atomic<bool> ran{false};
};

TEST(rcu_user, a_section_is_known_to_its_thread_until_the_outermost_ends) {
    for (const bool with_slot : {true, false})
        std::thread([with_slot] {
            EXPECT_EQ(with_slot && attach_thread(), with_slot);
            EXPECT_FALSE(user_reading());
            user_read_lock();
            user_read_lock();
            EXPECT_TRUE(user_reading());
            user_read_unlock();
            EXPECT_TRUE(user_reading());
            user_read_unlock();
            EXPECT_FALSE(user_reading());
        }).join();
}

TEST(rcu_user, a_section_is_not_one_of_the_librarys) {
    ASSERT_TRUE(attach_thread());
    user_read_lock();
    EXPECT_FALSE(tls.slot->reader.inside()) << "memory is allocated inside as always";
    {
        rcu_guard guard;
        EXPECT_TRUE(tls.slot->reader.inside());
    }
    EXPECT_TRUE(user_reading());
    user_read_unlock();
}

TEST(rcu_user, a_section_goes_on_when_its_thread_gets_a_slot) {
    std::atomic<bool> attached{false}, go_on{false}, left{false}, over{false};
    std::thread reader([&] {
        user_read_lock();
        EXPECT_TRUE(attach_thread());
        EXPECT_TRUE(user_reading());
        user_read_lock();
        user_read_unlock();
        attached = true;
        EXPECT_TRUE(soon([&] { return go_on.load(); }));
        left = true;
        user_read_unlock();
        EXPECT_FALSE(user_reading());
        user_read_lock();
        EXPECT_TRUE(tls.slot->user_reader.inside()) << "the next one is in the slot";
        user_read_unlock();
    });
    EXPECT_TRUE(soon([&] { return attached.load(); }));
    std::thread updater([&] {
        synchronize_rcu();
        EXPECT_TRUE(left);
        over = true;
    });
    EXPECT_TRUE(not_yet([&] { return over.load(); }));
    go_on = true;
    reader.join();
    updater.join();
}

TEST(rcu_user, work_that_is_only_tried_does_not_wait_for_its_own_section) {
    ASSERT_TRUE(attach_thread());
    drain();
    callback queued;
    user_read_lock();
    call_rcu(queued);
    EXPECT_EQ(try_run_ready(), 0u) << "would hang";
    user_read_unlock();
    rcu_barrier();
    EXPECT_TRUE(queued.ran);
}

#if ALLOT_DEBUG
TEST(rcu_user, a_fork_inside_a_section_is_a_bug) {
    // A grace period under way would wait for the section, and the fork for the grace period.
    const auto fork_inside = [] {
        attach_thread();
        user_read_lock();
        if (::fork() == 0)
            ::_exit(0);
        ::_exit(0);
    };
    EXPECT_EXIT(fork_inside(), testing::KilledBySignal(SIGABRT), "allot: BUG: .*user_reading");
}
#endif

} // namespace
} // namespace allot::sync
