// SPDX-License-Identifier: MIT
//
// destroy_test: races 1 to 18 of the catalogue: caches that are destroyed beside what makes, removes and uses them.
//
// Idea.        See races.hpp; docs/races.md says of each what the window is.
#include "races.hpp"

#include "platform/memory.hpp"
#include "support/bugs.hpp"

#include <csignal>
#include <cstdlib>
#include <optional>
#include <unistd.h>

namespace {

using namespace allot;
using allot_test::beside;
using allot_test::beside_executor;
using allot_test::blocks;
using allot_test::inside;
using allot_test::not_yet;
using allot_test::parked;
using allot_test::races;
using allot_test::soon;

TEST_F(races, race_01_destroy_beside_a_creation) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("doomed");
    const allot::group group = child("group");
    parked at{"create_child:adopted"};
    std::vector<void*> made = fill(group, cache, 1000);
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    beside destroyer{[&] { allot_cache_destroy(cache, nullptr); }};
    EXPECT_TRUE(not_yet([&] { return destroyer.done(); })) << "the creation would go on with a freed root cache";
    at.let_go();
    destroyer.join();
    executor.join();
    EXPECT_FALSE(has_child(group, cache)) << "the child that was made meanwhile is shut down with the others";
    EXPECT_TRUE(exists("doomed")) << "its objects live";
    free_all(made);
    quiesce();
    EXPECT_FALSE(exists("doomed"));
}

TEST_F(races, race_01_destroy_beside_a_removal) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("doomed");
    const allot::group group = child("group");
    std::vector<void*> made = fill_hot(group, cache);
    parked at{"offline:reparented"};
    group.close();
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    allot_cache_report report;
    beside destroyer{[&] { allot_cache_destroy(cache, &report); }};
    EXPECT_TRUE(not_yet([&] { return destroyer.done(); })) << "the removal still has the child in its hands";
    at.let_go();
    destroyer.join();
    EXPECT_EQ(report.live, made.size());
    free_all(made);
    quiesce();
    EXPECT_FALSE(exists("doomed"));
}

TEST_F(races, race_02_one_alias_less_leaves_the_removals_children_alone) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const first = make_cache("alias");
    allot_cache* const second = make_cache("alias");
    ASSERT_EQ(first, second);
    const allot::group group = child("group");
    std::vector<void*> made = fill_hot(group, first);
    parked at{"offline:reparented"};
    group.close();
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    allot_cache_destroy(first, nullptr); // does not wait: the cache goes on
    EXPECT_EQ(inside_of(second).gate.life(), slab::cache_life::live);
    at.let_go();
    executor.join();
    free_all(made);
    quiesce();
    EXPECT_EQ(count_children(second), 1) << "only the root group's is left";
    allot_cache_destroy(second, nullptr);
    quiesce();
    EXPECT_FALSE(exists("alias"));
}

// 2': who meets a dying cache skips its work, and nobody does it later.
TEST_F(races, race_02b_a_release_that_a_dying_cache_turns_away_is_done_later) {
    SKIP_WITHOUT_TEST_POINTS();
    for (const char* window : {"destroy:closed", "destroy:settled", "destroy:shut_down"}) {
        allot_cache* const cache = make_cache("turned_away");
        const allot::group group = child("group");
        std::vector<void*> made = fill_hot(group, cache);
        group.close();
        quiesce();
        parked at{window};
        beside destroyer{[&] { allot_cache_destroy(cache, nullptr); }};
        ASSERT_TRUE(at.arrived());
        free_all(made); // the child's last reference, at a closed gate
        at.let_go();
        destroyer.join();
        quiesce();
        EXPECT_FALSE(exists("turned_away")) << "at " << window << ": a child for ever";
    }
}

/// Runs three times: after a grace period, as queued work, and after a grace period that this work asked for.
struct three_stages {
    static inline slab::cache_gate gate;
    static inline int runs = 0;
    static bool queue(sync::work& item) noexcept { return sync::queue_work(sync::stage::release, item); }
    static void run(sync::work& item) noexcept {
        ++runs;
        if (runs == 1)
            gate.enqueue_unless_dying(item, queue);
        else if (runs == 2)
            gate.enqueue_unless_dying(item, sync::call_rcu);
        gate.finished();
    }
};

TEST_F(races, race_03_one_grace_period_too_few) {
    EXPECT_TRUE(allot_test::child_lives(20, [] {
        sync::allow_worker(false); // so that only the passes below run anything
        sync::work item{three_stages::run};
        three_stages::gate.enqueue_unless_dying(item, sync::call_rcu);
        int passes = 0;
        three_stages::gate.settle(
            [&] {
                ++passes;
                sync::rcu_barrier();
            },
            [] { sync::flush(sync::stage::release); });
        return three_stages::runs == 3 && passes == 2 ? 0 : 1;
    })) << "one barrier and one flush do not reach a grace period that begins in the flushed work";
}

