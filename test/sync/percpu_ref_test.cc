// SPDX-License-Identifier: MIT
//
// percpu_ref_test: what each function promises, alone, and exactly one release under everything at once.
#include "sync/percpu_ref.hpp"

#include "held_reader.hpp"
#include "support/bugs.hpp"
#include "support/threads.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <memory>
#include <new>
#include <pthread.h>
#include <thread>

namespace allot::sync {
namespace {

using allot_test::bug_in;
using allot_test::held_reader;
using allot_test::kind;
using allot_test::not_yet;
using allot_test::run_threads;
using allot_test::soon;

constexpr std::uint32_t cell_count = 256;
constexpr unsigned slowdown = ALLOT_TSAN != 0 || ALLOT_ASAN != 0 ? 10 : 1;

struct free_lines {
    void operator()(percpu_cells* cells) const { ::operator delete (cells, std::align_val_t{cache_line_bytes}); }
};
using cells_ptr = std::unique_ptr<percpu_cells, free_lines>;

cells_ptr make_cells(std::uint32_t count = cell_count) {
    void* const memory = ::operator new (percpu_cells::bytes_for(count), std::align_val_t{cache_line_bytes});
    return cells_ptr{&percpu_cells::create(memory, count)};
}

/// The whole way back from per-slot; the cells are freed.
void switch_to_atomic(percpu_ref& ref) {
    ASSERT_TRUE(ref.begin_switch_to_atomic());
    synchronize_rcu();
    EXPECT_NE(cells_ptr{ref.finish_switch_to_atomic()}, nullptr);
}
void kill(percpu_ref& ref) {
    ref.begin_kill();
    synchronize_rcu();
    cells_ptr{ref.confirm_kill()};
}

/// A count in per-slot mode, on a thread with a slot.
class percpu_ref_percpu : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(allot_test::attach_thread());
        ASSERT_TRUE(ref.switch_to_percpu(*make_cells().release()));
        word = ref.count();
    }
    void TearDown() override {
        static_cast<void>(ref.begin_switch_to_atomic());
        synchronize_rcu();
        cells_ptr{ref.finish_switch_to_atomic()};
        ref.exit();
    }
    /// What the word has more than at the start, modulo 2^40.
    std::int64_t word_change() const { return static_cast<std::int64_t>(ref.count() - word); }

    percpu_ref ref;
    std::uint64_t word = 0;
};

TEST(percpu_ref, starts_atomic_and_online_with_the_references_it_is_given) {
    const percpu_ref one, three{3};
    EXPECT_TRUE(one.count() == 1 && three.count() == 3);
    EXPECT_FALSE(one.is_percpu() || one.is_dying() || one.is_hot());
}

TEST(percpu_ref, only_the_last_put_is_told_so) {
    percpu_ref ref;
    ref.get();
    ref.get(3);
    EXPECT_EQ(ref.count(), 5u);
    EXPECT_FALSE(ref.put());
    EXPECT_FALSE(ref.put(2));
    EXPECT_FALSE(ref.put());
    EXPECT_TRUE(ref.put());
    EXPECT_EQ(ref.count(), 0u);
}

TEST(percpu_ref, tryget_fails_at_zero_and_leaves_it_there) {
    percpu_ref ref;
    EXPECT_TRUE(ref.tryget());
    EXPECT_TRUE(ref.tryget_online());
    EXPECT_TRUE(ref.put(3));
    EXPECT_FALSE(ref.tryget());
    EXPECT_FALSE(ref.tryget_online());
    EXPECT_EQ(ref.count(), 0u);
}

TEST(percpu_ref, get_from_zero_is_a_bug) {
    percpu_ref ref{0};
    EXPECT_NE(bug_in([&] { ref.get(); }), "");
}

TEST(percpu_ref, putting_more_than_there_is_is_a_bug) {
    percpu_ref ref{2};
    EXPECT_NE(bug_in([&] { static_cast<void>(ref.put(3)); }), "");
}

void heat(percpu_ref& ref, std::uint64_t gets) {
    for (std::uint64_t i = 0; i < gets; ++i) {
        ref.get();
        EXPECT_FALSE(ref.put());
    }
}

TEST(percpu_ref, becomes_hot_by_gets_and_not_by_references) {
    percpu_ref ref;
    ref.get(2 * percpu_ref::hot_gets);
    EXPECT_FALSE(ref.put(2 * percpu_ref::hot_gets));
    heat(ref, percpu_ref::hot_gets - 2);
    EXPECT_FALSE(ref.is_hot());
    EXPECT_TRUE(ref.tryget());
    EXPECT_TRUE(ref.is_hot());
    EXPECT_EQ(ref.count(), 2u);
}

