// SPDX-License-Identifier: MIT
//
// capi_memory: the memory part of allot.h.
//
// Idea.        Checks of arguments, then front/malloc.hpp.
// Concurrency. as allot.h says.
#include "base/bytes.hpp"
#include "front/malloc.hpp"

#include <cstring>

using namespace allot;
using namespace allot::front;

void* allot_malloc(size_t size) noexcept { return malloc_block(size); }
void* allot_calloc(size_t count, size_t size) noexcept { return calloc_block(count, size); }
void* allot_realloc(void* block, size_t size) noexcept { return realloc_block(block, size); }
void allot_free(void* block) noexcept { free_block(block); }

void* allot_aligned_alloc(size_t alignment, size_t size) noexcept {
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return nullptr;
    }
    return aligned_block(alignment, size);
}

size_t allot_usable_size(const void* block) noexcept { return block != nullptr ? slab::usable_bytes(block) : 0; }

bool allot_owns(const void* address) noexcept { return slab::arena_contains(address); }

allot_group* allot_owner_of(const void* block) noexcept {
    if (!enter())
        return nullptr;
    sync::rcu_guard section;
    auto* const owner = static_cast<memcg::mem_cgroup*>(slab::payer_of(block));
    return owner != nullptr && memcg::tryget(*owner) ? handle_of(owner) : nullptr;
}

void* allot_group_malloc(allot_group* group, size_t size, size_t alignment) noexcept {
    if (group == nullptr || (alignment != 0 && !is_power_of_two(alignment))) {
        errno = EINVAL;
        return nullptr;
    }
    return group_block(*group_from(group), size, alignment);
}

void* allot_group_front_place(allot_group* group) noexcept {
    return group != nullptr && enter() ? memcg::place_of(*group_from(group)) : nullptr;
}

void* allot_front_malloc(void* place, size_t size, size_t alignment) noexcept {
    if (alignment != 0 && !is_power_of_two(alignment)) {
        errno = EINVAL;
        return nullptr;
    }
    return place_block(static_cast<memcg::front_place*>(place)->owner, size, alignment);
}

bool allot_last_failure(allot_failure* failure) noexcept {
    if (sync::tls.slot == &sync::no_slot)
        return false;
    const slab::failure_record& last = slab::heaps_of(*sync::tls.slot).failure;
    if (!last.valid)
        return false;
    static_assert(sizeof failure->group == sizeof last.group);
    std::memcpy(failure->group, last.group, sizeof last.group);
    failure->usage = last.usage;
    failure->limit = last.limit;
    failure->request = last.request;
    return true;
}

size_t allot_failure_text(const allot_failure* failure, char* buffer, size_t size) noexcept {
    std::size_t length = 0;
    auto append = [&](const char* text) noexcept {
        for (; *text != '\0'; ++text, ++length)
            if (length + 1 < size)
                buffer[length] = *text;
    };
    auto append_bytes = [&](std::uint64_t bytes) noexcept {
        char text[base::bytes_text_size];
        base::format_bytes(text, sizeof text, bytes);
        append(text);
    };
    const bool by_limit = failure->group[0] != '\0';
    append(by_limit ? failure->group : "system");
    append(": out of memory: ");
    if (by_limit) {
        append_bytes(failure->usage);
        append(" of ");
        append_bytes(failure->limit);
        append(" in use, ");
    }
    append_bytes(failure->request);
    append(" asked");
    if (size != 0)
        buffer[length < size ? length : size - 1] = '\0';
    return length;
}
