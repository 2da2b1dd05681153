// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

int f() {
    int y = 0;



    return y + x.load(std::memory_order_relaxed);
}
