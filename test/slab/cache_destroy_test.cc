// SPDX-License-Identifier: MIT
//
// cache_destroy_test: a destroyed cache says what lives, stays valid for its objects, and is gone with the last of them.
#include "support/bugs.hpp"
#include "support/core.hpp"
#include "support/test_points.hpp"

#include <algorithm>
#include <cstring>

namespace {

using allot_test::parked;

class cache_end : public allot_test::core_test {
  protected:
    static allot_cache* make(const char* name, std::size_t size = 200, unsigned flags = 0) {
        const allot_cache_options options{.size = size, .alignment = 0, .flags = flags, .constructor = nullptr};
        return allot_cache_create(name, &options);
    }
    static std::vector<void*> fill(const allot::group& group, allot_cache* cache, int count) {
        const allot::scope in{group};
        std::vector<void*> made;
        for (int i = 0; i < count; ++i)
            made.push_back(allot_cache_alloc(cache));
        return made;
    }
    static allot::slab::kmem_cache& inside(allot_cache* cache) {
        return *reinterpret_cast<allot::slab::kmem_cache*>(cache);
    }
    /// True while some root cache has the name.
    static bool exists(const char* name) {
        for (std::uint32_t i = 0; i < allot::slab::cache_count_max; ++i)
            if (const auto* cache = allot::slab::root_cache_at(i);
                cache != nullptr && std::strcmp(cache->name, name) == 0)
                return true;
        return false;
    }
};

TEST_F(cache_end, names_the_groups_that_the_live_objects_are_charged_to) {
    allot_cache* const cache = make("named");
    const allot::group cold = child("cold");
    const allot::group hot = child("hot");
    const std::vector<void*> few = fill(cold, cache, 2);
    std::vector<void*> many = fill(hot, cache, 1000);
    allot::quiesce();
    const std::vector<void*> own = fill(hot, cache, 1);
    for (void* object : many)
        allot_cache_free(cache, object);
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, 3u);
    ASSERT_EQ(report.nr_samples, 3u);
    for (std::uint32_t i = 0; i < report.nr_samples; ++i)
        EXPECT_STREQ(report.group[i], report.sample[i] == own[0] ? "hot" : "cold");
    for (void* object : {few[0], few[1], own[0]})
        allot::free(object);
    allot::quiesce();
    EXPECT_FALSE(exists("named"));
}

TEST_F(cache_end, is_gone_with_the_last_object_whichever_child_has_it) {
    allot_cache* const cache = make("last");
    std::vector<void*> kept;
    for (const char* name : {"a", "b", "c"}) {
        const allot::group group = child(name);
        std::vector<void*> made = fill(group, cache, 1000);
        allot::quiesce();
        kept.push_back(fill(group, cache, 1)[0]);
        for (void* object : made)
            allot_cache_free(cache, object);
    }
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, kept.size());
    for (void* object : kept) {
        EXPECT_TRUE(exists("last"));
        std::memset(object, 1, 200);
        allot::free(object);
        allot::quiesce();
    }
    EXPECT_FALSE(exists("last"));
}

TEST_F(cache_end, a_free_while_it_is_being_destroyed_is_not_forgotten) {
    SKIP_WITHOUT_TEST_POINTS();
    for (const char* window : {"destroy:unaliased", "destroy:closed", "destroy:settled", "destroy:shut_down"}) {
        allot_cache* const cache = make("window");
        const allot::group group = child("group");
        std::vector<void*> made = fill(group, cache, 1000);
        allot::quiesce();
        made.push_back(fill(group, cache, 1)[0]);
        parked at{window};
        std::thread destroyer([&] { allot_cache_destroy(cache, nullptr); });
        ASSERT_TRUE(at.arrived());
        for (void* object : made)
            allot::free(object);
        if (std::strcmp(window, "destroy:closed") != 0 && std::strcmp(window, "destroy:settled") != 0)
            allot::quiesce(); // the executor is not held at these
        at.let_go();
        destroyer.join();
        allot::quiesce();
        EXPECT_FALSE(exists("window")) << "freed at " << window << ": a cache for ever";
        group.close();
    }
}

TEST_F(cache_end, an_equal_cache_that_is_made_meanwhile_is_another_one) {
    SKIP_WITHOUT_TEST_POINTS();
    allot_cache* const old = make("twin");
    void* const object = fill(top, old, 1)[0];
    parked at{"destroy:closed"};
    std::thread destroyer([&] { allot_cache_destroy(old, nullptr); });
    ASSERT_TRUE(at.arrived());
    allot_cache* const made = make("twin");
    EXPECT_NE(made, old) << "one that is being destroyed must not be handed out again";
    at.let_go();
    destroyer.join();
    void* const other = fill(top, made, 1)[0];
    allot_cache_destroy(made, nullptr);
    allot::free(object);
    allot::free(other);
    allot::quiesce();
    EXPECT_FALSE(exists("twin"));
}

