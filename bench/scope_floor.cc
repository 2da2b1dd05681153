// SPDX-License-Identifier: MIT
//
// scope_floor: see scope_floor.hpp. A file of its own, so that the calls stay calls.
#include "scope_floor.hpp"

#include <atomic>
#include <cstdint>

namespace allot_bench {

namespace {

struct thread_words {
    void* group;
    std::uint64_t section; ///< odd inside
    std::uint32_t depth;
};
constinit thread_local thread_words mine{};

void order() { std::atomic_signal_fence(std::memory_order_seq_cst); }

void save(void* group, floor_scope& scope) {
    scope.previous = mine.group;
    mine.group = group;
}
void restore(const floor_scope& scope) { mine.group = scope.previous; }

template <class F> void in_section(F work) {
    const std::uint64_t count = mine.section;
    mine.section = count + 1;
    order();
    work();
    order();
    mine.section = count + 2;
}

} // namespace

void enter_nothing(void*, floor_scope&) noexcept { order(); }
void leave_nothing(floor_scope&) noexcept { order(); }

void enter_saving(void* group, floor_scope& scope) noexcept { save(group, scope); }
void leave_saving(floor_scope& scope) noexcept { restore(scope); }

void enter_in_section(void* group, floor_scope& scope) noexcept {
    in_section([&] { save(group, scope); });
}
void leave_in_section(floor_scope& scope) noexcept {
    in_section([&] { restore(scope); });
}

void enter_counting(void* group, floor_scope& scope) noexcept {
    in_section([&] {
        ++mine.depth;
        save(group, scope);
    });
}
void leave_counting(floor_scope& scope) noexcept {
    in_section([&] {
        --mine.depth;
        restore(scope);
    });
}

} // namespace allot_bench
