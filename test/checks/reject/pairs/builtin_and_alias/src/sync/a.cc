// SPDX-License-Identifier: MIT
//
// a: a fixture of the checks.

constexpr auto acquire = std::memory_order_acquire;
using enum std::memory_order;
int f(int* p) {



    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
