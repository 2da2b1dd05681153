// SPDX-License-Identifier: MIT
//
// page_alloc_test: runs of pages are exact, aligned, merge again when they are freed, and say truly whether they are zeros.
//
// Concurrency. the library's own worker may give the contents of free pages back beside them.
#include "support/core.hpp"

#include "slab/heap.hpp"
#include "sync/executor.hpp"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

namespace {

using namespace allot::slab;
using allot::page_bytes;

struct stopped_world {
    stopped_world() { stop_world(); }
    ~stopped_world() { resume_world(); }
};

/// What a case takes is counted against the allocator's own figure.
class pages : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        handed_out_ = pages_handed_out();
    }
    void TearDown() override {
        EXPECT_EQ(pages_handed_out(), handed_out_) << "I1: all came back";
        core_test::TearDown();
    }
    // The allocator is called as the library calls it: on a thread that is marked busy.
    template <class... Args> static page_run alloc_pages(Args&&... args) {
        const allot::sync::busy_scope busy;
        return allot::slab::alloc_pages(args...);
    }
    static page_run alloc_run(std::size_t count, std::size_t alignment) {
        const allot::sync::busy_scope busy;
        return allot::slab::alloc_run(count, alignment);
    }
    template <class... Args> static void free_pages(Args&&... args) {
        const allot::sync::busy_scope busy;
        allot::slab::free_pages(args...);
    }
    static void drain_stash(page_stash& stash) {
        const allot::sync::busy_scope busy;
        allot::slab::drain_stash(stash);
    }

    std::uint64_t taken() const { return pages_handed_out() - handed_out_; }

    static bool is_aligned(const page_run& run, std::size_t alignment_pages) {
        return reinterpret_cast<std::uintptr_t>(start_of(*run.first)) % (alignment_pages * page_bytes) == 0;
    }
    static bool reads_as_zeros(const page_run& run, std::size_t count) {
        const char* const from = start_of(*run.first);
        return std::all_of(from, from + count * page_bytes, [](char byte) { return byte == 0; });
    }
    static void soil(const page_run& run, std::size_t count) {
        std::memset(start_of(*run.first), 0x5a, count * page_bytes);
    }
    /// Runs `work` where the timer that gives pages back cannot come in between.
    static void alone(std::function<void()> work) {
        allot::sync::run_exclusive([](void* data) noexcept { (*static_cast<std::function<void()>*>(data))(); }, &work);
    }
    /// True if the page begins a free block or lies in one.
    static bool is_free(std::uint32_t page) {
        const stopped_world none_changes_it;
        for (unsigned order = 0; order <= chunk_order; ++order) {
            const slab& head = slab_at(page >> order << order);
            if (head.kind == slab_kind::free_block && head.order >= order)
                return true;
        }
        return false;
    }
    /// I2: no two free buddies of one order. Returns the count of those that break it.
    static std::size_t free_buddies() {
        const stopped_world none_changes_it;
        std::size_t count = 0;
        for (std::uint32_t page = 1; page < pages_committed(); ++page) {
            const slab& s = slab_at(page);
            if (s.kind != slab_kind::free_block || s.order == chunk_order)
                continue;
            const slab& buddy = slab_at(page ^ (1u << s.order));
            count += buddy.kind == slab_kind::free_block && buddy.order == s.order;
        }
        return count;
    }

  private:
    std::uint64_t handed_out_ = 0;
};

TEST_F(pages, a_block_of_every_order_is_aligned_to_its_size_and_counted) {
    for (unsigned order = 0; order <= chunk_order; ++order) {
        const page_run run = alloc_pages(order);
        ASSERT_NE(run.first, nullptr) << order;
        EXPECT_EQ(page_index(*run.first) % (1u << order), 0u) << order;
        EXPECT_NE(page_index(*run.first), 0u) << "page 0 means none";
        EXPECT_EQ(taken(), std::uint64_t{1} << order);
        EXPECT_EQ(run.first->kind, slab_kind::none);
        free_pages(*run.first, std::size_t{1} << order);
        EXPECT_EQ(taken(), 0u);
    }
}

TEST_F(pages, halves_merge_in_whatever_order_they_come_back) {
    std::mt19937 random{7};
    for (int round = 0; round < 20; ++round) {
        const page_run whole = alloc_pages(6);
        ASSERT_NE(whole.first, nullptr);
        std::vector<std::uint32_t> each(64);
        for (std::uint32_t i = 0; i < 64; ++i)
            each[i] = page_index(*whole.first) + i;
        std::shuffle(each.begin(), each.end(), random);
        for (const std::uint32_t page : each)
            free_pages(slab_at(page), 1);
        EXPECT_EQ(free_buddies(), 0u);
        for (const std::uint32_t page : each)
            EXPECT_TRUE(is_free(page));
    }
}

