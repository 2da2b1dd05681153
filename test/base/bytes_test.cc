// SPDX-License-Identifier: MIT
//
// bytes_test: sizes are read as people write them and written as people read them.
#include "base/bytes.hpp"

#include <gtest/gtest.h>

#include <string>

namespace allot::base {
namespace {

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;
constexpr std::uint64_t gib = 1024 * mib;
constexpr std::uint64_t eib = 1024 * 1024 * 1024 * gib;

std::uint64_t parsed(std::string_view text) {
    std::uint64_t bytes = 77;
    EXPECT_TRUE(parse_bytes(text, bytes)) << text;
    return bytes;
}

bool rejected(std::string_view text) {
    std::uint64_t bytes = 77;
    const bool ok = parse_bytes(text, bytes);
    EXPECT_TRUE(ok || bytes == 77) << text; // left alone on failure
    return !ok;
}

std::string formatted(std::uint64_t bytes) {
    char buffer[bytes_text_size];
    const std::size_t length = format_bytes(buffer, sizeof buffer, bytes);
    EXPECT_LT(length, sizeof buffer);
    EXPECT_EQ(std::string(buffer).size(), length);
    return buffer;
}

TEST(bytes, plain_numbers_are_bytes) {
    EXPECT_EQ(parsed("0"), 0u);
    EXPECT_EQ(parsed("4096"), 4096u);
    EXPECT_EQ(parsed("007"), 7u);
    EXPECT_EQ(parsed("12B"), 12u);
    EXPECT_EQ(parsed("12 B"), 12u);
}

TEST(bytes, units_are_powers_of_1024_in_every_spelling) {
    for (const char* text : {"64K", "64k", "64KB", "64kb", "64KiB", "64 KiB", "64kib", "64Ki"})
        EXPECT_EQ(parsed(text), 64 * kib) << text;
    EXPECT_EQ(parsed("512M"), 512 * mib);
    EXPECT_EQ(parsed("3g"), 3 * gib);
    EXPECT_EQ(parsed("2T"), 2048 * gib);
    EXPECT_EQ(parsed("1P"), 1024 * 1024 * gib);
    EXPECT_EQ(parsed("7E"), 7 * eib);
}

TEST(bytes, fractions_need_a_unit_and_drop_parts_of_a_byte) {
    EXPECT_EQ(parsed("1.5G"), gib + gib / 2);
    EXPECT_EQ(parsed("0.25K"), 256u);
    EXPECT_EQ(parsed("0.0001K"), 0u);
    EXPECT_EQ(parsed("1.9999999999999999999K"), 2 * kib - 1);
    EXPECT_TRUE(rejected("1.5"));
    EXPECT_TRUE(rejected("1.5B"));
}

TEST(bytes, max_is_unlimited) {
    EXPECT_EQ(parsed("max"), UINT64_MAX);
    EXPECT_TRUE(rejected("MAX"));
    EXPECT_TRUE(rejected("maximum"));
}

TEST(bytes, what_does_not_fit_is_rejected) {
    EXPECT_EQ(parsed("9223372036854775807"), bytes_max);
    EXPECT_TRUE(rejected("9223372036854775808"));
    EXPECT_TRUE(rejected("18446744073709551615"));
    EXPECT_TRUE(rejected("99999999999999999999999"));
    EXPECT_TRUE(rejected("8E"));
    EXPECT_TRUE(rejected("9000000000000G"));
    EXPECT_EQ(parsed("7.9E"), 9108079886394091110u);
}

TEST(bytes, nonsense_is_rejected) {
    for (const char* text : {"",    " ",     "M",    "-1",   "+1",  "1 ",  " 1",    "1  K",  "1KK", "1KiBB",
                             "1iB", "1KiBi", "0x10", "1,5G", "1.G", ".5G", "12abc", "1Kb/s", "1e3", "1.2.3K"})
        EXPECT_TRUE(rejected(text)) << '"' << text << '"';
    EXPECT_TRUE(rejected(std::string_view("1\0K", 3)));
}

TEST(bytes, small_sizes_are_written_in_bytes) {
    EXPECT_EQ(formatted(0), "0 B");
    EXPECT_EQ(formatted(9), "9 B");
    EXPECT_EQ(formatted(100), "100 B");
    EXPECT_EQ(formatted(1023), "1023 B");
}

TEST(bytes, larger_sizes_have_one_decimal) {
    EXPECT_EQ(formatted(1024), "1.0 KiB");
    EXPECT_EQ(formatted(8 * mib), "8.0 MiB");
    EXPECT_EQ(formatted(67174), "65.6 KiB");
    EXPECT_EQ(formatted(gib + gib / 2), "1.5 GiB");
    EXPECT_EQ(formatted(1000 * gib), "1000.0 GiB");
    EXPECT_EQ(formatted(bytes_max), "8.0 EiB");
    EXPECT_EQ(formatted(UINT64_MAX), "max");
    EXPECT_EQ(formatted(UINT64_MAX - 1), "16.0 EiB");
}

TEST(bytes, rounding_up_moves_to_the_next_unit) {
    EXPECT_EQ(formatted(mib - 1), "1.0 MiB");
    EXPECT_EQ(formatted(mib - 52), "1023.9 KiB");
    EXPECT_EQ(formatted(gib - 1), "1.0 GiB");
}

TEST(bytes, text_is_cut_as_snprintf_cuts) {
    char buffer[4] = {'x', 'x', 'x', 'x'};
    EXPECT_EQ(format_bytes(buffer, sizeof buffer, 8 * mib), 7u);
    EXPECT_STREQ(buffer, "8.0");
    EXPECT_EQ(format_bytes(nullptr, 0, 8 * mib), 7u);
    EXPECT_EQ(format_bytes(buffer, 1, 8 * mib), 7u);
    EXPECT_STREQ(buffer, "");
}

TEST(bytes, what_is_written_is_read_back_within_the_rounding) {
    for (std::uint64_t bytes = 1; bytes < bytes_max / 3; bytes = bytes * 3 + 1) {
        const std::uint64_t back = parsed(formatted(bytes));
        const std::uint64_t difference = back > bytes ? back - bytes : bytes - back;
        EXPECT_LE(difference, bytes / 20 + 1) << bytes;
    }
}

} // namespace
} // namespace allot::base
