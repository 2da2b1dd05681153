// SPDX-License-Identifier: MIT
//
// paths_worker: times single paths of the library and prints "PATH,NS" for each; the driver (paths.cc) starts it.
//
// Idea.        A pair is cold while its group has made few objects of the size: it then comes from a slab that is shared with
//              other groups. So the cold pair is timed in one new group after the other, fewer objects in each than would
//              warm it; making and entering groups is not timed. The hot pair is timed in pieces of the same length.
// Concurrency. one thread, and the library's own.
#include "sample.hpp"

#include <allot/allot.h>

#include <string>
#include <vector>

namespace {

using namespace allot_bench;

constexpr std::size_t nr_groups = 1000;
constexpr std::size_t pair_bytes = 64;
constexpr int touched = 8; // objects before the time is taken, so that slabs are there
constexpr int timed = 192; // with `touched` fewer than what warms a group
constexpr int repeats = 3'000'000;

std::vector<allot_group*> make_groups(const char* parent_name) {
    allot_group* parent = nullptr;
    std::vector<allot_group*> groups(nr_groups);
    allot_limits limits = ALLOT_LIMITS_INIT;
    limits.max = std::uint64_t{1} << 30;
    int errors = allot_group_create(allot_root(), parent_name, &limits, &parent);
    for (std::size_t index = 0; errors == 0 && index < nr_groups; ++index)
        errors = allot_group_create(parent, std::to_string(index).c_str(), &limits, &groups[index]);
    if (errors != 0)
        fail("no groups");
    return groups;
}

void pairs(int count) {
    for (int i = 0; i < count; ++i) {
        void* const block = allot_malloc(pair_bytes);
        if (block == nullptr)
            fail("out of memory");
        *static_cast<volatile char*>(block) = 1;
        allot_free(block);
    }
}

double scope_ns(allot_group* group, int count) {
    const steady::time_point start = steady::now();
    for (int i = 0; i < count; ++i) {
        allot_scope here;
        allot_enter(group, &here);
        allot_leave(&here);
    }
    return ns_since(start) / count;
}

double switch_ns(const std::vector<allot_group*>& groups, int rounds) {
    const steady::time_point start = steady::now();
    for (int round = 0; round < rounds; ++round)
        for (allot_group* const group : groups) {
            allot_scope here;
            allot_enter(group, &here);
            allot_leave(&here);
        }
    return ns_since(start) / rounds / static_cast<double>(groups.size());
}

/// Makes the group's pair with the size hot: it gets slabs of its own, with blocks to spare.
void warm(allot_group* group) {
    allot_scope here;
    allot_enter(group, &here);
    for (int round = 0; round < 2; ++round) {
        std::vector<void*> blocks(600);
        for (void*& block : blocks)
            block = allot_malloc(pair_bytes);
        for (void* const block : blocks)
            allot_free(block);
        allot_quiesce();
    }
    allot_leave(&here);
}

/// Times `timed` pairs in each of the groups.
double pair_ns(const std::vector<allot_group*>& groups) {
    double taken = 0;
    for (allot_group* const group : groups) {
        allot_scope here;
        allot_enter(group, &here);
        pairs(touched);
        const steady::time_point start = steady::now();
        pairs(timed);
        taken += ns_since(start);
        allot_leave(&here);
    }
    return taken / timed / static_cast<double>(groups.size());
}

} // namespace

int main() {
    const std::vector<allot_group*> entered = make_groups("entered");
    scope_ns(entered[0], repeats / 10);
    print("scope", scope_ns(entered[0], repeats));
    switch_ns(entered, 10);
    print("switch", switch_ns(entered, repeats / nr_groups));

    const std::vector<allot_group*> one(nr_groups, entered[0]);
    warm(entered[0]);
    pair_ns(one);
    print("hot_pair", pair_ns(one));
    pair_ns(make_groups("first")); // warms the path up; every group of the measured run is new
    print("cold_pair", pair_ns(make_groups("cold")));
    return 0;
}
