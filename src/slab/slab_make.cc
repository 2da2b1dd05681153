// SPDX-License-Identifier: MIT
//
// slab_make: slabs out of pages, and pages out of slabs.
//
// Idea.        See slab_ops.hpp. Order growth: the first slabs of a cache are small, so that many small groups stay small. A cache that
//              has many gets the pages of the next one in a call, not in a fault each.
// Concurrency. slot held.
// Lock order.  slot > page_alloc.
// Checked by.  test/slab/slab_test.cc
#include "platform/memory.hpp"
#include "slab/debug.hpp"
#include "slab/page_alloc.hpp"
#include "slab/slab_ops.hpp"
#include "sync/test_point.hpp"

#include <bit>
#include <cstring>

namespace allot::slab {

namespace {

std::uint16_t capacity_of(const kmem_cache& cache, std::size_t pages, slab_kind kind) noexcept {
    const std::size_t each = cache.shape.object_bytes + (kind == slab_kind::shared ? sizeof(std::uint32_t) : 0);
    return static_cast<std::uint16_t>(pages * page_bytes / each);
}

bool charge_slab(kmem_cache& cache, std::size_t pages, slab_kind kind, shortage* why) noexcept {
    sync::rcu_guard section;
    cache_owner& payer = load_payer(cache.payer);
    ALLOT_TEST_POINT("charge_slab:payer_read");
    why->wanted = pages * page_bytes;
    why->over = nullptr;
    return counter::try_charge_pages(payer, pages * page_bytes, kind_of_charge(cache, kind), &why->over);
}

void uncharge_slab(kmem_cache& cache, std::size_t pages, slab_kind kind) noexcept {
    sync::rcu_guard section;
    cache_owner& payer = load_payer(cache.payer);
    ALLOT_TEST_POINT("uncharge_slab:payer_read");
    counter::uncharge_pages(payer, pages * page_bytes, kind_of_charge(cache, kind));
}

page_run take_pages(page_stash& stash, const kmem_cache& cache, std::size_t pages) noexcept {
    return cache.shape.pages != 0 ? alloc_run(pages, 1)
                                  : alloc_pages(stash, static_cast<unsigned>(std::countr_zero(pages)));
}

void give_pages(page_stash& stash, const kmem_cache& cache, slab& s) noexcept {
    if (cache.shape.pages != 0)
        free_pages(s, s.pages);
    else
        free_pages(stash, s, static_cast<unsigned>(std::countr_zero(s.pages)));
}

void init_slab(slab& s, kmem_cache& cache, std::size_t pages, slab_kind kind) noexcept {
    set_pages(s, pages, page_tag_for(cache));
    s.free_list = 0;
    s.kept = false;
    s.object_bytes = cache.shape.object_bytes;
    s.cache = &cache;
    s.home = nullptr;
    s.next = s.prev = 0;
    s.capacity = capacity_of(cache, pages, kind);
    s.carved = 0;
    s.place = slab_place::none;
    s.kind = kind;
    // relaxed: no block of the slab is known to anybody yet; handing one over orders it.
    remote_of(s).word.store(0, std::memory_order_relaxed);
    if (kind == slab_kind::shared)
        std::memset(static_cast<void*>(owner_ids(s)), 0, s.capacity * sizeof(std::uint32_t));
}

/// A cache that has so many slabs will fill the next one soon, too.
constexpr std::uint32_t populate_after = 32;

/// Has the pages of a new slab come in one call if all of them will be touched soon.
void populate_slab(const page_run& run, const kmem_cache& cache, std::size_t pages) noexcept {
    if (run.zeroed && pages == std::size_t{1} << slab_order_max && cache.shape.object_bytes <= page_bytes &&
        cache.nr_slabs.load(std::memory_order_relaxed) >= populate_after) // relaxed: a hint
        platform::populate(start_of(*run.first), pages * page_bytes);
}

void construct_objects(slab& s) noexcept {
    if (s.cache->shape.constructor == nullptr)
        return;
    for (std::uint32_t i = 0; i < s.capacity; ++i)
        s.cache->shape.constructor(start_of(s) + std::size_t{i} * s.object_bytes);
}

} // namespace

std::size_t pages_for(const kmem_cache& cache) noexcept {
    if (cache.shape.pages != 0)
        return cache.shape.pages;
    // relaxed: a hint for the size of the next slab.
    const std::uint32_t slabs = cache.nr_slabs.load(std::memory_order_relaxed);
    unsigned order = cache.shape.order_min;
    for (std::uint32_t step = 2; step <= slabs && order < slab_order_max; step *= 2)
        ++order;
    return std::size_t{1} << order;
}

std::size_t pages_min(const kmem_cache& cache) noexcept {
    return cache.shape.pages != 0 ? cache.shape.pages : std::size_t{1} << cache.shape.order_min;
}

slab* new_slab_of(heap& h, kmem_cache& cache, std::size_t pages, shortage* why) noexcept {
    const slab_kind kind = cache.is_root() ? slab_kind::shared : slab_kind::owned;
    if (!charge_slab(cache, pages, kind, why))
        return nullptr;
    const page_run run = take_pages(heaps_of(*h.slot).stash, cache, pages);
    if (run.first == nullptr) {
        uncharge_slab(cache, pages, kind);
        why->over = nullptr;
        return nullptr;
    }
    populate_slab(run, cache, pages);
    slab& s = *run.first;
    init_slab(s, cache, pages, kind);
    construct_objects(s);
    debug_new_slab(s);
    // relaxed: the caller holds the cache alive (its entry in the array, or the root cache).
    cache.refs.fetch_add(1, std::memory_order_relaxed);
    cache.nr_slabs.fetch_add(1, std::memory_order_relaxed);     // relaxed: a hint and a statistic
    cache.nr_pages.fetch_add(pages, std::memory_order_relaxed); // relaxed: a statistic
    s.home = &h;
    // relaxed: as in init_slab.
    remote_of(s).word.store(remote_frozen | std::uint64_t{h.slot->index} << remote_slot_shift,
                            std::memory_order_relaxed);
    ++h.nr_slabs;
    return &s;
}

void give_back_slab(sync::thread_slot& slot, slab& s) noexcept {
    kmem_cache& cache = *s.cache;
    const std::size_t pages = s.pages;
    const slab_kind kind = s.kind;
    s.kind = slab_kind::none;
    clear_tags(s);
    s.capacity = 0;
    s.cache = nullptr;
    uncharge_slab(cache, pages, kind);
    give_pages(heaps_of(slot).stash, cache, s);
    cache.nr_slabs.fetch_sub(1, std::memory_order_relaxed);     // relaxed: a hint and a statistic
    cache.nr_pages.fetch_sub(pages, std::memory_order_relaxed); // relaxed: a statistic
    put_cache(cache);
}

} // namespace allot::slab
