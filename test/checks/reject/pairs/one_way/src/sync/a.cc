// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

// (1) release: pairs with (2).
void f() { x.store(1, std::memory_order_release); }

// (2) acquire: pairs with (3).
int g() { return x.load(std::memory_order_acquire); }

// (3) release: pairs with (2).
void h() { x.store(2, std::memory_order_release); }
