// SPDX-License-Identifier: MIT
//
// spinlock_test: one holder at a time, waiters sleep and are woken, and with irqsave a handler may take the same lock.
#include "sync/spinlock.hpp"

#include "support/threads.hpp"
#include "sync/context.hpp"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace allot::sync {
namespace {

using allot_test::ms;
using allot_test::not_yet;
using allot_test::soon;
using allot_test::stopwatch;

/// These tests take locks of the library's ranks as the library never does, which must not count against it.
class a_spinlock : public testing::Test {
  protected:
    void TearDown() override {
        for (std::size_t i = 0; i < rank_count; ++i)
            forget_lock_contexts(static_cast<lock_rank>(i));
    }
};

/// What a lock guards: two counters that are equal whenever nobody holds the lock.
struct guarded {
    spinlock lock{lock_rank::page_alloc};
    std::uint64_t first = 0;
    std::uint64_t second = 0;

    /// With the lock held.
    void change(bool slowly) {
        EXPECT_EQ(first, second);
        ++first;
        if (slowly)
            platform::yield();
        ++second;
    }
};

TEST_F(a_spinlock, excludes_all_others_under_contention) {
    guarded data;
    std::atomic<std::uint64_t> changes{0};
    const stopwatch watch{150 * ms};
    allot_test::run_threads(4, [&](unsigned) {
        std::uint64_t n = 0;
        for (; watch.running(); ++n) {
            lock_guard hold(data.lock);
            data.change(n % 64 == 0);
        }
        changes += n;
    });
    EXPECT_EQ(data.first, changes);
    EXPECT_EQ(data.second, changes);
}

TEST_F(a_spinlock, excludes_those_that_only_try) {
    guarded data;
    std::atomic<std::uint64_t> changes{0};
    const stopwatch watch{100 * ms};
    allot_test::run_threads(4, [&](unsigned index) {
        while (watch.running()) {
            if (index < 2) {
                if (!data.lock.try_lock())
                    continue;
            } else {
                data.lock.lock();
            }
            data.change(index == 0);
            ++changes;
            data.lock.unlock();
        }
    });
    EXPECT_EQ(data.first, changes);
}

TEST_F(a_spinlock, try_lock_fails_while_held_and_works_when_free) {
    spinlock lock{lock_rank::page_alloc};
    ASSERT_TRUE(lock.try_lock());
    std::thread([&] { EXPECT_FALSE(lock.try_lock()); }).join();
    lock.unlock();
    std::thread([&] {
        ASSERT_TRUE(lock.try_lock());
        lock.unlock();
    }).join();
    lock.lock();
    lock.unlock();
}

TEST_F(a_spinlock, a_waiter_gets_the_lock_when_it_is_released_and_not_before) {
    spinlock lock{lock_rank::page_alloc};
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

TEST_F(a_spinlock, every_sleeper_is_woken_in_its_turn) {
    for (int round = 0; round < 5; ++round) {
        spinlock lock{lock_rank::page_alloc};
        std::atomic<unsigned> got{0};
        lock.lock();
        std::vector<std::thread> waiters;
        for (int i = 0; i < 6; ++i)
            waiters.emplace_back([&] {
                lock_guard hold(lock);
                ++got;
            });
        std::this_thread::sleep_for(std::chrono::milliseconds(2)); // some sleep, some may still spin
        EXPECT_EQ(got, 0u);
        lock.unlock();
        EXPECT_TRUE(soon([&] { return got == 6; }));
        for (auto& waiter : waiters)
            waiter.join();
    }
}

std::uint64_t thread_cpu_ns() {
    timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(used.tv_nsec);
}

TEST_F(a_spinlock, a_long_wait_costs_no_cpu) {
    spinlock lock{lock_rank::page_alloc};
    std::atomic<bool> waiting{false};
    std::uint64_t cpu_ns = ~std::uint64_t{0};
    lock.lock();
    std::thread waiter([&] {
        const std::uint64_t before = thread_cpu_ns();
        waiting = true;
        lock_guard hold(lock);
        cpu_ns = thread_cpu_ns() - before;
    });
    EXPECT_TRUE(soon([&] { return waiting.load(); }));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    lock.unlock();
    waiter.join();
    EXPECT_LT(cpu_ns, 50 * ms) << "it slept for 100 ms";
}

TEST_F(a_spinlock, keeps_errno_when_it_waits_and_when_it_wakes) {
    spinlock lock{lock_rank::page_alloc};
    lock.lock();
    std::thread waiter([&] {
        errno = E2BIG;
        lock.lock();
        EXPECT_EQ(errno, E2BIG);
        lock.unlock();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    errno = EXDEV;
    lock.unlock();
    EXPECT_EQ(errno, EXDEV);
    waiter.join();
}

TEST_F(a_spinlock, a_forked_child_can_make_it_free) {
    spinlock lock{lock_rank::page_alloc};
    std::atomic<bool> held{false}, go_on{false};
    std::thread holder([&] {
        lock_guard hold(lock);
        held = true;
        EXPECT_TRUE(soon([&] { return go_on.load(); }));
    });
    EXPECT_TRUE(soon([&] { return held.load(); }));
    const pid_t child = ::fork();
    if (child == 0) {
        const bool was_held = !lock.try_lock();
        lock.reset_after_fork();
        ::_exit(was_held && lock.try_lock() ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_FALSE(lock.try_lock()) << "the parent's is as it was";
    go_on = true;
    holder.join();
}

// --- irqsave ----------------------------------------------------------------------------------------------------------------

class irqsave : public a_spinlock {};

/// A handler for SIGUSR1 that takes the lock and changes what it guards, until the end of the test.
class locking_handler {
  public:
    locking_handler() {
        data = &guarded_here_;
        handled = 0;
        struct sigaction action {};
        action.sa_handler = [](int) {
            handler_scope here;
            irqsave_guard hold(data->lock);
            data->change(false);
            ++handled;
        };
        ::sigaction(SIGUSR1, &action, &before_);
    }
    ~locking_handler() { ::sigaction(SIGUSR1, &before_, nullptr); }

    static inline guarded* data;
    static inline std::atomic<std::uint64_t> handled;

  private:
    guarded guarded_here_;
    struct sigaction before_ {};
};

TEST_F(irqsave, a_handler_waits_until_the_lock_is_released) {
    locking_handler handler;
    {
        irqsave_guard hold(handler.data->lock);
        std::raise(SIGUSR1);
        EXPECT_EQ(handler.handled, 0u);
        handler.data->change(false);
    }
    EXPECT_EQ(handler.handled, 1u) << "delivered once the lock is free and the mask restored";
    EXPECT_EQ(handler.data->first, 2u);
}

TEST_F(irqsave, restores_the_callers_mask) {
    sigset_t own, before, after;
    sigemptyset(&own);
    sigaddset(&own, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &own, &before);
    spinlock lock{lock_rank::page_alloc};
    {
        irqsave_guard hold(lock);
        pthread_sigmask(SIG_SETMASK, nullptr, &after);
        EXPECT_EQ(sigismember(&after, SIGUSR1), 1);
    }
    pthread_sigmask(SIG_SETMASK, &before, &after);
    EXPECT_EQ(sigismember(&after, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&after, SIGUSR1), 0);
}

TEST_F(irqsave, handlers_take_the_lock_of_the_threads_they_interrupt) {
    locking_handler handler;
    std::atomic<unsigned> at_work{2};
    std::atomic<unsigned> ready{0};
    std::atomic<bool> signals_over{false};
    std::atomic<std::uint64_t> changes{0};
    pthread_t threads[2];
    const stopwatch watch{150 * ms};
    allot_test::run_threads(3, [&](unsigned index) {
        if (index == 2) {
            EXPECT_TRUE(soon([&] { return ready == 2; }));
            for (unsigned n = 0; at_work != 0; ++n) {
                pthread_kill(threads[n % 2], SIGUSR1);
                std::this_thread::sleep_for(std::chrono::microseconds(20));
            }
            signals_over = true;
            return;
        }
        threads[index] = pthread_self();
        ++ready;
        for (std::uint64_t n = 0; watch.running(); ++n) {
            irqsave_guard hold(handler.data->lock);
            handler.data->change(n % 64 == 0);
            ++changes;
        }
        --at_work;
        EXPECT_TRUE(soon([&] { return signals_over.load(); })); // it may still be signalled
    });
    EXPECT_GT(handler.handled, 0u);
    EXPECT_EQ(handler.data->first, changes + handler.handled);
    EXPECT_EQ(handler.data->second, handler.data->first);
}

} // namespace
} // namespace allot::sync
