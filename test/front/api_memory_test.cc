// SPDX-License-Identifier: MIT
//
// malloc and its family, std::pmr resources, allocator<T>.
#include "api_fixture.hpp"

#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <memory_resource>
#include <numeric>
#include <optional>
#include <thread>
#include <unordered_map>

namespace {

using namespace allot::literals;
using allot_test::settle;

class api_memory : public allot_test::api_test {};

bool is_aligned(const void* block, std::size_t alignment) {
    return reinterpret_cast<std::uintptr_t>(block) % alignment == 0;
}

TEST_F(api_memory, malloc_serves_every_size_writable_and_aligned) {
    const allot::scope in{top};
    for (std::size_t size = 0; size < 200'000; size += size / 7 + 1) {
        auto* block = static_cast<unsigned char*>(allot::malloc(size));
        ASSERT_NE(block, nullptr) << size;
        EXPECT_TRUE(is_aligned(block, size > 8 ? 16 : 8)) << size;
        EXPECT_GE(allot::usable_size(block), size);
        std::memset(block, 0xa5, allot::usable_size(block));
        EXPECT_EQ(allot::owner_of(block), top);
        allot::free(block);
    }
    allot::free(nullptr);
    EXPECT_EQ(allot::usable_size(nullptr), 0u);
}

TEST_F(api_memory, calloc_zeroes_memory_that_was_used_before) {
    const allot::scope in{top};
    for (int round = 0; round < 100; ++round) {
        void* dirty = allot::malloc(500);
        std::memset(dirty, 0xff, 500);
        allot::free(dirty);
        auto* clean = static_cast<unsigned char*>(allot::calloc(50, 10));
        ASSERT_NE(clean, nullptr);
        for (int index = 0; index < 500; ++index)
            ASSERT_EQ(clean[index], 0);
        allot::free(clean);
    }
    EXPECT_EQ(allot::calloc(SIZE_MAX / 2, 3), nullptr) << "the product does not fit";
}

TEST_F(api_memory, realloc_keeps_the_bytes_and_the_owner) {
    const allot::group other = top.create("other");
    auto* block = static_cast<unsigned char*>(top.malloc(10));
    for (unsigned char index = 0; index < 10; ++index)
        block[index] = index;
    const allot::scope in{other};
    for (const std::size_t size : {std::size_t{100}, std::size_t{5000}, std::size_t{300'000}, std::size_t{40}}) {
        block = static_cast<unsigned char*>(allot::realloc(block, size));
        ASSERT_NE(block, nullptr);
        for (unsigned char index = 0; index < 10; ++index)
            ASSERT_EQ(block[index], index);
        EXPECT_EQ(allot::owner_of(block), top) << "realloc keeps the owner, whatever group is current";
    }
    EXPECT_EQ(allot::realloc(block, 0), nullptr);
    void* fresh = allot::realloc(nullptr, 10);
    EXPECT_EQ(allot::owner_of(fresh), other);
    allot::free(fresh);
}

TEST_F(api_memory, a_large_block_grows_as_far_as_its_group_may) {
    const allot::group small = top.create("small", {.max = 8_MiB});
    auto* block = static_cast<unsigned char*>(small.malloc(7_MiB));
    ASSERT_NE(block, nullptr);
    block = static_cast<unsigned char*>(allot::realloc(block, 2_MiB));
    block[0] = 9;
    EXPECT_EQ(allot::realloc(block, 9_MiB), nullptr);
    EXPECT_EQ(small.stat().current, 2_MiB) << "what was charged for the attempt went back";
    EXPECT_EQ(block[0], 9);
    block = static_cast<unsigned char*>(allot::realloc(block, 4_MiB));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(small.stat().current, 4_MiB);
    EXPECT_EQ(block[0], 9);
    allot::free(block);
    EXPECT_EQ(small.stat().current, 0u);
}

TEST_F(api_memory, realloc_over_the_limit_leaves_the_block_as_it_was) {
    const allot::group child = capped("child", 64_KiB);
    auto* block = static_cast<char*>(child.malloc(100));
    ASSERT_NE(block, nullptr);
    std::strcpy(block, "still here");
    errno = 0;
    EXPECT_EQ(allot::realloc(block, 100'000), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_STREQ(block, "still here");
    allot::free(block);
}

TEST_F(api_memory, aligned_alloc_aligns_up_to_two_mebibytes) {
    const allot::scope in{top};
    for (std::size_t alignment = 1; alignment <= 2_MiB; alignment *= 2)
        for (const std::size_t size : {std::size_t{1}, std::size_t{24}, std::size_t{1000}, std::size_t{40'000}}) {
            void* block = allot::aligned_alloc(alignment, size);
            ASSERT_NE(block, nullptr) << alignment << ' ' << size;
            EXPECT_TRUE(is_aligned(block, alignment));
            EXPECT_GE(allot::usable_size(block), size);
            EXPECT_EQ(allot::owner_of(block), top);
            allot::free(block);
        }
    errno = 0;
    EXPECT_EQ(allot::aligned_alloc(24, 100), nullptr);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(api_memory, failure_sets_errno_and_free_keeps_it) {
    const allot::group child = capped("child", 16_KiB);
    void* small = child.malloc(100);
    errno = 0;
    EXPECT_EQ(child.malloc(100'000), nullptr);
    EXPECT_EQ(errno, ENOMEM);
    errno = EDOM;
    allot::free(small);
    EXPECT_EQ(errno, EDOM);
    EXPECT_EQ(top.malloc(SIZE_MAX - 100), nullptr) << "no address space holds it";
}

TEST_F(api_memory, group_malloc_charges_that_group_whatever_is_current) {
    const allot::group child = top.create("child");
    const allot::scope in{child};
    void* block = top.malloc(64);
    void* aligned = top.malloc(64, 1024);
    EXPECT_EQ(allot::owner_of(block), top);
    EXPECT_EQ(allot::owner_of(aligned), top);
    EXPECT_TRUE(is_aligned(aligned, 1024));
    EXPECT_EQ(child.stat().allocations, 0u);
    allot::free(block);
    allot::free(aligned);
}

TEST_F(api_memory, any_thread_may_free) {
    std::vector<void*> made;
    for (int index = 0; index < 10'000; ++index)
        made.push_back(top.malloc(static_cast<std::size_t>(16 + index % 500)));
    std::thread{[&] {
        for (void* block : made)
            allot::free(block);
    }}.join();
    settle(top);
    EXPECT_EQ(top.stat().current, 0u);
}

TEST_F(api_memory, a_group_has_one_resource_also_when_threads_race_for_the_first) {
    std::vector<std::pmr::memory_resource*> seen(8);
    std::vector<std::thread> threads;
    for (auto& mine : seen)
        threads.emplace_back([this, &mine] {
            mine = top.resource();
            mine->deallocate(mine->allocate(100), 100);
        });
    for (std::thread& thread : threads)
        thread.join();
    for (std::pmr::memory_resource* resource : seen)
        EXPECT_EQ(resource, top.resource());
}

TEST_F(api_memory, resources_give_the_alignment_that_is_asked) {
    for (std::pmr::memory_resource* resource : {top.resource(), allot::ambient_resource()})
        for (std::size_t alignment = 1; alignment <= 8192; alignment *= 2)
            for (const std::size_t size :
                 {std::size_t{0}, std::size_t{1}, std::size_t{8}, std::size_t{9}, std::size_t{5000}}) {
                void* block = resource->allocate(size, alignment);
                EXPECT_TRUE(is_aligned(block, alignment)) << size << ' ' << alignment;
                resource->deallocate(block, size, alignment);
            }
}

TEST_F(api_memory, all_resources_are_equal_and_foreign_ones_are_not) {
    const allot::group other = top.create("other");
    EXPECT_EQ(*top.resource(), *other.resource());
    EXPECT_EQ(*top.resource(), *allot::ambient_resource());
    EXPECT_NE(*top.resource(), *std::pmr::new_delete_resource());
    EXPECT_EQ(allot::ambient_resource(), allot::ambient_resource());
}

TEST_F(api_memory, a_move_between_groups_takes_the_memory_along_and_a_copy_does_not) {
    const allot::group from = top.create("from");
    const allot::group to = top.create("to");
    std::pmr::vector<int> source(1000, 7, from.resource());
    const int* data = source.data();
    const std::pmr::vector<int> copy(source, to.resource());
    EXPECT_EQ(allot::owner_of(copy.data()), to);
    std::pmr::vector<int> target{to.resource()};
    target = std::move(source);
    EXPECT_EQ(target.data(), data) << "equal resources: no copy";
    EXPECT_EQ(allot::owner_of(target.data()), from) << "the charge stays with who allocated";
}

TEST_F(api_memory, a_container_outlives_its_scope_and_its_group) {
    allot::group child = top.create("child");
    std::optional<std::pmr::map<int, std::pmr::string>> map{std::in_place, child.resource()};
    for (int key = 0; key < 500; ++key)
        map->emplace(key, std::string(100, 'x'));
    const std::uint64_t charged = child.stat().current;
    EXPECT_GE(charged, 500u * 100u);
    child.close();
    map->emplace(1000, "after close, while a handle exists: the parent pays");
    child = {};
    allot::quiesce();
    EXPECT_GE(top.stat().current, charged);
    EXPECT_EQ(map->at(499), std::string(100, 'x').c_str());
    map.reset();
    settle(top);
    EXPECT_EQ(top.stat().current, 0u);
}

TEST_F(api_memory, a_place_that_is_used_again_charges_its_new_group) {
    for (int round = 0; round < 200; ++round) {
        const allot::unique_group child{top.create("child")};
        std::pmr::vector<int> numbers(100, round, child->resource());
        ASSERT_EQ(allot::owner_of(numbers.data()), child.get());
        if (round % 20 == 0)
            allot::quiesce();
    }
}

TEST_F(api_memory, the_ambient_resource_charges_whoever_is_current_at_the_time) {
    const allot::group first = top.create("first");
    const allot::group second = top.create("second");
    std::pmr::vector<int> numbers{allot::ambient_resource()};
    {
        const allot::scope in{first};
        numbers.assign(100, 1);
    }
    EXPECT_EQ(allot::owner_of(numbers.data()), first);
    {
        const allot::scope in{second};
        numbers.assign(1000, 2);
    }
    EXPECT_EQ(allot::owner_of(numbers.data()), second);
}

TEST_F(api_memory, a_container_over_its_limit_throws_and_stays_whole) {
    const allot::group child = capped("child", 256_KiB);
    std::pmr::vector<std::uint64_t> numbers{child.resource()};
    try {
        for (;;)
            numbers.push_back(numbers.size());
    } catch (const allot::limit_exceeded& error) {
        EXPECT_EQ(error.group(), child.path());
    }
    EXPECT_GE(numbers.size(), 1000u);
    EXPECT_EQ(numbers.back(), numbers.size() - 1);
    EXPECT_LE(child.stat().peak, 256_KiB);
}

TEST_F(api_memory, pools_and_buffers_of_the_standard_stand_on_a_resource) {
    const allot::group child = top.create("child");
    {
        std::pmr::monotonic_buffer_resource buffer{child.resource()};
        std::pmr::unsynchronized_pool_resource pool{&buffer};
        std::pmr::unordered_map<int, std::pmr::string> map{&pool};
        for (int key = 0; key < 2000; ++key)
            map[key] = std::string(64, 'y');
        EXPECT_GE(child.stat().current, 2000u * 64u);
    }
    settle(child);
    EXPECT_EQ(child.stat().current, 0u);
}

struct alignas(64) line {
    std::uint64_t words[8];
};

TEST_F(api_memory, allocator_serves_the_standard_containers) {
    const allot::scope in{top};
    std::vector<line, allot::allocator<line>> lines(100);
    EXPECT_TRUE(is_aligned(lines.data(), 64));
    EXPECT_EQ(allot::owner_of(lines.data()), top);
    std::map<int, int, std::less<>, allot::allocator<std::pair<const int, int>>> map;
    std::deque<int, allot::allocator<int>> deque;
    std::basic_string<char, std::char_traits<char>, allot::allocator<char>> text(1000, 'z');
    for (int key = 0; key < 1000; ++key) {
        map[key] = key;
        deque.push_front(key);
    }
    EXPECT_EQ(allot::owner_of(text.data()), top);
    EXPECT_EQ(std::accumulate(deque.begin(), deque.end(), 0), 499'500);
    const auto shared = std::allocate_shared<int>(allot::allocator<int>{}, 5);
    EXPECT_TRUE(allot::owns(shared.get()));
}

TEST_F(api_memory, allocator_refuses_what_no_address_space_holds) {
    EXPECT_THROW((void)allot::allocator<line>{}.allocate(SIZE_MAX / 32), std::bad_array_new_length);
    static_assert(allot::allocator<int>{} == allot::allocator<char>{});
    static_assert(std::allocator_traits<allot::allocator<int>>::is_always_equal::value);
    static_assert(sizeof(std::vector<int, allot::allocator<int>>) == sizeof(std::vector<int>));
}

} // namespace
