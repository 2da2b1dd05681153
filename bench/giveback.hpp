// SPDX-License-Identifier: MIT
//
// giveback: whether memory goes back to the system after a peak, when nobody calls the library any more.
//
// Idea.        Each way of freeing is a process of its own in each round (giveback_worker.cc). The bar is what docs/benchmarks.md
//              promises.
// Concurrency. one caller; the processes run one after the other.
#pragma once

#include "bars.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

struct giveback_task {
    std::size_t rounds = 3;
    std::size_t peak_mib = 1024;
    std::size_t groups = 50;
};

/// Measures, prints the table, adds its verdicts, and writes giveback.csv and its plot into `folder`.
///
/// Returns: "" or what went wrong.
std::string run_giveback(const giveback_task& what, const std::filesystem::path& folder,
                         std::vector<verdict>& verdicts);

} // namespace allot_bench
