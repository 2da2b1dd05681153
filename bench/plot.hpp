// SPDX-License-Identifier: MIT
//
// plot: a table as a picture, drawn by gnuplot if it is installed.
//
// Idea.        The CSV files are the results; a plot shows one table of them: a line for each allocator, the median with the
//              smallest and the largest round. The script is written beside the pictures, so that they can be drawn again.
// Concurrency. none of its own.
// Checked by.  test/bench/plot_test.cc
#pragma once

#include "results.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

struct plot_point {
    double x = 0;
    figure y;
};

struct plot_line {
    std::string name;
    std::vector<plot_point> points;
    bool strong = false; ///< drawn thick: ours
};

struct plot {
    std::string name; ///< of the file, without .svg: lower-case letters, digits and '_'
    std::string title;
    std::string x_label;
    std::string y_label;
    std::vector<plot_line> lines;
    std::vector<std::string>
        x_names;         ///< what x = 0, 1, ... is called; none: x is a number of bytes, on a logarithmic axis
    bool counts = false; ///< x is a number, but not of bytes
};

/// Turns a title into the name of a file: "pair, 1 thread, static" into "pair_1_thread_static".
std::string plot_name(const std::string& title);

/// Writes bytes for people: 16, 1 KiB, 4 MiB.
std::string short_bytes(double bytes);

/// Returns what gnuplot is told. Lines without points are left out; "" if there are no others.
std::string plot_script(const plot& what);

/// Draws all plots into `folder`, which exists, as NAME.svg, and leaves the script there as SCRIPT.gp.
///
/// Returns: "" or why there are no pictures.
std::string draw(const std::vector<plot>& plots, const std::filesystem::path& folder, const std::string& script);

} // namespace allot_bench
