// SPDX-License-Identifier: MIT
//
// ownership_test: races 30 to 40, 53 and 54 of the catalogue: who pays for what, and how long it stays, while groups go.
//
// Idea.        See races.hpp; docs/races.md says of each what the window is.
#include "races.hpp"

#include "group/owner_records.hpp"

namespace {

using namespace allot;
using allot_test::beside;
using allot_test::beside_executor;
using allot_test::blocks;
using allot_test::heat;
using allot_test::inside;
using allot_test::not_yet;
using allot_test::parked;
using allot_test::races;
using allot_test::soon;

constexpr std::uint64_t unit = 4096;

TEST_F(races, race_30_a_charge_under_way_when_its_group_closes) {
    SKIP_WITHOUT_TEST_POINTS();
    const allot::group above = child("above");
    const allot::group group = above.create("group");
    heat(group, 64);
    allot_test::settle_all();
    std::vector<void*> made;
    parked at{"charge_slab:payer_read"};
    beside member{[&] {
        for (int i = 0; i < 500; ++i)
            made.push_back(group.malloc(64));
    }};
    ASSERT_TRUE(at.arrived());
    group.close();
    {
        beside_executor executor;
        EXPECT_TRUE(not_yet([&] { return executor.done(); })) << "its own share would move without that slab";
        at.let_go();
    }
    member.join();
    quiesce();
    for (void* block : made)
        ASSERT_EQ(allot::owner_of(block), above);
    EXPECT_EQ(group.stat().local, 0u);
    free_all(made);
}

TEST_F(races, race_31_a_deferred_free_that_is_half_handed_over_when_its_cache_goes) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const cache = make_cache("deferred");
    std::vector<void*> made = fill(top, cache, 2);
    parked at{"free_rcu:pushed"};
    beside giver{[&] { allot_free_rcu(made[0], static_cast<allot_rcu_head*>(made[0])); }};
    ASSERT_TRUE(at.arrived()); // on the list, but nobody was told
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, 2u) << "a free that comes during the destruction is one that comes later";
    EXPECT_TRUE(exists("deferred"));
    at.let_go();
    giver.join();
    allot::free(made[1]);
    allot_rcu_barrier();
    quiesce();
    EXPECT_FALSE(exists("deferred"));
}

