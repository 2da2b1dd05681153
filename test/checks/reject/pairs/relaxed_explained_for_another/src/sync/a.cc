// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

// Relaxed: statistics.
std::atomic<int> seen{0};
std::atomic<int> ready{0};




int f() { return ready.load(std::memory_order_relaxed); }
