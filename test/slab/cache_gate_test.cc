// SPDX-License-Identifier: MIT
//
// cache_gate_test: what is queued before the gate closes is waited for, what comes later is kept, and nothing is lost; with both
// guards.
#include "slab/cache_guard.hpp"
#include "support/test_points.hpp"
#include "sync/executor.hpp"

#include <algorithm>
#include <cstdio>
#include <gtest/gtest.h>
#include <signal.h>
#include <thread>

namespace {

using namespace allot;

struct one {
    sync::work work{run};
    std::atomic<int> runs{0};
    void (*then)(one&) noexcept = nullptr;
    static void run(sync::work& item) noexcept {
        auto& self = base::container_of(item, &one::work);
        ++self.runs;
        if (self.then != nullptr)
            self.then(self);
    }
};

bool enqueue(sync::work& item) noexcept { return sync::queue_work(sync::stage::release, item); }
void flush_release() noexcept { sync::flush(sync::stage::release); }

template <class Guard> class cache_gate : public testing::Test {
  protected:
    using gate_type = slab::basic_cache_gate<sync::real, Guard>;
    void SetUp() override { ASSERT_TRUE(allot_test::attach_thread()); }
    void TearDown() override { sync::drain(); }
};
using guards = testing::Types<slab::section_guard, slab::locked_guard>;
TYPED_TEST_SUITE(cache_gate, guards);

TYPED_TEST(cache_gate, queues_while_it_is_live) {
    typename TestFixture::gate_type gate;
    one item;
    EXPECT_TRUE(gate.enqueue_unless_dying(item.work, enqueue));
    EXPECT_FALSE(gate.idle());
    sync::drain();
    EXPECT_EQ(item.runs, 1);
    gate.finished();
    EXPECT_TRUE(gate.idle());
}

TYPED_TEST(cache_gate, counts_a_merged_item_once) {
    typename TestFixture::gate_type gate;
    one item;
    // Given to the callbacks, so that a worker that wakes up at once still has a grace period to wait for.
    sync::user_read_lock();
    EXPECT_TRUE(gate.enqueue_unless_dying(item.work, sync::call_rcu));
    EXPECT_TRUE(gate.enqueue_unless_dying(item.work, sync::call_rcu));
    sync::user_read_unlock();
    sync::drain();
    EXPECT_EQ(item.runs, 1);
    gate.finished();
    EXPECT_TRUE(gate.idle());
}

TYPED_TEST(cache_gate, keeps_what_comes_while_it_is_dying_and_hands_it_on_once) {
    typename TestFixture::gate_type gate;
    one items[3];
    gate.close();
    for (one& item : items)
        EXPECT_FALSE(gate.enqueue_unless_dying(item.work, enqueue));
    EXPECT_FALSE(gate.enqueue_unless_dying(items[0].work, enqueue)) << "merged with itself";
    EXPECT_TRUE(gate.idle()) << "nothing is queued";
    sync::drain();
    for (const one& item : items)
        EXPECT_EQ(item.runs, 0);
    gate.open();
    sync::work_queue::hand_on_all(
        gate.take_kept(), [&](sync::work& item) noexcept { EXPECT_TRUE(gate.enqueue_unless_dying(item, enqueue)); });
    sync::drain();
    for (const one& item : items)
        EXPECT_EQ(item.runs, 1);
}

TYPED_TEST(cache_gate, settles_a_pipeline_of_several_stages) {
    static typename TestFixture::gate_type* gate;
    typename TestFixture::gate_type made;
    gate = &made;
    struct stages {
        static void third(one&) noexcept { gate->finished(); }
        static void second(one& self) noexcept {
            self.then = third;
            gate->enqueue_unless_dying(self.work, sync::call_rcu); // a grace period that begins in the flushed work
            gate->finished();
        }
        static void first(one& self) noexcept {
            self.then = second;
            gate->enqueue_unless_dying(self.work, enqueue);
            gate->finished();
        }
    };
    one item;
    item.then = stages::first;
    gate->enqueue_unless_dying(item.work, sync::call_rcu);
    int passes = 0;
    gate->settle(
        [&] {
            ++passes;
            sync::rcu_barrier();
        },
        flush_release);
    EXPECT_TRUE(gate->idle());
    EXPECT_EQ(item.runs, 3);
    EXPECT_GE(passes, 1);
}

TYPED_TEST(cache_gate, queues_again_after_it_was_opened) {
    typename TestFixture::gate_type gate;
    one item;
    gate.close();
    gate.open();
    EXPECT_EQ(gate.life(), slab::cache_life::orphaned);
    EXPECT_TRUE(gate.enqueue_unless_dying(item.work, enqueue));
    sync::drain();
    EXPECT_EQ(item.runs, 1);
}

TYPED_TEST(cache_gate, closing_waits_for_who_is_between_the_test_and_the_queueing) {
    SKIP_WITHOUT_TEST_POINTS();
    typename TestFixture::gate_type gate;
    one item;
    item.then = [](one&) noexcept {};
    allot_test::parked at{"gate:tested"};
    std::thread putter([&] {
        allot_test::attach_thread();
        gate.enqueue_unless_dying(item.work, enqueue);
    });
    ASSERT_TRUE(at.arrived());
    std::atomic<bool> closed{false};
    std::thread destroyer([&] {
        allot_test::attach_thread();
        gate.close();
        closed = true;
    });
    EXPECT_TRUE(allot_test::not_yet([&] { return closed.load(); }))
        << "an item may still be queued that nobody waits for";
    at.let_go();
    putter.join();
    destroyer.join();
    EXPECT_FALSE(gate.idle()) << "what was queued before the close is seen after it";
    sync::drain();
    EXPECT_EQ(item.runs, 1);
}

TYPED_TEST(cache_gate, takes_items_from_a_handler_at_any_moment) {
    static typename TestFixture::gate_type* gate;
    typename TestFixture::gate_type made;
    gate = &made;
    static one items[200];
    static std::atomic<std::size_t> next;
    next = 0;
    for (one& item : items) {
        item.runs = 0;
        item.then = [](one&) noexcept { gate->finished(); };
    }
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = [](int) {
        if (const std::size_t i = next++; i < std::size(items))
            gate->enqueue_unless_dying(items[i].work, enqueue);
    };
    ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
    std::atomic<bool> done{false};
    const pthread_t target = pthread_self();
    std::thread sender([&] {
        while (!done)
            pthread_kill(target, SIGUSR1), std::this_thread::yield();
    });
    one own;
    int queued = 0;
    while (next < std::size(items) / 2) {
        own.then = [](one&) noexcept { gate->finished(); };
        gate->enqueue_unless_dying(own.work, enqueue);
        sync::drain();
        ++queued;
    }
    gate->close();
    gate->settle(sync::rcu_barrier, flush_release);
    while (next < std::size(items))
        std::this_thread::yield();
    done = true;
    sender.join();
    sigaction(SIGUSR1, &before, nullptr);
    gate->open();
    sync::work_queue::hand_on_all(gate->take_kept(),
                                  [](sync::work& item) noexcept { gate->enqueue_unless_dying(item, enqueue); });
    gate->settle(sync::rcu_barrier, flush_release);
    int runs = 0;
    for (const one& item : items)
        runs += item.runs;
    EXPECT_EQ(runs, static_cast<int>(std::size(items))) << "each exactly once";
    EXPECT_EQ(own.runs, queued);
}

/// Nanoseconds that one item takes through the gate and off the queue again: the least of several rounds.
template <class Guard> double gate_cost_ns() {
    constexpr int count = 1'000'000;
    slab::basic_cache_gate<sync::real, Guard> gate;
    sync::work_queue queue;
    one item;
    double least = 1e9;
    for (int round = 0; round < 7; ++round) {
        const std::uint64_t begin = platform::now_ns();
        for (int i = 0; i < count; ++i) {
            gate.enqueue_unless_dying(item.work, [&](sync::work& each) noexcept { return queue.push(each); });
            sync::work_queue::hand_on_all(queue.take_all(), [](sync::work&) noexcept {});
            gate.finished();
        }
        least = std::min(least, static_cast<double>(platform::now_ns() - begin) / count);
    }
    EXPECT_TRUE(gate.idle());
    return least;
}

// For docs/lifecycle.md; run with --gtest_also_run_disabled_tests.
TEST(cache_gate_cost, DISABLED_of_both_guards) {
    ASSERT_TRUE(allot_test::attach_thread());
    std::printf("section_guard %.0f ns, locked_guard %.0f ns\n", gate_cost_ns<slab::section_guard>(),
                gate_cost_ns<slab::locked_guard>());
}

} // namespace
