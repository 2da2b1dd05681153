// SPDX-License-Identifier: MIT
//
// bins_test: blocks lie in the bins of the thread that freed them until there are too many, and what goes back arrives.
#include "support/core.hpp"

#include "slab/slab_ops.hpp"

#include <algorithm>
#include <cstring>

namespace {

using allot_test::puppet;
namespace slab = allot::slab;

class bins : public allot_test::core_test {
  protected:
    static constexpr std::size_t size = 64;

    void SetUp() override {
        core_test::SetUp();
        allot_test::heat(top, size);
        allot_test::settle_all();
    }
    static slab::slab& of(const void* block) { return *slab::slab_of(block); }
    /// The calling thread's heap for the group.
    static slab::heap& heap_of(const allot::group& group) {
        slab::cold_section here;
        return *slab::find_or_make_heap(here.slot(), allot_test::inside(group), nullptr);
    }
    static slab::bin& bin_of(const allot::group& group, std::size_t bytes = size) {
        return heap_of(group).bins[slab::class_of(bytes)];
    }
    static std::uint32_t count_in(const slab::bin& b) { return slab::free_count(b.free); }
    static std::uint64_t handed_out(const void* block) {
        const std::uint64_t word = slab::remote_of(of(block)).word;
        return of(block).live() - slab::remote_count(word);
    }

