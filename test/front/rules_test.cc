// SPDX-License-Identifier: MIT
//
// rules_test: what the rules file means, and that every mistake is named with its place.
#include "front/rules.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace allot::front {
namespace {

/// A set that was read from a text, or the message why not.
struct parsed {
    explicit parsed(std::string source) : text(std::move(source)), rules(std::make_unique<rule_set>()) {
        rule_error error;
        ok = parse_rules(text, *rules, error);
        if (ok)
            return;
        char buffer[256];
        format_rule_error("app.rules", error, buffer, sizeof buffer);
        message = buffer;
    }
    const rule& operator[](std::size_t i) const { return rules->rules()[i]; }
    std::size_t count() const { return rules->rules().size(); }

    std::string text;
    std::unique_ptr<rule_set> rules;
    bool ok = false;
    std::string message;
};

std::string message_of(const std::string& text) {
    const parsed result{text};
    return result.ok ? "accepted" : result.message;
}

TEST(rules, an_empty_file_has_no_rules) {
    for (const char* text : {"", "\n", "# only a comment", "  \t \n\r\n # x\n\n"}) {
        const parsed result{text};
        EXPECT_TRUE(result.ok) << result.message;
        EXPECT_EQ(result.count(), 0u);
    }
}

TEST(rules, the_example_of_the_documentation_is_read) {
    const parsed result{"# who owns what\n"
                        "library libsqlite3.so.0 -> sqlite { high=96M max=128M }\n"
                        "library libssl.so.* libcrypto.so.* -> tls\n"
                        "thread worker-* \"io pool\"->pool/workers{min=1M low=2M}  # two patterns\n"
                        "default -> /\n"};
    ASSERT_TRUE(result.ok) << result.message;
    ASSERT_EQ(result.count(), 4u);
    EXPECT_EQ(result[0].kind, rule_kind::library);
    EXPECT_EQ(result[0].line, 2u);
    EXPECT_EQ(result[0].group, "sqlite");
    EXPECT_EQ(result[0].limits.high, 96u << 20);
    EXPECT_EQ(result[0].limits.max, 128u << 20);
    EXPECT_EQ(result[0].limits.low, ALLOT_KEEP);
    EXPECT_EQ(result[0].limits.min, ALLOT_KEEP);
    ASSERT_EQ(result[1].patterns.size(), 2u);
    EXPECT_EQ(result[1].patterns[1], "libcrypto.so.*");
    EXPECT_FALSE(result[1].has_limits);
    EXPECT_EQ(result[2].kind, rule_kind::thread);
    EXPECT_EQ(result[2].patterns[1], "io pool");
    EXPECT_EQ(result[2].group, "pool/workers");
    EXPECT_EQ(result[2].limits.min, 1u << 20);
    EXPECT_EQ(result[3].kind, rule_kind::fallback);
    EXPECT_EQ(result[3].group, "");
}

TEST(rules, line_ends_blanks_and_a_missing_last_newline_do_not_matter) {
    const parsed result{"\tlibrary\ta\t->\tg\t{\tmax\t=\t1M\t}\r\ndefault -> h"};
    ASSERT_TRUE(result.ok) << result.message;
    ASSERT_EQ(result.count(), 2u);
    EXPECT_EQ(result[0].group, "g");
    EXPECT_EQ(result[0].limits.max, 1u << 20);
    EXPECT_EQ(result[1].group, "h");
}

TEST(rules, names_may_hold_hyphens_and_quoted_words_anything) {
    const parsed result{
        "library lib-a-1.2.so -> g-1\nthread \"a -> {b} #1\" -> \"my group\"\nlibrary \"x=y\" -> /lead/ing\n"};
    ASSERT_TRUE(result.ok) << result.message;
    EXPECT_EQ(result[0].patterns[0], "lib-a-1.2.so");
    EXPECT_EQ(result[0].group, "g-1");
    EXPECT_EQ(result[1].patterns[0], "a -> {b} #1");
    EXPECT_EQ(result[1].group, "my group");
    EXPECT_EQ(result[2].patterns[0], "x=y");
    EXPECT_EQ(result[2].group, "lead/ing");
}

TEST(rules, the_first_match_wins_and_default_takes_the_rest) {
    const parsed result{
        "library libx.so.1 -> one\nthread x* -> t\nlibrary libx* -> many\nthread xy -> never\ndefault -> rest\n"};
    ASSERT_TRUE(result.ok) << result.message;
    EXPECT_EQ(result.rules->find_library("libx.so.1"), 0);
    EXPECT_EQ(result.rules->find_library("libx.so.2"), 2);
    EXPECT_EQ(result.rules->find_thread("xy"), 1);
    EXPECT_EQ(result.rules->find_thread("libx.so.1"), 4);
    EXPECT_EQ(result.rules->find_library("liby"), 4);
    EXPECT_TRUE(result.rules->has(rule_kind::library));
}

TEST(rules, without_a_default_nothing_else_matches) {
    const parsed result{"thread a -> t\n"};
    ASSERT_TRUE(result.ok);
    EXPECT_EQ(result.rules->find_thread("b"), -1);
    EXPECT_EQ(result.rules->find_library("a"), -1);
    EXPECT_FALSE(result.rules->has(rule_kind::library));
    EXPECT_FALSE(result.rules->has(rule_kind::fallback));
}

TEST(rules, a_mistake_is_named_with_file_line_and_column) {
    EXPECT_EQ(message_of("# one\n\nlibrary libx.so {\n"), "app.rules:3:17: expected '->' after the library name");
    EXPECT_EQ(message_of("library libx.so"), "app.rules:1:16: expected '->' after the library name");
    EXPECT_EQ(message_of("thread w -- g"), "app.rules:1:14: expected '->' after the thread pattern");
    EXPECT_EQ(message_of("default g"), "app.rules:1:9: expected '->' after 'default'");
    EXPECT_EQ(message_of("  libary x -> g"), "app.rules:1:3: expected 'library', 'thread' or 'default'");
    EXPECT_EQ(message_of("library -> g"),
              "app.rules:1:9: expected the file name of a shared object, such as libsqlite3.so.0");
    EXPECT_EQ(message_of("thread -> g"), "app.rules:1:8: expected a pattern of thread names, such as worker-*");
    EXPECT_EQ(message_of("library /lib/x.so -> g"), "app.rules:1:9: expected a file name without its folder");
    EXPECT_EQ(message_of("thread a-name-of-16-bytes -> g"),
              "app.rules:1:8: expected a pattern of at most 15 bytes, as thread names are");
    EXPECT_EQ(message_of("library x -> "), "app.rules:1:14: expected the name of a group after '->'");
    EXPECT_EQ(message_of("library x -> g h"), "app.rules:1:16: expected '{' or the end of the line after the group");
    EXPECT_EQ(message_of("library \"x -> g"), "app.rules:1:9: expected a closing '\"' on this line");
    EXPECT_EQ(message_of("default -> g\nthread x -> h"),
              "app.rules:2:1: expected no rule after 'default', which takes all that is left");
    EXPECT_EQ(message_of(std::string("default -> \0", 12)), "app.rules:1:12: expected text, not a control character");
}

TEST(rules, mistakes_in_limits_are_named) {
    const std::string head = "library x -> g ";
    EXPECT_EQ(message_of(head + "{ max=12Q }"), "app.rules:1:22: expected a size such as 128M, 1.5G or max");
    EXPECT_EQ(message_of(head + "{ max= }"), "app.rules:1:23: expected a size such as 128M, 1.5G or max");
    EXPECT_EQ(message_of(head + "{ max 1M }"), "app.rules:1:22: expected '=' after max");
    EXPECT_EQ(message_of(head + "{ hard=1M }"), "app.rules:1:18: expected min=, low=, high=, max= or '}'");
    EXPECT_EQ(message_of(head + "{ max=1M"), "app.rules:1:24: expected min=, low=, high=, max= or '}'");
    EXPECT_EQ(message_of(head + "{ max=1M # }"), "app.rules:1:25: expected min=, low=, high=, max= or '}'");
    EXPECT_EQ(message_of(head + "{ max=1M max=2M }"), "app.rules:1:25: expected max= only once");
    EXPECT_EQ(message_of(head + "{ } x"), "app.rules:1:20: expected the end of the line after '}'");
    EXPECT_EQ(message_of(head + "{ min=2M max=1M }"), "app.rules:1:16: expected min to be at most max");
    EXPECT_EQ(message_of(head + "{ low=2M max=1M }"), "app.rules:1:16: expected low to be at most max");
    EXPECT_EQ(message_of(head + "{ max=1M }\nlibrary y -> /g { max=1M }"),
              "app.rules:2:17: expected no limits: the group has them from line 1");
    EXPECT_EQ(message_of(head + "{ max=1M }\nlibrary y -> g\n"), "accepted");
    EXPECT_EQ(message_of(head + "{ max=max high=0 }"), "accepted");
}

TEST(rules, names_of_groups_are_checked) {
    for (const char* group : {"a//b", "a/", "//a", "/a/"})
        EXPECT_EQ(message_of(std::string("library x -> ") + group),
                  "app.rules:1:14: expected names of 1 to 63 bytes between the '/'")
            << group;
    EXPECT_EQ(message_of("library x -> " + std::string(63, 'n') + "/" + std::string(63, 'm')), "accepted");
    EXPECT_NE(message_of("library x -> " + std::string(64, 'n')), "accepted");
    std::string deep = "a";
    while (deep.size() < 1100)
        deep += "/a";
    EXPECT_EQ(message_of("default -> " + deep), "app.rules:1:12: expected a path of at most 1022 bytes");
}

TEST(rules, maxima_are_errors_not_cuts) {
    std::string rules;
    for (std::size_t i = 0; i < rules_max; ++i)
        rules += "library x" + std::to_string(i) + " -> g\n";
    EXPECT_EQ(message_of(rules), "accepted");
    EXPECT_EQ(message_of(rules + "thread x -> g\n"), "app.rules:129:1: expected at most 128 rules");
    std::string names = "thread";
    for (std::size_t i = 0; i < rule_patterns_max; ++i)
        names += " x";
    EXPECT_EQ(message_of(names + " -> g"), "accepted");
    EXPECT_EQ(message_of(names + " y -> g"), "app.rules:1:1032: expected at most 512 names in all rules");
    EXPECT_EQ(message_of(std::string(rules_text_max, '\n')), "accepted");
    EXPECT_EQ(message_of(std::string(rules_text_max + 1, '\n')), "app.rules: expected at most 65536 bytes");
}

TEST(rules, every_prefix_and_every_damaged_byte_is_survived) {
    const std::string good = "library a b-*.so -> g/h { high=96M max=128M }\nthread \"x y\" -> k # c\ndefault -> /\n";
    ASSERT_EQ(message_of(good), "accepted");
    for (std::size_t i = 0; i <= good.size(); ++i)
        EXPECT_FALSE(message_of(good.substr(0, i)).empty());
    for (std::size_t i = 0; i < good.size(); ++i)
        for (const char c : std::string("\0\n\"{}#=->* z9/\x80", 15)) {
            std::string damaged = good;
            damaged[i] = c;
            EXPECT_FALSE(message_of(damaged).empty());
        }
}

TEST(rules, a_message_is_cut_as_snprintf_cuts) {
    rule_error error{3, 17, "expected more"};
    char buffer[8];
    EXPECT_EQ(format_rule_error("f", error, buffer, sizeof buffer), std::string("f:3:17: expected more").size());
    EXPECT_STREQ(buffer, "f:3:17:");
}

TEST(rules, globs_match_the_whole_name) {
    EXPECT_TRUE(glob_match("libsqlite3.so.0", "libsqlite3.so.0"));
    EXPECT_FALSE(glob_match("libsqlite3.so", "libsqlite3.so.0"));
    EXPECT_TRUE(glob_match("libsqlite3.so*", "libsqlite3.so.0"));
    EXPECT_TRUE(glob_match("*", ""));
    EXPECT_TRUE(glob_match("**", "x"));
    EXPECT_FALSE(glob_match("?", ""));
    EXPECT_TRUE(glob_match("a?c", "abc"));
    EXPECT_TRUE(glob_match("*b*d", "abcbd"));
    EXPECT_FALSE(glob_match("*b*d", "abcbde"));
    EXPECT_TRUE(glob_match("", ""));
    EXPECT_FALSE(glob_match("", "a"));
    EXPECT_FALSE(glob_match("a*a*a*a*a*b", std::string(4000, 'a')));
}

TEST(rules, a_file_name_is_what_follows_the_last_slash) {
    EXPECT_EQ(file_name_of("/usr/lib/libx.so.1"), "libx.so.1");
    EXPECT_EQ(file_name_of("libx.so.1"), "libx.so.1");
    EXPECT_EQ(file_name_of("dir/"), "");
    EXPECT_EQ(file_name_of(""), "");
}

} // namespace
} // namespace allot::front
