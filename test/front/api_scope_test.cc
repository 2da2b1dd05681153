// SPDX-License-Identifier: MIT
//
// The current group: scopes, thread defaults, bind.
#include "api_fixture.hpp"

#include <functional>
#include <future>
#include <memory>
#include <thread>

namespace {

class api_scope : public allot_test::api_test {};

TEST_F(api_scope, outside_all_scopes_the_root_is_current) {
    EXPECT_EQ(allot::current(), allot::root());
    void* block = allot::malloc(10);
    EXPECT_EQ(allot::owner_of(block), allot::root());
    allot::free(block);
}

TEST_F(api_scope, scopes_nest_and_restore) {
    const allot::group child = top.create("child");
    {
        const allot::scope outer{top};
        EXPECT_EQ(allot::current(), top);
        {
            const allot::scope inner{child};
            EXPECT_EQ(allot::current(), child);
            {
                const allot::scope again{top};
                EXPECT_EQ(allot::current(), top);
            }
            EXPECT_EQ(allot::current(), child);
        }
        EXPECT_EQ(allot::current(), top);
    }
    EXPECT_EQ(allot::current(), allot::root());
}

TEST_F(api_scope, an_exception_leaves_the_scope) {
    try {
        const allot::scope in{top};
        throw 1;
    } catch (int) {
        EXPECT_EQ(allot::current(), allot::root());
    }
}

TEST_F(api_scope, an_empty_handle_cannot_be_entered) {
    EXPECT_THROW(const allot::scope in{allot::group{}}, std::system_error);
    EXPECT_EQ(allot::current(), allot::root());
}

TEST_F(api_scope, a_scope_keeps_its_group_alive) {
    const allot::scope in{top.create("only the scope holds it")};
    allot::quiesce();
    EXPECT_EQ(allot::current().name(), "only the scope holds it");
}

TEST_F(api_scope, threads_do_not_see_each_others_scopes) {
    const allot::group child = top.create("child");
    const allot::scope in{top};
    std::promise<void> entered;
    std::promise<void> go_on;
    std::thread other{[&] {
        EXPECT_EQ(allot::current(), allot::root()) << "a new thread inherits nothing";
        const allot::scope inside{child};
        entered.set_value();
        go_on.get_future().wait();
        EXPECT_EQ(allot::current(), child);
    }};
    entered.get_future().wait();
    EXPECT_EQ(allot::current(), top);
    go_on.set_value();
    other.join();
    EXPECT_EQ(allot::current(), top);
}

TEST_F(api_scope, a_thread_may_have_a_group_of_its_own) {
    std::thread{[this] {
        allot::set_thread_group(top);
        EXPECT_EQ(allot::current(), top);
        {
            const allot::scope in{allot::root()};
            EXPECT_EQ(allot::current(), allot::root());
            EXPECT_THROW(allot::set_thread_group(top), std::system_error) << "not inside a scope";
        }
        EXPECT_EQ(allot::current(), top);
        EXPECT_THROW(allot::set_thread_group(allot::group{}), std::system_error);
    }}.join();
    EXPECT_EQ(allot::current(), allot::root());
}

TEST_F(api_scope, bind_runs_its_callable_under_the_group_on_any_thread) {
    auto task = allot::bind(top, [](int number) {
        void* block = allot::malloc(100);
        const allot::group owner = allot::owner_of(block);
        allot::free(block);
        return std::pair{owner, number + 1};
    });
    auto result = std::async(std::launch::async, task, 41);
    EXPECT_EQ(result.get(), std::pair(top, 42));
    EXPECT_EQ(task(1).first, top);
    EXPECT_EQ(allot::current(), allot::root());
}

TEST_F(api_scope, bind_without_a_group_takes_the_one_that_is_current) {
    std::function<allot::group()> task;
    {
        const allot::scope in{top};
        task = allot::bind([] { return allot::current(); });
    }
    EXPECT_EQ(std::async(std::launch::async, task).get(), top);
}

TEST_F(api_scope, bind_takes_callables_that_only_move_and_those_that_return_references) {
    auto owned = std::make_unique<int>(5);
    int* address = owned.get();
    auto task = allot::bind(top, [kept = std::move(owned)]() -> int& { return *kept; });
    EXPECT_EQ(&task(), address);
    auto once = allot::bind(top, [](std::unique_ptr<int> number) { return *number; });
    EXPECT_EQ(std::move(once)(std::make_unique<int>(6)), 6);
    EXPECT_THROW((void)allot::bind(allot::group{}, [] {}), std::system_error);
}

TEST_F(api_scope, bind_leaves_the_scope_when_its_callable_throws) {
    auto task = allot::bind(top, [] { throw 1; });
    EXPECT_THROW(task(), int);
    EXPECT_EQ(allot::current(), allot::root());
}

} // namespace
