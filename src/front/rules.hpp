// SPDX-License-Identifier: MIT
//
// rules: the file that says whose memory it is when a program runs under the malloc preload.
//
// Idea.        One rule a line, the first that matches wins:
//                  library NAME... -> GROUP { high=96M max=128M }    # calls from these shared objects
//                  thread PATTERN... -> GROUP { max=64M }            # threads of these names
//                  default -> GROUP                                  # everything else
//              NAME and PATTERN are globs (* and ?). GROUP is a path such as a/b; "/" is the root. Limits are min, low, high,
//              max, each at most once, and each group gets its limits in one place. # starts a comment; a word with spaces
//              or any of {}"# in it stands in double quotes. docs/rules.md is the reference.
// Invariants.  I1  A rule_set points into the text it was read from: the text has to live as long.
//              I2  A rule_set that parse_rules() accepted is complete: names and limits are legal for allot_group_create.
// Concurrency. parse_rules: Context task, but it neither allocates nor locks. Look-ups: Context any.
// Checked by.  test/front/rules_test.cc
#pragma once

#include <allot/allot.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace allot::front {

/// The most that a rules file may hold; one more is an error, never a silent cut.
inline constexpr std::size_t rules_max = 128;
inline constexpr std::size_t rule_patterns_max = 512;
inline constexpr std::size_t rules_text_max = 64 * 1024;
/// The longest name that a thread can have, in bytes, without the terminating zero (TASK_COMM_LEN - 1).
inline constexpr std::size_t thread_name_max = 15;

enum class rule_kind : std::uint8_t {
    library,  ///< calls from a shared object
    thread,   ///< allocations of a thread
    fallback, ///< `default`: what no rule before it took
};

struct rule {
    rule_kind kind = rule_kind::fallback;
    bool has_limits = false;
    std::uint32_t line = 0; ///< where the rule stands, from 1
    std::span<const std::string_view> patterns;
    std::string_view group; ///< path without the leading '/'; empty for the root
    allot_limits limits = ALLOT_LIMITS_INIT;
};

/// Where and why a rules file is wrong.
struct rule_error {
    std::uint32_t line = 0;   ///< from 1; 0 if it is about the whole file
    std::uint32_t column = 0; ///< from 1, in bytes
    char text[160] = {};      ///< "expected ..."
};

class rule_set {
  public:
    std::span<const rule> rules() const noexcept { return {rules_.data(), count_}; }

    /// The index of the first rule for this file name of a shared object or this thread name, `default` included, or -1.
    int find_library(std::string_view file_name) const noexcept { return find(rule_kind::library, file_name); }
    int find_thread(std::string_view name) const noexcept { return find(rule_kind::thread, name); }
    /// True if there is a rule of this kind.
    bool has(rule_kind kind) const noexcept;

  private:
    friend class rules_parser;
    int find(rule_kind kind, std::string_view name) const noexcept;

    std::array<rule, rules_max> rules_{};
    std::array<std::string_view, rule_patterns_max> patterns_{};
    std::size_t count_ = 0;
    std::size_t pattern_count_ = 0;
};

/// Reads `text` into `rules`. Errors: false; `error` says where and why, and `rules` is not to be used.
[[nodiscard]] bool parse_rules(std::string_view text, rule_set& rules, rule_error& error) noexcept;

/// Writes "app.rules:3:17: expected '->' after the library name", cut to `size`; returns the length it needs. Context: any.
std::size_t format_rule_error(std::string_view file_name, const rule_error& error, char* buffer,
                              std::size_t size) noexcept;

/// True if the whole of `text` matches: '*' any bytes, '?' one byte, everything else itself. Context: any.
bool glob_match(std::string_view pattern, std::string_view text) noexcept;

/// The part behind the last '/'. Context: any.
std::string_view file_name_of(std::string_view path) noexcept;

} // namespace allot::front
