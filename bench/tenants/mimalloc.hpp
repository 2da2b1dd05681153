// SPDX-License-Identifier: MIT
//
// mimalloc: first-class heaps of the thread; destroying one frees what is live in it.
#pragma once

#include "heap.hpp"

#include <mimalloc.h>

namespace allot_bench {

class mimalloc_heap : public plain_heap {
  public:
    static constexpr const char* name = "mimalloc_heap";
    explicit mimalloc_heap(const char*) : heap_(mi_heap_new()) {}
    void* allocate(std::size_t, std::size_t bytes) { return mi_heap_malloc(heap_, bytes); }
    void end(std::span<void* const>) { mi_heap_destroy(heap_); }

  private:
    mi_heap_t* heap_;
};

using kinds = kind_list<mimalloc_heap>;

} // namespace allot_bench