TEST(percpu_ref, is_cold_again_after_it_was_switched_there_and_back) {
    percpu_ref ref;
    heat(ref, percpu_ref::hot_gets);
    ASSERT_TRUE(ref.is_hot());
    ASSERT_TRUE(ref.switch_to_percpu(*make_cells().release()));
    switch_to_atomic(ref);
    EXPECT_FALSE(ref.is_hot());
    EXPECT_EQ(ref.count(), 1u);
    heat(ref, percpu_ref::hot_gets);
    EXPECT_TRUE(ref.is_hot());
}

TEST(percpu_ref, heat_wraps_and_does_not_touch_the_count) {
    percpu_ref ref;
    for (std::uint64_t i = 0; i < (std::uint64_t{1} << 24) + 1; ++i)
        ref.get();
    EXPECT_EQ(ref.count(), (std::uint64_t{1} << 24) + 2);
    EXPECT_FALSE(ref.is_hot());
    EXPECT_TRUE(ref.put((std::uint64_t{1} << 24) + 2));
}

TEST_F(percpu_ref_percpu, a_thread_with_a_slot_leaves_the_word_alone) {
    ref.get();
    ref.get(5);
    EXPECT_TRUE(ref.tryget());
    EXPECT_TRUE(ref.tryget_online());
    EXPECT_FALSE(ref.put(2));
    EXPECT_EQ(word_change(), 0);
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 7u);
}

TEST_F(percpu_ref_percpu, a_put_is_never_the_last) {
    EXPECT_FALSE(ref.put());
    ref.get();
    switch_to_atomic(ref);
    EXPECT_TRUE(ref.put());
}

TEST_F(percpu_ref_percpu, what_one_thread_gets_another_may_put) {
    constexpr unsigned threads = 4;
    ref.get(threads);
    run_threads(threads, [&](unsigned) {
        ASSERT_TRUE(allot_test::attach_thread());
        EXPECT_FALSE(ref.put());
    });
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 1u);
}

TEST_F(percpu_ref_percpu, the_cell_of_a_thread_that_has_ended_counts) {
    std::thread([&] {
        ASSERT_TRUE(allot_test::attach_thread());
        ref.get(7);
    }).join();
    EXPECT_EQ(word_change(), 0);
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 8u);
}

TEST_F(percpu_ref_percpu, a_thread_without_a_slot_uses_the_word) {
    std::thread([&] {
        ASSERT_EQ(tls.slot, &no_slot);
        ref.get();
        EXPECT_EQ(word_change(), 1);
        EXPECT_TRUE(ref.tryget());
        EXPECT_TRUE(ref.tryget_online());
        EXPECT_EQ(word_change(), 3);
        EXPECT_FALSE(ref.put(2));
        EXPECT_EQ(word_change(), 1);
    }).join();
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 2u);
}

TEST_F(percpu_ref_percpu, a_slot_beyond_the_cells_uses_the_word) {
    percpu_ref narrow;
    ASSERT_TRUE(narrow.switch_to_percpu(*make_cells(tls.slot->index - 1).release()));
    const std::uint64_t before = narrow.count();
    narrow.get();
    EXPECT_EQ(narrow.count(), before + 1);
    switch_to_atomic(narrow);
    EXPECT_EQ(narrow.count(), 2u);
}

TEST_F(percpu_ref_percpu, the_last_cell_is_used) {
    percpu_ref exact;
    ASSERT_TRUE(exact.switch_to_percpu(*make_cells(tls.slot->index).release()));
    const std::uint64_t before = exact.count();
    exact.get();
    EXPECT_EQ(exact.count(), before);
    switch_to_atomic(exact);
    EXPECT_EQ(exact.count(), 2u);
}

TEST_F(percpu_ref_percpu, a_section_inside_another_uses_the_word) {
    {
        const rcu_guard outer;
        ref.get();
    }
    EXPECT_EQ(word_change(), 1);
}

TEST_F(percpu_ref_percpu, exit_with_cells_is_a_bug) {
    EXPECT_NE(bug_in([&] { ref.exit(); }), "");
}

/// SIGUSR1 does `what` with `ref` while it exists.
class on_signal {
  public:
    on_signal(percpu_ref& ref, void (*what)(percpu_ref&)) {
        target = &ref;
        action = what;
        struct sigaction handler {};
        handler.sa_handler = [](int) { action(*target); };
        sigaction(SIGUSR1, &handler, &before_);
    }
    ~on_signal() { sigaction(SIGUSR1, &before_, nullptr); }
    on_signal(const on_signal&) = delete;
    on_signal& operator=(const on_signal&) = delete;

