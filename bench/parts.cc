// SPDX-License-Identifier: MIT
//
// parts: the cost of single parts of the library, for documents and for `perf record`.
//
// Idea.        `close`: a group is created, closed and put, over and over, and nothing else is done.
//              `scope`: entering and leaving a group, beside what does less (scope_floor.hpp).
//              `request COUNT BYTES`: a group for each request, as in the table `heaps`, by its steps. BYTES 0: three of each of 20 sizes.
//              Prints the median of its rounds; no verdict, since there is no peer.
// Concurrency. one thread, and the library's own.
#include "scope_floor.hpp"
#include "tenants/heap.hpp"

#include <allot/allot.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
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

int scope() {
    allot_group* group = nullptr;
    if (allot_group_create(allot_root(), "group", nullptr, &group) != 0)
        return 1;
    constexpr int count = 2'000'000;
    allot_bench::floor_scope less{};
    const auto print = [&](const char* what, auto enter, auto leave) {
        const double ns = median_ns(count, [&] {
            enter(group, less);
            leave(less);
        });
        std::printf("%-48s %.2f ns\n", what, ns);
    };
    print("two calls that do nothing", allot_bench::enter_nothing, allot_bench::leave_nothing);
    print("the group before is kept and put back", allot_bench::enter_saving, allot_bench::leave_saving);
    print("in sections that others can wait for", allot_bench::enter_in_section, allot_bench::leave_in_section);
    print("and the scopes of the group are counted", allot_bench::enter_counting, allot_bench::leave_counting);
    allot_scope whole{};
    allot_enter(group, &whole); // makes the thread's heap
    allot_leave(&whole);
    const double ns = median_ns(count, [&] {
        allot_enter(group, &whole);
        allot_leave(&whole);
    });
    std::printf("%-48s %.2f ns\n", "allot_enter, allot_leave", ns);
    allot_group_close(group, nullptr);
    allot_group_put(group);
    return 0;
}

/// Allocates for a request; false if that fails.
bool allocate(int count, std::size_t bytes) {
    const auto one = [](std::size_t size) {
        auto* const block = static_cast<volatile char*>(allot_malloc(size));
        if (block == nullptr)
            return false;
        *block = 1;
        return true;
    };
    bool ok = true;
    for (int i = 0; i < count; ++i)
        if (bytes != 0)
            ok = one(bytes) && ok;
        else
            for (const std::size_t size : allot_bench::mixed_bytes)
                ok = one(size) && ok;
    return ok;
}

int request(int count, std::size_t bytes) {
    using clock = std::chrono::steady_clock;
    constexpr std::array names = {"create", "enter", "allocate", "leave", "discard", "put"};
    constexpr int each_round = 50'000;
    allot_group* parent = nullptr;
    if (allot_group_create(allot_root(), "parent", nullptr, &parent) != 0)
        return 1;
    bool ok = true;
    std::array<std::vector<double>, names.size() + 1> taken; // with the clock's own time last
    for (int round = 0; round < rounds; ++round) {
        std::array<double, names.size() + 1> sum{};
        for (int i = 0; i < each_round; ++i) {
            clock::time_point at = clock::now();
            std::size_t step = 0;
            const auto done = [&] {
                const clock::time_point now = clock::now();
                sum[step++] += std::chrono::duration<double, std::nano>(now - at).count();
                at = now;
            };
            allot_group* group = nullptr;
            allot_scope inside{};
            ok = allot_group_create(parent, "request", nullptr, &group) == 0 && ok;
            done();
            allot_enter(group, &inside);
            done();
            ok = allocate(count, bytes) && ok;
            done();
            allot_leave(&inside);
            done();
            ok = allot_group_discard(group, nullptr) == 0 && ok;
            done();
            allot_group_put(group);
            done();
            done();
        }
        for (std::size_t i = 0; i < sum.size(); ++i)
            taken[i].push_back(sum[i] / each_round);
    }
    for (auto& one : taken)
        std::sort(one.begin(), one.end());
    const double own = taken.back()[rounds / 2];
    double all = 0;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const double ns = taken[i][rounds / 2] - own;
        std::printf("%-10s %.0f ns\n", names[i], ns);
        all += ns;
    }
    std::printf("%-10s %.0f ns\n", "together", all);
    allot_group_close(parent, nullptr);
    allot_group_put(parent);
    return ok ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "close") == 0)
        return close();
    if (argc == 2 && std::strcmp(argv[1], "scope") == 0)
        return scope();
    if (argc == 4 && std::strcmp(argv[1], "request") == 0)
        return request(std::atoi(argv[2]), std::strtoul(argv[3], nullptr, 10));
    std::fprintf(stderr, "usage: allot_bench_parts close | scope | request COUNT BYTES\n");
    return 2;
}
