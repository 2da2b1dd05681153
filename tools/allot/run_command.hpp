// SPDX-License-Identifier: MIT
//
// run_command: `allot run`: starts an unmodified program under the malloc preload and reports its groups.
//
// Idea.        Everything that can be wrong is looked for before the program starts, and each mistake is one line and status 2. The
//              program's figures are in a file that it maps (ALLOT_STAT_DIR), so they are there however it ends.
// Concurrency. one thread.
// Checked by.  test/programs/
#pragma once

#include <string>
#include <vector>

namespace allot::tool {

struct run_options {
    std::string max;          ///< empty: no limit
    std::string group_by;     ///< empty: "thread" without rules, "none" with them
    std::string rules;        ///< empty: none
    std::string output;       ///< empty: stderr
    double every_seconds = 0; ///< 0: only at the end
    bool json = false;
    std::vector<std::string> command; ///< program and arguments
};

/// Runs the command. Returns the status to exit with: the program's, 128 + signal, or 2, 126, 127 if it was not started.
int run_command(const run_options& options);

} // namespace allot::tool