  private:
    static inline percpu_ref* target;
    static inline void (*action)(percpu_ref&);
    struct sigaction before_ {};
};

TEST_F(percpu_ref_percpu, a_handler_on_top_of_a_section_uses_the_word) {
    const on_signal usr1{ref, [](percpu_ref& r) {
                             r.get();
                             EXPECT_TRUE(r.tryget_online());
                         }};
    {
        const percpu_real::percpu_section section;
        EXPECT_EQ(section.index(), tls.slot->index);
        std::raise(SIGUSR1);
    }
    EXPECT_EQ(word_change(), 2);
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 3u);
}

TEST_F(percpu_ref_percpu, a_handler_on_top_of_no_section_uses_the_cell) {
    const on_signal usr1{ref, [](percpu_ref& r) { r.get(); }};
    std::raise(SIGUSR1);
    EXPECT_EQ(word_change(), 0);
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 2u);
}

TEST_F(percpu_ref_percpu, signals_at_any_moment_of_a_get_or_put_lose_nothing) {
    static std::atomic<std::uint64_t> handled;
    handled = 0;
    const on_signal usr1{ref, [](percpu_ref& r) {
                             r.get(3);
                             static_cast<void>(r.put());
                             handled.fetch_add(1, std::memory_order_relaxed);
                         }};
    constexpr std::uint64_t storms = 400 / slowdown;
    const pthread_t target = pthread_self();
    std::atomic<bool> over{false};
    std::thread sender([&] {
        for (std::uint64_t sent = 0; sent < storms; ++sent) {
            pthread_kill(target, SIGUSR1);
            // One at a time: a signal that is pending already is lost.
            if (!soon([&] { return handled.load(std::memory_order_relaxed) > sent; }))
                break;
        }
        over = true;
    });
    std::uint64_t kept = 0;
    for (std::uint64_t i = 0; !over; ++i) {
        ref.get();
        ++kept;
        if (i % 3 != 0) {
            EXPECT_FALSE(ref.put());
            --kept;
        }
    }
    sender.join();
    EXPECT_EQ(handled.load(), storms);
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 1 + kept + 2 * storms);
}

TEST(percpu_ref, cells_that_are_refused_stay_the_callers) {
    percpu_ref ref;
    cells_ptr one = make_cells(), two = make_cells();
    ASSERT_TRUE(ref.switch_to_percpu(*one));
    EXPECT_FALSE(ref.switch_to_percpu(*two)) << "it has cells";
    ASSERT_TRUE(ref.begin_switch_to_atomic());
    EXPECT_FALSE(ref.switch_to_percpu(*two)) << "the old cells are not in yet";
    synchronize_rcu();
    EXPECT_EQ(ref.finish_switch_to_atomic(), one.get());
    EXPECT_EQ(ref.count(), 1u);
    ref.begin_kill();
    EXPECT_FALSE(ref.switch_to_percpu(*two)) << "it is dying";
    EXPECT_EQ(ref.count(), 1u);
    EXPECT_TRUE(ref.put());
}

TEST(percpu_ref, a_switch_back_has_nothing_to_do_without_cells_or_when_dying) {
    percpu_ref ref;
    EXPECT_FALSE(ref.begin_switch_to_atomic());
    EXPECT_EQ(ref.finish_switch_to_atomic(), nullptr);
    cells_ptr cells = make_cells();
    ASSERT_TRUE(ref.switch_to_percpu(*cells));
    ref.begin_kill();
    EXPECT_FALSE(ref.begin_switch_to_atomic());
    synchronize_rcu();
    EXPECT_EQ(ref.confirm_kill(), cells.get());
}

TEST_F(percpu_ref_percpu, while_it_goes_back_the_word_counts_and_no_put_is_the_last) {
    ASSERT_TRUE(ref.begin_switch_to_atomic());
    EXPECT_TRUE(ref.is_percpu());
    ref.get();
    EXPECT_TRUE(ref.tryget_online());
    EXPECT_FALSE(ref.put());
    EXPECT_EQ(word_change(), 1);
    synchronize_rcu();
    cells_ptr{ref.finish_switch_to_atomic()};
    EXPECT_FALSE(ref.is_percpu());
    EXPECT_EQ(ref.count(), 2u);
}

TEST(percpu_ref, put_after_kill_releases_exactly_once) {
    percpu_ref ref;
    ref.get();
    kill(ref);
    EXPECT_FALSE(ref.put());
    EXPECT_TRUE(ref.put());
}