TEST_F(pages, a_run_costs_exactly_its_pages_and_the_rest_is_free_at_once) {
    for (const std::size_t count : {1u, 3u, 5u, 17u, 100u, 513u, 1000u, 1023u, 1024u}) {
        const page_run run = alloc_run(count, 1);
        ASSERT_NE(run.first, nullptr) << count;
        EXPECT_EQ(taken(), count);
        const std::uint32_t after = page_index(*run.first) + static_cast<std::uint32_t>(count);
        if (count != std::size_t{1} << (std::bit_width(count) - 1)) {
            EXPECT_TRUE(is_free(after)) << count << ": what the next power of two had too much";
        }
        free_pages(*run.first, count);
        EXPECT_EQ(free_buddies(), 0u) << count;
    }
}

TEST_F(pages, runs_above_a_chunk_are_exact_and_their_pages_come_in_a_row) {
    for (const std::size_t count : {1025u, 2048u, 3000u, 5000u}) {
        const page_run run = alloc_run(count, 1);
        ASSERT_NE(run.first, nullptr) << count;
        EXPECT_EQ(taken(), count);
        soil(run, count); // all of them are there
        free_pages(*run.first, count);
        EXPECT_EQ(free_buddies(), 0u);
    }
}

TEST_F(pages, alignments_below_and_above_a_chunk_are_kept) {
    for (std::size_t alignment = 1; alignment <= 8 * chunk_pages; alignment *= 4)
        for (const std::size_t count : {1u, 3u, 300u, 1500u}) {
            const page_run run = alloc_run(count, alignment);
            ASSERT_NE(run.first, nullptr) << alignment << " " << count;
            EXPECT_TRUE(is_aligned(run, alignment)) << alignment << " " << count;
            EXPECT_EQ(taken(), count) << alignment;
            soil(run, count);
            free_pages(*run.first, count);
            EXPECT_EQ(free_buddies(), 0u);
        }
}

TEST_F(pages, any_part_of_a_run_may_be_given_back) {
    const page_run run = alloc_run(100, 1);
    ASSERT_NE(run.first, nullptr);
    const std::uint32_t first = page_index(*run.first);
    free_pages(slab_at(first + 37), 20);
    EXPECT_EQ(taken(), 80u);
    free_pages(slab_at(first + 57), 43);
    free_pages(slab_at(first), 37);
    EXPECT_EQ(free_buddies(), 0u);
}

TEST_F(pages, more_than_the_arena_has_is_refused_and_costs_nothing) {
    EXPECT_EQ(alloc_run(arena.bytes / page_bytes + 1, 1).first, nullptr);
    EXPECT_EQ(alloc_run(arena.bytes / page_bytes, 1).first, nullptr) << "page 0 is not for anybody";
    EXPECT_EQ(alloc_run(1, arena.bytes / page_bytes * 2).first, nullptr);
    EXPECT_EQ(alloc_run(SIZE_MAX / page_bytes, 1).first, nullptr);
    EXPECT_EQ(taken(), 0u);
    EXPECT_EQ(free_buddies(), 0u);
}

TEST_F(pages, a_run_that_says_it_is_zeroed_is_and_a_soiled_one_does_not_say_so) {
    std::mt19937_64 random{allot_test::test_seed("zeroed")};
    std::vector<std::pair<page_run, std::size_t>> held;
    for (int turn = 0; turn < 150 / static_cast<int>(allot_test::slowdown); ++turn) {
        const std::size_t count = random() % 10 == 0 ? 1 + random() % 2500 : 1 + random() % 50;
        const page_run run = alloc_run(count, std::size_t{1} << random() % 6);
        ASSERT_NE(run.first, nullptr);
        if (run.zeroed) {
            ASSERT_TRUE(reads_as_zeros(run, count)) << count << " pages";
        }
        soil(run, count);
        held.emplace_back(run, count);
        while (held.size() > 20 || (turn % 50 == 49 && !held.empty())) {
            std::swap(held[random() % held.size()], held.back());
            free_pages(*held.back().first.first, held.back().second);
            held.pop_back();
        }
        if (turn % 50 == 49)
            allot_purge();
    }
    for (const auto& [run, count] : held)
        free_pages(*run.first, count);
}

