// SPDX-License-Identifier: MIT
//
// alloc_test: every block is charged to its owner, to the byte, whoever allocates, resizes and frees it, and no limit is passed.
#include "support/core.hpp"

#include "platform/memory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

namespace {

using allot_test::blocks;
using allot_test::on_threads;
using allot_test::slowdown;
using namespace allot::literals;

class allocation : public allot_test::core_test {};

/// A block and what is known of it: who owns it, and a pattern that only its owner writes.
struct item {
    unsigned char* block = nullptr;
    std::size_t size = 0;
    unsigned char mark = 0;
};

void fill(item& it) { std::memset(it.block, it.mark, it.size); }
bool is_intact(const item& it) {
    return std::all_of(it.block, it.block + it.size, [&](unsigned char byte) { return byte == it.mark; });
}

/// Places that threads put items into and take items from, so that most blocks are freed by somebody else.
class bazaar {
  public:
    item swap(std::size_t index, item fresh) {
        auto& stall = stalls_[index % stalls_.size()];
        const std::lock_guard hold{stall.lock};
        return std::exchange(stall.it, fresh);
    }
    template <class F> void for_each(F&& visit) {
        for (auto& stall : stalls_)
            visit(stall.it);
    }

  private:
    struct stall {
        std::mutex lock;
        item it;
    };
    std::vector<stall> stalls_ = std::vector<stall>(2000);
};

std::size_t random_size(std::mt19937_64& random) {
    const auto kind = random() % 100;
    if (kind < 80)
        return 1 + random() % 1024;
    if (kind < 97)
        return 1 + random() % 40'000;
    return 1 + random() % 600'000;
}

/// Many threads, groups and sizes at random.
class trader {
  public:
    trader(bazaar& market, const std::vector<allot::group>& groups, std::uint64_t seed)
        : market_(market), groups_(groups), random_(seed) {}

    void trade() {
        item fresh;
        fresh.size = random_size(random_);
        fresh.mark = static_cast<unsigned char>(random_());
        fresh.block = static_cast<unsigned char*>(allocate(fresh.size));
        if (fresh.block == nullptr)
            fresh.size = 0;
        else
            fill(fresh);
        if (random_() % 4 == 0)
            resize(fresh);
        item old = market_.swap(random_(), fresh);
        if (old.block == nullptr)
            return;
        damaged += is_intact(old) ? 0u : 1u;
        allot::free(old.block);
    }

    std::uint64_t damaged = 0;

  private:
    const allot::group& any_group() { return groups_[random_() % groups_.size()]; }
    void* allocate(std::size_t size) {
        switch (random_() % 4) {
        case 0:
            return any_group().malloc(size);
        case 1:
            return any_group().malloc(size, std::size_t{1} << random_() % 14);
        default: {
            const allot::scope in{any_group()};
            if (random_() % 8 != 0)
                return allot::malloc(size);
            const allot::scope deeper{any_group()};
            return allot::calloc(1, size);
        }
        }
    }
    void resize(item& it) {
        if (it.block == nullptr)
            return;
        const allot::group owner = allot::owner_of(it.block);
        const std::size_t size = random_size(random_);
        auto* const moved = static_cast<unsigned char*>(allot::realloc(it.block, size));
        if (moved == nullptr)
            return;
        it.block = moved;
        it.size = std::min(it.size, size);
        damaged += is_intact(it) && allot::owner_of(moved) == owner ? 0u : 1u;
        it.size = size;
        fill(it);
    }