TEST_F(races, race_32_a_charge_outlives_its_group) {
    const allot::group above = child("above");
    allot::group group = above.create("gone");
    charge held = group.charge_for(10'000);
    charge part = held.split(4'000);
    slab::obj_cgroup& owner = *inside(group).objects;
    group.close();
    group = {};
    quiesce();
    EXPECT_EQ(nr_dying(above), 0u) << "it pins what the bytes are charged through, not the group";
    EXPECT_EQ(owner.refs.load(), 2u);
    EXPECT_EQ(above.stat().external, 10'000u);
    held.resize(7'000);
    EXPECT_EQ(above.stat().external, 11'000u);
    held.release();
    EXPECT_EQ(above.stat().external, 4'000u);
    above.close();
    quiesce();
    part.release();
    EXPECT_EQ(top.stat().external, 0u);
}

TEST_F(races, race_33_a_page_that_changes_its_use_brings_nothing_along) {
    for (int turn = 0; turn < 10; ++turn) {
        const allot::group cold = child("cold");
        const allot::group hot = child("hot");
        {
            blocks shared; // an owner id behind each
            ASSERT_TRUE(shared.make(cold, 1500, 20));
            for (std::size_t i = 0; i < shared.size(); ++i) {
                ASSERT_EQ(slab::slab_of(shared[i])->kind, slab::slab_kind::shared);
                ASSERT_EQ(allot::owner_of(shared[i]), cold);
            }
        }
        allot_test::settle_all();
        {
            heat(hot, 64);
            blocks owned; // the same pages, objects where the ids were
            ASSERT_TRUE(owned.make(hot, 64, 2000));
            for (std::size_t i = 0; i < owned.size(); ++i) {
                std::memset(owned[i], 0xff, 64);
                ASSERT_EQ(allot::owner_of(owned[i]), hot);
            }
            allot_test::expect_books_agree("owned");
        }
        hot.close();
        cold.close();
        allot_test::settle_all();
    }
}

TEST_F(races, race_34_the_librarys_own_structures_need_none_themselves) {
    allot_cache* const cache = make_cache("own");
    const allot::group group = child("group");
    std::vector<void*> made = fill_hot(group, cache);
    const auto is_metadata = [](const void* structure) {
        return slab::slab_of(structure)->kind == slab::slab_kind::metadata;
    };
    EXPECT_TRUE(is_metadata(&inside(group)));
    EXPECT_TRUE(is_metadata(inside(group).objects));
    EXPECT_TRUE(is_metadata(inside(group).caches.load()));
    EXPECT_TRUE(is_metadata(&inside_of(cache)));
    {
        const sync::rcu_guard section;
        EXPECT_TRUE(is_metadata(slab::child_of(inside(group), inside_of(cache).shape.index)));
    }
    const slab::slab& s = *slab::slab_of(made.back());
    ASSERT_EQ(s.kind, slab::slab_kind::owned);
    EXPECT_TRUE(is_metadata(s.home)) << "so giving a slab back never gives another one back";
    free_all(made);
    allot_cache_destroy(cache, nullptr);
}

TEST_F(races, race_35_the_loser_of_an_installation_leaves_the_winners_alone) {
    using sync::percpu_cells;
    alignas(cache_line_bytes) static char memory[2][percpu_cells::bytes_for(4)];
    for (int turn = 0; turn < 500; ++turn) {
        sync::percpu_ref ref;
        percpu_cells* const cells[] = {&percpu_cells::create(memory[0], 4), &percpu_cells::create(memory[1], 4)};
        bool won[2] = {};
        allot_test::run_threads(2, [&](unsigned i) { won[i] = ref.switch_to_percpu(*cells[i]); });
        ASSERT_NE(won[0], won[1]);
        ref.get();
        ref.begin_kill();
        sync::synchronize_rcu();
        ASSERT_EQ(ref.confirm_kill(), cells[won[0] ? 0 : 1]);
        ASSERT_FALSE(ref.put());
        ASSERT_TRUE(ref.put()) << "nobody's attempt has left anything in the count";
    }
}

TEST_F(races, race_36_who_is_handed_a_block_sees_its_slab_whole) {
    const allot::group group = child("group");
    std::atomic<void*> handed{nullptr};
    constexpr int count = 20'000 / static_cast<int>(allot_test::slowdown);
    beside taker{[&] {
        for (int i = 0; i < count; ++i) {
            void* block = nullptr;
            while ((block = handed.exchange(nullptr)) == nullptr)
                platform::yield();
            EXPECT_EQ(allot::usable_size(block) >= 1000, true);
            EXPECT_EQ(allot::owner_of(block), group) << "its owner, not that of another block";
            allot::free(block);
        }
    }};
    for (int i = 0; i < count; ++i) {
        void* const block = group.malloc(1000 + static_cast<std::size_t>(i % 5) * 500);
        while (handed.load() != nullptr)
            platform::yield();
        handed.store(block);
    }
}

TEST_F(races, race_37_a_parent_stays_until_its_childs_end_is_over) {
    SKIP_WITHOUT_TEST_POINTS();
    allot::group above = child("above");
    allot::group below = above.create("below");
    const memcg::mem_cgroup& parent = inside(above);
    above.close();
    quiesce();
    above = {};
    ASSERT_EQ(parent.refs.count(), 1u) << "its child's";
    parked at{"free_group:freed"};
    below = {};
    {
        beside_executor executor;
        ASSERT_TRUE(at.arrived());
        EXPECT_EQ(parent.refs.count(), 1u) << "put before the child's end is over";
        EXPECT_EQ(parent.state.load(), memcg::group_state::offline);
        at.let_go();
    }
    quiesce();
    EXPECT_EQ(nr_dying(top), 0u);
}

TEST_F(races, race_38_groups_whose_ends_are_in_one_batch) {
    SKIP_WITHOUT_TEST_POINTS();
    allot::group groups[] = {child("a"), child("b"), child("c")};
    for (const allot::group& each : groups)
        each.close();
    quiesce();
    parked at{"rcu:after_grace_period"}; // the batch is in the executor's hands, and its queue is empty
    groups[0] = {};
    groups[1] = {};
    beside_executor executor;
    ASSERT_TRUE(at.arrived());
    groups[2] = {};
    beside_executor other; // finds nothing of the batch, and may not conclude that it is over
    EXPECT_TRUE(not_yet([&] { return other.done(); }));
    EXPECT_EQ(nr_dying(top), 3u);
    at.let_go();
    executor.join();
    other.join();
    EXPECT_EQ(nr_dying(top), 0u);
}

TEST_F(races, race_39_frees_and_allocations_while_the_lists_change_hands) {
    SKIP_WITHOUT_TEST_POINTS();
    for (const char* window : {"offline:reparented", "offline:grace_period_over", "offline:swept"}) {
        const allot::group above = child("above");
        const allot::group group = above.create("group");
        heat(group, 64);
        allot_test::puppet holder; // its heap has the slabs
        std::vector<void*> here;
        std::vector<void*> there;
        holder.does([&] {
            for (int i = 0; i < 3000; ++i)
                (i % 2 == 0 ? here : there).push_back(group.malloc(64));
        });
        parked at{window};
        group.close();
        {
            beside_executor executor;
            ASSERT_TRUE(at.arrived());
            free_all(here);
            void* own = nullptr;
            holder.does([&] {
                free_all(there);
                own = group.malloc(64);
            });
            EXPECT_EQ(allot::owner_of(own), above) << window;
            allot::free(own);
            at.let_go();
        }
        allot_test::settle_all();
        EXPECT_EQ(above.stat().slab, 0u) << window << ": nobody has a live block";
        EXPECT_EQ(above.stat().current, above.stat().metadata) << window;
        above.close();
    }
}

TEST_F(races, race_40_a_group_stays_while_somebody_has_its_address_from_an_object) {
    SKIP_WITHOUT_TEST_POINTS();
    for (const char* window : {"uncharge_object:payer_read", "uncharge_slab:payer_read"}) {
        const allot::group above = child("above");
        allot::group group = above.create("group");
        blocks made;
        if (std::strcmp(window, "uncharge_slab:payer_read") == 0)
            heat(group, 1024);
        ASSERT_TRUE(made.make(group, 1024, 4));
        allot_test::settle_all(); // whatever slabs they lie in are nobody's now
        parked at{window};
        beside last{[&] { made.clear(); }};
        ASSERT_TRUE(at.arrived()) << window;
        group.close();
        group = {};
        {
            beside_executor executor;
            EXPECT_TRUE(not_yet([&] { return executor.done(); })) << window;
            EXPECT_EQ(nr_dying(above), 1u) << window;
            at.let_go();
        }
        last.join();
        allot_test::settle_all();
        EXPECT_EQ(nr_dying(above), 0u);
        EXPECT_EQ(above.stat().current, 0u);
        above.close();
    }
}

TEST_F(races, race_53_who_tries_again_does_not_try_for_ever) {
    SKIP_WITHOUT_TEST_POINTS();
    memcg::owner_records map;
    ASSERT_TRUE(map.open(8, unit));
    const allot::group above = child("above");
    allot::group group = above.create("gone");
    ASSERT_EQ(map.record(0, inside(group)), 0);
    parked at{"put:last"};
    beside remover{[&] {
        group.close();
        group = {};
        quiesce();
    }};
    ASSERT_TRUE(at.arrived()); // the count is 0, and stays so
    memcg::mem_cgroup* found = nullptr;
    beside looker{[&] { found = map.owner_of(0); }};
    EXPECT_TRUE(soon([&] { return looker.done(); })) << "nobody is going to change the pointer";
    at.let_go();
    looker.join();
    EXPECT_EQ(found, &inside(above));
    if (found != nullptr)
        memcg::put(*found);
}

TEST_F(races, race_54_what_a_top_level_group_leaves_to_the_root_is_exact) {
    memcg::owner_records map;
    ASSERT_TRUE(map.open(8, unit));
    allot_test::settle_all();
    const allot::stat before = allot::root().stat();
    {
        allot::group group = allot::root().create("top_level");
        heat(group, 64);
        blocks made;
        ASSERT_TRUE(made.make(group, 64, 1000) && made.make(group, 1500, 10) && made.make(group, 100'000, 3));
        charge external = group.charge_for(12'345);
        ASSERT_EQ(map.record(0, inside(group)), 0);
        group.close();
        group = {};
        quiesce();
        EXPECT_EQ(allot::root().stat().nr_dying, before.nr_dying);
        EXPECT_EQ(allot::root().stat().large, before.large + 3 * 102'400);
        EXPECT_EQ(allot::root().stat().external, before.external + 12'345 + unit);
        allot_test::expect_books_agree("inherited by the root");
        memcg::mem_cgroup* const owner = map.owner_of(0);
        EXPECT_EQ(owner, memcg::root_group);
        memcg::put(*owner); // not counted: the root is immortal
        map.release(0);
    }
    allot_test::settle_all();
    const allot::stat after = allot::root().stat();
    EXPECT_EQ(after.slab, before.slab);
    EXPECT_EQ(after.shared, before.shared);
    EXPECT_EQ(after.large, before.large);
    EXPECT_EQ(after.external, before.external);
    EXPECT_EQ(after.nr_children, before.nr_children);
}

} // namespace
