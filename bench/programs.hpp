// SPDX-License-Identifier: MIT
//
// programs: time and memory of whole programs under each preloaded allocator.
//
// Idea.        A program runs once under each allocator in each round, each round beginning with another one. The bars are what
//              docs/benchmarks.md promises.
// Concurrency. one caller; the programs run one after the other, but for redis-server, which runs beside its load.
#pragma once

#include "bars.hpp"
#include "variants.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

struct programs_task {
    std::size_t rounds = 7;
    std::vector<extra_peer> peers;
};

/// Measures, prints the table, adds its verdicts, and writes programs.csv and its plot into `folder`.
///
/// Returns: "" or what went wrong.
std::string run_programs(const programs_task& what, const std::filesystem::path& folder,
                         std::vector<verdict>& verdicts);

} // namespace allot_bench
