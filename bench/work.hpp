// SPDX-License-Identifier: MIT
//
// work: what a cell of the benchmark does, and how long one takes.
//
// Idea.        Threads either work alone at the same time (pair, batches, churn), or hand blocks to each other (remote, ring),
//              or are more than there are cores (oversub). Every block is written to once, which also keeps the compiler
//              from removing the calls. A cell repeats its unit of work as often as the wanted time takes, all threads
//              equally often, and gives the time of one allocation with its free.
//              At most 64 MiB are live in a thread: with large blocks there are fewer of them.
// Concurrency. measure: one caller; it starts the threads of the cell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace allot_bench {

class handover;

/// What one thread of a cell works with.
struct thread_work {
    std::size_t size = 0;           ///< bytes of a block
    std::size_t count = 0;          ///< blocks in a unit
    void** blocks = nullptr;        ///< room for `count`
    std::uint32_t random = 0;       ///< state of the thread's generator, never 0
    handover* to = nullptr;         ///< where its blocks go; null if it frees them itself or is a consumer
    handover* from = nullptr;       ///< where blocks to free come from; null if there are none
    std::uint16_t* order = nullptr; ///< nr_orders random orders of `count` blocks
};

/// What is done; to add one, extend the tables in work.cc and cells.hpp.
struct work {
    std::string_view name;
    void (*run)(thread_work& mine, std::uint64_t units); ///< does the work `units` times
    std::size_t blocks_most;                             ///< in a unit, if they are small
    unsigned passes = 1;                                 ///< allocations with their frees in a unit, for each block
    bool keeps_blocks = false;                           ///< `count` blocks are live before and after each unit
    enum { alone, in_pairs, in_a_ring, crowded } threads = alone;
};

/// Returns the work of that name; null if there is none.
const work* find_work(std::string_view name);

/// Runs a cell on `threads` threads at once, for about `cell_ms` milliseconds, three times that if they do not work alone.
///
/// Returns: nanoseconds for one allocation with its free. Threads that work alone: those of the slowest thread; others: those
/// that passed for all of them, divided by all pairs.
double measure(const work& what, std::size_t size, unsigned threads, double cell_ms);

} // namespace allot_bench
