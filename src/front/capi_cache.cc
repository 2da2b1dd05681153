// SPDX-License-Identifier: MIT
//
// capi_cache: typed caches and external charges of allot.h.
//
// Idea.        A handle is the root cache. A charge pins an obj_cgroup, never a group, so that a group may go while memory is
//              charged to it.
// Concurrency. as allot.h says. Charges change under the slot's lock, so that verify sees none half done.
#include "front/malloc.hpp"
#include "slab/cache_lifecycle.hpp"

#include <cstring>

using namespace allot;
using namespace allot::front;

namespace {

slab::kmem_cache& cache_from(allot_cache* cache) noexcept { return *reinterpret_cast<slab::kmem_cache*>(cache); }
slab::obj_cgroup& payer_from(const allot_charge& charge) noexcept {
    return *static_cast<slab::obj_cgroup*>(charge.owner);
}

/// Charges the owner of `payer`, or uncharges it. Errors: false, with `*over` set.
bool charge_external(slab::obj_cgroup& payer, std::uint64_t bytes, counter::page_counter** over) noexcept {
    slab::cold_section here;
    sync::rcu_guard section;
    slab::cache_owner& owner = payer.load_payer();
    return counter::try_charge_pages(owner, bytes, counter::charge_kind::external, over);
}

void uncharge_external(slab::obj_cgroup& payer, std::uint64_t bytes) noexcept {
    slab::cold_section here;
    sync::rcu_guard section;
    slab::cache_owner& owner = payer.load_payer();
    counter::uncharge_pages(owner, bytes, counter::charge_kind::external);
}

/// Charges with reclaim and retries. Errors: -ENOMEM.
int charge_with_reclaim(slab::obj_cgroup& payer, std::uint64_t bytes) noexcept {
    constexpr unsigned retries_max = 16;
    for (unsigned attempt = 0;; ++attempt) {
        counter::page_counter* over = nullptr;
        if (charge_external(payer, bytes, &over))
            return 0;
        if (attempt == retries_max || !slab::hooks.reclaim(*over, bytes, attempt)) {
            slab::hooks.failed(over, bytes);
            return -ENOMEM;
        }
    }
}

/// A reference on the obj_cgroup of an open group. Null if the group is closed.
slab::obj_cgroup* payer_of_open(memcg::mem_cgroup& group) noexcept {
    sync::busy_scope busy;
    sync::lock_guard hold(memcg::tree_lock());
    if (!group.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        return nullptr;
    slab::obj_cgroup_get(*group.objects);
    return group.objects;
}

bool is_valid(const allot_cache_options& options) noexcept {
    constexpr unsigned known = ALLOT_CACHE_ZERO | ALLOT_CACHE_TYPESAFE_BY_RCU;
    const bool keeps_content = options.constructor != nullptr || (options.flags & ALLOT_CACHE_TYPESAFE_BY_RCU) != 0;
    return options.size != 0 && options.size <= ALLOT_KMALLOC_MAX && options.alignment <= page_bytes &&
           (options.alignment == 0 || is_power_of_two(options.alignment)) && (options.flags & ~known) == 0 &&
           !(keeps_content && (options.flags & ALLOT_CACHE_ZERO) != 0);
}

} // namespace

allot_cache* allot_cache_create(const char* name, const allot_cache_options* options) noexcept {
    if (name == nullptr || options == nullptr || !is_valid(*options)) {
        errno = EINVAL;
        return nullptr;
    }
    if (!enter()) {
        errno = ENOMEM;
        return nullptr;
    }
    slab::cache_shape shape;
    shape.user_bytes = static_cast<std::uint32_t>(options->size);
    shape.flags = ((options->flags & ALLOT_CACHE_ZERO) != 0 ? slab::cache_zero : 0) |
                  ((options->flags & ALLOT_CACHE_TYPESAFE_BY_RCU) != 0 ? slab::cache_typesafe_by_rcu : 0);
    shape.constructor = options->constructor;
    sync::ensure_worker();
    const std::size_t natural = options->size >= 16 ? 16 : 8;
    return reinterpret_cast<allot_cache*>(
        slab::create_root_cache(name, shape, options->alignment > natural ? options->alignment : natural));
}

void* allot_cache_alloc(allot_cache* handle) noexcept {
    slab::kmem_cache& cache = cache_from(handle);
    slab::debug_check_cache(cache);
    const slab::cache_shape& shape = cache.shape;
    void* block = nullptr;
    if (shape.link_offset == 0 && shape.index << slab::bin_shift <= sync::tls.bin_mask)
        block = slab::alloc_fast(slab::bin_of_cache(shape.index));
    if (block == nullptr) {
        if (!enter() || slab::nested()) {
            errno = ENOMEM;
            return nullptr;
        }
        block = slab::alloc_slow(shape.index, shape.user_bytes);
        leave();
    }
    if (block != nullptr && (shape.flags & slab::cache_zero) != 0)
        std::memset(block, 0, shape.user_bytes);
    return block;
}

void allot_cache_free(allot_cache*, void* object) noexcept { free_block(object); }

void allot_cache_destroy(allot_cache* cache, allot_cache_report* report) noexcept {
    slab::cache_report found;
    if (cache != nullptr && enter())
        slab::destroy_root_cache(cache_from(cache), &found);
    if (report == nullptr)
        return;
    *report = {};
    report->live = found.live;
    report->nr_samples = found.nr_samples;
    static_assert(sizeof report->sample == sizeof found.sample && sizeof report->group == sizeof found.group &&
                  sizeof report->stack == sizeof found.stack);
    std::memcpy(report->sample, found.sample, sizeof report->sample);
    std::memcpy(report->group, found.group, sizeof report->group);
    std::memcpy(report->stack, found.stack, sizeof report->stack);
}

uint64_t allot_cache_shrink(allot_cache* cache) noexcept {
    return cache != nullptr && enter() ? slab::shrink_root_cache(cache_from(cache)) : 0;
}

const char* allot_cache_name(const allot_cache* cache) noexcept {
    return reinterpret_cast<const slab::kmem_cache*>(cache)->name;
}

int allot_try_charge(allot_group* group, uint64_t bytes, allot_charge* charge) noexcept {
    if (group == nullptr || charge == nullptr)
        return -EINVAL;
    if (!enter())
        return -ENOMEM;
    slab::obj_cgroup* const payer = payer_of_open(*group_from(group));
    if (payer == nullptr)
        return -ENOENT;
    if (const int error = charge_with_reclaim(*payer, bytes)) {
        slab::obj_cgroup_put(*payer);
        return error;
    }
    *charge = {payer, bytes};
    return 0;
}

int allot_charge_resize(allot_charge* charge, uint64_t bytes) noexcept {
    if (charge->owner == nullptr)
        return -EINVAL;
    if (bytes > charge->bytes) {
        if (const int error = charge_with_reclaim(payer_from(*charge), bytes - charge->bytes))
            return error;
    } else if (bytes < charge->bytes) {
        uncharge_external(payer_from(*charge), charge->bytes - bytes);
    }
    charge->bytes = bytes;
    return 0;
}

int allot_charge_split(allot_charge* charge, uint64_t bytes, allot_charge* out) noexcept {
    if (charge->owner == nullptr || bytes > charge->bytes)
        return -EINVAL;
    slab::obj_cgroup_get(payer_from(*charge));
    *out = {charge->owner, bytes};
    charge->bytes -= bytes;
    return 0;
}

int allot_charge_transfer(allot_charge* charge, allot_group* group) noexcept {
    if (charge->owner == nullptr || group == nullptr)
        return -EINVAL;
    allot_charge moved{};
    if (const int error = allot_try_charge(group, charge->bytes, &moved))
        return error;
    allot_uncharge(charge);
    *charge = moved;
    return 0;
}

void allot_uncharge(allot_charge* charge) noexcept {
    if (charge->owner == nullptr)
        return;
    uncharge_external(payer_from(*charge), charge->bytes);
    slab::obj_cgroup_put(payer_from(*charge));
    *charge = {};
}
