// SPDX-License-Identifier: MIT
//
// core: what the tests of the core share: a group for each test, the books checked at its end, children in processes of
// their own, blocks with owners.
//
// Concurrency. as each says.
#pragma once

#include <allot/allot.hpp>

#include "group/mem_cgroup.hpp"
#include "slab/bins.hpp"
#include "slab/cache_lifecycle.hpp"
#include "slab/page_alloc.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace allot_test {

/// Work is this much smaller where a sanitizer makes everything slow.
#if ALLOT_TSAN || ALLOT_ASAN
inline constexpr unsigned slowdown = 8;
#else
inline constexpr unsigned slowdown = 1;
#endif

inline allot::memcg::mem_cgroup& inside(const allot::group& group) {
    return *reinterpret_cast<allot::memcg::mem_cgroup*>(group.get());
}

/// Slabs that hold no live block. After settle_all() nobody keeps one, so any that is left was lost.
std::size_t empty_slabs();
/// Sends what lies in the calling thread's bins for the group back to the slabs.
void empty_bins(const allot::group& group);
/// Runs deferred work and takes back all that threads hold and nobody uses.
void settle_all();
/// Runs a recount and expects that it agrees.
void expect_books_agree(const char* when);
/// True once the pair has slabs of its own.
bool is_hot(const allot::group& group, std::size_t size);
/// Makes the pair of the group and the kmalloc class of `size` hot.
void heat(const allot::group& group, std::size_t size);

/// No thread is taken for idle by the clock while this lives: for tests that count what lies in bins and queues.
class no_decay {
  public:
    no_decay();
    ~no_decay();
    no_decay(const no_decay&) = delete;
    no_decay& operator=(const no_decay&) = delete;
};

/// The seed of a random test: ALLOT_TEST_SEED, or another one each time; printed.
std::uint64_t test_seed(const char* name);

/// How a child process ended.
struct outcome {
    int exit_status = -1; ///< of exit; -1 if a signal ended it
    int signal = 0;       ///< SIGALRM: it hung
    std::string text;     ///< what it wrote to stderr
};
/// Forks a child that runs `work` and exits with its result, or is ended by SIGALRM after `seconds`.
outcome in_child(unsigned seconds, const std::function<int()>& work);
/// Success if `work` returns 0 in a child.
testing::AssertionResult child_lives(unsigned seconds, const std::function<int()>& work);

/// Gives a test the group `top`, closes it at the end, and asks that nothing is left and that a recount agrees.
class core_test : public testing::Test {
  protected:
    void SetUp() override;
    void TearDown() override;

    allot::group child(const char* name, const allot::limits& with = {}) const { return top.create(name, with); }
    /// Charged to `top` and its descendants now, bytes.
    std::uint64_t usage() const { return top.stat().current; }

    allot::group top;

  private:
    allot::stat before_{};
};

/// Blocks that are freed at the end.
class blocks {
  public:
    blocks() = default;
    blocks(const blocks&) = delete;
    blocks& operator=(const blocks&) = delete;
    ~blocks() { clear(); }

    void* add(void* block) {
        held_.push_back(block);
        return block;
    }
    /// Allocates `count` blocks for the group; false if one failed.
    bool make(const allot::group& group, std::size_t size, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            void* const block = group.malloc(size);
            if (block == nullptr)
                return false;
            held_.push_back(block);
        }
        return true;
    }
    void clear() {
        for (void* block : held_)
            allot_free(block);
        held_.clear();
    }
    /// Frees all but every n-th.
    void thin(std::size_t nth) {
        std::vector<void*> kept;
        for (std::size_t i = 0; i < held_.size(); ++i)
            if (i % nth == 0)
                kept.push_back(held_[i]);
            else
                allot_free(held_[i]);
        held_.swap(kept);
    }
    std::size_t size() const { return held_.size(); }
    void* operator[](std::size_t i) const { return held_[i]; }

  private:
    std::vector<void*> held_;
};

/// Runs `work(index)` on `count` threads and waits for them.
template <class F> void on_threads(unsigned count, F&& work) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < count; ++i)
        threads.emplace_back([&work, i] { work(i); });
    for (auto& thread : threads)
        thread.join();
}

/// Waits until `condition()`, at most ten seconds.
bool wait_until(const std::function<bool()>& condition);

/// A thread that runs what it is told, one thing at a time, and in between sleeps without touching the library.
class puppet {
  public:
    puppet() : thread_([this] { run(); }) {}
    ~puppet() {
        step_.store(stop, std::memory_order_release);
        step_.notify_all();
        thread_.join();
    }
    puppet(const puppet&) = delete;
    puppet& operator=(const puppet&) = delete;

    void does(std::function<void()> work) {
        work_ = std::move(work);
        step_.store(go, std::memory_order_release);
        step_.notify_all();
        step_.wait(go, std::memory_order_acquire);
    }

  private:
    static constexpr int idle = 0;
    static constexpr int go = 1;
    static constexpr int stop = 2;

    void run() {
        for (;;) {
            step_.wait(idle, std::memory_order_acquire);
            if (step_.load(std::memory_order_acquire) == stop)
                return;
            work_();
            step_.store(idle, std::memory_order_release);
            step_.notify_all();
        }
    }

    std::function<void()> work_;
    std::atomic<int> step_{idle};
    std::thread thread_;
};

} // namespace allot_test
