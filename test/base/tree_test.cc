// SPDX-License-Identifier: MIT
//
// tree_test: the tree keeps order, gives its largest, and lets any element go.
#include "base/tree.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <vector>

namespace {

struct item {
    int key = 0;
    allot::base::tree_node node;
};
struct less {
    bool operator()(const item& a, const item& b) const noexcept { return a.key < b.key; }
};
using tree = allot::base::tree<item, &item::node, less>;

TEST(search_tree, gives_its_elements_from_the_largest_down) {
    std::vector<item> items(1000);
    tree all;
    for (std::size_t i = 0; i < items.size(); ++i) {
        items[i].key = static_cast<int>(i * 7919 % items.size());
        all.insert(items[i]);
    }
    EXPECT_TRUE(all.check());
    for (int expected = 999; expected >= 0; --expected) {
        item* const largest = all.last();
        ASSERT_NE(largest, nullptr);
        EXPECT_EQ(largest->key, expected);
        all.erase(*largest);
    }
    EXPECT_TRUE(all.empty());
    EXPECT_EQ(all.last(), nullptr);
}

TEST(search_tree, agrees_with_a_multiset_whatever_is_put_in_and_taken_out) {
    std::mt19937 random(20251120);
    std::vector<item> items(300);
    tree all;
    std::multiset<int> model;
    for (int step = 0; step < 20'000; ++step) {
        item& one = items[random() % items.size()];
        if (one.node.linked) {
            all.erase(one);
            model.erase(model.find(one.key));
        } else {
            one.key = static_cast<int>(random() % 50);
            all.insert(one);
            model.insert(one.key);
        }
        if (step % 64 == 0) {
            ASSERT_TRUE(all.check()) << "step " << step;
        }
        ASSERT_EQ(all.empty(), model.empty());
        if (!model.empty()) {
            ASSERT_EQ(all.last()->key, *model.rbegin());
        }
    }
}

TEST(search_tree, stays_shallow_when_keys_come_in_order) {
    std::vector<item> items(100'000);
    tree all;
    for (std::size_t i = 0; i < items.size(); ++i) {
        items[i].key = static_cast<int>(i);
        all.insert(items[i]);
    }
    int depth = 0;
    for (auto* at = &all.last()->node; at != nullptr; at = at->parent)
        ++depth;
    EXPECT_LT(depth, 200) << "a list would be as deep as it is long";
}

} // namespace
