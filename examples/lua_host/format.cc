// SPDX-License-Identifier: MIT
//
// format.cc: see format.hpp.

#include "format.hpp"

#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>

namespace lua_host {

std::string human_bytes(std::uint64_t bytes) {
    if (bytes < 1024)
        return std::to_string(bytes) + " B";
    constexpr std::array units{"KiB", "MiB", "GiB", "TiB"};
    double amount = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    for (; amount >= 1023.95 && unit + 1 < units.size(); ++unit) // 1023.95 would print as 1024.0
        amount /= 1024;
    char text[32];
    std::snprintf(text, sizeof text, "%.1f %s", amount, units[unit]);
    return text;
}

std::string grouped(std::uint64_t number) {
    const std::string digits = std::to_string(number);
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i != 0 && (digits.size() - i) % 3 == 0)
            text += ',';
        text += digits[i];
    }
    return text;
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{})
        return std::nullopt;
    std::string unit;
    for (const char* at = end; at != text.data() + text.size(); ++at)
        if (*at != ' ' || !unit.empty())
            unit += static_cast<char>(std::toupper(static_cast<unsigned char>(*at)));
    constexpr std::string_view letters = "KMGT";
    unsigned shift = 0;
    if (const auto power = unit.empty() ? std::string_view::npos : letters.find(unit.front());
        power != std::string_view::npos) {
        shift = 10 * static_cast<unsigned>(power + 1);
        unit.erase(0, 1);
    }
    const bool known = unit.empty() || unit == "B" || (shift != 0 && unit == "IB");
    if (!known || number > UINT64_MAX >> shift)
        return std::nullopt;
    return number << shift;
}

} // namespace lua_host
