// SPDX-License-Identifier: MIT
//
// scope_floor: what entering and leaving a group would cost if less were done. Each pair of calls does what the one before does, and more.
//
// Concurrency. own thread.
#pragma once

namespace allot_bench {

struct floor_scope {
    void* previous;
};

/// Nothing: two calls.
void enter_nothing(void* group, floor_scope& scope) noexcept;
void leave_nothing(floor_scope& scope) noexcept;
/// The thread's group is kept in the scope and put back.
void enter_saving(void* group, floor_scope& scope) noexcept;
void leave_saving(floor_scope& scope) noexcept;
/// Inside a section that another thread can wait for: stores before and after.
void enter_in_section(void* group, floor_scope& scope) noexcept;
void leave_in_section(floor_scope& scope) noexcept;
/// And the scopes that are inside the group are counted, so that what the thread has of it stays.
void enter_counting(void* group, floor_scope& scope) noexcept;
void leave_counting(floor_scope& scope) noexcept;

} // namespace allot_bench
