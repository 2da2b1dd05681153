// SPDX-License-Identifier: MIT
//
// Groups: handles, names, the tree, closing.
#include "api_fixture.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>
#include <unordered_set>

namespace {

using namespace allot::literals;
using allot_test::owned_blocks;
using allot_test::settle;

class api_group : public allot_test::api_test {};

/// Runs `act` and returns the code of the std::system_error that it throws, or no error.
template <class Act> std::error_code code_of(Act act) {
    try {
        act();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

TEST_F(api_group, an_empty_handle_is_false_and_names_nothing) {
    const allot::group none;
    EXPECT_FALSE(none);
    EXPECT_FALSE(none.is_open());
    EXPECT_EQ(none.name(), "");
    EXPECT_EQ(none.path(), "");
    EXPECT_FALSE(none.parent());
    EXPECT_EQ(none.stat().current, 0u);
    EXPECT_EQ(none.malloc(1), nullptr);
    EXPECT_FALSE(none.try_charge(1));
    EXPECT_EQ(none.close().groups, 0u);
    EXPECT_EQ(none, allot::group{});
    EXPECT_NE(none, top);
    EXPECT_EQ(code_of([&] { (void)none.create("child"); }), std::errc::invalid_argument);
    EXPECT_EQ(code_of([&] { none.set({.max = 1}); }), std::errc::invalid_argument);
    EXPECT_EQ(code_of([&] { (void)none.resource(); }), std::errc::invalid_argument);
}

TEST_F(api_group, a_moved_from_handle_is_empty_and_a_copy_is_the_same_group) {
    allot::group first = top.create("first");
    allot::group copy = first;
    EXPECT_EQ(copy, first);
    EXPECT_EQ(copy.id(), first.id());
    const allot::group moved = std::move(first);
    EXPECT_EQ(moved, copy);
    EXPECT_FALSE(first); // NOLINT: a moved-from handle is empty by contract
    first = copy;
    EXPECT_EQ(first, moved);
    allot::group& alias = copy;
    copy = alias;
    EXPECT_EQ(copy, moved);
}

TEST_F(api_group, the_root_is_slash_and_has_no_parent) {
    const allot::group root = allot::root();
    EXPECT_TRUE(root.is_open());
    EXPECT_EQ(root.path(), "/");
    EXPECT_EQ(root.name(), "/");
    EXPECT_FALSE(root.parent());
    EXPECT_EQ(root.close().groups, 0u) << "the root cannot be closed";
    EXPECT_TRUE(root.is_open());
    EXPECT_EQ(top.parent(), root);
}

TEST_F(api_group, name_path_and_parent_follow_the_tree) {
    const allot::group child = top.create("child");
    const allot::group grandchild = child.create("grandchild");
    EXPECT_EQ(grandchild.name(), "grandchild");
    EXPECT_EQ(grandchild.path(), top.path() + "/child/grandchild");
    EXPECT_EQ(grandchild.parent(), child);
    EXPECT_EQ(top.stat().nr_children, 1u);
    EXPECT_NE(child.id(), grandchild.id());
}

TEST_F(api_group, create_refuses_a_name_that_exists) {
    const allot::group child = top.create("child");
    EXPECT_EQ(code_of([&] { (void)top.create("child"); }), std::errc::file_exists);
    try {
        (void)top.create("child");
        FAIL() << "created twice";
    } catch (const std::system_error& error) {
        EXPECT_NE(std::string{error.what()}.find("'child' under '" + top.path() + "'"), std::string::npos)
            << error.what();
    }
}

TEST_F(api_group, create_refuses_names_that_no_path_can_hold) {
    using namespace std::string_view_literals;
    for (const std::string_view name : {""sv, "a/b"sv, "/"sv, "line\nbreak"sv, "zero\0byte"sv})
        EXPECT_EQ(code_of([&] { (void)top.create(name); }), std::errc::invalid_argument) << name;
    EXPECT_EQ(code_of([&] { (void)top.create(std::string(ALLOT_NAME_MAX + 1, 'x')); }), std::errc::invalid_argument);
    const std::string longest(ALLOT_NAME_MAX, 'x');
    EXPECT_EQ(top.create(longest).name(), longest);
}

TEST_F(api_group, create_under_a_closed_group_is_refused) {
    const allot::group child = top.create("child");
    child.close();
    EXPECT_EQ(code_of([&] { (void)child.create("late"); }), std::errc::no_such_file_or_directory);
}

TEST_F(api_group, find_takes_absolute_and_relative_paths) {
    const allot::group child = top.create("child");
    const allot::group grandchild = child.create("grandchild");
    EXPECT_EQ(allot::find("/"), allot::root());
    EXPECT_EQ(allot::find(grandchild.path()), grandchild);
    EXPECT_EQ(top.find("child/grandchild"), grandchild);
    EXPECT_EQ(child.find("grandchild"), grandchild);
    EXPECT_EQ(child.find(top.path()), top) << "an absolute path is found from anywhere";
    EXPECT_EQ(top.find("nobody"), std::nullopt);
    EXPECT_EQ(top.find("child/nobody/deeper"), std::nullopt);
    EXPECT_EQ(allot::group{}.find("child"), std::nullopt);
    child.close();
    EXPECT_EQ(top.find("child"), std::nullopt) << "a closed group is not found";
}

TEST_F(api_group, walk_visits_parents_first_and_stops_when_told) {
    const allot::group a = top.create("a");
    const allot::group b = top.create("b");
    const allot::group a1 = a.create("a1");
    std::vector<std::string> seen;
    EXPECT_TRUE(top.walk([&](const allot::group& group) { seen.push_back(group.path()); }));
    EXPECT_EQ(seen.size(), 4u);
    EXPECT_EQ(seen.front(), top.path());
    const auto place = [&](const allot::group& group) {
        return std::find(seen.begin(), seen.end(), group.path()) - seen.begin();
    };
    EXPECT_LT(place(a), place(a1));
    EXPECT_LT(place(b), 4);

    int visits = 0;
    EXPECT_FALSE(top.walk([&](const allot::group&) { return ++visits < 2; }));
    EXPECT_EQ(visits, 2);
}

TEST_F(api_group, an_exception_of_a_visitor_leaves_walk_and_nothing_else) {
    const allot::group a = top.create("a");
    EXPECT_THROW(top.walk([](const allot::group&) { throw std::runtime_error{"enough"}; }), std::runtime_error);
    int visits = 0;
    top.walk([&](allot::group) { ++visits; });
    EXPECT_EQ(visits, 2);
}

TEST_F(api_group, close_with_live_objects_leaves_them_valid_and_the_parents) {
    allot::group child = top.create("child");
    auto* block = static_cast<char*>(child.malloc(1000));
    ASSERT_NE(block, nullptr);
    std::memset(block, 7, 1000);

    const allot::report live = child.close();
    EXPECT_EQ(live.groups, 1u);
    EXPECT_GE(live.bytes, 1000u);
    ASSERT_GE(live.nr_lines, 1u);
    EXPECT_GE(live.line[0].objects, 1u);
    EXPECT_GE(live.line[0].bytes, 1000u);
    EXPECT_FALSE(child.is_open());
    EXPECT_EQ(child.name(), "child") << "a handle still knows the name";
    EXPECT_EQ(child.close().groups, 0u) << "the second close finds nothing to do";

    child = {};
    allot::quiesce();
    EXPECT_EQ(top.stat().nr_dying, 0u) << "live objects do not keep a group";
    EXPECT_EQ(block[0] + block[999], 14);
    EXPECT_EQ(allot::owner_of(block), top);
    EXPECT_GE(top.stat().current, 1000u);
    allot::free(block);
    settle(top);
    EXPECT_EQ(top.stat().current, 0u) << "the late free was uncharged from the parent";
}

TEST_F(api_group, close_takes_the_subtree_along_and_the_name_is_free_at_once) {
    const allot::group child = top.create("child");
    const allot::group grandchild = child.create("grandchild");
    EXPECT_EQ(child.close().groups, 2u);
    EXPECT_FALSE(grandchild.is_open());
    const allot::group again = top.create("child");
    EXPECT_TRUE(again.is_open());
    EXPECT_NE(again, child);
    EXPECT_EQ(top.find("child"), again);
}

TEST_F(api_group, a_group_closed_under_a_scope_leaves_its_thread_with_the_parent) {
    const allot::group child = top.create("child");
    const allot::scope in{child};
    child.close();
    EXPECT_EQ(allot::current(), top);
    void* block = allot::malloc(100);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(allot::owner_of(block), top);
    allot::free(block);
}

TEST_F(api_group, unique_group_closes_when_it_dies_and_not_when_released) {
    allot::group handle;
    {
        const allot::unique_group owned{top.create("owned")};
        handle = owned;
        EXPECT_TRUE(owned->is_open());
        EXPECT_EQ((*owned).name(), "owned");
    }
    EXPECT_FALSE(handle.is_open());
    {
        allot::unique_group owned{top.create("released")};
        handle = owned.release();
        EXPECT_FALSE(owned);
    }
    EXPECT_TRUE(handle.is_open());

    allot::unique_group first{top.create("one")};
    const allot::group one = first;
    first = allot::unique_group{top.create("two")};
    EXPECT_FALSE(one.is_open()) << "assignment closes what was owned";
    EXPECT_EQ(first.close().groups, 1u);
    EXPECT_FALSE(first);
}

TEST_F(api_group, handles_are_keys) {
    std::unordered_set<allot::group> set{top, allot::root(), top};
    EXPECT_EQ(set.size(), 2u);
    EXPECT_TRUE(set.contains(top));
}

TEST_F(api_group, owner_of_knows_blocks_and_only_those) {
    const allot::group child = top.create("child");
    void* block = child.malloc(64);
    EXPECT_EQ(allot::owner_of(block), child);
    EXPECT_TRUE(allot::owns(block));
    EXPECT_FALSE(allot::owner_of(&child));
    EXPECT_FALSE(allot::owns(&child));
    allot::free(block);
}

TEST_F(api_group, groups_come_and_go_from_many_threads) {
    constexpr int rounds = 200;
    std::vector<std::thread> threads;
    for (int index = 0; index < 4; ++index)
        threads.emplace_back([this, index] {
            for (int round = 0; round < rounds; ++round) {
                const allot::unique_group mine{top.create("t" + std::to_string(index))};
                void* block = mine->malloc(128);
                mine.get().close();
                allot::free(block);
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    settle(top);
    EXPECT_EQ(top.stat().current, 0u);
    EXPECT_EQ(top.stat().nr_children, 0u);
    EXPECT_EQ(top.stat().nr_dying, 0u);
}

} // namespace
