// SPDX-License-Identifier: MIT
//
// paths: what single paths of the library cost: scopes, and pairs in warm and in cold groups.
//
// Idea.        Asked of allot alone, in a process for each round (paths_worker.cc).
// Concurrency. one caller.
#pragma once

#include "bars.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

/// Measures, prints the table, writes paths.csv and a plot into `folder`, which is made if need be, and adds the verdicts on
/// rows 8 and 10.
///
/// Returns: "" or what went wrong.
std::string run_paths(std::size_t rounds, const std::filesystem::path& folder, std::vector<verdict>& verdicts);

} // namespace allot_bench
