// SPDX-License-Identifier: MIT
//
// snapshot_test: the JSON is JSON and says what stat says; the table has a line for each group and adds up.
#include "support/core.hpp"

#include "observe/snapshot.hpp"

#include <cerrno>
#include <cstring>
#include <map>
#include <sstream>

namespace {

using allot_test::blocks;
using namespace allot::literals;

/// A reader of one JSON document that accepts nothing else. Objects and arrays are kept by path: "groups.0.path".
class json {
  public:
    explicit json(const std::string& text) : at_(text.c_str()), end_(at_ + text.size()) {
        value("");
        blanks();
        is_whole_ = good_ && at_ == end_;
    }
    bool is_whole() const { return is_whole_; }
    bool has(const std::string& path) const { return values_.count(path) != 0; }
    std::string text(const std::string& path) const { return has(path) ? values_.at(path) : "(missing)"; }
    std::uint64_t number(const std::string& path) const { return std::stoull(text(path)); }

  private:
    void blanks() {
        while (at_ != end_ && std::strchr(" \t\r\n", *at_) != nullptr)
            ++at_;
    }
    bool next_is(char c) {
        blanks();
        if (at_ == end_ || *at_ != c)
            return false;
        ++at_;
        return true;
    }
    bool expect(bool condition) { return good_ = good_ && condition; }

    std::string string() {
        std::string out;
        expect(next_is('"'));
        while (good_ && at_ != end_ && *at_ != '"') {
            expect(static_cast<unsigned char>(*at_) >= 0x20);
            if (*at_ == '\\') {
                ++at_;
                expect(at_ != end_ && (*at_ == '"' || *at_ == '\\')); // the only ones that are written
            }
            out += *at_++;
        }
        expect(next_is('"'));
        return out;
    }
    void scalar(const std::string& path) {
        const char* const from = at_;
        while (at_ != end_ && std::strchr("0123456789abcdefghijklmnopqrstuvwxyz", *at_) != nullptr)
            ++at_;
        const std::string word{from, at_};
        const bool is_number = !word.empty() && word.find_first_not_of("0123456789") == std::string::npos &&
                               (word.size() == 1 || word[0] != '0');
        expect(is_number || word == "null" || word == "true" || word == "false");
        values_[path] = word;
    }
    void value(const std::string& path) {
        blanks();
        if (!expect(at_ != end_))
            return;
        const std::string prefix = path.empty() ? "" : path + ".";
        if (next_is('{')) {
            for (bool more = !next_is('}'); more && good_; more = next_is(',') || !expect(next_is('}'))) {
                const std::string key = prefix + string();
                expect(next_is(':') && !has(key));
                value(key);
            }
        } else if (next_is('[')) {
            std::size_t count = 0;
            for (bool more = !next_is(']'); more && good_; more = next_is(',') || !expect(next_is(']')))
                value(prefix + std::to_string(count++));
            values_[path + ".size"] = std::to_string(count);
        } else if (at_ != end_ && *at_ == '"') {
            values_[path] = string();
        } else {
            scalar(path);
        }
    }

    const char* at_;
    const char* end_;
    bool good_ = true;
    bool is_whole_ = false;
    std::map<std::string, std::string> values_;
};

class snapshots : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        limited = child("limited", {.min = 4096, .low = 8192, .high = 1_MiB, .max = 2_MiB});
        odd = limited.create("a \"quoted\" \\ name, {with} [all: kinds]");
        ASSERT_TRUE(made.make(limited, 100, 50));
        ASSERT_TRUE(made.make(odd, 100'000, 2));
        EXPECT_EQ(odd.malloc(3_MiB), nullptr);
    }
    void TearDown() override {
        made.clear();
        limited = odd = {};
        core_test::TearDown();
    }
    /// "groups.N." of the group with this path in the document; empty if it is not there.
    static std::string entry_of(const json& document, const std::string& path) {
        const std::uint64_t count = document.number("groups.size");
        for (std::uint64_t i = 0; i < count; ++i)
            if (document.text("groups." + std::to_string(i) + ".path") == path)
                return "groups." + std::to_string(i) + ".";
        return "";
    }

    allot::group limited;
    allot::group odd;
    blocks made;
};

TEST_F(snapshots, the_json_is_one_document_with_every_group) {
    const json document{allot::snapshot(allot::format::json)};
    ASSERT_TRUE(document.is_whole()) << allot::snapshot(allot::format::json);
    EXPECT_EQ(document.text("groups.0.path"), "/") << "parents first";
    for (const allot::group& each : {top, limited, odd})
        EXPECT_NE(entry_of(document, each.path()), "") << each.path();
}

TEST_F(snapshots, bytes_of_a_name_that_are_no_utf8_are_replaced_in_the_json) {
    const allot::group broken = limited.create("\xff a \xc3\xa9 b \xe2\x82 c \xed\xa0\x80");
    const std::string text = allot::snapshot(allot::format::json);
    EXPECT_NE(text.find("/\\ufffd a \xc3\xa9 b \\ufffd\\ufffd c \\ufffd\\ufffd\\ufffd\""), std::string::npos) << text;
}

TEST_F(snapshots, the_jsons_figures_are_those_of_stat) {
    const json document{allot::snapshot(allot::format::json)};
    for (const allot::group& each : {top, limited, odd}) {
        const std::string at = entry_of(document, each.path());
        ASSERT_NE(at, "") << each.path();
        const allot::stat stat = each.stat();
        const std::map<std::string, std::uint64_t> figures{{"id", allot_group_id(each.get())},
                                                           {"current", stat.current},
                                                           {"peak", stat.peak},
                                                           {"local", stat.local},
                                                           {"slab", stat.slab},
                                                           {"shared", stat.shared},
                                                           {"large", stat.large},
                                                           {"external", stat.external},
                                                           {"metadata", stat.metadata},
                                                           {"allocations", stat.allocations},
                                                           {"failures", stat.failures},
                                                           {"max_events", stat.max_events},
                                                           {"high_events", stat.high_events},
                                                           {"nr_children", stat.nr_children},
                                                           {"nr_dying", stat.nr_dying}};
        for (const auto& [name, value] : figures)
            EXPECT_EQ(document.text(at + name), std::to_string(value)) << each.path() << " " << name;
    }
}

TEST_F(snapshots, a_limit_that_is_not_set_is_null) {
    const json document{allot::snapshot(allot::format::json)};
    const std::string limits = entry_of(document, limited.path());
    EXPECT_EQ(document.number(limits + "min"), 4096u);
    EXPECT_EQ(document.number(limits + "low"), 8192u);
    EXPECT_EQ(document.number(limits + "high"), 1_MiB);
    EXPECT_EQ(document.number(limits + "max"), 2_MiB);
    EXPECT_EQ(document.text(entry_of(document, odd.path()) + "max"), "null");
    EXPECT_EQ(document.text(entry_of(document, odd.path()) + "min"), "0");
}

TEST_F(snapshots, the_jsons_own_shares_add_up_to_the_root) {
    const json document{allot::snapshot(allot::format::json)};
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < document.number("groups.size"); ++i)
        sum += document.number("groups." + std::to_string(i) + ".local");
    EXPECT_EQ(sum, document.number("groups.0.current"));
}

