// SPDX-License-Identifier: MIT
//
// tables: the results as tables for people and as CSV files.
#pragma once

#include "variants.hpp"

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

/// Prints a table for each linkage, work and number of threads: times, spreads, and ratios where they say something.
void print_tables(const std::vector<variant>& all, const task& what, std::FILE* out);

/// Prints the geometric means of the ratios, by work and threads, to each peer and to the fastest peer of each cell.
void print_means(const std::vector<variant>& all, const task& what, std::FILE* out);

/// Prints whether allot is slower than glibc in any cell of up to `size_max` bytes, and where it is worst.
void print_bar(const std::vector<variant>& all, const task& what, unsigned long size_max, std::FILE* out);

/// Writes samples.csv, medians.csv and ratios.csv into `folder`, which is made if need be.
///
/// Returns: "" or what went wrong.
std::string write_csv(const std::vector<variant>& all, const std::filesystem::path& folder);

} // namespace allot_bench
