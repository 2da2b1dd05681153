// SPDX-License-Identifier: MIT
//
// lifetime_test: races 19 to 29 of the catalogue: references, ids, and groups that are found, made and undone.
//
// Idea.        See races.hpp; docs/races.md says of each what the window is.
#include "races.hpp"

#include "group/owner_records.hpp"
#include "platform/topology.hpp"
#include "support/bugs.hpp"

#include <cerrno>
#include <optional>
#include <stdexcept>

namespace {

using namespace allot;
using namespace allot::literals;
using allot_test::beside;
using allot_test::beside_executor;
using allot_test::blocks;
using allot_test::inside;
using allot_test::not_yet;
using allot_test::parked;
using allot_test::races;

constexpr std::uint64_t unit = 4096;

TEST_F(races, race_19_no_reference_to_a_group_whose_last_one_is_gone) {
    SKIP_WITHOUT_TEST_POINTS();
    allot::group group = child("gone");
    const memcg::mem_cgroup& gone = inside(group);
    const counter::page_counter& counter = gone.counter();
    const std::uint32_t id = group.id();
    group.close();
    quiesce();
    {
        std::optional<beside_executor> executor;
        {
            const sync::rcu_guard section; // begins before the last put: what is found by id here stays
            parked at{"put:last"};
            beside last{[&] { group = {}; }};
            ASSERT_TRUE(at.arrived());
            EXPECT_EQ(memcg::group_of(counter), nullptr) << "it still stands in the table, with a count of 0";
            at.let_go();
            last.join();
            executor.emplace();
            EXPECT_TRUE(not_yet([&] { return executor->done(); })) << "the memory would be somebody else's";
            EXPECT_EQ(gone.id, id);
            EXPECT_EQ(gone.refs.count(), 0u);
        }
    }
    const allot::group next = child("next");
    EXPECT_EQ(next.id(), id) << "the record is used again";
    memcg::mem_cgroup* const found = memcg::group_of(counter);
    EXPECT_EQ(found, &inside(next));
    if (found != nullptr)
        memcg::put(*found);
}

TEST_F(races, race_20_a_reader_of_the_payer_never_raises_a_count_from_zero) {
    SKIP_WITHOUT_TEST_POINTS();
    memcg::owner_records map;
    ASSERT_TRUE(map.open(8, unit));
    const allot::group above = child("above");
    allot::group group = above.create("gone");
    ASSERT_EQ(map.record(0, inside(group)), 0);
    memcg::mem_cgroup* found = nullptr;
    parked at{"owner_records:id_read"};
    beside reader{[&] { found = map.owner_of(0); }};
    ASSERT_TRUE(at.arrived());
    {
        parked reparented{"offline:reparented"};
        group.close();
        group = {};
        beside_executor executor;
        ASSERT_TRUE(reparented.arrived());
        reparented.let_go();
        EXPECT_TRUE(not_yet([&] { return executor.done(); })) << "the group's own reference waits for the reader";
        EXPECT_EQ(nr_dying(above), 1u);
        at.let_go();
    }
    reader.join();
    ASSERT_EQ(found, &inside(above)) << "who pays now";
    EXPECT_GT(found->refs.count(), 2u);
    memcg::put(*found);
    quiesce();
    EXPECT_EQ(nr_dying(above), 0u);
}

TEST_F(races, race_21_giving_back_a_charge_of_a_group_that_goes) {
    SKIP_WITHOUT_TEST_POINTS();
    memcg::owner_records map;
    ASSERT_TRUE(map.open(8, unit));
    const allot::group above = child("above");
    allot::group group = above.create("gone");
    ASSERT_EQ(map.record(0, inside(group)), 0);
    ASSERT_EQ(map.record(1, inside(group)), 0);
    parked at{"owner_records:payer_read"};
    beside giver{[&] { map.release(0); }};
    ASSERT_TRUE(at.arrived());
    group.close();
    group = {};
    {
        beside_executor executor;
        EXPECT_TRUE(not_yet([&] { return executor.done(); }));
        EXPECT_EQ(nr_dying(above), 1u) << "who uncharges it stands in a section, without a reference";
        at.let_go();
    }
    giver.join();
    quiesce();
    EXPECT_EQ(above.stat().external, unit) << "the other record, at the heir";
    EXPECT_EQ(nr_dying(above), 0u);
}

TEST_F(races, race_21_a_get_from_zero_is_a_bug) {
    static sync::percpu_ref dead;
    ASSERT_TRUE(dead.put());
    EXPECT_FALSE(dead.tryget());
    EXPECT_NE(allot_test::bug_in([] { dead.get(); }), "");
}

TEST_F(races, race_22_who_loses_its_group_at_every_level_gets_the_next_one_with_a_reference) {
    SKIP_WITHOUT_TEST_POINTS();
    memcg::owner_records map;
    ASSERT_TRUE(map.open(8, unit));
    allot::group a = child("a");
    allot::group b = a.create("b");
    allot::group c = b.create("c");
    ASSERT_EQ(map.record(0, inside(c)), 0);
    memcg::mem_cgroup* const heirs[] = {&inside(b), &inside(a), &inside(top)};
    allot::group* const levels[] = {&c, &b, &a};
    for (std::size_t i = 0; i < std::size(levels); ++i) {
        parked at{"put:last"};
        beside remover{[group = std::move(*levels[i])]() mutable {
            group.close();
            group = {};
            quiesce();
        }};
        ASSERT_TRUE(at.arrived()); // there is no reference to be had of this level any more
        const std::uint64_t before = heirs[i]->refs.count();
        memcg::mem_cgroup* const found = map.owner_of(0);
        EXPECT_EQ(found, heirs[i]) << i;
        if (found != nullptr) {
            EXPECT_EQ(found->refs.count(), before + 1);
            memcg::put(*found);
        }
        at.let_go();
    }
    quiesce();
    EXPECT_EQ(nr_dying(top), 0u);
}

TEST_F(races, race_23_an_id_is_given_away_again_only_when_its_group_is_gone) {
    SKIP_WITHOUT_TEST_POINTS();
    allot::group group = child("gone");
    const std::uint32_t id = group.id();
    group.close();
    quiesce();
    parked at{"put:last"};
    beside last{[&] { group = {}; }};
    ASSERT_TRUE(at.arrived());
    std::vector<allot::group> others;
    for (int i = 0; i < 20; ++i) {
        others.push_back(child(("other-" + std::to_string(i)).c_str()));
        EXPECT_NE(others.back().id(), id);
    }
    at.let_go();
    last.join();
    quiesce();
    const allot::group next = child("next");
    EXPECT_EQ(next.id(), id);
    others.push_back(next);
    for (const allot::group& each : others) {
        memcg::mem_cgroup* const found = memcg::group_of(inside(each).counter());
        EXPECT_EQ(found, &inside(each)) << "the end of the one before took nothing of it away";
        if (found != nullptr)
            memcg::put(*found);
        each.close();
    }
}

TEST_F(races, race_23_ids_and_groups_are_a_bijection_at_all_times) {
    std::vector<std::atomic<bool>> used(ALLOT_STAT_CAPACITY);
    allot_test::on_threads(4, [&](unsigned i) {
        std::vector<allot::group> mine;
        for (int turn = 0; turn < 4000 / static_cast<int>(allot_test::slowdown); ++turn) {
            const std::string name = "g" + std::to_string(i) + "-" + std::to_string(turn);
            mine.push_back(top.create(name));
            EXPECT_FALSE(used[mine.back().id()].exchange(true)) << "two groups with one id";
            if (mine.size() < 8)
                continue;
            for (allot::group& each : mine) {
                memcg::mem_cgroup* const found = memcg::group_of(inside(each).counter());
                EXPECT_EQ(found, &inside(each));
                if (found != nullptr)
                    memcg::put(*found);
                each.close();
                used[each.id()] = false;
                each = {};
            }
            mine.clear();
        }
    });
}

TEST_F(races, race_24_a_reference_is_taken_before_its_record_is_seen) {
    SKIP_WITHOUT_TEST_POINTS();
    memcg::owner_records map;
    ASSERT_TRUE(map.open(8, unit));
    const allot::group above = child("above");
    allot::group group = above.create("gone");
    slab::obj_cgroup& owner = *inside(group).objects;
    parked at{"owner_records:taken"};
    beside writer{[&] { EXPECT_EQ(map.record(0, inside(group)), 0); }};
    ASSERT_TRUE(at.arrived());
    EXPECT_EQ(owner.refs.load(), slab::obj_cgroup::own_refs + 1) << "the group's and the record's that is to be";
    EXPECT_FALSE(map.release(0)) << "nothing to see yet";
    group.close();
    quiesce();
    EXPECT_EQ(owner.refs.load(), 1u) << "the record's";
    at.let_go();
    writer.join();
    group = {};
    quiesce();
    EXPECT_EQ(nr_dying(above), 0u) << "the record holds nothing of the group";
    EXPECT_EQ(above.stat().external, unit);
    EXPECT_TRUE(map.release(0));
    EXPECT_FALSE(map.release(0));
    EXPECT_EQ(above.stat().external, 0u);
}

TEST_F(races, race_25_a_walk_survives_the_end_of_all_that_it_has_yet_to_visit) {
    std::vector<allot::group> made;
    for (int i = 0; i < 30; ++i)
        made.push_back((i % 3 == 0 ? top : made.back()).create("group-" + std::to_string(i)));
    int visited = 0;
    top.walk([&](const allot::group& at) {
        if (++visited == 5) {
            for (const allot::group& each : made)
                each.close();
            made.clear();
            quiesce();
        }
        EXPECT_FALSE(at.path().empty());
    });
    EXPECT_EQ(visited, 31);
    quiesce();
    EXPECT_EQ(nr_dying(top), 0u);
}

TEST_F(races, race_25_an_order_of_groups_forgets_one_before_it_goes) {
    SKIP_WITHOUT_TEST_POINTS();
    allot::group group = child("gone", {.high = 64_KiB});
    blocks made;
    {
        parked at{"soft_limit:update"}; // about to remember it
        ASSERT_TRUE(made.make(group, 200'000, 2));
        beside_executor executor;
        ASSERT_TRUE(at.arrived());
        group.close();
        group = {};
        at.let_go();
    }
    quiesce();
    EXPECT_EQ(nr_dying(top), 0u);
    EXPECT_EQ(memcg::soft_limit_reclaim(1_GiB), 0u) << "a freed group in the tree would be touched here";
}

TEST_F(races, race_25_an_order_of_groups_keeps_nothing_of_those_that_went) {
    allot_test::settle_all();
    const std::uint64_t before = allot::root().stat().metadata;
    {
        std::vector<allot::group> made;
        std::vector<charge> charges;
        for (int i = 0; i < 300; ++i) {
            made.push_back(child(("group-" + std::to_string(i)).c_str(), {.high = 64_KiB}));
            charges.push_back(made.back().charge_for(100'000 + static_cast<std::uint64_t>(i)));
        }
        quiesce();
        EXPECT_EQ(memcg::soft_limit_excess(inside(made.back()), platform::current_numa_node()),
                  made.back().stat().current - 64_KiB);
        for (const allot::group& each : made)
            each.close();
    }
    quiesce();
    EXPECT_EQ(nr_dying(top), 0u);
    memcg::free_spares();
    EXPECT_LE(allot::root().stat().metadata, before + 2 * 4096) << "their places in the order";
}

TEST_F(races, race_26_a_walk_that_is_broken_off_gives_its_references_back) {
    std::vector<allot::group> made;
    for (int i = 0; i < 10; ++i)
        made.push_back(child(("group-" + std::to_string(i)).c_str()));
    const auto expect_two_each = [&](const char* when) {
        for (const allot::group& each : made)
            EXPECT_EQ(inside(each).refs.count(), 2u) << when;
    };
    expect_two_each("the tree's and the handle");
    EXPECT_FALSE(top.walk([](const allot::group&) { return false; }));
    expect_two_each("ended by its result");
    EXPECT_THROW(top.walk([](const allot::group&) { throw std::runtime_error("enough"); }), std::runtime_error);
    expect_two_each("ended by an exception");
    for (const allot::group& each : made)
        each.close();
    made.clear();
    quiesce();
    EXPECT_EQ(nr_dying(top), 0u);
}

TEST_F(races, race_27_every_edge_holds_one_reference_and_on_the_right_group) {
    const auto count = [](const allot::group& group) { return inside(group).refs.count(); };
    const std::uint64_t before = count(top);
    allot::group above = child("above");
    EXPECT_EQ(count(top), before + 1) << "its child's";
    EXPECT_EQ(count(above), 2u) << "the tree's and the handle";
    allot::group below = above.create("below");
    EXPECT_EQ(count(above), 3u);
    EXPECT_EQ(count(below), 2u) << "a child pins its parent, not itself";
    {
        allot_test::puppet member;
        member.does([&] { allot::free(below.malloc(100)); });
        EXPECT_EQ(count(below), 3u) << "the thread's heap";
    }
    EXPECT_EQ(count(below), 2u) << "the thread has gone";
    void* const cold = below.malloc(2'000'000);
    charge external = below.charge_for(1000);
    EXPECT_EQ(count(below), 2u) << "what is allocated or charged holds none";
    below.close();
    quiesce();
    EXPECT_EQ(count(below), 1u) << "the handle";
    EXPECT_EQ(count(above), 3u) << "its child is not freed";
    below = {};
    quiesce();
    EXPECT_EQ(count(above), 2u);
    above.close();
    above = {};
    quiesce();
    EXPECT_EQ(count(top), before);
    allot::free(cold);
}

TEST_F(races, race_28_a_half_built_group_is_not_found_by_its_recycled_id) {
    SKIP_WITHOUT_TEST_POINTS();
    allot::group old = child("old");
    const counter::page_counter& counter = inside(old).counter(); // what a stale record would name
    const std::uint32_t id = old.id();
    old.close();
    old = {};
    quiesce();
    allot::group made;
    parked at{"create:equipped"};
    beside creator{[&] { made = child("made"); }};
    ASSERT_TRUE(at.arrived());
    EXPECT_EQ(memcg::group_of(counter), nullptr);
    at.let_go();
    creator.join();
    ASSERT_EQ(made.id(), id);
    memcg::mem_cgroup* const found = memcg::group_of(counter);
    ASSERT_EQ(found, &inside(made));
    EXPECT_EQ(found->parent_group(), &inside(top));
    memcg::put(*found);
    made.close();
}

TEST_F(races, race_29_a_child_cache_whose_group_closes_while_it_is_made_is_undone_once) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("undone");
    const allot::group group = child("group");
    const std::uint64_t before = inside_of(cache).refs.load();
    parked at{"create_child:linked"};
    std::vector<void*> made = fill(group, cache, 1000);
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    EXPECT_EQ(count_children(cache), 2);
    group.close();
    beside destroyer{[&] { allot_cache_destroy(cache, nullptr); }};
    EXPECT_TRUE(not_yet([&] { return destroyer.done(); })) << "it would shut the half made child down as well";
    at.let_go();
    executor.join();
    destroyer.join();
    EXPECT_GE(before, 1u);
    EXPECT_TRUE(exists("undone"));
    free_all(made);
    quiesce();
    EXPECT_FALSE(exists("undone")) << "the root's reference was given back once";
}

TEST_F(races, race_29_creations_that_fail_at_any_step_beside_arrays_that_grow) {
    std::vector<allot_cache*> caches;
    for (int i = 0; i < 30; ++i)
        caches.push_back(make_cache(("cache-" + std::to_string(i)).c_str()));
    std::vector<allot::group> growing;
    for (int i = 0; i < 8; ++i)
        growing.push_back(child(("growing-" + std::to_string(i)).c_str()));
    allot_test::settle_all();
    memcg::free_spares();
    allot::root().set({.max = allot::root().stat().current + 3 * 4096});
    std::atomic<bool> done{false};
    int failed = 0;
    {
        beside grower{[&] {
            for (std::size_t turn = 0; !done; ++turn) {
                std::vector<void*> some = fill(growing[turn % 8], caches[turn % 30], 300);
                quiesce();
                free_all(some);
            }
        }};
        for (int i = 0; i < 400 / static_cast<int>(allot_test::slowdown); ++i) {
            allot_group* made = nullptr;
            const int error = allot_group_create(top.get(), ("made-" + std::to_string(i)).c_str(), nullptr, &made);
            EXPECT_TRUE(error == 0 || error == -ENOMEM);
            failed += error != 0;
            if (made != nullptr && i % 4 == 3)
                allot_group_close(made, nullptr);
            allot_group_put(made);
        }
        done = true;
    }
    EXPECT_GT(failed, 0);
    allot::root().set({.max = ALLOT_UNLIMITED});
    for (allot_cache* cache : caches)
        allot_cache_destroy(cache, nullptr);
}

TEST_F(races, race_06_an_array_stays_while_it_is_read_with_a_slot_held) {
    SKIP_WITHOUT_TEST_POINTS();
    std::vector<allot_cache*> caches;
    do // the array has 63 entries at first
        caches.push_back(make_cache(("cache-" + std::to_string(caches.size())).c_str()));
    while (inside_of(caches.back()).shape.index < 64);
    const allot::group group = child("group");
    std::vector<void*> made = fill_hot(group, caches.front());
    std::vector<void*> more = fill(group, caches.back(), 20); // short of being warm
    quiesce();
    void* const place = allot_group_front_place(group.get());
    parked at{"child_of:array_read"};
    void* block = nullptr;
    // Looks with its slot locked, which no grace period waits for.
    beside reader{[&] { block = allot_front_malloc(place, 100, 0); }};
    ASSERT_TRUE(at.arrived());
    beside grower{[&] {
        for (void* each : fill(group, caches.back(), 1000))
            more.push_back(each);
        quiesce();
    }};
    EXPECT_TRUE(allot_test::not_yet([&] { return grower.done(); })) << "the array would be freed under the reader";
    at.let_go();
    reader.join();
    grower.join();
    EXPECT_TRUE(has_child(group, caches.back()));
    allot::free(block);
    free_all(made);
    free_all(more);
    for (allot_cache* cache : caches)
        allot_cache_destroy(cache, nullptr);
}

} // namespace
