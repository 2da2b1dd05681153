// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

// (1) seq_cst: pairs with itself.
void f() { x.store(1, std::memory_order_seq_cst); }
// (1) seq_cst: pairs with itself.
void g() { x.store(2, std::memory_order_seq_cst); }
