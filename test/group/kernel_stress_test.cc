// SPDX-License-Identifier: MIT
//
// kernel_stress_test: the kernel's stress tests of control groups, restated: trees of every shape, storms at limit 0, shrinking
// that must end, removal under signals and under readers.
//
// Idea.        The kernel's oracle is a log without a BUG. Here it is a recount, usage back to 0 and no dying group; what might
//              hang runs in a child process with an alarm.
// Source.      LTP: cgroup_fj_stress, memcg_regression, memcg_test_3, cgroup_regression
#include "churn.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <mutex>
#include <unistd.h>

namespace {

using allot_test::blocks;
using allot_test::child_lives;
using allot_test::rounds;
using allot_test::slowdown;
using allot_test::with_and_without_churn;
using namespace allot::literals;

constexpr unsigned child_seconds = 15;

class kernel_stress : public allot_test::core_test {
  protected:
    void expect_nothing_left(const char* when) const {
        allot_test::settle_all();
        EXPECT_EQ(top.stat().nr_dying, 0u) << when;
        EXPECT_EQ(usage(), 0u) << when;
        allot_test::expect_books_agree(when);
    }
    /// The same for a child process: 0 if nothing is left.
    int nothing_left() const {
        allot_test::settle_all();
        if (top.stat().nr_dying != 0 || usage() != 0) {
            dprintf(STDERR_FILENO, "%u dying, %llu bytes\n", top.stat().nr_dying,
                    static_cast<unsigned long long>(usage()));
            return 2;
        }
        const allot::verify_report books = allot::verify();
        if (!books)
            dprintf(STDERR_FILENO, "verify: %s\n", books.first_error);
        return books ? 0 : 3;
    }
};

// --- Shapes: cgroup_fj_stress ----------------------------------------------------------------------------------------------

struct shape {
    unsigned breadth;
    unsigned depth;
    unsigned divisor = 1; // of the breadth where a sanitizer makes it slow
};

void plant(const allot::group& under, const shape& s, unsigned level, std::vector<allot::group>& out) {
    if (level == s.depth)
        return;
    const unsigned breadth = slowdown == 1 ? s.breadth : std::max(s.breadth / s.divisor, 1u);
    for (unsigned i = 0; i < breadth; ++i) {
        const allot::group made = under.create(std::to_string(i));
        out.push_back(made);
        plant(made, s, level + 1, out);
    }
}

class kernel_stress_shapes : public kernel_stress {
  protected:
    /// Makes the tree, uses every group of it, closes all in random order, each with some objects alive, and frees those.
    void live_and_die(const shape& s, std::mt19937_64& random) const {
        std::vector<allot::group> all;
        plant(top, s, 0, all);
        ASSERT_EQ(top.stat().nr_dying, 0u);
        blocks alive;
        {
            blocks used;
            for (const allot::group& each : all)
                ASSERT_TRUE(used.make(each, 1 + random() % 300, 5) && alive.make(each, 1 + random() % 300, 1));
        }
        std::shuffle(all.begin(), all.end(), random);
        std::uint64_t closed = 0;
        for (allot::group& each : all) {
            allot_report report{};
            const int error = allot_group_close(each.get(), &report); // with all below it
            ASSERT_TRUE(error == 0 || error == -ENOENT) << error;
            closed += report.groups;
            each = {};
        }
        EXPECT_EQ(closed, all.size()) << "each exactly once";
        EXPECT_TRUE(allot_test::soon([&] { return allot_test::dying_below(top) == 0; })) << "though its objects live";
        for (std::size_t i = 0; i < alive.size(); ++i)
            ASSERT_EQ(allot::owner_of(alive[i]), top);
        alive.clear();
        expect_nothing_left("a tree of that shape");
    }
    void check(const shape& s) const {
        std::mt19937_64 random{allot_test::test_seed("shape")};
        with_and_without_churn([&] { live_and_die(s, random); });
    }
};

TEST_F(kernel_stress_shapes, two_by_two) { check({2, 2}); }
TEST_F(kernel_stress_shapes, three_by_three) { check({3, 3}); }
TEST_F(kernel_stress_shapes, four_by_four) { check({4, 4}); }
TEST_F(kernel_stress_shapes, two_each_on_nine_levels) { check({2, slowdown == 1 ? 9u : 7u}); }
TEST_F(kernel_stress_shapes, ten_each_on_three_levels) { check({10, 3, 2}); }
TEST_F(kernel_stress_shapes, two_hundred_siblings) { check({200, 1}); }
TEST_F(kernel_stress_shapes, two_hundred_levels) { check({1, 200}); }

// --- Limits ---------------------------------------------------------------------------------------------------------------

/// A group that some threads use while another one replaces it.
class published_group {
  public:
    void set(allot::group group) {
        const std::lock_guard hold(lock_);
        group_ = std::move(group);
    }
    allot::group get() {
        const std::lock_guard hold(lock_);
        return group_;
    }

