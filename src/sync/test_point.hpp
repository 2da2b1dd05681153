// SPDX-License-Identifier: MIT
//
// test_point: names of the windows between two steps, at which a test may stop a thread and let another one run.
//
// Idea.        A race is a window that is hardly ever open long enough. Here it has a name, and a test holds it open:
//              test/support/test_points.hpp. Release builds have no test points at all.
// Concurrency. any thread, Context any; what happens at a point is the test's business.
// Checked by.  test/sync/test_point_test.cc; docs/races.md says which test uses which point.
#pragma once

#include "base/compiler.hpp"

#include <atomic>

#define ALLOT_TEST_POINTS (ALLOT_DEBUG || ALLOT_TSAN)

#if ALLOT_TEST_POINTS
namespace allot::sync {

/// Called with the name of each point that a thread passes; null: nothing. Set by tests while nobody is inside.
inline std::atomic<void (*)(const char* name) noexcept> test_hook{nullptr};

inline void test_point(const char* name) noexcept {
    // relaxed: the hook orders what it does itself.
    if (auto* const hook = test_hook.load(std::memory_order_relaxed)) [[unlikely]]
        hook(name);
}

} // namespace allot::sync
#define ALLOT_TEST_POINT(name) ::allot::sync::test_point(name)
#else
#define ALLOT_TEST_POINT(name) static_cast<void>(0)
#endif
