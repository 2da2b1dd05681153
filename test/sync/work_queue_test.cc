// SPDX-License-Identifier: MIT
//
// work_queue_test: items run in the order they came, each once for each time it was queued while not pending.
#include "sync/work_queue.hpp"

#include "scripted.hpp"
#include "support/bugs.hpp"
#include "support/threads.hpp"

#include <csignal>
#include <deque>
#include <gtest/gtest.h>
#include <memory>
#include <random>

namespace allot::sync {
namespace {

using allot_test::access;
using allot_test::before_nth;
using allot_test::ms;
using allot_test::scripted;
using ints = std::vector<int>;

template <class P> struct basic_item : basic_work<P> {
    using work = basic_work<P>;

    explicit basic_item(int n, typename work::function f = note) : work(f), number(n) {}
    int number;
    int runs = 0;                         // by the consumer
    basic_work_queue<P>* queue = nullptr; // for those that queue something
    basic_item* other = nullptr;

    static inline ints order; // of runs
    static basic_item& of(work& self) { return static_cast<basic_item&>(self); }
    static void note(work& self) noexcept {
        ++of(self).runs;
        order.push_back(of(self).number);
    }
};
using item = basic_item<real>;
using scripted_item = basic_item<scripted>;

TEST(work_queue, an_empty_queue_runs_nothing) {
    work_queue queue;
    EXPECT_TRUE(queue.empty());
    EXPECT_EQ(queue.take_all(), nullptr);
    EXPECT_EQ(queue.run_batch(), 0u);
}

TEST(work_queue, items_run_in_the_order_they_came) {
    work_queue queue;
    item::order.clear();
    std::deque<item> items;
    ints expected;
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(queue.push(items.emplace_back(i)));
        expected.push_back(i);
    }
    EXPECT_FALSE(queue.empty());
    EXPECT_EQ(queue.run_batch(), 100u);
    EXPECT_EQ(item::order, expected);
    EXPECT_TRUE(queue.empty());
}

TEST(work_queue, take_all_gives_a_chain_oldest_first) {
    work_queue queue;
    item a{1}, b{2}, c{3};
    for (item* i : {&a, &b, &c})
        queue.push(*i);
    ints chain;
    for (work* i = queue.take_all(); i != nullptr; i = i->next.get())
        chain.push_back(item::of(*i).number);
    EXPECT_EQ(chain, (ints{1, 2, 3}));
    EXPECT_TRUE(queue.empty());
}

TEST(work_queue, a_pending_item_is_merged_and_runs_once_in_its_first_place) {
    work_queue queue;
    item::order.clear();
    item a{1}, b{2};
    EXPECT_TRUE(queue.push(a));
    EXPECT_TRUE(queue.push(b));
    EXPECT_FALSE(queue.push(a));
    EXPECT_FALSE(queue.push(a));
    EXPECT_EQ(queue.run_batch(), 2u);
    EXPECT_EQ(item::order, (ints{1, 2}));
}

TEST(work_queue, an_item_that_has_run_can_be_queued_again) {
    work_queue queue;
    item a{1};
    for (int round = 1; round <= 3; ++round) {
        EXPECT_TRUE(queue.push(a));
        EXPECT_EQ(queue.run_batch(), 1u);
        EXPECT_EQ(a.runs, round);
    }
}

TEST(work_queue, an_item_may_queue_itself_for_the_next_batch) {
    work_queue queue;
    item again{1, [](work& self) noexcept {
                   EXPECT_TRUE(item::of(self).queue->push(self));
                   EXPECT_FALSE(item::of(self).queue->push(self)) << "pending now";
                   item::note(self);
               }};
    again.queue = &queue;
    EXPECT_TRUE(queue.push(again));
    for (int round = 1; round <= 3; ++round) {
        EXPECT_EQ(queue.run_batch(), 1u);
        EXPECT_EQ(again.runs, round);
        EXPECT_FALSE(queue.empty());
    }
    EXPECT_EQ(queue.take_all(), &again);
}

TEST(work_queue, an_item_may_queue_an_earlier_or_later_one_of_its_batch) {
    work_queue queue;
    item::order.clear();
    item first{1}, last{3};
    item between{2, [](work& self) noexcept {
                     item& here = item::of(self);
                     item::note(self);
                     EXPECT_TRUE(here.queue->push(*here.other)) << "it has run";
                     EXPECT_FALSE(here.queue->push(*here.other->other)) << "it has not";
                 }};
    between.queue = &queue;
    between.other = &first;
    first.other = &last;
    for (item* i : {&first, &between, &last})
        queue.push(*i);
    EXPECT_EQ(queue.run_batch(), 3u);
    EXPECT_EQ(queue.run_batch(), 1u);
    EXPECT_EQ(item::order, (ints{1, 2, 3, 1}));
}

TEST(work_queue, an_item_may_free_itself) {
    work_queue queue;
    for (int i = 0; i < 10; ++i)
        queue.push(*new item{i, [](work& self) noexcept { delete &item::of(self); }});
    EXPECT_EQ(queue.run_batch(), 10u);
}

// --- A handler, or another thread, at a given point -------------------------------------------------------------------------

TEST(work_queue, a_push_on_top_of_a_push_loses_neither) {
    // push() has three accesses: the pending mark, the look at the head, and the exchange of the head.
    for (const access at : {access::exchange, access::load, access::compare_exchange}) {
        basic_work_queue<scripted> queue;
        scripted_item::order.clear();
        scripted_item outer{1}, inner{2};
        scripted::play(before_nth(at, 1, [&] { EXPECT_TRUE(queue.push(inner)); }),
                       [&] { EXPECT_TRUE(queue.push(outer)); });
        EXPECT_EQ(queue.run_batch(), 2u);
        EXPECT_EQ(scripted_item::order, (ints{2, 1}));
    }
}

TEST(work_queue, a_handler_that_pushes_the_item_being_pushed_is_merged) {
    for (const access at : {access::exchange, access::load, access::compare_exchange}) {
        basic_work_queue<scripted> queue;
        scripted_item::order.clear();
        scripted_item only{1};
        int queued = 0;
        scripted::play(before_nth(at, 1, [&] { queued += queue.push(only); }), [&] { queued += queue.push(only); });
        EXPECT_EQ(queued, 1);
        EXPECT_EQ(queue.run_batch(), 1u);
        EXPECT_EQ(only.runs, 1);
    }
}

TEST(work_queue, a_consumer_in_the_middle_of_a_push_takes_what_is_there) {
    for (const access at : {access::exchange, access::load, access::compare_exchange}) {
        basic_work_queue<scripted> queue;
        scripted_item before{1}, during{2};
        EXPECT_TRUE(queue.push(before));
        scripted::play(before_nth(at, 1, [&] { EXPECT_EQ(queue.run_batch(), 1u); }),
                       [&] { EXPECT_TRUE(queue.push(during)); });
        EXPECT_EQ(before.runs, 1);
        EXPECT_EQ(during.runs, 0);
        EXPECT_EQ(queue.run_batch(), 1u);
        EXPECT_EQ(during.runs, 1);
    }
}

TEST(work_queue, a_push_just_before_the_item_runs_is_merged_and_just_after_is_not) {
    // run_batch() exchanges the head, then the item's pending mark.
    basic_work_queue<scripted> queue;
    scripted_item once{1};
    EXPECT_TRUE(queue.push(once));
    scripted::play(before_nth(access::exchange, 2, [&] { EXPECT_FALSE(queue.push(once)); }),
                   [&] { EXPECT_EQ(queue.run_batch(), 1u); });
    EXPECT_TRUE(queue.empty());
    scripted_item twice{2, [](scripted_item::work& self) noexcept {
                            scripted_item::note(self);
                            const bool first = scripted_item::of(self).runs == 1;
                            EXPECT_TRUE(!first || scripted_item::of(self).queue->push(self));
                        }};
    twice.queue = &queue;
    EXPECT_TRUE(queue.push(twice));
    EXPECT_EQ(queue.run_batch() + queue.run_batch(), 2u);
    EXPECT_EQ(twice.runs, 2);
}

// --- Many producers ---------------------------------------------------------------------------------------------------------

struct numbered : work {
    unsigned producer = 0;
    unsigned number = 0;
};

TEST(work_queue, many_producers_lose_nothing_and_each_keeps_its_order) {
    constexpr unsigned producers = 4;
    constexpr unsigned each = 5000;
    static unsigned next[producers];
    static bool in_order;
    std::fill(std::begin(next), std::end(next), 0);
    in_order = true;
    auto items = std::make_unique<numbered[]>(producers * each);
    work_queue queue;
    std::atomic<unsigned> at_work{producers};
    std::size_t ran = 0;
    allot_test::run_threads(producers + 1, [&](unsigned index) {
        if (index == producers) {
            while (at_work != 0)
                ran += queue.run_batch();
            ran += queue.run_batch();
            return;
        }
        for (unsigned i = 0; i < each; ++i) {
            numbered& one = items[index * each + i];
            one.producer = index;
            one.number = i;
            one.run = [](work& self) noexcept {
                const auto& one = static_cast<numbered&>(self);
                in_order &= one.number == next[one.producer]++;
            };
            EXPECT_TRUE(queue.push(one));
        }
        --at_work;
    });
    EXPECT_EQ(ran, producers * each);
    EXPECT_TRUE(in_order);
    for (const unsigned count : next)
        EXPECT_EQ(count, each);
}

/// An item that says how much of what its producers announced it has seen.
struct merged : work {
    static constexpr unsigned producers = 3;
    std::atomic<unsigned> announced[producers] = {};
    unsigned seen[producers] = {};
    bool running = false;
    unsigned runs = 0;

