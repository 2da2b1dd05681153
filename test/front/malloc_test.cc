// SPDX-License-Identifier: MIT
//
// malloc_test: the malloc family does what C says and what allot.h adds, at every size and at its edges.
#include "support/core.hpp"

#include "front/malloc.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace {

using allot_test::blocks;
using namespace allot::literals;

class malloc_family : public allot_test::core_test {
  protected:
    void SetUp() override {
        core_test::SetUp();
        in_.emplace(top);
    }
    void TearDown() override {
        in_.reset();
        core_test::TearDown();
    }
    static bool is_aligned(const void* block, std::size_t alignment) {
        return reinterpret_cast<std::uintptr_t>(block) % alignment == 0;
    }
    static unsigned char* bytes_of(void* block) { return static_cast<unsigned char*>(block); }
    static void number(void* block, std::size_t size) {
        for (std::size_t i = 0; i < size; ++i)
            bytes_of(block)[i] = static_cast<unsigned char>(i * 7 + i / 251);
    }
    static bool is_numbered(void* block, std::size_t size) {
        for (std::size_t i = 0; i < size; ++i)
            if (bytes_of(block)[i] != static_cast<unsigned char>(i * 7 + i / 251))
                return false;
        return true;
    }
    static bool is_zero(void* block, std::size_t size) {
        return std::all_of(bytes_of(block), bytes_of(block) + size, [](unsigned char byte) { return byte == 0; });
    }

  private:
    std::optional<allot::scope> in_;
};

TEST_F(malloc_family, the_usable_size_is_the_class_or_whole_pages) {
    for (const auto& [asked, usable] : {std::pair<std::size_t, std::size_t>{0, 8},
                                        {1, 8},
                                        {8, 8},
                                        {9, 16},
                                        {16, 16},
                                        {17, 32},
                                        {128, 128},
                                        {129, 160},
                                        {1024, 1024},
                                        {1025, 1280},
                                        {32'768, 32'768},
                                        {32'769, 36'864},
                                        {1'000'000, 1'003'520}}) {
        void* const block = allot_malloc(asked);
        ASSERT_NE(block, nullptr);
        EXPECT_EQ(allot_usable_size(block), usable) << asked;
        std::memset(block, 1, usable);
        allot_free(block);
    }
}

TEST_F(malloc_family, blocks_of_no_bytes_are_different_blocks) {
    void* const one = allot_malloc(0);
    void* const two = allot_malloc(0);
    void* const three = allot_calloc(0, 100);
    void* const four = allot_calloc(100, 0);
    EXPECT_TRUE(one != nullptr && two != nullptr && three != nullptr && four != nullptr);
    EXPECT_TRUE(one != two && two != three && three != four);
    for (void* const block : {one, two, three, four})
        allot_free(block);
}

TEST_F(malloc_family, sizes_that_no_address_space_holds_fail_with_enomem) {
    void* const block = allot_malloc(100);
    void* const large = allot_malloc(3 << 20); // a run of pages, which might grow where it is
    const std::uint64_t peak = allot::root().stat().peak;
    std::size_t absurd[] = {SIZE_MAX,         SIZE_MAX - 1, SIZE_MAX - 4095,
                            SIZE_MAX / 2 + 1, PTRDIFF_MAX,  std::size_t{1} << 47};
    for (volatile const std::size_t size : absurd) {
        const auto fails = [](void* made) { return made == nullptr && std::exchange(errno, 0) == ENOMEM; };
        EXPECT_TRUE(fails(allot_malloc(size))) << size;
        EXPECT_TRUE(fails(allot_calloc(size, 1))) << size;
        EXPECT_TRUE(fails(allot_calloc(1, size))) << size;
        EXPECT_TRUE(fails(allot_realloc(block, size))) << size << ": the block stays";
        EXPECT_TRUE(fails(allot_realloc(large, size))) << size << ": this one, too";
        EXPECT_TRUE(fails(allot_realloc(nullptr, size))) << size;
        EXPECT_TRUE(fails(allot_aligned_alloc(64, size))) << size;
        EXPECT_TRUE(fails(allot_aligned_alloc(8192, size))) << size;
        EXPECT_TRUE(fails(allot_group_malloc(top.get(), size, 0))) << size;
    }
    EXPECT_EQ(allot_calloc(SIZE_MAX / 16, 17), nullptr) << "a product that overflows to something small";
    EXPECT_EQ(allot_calloc(std::size_t{1} << 32, std::size_t{1} << 32), nullptr);
    EXPECT_EQ(allot_aligned_alloc(std::size_t{1} << 62, 16), nullptr);
    EXPECT_LT(allot::root().stat().peak, peak + (std::size_t{1} << 30)) << "nobody ever had so much";
    void* const other = allot_malloc(3 << 20);
    EXPECT_NE(other, large);
    allot_free(other);
    allot_free(large);
    allot_free(block);
}

