// SPDX-License-Identifier: MIT
//
// percpu_refs_test: a group whose handles are passed around a lot counts them per slot, and is freed all the same.
#include "support/core.hpp"
#include "support/threads.hpp"

namespace {

using namespace allot;
using allot_test::inside;

class hot_group : public allot_test::core_test {
  protected:
    static void pass_handles_around(const allot::group& group, int count) {
        for (int i = 0; i < count; ++i)
            allot::group copy = group;
    }
    static void make_hot(const allot::group& group) {
        pass_handles_around(group, 5000);
        quiesce();
    }
};

TEST_F(hot_group, starts_atomic_and_goes_per_slot_when_it_is_hot) {
    const allot::group group = child("a");
    pass_handles_around(group, 100);
    quiesce();
    EXPECT_FALSE(inside(group).refs.is_percpu());
    make_hot(group);
    EXPECT_TRUE(inside(group).refs.is_percpu());
    const std::uint64_t before = inside(group).refs.count();
    pass_handles_around(group, 10);
    const allot::group kept = group;
    EXPECT_EQ(inside(group).refs.count(), before) << "the word is not touched any more";
}

TEST_F(hot_group, is_freed_with_its_last_handle_wherever_that_is_put) {
    allot::group group = child("a");
    make_hot(group);
    std::vector<allot::group> here(100, group);
    std::thread([&] { here.clear(); }).join(); // taken on one thread, put on another
    std::vector<allot::group> there;
    std::thread([&] { there.assign(50, group); }).join();
    group.close();
    quiesce();
    EXPECT_FALSE(inside(group).refs.is_percpu()) << "the removal has brought the counts together";
    EXPECT_EQ(top.stat().nr_dying, 1u);
    there.clear();
    quiesce();
    EXPECT_EQ(top.stat().nr_dying, 1u) << "one handle is left";
    group = {};
    quiesce();
    EXPECT_EQ(top.stat().nr_dying, 0u);
}

TEST_F(hot_group, handles_that_are_passed_around_during_the_close_are_counted) {
    for (int turn = 0; turn < 20; ++turn) {
        allot::group group = child("a");
        make_hot(group);
        std::atomic<bool> stop{false};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i)
            threads.emplace_back([group, &stop] {
                std::vector<allot::group> some;
                while (!stop) {
                    some.push_back(group);
                    if (some.size() > 20)
                        some.clear();
                }
            });
        group.close();
        quiesce();
        stop = true;
        for (auto& thread : threads)
            thread.join();
        EXPECT_EQ(inside(group).refs.count(), 1u);
        group = {};
        quiesce();
        EXPECT_EQ(top.stat().nr_dying, 0u);
    }
}

TEST_F(hot_group, no_creation_is_queued_for_one_that_is_going) {
    const allot::group group = child("a");
    group.close();
    EXPECT_FALSE(inside(group).refs.tryget_online());
    memcg::want_child(inside(group));
    EXPECT_EQ(inside(group).create_work.pending.load(), 0u);
    quiesce();
}

TEST_F(hot_group, a_forked_child_can_free_what_other_threads_counted) {
    EXPECT_TRUE(allot_test::child_lives(20, [&] {
        allot::group group = child("a");
        make_hot(group);
        allot_test::puppet other;
        std::vector<allot::group> taken;
        other.does([&] { taken.assign(30, group); });
        return allot_test::in_child(10,
                                    [&] {
                                        taken.clear();
                                        group.close();
                                        group = {};
                                        quiesce();
                                        return top.stat().nr_dying == 0 ? 0 : 1;
                                    })
            .exit_status;
    }));
}

} // namespace
