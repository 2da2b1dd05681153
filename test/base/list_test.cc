// SPDX-License-Identifier: MIT
//
// list_test: intrusive lists keep their order, and a node knows whether it is on one.
#include "base/list.hpp"

#include "support/bugs.hpp"
#include "support/threads.hpp"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace allot::base {
namespace {

struct item {
    explicit item(int n) : number(n) {}
    int number;
    list_node link;
    list_node other_link;
};

using item_list = list<item, &item::link>;
using other_list = list<item, &item::other_link>;

template <class List> std::vector<int> numbers(List& items) {
    std::vector<int> found;
    items.for_each([&](item& visited) { found.push_back(visited.number); });
    return found;
}

using ints = std::vector<int>;

TEST(list, a_new_list_is_empty) {
    item_list items;
    EXPECT_TRUE(items.empty());
    EXPECT_EQ(items.front(), nullptr);
    EXPECT_EQ(items.pop_front(), nullptr);
    EXPECT_EQ(numbers(items), ints{});
}

TEST(list, push_back_keeps_the_order_and_push_front_reverses_it) {
    item a{1}, b{2}, c{3}, d{4};
    item_list items;
    items.push_back(a);
    items.push_back(b);
    items.push_front(c);
    items.push_front(d);
    EXPECT_EQ(numbers(items), (ints{4, 3, 1, 2}));
    EXPECT_EQ(items.front(), &d);
    EXPECT_EQ(items.next(d), &c);
    EXPECT_EQ(items.next(b), nullptr);
}

TEST(list, pop_front_takes_the_oldest_and_leaves_it_unlinked) {
    item a{1}, b{2};
    item_list items;
    items.push_back(a);
    items.push_back(b);
    EXPECT_EQ(items.pop_front(), &a);
    EXPECT_FALSE(a.link.linked());
    EXPECT_TRUE(b.link.linked());
    EXPECT_EQ(items.pop_front(), &b);
    EXPECT_TRUE(items.empty());
}

TEST(list, an_item_leaves_from_any_place_without_a_search) {
    item a{1}, b{2}, c{3};
    item_list items;
    for (item* i : {&a, &b, &c})
        items.push_back(*i);
    b.link.unlink();
    EXPECT_EQ(numbers(items), (ints{1, 3}));
    c.link.unlink();
    a.link.unlink();
    EXPECT_TRUE(items.empty());
    EXPECT_FALSE(a.link.linked() || b.link.linked() || c.link.linked());
}

TEST(list, unlinking_what_is_not_linked_changes_nothing) {
    item a{1};
    EXPECT_FALSE(a.link.linked());
    a.link.unlink();
    EXPECT_FALSE(a.link.linked());
}

TEST(list, an_item_can_come_back_after_it_left) {
    item a{1}, b{2};
    item_list items;
    items.push_back(a);
    items.push_back(b);
    a.link.unlink();
    items.push_back(a);
    EXPECT_EQ(numbers(items), (ints{2, 1}));
}

TEST(list, an_item_with_two_nodes_is_on_two_lists) {
    item a{1}, b{2};
    item_list items;
    other_list others;
    items.push_back(a);
    items.push_back(b);
    others.push_front(a);
    others.push_front(b);
    EXPECT_EQ(numbers(items), (ints{1, 2}));
    EXPECT_EQ(numbers(others), (ints{2, 1}));
    EXPECT_EQ(items.pop_front(), &a);
    EXPECT_EQ(numbers(others), (ints{2, 1})) << "the other list does not notice";
}

TEST(list, splice_back_moves_everything_in_order_and_empties_the_source) {
    item a{1}, b{2}, c{3}, d{4};
    item_list to, from;
    to.push_back(a);
    for (item* i : {&b, &c, &d})
        from.push_back(*i);
    to.splice_back(from);
    EXPECT_EQ(numbers(to), (ints{1, 2, 3, 4}));
    EXPECT_TRUE(from.empty());
    to.splice_back(from);
    EXPECT_EQ(numbers(to), (ints{1, 2, 3, 4})) << "nothing to move";
    from.splice_back(to);
    EXPECT_EQ(numbers(from), (ints{1, 2, 3, 4})) << "into an empty list";
}

TEST(list, for_each_allows_the_visited_item_to_leave) {
    std::deque<item> storage;
    item_list items, odd;
    for (int n = 0; n < 10; ++n)
        items.push_back(storage.emplace_back(n));
    items.for_each([&](item& visited) {
        if (visited.number % 2 == 0)
            return;
        visited.link.unlink();
        odd.push_back(visited);
    });
    EXPECT_EQ(numbers(items), (ints{0, 2, 4, 6, 8}));
    EXPECT_EQ(numbers(odd), (ints{1, 3, 5, 7, 9}));
}

TEST(list, for_each_allows_the_visited_item_to_die) {
    item_list items;
    for (int n = 0; n < 10; ++n)
        items.push_back(*new item{n});
    int sum = 0;
    items.for_each([&](item& visited) {
        sum += visited.number;
        visited.link.unlink();
        delete &visited;
    });
    EXPECT_EQ(sum, 45);
    EXPECT_TRUE(items.empty());
}

TEST(list, container_of_finds_the_object_of_any_member) {
    struct base_part {
        char first[24];
    };
    struct derived : base_part {
        char between = 0;
        list_node node;
        alignas(64) int last = 0;
    };
    derived object;
    EXPECT_EQ(&container_of(object.node, &derived::node), &object);
    EXPECT_EQ(&container_of(object.last, &derived::last), &object);
    EXPECT_EQ(&container_of(object.between, &derived::between), &object);
}

TEST(list, random_moves_agree_with_a_deque) {
    std::mt19937_64 random{allot_test::fresh_seed()};
    std::deque<item> storage;
    item_list items;
    std::deque<int> model;
    for (int n = 0; n < 50; ++n)
        storage.emplace_back(n);
    for (int step = 0; step < 5000; ++step) {
        item& chosen = storage[random() % storage.size()];
        ASSERT_EQ(chosen.link.linked(), std::find(model.begin(), model.end(), chosen.number) != model.end());
        if (chosen.link.linked()) {
            chosen.link.unlink();
            std::erase(model, chosen.number);
        } else if (random() % 2 == 0) {
            items.push_back(chosen);
            model.push_back(chosen.number);
        } else {
            items.push_front(chosen);
            model.push_front(chosen.number);
        }
        ASSERT_EQ(numbers(items), ints(model.begin(), model.end())) << "step " << step;
    }
}

#if ALLOT_DEBUG
TEST(list, an_item_that_is_on_a_list_cannot_be_put_on_another) {
    static item a{1};
    static item_list items, more;
    items.push_back(a);
    EXPECT_NE(allot_test::bug_in([] { more.push_back(a); }).find("linked"), std::string::npos);
    EXPECT_NE(allot_test::bug_in([] { items.push_front(a); }).find("linked"), std::string::npos) << "nor twice on one";
    EXPECT_EQ(numbers(items), ints{1});
    EXPECT_TRUE(more.empty());
    a.link.unlink();
}
#endif

} // namespace
} // namespace allot::base