    bazaar& market_;
    const std::vector<allot::group>& groups_;
    std::mt19937_64 random_;
};

TEST_F(allocation, random_threads_and_groups_leave_exact_books) {
    const std::uint64_t seed = allot_test::test_seed("random_threads_and_groups_leave_exact_books");
    std::vector<allot::group> groups{top};
    for (int i = 0; i < 6; ++i)
        groups.push_back(groups[static_cast<std::size_t>(i) / 2].create("g" + std::to_string(i)));
    groups.push_back(allot::root());
    bazaar market;
    std::atomic<std::uint64_t> damaged{0};
    for (unsigned round = 0; round < 3; ++round) {
        on_threads(4, [&](unsigned i) {
            trader one{market, groups, seed + round * 10 + i};
            for (unsigned turn = 0; turn < 12'000 / slowdown; ++turn)
                one.trade();
            damaged += one.damaged;
        });
        allot_test::expect_books_agree("after a round");
        allot::verify_report books = allot::verify();
        EXPECT_EQ(books.charged_bytes, books.pages_bytes);
    }
    EXPECT_EQ(damaged, 0u);
    market.for_each([](item& it) { allot::free(it.block); });
}

TEST_F(allocation, no_limit_at_any_level_is_passed_at_any_instant) {
    const std::uint64_t seed = allot_test::test_seed("no_limit_at_any_level_is_passed_at_any_instant");
    const allot::group middle = child("middle", {.max = 3_MiB});
    const std::vector<allot::group> groups{middle.create("a", {.max = 1_MiB}), middle.create("b", {.max = 2_MiB}),
                                           middle.create("c", {.max = 5_MiB})};
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> passed{0};
    std::thread sampler{[&] {
        while (!done) {
            for (const allot::group* watched : {&middle, &groups[0], &groups[1], &groups[2]}) {
                const auto& counter = allot_test::inside(*watched).counter();
                passed += counter.usage.load(std::memory_order_relaxed) > counter.max.load(std::memory_order_relaxed);
            }
        }
    }};
    bazaar market;
    std::atomic<std::uint64_t> damaged{0};
    on_threads(3, [&](unsigned i) {
        trader one{market, groups, seed + i};
        for (unsigned turn = 0; turn < 15'000 / slowdown; ++turn)
            one.trade();
        damaged += one.damaged;
    });
    done = true;
    sampler.join();
    EXPECT_EQ(passed, 0u);
    EXPECT_EQ(damaged, 0u);
    for (const allot::group& limited : groups)
        EXPECT_LE(limited.stat().peak, limited.limits().max);
    EXPECT_LE(middle.stat().peak, 3_MiB);
    market.for_each([](item& it) { allot::free(it.block); });
}

TEST_F(allocation, groups_that_close_under_load_leave_everything_to_their_parents) {
    const std::uint64_t seed = allot_test::test_seed("groups_that_close_under_load_leave_everything_to_their_parents");
    bazaar market;
    std::atomic<std::uint64_t> damaged{0};
    on_threads(3, [&](unsigned i) {
        std::mt19937_64 random{seed + i};
        for (unsigned life = 0; life < 60 / slowdown; ++life) {
            const allot::group mine = top.create("t" + std::to_string(i));
            const std::vector<allot::group> groups{mine, mine.create("below"), top};
            trader one{market, groups, random()};
            for (unsigned turn = 0; turn < 150; ++turn)
                one.trade();
            const allot::scope in{groups[1]};
            mine.close();
            for (unsigned turn = 0; turn < 50; ++turn)
                one.trade();
            damaged += one.damaged;
        }
    });
    EXPECT_EQ(damaged, 0u);
    allot::quiesce();
    allot_test::expect_books_agree("with objects of closed groups alive");
    EXPECT_EQ(top.stat().nr_dying, 0u);
    market.for_each([](item& it) { allot::free(it.block); });
    allot_test::settle_all();
    EXPECT_EQ(usage(), 0u);
}

#if ALLOT_DEBUG
/// Everything that asks the system for memory, with each failure a clear error.
void ask_for_everything(const allot::group& top, std::uint64_t& failures) {
    allot_group* made = nullptr;
    const int error = allot_group_create(top.get(), "made", nullptr, &made);
    EXPECT_TRUE(error == 0 || error == -ENOMEM) << error;
    failures += error != 0;
    const allot::group group = error == 0 ? allot::group::adopt(made) : top;
    blocks some;
    for (const std::size_t size : {16u, 600u, 3000u, 30'000u, 100'000u, 5'000'000u}) {
        errno = 0;
        void* const block = group.malloc(size);
        EXPECT_TRUE(block != nullptr || errno == ENOMEM);
        failures += block == nullptr;
        some.add(block);
    }
    const allot_cache_options options{.size = 700, .alignment = 0, .flags = 0, .constructor = nullptr};
    errno = 0;
    allot_cache* const cache = allot_cache_create("made", &options);
    EXPECT_TRUE(cache != nullptr || errno == ENOMEM);
    failures += cache == nullptr;
    if (cache != nullptr) {
        allot_cache_free(cache, allot_cache_alloc(cache));
        allot_cache_destroy(cache, nullptr);
    }
    if (error == 0)
        group.close();
}

TEST_F(allocation, every_failing_call_for_memory_is_a_clear_error_and_loses_nothing) {
    for (const bool sticky : {false, true})
        for (std::uint64_t nth = 1; nth < 12; ++nth) {
            // Fresh chunks are asked for only when the committed ones are used up.
            std::vector<allot::slab::slab*> hog; // single pages, so that whatever is free serves
            allot_purge();                       // also what threads keep for themselves
            {
                const allot::sync::busy_scope busy;
                while (allot::slab::pages_committed() * 4096 - allot::slab::pages_handed_out() * 4096 > 3_MiB) {
                    hog.push_back(allot::slab::alloc_pages(0).first);
                    ASSERT_NE(hog.back(), nullptr);
                }
            }
            std::uint64_t failures = 0;
            allot::platform::fail_nth_map(nth, sticky);
            ask_for_everything(top, failures);
            allot::platform::fail_nth_map(0, false);
            {
                const allot::sync::busy_scope busy;
                for (allot::slab::slab* page : hog)
                    allot::slab::free_pages(*page, 1);
            }
            allot_test::settle_all();
            allot_test::expect_books_agree(("call " + std::to_string(nth)).c_str());
            EXPECT_EQ(usage(), 0u) << nth;
        }
}
#endif

} // namespace
