// SPDX-License-Identifier: MIT
//
// cold_bins: blocks of shared slabs in a thread's bins; what a group pays for them, and when they go back.
#include "support/core.hpp"

#include "slab/alloc.hpp"
#include "slab/cold.hpp"
#include "slab/slab_ops.hpp"
#include "support/threads.hpp"

#include <algorithm>
#include <optional>
#include <set>

namespace {

using allot_test::blocks;
using allot_test::inside;
using allot_test::puppet;
namespace slab = allot::slab;
namespace sync = allot::sync;

class cold_bins : public allot_test::core_test {
  protected:
    static constexpr std::size_t size = 64;

    void SetUp() override {
        core_test::SetUp();
        cold = child("cold");
        allot_free(allot::malloc(size)); // the thread has a slot
        forget_patterns();
    }
    void TearDown() override {
        cold = allot::group{};
        core_test::TearDown();
    }
    /// The calling thread's heap for the group that it is in; nothing is changed.
    static const slab::heap& heap_here() { return *static_cast<const slab::heap*>(sync::tls.heap); }
    static const slab::bin& bin_here(std::size_t bytes = size) { return heap_here().bins[slab::class_of(bytes)]; }
    static std::uint32_t idle_here(std::size_t bytes = size) { return slab::free_count(bin_here(bytes).free); }
    /// The calling thread expects nothing of the groups that it enters.
    static void forget_patterns() {
        slab::thread_heaps& heaps = slab::heaps_of(*sync::tls.slot);
        std::ranges::fill(heaps.cold_patterns, slab::cold_pattern{});
        heaps.used_bins = heaps.expected_bins = 0;
    }
    /// Allocates so many objects for the thread's group; false if one failed.
    static bool take(blocks& made, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            if (made.add(allot::malloc(size)) == nullptr)
                return false;
        return true;
    }
    /// Has the thread serve a group that uses so many objects, until it is left.
    void serve(std::size_t objects) const {
        const allot::group request = child("request");
        blocks made;
        {
            const allot::scope in{request};
            EXPECT_TRUE(take(made, objects));
        }
        request.close();
    }
    /// The same with three objects of each of three sizes.
    void serve_mixed() const {
        const allot::group request = child("request");
        blocks made;
        {
            const allot::scope in{request};
            for (int i = 0; i < 3; ++i)
                for (const std::size_t bytes : {std::size_t{16}, size, std::size_t{1024}})
                    made.add(allot::malloc(bytes));
        }
        request.close();
    }
    /// A group with room for so many objects.
    allot::group tight_group(std::uint64_t objects) const { return child("tight", {.max = objects * size}); }
    std::uint64_t charged() const { return inside(cold).counter().usage; }

    allot::group cold;

