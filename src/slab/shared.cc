// SPDX-License-Identifier: MIT
//
// shared: the end of an object in a shared slab, for who paid for it.
//
// Idea.        The object's owner id leads to its obj_cgroup, that to the payer. The charge goes at once, at each level. The own share
//              and the reference are told at once too, or put together in the thread's heap (heap.hpp) where it is the payer's.
// Concurrency. as slab_ops.hpp says.
// Lock order.  takes none.
#include "slab/obj_cgroup.hpp"
#include "slab/slab_ops.hpp"
#include "sync/test_point.hpp"

namespace allot::slab {

namespace {

/// The owner of a live object whose id was `id`.
obj_cgroup& owner_of_freed(const slab& s, const void* block, std::uint32_t id) noexcept {
    if (id == 0) [[unlikely]]
        base::bug_object("double free", block, "?", s.cache->name);
    obj_cgroup& owner = obj_cgroup_of(id);
    if (owner.discarded.load(std::memory_order_relaxed)) [[unlikely]] // relaxed: who frees it has been told
        base::bug_object("free of a block of a discarded group", block, "?", s.cache->name);
    return owner;
}

} // namespace

void uncharge_objects(heap* h, obj_cgroup& owner, cold_figures gone) noexcept {
    cache_owner& payer = owner.load_payer();
    ALLOT_TEST_POINT("uncharge_object:payer_read");
    const auto bytes = static_cast<std::uint64_t>(gone.bytes);
    if (h != nullptr && h->owner == &payer && !h->dropped && payer.objects == &owner) [[likely]] {
        counter::uncharge_usage(payer, bytes);
        tally_cold(*h, -gone.objects, -gone.bytes);
        return;
    }
    counter::uncharge_object(payer, bytes, counter::charge_kind::shared);
    obj_cgroup_put(owner, static_cast<std::uint64_t>(gone.objects));
}

void uncharge_shared(slab& s, const void* block) noexcept {
    const cache_shape& shape = s.cache->shape;
    // relaxed: who frees the block was handed it by who allocated it.
    const std::uint32_t id = owner_ids(s)[object_index(s, shape, block)].exchange(0, std::memory_order_relaxed);
    uncharge_objects(nullptr, owner_of_freed(s, block, id), {1, shape.object_bytes});
}

void uncharge_shared_by_holder(slab& s, const void* block) noexcept {
    const cache_shape& shape = s.cache->shape;
    auto& place = owner_ids(s)[object_index(s, shape, block)];
    // relaxed, both: as above. Not one step: of two frees at a time that is a bug anyhow, one may go unseen.
    const std::uint32_t id = place.load(std::memory_order_relaxed);
    place.store(0, std::memory_order_relaxed); // relaxed: as above
    uncharge_objects(static_cast<heap*>(sync::tls.heap), owner_of_freed(s, block, id), {1, shape.object_bytes});
}

} // namespace allot::slab
