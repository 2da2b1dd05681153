// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.
#pragma once

// (1) release: pairs with b.cc(7).
void f() { x.store(1, std::memory_order_release); }
