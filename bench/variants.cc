// SPDX-License-Identifier: MIT
//
// variants: the allocators that are measured, how each is started, and what its worker says.
//
// Idea.        A peer is used as its project recommends: Debian's library, preloaded or linked, with its default settings. The
//              dynamic linker finds preloaded peers by their names; what is not installed shows when malloc then comes from
//              libc, which the probe sees. Files of this build are found beside this program.
#include "variants.hpp"

#include "cells.hpp"
#include "child.hpp"

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace allot_bench {

namespace fs = std::filesystem;

namespace {

struct known_peer {
    const char* name;
    const char* library; // for LD_PRELOAD; "" is libc
    const char* expected;
};

constexpr known_peer preloaded_peers[] = {
    {"glibc", "", "libc.so"},
    {"jemalloc", "libjemalloc.so.2", "libjemalloc.so"},
    {"mimalloc", "libmimalloc.so.2", "libmimalloc.so"},
    {"tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc_minimal.so"},
    {"tbb", "libtbbmalloc_proxy.so.2", "libtbbmalloc_proxy.so"},
};

// Workers with the allocator inside; the build makes those whose libraries it finds.
constexpr const char* linked_peers[] = {"glibc", "jemalloc", "tcmalloc"};

fs::path own_folder() { return fs::read_symlink("/proc/self/exe").parent_path(); }

std::vector<variant> candidates(const std::vector<extra_peer>& extra) {
    const fs::path here = own_folder();
    const fs::path worker = here / "allot_bench_worker";
    const std::string own_library = fs::weakly_canonical(here / ALLOT_BENCH_PRELOAD);
    std::vector<variant> all;
    const auto preload = [&](role is, std::string name, std::string library, std::string expected) {
        all.push_back({std::move(name), linkage::preloaded, worker, std::move(library), std::move(expected), is, {}});
    };
    const auto link = [&](role is, std::string name, const std::string& program) {
        all.push_back({std::move(name), linkage::linked, here / ("allot_bench_worker_" + program), "", "", is, {}});
    };
    preload(role::ours, "allot", own_library, "liballot_malloc.so");
    preload(role::root, "allot-root", own_library, "liballot_malloc.so");
    for (const known_peer& peer : preloaded_peers)
        preload(role::peer, peer.name, peer.library, peer.expected);
    for (const extra_peer& peer : extra)
        preload(role::peer, peer.name, fs::absolute(peer.library), peer.library.filename());
    link(role::ours, "allot", "allot");
    link(role::root, "allot-root", "allot");
    for (const char* name : linked_peers)
        link(role::peer, name, name);
    link(role::floor, "floor", "floor");
    return all;
}

/// Tells why a variant cannot be measured; "" if it can.
std::string probe(const variant& who) {
    if (!fs::exists(who.worker))
        return who.is == role::peer ? "its static library is not installed" : "this build has no worker for it";
    if (who.preload.find('/') != std::string::npos && !fs::exists(who.preload))
        return "there is no " + fs::path{who.preload}.filename().string();
    const outcome result = run(who.worker, {"--which"}, who.preload, 10);
    if (!result.trouble.empty())
        return result.trouble;
    std::istringstream in{result.output};
    std::string word;
    std::string library;
    in >> word;
    std::getline(in >> std::ws, library);
    if (!library.starts_with(who.expected))
        return who.preload.empty() ? "malloc comes from " + library : "not installed: malloc comes from " + library;
    return "";
}

/// Reads "WORK,SIZE,THREADS,NS" into `found`. Returns: false for any other line.
bool read_sample(const std::string& line, std::map<cell, double>& found) {
    std::istringstream in{line};
    cell which;
    char comma = 0;
    double ns = 0;
    if (!std::getline(in, which.work, ',') || !(in >> which.size >> comma >> which.threads >> comma >> ns))
        return false;
    found[which] = ns;
    return true;
}

} // namespace

std::vector<variant> find_variants(const std::vector<extra_peer>& extra, std::vector<absence>& absent) {
    std::vector<variant> usable;
    for (variant& who : candidates(extra)) {
        std::string reason = probe(who);
        if (reason.empty())
            usable.push_back(std::move(who));
        else
            absent.push_back({who.name, who.how, std::move(reason)});
    }
    return usable;
}

std::vector<cell> cells_of(const variant& who, const task& what) {
    std::vector<cell> cells = what.cells;
    if (who.is == role::floor)
        std::erase_if(cells, [](const cell& one) { return own_threads(one.work) != 0 || one.size > small_most; });
    return cells;
}

std::string run_round(variant& who, const task& what) {
    const std::vector<cell> cells = in_working_order(cells_of(who, what));
    if (cells.empty())
        return "";
    const bool in_group = who.is == role::ours && what.grouped;
    std::vector<std::string> arguments{std::to_string(what.cell_ms), in_group ? "1" : "0"};
    for (const cell& one : cells)
        arguments.push_back(one.work + "," + std::to_string(one.size) + "," + std::to_string(one.threads));
    const double seconds = 30 + static_cast<double>(cells.size()) * what.cell_ms / 1000 * 20;
    const outcome result = run(who.worker, arguments, who.preload, seconds);
    if (!result.trouble.empty())
        return result.trouble;
    std::map<cell, double> found;
    bool was_in_group = false;
    std::istringstream in{result.output};
    for (std::string line; std::getline(in, line);) {
        was_in_group = was_in_group || line == "groups /bench/tenant/query";
        read_sample(line, found);
    }
    if (found.size() != cells.size())
        return "measured " + std::to_string(found.size()) + " of " + std::to_string(cells.size()) + " cells";
    if (in_group != was_in_group)
        return in_group ? "did not run inside its group" : "ran inside a group";
    for (const auto& [which, ns] : found)
        who.measured[which].push_back(ns);
    return "";
}

} // namespace allot_bench
