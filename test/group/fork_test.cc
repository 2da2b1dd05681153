// SPDX-License-Identifier: MIT
//
// fork_test: a child finds every lock free, every structure whole and nothing lost, whatever the parent's threads were doing.
#include "support/core.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using allot_test::blocks;
using allot_test::child_lives;
using namespace allot::literals;

class fork_into_child : public allot_test::core_test {};

constexpr unsigned child_seconds = 10;
constexpr int rounds = 60 / static_cast<int>(allot_test::slowdown);

/// Threads that do one thing over and over while the test forks.
class busy_threads {
  public:
    template <class F> busy_threads(unsigned count, F work) {
        for (unsigned i = 0; i < count; ++i)
            threads_.emplace_back([this, work, i] {
                while (!stop_.load(std::memory_order_relaxed))
                    work(i);
            });
    }
    ~busy_threads() {
        stop_ = true;
        for (auto& thread : threads_)
            thread.join();
    }

  private:
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

/// What any program may do after a fork: allocate, meet a limit, make and close groups. 0 if all of it worked.
int use_everything(const allot::group& top) {
    allot::sync::allow_worker(false); // a thread sanitizer's child has no threads
    const allot::group mine = top.create("child's own", {.max = 1_MiB});
    {
        const allot::scope in{mine};
        blocks some;
        for (std::size_t size = 8; size < 100'000; size *= 2)
            some.add(allot::malloc(size));
        for (int i = 0; i < 100'000; ++i) {
            void* const block = allot::malloc(64);
            if (block == nullptr)
                break; // over the limit, reclaimed, still over
            some.add(block);
        }
        if (some.size() < 100)
            return 2;
    }
    allot::purge();
    mine.close();
    allot::quiesce();
    const allot::verify_report books = allot::verify();
    if (!books)
        dprintf(STDERR_FILENO, "verify: %s\n", books.first_error);
    return books ? 0 : 3;
}

TEST_F(fork_into_child, a_quiet_parents_child_can_use_everything) {
    blocks mine;
    ASSERT_TRUE(mine.make(top, 100, 1000));
    EXPECT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); }));
}

TEST_F(fork_into_child, threads_that_allocate_and_free) {
    const allot::group one = child("one");
    const allot::group two = child("two");
    const busy_threads work{2, [&](unsigned i) {
                                const allot::scope in{i == 0 ? one : two};
                                blocks some;
                                for (std::size_t size = 8; size < 70'000; size += size / 3 + 1)
                                    some.add(allot::malloc(size));
                            }};
    for (int round = 0; round < rounds; ++round)
        ASSERT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); })) << round;
}

TEST_F(fork_into_child, threads_that_meet_a_limit) {
    const allot::group small = child("small", {.max = 256_KiB});
    const busy_threads work{2, [&](unsigned) {
                                blocks some;
                                some.make(small, 1000, 1000);
                            }};
    for (int round = 0; round < rounds; ++round)
        ASSERT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); })) << round;
}

TEST_F(fork_into_child, threads_that_create_and_close_groups) {
    const busy_threads work{2, [&](unsigned i) {
                                top.create(i == 0 ? "a" : "b").close();
                                while (top.stat().nr_dying > 1000)
                                    allot::quiesce();
                            }};
    for (int round = 0; round < 3 * rounds; ++round)
        ASSERT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); })) << round;
}

TEST_F(fork_into_child, threads_that_give_back_what_groups_were_made_of) {
    const busy_threads work{2, [&](unsigned i) {
                                if (i == 0) {
                                    allot::memcg::free_spares();
                                } else {
                                    for (int n = 0; n < 40; ++n)
                                        top.create("a").close();
                                    allot::quiesce();
                                }
                            }};
    for (int round = 0; round < 3 * rounds; ++round)
        ASSERT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); })) << round;
}

TEST_F(fork_into_child, threads_that_create_and_destroy_caches) {
    const busy_threads work{2, [&](unsigned i) {
                                allot::object_cache<std::array<char, 100>> cache{i == 0 ? "a" : "b"};
                                cache.destroy(cache.create());
                            }};
    for (int round = 0; round < 3 * rounds; ++round)
        ASSERT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); })) << round;
}

TEST_F(fork_into_child, threads_that_purge) {
    const busy_threads work{2, [&](unsigned i) {
                                if (i == 0) {
                                    allot::purge();
                                } else {
                                    blocks some;
                                    some.make(top, 100'000, 20);
                                }
                            }};
    for (int round = 0; round < rounds; ++round)
        ASSERT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); })) << round;
}

TEST_F(fork_into_child, threads_that_come_and_go) {
    const busy_threads work{2, [&](unsigned) {
                                std::thread{[&] {
                                    const allot::scope in{top};
                                    allot::free(allot::malloc(100));
                                }}.join();
                            }};
    for (int round = 0; round < rounds; ++round)
        ASSERT_TRUE(child_lives(child_seconds, [this] { return use_everything(top); })) << round;
}

