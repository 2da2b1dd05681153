// SPDX-License-Identifier: MIT
//
// answers: what workers say to their questions.
//
// Idea.        A worker prints "NAME,VALUE" for each sample; samples of one name stand in the order of the rounds.
// Concurrency. one caller.
// Checked by.  test/bench/answers_test.cc
#pragma once

#include "plot.hpp"
#include "results.hpp"

#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace allot_bench {

/// Samples by name, in the order of the rounds.
using answers = std::map<std::string, std::vector<double>>;

/// The program of this build with that name, beside this one.
std::filesystem::path beside(const std::string& name);

/// Starts `worker` with a question, its arguments, and adds its samples to `all`, each name behind `prefix`. Returns: "" or what went wrong.
std::string ask(const std::filesystem::path& worker, const std::vector<std::string>& question, answers& all,
                const std::string& prefix = "");

/// The samples of a name; empty if there are none.
const std::vector<double>& samples_of(const answers& all, const std::string& name);

/// The ratios of two rows, round by round.
ratio ratio_between(const std::vector<double>& above, const std::vector<double>& below);

/// A line of a plot through the samples of these names, divided by `unit`, at x = 0, 1, ...; names without samples have no point.
plot_line line_through(const answers& all, std::string title, const std::vector<std::string>& names, double unit,
                       bool strong);

/// A line of a plot through the samples PREFIX + X, divided by `unit`, at each x of `places`.
plot_line line_over(const answers& all, std::string title, const std::string& prefix,
                    const std::vector<unsigned long>& places, double unit, bool strong);

/// Writes the samples as NAME.csv and draws the plots into `folder`, which is made if need be. Returns: "" or what went wrong.
std::string write_and_draw(const answers& all, const std::vector<plot>& plots, const std::filesystem::path& folder,
                           const std::string& name);

/// Formats like printf.
template <class... Numbers> std::string text(const char* format, Numbers... numbers) {
    char buffer[128];
    std::snprintf(buffer, sizeof buffer, format, numbers...);
    return buffer;
}

void print_row(const std::string& what, const std::string& measured);

} // namespace allot_bench
