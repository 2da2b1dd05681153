// SPDX-License-Identifier: MIT
//
// rcu_callback_test: a callback runs after a grace period, and a barrier waits for callbacks rather than readers.
#include "held_reader.hpp"
#include "sync/executor.hpp"

#include <deque>
#include <gtest/gtest.h>

namespace allot::sync {
namespace {

using allot_test::held_reader;
using allot_test::kind;
using allot_test::not_yet;
using allot_test::soon;

/// A callback that notes whether it ran, and that its reader, if it has one, had left by then.
struct callback {
    explicit callback(work::function f) : item(f) {}
    work item;
    std::atomic<bool> ran{false};
    held_reader* reader = nullptr;
    callback* next = nullptr;

    static callback& of(work& item) { return base::container_of(item, &callback::item); }
    static void note(work& item) noexcept {
        callback& self = of(item);
        EXPECT_TRUE(self.reader == nullptr || self.reader->left());
        self.ran = true;
    }
};

TEST(rcu_callback, a_barrier_waits_for_all_callbacks_queued_before_it) {
    constexpr int count = 1000;
    std::deque<callback> queued;
    for (int i = 0; i < count; ++i)
        EXPECT_TRUE(call_rcu(queued.emplace_back(callback::note).item));
    rcu_barrier();
    int ran = 0;
    for (const callback& each : queued)
        ran += each.ran;
    EXPECT_EQ(ran, count);
}

TEST(rcu_callback, a_barrier_waits_for_a_batch_that_another_thread_runs) {
    static std::atomic<bool> begun, go_on;
    begun = go_on = false;
    callback slow{[](work& item) noexcept {
        begun = true;
        EXPECT_TRUE(soon([] { return go_on.load(); }));
        callback::note(item);
    }};
    EXPECT_TRUE(call_rcu(slow.item));
    std::thread runs_it([] { run_pending(); });
    EXPECT_TRUE(soon([] { return begun.load(); }));
    std::atomic<bool> over{false};
    std::thread barrier([&] {
        rcu_barrier();
        EXPECT_TRUE(slow.ran);
        over = true;
    });
    EXPECT_TRUE(not_yet([&] { return over.load(); }));
    go_on = true;
    runs_it.join();
    barrier.join();
}

TEST(rcu_callback, that_queues_another_needs_another_barrier_and_another_grace_period) {
    static held_reader* between;
    callback second{callback::note};
    callback first{[](work& item) noexcept {
        // A reader that begins after the first grace period and before the second one.
        between = new held_reader{kind::without_a_slot};
        callback& self = callback::of(item);
        self.next->reader = between;
        self.ran = true;
        EXPECT_TRUE(call_rcu(self.next->item));
    }};
    first.next = &second;
    EXPECT_TRUE(call_rcu(first.item));
    std::thread barriers([&] {
        rcu_barrier();
        EXPECT_TRUE(first.ran);
        rcu_barrier();
        EXPECT_TRUE(second.ran);
    });
    EXPECT_TRUE(soon([&] { return first.ran.load(); }));
    EXPECT_TRUE(not_yet([&] { return second.ran.load(); }));
    between->leave();
    barriers.join();
    delete between;
}

TEST(rcu_callback, may_free_its_own_item) {
    struct node {
        work item;
        std::atomic<int>* freed;
    };
    std::atomic<int> freed{0};
    for (int i = 0; i < 100; ++i) {
        auto* const object = new node{work{[](work& item) noexcept {
                                          node& self = base::container_of(item, &node::item);
                                          ++*self.freed;
                                          delete &self;
                                      }},
                                      &freed};
        EXPECT_TRUE(call_rcu(object->item));
    }
    rcu_barrier();
    EXPECT_EQ(freed, 100);
}

} // namespace
} // namespace allot::sync
