// SPDX-License-Identifier: MIT
//
// sample: what workers that answer one question each have in common: clock, resident memory, and how a sample is said.
//
// Concurrency. any thread; print() takes stdout's lock.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

namespace allot_bench {

using steady = std::chrono::steady_clock;

inline double seconds_since(steady::time_point start) {
    return std::chrono::duration<double>(steady::now() - start).count();
}

inline double ns_since(steady::time_point start) {
    return std::chrono::duration<double, std::nano>(steady::now() - start).count();
}

/// Prints a sample.
inline void print(const char* name, double value) { std::printf("%s,%.4f\n", name, value); }

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "%s\n", what);
    std::exit(1);
}

/// Resident memory of this process, bytes. Allocates nothing, so that reading changes nothing.
inline double resident_bytes() {
    char line[128] = {};
    const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, line, sizeof line - 1) <= 0)
        fail("cannot read /proc/self/statm");
    close(file);
    unsigned long resident = 0;
    if (std::sscanf(line, "%*u %lu", &resident) != 1)
        fail("/proc/self/statm has no second number");
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

} // namespace allot_bench
