// SPDX-License-Identifier: MIT
//
// alloc: the slow half of allocation.
//
// Idea.        try_*: one attempt with the slot held. Around it, with nothing held: reclaim and try again, or report.
//
//              alloc_slow -> try_alloc -> alloc_owned (the group has a child cache: a slab of its own)
//                         |            `-> alloc_cold -> shared slab, object charged; or a run of pages
//                         `-> hooks.reclaim, hooks.failed
//
// Concurrency. the calling thread; slot held inside try_*.
// Lock order.  slot > node > page_alloc.
#include "slab/alloc.hpp"

#include "slab/bins.hpp"
#include "slab/cold.hpp"
#include "slab/discard.hpp"
#include "slab/obj_cgroup.hpp"
#include "slab/page_alloc.hpp"
#include "slab/slab_ops.hpp"

#include <cerrno>
#include <cstring>

namespace allot::slab {

namespace {

constexpr unsigned reclaim_retries_max = 16;

/// True if a cold object of the cache is a run of pages. Typed caches know all their objects, so theirs never are.
bool is_run(const kmem_cache& cache) noexcept {
    return cache.shape.index < kmalloc_class_count && cache.shape.object_bytes > shared_object_max_bytes;
}

fresh_block alloc_run_for(cache_owner& owner, std::size_t bytes, std::size_t alignment, shortage* why) noexcept {
    const std::size_t pages = (bytes + page_bytes - 1) / page_bytes;
    why->wanted = pages * page_bytes;
    why->over = nullptr;
    if (pages > arena.bytes / page_bytes ||
        !counter::try_charge_pages(owner, pages * page_bytes, counter::charge_kind::large, &why->over))
        return {};
    const page_run run = alloc_run(pages, alignment > page_bytes ? alignment / page_bytes : 1);
    if (run.first == nullptr) {
        counter::uncharge_pages(owner, pages * page_bytes, counter::charge_kind::large);
        return {};
    }
    slab& s = *run.first;
    set_pages(s, pages);
    s.free_list = 0;
    s.object_bytes = 0;
    s.payer = owner.objects;
    s.home = nullptr;
    s.capacity = s.carved = 0;
    s.order = 0;
    s.place = slab_place::none;
    s.kind = slab_kind::large;
    if (!owner.objects->had_runs.load(std::memory_order_relaxed))       // relaxed: who asks has waited for the slot
        owner.objects->had_runs.store(true, std::memory_order_relaxed); // relaxed: as above
    link_run(*owner.objects, s);
    obj_cgroup_get(*owner.objects);
    owner.counter().allocations.fetch_add(1, std::memory_order_relaxed); // relaxed: statistics
    return {start_of(s), run.zeroed};
}

/// Gives a block of a shared slab, already charged to the heap's group, its owner.
void* hand_over(slab& s, heap& h, void* block) noexcept {
    const cache_shape& shape = s.cache->shape;
    tally_cold(h, 1, shape.object_bytes);
    ++h.allocations;
    // relaxed: handing the block over orders it.
    owner_ids(s)[object_index(s, shape, block)].store(h.owner->objects->id, std::memory_order_relaxed);
    debug_on_alloc(s, block);
    return block;
}

void* alloc_from_cold_bin(heap& shared, heap& h, kmem_cache& cache, bin& b, counter::page_counter** over) noexcept {
    if (b.free == 0)
        return take_cold(shared, h, cache, b, over);
    void* const block = take_from(b);
    ++h.allocations;
    debug_on_alloc(*slab_of(block), block);
    return block;
}

/// One block, charged by itself, for heaps without a bin for it.
void* alloc_one_shared(heap& shared, heap& h, kmem_cache& cache, shortage* why) noexcept {
    const std::uint32_t bytes = cache.shape.object_bytes;
    why->wanted = bytes;
    why->over = nullptr;
    note_cold(*h.owner, cache, 1);
    if (!counter::try_charge_usage(*h.owner, bytes, &why->over))
        return nullptr;
    if (void* const block = refill(shared, cache, why))
        return hand_over(*slab_of(block), h, block);
    counter::uncharge_usage(*h.owner, bytes);
    return nullptr;
}

void* alloc_shared(heap& shared, heap& h, kmem_cache& cache, shortage* why) noexcept {
    publish_allocations(h);
    bin* const b = cold_bin(h, cache, true);
    if (b == nullptr)
        return alloc_one_shared(shared, h, cache, why);
    why->wanted = cache.shape.object_bytes;
    why->over = nullptr;
    if (b->free == 0 && !provide(shared, cache, why))
        return nullptr;
    return alloc_from_cold_bin(shared, h, cache, *b, &why->over);
}

/// A cold allocation inside an open section, from what the thread's shared heap has. Null: take the slow path.
void* alloc_shared_in_section(own_section& here, heap& shared, heap& h, kmem_cache& cache) noexcept {
    const cache_shape& shape = cache.shape;
    counter::page_counter* over = nullptr;
    if (is_run(cache))
        return nullptr;
    if (has_cold_bins(shape)) {
        bin* const b = cold_bin(h, cache, false);
        if (b == nullptr)
            return nullptr;
        here.use(h.fast);
        return alloc_from_cold_bin(shared, h, cache, *b, &over);
    }
    if (!counter::try_charge_usage(*h.owner, shape.object_bytes, &over))
        return nullptr;
    if (void* const block = next_block(shared, shape.index)) {
        note_cold(*h.owner, cache, 1);
        return hand_over(*slab_of(block), h, block);
    }
    counter::uncharge_usage(*h.owner, shape.object_bytes);
    return nullptr;
}

/// A block from what the thread has already, without a lock: inside a section that found the fast path open. Null: slow path.
void* alloc_in_section(std::uint32_t index) noexcept {
    own_section here;
    if (!here.is_open())
        return nullptr;
    auto& tls = sync::tls;
    auto* const h = static_cast<heap*>(tls.heap);
    // A group that is closed from here on is swept after this section.
    if (!counter::is_online(*h->owner))
        return nullptr;
    publish_allocations(*h);
    if (h->partial != nullptr && index < h->capacity && !is_cold(h->bins[index]))
        if (void* const block = next_block(*h, index)) {
            ++h->allocations;
            debug_on_alloc(*slab_of(block), block);
            return block;
        }
    if (child_of(*h->owner, index) != nullptr)
        return nullptr;
    return alloc_shared_in_section(here, heaps_of(*tls.slot).shared, *h, *root_cache_at(index));
}

void* alloc_owned(heap& h, kmem_cache& cache, shortage* why) noexcept {
    why->over = nullptr;
    why->wanted = cache.shape.object_bytes;
    if (!ensure_tables(h, cache.shape.index, &why->over))
        return nullptr;
    publish_allocations(h);
    open_bin(h, cache);
    void* const block = refill(h, cache, why);
    if (block == nullptr)
        return nullptr;
    ++h.allocations;
    debug_on_alloc(*slab_of(block), block);
    return block;
}

/// The child, for who holds a slot: the sweep of a removal waits for the slot, and so keeps the child. The array that it is found in
/// is only kept by a section.
kmem_cache* child_under_slot(const cache_owner& owner, std::uint32_t index) noexcept {
    sync::rcu_guard section;
    return child_of(owner, index);
}

/// One attempt for the cache with `index` and the heap's group; a run has room for `request` bytes.
void* try_cache(thread_heaps& heaps, heap& h, std::uint32_t index, std::size_t request, shortage* why) noexcept {
    if (kmem_cache* const child = child_under_slot(*h.owner, index))
        return alloc_owned(h, *child, why);
    kmem_cache& root = *root_cache_at(index);
    if (is_run(root)) {
        note_cold(*h.owner, root, 1);
        return alloc_run_for(*h.owner, request, page_bytes, why).block;
    }
    return alloc_shared(heaps.shared, h, root, why);
}

/// Keeps the memory that is free and resident small beside what was taken. No slot held.
void repay() noexcept {
    if (!pages_are_owed()) [[likely]]
        return;
    cold_section here; // as in purge(): fork waits for the slot's lock
    repay_pages();
}

/// Calls `attempt(section, heap, &why)` until it gives a block or reclaim gives up.
template <class F> fresh_block with_reclaim(std::size_t request, F&& attempt) noexcept {
    for (unsigned round = 0;; ++round) {
        shortage why;
        fresh_block made;
        {
            cold_section here;
            drain_queue(here.slot());
            made = attempt(here, &why);
        }
        if (made.block != nullptr) {
            repay();
            return made;
        }
        if (why.over == nullptr && round == 0) {
            // The system has no memory: what other threads hold for later may do.
            hooks.reclaim(root_owner->counter(), why.wanted, round);
            continue;
        }
        if (why.over == nullptr || round == reclaim_retries_max || !hooks.reclaim(*why.over, why.wanted, round)) {
            hooks.failed(why.over, request);
            errno = ENOMEM;
            return {};
        }
    }
}

/// Cache whose objects are multiples of `alignment`, or kmalloc_class_count if only a run of pages will do.
std::uint32_t class_for(std::size_t bytes, std::size_t alignment) noexcept {
    if (bytes > kmalloc_max_bytes || alignment > page_bytes)
        return kmalloc_class_count;
    std::uint32_t index = class_of(bytes > alignment ? bytes : alignment);
    while (index < kmalloc_class_count && class_bytes(index) % alignment != 0)
        ++index;
    return index;
}

} // namespace

void* alloc_slow(std::uint32_t index, std::size_t request) noexcept {
    if (void* const block = alloc_in_section(index))
        return block;
    if (nested()) {
        void* const block = request <= kmalloc_max_bytes ? reserve_alloc(request) : nullptr;
        if (block == nullptr)
            errno = ENOMEM;
        return block;
    }
    return with_reclaim(request,
                        [&](cold_section& here, shortage* why) noexcept -> fresh_block {
                            heap* const h = effective_heap(here.slot(), &why->over);
                            return {h != nullptr ? try_cache(here.heaps(), *h, index, request, why) : nullptr, false};
                        })
        .block;
}

fresh_block alloc_large(std::size_t bytes, std::size_t alignment) noexcept {
    if (nested()) {
        errno = ENOMEM;
        return {};
    }
    return with_reclaim(bytes, [&](cold_section& here, shortage* why) noexcept -> fresh_block {
        heap* const h = effective_heap(here.slot(), &why->over);
        if (h == nullptr)
            return {};
        release_large_idle(*h, kmalloc_class_count, bytes);
        return alloc_run_for(*h->owner, bytes, alignment, why);
    });
}

fresh_block alloc_for_place(const std::atomic<cache_owner*>& owner, std::size_t bytes, std::size_t alignment) noexcept {
    if (nested()) {
        errno = ENOMEM;
        return {};
    }
    const std::uint32_t index = class_for(bytes, alignment);
    return with_reclaim(bytes, [&](cold_section& here, shortage* why) noexcept -> fresh_block {
        // With the slot held, the group is not freed under us.
        cache_owner& named = load_payer(owner);
        auto& payer = static_cast<cache_owner&>(counter::nearest_online(named));
        if (index == kmalloc_class_count)
            return alloc_run_for(payer, bytes, alignment, why);
        heap* const h = find_or_make_heap(here.slot(), payer, &why->over);
        return {h != nullptr ? try_cache(here.heaps(), *h, index, bytes, why) : nullptr, false};
    });
}

/// Takes the pages behind a run, if they are free and its payer may have them.
static bool grow_large(slab& s, std::size_t pages) noexcept {
    const std::size_t had = s.pages;
    const std::size_t more = (pages - had) * page_bytes;
    cold_section here;
    sync::rcu_guard section;
    cache_owner& payer = s.payer->load_payer();
    // The pages first: a charge that is taken back leaves its mark on the peak.
    if (!counter::is_online(payer) || !extend_run(s, had, pages))
        return false;
    counter::page_counter* over = nullptr;
    if (!counter::try_charge_pages(payer, more, counter::charge_kind::large, &over)) {
        free_pages(slab_at(page_index(s) + static_cast<std::uint32_t>(had)), pages - had);
        return false;
    }
    set_pages(s, pages);
    return true;
}

bool resize_large(void* block, std::size_t bytes) noexcept {
    slab& s = *slab_of(block);
    const std::size_t pages = (bytes + page_bytes - 1) / page_bytes;
    const std::size_t had = s.pages;
    if (s.kind != slab_kind::large || nested())
        return false;
    if (pages == had)
        return true;
    if (pages > had) {
        const bool grown = grow_large(s, pages);
        repay();
        return grown;
    }
    cold_section here;
    sync::rcu_guard section;
    cache_owner& payer = s.payer->load_payer();
    s.pages = static_cast<std::uint32_t>(pages);
    counter::uncharge_pages(payer, (had - pages) * page_bytes, counter::charge_kind::large);
    slab& rest = slab_at(page_index(s) + static_cast<std::uint32_t>(pages));
    rest.kind = slab_kind::none;
    free_pages(rest, had - pages);
    return true;
}

std::size_t usable_bytes(const void* block) noexcept {
    if (const page_tag tag = page_tag_of(block); tag.value != 0)
        return root_cache_at(tag.bin_offset >> bin_shift)->shape.user_bytes;
    slab& s = *slab_of(block);
    switch (slab_kind{s.kind}) {
    case slab_kind::owned:
    case slab_kind::shared:
        return s.cache->shape.user_bytes;
    case slab_kind::large:
        return slab_bytes(s);
    case slab_kind::reserve:
        return s.object_bytes;
    default:
        base::bug_object("size of an address that is no live block", block, "?", "?");
    }
}

cache_owner* payer_of(const void* block) noexcept {
    if (!arena_contains(block))
        return nullptr;
    slab& s = *slab_of(block);
    switch (slab_kind{s.kind}) {
    case slab_kind::owned:
        return &load_payer(s.cache->payer);
    case slab_kind::large:
        return &s.payer->load_payer();
    case slab_kind::shared: {
        // relaxed: the caller was handed the live block.
        const std::uint32_t id = owner_ids(s)[object_index(s, s.cache->shape, block)].load(std::memory_order_relaxed);
        return id == 0 ? nullptr : &obj_cgroup_of(id).load_payer();
    }
    case slab_kind::reserve:
        return root_owner;
    default:
        return nullptr;
    }
}

} // namespace allot::slab
