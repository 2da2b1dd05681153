// SPDX-License-Identifier: MIT
//
// debug: the live bits and the poison.
//
// Idea.        See debug.hpp.
// Concurrency. any thread. All relaxed: each block's bit is changed by who owns the block.
#include "slab/debug.hpp"

#if ALLOT_DEBUG
#include "slab/kmem_cache.hpp"
#include "slab/obj_cgroup.hpp"

#include <cstring>

namespace allot::slab {

namespace {

constexpr unsigned char poison_byte = 0x6b; // the kernel's POISON_FREE

std::size_t bit_of(const void* block) noexcept {
    return static_cast<std::size_t>(static_cast<const char*>(block) - arena.base) / 8;
}

bool keeps_content(const slab& s) noexcept { return s.cache->shape.link_offset != 0; }

const char* group_name(const slab& s) noexcept {
    return s.kind == slab_kind::owned ? hooks.name(*s.cache->payer.load(std::memory_order_relaxed)) : "?";
}

/// The bytes of a free block that hold no link.
void* poisoned_part(const slab& s, void* block, std::size_t* bytes) noexcept {
    *bytes = s.object_bytes > sizeof(void*) ? s.object_bytes - sizeof(void*) : 0;
    return static_cast<char*>(block) + sizeof(void*);
}

} // namespace

void debug_wipe(slab& s) noexcept {
    // 64 bytes of bits a page, all clear.
    auto* bits = arena.live_bits + static_cast<std::size_t>(page_index(s)) * (page_bytes / 64);
    std::memset(static_cast<void*>(bits), 0, slab_bytes(s) / 64);
}

void debug_new_slab(slab& s) noexcept {
    debug_wipe(s);
    if (keeps_content(s))
        return;
    for (std::uint32_t i = 0; i < s.capacity; ++i)
        std::memset(start_of(s) + std::size_t{i} * s.object_bytes, poison_byte, s.object_bytes);
}

void debug_on_alloc(slab& s, void* block) noexcept {
    debug_note_stack(block);
    const std::size_t bit = bit_of(block);
    const auto mask = static_cast<std::uint8_t>(1u << (bit % 8));
    if ((arena.live_bits[bit / 8].fetch_or(mask, std::memory_order_relaxed) & mask) != 0)
        base::bug_object("a live block is handed out again", block, group_name(s), s.cache->name);
    if (keeps_content(s))
        return;
    std::size_t bytes = 0;
    const auto* part = static_cast<const unsigned char*>(poisoned_part(s, block, &bytes));
    for (std::size_t i = 0; i < bytes; ++i)
        if (part[i] != poison_byte)
            base::bug_object("write after free", block, group_name(s), s.cache->name);
}

void debug_on_free(slab& s, void* block) noexcept {
    if ((static_cast<std::size_t>(static_cast<char*>(block) - start_of(s))) % s.object_bytes != 0)
        base::bug_object("free of an address inside a block", block, group_name(s), s.cache->name);
    const std::size_t bit = bit_of(block);
    const auto mask = static_cast<std::uint8_t>(1u << (bit % 8));
    if ((arena.live_bits[bit / 8].fetch_and(static_cast<std::uint8_t>(~mask), std::memory_order_relaxed) & mask) == 0)
        base::bug_object("double free", block, group_name(s), s.cache->name);
    if (keeps_content(s))
        return;
    std::size_t bytes = 0;
    void* const part = poisoned_part(s, block, &bytes);
    std::memset(part, poison_byte, bytes);
}

bool debug_is_live(const void* block) noexcept {
    const std::size_t bit = bit_of(block);
    return (arena.live_bits[bit / 8].load(std::memory_order_relaxed) & (1u << (bit % 8))) != 0;
}

} // namespace allot::slab
#endif
