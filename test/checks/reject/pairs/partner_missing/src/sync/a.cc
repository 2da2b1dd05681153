// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

// (1) release: pairs with (2).
void f() { x.store(1, std::memory_order_release); }
