// SPDX-License-Identifier: MIT
//
// program_inputs: the scripts and the source file that the measured programs work on.
#pragma once

#include <filesystem>
#include <string>

namespace allot_bench {

/// Writes work.py, work.lua, work.sql and work.cc into `folder`. Returns: "" or what went wrong.
std::string write_inputs(const std::filesystem::path& folder);

} // namespace allot_bench
