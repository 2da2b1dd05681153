// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.
#pragma once

// (1) release store; pairs with (2): who sees the child
//     also sees it initialised.
void f() { x.store(1, std::memory_order_release); }

int g() {
    // (2) acquire; pairs with (1), b.cc(1) and, for the second load, with (3).
    if (int y = x.load(std::memory_order_acquire))
        return y;
    return x.load(std::memory_order_acquire); // as (2)
}

void h(int old) {
    // (3) acq_rel: pairs with (2). A failure is tried again.
    while (!x.compare_exchange_weak(old, 1, std::memory_order_acq_rel,
                                    std::memory_order_relaxed))
        ;
}

// (4) seq_cst: pairs with itself: two callers see one order.
void i() { x.fetch_add(1, std::memory_order_seq_cst); }

void j() {
    x.store(0, std::memory_order_relaxed); // Relaxed: one thread.
    if (x.load(std::memory_order_relaxed))
        k(); // relaxed: a guess
}
