// SPDX-License-Identifier: MIT
//
// owner_records: the map.
//
// Idea.        See owner_records.hpp.
// Concurrency. each slot by exchanges.
// Lock order.  tree, to find whether a group is open; then the slot, inside the charge.
#include "group/owner_records.hpp"

#include "group/mem_cgroup.hpp"
#include "platform/memory.hpp"
#include "sync/test_point.hpp"

#include <cerrno>

namespace allot::memcg {

namespace {

/// A reference on the obj_cgroup of an open group, or null.
slab::obj_cgroup* get_owner(mem_cgroup& group) noexcept {
    sync::busy_scope busy;
    sync::lock_guard hold(tree_lock());
    if (!group.online.load(std::memory_order_relaxed)) // relaxed: changes under the tree lock
        return nullptr;
    slab::obj_cgroup_get(*group.objects);
    return group.objects;
}

} // namespace

owner_records::~owner_records() {
    for (std::size_t slot = 0; slot < count_; ++slot)
        release(slot);
    if (ids_ != nullptr)
        platform::unmap(ids_, count_ * sizeof *ids_);
}

bool owner_records::open(std::size_t count, counter::byte_count unit_bytes) noexcept {
    ids_ = static_cast<std::atomic<std::uint32_t>*>(platform::map(count * sizeof *ids_));
    if (ids_ == nullptr)
        return false;
    count_ = count;
    unit_ = unit_bytes;
    return true;
}

int owner_records::take(mem_cgroup& group, slab::obj_cgroup** out) noexcept {
    slab::obj_cgroup* const owner = get_owner(group);
    if (owner == nullptr)
        return -ENOENT;
    counter::page_counter* over = nullptr;
    {
        slab::cold_section here; // verify holds every slot, and so sees no half of a charge
        sync::rcu_guard section;
        if (counter::try_charge_pages(owner->load_payer(), unit_, counter::charge_kind::external, &over)) {
            *out = owner;
            return 0;
        }
    }
    slab::obj_cgroup_put(*owner);
    return -ENOMEM;
}

void owner_records::give(slab::obj_cgroup& owner) noexcept {
    {
        slab::cold_section here;
        sync::rcu_guard section;
        slab::cache_owner& payer = owner.load_payer();
        ALLOT_TEST_POINT("owner_records:payer_read");
        counter::uncharge_pages(payer, unit_, counter::charge_kind::external);
    }
    slab::obj_cgroup_put(owner);
}

int owner_records::record(std::size_t slot, mem_cgroup& group) noexcept {
    if (slot >= count_)
        return -EINVAL;
    slab::obj_cgroup* owner = nullptr;
    if (const int error = take(group, &owner))
        return error;
    ALLOT_TEST_POINT("owner_records:taken");
    std::uint32_t empty = 0;
    // (1) release: pairs with (2), (3), (4): who meets the id finds the obj_cgroup referenced. Failure is relaxed: nothing is read.
    if (ids_[slot].compare_exchange_strong(empty, owner->id, std::memory_order_release, std::memory_order_relaxed))
        return 0;
    give(*owner);
    return -EEXIST;
}

int owner_records::move(std::size_t slot, mem_cgroup& to) noexcept {
    if (slot >= count_)
        return -EINVAL;
    slab::obj_cgroup* owner = nullptr;
    if (const int error = take(to, &owner))
        return error;
    std::uint32_t old = ids_[slot].load(std::memory_order_relaxed); // relaxed: a guess that the exchange checks
    while (old != 0)
        // (3) acq_rel: pairs with (1), (2), (4) and itself, as both sides. Failure is relaxed: it is retried.
        if (ids_[slot].compare_exchange_weak(old, owner->id, std::memory_order_acq_rel, std::memory_order_relaxed)) {
            give(slab::obj_cgroup_of(old));
            return 0;
        }
    give(*owner);
    return -EINVAL;
}

bool owner_records::release(std::size_t slot) noexcept {
    if (slot >= count_)
        return false;
    // (2) acquire: pairs with (1), (3).
    const std::uint32_t id = ids_[slot].exchange(0, std::memory_order_acquire);
    if (id == 0)
        return false;
    give(slab::obj_cgroup_of(id));
    return true;
}

mem_cgroup* owner_records::owner_of(std::size_t slot) const noexcept {
    if (slot >= count_)
        return nullptr;
    sync::rcu_guard section; // an obj_cgroup that is put meanwhile goes after a grace period
    // (4) acquire: pairs with (1), (3).
    const std::uint32_t id = ids_[slot].load(std::memory_order_acquire);
    if (id == 0)
        return nullptr;
    ALLOT_TEST_POINT("owner_records:id_read");
    const slab::obj_cgroup& owner = slab::obj_cgroup_of(id);
    for (;;) {
        auto& group = static_cast<mem_cgroup&>(owner.load_payer());
        if (tryget(group))
            return &group;
        // Removal rewrites the payer before it drops the group's own reference, so a failure means that there is a new one.
    }
}

} // namespace allot::memcg
