// SPDX-License-Identifier: MIT
//
// b: a fixture of the checks.

// (1) release: pairs with sync/a.hpp(2).
void f() { x.store(1, std::memory_order_release); }
