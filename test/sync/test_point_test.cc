// SPDX-License-Identifier: MIT
//
// test_point_test: a thread can be stopped at a named window, and others pass it.
#include "support/test_points.hpp"

#include <gtest/gtest.h>
#include <thread>

namespace {

#if ALLOT_TEST_POINTS
using allot_test::parked;

TEST(test_point, stops_the_first_thread_and_lets_later_ones_pass) {
    parked at{"test:here"};
    std::atomic<int> passed{0};
    std::thread first([&] {
        ALLOT_TEST_POINT("test:here");
        ++passed;
    });
    ASSERT_TRUE(at.arrived());
    ALLOT_TEST_POINT("test:here"); // must not stop a second one
    ALLOT_TEST_POINT("test:elsewhere");
    EXPECT_EQ(passed, 0);
    at.let_go();
    first.join();
    EXPECT_EQ(passed, 1);
}

TEST(test_point, skips_as_many_as_it_is_told) {
    parked at{"test:here", 2};
    ALLOT_TEST_POINT("test:here");
    ALLOT_TEST_POINT("test:here");
    EXPECT_FALSE(at.has_arrived());
    std::thread third([] { ALLOT_TEST_POINT("test:here"); });
    EXPECT_TRUE(at.arrived());
    at.let_go();
    third.join();
}

TEST(test_point, lets_its_thread_go_at_the_end_of_the_scope) {
    std::thread stopped;
    {
        parked at{"test:here"};
        stopped = std::thread([] { ALLOT_TEST_POINT("test:here"); });
        ASSERT_TRUE(at.arrived());
    }
    stopped.join();
}
#else
TEST(test_point, does_not_exist_in_this_build) {
    ALLOT_TEST_POINT("not evaluated");
    SKIP_WITHOUT_TEST_POINTS();
}
#endif

} // namespace
