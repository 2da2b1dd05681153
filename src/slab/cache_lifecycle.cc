// SPDX-License-Identifier: MIT
//
// cache_lifecycle: root caches by index, children by (owner, index).
//
// Idea.        See cache_lifecycle.hpp. The kmalloc caches and the root group's children of them are static; all others come
//              from metadata.
// Concurrency. the caches lock guards the table and the lists; the executor is the only one that makes and releases children.
// Lock order.  caches.
#include "slab/cache_lifecycle.hpp"

#include "slab/debug.hpp"
#include "slab/metadata.hpp"
#include "slab/slab_ops.hpp"

#include <cerrno>
#include <cstring>
#include <new>

namespace allot::slab {

constinit owner_hooks hooks{};
cache_owner* root_owner = nullptr;

namespace {

using sync::lock_guard;

constinit sync::spinlock table_lock{sync::lock_rank::caches};
constinit std::atomic<kmem_cache*> table[cache_count_max]{};
/// Made at init, which may come before the constructors of this file would run.
alignas(kmem_cache) char kmalloc_memory[2 * kmalloc_class_count * sizeof(kmem_cache)];

constexpr std::uint32_t small_array_capacity = 63; // 8 + 63 * 8 bytes = 512

std::size_t array_bytes(std::uint32_t capacity) noexcept {
    return sizeof(cache_array) + capacity * sizeof(std::atomic<kmem_cache*>);
}

struct retired_array {
    sync::work work;
    std::size_t bytes;
};

/// Frees a retired array and the node, which was allocated with it.
void free_retired(sync::work& item) noexcept {
    auto& retired = reinterpret_cast<retired_array&>(item);
    void* const array = *reinterpret_cast<void**>(&retired + 1);
    const std::size_t bytes = retired.bytes;
    metadata_free(&retired, sizeof(retired_array) + sizeof(void*));
    metadata_free(array, bytes);
}

bool retire_array(cache_array* array) noexcept {
    auto* retired = static_cast<retired_array*>(metadata_alloc(sizeof(retired_array) + sizeof(void*), nullptr));
    if (retired == nullptr)
        return false;
    new (retired) retired_array{sync::work(free_retired), array_bytes(array->capacity)};
    *reinterpret_cast<void**>(retired + 1) = array;
    sync::call_rcu(retired->work);
    return true;
}

/// Gives the owner's array room for `index`. Executor, or init.
bool grow_array(cache_owner& owner, std::uint32_t index) noexcept {
    cache_array* const old = owner.caches.load(std::memory_order_relaxed); // relaxed: only the executor writes it
    if (old != nullptr && index < old->capacity)
        return true;
    const std::uint32_t capacity = index < small_array_capacity ? small_array_capacity : cache_count_max;
    auto* fresh = static_cast<cache_array*>(metadata_alloc(array_bytes(capacity), nullptr));
    if (fresh == nullptr)
        return false;
    fresh->capacity = capacity;
    for (std::uint32_t i = 0; old != nullptr && i < old->capacity; ++i) // relaxed: published as a whole below
        fresh->entry[i].store(old->entry[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
    if (old != nullptr && !retire_array(old)) {
        metadata_free(fresh, array_bytes(capacity));
        return false;
    }
    // (1) release: pairs with kmem_cache.hpp(1).
    owner.caches.store(fresh, std::memory_order_release);
    ALLOT_TEST_POINT("grow_array:published");
    return true;
}

void copy_name(kmem_cache& cache, const char* name) noexcept {
    std::size_t length = 0;
    while (length + 1 < cache_name_bytes && name[length] != '\0')
        ++length;
    std::memcpy(cache.name, name, length);
    cache.name[length] = '\0';
}

void free_root(kmem_cache& root) noexcept {
    {
        lock_guard hold(table_lock);
        // relaxed: the index is free for the next cache; nobody looks up a cache that is being destroyed.
        table[root.shape.index].store(nullptr, std::memory_order_relaxed);
    }
    debug_cache_gone(root);
    metadata_free(&root, sizeof root);
}

void free_child(kmem_cache& child) noexcept {
    hooks.cache_released(child);
    {
        lock_guard hold(table_lock);
        child.root_link.unlink();
    }
    metadata_free(&child, sizeof child);
}

/// The last reference on a cache is gone. Executor.
void release_cache(sync::work& item) noexcept {
    kmem_cache& cache = base::container_of(item, &kmem_cache::release_work);
    kmem_cache& root = *cache.root;
    ALLOT_TEST_POINT("release_cache");
    if (cache.is_root()) {
        root.gate.finished();
        free_root(root);
        return;
    }
    free_child(cache);
    root.gate.finished();
    put_cache(root); // last of all
}

template <class Enqueue> void queue_kept(kmem_cache& cache, sync::work& item, Enqueue enqueue) noexcept {
    cache.root->gate.enqueue_unless_dying(item, enqueue);
}

bool enqueue_release(sync::work& item) noexcept { return sync::queue_work(sync::stage::release, item); }

void init_child(kmem_cache& child, kmem_cache& root, cache_owner& owner) noexcept {
    child.shape = root.shape;
    child.root = &root;
    child.release_work.run = release_cache;
    child.grace_work.run = release_after_grace_period;
    child.payer.store(&owner, std::memory_order_relaxed); // relaxed: published with the entry
    std::memcpy(child.name, root.name, cache_name_bytes);
    root.refs.fetch_add(1, std::memory_order_relaxed); // relaxed: the caller knows the root cache alive
}

void publish(cache_owner& owner, kmem_cache& child) noexcept {
    // relaxed: only the executor writes the array.
    cache_array* const array = owner.caches.load(std::memory_order_relaxed);
    // (2) release: pairs with kmem_cache.hpp(2). The last step of creation.
    array->entry[child.shape.index].store(&child, std::memory_order_release);
}

/// Makes the child of `owner` for the root cache with `index`. False when it cannot be had now.
bool create_child(cache_owner& owner, std::uint32_t index) noexcept {
    kmem_cache* const root = root_cache_at(index);
    // A gate that closes from here on is no matter: the destroyer shuts this child down when the executor is its own.
    if (root == nullptr || root->gate.life() != cache_life::live || child_of(owner, index) != nullptr)
        return true;
    if (!grow_array(owner, index))
        return false;
    auto* child = metadata_new<kmem_cache>(nullptr);
    if (child == nullptr)
        return false;
    init_child(*child, *root, owner);
    {
        lock_guard hold(table_lock);
        root->children.push_back(*child);
    }
    ALLOT_TEST_POINT("create_child:linked");
    if (hooks.cache_created(*child, owner)) {
        ALLOT_TEST_POINT("create_child:adopted");
        publish(owner, *child);
        return true;
    }
    {
        lock_guard hold(table_lock);
        child->root_link.unlink();
    }
    metadata_free(child, sizeof *child);
    put_cache(*root);
    return true;
}

unsigned order_min_for(std::uint32_t object_bytes) noexcept {
    constexpr std::uint32_t objects_min = 4;
    constexpr std::size_t slab_bytes_min = 65536; // enough, however few objects that is
    unsigned order = 0;
    while (order < slab_order_max && (page_bytes << order) / object_bytes < objects_min &&
           (page_bytes << order) < slab_bytes_min)
        ++order;
    return order;
}

void complete_shape(cache_shape& shape, std::size_t alignment) noexcept {
    const bool keeps_content = shape.constructor != nullptr || (shape.flags & cache_typesafe_by_rcu) != 0;
    std::uint64_t bytes = shape.user_bytes;
    shape.link_offset = 0;
    if (keeps_content) {
        bytes = round_up(bytes, sizeof(void*));
        shape.link_offset = static_cast<std::uint32_t>(bytes);
        bytes += sizeof(void*);
    }
    bytes = round_up(bytes < sizeof(void*) ? sizeof(void*) : bytes, alignment);
    shape.object_bytes = static_cast<std::uint32_t>(bytes);
    shape.order_min = static_cast<std::uint8_t>(order_min_for(shape.object_bytes));
    shape.pages = bytes > several_max_bytes ? static_cast<std::uint16_t>(bytes / page_bytes) : 0;
    shape.reciprocal = shape.pages != 0 ? 0 : ((std::uint64_t{1} << 32) + bytes - 1) / bytes;
}

bool same_shape(const kmem_cache& cache, const cache_shape& shape, const char* name) noexcept {
    return cache.shape.object_bytes == shape.object_bytes && cache.shape.user_bytes == shape.user_bytes &&
           cache.shape.flags == shape.flags && cache.shape.constructor == shape.constructor &&
           std::strncmp(cache.name, name, cache_name_bytes - 1) == 0;
}

/// An equal cache that is not being destroyed, or a free index in `*index`.
kmem_cache* find_alias(const cache_shape& shape, const char* name, std::uint32_t* index) noexcept
    ALLOT_REQUIRES(table_lock) {
    *index = cache_count_max;
    for (std::uint32_t i = kmalloc_class_count; i < cache_count_max; ++i) {
        kmem_cache* const cache = table[i].load(std::memory_order_relaxed); // relaxed: lock held
        if (cache == nullptr)
            *index = i < *index ? i : *index;
        else if (cache->aliases != 0 && same_shape(*cache, shape, name))
            return cache;
    }
    return nullptr;
}

void init_root(kmem_cache& cache, const cache_shape& shape, const char* name) noexcept {
    cache.shape = shape;
    cache.root = &cache;
    cache.release_work.run = release_cache;
    cache.grace_work.run = release_after_grace_period;
    cache.payer.store(root_owner, std::memory_order_relaxed); // relaxed: published with the table
    copy_name(cache, name);
}

struct creation {
    const char* name;
    cache_shape shape;
    kmem_cache* result;
};

/// Puts a fresh cache into the table. Null if an equal one serves (`*alias`), or there is no room.
kmem_cache* enter_root(creation& job, kmem_cache** alias) noexcept {
    lock_guard hold(table_lock);
    *alias = find_alias(job.shape, job.name, &job.shape.index);
    if (*alias != nullptr) {
        ++(*alias)->aliases;
        return nullptr;
    }
    auto* cache = job.shape.index != cache_count_max ? metadata_new<kmem_cache>(nullptr) : nullptr;
    if (cache == nullptr)
        return nullptr;
    init_root(*cache, job.shape, job.name);
    // (7) release: pairs with (6).
    table[job.shape.index].store(cache, std::memory_order_release);
    return cache;
}

/// Runs alone on the executor, as everything that makes child caches does.
void make_root(void* data) noexcept {
    auto& job = *static_cast<creation*>(data);
    kmem_cache* alias = nullptr;
    kmem_cache* const cache = enter_root(job, &alias);
    job.result = cache != nullptr ? cache : alias;
    if (cache != nullptr && !create_child(*root_owner, job.shape.index)) {
        free_root(*cache);
        job.result = nullptr;
    }
}

} // namespace

kmem_cache* root_cache_at(std::uint32_t index) noexcept {
    // (6) acquire: pairs with (7).
    return table[index].load(std::memory_order_acquire);
}

bool kmalloc_caches_init() noexcept {
    auto* caches = reinterpret_cast<kmem_cache*>(kmalloc_memory);
    if (!grow_array(*root_owner, cache_count_max - 1))
        return false;
    for (std::uint32_t i = 0; i < kmalloc_class_count; ++i) {
        cache_shape shape;
        shape.index = i;
        shape.user_bytes = static_cast<std::uint32_t>(class_bytes(i));
        complete_shape(shape, 8);
        char name[cache_name_bytes] = "kmalloc-";
        char* at = name + 8;
        std::uint32_t divisor = 1'000'000;
        while (divisor > shape.user_bytes)
            divisor /= 10;
        for (; divisor != 0; divisor /= 10)
            *at++ = static_cast<char>('0' + shape.user_bytes / divisor % 10);
        kmem_cache& root = *new (&caches[2 * i]) kmem_cache;
        kmem_cache& child = *new (&caches[2 * i + 1]) kmem_cache;
        init_root(root, shape, name);
        init_child(child, root, *root_owner);
        lock_guard hold(table_lock);
        root.children.push_back(child);
        table[i].store(&root, std::memory_order_relaxed); // relaxed: one thread
        publish(*root_owner, child);
    }
    return true;
}

kmem_cache* create_root_cache(const char* name, const cache_shape& wanted, std::size_t alignment) noexcept {
    creation job{name, wanted, nullptr};
    complete_shape(job.shape, alignment);
    sync::run_exclusive(make_root, &job);
    if (job.result == nullptr)
        errno = ENOMEM;
    return job.result;
}

void create_wanted_children(cache_owner& owner) noexcept {
    for (std::uint32_t word = 0; word < std::size(owner.wanted); ++word) {
        // relaxed: queueing this work ordered the bits.
        std::uint64_t bits = owner.wanted[word].load(std::memory_order_relaxed);
        for (; bits != 0; bits &= bits - 1) {
            const auto index = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
            if (!create_child(owner, index))
                // relaxed: a heuristic. No memory: it may warm up again.
                owner.heat[index % heat_count].store(0, std::memory_order_relaxed);
            // relaxed: a heuristic. A later cache with this index may be wanted too.
            owner.wanted[word].fetch_and(~(std::uint64_t{1} << (index % 64)), std::memory_order_relaxed);
        }
    }
}

void unpublish_child(cache_owner& owner, kmem_cache& child) noexcept {
    // relaxed: only the executor replaces arrays, and the entry is cleared before the grace period that readers get.
    if (cache_array* const array = owner.caches.load(std::memory_order_relaxed))
        if (array->entry[child.shape.index].load(std::memory_order_relaxed) == &child) // relaxed: as above
            array->entry[child.shape.index].store(nullptr, std::memory_order_relaxed); // relaxed: as above
}

void put_cache(kmem_cache& cache) noexcept {
    // (3) acq_rel: pairs with itself: the last put comes after all that earlier ones ended.
    const std::uint64_t before = cache.refs.fetch_sub(1, std::memory_order_acq_rel);
    ALLOT_BUG_ON(before == 0);
    if (before != 1)
        return;
    ALLOT_TEST_POINT("put_cache:last");
    cache.root->gate.enqueue_unless_dying(cache.release_work, enqueue_release);
}

void enqueue_grace_work(kmem_cache& cache) noexcept {
    cache.root->gate.enqueue_unless_dying(cache.grace_work, sync::call_rcu);
}

void enqueue_kept(sync::work& item) noexcept {
    if (item.run == release_cache)
        queue_kept(base::container_of(item, &kmem_cache::release_work), item, enqueue_release);
    else
        queue_kept(base::container_of(item, &kmem_cache::grace_work), item, sync::call_rcu);
}

void free_cache_array(cache_owner& owner) noexcept {
    cache_array* const array = owner.caches.exchange(nullptr, std::memory_order_relaxed); // relaxed: no reader is left
    if (array != nullptr)
        metadata_free(array, array_bytes(array->capacity));
}

sync::spinlock& caches_lock() noexcept { return table_lock; }

} // namespace allot::slab
