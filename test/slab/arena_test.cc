// SPDX-License-Identifier: MIT
//
// arena_test: addresses, pages and descriptors belong to each other, and an address that is not ours is nobody's.
#include "support/core.hpp"

#include "slab/slab_ops.hpp"

#include <bit>
#include <sys/mman.h>

namespace {

using namespace allot::slab;
using allot::page_bytes;

class arena_of_blocks : public allot_test::core_test {};

TEST_F(arena_of_blocks, an_address_is_ours_from_the_first_byte_to_the_last) {
    EXPECT_TRUE(arena_contains(arena.base));
    EXPECT_TRUE(arena_contains(arena.base + arena.bytes - 1));
    EXPECT_FALSE(arena_contains(arena.base + arena.bytes));
    EXPECT_FALSE(arena_contains(reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(arena.base) - 1)));
    EXPECT_FALSE(arena_contains(nullptr));
    EXPECT_FALSE(arena_contains(reinterpret_cast<void*>(~std::uintptr_t{0})));
    int local = 0;
    EXPECT_FALSE(arena_contains(&local));
    EXPECT_FALSE(arena_contains(&arena));
}

TEST_F(arena_of_blocks, is_aligned_to_chunks_and_a_power_of_two_of_them) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.base) % chunk_bytes, 0u);
    EXPECT_TRUE(allot::is_power_of_two(arena.bytes));
    EXPECT_GE(arena.bytes, std::size_t{64} << 20);
}

TEST_F(arena_of_blocks, page_numbers_and_descriptors_lead_to_each_other) {
    for (const std::uint32_t page : {1u, 2u, 77u, 1023u}) {
        const slab& s = slab_at(page);
        EXPECT_EQ(page_index(s), page);
        EXPECT_EQ(start_of(s), arena.base + std::size_t{page} * page_bytes);
        EXPECT_EQ(page_of(start_of(s)), page);
        EXPECT_EQ(page_of(start_of(s) + page_bytes - 1), page);
        EXPECT_EQ(&slab_of_remote(remote_of(s)), &s);
    }
}

TEST_F(arena_of_blocks, any_address_in_a_slab_leads_to_its_descriptor) {
    allot_test::heat(top, 1000);
    allot_test::blocks made;
    ASSERT_TRUE(made.make(top, 1000, 500)); // slabs of several orders
    std::uint32_t orders = 0;
    for (std::size_t i = 0; i < made.size(); ++i) {
        const slab& s = *slab_of(made[i]);
        ASSERT_EQ(s.kind, slab_kind::owned);
        EXPECT_EQ(page_index(s) % s.pages, 0u);
        orders |= s.pages;
        for (std::size_t at = 0; at < slab_bytes(s); at += 512)
            ASSERT_EQ(slab_of(start_of(s) + at), &s);
        ASSERT_EQ(slab_of(start_of(s) + slab_bytes(s) - 1), &s);
    }
    EXPECT_GT(std::popcount(orders), 1) << "a cache's later slabs are larger";
}

TEST_F(arena_of_blocks, page_zero_is_nobodys) {
    EXPECT_EQ(slab_at(0).kind, slab_kind::none);
    allot_test::blocks made;
    ASSERT_TRUE(made.make(top, 100, 1000) && made.make(top, 100'000, 20));
    for (std::size_t i = 0; i < made.size(); ++i)
        EXPECT_NE(page_of(made[i]), 0u);
}

TEST_F(arena_of_blocks, what_is_not_committed_is_not_accessible) {
    // mincore() answers for mapped pages only; both are reserved, and neither may be touched.
    char* const beyond = arena.base + pages_committed() * page_bytes;
    ASSERT_LT(beyond, arena.base + arena.bytes);
    unsigned char resident = 0;
    EXPECT_EQ(::mincore(beyond, page_bytes, &resident), 0);
    EXPECT_EQ(resident & 1, 0);
    EXPECT_EQ(pages_committed() % chunk_pages, 0u);
}

TEST_F(arena_of_blocks, an_object_in_a_slab_has_the_number_of_its_place) {
    for (std::uint32_t index = 0; index < kmalloc_class_count; ++index) {
        allot_test::blocks made;
        ASSERT_TRUE(made.make(allot::root(), class_bytes(index), 1)); // the root's pairs are hot
        const slab& s = *slab_of(made[0]);
        ASSERT_EQ(s.kind, slab_kind::owned);
        for (std::uint32_t i = 0; i < s.capacity; ++i) {
            const char* const object = start_of(s) + std::size_t{i} * s.object_bytes;
            ASSERT_EQ(object_index(s, s.cache->shape, object), i) << class_bytes(index);
            ASSERT_EQ(object_index(s, s.cache->shape, object + s.object_bytes - 1), i) << class_bytes(index);
        }
    }
}

} // namespace
