// SPDX-License-Identifier: MIT
//
// program_check: will the preload work in this program? Answered before the program starts, in words that help.
//
// Idea.        The dynamic linker ignores LD_PRELOAD silently (setuid) or there is none (static), and a sanitizer's runtime aborts
//              with a riddle. All three can be read from the file: mode bits and <elf.h>.
// Concurrency. one thread.
// Checked by.  test/programs/refusals.sh
// Source.      elf(5), ld.so(8), execve(2).
#pragma once

#include <string>

namespace allot::tool {

/// The exit statuses of shells for a program that cannot be started, and ours for bad use.
inline constexpr int status_bad_use = 2;
inline constexpr int status_not_executable = 126;
inline constexpr int status_not_found = 127;

struct program_check {
    std::string path;    ///< what to execute
    int status = 0;      ///< 0: go on; otherwise exit with this
    std::string refusal; ///< why, without "allot: "
};

/// Finds `name` as a shell would and looks whether malloc can be replaced in it, and in its interpreter if it is a script.
program_check check_program(const std::string& name);

} // namespace allot::tool
