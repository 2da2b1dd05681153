// SPDX-License-Identifier: MIT
//
// use_cpp: a C++20 program that uses allot; fails with a number that tells the step.
#include <allot/allot.hpp>

#include <memory_resource>
#include <vector>

using namespace allot::literals;

int main() {
    allot::group group = allot::root().create("consumer", {.max = 1_MiB});
    {
        allot::scope in{group};
        void* const block = allot::malloc(100);
        if (block == nullptr)
            return 1;
        allot::free(block);
    }
    std::pmr::vector<int> numbers{group.resource()};
    try {
        numbers.resize(1'000'000);
        return 2;
    } catch (const std::bad_alloc&) {
        numbers.resize(1'000);
    }
    return numbers.size() == 1'000 ? 0 : 3;
}
