// SPDX-License-Identifier: MIT
//
// cells: which works there are, with which sizes and threads, and in which order a worker does them.
//
// Idea.        What a thread does alone is measured with the numbers of threads that are asked for, in small and in large
//              sizes. What threads do with each other has a number of threads of its own.
// Concurrency. none of its own.
// Checked by.  test/bench/cells_test.cc
#pragma once

#include "results.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace allot_bench {

/// The largest size that counts as small, and the smallest that counts as large.
inline constexpr unsigned long small_most = 1024;
inline constexpr unsigned long large_least = 4096;

/// A work as the driver knows it; work.cc does it.
struct work_name {
    std::string_view name;
    unsigned threads; ///< 0: as asked for
};

inline constexpr work_name all_works[] = {{"pair", 0},  {"lifo", 0},   {"fifo", 0}, {"random", 0},
                                          {"churn", 0}, {"remote", 2}, {"ring", 4}, {"oversub", 8}};

inline std::vector<std::string> names_of_works() {
    std::vector<std::string> names;
    for (const work_name& one : all_works)
        names.emplace_back(one.name);
    return names;
}

/// Returns the number of threads that the work always has, 0 if it has none.
inline unsigned own_threads(std::string_view work) {
    for (const work_name& one : all_works)
        if (one.name == work)
            return one.threads;
    return 0;
}

/// Lists the cells of `works`, in the order of the tables. No `sizes`: small and large ones, works with threads of their own
/// small ones alone.
inline std::vector<cell> make_cells(const std::vector<std::string>& works, const std::vector<unsigned long>& sizes,
                                    const std::vector<unsigned long>& threads) {
    const std::vector<unsigned long> small{16, 64, 256, 1024};
    const std::vector<unsigned long> both{16, 64, 256, 1024, 4096, 16384, 65536, 262'144, 1'048'576};
    std::vector<cell> cells;
    for (const std::string& work : works) {
        const unsigned own = own_threads(work);
        const std::vector<unsigned long>& mine = !sizes.empty() ? sizes : own != 0 ? small : both;
        for (const unsigned long count : own != 0 ? std::vector<unsigned long>{own} : threads)
            for (const unsigned long size : mine)
                cells.push_back({work, static_cast<unsigned>(count), size});
    }
    return cells;
}

/// Puts cells into the order of a worker: one thread first, and within a number of threads small sizes before large ones,
/// because large blocks change an allocator's state the most.
inline std::vector<cell> in_working_order(std::vector<cell> cells) {
    std::stable_sort(cells.begin(), cells.end(), [](const cell& one, const cell& other) {
        if (one.threads != other.threads)
            return one.threads < other.threads;
        return one.size < large_least && other.size >= large_least;
    });
    return cells;
}

} // namespace allot_bench