TEST_F(snapshots, a_closed_group_is_not_in_it) {
    const std::string path = odd.path();
    odd.close();
    const json document{allot::snapshot(allot::format::json)};
    EXPECT_TRUE(document.is_whole());
    EXPECT_EQ(entry_of(document, path), "");
}

TEST_F(snapshots, the_deepest_path_is_written_whole_or_cut_but_stays_json) {
    allot::group deep = top;
    while (allot_group_path(deep.get(), nullptr, 0) < 3 * ALLOT_PATH_MAX)
        deep = deep.create(std::string(ALLOT_NAME_MAX, 'x'));
    const std::string text = allot::snapshot(allot::format::json);
    EXPECT_TRUE(json{text}.is_whole());
    EXPECT_NE(allot::snapshot(allot::format::text).find("xxxx"), std::string::npos);
}

TEST_F(snapshots, the_table_has_a_heading_and_a_line_for_each_group_with_equal_columns) {
    const allot::unique_group brief{allot::root().create("brief", {.max = 2_MiB})};
    std::istringstream table{allot::snapshot(allot::format::text)};
    std::string heading;
    std::getline(table, heading);
    for (const char* const column : {"group", "current", "peak", "local", "allocations", "failures", "max"})
        EXPECT_NE(heading.find(column), std::string::npos) << column;
    std::size_t groups = 0;
    bool found = false;
    for (std::string line; std::getline(table, line); ++groups) {
        EXPECT_EQ(line[0], '/') << line;
        if (line.starts_with("/brief ")) {
            found = true;
            EXPECT_EQ(line.size(), heading.size()) << line;
            EXPECT_NE(line.find("2.0 MiB"), std::string::npos) << line;
        }
    }
    EXPECT_TRUE(found);
    EXPECT_GE(groups, 4u);
}

TEST_F(snapshots, wrong_arguments_are_refused_and_write_nothing) {
    std::string text;
    const auto append = [](const char* piece, std::size_t size, void* data) {
        static_cast<std::string*>(data)->append(piece, size);
    };
    EXPECT_EQ(allot_snapshot(static_cast<allot_format>(7), append, &text), -EINVAL);
    EXPECT_EQ(allot_snapshot(ALLOT_FORMAT_JSON, nullptr, nullptr), -EINVAL);
    EXPECT_EQ(text, "");
}

TEST_F(snapshots, the_writer_may_use_the_library) {
    std::size_t bytes = 0;
    allot::snapshot(allot::format::json, [&](std::string_view piece) {
        blocks some;
        EXPECT_TRUE(some.make(top, piece.size() + 1, 1));
        top.create("from the writer").close();
        bytes += piece.size();
    });
    EXPECT_GT(bytes, 100u);
}

TEST_F(snapshots, are_whole_while_groups_come_and_go) {
    std::atomic<bool> done{false};
    std::thread changer{[&] {
        while (!done) {
            const allot::group one = top.create("one");
            const allot::group two = one.create("two");
            one.close();
        }
    }};
    for (int round = 0; round < 50; ++round)
        ASSERT_TRUE(json{allot::snapshot(allot::format::json)}.is_whole());
    done = true;
    changer.join();
}

TEST(json_reader, rejects_what_is_not_json) {
    for (const char* const bad : {"", "{", "{\"a\":}", "{\"a\":1,}", "[1 2]", "{\"a\":01}", "{\"a\":1}x",
                                  "{\"a\":1,\"a\":2}", "{\"a\":\"\n\"}", "{\"a\":-nan}", "\"a", "{a:1}"})
        EXPECT_FALSE(json{bad}.is_whole()) << bad;
    EXPECT_TRUE(json{"{\"a\":[1,{\"b\":null}],\"c\":\"\\\"\"}"}.is_whole());
}

} // namespace
