// SPDX-License-Identifier: MIT
//
// bars: what the measured numbers must reach, and whether they do.
//
// Idea.        A bar is a largest value for a ratio or a time, so less is better everywhere. A mean over cells is noisy if more than
//              a quarter of them had to be left out; a worst cell that is above its bar is a miss however many are noisy.
// Concurrency. none of its own.
// Checked by.  test/bench/bars_test.cc
#pragma once

#include "compare.hpp"

#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace allot_bench {

enum class standing {
    holds,
    missed,
    noisy ///< the noise is too large to tell
};

/// A bar with what was measured.
struct verdict {
    unsigned row = 0; ///< of the table of bars in docs/benchmarks.md
    std::string what;
    std::optional<double> measured; ///< nothing if everything was noise
    double bar = 0;
    std::string unit; ///< "x" for ratios, "ns"
    standing stands = standing::noisy;
    std::string note; ///< which cell or which peer
};

/// Judges the geometric mean of a comparison, and its worst cell.
verdict judge_mean(unsigned row, std::string what, const comparison& found, double bar);
verdict judge_worst(unsigned row, std::string what, const comparison& found, double bar);

/// Judges a number that was measured in each round; a ratio that may not be printed is noisy.
verdict judge(unsigned row, std::string what, const ratio& found, double bar, std::string unit);

/// Judges rows 1 to 4 and 7, as far as their cells were measured.
std::vector<verdict> judge_speed(const std::vector<variant>& all, const std::vector<cell>& cells);

/// Prints a line for each verdict.
void print_verdicts(const std::vector<verdict>& all, std::FILE* out);

/// Writes bars.csv into `folder`. Returns: "" or what went wrong.
std::string write_verdicts(const std::vector<verdict>& all, const std::filesystem::path& folder);

} // namespace allot_bench
