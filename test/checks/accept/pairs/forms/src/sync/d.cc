// SPDX-License-Identifier: MIT
//
// d: a fixture of the checks.

// (2) acquire: pairs with (1).
int g(d& it) {
    int z = y.load(std::memory_order_acquire);




    return z + it.owned.load(std::memory_order_relaxed);
}
