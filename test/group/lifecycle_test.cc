// SPDX-License-Identifier: MIT
//
// lifecycle_test: closing never fails, names come back at once, objects stay, and nothing is left in the end.
#include "support/core.hpp"
#include "support/threads.hpp"

#include <cstring>
#include <mutex>
#include <set>

namespace {

using allot_test::blocks;
using allot_test::puppet;
namespace memcg = allot::memcg;
using namespace allot::literals;

class group_close : public allot_test::core_test {};

const allot_report_line* line_of(const allot::report& report, const char* cache) {
    for (std::uint32_t i = 0; i < report.nr_lines; ++i)
        if (std::strcmp(report.line[i].cache, cache) == 0)
            return &report.line[i];
    return nullptr;
}

TEST_F(group_close, gives_back_what_others_freed_though_the_thread_that_had_it_sleeps) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    puppet owner;
    blocks made;
    owner.does([&] {
        const allot::scope in{gone};
        for (int i = 0; i < 5000; ++i)
            made.add(allot::malloc(64));
    });
    made.clear(); // from here, while the owner sleeps
    gone.close();
    allot::quiesce();
    EXPECT_EQ(usage(), top.stat().metadata) << "nobody has a live block, so nothing may stay charged to the parent";
}

TEST_F(group_close, gives_back_what_is_freed_afterwards_though_the_thread_that_had_it_sleeps) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    puppet owner;
    blocks made;
    owner.does([&] {
        const allot::scope in{gone};
        for (int i = 0; i < 5000; ++i)
            made.add(allot::malloc(64));
    });
    gone.close();
    allot::quiesce();
    made.clear();
    allot::quiesce();
    EXPECT_EQ(usage(), top.stat().metadata);
}

TEST_F(group_close, a_place_made_after_the_close_does_not_outlive_the_group) {
    allot::group gone = child("gone");
    gone.close();
    allot::quiesce();
    void* const place = allot_group_front_place(gone.get());
    ASSERT_NE(place, nullptr);
    gone = {};
    allot::quiesce();
    const allot::group next = child("next"); // takes the memory of the one before
    void* const block = allot_front_malloc(place, 100, 0);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(allot::owner_of(block), top) << "the nearest open ancestor of the group that the place was made for";
    allot::free(block);
}

TEST_F(group_close, keeps_up_with_threads_that_create_and_close_without_end) {
    constexpr int groups_each = 250'000 / static_cast<int>(allot_test::slowdown); // twice as many as there are records
    std::atomic<int> failures{0};
    allot_test::on_threads(2, [&](unsigned i) {
        for (int turn = 0; turn < groups_each && failures == 0; ++turn) {
            allot_group* made = nullptr;
            if (allot_group_create(top.get(), i == 0 ? "a" : "b", nullptr, &made) != 0) {
                ++failures;
                continue;
            }
            allot_group_close(made, nullptr);
            allot_group_put(made);
        }
    });
    EXPECT_EQ(failures, 0) << "no limit is set; groups that wait to be freed may not use up all records";
}

