// SPDX-License-Identifier: MIT
//
// verify: the walk over the pages and the comparison.
//
// Idea.        See verify.hpp.
// Concurrency. everything stopped while it counts. All relaxed: nothing changes meanwhile.
// Lock order.  executor > tree > caches > registry > slot > metadata.
#include "observe/verify.hpp"

#include "group/mem_cgroup.hpp"
#include "platform/memory.hpp"
#include "slab/cache_lifecycle.hpp"
#include "slab/cold.hpp"
#include "slab/metadata.hpp"
#include "slab/page_alloc.hpp"
#include "slab/slab_ops.hpp"

#include <cerrno>
#include <cstdio>

namespace allot::observe {

namespace {

using counter::charge_kind;
using memcg::mem_cgroup;

struct shares {
    std::int64_t kind[counter::charge_kind_count];
};

struct recount {
    allot_verify_report& report;
    shares* found;       // by group id
    std::uint64_t* refs; // references on each obj_cgroup that were found, by its id; null without memory for it

    void note_reference(std::uint32_t id) noexcept {
        if (refs != nullptr)
            ++refs[id];
    }
    shares& of(const slab::cache_owner& owner) noexcept { return found[owner.record->id]; }
    void add(const slab::cache_owner& owner, charge_kind kind, std::uint64_t bytes_found) noexcept {
        of(owner).kind[static_cast<std::size_t>(kind)] += static_cast<std::int64_t>(bytes_found);
    }
    /// An object in pages that the root has paid for.
    void move(const slab::cache_owner& owner, charge_kind kind, std::uint64_t bytes_found) noexcept {
        add(owner, kind, bytes_found);
        of(*slab::root_owner).kind[static_cast<std::size_t>(kind)] -= static_cast<std::int64_t>(bytes_found);
    }
    void error(const char* what, const char* name, std::int64_t is, std::int64_t expected) noexcept {
        if (report.errors++ == 0)
            std::snprintf(report.first_error, sizeof report.first_error, "%s of %s: counter %lld, recount %lld", what,
                          name, static_cast<long long>(is), static_cast<long long>(expected));
    }
};

std::uint64_t count_free(const slab::slab& s) noexcept {
    std::uint64_t count = 0;
    for (slab::free_word list = s.free_list; list != 0 && count <= s.capacity; ++count)
        list = slab::behind_first(s, list);
    return count;
}

/// Blocks that live: handed out and neither on the free list nor on the remote one.
std::uint64_t live_blocks(const slab::slab& s) noexcept {
    const std::uint64_t word = slab::remote_of(s).word.load(std::memory_order_relaxed);
    return s.live() - slab::remote_count(word);
}

bool belongs_in(const slab::slab& s, const void* block, const slab::bin& b) noexcept {
    if (!slab::is_cold(b))
        return s.kind == slab::slab_kind::owned && slab::page_tag_of(block).value == b.tag;
    return s.kind == slab::slab_kind::shared &&
           b.tag == slab::cold_tag(slab::owner_ids(s)[slab::object_index(s, s.cache->shape, block)].load(
                        std::memory_order_relaxed));
}

/// Blocks in bins were counted as such that live.
void count_bins(recount& all, const slab::heap& h) noexcept {
    for (std::uint32_t i = 0; i < h.capacity; ++i) {
        const slab::bin& b = h.bins[i];
        std::uint32_t found = 0;
        for (slab::free_word list = b.free; list != 0 && found <= slab::free_count(b.free); ++found) {
            const void* const block = slab::first_free(list);
            const slab::slab& s = *slab::slab_of(block);
            if (!belongs_in(s, block, b))
                all.error("block in a bin", "another cache", s.object_bytes, static_cast<std::int64_t>(i));
            list = *static_cast<const slab::free_word*>(block);
        }
        if (found != slab::free_count(b.free))
            all.error("blocks in a bin", slab::root_cache_at(i)->name, slab::free_count(b.free), found);
        all.report.objects -= found;
    }
}

void count_all_bins(recount& all) noexcept {
    for (std::uint32_t i = 1; i < sync::slots_used(); ++i) {
        slab::thread_heaps& heaps = slab::heaps_of(sync::slot_at(i));
        count_bins(all, heaps.root);
        for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
            count_bins(all, *h);
    }
}

void check_slab(recount& all, slab::slab& s) noexcept {
    ++all.report.slabs;
    all.report.objects += live_blocks(s);
    const std::uint64_t found = count_free(s);
    const std::uint32_t counted = slab::free_count(s.free_list);
    if (found != counted || counted > s.carved || s.carved > s.capacity)
        all.error("blocks in a slab", s.cache->name, counted, static_cast<std::int64_t>(found));
}

void count_shared(recount& all, slab::slab& s) noexcept {
    all.add(*slab::root_owner, charge_kind::shared, slab_bytes(s));
    std::uint64_t owned = 0;
    for (std::uint32_t i = 0; i < s.capacity; ++i) {
        const std::uint32_t id = slab::owner_ids(s)[i].load(std::memory_order_relaxed);
        if (id == 0)
            continue;
        ++owned;
        all.note_reference(id);
        const slab::obj_cgroup& owner = slab::obj_cgroup_of(id);
        const slab::cache_owner& payer = *owner.payer.load(std::memory_order_relaxed);
        if (owner.discarded.load(std::memory_order_relaxed))
            --all.report.objects; // counted above; nobody has it any more
        else if (&payer != slab::root_owner)
            all.move(payer, charge_kind::shared, s.object_bytes);
    }
    if (owned != live_blocks(s))
        all.error("owners in a shared slab", s.cache->name, static_cast<std::int64_t>(owned),
                  static_cast<std::int64_t>(live_blocks(s)));
}

/// Counts what begins at this page and returns its length in pages.
std::size_t count_page(recount& all, slab::slab& s) noexcept {
    switch (slab::slab_kind{s.kind}) {
    case slab::slab_kind::owned:
        check_slab(all, s);
        all.add(*s.cache->payer.load(std::memory_order_relaxed), slab::kind_of_charge(*s.cache, s.kind), slab_bytes(s));
        return s.pages;
    case slab::slab_kind::shared:
        check_slab(all, s);
        count_shared(all, s);
        return s.pages;
    case slab::slab_kind::large:
        ++all.report.objects;
        all.note_reference(s.payer->id);
        all.add(*s.payer->payer.load(std::memory_order_relaxed), charge_kind::large, slab_bytes(s));
        return s.pages;
    case slab::slab_kind::metadata:
    case slab::slab_kind::reserve:
        all.add(*slab::root_owner, charge_kind::metadata, slab_bytes(s));
        return s.pages;
    case slab::slab_kind::free_block:
        return std::size_t{1} << s.order;
    case slab::slab_kind::none:
        break;
    }
    return 1;
}

/// Who pays for what was the group's: its nearest ancestor that is not going itself.
const mem_cgroup& heir_of(const mem_cgroup& group) noexcept {
    const mem_cgroup* heir = group.parent_group();
    while (heir->deactivated)
        heir = heir->parent_group();
    return *heir;
}

void count_group_memory(recount& all, mem_cgroup& group) noexcept {
    if (&group != memcg::root_group) {
        const mem_cgroup& payer = heir_of(group);
        if (&payer != memcg::root_group)
            all.move(payer, charge_kind::metadata, slab::metadata_bytes(sizeof(mem_cgroup)));
        // Between the two halves of going offline its own share still stands here, and what it stands for was found at the heir;
        // shared objects that were made while the group was discarded, at the root.
        for (std::size_t kind = 0; kind < counter::charge_kind_count; ++kind) {
            const bool at_root = group.discarded && kind == static_cast<std::size_t>(charge_kind::shared);
            if (!group.deactivated && !at_root)
                continue;
            const std::int64_t bytes = group.record->local[kind].load(std::memory_order_relaxed);
            all.of(at_root ? *memcg::root_group : payer).kind[kind] -= bytes;
            all.of(group).kind[kind] += bytes;
        }
    }
    group.children.for_each([&](mem_cgroup& child) noexcept { count_group_memory(all, child); });
    group.dying.for_each([&](mem_cgroup& child) noexcept { count_group_memory(all, child); });
}

/// Has every heap tell what it has put together.
void settle_heaps() noexcept {
    for (std::uint32_t i = 1; i < sync::slots_used(); ++i) {
        slab::thread_heaps& heaps = slab::heaps_of(sync::slot_at(i));
        slab::settle_cold(heaps.root);
        for (slab::heap* h = heaps.all.front(); h != nullptr; h = heaps.all.next(*h))
            slab::settle_cold(*h);
    }
}

/// Owners have at least the references that were found; external charges hold more.
void compare_owners(recount& all, mem_cgroup& group) noexcept {
    group.owners.for_each([&](slab::obj_cgroup& owner) noexcept {
        const std::uint64_t own = &owner == group.objects ? slab::obj_cgroup::own_refs : 0;
        const std::uint64_t is = owner.refs.load(std::memory_order_relaxed);
        if (is < all.refs[owner.id] + own)
            all.error("references on an owner", group.name(), static_cast<std::int64_t>(is),
                      static_cast<std::int64_t>(all.refs[owner.id] + own));
    });
}

/// Compares the counts of children and of the dying; returns the count of closed groups in the subtree.
std::int64_t compare_counts(recount& all, mem_cgroup& group) noexcept {
    std::int64_t children = 0;
    std::int64_t dying = 0;
    group.children.for_each([&](mem_cgroup& child) noexcept {
        ++children;
        dying += compare_counts(all, child);
    });
    group.dying.for_each([&](mem_cgroup& child) noexcept { dying += 1 + compare_counts(all, child); });
    if (children != group.nr_children)
        all.error("count of children", group.name(), group.nr_children, children);
    const std::int64_t is = group.nr_dying.load(std::memory_order_relaxed);
    if (dying != is)
        all.error("count of the dying", group.name(), is, dying);
    if (all.refs != nullptr)
        compare_owners(all, group);
    return dying;
}

/// A cache has a reference for each slab and each child, and one while it takes allocations. Returns its slabs.
std::uint64_t compare_cache(recount& all, slab::kmem_cache& cache) noexcept {
    std::uint64_t children = 0;
    std::uint64_t slabs = cache.nr_slabs.load(std::memory_order_relaxed);
    const std::uint64_t own = slabs;
    cache.children.for_each([&](slab::kmem_cache& child) noexcept {
        ++children;
        slabs += compare_cache(all, child);
    });
    const std::uint64_t refs = cache.refs.load(std::memory_order_relaxed);
    const bool is_live = cache.is_root() && cache.gate.life() == slab::cache_life::live;
    if (refs < own + children || (is_live && refs == own + children))
        all.error("references on cache", cache.name, static_cast<std::int64_t>(refs),
                  static_cast<std::int64_t>(own + children + (is_live ? 1 : 0)));
    return slabs;
}

void compare_caches(recount& all) noexcept {
    std::uint64_t slabs = 0;
    for (std::uint32_t i = 0; i < slab::cache_count_max; ++i)
        if (slab::kmem_cache* const cache = slab::root_cache_at(i))
            slabs += compare_cache(all, *cache);
    if (slabs != all.report.slabs)
        all.error("slabs", "all caches", static_cast<std::int64_t>(slabs), static_cast<std::int64_t>(all.report.slabs));
}

/// Compares one subtree; returns the sum of its own shares.
std::int64_t compare(recount& all, mem_cgroup& group) noexcept {
    static constexpr const char* names[] = {"slab bytes", "shared bytes", "large bytes", "external bytes",
                                            "metadata bytes"};
    ++all.report.groups;
    for (std::size_t kind = 0; kind < counter::charge_kind_count; ++kind) {
        const std::int64_t is = group.record->local[kind].load(std::memory_order_relaxed);
        // External charges live outside; they are taken as they stand and only have to add up.
        const bool external = kind == static_cast<std::size_t>(charge_kind::external);
        const std::int64_t expected = external ? is : all.of(group).kind[kind];
        if (is != expected)
            all.error(names[kind], group.name(), is, expected);
    }
    std::int64_t sum = counter::local_bytes(group);
    group.children.for_each([&](mem_cgroup& child) noexcept { sum += compare(all, child); });
    group.dying.for_each([&](mem_cgroup& child) noexcept { sum += compare(all, child); });
    const auto usage = static_cast<std::int64_t>(group.counter().usage.load(std::memory_order_relaxed));
    if (group.online.load(std::memory_order_relaxed) && usage != sum)
        all.error("usage", group.name(), usage, sum);
    return sum;
}

std::int64_t external_bytes(mem_cgroup& group) noexcept {
    std::int64_t sum =
        group.record->local[static_cast<std::size_t>(charge_kind::external)].load(std::memory_order_relaxed);
    group.children.for_each([&](mem_cgroup& child) noexcept { sum += external_bytes(child); });
    group.dying.for_each([&](mem_cgroup& child) noexcept { sum += external_bytes(child); });
    return sum;
}

void count_everything(recount& all) noexcept {
    const auto end = static_cast<std::uint32_t>(slab::pages_committed());
    for (std::uint32_t page = 1; page < end;)
        page += static_cast<std::uint32_t>(count_page(all, slab::slab_at(page)));
    count_all_bins(all);
    count_group_memory(all, *memcg::root_group);
    compare(all, *memcg::root_group);
    compare_counts(all, *memcg::root_group);
    compare_caches(all);
    const auto usage = static_cast<std::int64_t>(memcg::root_group->counter().usage.load(std::memory_order_relaxed));
    const std::int64_t charged = usage - external_bytes(*memcg::root_group);
    const auto pages = static_cast<std::int64_t>(slab::pages_handed_out() * page_bytes);
    all.report.charged_bytes = static_cast<std::uint64_t>(charged);
    all.report.pages_bytes = static_cast<std::uint64_t>(pages);
    if (charged != pages)
        all.error("pages handed out and charges", "/", charged, pages);
}

void run(void* data) noexcept ALLOT_NO_TSA {
    memcg::tree_lock().lock();
    slab::caches_lock().lock();
    slab::stop_world();
    slab::metadata_guard().lock();
    settle_heaps();
    count_everything(*static_cast<recount*>(data));
    slab::metadata_guard().unlock();
    slab::resume_world();
    slab::caches_lock().unlock();
    memcg::tree_lock().unlock();
}

} // namespace

int verify(allot_verify_report& report) noexcept {
    report = allot_verify_report{};
    constexpr std::size_t share_bytes = sizeof(shares) * ALLOT_STAT_CAPACITY;
    constexpr std::size_t ref_bytes = sizeof(std::uint64_t) * slab::obj_cgroup_count_max;
    recount all{report, static_cast<shares*>(platform::map(share_bytes)),
                static_cast<std::uint64_t*>(platform::map(ref_bytes))};
    const bool has_room = all.found != nullptr;
    if (has_room) {
        sync::run_exclusive(run, &all);
        platform::unmap(all.found, share_bytes);
    }
    if (all.refs != nullptr)
        platform::unmap(all.refs, ref_bytes);
    if (!has_room)
        return -ENOMEM;
    return report.errors == 0 ? 0 : -EIO;
}

} // namespace allot::observe
