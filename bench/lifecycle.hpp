// SPDX-License-Identifier: MIT
//
// lifecycle: how fast groups come and go and what they leave, as a table with a bar and a verdict for each row.
//
// Idea.        Each question is a process of its own (lifecycle_worker.cc). The bars are what docs/benchmarks.md promises.
// Concurrency. one caller; the processes run one after the other, so that each has the machine.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace allot_bench {

/// How much is measured.
struct lifecycle_task {
    std::size_t rounds = 7;
    std::size_t objects_most = 10'000'000; ///< live objects of the largest group that is closed
    std::size_t live_groups = 100'000;
    std::size_t cycles = 1'000'000;
    std::size_t idle_groups = 10'000;
};

/// A first look that takes seconds.
inline constexpr lifecycle_task quick_lifecycle{3, 1'000'000, 20'000, 100'000, 2'000};

/// Measures, prints the table, and writes lifecycle.csv into `folder`, which is made if need be.
///
/// Returns: "" or what went wrong.
std::string run_lifecycle(const lifecycle_task& what, const std::filesystem::path& folder);

} // namespace allot_bench