TEST_F(pages, purge_makes_free_pages_zeros_again_and_says_how_many_bytes) {
    alone([] {
        allot_purge();
        const std::uint64_t dirty = pages_dirty();
        const page_run run = alloc_pages(9);
        ASSERT_NE(run.first, nullptr);
        soil(run, 512);
        free_pages(*run.first, 512);
        EXPECT_GE(pages_dirty(), dirty + 512);
        EXPECT_GE(allot_purge(), 512u * page_bytes);
        EXPECT_EQ(pages_dirty(), 0u);
        EXPECT_EQ(allot_purge(), 0u) << "once is enough";
        const page_run again = alloc_pages(9);
        ASSERT_NE(again.first, nullptr);
        EXPECT_TRUE(again.zeroed);
        EXPECT_TRUE(reads_as_zeros(again, 512));
        free_pages(*again.first, 512);
    });
}

TEST_F(pages, purge_gives_the_descriptors_of_free_chunks_back_too) {
    const page_run run = alloc_run(3 * chunk_pages, chunk_pages);
    ASSERT_NE(run.first, nullptr);
    for (std::uint32_t i = 0; i < 3 * chunk_pages; ++i) {
        slab& each = slab_at(page_index(*run.first) + i);
        each.object_bytes = 1;
        remote_of(each).word = 0;
    }
    const auto resident = [&] {
        std::size_t count = 0;
        for (std::uint32_t i = 0; i < 3 * chunk_pages; i += page_bytes / sizeof(slab)) {
            unsigned char in = 0;
            const slab& each = slab_at(page_index(*run.first) + i);
            EXPECT_EQ(::mincore(reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(&each) & ~(page_bytes - 1)),
                                page_bytes, &in),
                      0);
            count += in & 1;
        }
        return count;
    };
    EXPECT_EQ(resident(), 48u);
    soil(run, 3 * chunk_pages);
    free_pages(*run.first, 3 * chunk_pages);
    purge();
    EXPECT_EQ(resident(), 3u) << "those of the chunks' first pages, which say that they are free";
}

TEST_F(pages, a_purge_from_an_order_on_leaves_smaller_blocks_alone) {
    alone([] {
        allot_purge();
        const page_run pair = alloc_pages(1);
        ASSERT_NE(pair.first, nullptr);
        soil(pair, 2);
        free_pages(*pair.first, 1); // its buddy is held, so it stays a block of one page
        EXPECT_EQ(purge_pages(5), 0u);
        EXPECT_EQ(pages_dirty(), 1u);
        EXPECT_EQ(purge_pages(0), page_bytes);
        free_pages(slab_at(page_index(*pair.first) + 1), 1);
    });
}

TEST_F(pages, dirty_blocks_are_used_again_before_clean_ones) {
    alone([] {
        allot_purge();
        const page_run run = alloc_pages(3);
        const page_run fence = alloc_pages(3); // keeps the first from merging upward, whichever buddy it got
        ASSERT_TRUE(run.first != nullptr && fence.first != nullptr);
        soil(run, 8);
        free_pages(*run.first, 8);
        const page_run again = alloc_pages(3);
        EXPECT_FALSE(again.zeroed);
        EXPECT_EQ(again.first, run.first);
        free_pages(*again.first, 8);
        free_pages(*fence.first, 8);
    });
}

TEST_F(pages, with_contents_are_taken_before_a_smaller_clean_block) {
    alone([&] {
        (void)purge_pages(0);
        const page_run splits = alloc_pages(3); // leaves clean blocks of order 3 and above
        const page_run run = alloc_pages(8);
        ASSERT_TRUE(splits.first != nullptr && run.first != nullptr);
        free_pages(*run.first, 256);
        const page_run again = alloc_pages(3);
        EXPECT_FALSE(again.zeroed);
        free_pages(*again.first, 8);
        free_pages(*splits.first, 8);
    });
}

TEST_F(pages, go_to_the_system_for_clean_ones_that_are_taken_beside_them) {
    alone([&] {
        (void)purge_pages(0);
        const page_run chunk = alloc_pages(chunk_order);
        ASSERT_NE(chunk.first, nullptr);
        free_pages(*chunk.first, chunk_pages / 2); // too small for what comes now
        EXPECT_EQ(pages_dirty(), chunk_pages / 2);
        const page_run clean = alloc_pages(chunk_order);
        EXPECT_TRUE(clean.zeroed);
        EXPECT_TRUE(pages_are_owed());
        EXPECT_EQ(repay_pages(), chunk_bytes / 2);
        EXPECT_EQ(pages_dirty(), 0u);
        EXPECT_FALSE(pages_are_owed());
        free_pages(slab_at(page_index(*chunk.first) + chunk_pages / 2), chunk_pages / 2);
        free_pages(*clean.first, chunk_pages);
    });
}

