// SPDX-License-Identifier: MIT
//
// debug_test: misuse of memory is found at the next operation on the block, and the report names address, group and cache.
#include "support/core.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>

namespace {

using allot_test::blocks;

class misuse : public allot_test::core_test {};

std::string in_hex(const void* address) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%llx",
                  static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(address)));
    return text;
}

/// What a child process reports before it aborts because of `work`; what happened instead if it does not.
std::string bug_of(const std::function<void()>& work) {
    const allot_test::outcome ended = allot_test::in_child(10, [&] {
        work();
        return 0;
    });
    if (ended.signal != SIGABRT)
        return "no bug was reported; " + ended.text;
    return ended.text;
}

testing::AssertionResult names(const std::string& report, const std::string& what, const void* address,
                               const std::string& group, const std::string& cache) {
    const std::string expected =
        "allot: BUG: " + what + ": address " + in_hex(address) + ", group " + group + ", cache " + cache + "\n";
    if (report.find(expected) != std::string::npos)
        return testing::AssertionSuccess();
    return testing::AssertionFailure() << "expected " << expected << "reported " << report;
}

// --- What every build finds -------------------------------------------------------------------------------------------------

TEST_F(misuse, freeing_what_is_not_ours_is_named) {
    auto* const foreign = new char[100];
    EXPECT_TRUE(names(bug_of([&] { allot_free(foreign); }), "free of an address that is not from this library", foreign,
                      "?", "?"));
    delete[] foreign;
    int local = 0;
    EXPECT_TRUE(names(bug_of([&] { allot_free(&local); }), "free of an address that is not from this library", &local,
                      "?", "?"));
}

