// SPDX-License-Identifier: MIT
//
// bytes: the literals of sizes, `64_MiB`, and the two values of a limit that are no sizes.
#pragma once

#include <allot/allot.h>

#include <cstdint>

namespace allot {

/// A limit that never stops anything; the default of `high` and `max`. Units: bytes.
inline constexpr std::uint64_t unlimited = ALLOT_UNLIMITED;
/// In a field of `limits`: at creation "the default", in `group::set` "leave it as it is".
inline constexpr std::uint64_t keep = ALLOT_KEEP;

namespace detail {

/// Returns `count * unit`; what does not fit 64 bits does not compile.
consteval std::uint64_t scaled(unsigned long long count, std::uint64_t unit) {
    return count <= UINT64_MAX / unit ? count * unit : throw "the size does not fit 64 bits";
}

} // namespace detail

/// `using namespace allot::literals;` makes 4_KiB, 64_MiB and 2_GiB counts of bytes, computed by the compiler.
inline namespace literals {

consteval std::uint64_t operator""_KiB(unsigned long long count) {
    return detail::scaled(count, std::uint64_t{1} << 10);
}
consteval std::uint64_t operator""_MiB(unsigned long long count) {
    return detail::scaled(count, std::uint64_t{1} << 20);
}
consteval std::uint64_t operator""_GiB(unsigned long long count) {
    return detail::scaled(count, std::uint64_t{1} << 30);
}

} // namespace literals

} // namespace allot
