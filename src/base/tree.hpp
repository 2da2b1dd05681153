// SPDX-License-Identifier: MIT
//
// tree: an intrusive search tree that gives its largest element and lets any element go.
//
// Idea.        A treap: ordered by key, and by a priority that is a hash of the node's address, so that it is balanced on
//              average whatever is put in. The node lives in the object, so nothing is allocated.
// Invariants.  I1  left < node <= right by `Less`; the priority of a parent is not below that of its children.
//              I2  A key does not change while its object is in the tree.
// Concurrency. none of its own: the owner of the tree says which lock guards it.
// Checked by.  test/base/tree_test.cc
// Source.      Aragon, Seidel, Randomized Search Trees; the kernel uses a red-black tree here.
#pragma once

#include "base/list.hpp"

#include <initializer_list>

namespace allot::base {

struct tree_node {
    tree_node* left = nullptr;
    tree_node* right = nullptr;
    tree_node* parent = nullptr;
    bool linked = false;
};

/// A tree of `T` linked through its member `Node` and ordered by `Less(const T&, const T&)`.
template <class T, tree_node T::*Node, class Less> class tree {
  public:
    bool empty() const noexcept { return root_ == nullptr; }

    void insert(T& object) noexcept {
        tree_node& node = object.*Node;
        ALLOT_ASSERT(!node.linked);
        node = {.left = nullptr, .right = nullptr, .parent = nullptr, .linked = true};
        tree_node** place = &root_;
        while (*place != nullptr) {
            node.parent = *place;
            place = Less{}(object, owner(**place)) ? &(*place)->left : &(*place)->right;
        }
        *place = &node;
        while (node.parent != nullptr && priority(*node.parent) < priority(node))
            rotate_up(node);
    }

    void erase(T& object) noexcept {
        tree_node& node = object.*Node;
        ALLOT_ASSERT(node.linked);
        while (node.left != nullptr && node.right != nullptr)
            rotate_up(priority(*node.left) < priority(*node.right) ? *node.right : *node.left);
        tree_node* const child = node.left != nullptr ? node.left : node.right;
        if (child != nullptr)
            child->parent = node.parent;
        place_of(node) = child;
        node.linked = false;
    }

    /// The largest, or null. The last one put in of several that are equal.
    T* last() noexcept {
        tree_node* at = root_;
        while (at != nullptr && at->right != nullptr)
            at = at->right;
        return at != nullptr ? &owner(*at) : nullptr;
    }

    /// True if the invariants hold. For tests.
    bool check() const noexcept { return root_ == nullptr || (root_->parent == nullptr && check(*root_)); }

  private:
    static T& owner(tree_node& node) noexcept { return container_of(node, Node); }
    static std::uint64_t priority(const tree_node& node) noexcept {
        const std::uint64_t mixed = (reinterpret_cast<std::uintptr_t>(&node) >> 4) * 0x9e3779b97f4a7c15u;
        return mixed ^ (mixed >> 29);
    }
    tree_node*& place_of(tree_node& node) noexcept {
        if (node.parent == nullptr)
            return root_;
        return node.parent->left == &node ? node.parent->left : node.parent->right;
    }
    /// Makes `node` the parent of its parent.
    void rotate_up(tree_node& node) noexcept {
        tree_node& above = *node.parent;
        place_of(above) = &node;
        node.parent = above.parent;
        above.parent = &node;
        tree_node*& inner = above.left == &node ? node.right : node.left;
        (above.left == &node ? above.left : above.right) = inner;
        if (inner != nullptr)
            inner->parent = &above;
        inner = &above;
    }
    static bool check(tree_node& node) noexcept {
        for (tree_node* const child : {node.left, node.right})
            if (child != nullptr && (child->parent != &node || priority(node) < priority(*child) || !check(*child)))
                return false;
        return (node.left == nullptr || !Less{}(owner(node), owner(*node.left))) &&
               (node.right == nullptr || !Less{}(owner(*node.right), owner(node)));
    }

    tree_node* root_ = nullptr;
};

} // namespace allot::base
