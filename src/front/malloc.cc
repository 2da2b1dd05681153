// SPDX-License-Identifier: MIT
//
// malloc: the rare half of the malloc family.
//
// Idea.        See malloc.hpp.
// Concurrency. any thread.
#include "front/malloc.hpp"

#include "slab/cold.hpp"
#include "slab/scope.hpp"

#include <cstdint>
#include <cstring>

namespace allot::front {

namespace {

void* fail() noexcept {
    errno = ENOMEM;
    return nullptr;
}

/// A size that no address space holds: recorded like every other failure.
void* fail_absurd(std::size_t size) noexcept {
    if (enter() && !slab::nested())
        slab::hooks.failed(nullptr, size);
    return fail();
}

} // namespace

void* malloc_slow(std::size_t size) noexcept {
    if (size > PTRDIFF_MAX)
        return fail_absurd(size);
    if (!enter())
        return fail();
    void* const block = size <= slab::kmalloc_max_bytes ? slab::alloc_slow(slab::class_of(size), size)
                                                        : slab::alloc_large(size, page_bytes).block;
    leave();
    return block;
}

void* malloc_medium(std::size_t size) noexcept {
    if (size <= slab::kmalloc_max_bytes) [[likely]]
        if (void* const block = slab::alloc_fast(slab::medium_bin_of(size))) [[likely]]
            return block;
    return malloc_slow(size);
}

void free_slow(void* block) noexcept {
    slab::free_slow(block);
    leave();
}

void free_rest(void* block) noexcept {
    const slab::cold_free how = slab::free_cold(block);
    if (how == slab::cold_free::done) [[likely]]
        return;
    if (how == slab::cold_free::told)
        leave(); // who allocates and frees the same few blocks makes no slow call else
    else if (block != nullptr)
        free_slow(block);
}

void* calloc_block(std::size_t count, std::size_t size) noexcept {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX)
        return fail_absurd(SIZE_MAX);
    if (bytes <= ALLOT_KMALLOC_MAX) { // above, fresh pages need no zeroing
        void* const block = malloc_block(bytes);
        return block != nullptr ? std::memset(block, 0, bytes) : nullptr;
    }
    if (!enter())
        return fail();
    const slab::fresh_block fresh = slab::alloc_large(bytes, page_bytes);
    leave();
    if (fresh.block != nullptr && !fresh.zeroed)
        std::memset(fresh.block, 0, bytes);
    return fresh.block;
}

void* aligned_block(std::size_t alignment, std::size_t size) noexcept {
    if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX)
        return fail_absurd(size);
    if (alignment <= 16)
        return malloc_block(size < alignment ? alignment : size);
    if (!enter())
        return fail();
    std::uint32_t index = slab::kmalloc_class_count;
    if (size <= slab::kmalloc_max_bytes && alignment <= page_bytes)
        for (index = slab::class_of(size > alignment ? size : alignment); index < slab::kmalloc_class_count; ++index)
            if (slab::class_bytes(index) % alignment == 0)
                break;
    if (index == slab::kmalloc_class_count) {
        void* const block = slab::alloc_large(size != 0 ? size : 1, alignment).block;
        leave();
        return block;
    }
    return malloc_block(slab::class_bytes(index));
}

void* place_block(const std::atomic<slab::cache_owner*>& owner, std::size_t size, std::size_t alignment) noexcept {
    if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX)
        return fail_absurd(size);
    if (!enter())
        return fail();
    void* const block = slab::alloc_for_place(owner, size != 0 ? size : 1, alignment != 0 ? alignment : 8).block;
    leave();
    return block;
}

void* group_block(slab::cache_owner& owner, std::size_t size, std::size_t alignment) noexcept {
    if (size <= slab::kmalloc_max_bytes && alignment <= 16 && enter() && !slab::nested()) [[likely]] {
        slab::heap* const previous = slab::enter_scope(owner);
        void* const block = malloc_block(size < alignment ? alignment : size);
        slab::leave_scope(previous);
        return block;
    }
    const std::atomic<slab::cache_owner*> named{&owner};
    return place_block(named, size, alignment);
}

namespace {

/// A block for whoever pays for `like`. The group is pinned while the allocation may reclaim.
void* block_like(const void* like, std::size_t size) noexcept {
    memcg::mem_cgroup* payer = nullptr;
    {
        sync::rcu_guard section;
        auto* const owner = static_cast<memcg::mem_cgroup*>(slab::payer_of(like));
        if (owner != nullptr && owner != &slab::current_owner() && memcg::tryget(*owner))
            payer = owner;
    }
    if (payer == nullptr)
        return malloc_block(size);
    void* const block = group_block(*payer, size, 0);
    memcg::put(*payer);
    return block;
}

} // namespace

void* realloc_block(void* block, std::size_t size) noexcept {
    if (block == nullptr)
        return malloc_block(size);
    if (size == 0) {
        free_block(block);
        return nullptr;
    }
    if (size > PTRDIFF_MAX)
        return fail_absurd(size);
    const std::size_t had = slab::usable_bytes(block);
    // Half empty is the point from which a smaller block pays.
    if (size <= had && (size >= had / 2 || had <= 64))
        return block;
    if (had > ALLOT_KMALLOC_MAX && size > ALLOT_KMALLOC_MAX && slab::resize_large(block, size))
        return block;
    void* const fresh = block_like(block, size);
    if (fresh == nullptr)
        return size <= had ? block : nullptr;
    std::memcpy(fresh, block, size < had ? size : had);
    free_block(block);
    return fresh;
}

} // namespace allot::front
