// SPDX-License-Identifier: MIT
//
// discard_test: objects of a marked owner come back when somebody looks, and its id stays in use until the last has.
#include "support/core.hpp"
#include "support/threads.hpp"

#include "slab/discard.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"

#include <set>
#include <vector>

namespace {

using allot_test::blocks;
using allot_test::inside;
namespace slab = allot::slab;

class discarded_objects : public allot_test::core_test {
  protected:
    static std::uint32_t id_of(const void* block) {
        const slab::slab& s = *slab::slab_of(block);
        return slab::owner_ids(s)[slab::object_index(s, s.cache->shape, block)];
    }
};

TEST_F(discarded_objects, keep_the_owners_id_in_use_until_the_last_is_taken_back) {
    allot::group gone = child("gone");
    void* const first = gone.malloc(80);
    void* const second = gone.malloc(1'000);
    const std::uint32_t id = inside(gone).objects->id;
    gone.close(allot::discard);
    gone = {};
    allot::sync::drain(); // what quiesce does before it looks for discarded objects
    EXPECT_EQ(id_of(first), id);
    EXPECT_EQ(slab::obj_cgroup_of(id).refs.load(), 2u);
    for (int i = 0; i < 50; ++i)
        EXPECT_NE(inside(child(("g" + std::to_string(i)).c_str())).objects->id, id);
    allot::quiesce();
    EXPECT_EQ(id_of(first), 0u);
    EXPECT_EQ(id_of(second), 0u);
    bool reused = false;
    for (int i = 50; i < 200 && !reused; ++i)
        reused = inside(child(("g" + std::to_string(i)).c_str())).objects->id == id;
    EXPECT_TRUE(reused);
}

TEST_F(discarded_objects, come_back_when_their_slab_runs_dry) {
    const allot::group gone = child("gone");
    blocks kept;
    ASSERT_TRUE(kept.make(top, 80, 1));
    slab::slab& s = *slab::slab_of(kept[0]);
    std::size_t theirs = 0;
    for (; slab::slab_of(gone.malloc(80)) == &s && theirs < 20; ++theirs)
        ;
    ASSERT_GT(theirs, 0u);
    gone.close(allot::discard);
    const auto others = static_cast<std::size_t>(s.capacity);
    ASSERT_TRUE(kept.make(top, 80, others)) << "so many that the slab runs dry";
    std::size_t now_in = 0;
    for (std::size_t i = 0; i < kept.size(); ++i)
        now_in += slab::slab_of(kept[i]) == &s ? 1 : 0;
    EXPECT_EQ(now_in, s.capacity) << "all places of the slab are used anew";
}

TEST_F(discarded_objects, come_back_from_slabs_of_threads_that_sleep_and_from_nobodys) {
    const allot::group gone = child("gone");
    allot_test::puppet sleeper;
    std::vector<void*> made;
    const auto fill = [&] {
        const allot::scope in{gone};
        for (int i = 0; i < 150; ++i)
            made.push_back(allot::malloc(80)); // several slabs, with and without free blocks
    };
    sleeper.does(fill);
    std::thread(fill).join();
    gone.close(allot::discard);
    EXPECT_GT(slab::discarded_bytes.load(), 0);
    slab::sweep_discarded();
    EXPECT_EQ(slab::discarded_bytes.load(), 0);
    for (void* const block : made)
        if (slab::slab_of(block)->kind == slab::slab_kind::shared) {
            EXPECT_EQ(id_of(block), 0u);
        }
}

TEST_F(discarded_objects, are_taken_back_from_between_those_that_live) {
    const allot::group gone = child("gone");
    const allot::group stays = child("stays");
    std::vector<void*> made;
    blocks kept;
    for (int i = 0; i < 200; ++i) // runs of one to five objects
        if (i % 11 < 5 || i % 7 == 0)
            made.push_back(gone.malloc(80));
        else
            kept.add(stays.malloc(80));
    gone.close(allot::discard);
    slab::sweep_discarded();
    EXPECT_EQ(slab::discarded_bytes.load(), 0);
    for (std::size_t i = 0; i < kept.size(); ++i)
        EXPECT_NE(id_of(kept[i]), 0u);
    for (void* const block : made)
        EXPECT_EQ(id_of(block), 0u);
    slab::cold_section here; // the slabs are this thread's
    std::set<const slab::slab*> slabs;
    std::set<const void*> listed;
    for (void* const block : made)
        if (slabs.insert(slab::slab_of(block)).second)
            for (slab::free_word list = slab::slab_of(block)->free_list; list != 0;) {
                void* const free = slab::first_free(list);
                EXPECT_TRUE(listed.insert(free).second) << "listed twice";
                EXPECT_EQ(slab::slab_of(free), slab::slab_of(block));
                const slab::free_word rest = *static_cast<slab::free_word*>(free);
                ASSERT_EQ(slab::free_count(list), slab::free_count(rest) + 1);
                list = rest;
            }
    for (const void* const block : made)
        EXPECT_EQ(listed.count(block), 1u);
}

TEST_F(discarded_objects, are_taken_back_by_purge_and_by_reclaim_of_the_root) {
    for (const bool by_purge : {true, false}) {
        const allot::group gone = child("gone");
        blocks made;
        for (int i = 0; i < 20; ++i)
            static_cast<void>(gone.malloc(80));
        gone.close(allot::discard);
        by_purge ? allot::purge() : allot::root().reclaim();
        EXPECT_EQ(slab::discarded_bytes.load(), 0);
    }
}

TEST_F(discarded_objects, are_the_roots_in_a_recount) {
    const allot::group gone = child("gone");
    const std::uint64_t shared = allot::root().stat().shared;
    for (int i = 0; i < 20; ++i)
        static_cast<void>(gone.malloc(80));
    gone.close(allot::discard);
    EXPECT_GE(allot::root().stat().shared, shared);
    EXPECT_EQ(gone.stat().shared, 0u);
    allot_test::expect_books_agree("before the sweep");
    allot::quiesce();
    allot_test::expect_books_agree("after it");
}

TEST_F(discarded_objects, are_found_when_they_are_freed_all_the_same) {
    const auto late_free = [](std::size_t size) {
        return allot_test::in_child(20, [=] {
            allot::sync::allow_worker(false);
            const allot::group gone = allot::root().create("late");
            void* const block = gone.malloc(size);
            gone.close(allot::discard);
            allot::free(block);
            return 0;
        });
    };
    EXPECT_NE(late_free(64).text.find("free of a block of a discarded group"), std::string::npos);
    EXPECT_NE(late_free(100'000).text.find("free of an address that is no live block"), std::string::npos);
}

} // namespace
