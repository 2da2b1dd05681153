// SPDX-License-Identifier: MIT
//
// apr: pools of the Apache Portable Runtime below a pool with an allocator of the thread's own, as its server has them.
#pragma once

#include "heap.hpp"

#include <apr_general.h>
#include <apr_pools.h>

#include <cstdlib>

namespace allot_bench {

class apr_heap : public plain_heap {
  public:
    static constexpr const char* name = "apr_pool";
    explicit apr_heap(const char*) {
        if (apr_pool_create(&pool_, tenant()) != APR_SUCCESS)
            std::abort();
    }
    void* allocate(std::size_t, std::size_t bytes) { return apr_palloc(pool_, bytes); }
    void end(std::span<void* const>) { apr_pool_destroy(pool_); }

  private:
    static apr_pool_t* tenant() {
        static apr_pool_t* const made = [] {
            apr_allocator_t* allocator = nullptr;
            apr_pool_t* pool = nullptr;
            if (apr_initialize() != APR_SUCCESS || apr_allocator_create(&allocator) != APR_SUCCESS ||
                apr_pool_create_ex(&pool, nullptr, nullptr, allocator) != APR_SUCCESS)
                std::abort();
            apr_allocator_owner_set(allocator, pool);
            return pool;
        }();
        return made;
    }
    apr_pool_t* pool_ = nullptr;
};

using kinds = kind_list<apr_heap>;

} // namespace allot_bench
