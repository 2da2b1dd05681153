// SPDX-License-Identifier: MIT
//
// variants: the allocators that are measured, how each is started, and what its worker says.
//
// Idea.        A peer is used as its project recommends: Debian's library, preloaded or linked, with its default settings. The
//              dynamic linker finds preloaded peers by their names; what is not installed shows when malloc then comes from
//              libc, which the probe sees. Files of this build are found beside this program.
#include "variants.hpp"

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
};

// Workers with the allocator inside; the build makes those whose libraries it finds.
constexpr const char* linked_peers[] = {"glibc", "jemalloc", "tcmalloc"};

fs::path own_folder() { return fs::read_symlink("/proc/self/exe").parent_path(); }

std::vector<variant> candidates(const std::vector<extra_peer>& extra) {
    const fs::path here = own_folder();
    const fs::path worker = here / "allot_bench_worker";
    std::vector<variant> all;
    const auto add = [&all](std::string name, linkage how, fs::path program, std::string preload,
                            std::string expected) {
        const bool ours = name == "allot";
        all.push_back({std::move(name), how, std::move(program), std::move(preload), std::move(expected), ours, {}});
    };
    add("allot", linkage::preloaded, worker, fs::weakly_canonical(here / ALLOT_BENCH_PRELOAD), "liballot_malloc.so");
    for (const known_peer& peer : preloaded_peers)
        add(peer.name, linkage::preloaded, worker, peer.library, peer.expected);
    for (const extra_peer& peer : extra)
        add(peer.name, linkage::preloaded, worker, fs::absolute(peer.library), peer.library.filename());
    add("allot", linkage::linked, here / "allot_bench_worker_allot", "", "");
    for (const char* name : linked_peers)
        add(name, linkage::linked, here / (std::string{"allot_bench_worker_"} + name), "", "");
    return all;
}

/// Tells why a variant cannot be measured; "" if it can.
std::string probe(const variant& who) {
    if (!fs::exists(who.worker))
        return who.ours ? "this build has no library of ours to link" : "its static library is not installed";
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

template <class List> std::string joined(const List& list) {
    std::ostringstream out;
    const char* separator = "";
    for (const auto& one : list) {
        out << separator << one;
        separator = ",";
    }
    return out.str();
}

} // namespace

const char* name_of(linkage how) { return how == linkage::preloaded ? "preloaded" : "static"; }

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

std::string run_round(variant& who, const task& what) {
    const std::size_t cells = what.works.size() * what.sizes.size() * what.threads.size();
    const double seconds = 30 + static_cast<double>(cells) * what.cell_ms / 1000 * 20;
    const outcome result = run(who.worker,
                               {std::to_string(what.cell_ms), what.grouped ? "1" : "0", joined(what.works),
                                joined(what.sizes), joined(what.threads)},
                               who.preload, seconds);
    if (!result.trouble.empty())
        return result.trouble;
    std::map<cell, double> found;
    bool in_group = false;
    std::istringstream in{result.output};
    for (std::string line; std::getline(in, line);) {
        in_group = in_group || line == "groups /bench/tenant/query";
        read_sample(line, found);
    }
    if (found.size() != cells)
        return "measured " + std::to_string(found.size()) + " of " + std::to_string(cells) + " cells";
    if (who.ours && what.grouped && !in_group)
        return "did not run inside its group";
    for (const auto& [which, ns] : found)
        who.measured[which].push_back(ns);
    return "";
}

} // namespace allot_bench
