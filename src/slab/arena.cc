// SPDX-License-Identifier: MIT
//
// arena: reserving and committing.
//
// Idea.        Everything is reserved without access and committed with the chunk it describes, so strict overcommit is
//              charged only for what is in use; RLIMIT_AS counts the reservation, hence the halving.
// Concurrency. arena_init: one thread; arena_commit_chunks: under page_alloc's lock.
#include "slab/arena.hpp"

#include "platform/memory.hpp"

namespace allot::slab {

[[gnu::used]] constinit arena_map arena{}; // by inline assembly, too

namespace {

constexpr std::size_t gib = std::size_t{1} << 30;
#if ALLOT_TSAN || ALLOT_ASAN
constexpr std::size_t arena_bytes_max = 64 * gib; // the sanitizers leave less room
#else
constexpr std::size_t arena_bytes_max = 1024 * gib;
#endif
constexpr std::size_t arena_bytes_min = gib / 16;
constexpr std::size_t live_bytes_per_page = page_bytes / 64;

template <class T> bool reserve_array(T*& array, std::size_t bytes) noexcept {
    array = static_cast<T*>(platform::reserve(bytes, page_bytes));
    return array != nullptr;
}

void release_all(std::size_t bytes) noexcept {
    const std::size_t pages = bytes / page_bytes;
    if (arena.base != nullptr)
        platform::unmap(arena.base, bytes);
    if (arena.slabs != nullptr)
        platform::unmap(arena.slabs, pages * sizeof(slab));
    if (arena.remotes != nullptr)
        platform::unmap(arena.remotes, pages * sizeof(slab_remote));
    if (arena.tags != nullptr)
        platform::unmap(arena.tags, pages * sizeof(page_tag));
    if (arena.heads != nullptr)
        platform::unmap(arena.heads, pages * sizeof(std::uint32_t));
    if (arena.live_bits != nullptr)
        platform::unmap(arena.live_bits, pages * live_bytes_per_page);
    arena = arena_map{};
}

bool reserve_all(std::size_t bytes) noexcept {
    const std::size_t pages = bytes / page_bytes;
    arena.base = static_cast<char*>(platform::reserve(bytes, chunk_bytes));
    if (arena.base != nullptr && reserve_array(arena.slabs, pages * sizeof(slab)) &&
        reserve_array(arena.remotes, pages * sizeof(slab_remote)) &&
        reserve_array(arena.tags, pages * sizeof(page_tag)) &&
        reserve_array(arena.heads, pages * sizeof(std::uint32_t)) &&
        (!ALLOT_DEBUG || reserve_array(arena.live_bits, pages * live_bytes_per_page))) {
        arena.bytes = bytes;
        return true;
    }
    release_all(bytes);
    return false;
}

/// Commits the pages that hold `count` elements of `each` bytes from element `first` on; pages at the edges may be committed
/// already, which changes nothing.
template <class T> bool commit_part(T* array, std::size_t first, std::size_t count, std::size_t each) noexcept {
    const auto base = reinterpret_cast<std::uintptr_t>(array);
    const std::uintptr_t begin = (base + first * each) & ~(page_bytes - 1);
    const std::uintptr_t end = round_up(base + (first + count) * each, page_bytes);
    return platform::commit(reinterpret_cast<void*>(begin), end - begin);
}

/// True if the address space holds twice as much: the rest of the program wants some too.
bool leaves_room(std::size_t bytes) noexcept {
    void* const probe = platform::reserve(2 * bytes, page_bytes);
    if (probe != nullptr)
        platform::unmap(probe, 2 * bytes);
    return probe != nullptr;
}

} // namespace

bool arena_init() noexcept {
    for (std::size_t bytes = arena_bytes_max; bytes >= arena_bytes_min; bytes /= 2)
        if (leaves_room(bytes) && reserve_all(bytes))
            return true;
    return false;
}

bool arena_commit_chunks(std::size_t first_chunk, std::size_t count) noexcept {
    const std::size_t first = first_chunk * chunk_pages;
    const std::size_t pages = count * chunk_pages;
    return commit_part(arena.slabs, first, pages, sizeof(slab)) &&
           commit_part(arena.remotes, first, pages, sizeof(slab_remote)) &&
           commit_part(arena.tags, first, pages, sizeof(page_tag)) &&
           commit_part(arena.heads, first, pages, sizeof(std::uint32_t)) &&
           (!ALLOT_DEBUG || commit_part(arena.live_bits, first, pages, live_bytes_per_page)) &&
           commit_part(arena.base, first, pages, page_bytes);
}

} // namespace allot::slab