    static void look(work& self) noexcept {
        auto& here = static_cast<merged&>(self);
        EXPECT_FALSE(here.running);
        here.running = true;
        ++here.runs;
        for (unsigned i = 0; i < producers; ++i)
            here.seen[i] = here.announced[i].load(std::memory_order_relaxed);
        here.running = false;
    }
};

TEST(work_queue, a_run_sees_what_was_written_before_the_last_push_even_a_merged_one) {
    constexpr unsigned each = 20'000;
    merged shared;
    shared.run = merged::look;
    work_queue queue;
    std::atomic<unsigned> at_work{merged::producers};
    std::atomic<unsigned> queued{0};
    allot_test::run_threads(merged::producers + 1, [&](unsigned index) {
        if (index == merged::producers) {
            while (at_work != 0)
                queue.run_batch();
            queue.run_batch();
            return;
        }
        for (unsigned i = 1; i <= each; ++i) {
            shared.announced[index].store(i, std::memory_order_relaxed);
            queued += queue.push(shared);
        }
        --at_work;
    });
    for (const unsigned seen : shared.seen)
        EXPECT_EQ(seen, each);
    EXPECT_EQ(shared.runs, queued) << "a run for each push that was not merged";
    EXPECT_TRUE(queue.empty());
}

/// Handlers push from a pool of their own onto the queue that the interrupted thread pushes onto.
struct signalled {
    static constexpr std::size_t pool_size = 4096;
    static inline work_queue queue;
    static inline std::unique_ptr<numbered[]> pool;
    static inline std::atomic<std::size_t> used;
    static inline std::size_t runs;

