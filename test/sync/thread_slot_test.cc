// SPDX-License-Identifier: MIT
//
// thread_slot_test: a thread has one slot from its first use to its exit, and the slot serves another thread afterwards.
#include "sync/thread_slot.hpp"

#include "support/threads.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <pthread.h>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

namespace allot::sync {
namespace {

using allot_test::attach_thread;
using allot_test::ms;
using allot_test::not_yet;
using allot_test::soon;
using allot_test::stopwatch;

/// Threads that have a slot and keep it until the end of the scope.
class attached_threads {
  public:
    explicit attached_threads(unsigned count) {
        attach_thread();
        for (unsigned i = 0; i < count; ++i)
            threads_.emplace_back([this] {
                EXPECT_TRUE(attach_thread());
                EXPECT_GT(tls.slot->index, 0u);
                EXPECT_EQ(tls.slot->owner.load(), &tls);
                {
                    busy_scope busy;
                    lock_guard hold(lock_);
                    slots_.insert(tls.slot);
                }
                ++attached_;
                while (!go_)
                    std::this_thread::sleep_for(std::chrono::microseconds(200));
            });
        EXPECT_TRUE(soon([&] { return attached_ == count; }));
    }
    ~attached_threads() { end(); }

    void end() {
        go_ = true;
        for (auto& thread : threads_)
            if (thread.joinable())
                thread.join();
    }
    const std::set<thread_slot*>& slots() const { return slots_; }

