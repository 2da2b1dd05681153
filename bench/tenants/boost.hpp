// SPDX-License-Identifier: MIT
//
// boost: Boost.Pool, a pool for each size, made when its first object is asked for.
#pragma once

#include "heap.hpp"

#include <array>
#include <boost/pool/pool.hpp>
#include <optional>

namespace allot_bench {

class boost_heap : public plain_heap {
  public:
    static constexpr const char* name = "boost_pool";
    explicit boost_heap(const char*) {}
    void* allocate(std::size_t index, std::size_t bytes) {
        std::optional<boost::pool<>>& pool = pools_[index];
        if (!pool)
            pool.emplace(bytes);
        return pool->malloc();
    }
    void end(std::span<void* const>) {
        for (std::optional<boost::pool<>>& pool : pools_)
            pool.reset(); // frees the pool's memory, whatever is live in it
    }

  private:
    std::array<std::optional<boost::pool<>>, classes_most> pools_;
};

using kinds = kind_list<boost_heap>;

} // namespace allot_bench
