// SPDX-License-Identifier: MIT
//
// page_counter_test: a charge reaches every level or none, and no level is ever seen above its limit.
#include "counter/page_counter.hpp"

#include "support/bugs.hpp"
#include "support/threads.hpp"
#include "sync/scripted.hpp"

#include <array>
#include <csignal>
#include <gtest/gtest.h>
#include <random>

namespace allot::counter {
namespace {

using allot_test::access;
using allot_test::before_nth;
using allot_test::bug_in;
using allot_test::ms;
using allot_test::scripted;
using allot_test::stopwatch;

/// root > parent > child, and a second child of the parent.
template <class P> struct basic_family {
    basic_page_counter<P> root, parent, child, sibling;

    basic_family() {
        parent.parent = &root;
        child.parent = sibling.parent = &parent;
    }
    std::array<byte_count, 4> usage() const {
        return {root.usage.std::template atomic<byte_count>::load(),
                parent.usage.std::template atomic<byte_count>::load(),
                child.usage.std::template atomic<byte_count>::load(),
                sibling.usage.std::template atomic<byte_count>::load()};
    }
};
using family = basic_family<sync::real>;
using usages = std::array<byte_count, 4>; // root, parent, child, sibling

template <class P> bool charge(basic_page_counter<P>& counter, byte_count bytes) {
    basic_page_counter<P>* over = nullptr;
    const bool charged = try_charge(counter, bytes, &over);
    EXPECT_EQ(over == nullptr, charged);
    return charged;
}

TEST(page_counter, a_charge_counts_at_every_level_up_to_the_root) {
    family f;
    EXPECT_TRUE(charge(f.child, 100));
    EXPECT_TRUE(charge(f.sibling, 20));
    EXPECT_TRUE(charge(f.parent, 3));
    EXPECT_EQ(f.usage(), (usages{123, 123, 100, 20}));
    uncharge(f.child, 60);
    EXPECT_EQ(f.usage(), (usages{63, 63, 40, 20}));
    uncharge(f.child, 40);
    uncharge(f.sibling, 20);
    uncharge(f.parent, 3);
    EXPECT_EQ(f.usage(), (usages{0, 0, 0, 0}));
}

TEST(page_counter, a_charge_can_end_below_an_ancestor) {
    family f;
    page_counter* over = nullptr;
    EXPECT_TRUE(try_charge(f.child, 100, &over, &f.root));
    EXPECT_EQ(f.usage(), (usages{0, 100, 100, 0}));
    f.root.max = 10;
    EXPECT_TRUE(try_charge(f.child, 100, &over, &f.root)) << "the limits from there on do not count";
    uncharge(f.child, 200, &f.root);
    EXPECT_EQ(f.usage(), (usages{0, 0, 0, 0}));
}

TEST(page_counter, a_charge_that_any_level_refuses_charges_none) {
    for (page_counter family::*refuses : {&family::root, &family::parent, &family::child}) {
        family f;
        (f.*refuses).max = 100;
        EXPECT_TRUE(charge(f.child, 60));
        page_counter* over = nullptr;
        EXPECT_FALSE(try_charge(f.child, 41, &over));
        EXPECT_EQ(over, &(f.*refuses)) << "it says which level refused";
        EXPECT_EQ(f.usage(), (usages{60, 60, 60, 0}));
    }
}

TEST(page_counter, the_lowest_level_that_refuses_is_named) {
    family f;
    f.root.max = f.parent.max = f.child.max = 10;
    page_counter* over = nullptr;
    EXPECT_FALSE(try_charge(f.child, 11, &over));
    EXPECT_EQ(over, &f.child);
    EXPECT_FALSE(try_charge(f.parent, 11, &over));
    EXPECT_EQ(over, &f.parent);
}

TEST(page_counter, room_is_what_every_level_has_left_and_asking_for_it_changes_nothing) {
    page_counter top;
    page_counter middle;
    page_counter bottom;
    middle.parent = &top;
    bottom.parent = &middle;
    set_max(top, 200);
    set_max(middle, 100);
    page_counter* over = nullptr;
    ASSERT_TRUE(try_charge(middle, 60, &over));
    EXPECT_TRUE(has_room(bottom, 40));
    EXPECT_FALSE(has_room(bottom, 41)) << "the middle has 40 left";
    EXPECT_TRUE(has_room(bottom, 1'000'000, &middle)) << "the middle is not asked";
    EXPECT_FALSE(has_room(bottom, unlimited));
    bottom.high = 30;
    EXPECT_TRUE(has_room(bottom, 30));
    EXPECT_FALSE(has_room(bottom, 31)) << "what is not needed does not go over high";
    middle.high = 50;
    EXPECT_TRUE(has_room(bottom, 30)) << "where usage is above it already, it is asked no more";
    EXPECT_EQ(middle.max_events, 0u);
    EXPECT_EQ(bottom.usage, 0u);
}

TEST(page_counter, a_limit_is_reached_to_the_byte_and_not_passed) {
    page_counter counter;
    counter.max = 100;
    EXPECT_TRUE(charge(counter, 99));
    EXPECT_FALSE(charge(counter, 2));
    EXPECT_TRUE(charge(counter, 1));
    EXPECT_FALSE(charge(counter, 1));
    EXPECT_EQ(counter.usage, 100u);
    uncharge(counter, 1);
    EXPECT_TRUE(charge(counter, 1));
}

TEST(page_counter, a_limit_of_zero_refuses_every_byte) {
    page_counter counter;
    counter.max = 0;
    EXPECT_FALSE(charge(counter, 1));
    EXPECT_TRUE(charge(counter, 0)) << "nothing fits into nothing";
    EXPECT_EQ(counter.usage, 0u);
}

TEST(page_counter, sums_that_do_not_fit_are_refused_rather_than_wrapped) {
    page_counter counter;
    EXPECT_TRUE(charge(counter, unlimited - 10));
    EXPECT_TRUE(charge(counter, 10));
    EXPECT_FALSE(charge(counter, 1));
    EXPECT_FALSE(charge(counter, unlimited));
    EXPECT_EQ(counter.usage, unlimited);
    uncharge(counter, unlimited);
    counter.max = 100;
    EXPECT_TRUE(charge(counter, 50));
    EXPECT_FALSE(charge(counter, unlimited));
    EXPECT_FALSE(charge(counter, unlimited - 49));
    EXPECT_EQ(counter.usage, 50u);
}

TEST(page_counter, set_max_returns_the_usage_to_be_reclaimed) {
    page_counter counter;
    EXPECT_TRUE(charge(counter, 100));
    EXPECT_EQ(set_max(counter, 200), 100u);
    EXPECT_EQ(set_max(counter, 50), 100u);
    EXPECT_EQ(counter.max, 50u);
}

TEST(page_counter, a_limit_below_the_usage_refuses_until_enough_was_uncharged) {
    page_counter counter;
    EXPECT_TRUE(charge(counter, 100));
    set_max(counter, 50);
    EXPECT_FALSE(charge(counter, 1));
    EXPECT_FALSE(charge(counter, 0)) << "over is over";
    uncharge(counter, 51);
    EXPECT_TRUE(charge(counter, 1));
    EXPECT_FALSE(charge(counter, 1));
    set_max(counter, unlimited);
    EXPECT_TRUE(charge(counter, 1000));
}

TEST(page_counter, the_peak_is_the_most_that_usage_has_been) {
    family f;
    EXPECT_TRUE(charge(f.child, 70));
    uncharge(f.child, 50);
    EXPECT_TRUE(charge(f.sibling, 40));
    EXPECT_EQ(peak_of(f.child), 70u);
    EXPECT_EQ(peak_of(f.sibling), 40u);
    EXPECT_EQ(peak_of(f.parent), 70u);
    EXPECT_TRUE(charge(f.child, 30));
    EXPECT_EQ(peak_of(f.root), 90u);
    EXPECT_EQ(peak_of(f.child), 70u);
}

TEST(page_counter, a_charge_that_its_own_limit_refuses_leaves_no_peak) {
    page_counter counter;
    counter.max = 100;
    EXPECT_TRUE(charge(counter, 10));
    EXPECT_FALSE(charge(counter, 1000));
    EXPECT_EQ(peak_of(counter), 10u);
}

TEST(page_counter, a_charge_that_an_ancestor_refuses_leaves_no_peak_and_no_high_event) {
    // A group whose request of 1 GiB its parent, limited to 8 MiB, refused has not used 1 GiB.
    family f;
    f.parent.max = 100;
    f.child.high = 50;
    EXPECT_TRUE(charge(f.child, 10));
    EXPECT_FALSE(charge(f.child, 1000));
    EXPECT_EQ(peak_of(f.child), 10u);
    EXPECT_EQ(f.child.high_events, 0u);
}

TEST(page_counter, a_refusal_is_an_event_of_the_level_that_refused) {
    family f;
    f.parent.max = 100;
    EXPECT_TRUE(charge(f.child, 100));
    EXPECT_EQ(f.parent.max_events, 0u);
    EXPECT_FALSE(charge(f.child, 1));
    EXPECT_FALSE(charge(f.sibling, 1));
    EXPECT_EQ(f.parent.max_events, 2u);
    EXPECT_EQ(f.child.max_events, 0u);
    EXPECT_EQ(f.root.max_events, 0u);
}

TEST(page_counter, high_is_an_event_and_no_limit) {
    family f;
    f.parent.high = 100;
    EXPECT_TRUE(charge(f.child, 100));
    EXPECT_EQ(f.parent.high_events, 0u) << "at high is not over it";
    EXPECT_TRUE(charge(f.child, 1));
    EXPECT_TRUE(charge(f.sibling, 1));
    EXPECT_EQ(f.parent.high_events, 2u);
    EXPECT_EQ(f.child.high_events, 0u);
}

TEST(page_counter, an_uncharge_below_zero_is_a_bug) {
    static family f;
    EXPECT_TRUE(charge(f.child, 10));
    EXPECT_NE(bug_in([] { uncharge(f.child, 11); }).find("before < bytes"), std::string::npos);
    static page_counter alone;
    EXPECT_NE(bug_in([] { uncharge(alone, 1); }), "");
    const auto uncharge_nothing = [] {
        page_counter counter;
        uncharge(counter, 1);
    };
    EXPECT_EXIT(uncharge_nothing(), testing::KilledBySignal(SIGABRT), "allot: BUG: before < bytes");
}

TEST(page_counter, an_uncharge_that_only_an_ancestor_lacks_is_a_bug) {
    static family f;
    page_counter* over = nullptr;
    EXPECT_TRUE(try_charge(f.child, 10, &over, &f.parent)); // the ancestors were left out
    EXPECT_NE(bug_in([] { uncharge(f.child, 10); }), "");
}

TEST(page_counter, random_work_agrees_with_a_model) {
    std::mt19937_64 random{allot_test::fresh_seed()};
    constexpr unsigned count = 7; // a binary tree: the parent of i is (i - 1) / 2
    page_counter counters[count];
    byte_count own[count] = {}; // charged to it and not uncharged
    byte_count limit[count];
    for (unsigned i = 0; i < count; ++i) {
        counters[i].parent = i == 0 ? nullptr : &counters[(i - 1) / 2];
        limit[i] = counters[i].max = i == 0 ? 3000 : 1000;
    }
    const auto is_below = [](unsigned i, unsigned ancestor) {
        while (i > ancestor)
            i = (i - 1) / 2;
        return i == ancestor;
    };
    const auto usage_of = [&](unsigned ancestor) {
        byte_count sum = 0;
        for (unsigned i = 0; i < count; ++i)
            sum += is_below(i, ancestor) ? own[i] : 0;
        return sum;
    };
    for (int step = 0; step < 20'000; ++step) {
        const auto chosen = static_cast<unsigned>(random() % count);
        const byte_count bytes = random() % 200;
        if (random() % 64 == 0)
            set_max(counters[chosen], limit[chosen] = random() % 2000);
        if (random() % 2 == 0) {
            bool fits = true;
            for (unsigned i = 0; i < count; ++i)
                fits &= !is_below(chosen, i) || usage_of(i) + bytes <= limit[i];
            ASSERT_EQ(charge(counters[chosen], bytes), fits) << "step " << step;
            own[chosen] += fits ? bytes : 0;
        } else if (own[chosen] >= bytes) {
            uncharge(counters[chosen], bytes);
            own[chosen] -= bytes;
        }
        for (unsigned i = 0; i < count; ++i)
            ASSERT_EQ(counters[i].usage, usage_of(i)) << "step " << step;
    }
}

// --- Another thread at a given point ----------------------------------------------------------------------------------------

using scripted_family = basic_family<scripted>;

TEST(page_counter, two_charges_that_fit_one_at_a_time_do_not_both_pass) {
    scripted_family f;
    f.child.max.store(100, std::memory_order_relaxed);
    bool first = false, second = false;
    scripted::play(before_nth(access::compare_exchange, 1, [&] { second = charge(f.child, 60); }),
                   [&] { first = charge(f.child, 60); });
    EXPECT_TRUE(second);
    EXPECT_FALSE(first);
    EXPECT_EQ(f.usage(), (usages{60, 60, 60, 0}));
}

TEST(page_counter, a_charge_that_meets_another_tries_again) {
    scripted_family f;
    f.child.max.store(120, std::memory_order_relaxed);
    bool first = false;
    scripted::play(before_nth(access::compare_exchange, 1, [&] { EXPECT_TRUE(charge(f.child, 60)); }),
                   [&] { first = charge(f.child, 60); });
    EXPECT_TRUE(first);
    EXPECT_EQ(f.usage(), (usages{120, 120, 120, 0}));
}

TEST(page_counter, a_limit_lowered_during_a_charge_is_seen_by_the_charge_or_sees_it) {
    // try_charge_level() looks at usage and max, exchanges usage, and looks at max again; whatever comes after is too late.
    const std::pair<access, int> places[] = {
        {access::load, 1}, {access::load, 2}, {access::compare_exchange, 1}, {access::load, 3}, {access::load, 4}};
    for (const auto& [kind, n] : places) {
        basic_page_counter<scripted> counter;
        bool charged = false;
        byte_count seen = ~byte_count{0};
        scripted::play(before_nth(kind, n, [&] { seen = set_max(counter, 50); }),
                       [&] { charged = charge(counter, 60); });
        const byte_count usage = counter.usage.load(std::memory_order_relaxed);
        EXPECT_EQ(usage, charged ? 60u : 0u);
        EXPECT_TRUE(usage <= 50 || seen == usage) << "over the limit, and nobody knows";
        EXPECT_NE(seen, ~byte_count{0}) << "the limit was set";
    }
}

TEST(page_counter, a_peak_is_not_lost_to_a_smaller_one_that_comes_later) {
    basic_page_counter<scripted> counter;
    EXPECT_TRUE(charge(counter, 10));
    // The smaller peak is about to be written when the larger one is.
    scripted::play(before_nth(access::compare_exchange, 1,
                              [&] {
                                  EXPECT_TRUE(charge(counter, 100));
                                  uncharge(counter, 100);
                              }),
                   [&] { uncharge(counter, 10); });
    EXPECT_EQ(counter.watermark.load(std::memory_order_relaxed), 110u);
    EXPECT_EQ(counter.usage.load(std::memory_order_relaxed), 0u);
}

TEST(page_counter, a_peak_is_told_before_and_after_usage_has_fallen) {
    basic_page_counter<scripted> counter;
    EXPECT_TRUE(charge(counter, 10));
    for (const int n : {1, 2}) { // the peak is written, then usage falls
        EXPECT_TRUE(charge(counter, 5));
        scripted::play(before_nth(access::compare_exchange, n, [&] { EXPECT_EQ(peak_of(counter), 15u); }),
                       [&] { uncharge(counter, 5); });
        EXPECT_EQ(peak_of(counter), 15u);
        counter.watermark.store(0, std::memory_order_relaxed);
    }
}

// --- Many threads -----------------------------------------------------------------------------------------------------------

TEST(page_counter, nobody_sees_usage_above_max) {
    family f;
    f.root.max = 5000;
    f.parent.max = 4000;
    f.child.max = 3000;
    f.sibling.max = 2000;
    std::atomic<unsigned> at_work{3};
    std::atomic<std::uint64_t> charged{0}, refused{0};
    const std::uint64_t seed = allot_test::fresh_seed();
    const stopwatch watch{200 * ms};
    allot_test::run_threads(4, [&](unsigned index) {
        if (index == 3) {
            while (at_work != 0)
                for (const page_counter* each : {&f.root, &f.parent, &f.child, &f.sibling})
                    ASSERT_LE(each->usage.load(), each->max.load());
            return;
        }
        std::mt19937_64 random{seed + index};
        page_counter& mine = index == 0 ? f.child : index == 1 ? f.sibling : f.root;
        byte_count held = 0;
        while (watch.running()) {
            const byte_count bytes = random() % 1500;
            if (random() % 2 == 0 && held != 0) {
                const byte_count some = std::min(held, bytes);
                uncharge(mine, some);
                held -= some;
            } else {
                const bool ok = charge(mine, bytes);
                held += ok ? bytes : 0;
                ++(ok ? charged : refused);
            }
        }
        uncharge(mine, held);
        --at_work;
    });
    EXPECT_GT(charged, 0u);
    EXPECT_GT(refused, 0u);
    EXPECT_EQ(f.usage(), (usages{0, 0, 0, 0}));
    for (const page_counter* each : {&f.root, &f.parent, &f.child, &f.sibling})
        EXPECT_LE(each->watermark, each->max);
}

TEST(page_counter, threads_that_race_for_the_last_bytes_get_them_all) {
    for (int round = 0; round < 10; ++round) {
        family f;
        f.parent.max = 30'000;
        std::atomic<byte_count> got{0};
        allot_test::run_threads(4, [&](unsigned index) {
            byte_count mine = 0;
            while (charge(index % 2 == 0 ? f.child : f.sibling, 3))
                mine += 3;
            got += mine;
        });
        EXPECT_EQ(got, 30'000u);
        EXPECT_EQ(f.root.usage, 30'000u);
        EXPECT_EQ(peak_of(f.parent), 30'000u);
        EXPECT_EQ(f.child.usage + f.sibling.usage, 30'000u);
        EXPECT_EQ(f.parent.max_events, 4u) << "one refusal a thread";
    }
}

TEST(page_counter, a_limit_lowered_under_load_holds_from_then_on) {
    // Whoever lowers the limit is told a usage; if nothing is uncharged, usage never passes the larger of it and the limit.
    constexpr unsigned chargers = 2;
    std::atomic<unsigned> round_begun{0};
    std::atomic<unsigned> done{0};
    std::atomic<bool> stopped{false};
    family f;
    allot_test::run_threads(chargers + 1, [&](unsigned index) {
        if (index < chargers) {
            for (unsigned round = 1;; ++round) {
                while (round_begun < round)
                    if (stopped)
                        return;
                while (charge(f.child, 7)) {
                }
                ++done;
            }
        }
        const stopwatch watch{200 * ms};
        for (unsigned round = 1; watch.running() && !HasFailure(); ++round) {
            f.child.max = 700 + round % 7;
            round_begun = round;
            for (unsigned spin = 0; spin < round % 128; ++spin)
                cpu_relax();
            const byte_count seen = set_max(f.child, 350);
            while (done < round * chargers)
                platform::yield();
            const byte_count usage = f.child.usage;
            EXPECT_LE(usage, std::max<byte_count>(seen, 350));
            EXPECT_EQ(f.root.usage, usage);
            uncharge(f.child, usage);
        }
        stopped = true;
    });
}

TEST(page_counter, the_peak_of_charges_that_only_add_is_their_sum) {
    family f;
    allot_test::run_threads(4, [&](unsigned index) {
        for (int i = 0; i < 5000; ++i)
            EXPECT_TRUE(charge(index % 2 == 0 ? f.child : f.sibling, 1 + index));
    });
    EXPECT_EQ(f.root.usage, 50'000u);
    EXPECT_EQ(peak_of(f.root), 50'000u);
    EXPECT_EQ(peak_of(f.parent), 50'000u);
    EXPECT_EQ(peak_of(f.child), 20'000u);
    EXPECT_EQ(peak_of(f.sibling), 30'000u);
}

TEST(page_counter, charges_in_handlers_on_top_of_charges_are_exact) {
    static family* f;
    static std::atomic<byte_count> in_handlers;
    family here;
    f = &here;
    in_handlers = 0;
    here.parent.max = 1'000'000;
    struct sigaction action {
    }, before{};
    action.sa_handler = [](int) {
        page_counter* over = nullptr;
        if (try_charge(f->sibling, 5, &over))
            in_handlers += 5;
    };
    ::sigaction(SIGUSR1, &action, &before);
    std::atomic<bool> ready{false}, stopped{false};
    std::thread charges([&] {
        ready = true;
        while (!stopped) {
            EXPECT_TRUE(charge(f->child, 3));
            uncharge(f->child, 3);
        }
    });
    EXPECT_TRUE(allot_test::soon([&] { return ready.load(); }));
    const stopwatch watch{50 * ms};
    while (watch.running())
        pthread_kill(charges.native_handle(), SIGUSR1);
    stopped = true;
    charges.join();
    ::sigaction(SIGUSR1, &before, nullptr);
    EXPECT_GT(in_handlers, 0u);
    EXPECT_EQ(here.usage(), (usages{in_handlers, in_handlers, 0, in_handlers}));
}

} // namespace
} // namespace allot::counter
