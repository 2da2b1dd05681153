// SPDX-License-Identifier: MIT
//
// b: a fixture of the checks.

// (7) acquire: pairs with a.hpp(2).
int g() { return x.load(std::memory_order_acquire); }