  private:
    spinlock lock_{lock_rank::page_alloc};
    std::set<thread_slot*> slots_;
    std::atomic<unsigned> attached_{0};
    std::atomic<bool> go_{false};
    std::vector<std::thread> threads_;
};

TEST(thread_slot, a_thread_has_none_before_its_first_use) {
    std::thread([] {
        EXPECT_EQ(tls.slot, &no_slot);
        EXPECT_TRUE(no_slot.reader.inside()) << "so no fast path is taken";
        EXPECT_EQ(tls.bins, &no_bins);
        EXPECT_EQ(tls.busy, 0u);
        EXPECT_EQ(tls.flags, 0u);
    }).join();
}

TEST(thread_slot, the_first_use_gives_one_and_the_next_keep_it) {
    std::thread([] {
        ASSERT_TRUE(attach_thread());
        thread_slot* const slot = tls.slot;
        EXPECT_EQ(&slot_at(slot->index), slot);
        EXPECT_LT(slot->index, slots_used());
        EXPECT_EQ(slot->owner.load(), &tls);
        EXPECT_FALSE(slot->reader.inside());
        EXPECT_TRUE(attach_thread());
        EXPECT_EQ(tls.slot, slot);
    }).join();
}

TEST(thread_slot, threads_that_live_together_have_slots_of_their_own) {
    attached_threads threads{32};
    EXPECT_EQ(threads.slots().size(), 32u);
    EXPECT_FALSE(threads.slots().contains(tls.slot));
    EXPECT_FALSE(threads.slots().contains(&slot_at(1))) << "slot 1 serves the threads without one";
    for (const thread_slot* slot : threads.slots())
        EXPECT_NE(slot->owner.load(), nullptr);
}

TEST(thread_slot, an_exited_thread_leaves_its_slot_free) {
    attached_threads threads{4};
    threads.end();
    for (const thread_slot* slot : threads.slots()) {
        EXPECT_EQ(slot->owner.load(), nullptr);
        EXPECT_FALSE(slot->reader.inside());
    }
}

TEST(thread_slot, the_slot_of_an_exited_thread_serves_the_next_one) {
    attach_thread();
    thread_slot* first = nullptr;
    thread_slot* second = nullptr;
    std::thread([&] { first = attach_thread() ? tls.slot : nullptr; }).join();
    std::thread([&] { second = attach_thread() ? tls.slot : nullptr; }).join();
    EXPECT_NE(first, nullptr);
    EXPECT_EQ(first, second);
}

TEST(thread_slot, thousands_of_short_threads_use_few_slots) {
    attach_thread();
    constexpr unsigned at_once = 4;
    const unsigned before = slots_used();
    const stopwatch watch{600 * ms};
    std::atomic<unsigned> count{0};
    allot_test::run_threads(at_once, [&](unsigned) {
        for (int i = 0; i < 750 && (watch.running() || count <= 100); ++i)
            std::thread([&] { count += attach_thread(); }).join();
    });
    EXPECT_GT(count, 100u);
    EXPECT_LE(slots_used(), before + at_once);
}

TEST(thread_slot, numbers_are_not_lost_when_many_come_and_go_together) {
    attach_thread();
    attached_threads(24).end();
    const unsigned used = slots_used();
    for (int round = 0; round < 5; ++round) {
        attached_threads threads{24};
        EXPECT_EQ(threads.slots().size(), 24u);
    }
    EXPECT_EQ(slots_used(), used) << "24 slots are enough for 24 threads, every time";
}

TEST(thread_slot, who_walks_the_slots_sees_each_initialised) {
    attach_thread();
    std::atomic<bool> stopped{false};
    std::thread walker([&] {
        while (!stopped)
            for (std::uint32_t i = 1; i < slots_used(); ++i)
                ASSERT_EQ(slot_at(i).index, i);
    });
    for (unsigned count = 8; count <= 64; count *= 2)
        attached_threads threads{count};
    stopped = true;
    walker.join();
}

TEST(thread_slot, the_registry_lock_keeps_threads_from_coming) {
    attach_thread();
    std::atomic<bool> attached{false};
    std::thread comes;
    {
        busy_scope busy;
        lock_guard hold(slots_registry_lock());
        comes = std::thread([&] {
            EXPECT_TRUE(attach_thread());
            attached = true;
        });
        EXPECT_TRUE(not_yet([&] { return attached.load(); }));
    }
    EXPECT_TRUE(soon([&] { return attached.load(); }));
    comes.join();
}

TEST(thread_slot, the_registry_lock_keeps_threads_from_going) {
    attach_thread();
    std::atomic<thread_slot*> slot{nullptr};
    std::atomic<bool> go{false};
    std::thread goes([&] {
        EXPECT_TRUE(attach_thread());
        slot = tls.slot;
        EXPECT_TRUE(soon([&] { return go.load(); }));
    });
    EXPECT_TRUE(soon([&] { return slot != nullptr; }));
    const auto is_gone = [&] { return slot.load()->owner.load() == nullptr; };
    {
        busy_scope busy;
        lock_guard hold(slots_registry_lock());
        go = true;
        EXPECT_TRUE(not_yet(is_gone));
    }
    EXPECT_TRUE(soon(is_gone));
    goes.join();
}

TEST(thread_slot, busy_scopes_nest) {
    const std::uint32_t before = tls.busy;
    {
        busy_scope outer;
        EXPECT_EQ(tls.busy, before + 1);
        busy_scope inner;
        EXPECT_EQ(tls.busy, before + 2);
    }
    EXPECT_EQ(tls.busy, before);
}

TEST(thread_slot, a_handler_sees_that_it_is_on_top_of_a_busy_thread) {
    static std::atomic<int> busy_seen;
    struct sigaction action {
    }, before{};
    action.sa_handler = [](int) { busy_seen = static_cast<int>(tls.busy); };
    ::sigaction(SIGUSR1, &action, &before);
    {
        busy_scope busy;
        std::raise(SIGUSR1);
    }
    EXPECT_EQ(busy_seen, 1);
    std::raise(SIGUSR1);
    EXPECT_EQ(busy_seen, 0);
    ::sigaction(SIGUSR1, &before, nullptr);
}

// --- After the exit hook ----------------------------------------------------------------------------------------------------

/// What a destructor of thread-specific data finds, in a key that was made after the library's.
struct late_destructor {
    static inline pthread_key_t key;
    static inline bool had_slot, attached_again, marked_exited;
    static inline std::atomic<bool> inside, go_on;

