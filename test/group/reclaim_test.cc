// SPDX-License-Identifier: MIT
//
// reclaim_test: who meets a limit gets what others hold and do not use, and nothing that lives is touched.
#include "support/core.hpp"

#include <cerrno>
#include <cstring>

namespace {

using allot_test::blocks;
using allot_test::heat;
using allot_test::puppet;
using namespace allot::literals;

class reclaim : public allot_test::core_test {
  protected:
    /// Makes the sleeper hold slabs of the group with free blocks: `count` blocks of `size`, of which the calling thread
    /// frees all but every `nth`. The sleeper itself would give empty slabs back.
    static void leave_idle_slabs(puppet& sleeper, const allot::group& group, std::size_t size, std::size_t count,
                                 blocks& kept, std::size_t nth) {
        sleeper.does([&] { ASSERT_TRUE(kept.make(group, size, count)); });
        const std::uint64_t before = group.stat().slab;
        kept.thin(nth);
        EXPECT_GT(group.stat().slab, before / 2) << "held idle";
    }
};

TEST_F(reclaim, a_limit_that_is_met_takes_back_what_a_sleeping_thread_holds_idle) {
    const allot::group limited = child("limited", {.max = 1_MiB});
    heat(limited, 64);
    puppet sleeper;
    blocks of_sleeper;
    leave_idle_slabs(sleeper, limited, 64, 14'000, of_sleeper, 100'000); // one block stays
    const std::uint64_t idle = limited.stat().current;
    blocks mine;
    EXPECT_TRUE(mine.make(limited, 100'000, 9)) << "with " << idle << " bytes held idle";
    EXPECT_EQ(limited.stat().failures, 0u);
    EXPECT_LE(limited.stat().peak, 1_MiB);
    sleeper.does([&] { ASSERT_TRUE(of_sleeper.make(limited, 64, 100)); }); // its fast path opens again
    sleeper.does([&] { of_sleeper.clear(); });
}

TEST_F(reclaim, a_parents_limit_takes_back_what_is_idle_in_another_child) {
    const allot::group limited = child("limited", {.max = 1_MiB});
    const allot::group lazy = limited.create("lazy");
    const allot::group busy = limited.create("busy");
    heat(lazy, 200);
    puppet sleeper;
    blocks of_lazy;
    leave_idle_slabs(sleeper, lazy, 200, 4000, of_lazy, 100'000);
    blocks mine;
    EXPECT_TRUE(mine.make(busy, 100'000, 8));
    EXPECT_EQ(limited.stat().failures, 0u);
    EXPECT_LE(lazy.stat().current, 100'000u);
    mine.clear();
    of_lazy.clear();
}

TEST_F(reclaim, a_group_beside_it_loses_nothing) {
    const allot::group limited = child("limited", {.max = 256_KiB});
    const allot::group beside = child("beside");
    heat(beside, 64);
    puppet sleeper;
    blocks of_beside;
    leave_idle_slabs(sleeper, beside, 64, 5000, of_beside, 5);
    const std::uint64_t before = beside.stat().slab;
    EXPECT_EQ(limited.malloc(1_MiB), nullptr);
    EXPECT_EQ(beside.stat().slab, before);
    sleeper.does([&] { of_beside.clear(); });
}

TEST_F(reclaim, live_blocks_keep_their_contents_and_are_freed_as_always) {
    const allot::group limited = child("limited", {.max = 1_MiB});
    heat(limited, 100);
    puppet sleeper;
    blocks of_sleeper;
    leave_idle_slabs(sleeper, limited, 100, 5000, of_sleeper, 50);
    for (std::size_t i = 0; i < of_sleeper.size(); ++i)
        std::memset(of_sleeper[i], static_cast<int>(i), 100);
    EXPECT_EQ(limited.malloc(2_MiB), nullptr);
    limited.reclaim();
    for (std::size_t i = 0; i < of_sleeper.size(); ++i)
        for (const int at : {0, 50, 99})
            ASSERT_EQ(static_cast<unsigned char*>(of_sleeper[i])[at], static_cast<unsigned char>(i));
    sleeper.does([&] { of_sleeper.clear(); });
    allot_test::settle_all();
    EXPECT_EQ(limited.stat().current, 0u);
}

TEST_F(reclaim, says_how_many_bytes_it_gave_back) {
    const allot::group one = child("one");
    heat(one, 64);
    allot_test::settle_all();
    ASSERT_EQ(one.stat().current, 0u);
    puppet sleeper;
    blocks kept;
    leave_idle_slabs(sleeper, one, 64, 1000, kept, 100'000);
    kept.clear(); // from here: nobody has a live block, the sleeper holds the slabs
    const std::uint64_t held = one.stat().current;
    ASSERT_GT(held, 0u);
    EXPECT_EQ(allot_group_reclaim(one.get(), 0), 0u) << "nothing is wanted";
    EXPECT_EQ(one.stat().current, held);
    EXPECT_EQ(allot_group_reclaim(one.get(), 1), held);
    EXPECT_EQ(one.stat().current, 0u);
    EXPECT_EQ(allot_group_reclaim(one.get(), ALLOT_UNLIMITED), 0u);
}

TEST_F(reclaim, lowering_max_below_what_is_idle_takes_it_back_at_once) {
    const allot::group one = child("one");
    heat(one, 64);
    puppet sleeper;
    blocks kept;
    leave_idle_slabs(sleeper, one, 64, 10'000, kept, 100'000);
    ASSERT_GT(one.stat().current, 128_KiB);
    one.set({.max = 128_KiB});
    EXPECT_LE(one.stat().current, 128_KiB);
    EXPECT_EQ(one.limits().max, 128_KiB);
    sleeper.does([&] { kept.clear(); });
}

TEST_F(reclaim, lowering_max_below_what_lives_fails_every_charge_until_it_fits) {
    const allot::group one = child("one");
    blocks live;
    ASSERT_TRUE(live.make(one, 100'000, 10));
    one.set({.max = 500'000});
    EXPECT_GT(one.stat().current, 500'000u) << "what lives stays";
    EXPECT_EQ(one.malloc(16), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_FALSE(one.try_charge(1));
    live.thin(5);
    void* const block = one.malloc(16);
    EXPECT_NE(block, nullptr);
    allot::free(block);
    one.set({.max = ALLOT_UNLIMITED});
    EXPECT_TRUE(live.make(one, 1'000'000, 1));
}

TEST_F(reclaim, max_zero_gives_everything_idle_back_and_lets_nothing_in) {
    const allot::group one = child("one");
    heat(one, 64);
    one.set({.max = 0});
    EXPECT_EQ(one.stat().current, 0u);
    EXPECT_EQ(one.malloc(1), nullptr);
    EXPECT_EQ(one.malloc(1_MiB), nullptr);
    EXPECT_EQ(one.stat().failures, 2u);
}

TEST_F(reclaim, what_a_thread_left_to_its_caches_at_its_end_is_used_again) {
    const allot::group limited = child("limited", {.max = 1_MiB});
    heat(limited, 64);
    blocks made;
    std::thread{[&] { ASSERT_TRUE(made.make(limited, 64, 14'000)); }}.join();
    made.clear();
    EXPECT_LT(limited.stat().slab, 64u * 1024) << "slabs that nobody holds go with their last block";
    blocks mine;
    EXPECT_TRUE(mine.make(limited, 100'000, 9));
    EXPECT_EQ(limited.stat().failures, 0u);
}

TEST_F(reclaim, a_failure_says_what_was_met) {
    const allot::group outer = child("outer", {.max = 256_KiB});
    const allot::group inner = outer.create("inner", {.max = 1_MiB});
    blocks made;
    ASSERT_TRUE(made.make(inner, 200 * 1024, 1));
    EXPECT_EQ(inner.malloc(100'000), nullptr);
    allot_failure failure;
    ASSERT_TRUE(allot_last_failure(&failure));
    EXPECT_EQ(std::string{failure.group}, outer.path());
    EXPECT_EQ(failure.limit, 256_KiB);
    EXPECT_EQ(failure.request, 100'000u);
    EXPECT_GE(failure.usage, 200u * 1024);
    EXPECT_LE(failure.usage, 256_KiB);
}

TEST_F(reclaim, threads_at_one_limit_all_get_their_share_and_none_passes_it) {
    const allot::group limited = child("limited", {.max = 2_MiB});
    std::atomic<unsigned> failed{0};
    allot_test::on_threads(4, [&](unsigned i) {
        const allot::scope in{limited};
        for (unsigned turn = 0; turn < 400 / allot_test::slowdown; ++turn) {
            blocks some; // at most 4 * 400 KB of live blocks at a time
            for (unsigned j = 0; j < 300; ++j) {
                void* const block = some.add(allot::malloc(i * 300 + 64 + turn % 3 * 100));
                failed += block == nullptr;
            }
        }
    });
    EXPECT_EQ(failed, 0u) << "what lives always fitted";
    EXPECT_LE(limited.stat().peak, 2_MiB);
}

} // namespace
