// SPDX-License-Identifier: MIT
//
// held_reader: threads that stay inside a read-side section of any kind until a test lets them go.
//
// Concurrency. a reader belongs to the thread that made it.
#pragma once

#include "support/threads.hpp"
#include "sync/thread_slot.hpp"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>

namespace allot_test {

enum class kind { with_a_slot, without_a_slot, user_with_a_slot, user_without_a_slot };

constexpr bool has_slot(kind k) { return k == kind::with_a_slot || k == kind::user_with_a_slot; }
constexpr bool is_user(kind k) { return k == kind::user_with_a_slot || k == kind::user_without_a_slot; }

/// Runs `body` in a section of a kind, on a thread of that kind.
template <class F> void in_section(kind k, const F& body) {
    if (is_user(k)) {
        allot::sync::user_read_lock();
        body();
        allot::sync::user_read_unlock();
    } else {
        allot::sync::rcu_guard guard;
        body();
    }
}

/// A thread inside `depth` nested read-side sections, until it is told to leave them.
class held_reader {
  public:
    explicit held_reader(kind k, unsigned depth = 1) : kind_(k), depth_(depth), kept_(depth) {
        thread_ = std::thread([this] {
            EXPECT_EQ(has_slot(kind_) && attach_thread(), has_slot(kind_));
            enter(1);
        });
        EXPECT_TRUE(soon([&] { return inside_ == depth_; }));
    }
    ~held_reader() { leave(); }

    void leave_innermost() {
        const unsigned fewer = kept_ - 1;
        kept_ = fewer;
        EXPECT_TRUE(soon([&] { return inside_ == fewer; }));
    }
    void leave() {
        kept_ = 0;
        if (thread_.joinable())
            thread_.join();
    }
    /// True from just before the outermost section ends.
    bool left() const { return left_; }

  private:
    void enter(unsigned level) {
        in_section(kind_, [&] {
            inside_ = level;
            if (level < depth_) {
                enter(level + 1);
                inside_ = level;
            }
            while (kept_ >= level)
                allot::platform::yield();
            if (level == 1)
                left_ = true;
        });
    }

    const kind kind_;
    const unsigned depth_;
    std::atomic<unsigned> kept_;
    std::atomic<unsigned> inside_{0};
    std::atomic<bool> left_{false};
    std::thread thread_;
};

} // namespace allot_test