TEST_F(misuse, freeing_a_page_that_holds_no_block_is_named) {
    void* const block = top.malloc(100'000);
    allot_free(block);
    EXPECT_TRUE(names(bug_of([&] { allot_free(block); }), "free of an address that is no live block", block, "?", "?"));
}

TEST_F(misuse, freeing_an_address_inside_a_large_block_is_named) {
    blocks made;
    ASSERT_TRUE(made.make(top, 100'000, 1));
    char* const inside = static_cast<char*>(made[0]) + 16;
    EXPECT_TRUE(
        names(bug_of([&] { allot_free(inside); }), "free of an address inside a large block", inside, "?", "large"));
}

TEST_F(misuse, a_second_free_of_a_shared_object_is_named) {
    blocks made;
    ASSERT_TRUE(made.make(top, 100, 3));
    EXPECT_TRUE(names(bug_of([&] {
                          allot_free(made[1]);
                          allot_free(made[1]);
                      }),
                      "double free", made[1], "?", "kmalloc-112"));
}

#if ALLOT_DEBUG
// --- What debug builds find -------------------------------------------------------------------------------------------------

/// A group with slabs of its own for 64 bytes, and some blocks of them.
class misuse_of_a_slab : public misuse {
  protected:
    void SetUp() override {
        misuse::SetUp();
        tenant = child("tenant");
        allot_test::heat(tenant, 64);
        ASSERT_TRUE(made.make(tenant, 64, 20));
    }
    void TearDown() override {
        made.clear();
        tenant = {};
        misuse::TearDown();
    }
    /// The middle one, so that its slab is neither empty without it nor full with it.
    char* block() const { return static_cast<char*>(made[10]); }

    allot::group tenant;
    blocks made;
};

TEST_F(misuse_of_a_slab, a_second_free_is_named) {
    EXPECT_TRUE(names(bug_of([&] {
                          allot_free(block());
                          allot_free(block());
                      }),
                      "double free", block(), "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, a_second_free_is_named_though_others_were_freed_between) {
    EXPECT_TRUE(names(bug_of([&] {
                          allot_free(block());
                          allot_free(made[9]);
                          allot_free(made[11]);
                          allot_free(block());
                      }),
                      "double free", block(), "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, a_second_free_by_another_thread_is_named) {
    EXPECT_TRUE(names(bug_of([&] {
                          allot_free(block());
                          std::thread{[&] { allot_free(block()); }}.join();
                      }),
                      "double free", block(), "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, two_frees_by_other_threads_are_named_before_the_owner_looks) {
    EXPECT_TRUE(names(bug_of([&] {
                          std::thread{[&] { allot_free(block()); }}.join();
                          std::thread{[&] { allot_free(block()); }}.join();
                      }),
                      "double free", block(), "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, a_free_inside_a_block_is_named) {
    EXPECT_TRUE(names(bug_of([&] { allot_free(block() + 16); }), "free of an address inside a block", block() + 16,
                      "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, a_free_inside_a_block_by_another_thread_is_named) {
    EXPECT_TRUE(names(bug_of([&] { std::thread{[&] { allot_free(block() + 8); }}.join(); }),
                      "free of an address inside a block", block() + 8, "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, a_write_after_free_is_named_when_the_block_is_handed_out_again) {
    EXPECT_TRUE(names(bug_of([&] {
                          allot_free(block());
                          block()[63] = 'x';
                          (void)tenant.malloc(64);
                      }),
                      "write after free", block(), "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, the_heir_is_named_when_the_group_is_gone) {
    EXPECT_TRUE(names(bug_of([&] {
                          allot::sync::allow_worker(false);
                          tenant.close();
                          allot::quiesce();
                          allot_free(block());
                          allot_free(block());
                      }),
                      "double free", block(), top.name(), "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, a_block_of_the_slab_that_was_never_handed_out_cannot_be_freed) {
    const allot::slab::slab& s = *allot::slab::slab_of(block());
    char* const last = allot::slab::start_of(s) + std::size_t{s.capacity - 1u} * s.object_bytes;
    ASSERT_FALSE(allot::slab::debug_is_live(last));
    EXPECT_TRUE(names(bug_of([&] { allot_free(last); }), "double free", last, "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, realloc_of_a_freed_block_is_found) {
    const std::string report = bug_of([&] {
        allot_free(block());
        (void)allot_realloc(block(), 500);
    });
    EXPECT_TRUE(names(report, "double free", block(), "tenant", "kmalloc-64"));
}

TEST_F(misuse_of_a_slab, a_live_bit_says_whether_a_block_lives) {
    EXPECT_TRUE(allot::slab::debug_is_live(block()));
    void* const other = tenant.malloc(64);
    EXPECT_TRUE(allot::slab::debug_is_live(other));
    allot_free(other);
    EXPECT_FALSE(allot::slab::debug_is_live(other));
}

TEST_F(misuse_of_a_slab, ordinary_use_raises_no_alarm) {
    for (int round = 0; round < 2000; ++round) {
        auto* const one = static_cast<char*>(tenant.malloc(64));
        std::memset(one, round, 64);
        allot_free(one);
    }
    // Other threads free, and what comes back is used again.
    std::thread{[&] { made.clear(); }}.join();
    ASSERT_TRUE(made.make(tenant, 64, 2000));
    for (std::size_t i = 0; i < made.size(); ++i)
        std::memset(made[i], 0xff, 64);
}

TEST_F(misuse, a_free_inside_a_shared_object_is_named_with_its_cache) {
    blocks made;
    ASSERT_TRUE(made.make(top, 100, 3));
    char* const inside = static_cast<char*>(made[1]) + 16;
    const std::string report = bug_of([&] { allot_free(inside); });
    EXPECT_NE(report.find("free of an address inside a block: address " + in_hex(inside)), std::string::npos) << report;
    EXPECT_NE(report.find("cache kmalloc-112\n"), std::string::npos) << report;
}

TEST_F(misuse, a_write_after_free_to_a_shared_object_is_named_with_its_cache) {
    blocks made;
    ASSERT_TRUE(made.make(top, 100, 3));
    const std::string report = bug_of([&] {
        allot_free(made[1]);
        static_cast<char*>(made[1])[50] = 'x';
        for (int i = 0; i < 1000; ++i)
            (void)top.malloc(100);
    });
    EXPECT_NE(report.find("write after free: address " + in_hex(made[1])), std::string::npos) << report;
    EXPECT_NE(report.find("cache kmalloc-112\n"), std::string::npos) << report;
}

void construct(void* object) { std::memset(object, 7, 200); }

TEST_F(misuse, objects_that_keep_their_content_may_be_read_and_are_still_freed_once) {
    const allot_cache_options options{.size = 200, .alignment = 0, .flags = 0, .constructor = construct};
    allot_cache* const cache = allot_cache_create("constructed", &options);
    ASSERT_NE(cache, nullptr);
    const allot::scope in{top};
    void* const first = allot_cache_alloc(cache);
    auto* const object = static_cast<char*>(allot_cache_alloc(cache));
    EXPECT_EQ(object[199], 7) << "the constructor's work is not poisoned";
    const std::string report = bug_of([&] {
        allot_cache_free(cache, object);
        allot_cache_free(cache, object);
    });
    EXPECT_NE(report.find("double free: address " + in_hex(object)), std::string::npos) << report;
    EXPECT_NE(report.find("cache constructed\n"), std::string::npos) << report;
    allot_cache_free(cache, object);
    allot_cache_free(cache, first);
    allot_cache_destroy(cache, nullptr);
}
#endif

} // namespace
