// SPDX-License-Identifier: MIT
//
// bytes: the reader and the writer of sizes.
//
// Idea.        A number is a whole part and a fraction over a power of ten, and the unit is a shift. The 128-bit products
//              cannot overflow: the whole part is below 2^63, the shift at most 60, the fraction below 10^9.
// Concurrency. stateless. Context: any.
#include "base/bytes.hpp"

namespace allot::base {

namespace {

constexpr char units[] = "KMGTPE";
constexpr std::size_t unit_count = sizeof units - 1;
constexpr std::uint64_t fraction_scale = 1'000'000'000;

__extension__ using wide = unsigned __int128;

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr char upper(char c) noexcept { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

/// Takes the digits at the front of `text`. False if there are none or they pass `bytes_max`.
bool take_whole(std::string_view& text, std::uint64_t& whole) noexcept {
    if (text.empty() || !is_digit(text.front()))
        return false;
    whole = 0;
    for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
        const auto digit = static_cast<std::uint64_t>(text.front() - '0');
        if (whole > (bytes_max - digit) / 10)
            return false;
        whole = whole * 10 + digit;
    }
    return true;
}

/// Takes ".digits" if it is there, in units of 1 / fraction_scale; further digits are read and dropped.
bool take_fraction(std::string_view& text, std::uint64_t& fraction, bool& present) noexcept {
    fraction = 0;
    present = !text.empty() && text.front() == '.';
    if (!present)
        return true;
    text.remove_prefix(1);
    if (text.empty() || !is_digit(text.front()))
        return false;
    for (std::uint64_t place = fraction_scale / 10; !text.empty() && is_digit(text.front()); place /= 10) {
        fraction += place * static_cast<std::uint64_t>(text.front() - '0');
        text.remove_prefix(1);
    }
    return true;
}

/// Reads what is left as a unit. False if it is none.
bool read_unit(std::string_view text, unsigned& shift) noexcept {
    if (!text.empty() && text.front() == ' ') {
        text.remove_prefix(1);
        if (text.empty())
            return false;
    }
    shift = 0;
    if (text.empty())
        return true;
    for (std::size_t i = 0; i < unit_count; ++i)
        if (upper(text.front()) == units[i])
            shift = static_cast<unsigned>(i + 1) * 10;
    if (shift != 0) {
        text.remove_prefix(1);
        if (!text.empty() && upper(text.front()) == 'I')
            text.remove_prefix(1);
    }
    return text.empty() || (text.size() == 1 && upper(text.front()) == 'B');
}

class writer {
  public:
    writer(char* buffer, std::size_t size) noexcept : buffer_(buffer), size_(size) {}
    void put(char c) noexcept {
        if (length_ + 1 < size_)
            buffer_[length_] = c;
        ++length_;
    }
    void put(std::string_view text) noexcept {
        for (const char c : text)
            put(c);
    }
    /// Writes a number below 10,000.
    void put_number(std::uint64_t number) noexcept {
        for (std::uint64_t place = 1000; place != 0; place /= 10)
            if (number >= place || place == 1)
                put(static_cast<char>('0' + number / place % 10));
    }
    std::size_t finish() noexcept {
        if (size_ != 0)
            buffer_[length_ < size_ ? length_ : size_ - 1] = '\0';
        return length_;
    }

  private:
    char* buffer_;
    std::size_t size_;
    std::size_t length_ = 0;
};

} // namespace

bool parse_bytes(std::string_view text, std::uint64_t& bytes) noexcept {
    if (text == "max") {
        bytes = bytes_unlimited;
        return true;
    }
    std::uint64_t whole = 0;
    std::uint64_t fraction = 0;
    bool has_fraction = false;
    unsigned shift = 0;
    if (!take_whole(text, whole) || !take_fraction(text, fraction, has_fraction) || !read_unit(text, shift))
        return false;
    if (has_fraction && shift == 0)
        return false;
    const wide total = (wide{whole} << shift) + ((wide{fraction} << shift) / fraction_scale);
    if (total > bytes_max)
        return false;
    bytes = static_cast<std::uint64_t>(total);
    return true;
}

std::size_t format_bytes(char* buffer, std::size_t size, std::uint64_t bytes) noexcept {
    writer out{buffer, size};
    if (bytes == bytes_unlimited) {
        out.put("max");
        return out.finish();
    }
    if (bytes < 1024) {
        out.put_number(bytes);
        out.put(" B");
        return out.finish();
    }
    // The smallest unit in which the rounded number of tenths stays below 1024.0.
    std::uint64_t tenths = 0;
    std::size_t unit = 0;
    for (; unit < unit_count; ++unit) {
        const std::size_t shift = (unit + 1) * 10;
        tenths = static_cast<std::uint64_t>((wide{bytes} * 10 + (wide{1} << (shift - 1))) >> shift);
        if (tenths < 10240)
            break;
    }
    out.put_number(tenths / 10);
    out.put('.');
    out.put_number(tenths % 10);
    out.put(' ');
    out.put(units[unit]);
    out.put("iB");
    return out.finish();
}

} // namespace allot::base