    static void look(void*) {
        had_slot = tls.slot != &no_slot;
        attached_again = attach_thread();
        marked_exited = (tls.flags & thread_exited) != 0;
        rcu_guard guard;
        inside = true;
        EXPECT_TRUE(soon([] { return go_on.load(); }));
    }
};

TEST(thread_slot, destructors_that_run_after_the_exit_hook_read_without_a_slot) {
    attach_thread(); // the library's key comes first, so its destructor runs first
    late_destructor::inside = late_destructor::go_on = false;
    ASSERT_EQ(::pthread_key_create(&late_destructor::key, late_destructor::look), 0);
    std::thread exits([] {
        EXPECT_TRUE(attach_thread());
        ::pthread_setspecific(late_destructor::key, &late_destructor::key);
    });
    EXPECT_TRUE(soon([] { return late_destructor::inside.load(); }));
    std::atomic<bool> over{false};
    std::thread updater([&] {
        synchronize_rcu();
        over = true;
    });
    EXPECT_TRUE(not_yet([&] { return over.load(); })) << "its section counts";
    late_destructor::go_on = true;
    exits.join();
    updater.join();
    EXPECT_FALSE(late_destructor::had_slot);
    EXPECT_FALSE(late_destructor::attached_again) << "nobody would take the slot away again";
    EXPECT_TRUE(late_destructor::marked_exited);
    ::pthread_key_delete(late_destructor::key);
}

// --- Fork -------------------------------------------------------------------------------------------------------------------

TEST(thread_slot, in_a_forked_child_the_vanished_threads_own_nothing) {
    attached_threads threads{8};
    thread_slot* const own = tls.slot;
    const std::uint32_t used = slots_used();
    const pid_t child = ::fork();
    if (child == 0) {
        bool right = tls.slot == own && own->owner.load() == &tls;
        for (const thread_slot* slot : threads.slots())
            right = right && slot->owner.load() == nullptr && !slot->reader.inside();
        synchronize_rcu(); // would hang
        ::_exit(right ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    for (const thread_slot* slot : threads.slots())
        EXPECT_NE(slot->owner.load(), nullptr) << "in the parent nothing has changed";
    EXPECT_EQ(slots_used(), used);
}

#if !ALLOT_TSAN // which cannot start threads in a forked child
TEST(thread_slot, in_a_forked_child_all_numbers_but_two_are_free) {
    attached_threads threads{8};
    const std::uint32_t used = slots_used();
    if (used > 1000)
        GTEST_SKIP() << "too many slots to try them all";
    const pid_t child = ::fork();
    if (child == 0) {
        // Numbers from 1 up, without slot 1, which serves the threads that have none, and the only thread's own.
        attached_threads all{used - 3};
        const bool right = all.slots().size() == used - 3 && slots_used() == used;
        all.end();
        ::_exit(right ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}
#endif

TEST(thread_slot, a_thread_without_a_slot_may_fork) {
    attached_threads threads{2};
    std::thread([&] {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            bool right = tls.slot == &no_slot;
            for (const thread_slot* slot : threads.slots())
                right = right && slot->owner.load() == nullptr;
            synchronize_rcu();
            ::_exit(right && attach_thread() ? 0 : 1);
        }
        int status = -1;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    }).join();
}

TEST(thread_slot, forks_while_threads_come_and_go_lose_no_slot) {
    attach_thread();
    std::atomic<bool> stopped{false};
    std::thread churn([&] {
        while (!stopped)
            std::thread([] { attach_thread(); }).join();
    });
    for (int i = 0; i < 10; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            synchronize_rcu();
            bool right = tls.slot->owner.load() == &tls;
            for (std::uint32_t n = 1; n < slots_used(); ++n)
                right = right && (&slot_at(n) == tls.slot || slot_at(n).owner.load() == nullptr);
            ::_exit(right ? 0 : 1);
        }
        int status = -1;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    }
    stopped = true;
    churn.join();
}

} // namespace
} // namespace allot::sync
