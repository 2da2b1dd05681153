// SPDX-License-Identifier: MIT
//
// cache_lifecycle_test: root caches and their children are born late, die early, and nothing goes with them.
#include "support/core.hpp"

#include <cerrno>
#include <cstring>
#include <set>

namespace {

using allot_test::blocks;

class cache_life : public allot_test::core_test {
  protected:
    static allot_cache* make(const char* name, std::size_t size, void (*constructor)(void*) = nullptr) {
        const allot_cache_options options{.size = size, .alignment = 0, .flags = 0, .constructor = constructor};
        return allot_cache_create(name, &options);
    }
    static bool has_child(const allot::group& group, allot_cache* cache) {
        allot::sync::rcu_guard section;
        return allot::slab::child_of(allot_test::inside(group),
                                     reinterpret_cast<allot::slab::kmem_cache*>(cache)->shape.index) != nullptr;
    }
    static void warm_up(const allot::group& group, allot_cache* cache) {
        const allot::scope in{group};
        std::vector<void*> made;
        for (int i = 0; i < 1000; ++i)
            made.push_back(allot_cache_alloc(cache));
        allot::quiesce();
        for (void* object : made)
            allot_cache_free(cache, object);
    }
};

TEST_F(cache_life, a_cache_in_the_place_of_a_destroyed_one_warms_up_too) {
    for (const char* const name : {"first", "second", "third"}) {
        allot_cache* const cache = make(name, 200);
        ASSERT_NE(cache, nullptr);
        warm_up(top, cache);
        EXPECT_TRUE(has_child(top, cache)) << name;
        allot_cache_destroy(cache, nullptr);
        allot::quiesce();
    }
}

TEST_F(cache_life, samples_of_a_destroyed_cache_are_live_objects) {
    allot_cache* const cache = make("leaky", 200);
    warm_up(top, cache);
    std::vector<void*> made;
    {
        const allot::scope in{top};
        for (int i = 0; i < 100; ++i)
            made.push_back(allot_cache_alloc(cache));
    }
    std::set<void*> live;
    for (std::size_t i = 0; i < made.size(); ++i)
        if (i % 10 == 3)
            live.insert(made[i]);
        else
            allot_cache_free(cache, made[i]);
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, live.size());
    EXPECT_GT(report.nr_samples, 0u);
    for (std::uint32_t i = 0; i < report.nr_samples; ++i)
        EXPECT_TRUE(live.contains(report.sample[i])) << report.sample[i] << " is no live object";
    for (void* object : live)
        allot::free(object);
}

} // namespace
