// SPDX-License-Identifier: MIT
//
// report: what `allot run` says about a program, as a table for people or as one JSON document.
//
// Idea.        Both are made from the same figures; the table leaves out groups that nothing happened in.
// Concurrency. one thread.
// Checked by.  test/programs/table.sh
#pragma once

#include "process.hpp"
#include "stat_files.hpp"

#include <optional>
#include <string>
#include <vector>

namespace allot::tool {

struct run_report {
    std::vector<std::string> command;
    pid_t pid = 0;
    double seconds = 0;
    std::optional<process_end> end;         ///< empty while the program runs
    std::optional<process_figures> program; ///< empty if it published nothing
    stat_folder::children children;
};

/// The table, with a line above it that says how the program ended. Ends with a newline.
std::string to_text(const run_report& report);

/// The document; docs/preload.md lists the fields. `indented` over several lines, otherwise one. Ends with a newline.
std::string to_json(const run_report& report, bool indented);

} // namespace allot::tool
