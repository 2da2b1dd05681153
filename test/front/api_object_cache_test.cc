// SPDX-License-Identifier: MIT
//
// object_cache<T>: construction, destruction, charging, and a cache that dies before its objects.
#include "api_fixture.hpp"

#include <memory>
#include <string>
#include <thread>

namespace {

using namespace allot::literals;
using allot_test::settle;

class api_object_cache : public allot_test::api_test {};

struct session {
    static inline int alive = 0;
    explicit session(int number, bool fail = false) : id(number) {
        if (fail)
            throw std::string{"construction failed"};
        ++alive;
    }
    ~session() { --alive; }
    int id;
    char payload[200] = {};
};

struct point {
    double x, y;
};

TEST_F(api_object_cache, create_constructs_and_destroy_destroys) {
    allot::object_cache<session> sessions{"session"};
    EXPECT_STREQ(sessions.name(), "session");
    const int before = session::alive;
    session* first = sessions.create(42);
    session* second = sessions.try_create(43);
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(session::alive, before + 2);
    EXPECT_EQ(first->id + second->id, 85);
    sessions.destroy(first);
    sessions.destroy(second);
    sessions.destroy(nullptr);
    EXPECT_EQ(session::alive, before);
    EXPECT_EQ(sessions.shutdown().live, 0u);
}

TEST_F(api_object_cache, aggregates_are_made_from_their_members) {
    allot::object_cache<point> points{"point"};
    point* made = points.create(1.5, 2.5);
    EXPECT_EQ(made->x + made->y, 4.0);
    points.destroy(made);
}

TEST_F(api_object_cache, objects_are_charged_to_the_group_that_makes_them) {
    allot::object_cache<session> sessions{"session"};
    const allot::scope in{top};
    std::vector<session*> made;
    for (int index = 0; index < 1000; ++index)
        made.push_back(sessions.create(index));
    EXPECT_EQ(allot::owner_of(made.back()), top);
    EXPECT_GE(top.stat().current, 1000 * sizeof(session));
    EXPECT_EQ(top.stat().allocations, 1000u);
    std::thread{[&] {
        for (session* object : made)
            sessions.destroy(object);
    }}.join();
    settle(top);
    EXPECT_EQ(top.stat().current, 0u);
}

TEST_F(api_object_cache, a_constructor_that_throws_leaves_nothing_behind) {
    allot::object_cache<session> sessions{"session"};
    const allot::scope in{top};
    for (int index = 0; index < 100; ++index) {
        EXPECT_THROW((void)sessions.create(1, true), std::string);
        EXPECT_THROW((void)sessions.try_create(1, true), std::string);
    }
    EXPECT_EQ(sessions.shutdown().live, 0u);
    settle(top);
    EXPECT_EQ(top.stat().current, 0u);
}

TEST_F(api_object_cache, over_the_limit_create_throws_and_try_create_is_null) {
    allot::object_cache<session> sessions{"session"};
    const allot::group child = capped("child", 64_KiB);
    const allot::scope in{child};
    std::vector<session*> made;
    while (session* object = sessions.try_create(1))
        made.push_back(object);
    EXPECT_GE(made.size(), 100u);
    EXPECT_LE(child.stat().current, 64_KiB);
    try {
        (void)sessions.create(1);
        ADD_FAILURE() << "one more fits after all";
    } catch (const allot::limit_exceeded& error) {
        EXPECT_EQ(error.group(), child.path());
    }
    for (session* object : made)
        sessions.destroy(object);
}

TEST_F(api_object_cache, a_cache_that_dies_first_tells_what_lives_and_its_objects_stay_valid) {
    std::vector<session*> made;
    const allot::scope in{top};
    {
        allot::object_cache<session> sessions{"session"};
        for (int index = 0; index < 5; ++index)
            made.push_back(sessions.create(index));
        const allot::cache_report left = sessions.shutdown();
        EXPECT_EQ(left.live, 5u);
    }
    allot::quiesce();
    for (int index = 0; index < 5; ++index) {
        EXPECT_EQ(made[static_cast<std::size_t>(index)]->id, index);
        std::destroy_at(made[static_cast<std::size_t>(index)]);
        allot::free(made[static_cast<std::size_t>(index)]);
    }
    settle(top);
    EXPECT_EQ(top.stat().current, 0u);
}

TEST_F(api_object_cache, moves_leave_the_source_empty) {
    allot::object_cache<session> first{"first"};
    session* object = first.create(7);
    allot::object_cache<session> second{std::move(first)};
    EXPECT_EQ(first.get(), nullptr); // NOLINT: a moved-from cache is empty by contract
    second.destroy(object);
    second = allot::object_cache<session>{"third"};
    EXPECT_STREQ(second.name(), "third");
}

struct alignas(256) wide {
    char bytes[300];
};

TEST_F(api_object_cache, objects_have_their_alignment_and_come_zeroed_when_asked) {
    allot::object_cache<wide> cache{"wide", ALLOT_CACHE_ZERO};
    std::vector<wide*> made;
    for (int round = 0; round < 2; ++round) {
        for (int index = 0; index < 50; ++index) {
            void* raw = allot_cache_alloc(cache.get());
            ASSERT_NE(raw, nullptr);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(raw) % 256, 0u);
            auto* object = static_cast<wide*>(raw);
            for (const char byte : object->bytes)
                ASSERT_EQ(byte, 0);
            object->bytes[299] = 1;
            made.push_back(object);
        }
        for (wide* object : made)
            cache.destroy(object);
        made.clear();
    }
}

} // namespace
