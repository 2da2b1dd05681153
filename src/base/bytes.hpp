// SPDX-License-Identifier: MIT
//
// bytes: sizes as people write them ("512M", "1.5G", "max") and as people read them ("8.0 MiB").
//
// Idea.        Fixed-point arithmetic on integers: no floating point, no locale, no allocation, so that the malloc preload may
//              use it before the program's first constructor.
// Concurrency. stateless. Context: any.
// Checked by.  test/base/bytes_test.cc
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace allot::base {

/// What "max" means: a limit that never stops anything (ALLOT_UNLIMITED).
inline constexpr std::uint64_t bytes_unlimited = UINT64_MAX;
/// The largest size that can be written as a number.
inline constexpr std::uint64_t bytes_max = static_cast<std::uint64_t>(INT64_MAX);
/// A buffer of this size holds whatever format_bytes() writes.
inline constexpr std::size_t bytes_text_size = 16;

/// Reads a size: digits with an optional fraction, then an optional unit K, M, G, T, P or E, in either case, optionally followed
/// by "i", "B" or "iB"; a unit is always a power of 1024. A lone "B" is one byte, "max" is `bytes_unlimited`. One space may stand
/// before the unit. A fraction of a byte is dropped, but a fraction without a unit is an error.
///
/// Errors: false (nothing, anything else than this, or more than `bytes_max`), and `bytes` is as before.
[[nodiscard]] bool parse_bytes(std::string_view text, std::uint64_t& bytes) noexcept;

/// Writes "0 B", "1023 B", "65.6 KiB", "8.0 MiB" or "max" with a terminating zero, cut to `size` as snprintf does.
///
/// Returns the length of the whole text without the zero. Rounds to nearest: 1023.95 KiB is "1.0 MiB".
std::size_t format_bytes(char* buffer, std::size_t size, std::uint64_t bytes) noexcept;

} // namespace allot::base
