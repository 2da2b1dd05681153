// SPDX-License-Identifier: MIT
//
// kmem_cache: caches of objects of one shape: root caches, and a child for each group that uses one a lot.
//
// Idea.        A root cache owns the shared slabs, in which every object has an owner id of its own. A (group, root cache)
//              pair that warms up gets a child cache, whose slabs belong to the group as a whole. Both are a kmem_cache.
//              What a slab needs to know of its group is one pointer, `payer`, which removal rewrites.
//
//              shared slab:  [object][object]...[object][owner id 4 B]...[owner id 4 B]
//              child's slab: [object][object]...[object][rest]
//
// Invariants.  I1  refs = 1 while the cache takes allocations, plus 1 for each of its slabs, plus for a root cache 1 for each child.
//              I2  A slab is on a node list exactly while it is unowned (not frozen) and holds live objects.
// Concurrency. node lists: node lock, which is taken with a slot lock held, so that whoever holds all slot locks (fork,
//              verify) excludes it too.
// Lock order.  caches > slot > node.
// Checked by.  test/slab/kmem_cache_test.cc
// Source.      Linux 5.3 mm/slab_common.c, mm/slub.c.
#pragma once

#include "base/list.hpp"
#include "counter/account.hpp"
#include "slab/arena.hpp"
#include "slab/cache_guard.hpp"
#include "slab/debug.hpp"
#include "slab/size_class.hpp"
#include "sync/executor.hpp"
#include "sync/spinlock.hpp"
#include "sync/test_point.hpp"

namespace allot::slab {

struct cache_owner;

inline constexpr std::uint32_t cache_count_max = 256;
inline constexpr unsigned slab_order_max = 4; // 64 KiB
/// Above this a slab holds one object. A typed object of ALLOT_KMALLOC_MAX bytes has room below it for its link and alignment.
inline constexpr std::uint32_t several_max_bytes = 36864;
/// Cold objects above this are runs of pages of their own: a shared slab would hold too few.
inline constexpr std::uint32_t shared_object_max_bytes = 2048;
inline constexpr std::size_t cache_name_bytes = 32;

inline constexpr std::uint32_t cache_zero = 1u << 0;
inline constexpr std::uint32_t cache_typesafe_by_rcu = 1u << 1;

/// Shape of the objects, the same in a root cache and its children.
struct cache_shape {
    std::uint32_t object_bytes = 0; ///< distance of two objects
    std::uint32_t user_bytes = 0;   ///< what the caller may use
    std::uint32_t link_offset = 0;  ///< where a free object keeps the link; after the object if its content must stay
    std::uint32_t flags = 0;
    std::uint32_t index = 0; ///< place in every table of caches
    std::uint8_t order_min = 0;
    std::uint16_t pages = 0;      ///< of a slab with one object; 0: slabs hold more, and have 2^order pages
    std::uint64_t reciprocal = 0; ///< ceil(2^32 / object_bytes); 0 if a slab holds one object
    void (*constructor)(void*) = nullptr;
};

struct kmem_cache_node {
    sync::spinlock lock{sync::lock_rank::node};
    std::uint32_t partial ALLOT_GUARDED_BY(lock) = 0; ///< slabs with free and live objects, page indices
    std::uint32_t full ALLOT_GUARDED_BY(lock) = 0;    ///< slabs without free objects
};

struct kmem_cache {
    cache_shape shape;                        // constant
    kmem_cache* root = nullptr;               // constant; itself for a root cache
    std::atomic<cache_owner*> payer{nullptr}; // who pays for its slabs now; read inside an RCU section
    std::atomic<std::uint64_t> refs{1};       // I1
    std::atomic<std::uint32_t> nr_slabs{0};
    std::uint32_t aliases = 1;              // 0 once it is being destroyed; a child has 1; guarded by the caches lock
    std::atomic<std::uint64_t> nr_pages{0}; // in those slabs
    kmem_cache_node node;
    base::list_node payer_link; // in the list of the group that pays; guarded by the tree lock
    base::list_node
        root_link; // root: in the list of root caches; child: in its root's list; guarded by the caches lock
    base::list<kmem_cache, &kmem_cache::root_link> children; // guarded by the caches lock
    sync::work release_work;
    sync::work grace_work;                        // typesafe_by_rcu: gives slabs back after a grace period
    std::atomic<slab_remote*> grace_new{nullptr}; // slabs whose grace period has not begun
    slab_remote* grace_waiting = nullptr;         // slabs whose grace period is under way; executor only
    cache_gate gate;                              // root: whether its and its children's work may be queued
    char name[cache_name_bytes] = {};
#if ALLOT_DEBUG
    debug_stack destroyed_at;
#endif

