// SPDX-License-Identifier: MIT
//
// tenant_kinds: which heaps of which libraries there are.
#include "tenant_kinds.hpp"

#include <cstdio>

namespace allot_bench {

namespace {

constexpr tenant_kind peers[] = {
    {"std", "pmr_pool", freeing::each, true, true},
    {"boost", "boost_pool", freeing::each, false,
     false}, // 32 objects of each size at least: gigabytes for many tenants
    {"talloc", "talloc", freeing::each, true, true},
    {"mimalloc", "mimalloc_heap", freeing::each, true, true},
    {"jemalloc", "jemalloc_arena", freeing::each, true, true},
    {"jemalloc", "jemalloc_arena_tcache", freeing::each, true, false},
    {"std", "malloc", freeing::no_heap, true, true},
    {"talloc", "talloc_pool", freeing::all, true, false},
    {"apr", "apr_pool", freeing::all, true, true},
    {"std", "pmr_monotonic", freeing::all, true, false},
};

} // namespace

std::filesystem::path worker_of(const tenant_kind& kind) {
    return beside(std::string{"allot_bench_tenants_"} + kind.worker);
}

std::vector<tenant_kind> find_kinds(bool dense_only) {
    std::vector<tenant_kind> found{ours};
    for (const tenant_kind& peer : peers) {
        if (dense_only && !peer.dense)
            continue;
        if (std::filesystem::exists(worker_of(peer)))
            found.push_back(peer);
        else
            std::printf("left out  %s: its library was not installed when this was built\n", peer.name);
    }
    return found;
}

std::string sample_name(const std::string& shape, const tenant_kind& kind, const std::string& sample) {
    return shape + "_" + kind.name + "_" + sample;
}

void add_kinds(plot& picture, const answers& all, const std::vector<tenant_kind>& kinds, const std::string& sample,
               double unit) {
    for (const tenant_kind& kind : kinds) {
        std::vector<std::string> names;
        for (const std::string& shape : picture.x_names)
            names.push_back(sample_name(shape, kind, sample));
        picture.lines.push_back(line_through(all, kind.name, names, unit, kind.is_ours()));
    }
}

} // namespace allot_bench
