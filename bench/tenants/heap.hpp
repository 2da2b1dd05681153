// SPDX-License-Identifier: MIT
//
// heap: what a heap for a tenant or a request is to the benchmark, whoever makes it.
//
// Idea.        Each header of this folder wraps one library's heaps as it recommends to use them, in the form of the concept
//              below, so that the same loops run over all, inlined. The constructor makes the heap; end() frees all objects and
//              the heap. Objects are asked for by their class as well as their bytes, since Boost.Pool has a pool for each size.
// Concurrency. one thread.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>

namespace allot_bench {

/// Classes of objects in one heap; the sizes are distinct.
inline constexpr std::size_t classes_most = 20;
/// From 16 to 1,024 bytes: 16 apart, from 128 on four for each doubling. Their sum is 6,400.
inline constexpr std::size_t mixed_bytes[classes_most] = {16,  32,  48,  64,  80,  96,  112, 128, 160, 192,
                                                          224, 256, 320, 384, 448, 512, 640, 768, 896, 1024};

template <class Heap>
concept tenant_heap = requires(Heap heap, const char* name, std::size_t number, std::span<void* const> objects) {
    { Heap::name } -> std::convertible_to<const char*>;       // what the driver calls it
    { Heap::most } -> std::convertible_to<std::size_t>;       // heaps that may exist at once
    Heap{name};                                               // `name` is unique among living heaps
    heap.enter();                                             // before allocations
    { heap.allocate(number, number) } -> std::same_as<void*>; // class, bytes
    heap.leave();                                             // after them
    heap.end(objects);                                        // frees the objects and the heap
    Heap::settle();                                           // waits for everything that end() left to others
};

/// What heaps have that need none of these.
struct plain_heap {
    static constexpr std::size_t most = static_cast<std::size_t>(-1);
    void enter() {}
    void leave() {}
    static void settle() {}
};

/// The heaps of one program. run(NAME, visit) calls visit.template operator()<Heap>(); false if there is no such heap.
template <tenant_heap... Heaps> struct kind_list {
    template <class Visit> static bool run(const char* name, Visit visit) {
        return ((std::strcmp(name, Heaps::name) == 0 ? (visit.template operator()<Heaps>(), true) : false) || ...);
    }
};

} // namespace allot_bench
