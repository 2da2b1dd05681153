// SPDX-License-Identifier: MIT
//
// churn: groups, caches and blocks that come and go in the background while a test does something else, and signals that
// come at any moment.
//
// Idea.        The kernel's own tests are run beside a stress that makes and removes groups. Churn has a group of its own beside
//              the test's, so that the test's figures stay exact.
// Concurrency. one thread of its own; made and destroyed by the test's.
// Source.      Linux tools/testing/selftests/cgroup/with_stress.sh
#pragma once

#include "support/core.hpp"
#include "support/threads.hpp"

#include <csignal>
#include <ctime>

namespace allot_test {

/// Count of the dying under the group. A program without the library's thread has to poll for them to become fewer.
inline std::uint32_t dying_below(const allot::group& group) {
    if (!allot::sync::worker_allowed())
        allot_poll();
    return group.stat().nr_dying;
}

/// Makes, uses and closes groups and caches until it is destroyed; then nothing of it is left.
class churn {
  public:
    churn() : around_(allot::root().create("churn")), thread_([this] { run(); }) {}
    ~churn() {
        stop_ = true;
        thread_.join();
        around_.close();
        around_ = {};
        settle_all();
    }
    churn(const churn&) = delete;
    churn& operator=(const churn&) = delete;

  private:
    void run() {
        for (unsigned round = 0; !stop_; ++round) {
            const allot::group outer = around_.create("outer");
            const allot::group inner = outer.create("inner", {.max = 1u << 20});
            {
                const allot::scope in{inner};
                blocks some;
                for (std::size_t size = 8 + round % 8; size < 50'000; size = size * 3 / 2 + 1)
                    some.add(allot::malloc(size));
                if (round % 8 == 0)
                    make_and_destroy_a_cache();
                outer.close();
            }
            std::this_thread::sleep_for(std::chrono::microseconds{100}); // lets others have a core and a quiet moment
        }
    }
    static void make_and_destroy_a_cache() {
        const allot_cache_options shape{.size = 120, .alignment = 0, .flags = 0, .constructor = nullptr};
        allot_cache* const cache = allot_cache_create("churn", &shape);
        if (cache == nullptr)
            return;
        allot_cache_free(cache, allot_cache_alloc(cache));
        allot_cache_destroy(cache, nullptr);
    }

    allot::group around_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

/// Runs `body` alone, then again beside churn.
template <class F> void with_and_without_churn(const F& body) {
    {
        SCOPED_TRACE("alone");
        body();
    }
    if (testing::Test::HasFatalFailure())
        return;
    settle_all();
    SCOPED_TRACE("beside churn");
    const churn background;
    body();
}

/// A timer that raises SIGUSR2 again and again, in a thread that does not block it, while it exists.
class signal_timer {
  public:
    signal_timer(void (*handler)(int), long gap_us) {
        struct sigaction how {};
        how.sa_handler = handler;
        how.sa_flags = SA_RESTART;
        sigaction(SIGUSR2, &how, &before_);
        sigevent event{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGUSR2;
        works_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
        const itimerspec every{{0, gap_us * 1000}, {0, gap_us * 1000}};
        works_ = works_ && timer_settime(timer_, 0, &every, nullptr) == 0;
    }
    ~signal_timer() {
        if (works_)
            timer_delete(timer_);
        signal(SIGUSR2, SIG_IGN); // throws away one that is pending
        sigaction(SIGUSR2, &before_, nullptr);
    }
    signal_timer(const signal_timer&) = delete;
    signal_timer& operator=(const signal_timer&) = delete;

    bool works() const { return works_; }

  private:
    timer_t timer_{};
    bool works_ = false;
    struct sigaction before_ {};
};

/// The next round of a test that is repeated until `ms` milliseconds are over, at least `least` times.
class rounds {
  public:
    explicit rounds(unsigned milliseconds, unsigned least = 3) : watch_(milliseconds * ms), least_(least) {}
    bool next() { return ++count_ <= least_ || watch_.running(); }
    unsigned count() const { return count_; }

  private:
    stopwatch watch_;
    unsigned least_;
    unsigned count_ = 0;
};

} // namespace allot_test
