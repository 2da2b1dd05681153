// SPDX-License-Identifier: MIT
//
// error: what the C++ interface throws.
//
// Idea.        Over a limit: `limit_exceeded`, which is a std::bad_alloc and holds its text in itself, since the place where it
//              is thrown has no memory to spare. The system has no memory: plain std::bad_alloc. Wrong use of an operation
//              (a name that exists, a closed group): std::system_error with the errno value as a std::generic_category code.
// Concurrency. The library keeps the last failure of each thread, and the throwing thread reads its own.
// Checked by.  test/front/api_error_test.cc
#pragma once

#include <allot/allot.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

namespace allot {

/// Says that a request met the `max` of a group; thrown by everything here that allocates or charges and does not say noexcept.
///
/// Figures are those of the moment of the failure. Copies allocate nothing.
class ALLOT_API limit_exceeded : public std::bad_alloc {
  public:
    explicit limit_exceeded(const allot_failure& failure) noexcept : failure_(failure) {
        allot_failure_text(&failure_, text_, sizeof text_);
    }

    /// Returns "GROUP: out of memory: 8.0 MiB of 8.0 MiB in use, 65.6 KiB asked". Lives as long as the exception.
    [[nodiscard]] const char* what() const noexcept override { return text_; }
    /// Returns the path of the group whose limit was met, cut on the left to 127 bytes. Lives as long as the exception.
    [[nodiscard]] std::string_view group() const noexcept { return failure_.group; }
    /// Returns what the group and its descendants used. Units: bytes.
    [[nodiscard]] std::uint64_t usage() const noexcept { return failure_.usage; }
    /// Returns the group's `max`. Units: bytes.
    [[nodiscard]] std::uint64_t limit() const noexcept { return failure_.limit; }
    /// Returns what was asked for. Units: bytes.
    [[nodiscard]] std::uint64_t request() const noexcept { return failure_.request; }

  private:
    allot_failure failure_;
    char text_[256];
};

namespace detail {

/// Throws for this thread's last failure: limit_exceeded, or std::bad_alloc if no limit was to blame.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_no_memory() {
    allot_failure failure{};
    if (!allot_last_failure(&failure) || failure.group[0] == '\0')
        throw std::bad_alloc{};
    throw limit_exceeded{failure};
}

/// Throws for a negative errno value of the C interface: as throw_no_memory for -ENOMEM, else std::system_error.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_error(int error, const char* what) {
    if (error == -ENOMEM)
        throw_no_memory();
    throw std::system_error{-error, std::generic_category(), what};
}

/// Throws unless `error` is 0.
inline void check(int error, const char* what) {
    if (error != 0) [[unlikely]]
        throw_error(error, what);
}

} // namespace detail

} // namespace allot