    bool is_root() const noexcept { return root == this; }
};
#if !ALLOT_DEBUG
static_assert(sizeof(kmem_cache) <= 256, "a child cache is one object of metadata of this size");
#endif

/// What the slab layer knows of a group.
struct cache_array {
    std::uint32_t capacity;
    std::atomic<kmem_cache*> entry[];
};

inline constexpr std::uint32_t heat_count = 64;

struct cache_owner : counter::account {
    std::atomic<cache_array*> caches{nullptr};                    // grown by copy; old arrays go after a grace period
    obj_cgroup* objects = nullptr;                                // constant while online
    std::atomic<std::uint32_t> nr_heaps{0};                       // that may have slabs
    std::atomic<std::uint16_t> heat[heat_count] = {};             // cold allocations by cache index modulo heat_count
    std::atomic<std::uint64_t> wanted[cache_count_max / 64] = {}; // caches that are warm and have no child yet
};

/// Upcalls of the group layer, set once at init.
struct owner_hooks {
    bool (*tryget)(cache_owner& owner) noexcept;
    void (*put)(cache_owner& owner) noexcept;
    /// `wanted` has a new bit. Context: any.
    void (*want_child)(cache_owner& owner) noexcept;
    /// Name for reports. Context: any.
    const char* (*name)(const cache_owner& owner) noexcept;
    /// The max of `over` refused `bytes`: gives memory back. True if another try makes sense. Context: task, no lock held.
    bool (*reclaim)(counter::page_counter& over, counter::byte_count bytes, unsigned attempt) noexcept;
    /// A request of `bytes` of this thread has failed because of `over` (null: the system). Slot not held.
    void (*failed)(counter::page_counter* over, counter::byte_count bytes) noexcept;
    /// A child cache is about to be freed: take it off its payer's list.
    void (*cache_released)(kmem_cache& child) noexcept;
    /// A child cache was made: put it on its payer's list. False if the payer is not online any more.
    bool (*cache_created)(kmem_cache& child, cache_owner& payer) noexcept;
};
extern owner_hooks hooks;

/// The root group; set once at init, before any allocation.
extern cache_owner* root_owner;

/// Who pays now, from the `payer` field of a cache, an obj_cgroup or a front place. Valid inside the RCU section, or while the
/// slot is held, that covers the call.
inline cache_owner& load_payer(const std::atomic<cache_owner*>& payer) noexcept {
    // (3) acquire: pairs with group/lifecycle.cc(2), group/lifecycle.cc(4): the new payer is seen initialised.
    return *payer.load(std::memory_order_acquire);
}

/// The child of `owner` for the cache with `index`, or null. Context: any, inside an RCU section, which keeps the array, or on the
/// executor, which alone replaces it. The child stays as long as the section, or a slot that is held.
inline kmem_cache* child_of(const cache_owner& owner, std::uint32_t index) noexcept {
    // (1) acquire: pairs with cache_lifecycle.cc(1): who sees the array sees its entries copied.
    const cache_array* array = owner.caches.load(std::memory_order_acquire);
    if (array == nullptr || index >= array->capacity)
        return nullptr;
    ALLOT_TEST_POINT("child_of:array_read");
    // (2) acquire: pairs with cache_lifecycle.cc(2): who sees the child also sees it initialised.
    return array->entry[index].load(std::memory_order_acquire);
}

/// What a slab is charged as. Blocks too large for ALLOT_KMALLOC_MAX are large ones, in whatever they lie.
inline counter::charge_kind kind_of_charge(const kmem_cache& cache, slab_kind kind) noexcept {
    if (kind == slab_kind::shared)
        return counter::charge_kind::shared;
    return cache.shape.pages != 0 ? counter::charge_kind::large : counter::charge_kind::slab;
}

/// offset / object_bytes without a division, for an offset below 64 KiB.
constexpr std::uint32_t index_at(std::uint64_t offset, std::uint64_t reciprocal) noexcept {
    return static_cast<std::uint32_t>((offset * reciprocal) >> 32);
}
/// Number of the object at `block` in its slab.
inline std::uint32_t object_index(const slab& s, const cache_shape& shape, const void* block) noexcept {
    const auto offset = static_cast<std::uint64_t>(static_cast<const char*>(block) - start_of(s));
    return index_at(offset, shape.reciprocal);
}
/// The owner ids of a shared slab, behind its objects.
inline std::atomic<std::uint32_t>* owner_ids(const slab& s) noexcept {
    return reinterpret_cast<std::atomic<std::uint32_t>*>(start_of(s) + slab_bytes(s)) - s.capacity;
}

/// The same for one object of a slab of 2^n pages, from its address.
ALLOT_INLINE std::atomic<std::uint32_t>& owner_id_at(const slab& s, const cache_shape& shape,
                                                     const void* block) noexcept {
    const auto* const at = static_cast<const char*>(block);
    const std::size_t bytes = slab_bytes(s);
    const std::size_t offset = static_cast<std::size_t>(at - arena.base) & (bytes - 1); // such runs are aligned
    const std::size_t index = index_at(offset, shape.reciprocal);
    auto* const end = reinterpret_cast<std::atomic<std::uint32_t>*>(const_cast<char*>(at) - offset + bytes);
    return *(end - s.capacity + index);
}

/// The root cache with `index`, or null. Context: any.
kmem_cache* root_cache_at(std::uint32_t index) noexcept;

/// Drops a reference; the last one has the cache released: deferred, or by whoever is destroying the root cache. Context: any.
void put_cache(kmem_cache& cache) noexcept;
/// Has the empty slabs on `grace_new` given back after a grace period. Context: any; a slab of the cache is held.
void enqueue_grace_work(kmem_cache& cache) noexcept;

/// Sets up the kmalloc caches and the root group's children of them. False when out of memory. Context: init.
[[nodiscard]] bool kmalloc_caches_init() noexcept;

} // namespace allot::slab
