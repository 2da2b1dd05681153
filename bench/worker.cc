// SPDX-License-Identifier: MIT
//
// worker: measures cells with the allocator of its own process and prints one line for each.
//
// The driver (driver.cc) starts it. Usage: WORKER CELL_MS GROUPED WORKS SIZES THREADS, lists with commas; or WORKER --which.
// Prints "malloc NAME", "groups PATH", then "WORK,SIZE,THREADS,NS" for each cell. Cells of one thread come first: an
// allocator may know that its process has no second thread yet, and shall have that advantage where it is real.
#include "heap.hpp"
#include "work.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::vector<std::string> split(const char* list) {
    std::vector<std::string> parts;
    std::istringstream in{list};
    for (std::string part; std::getline(in, part, ',');)
        parts.push_back(part);
    return parts;
}

std::vector<unsigned long> numbers(const char* list) {
    std::vector<unsigned long> parsed;
    for (const std::string& part : split(list))
        parsed.push_back(std::strtoul(part.c_str(), nullptr, 10));
    return parsed;
}

} // namespace

int main(int argc, char** argv) {
    std::printf("malloc %s\n", allot_bench::malloc_comes_from());
    if (argc == 2 && std::strcmp(argv[1], "--which") == 0)
        return 0;
    if (argc != 6) {
        std::fprintf(stderr, "usage: %s CELL_MS GROUPED WORKS SIZES THREADS; allot_bench starts it\n", argv[0]);
        return 2;
    }
    const double cell_ms = std::strtod(argv[1], nullptr);
    std::printf("groups %s\n", allot_bench::make_groups(std::strcmp(argv[2], "1") == 0));
    std::vector<unsigned long> threads = numbers(argv[5]);
    std::sort(threads.begin(), threads.end());
    for (const unsigned long nr_threads : threads)
        for (const std::string& name : split(argv[3]))
            for (const unsigned long size : numbers(argv[4])) {
                const allot_bench::work* what = allot_bench::find_work(name);
                if (what == nullptr || size == 0 || nr_threads == 0) {
                    std::fprintf(stderr, "%s: there is no cell %s,%lu,%lu\n", argv[0], name.c_str(), size, nr_threads);
                    return 2;
                }
                const double ns = allot_bench::measure(*what, size, static_cast<unsigned>(nr_threads), cell_ms);
                std::printf("%s,%lu,%lu,%.4f\n", name.c_str(), size, nr_threads, ns);
            }
    return 0;
}
