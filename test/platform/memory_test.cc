// SPDX-License-Identifier: MIT
//
// memory_test: address space is aligned, zeroed and given back; in debug builds the n-th call fails on demand.
#include "platform/memory.hpp"

#include "sync/executor.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <vector>

namespace allot::platform {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

bool is_zero(const void* start, std::size_t bytes) {
    const auto* at = static_cast<const unsigned char*>(start);
    return bytes == 0 || (at[0] == 0 && std::memcmp(at, at + 1, bytes - 1) == 0);
}

/// Count of pages of a mapped range that are in memory; -1 if some page is not mapped.
int resident_pages(void* start, std::size_t bytes) {
    std::vector<unsigned char> pages(bytes / page_bytes);
    if (::mincore(start, bytes, pages.data()) != 0)
        return -1;
    int count = 0;
    for (const unsigned char page : pages)
        count += page & 1;
    return count;
}

TEST(memory, map_gives_zeroed_pages_that_can_be_written) {
    void* const start = map(mib);
    ASSERT_NE(start, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(start) % page_bytes, 0u);
    EXPECT_TRUE(is_zero(start, mib));
    std::memset(start, 0xa5, mib);
    EXPECT_EQ(static_cast<unsigned char*>(start)[mib - 1], 0xa5);
    unmap(start, mib);
}

TEST(memory, map_backs_nothing_until_it_is_touched) {
    constexpr std::size_t bytes = std::size_t{64} << 30; // more than any test machine has
    auto* const start = static_cast<char*>(map(bytes));
    ASSERT_NE(start, nullptr);
    start[bytes / 2] = 1;
    EXPECT_LE(resident_pages(start, mib), 0);
    unmap(start, bytes);
}

TEST(memory, unmap_makes_the_range_vanish) {
    void* const start = map(mib);
    ASSERT_NE(start, nullptr);
    EXPECT_NE(resident_pages(start, mib), -1);
    unmap(start, mib);
    EXPECT_EQ(resident_pages(start, mib), -1);
}

TEST(memory, map_of_more_than_there_is_fails) {
    EXPECT_EQ(map(std::size_t{1} << 60), nullptr);
    EXPECT_EQ(reserve(std::size_t{1} << 60, mib), nullptr);
}

TEST(memory, reserve_is_aligned_as_asked_and_leaves_nothing_around_it) {
    for (const std::size_t alignment : {page_bytes, 4 * page_bytes, mib, 64 * mib}) {
        auto* const start = static_cast<char*>(reserve(4 * mib, alignment));
        ASSERT_NE(start, nullptr);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(start) % alignment, 0u) << alignment;
        EXPECT_NE(resident_pages(start, 4 * mib), -1) << "all of it is there";
        unmap(start, 4 * mib);
        EXPECT_EQ(resident_pages(start, 4 * mib), -1);
    }
}

TEST(memory, reserve_trims_what_alignment_took) {
    // The margins of such a reservation are 1 GiB together.
    std::vector<void*> ranges;
    for (int i = 0; i < 20; ++i) {
        auto* const start = static_cast<char*>(reserve(mib, std::size_t{1} << 30));
        ASSERT_NE(start, nullptr);
        EXPECT_EQ(resident_pages(start + mib, page_bytes), -1) << "the tail is given back";
        EXPECT_EQ(resident_pages(start - page_bytes, page_bytes), -1) << "so is the head";
        ranges.push_back(start);
    }
    for (void* start : ranges)
        unmap(start, mib);
}

TEST(memory, reserved_pages_cannot_be_touched) {
    auto* const start = static_cast<volatile char*>(reserve(mib, page_bytes));
    ASSERT_NE(start, nullptr);
    const auto read_it = [&] {
        std::signal(SIGSEGV, SIG_DFL); // a sanitizer has its own handler
        static_cast<void>(start[100]);
    };
    EXPECT_EXIT(read_it(), testing::KilledBySignal(SIGSEGV), "");
    unmap(const_cast<char*>(start), mib);
}

TEST(memory, commit_makes_only_the_given_pages_usable) {
    auto* const start = static_cast<char*>(reserve(mib, page_bytes));
    ASSERT_NE(start, nullptr);
    ASSERT_TRUE(commit(start + 16 * page_bytes, 16 * page_bytes));
    EXPECT_TRUE(is_zero(start + 16 * page_bytes, 16 * page_bytes));
    std::memset(start + 16 * page_bytes, 0x5a, 16 * page_bytes);
    const auto write_next = [&] {
        std::signal(SIGSEGV, SIG_DFL);
        static_cast<volatile char*>(start)[32 * page_bytes] = 1;
    };
    EXPECT_EXIT(write_next(), testing::KilledBySignal(SIGSEGV), "");
    ASSERT_TRUE(commit(start + 32 * page_bytes, 16 * page_bytes)) << "a neighbour";
    EXPECT_EQ(start[16 * page_bytes], 0x5a) << "the first range keeps its contents";
    unmap(start, mib);
}

