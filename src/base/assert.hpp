// SPDX-License-Identifier: MIT
//
// assert: the two kinds of bug checks.
//
// Idea.        ALLOT_BUG_ON is always there, for corruption that must not go on (a counter below zero, a double free).
//              ALLOT_ASSERT is there in debug builds only. Both print one line without allocating and abort.
// Concurrency. any thread, Context any.
#pragma once

#include "base/compiler.hpp"

namespace allot::base {

/// Prints "allot: BUG: text (file:line)" and aborts. Context: any.
[[noreturn]] ALLOT_COLD void bug(const char* text, const char* file, int line) noexcept;

/// The same with an address and a name in the line, for reports about objects.
[[noreturn]] ALLOT_COLD void bug_object(const char* text, const void* object, const char* group,
                                        const char* cache) noexcept;

/// The same with a cache's name and two stacks of up to `count` return addresses, the one of who destroyed it first.
[[noreturn]] ALLOT_COLD void bug_stacks(const char* text, const char* cache, void* const* destroyed_at,
                                        void* const* used_at, std::size_t count) noexcept;

/// What runs instead of abort() in tests that provoke a bug; null restores abort. It must not return.
void set_bug_handler(void (*handler)(const char* text)) noexcept;

} // namespace allot::base

#define ALLOT_BUG_ON(condition)                                                                                        \
    do {                                                                                                               \
        if (condition) [[unlikely]]                                                                                    \
            ::allot::base::bug(#condition, __FILE__, __LINE__);                                                        \
    } while (0)

#if ALLOT_DEBUG
#define ALLOT_ASSERT(condition) ALLOT_BUG_ON(!(condition))
#else
#define ALLOT_ASSERT(condition) static_cast<void>(0)
#endif
