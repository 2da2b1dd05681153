// SPDX-License-Identifier: MIT
//
// c: a fixture of the checks.

// All relaxed: statistics, summed by one reader.

int f() {
    return x.load(std::memory_order_relaxed);
}
