// SPDX-License-Identifier: MIT
//
// scaling: how what calls of the library cost grows with threads, groups, depth and size.
//
// Idea.        Asked of allot alone; each number of threads, of groups, ... is a process of its own in each round
//              (scaling_worker.cc). No bars: what there is to see is the shape of the lines.
// Concurrency. one caller; the processes run one after the other.
// Checked by.  test/bench/scaling_test.cc
#pragma once

#include "answers.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

/// How much is measured.
struct scaling_task {
    std::size_t rounds = 7;
    std::size_t cell_ms = 10; ///< what each thread takes for each number
};

/// One question, asked for each of some numbers.
struct sweep {
    struct curve {
        std::string sample; ///< as the worker names it
        std::string title;
    };
    std::string question; ///< as the worker knows it
    std::string title;
    std::string x_label;
    std::vector<unsigned long> places;
    std::vector<curve> curves;
    bool is_bytes = false; ///< the numbers are sizes

    /// What the samples of a curve begin with; the number follows.
    [[nodiscard]] std::string prefix(const curve& one) const { return question + "_" + one.sample + "_"; }
};

/// All questions, in the order of the tables.
const std::vector<sweep>& sweeps();

/// The sweep as a plot.
plot picture_of(const sweep& what, const answers& all);

/// Measures, prints a table for each sweep, and writes scaling.csv and the plots into `folder`, which is made if need be.
///
/// Returns: "" or what went wrong.
std::string run_scaling(const scaling_task& what, const std::filesystem::path& folder);

} // namespace allot_bench