TEST_F(pages, that_are_dirty_stay_while_they_are_wanted_again) {
    constexpr std::size_t chunks = 16; // 64 MiB, untouched
    alone([&] {
        (void)repay_pages();
        for (int round = 0; round < 4; ++round) {
            std::vector<slab*> held;
            for (std::size_t i = 0; i < chunks; ++i)
                held.push_back(alloc_pages(chunk_order).first);
            EXPECT_TRUE(round == 0 || !pages_are_owed()) << round;
            for (slab* const each : held)
                free_pages(*each, chunk_pages);
        }
        EXPECT_GE(pages_dirty(), chunks * chunk_pages);
    });
}

TEST_F(pages, that_lie_dirty_while_as_many_are_handed_out_go_to_the_system) {
    constexpr std::size_t chunks = 16;
    alone([&] {
        std::vector<slab*> held;
        for (std::size_t i = 0; i < chunks; ++i)
            held.push_back(alloc_pages(chunk_order).first);
        for (slab* const each : held)
            free_pages(*each, chunk_pages);
        EXPECT_GE(pages_dirty(), chunks * chunk_pages);
        for (std::size_t turn = 0; turn < 4 * chunks && !pages_are_owed(); ++turn)
            free_pages(*alloc_pages(chunk_order).first, chunk_pages); // one of them does
        EXPECT_TRUE(pages_are_owed());
        (void)repay_pages();
        EXPECT_LE(pages_dirty(), 2 * chunk_pages);
    });
}

TEST_F(pages, behind_a_run_make_it_longer_while_they_are_free) {
    alone([&] {
        const page_run run = alloc_pages(5);
        ASSERT_NE(run.first, nullptr);
        const std::uint32_t page = page_index(*run.first);
        free_pages(slab_at(page + 3), 21);
        EXPECT_TRUE(extend_run(*run.first, 3, 10));
        EXPECT_EQ(taken(), 10u + 8);
        EXPECT_FALSE(is_free(page + 9));
        EXPECT_TRUE(is_free(page + 10));
        EXPECT_FALSE(extend_run(*run.first, 10, 25)) << "page 24 is taken";
        EXPECT_EQ(taken(), 10u + 8);
        EXPECT_TRUE(extend_run(*run.first, 10, 24));
        EXPECT_EQ(taken(), 32u);
        EXPECT_FALSE(extend_run(*run.first, 32, pages_committed() + 1)) << "past the end";
        free_pages(*run.first, 32);
    });
    EXPECT_EQ(free_buddies(), 0u);
}

TEST_F(pages, a_stash_keeps_a_few_blocks_that_count_as_free) {
    page_stash stash{};
    std::vector<slab*> held;
    for (std::uint32_t i = 0; i < page_stash::room + 4; ++i)
        held.push_back(alloc_pages(stash, 2).first);
    EXPECT_EQ(taken(), 4u * held.size());
    for (slab* const each : held)
        free_pages(stash, *each, 2);
    EXPECT_EQ(stash.count[2], page_stash::room) << "those beyond went back";
    EXPECT_EQ(taken(), 0u) << "what is in the stash is free";
    const page_run again = alloc_pages(stash, 2);
    EXPECT_EQ(again.first, held[page_stash::room - 1]) << "the last in is the first out";
    EXPECT_FALSE(again.zeroed) << "nobody knows";
    EXPECT_EQ(stash.count[2], page_stash::room - 1);
    EXPECT_EQ(taken(), 4u);
    free_pages(stash, *again.first, 2);
    drain_stash(stash);
    EXPECT_EQ(stash.count[2], 0);
    EXPECT_EQ(free_buddies(), 0u);
}

TEST_F(pages, threads_that_take_and_give_lose_none_and_share_none) {
    allot_test::on_threads(3, [&](unsigned thread) {
        std::mt19937 random{thread};
        std::vector<std::pair<slab*, std::size_t>> held;
        for (unsigned turn = 0; turn < 1500 / allot_test::slowdown; ++turn) {
            const std::size_t count = 1 + random() % 40;
            slab* const first = alloc_run(count, 1).first;
            ASSERT_NE(first, nullptr);
            std::memset(start_of(*first), static_cast<int>(thread + 1), count * page_bytes);
            held.emplace_back(first, count);
            if (held.size() < 10)
                continue;
            std::swap(held[random() % held.size()], held.back());
            const char* const from = start_of(*held.back().first);
            EXPECT_EQ(from[0], static_cast<char>(thread + 1));
            EXPECT_EQ(from[held.back().second * page_bytes - 1], static_cast<char>(thread + 1));
            free_pages(*held.back().first, held.back().second);
            held.pop_back();
        }
        for (const auto& [first, count] : held)
            free_pages(*first, count);
    });
    EXPECT_EQ(free_buddies(), 0u);
}

} // namespace
