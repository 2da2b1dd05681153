// SPDX-License-Identifier: MIT
//
// density: the resident memory that a tenant costs, empty and with a few objects, beside heaps of other libraries.
//
// Idea.        Every kind of heap and every shape of tenant is a process of its own (tenant_worker.cc), which makes all tenants and
//              counts what it grew by. The bars are what docs/benchmarks.md promises.
// Concurrency. one caller; the processes run one after the other.
#pragma once

#include "bars.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

struct density_task {
    std::size_t rounds = 3;
    std::size_t tenants = 10'000;
};

/// Measures, prints the table, adds its verdicts, and writes density.csv and its plot into `folder`.
///
/// Returns: "" or what went wrong.
std::string run_density(const density_task& what, const std::filesystem::path& folder, std::vector<verdict>& verdicts);

} // namespace allot_bench
