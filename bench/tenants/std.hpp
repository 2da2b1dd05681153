// SPDX-License-Identifier: MIT
//
// std: the standard library's memory resources, over glibc's malloc, and malloc itself without any heaps.
#pragma once

#include "heap.hpp"

#include <cstdlib>
#include <memory>
#include <memory_resource>

namespace allot_bench {

/// A resource that is made with the heap and gone with it.
template <class Resource> class resource_heap : public plain_heap {
  public:
    explicit resource_heap(const char*) { std::construct_at(&resource_); }
    resource_heap(const resource_heap&) = delete;
    resource_heap& operator=(const resource_heap&) = delete;
    ~resource_heap() {}
    void* allocate(std::size_t, std::size_t bytes) { return resource_.allocate(bytes); }
    void end(std::span<void* const>) { std::destroy_at(&resource_); }

  private:
    union {
        Resource resource_; // end() destroys it
    };
};

struct pool_heap : resource_heap<std::pmr::unsynchronized_pool_resource> {
    static constexpr const char* name = "pmr_pool";
    using resource_heap::resource_heap;
};

struct bump_heap : resource_heap<std::pmr::monotonic_buffer_resource> {
    static constexpr const char* name = "pmr_monotonic";
    using resource_heap::resource_heap;
};

/// No heap at all: every object is malloc's, and each is freed by itself.
struct no_heap : plain_heap {
    static constexpr const char* name = "malloc";
    explicit no_heap(const char*) {}
    void* allocate(std::size_t, std::size_t bytes) { return std::malloc(bytes); }
    void end(std::span<void* const> objects) {
        for (void* const object : objects)
            std::free(object);
    }
};

using kinds = kind_list<pool_heap, bump_heap, no_heap>;

} // namespace allot_bench
