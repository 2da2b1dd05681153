// SPDX-License-Identifier: MIT
//
// revoke_test: a closed thread touches no slab until it has its slot again, and a stopped world stands still.
#include "support/core.hpp"

#include "slab/slab_ops.hpp"
#include "support/test_points.hpp"
#include "support/threads.hpp"

#include <csignal>
#include <pthread.h>

namespace {

using allot_test::blocks;
using allot_test::puppet;
namespace slab = allot::slab;
namespace sync = allot::sync;

class revocation : public allot_test::core_test {
  protected:
    static bool always(slab::thread_heaps&, void*) noexcept { return true; }
    /// Closes every thread's fast path, parking nothing.
    static void close_all() {
        slab::for_each_slot_closed(
            always, [](sync::thread_slot&, void*) noexcept {}, nullptr);
    }
    static void look_at_it_stand(void* data) noexcept {
        const auto& counter = *static_cast<const allot::counter::page_counter*>(data);
        slab::stop_world();
        const std::uint64_t usage = counter.usage;
        const std::uint64_t pages = slab::pages_handed_out();
        std::this_thread::sleep_for(std::chrono::microseconds{500});
        EXPECT_EQ(counter.usage, usage);
        EXPECT_EQ(slab::pages_handed_out(), pages);
        EXPECT_FALSE(slab::world_is_stopped()) << "not for who stopped it";
        slab::resume_world();
    }
    static bool has_fast_path() {
        EXPECT_TRUE(allot_test::attach_thread());
        return slab::heaps_of(*sync::tls.slot).fast;
    }
    static bool is_open(const sync::thread_state& thread) { return thread.bins != slab::empty_table; }
};

TEST_F(revocation, closes_a_sleeping_thread_which_opens_itself_at_its_next_slow_call) {
    if (!has_fast_path())
        GTEST_SKIP() << "nobody restarts sections or waits for them here, so the fast path is closed for ever";
    puppet sleeper;
    const sync::thread_state* state = nullptr;
    void* block = nullptr;
    sleeper.does([&] {
        state = &sync::tls;
        allot::free(allot::malloc(64));
        EXPECT_TRUE(is_open(*state));
    });
    close_all();
    EXPECT_FALSE(is_open(*state));
    sleeper.does([&] {
        EXPECT_EQ(slab::alloc_fast(slab::small_bin_of(64)), nullptr) << "its table holds empty bins";
        block = allot::malloc(64);
        EXPECT_TRUE(is_open(*state));
    });
    close_all();
    sleeper.does([&] {
        EXPECT_FALSE(slab::free_fast(block)) << "its number matches no slab";
        allot::free(block);
        EXPECT_TRUE(is_open(*state));
    });
}

TEST_F(revocation, by_who_has_left_the_slot_closes_the_thread_that_has_it_now) {
    SKIP_WITHOUT_TEST_POINTS();
    if (!has_fast_path())
        GTEST_SKIP() << "no fast path to close";
    allot_test::parked leaving{"end_thread:detached"};
    std::uint32_t left = 0;
    std::thread first{[&] {
        allot::free(allot::malloc(64));
        left = sync::tls.slot->index;
    }};
    ASSERT_TRUE(leaving.arrived());
    puppet second;
    const sync::thread_state* state = nullptr;
    second.does([&] {
        state = &sync::tls;
        allot::free(allot::malloc(64));
        EXPECT_EQ(sync::tls.slot->index, left) << "numbers are used again";
    });
    EXPECT_TRUE(is_open(*state));
    leaving.let_go();
    first.join();
    EXPECT_FALSE(is_open(*state)) << "closed before the queue of the slot, and its slabs, were looked at";
}

TEST_F(revocation, of_a_thread_that_ends_leaves_the_slot_closed_to_handlers_of_the_next_one) {
    SKIP_WITHOUT_TEST_POINTS();
    // A new thread has a slot before it has a heap; the one before it is still on its way out.
    EXPECT_TRUE(allot_test::child_lives(10, [] {
        static std::atomic<int> allocated{0};
        std::signal(SIGUSR1, [](int) {
            allot_free(allot_malloc(64));
            ++allocated;
        });
        allot_test::parked leaving{"end_thread:detached"};
        std::uint32_t left = 0;
        std::uint32_t taken = 0;
        std::thread first{[&] {
            allot::free(allot::malloc(64));
            left = sync::tls.slot->index;
        }};
        if (!leaving.arrived())
            return 1;
        allot_test::parked coming{"begin_thread:attached"};
        std::thread second{[&] {
            allot::free(allot::malloc(64));
            taken = sync::tls.slot->index;
        }};
        if (!coming.arrived())
            return 2;
        pthread_kill(second.native_handle(), SIGUSR1);
        if (!allot_test::soon([] { return allocated == 1; }))
            return 3;
        coming.let_go();
        second.join();
        leaving.let_go();
        first.join();
        return left == taken && allot::verify() ? 0 : 4;
    }));
}

TEST_F(revocation, waits_for_a_thread_that_is_in_its_section_and_only_for_that_section) {
    std::atomic<int> phase{0};
    std::atomic<bool> closed{false};
    std::thread reader{[&] {
        ASSERT_TRUE(allot_test::attach_thread());
        {
            sync::rcu_guard section;
            phase = 1;
            while (phase == 1)
                allot::platform::yield();
        }
        EXPECT_TRUE(allot_test::soon([&] { return closed.load(); })) << "out of it, without another call";
    }};
    ASSERT_TRUE(allot_test::soon([&] { return phase == 1; }));
    std::thread closer{[&] {
        close_all();
        closed = true;
    }};
    EXPECT_TRUE(allot_test::not_yet([&] { return closed.load(); }));
    phase = 2;
    closer.join();
    reader.join();
}

TEST_F(revocation, does_not_wait_for_a_section_of_the_user) {
    puppet reader;
    reader.does([] { allot_rcu_read_lock(); });
    close_all(); // would not come back
    reader.does([] {
        allot::free(allot::malloc(64));
        allot_rcu_read_unlock();
    });
}

TEST_F(revocation, a_stopped_world_stands_still) {
    // Everything that moves while the world is stopped moves the figures of the group or of the pages.
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> turns{0};
    std::atomic<void*> places[64]{};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 2; ++i)
        threads.emplace_back([&, i] {
            std::mt19937 random{i};
            while (!done) {
                allot::free(places[random() % 64].exchange(top.malloc(random() % 4000)));
                ++turns;
            }
        });
    auto& counter = allot_test::inside(top).counter();
    for (unsigned round = 0; round < 10; ++round) {
        const std::uint64_t before = turns;
        EXPECT_TRUE(allot_test::soon([&] { return turns > before + 10; })) << "it goes on between two stops";
        allot::sync::run_exclusive(look_at_it_stand, &counter); // the executor takes pages, too
    }
    done = true;
    for (auto& thread : threads)
        thread.join();
    for (auto& place : places)
        allot::free(place.exchange(nullptr));
}

