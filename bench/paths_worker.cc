// SPDX-License-Identifier: MIT
//
// paths_worker: times single paths of the library and prints "PATH,NS" for each; the driver (paths.cc) starts it.
//
// Idea.        The hot pair is timed in pieces of the same length as the cold one (groups.hpp).
// Concurrency. one thread, and the library's own.
#include "groups.hpp"

namespace {

using namespace allot_bench;

constexpr std::size_t nr_groups = 1000;
constexpr std::size_t pair_bytes = 64;
constexpr int repeats = 3'000'000;

std::vector<allot_group*> make_groups(const char* parent) {
    return make_children(make_group(allot_root(), parent), nr_groups);
}

double scope_ns(allot_group* group, int count) {
    const steady::time_point start = steady::now();
    for (int i = 0; i < count; ++i)
        const group_scope here{group};
    return ns_since(start) / count;
}

double switch_ns(const std::vector<allot_group*>& groups, int rounds) {
    const steady::time_point start = steady::now();
    for (int round = 0; round < rounds; ++round)
        for (allot_group* const group : groups)
            const group_scope here{group};
    return ns_since(start) / rounds / static_cast<double>(groups.size());
}

} // namespace

int main() {
    const std::vector<allot_group*> entered = make_groups("entered");
    scope_ns(entered[0], repeats / 10);
    print("scope", scope_ns(entered[0], repeats));
    switch_ns(entered, 10);
    print("switch", switch_ns(entered, repeats / nr_groups));

    const std::vector<allot_group*> one(nr_groups, entered[0]);
    warm(entered[0], pair_bytes);
    piece_ns(one, pair_bytes);
    print("hot_pair", piece_ns(one, pair_bytes));
    piece_ns(make_groups("first"), pair_bytes); // warms the path up; every group of the measured run is new
    print("cold_pair", piece_ns(make_groups("cold"), pair_bytes));
    return 0;
}
