// SPDX-License-Identifier: MIT
//
// os_test: system calls keep errno, sleep and wake as they say, and signals wait while they are blocked.
#include "platform/os.hpp"

#include "support/threads.hpp"

#include <cerrno>
#include <csignal>
#include <gtest/gtest.h>
#include <linux/membarrier.h>
#include <set>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace allot::platform {
namespace {

using allot_test::ms;
using allot_test::soon;

std::atomic<int> signals_seen{0};

/// Counts SIGUSR1 over a test.
class counted_signal {
  public:
    counted_signal() {
        signals_seen = 0;
        struct sigaction action {};
        action.sa_handler = [](int) { ++signals_seen; };
        ::sigaction(SIGUSR1, &action, &before_);
    }
    ~counted_signal() { ::sigaction(SIGUSR1, &before_, nullptr); }

  private:
    struct sigaction before_ {};
};

bool is_blocked(int signal) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return sigismember(&mask, signal) == 1;
}

TEST(os, errno_guard_restores_errno_over_a_scope) {
    errno = ENOENT;
    {
        errno_guard keep;
        errno = EIO;
    }
    EXPECT_EQ(errno, ENOENT);
}

TEST(os, blocked_signals_arrive_at_the_end_of_the_scope) {
    counted_signal counted;
    {
        signals_blocked blocked;
        EXPECT_TRUE(is_blocked(SIGUSR1));
        EXPECT_TRUE(is_blocked(SIGTERM));
        std::raise(SIGUSR1);
        EXPECT_EQ(signals_seen, 0);
    }
    EXPECT_EQ(signals_seen, 1);
    EXPECT_FALSE(is_blocked(SIGUSR1));
}

