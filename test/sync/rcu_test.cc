// SPDX-License-Identifier: MIT
//
// rcu_test: a grace period waits for every reader that began before it, of whatever kind, and for no other for ever.
#include "sync/rcu.hpp"

#include "held_reader.hpp"
#include "scripted.hpp"
#include "support/bugs.hpp"
#include "support/threads.hpp"
#include "sync/executor.hpp"

#include <csignal>
#include <deque>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <unistd.h>

namespace allot::sync {
namespace {

using allot_test::access;
using allot_test::attach_thread;
using allot_test::before_nth;
using allot_test::held_reader;
using allot_test::kind;
using allot_test::not_yet;
using allot_test::scripted;
using allot_test::soon;

class rcu_readers : public testing::TestWithParam<kind> {};

std::string name_of(const testing::TestParamInfo<kind>& info) {
    return std::string{is_user(info.param) ? "user_" : ""} + (has_slot(info.param) ? "with_a_slot" : "without_a_slot");
}
INSTANTIATE_TEST_SUITE_P(threads, rcu_readers,
                         testing::Values(kind::with_a_slot, kind::without_a_slot, kind::user_with_a_slot,
                                         kind::user_without_a_slot),
                         name_of);

TEST_P(rcu_readers, a_grace_period_waits_for_a_section_that_began_before) {
    held_reader reader{GetParam()};
    std::atomic<bool> over{false};
    std::thread updater([&] {
        synchronize_rcu();
        EXPECT_TRUE(reader.left());
        over = true;
    });
    EXPECT_TRUE(not_yet([&] { return over.load(); }));
    reader.leave();
    updater.join();
}

TEST_P(rcu_readers, the_end_of_a_nested_section_ends_nothing) {
    held_reader reader{GetParam(), 3};
    std::atomic<bool> over{false};
    std::thread updater([&] {
        synchronize_rcu();
        EXPECT_TRUE(reader.left());
        over = true;
    });
    reader.leave_innermost();
    EXPECT_TRUE(not_yet([&] { return over.load(); }));
    reader.leave_innermost();
    EXPECT_TRUE(not_yet([&] { return over.load(); }));
    reader.leave();
    updater.join();
}

TEST_P(rcu_readers, sections_that_follow_each_other_do_not_hold_a_grace_period_up) {
    std::atomic<bool> stopped{false};
    std::atomic<unsigned> running{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i)
        readers.emplace_back([&, k = GetParam()] {
            EXPECT_EQ(has_slot(k) && attach_thread(), has_slot(k));
            ++running;
            while (!stopped)
                in_section(k, [] {
                    for (int spin = 0; spin < 200; ++spin)
                        cpu_relax();
                });
        });
    ASSERT_TRUE(soon([&] { return running == 2; }));
    for (int i = 0; i < 3; ++i)
        synchronize_rcu(); // would hang
    stopped = true;
    for (auto& reader : readers)
        reader.join();
}

TEST_P(rcu_readers, a_callback_waits_for_a_section_that_began_before_it_was_queued) {
    held_reader reader{GetParam()};
    static std::atomic<bool> ran;
    ran = false;
    work item{[](work&) noexcept { ran = true; }};
    EXPECT_TRUE(call_rcu(item));
    std::thread barrier([&] {
        rcu_barrier();
        EXPECT_TRUE(reader.left());
        EXPECT_TRUE(ran);
    });
    EXPECT_TRUE(not_yet([&] { return ran.load(); }));
    reader.leave();
    barrier.join();
}

TEST(rcu, a_grace_period_without_readers_ends) {
    attach_thread();
    for (int i = 0; i < 100; ++i)
        synchronize_rcu();
    std::thread([] { synchronize_rcu(); }).join();
}

TEST(rcu, threads_with_and_without_slots_are_waited_for_together) {
    held_reader a{kind::with_a_slot}, b{kind::without_a_slot}, c{kind::user_with_a_slot}, d{kind::user_without_a_slot};
    std::atomic<bool> over{false};
    std::thread updater([&] {
        synchronize_rcu();
        EXPECT_TRUE(a.left() && b.left() && c.left() && d.left());
        over = true;
    });
    for (held_reader* reader : {&d, &a, &b}) {
        reader->leave();
        EXPECT_TRUE(not_yet([&] { return over.load(); }));
    }
    c.leave();
    updater.join();
}

TEST(rcu, grace_periods_of_several_threads_overlap) {
    held_reader reader{kind::with_a_slot};
    std::atomic<unsigned> over{0};
    std::vector<std::thread> updaters;
    for (int i = 0; i < 4; ++i)
        updaters.emplace_back([&] {
            synchronize_rcu();
            EXPECT_TRUE(reader.left());
            ++over;
        });
    EXPECT_TRUE(not_yet([&] { return over != 0; }));
    reader.leave();
    for (auto& updater : updaters)
        updater.join();
}

// --- The parts, step by step ------------------------------------------------------------------------------------------------

using scripted_reader = basic_rcu_reader<scripted>;
using scripted_shared = basic_shared_readers<scripted>;

TEST(rcu_reader, counts_odd_inside_and_even_outside) {
    scripted_reader reader;
    EXPECT_FALSE(reader.inside());
    EXPECT_TRUE(reader.enter());
    EXPECT_TRUE(reader.inside());
    EXPECT_FALSE(reader.enter()) << "nested: the caller does not leave";
    EXPECT_TRUE(reader.inside());
    reader.leave();
    EXPECT_FALSE(reader.inside());
    const std::uint64_t count = reader.count();
    reader.enter_fast(count);
    EXPECT_TRUE(reader.inside());
    reader.leave_fast(count);
    EXPECT_FALSE(reader.inside());
    EXPECT_EQ(reader.count(), 4u);
}

TEST(rcu_reader, outside_it_is_not_waited_for) {
    scripted_reader reader;
    reader.enter();
    reader.leave();
    bool waits = false;
    const auto enter_if_it_waits = [&](access what, const void*) { // any change ends the wait
        if (what == access::pause)
            waits = reader.enter();
    };
    scripted::play(enter_if_it_waits, [&] { wait_for_reader(reader); });
    EXPECT_FALSE(waits);
}

TEST(rcu_reader, is_waited_for_until_it_leaves_and_not_for_its_next_section) {
    scripted_reader reader;
    reader.enter();
    int pauses = 0;
    const auto reenter_in_the_third_pause = [&](access what, const void*) {
        if (what == access::pause && ++pauses >= 3) {
            reader.leave();
            reader.enter();
        }
    };
    scripted::play(reenter_in_the_third_pause, [&] { wait_for_reader(reader); });
    EXPECT_EQ(pauses, 3) << "it does not wait for the section that began after";
    EXPECT_TRUE(reader.inside());
}

TEST(rcu_reader, a_handler_at_any_point_of_a_section_leaves_it_whole) {
    // The handler's own section runs before each of the four accesses of enter and leave in turn.
    for (int at = 1; at <= 4; ++at) {
        scripted_reader reader;
        int accesses = 0;
        const auto handler = [&](access, const void*) {
            if (++accesses != at)
                return;
            if (reader.enter())
                reader.leave();
        };
        bool inside = false;
        scripted::play(handler, [&] {
            EXPECT_TRUE(reader.enter());
            inside = (reader.sections.std::atomic<std::uint64_t>::load() & 1) != 0;
            reader.leave();
        });
        EXPECT_EQ(accesses, 4);
        EXPECT_TRUE(inside) << at;
        EXPECT_FALSE(reader.inside()) << at;
    }
}

TEST(rcu_reader, that_sees_the_state_before_is_seen_inside) {
    // Store buffering: the reader's own store may not pass its loads, though it has no barrier of its own. Odd rounds enter, even
    // ones leave.
    struct alignas(2 * cache_line_bytes) word {
        std::atomic<unsigned> value{0};
    };
    alignas(2 * cache_line_bytes) rcu_reader reader;
    word state, begun, ended;
    unsigned saw = 0;
    std::atomic<bool> stopped{false};
    std::thread reads([&] {
        for (unsigned round = 1;; ++round) {
            while (begun.value.load() < round)
                if (stopped)
                    return;
            if (round % 2 == 1) {
                reader.enter();
                saw = state.value.load(std::memory_order_acquire);
            } else {
                reader.leave();
            }
            ended.value.store(round, std::memory_order_release);
        }
    });
    const allot_test::stopwatch watch{150 * allot_test::ms};
    unsigned missed = 0;
    volatile unsigned delay = 0;
    for (unsigned round = 1; watch.running(); ++round) {
        begun.value.store(round);
        for (unsigned spin = 0; spin < round % 199; ++spin)
            delay = spin;
        state.value.store(round, std::memory_order_release);
        real::all_barrier();
        const bool inside = (reader.sections.load(std::memory_order_seq_cst) & 1) != 0;
        while (ended.value.load(std::memory_order_acquire) < round) {
        }
        missed += round % 2 == 1 && saw < round && !inside;
    }
    stopped = true;
    reads.join();
    static_cast<void>(delay);
    EXPECT_EQ(missed, 0u);
}

TEST(rcu_shared_readers, are_waited_for_on_both_sides) {
    scripted_shared readers;
    for (int flips = 0; flips < 3; ++flips) {
        const unsigned side = readers.enter();
        int pauses = 0;
        const auto leave_in_the_third_pause = [&](access what, const void*) {
            if (what == access::pause && ++pauses == 3)
                readers.leave(side);
        };
        scripted::play(leave_in_the_third_pause, [&] { readers.wait(); });
        EXPECT_EQ(pauses, 3);
    }
}

TEST(rcu_shared_readers, that_keep_coming_do_not_hold_a_grace_period_up) {
    scripted_shared readers;
    std::deque<unsigned> inside{readers.enter()};
    int pauses = 0;
    // There is a reader at every moment: in each pause one comes before another leaves.
    const auto one_comes_one_leaves = [&](access what, const void*) {
        if (what != access::pause)
            return;
        if (++pauses <= 10)
            inside.push_back(readers.enter());
        if (!inside.empty()) {
            readers.leave(inside.front());
            inside.pop_front();
        }
    };
    scripted::play(one_comes_one_leaves, [&] { readers.wait(); });
    EXPECT_LT(pauses, 10);
    EXPECT_EQ(inside.size(), 1u);
}

TEST(rcu_shared_readers, one_that_chose_its_side_long_ago_is_waited_for_next_time) {
    scripted_shared readers;
    unsigned side = 0;
    // Between its look at the side in use and its count there, whole grace periods pass.
    scripted::play(before_nth(access::fetch_add, 1,
                              [&] {
                                  readers.wait();
                                  readers.wait();
                                  readers.wait();
                              }),
                   [&] { side = readers.enter(); });
    int pauses = 0;
    scripted::play(
        [&](access what, const void*) {
            if (what == access::pause && ++pauses == 2)
                readers.leave(side);
        },
        [&] { readers.wait(); });
    EXPECT_EQ(pauses, 2);
}

TEST(rcu_shared_readers, are_all_gone_in_a_forked_child) {
    scripted_shared readers;
    readers.enter(); // by a thread that did not come along
    readers.reset_after_fork();
    bool waits = false;
    const auto let_go_if_it_waits = [&](access what, const void*) {
        if (what != access::pause)
            return;
        waits = true;
        readers.reset_after_fork();
    };
    scripted::play(let_go_if_it_waits, [&] { readers.wait(); });
    EXPECT_FALSE(waits);
}

/// Waits for shared readers in a thread of its own, and tells whether it has to.
class waiter {
  public:
    explicit waiter(scripted_shared& readers, scripted::script also = nullptr) {
        thread_ = std::thread([this, &readers, also = std::move(also)]() mutable {
            scripted::play(
                [this, &also](access what, const void* where) {
                    if (what == access::pause)
                        waits_ = true;
                    if (also)
                        also(what, where);
                },
                [&] { readers.wait(); });
            over_ = true;
        });
    }
    ~waiter() { thread_.join(); }

