// SPDX-License-Identifier: MIT
//
// heaps: what a group for each request costs, beside the heaps and arenas of other libraries.
//
// Idea.        Every kind of heap and every shape of request is a process of its own in each round (tenant_worker.cc). The bars are what
//              docs/benchmarks.md promises.
// Concurrency. one caller; the processes run one after the other.
#pragma once

#include "bars.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

struct heaps_task {
    std::size_t rounds = 7;
    std::size_t cell_ms = 150;
};

/// Measures, prints the table, adds its verdicts, and writes heaps.csv and its plot into `folder`.
///
/// Returns: "" or what went wrong.
std::string run_heaps(const heaps_task& what, const std::filesystem::path& folder, std::vector<verdict>& verdicts);

} // namespace allot_bench
