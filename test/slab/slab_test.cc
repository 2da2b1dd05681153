// SPDX-License-Identifier: MIT
//
// slab_test: a slab goes from place to place as slab_ops.hpp draws it, and its lists and counts stay whole.
#include "support/core.hpp"

#include "platform/memory.hpp"
#include "slab/slab_ops.hpp"

#include <algorithm>
#include <set>
#include <sys/mman.h>

namespace {

using allot_test::blocks;
using allot_test::puppet;
namespace slab = allot::slab;
using slab::slab_place;

class a_slab : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        allot_test::heat(top, 64);
        allot_test::settle_all();
        ASSERT_EQ(top.stat().slab, 0u);
    }
    static slab::slab& of(const void* block) { return *slab::slab_of(block); }
    static const slab::kmem_cache& cache_of(const allot::group& group) {
        allot::sync::rcu_guard section;
        return *slab::child_of(allot_test::inside(group), slab::class_of(64));
    }
    /// Allocates until a second slab begins. The blocks of the first, all of them, are at the front.
    static void fill_one(const allot::group& group, std::vector<void*>& out) {
        do
            out.push_back(group.malloc(64));
        while (slab::slab_of(out.front()) == slab::slab_of(out.back()));
    }
    /// True if the system makes pages resident on request.
    static bool populates() {
        void* const page = allot::platform::map(allot::page_bytes);
        unsigned char state = 0;
        allot::platform::populate(page, allot::page_bytes);
        EXPECT_EQ(mincore(page, allot::page_bytes, &state), 0);
        allot::platform::unmap(page, allot::page_bytes);
        return (state & 1) != 0;
    }
    static void free_all(std::vector<void*>& held) {
        for (void* const block : held)
            allot_free(block);
        held.clear();
    }

  private:
    const allot_test::no_decay counts_hold_;
};

TEST_F(a_slab, gives_its_blocks_to_the_bin_and_is_queued_again_when_they_come_back_from_there) {
    std::vector<void*> made{top.malloc(64)};
    slab::slab& s = of(made[0]);
    EXPECT_EQ(s.free_list, 0u);
    EXPECT_EQ(s.live(), s.carved) << "what lies in the bin was handed out";
    EXPECT_FALSE(s.empty());
    fill_one(top, made);
    EXPECT_EQ(s.live(), s.capacity);
    EXPECT_EQ(s.place, slab_place::heap_full);
    allot_free(made[5]);
    EXPECT_EQ(s.place, slab_place::heap_full) << "the block lies in the bin";
    allot_test::empty_bins(top);
    EXPECT_EQ(s.place, slab_place::heap_partial) << "a block came back";
    EXPECT_EQ(s.live(), s.capacity - 1u);
    made.erase(made.begin() + 5);
    free_all(made);
}

TEST_F(a_slab, goes_back_when_it_is_empty_but_for_the_last_one_of_its_cache) {
    std::vector<void*> made;
    for (int i = 0; i < 2000; ++i)
        made.push_back(top.malloc(64));
    const std::uint64_t slabs = cache_of(top).nr_slabs;
    ASSERT_GT(slabs, 3u);
    EXPECT_EQ(cache_of(top).refs, slabs + 1) << "one for each and one while it takes allocations";
    EXPECT_EQ(top.stat().slab, cache_of(top).nr_pages * allot::page_bytes);
    free_all(made);
    EXPECT_LT(cache_of(top).nr_slabs, slabs) << "what is more than a bin has room for goes";
    allot_test::empty_bins(top);
    EXPECT_LE(cache_of(top).nr_slabs, 1u) << "the last one of the queue";
    top.reclaim();
    EXPECT_EQ(cache_of(top).nr_slabs, 0u);
    EXPECT_EQ(top.stat().slab, 0u);
}

TEST_F(a_slab, that_went_back_is_nobodys) {
    void* const block = top.malloc(64);
    slab::slab& s = of(block);
    const auto is_frozen = [&] { return (slab::remote_of(s).word & slab::remote_frozen) != 0; };
    EXPECT_TRUE(is_frozen());
    allot_free(block);
    allot_test::settle_all();
    EXPECT_EQ(slab::page_tag_of(block).value, 0u) << "no bin takes a block of it";
    EXPECT_FALSE(is_frozen());
}

