// SPDX-License-Identifier: MIT
//
// size_class: the sizes that kmalloc serves from slabs.
//
// Idea.        8 and the multiples of 16 up to 128, then four classes a doubling up to 1 MiB, so above 64 bytes at most a
//              fifth of a block is rounding and every size of 16 or more is 16-byte aligned (malloc's promise). One more class is
//              for a page with a header before or behind it, which databases and network programs allocate more than other
//              sizes near it: it would lose the most. Two tables of bytes tell the class, a fine one for small sizes and a
//              coarse one above.
// Concurrency. constants.
// Checked by.  test/slab/size_class_test.cc
// Source.      jemalloc's size classes; docs/design.md "Memory".
#pragma once

#include "base/compiler.hpp"

#include <array>
#include <bit>

namespace allot::slab {

inline constexpr std::size_t kmalloc_max_bytes = std::size_t{1} << 20;
inline constexpr std::size_t small_table_max_bytes = 1024;
inline constexpr std::size_t medium_step_bytes = 256;
inline constexpr std::uint32_t kmalloc_class_count = 62;
/// A page with its header.
inline constexpr std::size_t page_and_header_bytes = 4608;
/// A bin of a heap has 2^4 bytes (heap.hpp); tables of bins are indexed by classes.
inline constexpr std::uint32_t bin_shift = 4;
/// Where the bin of a cache lies in a table of bins, bytes.
enum class bin_place : std::uint32_t {};
constexpr bin_place bin_of_cache(std::uint32_t index) noexcept { return bin_place{index << bin_shift}; }

namespace detail {

/// Class for sizes above 128, but for the one of page_and_header_bytes: group by the highest bit, then the two bits below it.
constexpr std::uint32_t computed_class(std::size_t bytes) noexcept {
    const auto last = bytes - 1;
    const auto high = static_cast<std::uint32_t>(std::bit_width(last)) - 1; // 7 for 129..256
    const auto quarter = static_cast<std::uint32_t>(last >> (high - 2)) & 3;
    return 9 + (high - 7) * 4 + quarter;
}

constexpr std::uint32_t reference_class(std::size_t bytes) noexcept {
    if (bytes <= 8)
        return 0;
    if (bytes <= 128)
        return static_cast<std::uint32_t>((bytes + 15) / 16);
    return computed_class(bytes) + (bytes > page_and_header_bytes ? 1 : 0);
}

constexpr std::size_t reference_bytes(std::uint32_t index) noexcept {
    if (index == 0)
        return 8;
    if (index <= 8)
        return std::size_t{index} * 16;
    constexpr std::uint32_t extra = computed_class(page_and_header_bytes);
    if (index == extra)
        return page_and_header_bytes;
    if (index > extra)
        --index;
    const std::uint32_t doubling = (index - 9) / 4;
    const std::uint32_t quarter = (index - 9) % 4 + 1;
    return (std::size_t{128} << doubling) + quarter * (std::size_t{32} << doubling);
}

/// One entry for each size: to divide it by a step first would be two instructions more in every malloc.
constexpr auto make_small_table() noexcept {
    std::array<std::uint16_t, small_table_max_bytes + 1> table{};
    for (std::size_t bytes = 0; bytes < table.size(); ++bytes)
        table[bytes] = static_cast<std::uint16_t>(reference_class(bytes) << bin_shift);
    return table;
}

/// Classes, for sizes above small_table_max_bytes, whose classes are multiples of medium_step_bytes.
constexpr auto make_medium_table() noexcept {
    std::array<std::uint8_t, kmalloc_max_bytes / medium_step_bytes> table{};
    for (std::size_t i = small_table_max_bytes / medium_step_bytes; i < table.size(); ++i)
        table[i] = static_cast<std::uint8_t>(reference_class((i + 1) * medium_step_bytes));
    return table;
}

constexpr auto make_bytes_table() noexcept {
    std::array<std::uint32_t, kmalloc_class_count> table{};
    for (std::uint32_t i = 0; i < kmalloc_class_count; ++i)
        table[i] = static_cast<std::uint32_t>(reference_bytes(i));
    return table;
}

inline constexpr auto small_table = make_small_table();
inline constexpr auto medium_table = make_medium_table();
inline constexpr auto bytes_table = make_bytes_table();

} // namespace detail

/// The bin of the class that serves `bytes`, at most small_table_max_bytes. 0 bytes are served as 1.
ALLOT_INLINE bin_place small_bin_of(std::size_t bytes) noexcept { return bin_place{detail::small_table[bytes]}; }

/// Class that serves `bytes`, more than small_table_max_bytes and at most kmalloc_max_bytes.
ALLOT_INLINE std::uint32_t medium_class_of(std::size_t bytes) noexcept {
    return detail::medium_table[(bytes - 1) / medium_step_bytes];
}

ALLOT_INLINE bin_place medium_bin_of(std::size_t bytes) noexcept { return bin_of_cache(medium_class_of(bytes)); }

/// Class that serves `bytes`, at most kmalloc_max_bytes.
ALLOT_INLINE std::uint32_t class_of(std::size_t bytes) noexcept {
    if (bytes <= small_table_max_bytes) [[likely]]
        return static_cast<std::uint32_t>(small_bin_of(bytes)) >> bin_shift;
    return medium_class_of(bytes);
}

/// Block size of a class, bytes.
constexpr std::size_t class_bytes(std::uint32_t index) noexcept { return detail::bytes_table[index]; }

static_assert(class_bytes(kmalloc_class_count - 1) == kmalloc_max_bytes);
static_assert(detail::reference_class(kmalloc_max_bytes) == kmalloc_class_count - 1);

} // namespace allot::slab