  private:
    std::mutex lock_;
    allot::group group_;
};

/// One turn of a storm against a group with max = 0. Returns what it got though the group is open.
unsigned storm_turn(const allot::group& group, std::size_t size) {
    void* block = nullptr;
    {
        const allot::scope in{group};
        block = allot::malloc(size);
    }
    if (block == nullptr)
        block = group.malloc(size);
    const allot::charge external = group.try_charge(size);
    // After a close the nearest open ancestor pays, and that one has no limit.
    const bool is_wrong = (block != nullptr || external) && group.is_open();
    allot::free(block);
    return is_wrong ? 1 : 0;
}

// memcg_regression 1: forks without end in a group with limit 0
TEST_F(kernel_stress, a_group_with_limit_0_gives_nothing_to_a_storm_while_such_groups_come_and_go) {
    with_and_without_churn([&] {
        published_group shown;
        std::atomic<bool> done{false};
        std::atomic<unsigned> given{0};
        std::atomic<std::uint64_t> turns{0};
        shown.set(child("first", {.max = 0}));
        std::vector<std::thread> storm;
        for (unsigned i = 0; i < 3; ++i)
            storm.emplace_back([&, i] {
                for (std::size_t size = 1 + i; !done; size = size * 2 % 100'003 + 1, ++turns)
                    given += storm_turn(shown.get(), size);
            });
        unsigned made = 0;
        for (rounds r{150}; r.next(); ++made) {
            const allot::group old = shown.get();
            shown.set(child(("zero-" + std::to_string(made)).c_str(), {.max = 0}));
            if (made % 4 == 0)
                std::this_thread::sleep_for(std::chrono::milliseconds{1}); // lets the storm meet an open one
            EXPECT_EQ(old.stat().current, 0u);
            old.close();
        }
        EXPECT_TRUE(allot_test::soon([&] { return turns > 10; }));
        done = true;
        for (auto& thread : storm)
            thread.join();
        EXPECT_EQ(given, 0u) << "of " << turns << " turns in " << made << " groups";
        shown.get().close();
        shown.set({});
    });
    expect_nothing_left("after the storm");
}

TEST_F(kernel_stress, limit_0_above_makes_groups_below_impossible_and_harms_nobody_else) {
    with_and_without_churn([&] {
        const allot::group zero = child("zero", {.max = 0});
        const allot::group neighbour = child("neighbour");
        std::atomic<unsigned> wrong{0};
        allot_test::on_threads(3, [&](unsigned i) {
            for (unsigned turn = 0; turn < 2000 / slowdown; ++turn) {
                allot_group* made = nullptr;
                if (i != 0) {
                    wrong += allot_group_create(zero.get(), "below", nullptr, &made) != -ENOMEM;
                } else if (void* const block = neighbour.malloc(500)) {
                    allot::free(block);
                } else {
                    ++wrong;
                }
            }
        });
        EXPECT_EQ(wrong, 0u);
        EXPECT_EQ(zero.stat().nr_children + zero.stat().nr_dying, 0u) << "a refused creation leaves nothing";
        zero.close();
        neighbour.close();
    });
    expect_nothing_left("after refused creations");
}

// memcg_regression 2: shrinking below what is in use must return
TEST_F(kernel_stress, lowering_the_limit_below_live_objects_returns_and_lasts_until_they_are_freed) {
    EXPECT_TRUE(child_lives(child_seconds, [&] {
        for (const bool hot : {false, true}) {
            const allot::group full = child("full");
            if (hot)
                allot_test::heat(full, 64);
            blocks alive;
            if (!alive.make(full, 64, hot ? 20'000 : 200) || !alive.make(full, 100'000, 3))
                return 10;
            full.set({.max = 0}); // returns
            if (full.stat().current < 300'000 || full.limits().max != 0)
                return 11;
            if (full.malloc(100'000) != nullptr || (!hot && full.malloc(64) != nullptr))
                return 12; // a hot group's slabs are paid for and may have room
            if (full.try_charge(1))
                return 13;
            alive.clear();
            allot_test::settle_all();
            if (full.stat().current != 0)
                return 14;
            full.set({.max = 1_MiB});
            void* const block = full.malloc(64);
            if (block == nullptr)
                return 15;
            allot::free(block);
            full.close();
        }
        return nothing_left();
    }));
}

TEST_F(kernel_stress, one_raises_a_limit_and_one_lowers_it_and_both_come_to_an_end) {
    EXPECT_TRUE(child_lives(child_seconds, [&] {
        allot::group pulled = child("pulled");
        blocks alive;
        allot_test::heat(pulled, 256);
        if (!alive.make(pulled, 256, 1000))
            return 10;
        std::atomic<unsigned> setters{2};
        std::atomic<unsigned> above{0};
        allot_test::on_threads(3, [&](unsigned i) {
            if (i < 2) {
                for (unsigned turn = 0; turn < 3000 / slowdown; ++turn)
                    pulled.set({.max = i == 0 ? 64_KiB : 4_MiB});
                --setters;
                return;
            }
            while (setters != 0) {
                blocks some;
                some.make(pulled, 256, 3000);
                // The lower limit may be below what is alive; the upper one holds at every instant.
                above += allot_test::inside(pulled).counter().usage.load() > 4_MiB;
            }
        });
        if (above != 0)
            return 11;
        pulled.set({.max = 1_MiB});
        if (pulled.limits().max != 1_MiB)
            return 12;
        alive.clear();
        pulled.close();
        pulled = {};
        return nothing_left();
    }));
}

// --- Removal under signals: memcg_test_3 -----------------------------------------------------------------------------------

std::atomic<void*> in_flight[64];
std::atomic<unsigned> signals_handled{0};

void allocate_and_free_in_a_handler(int) {
    const int saved = errno;
    void* const fresh = allot_malloc(48);
    allot_free(in_flight[signals_handled.fetch_add(1) % std::size(in_flight)].exchange(fresh));
    errno = saved;
}

void free_what_is_in_flight() {
    for (auto& each : in_flight)
        allot_free(each.exchange(nullptr));
}

TEST_F(kernel_stress, removal_goes_on_under_a_timer_whose_handler_allocates_and_frees) {
    EXPECT_TRUE(child_lives(child_seconds, [&] {
        {
            const allot_test::signal_timer timer{allocate_and_free_in_a_handler, 50};
            if (!timer.works())
                return 10;
            for (rounds r{600, 20}; r.next();) {
                const allot::group outer = child("outer");
                const allot::group inner = outer.create("inner");
                blocks alive;
                {
                    const allot::scope in{inner};
                    for (int i = 0; i < 300; ++i)
                        alive.add(allot::malloc(64));
                }
                outer.close();
                allot::quiesce();
                if (top.stat().nr_dying != 2) // the two handles
                    return 11;
            }
        }
        if (!allot_test::soon([] { return signals_handled >= 20; }))
            return 12;
        free_what_is_in_flight();
        return nothing_left();
    }));
}

// --- Removal under readers: cgroup_regression, test_kmem_proc_kpagecgroup ------------------------------------------------------

/// Everything that only looks, over and over: walks, figures, look-ups, snapshots.
unsigned look_around(const allot::group& top, unsigned turn) {
    unsigned wrong = 0;
    top.walk([&](const allot::group& each) {
        const allot::stat s = each.stat();
        wrong += s.current > ALLOT_UNLIMITED / 2; // less than nothing
        wrong += each.path().empty();
    });
    if (const auto found = top.find("removed-" + std::to_string(turn % 8)))
        wrong += found->name().rfind("removed-", 0) != 0;
    std::size_t length = 0;
    allot_snapshot(
        turn % 2 == 0 ? ALLOT_FORMAT_JSON : ALLOT_FORMAT_TEXT,
        [](const char*, std::size_t size, void* sum) { *static_cast<std::size_t*>(sum) += size; }, &length);
    return wrong + (length == 0 ? 1 : 0);
}

TEST_F(kernel_stress, groups_are_removed_while_readers_walk_look_up_and_take_snapshots) {
    with_and_without_churn([&] {
        std::atomic<bool> done{false};
        std::atomic<unsigned> wrong{0};
        std::vector<std::thread> readers;
        for (unsigned i = 0; i < 2; ++i)
            readers.emplace_back([&, i] {
                for (unsigned turn = i; !done; ++turn)
                    wrong += look_around(top, turn);
            });
        for (rounds r{150}; r.next();) {
            std::vector<allot::group> made;
            blocks alive;
            for (int i = 0; i < 8; ++i) {
                made.push_back(child(("removed-" + std::to_string(i)).c_str()));
                made.push_back(made.back().create("below"));
                alive.make(made.back(), 128, 20);
            }
            for (std::size_t i = 0; i < made.size(); i += 2)
                made[i].close();
            made.clear();
            if (r.count() % 2 == 0)
                allot::quiesce();
        }
        done = true;
        for (auto& reader : readers)
            reader.join();
        EXPECT_EQ(wrong, 0u);
    });
    expect_nothing_left("after the readers");
}

TEST_F(kernel_stress, the_owner_of_a_live_block_is_its_group_or_an_heir_at_every_moment_of_a_removal) {
    with_and_without_churn([&] {
        const allot::group heir = child("heir");
        for (rounds r{100}; r.next();) {
            const allot::group gone = heir.create("gone");
            blocks alive;
            ASSERT_TRUE(alive.make(gone, 100, 300) && alive.make(gone, 100'000, 2));
            std::atomic<bool> done{false};
            std::atomic<unsigned> strangers{0};
            std::atomic<unsigned> seen{0};
            std::thread reader([&] {
                for (std::size_t i = 0; !done || seen < alive.size(); i = (i + 1) % alive.size(), ++seen) {
                    const allot::group owner = allot::owner_of(alive[i]);
                    strangers += owner != gone && owner != heir;
                }
            });
            gone.close();
            allot::quiesce();
            done = true;
            reader.join();
            EXPECT_EQ(strangers, 0u);
            for (std::size_t i = 0; i < alive.size(); ++i)
                ASSERT_EQ(allot::owner_of(alive[i]), heir);
        }
        heir.close();
    });
    expect_nothing_left("after asking for owners");
}

} // namespace
