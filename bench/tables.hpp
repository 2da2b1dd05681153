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

/// Names the table that a cell is in: "pair, 1 thread, static".
std::string title(const cell& which, linkage how);

/// Splits cells into tables: a work with a number of threads each.
std::vector<std::vector<cell>> table_cells(const std::vector<cell>& cells);

/// Prints a table for each linkage, work and number of threads: times, spreads, and ratios where they say something.
void print_tables(const std::vector<variant>& all, const task& what, std::FILE* out);

/// Prints the geometric means of the ratios, by work and threads, to each peer and to the fastest peer of each cell.
void print_means(const std::vector<variant>& all, const task& what, std::FILE* out);

/// Draws a plot for each table into `folder`, which exists, if gnuplot is installed.
///
/// Returns: "" or why there are none.
std::string draw_tables(const std::vector<variant>& all, const task& what, const std::filesystem::path& folder);

/// Writes samples.csv, medians.csv and ratios.csv into `folder`, which is made if need be.
///
/// Returns: "" or what went wrong.
std::string write_csv(const std::vector<variant>& all, const std::filesystem::path& folder);

} // namespace allot_bench
