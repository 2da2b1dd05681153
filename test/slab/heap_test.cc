// SPDX-License-Identifier: MIT
//
// heap_test: what a thread holds for a group is found, made, shared with nobody, and given up at its end.
#include "support/core.hpp"

#include "slab/slab_ops.hpp"
#include "support/threads.hpp"

#include <cerrno>

namespace {

using allot_test::blocks;
using allot_test::inside;
using allot_test::puppet;
namespace slab = allot::slab;
namespace sync = allot::sync;

class heaps : public allot_test::core_test {
  protected:
    /// The calling thread's heap for the group; null if it has none.
    static slab::heap* mine(const allot::group& group) {
        slab::cold_section here;
        for (slab::heap* h = here.heaps().all.front(); h != nullptr; h = here.heaps().all.next(*h))
            if (h->owner == &inside(group) && !h->dropped)
                return h;
        return nullptr;
    }
    static std::uint64_t refs_of(const allot::group& group) { return inside(group).refs.count(); }

  private:
    const allot_test::no_decay counts_hold_;
};

TEST_F(heaps, are_made_by_the_first_scope_and_hold_one_reference_on_the_group) {
    const allot::group one = child("one");
    const std::uint64_t before = refs_of(one);
    EXPECT_EQ(mine(one), nullptr);
    for (int i = 0; i < 10; ++i) {
        const allot::scope in{one};
        EXPECT_EQ(refs_of(one), before + 1) << "a scope moves no shared counter";
    }
    ASSERT_NE(mine(one), nullptr);
    EXPECT_EQ(mine(one)->depth, 0u);
    std::thread{[&] {
        const allot::scope in{one};
        EXPECT_EQ(refs_of(one), before + 2) << "each thread has its own";
    }}.join();
    EXPECT_EQ(refs_of(one), before + 1) << "and gives it up at its end";
}

TEST_F(heaps, without_slabs_of_their_own_have_no_table_of_their_own) {
    const allot::group one = child("one");
    const allot::group two = child("two");
    blocks made;
    ASSERT_TRUE(made.make(one, 100, 5)); // cold
    EXPECT_EQ(mine(one)->partial, nullptr);
    ASSERT_TRUE(made.make(two, 100, 5));
    EXPECT_EQ(mine(one)->bins, slab::empty_table) << "one at a time borrows the thread's";
    EXPECT_EQ(mine(one)->nr_slabs, 0u);
    allot_test::heat(one, 100);
    ASSERT_TRUE(made.make(one, 100, 1));
    EXPECT_NE(mine(one)->bins, slab::empty_table);
    EXPECT_EQ(mine(one)->capacity, slab::small_capacity);
    EXPECT_GT(mine(one)->nr_slabs, 0u);
}

TEST_F(heaps, get_a_large_table_for_a_cache_with_a_high_number_and_keep_what_they_had) {
    std::vector<allot_cache*> caches;
    for (std::size_t i = 0; i < slab::small_capacity; ++i) { // some of them get numbers above 64
        const allot_cache_options options{.size = 100 + i, .alignment = 0, .flags = 0, .constructor = nullptr};
        caches.push_back(allot_cache_create(("shape-" + std::to_string(i)).c_str(), &options));
        ASSERT_NE(caches.back(), nullptr);
    }
    const allot::group one = child("one");
    allot_test::heat(one, 64);
    blocks made;
    ASSERT_TRUE(made.make(one, 64, 10));
    const std::uint32_t slabs = mine(one)->nr_slabs;
    {
        const allot::scope in{one};
        for (int i = 0; i < 600; ++i) {
            made.add(allot_cache_alloc(caches.back()));
            if (i % 300 == 0)
                allot_quiesce();
        }
    }
    EXPECT_EQ(mine(one)->capacity, 2 * slab::small_capacity);
    EXPECT_GT(mine(one)->nr_slabs, slabs);
    ASSERT_TRUE(made.make(one, 64, 10));
    allot_test::expect_books_agree("with a larger table");
    made.clear();
    for (allot_cache* const cache : caches)
        allot_cache_destroy(cache, nullptr);
}

TEST_F(heaps, of_groups_that_fall_on_one_place_of_the_map_are_told_apart) {
    std::vector<allot::group> by_place(slab::heap_map_count);
    std::vector<allot::group> same;
    for (std::size_t i = 0; i <= slab::heap_map_count && same.empty(); ++i) { // one more than there are places
        const allot::group one = top.create("g" + std::to_string(i));
        allot::group& place = by_place[slab::map_index(inside(one))];
        if (place)
            same = {place, one};
        place = one;
    }
    ASSERT_EQ(same.size(), 2u);
    blocks made;
    for (int round = 0; round < 50; ++round)
        for (const allot::group& each : same) {
            const allot::scope in{each};
            EXPECT_EQ(allot::owner_of(made.add(allot::malloc(100))), each);
        }
    EXPECT_NE(mine(same[0]), mine(same[1]));
}

TEST_F(heaps, of_a_removed_group_are_gone_from_every_thread_that_sleeps) {
    puppet sleepers[3];
    allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    blocks made[3];
    for (int i = 0; i < 3; ++i)
        sleepers[i].does([&] { ASSERT_TRUE(made[i].make(gone, 64, 100)); });
    gone.close();
    gone = {};
    allot_quiesce();
    EXPECT_EQ(top.stat().nr_dying, 0u);
    for (int i = 0; i < 3; ++i)
        sleepers[i].does([&] {
            EXPECT_EQ(sync::tls.slot != &sync::no_slot ? slab::heaps_of(*sync::tls.slot).count : 0u, 0u);
            made[i].clear();
        });
}

TEST_F(heaps, of_a_thread_that_ended_are_empty_for_the_next_one_in_its_slot) {
    allot_test::heat(top, 64);
    const std::uint32_t slots = sync::slots_used();
    blocks made;
    for (int i = 0; i < 50; ++i)
        std::thread{[&] {
            ASSERT_TRUE(allot_test::attach_thread());
            EXPECT_EQ(slab::heaps_of(*sync::tls.slot).count, 0u);
            ASSERT_TRUE(made.make(top, 64, 50));
        }}.join();
    EXPECT_LE(sync::slots_used(), slots + 1) << "slots are used again";
}

/// What a thread still does when the library's exit hook has run already.
struct last_will {
    void* block = nullptr;
    ~last_will() {
        allot_free(block);
        void* const again = allot_malloc(100);
        EXPECT_EQ(allot::owner_of(again), allot::root());
        allot_free(again);
    }
};

TEST_F(heaps, a_thread_after_its_exit_hook_still_frees_and_allocates_for_the_root) {
    std::thread{[&] {
        static thread_local last_will will;
        will.block = top.malloc(100);
        slab::end_thread(); // the hook itself
        EXPECT_EQ(sync::tls.slot, &sync::no_slot);
        void* const orphan = allot_malloc(100);
        ASSERT_NE(orphan, nullptr);
        EXPECT_EQ(allot::owner_of(orphan), allot::root());
        allot_free(orphan);
        const allot::scope in{top};
        allot_free(allot_malloc(100));
    }}.join();
}

TEST_F(heaps, a_thread_after_its_exit_hook_may_enter_scopes_in_which_nothing_happens) {
    std::thread{[&] {
        allot_free(top.malloc(100));
        slab::end_thread();
        const std::uint64_t reader = sync::no_slot.reader.count();
        for (int i = 0; i < 3; ++i) { // the first makes the heap, which the others find
            const allot::scope outer{top};
            EXPECT_EQ(allot::current(), top);
            const allot::scope inner{allot::root()};
            EXPECT_EQ(allot::current(), allot::root());
        }
        {
            const allot::scope outer{allot::root()};
            {
                const allot::scope inner{top};
                EXPECT_EQ(allot::current(), top);
            }
            EXPECT_NE(sync::tls.heap, nullptr) << "it is in a scope of the root still";
        }
        EXPECT_EQ(sync::tls.heap, nullptr) << "it uses nobody's heaps outside of scopes";
        EXPECT_EQ(sync::tls.slot, &sync::no_slot);
        EXPECT_EQ(sync::no_slot.reader.count(), reader) << "which all threads without a slot share";
    }}.join();
}

TEST_F(heaps, errno_survives_the_slow_path) {
    allot_test::heat(top, 2000);
    blocks made;
    for (int i = 0; i < 500; ++i) {
        errno = 77;
        made.add(top.malloc(2000));
        ASSERT_EQ(errno, 77);
    }
    made.clear();
    EXPECT_EQ(errno, 77);
}

} // namespace
