// SPDX-License-Identifier: MIT
//
// limit_exceeded: what it says and that it is a std::bad_alloc.
#include "api_fixture.hpp"

#include <optional>
#include <thread>
#include <type_traits>

namespace {

using namespace allot::literals;

class api_error : public allot_test::api_test {
  protected:
    /// Runs `act` and returns the limit_exceeded that it throws.
    template <class Act> static std::optional<allot::limit_exceeded> thrown_by(Act act) {
        try {
            act();
        } catch (const allot::limit_exceeded& error) {
            return error;
        }
        return std::nullopt;
    }
};

static_assert(std::is_base_of_v<std::bad_alloc, allot::limit_exceeded>);
static_assert(std::is_nothrow_copy_constructible_v<allot::limit_exceeded>);

TEST_F(api_error, names_the_group_its_usage_its_limit_and_the_request) {
    const allot::group tenant = capped("tenant-0042", 1_MiB);
    const allot::charge held = tenant.charge_for(512_KiB);
    const auto error = thrown_by([&] { (void)tenant.charge_for(600_KiB); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->group(), tenant.path());
    EXPECT_EQ(error->usage(), 512_KiB);
    EXPECT_EQ(error->limit(), 1_MiB);
    EXPECT_EQ(error->request(), 600_KiB);
    const std::string_view text = error->what();
    EXPECT_NE(text.find("tenant-0042: out of memory: 512.0 KiB of 1.0 MiB in use, 600.0 KiB asked"), text.npos) << text;
}

TEST_F(api_error, names_the_ancestor_whose_limit_was_met) {
    const allot::group parent = capped("parent", 64_KiB);
    const allot::group child = parent.create("child", {.max = 1_GiB});
    const auto error = thrown_by([&] { (void)child.charge_for(65_KiB); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->group(), parent.path());
    EXPECT_EQ(error->limit(), 64_KiB);
}

TEST_F(api_error, allocations_throw_it_too) {
    const allot::group child = capped("child", 64_KiB);
    const auto from_resource = thrown_by([&] { (void)child.resource()->allocate(100'000); });
    ASSERT_TRUE(from_resource);
    EXPECT_EQ(from_resource->group(), child.path());
    EXPECT_EQ(from_resource->limit(), 64_KiB);
    EXPECT_GE(from_resource->request(), 100'000u);

    const allot::scope in{child};
    EXPECT_THROW((void)allot::ambient_resource()->allocate(100'000), allot::limit_exceeded);
    EXPECT_THROW((void)allot::allocator<char>{}.allocate(100'000), std::bad_alloc);
}

TEST_F(api_error, a_copy_keeps_its_text_when_another_failure_follows) {
    const allot::group first = capped("first", 1_KiB);
    const allot::group second = capped("second", 1_KiB);
    const auto kept = thrown_by([&] { (void)first.charge_for(2_KiB); });
    ASSERT_TRUE(kept);
    const std::string before = kept->what();
    EXPECT_FALSE(second.try_charge(3_KiB));
    EXPECT_EQ(before, kept->what());
    EXPECT_NE(before.find("first"), before.npos);
}

TEST_F(api_error, a_failure_belongs_to_its_thread) {
    const allot::group mine = capped("mine", 1_KiB);
    const allot::group other = capped("other", 1_KiB);
    EXPECT_FALSE(mine.try_charge(2_KiB));
    std::thread{[&] { EXPECT_FALSE(other.try_charge(5_KiB)); }}.join();
    allot_failure failure{};
    ASSERT_TRUE(allot_last_failure(&failure));
    EXPECT_EQ(failure.group, mine.path());
    EXPECT_EQ(failure.request, 2_KiB);
}

TEST_F(api_error, a_long_path_is_cut_on_the_left) {
    allot::group group = top;
    for (int depth = 0; depth < 4; ++depth)
        group = group.create(std::string(ALLOT_NAME_MAX, static_cast<char>('a' + depth)));
    group.set({.max = 0});
    const auto error = thrown_by([&] { (void)group.charge_for(1); });
    ASSERT_TRUE(error);
    EXPECT_LT(error->group().size(), sizeof(allot_failure::group));
    EXPECT_TRUE(error->group().ends_with(group.name())) << error->group();
}

} // namespace
