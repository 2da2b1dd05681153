// SPDX-License-Identifier: MIT
//
// floor: what allocating and freeing would cost if nothing had to be known about a block.
//
// Idea.        A list of free blocks in thread-local memory behind calls that are not inlined. It serves one size at a time,
//              charges nobody, and a block must be freed by its own thread; no allocator can do much less. It begins anew
//              with each query_scope, so with each cell. Stands in for heap.cc in its worker.
// Concurrency. each thread has its own.
#include "heap.hpp"

#include <sys/mman.h>

namespace allot_bench {

namespace {

struct free_block {
    free_block* next;
};

constexpr std::size_t room_bytes = std::size_t{64} << 20;

struct thread_floor {
    free_block* first = nullptr;
    char* unused = nullptr; // [unused, end) was not handed out yet
    char* end = nullptr;
    char* room = nullptr;
};

constinit thread_local thread_floor mine;

[[gnu::cold, gnu::noinline]] void* take_unused(std::size_t size) {
    size = (size + 15) & ~std::size_t{15};
    if (static_cast<std::size_t>(mine.end - mine.unused) < size)
        return nullptr;
    void* block = mine.unused;
    mine.unused += size;
    return block;
}

} // namespace

void* heap_malloc(std::size_t size) noexcept {
    free_block* block = mine.first;
    if (block == nullptr) [[unlikely]]
        return take_unused(size);
    mine.first = block->next;
    return block;
}

void heap_free(void* block) noexcept {
    auto* freed = static_cast<free_block*>(block);
    freed->next = mine.first;
    mine.first = freed;
}

const char* make_groups(bool) { return "none"; }

const char* malloc_comes_from() { return "the program"; }

query_scope::query_scope() {
    void* room = mmap(nullptr, room_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return;
    mine.room = mine.unused = static_cast<char*>(room);
    mine.end = mine.room + room_bytes;
}

query_scope::~query_scope() {
    if (mine.room != nullptr)
        munmap(mine.room, room_bytes);
    mine = {};
}

} // namespace allot_bench
