// SPDX-License-Identifier: MIT
//
// signal_test: a handler that allocates and frees may run on top of anything.
#include "support/core.hpp"

#include <cerrno>
#include <chrono>

#include <csignal>
#include <cstring>
#include <pthread.h>
#include <unistd.h>

namespace {

using allot_test::blocks;

class in_a_handler : public allot_test::core_test {};

constexpr int storm_signal = SIGUSR1;

/// What the handler does; set before the storm.
std::atomic<void (*)()> on_signal{nullptr};
std::atomic<std::uint64_t> signals_seen{0};

void handler(int) {
    const int saved = errno;
    signals_seen.fetch_add(1, std::memory_order_relaxed);
    if (auto* const action = on_signal.load())
        action();
    errno = saved;
}

/// Sends signals to the threads it was told of, as fast as `gap_us` lets, until it is destroyed.
class storm {
  public:
    storm(void (*action)(), useconds_t gap_us) {
        on_signal = action;
        struct sigaction how {};
        how.sa_handler = handler;
        how.sa_flags = SA_RESTART;
        sigaction(storm_signal, &how, &before_);
        sender_ = std::thread{[this, gap_us] {
            while (!stop_.load()) {
                for (auto& target : targets_)
                    if (target.ready.load())
                        pthread_kill(target.thread, storm_signal);
                usleep(gap_us);
            }
        }};
    }
    ~storm() {
        stop_ = true;
        sender_.join();
        on_signal = nullptr;
        sigaction(storm_signal, &before_, nullptr);
    }
    void at_me(unsigned index) {
        targets_[index].thread = pthread_self();
        targets_[index].ready = true;
    }
    void not_me(unsigned index) {
        targets_[index].ready = false;
        usleep(20'000); // the sender may be about to send one
    }

  private:
    struct target {
        pthread_t thread{};
        std::atomic<bool> ready{false};
    };
    target targets_[4];
    std::atomic<bool> stop_{false};
    std::thread sender_;
    struct sigaction before_ {};
};

// What handlers take from and put to: blocks made in ordinary context, freed in a handler, and the other way round.
constexpr std::size_t pool_size = 4096;
std::atomic<void*> pool[pool_size];
std::atomic<std::uint32_t> turn{0};

void free_one_of_the_pool() {
    for (int i = 0; i < 8; ++i)
        allot_free(pool[turn.fetch_add(1) % pool_size].exchange(nullptr));
}

void allocate_and_free() {
    void* const one = allot_malloc(100);
    void* const two = allot_malloc(30);
    if (one != nullptr)
        memset(one, 1, 100);
    allot_free(one);
    allot_free(pool[turn.fetch_add(1) % pool_size].exchange(two));
}

void clear_pool() {
    for (auto& place : pool)
        allot_free(place.exchange(nullptr));
}

/// For about `ms`, calls `work(round)`.
template <class F> void for_ms(int ms, F&& work) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds{ms};
    for (unsigned round = 0; std::chrono::steady_clock::now() < end; ++round)
        work(round);
}

/// Runs `work` over and over in a child under a storm, so that a deadlock is a failed test and no hanging one.
template <class F> void storm_over(void (*action)(), F&& work) {
    EXPECT_TRUE(allot_test::child_lives(15, [&] {
        storm signals{action, 30};
        signals.at_me(0);
        for_ms(700, work);
        signals.not_me(0);
        clear_pool();
        allot_test::settle_all();
        return allot::verify() ? 0 : 1;
    }));
}

TEST_F(in_a_handler, on_top_of_allocation_and_free) {
    const allot::scope in{top};
    storm_over(allocate_and_free, [&](unsigned round) {
        blocks some;
        for (std::size_t size = 8 + round % 8; size < 70'000; size += size / 2 + 1)
            some.add(allot::malloc(size));
    });
}

TEST_F(in_a_handler, on_top_of_purge) {
    const allot::scope in{top};
    storm_over(allocate_and_free, [&](unsigned) {
        {
            blocks some;
            for (int i = 0; i < 10; ++i)
                some.add(allot::malloc(40'000));
        }
        allot::purge();
    });
}

TEST_F(in_a_handler, on_top_of_making_and_destroying_caches) {
    const allot::group small = child("small");
    storm_over(
        [] {
            // New groups' heaps need metadata.
            allocate_and_free();
        },
        [&](unsigned round) {
            const allot_cache_options options{
                .size = 100 + round % 100, .alignment = 0, .flags = 0, .constructor = nullptr};
            allot_cache* const cache = allot_cache_create("stormy", &options);
            allot_cache_free(cache, allot_cache_alloc(cache));
            allot_cache_destroy(cache, nullptr);
        });
}

TEST_F(in_a_handler, on_top_of_making_and_closing_groups) {
    storm_over(allocate_and_free, [&](unsigned) {
        const allot::group one = top.create("one");
        const allot::scope in{one};
        allot::free(allot::malloc(50));
        one.close();
    });
}

TEST_F(in_a_handler, frees_are_not_half_done_while_the_world_is_stopped) {
    // The pool's blocks are cold: freeing one changes counters, owner ids and a list, which a recount must not see half done.
    const allot::scope in{top};
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::string first;
    {
        storm signals{free_one_of_the_pool, 20};
        std::thread checker{[&] {
            while (!done) {
                const allot::verify_report books = allot::verify();
                if (!books && wrong++ == 0)
                    first = books.first_error;
            }
        }};
        signals.at_me(0);
        allot::group many[64];
        for (int i = 0; i < 64; ++i)
            many[i] = child(("g" + std::to_string(i)).c_str());
        for_ms(1000, [&](unsigned round) {
            auto& place = pool[round % pool_size];
            if (place.load() == nullptr)
                place = many[round % 64].malloc(1500); // few of each, so that they stay cold
        });
        done = true;
        signals.not_me(0);
        checker.join();
    }
    clear_pool();
    EXPECT_EQ(wrong, 0) << first;
}

} // namespace