TEST_F(races, race_03_destroy_waits_for_slabs_that_wait_for_a_second_grace_period) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("stable", ALLOT_CACHE_TYPESAFE_BY_RCU);
    const allot::group group = child("group");
    std::vector<void*> made = fill_hot(group, cache);
    std::vector<void*> more = fill(group, cache, 1000);
    parked at{"rcu:after_grace_period"};
    free_all(made);
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    free_all(more); // their grace period begins in the work that has just become ready
    allot_cache_report report;
    beside destroyer{[&] { allot_cache_destroy(cache, &report); }};
    EXPECT_TRUE(not_yet([&] { return destroyer.done(); }));
    at.let_go();
    destroyer.join();
    EXPECT_EQ(report.live, 0u);
    quiesce();
    EXPECT_FALSE(exists("stable"));
}

TEST_F(races, race_04_a_creation_finds_no_cache_that_was_destroyed) {
    allot_cache* const cache = make_cache("gone");
    const allot::group group = child("group");
    const std::uint32_t index = inside_of(cache).shape.index;
    allot_cache_destroy(cache, nullptr);
    quiesce();
    ASSERT_FALSE(exists("gone"));
    auto& wanted = inside(group).wanted[index / 64];
    wanted.fetch_or(std::uint64_t{1} << (index % 64)); // asked for while the cache lived, run now
    memcg::want_child(inside(group));
    quiesce();
    EXPECT_EQ(wanted.load(), 0u) << "it looked, by index, and there was nothing to read a flag of";
    const sync::rcu_guard section;
    EXPECT_EQ(slab::child_of(inside(group), index), nullptr);
}

#if ALLOT_DEBUG
TEST_F(races, race_04_who_breaks_the_contract_is_named) {
    static allot_cache* cache;
    cache = make_cache("named");
    allot_cache_destroy(cache, nullptr);
    quiesce();
    const std::string report = allot_test::bug_in([] { allot_cache_alloc(cache); });
    EXPECT_NE(report.find("allocation from a destroyed cache: cache named"), std::string::npos) << report;
}
#endif

TEST_F(races, race_05_slabs_that_wait_for_a_grace_period_find_their_payer) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("stable", ALLOT_CACHE_TYPESAFE_BY_RCU);
    const allot::group above = child("above");
    allot::group group = above.create("group");
    std::vector<void*> made = fill_hot(group, cache);
    std::vector<void*> more = fill(group, cache, 1000);
    parked at{"rcu:after_grace_period"};
    free_all(made);
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    free_all(more); // these slabs' grace period ends after the group's removal
    group.close();
    group = {};
    beside destroyer{[&] { allot_cache_destroy(cache, nullptr); }};
    at.let_go();
    executor.join();
    destroyer.join();
    quiesce();
    EXPECT_FALSE(exists("stable"));
    EXPECT_EQ(nr_dying(top), 0u);
    EXPECT_EQ(above.stat().slab, 0u) << "whoever paid then was given it back";
}

TEST_F(races, race_06_an_array_stays_while_it_is_read) {
    std::vector<allot_cache*> caches;
    do
        caches.push_back(make_cache(("cache-" + std::to_string(caches.size())).c_str()));
    while (inside_of(caches.back()).shape.index < 64); // beyond the first array
    const allot::group group = child("group");
    std::vector<void*> made = fill_hot(group, caches.front());
    ASSERT_TRUE(has_child(group, caches.front()));
    std::vector<void*> more;
    {
        std::optional<beside> grower;
        {
            const sync::rcu_guard section;
            const slab::cache_array* const old = inside(group).caches.load();
            const std::uint32_t capacity = old->capacity;
            const slab::kmem_cache* const entry = old->entry[inside_of(caches.front()).shape.index].load();
            grower.emplace([&] {
                more = fill(group, caches.back(), 1000);
                quiesce();
            });
            EXPECT_TRUE(soon([&] { return inside(group).caches.load() != old; }));
            EXPECT_TRUE(not_yet([&] { return grower->done(); }))
                << "the old array's grace period waits for this reader";
            EXPECT_EQ(old->capacity, capacity);
            EXPECT_EQ(old->entry[inside_of(caches.front()).shape.index].load(), entry);
            EXPECT_NE(entry, nullptr);
        }
    }
    EXPECT_TRUE(has_child(group, caches.front())) << "copied";
    EXPECT_TRUE(has_child(group, caches.back()));
    free_all(made);
    free_all(more);
    for (allot_cache* cache : caches)
        allot_cache_destroy(cache, nullptr);
}

