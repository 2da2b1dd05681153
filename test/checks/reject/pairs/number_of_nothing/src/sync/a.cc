// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

int f() {
    // As (3).
    return x.load(std::memory_order_acquire);
}