TEST_F(a_slab, hands_out_each_of_its_blocks_once_and_aligned) {
    std::vector<void*> made;
    fill_one(top, made);
    allot_free(made.back());
    made.pop_back();
    const slab::slab& s = of(made[0]);
    EXPECT_EQ(made.size(), s.capacity);
    std::set<void*> distinct{made.begin(), made.end()};
    EXPECT_EQ(distinct.size(), s.capacity);
    for (const void* const block : distinct)
        EXPECT_EQ((static_cast<const char*>(block) - slab::start_of(s)) % 64, 0);
    free_all(made);
}

TEST_F(a_slab, that_its_thread_gives_up_waits_at_the_node_and_another_thread_adopts_it) {
    puppet first;
    std::vector<void*> made;
    first.does([&] {
        for (int i = 0; i < 10; ++i)
            made.push_back(top.malloc(64));
    });
    slab::slab& s = of(made[0]);
    const std::uint64_t frozen = slab::remote_of(s).word;
    EXPECT_NE(frozen & slab::remote_frozen, 0u);
    top.reclaim();
    EXPECT_EQ(s.place, slab_place::node_partial);
    EXPECT_EQ(slab::remote_of(s).word & slab::remote_frozen, 0u);
    EXPECT_NE(slab::remote_of(s).word & slab::remote_notify, 0u) << "nobody looks at it by himself";
    EXPECT_EQ(s.live(), 10u) << "what lay in the bin went back";
    made.push_back(top.malloc(64)); // from here
    EXPECT_EQ(&of(made.back()), &s);
    EXPECT_NE(slab::remote_slot(slab::remote_of(s).word), slab::remote_slot(frozen));
    EXPECT_EQ(s.live(), s.carved);
    allot_test::empty_bins(top);
    EXPECT_EQ(s.live(), 11u);
    free_all(made);
}

TEST_F(a_slab, without_a_free_block_is_full_at_the_node_and_its_last_free_gives_it_back) {
    std::vector<void*> made;
    fill_one(top, made);
    slab::slab& s = of(made[0]);
    top.reclaim();
    EXPECT_EQ(s.place, slab_place::node_full);
    puppet stranger; // without a heap for the group
    stranger.does([&] { allot_free(made[3]); });
    EXPECT_EQ(s.place, slab_place::node_partial) << "who frees at the node puts the slab where it belongs";
    made.erase(made.begin() + 3);
    const std::uint64_t before = cache_of(top).nr_slabs;
    stranger.does([&] { free_all(made); });
    EXPECT_EQ(cache_of(top).nr_slabs, before - 2);
    EXPECT_NE(s.kind, slab::slab_kind::owned);
}

TEST_F(a_slab, gets_its_blocks_in_portions_so_that_memory_that_is_not_needed_stays_untouched) {
    allot_test::heat(top, 16);
    blocks made;
    ASSERT_TRUE(made.make(top, 16, 1));
    const slab::slab& s = of(made[0]);
    EXPECT_EQ(s.carved, 64u) << "at most 64";
    EXPECT_EQ(s.capacity, slab::slab_bytes(s) / 16);
    ASSERT_TRUE(made.make(top, 16, 64));
    EXPECT_EQ(s.carved, 128u);
}

