// SPDX-License-Identifier: MIT
//
// variants: who is measured: an allocator, how it is linked, and what was measured of it.
#pragma once

#include "results.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

/// How an allocator gets into the program; only the same are compared.
enum class linkage {
    preloaded, ///< a shared library in LD_PRELOAD, or libc itself
    linked     ///< a static library in the program
};

inline const char* name_of(linkage how) { return how == linkage::preloaded ? "preloaded" : "static"; }

/// What a variant is measured for.
enum class role {
    ours, ///< allot, inside a group
    root, ///< allot without a group, to see what accounting costs
    peer, ///< an allocator to be compared with
    floor ///< no allocator: the least that one could do (floor.cc)
};

/// An allocator in one linkage.
struct variant {
    std::string name;
    linkage how = linkage::preloaded;
    std::filesystem::path worker; ///< the program
    std::string preload;          ///< the value of LD_PRELOAD, "" for none
    std::string expected;         ///< how the file name of the library that malloc comes from must begin; "" for any
    role is = role::peer;
    samples measured;
};

/// A variant that cannot be measured, and why.
struct absence {
    std::string name;
    linkage how;
    std::string reason;
};

/// A library that the user named, `--peer NAME=PATH`.
struct extra_peer {
    std::string name;
    std::filesystem::path library;
};

/// Collects what can be measured here: allot and the peers of both linkages, and `extra`.
///
/// Runs each variant's worker once to see that malloc really comes from it; those that fail are added to `absent`.
std::vector<variant> find_variants(const std::vector<extra_peer>& extra, std::vector<absence>& absent);

/// What a worker is told to do.
struct task {
    double cell_ms = 20;
    bool grouped = true;
    std::vector<cell> cells; ///< in the order of the tables
};

/// Returns the cells that `who` can do: the floor knows small blocks and threads that work alone.
std::vector<cell> cells_of(const variant& who, const task& what);

/// Runs one round of one variant and adds its samples; a failed round adds none.
///
/// Returns: "" or what went wrong.
std::string run_round(variant& who, const task& what);

} // namespace allot_bench