    bool waits() const { return waits_; }
    bool over() const { return over_; }
    bool decided() const { return waits_ || over_; }

  private:
    std::atomic<bool> waits_{false};
    std::atomic<bool> over_{false};
    std::thread thread_;
};

TEST(rcu_shared_readers, are_waited_for_by_each_of_several_grace_periods_that_overlap) {
    // A reader is on one side, and the first waiter waits for it. The third turns the sides between the two turns of the second,
    // which so comes to the same side twice.
    scripted_shared readers;
    const unsigned side = readers.enter();
    waiter first{readers};
    EXPECT_TRUE(soon([&] { return first.waits(); }));
    std::unique_ptr<waiter> third;
    waiter second{readers, before_nth(access::fetch_add, 2, [&] {
                      third = std::make_unique<waiter>(readers);
                      EXPECT_TRUE(soon([&] { return third->decided(); }));
                  })};
    EXPECT_TRUE(soon([&] { return second.decided(); }));
    EXPECT_TRUE(not_yet([&] { return second.over(); })) << "a reader that began before is still inside";
    readers.leave(side);
}

// --- Signal handlers --------------------------------------------------------------------------------------------------------

/// Runs `act` when SIGUSR1 arrives, until the end of the test.
class handler {
  public:
    explicit handler(void (*act)(int)) {
        struct sigaction action {};
        action.sa_handler = act;
        ::sigaction(SIGUSR1, &action, &before_);
    }
    ~handler() { ::sigaction(SIGUSR1, &before_, nullptr); }

