// SPDX-License-Identifier: MIT
//
// assert_test: a bug is named on standard error and ends the process, in every build; an assert only in debug builds.
#include "base/assert.hpp"

#include "support/bugs.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <gtest/gtest.h>
#include <unistd.h>

namespace allot::base {
namespace {

using allot_test::bug_in;
using testing::ExitedWithCode;
using testing::KilledBySignal;

TEST(assert, a_bug_aborts_after_a_line_that_says_what_and_where) {
    EXPECT_EXIT(bug("the sky fell", "sky.cc", 42), KilledBySignal(SIGABRT),
                "^allot: BUG: the sky fell \\(sky.cc:42\\)\n$");
}

TEST(assert, bug_on_is_silent_while_its_condition_is_false) {
    int evaluated = 0;
    ALLOT_BUG_ON(++evaluated != 1);
    EXPECT_EQ(evaluated, 1) << "evaluated once";
}

TEST(assert, bug_on_reports_the_text_of_its_condition) {
    const int usage = -1;
    EXPECT_EXIT(ALLOT_BUG_ON(usage < 0), KilledBySignal(SIGABRT),
                "allot: BUG: usage < 0 \\(.*assert_test.cc:[0-9]+\\)");
}

TEST(assert, a_bug_about_an_object_names_address_group_and_cache) {
    const auto* object = reinterpret_cast<const void*>(std::uintptr_t{0xabc0f0});
    EXPECT_EXIT(bug_object("double free", object, "/tenants/7", "kmalloc-64"), KilledBySignal(SIGABRT),
                "^allot: BUG: double free: address 0xabc0f0, group /tenants/7, cache kmalloc-64\n$");
}

TEST(assert, a_bug_about_an_object_without_names_is_reported_too) {
    EXPECT_EQ(bug_in([] { bug_object("foreign free", nullptr, nullptr, nullptr); }),
              "allot: BUG: foreign free: address 0x0, group , cache ");
}

TEST(assert, the_handler_gets_the_line_instead_of_standard_error) {
    const std::string text = bug_in([] { bug("caught", "a.cc", 7); });
    EXPECT_EQ(text, "allot: BUG: caught (a.cc:7)");
}

TEST(assert, what_runs_without_a_bug_reports_none) {
    EXPECT_EQ(bug_in([] { ALLOT_BUG_ON(false); }), "");
}

TEST(assert, without_a_handler_a_bug_aborts_again) {
    EXPECT_NE(bug_in([] { bug("caught", "a.cc", 7); }), "");
    EXPECT_EXIT(bug("not caught", "a.cc", 8), KilledBySignal(SIGABRT), "not caught");
}

TEST(assert, a_text_that_is_too_long_is_cut) {
    static char text[4096]; // outlives the jump out of the report
    std::memset(text, 'x', sizeof text - 1);
    const std::string line = bug_in([] { bug(text, "a.cc", 7); });
    EXPECT_GT(line.size(), 200u);
    EXPECT_LT(line.size(), 900u);
    EXPECT_EQ(line.find_first_not_of('x', std::strlen("allot: BUG: ")), std::string::npos);
}

TEST(assert, numbers_are_printed_from_zero_to_the_largest) {
    EXPECT_EQ(bug_in([] { bug("n", "a.cc", 0); }), "allot: BUG: n (a.cc:0)");
    EXPECT_EQ(bug_in([] { bug("n", "a.cc", INT32_MAX); }), "allot: BUG: n (a.cc:2147483647)");
    EXPECT_EQ(bug_in([] { bug_object("n", reinterpret_cast<void*>(UINTPTR_MAX), "g", "c"); }),
              "allot: BUG: n: address 0xffffffffffffffff, group g, cache c");
}

TEST(assert, a_bug_in_a_signal_handler_is_reported) {
    const auto die_in_handler = [] {
        std::signal(SIGUSR1, [](int) { bug("in a handler", "a.cc", 7); });
        std::raise(SIGUSR1);
        std::_Exit(0);
    };
    EXPECT_EXIT(die_in_handler(), KilledBySignal(SIGABRT), "in a handler");
}

TEST(assert, a_bug_with_standard_error_closed_still_aborts) {
    const auto die_mutely = [] {
        ::close(STDERR_FILENO);
        bug("nobody hears it", "a.cc", 7);
    };
    EXPECT_EXIT(die_mutely(), KilledBySignal(SIGABRT), "");
}

#if ALLOT_DEBUG
TEST(assert, an_assert_holds_in_debug_builds) {
    int evaluated = 0;
    ALLOT_ASSERT(++evaluated == 1);
    EXPECT_EQ(evaluated, 1);
    EXPECT_NE(bug_in([] { ALLOT_ASSERT(1 == 2); }).find("!(1 == 2)"), std::string::npos);
}
#else
TEST(assert, an_assert_is_nothing_in_release_builds) {
    [[maybe_unused]] int evaluated = 0;
    ALLOT_ASSERT(++evaluated == 2);
    EXPECT_EQ(evaluated, 0) << "not even evaluated";
}
#endif

} // namespace
} // namespace allot::base