TEST_F(percpu_ref_percpu, a_confirmed_kill_returns_the_cells_and_the_next_last_put_releases) {
    ref.get();
    ref.begin_kill();
    EXPECT_FALSE(ref.put()) << "the cells are not in yet";
    synchronize_rcu();
    EXPECT_NE(cells_ptr{ref.confirm_kill()}, nullptr);
    EXPECT_EQ(ref.confirm_kill(), nullptr);
    EXPECT_TRUE(ref.put());
}

TEST_F(percpu_ref_percpu, a_kill_during_a_switch_back_is_served_by_either_end) {
    ref.get();
    ASSERT_TRUE(ref.begin_switch_to_atomic());
    ref.begin_kill();
    synchronize_rcu();
    EXPECT_NE(cells_ptr{ref.finish_switch_to_atomic()}, nullptr);
    EXPECT_TRUE(ref.is_dying());
    EXPECT_EQ(ref.confirm_kill(), nullptr);
    EXPECT_EQ(ref.count(), 2u);
}

TEST(percpu_ref, a_second_kill_is_a_bug) {
    percpu_ref ref;
    ref.begin_kill();
    EXPECT_NE(bug_in([&] { ref.begin_kill(); }), "");
}

TEST(percpu_ref, confirming_what_was_not_killed_is_a_bug) {
    percpu_ref ref;
    EXPECT_NE(bug_in([&] { ref.confirm_kill(); }), "");
}

TEST_F(percpu_ref_percpu, tryget_online_fails_after_the_kill_on_every_kind_of_thread_and_tryget_does_not) {
    ref.begin_kill();
    synchronize_rcu();
    EXPECT_TRUE(ref.is_dying());
    EXPECT_FALSE(ref.tryget_online());
    std::thread([&] { EXPECT_FALSE(ref.tryget_online()); }).join();
    std::thread([&] { EXPECT_TRUE(allot_test::attach_thread() && !ref.tryget_online()); }).join();
    {
        const rcu_guard outer;
        EXPECT_FALSE(ref.tryget_online());
    }
    EXPECT_TRUE(ref.tryget());
    cells_ptr{ref.confirm_kill()};
    EXPECT_FALSE(ref.tryget_online());
    EXPECT_TRUE(ref.tryget());
    EXPECT_EQ(ref.count(), 3u);
}

struct killed : percpu_ref {
    work item{[](work& self) noexcept {
        killed& me = base::container_of(self, &killed::item);
        cells_ptr{me.confirm_kill()};
        me.released = me.put();
    }};
    std::atomic<bool> released{false};
};

TEST(percpu_ref, a_kill_is_confirmed_when_the_sections_that_saw_it_alive_are_over) {
    ASSERT_TRUE(allot_test::attach_thread());
    for (const kind each : {kind::with_a_slot, kind::without_a_slot}) {
        killed ref;
        ASSERT_TRUE(ref.switch_to_percpu(*make_cells().release()));
        {
            held_reader reader{each};
            kill_and_confirm(ref, ref.item);
            std::thread runner([] { rcu_barrier(); });
            EXPECT_TRUE(not_yet([&] { return ref.released.load(); }));
            EXPECT_TRUE(ref.is_percpu());
            reader.leave();
            runner.join();
        }
        EXPECT_TRUE(ref.released);
        EXPECT_FALSE(ref.is_percpu());
    }
}

TEST(percpu_ref, resurrected_is_online_and_can_be_killed_again) {
    percpu_ref ref;
    kill(ref);
    EXPECT_FALSE(ref.tryget_online());
    ref.resurrect();
    EXPECT_FALSE(ref.is_dying() || ref.is_percpu());
    EXPECT_TRUE(ref.tryget_online());
    kill(ref);
    EXPECT_TRUE(ref.put(2));
}

TEST_F(percpu_ref_percpu, resurrected_with_cells_counts_in_them) {
    ref.get();
    kill(ref);
    ref.resurrect(make_cells().release());
    const std::uint64_t before = ref.count();
    EXPECT_TRUE(ref.tryget_online());
    EXPECT_EQ(ref.count(), before);
    switch_to_atomic(ref);
    EXPECT_EQ(ref.count(), 3u);
}

TEST(percpu_ref, resurrecting_what_lives_has_cells_or_is_gone_is_a_bug) {
    percpu_ref lives;
    EXPECT_NE(bug_in([&] { lives.resurrect(); }), "");
    percpu_ref gone;
    kill(gone);
    EXPECT_TRUE(gone.put());
    EXPECT_NE(bug_in([&] { gone.resurrect(); }), "");
    percpu_ref unconfirmed;
    cells_ptr cells = make_cells();
    ASSERT_TRUE(unconfirmed.switch_to_percpu(*cells));
    unconfirmed.begin_kill();
    EXPECT_NE(bug_in([&] { unconfirmed.resurrect(); }), "");
}