/// Blocks that two threads make and free across each other while a third forks.
class exchange {
  public:
    explicit exchange(const allot::group& owner) : owner_(owner) {}
    ~exchange() { clear(); }

    void turn(std::uint64_t random, std::size_t size) {
        auto& place = places_[random % std::size(places_)];
        void* const fresh = owner_.malloc(size);
        allot::free(place.exchange(fresh));
    }
    void clear() {
        for (auto& place : places_)
            allot::free(place.exchange(nullptr));
    }

  private:
    allot::group owner_;
    std::atomic<void*> places_[3000]{};
};

/// The child frees what is left, but what the threads had in their hands, and then no slab may be held without a live block.
int give_everything_back(exchange& cold, exchange& hot) {
    allot::sync::allow_worker(false);
    cold.clear();
    hot.clear();
    allot_test::settle_all();
    const std::size_t lost = allot_test::empty_slabs();
    if (lost != 0)
        dprintf(STDERR_FILENO, "%zu slabs without a live block are held\n", lost);
    const allot::verify_report books = allot::verify();
    if (!books)
        dprintf(STDERR_FILENO, "verify: %s\n", books.first_error);
    return lost == 0 && books ? 0 : 1;
}

TEST_F(fork_into_child, no_slab_is_lost_when_threads_free_each_others_blocks) {
    const allot::group first = child("cold");
    const allot::group second = child("hot");
    allot_test::heat(second, 300);
    exchange cold{first};
    exchange hot{second};
    {
        const busy_threads work{3, [&](unsigned i) {
                                    thread_local std::minstd_rand random{i + 1};
                                    if (i == 2)
                                        top.reclaim(); // so that slabs are in nobody's hands, and every free has a duty
                                    cold.turn(random(), 1800);
                                    hot.turn(random(), 300);
                                    hot.turn(random(), 300);
                                }};
        for (int round = 0; round < 4 * rounds && !HasFatalFailure(); ++round)
            ASSERT_TRUE(child_lives(child_seconds, [&] { return give_everything_back(cold, hot); })) << round;
    }
}

/// What the handler below frees and passes on while a fork is at each of its steps.
std::atomic<void*> for_the_handler{nullptr};

TEST_F(fork_into_child, a_handler_on_the_forking_thread_queues_work_at_every_step) {
    EXPECT_TRUE(child_lives(4 * child_seconds, [&] {
        allot::sync::allow_worker(false);
        struct sigaction action {};
        action.sa_handler = [](int) {
            if (void* const block = for_the_handler.exchange(nullptr))
                allot_free(block); // the last object of a closed group: its owner's release is queued
        };
        sigaction(SIGUSR1, &action, nullptr);
        const pthread_t forker = pthread_self();
        std::atomic<bool> stop{false};
        std::thread sender([&] {
            while (!stop) {
                pthread_kill(forker, SIGUSR1);
                ::usleep(20);
            }
        });
        int failures = 0;
        for (int round = 0; round < rounds && failures == 0; ++round) {
            const allot::group gone = top.create("gone");
            for_the_handler = gone.malloc(40);
            gone.close();
            const pid_t pid = fork();
            if (pid == 0)
                _exit(0);
            int status = 0;
            while (waitpid(pid, &status, 0) == -1 && errno == EINTR) {
            }
            failures += status != 0;
        }
        stop = true;
        sender.join();
        return failures;
    }));
}

TEST_F(fork_into_child, a_handler_on_a_thread_that_queues_work_allocates_while_another_forks) {
    EXPECT_TRUE(child_lives(4 * child_seconds, [&] {
        allot::sync::allow_worker(false);
        struct sigaction action {};
        action.sa_handler = [](int) { allot_free(allot_malloc(100)); };
        sigaction(SIGUSR1, &action, nullptr);
        std::atomic<bool> stop{false};
        std::atomic<bool> queues{false};
        std::thread queuing([&] {
            while (!stop) {
                const allot::group gone = top.create("gone");
                void* const block = gone.malloc(40);
                gone.close();
                allot_free(block); // queues the release of its owner
                queues = true;
            }
        });
        while (!queues)
            std::this_thread::yield();
        std::thread sender([&] {
            while (!stop) {
                pthread_kill(queuing.native_handle(), SIGUSR1);
                ::usleep(5);
            }
        });
        int failures = 0;
        for (int round = 0; round < 2 * rounds && failures == 0; ++round) {
            const pid_t pid = fork();
            if (pid == 0)
                _exit(0);
            int status = 0;
            waitpid(pid, &status, 0);
            failures += status != 0;
        }
        stop = true;
        sender.join();
        queuing.join();
        return failures;
    }));
}

} // namespace
