// SPDX-License-Identifier: MIT
//
// allot: a group is the heap; its parent is the group of a tenant that lives as long as the process.
#pragma once

#include "heap.hpp"

#include <allot/allot.h>

#include <cstdlib>

namespace allot_bench {

class group_heap {
  public:
    static constexpr const char* name = "allot";
    static constexpr std::size_t most = plain_heap::most;

    explicit group_heap(const char* own_name) {
        if (allot_group_create(tenant(), own_name, nullptr, &group_) != 0)
            std::abort();
    }
    void enter() { allot_enter(group_, &scope_); }
    void* allocate(std::size_t, std::size_t bytes) { return allot_malloc(bytes); }
    void leave() { allot_leave(&scope_); }
    void end(std::span<void* const>) {
        allot_group_discard(group_, nullptr);
        allot_group_put(group_);
    }
    static void settle() { allot_quiesce(); }

  private:
    static allot_group* tenant() {
        static allot_group* const made = [] {
            allot_group* group = nullptr;
            if (allot_group_create(allot_root(), "bench-tenant", nullptr, &group) != 0)
                std::abort();
            return group;
        }();
        return made;
    }

    allot_group* group_ = nullptr;
    allot_scope scope_{};
};

using kinds = kind_list<group_heap>;

} // namespace allot_bench
