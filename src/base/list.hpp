// SPDX-License-Identifier: MIT
//
// list: an intrusive doubly linked list with a head of its own.
//
// Idea.        The node lives in the object, so linking never allocates and unlinking needs no search.
// Invariants.  I1  A node is on at most one list; an unlinked node points to itself.
// Concurrency. none of its own: the owner of the list says which lock guards it.
// Source.      Linux include/linux/list.h.
#pragma once

#include "base/assert.hpp"

namespace allot::base {

/// The object whose member `member` points to is `object`.
template <class T, class M> T& container_of(M& object, M T::*member) noexcept {
    alignas(T) static char probe[sizeof(T)];
    const auto offset = reinterpret_cast<char*>(&(reinterpret_cast<T*>(probe)->*member)) - probe;
    return *reinterpret_cast<T*>(reinterpret_cast<char*>(&object) - offset);
}

struct list_node {
    list_node* next = this;
    list_node* prev = this;

    bool linked() const noexcept { return next != this; }
    void unlink() noexcept {
        prev->next = next;
        next->prev = prev;
        next = prev = this;
    }
};

/// A list of `T` linked through its member `Node`.
template <class T, list_node T::*Node> class list {
  public:
    bool empty() const noexcept { return !head_.linked(); }
    void push_back(T& object) noexcept { insert_before(head_, object.*Node); }
    void push_front(T& object) noexcept { insert_before(*head_.next, object.*Node); }
    T* front() noexcept { return empty() ? nullptr : owner(head_.next); }
    T* next(T& object) noexcept {
        list_node* node = (object.*Node).next;
        return node == &head_ ? nullptr : owner(node);
    }
    T* pop_front() noexcept {
        T* object = front();
        if (object != nullptr)
            (object->*Node).unlink();
        return object;
    }
    /// Moves all of `other` to the end of this list.
    void splice_back(list& other) noexcept {
        while (T* object = other.pop_front())
            push_back(*object);
    }
    template <class F> void for_each(F&& visit) noexcept {
        for (T* object = front(); object != nullptr;) {
            T* following = next(*object);
            visit(*object);
            object = following;
        }
    }

  private:
    static void insert_before(list_node& place, list_node& node) noexcept {
        ALLOT_ASSERT(!node.linked());
        node.prev = place.prev;
        node.next = &place;
        place.prev->next = &node;
        place.prev = &node;
    }
    static T* owner(list_node* node) noexcept { return &container_of(*node, Node); }

    list_node head_;
};

} // namespace allot::base