TEST_F(group_close, what_groups_were_made_of_serves_the_next_ones_which_know_nothing_of_it) {
    memcg::free_spares();
    std::set<const void*> memory;
    std::set<std::uint32_t> owner_ids;
    {
        std::vector<allot::group> made;
        std::vector<void*> blocks;
        for (int i = 0; i < 20; ++i) {
            made.push_back(child(std::to_string(i).c_str(), {.low = 4096, .high = 65'536, .max = 1 << 20}));
            for (int j = 0; j < 20; ++j)
                blocks.push_back(made.back().malloc(100));
            memory.insert(&allot_test::inside(made.back()));
            owner_ids.insert(allot_test::inside(made.back()).objects->id);
        }
        for (allot::group& each : made)
            each.close(allot::discard);
    }
    allot::quiesce();
    std::size_t again = 0;
    for (int i = 0; i < 20; ++i) {
        const allot::group next = child(("next-" + std::to_string(i)).c_str());
        const memcg::mem_cgroup& group = allot_test::inside(next);
        again += memory.erase(&group) + owner_ids.erase(group.objects->id);
        EXPECT_FALSE(group.discarded || group.leaving || group.reparented || group.objects->discarded);
        const allot_stat stat = next.stat();
        EXPECT_EQ(stat.current + stat.allocations + stat.failures, 0u);
        EXPECT_EQ(next.limits().low, 0u);
        EXPECT_EQ(next.limits().max, ALLOT_UNLIMITED);
        void* const block = next.malloc(100);
        EXPECT_EQ(allot::owner_of(block), next);
        EXPECT_EQ(next.stat().current, 112u);
        allot_free(block);
    }
    EXPECT_GT(again, 20u) << "most groups and owners were there before";
    allot::quiesce();
    allot_test::expect_books_agree("after the second life");
}

TEST_F(group_close, what_the_next_groups_are_to_be_made_of_goes_where_the_root_has_no_room) {
    {
        std::vector<allot::group> made;
        for (int i = 0; i < 200; ++i)
            made.push_back(child(std::to_string(i).c_str()));
        for (allot::group& each : made)
            each.close();
    }
    allot::quiesce();
    const std::uint64_t before = allot::root().stat().metadata;
    memcg::reclaim(*memcg::root_group);
    EXPECT_LE(allot::root().stat().metadata + 16 * 4096, before);
}

TEST_F(group_close, reports_at_least_the_objects_that_live) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    blocks made;
    ASSERT_TRUE(made.make(gone, 64, 100'000));
    const allot::report report = gone.close();
    const allot_report_line* const line = line_of(report, "kmalloc-64");
    ASSERT_NE(line, nullptr);
    EXPECT_GE(line->objects, 100'000u) << "an upper bound, says allot.h";
    EXPECT_GE(line->bytes, 6'400'000u);
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < report.nr_lines; ++i)
        sum += report.line[i].bytes;
    EXPECT_EQ(sum, report.bytes) << "the lines add up";
}

TEST_F(group_close, sums_the_caches_that_do_not_fit_into_the_report) {
    const allot::group gone = child("gone");
    blocks made;
    for (std::uint32_t index = 0; index < 25; ++index) {
        allot_test::heat(gone, allot::slab::class_bytes(index));
        ASSERT_TRUE(made.make(gone, allot::slab::class_bytes(index), 1));
    }
    const allot::report report = gone.close();
    ASSERT_EQ(report.nr_lines, ALLOT_REPORT_LINES);
    EXPECT_NE(line_of(report, "other"), nullptr);
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < report.nr_lines; ++i)
        sum += report.line[i].bytes;
    EXPECT_EQ(sum, report.bytes) << "the lines add up";
}

TEST_F(group_close, reports_how_many_blocks_and_charges_lie_outside_its_own_slabs) {
    const allot::group below = child("below");
    const allot::group gone = child("gone");
    const allot::group inherited = gone.create("inherited");
    blocks made;
    ASSERT_TRUE(made.make(gone, 100, 7));
    ASSERT_TRUE(made.make(gone, 100'000, 3));
    const allot::charge external = gone.charge_for(1000);
    ASSERT_TRUE(made.make(inherited, 100, 5));
    inherited.close();
    allot::quiesce();
    const allot::report report = gone.close();
    const allot_report_line* const line = line_of(report, "shared");
    ASSERT_NE(line, nullptr);
    EXPECT_EQ(line->objects, 7u + 3u + 1u + 5u)
        << "shared objects, large blocks and external charges, inherited ones too";
}

TEST_F(group_close, who_waits_for_the_section_of_a_user_holds_up_nobody_else) {
    std::mutex lock; // the user's; the reader waits for it inside its section
    lock.lock();
    std::atomic<bool> reading{false};
    std::thread reader([&] {
        allot_rcu_read_lock();
        reading = true;
        lock.lock();
        lock.unlock();
        allot_rcu_read_unlock();
    });
    while (!reading)
        std::this_thread::yield();
    std::atomic<bool> quiet{false};
    std::thread waiter([&] {
        child("gone").close();
        allot::quiesce(); // waits for the reader
        quiet = true;
    });
    EXPECT_TRUE(allot_test::not_yet([&] { return quiet.load(); }));
    allot::sync::run_ready(); // what a create does when many groups wait to be freed
    const allot::group made = child("made");
    made.reclaim(1_MiB);
    EXPECT_TRUE(allot_test::child_lives(10, [] { return 0; })) << "and a fork";
    EXPECT_FALSE(quiet);
    lock.unlock();
    reader.join();
    waiter.join();
}

TEST_F(group_close, an_allocation_in_the_section_of_a_user_may_meet_its_limit) {
    const allot::group full = child("full", {.max = 256_KiB});
    const allot::scope in{full};
    blocks made;
    allot_rcu_read_lock();
    while (void* const block = allot::malloc(1000))
        made.add(block);
    allot_rcu_read_unlock();
    EXPECT_GT(made.size(), 200u);
}

} // namespace
