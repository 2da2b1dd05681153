// SPDX-License-Identifier: MIT
//
// bugs: catches what the library reports as a bug, in the process that provokes it.
//
// Idea.        The report jumps back to the test instead of aborting, so that a matrix of forbidden acts takes one process and
//              no forks. What stands between the act and the report must have nothing to destroy.
// Concurrency. one thread at a time.
#pragma once

#include "base/assert.hpp"

#include <cstring>
#include <setjmp.h>
#include <string>

namespace allot_test {

namespace detail {

struct caught_bug {
    static inline sigjmp_buf back;
    static inline char text[1024];
    static void catch_it(const char* report) {
        std::strncpy(text, report, sizeof text - 1);
        siglongjmp(back, 1);
    }
};

} // namespace detail

/// The text of the bug that `provoke` is reported for; empty if there is none.
template <class F> std::string bug_in(const F& provoke) {
    detail::caught_bug::text[0] = '\0';
    allot::base::set_bug_handler(detail::caught_bug::catch_it);
    if (sigsetjmp(detail::caught_bug::back, 0) == 0)
        provoke();
    allot::base::set_bug_handler(nullptr);
    return detail::caught_bug::text;
}

} // namespace allot_test