  private:
    const allot_test::no_decay counts_hold_;
};

TEST_F(cold_bins, are_filled_with_blocks_that_the_group_pays_for_and_emptied_when_the_thread_leaves) {
    blocks made;
    {
        const allot::scope in{cold};
        made.add(allot::malloc(size));
        EXPECT_TRUE(slab::is_cold(bin_here()));
        EXPECT_GT(idle_here(), 0u);
        EXPECT_EQ(charged(), (1 + idle_here()) * size);
    }
    EXPECT_EQ(charged(), size) << "what was not used is nobody's";
    const allot::scope in{cold};
    EXPECT_EQ(heap_here().cold_bins, 0u);
    EXPECT_EQ(heap_here().partial, nullptr) << "no table of its own";
}

TEST_F(cold_bins, take_more_each_time_and_a_page_at_most) {
    blocks made;
    const allot::scope in{cold};
    std::uint64_t most = 0;
    for (int i = 0; i < 200; ++i) {
        made.add(allot::malloc(size));
        most = std::max<std::uint64_t>(most, idle_here() * size);
        ASSERT_EQ(charged(), made.size() * size + idle_here() * size);
    }
    EXPECT_GT(most, 1024u);
    EXPECT_LE(most, allot::page_bytes);
}

TEST_F(cold_bins, have_a_block_that_came_back_at_hand) {
    const allot::scope in{cold};
    void* const first = allot::malloc(size);
    const std::uint64_t with_one = charged();
    for (int i = 0; i < 100; ++i) {
        void* const block = allot::malloc(size);
        allot_free(block);
        EXPECT_EQ(charged(), with_one);
    }
    allot_free(first);
    EXPECT_EQ(charged(), with_one);
    EXPECT_EQ(cold.stat().current, 0u) << "reading sends back what is not used";
    EXPECT_EQ(charged(), 0u);
}

TEST_F(cold_bins, of_a_group_take_no_block_of_another) {
    const allot::group other = child("other");
    void* const foreign = other.malloc(size);
    const allot::scope in{cold};
    void* const own = allot::malloc(size);
    const std::uint32_t had = idle_here();
    allot_free(foreign);
    EXPECT_EQ(idle_here(), had);
    EXPECT_EQ(inside(other).counter().usage, 0u) << "uncharged at once";
    allot_free(own);
    EXPECT_EQ(idle_here(), had + 1);
}

TEST_F(cold_bins, of_one_size_take_no_block_of_another) {
    const allot::scope in{cold};
    void* const small = allot::malloc(16);
    void* const large = allot::malloc(1024);
    const std::uint32_t had = idle_here(16);
    allot_free(large);
    EXPECT_EQ(idle_here(16), had);
    EXPECT_EQ(idle_here(1024), 1u);
    allot_free(small);
    EXPECT_EQ(idle_here(16), had + 1);
}

TEST_F(cold_bins, share_the_threads_table_one_group_at_a_time) {
    const allot::group other = child("other");
    blocks made;
    const allot::scope outer{cold};
    made.add(allot::malloc(size));
    const slab::heap& of_cold = heap_here();
    const std::uint64_t held = charged();
    {
        const allot::scope inner{other};
        made.add(allot::malloc(size));
        EXPECT_EQ(charged(), size) << "given back to make room";
        EXPECT_EQ(of_cold.bins, slab::empty_table);
    }
    EXPECT_EQ(inside(other).counter().usage, size);
    forget_patterns();
    made.add(allot::malloc(size));
    EXPECT_EQ(charged(), size + held);
}

TEST_F(cold_bins, take_at_once_what_the_last_two_groups_used) {
    serve(50);
    serve(50);
    blocks made;
    {
        const allot::scope in{cold};
        made.add(allot::malloc(size));
        const std::uint32_t first = 1 + idle_here(); // as far as one slab has them
        EXPECT_EQ(charged(), first * size);
        while (idle_here() != 0)
            made.add(allot::malloc(size));
        while (made.size() < 50)
            made.add(allot::malloc(size));
        EXPECT_EQ(idle_here(), 0u) << "nothing is left over";
        made.add(allot::malloc(size));
        EXPECT_GT(idle_here(), 0u) << "this one uses more";
    }
    EXPECT_EQ(charged(), 51 * size);
}

TEST_F(cold_bins, take_no_more_at_once_than_either_of_the_last_two_used) {
    serve(50);
    serve(6);
    {
        const allot::scope in{cold};
        void* const block = allot::malloc(size);
        EXPECT_EQ(charged(), 6 * size);
        allot_free(block);
    }
}

TEST_F(cold_bins, of_all_that_the_last_two_groups_used_are_filled_by_the_first_allocation) {
    serve_mixed();
    serve_mixed();
    blocks made;
    {
        const allot::scope in{cold};
        made.add(allot::malloc(size));
        EXPECT_GT(idle_here(16), 0u);
        EXPECT_LE(idle_here(16), 3u);
        EXPECT_LE(idle_here(1024), 3u);
        EXPECT_EQ(idle_here(128), 0u) << "nobody used those";
        EXPECT_EQ(charged(), (1 + idle_here()) * size + idle_here(16) * 16 + idle_here(1024) * 1024);
        allot_test::expect_books_agree("while they are full");
        for (int i = 0; i < 3; ++i)
            made.add(allot::malloc(16));
        EXPECT_EQ(idle_here(16), 0u);
    }
    EXPECT_EQ(charged(), size + 3 * 16) << "what was not used is nobody's";
    {
        const allot::group other = child("other");
        const allot::scope in{other};
        made.add(allot::malloc(size));
        EXPECT_EQ(idle_here(1024), 0u) << "the group before used none";
    }
}

TEST_F(cold_bins, that_were_filled_by_the_first_allocation_go_with_a_discarded_group) {
    serve_mixed();
    serve_mixed();
    const std::uint64_t before = top.stat().current;
    const allot::scope in{cold};
    ASSERT_NE(allot::malloc(size), nullptr);
    EXPECT_GT(idle_here(16), 0u);
    cold.close(allot::discard);
    EXPECT_LE(top.stat().current, before);
    allot_test::expect_books_agree("after the discard");
}

TEST_F(cold_bins, that_there_is_no_room_for_together_are_not_filled_before_they_are_wanted) {
    serve_mixed();
    serve_mixed();
    const allot::group tight = tight_group(4);
    blocks made;
    const allot::scope in{tight};
    ASSERT_NE(made.add(allot::malloc(size)), nullptr);
    EXPECT_EQ(idle_here(1024), 0u);
    ASSERT_TRUE(take(made, 3));
    EXPECT_EQ(tight.stat().max_events, 0u);
}

TEST_F(cold_bins, do_not_go_over_high_with_what_is_not_needed) {
    serve_mixed();
    serve_mixed();
    const allot::group calm = child("calm", {.high = 3 * size});
    blocks made;
    const allot::scope in{calm};
    for (int i = 0; i < 3; ++i)
        made.add(allot::malloc(size));
    EXPECT_EQ(calm.stat().high_events, 0u);
    made.add(allot::malloc(size));
    EXPECT_EQ(calm.stat().high_events, 1u);
}

TEST_F(cold_bins, do_not_count_what_they_sent_back_as_used) {
    serve(50);
    serve(50);
    for (int i = 0; i < 2; ++i) {
        const allot::group request = child("request");
        blocks made;
        {
            const allot::scope in{request};
            made.add(allot::malloc(size));
            EXPECT_EQ(request.stat().current, size) << "sends the others back";
        }
        request.close();
    }
    blocks made;
    const allot::scope in{cold};
    made.add(allot::malloc(size));
    EXPECT_EQ(idle_here(), 0u);
}

TEST_F(cold_bins, take_what_there_is_room_for_where_groups_before_used_more) {
    serve(100);
    serve(100);
    const allot::group tight = tight_group(20);
    blocks made;
    const allot::scope in{tight};
    ASSERT_TRUE(take(made, 20));
    EXPECT_EQ(tight.stat().max_events, 0u);
    EXPECT_EQ(tight.stat().current, 20 * size);
}

TEST_F(cold_bins, do_not_make_a_limit_smaller) {
    const allot::group tight = tight_group(40);
    blocks made;
    {
        const allot::scope in{tight};
        // Of another size, so that blocks lie idle in its bin when the limit is met.
        void* const other = allot::malloc(2 * size);
        allot_free(other);
        ASSERT_TRUE(take(made, 40));
        EXPECT_EQ(allot::malloc(size), nullptr);
        EXPECT_LE(inside(tight).counter().usage, 40 * size);
    }
    EXPECT_EQ(inside(tight).counter().usage, 40 * size);
    EXPECT_LE(tight.stat().peak, 40 * size);
}

TEST_F(cold_bins, that_a_limit_has_no_room_for_are_no_limit_that_was_met) {
    const allot::group tight = tight_group(10);
    blocks made;
    const allot::scope in{tight};
    ASSERT_TRUE(take(made, 10));
    EXPECT_EQ(tight.stat().max_events, 0u);
    EXPECT_EQ(allot::malloc(size), nullptr);
    EXPECT_GT(tight.stat().max_events, 0u);
}

TEST_F(cold_bins, of_another_thread_give_back_what_a_limit_needs) {
    const allot::group tight = tight_group(8);
    blocks made;
    puppet sleeper;
    void* theirs = nullptr;
    std::optional<allot::scope> in;
    sleeper.does([&] {
        in.emplace(tight);
        theirs = allot::malloc(size);
    });
    EXPECT_GT(inside(tight).counter().usage, size);
    EXPECT_TRUE(made.make(tight, size, 7));
    EXPECT_EQ(tight.malloc(size), nullptr);
    sleeper.does([&] {
        in.reset();
        allot_free(theirs);
    });
    EXPECT_EQ(inside(tight).counter().usage, 7 * size);
}

TEST_F(cold_bins, go_back_when_their_thread_idles_and_when_it_ends) {
    std::optional<allot::scope> in;
    puppet sleeper;
    void* theirs = nullptr;
    sleeper.does([&] {
        in.emplace(cold);
        theirs = allot::malloc(size);
    });
    EXPECT_GT(charged(), size);
    slab::trim_idle_threads(); // notes what it has allocated
    slab::trim_idle_threads();
    EXPECT_EQ(charged(), size);
    sleeper.does([&] {
        allot_free(theirs);
        theirs = allot::malloc(size);
        in.reset();
        in.emplace(cold);
        allot_free(allot::malloc(size));
    });
    EXPECT_GT(charged(), size);
    sleeper.does([&] { in.reset(); });
    EXPECT_EQ(charged(), size);
    allot_free(theirs);
    EXPECT_EQ(charged(), 0u);
}

TEST_F(cold_bins, of_an_idle_thread_go_back_though_it_took_no_new_slab) {
    std::optional<allot::scope> in;
    puppet sleeper;
    void* first = nullptr;
    void* second = nullptr;
    sleeper.does([&] {
        const allot::scope other{top};
        first = allot::malloc(size); // the thread has a shared slab from here on
    });
    for (int tick = 0; tick < 3; ++tick)
        slab::trim_idle_threads();
    sleeper.does([&] {
        in.emplace(cold);
        second = allot::malloc(size);
    });
    EXPECT_GT(charged(), size);
    EXPECT_TRUE(slab::trim_is_wanted());
    for (int tick = 0; tick < 3; ++tick)
        slab::trim_idle_threads();
    EXPECT_EQ(charged(), size);
    sleeper.does([&] {
        in.reset();
        allot_free(first);
        allot_free(second);
    });
}

TEST_F(cold_bins, are_emptied_when_the_thread_is_given_another_group) {
    const allot::group other = child("other");
    void* block = nullptr;
    std::thread{[&] {
        ASSERT_EQ(allot_thread_set_group(cold.get()), 0);
        block = allot::malloc(size);
        EXPECT_GT(charged(), size);
        ASSERT_EQ(allot_thread_set_group(other.get()), 0);
        EXPECT_EQ(charged(), size);
    }}.join();
    allot_free(block);
}

TEST_F(cold_bins, are_left_to_the_heir_with_what_lives) {
    blocks made;
    {
        const allot::scope in{cold};
        made.add(allot::malloc(size));
        allot_group_close(cold.get(), nullptr);
        allot_quiesce();
        EXPECT_EQ(top.stat().shared, size);
        made.add(allot::malloc(size)); // the parent's now
    }
    EXPECT_EQ(top.stat().shared, 2 * size);
    made.clear();
    EXPECT_EQ(top.stat().shared, 0u);
}

TEST_F(cold_bins, of_a_discarded_group_are_never_handed_out_again_by_it) {
    const allot::scope in{cold};
    std::vector<void*> old;
    for (int i = 0; i < 5; ++i)
        old.push_back(allot::malloc(size));
    ASSERT_GT(idle_here(), 0u);
    ASSERT_EQ(allot_group_discard(cold.get(), nullptr), 0);
    EXPECT_EQ(top.stat().shared, 0u);
    blocks made;
    std::set<void*> different;
    for (int i = 0; i < 100; ++i)
        different.insert(made.add(allot::malloc(size)));
    EXPECT_EQ(different.size(), 100u);
    EXPECT_EQ(top.stat().shared, 100 * size);
    allot_verify_report found;
    EXPECT_EQ(allot_verify(&found), 0) << found.first_error;
}

TEST_F(cold_bins, are_found_by_a_recount_while_they_are_full) {
    blocks made;
    const allot::scope in{cold};
    for (const std::size_t bytes : {16u, 64u, 100u, 500u, 2000u})
        made.add(allot::malloc(bytes));
    allot_verify_report found;
    EXPECT_EQ(allot_verify(&found), 0) << found.first_error;
    ASSERT_GT(idle_here(), 0u) << "a recount changes nothing";
}

TEST_F(cold_bins, make_way_for_slabs_of_the_groups_own) {
    blocks made;
    const allot::scope in{cold};
    made.add(allot::malloc(size));
    made.add(allot::malloc(100));
    for (int i = 0; i < 300; ++i)
        made.add(allot::malloc(size));
    allot_quiesce();
    for (int i = 0; i < 100; ++i)
        made.add(allot::malloc(size));
    EXPECT_FALSE(slab::is_cold(bin_here()));
    EXPECT_NE(heap_here().partial, nullptr);
    made.add(allot::malloc(100));
    EXPECT_TRUE(slab::is_cold(bin_here(100))) << "in the same table";
    made.clear();
    allot_verify_report found;
    EXPECT_EQ(allot_verify(&found), 0) << found.first_error;
}

TEST_F(cold_bins, count_for_the_warmth_of_a_group_what_was_used) {
    for (int i = 0; i < 100; ++i)
        allot_free(cold.malloc(size)); // each time a bin is filled, and given back
    allot_quiesce();
    EXPECT_EQ(slab::child_of(inside(cold), slab::class_of(size)), nullptr) << "100 allocations are few";
    {
        const allot::scope in{cold};
        for (int i = 0; i < 400; ++i)
            allot_free(allot::malloc(size)); // and here none has to be filled
    }
    allot_quiesce();
    EXPECT_NE(slab::child_of(inside(cold), slab::class_of(size)), nullptr) << "500 are many";
}

TEST_F(cold_bins, are_left_for_slabs_of_the_groups_own_by_who_frees_all_that_it_allocates) {
    const allot::scope in{cold};
    for (int turn = 0; turn < 2; ++turn) {
        for (int i = 0; i < 400; ++i)
            allot_free(allot::malloc(size));
        allot_quiesce(); // makes the child
    }
    EXPECT_FALSE(slab::is_cold(bin_here()));
    EXPECT_GT(idle_here(), 0u);
}

TEST_F(cold_bins, are_left_though_the_thread_makes_no_slow_call_and_nobody_else_works) {
    const allot::scope in{cold};
    bool left = false;
    for (int i = 0; i < 20'000'000 && !left; ++i) { // the library's thread may be slow
        allot_free(allot::malloc(size));
        left = i % 1024 == 0 && !slab::is_cold(bin_here());
    }
    EXPECT_TRUE(left);
}

TEST_F(cold_bins, of_a_typed_cache_are_no_live_objects_when_it_is_destroyed) {
    const allot_cache_options options{.size = 80, .alignment = 0, .flags = 0, .constructor = nullptr};
    allot_cache* const cache = allot_cache_create("typed", &options);
    ASSERT_NE(cache, nullptr);
    const allot::scope in{cold};
    void* const object = allot_cache_alloc(cache);
    ASSERT_NE(object, nullptr);
    EXPECT_GT(charged(), 80u);
    allot_cache_free(cache, object);
    allot_cache_report found;
    allot_cache_destroy(cache, &found);
    EXPECT_EQ(found.live, 0u);
    EXPECT_EQ(cold.stat().current, 0u);
}

} // namespace
