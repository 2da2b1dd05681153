// SPDX-License-Identifier: MIT
//
// tenant_kinds: the heaps that a table asks for, in the words of people, and the workers that have them.
#pragma once

#include "answers.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace allot_bench {

/// What can be done with the objects of a heap.
enum class freeing {
    each,    ///< an object can be freed by itself, and its room serves another one
    all,     ///< room comes back with the whole
    no_heap, ///< objects are malloc's, and are freed one by one: what there is without heaps
};

struct tenant_kind {
    const char* worker; ///< the program is allot_bench_tenants_WORKER; the build makes it if the library is there
    const char* name;   ///< as the worker knows it
    freeing how;
    bool any_size; ///< one heap serves objects of all sizes
    bool dense;    ///< has a row in the table `density` too

    [[nodiscard]] bool is_ours() const { return std::string{"allot"} == worker; }
};

inline constexpr tenant_kind ours{"allot", "allot", freeing::each, true, true};

/// The program that has these heaps.
std::filesystem::path worker_of(const tenant_kind& kind);

/// Ours, then the peers whose workers were built, all or the dense ones; prints which were not.
std::vector<tenant_kind> find_kinds(bool dense_only);

/// The name of a kind's sample for a shape of tenants or requests; without `sample` what all of them begin with.
std::string sample_name(const std::string& shape, const tenant_kind& kind, const std::string& sample = "");

/// Adds a line for each kind to `picture`, whose axis has the names of the shapes: the sample, divided by `unit`.
void add_kinds(plot& picture, const answers& all, const std::vector<tenant_kind>& kinds, const std::string& sample,
               double unit);

} // namespace allot_bench
