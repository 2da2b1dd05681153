// SPDX-License-Identifier: MIT
//
// discard_test: a discarded group takes all its blocks along, whoever holds the slabs that they lie in, and nobody pays for them.
#include "support/core.hpp"
#include "support/threads.hpp"

#include "slab/discard.hpp"
#include "slab/metadata.hpp"

#include <cerrno>
#include <cstring>

namespace {

using allot_test::blocks;
using allot_test::inside;
using allot_test::puppet;
namespace slab = allot::slab;

class group_discard : public allot_test::core_test {
  protected:
    /// What a group costs its parent.
    const std::uint64_t structure_bytes = slab::metadata_bytes(sizeof(allot::memcg::mem_cgroup));

    /// Bytes charged to `top` for its blocks and those below, without the library's structures.
    std::uint64_t block_bytes() const { return usage() - top.stat().metadata; }
    /// Bytes in own slabs and large blocks of everybody.
    static std::uint64_t page_bytes_used() {
        const allot::stat all = allot::root().stat();
        return all.slab + all.large;
    }
    static void make(const allot::group& group, std::size_t size, int count) {
        const allot::scope in{group};
        for (int i = 0; i < count; ++i) {
            void* const block = allot::malloc(size);
            ASSERT_NE(block, nullptr);
            std::memset(block, 0xab, size);
        }
    }
};

TEST_F(group_discard, uncharges_its_shared_objects_at_once) {
    const allot::group gone = child("gone");
    make(gone, 64, 100);
    make(gone, 1000, 10);
    ASSERT_GE(block_bytes(), 16400u);
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    allot_test::expect_books_agree("right after the discard");
    EXPECT_FALSE(gone.is_open());
}

TEST_F(group_discard, gives_back_its_own_slabs_at_once) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    allot_test::heat(gone, 512);
    const std::uint64_t before = page_bytes_used() - gone.stat().slab;
    make(gone, 64, 20'000);
    make(gone, 512, 1'000);
    ASSERT_GE(gone.stat().slab, 1'700'000u);
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    EXPECT_EQ(page_bytes_used(), before);
    allot_test::expect_books_agree("right after the discard");
}

TEST_F(group_discard, frees_its_large_blocks_at_once) {
    const std::uint64_t before = page_bytes_used();
    const allot::group gone = child("gone");
    make(gone, 100'000, 10);
    make(gone, 8 << 20, 2);
    make(gone, 3'000, 3); // cold, and runs of pages therefore
    void* const shrunk = gone.malloc(200'000);
    ASSERT_NE(allot_realloc(shrunk, 150'000), nullptr);
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    EXPECT_EQ(page_bytes_used(), before);
    allot_test::expect_books_agree("right after the discard");
}

TEST_F(group_discard, leaves_alone_what_others_have_in_the_same_slabs) {
    const allot::group stays = child("stays");
    const allot::group gone = child("gone");
    blocks kept;
    for (int i = 0; i < 500; ++i) {
        make(gone, 64, 1);
        ASSERT_TRUE(kept.make(stays, 64, 1));
        std::memset(kept[kept.size() - 1], i & 0xff, 64);
    }
    ASSERT_TRUE(kept.make(stays, 100'000, 1));
    const std::uint64_t theirs = stays.stat().current;
    gone.close(allot::discard);
    allot::quiesce();
    EXPECT_EQ(stays.stat().current, theirs);
    make(stays, 64, 1000);
    for (std::size_t i = 0; i < 500; ++i)
        for (std::size_t at = 0; at < 64; ++at)
            ASSERT_EQ(static_cast<const unsigned char*>(kept[i])[at], i & 0xff);
    kept.clear();
    stays.close(allot::discard);
}

TEST_F(group_discard, uses_its_objects_places_anew_without_any_deferred_work) {
    make(top, 48, 1); // the slab
    const std::uint64_t before = allot::root().stat().shared + usage();
    for (int turn = 0; turn < 2'000; ++turn) {
        const allot::group request = child("request");
        make(request, 48, 100);
        request.close(allot::discard);
    }
    EXPECT_LE(allot::root().stat().shared + usage(), before + (1u << 20)) << "of 9.6 MB";
    top.close(allot::discard);
}

TEST_F(group_discard, has_the_objects_taken_back_once_enough_wait_for_it) {
    // Objects of sizes that nobody allocates again: no slab runs dry.
    for (int turn = 0; turn < 1'000; ++turn) {
        const allot::group request = child("request");
        make(request, 8u << (turn % 8), 200);
        request.close(allot::discard);
        ASSERT_LE(slab::discarded_bytes.load(), 8 << 20);
        if (turn % 100 == 0)
            allot::poll();
    }
    allot::quiesce();
    EXPECT_EQ(slab::discarded_bytes.load(), 0);
}

TEST_F(group_discard, takes_the_subtree_along) {
    const allot::group gone = child("gone");
    allot::group below = gone;
    for (int depth = 0; depth < 5; ++depth) {
        below = below.create("below");
        make(below, 64, 50);
        make(below, 50'000, 2);
        allot_test::heat(below, 128);
        make(below, 128, 1'000);
    }
    const allot::report report = gone.close(allot::discard);
    EXPECT_EQ(report.groups, 6u);
    EXPECT_LE(block_bytes(), 5 * structure_bytes) << "of the groups, until their parent pays for them";
    EXPECT_FALSE(below.is_open());
    allot_test::expect_books_agree("right after the discard");
}

TEST_F(group_discard, takes_along_what_closed_descendants_left_to_it) {
    const allot::group gone = child("gone");
    for (const bool settled : {true, false}) {
        const allot::group early = gone.create("early");
        allot_test::heat(early, 128);
        make(early, 128, 500);
        make(early, 64, 50);
        make(early, 50'000, 2);
        early.close();
        if (settled)
            allot::quiesce();
    }
    ASSERT_GT(block_bytes(), 200'000u);
    gone.close(allot::discard);
    EXPECT_LE(block_bytes(), structure_bytes) << "of a group, until its parent pays for it";
    allot_test::expect_books_agree("right after the discard");
    allot::quiesce();
    EXPECT_EQ(block_bytes(), 0u);
}

TEST_F(group_discard, takes_slabs_from_threads_that_sleep) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    puppet one;
    puppet two;
    for (puppet* const each : {&one, &two})
        each->does([&] {
            make(gone, 64, 5'000);
            make(gone, 100, 50);
            make(gone, 70'000, 2);
        });
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    allot_test::expect_books_agree("right after the discard");
    one.does([&] { make(top, 64, 100); });
    EXPECT_GE(block_bytes(), 6'400u) << "the thread goes on";
    top.close(allot::discard);
}

TEST_F(group_discard, counts_nothing_twice_that_other_threads_freed_before) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    puppet owner;
    puppet other;
    std::vector<void*> made;
    owner.does([&] {
        const allot::scope in{gone};
        for (int i = 0; i < 5'000; ++i)
            made.push_back(allot::malloc(64)); // own slabs, many of them full
        for (int i = 0; i < 200; ++i)
            made.push_back(allot::malloc(100)); // shared
        made.push_back(allot::malloc(100'000));
    });
    other.does([&] { // pushed on lists of slabs that the owner holds, some of them queued for it
        for (std::size_t i = 0; i < made.size(); i += 2)
            allot::free(made[i]);
    });
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    allot_test::expect_books_agree("right after the discard");
    owner.does([] {});
    allot::quiesce();
    allot_test::expect_books_agree("afterwards");
}

TEST_F(group_discard, gives_back_slabs_that_no_thread_holds) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    std::vector<void*> made;
    std::thread([&] {
        const allot::scope in{gone};
        for (int i = 0; i < 5'000; ++i)
            made.push_back(allot::malloc(64));
    }).join(); // its exit leaves the slabs to nobody
    for (std::size_t i = 0; i < made.size(); i += 3)
        allot::free(made[i]);
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    allot_test::expect_books_agree("right after the discard");
}

TEST_F(group_discard, waits_for_blocks_that_are_on_their_way_back_through_a_grace_period) {
    const allot::group gone = child("gone");
    for (const std::size_t size : {std::size_t{64}, std::size_t{100'000}})
        for (int i = 0; i < 20; ++i) {
            void* const block = gone.malloc(size);
            allot_free_rcu(block, static_cast<allot_rcu_head*>(block));
        }
    make(gone, 64, 20);
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    allot_test::expect_books_agree("right after the discard");
}

TEST_F(group_discard, inside_a_scope_leaves_the_thread_with_the_parent) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    blocks kept;
    {
        const allot::scope in{gone};
        for (int i = 0; i < 100; ++i)
            ASSERT_NE(allot::malloc(64), nullptr);
        gone.close(allot::discard);
        EXPECT_EQ(block_bytes(), 0u);
        for (int i = 0; i < 100; ++i)
            EXPECT_EQ(allot::owner_of(kept.add(allot::malloc(64))), top);
    }
    allot::quiesce();
    for (std::size_t i = 0; i < kept.size(); ++i)
        EXPECT_EQ(allot::owner_of(kept[i]), top) << "what came afterwards is not discarded";
}

TEST_F(group_discard, leaves_a_scope_of_another_thread_with_the_parent) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    puppet other;
    blocks kept;
    allot_scope scope;
    other.does([&] {
        allot_enter(gone.get(), &scope);
        for (int i = 0; i < 100; ++i)
            static_cast<void>(allot::malloc(64));
    });
    gone.close(allot::discard);
    other.does([&] {
        for (int i = 0; i < 100; ++i)
            kept.add(allot::malloc(64));
        allot_leave(&scope);
    });
    for (std::size_t i = 0; i < kept.size(); ++i)
        EXPECT_EQ(allot::owner_of(kept[i]), top);
}

TEST_F(group_discard, lets_what_a_resource_makes_afterwards_live) {
    allot::group gone = child("gone");
    std::pmr::memory_resource* const resource = gone.resource();
    ASSERT_NE(resource->allocate(100), nullptr);
    gone.close(allot::discard);
    allot::quiesce();
    void* const block = resource->allocate(100);
    EXPECT_EQ(allot::owner_of(block), top);
    resource->deallocate(block, 100);
}

TEST_F(group_discard, leaves_external_charges_to_their_holders_and_the_parent) {
    const allot::group gone = child("gone");
    make(gone, 64, 10);
    allot::charge external = gone.charge_for(10'000);
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 10'000u);
    allot::quiesce();
    EXPECT_EQ(top.stat().external, 10'000u);
    allot_test::expect_books_agree("with the charge");
    external = {};
    EXPECT_EQ(block_bytes(), 0u);
}

struct session {
    int number = 7;
    char text[100] = {};
};

TEST_F(group_discard, takes_objects_of_typed_caches_along) {
    allot::object_cache<session> sessions{"discard session"};
    const allot::group gone = child("gone");
    {
        const allot::scope in{gone};
        for (int i = 0; i < 2'000; ++i) {
            ASSERT_NE(sessions.create(), nullptr);
            if (i % 100 == 0)
                allot::quiesce(); // cold first, with slabs of its own later
        }
    }
    gone.close(allot::discard);
    EXPECT_EQ(block_bytes(), 0u);
    allot_test::expect_books_agree("right after the discard");
    const allot::group next = child("next");
    const allot::scope in{next};
    session* const fresh = sessions.create();
    EXPECT_EQ(fresh->number, 7);
    sessions.destroy(fresh);
}

TEST_F(group_discard, leaves_no_live_objects_to_a_cache_that_is_destroyed) {
    allot_cache_options options{};
    options.size = 200;
    options.constructor = [](void* object) { std::memset(object, 0x5a, 200); };
    allot_cache* const cache = allot_cache_create("discard plain", &options);
    ASSERT_NE(cache, nullptr);
    const allot::group gone = child("gone");
    {
        const allot::scope in{gone};
        for (int i = 0; i < 5; ++i)
            std::memset(allot_cache_alloc(cache), 0, 200);
    }
    gone.close(allot::discard);
    blocks kept;
    {
        const allot::scope in{top};
        for (int i = 0; i < 50; ++i) {
            auto* const object = static_cast<unsigned char*>(kept.add(allot_cache_alloc(cache)));
            ASSERT_EQ(object[0], 0x5a) << "as the constructor leaves it";
            ASSERT_EQ(object[199], 0x5a);
        }
    }
    kept.clear();
    allot_cache_report report{};
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, 0u);
}

TEST_F(group_discard, keeps_slabs_of_typesafe_caches_until_their_grace_period) {
    allot_cache_options options{};
    options.size = 64;
    options.flags = ALLOT_CACHE_TYPESAFE_BY_RCU;
    allot_cache* const cache = allot_cache_create("discard typesafe", &options);
    ASSERT_NE(cache, nullptr);
    const allot::group gone = child("gone");
    int* object = nullptr;
    {
        const allot::scope in{gone};
        for (int i = 0; i < 1'000; ++i) {
            object = static_cast<int*>(allot_cache_alloc(cache));
            *object = 4711;
            if (i % 100 == 0)
                allot::quiesce();
        }
    }
    ASSERT_GT(gone.stat().slab, 0u);
    const std::uint64_t charged = gone.stat().slab;
    puppet reader;
    reader.does([] { allot_rcu_read_lock(); });
    gone.close(allot::discard);
    make(top, 64, 2'000); // would take the pages
    EXPECT_EQ(*object, 4711) << "a reader may still look at it";
    EXPECT_GE(block_bytes(), charged) << "charged until then";
    reader.does([] { allot_rcu_read_unlock(); });
    allot::quiesce();
    allot_test::expect_books_agree("after the grace period");
    allot_cache_report report{};
    allot_cache_destroy(cache, &report);
    EXPECT_EQ(report.live, 0u);
    top.close(allot::discard);
    EXPECT_EQ(gone.stat().slab, 0u);
}

TEST_F(group_discard, reports_the_figures_before_the_call) {
    const allot::group gone = child("gone");
    make(gone, 64, 10);
    make(gone, 100'000, 1);
    const allot::charge external = gone.charge_for(5'000);
    const std::uint64_t before = gone.stat().current;
    const allot::report report = gone.close(allot::discard);
    EXPECT_EQ(report.bytes, before);
    EXPECT_EQ(report.groups, 1u);
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < report.nr_lines; ++i)
        sum += report.line[i].bytes;
    EXPECT_EQ(sum, report.bytes);
    EXPECT_EQ(gone.stat().shared + gone.stat().slab + gone.stat().large, 0u);
}

TEST_F(group_discard, fails_for_the_root_and_for_a_closed_group) {
    EXPECT_EQ(allot_group_discard(nullptr, nullptr), -EINVAL);
    EXPECT_EQ(allot_group_discard(allot_root(), nullptr), -EBUSY);
    const allot::group gone = child("gone");
    blocks kept;
    ASSERT_TRUE(kept.make(gone, 64, 10));
    gone.close();
    EXPECT_EQ(allot_group_discard(gone.get(), nullptr), -ENOENT);
    EXPECT_EQ(gone.close(allot::discard).groups, 0u);
    EXPECT_EQ(allot::group{}.close(allot::discard).groups, 0u);
    allot::quiesce();
    EXPECT_EQ(allot::owner_of(kept[0]), top) << "the close came first: the blocks live";
}

TEST_F(group_discard, by_a_unique_group_leaves_it_empty) {
    allot::unique_group request{child("request")};
    make(request, 64, 10);
    EXPECT_EQ(request.close(allot::discard).groups, 1u);
    EXPECT_FALSE(request);
    EXPECT_EQ(block_bytes(), 0u);
}

TEST_F(group_discard, makes_room_under_a_limit_at_once) {
    const allot::group limited = child("limited", {.max = 1u << 20});
    for (int turn = 0; turn < 50; ++turn) {
        const allot::group request = limited.create("request");
        make(request, 200'000, 2);
        make(request, 100, 1'000);
        request.close(allot::discard);
    }
    EXPECT_EQ(limited.stat().failures, 0u);
}

TEST_F(group_discard, works_in_a_forked_child_and_without_the_librarys_thread) {
    const allot::group gone = child("gone");
    allot_test::heat(gone, 64);
    make(gone, 64, 3'000);
    make(gone, 100, 100);
    puppet other;
    other.does([&] { make(gone, 64, 3'000); });
    EXPECT_TRUE(allot_test::child_lives(20, [&] {
        allot::sync::allow_worker(false);
        gone.close(allot::discard);
        if (block_bytes() != 0)
            return 1;
        for (int turn = 0; turn < 200; ++turn) {
            const allot::group request = top.create("request");
            make(request, 64, 100);
            make(request, 20'000, 1);
            request.close(allot::discard);
        }
        if (block_bytes() != 0)
            return 2;
        allot::quiesce();
        return allot::verify() && top.stat().nr_dying == 1 ? 0 : 3; // `gone` has a handle
    }));
    gone.close(allot::discard);
}

/// Threads that make groups, fill them, free some, and discard them, next to one that keeps shared slabs mixed.
TEST_F(group_discard, by_many_threads_at_once_keeps_the_books) {
    const int turns = 2'000 / static_cast<int>(allot_test::slowdown);
    allot_test::on_threads(4, [&](unsigned number) {
        std::mt19937 random{number};
        blocks kept;
        for (int turn = 0; turn < turns; ++turn) {
            const allot::group request = top.create("r" + std::to_string(number));
            const allot::group below = request.create("below");
            for (const allot::group* group : {&request, &below}) {
                const allot::scope in{*group};
                for (unsigned i = random() % 300; i != 0; --i) {
                    void* const block = allot::malloc(std::size_t{8} << random() % 9);
                    if (random() % 4 == 0)
                        allot::free(block);
                }
                if (random() % 4 == 0)
                    static_cast<void>(allot::malloc(70'000));
            }
            kept.make(top, std::size_t{8} << random() % 9, 3);
            if (random() % 8 == 0)
                kept.thin(2);
            if (random() % 2 == 0)
                below.close();
            request.close(allot::discard);
            if (number == 0 && turn % 200 == 0)
                allot_test::expect_books_agree("in between");
        }
    });
    allot::quiesce();
    EXPECT_EQ(block_bytes(), 0u);
}

/// Who allocates while the group goes gets blocks that are gone or the parent's; the library stays whole either way.
TEST_F(group_discard, against_threads_in_its_scope_keeps_the_books) {
    const int turns = 300 / static_cast<int>(allot_test::slowdown);
    for (int turn = 0; turn < turns; ++turn) {
        const allot::group request = child("request");
        std::atomic<int> inside_scope{0};
        allot_test::on_threads(3, [&](unsigned number) {
            if (number == 0) {
                while (inside_scope < 2)
                    std::this_thread::yield();
                request.close(allot::discard);
                return;
            }
            const allot::scope in{request};
            ++inside_scope;
            for (int i = 0; i < 400; ++i)
                static_cast<void>(allot::malloc(i % 50 == 0 ? 5'000 : 64));
        });
    }
    allot::quiesce();
    allot_test::expect_books_agree("afterwards");
    top.close(allot::discard);
}

} // namespace