TEST_F(cache_end, only_the_last_alias_destroys) {
    allot_cache* const first = make("alias");
    allot_cache* const second = make("alias");
    EXPECT_EQ(first, second);
    const allot::group group = child("group");
    std::vector<void*> made = fill(group, first, 1000);
    allot::quiesce();
    allot_cache_destroy(first, nullptr);
    EXPECT_EQ(inside(second).gate.life(), allot::slab::cache_life::live)
        << "or the removal of the group would leave its child behind";
    void* const object = fill(group, second, 1)[0];
    EXPECT_NE(object, nullptr);
    for (void* each : made)
        allot::free(each);
    allot::free(object);
    group.close();
    allot::quiesce();
    int children = 0;
    inside(second).children.for_each([&](allot::slab::kmem_cache&) { ++children; });
    EXPECT_EQ(children, 1) << "only the root group's is left";
    allot_cache_destroy(second, nullptr);
    allot::quiesce();
    EXPECT_FALSE(exists("alias"));
}

TEST_F(cache_end, finds_no_leak_in_objects_that_wait_for_a_grace_period) {
    allot_cache* const cache = make("deferred");
    for (void* object : fill(top, cache, 500)) {
        auto* const head = static_cast<allot_rcu_head*>(object);
        allot_free_rcu(object, head);
    }
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, 0u);
    EXPECT_FALSE(exists("deferred"));
}

TEST_F(cache_end, gives_slabs_of_a_type_stable_cache_back_before_it_goes) {
    allot_cache* const cache = make("stable", 200, ALLOT_CACHE_TYPESAFE_BY_RCU);
    const allot::group group = child("group");
    std::vector<void*> made = fill(group, cache, 1000);
    allot::quiesce();
    std::vector<void*> own = fill(group, cache, 1000);
    made.insert(made.end(), own.begin(), own.end());
    for (void* object : made)
        allot_cache_free(cache, object);
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, 0u);
    allot::quiesce();
    EXPECT_FALSE(exists("stable"));
    allot_test::expect_books_agree("after the end of a type-stable cache");
}

TEST_F(cache_end, shrinking_gives_back_what_no_object_needs_and_nothing_else) {
    for (const unsigned flags : {0u, unsigned{ALLOT_CACHE_TYPESAFE_BY_RCU}}) {
        allot_cache* const cache = make("shrunk", 1000, flags);
        const allot::group group = child("group");
        std::vector<void*> made = fill(group, cache, 1000);
        allot::quiesce();
        std::vector<void*> own = fill(group, cache, 1000);
        made.insert(made.end(), own.begin(), own.end());
        void* const kept = made.back();
        made.pop_back();
        std::memset(kept, 0x5a, 1000);
        for (void* object : made)
            allot_cache_free(cache, object);
        allot_cache_shrink(cache);
        EXPECT_EQ(allot_cache_shrink(cache), 0u) << "a second time finds nothing";
        std::uint64_t slabs = inside(cache).nr_slabs;
        inside(cache).children.for_each([&](allot::slab::kmem_cache& each) { slabs += each.nr_slabs; });
        EXPECT_EQ(slabs, 1u) << "the one that the last object lies in";
        EXPECT_TRUE(
            std::all_of(static_cast<char*>(kept), static_cast<char*>(kept) + 1000, [](char c) { return c == 0x5a; }));
        void* const again = fill(group, cache, 1)[0];
        EXPECT_NE(again, nullptr) << "it goes on";
        allot::free(kept);
        allot::free(again);
        allot_cache_destroy(cache, nullptr);
        group.close();
        allot::quiesce();
    }
}

#if ALLOT_DEBUG
TEST_F(cache_end, allocation_after_destroy_is_named_with_both_stacks) {
    static allot_cache* cache;
    cache = make("gone");
    void* const object = fill(top, cache, 1)[0];
    allot_cache_destroy(cache, nullptr);
    const std::string orphaned = allot_test::bug_in([] { allot_cache_alloc(cache); });
    EXPECT_NE(orphaned.find("allocation from a destroyed cache: cache gone; destroyed at 0x"), std::string::npos)
        << orphaned;
    EXPECT_NE(orphaned.find("; used at 0x"), std::string::npos) << orphaned;
    allot::free(object);
    allot::quiesce();
    const std::string freed = allot_test::bug_in([] { allot_cache_alloc(cache); });
    EXPECT_NE(freed.find("allocation from a destroyed cache: cache gone; destroyed at 0x"), std::string::npos)
        << "also when its memory is gone: " << freed;
}

TEST_F(cache_end, reports_the_stacks_that_allocated_what_lives) {
    allot::slab::debug_record_stacks(true);
    allot_cache* const cache = make("stacks");
    void* const object = fill(top, cache, 1)[0];
    allot::slab::debug_record_stacks(false);
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    ASSERT_EQ(report.nr_samples, 1u);
    EXPECT_NE(report.stack[0][0], nullptr);
    EXPECT_NE(report.stack[0][2], nullptr) << "more than the allocator's own frame";
    allot::free(object);
    allot::quiesce();
}
#endif

} // namespace