TEST_F(malloc_family, alignments_that_are_no_power_of_two_fail_with_einval) {
    for (const std::size_t alignment : {std::size_t{0}, std::size_t{3}, std::size_t{24}, std::size_t{4097}, SIZE_MAX}) {
        errno = 0;
        EXPECT_EQ(allot_aligned_alloc(alignment, 100), nullptr) << alignment;
        EXPECT_EQ(errno, EINVAL) << alignment;
    }
    EXPECT_EQ(allot_group_malloc(top.get(), 100, 3), nullptr);
    EXPECT_EQ(allot_group_malloc(nullptr, 100, 0), nullptr);
}

TEST_F(malloc_family, success_leaves_errno_alone) {
    for (const std::size_t size : {10u, 1000u, 100'000u, 10'000'000u}) {
        errno = 4242;
        void* block = allot_malloc(size);
        block = allot_realloc(block, size * 3);
        block = allot_realloc(block, size / 3);
        allot_free(block);
        allot_free(allot_calloc(1, size));
        allot_free(allot_aligned_alloc(256, size));
        EXPECT_EQ(errno, 4242) << size;
    }
}

TEST_F(malloc_family, calloc_is_zero_where_somebody_else_left_his_bytes) {
    for (const std::size_t size : {5u, 64u, 100u, 1500u, 3000u, 30'000u, 100'000u, 1'500'000u}) {
        for (int round = 0; round < 3; ++round) {
            blocks dirty;
            ASSERT_TRUE(dirty.make(top, size, size > 1'000'000 ? 2 : 20));
            for (std::size_t i = 0; i < dirty.size(); ++i)
                std::memset(dirty[i], 0xff, allot_usable_size(dirty[i]));
            dirty.clear();
            if (round == 1)
                allot_purge();
            blocks clean;
            for (int i = 0; i < (size > 1'000'000 ? 2 : 20); ++i) {
                void* const block = clean.add(allot_calloc(size, 1));
                ASSERT_NE(block, nullptr);
                ASSERT_TRUE(is_zero(block, size)) << size;
            }
        }
    }
}

TEST_F(malloc_family, realloc_keeps_the_contents_between_any_two_sizes) {
    const std::size_t sizes[] = {1,    8,      9,      64,     65,      500,       2048,
                                 2049, 20'000, 32'768, 32'769, 100'000, 4'000'000, 9'000'000};
    for (const std::size_t from : sizes)
        for (const std::size_t to : sizes) {
            if (from + to > 10'000'000 / allot_test::slowdown)
                continue;
            void* block = allot_malloc(from);
            number(block, from);
            block = allot_realloc(block, to);
            ASSERT_NE(block, nullptr) << from << " -> " << to;
            ASSERT_TRUE(is_numbered(block, std::min(from, to))) << from << " -> " << to;
            ASSERT_GE(allot_usable_size(block), to);
            std::memset(block, 1, allot_usable_size(block));
            allot_free(block);
        }
}

TEST_F(malloc_family, a_large_block_grows_where_it_is_when_what_follows_is_free) {
    constexpr std::size_t mib = std::size_t{1} << 20;
    bool stayed = false;
    for (int attempt = 0; attempt < 10 && !stayed; ++attempt) { // what is free may just be on its way to the system
        auto* const block = static_cast<char*>(allot_malloc(6 * mib));
        ASSERT_NE(block, nullptr);
        block[2 * mib - 1] = 7;
        ASSERT_EQ(allot_realloc(block, 2 * mib), block);
        auto* const grown = static_cast<char*>(allot_realloc(block, 5 * mib));
        ASSERT_NE(grown, nullptr);
        EXPECT_EQ(grown[2 * mib - 1], 7);
        EXPECT_EQ(allot_usable_size(grown), 5 * mib);
        grown[5 * mib - 1] = 8;
        stayed = grown == block;
        allot_free(grown);
    }
    EXPECT_TRUE(stayed);
}

TEST_F(malloc_family, realloc_stays_in_place_when_that_serves) {
    void* const block = allot_malloc(1000);
    EXPECT_EQ(allot_realloc(block, 1024), block) << "grows within its class";
    EXPECT_EQ(allot_realloc(block, 512), block) << "half is still used";
    allot_free(block);
    void* const small = allot_malloc(64);
    EXPECT_EQ(allot_realloc(small, 1), small) << "too little to gain";
    allot_free(small);
}

TEST_F(malloc_family, a_large_block_shrinks_in_place_and_is_uncharged_to_the_page) {
    void* const block = allot_malloc(10'000'000);
    number(block, 1'000'000);
    const std::uint64_t before = usage();
    EXPECT_EQ(allot_usable_size(block), 10'002'432u);
    EXPECT_EQ(allot_realloc(block, 1'000'000), block);
    EXPECT_EQ(allot_usable_size(block), 1'003'520u);
    EXPECT_EQ(before - usage(), 10'002'432u - 1'003'520u);
    EXPECT_TRUE(is_numbered(block, 1'000'000));
    EXPECT_EQ(allot_realloc(block, 40'000), block);
    EXPECT_EQ(usage(), top.stat().metadata + 40'960);
    void* const small = allot_realloc(block, 100);
    EXPECT_NE(small, block) << "a block that small lies in a slab";
    EXPECT_TRUE(is_numbered(small, 100));
    allot_free(small);
    allot_test::expect_books_agree("after shrinking");
}

TEST_F(malloc_family, a_realloc_that_fails_leaves_the_block_as_it_was) {
    const allot::group small = child("small", {.max = 300 * 1024});
    const allot::scope in{small};
    for (const std::size_t size : {100u, 30'000u, 200'000u}) {
        void* const block = allot_malloc(size);
        ASSERT_NE(block, nullptr);
        number(block, size);
        const std::uint64_t before = small.stat().current;
        errno = 0;
        EXPECT_EQ(allot_realloc(block, 1_MiB), nullptr);
        EXPECT_EQ(errno, ENOMEM);
        EXPECT_TRUE(is_numbered(block, size));
        EXPECT_EQ(small.stat().current, before);
        allot_free(block);
    }
}

TEST_F(malloc_family, shrinking_never_fails_though_the_limit_is_met) {
    const allot::group small = child("small");
    const allot::scope in{small};
    void* const block = allot_malloc(30'000);
    number(block, 30'000);
    small.set({.max = 0});
    void* const same = allot_realloc(block, 100);
    ASSERT_NE(same, nullptr);
    EXPECT_TRUE(is_numbered(same, 100));
    allot_free(same);
}

TEST_F(malloc_family, realloc_of_nothing_allocates_and_to_nothing_frees) {
    void* const block = allot_realloc(nullptr, 100'000);
    ASSERT_NE(block, nullptr);
    const std::uint64_t before = usage();
    EXPECT_EQ(allot_realloc(block, 0), nullptr);
    EXPECT_EQ(before - usage(), 102'400u);
    allot_free(nullptr);
    EXPECT_EQ(allot_usable_size(nullptr), 0u);
}

TEST_F(malloc_family, realloc_keeps_the_owner_whoever_calls_it_and_wherever_it_moves) {
    const allot::group owner = child("owner");
    for (const auto& [from, to] : {std::pair<std::size_t, std::size_t>{100, 1000},
                                   {1000, 100'000},
                                   {100'000, 100},
                                   {100'000, 5'000'000},
                                   {5'000'000, 50'000},
                                   {3000, 30}}) {
        void* block = owner.malloc(from);
        block = allot_realloc(block, to); // inside top
        EXPECT_EQ(allot::owner_of(block), owner) << from << " -> " << to;
        std::thread{[&, size = from] { block = allot_realloc(block, size); }}.join(); // inside the root
        EXPECT_EQ(allot::owner_of(block), owner);
        allot_free(block);
    }
    EXPECT_EQ(owner.stat().shared + owner.stat().large, 0u);
}

TEST_F(malloc_family, every_alignment_is_kept_at_every_size) {
    for (std::size_t alignment = 1; alignment <= 8_MiB; alignment *= 2)
        for (const std::size_t size : {0u, 1u, 24u, 100u, 1000u, 5000u, 40'000u}) {
            for (void* const block : {allot_aligned_alloc(alignment, size), top.malloc(size, alignment)}) {
                ASSERT_NE(block, nullptr) << alignment << " " << size;
                EXPECT_TRUE(is_aligned(block, alignment)) << alignment << " " << size;
                EXPECT_GE(allot_usable_size(block), size);
                std::memset(block, 1, allot_usable_size(block));
                allot_free(block);
            }
        }
}

TEST_F(malloc_family, random_calls_keep_every_byte) {
    std::mt19937_64 random{allot_test::test_seed("random_calls_keep_every_byte")};
    struct {
        void* block = nullptr;
        std::size_t size = 0;
    } held[64];
    for (unsigned turn = 0; turn < 10'000 / allot_test::slowdown; ++turn) {
        auto& one = held[random() % 64];
        const std::size_t size = random() % (random() % 20 == 0 ? 200'000 : 2000);
        ASSERT_TRUE(one.block == nullptr || is_numbered(one.block, one.size));
        switch (random() % 4) {
        case 0:
            allot_free(std::exchange(one.block, allot_malloc(size)));
            break;
        case 1:
            allot_free(std::exchange(one.block, allot_calloc(size, 1)));
            ASSERT_TRUE(is_zero(one.block, size));
            break;
        case 2:
            allot_free(std::exchange(one.block, allot_aligned_alloc(std::size_t{1} << random() % 13, size)));
            break;
        default:
            one.block = allot_realloc(one.block, size + 1);
            ASSERT_TRUE(is_numbered(one.block, std::min(one.size, size)));
        }
        ASSERT_NE(one.block, nullptr);
        one.size = size;
        number(one.block, one.size);
    }
    for (auto& one : held)
        allot_free(one.block);
}

} // namespace