  private:
    struct sigaction before_ {};
};

TEST(rcu, a_section_in_a_handler_nests_in_the_threads_own) {
    ASSERT_TRUE(attach_thread());
    static std::atomic<int> handled;
    handled = 0;
    handler on_signal{[](int) {
        rcu_guard guard;
        EXPECT_TRUE(tls.slot->reader.inside());
        ++handled;
    }};
    const std::uint64_t before = tls.slot->reader.count();
    {
        rcu_guard guard;
        std::raise(SIGUSR1);
        EXPECT_EQ(tls.slot->reader.count(), before + 1) << "the same section still";
    }
    EXPECT_EQ(tls.slot->reader.count(), before + 2);
    std::raise(SIGUSR1);
    EXPECT_EQ(tls.slot->reader.count(), before + 4) << "a section of its own";
    EXPECT_EQ(handled, 2);
}

#if ALLOT_DEBUG
TEST(rcu, a_grace_period_inside_a_section_is_a_bug) {
    ASSERT_TRUE(attach_thread());
    {
        rcu_guard guard;
        EXPECT_NE(allot_test::bug_in([] { synchronize_rcu(); }), "");
    }
    user_read_lock();
    EXPECT_NE(allot_test::bug_in([] { synchronize_rcu(); }), "");
    user_read_unlock();
    EXPECT_NE(allot_test::bug_in([] { user_read_unlock(); }), "") << "it is not inside";
}
#endif

} // namespace
} // namespace allot::sync
