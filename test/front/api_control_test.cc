// SPDX-License-Identifier: MIT
//
// The library as a whole: quiesce, verify, snapshot, purge, version.
#include "api_fixture.hpp"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace {

class api_control : public allot_test::api_test {};

TEST_F(api_control, a_recount_finds_live_blocks_and_no_difference) {
    const allot::group child = top.create("child");
    allot_test::owned_blocks held;
    held.fill(child, 100, 1000);
    held.fill(child, 100'000, 1010);
    const allot::verify_report books = allot::verify();
    EXPECT_TRUE(books) << books.first_error;
    EXPECT_EQ(books.errors, 0u) << books.first_error;
    EXPECT_GE(books.objects, 1010u);
    EXPECT_GE(books.groups, 3u);
    EXPECT_EQ(books.pages_bytes, books.charged_bytes) << "what is handed out is charged, to the byte";
}

TEST_F(api_control, a_snapshot_names_every_group_as_text_and_as_json) {
    const allot::group child = top.create("child-of-the-snapshot");
    const std::string text = allot::snapshot();
    EXPECT_NE(text.find("child-of-the-snapshot"), text.npos) << text;
    EXPECT_TRUE(text.ends_with('\n'));
    const std::string json = allot::snapshot(allot::format::json);
    EXPECT_NE(json.find("child-of-the-snapshot"), json.npos) << json;
    EXPECT_EQ(json.find_first_not_of(" \n"), json.find('{'));
}

TEST_F(api_control, a_snapshot_goes_through_any_writer_and_its_exceptions_come_out) {
    std::size_t bytes = 0;
    allot::snapshot(allot::format::text, [&](std::string_view piece) { bytes += piece.size(); });
    EXPECT_GT(bytes, 0u);
    EXPECT_THROW(allot::snapshot(allot::format::json, [](std::string_view) { throw std::runtime_error{"disk full"}; }),
                 std::runtime_error);
    EXPECT_TRUE(allot::verify());
}

TEST_F(api_control, purge_and_poll_may_be_called_at_any_time) {
    {
        allot_test::owned_blocks held;
        held.fill(top, 50'000, 100);
    }
    allot::quiesce();
    allot::purge();
    allot::poll();
    allot_test::owned_blocks held;
    EXPECT_GE(held.fill(top, 50'000, 100), 5'000'000u) << "memory that was given back comes back";
}

TEST_F(api_control, the_version_has_three_parts) {
    const std::string_view version = allot::version();
    EXPECT_EQ(std::count(version.begin(), version.end(), '.'), 2) << version;
}

} // namespace
