// SPDX-License-Identifier: MIT
//
// talloc: a context below the tenant's, plain or with a pool; freeing the context frees what hangs below it.
#pragma once

#include "heap.hpp"

#include <talloc.h>

namespace allot_bench {

/// Pool bytes 0: a plain context, each of whose objects is malloc's.
template <std::size_t PoolBytes> class context_heap : public plain_heap {
  public:
    explicit context_heap(const char*)
        : context_(PoolBytes == 0 ? talloc_new(tenant()) : talloc_pool(tenant(), PoolBytes)) {}
    void* allocate(std::size_t, std::size_t bytes) { return talloc_size(context_, bytes); }
    void end(std::span<void* const>) { talloc_free(context_); }

  private:
    static void* tenant() {
        static void* const made = talloc_new(nullptr);
        return made;
    }
    void* context_;
};

struct talloc_heap : context_heap<0> {
    static constexpr const char* name = "talloc";
    using context_heap::context_heap;
};

/// 100 objects of 64 bytes fit with their heads, and 60 objects of 19,200 bytes.
struct talloc_pool_heap : context_heap<32 * 1024> {
    static constexpr const char* name = "talloc_pool";
    using context_heap::context_heap;
};

using kinds = kind_list<talloc_heap, talloc_pool_heap>;

} // namespace allot_bench
