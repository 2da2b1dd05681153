// SPDX-License-Identifier: MIT
//
// parts: the cost of single parts of the library, for documents and for `perf record`.
//
// Idea.        `close`: a group is created, closed and put, over and over, and nothing else is done. Prints the median of its
//              rounds; no verdict, since there is no peer.
// Concurrency. one thread, and the library's own.
#include <allot/allot.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

constexpr int rounds = 7;

/// Median over the rounds of the nanoseconds that one of `count` calls of `step` takes.
template <class F> double median_ns(int count, F step) {
    using clock = std::chrono::steady_clock;
    std::vector<double> taken;
    for (int round = 0; round < rounds; ++round) {
        const auto begin = clock::now();
        for (int i = 0; i < count; ++i)
            step();
        taken.push_back(std::chrono::duration<double, std::nano>(clock::now() - begin).count() / count);
    }
    std::sort(taken.begin(), taken.end());
    return taken[rounds / 2];
}

int close() {
    allot_group* parent = nullptr;
    if (allot_group_create(allot_root(), "parent", nullptr, &parent) != 0)
        return 1;
    int failures = 0;
    const double ns = median_ns(500'000, [&] {
        allot_group* group = nullptr;
        failures += allot_group_create(parent, "group", nullptr, &group) != 0;
        failures += allot_group_close(group, nullptr) != 0;
        allot_group_put(group);
    });
    std::printf("create + close + put: %.0f ns\n", ns);
    allot_group_close(parent, nullptr);
    allot_group_put(parent);
    return failures == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "close") == 0)
        return close();
    std::fprintf(stderr, "usage: allot_bench_parts close\n");
    return 2;
}
