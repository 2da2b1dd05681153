// SPDX-License-Identifier: MIT
//
// worker: measures cells with the allocator of its own process and prints one line for each.
//
// The driver (driver.cc) starts it. Usage: WORKER CELL_MS GROUPED CELL..., a cell being WORK,SIZE,THREADS; or WORKER --which.
// Prints "malloc NAME", "groups PATH", then "WORK,SIZE,THREADS,NS" for each cell, in the order given. The driver gives cells of
// one thread first: an allocator may know that its process has no second thread yet, and shall have that advantage where it is
// real.
#include "heap.hpp"
#include "work.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

/// Measures the cell `text`, which is WORK,SIZE,THREADS. Returns: false if there is none.
bool measure_cell(const char* text, double cell_ms) {
    const char* comma = std::strchr(text, ',');
    unsigned long size = 0;
    unsigned threads = 0;
    if (comma == nullptr || std::sscanf(comma, ",%lu,%u", &size, &threads) != 2 || size == 0 || threads == 0)
        return false;
    const allot_bench::work* what = allot_bench::find_work({text, static_cast<std::size_t>(comma - text)});
    if (what == nullptr)
        return false;
    std::printf("%s,%.4f\n", text, allot_bench::measure(*what, size, threads, cell_ms));
    return true;
}

} // namespace

int main(int argc, char** argv) {
    std::printf("malloc %s\n", allot_bench::malloc_comes_from());
    if (argc == 2 && std::strcmp(argv[1], "--which") == 0)
        return 0;
    if (argc < 4) {
        std::fprintf(stderr, "usage: %s CELL_MS GROUPED CELL...; allot_bench starts it\n", argv[0]);
        return 2;
    }
    const double cell_ms = std::strtod(argv[1], nullptr);
    std::printf("groups %s\n", allot_bench::make_groups(std::strcmp(argv[2], "1") == 0));
    // What an allocator starts up with, like a thread of its own, would fall into the first cell.
    if (const auto* first = allot_bench::find_work("pair"); first != nullptr)
        allot_bench::measure(*first, 64, 1, 20);
    for (int index = 3; index < argc; ++index)
        if (!measure_cell(argv[index], cell_ms)) {
            std::fprintf(stderr, "%s: there is no cell %s\n", argv[0], argv[index]);
            return 2;
        }
    return 0;
}
