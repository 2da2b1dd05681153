// SPDX-License-Identifier: MIT
//
// d: a fixture of the checks.
#pragma once

struct d {
    // Relaxed: only its holder writes it.
    std::atomic<int> owned{0};
};

// (1) release: pairs with (2).
void f() { y.store(1, std::memory_order_release); }
