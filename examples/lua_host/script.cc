// SPDX-License-Identifier: MIT
//
// script.cc: reading the scripts' directory. See script.hpp.

#include "script.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace lua_host {
namespace {

namespace fs = std::filesystem;

script read_script(const fs::path& path) {
    std::ifstream in{path, std::ios::binary};
    std::ostringstream text;
    text << in.rdbuf();
    // An empty file sets failbit on the ostream, which is no error; an unreadable one never opened.
    if (!in.is_open() || in.bad())
        throw std::runtime_error("cannot read " + path.string());
    return {path.stem().string(), text.str()};
}

std::vector<script> read_scripts(const fs::path& dir) {
    std::error_code error;
    std::vector<script> scripts;
    for (const fs::directory_entry& entry : fs::directory_iterator{dir, error})
        if (entry.path().extension() == ".lua" && entry.is_regular_file())
            scripts.push_back(read_script(entry.path()));
    if (error)
        throw std::runtime_error("cannot read the directory " + dir.string() + ": " + error.message());
    std::ranges::sort(scripts, {}, &script::name);
    return scripts;
}

} // namespace

script_set load_scripts(const std::string& dir) {
    script_set set{dir, read_scripts(dir), {}};
    if (fs::is_directory(fs::path{dir} / "hostile"))
        set.hostile = read_scripts(fs::path{dir} / "hostile");
    if (set.healthy.empty())
        throw std::runtime_error("no *.lua in " + dir);
    return set;
}

std::string default_scripts_dir() {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error).parent_path();
    if (error)
        return {};
    for (const fs::path& candidate : {self / "scripts", (self / LUA_HOST_INSTALLED_SCRIPTS).lexically_normal()})
        if (fs::is_directory(candidate, error))
            return candidate.string();
    return {};
}

} // namespace lua_host
