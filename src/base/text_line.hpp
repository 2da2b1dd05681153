// SPDX-License-Identifier: MIT
//
// text_line: a line of text put together on the stack, for reports of bugs.
//
// Idea.        No allocation, no locale, no lock of libc, so it works wherever a bug is found. What does not fit is cut.
// Concurrency. none; Context any.
// Checked by.  test/base/assert_test.cc, test/sync/context_test.cc
#pragma once

#include "base/compiler.hpp"

namespace allot::base {

class text_line {
  public:
    text_line& operator<<(const char* text) noexcept {
        while (text != nullptr && *text != '\0' && used_ + 1 < sizeof text_)
            text_[used_++] = *text++;
        text_[used_] = '\0';
        return *this;
    }
    text_line& number(std::uintptr_t value, unsigned radix) noexcept {
        char digits[24];
        std::size_t at = sizeof digits;
        digits[--at] = '\0';
        do {
            digits[--at] = "0123456789abcdef"[value % radix];
            value /= radix;
        } while (value != 0);
        return *this << digits + at;
    }
    const char* text() const noexcept { return text_; }
    std::size_t size() const noexcept { return used_; }

  private:
    char text_[768] = {};
    std::size_t used_ = 0;
};

} // namespace allot::base