/// An object whose users write data that the release reads.
struct object {
    static constexpr unsigned users = 4;
    percpu_ref ref;
    std::uint64_t used[users + 1][8] = {}; // each user's own, and the owner's
    std::atomic<unsigned> releases{0};

    void put(unsigned user) {
        ++used[user][0];
        if (ref.put())
            release();
    }
    void release() {
        std::uint64_t sum = 0;
        for (auto& each : used)
            sum += each[0];
        EXPECT_NE(sum, 0u);
        releases.fetch_add(1, std::memory_order_relaxed);
    }
};

TEST(percpu_ref, gets_and_puts_during_switches_and_the_kill_end_in_one_release) {
    ASSERT_TRUE(allot_test::attach_thread());
    object o;
    std::atomic<bool> stop{false};
    o.ref.get(object::users);
    std::thread users([&] {
        run_threads(object::users, [&](unsigned user) {
            ASSERT_TRUE(user == 0 || allot_test::attach_thread()); // the first has no slot
            while (!stop.load(std::memory_order_relaxed)) {
                o.ref.get();
                ASSERT_TRUE(o.ref.tryget());
                o.put(user);
                o.put(user);
            }
            o.put(user);
        });
    });
    for (unsigned round = 0; round < 40 / slowdown; ++round) {
        ASSERT_TRUE(o.ref.switch_to_percpu(*make_cells().release()));
        platform::yield();
        switch_to_atomic(o.ref);
        EXPECT_GE(o.ref.count(), 1 + object::users);
    }
    EXPECT_TRUE(o.ref.switch_to_percpu(*make_cells().release()));
    kill(o.ref);
    EXPECT_EQ(o.releases, 0u);
    stop = true;
    users.join();
    EXPECT_EQ(o.releases, 0u) << "the owner has a reference";
    EXPECT_EQ(o.ref.count(), 1u);
    o.put(object::users);
    EXPECT_EQ(o.releases, 1u);
}

TEST(percpu_ref, nobody_comes_in_after_a_confirmed_kill_and_one_of_all_puts_is_the_last) {
    ASSERT_TRUE(allot_test::attach_thread());
    for (unsigned round = 0; round < 40 / slowdown; ++round) {
        object o;
        std::atomic<bool> confirmed{false};
        std::atomic<unsigned> inside{0};
        std::thread users([&] {
            run_threads(object::users, [&](unsigned user) {
                ASSERT_TRUE(user == 0 || allot_test::attach_thread()); // the first has no slot
                ++inside;
                for (;;) {
                    const bool over = confirmed.load(std::memory_order_acquire);
                    if (!o.ref.tryget_online())
                        return;
                    EXPECT_FALSE(over);
                    o.put(user);
                    if (over)
                        return;
                }
            });
        });
        if (round % 2 == 0) {
            EXPECT_TRUE(o.ref.switch_to_percpu(*make_cells().release()));
        }
        ASSERT_TRUE(soon([&] { return inside == object::users; }));
        o.ref.begin_kill();
        synchronize_rcu();
        cells_ptr{o.ref.confirm_kill()};
        confirmed.store(true, std::memory_order_release);
        o.put(object::users); // the owner's place
        users.join();
        EXPECT_EQ(o.releases, 1u);
        EXPECT_EQ(o.ref.count(), 0u);
    }
}

TEST(percpu_ref, life_and_death_in_turns_lose_no_reference) {
    ASSERT_TRUE(allot_test::attach_thread());
    percpu_ref ref;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> kept{0};
    ref.get(object::users);
    std::thread users([&] {
        run_threads(object::users, [&](unsigned user) {
            ASSERT_TRUE(user == 0 || allot_test::attach_thread());
            for (unsigned i = 0; !stop.load(std::memory_order_relaxed); ++i) {
                if (!ref.tryget_online())
                    continue;
                if (i % 1024 == 0)
                    kept.fetch_add(1, std::memory_order_relaxed);
                else
                    EXPECT_FALSE(ref.put());
            }
        });
    });
    for (unsigned round = 0; round < 20 / slowdown; ++round) {
        kill(ref);
        ref.resurrect(round % 2 == 0 ? make_cells().release() : nullptr);
        platform::yield();
    }
    stop = true;
    users.join();
    kill(ref);
    EXPECT_EQ(ref.count(), 1 + object::users + kept.load());
}

} // namespace
} // namespace allot::sync