TEST_F(races, race_07_a_child_is_seen_whole_or_not_at_all) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("published");
    const allot::group group = child("group");
    parked at{"create_child:adopted"};
    std::vector<void*> made = fill(group, cache, 1000);
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    EXPECT_FALSE(has_child(group, cache)) << "publishing is the last step";
    const auto look = [&] {
        allot_test::attach_thread();
        const slab::kmem_cache* found = nullptr;
        for (const allot_test::stopwatch patience{allot_test::patience_ns}; found == nullptr && patience.running();) {
            const sync::rcu_guard section;
            found = slab::child_of(inside(group), inside_of(cache).shape.index);
            if (found == nullptr)
                continue;
            EXPECT_EQ(found->root, &inside_of(cache));
            EXPECT_EQ(found->shape.object_bytes, inside_of(cache).shape.object_bytes);
            EXPECT_EQ(found->payer.load(std::memory_order_relaxed), &inside(group));
            EXPECT_STREQ(found->name, "published");
        }
        EXPECT_NE(found, nullptr);
    };
    {
        beside one{look};
        beside two{look};
        at.let_go();
    }
    executor.join();
    free_all(made);
    allot_cache_destroy(cache, nullptr);
}

TEST_F(races, race_08_two_creations_of_one_cache_make_one) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* made[2] = {};
    {
        parked at{"create_child:adopted"}; // the root group's child of it
        beside first{[&] { made[0] = make_cache("same"); }};
        ASSERT_TRUE(at.arrived());
        beside second{[&] { made[1] = make_cache("same"); }};
        EXPECT_TRUE(not_yet([&] { return second.done(); })) << "it would find the cache half made, or not find it";
        at.let_go();
    }
    ASSERT_EQ(made[0], made[1]);
    EXPECT_EQ(inside_of(made[0]).aliases, 2u);
    EXPECT_EQ(count_children(made[0]), 1);
    const allot::group group = child("group");
    parked at{"create_child:adopted"};
    std::vector<void*> objects = fill(group, made[0], 1000);
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    std::vector<void*> more;
    beside other{[&] { more = fill(group, made[0], 1000); }}; // warms the same pair up while its child is being made
    other.join();
    at.let_go();
    executor.join();
    quiesce();
    EXPECT_EQ(count_children(made[0]), 2) << "the root group's and one of the group";
    free_all(objects);
    free_all(more);
    allot_cache_destroy(made[0], nullptr);
    allot_cache_destroy(made[1], nullptr);
    EXPECT_FALSE(exists("same"));
}

TEST_F(races, race_09_a_doomed_cache_is_not_handed_out_again) {
    SKIP_WITHOUT_TEST_POINTS();
    for (const char* window : {"destroy:unaliased", "destroy:closed", "destroy:settled", "destroy:shut_down"}) {
        allot_cache* const old = make_cache("twin");
        std::vector<void*> of_old = fill(top, old, 1);
        parked at{window};
        beside destroyer{[&] { allot_cache_destroy(old, nullptr); }};
        ASSERT_TRUE(at.arrived());
        allot_cache* const made = make_cache("twin");
        EXPECT_NE(made, old) << window;
        at.let_go();
        destroyer.join();
        std::vector<void*> of_made = fill(top, made, 1);
        EXPECT_NE(of_made[0], nullptr);
        free_all(of_made);
        free_all(of_old);
        quiesce();
        EXPECT_EQ(count_children(made), 1) << "the old one's end left it alone";
        allot_cache_destroy(made, nullptr);
        quiesce();
        EXPECT_FALSE(exists("twin"));
    }
}

TEST_F(races, race_10_a_cache_is_released_once_though_its_last_object_goes_meanwhile) {
    SKIP_WITHOUT_TEST_POINTS();
    for (const char* window : {"destroy:shut_down", "destroy:opened"})
        for (const unsigned flags : {0u, unsigned{ALLOT_CACHE_TYPESAFE_BY_RCU}}) {
            allot_cache* const cache = make_cache("once", flags);
            const allot::group group = child("group");
            std::vector<void*> made = fill_hot(group, cache);
            std::vector<void*> of_the_root = fill(allot::root(), cache, 5);
            parked at{window};
            beside destroyer{[&] { allot_cache_destroy(cache, nullptr); }};
            ASSERT_TRUE(at.arrived());
            free_all(made);
            free_all(of_the_root);
            quiesce();
            EXPECT_TRUE(exists("once")) << "the destroyer is not done with it";
            at.let_go();
            destroyer.join();
            quiesce();
            EXPECT_FALSE(exists("once"));
            group.close();
        }
}

