// SPDX-License-Identifier: MIT
//
// work: the loops that are timed, and the clock around them.
#include "work.hpp"

#include "heap.hpp"

#include <algorithm>
#include <array>
#include <barrier>
#include <cstdio>
#include <ctime>
#include <random>
#include <thread>
#include <unistd.h>
#include <vector>

namespace allot_bench {

namespace {

constexpr std::size_t batch = 1000;
constexpr std::size_t nr_orders = 16;

using order = std::array<std::uint16_t, batch>;

[[noreturn, gnu::cold, gnu::noinline]] void fail(std::size_t size) {
    std::fprintf(stderr, "allot_bench: an allocation of %zu bytes failed\n", size);
    _exit(1);
}

/// Allocates a block and writes to it.
inline void* allocate(std::size_t size) {
    void* block = heap_malloc(size);
    if (block == nullptr) [[unlikely]]
        fail(size);
    *static_cast<volatile char*>(block) = 1;
    return block;
}

/// Fixed random orders, the same in every process: several, so that a branch predictor cannot learn one by heart.
const std::array<order, nr_orders>& random_orders() {
    static const auto made = [] {
        std::array<order, nr_orders> orders;
        std::mt19937 random{20190605};
        for (order& one : orders) {
            for (std::size_t index = 0; index < batch; ++index)
                one[index] = static_cast<std::uint16_t>(index);
            std::shuffle(one.begin(), one.end(), random);
        }
        return orders;
    }();
    return made;
}

[[gnu::noinline]] void run_pair(std::size_t size, std::uint64_t units) {
    for (std::uint64_t unit = 0; unit < units; ++unit)
        heap_free(allocate(size));
}

[[gnu::noinline]] void run_lifo(std::size_t size, std::uint64_t units) {
    void* blocks[batch];
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        for (void*& block : blocks)
            block = allocate(size);
        for (std::size_t index = batch; index-- > 0;)
            heap_free(blocks[index]);
    }
}

[[gnu::noinline]] void run_fifo(std::size_t size, std::uint64_t units) {
    void* blocks[batch];
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        for (void*& block : blocks)
            block = allocate(size);
        for (void* block : blocks)
            heap_free(block);
    }
}

[[gnu::noinline]] void run_random(std::size_t size, std::uint64_t units) {
    const auto& orders = random_orders();
    void* blocks[batch];
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        for (void*& block : blocks)
            block = allocate(size);
        for (const std::uint16_t index : orders[unit % nr_orders])
            heap_free(blocks[index]);
    }
}

constexpr work works[] = {
    {"pair", run_pair, 1},
    {"lifo", run_lifo, batch},
    {"fifo", run_fifo, batch},
    {"random", run_random, batch},
};

double now_ns() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

double time_of(const work& what, std::size_t size, std::uint64_t units) {
    const double start = now_ns();
    what.run(size, units);
    return now_ns() - start;
}

/// Finds how many units take `wanted_ns`, which also warms caches, heaps and the clock up.
std::uint64_t calibrate(const work& what, std::size_t size, double wanted_ns) {
    std::uint64_t units = 1;
    for (;;) {
        const double taken = std::max(time_of(what, size, units), 1.0);
        if (taken >= wanted_ns / 8)
            return std::max<std::uint64_t>(1,
                                           static_cast<std::uint64_t>(static_cast<double>(units) * wanted_ns / taken));
        units *= 2;
    }
}

} // namespace

const work* find_work(std::string_view name) {
    for (const work& one : works)
        if (one.name == name)
            return &one;
    return nullptr;
}

double measure(const work& what, std::size_t size, unsigned threads, double cell_ms) {
    std::vector<double> taken(threads);
    std::uint64_t units = 0;
    std::barrier gate{static_cast<std::ptrdiff_t>(threads)};
    const auto body = [&](unsigned index) {
        const query_scope in;
        const std::uint64_t mine = calibrate(what, size, cell_ms * 1e6);
        if (index == 0)
            units = mine; // the others read it behind the gate
        gate.arrive_and_wait();
        taken[index] = time_of(what, size, units);
    };
    std::vector<std::thread> others;
    for (unsigned index = 1; index < threads; ++index)
        others.emplace_back(body, index);
    body(0);
    for (std::thread& other : others)
        other.join();
    return *std::max_element(taken.begin(), taken.end()) / static_cast<double>(units * what.pairs);
}

} // namespace allot_bench
