// SPDX-License-Identifier: MIT
//
// accounting_test: races 41 to 51 of the catalogue: bytes and counts that might be lost, counted twice, or charged to the wrong group.
//
// Idea.        See races.hpp; docs/races.md says of each what the window is.
#include "races.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <mutex>

namespace {

using namespace allot;
using namespace allot::literals;
using allot_test::beside;
using allot_test::beside_executor;
using allot_test::blocks;
using allot_test::heat;
using allot_test::inside;
using allot_test::not_yet;
using allot_test::parked;
using allot_test::puppet;
using allot_test::races;
using allot_test::slowdown;
using allot_test::soon;

/// The part of `stat` that says whom the group pays for itself.
std::uint64_t own(const allot::stat& s) { return s.slab + s.shared + s.large + s.external + s.metadata; }

TEST_F(races, race_41_what_threads_counted_for_themselves_outlives_the_group) {
    const allot::group above = child("above");
    allot::group group = above.create("group");
    heat(group, 64);
    const std::uint64_t before = above.stat().allocations + group.stat().allocations;
    puppet sleeper; // it counts in its slabs, and is not there when the group goes
    blocks made;
    sleeper.does([&] { ASSERT_TRUE(made.make(group, 64, 77)); });
    group.close();
    group = {};
    quiesce();
    EXPECT_EQ(above.stat().allocations, before + 77);
    made.clear();
    quiesce();
    EXPECT_EQ(above.stat().slab, 0u);
    EXPECT_EQ(above.stat().allocations, before + 77);
}

TEST_F(races, race_41_short_groups_of_many_threads_leave_nothing) {
    const unsigned threads = 2 * std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
    blocks handed[8];
    allot_test::on_threads(threads, [&](unsigned i) {
        for (int turn = 0; turn < 100 / static_cast<int>(slowdown); ++turn) {
            const allot::group group = top.create("group-" + std::to_string(i));
            blocks mine;
            ASSERT_TRUE(mine.make(group, 64, 100) && handed[i].make(group, 64, 10));
            group.close();
        }
    });
    for (blocks& each : handed)
        each.clear(); // on another thread than the one that made them
    allot_test::settle_all();
    EXPECT_EQ(usage(), 0u);
    EXPECT_EQ(nr_dying(top), 0u);
}

TEST_F(races, race_42_what_comes_back_while_a_thread_ends) {
    SKIP_WITHOUT_TEST_POINTS();
    const allot::group group = child("group");
    heat(group, 64);
    for (const char* window : {"end_thread:parked", "end_thread:detached"}) {
        blocks made;
        parked at{window};
        beside thread{[&] { ASSERT_TRUE(made.make(group, 64, 3000)); }};
        ASSERT_TRUE(at.arrived());
        made.clear();
        at.let_go();
        thread.join();
        allot_test::settle_all();
        EXPECT_EQ(group.stat().current, 0u) << window;
    }
}

TEST_F(races, race_42_a_free_that_has_yet_to_tell_a_thread_that_ends) {
    SKIP_WITHOUT_TEST_POINTS();
    const allot::group group = child("group");
    heat(group, 64);
    allot_test::settle_all();
    for (const char* window : {"end_thread:parked", "end_thread:detached", "after it has ended"}) {
        std::vector<void*> made;
        std::atomic<bool> is_made{false};
        std::atomic<bool> may_end{false};
        parked ending{window};
        beside holder{[&] {
            for (int i = 0; i < 3000; ++i)
                made.push_back(group.malloc(64));
            is_made = true;
            while (!may_end)
                platform::yield();
        }};
        EXPECT_TRUE(soon([&] { return is_made.load(); }));
        parked telling{"free_remote:pushed"}; // on the slab's list, and its holder not told
        beside freer{[&] { free_all(made); }};
        EXPECT_TRUE(telling.arrived());
        may_end = true;
        if (std::strncmp(window, "end_thread", 10) == 0) {
            EXPECT_TRUE(ending.arrived());
        } else {
            holder.join();
        }
        telling.let_go();
        freer.join();
        ending.let_go();
        holder.join();
        quiesce();
        EXPECT_EQ(group.stat().slab, 0u) << window << ": a slab that nobody looks at again";
    }
}

TEST_F(races, race_42_threads_that_come_and_go_keep_nothing) {
    const allot::group group = child("group");
    heat(group, 64);
    for (int i = 0; i < 2000 / static_cast<int>(slowdown); ++i)
        beside thread{[&] {
            blocks made;
            ASSERT_TRUE(made.make(group, 64, 20) && made.make(group, 1500, 1));
        }};
    EXPECT_EQ(inside(group).refs.count(), 3u) << "the tree's, the handle, this thread's heap";
    allot_test::settle_all();
    EXPECT_EQ(group.stat().current, 0u);
}

TEST_F(races, race_43_charges_and_frees_while_the_payer_changes) {
    std::atomic<bool> done{false};
    std::mutex handing;
    allot::group now = child("a");
    const auto current = [&] {
        const std::lock_guard hold(handing);
        return now;
    };
    const auto work = [&] {
        blocks mine;
        while (!done) {
            const allot::group group = current();
            charge held = group.try_charge(1000);
            mine.add(group.malloc(100));
            if (held) {
                EXPECT_TRUE(held.try_resize(2000));
            }
            if (mine.size() > 200)
                mine.clear();
        }
    };
    {
        beside one{work};
        beside two{work};
        for (int turn = 0; turn < 400 / static_cast<int>(slowdown); ++turn) {
            const allot::group old = current();
            {
                const std::lock_guard hold(handing);
                now = child(turn % 2 == 0 ? "b" : "a");
            }
            old.close();
        }
        done = true;
    }
    now.close();
    now = {};
    allot_test::settle_all();
    EXPECT_EQ(usage(), 0u);
}

TEST_F(races, race_44_each_way_to_free_uncharges_once) {
    const allot::group group = child("group");
    allot_cache* const cache = make_cache("mixed");
    std::mt19937_64 random(allot_test::test_seed("race_44"));
    puppet other;
    for (int turn = 0; turn < 4000 / static_cast<int>(slowdown); ++turn) {
        const std::size_t size = random() % 8 == 0 ? 50'000 : 16 + random() % 1500;
        void* const block = group.malloc(size);
        switch (random() % 5) {
        case 0:
            allot::free(block);
            break;
        case 1:
            allot_free_rcu(block, static_cast<allot_rcu_head*>(block));
            break;
        case 2:
            EXPECT_EQ(allot_realloc(allot_realloc(block, 2 * size), 0), nullptr);
            break;
        case 3:
            other.does([&] { allot::free(block); });
            break;
        default: {
            const allot::scope in{group};
            allot_cache_free(cache, allot_cache_alloc(cache));
            allot::free(block);
        }
        }
    }
    allot_rcu_barrier();
    allot_cache_destroy(cache, nullptr);
    allot_test::settle_all();
    EXPECT_EQ(group.stat().current, 0u);
    EXPECT_EQ(own(group.stat()), 0u);
}

TEST_F(races, race_45_a_refused_charge_hands_nothing_out) {
    allot_cache* const cache = make_cache("refused");
    const allot::group outer = child("outer", {.max = 64_KiB});
    const allot::group group = outer.create("group");
    heat(group, 64);
    charge held = group.charge_for(1000);
    blocks full;
    while (full.make(group, 64, 1) || full.make(group, 1500, 1))
        ;
    outer.set({.max = outer.stat().current});
    const std::uint64_t usage_before = outer.stat().current;
    const std::uint64_t group_before = group.stat().current;
    const std::uint64_t own_before = own(group.stat());
    for (const std::size_t size : {1500, 2500, 50'000})
        EXPECT_EQ(group.malloc(size), nullptr) << size;
    EXPECT_EQ(group.malloc(100, 4096), nullptr);
    EXPECT_EQ(fill(group, cache, 1)[0], nullptr);
    EXPECT_FALSE(group.try_charge(1));
    EXPECT_FALSE(held.try_resize(1001));
    EXPECT_EQ(held.bytes(), 1000u);
    allot_group* none = nullptr;
    EXPECT_EQ(allot_group_create(group.get(), "below", nullptr, &none), -ENOMEM);
    EXPECT_EQ(outer.stat().current, usage_before);
    EXPECT_EQ(group.stat().current, group_before) << "a level that agreed has given back";
    EXPECT_EQ(own(group.stat()), own_before);
    allot_cache_destroy(cache, nullptr);
}

TEST_F(races, race_46_more_bytes_than_an_unsigned_holds) {
    allot::group group = child("group");
    charge large = group.charge_for(5_GiB + 1);
    EXPECT_EQ(group.stat().external, 5_GiB + 1);
    large.resize(4_GiB);
    EXPECT_EQ(group.stat().external, 4_GiB);
    charge part = large.split(3_GiB);
    part.release();
    EXPECT_EQ(group.stat().external, 1_GiB);
    group.close();
    group = {};
    quiesce();
    EXPECT_EQ(top.stat().external, 1_GiB) << "moved to the parent";
    large.release();
    EXPECT_EQ(top.stat().external, 0u);
    EXPECT_EQ(counter::local_bytes(inside(top)), 0) << "not below zero either";
}

TEST_F(races, race_48_of_two_who_set_a_limit_neither_waits_for_the_other) {
    SKIP_WITHOUT_TEST_POINTS();
    const allot::group group = child("group");
    heat(group, 64);
    blocks live;
    ASSERT_TRUE(live.make(group, 100'000, 10));
    blocks made;
    parked at{"charge_slab:payer_read"};
    beside member{[&] { EXPECT_TRUE(made.make(group, 64, 3000)); }};
    ASSERT_TRUE(at.arrived());
    beside lowering{[&] { group.set({.max = 4096}); }}; // will not fit, and has to look at the member's slabs
    EXPECT_TRUE(soon([&] { return group.limits().max == 4096; }));
    EXPECT_TRUE(not_yet([&] { return lowering.done(); }));
    beside raising{[&] { group.set({.max = ALLOT_UNLIMITED}); }};
    EXPECT_TRUE(soon([&] { return raising.done(); })) << "it has nothing to wait for";
    at.let_go();
    lowering.join();
    EXPECT_EQ(group.limits().max, ALLOT_UNLIMITED) << "and its limit stays";
    member.join();
}

TEST_F(races, race_49_an_event_takes_no_lock_and_calls_nobody_back_where_it_happens) {
    SKIP_WITHOUT_TEST_POINTS();
    const allot::group group = child("group", {.high = 64_KiB});
    std::mutex of_the_user;
    parked at{"soft_limit:update"};
    blocks made;
    beside charger{[&] {
        const std::lock_guard hold(of_the_user);
        EXPECT_TRUE(made.make(group, 200'000, 1));
    }};
    ASSERT_TRUE(at.arrived()); // what the event asked for, on the executor
    EXPECT_TRUE(soon([&] { return charger.done(); })) << "who charges runs it, under a lock of its own";
    EXPECT_EQ(group.stat().high_events, 1u);
    at.let_go();
}

TEST_F(races, race_50_shares_of_a_group_that_is_inherited_never_wrap) {
    SKIP_WITHOUT_TEST_POINTS();
    const allot::group above = child("above");
    allot::group group = above.create("group");
    blocks freed;
    blocks kept;
    ASSERT_TRUE(freed.make(group, 1000, 20) && kept.make(group, 1000, 10));
    ASSERT_TRUE(freed.make(group, 100'000, 4) && kept.make(group, 100'000, 2));
    const std::uint64_t before = above.stat().current;
    const std::uint64_t of_the_group = own(group.stat());
    parked at{"offline:reparented"};
    group.close();
    {
        beside_executor executor;
        ASSERT_TRUE(at.arrived());
        freed.clear(); // charged to the group, uncharged by the parent, which has not got its share yet
        EXPECT_LE(own(above.stat()), before) << "below zero reads as zero, not as 2^64";
        EXPECT_LE(own(group.stat()), of_the_group);
        at.let_go();
    }
    group = {};
    allot_test::settle_all();
    EXPECT_EQ(above.stat().large, 2 * 102'400u);
    EXPECT_EQ(above.stat().shared, 10 * 1024u);
    EXPECT_EQ(above.stat().current, own(above.stat()));
    kept.clear();
    allot_test::settle_all();
    EXPECT_EQ(own(above.stat()), 0u);
}

// A group that is over, and one above it that is discarded meanwhile: one of the two takes back what it has, not both.
TEST_F(races, race_50b_the_end_of_a_group_beside_the_discard_of_one_above) {
    SKIP_WITHOUT_TEST_POINTS();
    const allot::group above = child("above");
    const allot::group group = above.create("group");
    {
        const allot::scope in{group};
        for (int i = 0; i < 20; ++i)
            ASSERT_NE(allot::malloc(64), nullptr);
        ASSERT_NE(allot::malloc(70'000), nullptr);
    }
    parked ending{"offline:swept"};
    group.close();
    beside_executor executor;
    ASSERT_TRUE(ending.arrived());
    parked rest{"discard_rest:read"};
    {
        parked marked{"discard:marked"};
        beside discard{[&] { above.close(allot::discard); }};
        ASSERT_TRUE(marked.arrived());
        ending.let_go();
        allot::platform::nap(20'000'000); // by now the executor stands in discard_rest(), if nothing keeps it out
        marked.let_go();
    }
    rest.let_go();
    executor.join();
    allot_test::settle_all();
    EXPECT_EQ(top.stat().shared, 0u);
    EXPECT_EQ(top.stat().large, 0u);
    allot_test::expect_books_agree("afterwards");
}

std::atomic<void*> for_the_handler[64];
std::atomic<std::size_t> handled{0};

void free_in_the_handler(int) {
    if (const std::size_t i = handled++; i < std::size(for_the_handler))
        allot_free(for_the_handler[i].load());
}

// The paths that take no lock, because their thread is in the library already, charge the same as the others.
TEST_F(races, race_51_the_paths_without_locks_agree_with_a_recount) {
    const allot::group group = child("group");
    heat(group, 64);
    for (std::size_t i = 0; i < std::size(for_the_handler); ++i)
        for_the_handler[i] = group.malloc(i % 3 == 0 ? 64 : i % 3 == 1 ? 1500 : 50'000);
    handled = 0;
    struct sigaction how {};
    struct sigaction before {};
    how.sa_handler = free_in_the_handler;
    ASSERT_EQ(sigaction(SIGUSR1, &how, &before), 0);
    {
        // The constructor runs in the middle of the slow path, with the slot's lock held.
        allot::kmem_cache cache{"interrupted", {.size = 3000, .alignment = 0, .flags = 0, .constructor = [](void*) {
                                                    const std::size_t seen = handled;
                                                    raise(SIGUSR1);
                                                    EXPECT_TRUE(soon([&] { return handled > seen; }));
                                                }}};
        const allot::scope in{group};
        std::vector<void*> made;
        while (handled < std::size(for_the_handler))
            made.push_back(cache.alloc());
        quiesce();
        allot_test::expect_books_agree("after frees that might take no lock");
        for (void* object : made)
            allot::free(object);
    }
    sigaction(SIGUSR1, &before, nullptr);
    allot_test::settle_all();
    EXPECT_EQ(group.stat().current, 0u);
}

} // namespace