    static void count(work&) noexcept { ++runs; }
    static void on_signal(int) {
        const std::size_t mine = used.fetch_add(1);
        if (mine >= pool_size)
            return;
        pool[mine].run = count;
        queue.push(pool[mine]);
    }
};

TEST(work_queue, pushes_from_signal_handlers_lose_nothing) {
    signalled::pool = std::make_unique<numbered[]>(signalled::pool_size);
    signalled::used = 0;
    signalled::runs = 0;
    struct sigaction action {
    }, before{};
    action.sa_handler = signalled::on_signal;
    ::sigaction(SIGUSR1, &action, &before);
    constexpr std::size_t own_count = 4096;
    auto own = std::make_unique<numbered[]>(own_count);
    for (std::size_t i = 0; i < own_count; ++i)
        own[i].run = signalled::count;
    std::atomic<bool> ready{false}, stopped{false};
    std::size_t pushed = 0, ran = 0;
    std::thread producer([&] {
        ready = true;
        for (std::size_t i = 0; !stopped; i = (i + 1) % own_count)
            pushed += signalled::queue.push(own[i]);
    });
    std::thread signaller([&] {
        const allot_test::stopwatch watch{150 * ms};
        while (!ready)
            platform::yield();
        while (watch.running() && signalled::used < signalled::pool_size)
            pthread_kill(producer.native_handle(), SIGUSR1);
        stopped = true;
    });
    while (!stopped)
        ran += signalled::queue.run_batch();
    signaller.join();
    producer.join();
    ran += signalled::queue.run_batch();
    ::sigaction(SIGUSR1, &before, nullptr);
    EXPECT_GT(signalled::used, 0u);
    EXPECT_EQ(ran, pushed + std::min<std::size_t>(signalled::used, signalled::pool_size));
    EXPECT_EQ(signalled::runs, ran);
}

} // namespace
} // namespace allot::sync