TEST_F(revocation, the_stopper_itself_may_allocate_and_free) {
    allot_test::heat(top, 64);
    std::vector<void*> made;
    for (int i = 0; i < 50; ++i)
        made.push_back(top.malloc(64));
    std::thread{[&] {
        ASSERT_TRUE(allot_test::attach_thread());
        slab::stop_world();
        for (void* const block : made) // another thread's
            allot_free(block);
        for (void*& block : made)
            block = allot_malloc(64);
        slab::resume_world();
    }}.join();
    for (void* const block : made) {
        EXPECT_EQ(allot::owner_of(block), allot::root());
        allot_free(block);
    }
}

TEST_F(revocation, two_revokers_and_a_stopper_at_once_lose_nothing) {
    allot_test::heat(top, 64);
    std::atomic<bool> done{false};
    std::vector<std::thread> revokers;
    revokers.emplace_back([&] {
        while (!done)
            top.reclaim();
    });
    revokers.emplace_back([&] {
        while (!done)
            EXPECT_TRUE(allot::verify());
    });
    allot_test::on_threads(2, [&](unsigned) {
        for (unsigned turn = 0; turn < 300 / allot_test::slowdown; ++turn) {
            blocks made;
            ASSERT_TRUE(made.make(top, 64, 50));
        }
    });
    done = true;
    for (auto& each : revokers)
        each.join();
}

} // namespace
