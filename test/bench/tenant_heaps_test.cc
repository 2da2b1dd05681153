// SPDX-License-Identifier: MIT
//
// The group as a heap for the benchmark: everything is charged to it, and nothing is left when it ends.
#include "../../bench/tenants/allot.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace {

using namespace allot_bench;

/// Charged to the tenant that the heaps hang below, bytes.
std::uint64_t charged() {
    allot_group* tenant = nullptr;
    if (allot_group_find("/bench-tenant", &tenant) != 0)
        return 0;
    allot_stat figures{};
    allot_group_stat(tenant, &figures);
    allot_group_put(tenant);
    return figures.current - figures.metadata;
}

TEST(bench_tenant_heaps, objects_are_charged_until_the_heap_ends) {
    std::vector<void*> objects;
    group_heap heap{"request"};
    heap.enter();
    for (std::size_t i = 0; i < 100; ++i) {
        objects.push_back(heap.allocate(0, 64));
        std::memset(objects.back(), static_cast<int>(i), 64);
    }
    heap.leave();
    EXPECT_GE(charged(), 6'400u);
    EXPECT_EQ(static_cast<unsigned char*>(objects[99])[63], 99);
    heap.end(objects);
    group_heap::settle();
    EXPECT_EQ(charged(), 0u);
    allot_group* gone = nullptr;
    EXPECT_NE(allot_group_find("/bench-tenant/request", &gone), 0);
}

TEST(bench_tenant_heaps, a_heap_is_found_by_its_name_and_no_other) {
    std::size_t runs = 0;
    EXPECT_TRUE(kinds::run("allot", [&]<class Heap>() { runs += Heap::most > 10'000 ? 1 : 0; }));
    EXPECT_FALSE(kinds::run("malloc", [&]<class Heap>() { runs += 100; }));
    EXPECT_EQ(runs, 1u);
}

} // namespace
