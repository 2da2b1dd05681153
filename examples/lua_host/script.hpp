// SPDX-License-Identifier: MIT
//
// script: the Lua scripts that the tenants run, read once from a directory.
//
// Idea.        DIR/*.lua are the healthy kinds, DIR/hostile/*.lua the hostile ones; the file's name is the kind's. A script is one
//              chunk: it is called with the directory and a seed, and returns its result as a string.
#pragma once

#include <string>
#include <vector>

namespace lua_host {

struct script {
    std::string name; // without ".lua"
    std::string text;
};

struct script_set {
    std::string dir; // scripts that read files find them here
    std::vector<script> healthy;
    std::vector<script> hostile;
};

/// Reads the scripts of `dir`, sorted by name.
///
/// Errors: throws std::runtime_error with one line that names the directory or file; so for a directory without scripts.
script_set load_scripts(const std::string& dir);

/// Finds the scripts that belong to this program: beside it in the build tree, under share/ in the install tree.
///
/// Errors: an empty string if neither is there.
std::string default_scripts_dir();

} // namespace lua_host