TEST(os, blocking_nests_and_restores_the_callers_mask) {
    counted_signal counted;
    sigset_t own, before;
    sigemptyset(&own);
    sigaddset(&own, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &own, &before);
    {
        signals_blocked outer;
        {
            signals_blocked inner;
            std::raise(SIGUSR1);
        }
        EXPECT_EQ(signals_seen, 0) << "the outer scope still blocks";
    }
    EXPECT_EQ(signals_seen, 1);
    EXPECT_TRUE(is_blocked(SIGUSR2)) << "what the caller blocked stays blocked";
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(os, blocking_signals_keeps_errno) {
    errno = E2BIG;
    { signals_blocked blocked; }
    EXPECT_EQ(errno, E2BIG);
}

TEST(os, blocking_is_this_threads_alone) {
    signals_blocked blocked;
    bool other_is_blocked = true;
    // A thread inherits the mask; so it is the other way round that tells: unblock there, and here nothing changes.
    std::thread([&] {
        sigset_t none;
        sigemptyset(&none);
        pthread_sigmask(SIG_SETMASK, &none, nullptr);
        other_is_blocked = is_blocked(SIGUSR1);
    }).join();
    EXPECT_FALSE(other_is_blocked);
    EXPECT_TRUE(is_blocked(SIGUSR1));
}

TEST(os, futex_wait_returns_at_once_if_the_word_has_changed) {
    std::atomic<std::uint32_t> word{1};
    const std::uint64_t begin = now_ns();
    futex_wait(word, 0, 10'000 * ms);
    EXPECT_LT(now_ns() - begin, 5'000 * ms);
}

TEST(os, futex_wait_ends_after_its_timeout) {
    std::atomic<std::uint32_t> word{0};
    const std::uint64_t begin = now_ns();
    const std::uint64_t timeout_ns = 5 * ms;
    while (now_ns() - begin < timeout_ns) // it may return early
        futex_wait(word, 0, timeout_ns);
    EXPECT_LT(now_ns() - begin, 5'000 * ms);
}

TEST(os, futex_wait_without_a_timeout_sleeps_until_woken) {
    std::atomic<std::uint32_t> word{0};
    std::atomic<bool> awake{false};
    std::thread sleeper([&] {
        while (word.load() == 0)
            futex_wait(word, 0, 0);
        awake = true;
    });
    EXPECT_TRUE(allot_test::not_yet([&] { return awake.load(); }));
    word = 1;
    futex_wake(word, 1);
    EXPECT_TRUE(soon([&] { return awake.load(); }));
    sleeper.join();
}

TEST(os, futex_wake_wakes_as_many_as_asked) {
    constexpr int count = 4;
    std::atomic<std::uint32_t> word{0};
    std::atomic<int> awake{0};
    std::vector<std::thread> sleepers;
    for (int i = 0; i < count; ++i)
        sleepers.emplace_back([&] {
            while (word.load() == 0)
                futex_wait(word, 0, 0);
            ++awake;
        });
    EXPECT_TRUE(allot_test::not_yet([&] { return awake != 0; }));
    word = 1;
    for (int woken = 0; woken < count; woken += 2)
        futex_wake(word, 2);
    EXPECT_TRUE(soon([&] { return awake == count; }));
    for (auto& sleeper : sleepers)
        sleeper.join();
}

TEST(os, futex_calls_keep_errno) {
    std::atomic<std::uint32_t> word{0};
    errno = E2BIG;
    futex_wait(word, 1, 0);  // fails with EAGAIN
    futex_wait(word, 0, ms); // fails with ETIMEDOUT
    futex_wake(word, 1);
    EXPECT_EQ(errno, E2BIG);
}

TEST(os, a_signal_ends_a_futex_wait_early_at_most) {
    counted_signal counted;
    std::atomic<std::uint32_t> word{0};
    std::atomic<bool> awake{false};
    std::thread sleeper([&] {
        while (word.load() == 0)
            futex_wait(word, 0, 0);
        awake = true;
    });
    for (int i = 0; i < 10; ++i) {
        pthread_kill(sleeper.native_handle(), SIGUSR1);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    EXPECT_FALSE(awake);
    word = 1;
    futex_wake(word, 1);
    sleeper.join();
    EXPECT_GT(signals_seen, 0);
}

TEST(os, membarrier_is_decided_once_and_keeps_errno) {
    errno = E2BIG;
    const bool ready = membarrier_ready();
    for (int i = 0; i < 100; ++i)
        EXPECT_EQ(membarrier_ready(), ready);
    if (ready)
        membarrier_all();
    EXPECT_EQ(errno, E2BIG);
}

#if !ALLOT_TSAN // which does without membarrier
TEST(os, membarrier_still_works_in_a_forked_child) {
    if (!membarrier_ready())
        GTEST_SKIP() << "this kernel has no membarrier";
    const pid_t child = ::fork();
    if (child == 0)
        ::_exit(::syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0 ? 0 : 1);
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "the child inherits the registration";
}

TEST(os, membarrier_orders_a_store_before_another_threads_load) {
    // Store buffering with a compiler barrier on one side and membarrier on the other: they may not miss each other both.
    if (!membarrier_ready())
        GTEST_SKIP() << "this kernel has no membarrier";
    struct alignas(2 * cache_line_bytes) word {
        std::atomic<unsigned> value{0};
    };
    word x, y, begun, ended;
    unsigned light_saw = 0;
    std::atomic<bool> stopped{false};
    std::thread light([&] {
        for (unsigned round = 1;; ++round) {
            while (begun.value.load() < round)
                if (stopped)
                    return;
            x.value.store(round, std::memory_order_relaxed);
            compiler_barrier();
            light_saw = y.value.load(std::memory_order_relaxed);
            ended.value.store(round);
        }
    });
    const allot_test::stopwatch watch{150 * ms};
    unsigned both_missed = 0;
    volatile unsigned delay = 0;
    for (unsigned round = 1; watch.running(); ++round) {
        begun.value.store(round);
        for (unsigned spin = 0; spin < round % 200; ++spin)
            delay = spin;
        y.value.store(round, std::memory_order_relaxed);
        membarrier_all();
        const unsigned heavy_saw = x.value.load(std::memory_order_relaxed);
        while (ended.value.load() < round) {
        }
        both_missed += heavy_saw < round && light_saw < round;
    }
    stopped = true;
    light.join();
    static_cast<void>(delay);
    EXPECT_EQ(both_missed, 0u);
}
#endif

TEST(os, time_does_not_go_back) {
    std::uint64_t before = now_ns();
    for (int i = 0; i < 10'000; ++i) {
        const std::uint64_t now = now_ns();
        ASSERT_GE(now, before);
        before = now;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_GE(now_ns(), before + 2 * ms);
}

TEST(os, threads_have_ids_of_their_own) {
    std::set<int> ids{thread_id()};
    EXPECT_EQ(thread_id(), ::getpid()) << "the first thread's is the process's";
    std::atomic<unsigned> arrived{0};
    int found[4] = {};
    allot_test::run_threads(4, [&](unsigned index) {
        found[index] = thread_id();
        ++arrived;
        while (arrived < 4)
            yield();
    });
    ids.insert(std::begin(found), std::end(found));
    EXPECT_EQ(ids.size(), 5u);
}

} // namespace
} // namespace allot::platform