TEST_F(races, race_11_a_leaked_object_keeps_its_cache_whole_and_off_every_list) {
    allot_cache* const leaky = make_cache("leaky");
    std::vector<void*> leaked = fill(top, leaky, 1);
    allot_cache_report report;
    allot_cache_destroy(leaky, &report);
    EXPECT_EQ(report.live, 1u);
    for (int turn = 0; turn < 300 / static_cast<int>(allot_test::slowdown); ++turn) {
        allot_cache* const next = make_cache("leaky");
        ASSERT_NE(next, leaky);
        std::vector<void*> objects = fill(top, next, 5);
        const auto ignore = [](const char*, std::size_t, void*) {};
        EXPECT_EQ(allot_snapshot(ALLOT_FORMAT_JSON, ignore, nullptr), 0);
        free_all(objects);
        allot_cache_destroy(next, &report);
        ASSERT_EQ(report.live, 0u);
    }
    allot_test::expect_books_agree("with a leaked object");
    std::memset(leaked[0], 1, 200);
    free_all(leaked);
    quiesce();
    EXPECT_FALSE(exists("leaky"));
}

TEST_F(races, race_12_objects_on_their_way_back_are_no_leak) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("deferred");
    std::vector<void*> made = fill(top, cache, 100);
    const auto give = [&](std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i)
            allot_free_rcu(made[i], static_cast<allot_rcu_head*>(made[i]));
    };
    parked at{"rcu:after_grace_period"};
    give(0, 50);
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    give(50, 100); // behind those whose grace period is over
    allot_cache_report report;
    beside destroyer{[&] { allot_cache_destroy(cache, &report); }};
    EXPECT_TRUE(not_yet([&] { return destroyer.done(); }));
    at.let_go();
    destroyer.join();
    EXPECT_EQ(report.live, 0u);
    EXPECT_FALSE(exists("deferred"));
}

TEST_F(races, race_12_the_barrier_comes_before_the_look) {
    EXPECT_TRUE(allot_test::child_lives(20, [] {
        sync::allow_worker(false); // so that nothing comes back but by what the destruction waits for
        allot_cache* const cache = make_cache("deferred");
        for (void* object : fill(allot::root(), cache, 100))
            allot_free_rcu(object, static_cast<allot_rcu_head*>(object));
        allot_cache_report report;
        allot_cache_destroy(cache, &report);
        return report.live == 0 ? 0 : 1;
    }));
}

TEST_F(races, race_13_who_reads_figures_holds_nothing_that_a_destroyer_wants) {
    struct act {
        allot_cache* cache;
        allot::group group;
        bool done = false;
    };
    act within{make_cache("unseen"), child("unseen")};
    std::vector<void*> made = fill_hot(within.group, within.cache);
    const auto destroy_within = [](const char*, std::size_t, void* data) {
        act& it = *static_cast<act*>(data);
        if (std::exchange(it.done, true))
            return;
        allot_cache_destroy(it.cache, nullptr);
        it.group.close();
        quiesce();
    };
    EXPECT_EQ(allot_snapshot(ALLOT_FORMAT_TEXT, destroy_within, &within), 0);
    EXPECT_TRUE(within.done);
    within.group = {};
    free_all(made);
    quiesce();
    EXPECT_FALSE(exists("unseen"));
    EXPECT_EQ(nr_dying(top), 0u);
}

/// A cache and a group from birth to end, by a thread that runs all deferred work itself. The result of a child process.
int live_and_die_without_a_worker(const allot::group& top) {
    const allot_cache_options options{.size = 200, .alignment = 0, .flags = 0, .constructor = nullptr};
    allot_cache* const cache = allot_cache_create("short", &options);
    allot::group group = top.create("short");
    std::vector<void*> made;
    {
        const allot::scope in{group};
        for (int i = 0; i < 1000; ++i)
            made.push_back(allot_cache_alloc(cache));
    }
    for (void* object : made)
        allot::free(object);
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    group.close();
    group = {};
    quiesce();
    return report.live == 0 && top.stat().nr_dying == 0 && !sync::worker_running() && allot::verify() ? 0 : 1;
}

TEST_F(races, race_14_the_queues_are_there_before_and_after_any_worker) {
    EXPECT_TRUE(allot_test::child_lives(20, [this] {
        sync::allow_worker(false);
        return live_and_die_without_a_worker(top);
    })) << "with no worker yet";
    EXPECT_TRUE(allot_test::child_lives(20, [this] {
        sync::allow_worker(false);
        static const allot::group* group;
        group = &top;
        std::atexit([] { _exit(live_and_die_without_a_worker(*group)); });
        std::exit(20);
        return 20;
    })) << "while the process ends";
}

