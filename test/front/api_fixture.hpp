// SPDX-License-Identifier: MIT
//
// api_fixture: a group of its own for each test of the public interface, and the books checked at its end.
#pragma once

#include <allot/allot.hpp>

#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <vector>

namespace allot {

/// Lets GoogleTest print groups by their paths.
inline void PrintTo(const group& printed, std::ostream* out) {
    *out << (printed ? printed.path() : "no group") << (printed.is_open() ? "" : " (closed)");
}

} // namespace allot

namespace allot_test {

/// Gives a test the group `top`, closes it at the end, and asks that the root is where it was and that a recount agrees.
class api_test : public testing::Test {
  protected:
    void SetUp() override {
        allot::quiesce();
        const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
        top = allot::root().create(std::string{test->name()}.substr(0, ALLOT_NAME_MAX));
    }

    void TearDown() override {
        const allot::group parent = top.parent();
        top.close();
        top = {};
        allot::quiesce();
        EXPECT_EQ(parent.stat().nr_dying, 0u) << "a closed group without handles is freed";
        const allot::verify_report books = allot::verify();
        EXPECT_TRUE(books) << books.errors << " differences, the first: " << books.first_error;
    }

    /// Returns a child of `top` that may use `max_bytes`.
    allot::group capped(const char* name, std::uint64_t max_bytes) { return top.create(name, {.max = max_bytes}); }

    allot::group top;
};

/// Frees what it holds when it dies.
class owned_blocks {
  public:
    owned_blocks() = default;
    owned_blocks(const owned_blocks&) = delete;
    owned_blocks& operator=(const owned_blocks&) = delete;
    ~owned_blocks() { clear(); }

    void add(void* block) { held_.push_back(block); }
    std::size_t count() const { return held_.size(); }
    void clear() {
        for (void* block : held_)
            allot::free(block);
        held_.clear();
    }
    /// Allocates `size` bytes for `group` until that fails or there are `limit` owned_blocks; returns the bytes that may be used.
    std::uint64_t fill(const allot::group& group, std::size_t size, std::size_t limit = 1'000'000) {
        std::uint64_t usable = 0;
        while (held_.size() < limit) {
            void* block = group.malloc(size);
            if (block == nullptr)
                break;
            usable += allot::usable_size(block);
            add(block);
        }
        return usable;
    }

  private:
    std::vector<void*> held_;
};

/// Gives back all that the group holds and nobody uses, so that usage is what lives.
inline void settle(const allot::group& group) {
    allot::quiesce();
    group.reclaim();
    allot::quiesce();
}

} // namespace allot_test
