// SPDX-License-Identifier: MIT
//
// scope_test: a thread may be in any number of groups, one after the other or one in the other, whatever becomes of them.
#include "support/core.hpp"

#include <cerrno>

namespace {

using allot_test::blocks;
using allot_test::inside;
using allot_test::puppet;
namespace slab = allot::slab;

class scopes : public allot_test::core_test {
  protected:
    /// Heaps that the calling thread has, without those of the root and of shared slabs.
    static std::uint32_t heaps_here() { return slab::heaps_of(*allot::sync::tls.slot).count; }
    static allot::group current() { return allot::group::adopt(allot_current()); }
};

TEST_F(scopes, allocations_belong_to_the_innermost_and_then_to_the_one_before) {
    const allot::group outer = child("outer");
    const allot::group inner = child("inner");
    blocks made;
    {
        const allot::scope in{outer};
        made.add(allot::malloc(100));
        {
            const allot::scope deeper{inner};
            made.add(allot::malloc(100));
            const allot::scope again{outer};
            made.add(allot::malloc(100));
        }
        made.add(allot::malloc(100));
    }
    made.add(allot::malloc(100));
    const allot::group owners[] = {outer, inner, outer, outer, allot::root()};
    for (std::size_t i = 0; i < made.size(); ++i)
        EXPECT_EQ(allot::owner_of(made[i]), owners[i]) << i;
}

TEST_F(scopes, one_thread_enters_1500_groups_and_keeps_a_bounded_count_of_heaps) {
    constexpr std::size_t count = 1500;
    std::vector<allot::group> groups;
    for (std::size_t i = 0; i < count; ++i)
        groups.push_back(top.create("g" + std::to_string(i)));
    blocks made;
    for (int round = 0; round < 2; ++round)
        for (std::size_t i = 0; i < count; ++i) {
            const allot::scope in{groups[i]};
            made.add(allot::malloc(50));
            ASSERT_EQ(current(), groups[i]);
        }
    EXPECT_LE(heaps_here(), slab::heaps_per_thread_max);
    for (std::size_t i = 0; i < made.size(); ++i)
        ASSERT_EQ(allot::owner_of(made[i]), groups[i % count]);
    for (const allot::group& each : groups)
        EXPECT_EQ(each.stat().shared, 2u * 64);
    made.clear();
    for (const allot::group& each : groups)
        EXPECT_EQ(each.stat().current, 0u);
}

TEST_F(scopes, a_heap_that_is_given_up_gives_back_its_slabs_and_none_that_is_inside_a_scope_is) {
    const allot::group first = child("first");
    const allot::group pinned = child("pinned");
    allot_test::heat(first, 64);
    allot_test::heat(pinned, 64);
    const allot::scope in{pinned};
    blocks made;
    ASSERT_TRUE(made.make(pinned, 64, 10) && made.make(first, 64, 10));
    made.clear();
    ASSERT_GT(first.stat().slab, 0u) << "kept for the next one";
    const std::uint64_t of_pinned = pinned.stat().slab;
    ASSERT_GT(of_pinned, 0u);
    std::vector<allot::group> others;
    for (std::uint32_t i = 0; i < slab::heaps_per_thread_max + 10; ++i) {
        others.push_back(top.create("g" + std::to_string(i)));
        const allot::scope pass{others.back()};
    }
    EXPECT_EQ(first.stat().slab, 0u) << "the one that was entered longest ago";
    EXPECT_EQ(pinned.stat().slab, of_pinned);
    EXPECT_EQ(current(), pinned);
}

TEST_F(scopes, nest_deeper_than_heaps_are_kept) {
    constexpr std::size_t count = slab::heaps_per_thread_max + 100;
    std::vector<allot::group> groups;
    for (std::size_t i = 0; i < count; ++i)
        groups.push_back(top.create("g" + std::to_string(i)));
    std::vector<allot_scope> entered(count);
    for (std::size_t i = 0; i < count; ++i) {
        allot_enter(groups[i].get(), &entered[i]);
        ASSERT_EQ(current(), groups[i]);
    }
    for (std::size_t i = count; i-- != 0;) {
        ASSERT_EQ(current(), groups[i]) << i;
        allot_leave(&entered[i]);
    }
    EXPECT_EQ(current(), allot::root());
    const allot::group last = child("last");
    {
        const allot::scope in{last};
        const allot::group one_more = child("one more");
        const allot::scope deeper{one_more};
    }
    EXPECT_LE(heaps_here(), count + 2);
}

TEST_F(scopes, one_that_closes_while_a_thread_is_inside_is_served_by_its_nearest_open_ancestor) {
    const allot::group parent = child("parent");
    allot::group gone = parent.create("gone");
    allot_test::heat(gone, 64);
    blocks made;
    {
        const allot::scope in{gone};
        made.add(allot::malloc(64));
        gone.close();
        made.add(allot::malloc(64)); // before the offline work, perhaps
        allot_quiesce();
        made.add(allot::malloc(64));
        made.add(allot::malloc(100'000));
        EXPECT_EQ(current(), parent);
        EXPECT_EQ(allot::owner_of(made[2]), parent);
        EXPECT_EQ(allot::owner_of(made[3]), parent);
        parent.close();
        allot_quiesce();
        made.add(allot::malloc(64));
        EXPECT_EQ(allot::owner_of(made[4]), top);
        for (std::size_t i = 0; i < made.size(); ++i)
            EXPECT_EQ(allot::owner_of(made[i]), top) << "what was theirs is the heir's: " << i;
        EXPECT_EQ(top.stat().nr_dying, 2u) << "the scope keeps them";
    }
    gone = {};
    made.clear();
}

TEST_F(scopes, a_closed_group_is_freed_when_its_last_scope_ends) {
    puppet one;
    puppet two;
    allot_scope of_one{};
    allot_scope of_two{};
    {
        const allot::group gone = child("gone");
        one.does([&] { allot_enter(gone.get(), &of_one); });
        two.does([&] { allot_enter(gone.get(), &of_two); });
        gone.close();
    }
    allot_quiesce();
    EXPECT_EQ(top.stat().nr_dying, 1u);
    one.does([&] { allot_leave(&of_one); });
    allot_quiesce();
    EXPECT_EQ(top.stat().nr_dying, 1u);
    two.does([&] { allot_leave(&of_two); });
    allot_quiesce();
    EXPECT_EQ(top.stat().nr_dying, 0u);
}

TEST_F(scopes, entering_a_closed_group_enters_its_nearest_open_ancestor) {
    const allot::group gone = child("gone").create("below");
    gone.parent().close();
    allot_quiesce();
    const allot::scope in{gone};
    EXPECT_EQ(current(), top);
    blocks made;
    made.add(allot::malloc(100));
    EXPECT_EQ(allot::owner_of(made[0]), top);
}

TEST_F(scopes, a_thread_may_end_inside_one) {
    allot::group left = child("left");
    allot_test::heat(left, 64);
    blocks made;
    std::thread{[&] {
        allot_scope never_left{};
        allot_enter(left.get(), &never_left);
        made.add(allot::malloc(64));
        allot_scope nested{};
        allot_enter(top.get(), &nested);
        made.add(allot::malloc(64));
    }}.join();
    EXPECT_EQ(allot::owner_of(made[0]), left);
    left.close();
    left = {};
    allot_quiesce();
    EXPECT_EQ(top.stat().nr_dying, 0u) << "the thread's heaps hold it no longer";
    EXPECT_EQ(allot::owner_of(made[0]), top);
}

TEST_F(scopes, the_group_outside_all_scopes_may_be_changed_and_closed) {
    puppet thread;
    allot::group home = child("home");
    blocks made;
    thread.does([&] {
        EXPECT_EQ(allot_thread_set_group(home.get()), 0);
        made.add(allot::malloc(100));
        const allot::scope in{top};
        EXPECT_EQ(allot_thread_set_group(top.get()), -EBUSY) << "inside a scope";
    });
    EXPECT_EQ(allot::owner_of(made[0]), home);
    home.close();
    allot_quiesce();
    thread.does([&] {
        made.add(allot::malloc(100));
        EXPECT_EQ(allot_thread_set_group(allot_root()), 0);
        made.add(allot::malloc(100));
    });
    EXPECT_EQ(allot::owner_of(made[1]), top);
    EXPECT_EQ(allot::owner_of(made[2]), allot::root());
    home = {};
    allot_quiesce();
    EXPECT_EQ(top.stat().nr_dying, 0u);
}

TEST_F(scopes, the_group_outside_all_scopes_cannot_be_changed_inside_a_scope_of_its_own) {
    puppet thread;
    const allot::group home = child("home");
    const allot::group other = child("other");
    thread.does([&] {
        EXPECT_EQ(allot_thread_set_group(home.get()), 0);
        {
            const allot::scope in{home};
            EXPECT_EQ(allot_thread_set_group(other.get()), -EBUSY);
        }
        EXPECT_EQ(current(), home);
        EXPECT_EQ(allot_thread_set_group(allot_root()), 0);
    });
}

TEST_F(scopes, of_the_group_outside_all_scopes_nest_with_others_in_any_order) {
    const allot::group outer = child("outer");
    const allot::group inner = child("inner");
    for (int round = 0; round < 3; ++round) {
        const allot::scope in{outer};
        {
            const allot::scope home{allot::root()};
            EXPECT_EQ(current(), allot::root());
            const allot::scope again{outer};
            const allot::scope deeper{inner};
            EXPECT_EQ(current(), inner);
        }
        EXPECT_EQ(current(), outer);
    }
    EXPECT_EQ(current(), allot::root());
    {
        const allot::scope home{allot::root()};
        const allot::scope in{inner};
        EXPECT_EQ(current(), inner);
    }
    EXPECT_EQ(current(), allot::root());
}

TEST_F(scopes, count_what_is_allocated_inside_for_the_group_that_was_current) {
    const allot::group counted = child("counted");
    allot_test::heat(counted, 64);
    const std::uint64_t before = counted.stat().allocations;
    for (int round = 1; round <= 5; ++round) {
        const allot::scope in{counted};
        for (int i = 0; i < round; ++i)
            allot::free(allot::malloc(64));
    }
    for (int round = 0; round < 7; ++round)
        allot::free(allot::malloc(64));
    { const allot::scope nothing{counted}; }
    EXPECT_EQ(counted.stat().allocations - before, 15u);
}

TEST_F(scopes, changes_survive_revokers_that_never_rest) {
    std::vector<allot::group> groups;
    for (int i = 0; i < 8; ++i)
        groups.push_back(top.create("g" + std::to_string(i)));
    std::atomic<bool> done{false};
    std::thread revoker{[&] {
        while (!done) {
            top.reclaim();
            top.create("passing").close();
        }
    }};
    std::atomic<unsigned> wrong{0};
    allot_test::on_threads(2, [&](unsigned thread) {
        std::mt19937 random{thread};
        for (unsigned turn = 0; turn < 4000 / allot_test::slowdown; ++turn) {
            const allot::group& outer = groups[random() % 8];
            const allot::group& inner = groups[random() % 8];
            blocks made;
            const allot::scope in{outer};
            {
                const allot::scope deeper{inner};
                wrong += allot::owner_of(made.add(allot::malloc(64))) != inner;
            }
            wrong += allot::owner_of(made.add(allot::malloc(64))) != outer;
        }
    });
    done = true;
    revoker.join();
    EXPECT_EQ(wrong, 0u);
}

} // namespace
