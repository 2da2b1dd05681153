// SPDX-License-Identifier: MIT
//
// format: numbers for people, and sizes from people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lua_host {

/// "512 B", "65.6 KiB", "8.0 MiB".
std::string human_bytes(std::uint64_t bytes);
/// "61,234,176".
std::string grouped(std::uint64_t number);
/// Reads "8M", "8MiB", "8 MB" or "8388608": K, M, G, T are powers of 1024. Nothing if it is none of these or too large.
std::optional<std::uint64_t> parse_bytes(std::string_view text);

} // namespace lua_host