TEST(memory, commit_of_what_is_not_mapped_fails) {
    void* const start = map(mib);
    ASSERT_NE(start, nullptr);
    unmap(start, mib);
    EXPECT_FALSE(commit(start, mib));
    EXPECT_FALSE(discard(start, mib));
}

TEST(memory, populate_is_a_hint_that_fails_without_a_word) {
    auto* const start = static_cast<char*>(map(4 * page_bytes));
    ASSERT_NE(start, nullptr);
    start[page_bytes] = 0x5a;
    errno = 7;
    populate(start, 4 * page_bytes);
    EXPECT_EQ(start[page_bytes], 0x5a);
    EXPECT_EQ(start[0] + start[2 * page_bytes] + start[4 * page_bytes - 1], 0);
    unmap(start, 4 * page_bytes);
    populate(start, 4 * page_bytes);
    EXPECT_EQ(errno, 7);
}

TEST(memory, discarded_pages_read_as_zeros_and_stay_usable) {
    auto* const start = static_cast<char*>(map(16 * page_bytes));
    ASSERT_NE(start, nullptr);
    std::memset(start, 0x77, 16 * page_bytes);
    ASSERT_TRUE(discard(start + 4 * page_bytes, 8 * page_bytes));
    EXPECT_EQ(resident_pages(start, 16 * page_bytes), 8) << "the memory is given back";
    EXPECT_TRUE(is_zero(start + 4 * page_bytes, 8 * page_bytes));
    EXPECT_EQ(start[4 * page_bytes - 1], 0x77);
    EXPECT_EQ(start[12 * page_bytes], 0x77);
    start[5 * page_bytes] = 1;
    EXPECT_EQ(start[5 * page_bytes], 1);
    unmap(start, 16 * page_bytes);
}

#if ALLOT_DEBUG
class memory_faults : public testing::Test {
  protected:
    void SetUp() override {
        sync::drain(); // the library's own work would count calls
        fail_nth_map(0, false);
    }
    void TearDown() override { fail_nth_map(0, false); }

    /// Tries one mapping and gives it back.
    static bool map_works() {
        void* const start = map(page_bytes);
        if (start != nullptr)
            unmap(start, page_bytes);
        return start != nullptr;
    }
};

TEST_F(memory_faults, the_nth_call_fails_and_no_other) {
    for (std::uint64_t n = 1; n <= 4; ++n) {
        fail_nth_map(n, false);
        for (std::uint64_t call = 1; call <= 6; ++call)
            EXPECT_EQ(map_works(), call != n) << "call " << call << ", failing " << n;
    }
}

TEST_F(memory_faults, a_sticky_failure_lasts_until_it_is_ended) {
    fail_nth_map(3, true);
    for (int call = 1; call <= 6; ++call)
        EXPECT_EQ(map_works(), call < 3) << call;
    fail_nth_map(0, false);
    EXPECT_TRUE(map_works());
}

TEST_F(memory_faults, reserve_and_commit_fail_as_map_does) {
    fail_nth_map(1, false);
    EXPECT_EQ(reserve(mib, page_bytes), nullptr);
    void* const start = reserve(mib, page_bytes);
    ASSERT_NE(start, nullptr);
    fail_nth_map(1, false);
    EXPECT_FALSE(commit(start, mib));
    EXPECT_TRUE(commit(start, mib)) << "a second try works: nothing was half done";
    fail_nth_map(1, true);
    EXPECT_TRUE(discard(start, mib)) << "giving back never fails on demand";
    unmap(start, mib);
}

TEST_F(memory_faults, calls_are_counted_so_that_a_sweep_knows_its_end) {
    EXPECT_EQ(fail_nth_map(0, false), 0u);
    for (int i = 0; i < 5; ++i)
        EXPECT_TRUE(map_works());
    EXPECT_EQ(fail_nth_map(2, false), 5u);
    EXPECT_TRUE(map_works());
    EXPECT_FALSE(map_works());
    EXPECT_EQ(fail_nth_map(0, false), 2u) << "a failed call counts";
}
#endif

} // namespace
} // namespace allot::platform
