// SPDX-License-Identifier: MIT
//
// metadata: pages of equal small objects under one lock.
//
// Idea.        A page's descriptor holds its free list and counts; pages with free objects are on a list a size.
// Concurrency. everything under metadata_lock.
// Lock order.  metadata > page_alloc.
#include "slab/metadata.hpp"

#include "counter/account.hpp"
#include "slab/page_alloc.hpp"
#include "sync/spinlock.hpp"

#include <bit>
#include <cstring>

namespace allot::slab {

namespace {

constexpr unsigned smallest_shift = 6;
constexpr std::size_t size_count = 7; // 64 .. 4096
constinit sync::spinlock metadata_lock{sync::lock_rank::metadata};
std::uint32_t partial[size_count] ALLOT_GUARDED_BY(metadata_lock) = {};

std::size_t size_index(std::size_t bytes) noexcept {
    const auto width = static_cast<unsigned>(std::bit_width(bytes - 1));
    return width <= smallest_shift ? 0 : width - smallest_shift;
}

void link_partial(slab& s, std::size_t index) noexcept ALLOT_REQUIRES(metadata_lock) {
    s.prev = 0;
    s.next = partial[index];
    if (s.next != 0)
        slab_at(s.next).prev = page_index(s);
    partial[index] = page_index(s);
}

void unlink_partial(slab& s, std::size_t index) noexcept ALLOT_REQUIRES(metadata_lock) {
    if (s.prev != 0)
        slab_at(s.prev).next = s.next;
    else
        partial[index] = s.next;
    if (s.next != 0)
        slab_at(s.next).prev = s.prev;
}

bool add_page(std::size_t index, counter::page_counter** over) noexcept ALLOT_REQUIRES(metadata_lock) {
    if (!counter::try_charge_pages(*counter::root_account, page_bytes, counter::charge_kind::metadata, over))
        return false;
    const page_run run = alloc_pages(0);
    if (run.first == nullptr) {
        counter::uncharge_pages(*counter::root_account, page_bytes, counter::charge_kind::metadata);
        return false;
    }
    slab& s = *run.first;
    set_pages(s, 1);
    const std::size_t bytes = std::size_t{1} << (index + smallest_shift);
    s.kind = slab_kind::metadata;
    s.order = 0;
    s.carved = static_cast<std::uint16_t>(page_bytes / bytes);
    s.object_bytes = static_cast<std::uint32_t>(bytes);
    s.free_list = 0;
    for (std::size_t at = page_bytes; at != 0; at -= bytes) {
        void* const object = start_of(s) + at - bytes;
        *static_cast<free_word*>(object) = s.free_list;
        s.free_list = in_front(object, s.free_list);
    }
    link_partial(s, index);
    return true;
}

} // namespace

void* metadata_alloc_raw(std::size_t bytes, counter::page_counter** over) noexcept {
    const std::size_t index = size_index(bytes);
    counter::page_counter* unasked = nullptr;
    sync::lock_guard hold(metadata_lock);
    if (partial[index] == 0 && !add_page(index, over != nullptr ? over : &unasked))
        return nullptr;
    slab& s = slab_at(partial[index]);
    void* const object = first_free(s.free_list);
    s.free_list = *static_cast<free_word*>(object);
    if (s.free_list == 0)
        unlink_partial(s, index);
    else
        fetch_object(first_free(s.free_list), s.object_bytes); // what was freed last, another processor may have freed
    return object;
}

void* metadata_alloc(std::size_t bytes, counter::page_counter** over) noexcept {
    void* const object = metadata_alloc_raw(bytes, over);
    return object != nullptr ? std::memset(object, 0, metadata_bytes(bytes)) : nullptr;
}

static void free_locked(void* object, std::size_t index) noexcept ALLOT_REQUIRES(metadata_lock) {
    slab& s = *slab_of(object);
    ALLOT_BUG_ON(s.kind != slab_kind::metadata);
    if (s.free_list == 0)
        link_partial(s, index);
    *static_cast<free_word*>(object) = s.free_list;
    s.free_list = in_front(object, s.free_list);
    // An empty page goes back, but for the last of its size, so that one object made and freed again does not bounce.
    if (!s.empty() || (s.prev == 0 && s.next == 0))
        return;
    unlink_partial(s, index);
    s.kind = slab_kind::none;
    counter::uncharge_pages(*counter::root_account, page_bytes, counter::charge_kind::metadata);
    free_pages(s, 1);
}

void metadata_free_all(void** objects, std::size_t count, std::size_t bytes) noexcept {
    const std::size_t index = size_index(bytes);
    sync::lock_guard hold(metadata_lock);
    for (std::size_t i = 0; i < count; ++i)
        free_locked(objects[i], index);
}

void metadata_free(void* object, std::size_t bytes) noexcept { metadata_free_all(&object, 1, bytes); }

sync::spinlock& metadata_guard() noexcept { return metadata_lock; }

std::size_t metadata_bytes(std::size_t bytes) noexcept {
    return std::size_t{1} << (size_index(bytes) + smallest_shift);
}

} // namespace allot::slab
