// SPDX-License-Identifier: MIT
//
// metadata_test: the library's own objects come zeroed and aligned, are the root's, and their pages go back.
#include "support/core.hpp"

#include "slab/metadata.hpp"

#include <algorithm>
#include <cstring>

namespace {

namespace slab = allot::slab;

/// Objects of the library's own, taken as its code takes them.
class metadata : public allot_test::core_test {
  protected:
    struct object {
        void* at;
        std::size_t bytes;
    };
    object take(std::size_t bytes) {
        allot::sync::busy_scope busy;
        return {slab::metadata_alloc(bytes, nullptr), bytes};
    }
    void give(const object& one) {
        allot::sync::busy_scope busy;
        slab::metadata_free(one.at, one.bytes);
    }
    static std::uint64_t charged() { return allot::root().stat().metadata; }
    static bool is_zero(const object& one) {
        const auto* const from = static_cast<const char*>(one.at);
        return std::all_of(from, from + one.bytes, [](char byte) { return byte == 0; });
    }
};

TEST_F(metadata, sizes_are_powers_of_two_from_a_cache_line_to_a_page) {
    EXPECT_EQ(slab::metadata_bytes(1), 64u);
    EXPECT_EQ(slab::metadata_bytes(64), 64u);
    EXPECT_EQ(slab::metadata_bytes(65), 128u);
    EXPECT_EQ(slab::metadata_bytes(1024), 1024u);
    EXPECT_EQ(slab::metadata_bytes(1025), 2048u);
    EXPECT_EQ(slab::metadata_bytes(slab::metadata_max_bytes), 4096u);
}

TEST_F(metadata, objects_come_zeroed_and_aligned_also_where_others_lay) {
    for (std::size_t bytes = 1; bytes <= slab::metadata_max_bytes; bytes = bytes * 2 + 1)
        for (int round = 0; round < 3; ++round) {
            std::vector<object> held;
            for (int i = 0; i < 100; ++i) {
                held.push_back(take(bytes));
                ASSERT_NE(held.back().at, nullptr);
                EXPECT_TRUE(is_zero(held.back())) << bytes;
                EXPECT_EQ(reinterpret_cast<std::uintptr_t>(held.back().at) % 64, 0u);
                std::memset(held.back().at, 0xff, bytes);
            }
            for (const object& one : held)
                give(one);
        }
}

TEST_F(metadata, no_two_objects_overlap) {
    std::mt19937 random{11};
    std::vector<object> held;
    for (int turn = 0; turn < 2000; ++turn) {
        held.push_back(take(1 + random() % 4096));
        if (held.size() < 50)
            continue;
        std::swap(held[random() % held.size()], held.back());
        give(held.back());
        held.pop_back();
    }
    std::sort(held.begin(), held.end(), [](const object& a, const object& b) { return a.at < b.at; });
    for (std::size_t i = 1; i < held.size(); ++i)
        EXPECT_LE(static_cast<char*>(held[i - 1].at) + held[i - 1].bytes, held[i].at);
    for (const object& one : held)
        give(one);
}

TEST_F(metadata, pages_are_the_roots_and_go_back_when_they_are_empty) {
    allot_test::settle_all();
    const std::uint64_t before = charged();
    std::vector<object> held;
    for (int i = 0; i < 64; ++i)
        held.push_back(take(2000)); // two of them a page
    EXPECT_GE(charged() - before, 31u * 4096);
    EXPECT_LE(charged() - before, 32u * 4096);
    allot_test::expect_books_agree("with metadata taken");
    for (const object& one : held)
        give(one);
    EXPECT_LE(charged(), before + 4096) << "at most the last page of its size is kept";
}

TEST_F(metadata, the_roots_limit_is_met_and_named) {
    std::vector<object> held;
    const std::uint64_t now = allot::root().stat().current;
    allot::root().set({.max = now + 3 * 4096});
    allot::counter::page_counter* over = nullptr;
    for (int i = 0; i < 100 && over == nullptr; ++i) {
        allot::sync::busy_scope busy;
        if (void* const at = slab::metadata_alloc(4096, &over))
            held.push_back({at, 4096});
    }
    allot::root().set({.max = ALLOT_UNLIMITED});
    EXPECT_EQ(over, &allot_test::inside(allot::root()).counter());
    EXPECT_LE(held.size(), 4u);
    for (const object& one : held)
        give(one);
}

TEST_F(metadata, threads_share_it) {
    allot_test::on_threads(3, [&](unsigned thread) {
        std::mt19937 random{thread};
        std::vector<object> held;
        for (unsigned turn = 0; turn < 5000 / allot_test::slowdown; ++turn) {
            const object one = take(64u << random() % 7);
            ASSERT_NE(one.at, nullptr);
            ASSERT_TRUE(is_zero(one));
            std::memset(one.at, static_cast<int>(thread + 1), one.bytes);
            held.push_back(one);
            if (held.size() < 30)
                continue;
            std::swap(held[random() % held.size()], held.back());
            ASSERT_EQ(static_cast<char*>(held.back().at)[held.back().bytes - 1], static_cast<char>(thread + 1));
            give(held.back());
            held.pop_back();
        }
        for (const object& one : held)
            give(one);
    });
}

} // namespace
