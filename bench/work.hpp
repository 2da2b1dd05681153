// SPDX-License-Identifier: MIT
//
// work: what a cell of the benchmark does, and how long one takes.
//
// Idea.        A unit of work is a pair (allocate one, free it) or a batch (allocate 1,000, free them all in some order). Every
//              block is written to once, which also keeps the compiler from removing the calls. A cell calibrates itself to
//              the wanted time, runs that often, and gives the time of one allocation with its free.
// Concurrency. measure: one caller; it starts the threads of the cell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace allot_bench {

/// What is done; to add one, extend the table in work.cc.
struct work {
    std::string_view name;
    void (*run)(std::size_t size, std::uint64_t units); ///< does the work `units` times
    std::uint64_t pairs;                                ///< allocations with their frees in one unit
};

/// Returns the work of that name; null if there is none.
const work* find_work(std::string_view name);

/// Runs a cell on `threads` threads at once for about `cell_ms` milliseconds.
///
/// Returns: nanoseconds for one allocation with its free, of the slowest thread.
double measure(const work& what, std::size_t size, unsigned threads, double cell_ms);

} // namespace allot_bench
