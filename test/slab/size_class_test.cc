// SPDX-License-Identifier: MIT
//
// size_class_test: every size has the smallest class that holds it, and little of it is rounding.
#include "slab/size_class.hpp"

#include <gtest/gtest.h>

namespace {

using namespace allot::slab;

TEST(size_class, is_the_smallest_that_holds_the_size_for_every_size) {
    for (std::size_t bytes = 1; bytes <= kmalloc_max_bytes; ++bytes) {
        const std::uint32_t index = class_of(bytes);
        ASSERT_LT(index, kmalloc_class_count) << bytes;
        ASSERT_GE(class_bytes(index), bytes);
        if (index != 0) {
            ASSERT_LT(class_bytes(index - 1), bytes) << "the one below would do";
        }
    }
}

TEST(size_class, no_bytes_are_served_as_one) { EXPECT_EQ(class_of(0), class_of(1)); }

TEST(size_class, the_sizes_of_the_classes_rise_and_end_at_the_largest) {
    for (std::uint32_t index = 1; index < kmalloc_class_count; ++index)
        EXPECT_LT(class_bytes(index - 1), class_bytes(index)) << index;
    EXPECT_EQ(class_bytes(0), 8u);
    EXPECT_EQ(class_bytes(kmalloc_class_count - 1), kmalloc_max_bytes);
}

TEST(size_class, the_class_of_a_class_size_is_the_class) {
    for (std::uint32_t index = 0; index < kmalloc_class_count; ++index)
        EXPECT_EQ(class_of(class_bytes(index)), index);
}

TEST(size_class, sizes_from_nine_bytes_on_keep_mallocs_alignment) {
    for (std::uint32_t index = 1; index < kmalloc_class_count; ++index)
        EXPECT_EQ(class_bytes(index) % 16, 0u) << index;
}

TEST(size_class, at_most_a_fifth_of_a_block_above_64_bytes_is_rounding) {
    for (std::size_t bytes = 65; bytes <= kmalloc_max_bytes; ++bytes) {
        const std::size_t block = class_bytes(class_of(bytes));
        ASSERT_LE((block - bytes) * 5, block) << bytes;
    }
}

TEST(size_class, at_most_a_ninth_of_a_page_with_its_header_is_rounding) {
    for (std::size_t bytes = 4096; bytes <= page_and_header_bytes; ++bytes) {
        const std::size_t block = class_bytes(class_of(bytes));
        ASSERT_LE((block - bytes) * 9, block) << bytes;
    }
}

TEST(size_class, the_table_for_small_sizes_and_the_computation_agree_where_they_meet) {
    for (std::size_t bytes = 129; bytes <= small_table_max_bytes; ++bytes)
        ASSERT_EQ(class_of(bytes), detail::computed_class(bytes)) << bytes;
    EXPECT_EQ(class_of(small_table_max_bytes + 1), class_of(small_table_max_bytes) + 1);
}

} // namespace