TEST_F(a_slab, is_small_at_first_and_larger_as_its_cache_has_more_of_them) {
    std::vector<void*> made{top.malloc(64)};
    EXPECT_EQ(of(made[0]).pages, 1u);
    for (int i = 0; i < 20'000; ++i)
        made.push_back(top.malloc(64));
    EXPECT_EQ(of(made.back()).pages, 1u << slab::slab_order_max);
    free_all(made);
}

TEST_F(a_slab, of_a_cache_that_has_many_comes_with_its_pages) {
    const auto resident = [](const slab::slab& s) {
        std::vector<unsigned char> pages(s.pages);
        EXPECT_EQ(mincore(slab::start_of(s), slab::slab_bytes(s), pages.data()), 0);
        return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
    };
    if (!populates())
        GTEST_SKIP() << "this kernel does not populate";
    allot::purge();
    std::vector<void*> made;
    std::set<const slab::slab*> seen;
    const auto until_a_new_one = [&]() -> const slab::slab& {
        while (!seen.insert(&of((made.push_back(top.malloc(64)), made.back()))).second) {
        }
        return of(made.back());
    };
    const slab::slab& first = until_a_new_one();
    const slab::slab& second = until_a_new_one();
    EXPECT_LT(first.pages, 1u << slab::slab_order_max);
    EXPECT_LT(second.pages, 1u << slab::slab_order_max);
    while (seen.size() < 60)
        until_a_new_one();
    for (int i = 0; i < 3; ++i) {
        const slab::slab& late = until_a_new_one();
        ASSERT_EQ(late.pages, 1u << slab::slab_order_max);
        EXPECT_LT(late.carved, late.capacity / 2) << "hardly anything was touched";
        EXPECT_EQ(resident(late), static_cast<std::ptrdiff_t>(late.pages));
    }
    free_all(made);
}

TEST_F(a_slab, is_as_small_as_can_be_where_the_limit_refuses_a_larger_one) {
    std::vector<void*> made;
    for (int i = 0; i < 20'000; ++i)
        made.push_back(top.malloc(64));
    top.set({.max = top.stat().current + 2 * allot::page_bytes});
    const std::size_t before = made.size();
    while (void* const block = top.malloc(64))
        made.push_back(block);
    EXPECT_GE(made.size() - before, 2 * allot::page_bytes / 64) << "not a byte below the limit is refused";
    EXPECT_EQ(top.stat().current, top.limits().max);
    free_all(made);
}

TEST_F(a_slab, keeps_its_lists_whole_through_random_moves) {
    std::mt19937 random{static_cast<std::mt19937::result_type>(allot_test::test_seed("random_moves"))};
    puppet other;
    std::vector<void*> held;
    const auto free_some = [&] {
        for (int i = 0; i < 100 && !held.empty(); ++i) {
            std::swap(held[random() % held.size()], held.back());
            allot_free(held.back());
            held.pop_back();
        }
    };
    const auto take_some = [&] {
        for (int i = 0; i < 100; ++i)
            held.push_back(top.malloc(64));
    };
    for (int turn = 0; turn < 300 / static_cast<int>(allot_test::slowdown); ++turn) {
        switch (random() % 5) {
        case 0:
            take_some();
            break;
        case 1:
            free_some();
            break;
        case 2:
            other.does(take_some);
            break;
        case 3:
            other.does(free_some);
            break;
        default:
            top.reclaim();
        }
        if (turn % 20 == 0)
            allot_test::expect_books_agree("after a move");
    }
    free_all(held);
}

TEST_F(a_slab, of_a_typesafe_cache_keeps_its_memory_for_readers_that_still_look) {
    const allot_cache_options options{
        .size = 256, .alignment = 0, .flags = ALLOT_CACHE_TYPESAFE_BY_RCU, .constructor = nullptr};
    allot_cache* const cache = allot_cache_create("typesafe", &options);
    ASSERT_NE(cache, nullptr);
    std::vector<int*> objects;
    for (int i = 0; i < 500; ++i) {
        objects.push_back(static_cast<int*>(allot_cache_alloc(cache)));
        *objects.back() = i;
    }
    allot_rcu_read_lock();
    const std::uint64_t held = allot::slab::pages_handed_out();
    for (int* const each : objects)
        allot_cache_free(cache, each);
    EXPECT_EQ(allot::slab::pages_handed_out(), held) << "no page is anything else while a reader may look";
    for (std::size_t i = 0; i < objects.size(); ++i)
        EXPECT_EQ(*objects[i], static_cast<int>(i)) << "freed objects keep what is in them";
    allot_rcu_read_unlock();
    allot_cache_destroy(cache, nullptr);
    allot_test::settle_all();
    EXPECT_LT(allot::slab::pages_handed_out(), held);
}

} // namespace