TEST_F(races, race_15_a_removal_waits_without_the_tree_lock) {
    const allot::group beside_it = child("beside");
    const allot::group group = child("group");
    std::atomic<bool> reading{false};
    std::atomic<bool> tree_was_free{false};
    std::atomic<bool> may_end{false};
    beside reader{[&] {
        allot_rcu_read_lock(); // the removal waits for this section
        reading = true;
        EXPECT_TRUE(soon([&] { return inside(group).refs.is_dying(); }));
        // And the section waits for whoever wants the tree.
        EXPECT_TRUE(soon([&] { return tree_was_free || may_end; }));
        allot_rcu_read_unlock();
    }};
    ASSERT_TRUE(soon([&] { return reading.load(); }));
    group.close();
    beside_executor executor;
    EXPECT_TRUE(not_yet([&] { return executor.done(); }));
    beside user{[&] {
        EXPECT_TRUE(top.find("beside").has_value());
        const allot::group made = beside_it.create("made");
        EXPECT_EQ(beside_it.stat().nr_children, 1u);
        made.close();
        tree_was_free = true;
    }};
    EXPECT_TRUE(soon([&] { return user.done(); })) << "the removal holds the tree over its grace period";
    may_end = true;
}

TEST_F(races, race_16_teardown_needs_no_memory) {
    allot_cache* const cache = make_cache("needy");
    const allot::group above = child("above");
    std::vector<allot::group> groups;
    std::vector<void*> made;
    for (int i = 0; i < 5; ++i) {
        groups.push_back(above.create("group-" + std::to_string(i)));
        for (void* object : fill_hot(groups.back(), cache))
            made.push_back(object);
        for (const std::size_t size : {std::size_t{100}, std::size_t{100'000}})
            made.push_back(groups.back().malloc(size));
    }
    allot::root().set({.max = allot::root().stat().current});
#if ALLOT_DEBUG
    platform::fail_nth_map(1, true);
#endif
    above.close();
    groups.clear();
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    quiesce();
    EXPECT_EQ(nr_dying(top), 1u) << "all but the one that this test has a handle of";
    free_all(made);
    quiesce();
    EXPECT_FALSE(exists("needy"));
#if ALLOT_DEBUG
    EXPECT_EQ(platform::fail_nth_map(0, false), 0u) << "nobody even asked";
#endif
    allot::root().set({.max = ALLOT_UNLIMITED});
}

TEST_F(races, race_17_one_executor_never_waits_for_what_is_queued_behind) {
    EXPECT_TRUE(allot_test::child_lives(20, [this] {
        sync::allow_worker(false);
        const allot::group above = child("above");
        for (int i = 0; i < 50; ++i)
            static_cast<void>(above.create("group-" + std::to_string(i)));
        above.close(); // 51 removals, each of which has to wait for stages of others
        while (allot_poll() != 0)
            ;
        return top.stat().nr_dying == 1 ? 0 : 1; // the handle
    })) << "a removal waits for work that only its own thread would do";
    const allot_test::outcome waits = allot_test::in_child(20, [] {
        sync::allow_worker(false);
        sync::work item{[](sync::work&) noexcept { sync::flush(sync::stage::offline); }};
        sync::queue_work(sync::stage::create, item);
        quiesce();
        return 0;
    });
    EXPECT_EQ(waits.signal, SIGABRT) << "a stage that waits for a later one is a bug that says so: " << waits.text;
    EXPECT_NE(waits.text.find("in_executor"), std::string::npos) << waits.text;
}

TEST_F(races, race_18_a_close_waits_for_no_member) {
    allot::group group = child("group");
    allot_test::puppet member;
    std::optional<allot::scope> in;
    member.does([&] {
        in.emplace(group);
        allot::free(allot::malloc(100));
        group.close(); // its own group, from inside
        quiesce();
    });
    EXPECT_FALSE(group.is_open());
    EXPECT_EQ(nr_dying(top), 1u) << "the member and the handle";
    group = {};
    quiesce();
    EXPECT_EQ(nr_dying(top), 1u) << "the member";
    member.does([&] {
        void* const block = allot::malloc(100);
        EXPECT_EQ(allot::owner_of(block), top) << "a member that stays charges the nearest open ancestor";
        allot::free(block);
        in.reset();
    });
    quiesce();
    EXPECT_EQ(nr_dying(top), 0u);
}

} // namespace