  private:
    const allot_test::no_decay counts_hold_;
};

TEST_F(bins, give_the_block_that_came_last_first) {
    void* const first = top.malloc(size);
    void* const second = top.malloc(size);
    const std::uint32_t before = count_in(bin_of(top));
    allot_free(first);
    allot_free(second);
    EXPECT_EQ(count_in(bin_of(top)), before + 2);
    EXPECT_EQ(top.malloc(size), second);
    EXPECT_EQ(top.malloc(size), first);
    allot_free(first);
    allot_free(second);
}

TEST_F(bins, take_blocks_of_their_group_that_another_thread_holds_the_slab_of) {
    std::vector<void*> made;
    puppet maker;
    maker.does([&] {
        for (int i = 0; i < 8; ++i)
            made.push_back(top.malloc(size));
    });
    allot_free(top.malloc(size)); // a heap of this thread
    const std::uint64_t word = slab::remote_of(of(made[0])).word;
    const std::uint32_t before = count_in(bin_of(top));
    const allot::scope in{top};
    for (void* const block : made)
        allot_free(block);
    EXPECT_EQ(count_in(bin_of(top)), before + 8);
    EXPECT_EQ(slab::remote_of(of(made[0])).word, word) << "nothing was told to the other thread";
    void* const again = allot_malloc(size);
    EXPECT_EQ(again, made.back());
    allot_free(again);
    const std::uint64_t live = handed_out(made[0]);
    allot_test::empty_bins(top);
    EXPECT_EQ(handed_out(made[0]), live - 8) << "they went back together";
    EXPECT_EQ(slab::remote_count(slab::remote_of(of(made[0])).word), 8u);
    maker.does([&] { allot_free(top.malloc(size)); });
    allot_test::expect_books_agree("after the way back");
}

TEST_F(bins, take_blocks_of_another_group_that_this_thread_has_a_heap_for) {
    const allot::group other = top.create("other");
    allot_test::heat(other, size);
    void* const block = other.malloc(size);
    const std::uint32_t before = count_in(bin_of(other));
    {
        const allot::scope in{top};
        allot_free(block);
    }
    EXPECT_EQ(count_in(bin_of(other)), before + 1);
    EXPECT_EQ(other.malloc(size), block);
    allot_free(block);
}

TEST_F(bins, that_are_full_send_half_of_their_blocks_back_and_grow_when_these_are_wanted_again) {
    std::vector<void*> held;
    const auto take = [&](int count) {
        for (int i = 0; i < count; ++i)
            held.push_back(top.malloc(size));
    };
    const auto give = [&] {
        for (void* const block : held)
            allot_free(block);
        held.clear();
    };
    take(4000);
    give();
    const std::uint32_t first = bin_of(top).max;
    EXPECT_LT(first, 4000u);
    EXPECT_LE(count_in(bin_of(top)), first);
    for (int round = 0; round < 20; ++round) {
        take(4000);
        give();
    }
    EXPECT_GE(bin_of(top).max, 4000u) << "what it gave back it wanted again";
    EXPECT_LE(bin_of(top).max, 16000u) << "but not more than that";
    slab::cold_section here;
    slab::heap& h = *slab::find_or_make_heap(here.slot(), allot_test::inside(top), nullptr);
    const std::uint64_t slabs = h.nr_slabs;
    for (int round = 0; round < 20; ++round)
        slab::trim(h);
    EXPECT_EQ(h.bins[slab::class_of(size)].max, 64u) << "a thread that idles forgets what it wanted";
    EXPECT_EQ(count_in(h.bins[slab::class_of(size)]), 0u);
    EXPECT_LT(h.nr_slabs, slabs);
}

TEST_F(bins, that_hold_much_send_back_only_what_was_freed_just_now) {
    constexpr std::uint32_t most = 16384 / size;
    std::vector<void*> held;
    const auto take = [&](std::size_t count) {
        while (held.size() < count)
            held.push_back(top.malloc(size));
    };
    const auto give_one = [&] {
        allot_free(held.back());
        held.pop_back();
    };
    for (int round = 0; round < 20; ++round) {
        take(4000);
        while (!held.empty())
            give_one();
    }
    take(20'000);
    ASSERT_GE(bin_of(top).max, 4 * most);
    std::uint32_t before = 0;
    std::uint32_t after = 0;
    do {
        before = after;
        give_one();
        after = count_in(bin_of(top));
    } while (after >= before && !held.empty());
    EXPECT_EQ(before - after, most - 1) << "and took the one that it had no room for";
    while (!held.empty())
        give_one();
}

TEST_F(bins, of_large_blocks_have_few_and_leave_the_others_untouched) {
    constexpr std::size_t large = 1 << 20;
    allot_test::heat(top, large);
    std::vector<void*> held;
    for (int i = 0; i < 10; ++i)
        held.push_back(top.malloc(large));
    for (void* const block : held)
        *static_cast<std::uint64_t*>(block) = 0x5a5a5a5a5a5a5a5a;
    { // so that the heap keeps them all
        slab::cold_section here;
        slab::find_or_make_heap(here.slot(), allot_test::inside(top), nullptr)->keep_max = 1u << 26;
    }
    for (void* const block : held)
        allot_free(block);
    EXPECT_EQ(count_in(bin_of(top, large)), 4u);
#if !ALLOT_DEBUG // which poisons
    EXPECT_EQ(std::count_if(
                  held.begin(), held.end(),
                  [](const void* block) { return *static_cast<const std::uint64_t*>(block) == 0x5a5a5a5a5a5a5a5a; }),
              6);
#endif
    for (const void* const block : held)
        EXPECT_EQ(of(block).capacity, 1u);
}

TEST_F(bins, of_a_group_that_is_discarded_send_nothing_back_to_the_wiped_slabs_of_another_thread) {
    allot::group tenant = top.create("tenant");
    allot_test::heat(tenant, size);
    std::vector<void*> made;
    puppet maker;
    puppet user;
    maker.does([&] {
        for (int i = 0; i < 32; ++i)
            made.push_back(tenant.malloc(size));
    });
    user.does([&] {
        allot_free(tenant.malloc(size));
        const allot::scope in{tenant};
        for (void* const block : made)
            allot_free(block);
    });
    tenant.close(allot::discard);
    allot_test::expect_books_agree("after the discard");
    EXPECT_EQ(top.stat().slab, 0u);
}

TEST_F(bins, of_a_cache_that_is_destroyed_are_empty_for_the_next_one_with_its_number) {
    const allot_cache_options options{.size = 48, .alignment = 0, .flags = 0, .constructor = nullptr};
    allot_cache* cache = allot_cache_create("first", &options);
    ASSERT_NE(cache, nullptr);
    const allot::scope in{top};
    std::vector<void*> objects;
    for (int i = 0; i < 2000; ++i)
        objects.push_back(allot_cache_alloc(cache));
    allot::sync::run_pending();
    for (int i = 0; i < 100; ++i)
        objects.push_back(allot_cache_alloc(cache));
    const std::uint32_t index = of(objects.back()).cache->shape.index;
    for (void* const each : objects)
        allot_cache_free(cache, each);
    EXPECT_NE(heap_of(top).bins[index].free, 0u);
    allot_cache_report report;
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, 0u) << "blocks in bins do not live";
    EXPECT_EQ(heap_of(top).bins[index].free, 0u);
    EXPECT_EQ(heap_of(top).bins[index].tag, slab::no_bin_tag);
}

TEST_F(bins, of_no_group_match_a_page_that_has_no_slab) {
    EXPECT_EQ(slab::page_tag_of(slab::arena.base).value, 0u);
    for (const slab::bin& b : allot::sync::no_bins.entry) {
        EXPECT_EQ(b.tag, slab::no_bin_tag);
        EXPECT_EQ(b.max, 0u);
    }
    void* const large = top.malloc(std::size_t{4} << 20);
    EXPECT_FALSE(slab::names_a_bin(slab::page_tag_of(large)));
    allot_free(large);
    const allot::group cold = top.create("cold");
    void* const shared = cold.malloc(size);
    EXPECT_FALSE(slab::names_a_bin(slab::page_tag_of(shared)));
    allot_free(shared);
}

TEST_F(bins, and_empty_slabs_of_a_thread_that_idles_go_back) {
    puppet sleeper;
    sleeper.does([&] {
        std::vector<void*> held;
        for (int i = 0; i < 2000; ++i)
            held.push_back(top.malloc(size));
        for (void* const block : held)
            allot_free(block);
    });
    const allot::sync::busy_scope busy; // the executor may be at it too
    slab::trim_idle_threads();          // sees that it has allocated since the last time
    slab::trim_idle_threads();
    EXPECT_EQ(top.stat().slab, 0u);
    slab::trim_idle_threads();
    EXPECT_EQ(top.stat().slab, 0u);
}

TEST_F(bins, are_backed_by_empty_slabs_that_the_heap_keeps_once_it_has_given_back_what_it_wanted_again) {
    constexpr std::size_t page_run_bytes = 65536;
    allot_test::heat(top, page_run_bytes);
    std::vector<void*> held;
    const auto take_and_give = [&] {
        for (int i = 0; i < 12; ++i)
            held.push_back(top.malloc(page_run_bytes));
        for (void* const block : held)
            allot_free(block);
        held.clear();
    };
    take_and_give();
    const std::uint32_t first = heap_of(top).kept;
    for (int round = 0; round < 12; ++round)
        take_and_give();
    const std::uint64_t charged = top.stat().large;
    EXPECT_GT(heap_of(top).kept, first);
    for (int i = 0; i < 12; ++i) { // free blocks with something in them
        held.push_back(top.malloc(page_run_bytes));
        std::memset(held.back(), 0x5a, page_run_bytes);
    }
    for (void* const block : held)
        allot_free(block);
    held.clear();
    allot_test::expect_books_agree("with slabs of one block");
    EXPECT_GE(charged, 11 * page_run_bytes) << "all are kept, and charged";
    take_and_give();
    EXPECT_EQ(top.stat().large, charged) << "and nothing comes or goes";
    const std::uint32_t keep_max = heap_of(top).keep_max;
    {
        slab::cold_section here;
        slab::trim(*slab::find_or_make_heap(here.slot(), allot_test::inside(top), nullptr));
    }
    EXPECT_EQ(heap_of(top).kept, 0u);
    EXPECT_EQ(heap_of(top).keep_max, keep_max / 2);
    EXPECT_EQ(top.stat().large, 0u);
}

TEST_F(bins, of_blocks_that_have_a_slab_each_are_charged_as_large) {
    constexpr std::size_t large = 65536;
    allot_test::heat(top, large);
    allot_test::settle_all();
    const allot::stat before = top.stat();
    void* const block = top.malloc(large);
    EXPECT_EQ(of(block).kind, slab::slab_kind::owned);
    EXPECT_EQ(of(block).capacity, 1u);
    EXPECT_EQ(of(block).pages, large / allot::page_bytes);
    EXPECT_EQ(top.stat().large - before.large, large);
    EXPECT_EQ(top.stat().slab, before.slab);
    EXPECT_EQ(allot_usable_size(block), large);
    allot_free(block);
}

TEST_F(bins, of_large_blocks_give_them_up_for_a_new_slab_of_another_size) {
    constexpr std::size_t one = 200'000;
    constexpr std::size_t other = 100'000;
    allot_test::heat(top, one);
    allot_test::heat(top, other);
    allot_test::settle_all();
    allot_test::empty_bins(top);
    void* const stays = top.malloc(one);
    void* const first = top.malloc(one);
    void* const second = top.malloc(one);
    allot_free(first);
    allot_free(second);
    ASSERT_EQ(count_in(bin_of(top, one)), 2u);
    const std::uint64_t before = usage();
    void* const large = top.malloc(other);
    EXPECT_EQ(count_in(bin_of(top, one)), 1u) << "as many bytes as are wanted, rounded up to blocks";
    EXPECT_LT(usage(), before);
    void* const more = top.malloc(one);
    EXPECT_EQ(count_in(bin_of(top, one)), 0u) << "what is there is used";
    allot_free(more);
    ASSERT_EQ(count_in(bin_of(top, one)), 1u);
    const allot::scope in{top};
    void* const run = allot_malloc(3u << 20);
    EXPECT_EQ(count_in(bin_of(top, one)), 0u) << "for a run of pages too";
    for (void* const block : {stays, large, run})
        allot_free(block);
    allot_test::expect_books_agree("after the large ones");
}

TEST_F(bins, of_large_blocks_keep_them_for_a_new_slab_of_their_own_size) {
    constexpr std::size_t one = 200'000;
    allot_test::heat(top, one);
    allot_test::settle_all();
    puppet maker;
    void* theirs = nullptr;
    maker.does([&] { theirs = top.malloc(one); });
    std::vector<void*> mine;
    for (int i = 0; i < 5; ++i)
        mine.push_back(top.malloc(one));
    EXPECT_EQ(heap_of(top).nr_slabs, 5u);
    for (void* const block : mine)
        allot_free(block);
    EXPECT_GE(count_in(bin_of(top, one)), 4u);
    for (void*& block : mine)
        block = top.malloc(one);
    EXPECT_EQ(count_in(bin_of(top, one)), 0u);
    for (void* const block : mine)
        allot_free(block);
    allot_free(theirs);
}

} // namespace
