// SPDX-License-Identifier: MIT
//
// child: runs a program with a LD_PRELOAD and collects what it prints.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

/// How a program ended.
struct outcome {
    std::string output;  ///< what it wrote to stdout
    std::string trouble; ///< "" if it ended with status 0, else how it ended, with the last line of its stderr
};

/// Runs `program` with `arguments` and with LD_PRELOAD set to `preload` (unset if ""), for at most `seconds`.
outcome run(const std::filesystem::path& program, const std::vector<std::string>& arguments, const std::string& preload,
            double seconds);

} // namespace allot_bench
